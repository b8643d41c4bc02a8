package test

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/trace"
)

// traced asks what is the matter with a port.
func (c *manyHosts) traced(id string) trace.Chain {
	c.t.Helper()
	var r trace.Report
	c.must(c.call("GET", inspect.Path+"?q="+url.QueryEscape(id), nil, &r))
	return r.Chains[0]
}

// isWell waits until a port is well in trace's eyes, without a warning.
func (c *manyHosts) isWell(what, id string) {
	c.t.Helper()
	var ch trace.Chain
	began := time.Now()
	err := lab.Await(c.t.Context(), what, patience*20*time.Second, func() error {
		asked := time.Now()
		if ch = c.traced(id); ch.Verdict != trace.OK {
			return fmt.Errorf("%s: %s", ch.Verdict, ch.Answer.Text)
		}
		c.t.Logf("%s is well after %s; trace took %s", what, time.Since(began).Round(time.Millisecond), time.Since(asked).Round(time.Millisecond))
		return nil
	})
	if err != nil {
		var b strings.Builder
		_ = ch.Print(&b)
		c.t.Errorf("%s: %v\n%s", what, err, b.String())
	}
}

// isTold waits until trace has an answer for a port.
func (c *manyHosts) isTold(what, id string, cause trace.Cause, text string) {
	c.t.Helper()
	var ch trace.Chain
	err := lab.Await(c.t.Context(), what, patience*20*time.Second, func() error {
		if ch = c.traced(id); ch.Answer.Cause != cause || !strings.Contains(ch.Answer.Text, text) {
			return fmt.Errorf("%s: %+v", ch.Verdict, ch.Answer)
		}
		return nil
	})
	if err != nil {
		var b strings.Builder
		_ = ch.Print(&b)
		c.t.Errorf("%s: %v\n%s", what, err, b.String())
	}
}

// dhcpDeviceOf is the device of a network's DHCP service.
func (c *manyHosts) dhcpDeviceOf(network string) string {
	c.t.Helper()
	return "tap" + c.dhcpPorts(network)[0][:11]
}

// Healthy ports of every kind are well; what is made wrong with DHCP is named.
func TestTraceKinds(t *testing.T) {
	labtest.Require(t, "busybox", "ping", "nft")
	// What a resync takes out is warned of for ten minutes, on all ports of the host.
	c := newManyHosts(t, lab.ReferenceCloud, "resync_interval: 1h")
	for _, part := range []struct {
		name string
		f    func(*manyHosts)
	}{
		{"Healthy", healthyKinds},
		{"Service", dhcpServiceFaults},
		{"Exchange", exchangeFaults},
		{"Rogue", rogueServer},
	} {
		t.Run(part.name, func(t *testing.T) { part.f(c.in(t)) })
	}
}

func healthyKinds(c *manyHosts) {
	network := c.network("kinds", "10.60.0.0/24")
	lease := func(g *guest) {
		c.t.Helper()
		if got, err := c.udhcpc(g.Name); err != nil || got != g.ip() {
			c.t.Fatalf("%s got %q, %v", g.Name, got, err)
		}
	}
	far := c.guestOn("compute-0", network, "k-far", nil)
	near := c.guestOn("network", network, "k-near", nil)
	open := c.guestOn("compute-0", network, "k-open", m{"port_security_enabled": false, "security_groups": []string{}})
	bare := c.guestOn("compute-1", network, "k-bare", m{"security_groups": []string{}})
	for _, g := range []*guest{far, near, open, bare} {
		lease(g)
		c.isWell(g.Name, g.ID)
	}
	id, _, _ := strings.Cut(c.dhcpPorts(network)[0], " ")
	c.isWell("the DHCP port", id)
	for id, want := range map[string][]string{far.ID: {"compute-0", "network"}, near.ID: {"network"}, open.ID: {"compute-0", "network"}} {
		if got := c.exchanged(id); !slices.Equal(got, want) {
			c.t.Errorf("the exchange was followed on %q, want %q", got, want)
		}
	}

	var physical struct{ Network struct{ ID string } }
	c.must(c.call("POST", "/v2.0/networks", m{"network": m{"name": "k-vlan", "provider:network_type": "vlan", "provider:physical_network": lab.PhysicalNetwork, "provider:segmentation_id": 133}}, &physical))
	c.must(c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": physical.Network.ID, "ip_version": 4, "cidr": "10.63.0.0/24"}}, nil))
	vlan := c.guestOn("compute-1", physical.Network.ID, "k-vlan", nil)
	lease(vlan)
	c.isWell("a port of a VLAN", vlan.ID)
	if got := c.exchanged(vlan.ID); !slices.Equal(got, []string{"compute-1", "network"}) {
		c.t.Errorf("the exchange over the VLAN was followed on %q", got)
	}

	// Two subnets, of which one gives out addresses.
	var list struct{ Subnets []struct{ ID string } }
	c.must(c.call("GET", "/v2.0/subnets?network_id="+network, nil, &list))
	c.must(c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": network, "ip_version": 4, "cidr": "10.64.0.0/24", "enable_dhcp": false}}, nil))
	two := c.guestOn("compute-0", network, "k-two", m{"fixed_ips": []m{{"ip_address": "10.64.0.77"}, {"subnet_id": list.Subnets[0].ID}}})
	if got, err := c.udhcpc(two.Name); err != nil || !strings.HasPrefix(got, "10.60.0.") {
		c.t.Fatalf("%s got %q, %v", two.Name, got, err)
	}
	c.isWell("a port of two subnets", two.ID)

	six := c.network6("k-six", "2001:db8:66::/64")
	v6 := c.guestOn("compute-0", six, "k-six", nil)
	c.isTold("a port of IPv6 alone, whose guest does not know its address", v6.ID, trace.CauseNoIPv6, "The guest has sent nothing from "+v6.ip())
	v6.exec("ip", "addr", "add", v6.ip()+"/64", "dev", "eth0", "nodad")
	_ = v6.sends("2001:db8:66::1", "-c", "1", "-W", "1")
	c.isWell("a port of IPv6 alone", v6.ID)
}

// network6 makes a network of IPv6 alone.
func (c *manyHosts) network6(name, cidr string) string {
	c.t.Helper()
	var n struct{ Network struct{ ID string } }
	c.must(c.call("POST", "/v2.0/networks", m{"network": m{"name": name}}, &n))
	c.must(c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 6, "cidr": cidr, "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}}, nil))
	return n.Network.ID
}

// exchanged are the hosts on which the exchange of a port was followed.
func (c *manyHosts) exchanged(id string) (hosts []string) {
	c.t.Helper()
	for _, s := range c.traced(id).Steps {
		if s.Name == trace.StepExchange {
			hosts = append(hosts, string(s.Host))
		}
	}
	return hosts
}

// exchangeFaults are flows of somebody else's on the way, on each switch that an exchange passes.
func exchangeFaults(c *manyHosts) {
	network := c.network("shadow", "10.65.0.0/24")
	g, near := c.guestOn("compute-0", network, "x-guest", nil), c.guestOn("compute-0", network, "x-near", nil)
	for _, g := range []*guest{g, near} {
		if _, err := c.udhcpc(g.Name); err != nil {
			c.t.Fatal(err)
		}
	}
	c.isWell("before", g.ID)
	for _, f := range []struct{ node, bridge, flow, says string }{
		{"compute-0", "br-int", "table=71,priority=999,udp,dl_src=" + g.MAC + ",actions=drop", "The flow table=71,priority=999,udp,dl_src=" + g.MAC + " actions=drop of br-int on host compute-0"},
		{"compute-0", "br-int", "table=81,priority=999,udp,nw_dst=" + g.ip() + ",actions=drop", "The flow table=81,priority=999,udp,nw_dst=" + g.ip() + " actions=drop of br-int on host compute-0"},
		{"compute-0", "br-tun", "table=2,priority=999,udp,dl_src=" + g.MAC + ",actions=drop", "The flow table=2,priority=999,udp,dl_src=" + g.MAC + " actions=drop of br-tun on host compute-0"},
		{"compute-0", "br-int", "table=0,priority=999,tcp,in_port=tap" + g.ID[:11] + ",actions=drop", "comes before those of the port and drops what it matches: 0 packets so far."},
		{"compute-0", "br-int", "table=0,priority=999,tcp,in_port=tap" + g.ID[:11] + ",tcp_flags=syn,actions=flood", "and more, for which weft has no words"},
		{"network", "br-tun", "table=0,priority=999,udp,dl_src=" + g.MAC + ",actions=drop", "The flow table=0,priority=999,udp,dl_src=" + g.MAC + " actions=drop of br-tun on host network"},
		{"network", "br-int", "table=60,priority=999,udp,dl_dst=" + g.MAC + ",actions=drop", "The flow table=60,priority=999,udp,dl_dst=" + g.MAC + " actions=drop of br-int on host network"},
	} {
		ovs := c.Node(f.node).OVS
		out, err := ovs.Ofctl("add-flow", f.bridge, f.flow)
		if err != nil {
			c.t.Fatal(out, err)
		}
		c.isTold(f.node+" "+f.flow, g.ID, trace.CauseForeignFlow, f.says)
		c.isWell("the neighbour", near.ID)
		match, _, _ := strings.Cut(f.flow, ",actions")
		if out, err := ovs.Ofctl("del-flows", f.bridge, strings.Replace(match, "priority=999,", "", 1)+",cookie=0/-1"); err != nil {
			c.t.Fatal(out, err)
		}
		c.isWell("after it", g.ID)
	}
}

// dhcpServiceFaults are made in the namespace of the DHCP service, on another host than the guest's.
func dhcpServiceFaults(c *manyHosts) {
	network := c.network("deaf", "10.61.0.0/24")
	g := c.guestOn("compute-0", network, "d-guest", nil)
	if _, err := c.udhcpc(g.Name); err != nil {
		c.t.Fatal(err)
	}
	c.isWell("before", g.ID)
	ns, dev := "qdhcp-"+network, c.dhcpDeviceOf(network)
	in := func(args ...string) {
		c.t.Helper()
		_, err := c.Node("network").Run("ip", slices.Concat([]string{"netns", "exec", ns}, args)...)
		c.must(err)
	}
	in("nft", "add table netdev x; add chain netdev x in { type filter hook ingress device "+dev+" priority 0; }; add rule netdev x in udp dport 67 drop")
	c.isTold("nftables", g.ID, trace.CauseDHCPDeaf, "a test message did not reach it")
	in("nft", "delete table netdev x")
	c.isWell("after it", g.ID)
}

// rogueServer: a guest without port security answers DHCP before weft does, to one guest of the network.
func rogueServer(c *manyHosts) {
	network := c.network("rogue", "10.66.0.0/24")
	g, near := c.guestOn("compute-0", network, "r-guest", nil), c.guestOn("compute-0", network, "r-near", nil)
	evil := c.guestOn("compute-0", network, "r-evil", m{"port_security_enabled": false, "security_groups": []string{}})
	for _, g := range []*guest{g, near} {
		if _, err := c.udhcpc(g.Name); err != nil {
			c.t.Fatal(err)
		}
	}
	evil.exec("ip", "addr", "add", evil.ip()+"/24", "dev", "eth0")
	config, leases := filepath.Join(c.t.TempDir(), "udhcpd.conf"), filepath.Join(c.t.TempDir(), "leases")
	c.must(os.WriteFile(config, []byte("start 10.66.0.210\nend 10.66.0.220\ninterface eth0\nlease_file "+leases+"\npidfile "+leases+".pid\noption subnet 255.255.255.0\nstatic_lease "+g.MAC+" 10.66.0.215\n"), 0o600))
	udhcpd := exec.Command("ip", "netns", "exec", evil.Name, "busybox", "udhcpd", "-f", config)
	c.must(udhcpd.Start())
	defer func() {
		_ = udhcpd.Process.Kill()
		_ = udhcpd.Wait()
	}()
	// The first answer wins; so that it is the wrong one, the right one comes too late.
	ovs, late := c.Node("network").OVS, "table=0,udp,dl_dst="+g.MAC+",tp_src=67"
	if out, err := ovs.Ofctl("add-flow", "br-int", "priority=65000,"+late+",actions=drop"); err != nil {
		c.t.Fatal(out, err)
	}
	c.await("the guest to be told wrong", 20*time.Second, func() error {
		if got, err := c.udhcpc(g.Name); err != nil || got != "10.66.0.215" {
			return fmt.Errorf("it got %q, %v", got, err)
		}
		return nil
	})
	if out, err := ovs.Ofctl("del-flows", "br-int", late+",cookie=0/-1"); err != nil {
		c.t.Fatal(out, err)
	}
	c.isTold("the guest", g.ID, trace.CauseRogueDHCP, "The guest has chosen the offer of another DHCP server, "+evil.ip()+": port r-evil ("+evil.ID+") on host compute-0 has that address.")
	c.isTold("the rogue", evil.ID, trace.CauseIsRogueDHCP, "This port answers DHCP: guests have chosen its offers")
	c.isWell("the neighbour", near.ID)
}
