package test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// manyHosts is a cloud of several machines. What host does for a story, it does through the API of the first server; its
// own switch and its own machine it does not have.
type manyHosts struct {
	*host
	*lab.Cloud
}

// newManyHosts makes the reference cloud with all its servers and agents at work.
func newManyHosts(t testing.TB, nodes []lab.NodeSpec) *manyHosts {
	t.Helper()
	labtest.Require(t, "root", "ovs", "tun", "netfilter")
	dir, err := os.MkdirTemp("/run", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c, err := lab.NewCloud(t.Context(), lab.CloudOptions{Dir: dir, Weft: weftBinary(t), Nodes: nodes,
		Settings: "identity: none\napi: http://192.168.0.10:9696\ninsecure_no_auth: true\nlog_level: debug\nvlan_ranges: [" + lab.PhysicalNetwork + ":100:199]\n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		sweep(t)
	})
	h := &host{t: t, dir: dir, url: c.API(), http: &http.Client{Timeout: 30 * time.Second}}
	many := &manyHosts{h, c}
	t.Cleanup(many.explain)
	h.must(many.Start())
	many.awaitAgents()
	return many
}

// explain shows what each node looks like when a story has failed.
func (c *manyHosts) explain() {
	if !c.t.Failed() {
		return
	}
	for _, n := range c.Nodes {
		b, _ := os.ReadFile(n.Log())
		lines := strings.Split(string(b), "\n")
		c.t.Logf("%s: the end of weft's log:\n%s", n.Name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		if n.OVS != nil {
			show, _ := n.OVS.Vsctl("show")
			c.t.Logf("%s:\n%s", n.Name, show)
		}
	}
}

// awaitAgents waits until every host's agent is alive.
func (c *manyHosts) awaitAgents() {
	c.t.Helper()
	c.await("all agents", 30*time.Second, func() error {
		var list struct {
			Agents []struct {
				Host  string
				Alive bool
				Type  string `json:"agent_type"`
			}
		}
		if err := c.call("GET", "/v2.0/agents", nil, &list); err != nil {
			return err
		}
		alive := 0
		for _, a := range list.Agents {
			if a.Alive && a.Type == "Open vSwitch agent" {
				alive++
			}
		}
		if want := len(c.Hosts()); alive != want {
			return fmt.Errorf("%d of %d: %+v", alive, want, list.Agents)
		}
		return nil
	})
}

// remote is a guest in a namespace of a node: the NIC of a port, with its addresses.
type remote struct {
	port
	c    *manyHosts
	node *lab.Node
}

// guestOn makes a port and plugs it, on a node, into a namespace of its name.
func (c *manyHosts) guestOn(node, network, name string, more m) *remote {
	c.t.Helper()
	g := &remote{port: c.newPort(network, name, more), c: c, node: c.Node(node)}
	g.must("ip", "netns", "add", name)
	g.exec("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
	out, err := g.node.Weft("plug", g.ID, "--netns", name, "--wait", "30s")
	c.must(err)
	c.t.Log(strings.TrimSpace(out))
	return g
}

func (g *remote) must(name string, args ...string) string {
	g.c.t.Helper()
	out, err := g.node.Run(name, args...)
	g.c.must(err)
	return out
}

// exec runs a program in the guest.
func (g *remote) exec(args ...string) string {
	g.c.t.Helper()
	return g.must("ip", append([]string{"netns", "exec", g.Name}, args...)...)
}

// udhcpc gets an address by DHCP.
func (g *remote) udhcpc() (addr string, err error) {
	script := filepath.Join(g.c.dir, "udhcpc.sh")
	err = os.WriteFile(script, []byte("#!/bin/sh\n"+
		`case $1 in bound|renew) ip addr replace "$ip/$mask" dev "$interface"; echo "ADDRESS $ip FROM $serverid";; esac`+"\n"), 0o755)
	if err != nil {
		return "", err
	}
	out, err := g.node.Run("ip", "netns", "exec", g.Name, "busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", script)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if a, ok := strings.CutPrefix(strings.TrimSpace(line), "ADDRESS "); ok {
			return a, nil
		}
	}
	return "", errors.New("udhcpc says nothing of an address: " + out)
}

// The reference cloud: agents of every host are alive, and ports on each of them become ACTIVE.
func TestManyHosts(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	c := newManyHosts(t, lab.ReferenceCloud)
	network := c.network("net", "10.10.0.0/24")
	a := c.guestOn("compute-0", network, "a", m{"fixed_ips": []m{{"ip_address": "10.10.0.121"}}})
	b := c.guestOn("compute-1", network, "b", nil)
	for _, g := range []*remote{a, b} {
		c.awaitStatus(g.ID, "ACTIVE")
	}
}
