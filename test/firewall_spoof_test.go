package test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

const (
	broadcast = "ff:ff:ff:ff:ff:ff"
	nobodyMAC = "fa:16:3e:ee:ee:ee"
	noMAC     = "00:00:00:00:00:00"
)

var (
	foreign4, foreign6 = netip.MustParseAddr("10.20.0.99"), netip.MustParseAddr("fd20::99")
	allNodes           = netip.MustParseAddr("ff02::1")
)

// speaker makes the frames that one guest sends to another: honest ones, unless told whose
// addresses to use instead.
type speaker struct {
	mac    string // of Ethernet
	v4, v6 netip.Addr
	claims string // the MAC address within ARP and neighbour discovery
	to     *guest
}

func (g *guest) speaker(to *guest) speaker {
	return speaker{mac: g.MAC, v4: g.addr(4), v6: g.addr(6), claims: g.MAC, to: to}
}

func (s speaker) from(v4, v6 netip.Addr) speaker { s.v4, s.v6 = v4, v6; return s }
func (s speaker) withMAC(mac string) speaker     { s.mac = mac; return s }
func (s speaker) claim(mac string) speaker       { s.claims = mac; return s }

func (s speaker) frame(typ uint16, payload []byte) []byte {
	return ether(s.mac, s.to.MAC, typ, payload)
}

func (s speaker) udp4(sport, dport uint16, text string) []byte {
	return s.frame(etherIPv4, udp(netip.AddrPortFrom(s.v4, sport), netip.AddrPortFrom(s.to.addr(4), dport), text))
}

func (s speaker) udp6(sport, dport uint16, text string) []byte {
	return s.frame(etherIPv6, udp(netip.AddrPortFrom(s.v6, sport), netip.AddrPortFrom(s.to.addr(6), dport), text))
}

func (s speaker) arp(op uint16, text string) []byte {
	return ether(s.mac, broadcast, etherARP, arp(op, s.claims, s.v4, noMAC, s.to.addr(4), text))
}

// icmp6 is a message of neighbour discovery to all nodes, the text in an option that nobody knows.
func (s speaker) icmp6(typ uint8, body []byte, text string) []byte {
	return ether(s.mac, "33:33:00:00:00:01", etherIPv6, icmp6(s.v6, allNodes, typ, append(body, ndOption(253, []byte(text))...)))
}

// advertise says that v6 is at the claimed MAC address.
func (s speaker) advertise(text string) []byte {
	body := append([]byte{0x20, 0, 0, 0}, s.v6.AsSlice()...)
	return s.icmp6(136, append(body, ndOption(2, mac(s.claims))...), text)
}

// solicit asks for the other guest, as v6 at the claimed MAC address.
func (s speaker) solicit(text string) []byte {
	body := append([]byte{0, 0, 0, 0}, s.to.addr(6).AsSlice()...)
	return s.icmp6(135, append(body, ndOption(1, mac(s.claims))...), text)
}

// routerAdvertisement says that the way out is here.
func (s speaker) routerAdvertisement(text string) []byte {
	return s.icmp6(134, []byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, text)
}

// saying is a frame with a text of its own, by which it is known when it arrives.
type saying struct {
	name   string
	frame  func(text string) []byte
	reason string // why it is dropped
}

// honest are frames that every filtered port may send.
func honest(s speaker) []saying {
	return []saying{
		{name: "udp4", frame: func(text string) []byte { return s.udp4(1000, 80, text) }},
		{name: "udp6", frame: func(text string) []byte { return s.udp6(1000, 80, text) }},
		{name: "ARP request", frame: func(text string) []byte { return s.arp(1, text) }},
		{name: "ARP answer", frame: func(text string) []byte { return s.arp(2, text) }},
		{name: "advertisement", frame: s.advertise},
		{name: "solicitation", frame: s.solicit},
	}
}

// lies are frames that no filtered port may send.
func lies(s speaker) []saying {
	other := s.from(foreign4, foreign6)
	victim := s.from(s.to.addr(4), s.to.addr(6))
	return []saying{
		{"another's MAC address, udp4", func(text string) []byte { return s.withMAC(nobodyMAC).udp4(1000, 80, text) }, "spoofed_mac"},
		{"another's MAC address, udp6", func(text string) []byte { return s.withMAC(nobodyMAC).udp6(1000, 80, text) }, "spoofed_mac"},
		{"another's IPv4 address", func(text string) []byte { return other.udp4(1000, 80, text) }, "spoofed_ip"},
		{"another's IPv6 address", func(text string) []byte { return other.udp6(1000, 80, text) }, "spoofed_ip"},
		{"the receiver's own address", func(text string) []byte { return victim.udp4(1000, 80, text) }, "spoofed_ip"},
		{"ARP request as another", func(text string) []byte { return other.arp(1, text) }, "spoofed_arp"},
		{"ARP answer as another", func(text string) []byte { return other.arp(2, text) }, "spoofed_arp"},
		{"ARP answer with another's hardware address", func(text string) []byte { return s.claim(nobodyMAC).arp(2, text) }, "spoofed_arp"},
		{"ARP in another's frame", func(text string) []byte { return s.withMAC(nobodyMAC).arp(2, text) }, "spoofed_arp"},
		{"advertisement of another's address", other.advertise, "spoofed_nd"},
		{"advertisement of another's hardware address", s.claim(nobodyMAC).advertise, "spoofed_nd"},
		{"solicitation as another", other.solicit, "spoofed_nd"},
		{"solicitation with another's hardware address", s.claim(nobodyMAC).solicit, "spoofed_nd"},
		{"DHCP answer", func(text string) []byte { return s.udp4(67, 68, text) }, "dhcp_server"},
		{"DHCPv6 answer", func(text string) []byte { return s.udp6(547, 546, text) }, "dhcp_server"},
		{"router advertisement", s.routerAdvertisement, "router_advertisement"},
		{"VLAN tag", func(text string) []byte { return tagged(s.udp4(1000, 80, text), 1) }, "vlan_tagged"},
		{"two VLAN tags", func(text string) []byte { return tagged(tagged(s.udp4(1000, 80, text), 1), 2) }, "vlan_tagged"},
		{"neither IP nor ARP", func(text string) []byte { return s.frame(0x88b5, []byte(text)) }, "other_protocol"},
	}
}

// says has a guest send something, under a text that is used once.
func (g *guest) says(s saying) (text string) {
	g.h.t.Helper()
	g.h.said++
	text = fmt.Sprintf("#%05d", g.h.said)
	g.h.must(g.air.say(s.frame(text)))
	return text
}

// heardBy has a guest send something until another hears it.
func (g *guest) heardBy(to *guest, s saying) {
	g.h.t.Helper()
	text := g.says(s)
	g.h.await(to.Name+" to hear "+s.name, comes, func() error {
		if to.air.hears(text) {
			return nil
		}
		return errors.Join(errors.New("it does not"), g.air.say(s.frame(text)))
	})
}

// dropped has a guest send something and waits until it has been dropped, and counted for one
// reason only. What rules refuse goes on beside it: a connection that is refused is tried again.
func (g *guest) dropped(s saying) (text string) {
	g.h.t.Helper()
	lies := func() map[string]int {
		all := g.drops()
		maps.DeleteFunc(all, func(reason string, _ int) bool { return strings.HasSuffix(reason, "_rule") })
		return all
	}
	before := lies()
	text = g.says(s)
	g.awaitDrop(s.reason, before)
	before[s.reason]++
	if after := lies(); !maps.Equal(after, before) {
		g.h.t.Errorf("%s: dropped %v, want %v", s.name, after, before)
	}
	return text
}

// What a guest is not, it cannot pretend to be: each lie is dropped, counted by its reason,
// and heard by nobody.
func TestAntiSpoofing(t *testing.T) {
	labtest.Require(t, "curl")
	h, network := firewallHost(t, "--metrics-listen", "127.0.0.1:9480")
	open := h.group("open", nil)
	h.allowBoth(open, "ingress", nil)
	a := h.guest(network, "a", m{"security_groups": []string{open}})
	b := h.guest(network, "b", m{"security_groups": []string{open}})
	trusted := h.guest(network, "trusted", m{"port_security_enabled": false})
	for _, s := range honest(a.speaker(b)) {
		a.heardBy(b, s)
	}
	told := map[string]string{}
	for _, s := range lies(a.speaker(b)) {
		// What a switch remembers of honest frames must not let a lie pass.
		for _, truth := range honest(a.speaker(b)) {
			a.heardBy(b, truth)
		}
		told[a.dropped(s)] = s.name
	}
	for text, name := range told {
		for _, g := range []*guest{b, trusted} {
			if g.air.hears(text) {
				t.Errorf("%s hears %s", g.Name, name)
			}
		}
	}
	// Who asks is told how many there were of each kind.
	show, metrics := h.traced(a.ID), h.run("curl", "-sS", "http://127.0.0.1:9480/metrics")
	for reason, n := range a.drops() {
		if n > 0 && !strings.Contains(show, fmt.Sprintf("%s %d", reason, n)) {
			t.Errorf("weft trace says nothing of %d times %s:\n%s", n, reason, show)
		}
		if want := fmt.Sprintf("weft_port_dropped_packets_total{port=%q,reason=%q} %d\n", a.ID, reason, n); n > 0 && !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s:\n%s", want, metrics)
		}
	}
	// A port without port security says what it likes, but has no VLANs of its own.
	for _, s := range lies(trusted.speaker(b)) {
		switch s.reason {
		case "vlan_tagged", "other_protocol": // b has a filter, which knows nothing of these
		default:
			trusted.heardBy(b, s)
		}
	}
	// And a's port security can go, and come back.
	a.update(m{"security_groups": []string{}, "port_security_enabled": false})
	for _, s := range lies(a.speaker(b)) {
		if s.reason != "vlan_tagged" && s.reason != "other_protocol" {
			a.heardBy(b, s)
		}
	}
	a.update(m{"port_security_enabled": true, "security_groups": []string{open}})
	h.await("the filter of a", comes, func() error {
		if len(a.drops()) == 0 {
			return fmt.Errorf("it has no flow that drops")
		}
		return nil
	})
	for _, s := range lies(a.speaker(b)) {
		if text := a.dropped(s); b.air.hears(text) {
			t.Errorf("b hears %s", s.name)
		}
	}
}

// Address pairs: what a port may use beside its own addresses.
func TestAddressPairs(t *testing.T) {
	h, network := firewallHost(t)
	open := h.group("open", nil)
	h.allowBoth(open, "ingress", nil)
	a := h.guest(network, "a", m{"security_groups": []string{open}})
	b := h.guest(network, "b", m{"security_groups": []string{open}})
	self := a.speaker(b)
	const routerMAC = "00:00:5e:00:01:07"
	for _, c := range []struct {
		name   string
		pairs  []m
		may    []speaker
		mayNot []saying
	}{
		{"addresses", []m{{"ip_address": foreign4.String()}, {"ip_address": foreign6.String()}},
			[]speaker{self, self.from(foreign4, foreign6)},
			[]saying{
				{"the next IPv4 address", func(text string) []byte { return self.from(foreign4.Next(), foreign6).udp4(1000, 80, text) }, "spoofed_ip"},
				{"the next IPv6 address", func(text string) []byte { return self.from(foreign4, foreign6.Next()).udp6(1000, 80, text) }, "spoofed_ip"},
				{"ARP of the next address", func(text string) []byte { return self.from(foreign4.Next(), foreign6).arp(2, text) }, "spoofed_arp"},
				{"another MAC", func(text string) []byte { return self.from(foreign4, foreign6).withMAC(nobodyMAC).udp4(1000, 80, text) }, "spoofed_mac"},
			}},
		{"prefixes", []m{{"ip_address": "10.20.0.96/28"}, {"ip_address": "fd20::90/124"}},
			[]speaker{self, self.from(foreign4, foreign6), self.from(foreign4.Next(), foreign6.Next())},
			[]saying{
				{"an address beside the prefix", func(text string) []byte {
					return self.from(netip.MustParseAddr("10.20.0.112"), foreign6).udp4(1000, 80, text)
				}, "spoofed_ip"},
				{"an advertisement beside the prefix", self.from(foreign4, netip.MustParseAddr("fd20::a0")).advertise, "spoofed_nd"},
			}},
		{"a MAC address", []m{{"ip_address": foreign4.String(), "mac_address": routerMAC}, {"ip_address": foreign6.String(), "mac_address": routerMAC}},
			[]speaker{self, self.from(foreign4, foreign6).withMAC(routerMAC).claim(routerMAC)},
			[]saying{
				{"the pair's address from the own MAC", func(text string) []byte { return self.from(foreign4, foreign6).udp4(1000, 80, text) }, "spoofed_ip"},
				{"the own address from the pair's MAC", func(text string) []byte { return self.withMAC(routerMAC).udp6(1000, 80, text) }, "spoofed_ip"},
				{"the pair's address at the own MAC in ARP", func(text string) []byte { return self.from(foreign4, foreign6).arp(2, text) }, "spoofed_arp"},
			}},
		{"everything", []m{{"ip_address": "0.0.0.0/0"}, {"ip_address": "::/0"}},
			[]speaker{self, self.from(foreign4, foreign6), self.from(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))},
			[]saying{
				{"another MAC", func(text string) []byte { return self.withMAC(nobodyMAC).udp4(1000, 80, text) }, "spoofed_mac"},
				{"another MAC in ARP", func(text string) []byte { return self.claim(nobodyMAC).arp(2, text) }, "spoofed_arp"},
				{"a DHCP answer", func(text string) []byte { return self.udp4(67, 68, text) }, "dhcp_server"},
				{"a router advertisement", self.routerAdvertisement, "router_advertisement"},
			}},
	} {
		a.update(m{"allowed_address_pairs": c.pairs})
		for _, who := range c.may {
			for _, s := range honest(who) {
				s.name = c.name + ": " + s.name
				a.heardBy(b, s)
			}
		}
		for _, s := range c.mayNot {
			s.name = c.name + ": " + s.name
			if text := a.dropped(s); b.air.hears(text) {
				t.Errorf("b hears %s", s.name)
			}
		}
	}
	a.update(m{"allowed_address_pairs": []m{}})
	pair := saying{"an address of a pair that is gone", func(text string) []byte { return self.from(foreign4, foreign6).udp4(1000, 80, text) }, "spoofed_ip"}
	h.await("the pair to be gone", comes, func() error {
		if flows := h.flows(); strings.Contains(flows, foreign4.String()) {
			return errors.New(flows)
		}
		return nil
	})
	if text := a.dropped(pair); b.air.hears(text) {
		t.Error("b hears an address of a pair that is gone")
	}
}

// Who may not serve may not do so in pieces either.
func TestFragmentedLies(t *testing.T) {
	h, network := firewallHost(t)
	a, b := h.guest(network, "a", nil), h.guest(network, "b", nil) // of the same group: all else passes
	s := a.speaker(b)
	long := strings.Repeat("0123456789abcdef", 84)
	piece := func(whole []byte, i int) func(string) []byte {
		return func(text string) []byte {
			f := fragments(whole, 1288, 1)[i]            // Open vSwitch trusts no smaller ones
			return append(f[:len(f)-len(text)], text...) // the checksum is nobody's concern
		}
	}
	for _, lie := range []struct {
		saying
		whole []byte
	}{
		{saying{name: "DHCP answer", reason: "dhcp_server"}, s.udp4(67, 68, long)},
		{saying{name: "DHCPv6 answer", reason: "dhcp_server"}, s.udp6(547, 546, long)},
		{saying{name: "router advertisement", reason: "router_advertisement"}, s.routerAdvertisement(long)},
	} {
		first, second := lie.saying, lie.saying
		first.frame, second.frame = piece(lie.whole, 0), piece(lie.whole, 1)
		texts := []string{a.says(second), a.dropped(first)}
		for _, text := range texts {
			if b.air.hears(text) {
				t.Errorf("b hears a piece of a %s", lie.name)
			}
		}
	}
	for _, whole := range [][]byte{s.udp4(1000, 80, long+"#honest4"), s.udp6(1000, 80, long+"#honest6")} {
		for _, f := range fragments(whole, 1288, 2) {
			h.must(a.air.say(f))
		}
	}
	h.await("b to hear honest pieces", comes, func() error {
		if !b.air.hears("#honest4") || !b.air.hears("#honest6") {
			return errors.New("it does not")
		}
		return nil
	})
}

// A port without any group: it gets its address, resolves others', and that is all.
func TestNoGroup(t *testing.T) {
	labtest.Require(t, "busybox")
	h, network := firewallHost(t)
	open := h.group("open", nil)
	h.allowBoth(open, "ingress", nil)
	bare := h.guest(network, "bare", m{"security_groups": []string{}})
	other := h.guest(network, "other", m{"security_groups": []string{open}})
	if got, err := h.udhcpc(bare.Name); err != nil || got != bare.ip() {
		t.Errorf("gets %s by DHCP: %v", got, err)
	}
	before := bare.drops()
	h.judge(append(each(bare, other, false), each(other, bare, false)...)...)
	bare.awaitDrop("no_egress_rule", before)
	bare.awaitDrop("no_ingress_rule", before)
	for _, s := range honest(bare.speaker(other))[2:] {
		bare.heardBy(other, s)
	}
	for _, s := range honest(other.speaker(bare))[2:] {
		other.heardBy(bare, s)
	}
	for _, s := range lies(bare.speaker(other)) {
		if text := bare.dropped(s); other.air.hears(text) {
			t.Errorf("other hears %s", s.name)
		}
	}
}
