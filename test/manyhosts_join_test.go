package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/lab"
)

// logged is what the node's weft has logged from an offset on.
func logged(n *lab.Node, from int64) string {
	b, err := os.ReadFile(n.Log())
	if err != nil || int64(len(b)) < from {
		return ""
	}
	return string(b[from:])
}

func logEnd(n *lab.Node) int64 {
	fi, err := os.Stat(n.Log())
	if err != nil {
		return 0
	}
	return fi.Size()
}

// saysOn waits until the node's weft has logged a text.
func (c *manyHosts) saysOn(n *lab.Node, from int64, text string) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s to say %q", n.Name, text), 30*time.Second, func() error {
		if !strings.Contains(logged(n, from), text) {
			return fmt.Errorf("it says %s", logged(n, from))
		}
		return nil
	})
}

// certificateLife is that of the certificate of the host that comes back: short enough to see
// it renewed, and long enough for a busy machine to do it in its last third.
const certificateLife = 15 * time.Second

// hostComesAndGoes: a host that is removed is cut off at once and does not come back, until it
// joins by a new token; then it has its ports, and its certificate renews itself.
func hostComesAndGoes(c *manyHosts) {
	network := c.dualNetwork("left")
	node, controller := c.Node("compute-1"), c.Node("controller")
	a := c.dualGuestOn("compute-0", network, "remains", nil)
	b := c.dualGuestOn("compute-1", network, "leaves", nil)
	other := c.dualGuestOn("network", network, "watches", nil)
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	c.until(probe{from: a, to: other, proto: "icmp", family: 4, passes: true})
	ping := c.ping(a.port, other.ip())

	weft := func(args ...string) string {
		c.t.Helper()
		out, err := controller.Weft(args...)
		if err != nil {
			c.t.Fatalf("weft %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return out
	}
	if out := weft("host", "drain", "compute-1"); !strings.Contains(out, "drained") || !strings.Contains(out, b.ID) {
		c.t.Errorf("drained, with what is there:\n%s", out)
	}
	if p := c.newPort(network, "late", m{"binding:host_id": "compute-1"}); p.VIFType != "binding_failed" {
		c.t.Errorf("a drained host took a port: %+v", p)
	}
	if out, err := controller.Weft("host", "remove", "compute-1"); err == nil || !strings.Contains(err.Error()+out, "ports are bound") {
		c.t.Errorf("a host with ports: %v %s", err, out)
	}
	from := logEnd(node)
	began := time.Now()
	weft("host", "remove", "compute-1", "--force")
	c.saysOn(node, from, "host compute-1 was removed")
	c.t.Logf("cut off %s after it was removed", time.Since(began).Round(time.Millisecond))
	c.must(node.Agent.Stop())
	from = logEnd(node)
	c.must(node.StartAgent())
	c.saysOn(node, from, "host compute-1 was removed")
	if out := weft("host", "list"); strings.Contains(out, "compute-1") || !strings.Contains(out, "compute-0") {
		c.t.Errorf("the hosts are\n%s", out)
	}
	if p := c.port(b.ID); p.VIFType != "binding_failed" || p.Status != "DOWN" {
		c.t.Errorf("its guest's port is %+v", p)
	}

	// What joins from now on gets a certificate of a short life.
	c.must(controller.Server.Stop())
	controller.Env = append(controller.Env, "WEFT_CERTIFICATE_LIFE="+certificateLife.String())
	c.must(controller.StartServer())
	token := ""
	c.await("a token", 30*time.Second, func() (err error) { token, err = c.Token("agent"); return err })
	if out, err := node.Weft("agent", "join", token); err == nil || !strings.Contains(err.Error()+out, "joined already") {
		c.t.Errorf("joining over what is there: %v %s", err, out)
	}
	c.must(node.Agent.Stop())
	c.must(os.RemoveAll(filepath.Join(node.StateDir(), "tls", "hosts", "compute-1")))
	out, err := node.Weft("agent", "join", token)
	if err != nil {
		c.t.Fatal(err, out)
	}
	joined, from := time.Now(), logEnd(node)
	c.must(node.StartAgent())
	c.awaitAgents()
	c.awaitStatus(b.ID, "ACTIVE")
	c.until(probe{from: a, to: b, proto: "icmp", family: 4, passes: true})
	c.saysOn(node, from, "this host's certificate is renewed")
	time.Sleep(time.Until(joined.Add(certificateLife + time.Second))) // the first one has run out
	if said := logged(node, from); strings.Count(said, "in sync with the server") != 1 || strings.Contains(said, "no feed from the server") {
		c.t.Errorf("its stream did not last:\n%s", said)
	}
	// It connects with the newer one.
	c.must(node.Agent.Stop())
	from = logEnd(node)
	c.must(node.StartAgent())
	c.saysOn(node, from, "in sync with the server")
	sent, lost := ping.stop(c.host)
	c.t.Logf("%d pings between other hosts meanwhile, %d lost", sent, lost)
	if lost > 0 {
		c.t.Errorf("%d of %d pings between other hosts were lost", lost, sent)
	}
}
