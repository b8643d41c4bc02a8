package test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// The reference cloud of several hosts, in parts that share one cloud.
func TestManyHosts(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	c := newManyHosts(t, lab.ReferenceCloud)
	for _, part := range []struct {
		name string
		f    func(*manyHosts)
	}{
		{"LeftOver", gcLeaves},
		{"Agents", agentsOfAll},
		{"AddressFromNetworkNode", addressFromNetworkNode},
		{"Filter", filterAcrossHosts},
		{"VLAN", func(c *manyHosts) {
			providerNetwork(c, m{"provider:network_type": "vlan", "provider:physical_network": lab.PhysicalNetwork, "provider:segmentation_id": 123})
		}},
		{"Flat", func(c *manyHosts) {
			providerNetwork(c, m{"provider:network_type": "flat", "provider:physical_network": lab.PhysicalNetwork})
		}},
		{"Tunnels", tunnelsWhereNeeded},
		{"Move", portMoves},
		{"Answers", answeredHere},
		{"Underlay", smallUnderlay},
		{"Tried", tunnelTried},
		{"Numbers", tunnelsStay},
		{"Followed", followed},
		{"Doctor", doctorFinds},
		{"Remove", hostComesAndGoes},
		{"Collected", gcRemoves}, // last: what LeftOver has left must be old enough
	} {
		t.Run(part.name, func(t *testing.T) {
			began := time.Now()
			part.f(c.in(t))
			t.Logf("took %s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// agentsOfAll: the API shows the agents of each host by its roles, as Neutron does.
func agentsOfAll(c *manyHosts) {
	var list struct {
		Agents []struct {
			Host, Binary   string
			Alive          bool
			Type           string `json:"agent_type"`
			Configurations map[string]any
		}
	}
	c.must(c.call("GET", "/v2.0/agents", nil, &list))
	var found []string
	for _, a := range list.Agents {
		if !a.Alive {
			c.t.Errorf("%s of %s is dead", a.Type, a.Host)
		}
		found = append(found, a.Host+": "+a.Type)
		if ip := c.Node(a.Host).VTEP.String(); a.Type == "Open vSwitch agent" && a.Configurations["tunneling_ip"] != ip {
			c.t.Errorf("the tunnels of %s end at %v, want %s", a.Host, a.Configurations["tunneling_ip"], ip)
		}
	}
	slices.Sort(found)
	want := []string{"compute-0: Open vSwitch agent", "compute-1: Open vSwitch agent",
		"network: DHCP agent", "network: Open vSwitch agent"}
	found = slices.DeleteFunc(found, func(s string) bool { return strings.HasSuffix(s, "L3 agent") }) // a record, as yet
	if !slices.Equal(found, want) {
		c.t.Errorf("agents are %q, want %q", found, want)
	}
}

// packets remembers what a capture hears.
type packets struct {
	mu  sync.Mutex
	all []string
}

func (p *packets) hear(x lab.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, x.Text)
}

// count counts packets in whose description all words are.
func (p *packets) count(words ...string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.all {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			n++
		}
	}
	return n
}

// tunnelled listens to the tunnels of a node, until the part ends.
func (c *manyHosts) tunnelled(node string) *packets {
	c.t.Helper()
	var p packets
	var capture *lab.Capture
	c.must(c.Underlay.Do(func() (err error) {
		capture, err = lab.CaptureVXLAN(lab.Cable(node, lab.Data), p.hear)
		return err
	}))
	c.t.Cleanup(capture.Close)
	return &p
}

// addressFromNetworkNode: a guest on compute-0 gets its address from 10.10.0.2 on the network node, through the tunnel.
func addressFromNetworkNode(c *manyHosts) {
	network := c.network("reference", "10.10.0.0/24")
	g := c.guestOn("compute-0", network, "ref", m{"fixed_ips": []m{{"ip_address": "10.10.0.121"}}})
	heard := c.tunnelled("network")
	got, err := c.udhcpc(g.Name)
	if err != nil || got != "10.10.0.121" {
		c.t.Fatalf("the guest got %q: %v", got, err)
	}
	if out, err := c.Node("network").Run("ip", "-n", "qdhcp-"+network, "-br", "addr"); err != nil || !strings.Contains(out, " 10.10.0.2/24 ") {
		c.t.Errorf("the namespace on the network node: %v %s", err, out)
	}
	for _, node := range []string{"compute-0", "compute-1"} {
		if out, err := c.Node(node).Run("ls", "/run/netns"); err != nil || strings.Contains(out, "qdhcp-") {
			c.t.Errorf("%s serves DHCP too: %v %s", node, err, out)
		}
	}
	for _, want := range [][]string{
		{"IP 10.0.0.11 > 10.0.0.13: VXLAN", "IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from " + g.MAC},
		{"IP 10.0.0.13 > 10.0.0.11: VXLAN", "IP 10.10.0.2.67 > 10.10.0.121.68: BOOTP/DHCP, Reply"},
	} {
		if n := heard.count(want...); n < 2 { // more, if the guest was in a hurry
			c.t.Errorf("%d packets %q through the tunnel, want 2:\n%s", n, want, strings.Join(heard.all, "\n"))
		}
	}
}

// filterAcrossHosts: two guests on different hosts reach each other by both families as far as their groups say.
func filterAcrossHosts(c *manyHosts) {
	network := c.dualNetwork("filtered")
	closed := c.group("closed", nil)
	heard := c.tunnelled("compute-0")
	a := c.dualGuestOn("compute-0", network, "a", nil)
	b := c.dualGuestOn("compute-1", network, "b", nil)
	x := c.dualGuestOn("compute-1", network, "x", m{"security_groups": []string{closed}})
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	c.judge(slices.Concat(each(a, b, true), each(b, a, true), each(a, x, false))...)
	for _, ip := range []string{a.addr(4).String(), a.addr(6).String()} {
		if heard.count("VXLAN", ip) == 0 {
			c.t.Errorf("nothing of %s went through the tunnel:\n%s", ip, strings.Join(heard.all, "\n"))
		}
	}
	rules := c.allowBoth(closed, "ingress", m{"remote_group_id": a.Groups[0], "protocol": "icmp"})
	took := c.until(probe{from: a, to: x, proto: "icmp", family: 4, passes: true})
	c.t.Logf("a rule for a remote group holds on the other host after %s", took.Round(time.Millisecond))
	c.judge(probe{from: a, to: x, proto: "tcp", port: 80})
	c.removeRules(rules...)
	took = c.until(probe{from: a, to: x, proto: "icmp", family: 4})
	c.t.Logf("and does not any more after %s", took.Round(time.Millisecond))
}

// providerNetwork: a network of the datacentre carries traffic between hosts, and no tunnel does.
func providerNetwork(c *manyHosts, attrs m) {
	var n struct{ Network struct{ ID string } }
	c.must(c.call("POST", "/v2.0/networks", m{"network": with(attrs, "name", "provider")}, &n))
	c.must(c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 4, "cidr": "10.30.0.0/24"}}, nil))
	heard := c.tunnelled("compute-0")
	kind := strings.ToLower(strings.TrimPrefix(c.t.Name(), "TestManyHosts/"))
	a, b := c.guestOn("compute-0", n.Network.ID, kind+"-a", nil), c.guestOn("compute-1", n.Network.ID, kind+"-b", nil)
	for _, g := range []*guest{a, b} {
		if got, err := c.udhcpc(g.Name); err != nil || got != g.ip() {
			c.t.Errorf("%s got %q by DHCP, %s by the API: %v", g.Name, got, g.ip(), err)
		}
	}
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	if n := heard.count("10.30.0."); n > 0 {
		c.t.Errorf("%d packets went through tunnels", n)
	}
}

// tunnelPorts are the tunnels of a node, by name.
func (c *manyHosts) tunnelPorts(node string) (names []string) {
	c.t.Helper()
	out, err := c.Node(node).OVS.Vsctl("list-ports", "br-tun")
	c.must(err)
	for _, name := range strings.Fields(out) {
		if strings.HasPrefix(name, "vxlan-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// tunnelsWhereNeeded: a host has tunnels to the hosts with which it shares a network, and to no others.
func tunnelsWhereNeeded(c *manyHosts) {
	network := c.network("shared", "10.40.0.0/24")
	await := func(what, node string, want ...string) {
		c.t.Helper()
		c.await(what, 15*time.Second, func() error {
			if got := c.tunnelPorts(node); !slices.Equal(got, want) {
				return fmt.Errorf("%s has %q, want %q", node, got, want)
			}
			return nil
		})
	}
	await("no tunnels", "compute-0")
	await("no tunnels", "network")
	c.guestOn("compute-0", network, "t0", nil)
	await("a tunnel to the network node", "compute-0", "vxlan-0a00000d")
	await("a tunnel back", "network", "vxlan-0a00000b")
	await("none", "compute-1")
	c.guestOn("compute-1", network, "t1", nil)
	await("two tunnels", "compute-0", "vxlan-0a00000c", "vxlan-0a00000d")
	await("two tunnels", "compute-1", "vxlan-0a00000b", "vxlan-0a00000d")
}

// portMoves: a port that is bound to another host answers there and no longer here, and its peers find it.
func portMoves(c *manyHosts) {
	network := c.dualNetwork("moved")
	a := c.dualGuestOn("network", network, "stays", nil)
	b := c.dualGuestOn("compute-0", network, "moves", nil)
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	ping := c.ping(a.port, b.ip())
	// The guest is as it was on the old host, but the port is the other host's from now on.
	began := time.Now()
	c.must(c.call("PUT", "/v2.0/ports/"+b.ID, m{"port": m{"binding:host_id": "compute-1"}}, nil))
	c.await("the old place to be dead", comes, func() error {
		if err := b.try("icmp", a.addr(4), 0, absent); err == nil {
			return errors.New("it still reaches others")
		}
		return nil
	})
	c.t.Logf("cut off at the old place after %s", time.Since(began).Round(time.Millisecond))
	c.run("ip", "netns", "del", b.Name)
	began = time.Now()
	c.plugOn("compute-1", b)
	b.furnish()
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	c.t.Logf("answers at the new place %s after it began to be plugged", time.Since(began).Round(time.Millisecond))
	sent, lost := ping.stop(c.host)
	c.t.Logf("%d pings sent meanwhile, %d lost", sent, lost)
	c.judge(slices.Concat(each(a, b, true), each(b, a, true))...)
	if p := c.port(b.ID); p.Host != "compute-1" || p.Status != "ACTIVE" {
		c.t.Errorf("the port is %+v", p)
	}
}
