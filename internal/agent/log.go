package agent

import (
	"slices"
	"time"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/trace"
)

// notePlugged keeps when each attachment came.
func (a *Agent) notePlugged(v view.View, now time.Time) {
	here := make(map[model.PortID]bool, len(v.Local))
	for _, l := range v.Local {
		here[l.ID] = true
		if p, ok := a.plugged[l.ID]; !ok || p.device != l.Attachment.Device {
			a.plugged[l.ID] = plugged{device: l.Attachment.Device, since: now}
			a.events.add(l.ID, now, trace.EventInterface, "%s has appeared, ofport %d", l.Attachment.Device, l.Attachment.OFPort)
		}
	}
	for id, p := range a.plugged {
		if !here[id] {
			a.log.Info("VIF unplugged", "port", id, "device", p.device)
			a.events.add(id, now, trace.EventInterface, "%s has gone", p.device)
			delete(a.plugged, id)
		}
	}
}

// logWired says once for each attachment that it is wired.
func (a *Agent) logWired(v view.View, facts map[model.PortID]feed.PortFact, now time.Time) {
	for i := range v.Local {
		l := &v.Local[i]
		p := a.plugged[l.ID]
		if p.wired && !facts[l.ID].Wired && !p.off {
			a.events.add(l.ID, now, trace.EventFlows, "the flows are not as they should be")
			p.off = true
			a.plugged[l.ID] = p
		}
		if p.wired && p.off && facts[l.ID].Wired {
			a.events.add(l.ID, now, trace.EventFlows, "the flows are in again")
			p.off = false
			a.plugged[l.ID] = p
		}
		if p.wired || !facts[l.ID].Wired {
			continue
		}
		a.events.add(l.ID, now, trace.EventFlows, "acknowledged by the switch, local VLAN %d, %.1f ms after the interface", l.Network.LocalVLAN, ms(now.Sub(p.since)))
		p.wired = true
		a.plugged[l.ID] = p
		a.log.Info("VIF plugged", "port", l.ID, "network", l.NetworkID, "device", l.Attachment.Device,
			"mac", l.MAC.String(), "tag", l.Network.LocalVLAN, "ofport", l.Attachment.OFPort, "elapsed_ms", ms(now.Sub(p.since)))
	}
}

// noteProblems logs once what somebody has written into the switch's database that cannot be
// used, and once that it is gone.
func (a *Agent) noteProblems(problems []string) {
	for _, p := range problems {
		if !slices.Contains(a.problems, p) {
			a.log.Warn("interface cannot be used as it is written", "problem", p)
		}
	}
	for _, p := range a.problems {
		if !slices.Contains(problems, p) {
			a.log.Info("interface is written well now, or gone", "problem", p)
		}
	}
	a.problems = problems
}
