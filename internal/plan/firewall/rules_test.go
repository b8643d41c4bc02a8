package firewall

import (
	"net/netip"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/view"
)

func TestRules(t *testing.T) {
	proto := func(name string, min, max *int64) func(*model.RuleMatch) {
		return func(m *model.RuleMatch) { m.Protocol, m.PortMin, m.PortMax = name, min, max }
	}
	prefix := func(s string) func(*model.RuleMatch) {
		return func(m *model.RuleMatch) { m.RemotePrefix = netip.MustParsePrefix(s) }
	}
	group := func(id string) func(*model.RuleMatch) { return func(m *model.RuleMatch) { m.RemoteGroup = id } }
	offices := func(id string) func(*model.RuleMatch) {
		return func(m *model.RuleMatch) { m.RemoteAddressGroup = id }
	}
	from := func(p Packet, src string, mac model.MAC) Packet { p.Src, p.EthSrc = addr(src), mac; return p }
	to := func(p Packet, dst string, mac model.MAC) Packet { p.Dst, p.EthDst = addr(dst), mac; return p }
	icmp := func(p Packet, typ, code uint8) Packet { p.ICMPType, p.ICMPCode = typ, code; return p }
	tcp, udp := come(etherIPv4, protoTCP), come(etherIPv4, protoUDP)
	tcp6, ping, ping6 := come(etherIPv6, protoTCP), come(etherIPv4, protoICMP), come(etherIPv6, protoICMPv6)
	const in, out, four, six = "ingress", "egress", "IPv4", "IPv6"
	for _, c := range []struct {
		name            string
		direction, ethr string
		rule            func(*model.RuleMatch)
		p               Packet
		want            bool
	}{
		{"the whole family", in, four, nil, tcp, true},
		{"the other family", in, four, nil, tcp6, false},
		{"the whole of IPv6", in, six, nil, tcp6, true},
		{"the other direction", out, four, nil, tcp, false},
		{"the whole family, out", out, four, nil, sent(etherIPv4, 89), true},

		{"protocol by name", in, four, proto("tcp", nil, nil), tcp, true},
		{"protocol by number", in, four, proto("6", nil, nil), tcp, true},
		{"another protocol", in, four, proto("tcp", nil, nil), udp, false},
		{"a protocol without ports", in, four, proto("vrrp", nil, nil), come(etherIPv4, 112), true},
		{"icmp of IPv4", in, four, proto("icmp", nil, nil), ping, true},
		{"icmp of IPv6 is ICMPv6", in, six, proto("icmp", nil, nil), icmp(ping6, 128, 0), true},
		{"1 of IPv6 is ICMPv6", in, six, proto("1", nil, nil), icmp(ping6, 128, 0), true},
		{"ipv6-icmp", in, six, proto("ipv6-icmp", nil, nil), icmp(ping6, 128, 0), true},

		{"one port", in, four, proto("tcp", n(22), n(22)), ports(tcp, 1024, 22), true},
		{"the port before", in, four, proto("tcp", n(22), n(22)), ports(tcp, 1024, 21), false},
		{"the source port does not count", in, four, proto("tcp", n(22), n(22)), ports(tcp, 22, 1024), false},
		{"first of a range", in, four, proto("udp", n(1000), n(1999)), ports(udp, 1, 1000), true},
		{"last of a range", in, four, proto("udp", n(1000), n(1999)), ports(udp, 1, 1999), true},
		{"before a range", in, four, proto("udp", n(1000), n(1999)), ports(udp, 1, 999), false},
		{"after a range", in, four, proto("udp", n(1000), n(1999)), ports(udp, 1, 2000), false},
		{"ports of SCTP in IPv6", in, six, proto("sctp", n(5), n(5)), ports(come(etherIPv6, protoSCTP), 1, 5), true},
		{"destination port, out", out, four, proto("tcp", n(443), n(443)), ports(sent(etherIPv4, protoTCP), 1024, 443), true},
		{"a port of another protocol", in, four, proto("tcp", n(53), n(53)), ports(udp, 1024, 53), false},
		{"dccp", in, four, proto("dccp", nil, nil), come(etherIPv4, 33), true},
		{"ports of DCCP", in, four, proto("dccp", n(1), n(65535)), ports(come(etherIPv4, 33), 1024, 22), false},
		{"ports of UDP-Lite", in, six, proto("udplite", n(22), n(22)), ports(come(etherIPv6, 136), 1024, 22), false},

		{"type", in, four, proto("icmp", n(8), nil), icmp(ping, 8, 0), true},
		{"another type", in, four, proto("icmp", n(8), nil), icmp(ping, 0, 0), false},
		{"type 0", in, four, proto("icmp", n(0), nil), icmp(ping, 0, 3), true},
		{"type and code", in, four, proto("icmp", n(3), n(4)), icmp(ping, 3, 4), true},
		{"another code", in, four, proto("icmp", n(3), n(4)), icmp(ping, 3, 3), false},
		{"code 0", in, four, proto("icmp", n(3), n(0)), icmp(ping, 3, 1), false},
		{"type of ICMPv6", in, six, proto("icmpv6", n(128), n(0)), icmp(ping6, 128, 0), true},
		{"another type of ICMPv6", in, six, proto("icmpv6", n(128), n(0)), icmp(ping6, 129, 0), false},

		{"remote prefix", in, four, prefix("192.0.2.0/25"), from(tcp, "192.0.2.127", foreign), true},
		{"after the remote prefix", in, four, prefix("192.0.2.0/25"), from(tcp, "192.0.2.128", foreign), false},
		{"a remote prefix with host bits", in, four, prefix("192.0.2.77/24"), from(tcp, "192.0.2.1", foreign), true},
		{"any remote", in, four, prefix("0.0.0.0/0"), tcp, true},
		{"any remote of IPv6", in, six, prefix("::/0"), tcp6, true},
		{"the remote is the destination, out", out, four, prefix("192.0.2.0/24"), to(sent(etherIPv4, 6), "192.0.2.1", foreign), true},
		{"another destination", out, four, prefix("192.0.2.0/24"), to(sent(etherIPv4, 6), "192.0.3.1", foreign), false},
		{"remote prefix of IPv6", in, six, prefix("2001:db8:1::/48"), from(tcp6, "2001:db8:1:ffff::", foreign), true},
		{"another prefix of IPv6", in, six, prefix("2001:db8:1::/48"), from(tcp6, "2001:db8:2::", foreign), false},

		{"remote group", in, four, group("friends"), from(tcp, "10.0.0.20", foreign), true},
		{"no member", in, four, group("friends"), from(tcp, "10.0.0.21", foreign), false},
		{"remote group by IPv6", in, six, group("friends"), from(tcp6, "2001:db8::20", foreign), true},
		{"to a member", out, four, group("friends"), to(sent(etherIPv4, 6), "10.0.0.20", foreign), true},
		{"a member that may have any address, by MAC", in, four, group("friends"), from(tcp, "198.51.100.1", anyMAC), true},
		{"to such a member", out, four, group("friends"), to(sent(etherIPv4, 6), "198.51.100.1", anyMAC), true},
		{"not by IPv6", in, six, group("friends"), from(tcp6, "2001:db8::5", anyMAC), false},
		{"a group without members", in, four, group("nobody"), from(tcp, "10.0.0.20", foreign), false},

		{"remote address group", in, four, offices("offices"), from(tcp, "192.0.2.200", foreign), true},
		{"outside it", in, four, offices("offices"), from(tcp, "192.0.3.0", foreign), false},
		{"remote address group by IPv6, out", out, six, offices("offices"), to(sent(etherIPv6, 6), "2001:db8:1::2", foreign), true},
		{"an address group that is not known", in, four, offices("lost"), from(tcp, "192.0.2.200", foreign), false},
	} {
		want := Verdict{Group: "web", Rule: "2"}
		if !c.want {
			want = Verdict{Reason: NoIngressRule}
			if c.p.Egress {
				want = Verdict{Reason: NoEgressRule}
			}
		}
		for _, stateless := range []bool{false, true} {
			// The first group has nothing to say: rules admit the union.
			g := guarded(&view.SecurityGroup{ID: "a", Stateless: stateless},
				&view.SecurityGroup{ID: "web", Stateless: stateless, Rules: []view.Rule{rule("2", c.direction, c.ethr, c.rule), rule("3", c.direction, c.ethr, c.rule)}})
			if got := Admits(g, c.p); got != want {
				t.Errorf("%s (stateless %v): %+v, want %+v", c.name, stateless, got, want)
			}
		}
	}
}

func TestStates(t *testing.T) {
	allowed := Verdict{Group: "ssh", Rule: "1"}
	belongs := Verdict{Base: "it belongs to a connection that was allowed"}
	no := Verdict{Reason: NoIngressRule}
	for _, c := range []struct {
		name                                string
		state                               State
		withRule, without, stateless, freed Verdict
	}{
		{"new", New, allowed, no, allowed, no},
		{"established is judged by the rules: a connection ends with its rule", Established, allowed, no, allowed, no},
		{"reply", Reply, belongs, belongs, allowed, no},
		{"related", Related, belongs, belongs, allowed, no},
		{"reply on a connection that was cut, rule or not", CutReply, Verdict{Reason: Cut}, Verdict{Reason: Cut}, allowed, no},
		{"invalid, rule or not", Invalid, Verdict{Reason: InvalidState}, Verdict{Reason: InvalidState}, allowed, no},
	} {
		p := ports(come(etherIPv4, protoTCP), 1024, 22)
		p.State = c.state
		ssh := view.Rule{ID: "1", RuleMatch: model.RuleMatch{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortMin: n(22), PortMax: n(22)}}
		for _, x := range []struct {
			name string
			g    Guarded
			want Verdict
		}{
			{"with a rule", guarded(&view.SecurityGroup{ID: "ssh", Rules: []view.Rule{ssh}}), c.withRule},
			{"without", guarded(&view.SecurityGroup{ID: "ssh"}), c.without},
			{"without a group", guarded(), c.without},
			{"stateless, with a rule", guarded(&view.SecurityGroup{ID: "ssh", Stateless: true, Rules: []view.Rule{ssh}}), c.stateless},
			{"stateless, without", guarded(&view.SecurityGroup{ID: "ssh", Stateless: true}), c.freed},
		} {
			if got := Admits(x.g, p); got != x.want {
				t.Errorf("%s, %s: %+v, want %+v", c.name, x.name, got, x.want)
			}
		}
	}
}
