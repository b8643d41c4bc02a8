package pipeline

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// packet is one that a port sends, or that is to be delivered to it: about half of them pass.
func (d dice) packet(g firewall.Guarded, egress bool) firewall.Packet {
	p := firewall.Packet{Egress: egress, EtherType: vswitch.TypeIPv4, Proto: pick[uint8](d, 1, 6, 6, 17, 17, 132, 47, 112, 33, 136)}
	if d.chance(40) {
		p.EtherType = vswitch.TypeIPv6
		if p.Proto == 1 {
			p.Proto = 58
		}
	}
	rules := rulesOf(g, egress)
	var wanted *model.RuleMatch
	if len(rules) > 0 && d.chance(75) {
		wanted = &rules[d.IntN(len(rules))].RuleMatch
		p.EtherType = vswitch.TypeIPv4
		if wanted.Ethertype == "IPv6" {
			p.EtherType = vswitch.TypeIPv6
		}
	}
	six := p.EtherType == vswitch.TypeIPv6
	s := d.source(g.Port, six)
	other, otherMAC := d.other(g, wanted, six)
	if egress {
		p.EthSrc, p.Src, p.EthDst, p.Dst = s.MAC, s.Prefix.Addr(), otherMAC, other
	} else {
		p.EthSrc, p.Src, p.EthDst, p.Dst = otherMAC, other, g.MAC, s.Prefix.Addr()
	}
	d.service(&p, wanted)
	p.State = pick(d, firewall.New, firewall.New, firewall.New, firewall.New, firewall.New, firewall.New, firewall.Established, firewall.Established,
		firewall.Reply, firewall.Reply, firewall.Related, firewall.CutReply, firewall.Invalid)
	if d.chance(30) {
		d.base(&p, s)
	}
	if egress && d.chance(20) {
		d.spoof(&p)
	}
	return p
}

// rulesOf lists the rules of a port for one direction.
func rulesOf(g firewall.Guarded, egress bool) (all []view.Rule) {
	for _, s := range g.Groups {
		for _, r := range s.Rules {
			if (r.Direction == "egress") == egress {
				all = append(all, r)
			}
		}
	}
	return all
}

// source is an address from which the port may send, or nearly.
func (d dice) source(p *model.Port, six bool) view.Source {
	var all []view.Source
	for _, f := range p.FixedIPs {
		if f.Addr.Is6() == six {
			all = append(all, view.Source{MAC: p.MAC, Prefix: netip.PrefixFrom(f.Addr, f.Addr.BitLen())})
		}
	}
	for _, a := range p.AddressPairs {
		m := a.MAC
		if m.IsZero() {
			m = p.MAC
		}
		if a.Prefix.Addr().Is6() == six {
			all = append(all, view.Source{MAC: m, Prefix: netip.PrefixFrom(d.within(a.Prefix), 128)})
		}
		if six {
			all = append(all, view.Source{MAC: m, Prefix: netip.PrefixFrom(linkLocal(m), 128)})
		}
	}
	if six {
		all = append(all, view.Source{MAC: p.MAC, Prefix: netip.PrefixFrom(linkLocal(p.MAC), 128)})
	}
	return all[d.IntN(len(all))]
}

// within is an address of a prefix, its edges among them, or the neighbour of an edge.
func (d dice) within(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr()
	b := first.AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	for i := p.Bits(); i < len(b)*8; i++ {
		if d.chance(50) {
			b[i/8] &^= 0x80 >> (i % 8)
		}
	}
	inside, _ := netip.AddrFromSlice(b)
	a := pick(d, first, last, inside, inside, p.Addr(), p.Addr(), first.Prev(), last.Next())
	if !a.IsValid() {
		return inside
	}
	return a
}

// other is the other side that a rule wants, or nearly, or anybody.
func (d dice) other(g firewall.Guarded, m *model.RuleMatch, six bool) (netip.Addr, model.MAC) {
	addr, mac := d.address(six), d.mac()
	if m == nil || d.chance(10) {
		return addr, mac
	}
	switch group := g.AddressGroups[m.RemoteAddressGroup]; {
	case m.RemotePrefix.IsValid():
		return d.within(m.RemotePrefix), mac
	case group != nil && len(group.Addresses) > 0:
		if p := pick(d, group.Addresses...); p.Addr().Is6() == six {
			return d.within(p), mac
		}
	case m.RemoteGroup != "" && len(g.Members[m.RemoteGroup]) > 0:
		if from := pick(d, g.Members[m.RemoteGroup]...).Sources; len(from) > 0 {
			s := pick(d, from...)
			if d.chance(70) {
				mac = s.MAC
			}
			if s.Prefix.Addr().Is6() == six {
				addr = d.within(s.Prefix)
			}
		}
	}
	return addr, mac
}

// linkLocal is the link-local address that a MAC address gives (RFC 4291, appendix A).
func linkLocal(m model.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// service fills in protocol and ports as a rule wants them, or nearly.
func (d dice) service(p *firewall.Packet, m *model.RuleMatch) {
	p.SrcPort, p.DstPort = pick[uint16](d, 67, 68, 546, 1024, 40000), pick[uint16](d, 1, 22, 80, 1000, 40000, 65535)
	p.ICMPType, p.ICMPCode = pick[uint8](d, 0, 3, 8, 11, 128, 129, 137, 143), uint8(d.IntN(2))
	if m != nil {
		if n, err := strconv.Atoi(model.ProtocolNumber(m.Protocol, m.Ethertype)); err == nil && d.chance(93) {
			p.Proto = uint8(n)
		}
		switch {
		case m.PortMin == nil:
		case p.Proto == 1 || p.Proto == 58:
			p.ICMPType = uint8(*m.PortMin)
			if m.PortMax != nil && d.chance(80) {
				p.ICMPCode = uint8(*m.PortMax)
			}
		case m.PortMax != nil && *m.PortMax >= *m.PortMin:
			from, to := int(*m.PortMin), int(*m.PortMax)
			p.DstPort = uint16(pick(d, from, to, from+d.IntN(to-from+1), from+d.IntN(to-from+1), max(from-1, 0), min(to+1, 65535)))
		}
	}
	switch p.Proto {
	case 6, 17, 132:
		p.ICMPType, p.ICMPCode = 0, 0
	case 1, 58:
		if (p.Proto == 58) != (p.EtherType == vswitch.TypeIPv6) {
			p.ICMPType, p.ICMPCode = 0, 0 // to the switch it is just some protocol
		}
		p.SrcPort, p.DstPort = 0, 0
		if p.Proto == 58 && p.ICMPType >= 133 && p.ICMPType <= 136 {
			p.ICMPType = 128
		}
	default:
		p.SrcPort, p.DstPort, p.ICMPType, p.ICMPCode = 0, 0, 0, 0
	}
}

// base makes a packet one of those of which the filter knows without rules.
func (d dice) base(p *firewall.Packet, own view.Source) {
	q := firewall.Packet{Egress: p.Egress, EthSrc: p.EthSrc, EthDst: p.EthDst, Src: p.Src, Dst: p.Dst, State: p.State}
	family := func(six bool) {
		q.EtherType = vswitch.TypeIPv4
		if six {
			q.EtherType = vswitch.TypeIPv6
		}
		if q.Src.Is6() != six {
			q.Src, q.Dst = d.address(six), d.address(six)
		}
	}
	switch k := d.IntN(12); {
	case k < 3:
		q.EtherType, q.ARPOp, q.ARPSHA = vswitch.TypeARP, pick[uint16](d, 1, 2), q.EthSrc
		if q.Src.Is6() {
			q.Src, q.Dst = d.address4(), d.address4()
		}
		if d.chance(25) {
			q.Src = netip.IPv4Unspecified()
		}
	case k < 4:
		q.EtherType, q.Src, q.Dst = pick[uint16](d, vswitch.TypeRARP, 0x88cc, 0x8863), netip.Addr{}, netip.Addr{}
	case k < 8:
		family(true)
		q.Proto, q.ICMPType = 58, pick[uint8](d, 130, 131, 132, 133, 134, 135, 135, 136, 136, 137, 143)
		if q.ICMPType == 135 || q.ICMPType == 136 {
			q.NDTarget, q.NDLink = pick(d, q.Src, q.Src, own.Prefix.Addr(), d.address6(), d.address6(), netip.IPv6Unspecified()), pick(d, q.EthSrc, q.EthSrc, model.MAC{}, d.mac())
			if q.NDTarget.Is4() {
				q.NDTarget = q.Src
			}
		}
		if d.chance(25) {
			q.Src = netip.IPv6Unspecified()
		}
	default:
		family(d.chance(40))
		q.Proto = 17
		client, server := uint16(68), uint16(67)
		if q.EtherType == vswitch.TypeIPv6 {
			client, server = 546, 547
		} else if d.chance(30) {
			q.Src = netip.IPv4Unspecified()
		}
		q.SrcPort, q.DstPort = client, server
		if d.chance(50) {
			q.SrcPort, q.DstPort = server, client
		}
		if d.chance(15) {
			q.DstPort = pick(d, q.DstPort+1, q.DstPort-1)
		}
	}
	*p = q
}

// spoof makes something about what a port sends another's.
func (d dice) spoof(p *firewall.Packet) {
	switch d.IntN(5) {
	case 0:
		p.EthSrc = d.mac()
	case 1:
		if p.Src.IsValid() && p.Src.Next().IsValid() {
			p.Src = pick(d, d.address(p.Src.Is6()), p.Src.Next())
		}
	case 2:
		p.Tagged = true
	case 3:
		if p.EtherType == vswitch.TypeARP {
			p.ARPSHA = d.mac()
		} else if p.NDTarget.IsValid() {
			p.NDLink = d.mac()
		}
	case 4:
		if p.NDTarget.IsValid() {
			p.NDTarget = d.address6()
		}
	}
	if !p.Src.IsValid() && p.EtherType == vswitch.TypeIPv6 {
		p.Src = netip.IPv6Unspecified()
	}
}

// traced is a packet as ofproto/trace reads it: what comes in at an OpenFlow port.
func traced(p firewall.Packet, in uint32, vlan view.LocalVLAN, marked bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "in_port=%d,dl_src=%s,dl_dst=%s", in, p.EthSrc, p.EthDst)
	if vlan != 0 {
		fmt.Fprintf(&b, ",dl_vlan=%d", vlan)
	}
	fmt.Fprintf(&b, ",dl_type=0x%04x", p.EtherType)
	switch p.EtherType {
	case vswitch.TypeARP:
		fmt.Fprintf(&b, ",arp_op=%d,arp_spa=%s,arp_tpa=%s,arp_sha=%s", p.ARPOp, p.Src, p.Dst, p.ARPSHA)
	case vswitch.TypeIPv4:
		fmt.Fprintf(&b, ",nw_proto=%d,nw_src=%s,nw_dst=%s", p.Proto, p.Src, p.Dst)
	case vswitch.TypeIPv6:
		fmt.Fprintf(&b, ",nw_proto=%d,ipv6_src=%s,ipv6_dst=%s", p.Proto, p.Src, p.Dst)
	}
	switch {
	case p.Proto == 6 || p.Proto == 17 || p.Proto == 132:
		name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[p.Proto]
		fmt.Fprintf(&b, ",%s_src=%d,%s_dst=%d", name, p.SrcPort, name, p.DstPort)
	case p.Proto == 1 && p.EtherType == vswitch.TypeIPv4:
		fmt.Fprintf(&b, ",icmp_type=%d,icmp_code=%d", p.ICMPType, p.ICMPCode)
	case p.Proto == 58 && p.EtherType == vswitch.TypeIPv6:
		fmt.Fprintf(&b, ",icmpv6_type=%d,icmpv6_code=%d", p.ICMPType, p.ICMPCode)
	}
	if p.NDTarget.IsValid() && p.ICMPCode == 0 {
		fmt.Fprintf(&b, ",nd_target=%s", p.NDTarget)
		if !p.NDLink.IsZero() {
			fmt.Fprintf(&b, ",%s=%s", map[uint8]string{135: "nd_sll", 136: "nd_tll"}[p.ICMPType], p.NDLink)
		}
	}
	if marked {
		b.WriteString(",ct_mark=1")
	}
	return b.String()
}
