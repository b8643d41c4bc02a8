package pipeline

import (
	"slices"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// distributed are the flows of br-int that keep a DHCP port which every host has to this
// host: nothing that is for it leaves, nothing that it says leaves, and nothing of what
// the others' copies hear or say comes in. Guests on several hosts so see one port, each its own.
func (l *layout) distributed(n *view.Network, members []member) []vswitch.Flow {
	p := n.DHCPPort
	if p == nil || !p.Distributed() {
		return nil
	}
	c := l.ofNetwork(n)
	away := match().VLAN(uint16(n.LocalVLAN))
	here := match().Reg(firewall.RegNet, uint32(n.LocalVLAN))
	flows := []vswitch.Flow{
		flow(Transient, 95, c, away.EthDst(p.MAC)),
		flow(Transient, 95, c, away.EthSrc(p.MAC)),
		flow(Transient, 95, c, away.Multicast().UDP(68, 67)),
		// While it is not plugged here.
		flow(Delivery, 29, c, here.EthDst(p.MAC)),
	}

	var all, open, anyMAC, toPort []vswitch.Action
	var ofport uint32
	for _, m := range members {
		out := vswitch.Output{Port: m.ofport}
		all = append(all, out)
		if m.trusted {
			open = append(open, out)
		}
		if m.trusted && !model.TrustedOwner(m.port.DeviceOwner) {
			anyMAC = append(anyMAC, out)
		}
		if m.port.ID == p.ID {
			ofport, toPort = m.ofport, []vswitch.Action{out}
		}
	}
	flows = append(flows, spread(c, 50, here.Multicast().UDP(68, 67), open, nil)...)
	for _, f := range p.FixedIPs {
		asks := func(m vswitch.Match) vswitch.Match {
			return append(neighbour(solicitation), m...).Addr(vswitch.NDTarget, f.Addr)
		}
		if f.Addr.Is4() {
			asks = func(m vswitch.Match) vswitch.Match {
				return m.ARP().Is(vswitch.ARPOp, vswitch.Num(arpRequest)).Addr(vswitch.ARPTPA, f.Addr)
			}
		}
		flows = append(flows, flow(Transient, 95, c, asks(away)), flow(Delivery, 51, c, asks(here), toPort...))
	}
	if ofport == 0 {
		return flows
	}
	mine := here.InPort(ofport)
	for _, m := range []vswitch.Match{mine.Multicast().ARP(), mine.Multicast().UDP(67, 68), append(neighbour(solicitation), mine.Multicast()...)} {
		flows = append(flows, spread(c, 50, m, slices.Clone(all), nil)...)
	}
	return append(flows,
		flow(Delivery, 49, c, mine.Multicast()),
		flow(Delivery, 25, c, mine, anyMAC...))
}
