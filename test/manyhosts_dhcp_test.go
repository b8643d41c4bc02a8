package test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// dhcpCloud has two hosts that may serve DHCP and two for guests.
var dhcpCloud = []lab.NodeSpec{
	{Name: "controller", Server: true},
	{Name: "compute-0", Roles: "compute"},
	{Name: "compute-1", Roles: "compute"},
	{Name: "network-0", Roles: "network"},
	{Name: "network-1", Roles: "network"},
}

// Where DHCP is answered, and what happens when that goes away.
func TestManyHostsDHCP(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	c := newManyHosts(t, dhcpCloud, "agent_down_time: 6s", "heartbeat_interval: 1s")
	for _, part := range []struct {
		name string
		f    func(*manyHosts)
	}{{"Two", twoDHCPServers}, {"Failover", dhcpFailsOver}, {"Distributed", dhcpEverywhere}} {
		t.Run(part.name, func(t *testing.T) {
			began := time.Now()
			part.f(c.in(t))
			t.Logf("took %s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// serveDHCP starts the server anew with other settings of DHCP.
func (c *manyHosts) serveDHCP(settings string) {
	c.t.Helper()
	n := c.Node("controller")
	b, err := os.ReadFile(n.Config())
	c.must(err)
	text, _, _ := strings.Cut(string(b), "\ndhcp_")
	c.must(os.WriteFile(n.Config(), []byte(text+"\n"+settings+"\n"), 0o600))
	c.must(n.Server.Stop())
	c.must(n.StartServer())
	c.await("the server", 30*time.Second, func() error { return c.call("GET", "/v2.0/networks", nil, nil) })
	c.awaitAgents()
}

// servers are the hosts that serve DHCP on a network, as the API says.
func (c *manyHosts) servers(network string) (hosts []string) {
	c.t.Helper()
	var list struct{ Agents []struct{ Host string } }
	c.must(c.call("GET", "/v2.0/networks/"+network+"/dhcp-agents", nil, &list))
	for _, a := range list.Agents {
		hosts = append(hosts, a.Host)
	}
	slices.Sort(hosts)
	return hosts
}

// awaitDHCP waits until a network is served from some hosts, and nowhere else is a namespace of it.
func (c *manyHosts) awaitDHCP(network string, hosts ...string) time.Duration {
	c.t.Helper()
	began := time.Now()
	c.await("DHCP on "+strings.Join(hosts, " and "), 60*time.Second, func() error {
		if on := c.servers(network); !slices.Equal(on, hosts) {
			return fmt.Errorf("the API says %v", on)
		}
		for _, n := range c.Hosts() {
			out, err := n.Run("sh", "-c", "ip -n qdhcp-"+network+" -br addr 2>/dev/null || true")
			if has := strings.Contains(out, "/24 "); err != nil || has != slices.Contains(hosts, n.Name) && n.Agent != nil {
				return fmt.Errorf("%s: served %t, %v", n.Name, has, err)
			}
		}
		return nil
	})
	return time.Since(began)
}

// dhcpPorts are the DHCP ports of a network, as ID MAC address.
func (c *manyHosts) dhcpPorts(network string) (ports []string) {
	c.t.Helper()
	var list struct{ Ports []port }
	c.must(c.call("GET", "/v2.0/ports?device_owner=network:dhcp&network_id="+network, nil, &list))
	for _, p := range list.Ports {
		ports = append(ports, p.ID+" "+p.MAC+" "+p.ip())
	}
	slices.Sort(ports)
	return ports
}

// address gets a guest its address several times, and says how long it waited for OFFER and ACK
// together, in the median.
func (c *manyHosts) address(g *guest, times int) time.Duration {
	c.t.Helper()
	var took []time.Duration
	for range times {
		var mu sync.Mutex
		var asked time.Time
		var waited time.Duration
		var capture *lab.Capture
		c.must(kernel.Do(g.Name, func() (err error) {
			capture, err = lab.CaptureBOOTP("eth0", func(p lab.Packet) {
				mu.Lock()
				defer mu.Unlock()
				if strings.Contains(p.Text, "Request") {
					asked = p.At
				} else if !asked.IsZero() {
					waited += p.At.Sub(asked)
					asked = time.Time{}
				}
			})
			return err
		}))
		got, err := c.udhcpc(g.Name)
		capture.Close()
		if err != nil || got != g.ip() {
			c.t.Fatalf("%s got %q by DHCP, %s by the API: %v", g.Name, got, g.ip(), err)
		}
		took = append(took, waited)
	}
	slices.Sort(took)
	return took[len(took)/2].Round(10 * time.Microsecond)
}

// kill ends an agent for good.
func (c *manyHosts) kill(node string) {
	n := c.Node(node)
	n.Agent.Kill()
	n.Agent = nil
}

func (c *manyHosts) revive(node string) {
	c.t.Helper()
	c.must(c.Node(node).StartAgent())
	c.awaitAgents()
}

// twoDHCPServers: both offer, the client takes one, and goes on at once when it is gone.
func twoDHCPServers(c *manyHosts) {
	c.serveDHCP("dhcp_agents_per_network: 2")
	network := c.network("two", "10.60.0.0/24")
	c.awaitDHCP(network, "network-0", "network-1")
	heard := c.tunnelled("compute-0")
	g := c.guestOn("compute-0", network, "two", nil)
	replies := func() (first, second int) {
		return heard.count("10.60.0.2.67 >", "Reply"), heard.count("10.60.0.3.67 >", "Reply")
	}
	// The hosts hear of the guest's host one after the other.
	c.await("both offers", 20*time.Second, func() error {
		a, b := replies()
		c.address(g, 1)
		return lab.Await(c.t.Context(), "replies", 2*time.Second, func() error {
			x, y := replies()
			if x, y = x-a, y-b; x == 0 || y == 0 || x+y != 3 { // two OFFERs and the ACK of the chosen one
				return fmt.Errorf("%d replies of one and %d of the other", x, y)
			}
			return nil
		})
	})
	c.t.Logf("DHCP with two servers: p50 %s", c.address(g, 15))
	c.isWell("a port with two servers", g.ID)
	c.kill("network-0")
	c.t.Logf("with one of them dead: p50 %s", c.address(g, 15))
	c.revive("network-0")
	c.awaitDHCP(network, "network-0", "network-1")
}

// dhcpFailsOver: the port of a dead host goes to a living one, the same port; and stays there.
func dhcpFailsOver(c *manyHosts) {
	c.serveDHCP("dhcp_agents_per_network: 1")
	network := c.network("one", "10.61.0.0/24")
	first := c.servers(network)[0]
	second := map[string]string{"network-0": "network-1", "network-1": "network-0"}[first]
	c.awaitDHCP(network, first)
	g := c.guestOn("compute-0", network, "one", nil)
	c.t.Logf("DHCP through the tunnel: p50 %s", c.address(g, 15))
	before := c.dhcpPorts(network)
	c.kill(first)
	c.t.Logf("moved %s after the agent's death", c.awaitDHCP(network, second).Round(time.Millisecond))
	if after := c.dhcpPorts(network); !slices.Equal(after, before) {
		c.t.Errorf("the port is now %v, was %v", after, before)
	}
	c.address(g, 1)
	if status := c.port(g.ID).Status; status != "ACTIVE" {
		c.t.Errorf("the guest's port is %s", status)
	}
	c.revive(first)
	c.awaitDHCP(network, second)
	c.address(g, 1)
}

// dhcpEverywhere: each host answers its own guests, and nobody else hears of it. The mode changes on a cloud at work.
func dhcpEverywhere(c *manyHosts) {
	network := c.network("every", "10.62.0.0/24")
	was := c.dhcpPorts(network)
	a, b := c.guestOn("compute-0", network, "every-a", nil), c.guestOn("compute-1", network, "every-b", nil)
	c.address(a, 1)
	c.serveDHCP("dhcp_mode: distributed")
	c.t.Logf("the mode has changed after %s", c.awaitDHCP(network, "compute-0", "compute-1").Round(time.Millisecond))
	if now := c.dhcpPorts(network); !slices.Equal(now, was) {
		c.t.Errorf("the port is now %v, was %v", now, was)
	}
	c.address(a, 1)
	c.isWell("a port whose DHCP is on every host", a.ID)
	heard := c.tunnelled("compute-0")
	c.kill("network-0")
	c.kill("network-1")
	c.must(c.Node("controller").Server.Stop())
	c.t.Logf("DHCP on the guest's own host, everything else down: p50 %s", c.address(a, 15))
	c.address(b, 1)
	for _, g := range []*guest{a, b} {
		if err := g.sends("10.62.0.2", "-c", "1", "-W", "20"); err != nil {
			c.t.Errorf("%s does not reach its server: %v", g.Name, err)
		}
	}
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	if n := heard.count("BOOTP/DHCP") + heard.count("10.62.0.2 ") + heard.count("10.62.0.2:"); n > 0 || heard.count("VXLAN") == 0 {
		c.t.Errorf("%d packets of or for DHCP went through the tunnel:\n%s", n, strings.Join(heard.all, "\n"))
	}
	c.must(c.Node("controller").StartServer())
	c.await("the server", 30*time.Second, func() error { return c.call("GET", "/v2.0/networks", nil, nil) })
	c.must(errors.Join(c.Node("network-0").StartAgent(), c.Node("network-1").StartAgent()))
	c.serveDHCP("dhcp_agents_per_network: 1")
	c.await("one host again", 30*time.Second, func() error {
		if on := c.servers(network); len(on) != 1 || !strings.HasPrefix(on[0], "network-") {
			return fmt.Errorf("served by %v", on)
		}
		return nil
	})
	c.awaitDHCP(network, c.servers(network)...)
	c.address(a, 1)
	if now := c.dhcpPorts(network); !slices.Equal(now, was) {
		c.t.Errorf("the port is now %v, was %v", now, was)
	}
}
