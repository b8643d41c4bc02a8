package agent

import (
	"context"

	"weft/internal/host"
	"weft/internal/metrics"
)

// count declares what is counted, and shows what the agent knows when somebody reads.
func (a *Agent) count(m *metrics.Registry) {
	a.passes = m.Duration("weft_pass_duration_seconds", "How long it took to work out and apply everything once.")
	ports := m.Gauge("weft_ports", "Ports on this host: wired, or closed because their flows are not in the switch, or strangers that the cloud does not know.", "state")
	flows := m.Gauge("weft_flows", "Flows that a bridge is to hold.", "bridge")
	faults := m.Gauge("weft_faults", "Things that the agent could not do and tries again; weft trace and the log have them in words.", "part")
	connected := m.Gauge("weft_switch_connected", "Whether Open vSwitch can be programmed now.")
	captures := m.Gauge("weft_captures", "Captures of packets that run on this host.")
	inSync := m.Gauge("weft_agent_in_sync", "Whether the agent has from a server all that concerns its host.")
	revision := m.Gauge("weft_agent_revision", "Revision of the cloud that the agent holds.")
	m.OnRead(func(_ context.Context, now *metrics.Reading) {
		a.mu.Lock()
		p := a.now
		a.mu.Unlock()
		wired := 0
		for i := range p.view.Local {
			if p.reported[p.view.Local[i].ID].Wired {
				wired++
			}
		}
		now.Set(ports, float64(wired), "wired")
		now.Set(ports, float64(len(p.view.Local)-wired), "closed")
		now.Set(ports, float64(len(p.view.Strangers)), "stranger")
		for bridge, parts := range p.plan.Switch.Flows {
			n := 0
			for _, part := range parts {
				n += len(part.List)
			}
			now.Set(flows, float64(n), bridge)
		}
		n := map[host.Part]int{host.PartSwitch: 0, host.PartKernel: 0, host.PartDHCP: 0, host.PartUnderlay: 0}
		for _, f := range p.faults {
			n[f.Part]++
		}
		for part, n := range n {
			now.Set(faults, float64(n), string(part))
		}
		a.captures.mu.Lock()
		now.Set(captures, float64(len(a.captures.all)))
		a.captures.mu.Unlock()
		now.Set(connected, truth(a.o.Machine.Observe().Connected))
		st := a.feed.Status()
		now.Set(inSync, truth(st.InSync))
		now.Set(revision, float64(st.Revision))
	})
	a.countDrops(m)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// countDrops shows what the switch has dropped.
func (a *Agent) countDrops(m *metrics.Registry) {
	all := m.Count("weft_dropped_packets_total", "Packets dropped by flows that all ports share, by reason.", "reason")
	of := m.Count("weft_port_dropped_packets_total", "Packets that the filter of a port of this host has dropped, by the port's ID and reason.", "port", "reason")
	m.OnRead(func(ctx context.Context, now *metrics.Reading) {
		dropped, err := a.dropped(ctx)
		if err != nil {
			// Nothing rather than what is old: the series go on when the switch can be read again.
			a.log.Debug("dropped packets cannot be read", "err", err)
			return
		}
		for id, reasons := range dropped {
			for reason, n := range reasons {
				if id == "" {
					now.Set(all, float64(n), reason)
				} else {
					now.Set(of, float64(n), string(id), reason)
				}
			}
		}
	})
}
