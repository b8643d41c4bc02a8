package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/trace"
)

// soakVar, if set, has the faults tried that take long.
const soakVar = "WEFT_SOAK"

// faulty is a cloud to which faults are given: a guest on each host, that all ping each other.
type faulty struct {
	*manyHosts
	guests []*guest // one for each of Hosts, in that order
	writes string   // the network in which ports come and go
}

// fault is one trouble. do gives it and takes it away again, if it does not go by itself.
type fault struct {
	name string
	soak bool
	do   func(*faulty)
	// hits: pings between guests on these two hosts may be lost. nil: none may be.
	hits func(a, b string) bool
}

func on(node string) func(a, b string) bool {
	return func(a, b string) bool { return a == node || b == node }
}

func everywhere(string, string) bool { return true }

var faults = []fault{
	{name: "agents killed", do: func(c *faulty) {
		for _, n := range c.Hosts() {
			n.Agent.Kill()
			c.must(n.StartAgent())
		}
	}},
	{name: "vswitchd of a compute node killed", hits: on("compute-0"), do: func(c *faulty) {
		c.must(c.Node("compute-0").OVS.RestartVswitchd(c.t.Context(), lab.Crash))
	}},
	{name: "vswitchd of the network node killed", hits: on("network"), do: func(c *faulty) {
		c.must(c.Node("network").OVS.RestartVswitchd(c.t.Context(), lab.Crash))
	}},
	{name: "leader of the servers killed", do: func(c *faulty) { c.killServer(true) }},
	{name: "another server killed", do: func(c *faulty) { c.killServer(false) }},
	{name: "all servers killed", do: func(c *faulty) {
		for _, n := range c.Servers() {
			n.Server.Kill()
		}
		for _, n := range c.Servers() {
			c.must(n.StartServer())
		}
	}},
	{name: "tunnel cut between two hosts", do: (*faulty).cutTunnel, hits: func(a, b string) bool { return a == "compute-0" && b == "compute-1" }},
	{name: "hosts cut from the servers", do: (*faulty).cutServers},
	{name: "disk of a server full", do: (*faulty).fillDisk},
	{name: "clock of a server an hour ahead", soak: true, do: func(c *faulty) { c.skew("server-1", 3600) }},
	{name: "clock of a host an hour behind", soak: true, do: func(c *faulty) { c.skew("network", -3600) }},
	{name: "10 % of the underlay's packets lost", soak: true, hits: everywhere, do: func(c *faulty) {
		c.must(c.Underlay.Suffer(append(lab.Lose(lab.Data, 10), lab.Lose(lab.Management, 10)...)...))
		c.busy(10 * time.Second)
		c.must(c.Underlay.Suffer())
	}},
}

// Whatever fails, what does not depend on it goes on, and afterwards everything is as it was.
func TestManyHostsFaults(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	c := &faulty{manyHosts: newManyHosts(t, lab.ServerCloud)}
	network := c.dualNetwork("net")
	c.writes = c.network("writes", "10.50.0.0/16")
	c.must(c.call("PUT", "/v2.0/quotas/fake_project_id", m{"quota": m{"port": -1}}, nil))
	for _, n := range c.Hosts() {
		c.guests = append(c.guests, c.dualGuestOn(n.Name, network, "on-"+n.Name, nil))
	}
	if os.Getenv(soakVar) != "" {
		skewedWeft(t) // nobody waits for it later
	}
	c.recovered("the beginning")
	threeServers(c.manyHosts)
	for _, f := range faults {
		if f.soak && os.Getenv(soakVar) == "" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			part := *c
			part.manyHosts = c.in(t)
			part.suffer(f)
		})
	}
}

// suffer gives the cloud a fault while its guests ping each other and clients write, and holds it to what must be then.
func (c *faulty) suffer(f fault) {
	c.t.Helper()
	type watched struct {
		a, b string
		*pinger
	}
	var pings []watched
	for i, a := range c.guests {
		for _, b := range c.guests[i+1:] {
			pings = append(pings, watched{a.Host, b.Host, c.ping(a.port, b.ip())})
		}
	}
	w := c.startWriter()
	time.Sleep(100 * time.Millisecond) // some pings and writes before it
	began := time.Now()
	f.do(c)
	done := time.Now()
	c.recovered(f.name)
	c.t.Logf("%s: lasted %s; all is as it was %s later", f.name, done.Sub(began).Round(time.Millisecond), time.Since(done).Round(time.Millisecond))
	w.stop(c)
	for _, p := range pings {
		sent, lost := p.stop(c.host)
		c.t.Logf("%s, %s - %s: %d pings, %d lost", f.name, p.a, p.b, sent, lost)
		if lost > 0 && (f.hits == nil || !f.hits(p.a, p.b)) {
			c.t.Errorf("%s - %s do not depend on it, and lost %d of %d pings", p.a, p.b, lost, sent)
		}
	}
	c.fsck()
}

// recovered waits until everything is as it should be: agents alive, each guest's chain well, pings.
func (c *faulty) recovered(after string) {
	c.t.Helper()
	c.await("the cloud to be well after "+after, time.Minute, func() error {
		for _, g := range c.guests {
			var report trace.Report
			if err := c.call("GET", inspect.Path+"?q="+url.QueryEscape(g.ID), nil, &report); err != nil {
				return err
			}
			for _, step := range report.Chains[0].Steps {
				// What a guest has asked by DHCP, an agent that was restarted does not know.
				if step.Verdict != trace.OK && step.Verdict != trace.Warning && step.Name != trace.StepLease {
					return fmt.Errorf("%s: %+v", g.Name, step)
				}
			}
		}
		if got, err := c.udhcpc(c.guests[0].Name); err != nil || got != c.guests[0].ip() {
			return fmt.Errorf("by DHCP %s got %q: %w", c.guests[0].Name, got, err)
		}
		for i, a := range c.guests {
			for _, b := range c.guests[i+1:] {
				if err := errors.Join(a.try("icmp", b.addr(4), 0, time.Second), a.try("icmp", b.addr(6), 0, time.Second)); err != nil {
					return fmt.Errorf("%s to %s: %w", a.Name, b.Name, err)
				}
			}
		}
		return nil
	})
}

// busy lets a trouble last.
func (c *faulty) busy(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.t.Context().Done():
	}
}

// cutTunnel cuts two hosts from each other; both still reach the third.
func (c *faulty) cutTunnel() {
	c.must(c.Underlay.Suffer(lab.Cut(lab.Cable("compute-0", lab.Data), lab.Cable("compute-1", lab.Data))...))
	a, b := c.guests[0], c.guests[1]
	if err := a.try("icmp", b.addr(4), 0, absent); err == nil {
		c.t.Error("they still reach each other")
	}
	c.busy(time.Second)
	c.must(c.Underlay.Suffer())
}

// cutServers cuts all hosts from the servers. DHCP answers, also after the agent that answers has started again.
func (c *faulty) cutServers() {
	var all []lab.Trouble
	for _, n := range c.Hosts() {
		all = append(all, lab.Unplug(lab.Cable(n.Name, lab.Management))...)
	}
	c.must(c.Underlay.Suffer(all...))
	g := c.guests[0]
	ask := func(when string) {
		began := time.Now()
		c.await("DHCP to answer "+when, 15*time.Second, func() error {
			if got, err := c.udhcpc(g.Name); err != nil || got != g.ip() {
				return fmt.Errorf("got %q: %w", got, err)
			}
			return nil
		})
		c.t.Logf("DHCP answers %s, after %s", when, time.Since(began).Round(time.Millisecond))
	}
	ask("without a server")
	for _, n := range c.Hosts() {
		n.Agent.Kill()
		c.must(n.StartAgent())
	}
	ask("without a server, from an agent that has started since")
	c.must(c.Underlay.Suffer())
}

// killServer kills the server whose etcd leads, or another. Clients go to the others until it is back.
func (c *faulty) killServer(leader bool) {
	out, err := c.Servers()[0].Weft("server", "list")
	c.must(err)
	lines := strings.Split(out, "\n")
	i := slices.IndexFunc(c.Servers(), func(n *lab.Node) bool {
		return slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, n.Name+" ") && strings.Contains(l, "leader") == leader
		})
	})
	if i < 0 {
		c.t.Fatalf("no such server in\n%s", out)
	}
	n := c.Servers()[i]
	n.Server.Kill()
	c.busy(3 * time.Second)
	c.must(n.StartServer())
}

// fillDisk leaves no room on the disk of a server, until clients notice; a server that has ended is started again.
func (c *faulty) fillDisk() {
	n := c.Servers()[0]
	filler := filepath.Join(n.StateDir(), "filler")
	_, err := n.Run("sh", "-c", "cat /dev/zero >"+filler+" 2>&1 || :")
	c.must(err)
	h := *c.host
	h.http = &http.Client{Timeout: time.Second}
	made, began := 0, time.Now()
	for ; err == nil && time.Since(began) < 5*time.Second; made++ {
		err = h.call("POST", "/v2.0/ports", m{"port": m{"network_id": c.writes, "description": strings.Repeat("x", 250)}}, nil)
	}
	c.t.Logf("%d writes after the disk was full: %v", made, err)
	c.must(os.Remove(filler))
	select {
	case <-n.Server.Done:
		c.t.Logf("the server has ended: %v", n.Server.Err)
		c.must(n.StartServer())
	case <-time.After(time.Second):
	}
}

// skew runs the weft of a node with another clock, until all is well so too.
func (c *faulty) skew(node string, seconds int) {
	n := c.Node(node)
	right, program := n.Program, skewedWeft(c.t)
	restart := func() {
		if n.Spec.Server {
			c.must(n.Server.Stop())
			c.must(n.StartServer())
		} else {
			c.must(n.Agent.Stop())
			c.must(n.StartAgent())
		}
	}
	n.Program, n.Env = program, []string{fmt.Sprintf("%s=%d", skewVar, seconds)}
	restart()
	began := time.Now()
	c.recovered("the change of its clock")
	c.t.Logf("all is well with that clock after %s", time.Since(began).Round(time.Millisecond))
	group := "host " + node
	if n.Spec.Server {
		group = "server " + node
	}
	c.awaitFinding(group, "clock", trace.Broken, "1h0m0s ")
	c.busy(2 * time.Second)
	c.recovered("a while")
	n.Program, n.Env = right, nil
	restart()
}

// writer makes and deletes ports, and remembers what has been acknowledged.
type writer struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	made, deleted map[string]port // acknowledged
	unsure        map[string]bool // deleted, perhaps
	failed        int
	longest       time.Duration // between two acknowledged writes
}

func (c *faulty) startWriter() *writer {
	ctx, cancel := context.WithCancel(c.t.Context())
	w := &writer{cancel: cancel, made: map[string]port{}, deleted: map[string]port{}, unsure: map[string]bool{}}
	h := *c.host
	h.http = &http.Client{Timeout: 3 * time.Second}
	servers := c.Servers()
	w.done.Go(func() {
		last, at := time.Now(), 0
		for i := 0; ctx.Err() == nil; i++ {
			h.url = servers[at%len(servers)].API()
			var p struct{ Port port }
			err := h.call("POST", "/v2.0/ports", m{"port": m{"network_id": c.writes}}, &p)
			if err == nil {
				w.made[p.Port.ID] = p.Port
				if i%2 == 0 {
					if err = h.call("DELETE", "/v2.0/ports/"+p.Port.ID, nil, nil); err == nil {
						w.deleted[p.Port.ID] = p.Port
					} else {
						w.unsure[p.Port.ID] = true
					}
				}
			}
			if err != nil {
				w.failed++
				at++ // as a load balancer would
			} else {
				w.longest, last = max(w.longest, time.Since(last)), time.Now()
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return w
}

// stop ends the writer and finds every acknowledged write in the cloud, and no address twice.
func (w *writer) stop(c *faulty) {
	c.t.Helper()
	w.cancel()
	w.done.Wait()
	c.t.Logf("%d creates and %d deletes acknowledged, %d failed; the longest time without was %s",
		len(w.made), len(w.deleted), w.failed, w.longest.Round(time.Millisecond))
	for _, n := range c.Servers() {
		w.check(c, n)
	}
}

func (w *writer) check(c *faulty, n *lab.Node) {
	c.t.Helper()
	h := *c.host
	h.url = n.API()
	var list struct{ Ports []port }
	c.await("the ports from "+n.Name, 30*time.Second, func() error {
		return h.call("GET", "/v2.0/ports?network_id="+c.writes, nil, &list)
	})
	there, addresses := map[string]port{}, map[string]string{}
	for _, p := range list.Ports {
		there[p.ID] = p
		if other, dup := addresses[p.ip()]; dup {
			c.t.Errorf("%s is the address of %s and of %s", p.ip(), p.ID, other)
		}
		addresses[p.ip()] = p.ID
	}
	var wrong []string
	for id, p := range w.made {
		q, ok := there[id]
		_, gone := w.deleted[id]
		switch {
		case gone && ok:
			wrong = append(wrong, id+" was deleted, and is there")
		case !gone && !w.unsure[id] && (!ok || q.ip() != p.ip() || q.MAC != p.MAC):
			wrong = append(wrong, fmt.Sprintf("%+v was made, and there is %+v", p, q))
		}
	}
	if len(wrong) > 0 {
		c.t.Errorf("%s does not know of %d acknowledged writes, such as %s", n.Name, len(wrong), wrong[0])
	}
}

// fsck checks the store of every server that has one.
func (c *faulty) fsck() {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Spec.Server {
			if out, err := n.Weft("fsck"); err != nil {
				c.t.Errorf("%s: %v: %s", n.Name, err, out)
			}
		}
	}
}
