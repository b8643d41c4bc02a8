package pipeline

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/vswitch"
)

// ICMPv6 types (RFC 4861, RFC 2710, RFC 3810).
const (
	listenerReport        = 131
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	listenerReport2       = 143
)

// trusted reports whether a port may send whatever it likes: port security is off, or
// it belongs to the network itself (DHCP, router).
func trusted(p *model.Port) bool {
	return !p.PortSecurity || strings.HasPrefix(p.DeviceOwner, model.OwnerNetworkPrefix)
}

// source is an address that a port may send from.
type source struct {
	mac    model.MAC
	prefix netip.Prefix
}

// sources lists what a port may send from: its fixed IPs, its address pairs, and the
// link-local address of each of its MAC addresses. Sorted, each once.
func sources(p *model.Port) []source {
	var all []source
	add := func(m model.MAC, prefix netip.Prefix) {
		if prefix.IsValid() {
			all = append(all, source{m, prefix.Masked()})
		}
		all = append(all, source{m, netip.PrefixFrom(linkLocal(m), 128)})
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
	slices.SortFunc(all, func(a, b source) int {
		return cmp.Or(slices.Compare(a.mac[:], b.mac[:]), a.prefix.Addr().Compare(b.prefix.Addr()),
			cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	return slices.Compact(all)
}

// linkLocal is the link-local address that a MAC address gives (RFC 4291, appendix A).
func linkLocal(m model.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// The spoof guard is tables 24, 25 and 71: a port sends only from its own addresses and
// plays neither DHCP server nor router. guardBase is the part that is the same for
// every guarded port.
func guardBase(c uint64) []vswitch.Flow {
	accept, refuse := goTo(AcceptOrIngress), goTo(Dropped)
	none4, none6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	flows := []vswitch.Flow{
		// A probe for an address that its sender does not have yet (RFC 5227) poisons no
		// cache; without it a guest's duplicate address detection sees nothing.
		flow(ARPSpoof, 2, c, match().ARP().Is(vswitch.ARPOp, vswitch.Num(1)).Addr(vswitch.ARPSPA, none4), goTo(MACSpoof)),

		flow(BaseEgress, 95, c, match().ARP(), accept),                  // table 24 has judged it
		flow(BaseEgress, 95, c, match().Type(vswitch.TypeRARP), accept), // QEMU after a migration; table 25 has judged it
		flow(BaseEgress, 95, c, match().ICMPv6(neighborAdvertisement), accept),
		flow(BaseEgress, 80, c, match().UDP(68, 67).Addr(vswitch.IPv4Src, none4), accept),
		flow(BaseEgress, 70, c, match().UDP(67, 68), refuse),
		flow(BaseEgress, 70, c, match().UDP6(547, 546), refuse),
		flow(BaseEgress, 70, c, match().ICMPv6(routerAdvertisement), refuse),
	}
	// What IPv6 sends before it has an address: duplicate address detection and its company.
	for _, t := range []uint8{listenerReport, routerSolicitation, neighborSolicitation, listenerReport2} {
		flows = append(flows, flow(BaseEgress, 95, c, match().ICMPv6(t).Addr(vswitch.IPv6Src, none6), accept))
	}
	return flows
}

// guard is the part of the spoof guard that is a port's own: its addresses.
func guard(c uint64, of uint32, from []source) []vswitch.Flow {
	in, port, accept := match().InPort(of), match().Reg(RegPort, of), goTo(AcceptOrIngress)
	// What is left is refused in a flow of the port's own, for its counter.
	flows := []vswitch.Flow{flow(BaseEgress, 10, c, port, goTo(Dropped))}
	for _, s := range from {
		flows = append(flows, flow(MACSpoof, 2, c, in.EthSrc(s.mac), goTo(Transient)))
		if s.prefix.Addr().Is4() {
			flows = append(flows,
				flow(ARPSpoof, 2, c, in.ARP().Prefix(vswitch.ARPSPA, s.prefix), goTo(MACSpoof)),
				flow(BaseEgress, 65, c, port.IPv4().EthSrc(s.mac).Prefix(vswitch.IPv4Src, s.prefix), accept))
		} else {
			flows = append(flows,
				flow(ARPSpoof, 2, c, in.ICMPv6(neighborAdvertisement).Prefix(vswitch.NDTarget, s.prefix), goTo(MACSpoof)),
				flow(BaseEgress, 65, c, port.IPv6().EthSrc(s.mac).Prefix(vswitch.IPv6Src, s.prefix), accept))
		}
	}
	return flows
}
