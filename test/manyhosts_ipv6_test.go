package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/trace"
)

// The reference cloud on an underlay that has IPv6 only: networks have room for the larger header, a guest gets its
// address from another host, guests reach each other, and trace and doctor know all that as they do with IPv4.
func TestManyHostsIPv6(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	c := newManyHostsOf(t, lab.CloudOptions{Nodes: lab.ReferenceCloud, DataIPv6: true, Settings: "overlay_ip_version: 6"})
	network := c.dualNetwork("six")
	if mtu := c.mtu(network); mtu != 1430 {
		t.Errorf("the network has an MTU of %d, want 1430", mtu)
	}
	c.getsAddress(c.guestOn("compute-0", network, "six", nil))
	a, b := c.dualGuestOn("compute-0", network, "six-a", nil), c.dualGuestOn("compute-1", network, "six-b", nil)
	for _, to := range []string{b.addr(4).String(), b.addr(6).String()} {
		c.await("the way to "+to, comes, func() error { return a.sends(to, "-c", "1", "-W", "1") })
	}
	c.must(a.sends(b.addr(4).String(), "-c", "1", "-W", "5", "-M", "do", "-s", "1402")) // and 28 bytes of headers
	if err := a.sends(b.addr(4).String(), "-c", "1", "-W", "1", "-M", "do", "-s", "1403"); err == nil {
		t.Error("a packet of 1431 bytes got through")
	}
	healthy := func() error { return c.answers(a.ID, trace.CauseHealthy, `All is well: .*`) }
	c.await("health", 20*time.Second, healthy)
	c.awaitFinding("cloud", "tunnels", trace.OK, "Small packets and big ones pass 3 tunnels, both ways.")
	for _, g := range c.examine().Groups {
		for _, k := range g.Checks {
			if bad := k.Verdict == trace.Broken || k.Verdict == trace.Unknown; bad || k.Verdict == trace.Warning && strings.HasPrefix(k.Name, "underlay") {
				t.Errorf("%s %s: %+v", g.Kind, g.Name, k)
			}
		}
	}
	run := func(node, script string) {
		t.Helper()
		_, err := c.Node(node).Run("sh", "-ec", script)
		c.must(err)
	}
	near, far := lab.Cable("compute-0", lab.Data), lab.Cable("network", lab.Data)
	drop := func(from, to string) lab.Trouble {
		return lab.Trouble(fmt.Sprintf("iifname %q oifname %q ether type ip6 udp dport 4789 drop", from, to))
	}
	const ends, back = `compute-0 \(fd00:10::11\)`, `network \(fd00:10::13\)`
	for _, f := range []struct {
		name     string
		do, undo func()
		cause    trace.Cause
		text     string
	}{
		{"blocked", func() { c.must(c.Underlay.Suffer(drop(near, far), drop(far, near))) }, func() { c.must(c.Underlay.Suffer()) }, trace.CauseTunnelBlocked,
			`Nothing passes the tunnel between ` + ends + ` and ` + back + `: 2 probes were sent each way, and none arrived\.`},
		{"a NIC that is too narrow", func() { run("compute-0", "ip link set eth1 mtu 1400") }, func() { run("compute-0", "ip link set eth1 mtu 1500") }, trace.CauseTunnelMTU,
			`Packets of 1430 bytes, the network's MTU, are lost in the tunnel from ` + ends + ` to ` + back + ` \(2 of 2\), and small ones pass: with the tunnel's header they have 1500 bytes, .*`},
		{"address taken away", func() { run("compute-0", "ip addr del fd00:10::11/64 dev br-phys") }, func() { run("compute-0", "ip addr add fd00:10::11/64 dev br-phys nodad") }, trace.CauseTunnelAddressMissing,
			`No device of host compute-0 has its tunnel address fd00:10::11, so its tunnels carry nothing\.`},
	} {
		f.do()
		c.await(f.name, 20*time.Second, func() error { return c.answers(a.ID, f.cause, f.text) })
		f.undo()
		c.await("the end of "+f.name, 20*time.Second, healthy)
	}
	run("compute-1", "ip link set br-phys mtu 1490")
	c.awaitFinding("host compute-1", "underlay", trace.Broken, "br-phys, which has the tunnel address fd00:10::12, has an MTU of 1490; networks here need 1500 (70 of them headers of the tunnel)")
	run("compute-1", "ip link set br-phys mtu 1500")
	c.awaitFinding("host compute-1", "underlay", trace.OK, "fd00:10::12")
	name := vif.Tunnel(model.SegmentVXLAN, c.Node("network").VTEP)
	_, err := c.Node("compute-0").OVS.Vsctl("set", "Interface", name, "options:remote_ip=fd00:10::77")
	c.must(err)
	c.await("the tunnel put back", 20*time.Second, func() error {
		return c.answers(a.ID, trace.CauseTunnelWrongAddress, `Something else has changed port `+name+` on host compute-0: it was found as remote_ip fd00:10::77 and was put back to remote_ip fd00:10::13 .*`)
	})
}

// mtu is a network's.
func (c *manyHosts) mtu(id string) int {
	c.t.Helper()
	var n struct{ Network struct{ MTU int } }
	c.must(c.call("GET", "/v2.0/networks/"+id, nil, &n))
	return n.Network.MTU
}
