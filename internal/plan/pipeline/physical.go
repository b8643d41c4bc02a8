package pipeline

import (
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

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
