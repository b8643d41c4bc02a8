package test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/trace"
)

// traceOf is the chain of a port, and how long the answer took.
func (c *manyHosts) traceOf(id string) (trace.Chain, time.Duration, error) {
	began := time.Now()
	var report trace.Report
	err := c.call("GET", inspect.Path+"?q="+url.QueryEscape(id), nil, &report)
	if err == nil && len(report.Chains) != 1 {
		err = fmt.Errorf("%d chains", len(report.Chains))
	}
	if err != nil {
		return trace.Chain{}, 0, err
	}
	return report.Chains[0], time.Since(began), nil
}

// answers reports an error unless trace says that of the port; text is a regular expression.
func (c *manyHosts) answers(id string, cause trace.Cause, text string) error {
	chain, took, err := c.traceOf(id)
	if err != nil {
		return err
	}
	if a := chain.Answer; a.Cause != cause || !regexp.MustCompile("^"+text+"$").MatchString(a.Text) {
		var all []string
		for _, s := range chain.Steps {
			for _, it := range s.Items {
				if s.Name == trace.StepTunnel || it.Verdict == trace.Broken || it.Verdict == trace.Unknown {
					all = append(all, fmt.Sprintf("%s: %+v", s.Name, it))
				}
			}
		}
		return fmt.Errorf("after %s it says %s: %s\n%s", took.Round(time.Millisecond), a.Cause, a.Text, strings.Join(all, "\n"))
	}
	c.t.Logf("after %s: %s", took.Round(time.Millisecond), chain.Answer.Text)
	return nil
}

type tunnelFault struct {
	name     string
	do, undo func()
	cause    trace.Cause
	text     string
}

// ownFirewall is compute-0's own, which has what kernel tunnels carry pass it; what user space sends and takes does not.
func (c *manyHosts) ownFirewall(hook, from, to string) tunnelFault {
	nft := func(script string) func() {
		return func() {
			_, err := c.Node("compute-0").Run("nft", script)
			c.must(err)
		}
	}
	return tunnelFault{"the host's own firewall, " + hook,
		nft("add table inet own; add chain inet own udp4789 { type filter hook " + hook + " priority 0; }; add rule inet own udp4789 udp dport 4789 drop"),
		nft("delete table inet own"), trace.CauseTunnelOneWay,
		`Nothing that ` + from + ` sends through the tunnel arrives at ` + to + `: 2 of 2 probes were lost; the other way they pass\.`}
}

// tunnelTried: trace tells the ways apart in which a tunnel between a port's host and its DHCP host can be
// broken, in both directions; and a port that needs no tunnel stays well.
func tunnelTried(c *manyHosts) {
	network := c.network("tried", "10.77.0.0/24")
	far, near := c.guestOn("compute-0", network, "far", nil), c.guestOn("network", network, "near", nil)
	for _, g := range []*guest{far, near} {
		if got, err := c.udhcpc(g.Name); err != nil || got != g.ip() {
			c.t.Fatalf("%s got %q: %v", g.Name, got, err)
		}
	}
	a, b := lab.Cable("compute-0", lab.Data), lab.Cable("network", lab.Data)
	drop := func(from, to string) lab.Trouble {
		return lab.Trouble(fmt.Sprintf("iifname %q oifname %q ether type ip udp dport 4789 drop", from, to))
	}
	link := func(run func(string, ...string) (string, error), device, mtu string) {
		_, err := run("ip", "link", "set", device, "mtu", mtu)
		c.must(err)
	}
	well := func() { c.must(c.Underlay.Suffer()) }
	ofctl := func(node string, args ...string) {
		_, err := c.Node(node).OVS.Ofctl(args...)
		c.must(err)
	}
	address := func(verb string) {
		_, err := c.Node("compute-0").Run("ip", "addr", verb, "10.0.0.11/24", "dev", "br-phys")
		c.must(err)
	}
	restart := func(node, tunnelIP string) {
		n := c.Node(node)
		c.must(n.Agent.Stop())
		if tunnelIP != "" {
			b, err := os.ReadFile(n.Config())
			c.must(err)
			b = regexp.MustCompile(`tunnel_ip: .*`).ReplaceAll(b, []byte("tunnel_ip: "+tunnelIP))
			c.must(os.WriteFile(n.Config(), b, 0o600))
		}
		c.must(n.StartAgent())
	}
	const ends, back = `compute-0 \(10\.0\.0\.11\)`, `network \(10\.0\.0\.13\)`
	healthy := `All is well: .*`
	faults := []tunnelFault{
		{"nothing", func() {}, func() {}, trace.CauseHealthy, healthy},
		{"blocked", func() { c.must(c.Underlay.Suffer(drop(a, b), drop(b, a))) }, well, trace.CauseTunnelBlocked,
			`Nothing passes the tunnel between ` + ends + ` and ` + back + `: 2 probes were sent each way, and none arrived\.`},
		{"blocked there", func() { c.must(c.Underlay.Suffer(drop(a, b))) }, well, trace.CauseTunnelOneWay,
			`Nothing that ` + ends + ` sends through the tunnel arrives at ` + back + `: 2 of 2 probes were lost; the other way they pass\.`},
		{"blocked back", func() { c.must(c.Underlay.Suffer(drop(b, a))) }, well, trace.CauseTunnelOneWay,
			`Nothing that ` + back + ` sends through the tunnel arrives at ` + ends + `: 2 of 2 probes were lost; the other way they pass\.`},
		{"MTU of a NIC", func() { link(c.Node("compute-0").Run, "eth1", "1400") }, func() { link(c.Node("compute-0").Run, "eth1", "1500") }, trace.CauseTunnelMTU,
			`Packets of 1450 bytes, the network's MTU, are lost in the tunnel from ` + ends + ` to ` + back + ` \(2 of 2\), and small ones pass: with the tunnel's header they have 1500 bytes, .*`},
		{"MTU on the way", func() { link(c.Underlay.Run, b, "1400") }, func() { link(c.Underlay.Run, b, "1500") }, trace.CauseTunnelMTU,
			`Packets of 1450 bytes, .* from ` + ends + ` to ` + back + ` \(2 of 2\), and small ones pass: .* and the underlay between the hosts carries less\.`},
		{"MTU of the device that has the address", func() { link(c.Node("compute-0").Run, "br-phys", "1400") }, func() { link(c.Node("compute-0").Run, "br-phys", "1500") }, trace.CauseTunnelMTU,
			// In user space Open vSwitch does not send through that device, so that is no more than a warning there.
			`Packets of 1450 bytes, the network's MTU, .* the MTU of br-phys on compute-0 is 1400\.`},
		{"flows of the tunnel bridge deleted", func() { ofctl("compute-0", "del-flows", "br-tun", "table=4") }, func() { restart("compute-0", "") }, trace.CauseExchangeLost,
			`The switch of host compute-0 loses OFFER, ACK: no flow matches in table=4 of br-tun.*`},
		{"address taken away", func() { address("del") }, func() { address("add") }, trace.CauseTunnelAddressMissing,
			`No device of host compute-0 has its tunnel address 10\.0\.0\.11, so its tunnels carry nothing\.`},
		{"agent with an address that it has not", func() { restart("compute-0", "10.0.0.99") }, func() { restart("compute-0", "10.0.0.11") }, trace.CauseTunnelAddressMissing,
			`No device of host compute-0 has its tunnel address 10\.0\.0\.99, so its tunnels carry nothing\.`},
	}
	if c.Node("compute-0").OVS.Datapath == lab.DatapathSystem {
		faults = append(faults, c.ownFirewall("input", back, ends), c.ownFirewall("output", ends, back))
	}
	for _, f := range faults {
		f.do()
		c.await(f.name, 20*time.Second, func() error {
			return errors.Join(c.answers(far.ID, f.cause, f.text), c.answers(near.ID, trace.CauseHealthy, healthy))
		})
		if f.name == "blocked" {
			c.awaitFinding("cloud", "tunnel compute-0-network", trace.Broken, "Nothing passes the tunnel between compute-0 (10.0.0.11) and network (10.0.0.13)")
		}
		f.undo()
		c.await("the end of "+f.name, 20*time.Second, func() error { return c.answers(far.ID, trace.CauseHealthy, healthy) })
	}
	c.awaitFinding("cloud", "tunnels", trace.OK, "Small packets and big ones pass 1 tunnel, both ways.")
	// What somebody writes there is put back at once; that it was, is told for a while, and of no other port.
	_, err := c.Node("compute-0").OVS.Vsctl("set", "Interface", "vxlan-0a00000d", "options:remote_ip=10.0.0.77")
	c.must(err)
	c.await("the tunnel put back", 20*time.Second, func() error {
		return c.answers(far.ID, trace.CauseTunnelWrongAddress, `Something else has changed port vxlan-0a00000d on host compute-0: it was found as remote_ip 10\.0\.0\.77 and was put back to remote_ip 10\.0\.0\.13 .*`)
	})
	c.await("the neighbour to be well", 20*time.Second, func() error { return c.answers(near.ID, trace.CauseHealthy, healthy) })
}
