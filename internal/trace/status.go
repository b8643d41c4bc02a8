package trace

import (
	"fmt"
	"time"

	"weft/internal/model"
)

// status compares the facts that the agent reported, and the status that the server derives from them.
func (e *explainer) status() Step {
	s := Step{Name: StepStatus}
	if e.p.Binding.Host != "" {
		e.facts(&s)
	}
	text := fmt.Sprintf("The port is %s.", e.p.Status)
	if e.p.Binding.Host != "" && e.ev == nil && e.p.Status != model.PortActive {
		// Why is for its host to tell; that it does not is what has to be said first.
		s.find(Unknown, "status", "ACTIVE", string(e.p.Status), CauseNotActive, text)
		return s
	}
	s.want("status", "ACTIVE", string(e.p.Status), CauseNotActive, text)
	return s
}

func (e *explainer) facts(s *Step) {
	if e.ev == nil {
		return
	}
	f := e.ev.Reported
	if f == nil {
		s.judge("wired", "yes", "nothing reported yet", false, CauseNotReported, "The agent of the port's host has reported nothing of it yet.")
		return
	}
	s.want("wired", "yes", yesNo(f.Wired), CauseNotWired, "The agent of the port's host has not found it wired: its interface or its flows are not as they should be.")
	s.show("reported", f.At.UTC().Format("2006-01-02T15:04:05.000Z")+" ("+ago(e.now, f.At)+")")
}

// faults shows what the agents could not do.
func (e *explainer) faults() []Step {
	var all []Step
	for _, host := range e.hosts() {
		ev, _ := e.at(host)
		if ev == nil {
			continue
		}
		s := Step{Name: StepFaults, Host: host}
		for _, f := range ev.Faults {
			v, cause := Broken, CauseFault
			if f.Underlay {
				// What it does to this port, the tunnel step says.
				v, cause = Warning, CauseUnderlay
			}
			s.find(v, f.Object, f.Op, fmt.Sprintf("%s (since %s, tried %d times)", f.Error, f.Since.UTC().Format(timeForm), f.Tries),
				cause, fmt.Sprintf("The agent of host %s could not %s %s: %s.", host, f.Op, f.Object, f.Error))
		}
		e.repaired(&s, ev, func(r Repair) bool { return !e.saidOf(host, r) })
		for _, f := range ev.Past {
			s.show("was: "+f.Object, fmt.Sprintf("could not %s: %s (for %s, until %s)", f.Op, f.Error, f.Until.Sub(f.Since).Round(time.Millisecond), ago(ev.At, f.Until)))
		}
		for _, g := range ev.Gaps {
			s.find(Unknown, "gap", anything, unknown+g, CauseNotLooked, fmt.Sprintf("On host %s something could not be looked at: %s.", host, g))
		}
		all = append(all, s)
	}
	return all
}
