package pipeline

import (
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// flow and goTo keep the tables below readable as tables.
var flow, match = vswitch.NewFlow, vswitch.Any

func goTo(table uint8) vswitch.Action { return vswitch.GotoTable{Table: table} }

// intFlows fills br-int.
func (l *layout) intFlows() []vswitch.Flow {
	flows := l.intBase()
	for _, n := range l.view.Networks {
		if n.LocalVLAN != 0 {
			flows = append(flows, l.network(n)...)
		}
	}
	for _, p := range l.view.Local {
		if live(p) {
			flows = append(flows, l.port(p)...)
		}
	}
	return flows
}

// intBase are the flows that are there whatever the view. Every table that is used has
// an explicit drop, whose counter shows what was dropped where.
func (l *layout) intBase() []vswitch.Flow {
	c := l.base()
	flows := []vswitch.Flow{
		flow(LocalSwitching, 65535, c, match().VLAN(vif.DeadVLAN)),
		// A priority tag (802.1p with VLAN 0, which Windows may send) is no VLAN tag.
		flow(LocalSwitching, 11, c, match().VLAN(0), vswitch.PopVLAN{}, vswitch.Resubmit{Table: LocalSwitching}),
	}
	for _, t := range []uint8{LocalSwitching, Canary, ARPSpoof, MACSpoof, Transient, BaseEgress, AcceptOrIngress, BaseIngress, Dropped, AcceptedEgress} {
		flows = append(flows, flow(t, 0, c, match()))
	}
	flows = append(flows, guardBase(c)...)
	if l.TunnelBridge != "" {
		flows = append(flows, flow(LocalSwitching, 3, c, match().InPort(OFPatchTun), goTo(Transient)))
	}
	for _, b := range l.physical {
		flows = append(flows, flow(LocalSwitching, 2, c, match().InPort(l.intPort[b])))
	}
	return flows
}

// network are the flows of a network: in from its uplink, and out to where a frame goes
// whose destination is no port of this host.
func (l *layout) network(n *view.Network) []vswitch.Flow {
	c, vlan := l.ofNetwork(n), uint16(n.LocalVLAN)
	up, wired := l.uplink(n)
	flows := []vswitch.Flow{
		flow(Transient, 80, c, match().VLAN(vlan),
			vswitch.SetReg(RegNet, uint32(vlan)), vswitch.PopVLAN{}, goTo(AcceptedEgress)),
		flow(AcceptOrIngress, 80, c, match().Reg(RegNet, uint32(vlan)), goTo(AcceptedEgress)),
	}
	if wired && n.Segment.Type != model.SegmentVXLAN {
		flows = append(flows, provider(c, up, n))
	}

	// OpenFlow never sends a frame back out of the port that it came in by, so one flow
	// serves every sender, the uplink included.
	var everyone, anyMAC []vswitch.Action // outputs
	for _, p := range l.members[n.ID] {
		out := vswitch.Output{Port: uint32(p.Attachment.OFPort)}
		everyone = append(everyone, out)
		if anyAddress(p) {
			anyMAC = append(anyMAC, out)
		}
	}
	var away []vswitch.Action
	if wired {
		away = []vswitch.Action{vswitch.PushVLAN{}, vswitch.SetVLAN(vlan), vswitch.Output{Port: up}}
	}
	here := match().Reg(RegNet, uint32(vlan))
	flows = append(flows, spread(c, 20, here.Multicast(), everyone, away)...)
	return append(flows, spread(c, 10, here, anyMAC, away)...)
}

// maxActions keeps a flow well within an OpenFlow message: 64 KiB, 16 bytes an output.
const maxActions = 3000

// spread makes the flow of table 94 that does all the outputs and then what comes last; if
// they are too many for one message, a chain of flows, each of which counts on in RegPart and
// looks up the next. What comes last stays together: OVS wants to see a tag pushed before
// it sees it written.
func spread(c uint64, priority uint16, m vswitch.Match, outputs, last []vswitch.Action) []vswitch.Flow {
	var flows []vswitch.Flow
	for part := uint32(0); ; part++ {
		at := m
		p := priority
		if part > 0 {
			at, p = m.Reg(RegPart, part), priority+1
		}
		if len(outputs) <= maxActions {
			return append(flows, flow(AcceptedEgress, p, c, at, append(slices.Clip(outputs), last...)...))
		}
		now := append(slices.Clip(outputs[:maxActions]), vswitch.SetReg(RegPart, part+1), vswitch.Resubmit{Table: AcceptedEgress})
		flows = append(flows, flow(AcceptedEgress, p, c, at, now...))
		outputs = outputs[maxActions:]
	}
}

// provider turns what comes from a physical network into the local VLAN.
func provider(c uint64, up uint32, n *view.Network) vswitch.Flow {
	set := vswitch.SetVLAN(uint16(n.LocalVLAN))
	m := match().InPort(up)
	if n.Segment.Type == model.SegmentFlat {
		return flow(LocalSwitching, 3, c, m.Untagged(), vswitch.PushVLAN{}, set, goTo(Transient))
	}
	return flow(LocalSwitching, 3, c, m.VLAN(uint16(n.Segment.ID)), set, goTo(Transient))
}

// anyAddress reports whether frames to MAC addresses that the cloud does not know may be
// meant for p: it may send from any address, or from those of its address pairs.
func anyAddress(p view.LocalPort) bool {
	if !p.PortSecurity {
		return !strings.HasPrefix(p.DeviceOwner, model.OwnerNetworkPrefix)
	}
	for _, pair := range p.AddressPairs {
		if pair.MAC != p.MAC && !pair.MAC.IsZero() {
			return true
		}
	}
	return false
}

// port are the flows of one live local port.
func (l *layout) port(p view.LocalPort) []vswitch.Flow {
	c, of, vlan := l.ofPort(p), uint32(p.Attachment.OFPort), uint16(p.Network.LocalVLAN)
	toPort := vswitch.SetReg(RegPort, of)
	inNet := vswitch.SetReg(RegNet, uint32(vlan))

	// A VIF is an access port: frames that bring a tag of their own are dropped.
	in := match().InPort(of).Untagged()
	flows := []vswitch.Flow{
		flow(Transient, 90, c, match().VLAN(vlan).EthDst(p.MAC), toPort, inNet, vswitch.PopVLAN{}, goTo(BaseIngress)),
		flow(AcceptOrIngress, 100, c, match().Reg(RegNet, uint32(vlan)).EthDst(p.MAC), toPort, goTo(BaseIngress)),
		flow(BaseIngress, 100, c, match().Reg(RegPort, of), vswitch.Output{Port: of}),
	}
	if trusted(p.Port) {
		return append(flows,
			flow(LocalSwitching, 9, c, in, goTo(Transient)),
			flow(Transient, 100, c, match().InPort(of), toPort, inNet, goTo(AcceptOrIngress)))
	}
	flows = append(flows,
		flow(LocalSwitching, 10, c, in.ARP(), goTo(ARPSpoof)),
		flow(LocalSwitching, 10, c, in.ICMPv6(neighborAdvertisement), goTo(ARPSpoof)),
		flow(LocalSwitching, 9, c, in, goTo(MACSpoof)),
		flow(Transient, 100, c, match().InPort(of), toPort, inNet, goTo(BaseEgress)))
	return append(flows, guard(c, of, sources(p.Port))...)
}
