package trace

import (
	"fmt"
	"strconv"
	"time"

	"weft/internal/model"
)

// host judges the port's host: its agent, its certificate and clock, and its Open vSwitch.
func (e *explainer) host() Step {
	name := e.p.Binding.Host
	s := Step{Name: StepHost, Host: name}
	h, ok := e.r.Hosts[name]
	if !ok {
		s.judge("agent", "registered", none, false, CauseHostUnknown, fmt.Sprintf("The port is bound to host %s, and no host of that name has ever joined the cloud.", name))
	} else {
		e.certificate(&s, h)
		e.agent(&s, h)
	}
	if e.ev == nil {
		s.unlooked("evidence", present, e.silence)
		return s
	}
	if skew := e.said[name].Skew; skew.Abs() >= badSkew {
		s.find(Warning, "clock", "the server's", skewText(skew), CauseClockSkew, fmt.Sprintf("The clock of host %s is %s, compared with the server's.", name, skewText(skew)))
	}
	e.feed(&s)
	e.openvswitch(&s)
	return s
}

// badSkew is by how much a clock may be wrong before it is worth a word.
const badSkew = time.Second

func skewText(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Millisecond).String() + " behind"
	}
	return d.Round(time.Millisecond).String() + " ahead"
}

// agent judges whether a host's agent lives. One that has just died has been heard of not long ago.
func (e *explainer) agent(s *Step, h HostRecord) {
	name, heard := h.Name, e.lastHeard(h.Name)
	switch {
	case !h.Alive:
		s.judge("agent", "alive", heard, false, CauseAgentDead, fmt.Sprintf("The agent of host %s is dead or cut off: %s.", name, heard))
	case e.said[name].Gone:
		s.judge("agent", "alive", "not connected, "+heard, false, CauseAgentDead, fmt.Sprintf("The agent of host %s is dead or cut off: it is connected to no server, and was %s.", name, heard))
	default:
		s.judge("agent", "alive", "alive", true, "", "")
	}
}

// endsSoon is what a certificate has left when its renewal must have failed for long: a
// certificate of 90 days is renewed with 30 days left.
const endsSoon = 72 * time.Hour

// certificate judges the one by which the host is known to servers.
func (e *explainer) certificate(s *Step, h HostRecord) {
	until := h.CertificateUntil
	if until.IsZero() {
		return
	}
	observed, left := until.UTC().Format(timeForm), until.Sub(e.now)
	const what, want = "certificate", "good"
	// A short life is how somebody wants it; a third of it is left when it is renewed.
	short := h.ConnectedAt.IsZero() || until.Sub(h.ConnectedAt) < 4*endsSoon
	switch {
	case left <= 0 && (!h.Alive || e.said[h.Name].Gone):
		s.judge(what, want, "ended "+observed, false, CauseCertificateExpired,
			fmt.Sprintf("The certificate of host %s ran out at %s, so no server lets its agent in.", h.Name, observed))
	case left <= 0:
		s.find(Warning, what, want, "ended "+observed, CauseCertificateExpired,
			fmt.Sprintf("The certificate of host %s ran out at %s: when its connection ends, no server lets it in again.", h.Name, observed))
	case left < endsSoon && !short:
		s.find(Warning, what, want, "until "+observed, CauseCertificateEnds, fmt.Sprintf("The certificate of host %s runs out at %s.", h.Name, observed))
	default:
		s.show(what, "until "+observed)
	}
}

// feed judges whether the agent hears of changes, and knows the port.
func (e *explainer) feed(s *Step) {
	name, f := e.p.Binding.Host, e.ev.Feed
	observed := "in sync at revision " + strconv.FormatInt(f.Revision, 10)
	switch {
	case !f.InSync && f.FromDisk:
		observed = "out of sync, cloud from disk: " + f.Error
	case !f.InSync:
		observed = "out of sync since " + f.Since.UTC().Format(timeForm) + ": " + f.Error
	}
	s.judge("feed", "in sync", observed, f.InSync, CauseFeedBehind, fmt.Sprintf("The agent of host %s does not hear of changes: it is %s.", name, observed))
	known := none
	if e.ev.Known {
		known = fmt.Sprintf("revision %d", e.ev.Revision)
	}
	s.judge("port known to agent", fmt.Sprintf("revision %d", e.p.Revision), known, e.ev.Known && e.ev.Revision >= e.p.Revision, CausePortNotKnown,
		fmt.Sprintf("The agent of host %s knows %s of the port, and the record is at revision %d.", name, known, e.p.Revision))
}

// openvswitch judges the host's Open vSwitch.
func (e *explainer) openvswitch(s *Step) {
	sw := e.ev.Switch
	if sw.Connected {
		s.judge("switch", "connected", "connected", true, "", "")
	} else {
		cause, text := switchTrouble(e.p.Binding.Host, sw)
		s.judge("switch", "connected", "not connected: "+sw.Error, false, cause, text)
	}
	e.repaired(s, e.ev, func(r Repair) bool { return r.Kind == repairBridge })
	e.settings(s, e.ev, e.ofBridges)
	if sw.Version != "" {
		s.show("switch version", sw.Version)
	}
}

// switchTrouble says what is the matter with a switch that is not connected. The words for
// Trouble are those of package host.
func switchTrouble(host model.HostName, sw Switch) (Cause, string) {
	switch sw.Trouble {
	case "no_database":
		also := ""
		if sw.Vswitchd != "" {
			also = ", nor does ovs-vswitchd"
		}
		return CauseNoOVSDB, fmt.Sprintf("ovsdb-server does not answer on host %s%s: nothing can be plugged or changed there; what is wired goes on.", host, also)
	case "empty_database":
		return CauseEmptyOVSDB, fmt.Sprintf("The database of Open vSwitch on host %s has never been initialised, so ovs-vswitchd does nothing.", host)
	case "no_vswitchd":
		return CauseNoVswitchd, fmt.Sprintf("ovs-vswitchd does not answer on host %s: %s.", host, sw.Vswitchd)
	case "no_bridge":
		return CauseNoBridge, fmt.Sprintf("There is no bridge %s on host %s.", sw.Bridge, host)
	}
	return CauseSwitchGone, fmt.Sprintf("The bridge %s of host %s is not connected to the agent: %s.", sw.Bridge, host, sw.Error)
}
