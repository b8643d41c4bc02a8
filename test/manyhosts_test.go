package test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// newManyHosts makes a cloud with all its servers and agents at work; more are further settings of all nodes.
func newManyHosts(t testing.TB, nodes []lab.NodeSpec, more ...string) *manyHosts {
	t.Helper()
	return newManyHostsOf(t, lab.CloudOptions{Nodes: nodes, Settings: strings.Join(more, "\n")})
}

// newManyHostsOf is newManyHosts, where more is to be said of the cloud than its nodes.
func newManyHostsOf(t testing.TB, o lab.CloudOptions) *manyHosts {
	t.Helper()
	labtest.Require(t, "root", "ovs", "tun", "netfilter")
	dir, err := os.MkdirTemp("/run", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The disk of a server is small.
	disk := filepath.Join(dir, o.Nodes[0].Name, "state")
	if err := os.MkdirAll(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, 0) })
	o.Dir, o.Weft = dir, weftBinary(t)
	o.Settings = "identity: none\napi: http://192.168.0.10:9696\ninsecure_no_auth: true\nlog_level: debug\nvlan_ranges: [" + lab.PhysicalNetwork + ":100:199]\n" + o.Settings
	c, err := lab.NewCloud(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		sweep(t)
	})
	h := &host{t: t, dir: dir, url: c.Servers()[0].API(), http: &http.Client{Timeout: 30 * time.Second}}
	many := &manyHosts{h, c}
	t.Cleanup(many.explain)
	h.must(many.Start(t.Context()))
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

// in is the cloud as a part of the story uses it.
func (c *manyHosts) in(t testing.TB) *manyHosts {
	h := *c.host
	h.t = t
	return &manyHosts{&h, c.Cloud}
}

// guestOn makes a port and plugs it, on a node, into a namespace of its name. It has no address yet.
func (c *manyHosts) guestOn(node, network, name string, more m) *guest {
	c.t.Helper()
	g := &guest{port: c.newPort(network, name, more), h: c.host}
	c.plugOn(node, g)
	return g
}

func (c *manyHosts) plugOn(node string, g *guest) {
	c.t.Helper()
	n := c.Node(node)
	_, err := n.Run("ip", "netns", "add", g.Name)
	c.must(err)
	c.must(n.Expose(g.Name))
	c.t.Cleanup(func() {
		_ = exec.Command("ip", "netns", "del", g.Name).Run()
		if out, err := n.Weft("unplug", g.ID); err != nil && !c.t.Failed() {
			c.t.Errorf("%v: %s", err, out)
		}
		_ = c.call("DELETE", "/v2.0/ports/"+g.ID, nil, nil)
	})
	g.quickIPv6()
	_, err = n.Weft("plug", g.ID, "--netns", g.Name, "--wait", "1m")
	c.must(err)
	g.port = c.port(g.ID)
}

// dualGuestOn is guestOn for a network with both families: the guest has its addresses, and serves.
func (c *manyHosts) dualGuestOn(node, network, name string, more m) *guest {
	c.t.Helper()
	g := c.guestOn(node, network, name, more)
	g.furnish()
	return g
}
