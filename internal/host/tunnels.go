package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

// TunnelTrial says which tunnels to try.
type TunnelTrial struct {
	// Run names the trial; the other sides use the same.
	Run uint64
	// To is where the tunnels lead.
	To []netip.Addr
	// MTU is that of what the biggest probe stands for.
	MTU int
	// Flows are cookies of flows of the tunnel bridge to look for.
	Flows []uint64
	// A probe without an answer is sent Again once after that time, and given up after GiveUp.
	Again, GiveUp time.Duration
}

// TunnelsFound is what TryTunnels saw; what could not be looked at is in Gaps.
type TunnelsFound struct {
	// Tunnels are those of To, in its order.
	Tunnels []TunnelFound
	// Flows are those with the cookies that were asked for; nil if they could not be read.
	Flows []FlowCount
	Gaps  []string
}

// TunnelFound is a tunnel as it is.
type TunnelFound struct {
	// Port is nil if there is none.
	Port *ovs.Port
	// Tried is what became of the small probe, and then of the big one.
	Tried    []ovs.Tried
	Counters ovs.Counters
}

// TryTunnels looks at the tunnels to some addresses and sends probes through them.
func (h *Host) TryTunnels(ctx context.Context, t TunnelTrial) TunnelsFound {
	f := TunnelsFound{Tunnels: make([]TunnelFound, len(t.To))}
	trial := ovs.Trial{Run: t.Run, Bridge: h.p.TunnelBridge, Sizes: probeSizes(t.MTU), Again: t.Again, GiveUp: t.GiveUp}
	bridges := h.p.Switch.Observe().Bridges
	for i, to := range t.To {
		f.Tunnels[i].Port = tunnelPort(bridges, h.p.TunnelBridge, vif.Tunnel(model.SegmentVXLAN, to))
		if n := f.Tunnels[i].ofport(); n != 0 {
			trial.Ports = append(trial.Ports, uint32(n))
		}
	}
	if err := h.tunnelFlows(ctx, t.Flows, &f); err != nil {
		f.Flows, f.Gaps = nil, append(f.Gaps, "flows: "+err.Error())
	}
	tried, counters, err := h.p.Switch.TryTunnels(ctx, trial)
	if err != nil {
		f.Gaps = append(f.Gaps, "probes: "+err.Error())
	}
	for i := range f.Tunnels {
		if n := f.Tunnels[i].ofport(); n != 0 {
			f.Tunnels[i].Tried, f.Tunnels[i].Counters = tried[uint32(n)], counters[uint32(n)]
		}
	}
	return f
}

func (h *Host) tunnelFlows(ctx context.Context, cookies []uint64, f *TunnelsFound) error {
	f.Flows = []FlowCount{}
	for _, cookie := range cookies {
		flows, _, err := h.p.Switch.DumpFlows(ctx, h.p.TunnelBridge, cookie, 1<<64-1)
		if err != nil {
			return err
		}
		for i := range flows {
			f.Flows = append(f.Flows, FlowCount{Flow: flows[i].Flow, Packets: flows[i].Packets})
		}
	}
	return nil
}

func (f *TunnelFound) ofport() view.OFPort {
	if f.Port == nil {
		return 0
	}
	return f.Port.OFPort
}

// ethernet is the header of a frame, which no MTU counts.
const ethernet = 14

// probeSizes are those of a small frame and of the biggest that an MTU allows.
func probeSizes(mtu int) []int {
	return slices.Compact([]int{ovs.MinProbe, min(max(mtu+ethernet, ovs.MinProbe), ovs.MaxProbe)})
}

func tunnelPort(bridges []ovs.Bridge, bridge, name string) *ovs.Port {
	for _, b := range bridges {
		if b.Name != bridge {
			continue
		}
		for i := range b.Ports {
			if b.Ports[i].Name == name {
				return &b.Ports[i]
			}
		}
	}
	return nil
}
