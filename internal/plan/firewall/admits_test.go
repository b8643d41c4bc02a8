package firewall

import (
	"net/netip"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/view"
)

var (
	ownMAC  = model.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x11}
	pairMAC = model.MAC{0, 0, 0x5e, 0, 1, 7}
	foreign = model.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x99}
	anyMAC  = model.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x55} // of a member that may send from any address
)

const ownLinkLocal, pairLinkLocal = "fe80::f816:3eff:fe00:11", "fe80::200:5eff:fe00:107"

func n(i int64) *int64 { return &i }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func rule(id, direction, ethertype string, more func(*model.RuleMatch)) view.Rule {
	r := view.Rule{ID: id, RuleMatch: model.RuleMatch{Direction: direction, Ethertype: ethertype}}
	if more != nil {
		more(&r.RuleMatch)
	}
	return r
}

// guarded is a port with two addresses, two address pairs (one of them behind a MAC address of
// its own), and the groups.
func guarded(groups ...*view.SecurityGroup) Guarded {
	return Guarded{
		Port: &model.Port{
			MAC: ownMAC, PortSecurity: true,
			FixedIPs:     []model.FixedIP{{Addr: addr("10.0.0.11")}, {Addr: addr("2001:db8::11")}},
			AddressPairs: []model.AddressPair{{Prefix: netip.MustParsePrefix("10.99.0.0/16")}, {MAC: pairMAC, Prefix: netip.MustParsePrefix("10.0.0.100/32")}},
		},
		Groups: groups,
		Members: map[string][]*view.Member{"friends": {
			{Group: "friends", Port: "f1", Sources: []view.Source{{MAC: foreign, Prefix: netip.MustParsePrefix("10.0.0.20/32")}, {MAC: foreign, Prefix: netip.MustParsePrefix("2001:db8::20/128")}}},
			{Group: "friends", Port: "f2", Sources: []view.Source{{MAC: anyMAC, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}},
		}},
		AddressGroups: map[string]*model.AddressGroup{"offices": {ID: "offices", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:1::/48")}}},
	}
}

// Packets that the port sends from its own addresses.
func sent(ethertype uint16, proto uint8) Packet {
	p := Packet{Egress: true, EthSrc: ownMAC, EthDst: foreign, EtherType: ethertype, Proto: proto, Src: addr("10.0.0.11"), Dst: addr("192.0.2.1")}
	if ethertype == etherIPv6 {
		p.Src, p.Dst = addr("2001:db8::11"), addr("2001:db8:1::1")
	}
	return p
}

// Packets that come to the port.
func come(ethertype uint16, proto uint8) Packet {
	p := sent(ethertype, proto)
	p.Egress, p.EthSrc, p.EthDst, p.Src, p.Dst = false, foreign, ownMAC, p.Dst, p.Src
	return p
}

// with changes a packet.
func (p Packet) with(change func(*Packet)) Packet {
	change(&p)
	return p
}

func arpPacket(op uint16, spa string, src, sha model.MAC) Packet {
	return Packet{Egress: true, EtherType: etherARP, EthSrc: src, ARPSHA: sha, ARPOp: op, Src: addr(spa), Dst: addr("10.0.0.1")}
}

// toAll makes a packet an IPv6 multicast.
func toAll(p Packet) Packet {
	p.EthDst = model.MAC{0x33, 0x33, 0, 0, 0, 0x16}
	return p
}

func ndPacket(typ uint8, from, target string, src, link model.MAC) Packet {
	p := sent(etherIPv6, protoICMPv6)
	p.EthSrc, p.Src, p.ICMPType, p.NDLink = src, addr(from), typ, link
	if target != "" {
		p.NDTarget = addr(target)
	}
	return p
}

func ports(p Packet, src, dst uint16) Packet { p.SrcPort, p.DstPort = src, dst; return p }

func TestSpoofing(t *testing.T) {
	none := model.MAC{}
	tcp := sent(etherIPv4, protoTCP)
	for _, c := range []struct {
		name string
		p    Packet
		want Reason
	}{
		{"own MAC and address", tcp, Admitted},
		{"own IPv6 address", sent(etherIPv6, protoTCP), Admitted},
		{"link-local address of its MAC", sent(etherIPv6, protoTCP).with(func(p *Packet) { p.Src = addr(ownLinkLocal) }), Admitted},
		{"address of a pair's prefix", tcp.with(func(p *Packet) { p.Src = addr("10.99.3.4") }), Admitted},
		{"address and MAC of a pair", tcp.with(func(p *Packet) { p.Src, p.EthSrc = addr("10.0.0.100"), pairMAC }), Admitted},
		{"link-local address of a pair's MAC", sent(etherIPv6, protoTCP).with(func(p *Packet) { p.Src, p.EthSrc = addr(pairLinkLocal), pairMAC }), Admitted},
		{"address of a pair behind the wrong MAC", tcp.with(func(p *Packet) { p.Src = addr("10.0.0.100") }), SpoofedIP},
		{"own address behind the MAC of a pair", tcp.with(func(p *Packet) { p.EthSrc = pairMAC }), SpoofedIP},
		{"just outside a pair's prefix", tcp.with(func(p *Packet) { p.Src = addr("10.100.0.0") }), SpoofedIP},
		{"another's MAC", tcp.with(func(p *Packet) { p.EthSrc = foreign }), SpoofedMAC},
		{"another's address", tcp.with(func(p *Packet) { p.Src = addr("10.0.0.12") }), SpoofedIP},
		{"no address", tcp.with(func(p *Packet) { p.Src = addr("0.0.0.0") }), SpoofedIP},
		{"another's IPv6 address", sent(etherIPv6, protoTCP).with(func(p *Packet) { p.Src = addr("2001:db8::12") }), SpoofedIP},
		{"a VLAN tag", tcp.with(func(p *Packet) { p.Tagged = true }), VLANTagged},
		{"a VLAN tag on ARP", arpPacket(1, "10.0.0.11", ownMAC, ownMAC).with(func(p *Packet) { p.Tagged = true }), VLANTagged},
		{"neither IP nor ARP", Packet{Egress: true, EthSrc: ownMAC, EtherType: 0x88cc}, OtherProtocol},
		{"neither IP nor ARP, another's MAC", Packet{Egress: true, EthSrc: foreign, EtherType: 0x88cc}, SpoofedMAC},
		{"RARP", Packet{Egress: true, EthSrc: ownMAC, EtherType: etherRARP}, Admitted},
		{"RARP, another's MAC", Packet{Egress: true, EthSrc: foreign, EtherType: etherRARP}, SpoofedMAC},

		{"ARP request", arpPacket(1, "10.0.0.11", ownMAC, ownMAC), Admitted},
		{"ARP reply for a pair", arpPacket(2, "10.0.0.100", pairMAC, pairMAC), Admitted},
		{"ARP reply for a pair by the wrong MAC", arpPacket(2, "10.0.0.100", ownMAC, ownMAC), SpoofedARP},
		{"ARP for another's address", arpPacket(2, "10.0.0.1", ownMAC, ownMAC), SpoofedARP},
		{"ARP with another's hardware address inside", arpPacket(2, "10.0.0.11", ownMAC, foreign), SpoofedARP},
		{"ARP from another's MAC", arpPacket(2, "10.0.0.11", foreign, ownMAC), SpoofedARP},
		{"ARP probe", arpPacket(1, "0.0.0.0", ownMAC, ownMAC), Admitted},
		{"ARP probe with another's hardware address inside", arpPacket(1, "0.0.0.0", ownMAC, foreign), SpoofedARP},
		{"ARP reply from 0.0.0.0", arpPacket(2, "0.0.0.0", ownMAC, ownMAC), SpoofedARP},

		{"advertisement", ndPacket(neighborAdvertise, "2001:db8::11", "2001:db8::11", ownMAC, ownMAC), Admitted},
		{"advertisement without the option", ndPacket(neighborAdvertise, "2001:db8::11", ownLinkLocal, ownMAC, none), Admitted},
		{"advertisement of another's address", ndPacket(neighborAdvertise, "2001:db8::11", "2001:db8::12", ownMAC, ownMAC), SpoofedND},
		{"advertisement of another's MAC", ndPacket(neighborAdvertise, "2001:db8::11", "2001:db8::11", ownMAC, foreign), SpoofedND},
		{"solicitation", ndPacket(neighborSolicit, "2001:db8::11", "2001:db8::1", ownMAC, ownMAC), Admitted},
		{"solicitation without the option", ndPacket(neighborSolicit, "2001:db8::11", "2001:db8::1", ownMAC, none), Admitted},
		{"solicitation with another's MAC", ndPacket(neighborSolicit, "2001:db8::11", "2001:db8::1", ownMAC, foreign), SpoofedND},
		{"solicitation with another MAC of its own", ndPacket(neighborSolicit, "2001:db8::11", "2001:db8::1", ownMAC, pairMAC), SpoofedND},
		{"solicitation from another's address", ndPacket(neighborSolicit, "2001:db8::12", "2001:db8::1", ownMAC, ownMAC), SpoofedND},
		{"solicitation from another's MAC", ndPacket(neighborSolicit, "2001:db8::11", "2001:db8::1", foreign, none), SpoofedND},
		{"solicitation of nobody", ndPacket(neighborSolicit, "2001:db8::11", "::", ownMAC, none), SpoofedND},
		{"duplicate address detection", ndPacket(neighborSolicit, "::", "2001:db8::11", ownMAC, none), Admitted},
		{"duplicate address detection that names a MAC address", ndPacket(neighborSolicit, "::", "2001:db8::11", ownMAC, ownMAC), SpoofedND},
		{"router solicitation from another's address", ndPacket(routerSolicit, "2001:db8::12", "", ownMAC, none), SpoofedND},
		{"router solicitation", ndPacket(routerSolicit, ownLinkLocal, "", ownMAC, none), Admitted},
		{"router solicitation from nowhere", ndPacket(routerSolicit, "::", "", ownMAC, none), Admitted},
		{"multicast listener report from nowhere", ndPacket(listenerReport, "::", "", ownMAC, none), Admitted},
		{"its second version", ndPacket(listenerReport2, "::", "", ownMAC, none), Admitted},
		{"ping from nowhere", ndPacket(128, "::", "", ownMAC, none), SpoofedIP},
		{"router advertisement", ndPacket(routerAdvertise, ownLinkLocal, "", ownMAC, none), RouterAdvertisement},
		{"router advertisement from nowhere", ndPacket(routerAdvertise, "::", "", ownMAC, none), RouterAdvertisement},

		{"DHCP client", ports(sent(etherIPv4, protoUDP), 68, 67).with(func(p *Packet) { p.Src = addr("0.0.0.0") }), Admitted},
		{"DHCPv6 client", ports(sent(etherIPv6, protoUDP), 546, 547).with(func(p *Packet) { p.Src = addr(ownLinkLocal) }), Admitted},
		{"DHCP client with another's address", ports(sent(etherIPv4, protoUDP), 68, 67).with(func(p *Packet) { p.Src = addr("10.0.0.12") }), SpoofedIP},
		{"DHCPv6 client with another's address", ports(sent(etherIPv6, protoUDP), 546, 547).with(func(p *Packet) { p.Src = addr("2001:db8::12") }), SpoofedIP},
		{"DHCPv6 client without an address", ports(sent(etherIPv6, protoUDP), 546, 547).with(func(p *Packet) { p.Src = addr("::") }), SpoofedIP},
		{"DHCP server", ports(sent(etherIPv4, protoUDP), 67, 68), DHCPServer},
		{"DHCPv6 server", ports(sent(etherIPv6, protoUDP), 547, 546), DHCPServer},
		{"from no address, not DHCP", ports(sent(etherIPv4, protoUDP), 68, 69).with(func(p *Packet) { p.Src = addr("0.0.0.0") }), SpoofedIP},
		{"ports of DHCP, but TCP", ports(tcp, 67, 68), Admitted},
		{"ports of DHCP in IPv6", ports(sent(etherIPv6, protoUDP), 67, 68), Admitted},
	} {
		open := guarded(&view.SecurityGroup{ID: "any", Rules: []view.Rule{rule("4", "egress", "IPv4", nil), rule("6", "egress", "IPv6", nil)}})
		if got := Admits(open, c.p); got.Reason != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.Reason, c.want)
		}
		if c.want == VLANTagged {
			continue // whoever sends it
		}
		for _, owner := range []string{"network:dhcp", "network:router_interface"} {
			open.Port.DeviceOwner = owner
			if got := Admits(open, c.p); !got.Passes() || got.Base == "" || got.Rule != "" {
				t.Errorf("%s: of a port of %s: %+v", c.name, owner, got)
			}
		}
		open.Port.DeviceOwner, open.Port.PortSecurity = "", false
		if got := Admits(open, c.p); !got.Passes() || got.Base == "" || got.Rule != "" {
			t.Errorf("%s: without port security: %+v", c.name, got)
		}
	}
}

// TestWithoutRules: what a port may send and receive without any group, and nothing else.
func TestWithoutRules(t *testing.T) {
	nd := func(typ uint8) Packet {
		return come(etherIPv6, protoICMPv6).with(func(p *Packet) { p.ICMPType = typ })
	}
	for _, c := range []struct {
		name string
		p    Packet
		want Reason
	}{
		{"ARP comes", Packet{EtherType: etherARP, EthSrc: foreign, ARPSHA: foreign, ARPOp: 1}, Admitted},
		{"ARP goes", arpPacket(1, "10.0.0.11", ownMAC, ownMAC), Admitted},
		{"solicitation comes", nd(neighborSolicit), Admitted},
		{"advertisement comes", nd(neighborAdvertise), Admitted},
		{"advertisement goes", ndPacket(neighborAdvertise, "2001:db8::11", "2001:db8::11", ownMAC, ownMAC), Admitted},
		{"solicitation goes", ndPacket(neighborSolicit, "2001:db8::11", "2001:db8::1", ownMAC, ownMAC), Admitted},
		{"router advertisement comes", nd(routerAdvertise), Admitted},
		{"router solicitation comes", nd(routerSolicit), Admitted},
		{"multicast listener query comes", nd(listenerQuery), Admitted},
		{"multicast listener report comes", nd(listenerReport), Admitted},
		{"multicast listener done comes", nd(132), Admitted},
		{"redirect comes", nd(137), NoIngressRule},
		{"listener report of the second version comes", nd(listenerReport2), NoIngressRule},
		{"listener report of the second version goes", ndPacket(listenerReport2, ownLinkLocal, "", ownMAC, model.MAC{}), NoEgressRule},
		{"listener report goes to all", toAll(ndPacket(listenerReport2, ownLinkLocal, "", ownMAC, model.MAC{})), Admitted},
		{"listener report as another goes to all", toAll(ndPacket(listenerReport2, "fe80::1", "", ownMAC, model.MAC{})), SpoofedIP},
		{"listener query goes", ndPacket(listenerQuery, ownLinkLocal, "", ownMAC, model.MAC{}), NoEgressRule},
		{"DHCP answer comes", ports(come(etherIPv4, protoUDP), 67, 68), Admitted},
		{"DHCPv6 answer comes", ports(come(etherIPv6, protoUDP), 547, 546), Admitted},
		{"DHCP request comes", ports(come(etherIPv4, protoUDP), 68, 67), NoIngressRule},
		{"DHCPv6 request comes", ports(come(etherIPv6, protoUDP), 546, 547), NoIngressRule},
		{"DHCP renewal goes", ports(sent(etherIPv4, protoUDP), 68, 67), Admitted},
		{"DHCPv6 renewal goes", ports(sent(etherIPv6, protoUDP), 546, 547), Admitted},
		{"TCP goes", sent(etherIPv4, protoTCP), NoEgressRule},
		{"TCP comes", come(etherIPv4, protoTCP), NoIngressRule},
		{"IPv6 ping goes", ndPacket(128, "2001:db8::11", "", ownMAC, model.MAC{}), NoEgressRule},
		{"IPv6 ping comes", nd(128), NoIngressRule},
		{"neither IP nor ARP comes", Packet{EtherType: 0x88cc}, OtherProtocol},
		{"RARP comes", Packet{EtherType: etherRARP}, OtherProtocol},
	} {
		for _, g := range []Guarded{guarded(), guarded(&view.SecurityGroup{ID: "nothing"}), guarded(&view.SecurityGroup{ID: "nothing", Stateless: true})} {
			got := Admits(g, c.p)
			if got.Reason != c.want || got.Passes() != (got.Base != "") || got.Rule != "" || got.Group != "" {
				t.Errorf("%s: %s %+v, want %s", c.name, got.Reason, got, c.want)
			}
		}
	}
}

// TestAnyAddress: a pair 0.0.0.0/0 lets its MAC address send from every IPv4 address, and no other.
func TestAnyAddress(t *testing.T) {
	g := guarded(&view.SecurityGroup{ID: "any", Rules: []view.Rule{rule("4", "egress", "IPv4", nil), rule("6", "egress", "IPv6", nil)}})
	g.AddressPairs = []model.AddressPair{{MAC: pairMAC, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	as := func(p Packet, m model.MAC, a string) Packet { p.EthSrc, p.Src = m, addr(a); return p }
	for _, c := range []struct {
		name string
		p    Packet
		want Reason
	}{
		{"any address", as(sent(etherIPv4, protoTCP), pairMAC, "198.51.100.7"), Admitted},
		{"of the other MAC", as(sent(etherIPv4, protoTCP), ownMAC, "198.51.100.7"), SpoofedIP},
		{"ARP for any address", arpPacket(2, "198.51.100.7", pairMAC, pairMAC), Admitted},
		{"ARP for any address of the other MAC", arpPacket(2, "198.51.100.7", ownMAC, ownMAC), SpoofedARP},
		{"any IPv6 address", as(sent(etherIPv6, protoTCP), pairMAC, "2001:db8::99"), SpoofedIP},
		{"DHCP server all the same", ports(as(sent(etherIPv4, protoUDP), pairMAC, "198.51.100.7"), 67, 68), DHCPServer},
	} {
		if got := Admits(g, c.p); got.Reason != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.Reason, c.want)
		}
	}
}
