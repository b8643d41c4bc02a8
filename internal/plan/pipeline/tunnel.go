package pipeline

import (
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// tunnel lays out br-tun.
func (l *layout) tunnel() vswitch.Bridge {
	b := l.bridge(l.TunnelBridge)
	b.TableNames = TunTables()
	b.Ports = []vswitch.Port{patchPort(vif.PatchInt, vif.PatchTun, OFPatchInt)}
	return b
}

// tunFlows fills br-tun. There are no tunnels yet: what is sent towards them is dropped
// in table 22.
func (l *layout) tunFlows() []vswitch.Flow {
	c := l.base()
	flows := []vswitch.Flow{
		flow(TunnelStart, 1, c, match().InPort(OFPatchInt), goTo(PatchLVToTun)),
		flow(TunnelStart, 0, c, match()),
		flow(PatchLVToTun, 0, c, match().Unicast(), goTo(UnicastToTun)),
		flow(PatchLVToTun, 0, c, match().Multicast(), goTo(FloodToTun)),
		flow(GRETunToLV, 0, c, match()),
		flow(VXLANTunToLV, 0, c, match()),
		flow(GeneveTunToLV, 0, c, match()),
		flow(LearnFromTun, 1, c, match(), l.learn(), vswitch.Output{Port: OFPatchInt}),
		flow(UnicastToTun, 0, c, match(), goTo(FloodToTun)),
		flow(ARPResponder, 0, c, match(), goTo(FloodToTun)),
		flow(FloodToTun, 0, c, match()),
	}
	taken := map[uint32]bool{}
	for _, n := range l.view.Networks {
		if n.LocalVLAN != 0 && n.Segment.Type == model.SegmentVXLAN && !taken[n.Segment.ID] {
			taken[n.Segment.ID] = true // see place
			flows = append(flows, flow(VXLANTunToLV, 1, l.ofNetwork(n), match().Is(vswitch.TunID, vswitch.Num(uint64(n.Segment.ID))),
				vswitch.PushVLAN{}, vswitch.SetVLAN(uint16(n.LocalVLAN)), goTo(LearnFromTun)))
		}
	}
	return flows
}

// learn remembers behind which tunnel a MAC address is: a flow in table 20 that sends
// what is for it back there, untagged, with the same VNI.
func (l *layout) learn() vswitch.Action {
	return vswitch.Learn{
		Table: UnicastToTun, Priority: 1, HardTimeout: 300, Cookie: vswitch.Cookie(l.CookieOwner, vswitch.KindLearned, 0),
		Specs: []vswitch.LearnSpec{
			{Kind: vswitch.LearnMatch, Dst: vswitch.VLANTCI, NBits: 12, Src: vswitch.VLANTCI},
			{Kind: vswitch.LearnMatch, Dst: vswitch.EthDst, NBits: 48, Src: vswitch.EthSrc},
			{Kind: vswitch.LearnLoad, Dst: vswitch.VLANTCI, NBits: 16},
			{Kind: vswitch.LearnLoad, Dst: vswitch.TunID, NBits: 64, Src: vswitch.TunID},
			{Kind: vswitch.LearnOutput, NBits: 32, Src: vswitch.InPortField},
		},
	}
}

// physicalBridge lays out the bridge that leads to a physical network. Its other ports,
// such as the network card, are the operator's.
func (l *layout) physicalBridge(name string) vswitch.Bridge {
	b := l.bridge(name)
	b.Ports = []vswitch.Port{patchPort(vif.PhyPatch(name), vif.IntPatch(name), OFPhyPatch)}
	return b
}

// physFlows turns local VLANs into those of the physical network. Everything else that
// crosses the bridge is an ordinary switch's business.
func (l *layout) physFlows(bridge string) []vswitch.Flow {
	c := l.base()
	flows := []vswitch.Flow{
		flow(0, 2, c, match().InPort(OFPhyPatch)),
		flow(0, 0, c, match(), vswitch.Normal{}),
	}
	for _, n := range l.view.Networks {
		if n.LocalVLAN == 0 || n.Segment.Physical == "" || l.BridgeMappings[n.Segment.Physical] != bridge {
			continue
		}
		var to vswitch.Action = vswitch.PopVLAN{}
		switch n.Segment.Type {
		case model.SegmentVLAN:
			to = vswitch.SetVLAN(uint16(n.Segment.ID))
		case model.SegmentFlat:
		default:
			continue
		}
		flows = append(flows, flow(0, 4, l.ofNetwork(n), match().InPort(OFPhyPatch).VLAN(uint16(n.LocalVLAN)), to, vswitch.Normal{}))
	}
	return flows
}
