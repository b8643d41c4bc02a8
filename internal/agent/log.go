package agent

import (
	"time"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/plan/view"
)

// notePlugged keeps when each attachment came.
func (a *Agent) notePlugged(v view.View, now time.Time) {
	here := make(map[model.PortID]bool, len(v.Local))
	for _, l := range v.Local {
		here[l.ID] = true
		if p, ok := a.plugged[l.ID]; !ok || p.device != l.Attachment.Device {
			a.plugged[l.ID] = plugged{device: l.Attachment.Device, since: now}
		}
	}
	for id, p := range a.plugged {
		if !here[id] {
			a.log.Info("VIF unplugged", "port", id, "device", p.device)
			delete(a.plugged, id)
		}
	}
}

// logWired says once for each attachment that it is wired.
func (a *Agent) logWired(v view.View, facts map[model.PortID]feed.PortFact, now time.Time) {
	for i := range v.Local {
		l := &v.Local[i]
		p := a.plugged[l.ID]
		if p.wired || !facts[l.ID].Wired {
			continue
		}
		p.wired = true
		a.plugged[l.ID] = p
		a.log.Info("VIF plugged", "port", l.ID, "network", l.NetworkID, "device", l.Attachment.Device,
			"mac", l.MAC.String(), "tag", l.Network.LocalVLAN, "ofport", l.Attachment.OFPort, "elapsed_ms", ms(now.Sub(p.since)))
	}
}
