package test

import (
	"fmt"
	"net/url"
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
	err := lab.Await(c.t.Context(), what, 20*time.Second, func() error {
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
	err := lab.Await(c.t.Context(), what, 20*time.Second, func() error {
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
	c := newManyHosts(t, lab.ReferenceCloud)
	for _, part := range []struct {
		name string
		f    func(*manyHosts)
	}{
		{"Healthy", healthyKinds},
		{"Service", dhcpServiceFaults},
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
