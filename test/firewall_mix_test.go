package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// Ports with a stateful, with a stateless and without a filter get on with each other: what
// one may open, the other may answer.
func TestKindsOfPorts(t *testing.T) {
	h, network := firewallHost(t)
	stateful, stateless := h.group("stateful", nil), h.group("stateless", m{"stateful": false})
	for _, group := range []string{stateful, stateless} {
		h.allowBoth(group, "ingress", portRange("tcp", 80, 80))
		h.allowBoth(group, "ingress", portRange("udp", 80, 80))
		h.allowBoth(group, "ingress", m{"protocol": "icmp"})
	}
	// The answers that a stateless port asks for.
	h.allowBoth(stateless, "ingress", portRange("tcp", 32768, 60999))
	h.allowBoth(stateless, "ingress", portRange("udp", 32768, 60999))
	var all []*guest
	for name, more := range map[string]m{
		"stateful":  {"security_groups": []string{stateful}},
		"stateful2": {"security_groups": []string{stateful}},
		"less":      {"security_groups": []string{stateless}},
		"less2":     {"security_groups": []string{stateless}},
		"trusted":   {"port_security_enabled": false},
		"trusted2":  {"port_security_enabled": false},
	} {
		all = append(all, h.guest(network, name, more))
	}
	var probes []probe
	for _, from := range all {
		for _, to := range all {
			if from != to {
				probes = append(probes, each(from, to, true)...)
				if to.Name[0] != 't' {
					probes = append(probes, probe{from: from, to: to, proto: "tcp", port: 443})
				}
			}
		}
	}
	h.judge(probes...)
}

// Two networks with the same addresses have nothing to do with each other: a connection of
// one lets nothing pass in the other.
func TestSameAddressesTwice(t *testing.T) {
	h, one := firewallHost(t)
	two := h.dualNetwork("two")
	open, closed := h.group("open", nil), h.group("closed", nil)
	h.allowBoth(open, "ingress", nil)
	server := h.guest(one, "server", with(ending(10), "security_groups", []string{open}))
	client := h.guest(one, "client", ending(11))
	server2 := h.guest(two, "server2", with(ending(10), "security_groups", []string{closed}))
	client2 := h.guest(two, "client2", ending(11))
	h.judge(append(each(client, server, true), each(client2, server2, false)...)...)
	s := client.speaker(server)
	s2 := client2.speaker(server2)
	client.heardBy(server, saying{name: "udp4", frame: func(text string) []byte { return s.udp4(5000, 80, text) }})
	// server answers, and so the connection is established; in the other network it is not.
	before := server2.drops()
	text := client2.says(saying{name: "udp4", frame: func(text string) []byte { return s2.udp4(5000, 80, text) }})
	server2.awaitDrop("no_ingress_rule", before)
	for _, g := range []*guest{server, server2} {
		if g.air.hears(text) {
			t.Errorf("%s hears it", g.Name)
		}
	}
}

// What is no simple question and answer: much data, errors about a connection, multicast.
func TestOtherTraffic(t *testing.T) {
	h, network := firewallHost(t)
	group := h.group("group", nil)
	h.allowBoth(group, "ingress", portRange("tcp", 80, 80))
	h.allowBoth(group, "ingress", portRange("udp", 7000, 7000))
	server := h.guest(network, "server", m{"security_groups": []string{group}})
	client, friend := h.guest(network, "client", nil), h.guest(network, "friend", nil)
	for _, family := range []int{4, 6} {
		// 8 MB there and back.
		c, err := client.dial("tcp", server.addr(family), 80, comes)
		h.must(err)
		defer c.Close()
		const size = 8 << 20
		go func() { _, _ = c.Write(make([]byte, size)) }()
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := io.CopyN(io.Discard, c, size); err != nil {
			t.Errorf("IPv%d: %d of %d bytes come back: %v", family, n, size, err)
		}
		// Nobody listens: the ICMP error belongs to the connection.
		if err := client.try("udp", server.addr(family), 7000, comes); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("IPv%d: a port on which nobody listens: %v", family, err)
		}
	}
	// Multicast: to members of the sender's group, not to others.
	s := client.speaker(friend)
	group4, group6 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")
	for _, said := range []saying{
		{name: "IPv4 multicast", frame: func(text string) []byte {
			return ether(client.MAC, "01:00:5e:00:00:fb", etherIPv4, udp(netip.AddrPortFrom(s.v4, 5353), netip.AddrPortFrom(group4, 5353), text))
		}},
		{name: "IPv6 multicast", frame: func(text string) []byte {
			return ether(client.MAC, "33:33:00:00:00:fb", etherIPv6, udp(netip.AddrPortFrom(s.v6, 5353), netip.AddrPortFrom(group6, 5353), text))
		}},
		{name: "broadcast", frame: func(text string) []byte {
			return ether(client.MAC, broadcast, etherIPv4, udp(netip.AddrPortFrom(s.v4, 5353), netip.MustParseAddrPort("255.255.255.255:5353"), text))
		}},
	} {
		before := server.drops()
		client.heardBy(friend, said)
		server.awaitDrop("no_ingress_rule", before)
	}
	if n := server.air.count(func(f frame) bool { return f.dport == 5353 }); n > 0 {
		t.Errorf("a stranger hears %d multicasts", n)
	}
	// Who listens to a multicast says so to those who may be routers.
	router := h.guest(network, "router", m{"port_security_enabled": false})
	self, routers := netip.MustParseAddr(linkLocal(client.MAC)), netip.MustParseAddr("ff02::16")
	client.heardBy(router, saying{name: "listener report", frame: func(text string) []byte {
		return ether(client.MAC, "33:33:00:00:00:16", etherIPv6, icmp6(self, routers, 143, []byte("    "+text)))
	}})
	// Fragments of a datagram.
	for _, family := range []int{4, 6} {
		for _, to := range []*guest{friend, server} {
			c, err := client.dial("udp", to.addr(family), 80, comes)
			h.must(err)
			big := bytes.Repeat([]byte("x"), 1900)
			_, err = c.Write(big)
			h.must(err)
			passes := to == friend
			_ = c.SetReadDeadline(time.Now().Add(map[bool]time.Duration{true: comes, false: absent}[passes]))
			n, err := c.Read(make([]byte, 4000))
			if (err == nil) != passes {
				t.Errorf("IPv%d to %s: of a datagram in fragments %d bytes come back: %v", family, to.Name, n, err)
			}
			c.Close()
		}
	}
}

// linkLocal is the link-local address that a MAC address gives.
func linkLocal(hw string) string {
	b := mac(hw)
	return fmt.Sprintf("fe80::%x:%xff:fe%02x:%x", uint16(b[0]^2)<<8|uint16(b[1]), b[2], b[3], uint16(b[4])<<8|uint16(b[5]))
}
