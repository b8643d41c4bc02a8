package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// apart starts server and agent as two processes, so that one can die without the other.
func apart(t *testing.T) (h *host, agent *daemon, network string) {
	t.Helper()
	labtest.Require(t, "ping")
	h = newHost(t)
	h.start("server")
	h.await("the API", 15*time.Second, func() error { return h.call("GET", "/", nil, nil) })
	agent = h.start("agent")
	h.await("the agent", 20*time.Second, func() error { return h.agentAlive(agent) })
	return h, agent, h.dualNetwork("net")
}

// plugByHand does what a hypervisor does, without waiting for anybody.
func (h *host) plugByHand(network, name string, more m) *guest {
	h.t.Helper()
	g := &guest{port: h.newPort(network, name, with(more, "binding:host_id", hostName)), h: h}
	h.namespace(name)
	g.quickIPv6()
	hw, err := model.ParseMAC(g.MAC)
	h.must(err)
	tap := vif.TapName(model.PortID(g.ID))
	h.must(kernel.CreateVeth(kernel.Veth{Name: tap, MAC: vif.TapMAC(hw), Namespace: name, Inner: "eth0", InnerMAC: hw, MTU: 1450}))
	h.vsctl("add-port", "br-int", tap, "--", "set", "Interface", tap,
		"external_ids:iface-id="+g.ID, "external_ids:attached-mac="+g.MAC, "external_ids:iface-status=active")
	g.furnish()
	return g
}

var strangers = regexp.MustCompile(`table=0, n_packets=(\d+), n_bytes=\d+, priority=0 actions=drop`)

// droppedStrangers counts what came from ports that br-int knows nothing of.
func (h *host) droppedStrangers() int {
	h.t.Helper()
	out, err := h.ovs.Ofctl("dump-flows", "br-int", "table=0")
	h.must(err)
	found := strangers.FindStringSubmatch(out)
	if found == nil {
		h.t.Fatalf("table 0 has no last drop:\n%s", out)
	}
	n, err := strconv.Atoi(found[1])
	h.must(err)
	return n
}

// A machine that is plugged while there is no agent can neither speak nor hear, until there is one.
func TestPlugWithoutAgent(t *testing.T) {
	h, agent, network := apart(t)
	a, b := h.guest(network, "a", nil), h.guest(network, "b", nil)
	h.judge(each(a, b, true)...)
	agent.stop()
	late := h.plugByHand(network, "late", m{})
	before, said := h.droppedStrangers(), honest(late.speaker(a))
	var secrets []string
	for _, s := range said {
		secrets = append(secrets, late.says(s))
	}
	h.await("the switch to drop them", comes, func() error {
		if n := h.droppedStrangers() - before; n < len(said) {
			return fmt.Errorf("it has dropped %d", n)
		}
		return nil
	})
	for _, s := range honest(a.speaker(late)) {
		a.says(s)
	}
	a.heardBy(b, honest(a.speaker(b))[2]) // to all: what was said before has gone its way
	for _, secret := range secrets {
		if a.air.hears(secret) || b.air.hears(secret) {
			t.Error("the others hear the late guest")
		}
	}
	if n := late.air.count(func(frame) bool { return true }); n > 0 {
		t.Errorf("the late guest hears %d frames", n)
	}
	h.judge(append(each(late, a, false), each(a, late, false)...)...)
	h.judge(each(a, b, true)...)

	h.start("agent")
	h.awaitStatus(late.ID, "ACTIVE")
	h.judge(append(each(late, a, true), each(a, late, true)...)...)
}

// A port that is taken down, loses its group or is deleted is cut off, with the connections that it has.
func TestPortTakenAway(t *testing.T) {
	h, network := firewallHost(t)
	a, b := h.guest(network, "a", nil), h.guest(network, "b", nil)
	groups := h.port(b.ID).Groups
	gone := func() {
		t.Helper()
		for _, family := range []int{4, 6} {
			h.until(probe{from: a, to: b, proto: "udp", port: 80, family: family})
		}
		h.judge(append(each(a, b, false), each(b, a, false)...)...)
	}
	back := func() {
		t.Helper()
		for _, family := range []int{4, 6} {
			h.until(probe{from: a, to: b, proto: "udp", port: 80, family: family, passes: true})
		}
		h.judge(append(each(a, b, true), each(b, a, true)...)...)
	}
	for _, c := range []struct{ away, again m }{
		{m{"admin_state_up": false}, m{"admin_state_up": true}},
		{m{"security_groups": []string{}}, m{"security_groups": groups}},
	} {
		talking, err := a.dial("tcp", b.addr(4), 80, comes)
		h.must(err)
		h.must(echo(talking, comes))
		b.update(c.away)
		gone()
		if err := echo(talking, absent); err == nil {
			t.Errorf("%v: a connection goes on", c.away)
		}
		talking.Close()
		b.update(c.again)
		back()
	}
	h.must(h.call("DELETE", "/v2.0/ports/"+b.ID, nil, nil))
	gone()
}

const forbidden = "#forbidden"

// spray says every millisecond, until it is stopped, what nobody may hear: what no rule
// allows, and lies.
func (g *guest) spray(to *guest) (stop func() (sent int)) {
	s := g.speaker(to)
	foreign := s.from(foreign4, foreign6)
	frames := [][]byte{
		s.udp4(1000, 9, forbidden), s.udp6(1000, 9, forbidden),
		foreign.udp4(1000, 80, forbidden), foreign.udp6(1000, 80, forbidden), foreign.arp(2, forbidden), foreign.advertise(forbidden),
		tagged(s.udp4(1000, 80, forbidden), 1), s.withMAC(nobodyMAC).udp4(1000, 80, forbidden),
	}
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		sent := 0
		for tick := time.NewTicker(time.Millisecond); ; sent++ {
			select {
			case <-end:
				ended <- sent
				return
			case <-tick.C:
				_ = g.air.say(frames[sent%len(frames)])
			}
		}
	}()
	return func() int { close(end); return <-ended }
}

// storm changes rules, groups and ports of two guests, over and over, and never so that
// what is forbidden would be allowed. When it is over everything is as it was.
func (h *host) storm(a, b *guest, group string) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	forever := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					f()
				}
			}
		})
	}
	spare := h.group("spare", nil)
	wanted := h.port(b.ID).Groups
	forever(func() { h.removeRules(h.allowBoth(group, "ingress", portRange("udp", 1000, 2047))...) })
	forever(func() {
		h.removeRules(h.allowBoth(spare, "ingress", with(portRange("tcp", 1, 1000), "remote_group_id", group))...)
	})
	forever(func() {
		b.update(m{"security_groups": []string{spare}})
		b.update(m{"security_groups": append(wanted, spare)})
		b.update(m{"security_groups": []string{}})
		b.update(m{"security_groups": wanted})
	})
	forever(func() {
		a.update(m{"allowed_address_pairs": []m{{"ip_address": "10.20.0.128/26"}, {"ip_address": "fd20::1:0/112", "mac_address": "00:00:5e:00:01:07"}}})
		a.update(m{"allowed_address_pairs": []m{}})
	})
	forever(func() {
		a.update(m{"admin_state_up": false})
		a.update(m{"admin_state_up": true})
	})
	return func() { close(end); wg.Wait() }
}

// The agent is killed over and over amid changes: not one forbidden packet gets through, and
// in the end the flows are those that they were.
func TestAgentKilledInStorm(t *testing.T) {
	h, agent, network := apart(t)
	group := h.group("web", nil)
	h.allowBoth(group, "ingress", portRange("tcp", 80, 80))
	a := h.guest(network, "a", nil)
	b := h.guest(network, "b", m{"security_groups": []string{group}})
	allowed := probe{from: a, to: b, proto: "tcp", port: 80, passes: true}
	refused := probe{from: a, to: b, proto: "udp", port: 9}
	h.judge(allowed, refused)
	flows := h.flows()

	seed := uint64(time.Now().UnixNano())
	dice := rand.New(rand.NewPCG(seed, 0))
	stopSpray, stopStorm := a.spray(b), h.storm(a, b, group)
	for range 8 {
		time.Sleep(time.Duration(dice.IntN(600)) * time.Millisecond)
		agent.kill()
		agent = h.start("agent")
	}
	stopStorm()
	h.await("the agent", 20*time.Second, func() error { return h.agentAlive(agent) })
	h.await("the flows to be as before", 10*time.Second, func() error {
		if now := h.flows(); now != flows {
			return fmt.Errorf("seed %d: they are\n%s\nbefore\n%s", seed, now, flows)
		}
		return nil
	})
	h.judge(allowed, refused)
	sent := stopSpray()
	t.Logf("%d forbidden packets sent, %d heard (seed %d)", sent, b.hearsForbidden(), seed)
}

// hearsForbidden counts the forbidden packets that a guest has heard, of which there must be none.
func (g *guest) hearsForbidden() int {
	g.h.t.Helper()
	kinds := map[string]int{}
	all := g.air.count(func(f frame) bool {
		if !bytes.Contains(f.raw, []byte(forbidden)) {
			return false
		}
		kinds[fmt.Sprintf("%s %s -> %s port %d", f.at.Format("15:04:05.0"), f.src, f.dst, f.dport)]++
		return true
	})
	if all > 0 {
		g.h.t.Errorf("%s hears %d forbidden packets: %v", g.Name, all, kinds)
	}
	return all
}

// A switch that was killed forwards nothing until the agent has told it what may pass.
func TestVswitchdKilled(t *testing.T) {
	h, agent, network := apart(t)
	group := h.group("web", nil)
	h.allowBoth(group, "ingress", portRange("tcp", 80, 80))
	a := h.guest(network, "a", nil)
	b := h.guest(network, "b", m{"security_groups": []string{group}})
	allowed := probe{from: a, to: b, proto: "tcp", port: 80, passes: true}
	refused := probe{from: a, to: b, proto: "udp", port: 9}
	h.judge(allowed, refused)
	stop := a.spray(b)
	for range 2 {
		h.must(h.ovs.RestartVswitchd(t.Context(), lab.Crash))
		for _, family := range []int{4, 6} {
			p := allowed
			p.family = family
			t.Logf("%s: passes again %s after the switch has started", p, h.until(p))
		}
		h.judge(refused)
	}
	agent.stop()
	h.must(h.ovs.RestartVswitchd(t.Context(), lab.Crash))
	closed := allowed
	closed.passes = false
	h.judge(closed, refused)
	h.start("agent")
	h.await("the switch to be told", comes, func() error {
		return a.try("tcp", b.addr(4), 80, time.Second)
	})
	h.judge(allowed, refused)
	t.Logf("%d forbidden packets sent, %d heard", stop(), b.hearsForbidden())
}
