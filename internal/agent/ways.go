package agent

import (
	"cmp"
	"fmt"
	"slices"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/pipeline"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
	"weft/internal/trace"
)

// ways puts walks into the numbers of this host's switch, as far as they have an end here. One whose other end cannot be told
// (no tunnel there yet) is left out: other steps say so.
func (a *Agent) ways(now published, n *view.Network, walks []trace.Walk) (all []trace.Way) {
	if n == nil || n.LocalVLAN == 0 {
		return nil
	}
	s := a.o.Settings
	for _, w := range walks {
		from, to := localOf(now.view, w.From.PortID), localOf(now.view, w.To.PortID)
		if from == nil && to == nil {
			continue
		}
		y := trace.Way{Walk: w, In: s.IntegrationBridge, Out: s.IntegrationBridge, Owner: s.CookieOwner}
		ok := true
		if from != nil {
			y.As = fmt.Sprintf("in_port=%d", from.Attachment.OFPort)
		} else {
			y.In, y.As, ok = a.comesIn(now, n, w.From)
		}
		if to != nil {
			y.OutPort = uint32(to.Attachment.OFPort)
		} else if ok {
			y.Out, y.OutPort, ok = a.uplink(now, n, w.To)
		}
		if ok {
			all = append(all, y)
		}
	}
	return all
}

// comesIn is how a packet of another host comes to this one.
func (a *Agent) comesIn(now published, n *view.Network, from trace.WalkEnd) (bridge, as string, ok bool) {
	bridge, port, ok := a.uplink(now, n, from)
	as = fmt.Sprintf("in_port=%d", port)
	switch n.Segment.Type {
	case model.SegmentVXLAN:
		as += fmt.Sprintf(",tun_id=%#x", n.Segment.ID)
	case model.SegmentVLAN:
		as += fmt.Sprintf(",dl_vlan=%d", n.Segment.ID)
	}
	return bridge, as, ok
}

// uplink is the bridge and the port of it that lead to another host on a network: its tunnel, or the way to the physical network.
func (a *Agent) uplink(now published, n *view.Network, to trace.WalkEnd) (bridge string, port uint32, ok bool) {
	s := a.o.Settings
	if n.Segment.Type == model.SegmentVXLAN {
		for _, t := range now.view.Tunnels {
			if t.VTEP == to.VTEP {
				return s.TunnelBridge, uint32(t.OFPort), t.OFPort != 0
			}
		}
		return "", 0, false
	}
	patch := vif.IntPatch(s.BridgeMappings[n.Segment.Physical])
	for _, b := range now.plan.Switch.Bridges {
		for _, p := range b.Ports {
			if b.Name == s.IntegrationBridge && p.Name == patch {
				return b.Name, p.OFPort, p.OFPort >= pipeline.OFIntPatch
			}
		}
	}
	return "", 0, false
}

// place is where the packet of a query begins and ends.
func (a *Agent) place(now published, l *view.LocalPort, q trace.Query) (at trace.Place, ok bool) {
	if q.Packet == nil || l == nil {
		return at, false
	}
	at = trace.Place{Bridge: a.o.Settings.IntegrationBridge, OFPort: uint32(l.Attachment.OFPort), LocalVLAN: uint16(l.Network.LocalVLAN), Owner: a.o.Settings.CookieOwner}
	if q.From == "" {
		return at, true
	}
	from := localOf(now.view, q.From)
	if from == nil {
		return at, false
	}
	at.From = uint32(from.Attachment.OFPort)
	return at, at.From != 0
}

// spots are where a port and the DHCP port of its network are on the bridges, as far as they are on this host; of the DHCP port
// only the port's exchange with it matters.
func (a *Agent) spots(now published, n *view.Network, l *view.LocalPort, walks []trace.Walk) (all []trace.Spot) {
	if p, ok := a.spot(now, n, l); ok {
		all = append(all, p)
	}
	if n == nil || n.DHCPPort == nil {
		return all
	}
	p, ok := a.spot(now, n, localOf(now.view, n.DHCPPort.ID))
	p.Tunnels = nil
	for _, w := range walks {
		if w.DHCPPort != n.DHCPPort.ID {
			continue
		}
		p.Only = append(p.Only, w)
		if _, port, ok := a.uplink(now, n, w.From); ok && w.From.PortID != w.DHCPPort && p.VNI != 0 {
			p.Tunnels = append(p.Tunnels, port)
		}
	}
	if ok && len(p.Only) > 0 {
		all = append(all, p)
	}
	return all
}

// spot is where a port of this host is on its bridges.
func (a *Agent) spot(now published, n *view.Network, l *view.LocalPort) (trace.Spot, bool) {
	if n == nil || l == nil || n.LocalVLAN == 0 || l.Attachment.OFPort == 0 {
		return trace.Spot{}, false
	}
	s := a.o.Settings
	p := trace.Spot{Port: l.Port, Int: s.IntegrationBridge, OFPort: uint32(l.Attachment.OFPort), LocalVLAN: uint16(n.LocalVLAN)}
	if n.Segment.Type != model.SegmentVXLAN {
		if _, port, ok := a.uplink(now, n, trace.WalkEnd{}); ok {
			p.Uplinks = []uint32{port}
		}
		return p, true
	}
	p.Uplinks = []uint32{pipeline.OFPatchTun}
	if p.Tun = s.TunnelBridge; p.Tun != "" {
		p.VNI = n.Segment.ID
	}
	for _, t := range now.view.Tunnels {
		p.Tunnels = append(p.Tunnels, uint32(t.OFPort))
	}
	return p, true
}

// shadows are the flows of others that come before those of the plan at one of the spots.
func shadows(spots []trace.Spot, p plan.Plan, found []trace.Foreign) (all []trace.Shadow) {
	for _, spot := range spots {
		for _, s := range spot.Shadows(p.Switch.Flows, found) {
			if !slices.ContainsFunc(all, s.Same) {
				all = append(all, s)
			}
		}
	}
	return all
}

func foreignFlows(f host.Found, owner uint16) (all []trace.Foreign) {
	for bridge, flows := range f.Foreign {
		for _, x := range flows {
			of, _, _ := vswitch.SplitCookie(x.Cookie)
			all = append(all, trace.Foreign{Bridge: bridge, Flow: x.Flow, Partly: x.Partly, Copied: of == owner, Drops: x.Drops, Packets: x.Packets})
		}
	}
	slices.SortStableFunc(all, func(a, b trace.Foreign) int { return cmp.Compare(a.Bridge, b.Bridge) })
	return all
}
