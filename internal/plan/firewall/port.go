package firewall

import (
	"cmp"
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

var none4, none6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()

// Place is where a filtered port is on the switch.
type Place struct {
	// Cookie is the port's.
	Cookie uint64
	OFPort uint32
}

// Port are the flows of one filtered port in tables 24 to 82: from what it may send, and
// which rules hold for it.
func Port(at Place, p *model.Port, f Filter) []vswitch.Flow {
	w := writer{at: at, in: match().InPort(at.OFPort), port: match().Reg(RegPort, at.OFPort)}
	w.guard(sendsFrom(p), f.Stateless)
	w.rules(RulesEgress, AcceptOrIngress, f.Egress, f.Stateless, NoEgressRule)
	w.rules(RulesIngress, AcceptedIngress, f.Ingress, f.Stateless, NoIngressRule)
	if f.Stateless {
		w.add(BaseIngress, 92, w.port.IPv4(), vswitch.CTClear{}, goTo(RulesIngress))
		w.add(BaseIngress, 92, w.port.IPv6(), vswitch.CTClear{}, goTo(RulesIngress))
	}
	return w.flows
}

// sendsFrom lists what a port may send from: its fixed IPs, its address pairs, and the
// link-local address of each of its MAC addresses. Sorted, each once.
func sendsFrom(p *model.Port) []view.Source {
	var all []view.Source
	add := func(m model.MAC, prefix netip.Prefix) {
		if prefix.IsValid() {
			all = append(all, view.Source{MAC: m, Prefix: prefix.Masked()})
		}
		all = append(all, view.Source{MAC: m, Prefix: netip.PrefixFrom(linkLocal(m), 128)})
	}
	add(p.MAC, netip.Prefix{})
	for _, f := range p.FixedIPs {
		a := f.Addr.Unmap()
		add(p.MAC, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, pair := range p.AddressPairs {
		m := pair.MAC
		if m.IsZero() {
			m = p.MAC
		}
		add(m, pair.Prefix)
	}
	slices.SortFunc(all, func(a, b view.Source) int {
		return cmp.Or(slices.Compare(a.MAC[:], b.MAC[:]), a.Prefix.Addr().Compare(b.Prefix.Addr()),
			cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return slices.Compact(all)
}

// linkLocal is the link-local address that a MAC address gives (RFC 4291, appendix A).
func linkLocal(m model.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// writer writes the flows of one port.
type writer struct {
	at       Place
	in, port vswitch.Match
	flows    []vswitch.Flow
}

func (w *writer) add(table uint8, priority uint16, m vswitch.Match, actions ...vswitch.Action) {
	w.flows = append(w.flows, flow(table, priority, w.at.Cookie, m, actions...))
}

// refuse drops in a flow of the port's own, for its counter.
func (w *writer) refuse(table uint8, priority uint16, m vswitch.Match, why Reason) {
	w.flows = append(w.flows, flow(table, priority, vswitch.WithReason(w.at.Cookie, uint8(why)), m, goTo(Dropped)))
}

// guard is the spoof guard: a port sends only from its own addresses and plays neither
// DHCP server nor router.
func (w *writer) guard(from []view.Source, stateless bool) {
	w.refuse(ARPSpoof, 2, w.in.ARP(), SpoofedARP)
	for _, t := range claims() {
		w.refuse(ARPSpoof, 2, w.in.ICMPv6(t), SpoofedND)
	}
	w.refuse(MACSpoof, 1, w.in, SpoofedMAC)
	w.refuse(BaseEgress, 70, w.port.UDP(67, 68), DHCPServer)
	w.refuse(BaseEgress, 70, w.port.UDP6(547, 546), DHCPServer)
	w.refuse(BaseEgress, 70, w.port.ICMPv6(ndRA), RouterAdvertisement)
	w.refuse(BaseEgress, 10, w.port.IPv4(), SpoofedIP)
	w.refuse(BaseEgress, 10, w.port.IPv6(), SpoofedIP)
	w.refuse(BaseEgress, 5, w.port, OtherProtocol)

	admit := track(RulesEgress)
	if stateless {
		admit = goTo(RulesEgress)
	}
	var last model.MAC
	for _, s := range from {
		if s.MAC != last {
			last = s.MAC
			w.mac(s.MAC)
		}
		if s.Prefix.Addr().Is4() {
			w.source4(s, admit)
		} else {
			w.source6(s, admit)
		}
	}
}

// mac is what a port may send from a MAC address of its own whatever the IP address.
func (w *writer) mac(m model.MAC) {
	w.add(MACSpoof, 2, w.in.EthSrc(m), goTo(Transient))
	// A probe for an address that its sender does not have yet (RFC 5227) poisons no
	// cache; without it a guest's duplicate address detection sees nothing.
	w.add(ARPSpoof, 3, w.in.EthSrc(m).ARP().Is(vswitch.ARPOp, vswitch.Num(1)).Addr(vswitch.ARPSPA, none4).
		Is(vswitch.ARPSHA, vswitch.MACValue(m)), goTo(MACSpoof))
	// Who has no address yet names no MAC address (RFC 4861, 4.3).
	w.add(ARPSpoof, 3, neighbour(w.in.EthSrc(m), ndNS).Addr(vswitch.IPv6Src, none6).
		Is(vswitch.NDSLL, vswitch.MACValue(model.MAC{})), goTo(MACSpoof))
	w.add(ARPSpoof, 3, w.in.EthSrc(m).ICMPv6(ndRS).Addr(vswitch.IPv6Src, none6), goTo(MACSpoof))
}

func (w *writer) source4(s view.Source, admit vswitch.Action) {
	w.add(ARPSpoof, 3, w.in.EthSrc(s.MAC).ARP().Prefix(vswitch.ARPSPA, s.Prefix).
		Is(vswitch.ARPSHA, vswitch.MACValue(s.MAC)), goTo(MACSpoof))
	from := w.port.EthSrc(s.MAC)
	w.add(BaseEgress, 80, from.UDP(68, 67).Prefix(vswitch.IPv4Src, s.Prefix), goTo(AcceptOrIngress))
	w.add(BaseEgress, 65, from.IPv4().Prefix(vswitch.IPv4Src, s.Prefix), admit)
}

func (w *writer) source6(s view.Source, admit vswitch.Action) {
	for _, link := range []model.MAC{s.MAC, {}} { // the option may be absent
		w.add(ARPSpoof, 3, neighbour(w.in.EthSrc(s.MAC), ndNA).Prefix(vswitch.NDTarget, s.Prefix).
			Is(vswitch.NDTLL, vswitch.MACValue(link)), goTo(MACSpoof))
		w.add(ARPSpoof, 3, neighbour(w.in.EthSrc(s.MAC), ndNS).Prefix(vswitch.IPv6Src, s.Prefix).
			Is(vswitch.NDSLL, vswitch.MACValue(link)), goTo(MACSpoof))
	}
	w.add(ARPSpoof, 3, w.in.EthSrc(s.MAC).ICMPv6(ndRS).Prefix(vswitch.IPv6Src, s.Prefix), goTo(MACSpoof))
	from := w.port.EthSrc(s.MAC)
	w.add(BaseEgress, 80, from.UDP6(546, 547).Prefix(vswitch.IPv6Src, s.Prefix), goTo(AcceptOrIngress))
	w.add(BaseEgress, 65, from.IPv6().Prefix(vswitch.IPv6Src, s.Prefix), admit)
}

// rules names a port in the rules of its groups: in one table, those of one direction.
func (w *writer) rules(table, accepted uint8, r Rules, stateless bool, none Reason) {
	m := w.port
	if !stateless {
		m = original(m)
	}
	// A packet that one such flow decides is looked at no further: the switch need not
	// learn what the rules of others are about.
	if r.All4 {
		w.add(table, 77, m.IPv4(), goTo(accepted))
	}
	if r.All6 {
		w.add(table, 77, m.IPv6(), goTo(accepted))
	}
	var in []vswitch.Action
	for _, c := range r.Conjunctions {
		in = append(in, vswitch.Conjunction{ID: c.ID, Clause: 1, Of: c.Of})
	}
	if len(in) > 0 {
		w.add(table, 70, m, in...)
	}
	if stateless {
		w.refuse(table, 41, w.port, none)
		return
	}
	w.refuse(table, 40, state(w.port, ctTrk, ctEst), none)
}
