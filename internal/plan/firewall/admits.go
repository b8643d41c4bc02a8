package firewall

import (
	"net/netip"
	"slices"
	"strconv"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// Ethernet types, IP protocols and ICMPv6 types (IANA's numbers).
const (
	etherIPv4, etherARP, etherRARP, etherIPv6 = 0x0800, 0x0806, 0x8035, 0x86dd

	protoICMP, protoTCP, protoUDP, protoICMPv6, protoSCTP = 1, 6, 17, 58, 132

	listenerQuery, listenerReport, listenerDone, listenerReport2       = 130, 131, 132, 143
	routerSolicit, routerAdvertise, neighborSolicit, neighborAdvertise = 133, 134, 135, 136
)

// Admits says whether the filter of a port lets a packet pass. It is what port security and
// security groups promise, written to be read: the flows of the switch are tested against it.
func Admits(g Guarded, p Packet) Verdict {
	switch {
	case p.Egress && p.Tagged:
		return refused(VLANTagged) // of any port: each belongs to one network
	case !g.PortSecurity:
		return free("the port is not filtered: port security is off")
	case model.TrustedOwner(g.DeviceOwner):
		return free("the port is not filtered: it belongs to the network itself")
	case p.Egress:
		return sends(g, p)
	}
	return receives(g, p)
}

func free(why string) Verdict { return Verdict{Base: why} }

func refused(why Reason) Verdict { return Verdict{Reason: why} }

// sends judges what a filtered port sends: first that it is what it says it is, then the rules.
func sends(g Guarded, p Packet) Verdict {
	from := own(g.Port)
	switch {
	case p.EtherType == etherARP && !from.arp(p):
		return refused(SpoofedARP)
	case p.icmpv6(neighborAdvertise, neighborSolicit) && p.NDTarget == netip.IPv6Unspecified():
		return refused(SpoofedND) // it cannot be read
	case p.icmpv6(neighborAdvertise) && !from.advertises(p), p.icmpv6(neighborSolicit, routerSolicit) && !from.solicits(p):
		return refused(SpoofedND)
	case !from.mac(p.EthSrc):
		return refused(SpoofedMAC)
	case p.EtherType == etherARP, p.EtherType == etherRARP:
		return free("every port may resolve addresses and announce its own")
	case p.icmpv6(neighborAdvertise, neighborSolicit, routerSolicit):
		return free("every port may discover its neighbours and routers")
	case p.icmpv6(listenerReport, listenerReport2) && p.Src == netip.IPv6Unspecified():
		return free("every port may configure its IPv6 address")
	case p.udp(68, 67, 546, 547) && (from.ip(p) || p.Src == netip.IPv4Unspecified()):
		return free("every port may be a DHCP client")
	case p.udp(67, 68, 547, 546):
		return refused(DHCPServer)
	case p.icmpv6(routerAdvertise):
		return refused(RouterAdvertisement)
	case !p.ip():
		return refused(OtherProtocol)
	case !from.ip(p):
		return refused(SpoofedIP)
	case p.icmpv6(listenerReport, listenerDone, listenerReport2) && p.EthDst[0]&1 != 0:
		return free("every port may say which multicasts it listens to")
	}
	return judged(g, p)
}

// receives judges what a filtered port is to receive.
func receives(g Guarded, p Packet) Verdict {
	switch {
	case p.EtherType == etherARP:
		return free("every port may resolve addresses")
	case p.icmpv6(listenerQuery, listenerReport, listenerDone, routerSolicit, routerAdvertise, neighborSolicit, neighborAdvertise):
		return free("every port may discover its neighbours and routers")
	case p.udp(67, 68, 547, 546):
		return free("every port may be a DHCP client")
	case !p.ip():
		return refused(OtherProtocol)
	}
	return judged(g, p)
}

// judged goes by the rules. They are for what opens a connection; what belongs to one that was
// allowed passes. Whoever goes on with a connection that he opened is asked for a rule each
// time, so that a connection ends with its rule. Stateless groups know no connections.
func judged(g Guarded, p Packet) Verdict {
	if !slices.ContainsFunc(g.Groups, func(s *view.SecurityGroup) bool { return s.Stateless }) {
		switch p.State {
		case Reply, Related:
			return free("it belongs to a connection that was allowed")
		case CutReply:
			return refused(Cut)
		case Invalid:
			return refused(InvalidState)
		}
	}
	for _, group := range g.Groups {
		for _, r := range group.Rules {
			if p.is(r.RuleMatch) && p.service(r.RuleMatch) && g.remote(r.RuleMatch, p) {
				return Verdict{Group: group.ID, Rule: r.ID}
			}
		}
	}
	if p.Egress {
		return refused(NoEgressRule)
	}
	return refused(NoIngressRule)
}

// is: the rule is for packets of this direction and IP version.
func (p Packet) is(m model.RuleMatch) bool {
	return p.Egress == (m.Direction == "egress") &&
		(p.EtherType == etherIPv4 && m.Ethertype == "IPv4" || p.EtherType == etherIPv6 && m.Ethertype == "IPv6")
}

// service: the rule is for this protocol and port, or type and code. The switch sees ports of
// TCP, UDP and SCTP only: a rule for ports of any other protocol admits nothing.
func (p Packet) service(m model.RuleMatch) bool {
	protocol, ports := model.ProtocolNumber(m.Protocol, m.Ethertype), m.PortMin != nil || m.PortMax != nil
	switch {
	case protocol == "":
		return !ports
	case protocol != strconv.Itoa(int(p.Proto)):
		return false
	case !ports:
		return true
	case p.hasPorts():
		return (m.PortMin == nil || int64(p.DstPort) >= *m.PortMin) && (m.PortMax == nil || int64(p.DstPort) <= *m.PortMax)
	case p.isICMP():
		return (m.PortMin == nil || int64(p.ICMPType) == *m.PortMin) && (m.PortMax == nil || int64(p.ICMPCode) == *m.PortMax)
	}
	return false
}

// remote: the rule is for this other side. A member of a group that may send from any address
// is known by its MAC address instead.
func (g Guarded) remote(m model.RuleMatch, p Packet) bool {
	addr, mac := p.Src, p.EthSrc
	if p.Egress {
		addr, mac = p.Dst, p.EthDst
	}
	switch {
	case m.RemotePrefix.IsValid():
		return m.RemotePrefix.Contains(addr)
	case m.RemoteAddressGroup != "":
		group := g.AddressGroups[m.RemoteAddressGroup]
		return group != nil && slices.ContainsFunc(group.Addresses, func(a netip.Prefix) bool { return a.Contains(addr) })
	case m.RemoteGroup != "":
		return slices.ContainsFunc(g.Members[m.RemoteGroup], func(member *view.Member) bool {
			return slices.ContainsFunc(member.Sources, func(s view.Source) bool {
				return s.Prefix.Contains(addr) && (s.Prefix.Bits() > 0 || s.MAC == mac)
			})
		})
	}
	return true
}

// sources is what a port may send from: addresses, each behind a MAC address.
type sources []view.Source

// own is what a port may send from: its fixed IPs, its address pairs, and the link-local
// address that each of its MAC addresses gives.
func own(p *model.Port) sources {
	var all sources
	add := func(m model.MAC, prefix netip.Prefix) {
		local := [16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}
		all = append(all, view.Source{MAC: m, Prefix: prefix}, view.Source{MAC: m, Prefix: netip.PrefixFrom(netip.AddrFrom16(local), 128)})
	}
	add(p.MAC, netip.Prefix{})
	for _, f := range p.FixedIPs {
		add(p.MAC, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
	}
	for _, pair := range p.AddressPairs {
		if pair.MAC.IsZero() {
			pair.MAC = p.MAC
		}
		add(pair.MAC, pair.Prefix)
	}
	return all
}

func (all sources) mac(m model.MAC) bool {
	return slices.ContainsFunc(all, func(s view.Source) bool { return s.MAC == m })
}

// ip: the address is its own, and behind the right MAC address.
func (all sources) ip(p Packet) bool { return all.has(p.EthSrc, p.Src) }

func (all sources) has(m model.MAC, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(s view.Source) bool { return s.MAC == m && s.Prefix.Contains(a) })
}

// arp: it claims an address of its own, or asks whether somebody has one before it takes it.
func (all sources) arp(p Packet) bool {
	probe := p.ARPOp == 1 && p.Src == netip.IPv4Unspecified() && all.mac(p.EthSrc)
	return p.ARPSHA == p.EthSrc && (probe || all.has(p.EthSrc, p.Src))
}

// advertises: it advertises an address of its own, and the MAC address behind which it has it.
func (all sources) advertises(p Packet) bool {
	return all.has(p.EthSrc, p.NDTarget) && (p.NDLink.IsZero() || p.NDLink == p.EthSrc)
}

// solicits: it asks from an address of its own, and wants to be answered at its own MAC address if
// it says at which; or it has no address yet, and cannot be answered at all.
func (all sources) solicits(p Packet) bool {
	nowhere := p.Src == netip.IPv6Unspecified() && p.NDLink.IsZero() && all.mac(p.EthSrc)
	return nowhere || all.ip(p) && (p.NDLink.IsZero() || p.NDLink == p.EthSrc)
}

func (p Packet) ip() bool { return p.EtherType == etherIPv4 || p.EtherType == etherIPv6 }

// hasPorts: it is of a protocol whose ports the switch sees.
func (p Packet) hasPorts() bool {
	return p.Proto == protoTCP || p.Proto == protoUDP || p.Proto == protoSCTP
}

func (p Packet) isICMP() bool {
	return p.EtherType == etherIPv4 && p.Proto == protoICMP || p.EtherType == etherIPv6 && p.Proto == protoICMPv6
}

func (p Packet) icmpv6(types ...uint8) bool {
	return p.EtherType == etherIPv6 && p.Proto == protoICMPv6 && slices.Contains(types, p.ICMPType)
}

// udp: it goes from one port to the other, of IPv4 or of IPv6: DHCP has ports of its own in each.
func (p Packet) udp(src4, dst4, src6, dst6 uint16) bool {
	return p.Proto == protoUDP && (p.EtherType == etherIPv4 && p.SrcPort == src4 && p.DstPort == dst4 ||
		p.EtherType == etherIPv6 && p.SrcPort == src6 && p.DstPort == dst6)
}
