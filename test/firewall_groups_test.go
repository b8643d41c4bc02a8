package test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

// The default group: everything goes out, only members get in, and a machine needs no rule
// to get its address.
func TestDefaultGroup(t *testing.T) {
	labtest.Require(t, "busybox")
	h, network := firewallHost(t)
	a, b := h.guest(network, "a", nil), h.guest(network, "b", nil)
	outside := h.guest(network, "outside", m{"security_groups": []string{h.group("outside", nil)}})
	var all []probe
	all = append(all, each(a, b, true)...)
	all = append(all, each(b, a, true)...)
	all = append(all, each(outside, a, false)...)
	// Nothing lets a in at outside either; once something does, a's way out is open and the
	// answers come back in though a lets nobody of outside in.
	all = append(all, each(a, outside, false)...)
	h.judge(all...)
	h.allowBoth(h.port(outside.ID).Groups[0], "ingress", nil)
	h.until(probe{from: a, to: outside, proto: "udp", port: 80, family: 4, passes: true})
	h.until(probe{from: a, to: outside, proto: "udp", port: 80, family: 6, passes: true})
	h.judge(append(each(a, outside, true), each(outside, a, false)...)...)
	for _, g := range []*guest{a, b, outside} {
		if got, err := h.udhcpc(g.Name); err != nil || got != g.ip() {
			t.Errorf("%s gets %s by DHCP: %v", g.Name, got, err)
		}
	}
}

// ending gives a port the addresses that end so.
func ending(n int) m {
	return m{"fixed_ips": []m{{"ip_address": fmt.Sprintf("10.20.0.%d", n)}, {"ip_address": fmt.Sprintf("fd20::%d", n)}}}
}

// with adds to what a port is to be.
func with(attrs m, name string, value any) m {
	attrs[name] = value
	return attrs
}

// A web server's group: services by number and range, ssh from the members of another group,
// ping from a prefix, and a service from an address group. Who joins the other group gets in.
func TestWebGroup(t *testing.T) {
	h, network := firewallHost(t)
	web, admins := h.group("web", nil), h.group("admins", nil)
	var book struct {
		Group struct{ ID string } `json:"address_group"`
	}
	h.must(h.call("POST", "/v2.0/address-groups", m{"address_group": m{"name": "book", "addresses": []string{"10.20.0.12/31", "fd20::13/128"}}}, &book))
	h.allowBoth(web, "ingress", portRange("tcp", 80, 80))
	h.allowBoth(web, "ingress", portRange("tcp", 8000, 8079))
	h.allowBoth(web, "ingress", with(portRange("tcp", 22, 22), "remote_group_id", admins))
	h.allowBoth(web, "ingress", with(portRange("udp", 443, 443), "remote_address_group_id", book.Group.ID))
	h.allow(web, "ingress", "IPv4", m{"protocol": "icmp", "remote_ip_prefix": "10.20.0.12/31"})
	h.allow(web, "ingress", "IPv6", m{"protocol": "icmp", "remote_ip_prefix": "fd20::13/128"})
	server := h.guest(network, "server", with(ending(10), "security_groups", []string{web}))
	admin := h.guest(network, "admin", with(ending(11), "security_groups", []string{admins}))
	stranger := h.guest(network, "stranger", ending(30))
	monitor := h.guest(network, "monitor", ending(13))

	to := func(from *guest, proto string, port int, passes bool) probe {
		return probe{from: from, to: server, proto: proto, port: port, passes: passes}
	}
	h.judge(
		to(stranger, "tcp", 80, true), to(stranger, "tcp", 8000, true), to(stranger, "tcp", 8079, true),
		to(stranger, "tcp", 22, false), to(stranger, "tcp", 443, false), to(stranger, "tcp", 8080, false),
		to(stranger, "udp", 80, false), to(stranger, "udp", 443, false), to(stranger, "icmp", 0, false),
		to(admin, "tcp", 22, true), to(admin, "tcp", 80, true), to(admin, "udp", 22, false), to(admin, "icmp", 0, false),
		to(monitor, "icmp", 0, true), to(monitor, "udp", 443, true), to(monitor, "tcp", 443, false), to(monitor, "tcp", 22, false),
		probe{from: server, to: admin, proto: "tcp", port: 22, passes: false},
	)

	groups := h.port(stranger.ID).Groups
	stranger.update(m{"security_groups": append(groups, admins)})
	for _, family := range []int{4, 6} {
		p := to(stranger, "tcp", 22, true)
		p.family = family
		t.Logf("%s: in %s after joining", p, h.until(p))
	}
	stranger.update(m{"security_groups": groups})
	h.until(probe{from: stranger, to: server, proto: "tcp", port: 22, family: 4})
	h.judge(to(stranger, "tcp", 22, false), to(admin, "tcp", 22, true))

	h.must(h.call("PUT", "/v2.0/address-groups/"+book.Group.ID+"/add_addresses",
		m{"addresses": []string{"10.20.0.30/32", "fd20::30/128"}}, nil))
	t.Logf("udp 443: in %s after the address group has it", h.until(probe{from: stranger, to: server, proto: "udp", port: 443, family: 4, passes: true}))
	h.judge(to(stranger, "udp", 443, true))
}

// talk goes on for ever: a byte and its echo, over and over.
func talk(c net.Conn) {
	buf := make([]byte, 1)
	for {
		if _, err := c.Write(buf); err != nil {
			return
		}
		if _, err := c.Read(buf); err != nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Connections end with the rule that allowed them, in both directions, and go on when it is back.
func TestRuleRemovedCuts(t *testing.T) {
	h, network := firewallHost(t)
	open := h.group("open", nil)
	allow := func() (ids []string) {
		ids = append(h.allowBoth(open, "ingress", portRange("tcp", 80, 80)), h.allow(open, "ingress", "IPv4", m{"protocol": "icmp"}))
		return append(ids, h.allow(open, "ingress", "IPv6", m{"protocol": "icmp"}))
	}
	rules := allow()
	server := h.guest(network, "server", m{"security_groups": []string{open}})
	client := h.guest(network, "client", nil)
	kinds := map[string]func(frame) bool{}
	for _, family := range []int{4, 6} {
		c, err := client.dial("tcp", server.addr(family), 80, comes)
		h.must(err)
		defer c.Close()
		go talk(c)
		h.ping(client.port, server.addr(family).String())
		for _, proto := range []string{"tcp", "icmp"} {
			request := probe{from: client, to: server, proto: proto, port: 80, family: family}
			kinds[fmt.Sprintf("%s IPv%d", proto, family)] = request.heard
			kinds[fmt.Sprintf("%s IPv%d answer", proto, family)] = func(f frame) bool {
				f.src, f.dst, f.dport = f.dst, f.src, f.sport
				if f.icmpType == 0 || f.icmpType == 129 {
					f.icmpType = map[int]uint8{4: 8, 6: 128}[family]
				}
				return request.heard(f)
			}
		}
	}
	ear := func(kind string) *ear {
		if kind[len(kind)-1] == 'r' {
			return client.air
		}
		return server.air
	}
	goOn := func() {
		t.Helper()
		for kind, is := range kinds {
			n := ear(kind).count(is)
			h.await(kind+" to go on", comes, func() error {
				if ear(kind).count(is) < n+5 {
					return fmt.Errorf("%d packets, before %d", ear(kind).count(is), n)
				}
				return nil
			})
		}
	}
	goOn()
	for range 2 {
		h.removeRules(rules...)
		gone := time.Now()
		for kind, is := range kinds {
			h.await(kind+" to end", comes, func() error {
				if quiet := time.Since(ear(kind).last(is)); quiet < absent {
					return fmt.Errorf("the last packet was %s ago", quiet)
				}
				return nil
			})
			t.Logf("%s: the last packet came %s after the rule was gone", kind, ear(kind).last(is).Sub(gone))
		}
		rules = allow()
		goOn()
	}
}

// A stateless group knows no connections: answers need a rule of their own.
func TestStatelessGroup(t *testing.T) {
	h, network := firewallHost(t)
	stateless := h.group("stateless", m{"stateful": false})
	h.allowBoth(stateless, "ingress", portRange("tcp", 80, 80))
	h.allowBoth(stateless, "ingress", portRange("udp", 80, 80))
	h.allow(stateless, "ingress", "IPv4", m{"protocol": "icmp"})
	h.allow(stateless, "ingress", "IPv6", m{"protocol": "icmp"})
	server := h.guest(network, "server", m{"security_groups": []string{stateless}})
	client := h.guest(network, "client", nil)
	h.judge(each(client, server, true)...)
	h.judge(probe{from: client, to: server, proto: "tcp", port: 443, passes: false})

	var group struct {
		SecurityGroup struct {
			Rules []struct{ ID, Direction string } `json:"security_group_rules"`
		} `json:"security_group"`
	}
	h.must(h.call("GET", "/v2.0/security-groups/"+stateless, nil, &group))
	for _, r := range group.SecurityGroup.Rules {
		if r.Direction == "egress" {
			h.removeRules(r.ID)
		}
	}
	h.until(probe{from: client, to: server, proto: "udp", port: 80, family: 4})
	h.until(probe{from: client, to: server, proto: "udp", port: 80, family: 6})
	halves := each(client, server, false)
	for i := range halves {
		halves[i].half = true
	}
	h.judge(halves...)
	h.allowBoth(stateless, "egress", portRange("tcp", 32768, 60999))
	h.until(probe{from: client, to: server, proto: "tcp", port: 80, family: 4, passes: true})
	h.judge(probe{from: client, to: server, proto: "tcp", port: 80, passes: true}, halves[1])
}
