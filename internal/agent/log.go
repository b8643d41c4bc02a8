package agent

import (
	"log/slog"
	"slices"
	"time"

	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/dhcp"
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

// leaseTable holds the leases that the responder was last given, by network.
type leaseTable map[model.NetworkID]map[model.PortID][]dhcp.Lease

// maxNamed is how many ports one line of the log names.
const maxNamed = 16

// update logs, once per change, for which ports the responder now holds other leases.
func (t leaseTable) update(p plan.Plan, faults []host.Fault, begin, now time.Time, log *slog.Logger) {
	broken := brokenBy(faults)
	wanted := make(map[model.NetworkID]bool, len(p.DHCP))
	for i := range p.DHCP {
		s := &p.DHCP[i]
		wanted[s.NetworkID] = true
		if broken.serving(s.NetworkID) {
			continue
		}
		leases := make(map[model.PortID][]dhcp.Lease)
		for _, l := range s.Leases {
			leases[l.PortID] = append(leases[l.PortID], l)
		}
		old := t[s.NetworkID]
		var changed []model.PortID
		for id, ls := range leases {
			if !slices.EqualFunc(ls, old[id], func(a, b dhcp.Lease) bool { return a.Equal(&b) }) {
				changed = append(changed, id)
			}
		}
		t[s.NetworkID] = leases
		logLeases(log, s.NetworkID, changed, now.Sub(begin))
	}
	for id := range t {
		if !wanted[id] {
			delete(t, id)
		}
	}
}

func logLeases(log *slog.Logger, network model.NetworkID, changed []model.PortID, elapsed time.Duration) {
	slices.Sort(changed)
	switch {
	case len(changed) == 0:
	case len(changed) == 1:
		log.Info("DHCP configuration for port "+string(changed[0])+" is completed", "network", network, "elapsed_ms", ms(elapsed))
	case len(changed) <= maxNamed:
		log.Info("DHCP configuration for ports is completed", "network", network, "ports", changed, "elapsed_ms", ms(elapsed))
	default:
		log.Info("DHCP configuration for ports is completed", "network", network, "ports", len(changed), "elapsed_ms", ms(elapsed))
	}
}
