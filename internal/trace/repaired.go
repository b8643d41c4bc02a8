package trace

import (
	"cmp"
	"fmt"
	"strings"

	"weft/internal/model"
)

// The kinds of Repair.
const (
	repairBridge = "bridge"
	repairPort   = "port"
	repairFlows  = "flows"
	// repairNamespace is of a DHCP namespace; its Name is that, or namespace/device.
	repairNamespace = "namespace"
)

// keepsChanging is how often in a minute something must have been put back for somebody to be
// taken to change it all the time: the port then works now and then.
const keepsChanging = 3

// repaired adds what had to be put back on a host.
func (e *explainer) repaired(s *Step, ev *Evidence, which func(Repair) bool) {
	for _, r := range ev.Repairs {
		if !which(r) {
			continue
		}
		object, cause := strings.TrimSpace(r.Kind+" "+cmp.Or(r.Name, r.Bridge)), CauseRepaired
		switch {
		case r.Kind == repairFlows:
			object = "flows of " + r.Bridge
		case s.Name == StepInterface:
			cause = CauseWrongTag // all that weft writes there is the tag, and what it means
		case s.Name == StepTunnel:
			cause = CauseTunnelWrongAddress // all that a tunnel has is where it leads
		}
		observed := fmt.Sprintf("%s, put back %s", r.Found, ago(ev.At, r.At))
		if r.Times > 1 {
			observed = fmt.Sprintf("%s, put back %d times, last %s", r.Found, r.Times, ago(ev.At, r.At))
		}
		text := fmt.Sprintf("Something else has changed %s on host %s: it was found as %s and was put back to %s %s.", object, ev.Host, r.Found, r.Set, ago(ev.At, r.At))
		verdict := Warning
		if r.Lately >= keepsChanging {
			verdict = Broken
			text = fmt.Sprintf("Something keeps changing %s on host %s: %d times in the last minute it was found as %s and put back to %s.", object, ev.Host, r.Lately, r.Found, r.Set)
		}
		s.find(verdict, object, r.Set, observed, cause, text)
	}
}

// saidOf reports whether an earlier step says of a repair.
func (e *explainer) saidOf(host model.HostName, r Repair) bool {
	if isTunnel(r) { // of those that matter to the port
		return true
	}
	if r.Kind == repairNamespace {
		return e.needsDHCP()
	}
	if host != e.p.Binding.Host {
		return false
	}
	i := e.ev.Interface
	return r.Kind == repairBridge || r.Kind == repairFlows && e.ev.Flows != nil || r.Kind == repairPort && i != nil && i.Name == r.Name
}
