package pipeline

import (
	"slices"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// flow and goTo keep the tables below readable as tables.
var flow, match = vswitch.NewFlow, vswitch.Any

func goTo(table uint8) vswitch.Action { return vswitch.GotoTable{Table: table} }

// member is a live local port as its network delivers to it.
type member struct {
	port   *model.Port
	ofport uint32
	vlan   uint32
	// trusted ports have no filter; stateless ones are not tracked.
	trusted, stateless bool
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
	for _, t := range []uint8{LocalSwitching, Canary, Transient, Delivery} {
		flows = append(flows, flow(t, 0, c, match()))
	}
	flows = append(flows, firewall.Base(c)...)
	flows = append(flows, floods(c)...)
	if l.TunnelBridge != "" {
		flows = append(flows, flow(LocalSwitching, 3, c, match().InPort(OFPatchTun), goTo(Transient)))
	}
	for _, b := range l.physical {
		flows = append(flows, flow(LocalSwitching, 2, c, match().InPort(l.intPort[b])))
	}
	return flows
}

// floods decides in table 94 who gets a multicast. What every port may receive goes to all of
// them at once; the rest is tracked once, and then judged for each receiver.
func floods(c uint64) []vswitch.Flow {
	undecided := match().Reg(firewall.RegFlood, 0).Multicast()
	decide := func(priority uint16, m vswitch.Match, who uint32) vswitch.Flow {
		return flow(Delivery, priority, c, m, vswitch.SetReg(firewall.RegFlood, who), vswitch.Resubmit{Table: Delivery})
	}
	flows := []vswitch.Flow{
		decide(45, undecided.ARP(), floodAll),
		decide(45, undecided.UDP(67, 68), floodAll),
		decide(45, undecided.UDP6(547, 546), floodAll),
		// Who asks for an address wants a server; ports that may not serve need not hear it.
		decide(45, undecided.UDP(68, 67), floodOpen),
		decide(45, undecided.UDP6(546, 547), floodOpen),
		decide(41, undecided, floodOpen),
	}
	for _, t := range firewall.Configuration() {
		flows = append(flows, decide(45, undecided.ICMPv6(t), floodAll))
	}
	for _, ip := range []vswitch.Match{undecided.IPv4(), undecided.IPv6()} {
		flows = append(flows, decide(43, ip.Masked(vswitch.CTState, tracked, tracked), floodFiltered),
			flow(Delivery, 42, c, ip, vswitch.CT{Table: Delivery, ZoneField: firewall.RegNet}))
	}
	return flows
}

// tracked is the bit of ct_state of a packet that conntrack has seen.
var tracked = vswitch.Num(0x20)

// network are the flows of a network: in from its uplink, and out to where a frame goes
// whose destination is no port of this host.
func (l *layout) network(n *view.Network, memo networkMemo) []vswitch.Flow {
	c, vlan := l.ofNetwork(n), uint16(n.LocalVLAN)
	up, wired := l.uplink(n)
	flows := []vswitch.Flow{
		flow(Transient, 80, c, match().VLAN(vlan),
			vswitch.SetReg(firewall.RegNet, uint32(vlan)), vswitch.PopVLAN{}, goTo(Delivery)),
	}
	if wired && memo.entry && n.Segment.Type != model.SegmentVXLAN {
		flows = append(flows, provider(c, up, n))
	}

	// OpenFlow never sends a frame back out of the port that it came in by, so one flow
	// serves every sender, the uplink included.
	var all, open, stateful, stateless, anyMAC []vswitch.Action
	for _, m := range memo.members {
		out := vswitch.Output{Port: m.ofport}
		all = append(all, out)
		switch {
		case m.trusted:
			open = append(open, out)
		case m.stateless: // forgets what conntrack said: comes last
			stateless = append(stateless, filtered(m)...)
		default:
			stateful = append(stateful, filtered(m)...)
		}
		// Frames to MAC addresses that the cloud does not know may be meant for those that may have any.
		if m.trusted && !model.TrustedOwner(m.port.DeviceOwner) {
			anyMAC = append(anyMAC, out)
		}
	}
	var away []vswitch.Action
	if wired {
		away = []vswitch.Action{vswitch.PushVLAN{}, vswitch.SetVLAN(vlan), vswitch.Output{Port: up}}
	}
	here := match().Reg(firewall.RegNet, uint32(vlan))
	many := here.Multicast()
	flows = append(flows, spread(c, 20, many.Reg(firewall.RegFlood, floodAll), all, away)...)
	flows = append(flows, spread(c, 20, many.Reg(firewall.RegFlood, floodOpen), open, away)...)
	flows = append(flows, spreadFiltered(c, 20, many.Reg(firewall.RegFlood, floodFiltered), append(stateful, stateless...), append(open, away...))...)
	flows = append(flows, pairMACs(c, here, memo.members, append(anyMAC, away...))...)
	flows = append(flows, l.distributed(n, memo.members)...)
	return append(flows, spread(c, 10, here, anyMAC, away)...)
}

// filtered delivers to a port through its filter.
func filtered(m member) []vswitch.Action {
	return []vswitch.Action{vswitch.SetReg(firewall.RegPort, m.ofport), vswitch.Resubmit{Table: firewall.BaseIngress}}
}

// pairMACs deliver frames to the MAC addresses of address pairs to the filtered ports that have
// them: several may, and may be elsewhere, so the others get them as before.
func pairMACs(c uint64, here vswitch.Match, members []member, others []vswitch.Action) []vswitch.Flow {
	to := map[model.MAC][]vswitch.Action{}
	for _, m := range members {
		for _, pair := range m.port.AddressPairs {
			if !m.trusted && pair.MAC != m.port.MAC && !pair.MAC.IsZero() {
				to[pair.MAC] = append(to[pair.MAC], filtered(m)...)
			}
		}
	}
	var flows []vswitch.Flow
	for mac, actions := range to {
		several := []vswitch.Action{vswitch.SetReg(firewall.RegFlood, floodFiltered)}
		flows = append(flows, flow(Delivery, 15, c, here.EthDst(mac), slices.Concat(several, actions, others)...))
	}
	return flows
}

const (
	// maxActions keeps a flow well within an OpenFlow message: 64 KiB, 16 bytes an output.
	maxActions = 3000
	// maxFiltered keeps a packet within what Open vSwitch is ready to do for one: 4,096 tables
	// looked into (MAX_RESUBMITS), three of them for each receiver with a filter.
	maxFiltered = 1000
)

// spread makes the flow of table 94 that does all the outputs and then what comes last; if
// they are too many for one message, a chain of flows, each of which counts on in RegPart and
// looks up the next. What comes last stays together: OVS wants to see a tag pushed before
// it sees it written.
func spread(c uint64, priority uint16, m vswitch.Match, outputs, last []vswitch.Action) []vswitch.Flow {
	return chain(c, priority, m, parts{outputs, last, maxActions, vswitch.Resubmit{Table: Delivery}})
}

// spreadFiltered is spread for receivers with a filter: a pair of actions each. Beyond
// maxFiltered the rest is done after another visit to conntrack, with which Open vSwitch
// begins to count anew.
func spreadFiltered(c uint64, priority uint16, m vswitch.Match, through, last []vswitch.Action) []vswitch.Flow {
	p := parts{through, last, 2 * maxFiltered, vswitch.CT{Table: Delivery, ZoneField: firewall.RegNet}}
	if len(through) <= p.size {
		return chain(c, priority, m, p)
	}
	return append(chain(c, priority, m.IPv4(), p), chain(c, priority, m.IPv6(), p)...)
}

// parts are actions to be done at most size at a time, with next between.
type parts struct {
	actions, last []vswitch.Action
	size          int
	next          vswitch.Action
}

func chain(c uint64, priority uint16, m vswitch.Match, p parts) []vswitch.Flow {
	var flows []vswitch.Flow
	actions := p.actions
	for part := uint32(0); ; part++ {
		at := m.Reg(RegPart, part)
		if len(actions) <= p.size {
			return append(flows, flow(Delivery, priority, c, at, append(actions[:len(actions):len(actions)], p.last...)...))
		}
		now := append(actions[:p.size:p.size], vswitch.SetReg(RegPart, part+1), p.next)
		flows = append(flows, flow(Delivery, priority, c, at, now...))
		actions = actions[p.size:]
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

// port are the flows of one live local port.
func (l *layout) port(m member, f firewall.Filter) []vswitch.Flow {
	c := vswitch.Cookie(l.CookieOwner, vswitch.KindPort, vswitch.CookieObject(string(m.port.ID)))
	toPort, inNet := vswitch.SetReg(firewall.RegPort, m.ofport), vswitch.SetReg(firewall.RegNet, m.vlan)
	in := match().InPort(m.ofport)
	toMe := match().Reg(firewall.RegNet, m.vlan).EthDst(m.port.MAC)
	var flows []vswitch.Flow
	if !m.port.Distributed() {
		flows = append(flows, flow(Transient, 90, c, match().VLAN(uint16(m.vlan)).EthDst(m.port.MAC), toPort, inNet, vswitch.PopVLAN{}, goTo(firewall.BaseIngress)))
	}
	if m.trusted {
		// A VIF is an access port: frames that bring a tag of their own are dropped.
		return append(flows,
			flow(LocalSwitching, 9, c, in.Untagged(), goTo(Transient)),
			flow(Transient, 100, c, in, toPort, inNet, goTo(firewall.AcceptOrIngress)),
			flow(firewall.BaseIngress, 110, c, match().Reg(firewall.RegPort, m.ofport), vswitch.Output{Port: m.ofport}),
			flow(Delivery, 30, c, toMe, vswitch.Output{Port: m.ofport}))
	}
	flows = append(flows,
		flow(LocalSwitching, 9, c, in.Untagged(), goTo(firewall.ARPSpoof)),
		flow(LocalSwitching, 8, vswitch.WithReason(c, uint8(firewall.VLANTagged)), in, goTo(firewall.Dropped)),
		flow(Transient, 100, c, in, toPort, inNet, goTo(firewall.BaseEgress)))
	if m.stateless {
		flows = append(flows, flow(Delivery, 30, c, toMe, filtered(m)...))
	} else {
		flows = append(flows, flow(firewall.AcceptOrIngress, 100, c, toMe, toPort, goTo(firewall.BaseIngress)))
	}
	return append(flows, firewall.Port(firewall.Place{Cookie: c, OFPort: m.ofport}, m.port, f)...)
}
