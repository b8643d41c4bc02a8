package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/vif"
	"weft/internal/store"
	"weft/internal/trace"
)

func TestPlugAndUnplug(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()

	t.Log("the port first, then the interface")
	p := w.port(n)
	w.never("ACTIVE without an interface", func() bool { return w.status(p.ID) == model.PortActive })
	m.plug(p.ID)
	w.becomes(p.ID, model.PortActive)
	m.unplug(p.ID)
	w.becomes(p.ID, model.PortDown)
	m.plug(p.ID)
	w.becomes(p.ID, model.PortActive)

	t.Log("the interface first, then the binding")
	e, err := w.control.CreatePort(t.Context(), control.PortRequest{NetworkID: n})
	if err != nil {
		t.Fatal(err)
	}
	q := e.Value
	m.plug(q.ID)
	w.never("ACTIVE without a binding", func() bool { return w.status(q.ID) == model.PortActive })
	if _, err := w.control.UpdatePort(t.Context(), q.ID, control.PortRequest{HostID: control.Some("h1")}); err != nil {
		t.Fatal(err)
	}
	w.becomes(q.ID, model.PortActive)

	t.Log("administratively down and up again")
	for _, up := range []bool{false, true} {
		if _, err := w.control.UpdatePort(t.Context(), q.ID, control.PortRequest{AdminStateUp: control.Some(up)}); err != nil {
			t.Fatal(err)
		}
		w.becomes(q.ID, map[bool]model.PortStatus{true: model.PortActive, false: model.PortDown}[up])
	}

	t.Log("moved to a host that does not exist: gone from the plan")
	if _, err := w.control.UpdatePort(t.Context(), q.ID, control.PortRequest{HostID: control.Some("")}); err != nil {
		t.Fatal(err)
	}
	w.becomes(q.ID, model.PortDown)
	w.eventually("the plan forgets the port", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return !hasTap(m.last(), q.ID) })
	for _, s := range []string{"VIF plugged", "VIF unplugged"} {
		if l.count(s) == 0 {
			t.Errorf("nothing logged of %q", s)
		}
	}
	// The network's own DHCP port is wired like any other.
	w.eventually("DHCP port is ACTIVE", func() bool {
		st := w.cloudPorts(n)
		return slices.ContainsFunc(st, func(p *model.Port) bool {
			return p.DeviceOwner == model.OwnerDHCP && p.Status == model.PortActive
		})
	})
}

// Nothing is applied before both sides are known, or it would be taken away.
// An Open vSwitch that is upgraded, or comes later than the agent, is described anew.
func TestDescribesNewSwitch(t *testing.T) {
	w, l := newWorld(t), &logs{}
	m := newMachine()
	w.agent(w.options(m, l))
	w.joined()
	version := func() (v string) {
		w.store.View(func(r store.Reader) {
			if e := r.Host("h1"); e != nil {
				v = e.Value.OVSVersion
			}
		})
		return v
	}
	w.eventually("the version is known", func() bool { return version() == "9.9" })
	m.mu.Lock()
	m.version = "10.0"
	m.mu.Unlock()
	m.signal()
	w.eventually("the new version is known", func() bool { return version() == "10.0" })
}

// A loop that hangs sends no heartbeats.
func TestStuckLoopIsNotAlive(t *testing.T) {
	var a Agent
	for _, tt := range []struct {
		since time.Duration
		want  bool
	}{{time.Second, true}, {2 * stuck, false}} {
		a.busy.Store(time.Now().Add(-tt.since).UnixNano())
		if got := a.alive(); got != tt.want {
			t.Errorf("in a pass for %v: alive %t", tt.since, got)
		}
	}
	a.busy.Store(0)
	if !a.alive() {
		t.Error("idle and not alive")
	}
}

func TestWaitsForBothSides(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	m.ready = false
	o := w.options(m, l)
	_, stop := w.agent(o)
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	w.never("applied before the switch is known", func() bool { return m.count() > 0 })
	m.mu.Lock()
	m.ready = true
	m.attach(p.ID)
	m.mu.Unlock()
	w.becomes(p.ID, model.PortActive)
	w.eventually("ACTIVE is known on the host", func() bool {
		b, err := os.ReadFile(filepath.Join(o.StateDir, "cloud.json"))
		return err == nil && strings.Contains(string(b), `"ACTIVE"`)
	})
	stop()

	t.Log("the server is away and nothing is known: hands off")
	w.stop()
	m2 := newMachine()
	blank := w.options(m2, l)
	blank.StateDir = filepath.Join(w.dir, "blank")
	_, stop = w.agent(blank)
	w.never("applied without a cloud", func() bool { return m2.count() > 0 })
	time.Sleep(2 * blank.DiskGrace)
	if m2.count() > 0 {
		t.Error("applied without a cloud")
	}
	stop()

	t.Log("the server is away, but the disk knows: served after a grace")
	m3 := newMachine()
	m3.plug(p.ID)
	o3 := w.options(m3, l)
	begin := time.Now()
	w.agent(o3)
	w.eventually("applied from disk", func() bool { return m3.count() > 0 })
	if d := time.Since(begin); d < o3.DiskGrace {
		t.Errorf("applied from disk after %v, before the grace of %v", d, o3.DiskGrace)
	}
	m3.mu.Lock()
	first := m3.applied[0]
	m3.mu.Unlock()
	if !hasTap(first, p.ID) || len(first.DHCP) != 1 {
		t.Errorf("first plan lacks the port or its DHCP:\n%v", first)
	}

	t.Log("the server returns: everything is told anew")
	w.forceDown(p.ID)
	w.serve()
	w.becomes(p.ID, model.PortActive)
}

// A local VLAN read back from the switch is kept: flows hold it.
func TestLocalVLANsAreKept(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	m.plug(p.ID)
	w.becomes(p.ID, model.PortActive)

	m2 := newMachine()
	m2.other = []map[string]string{{"net_uuid": string(n), "tag": "77"}}
	m2.plug(p.ID)
	w.agent(w.options(m2, l))
	tag := func() uint16 {
		m2.mu.Lock()
		defer m2.mu.Unlock()
		for _, pl := range m2.applied {
			for _, b := range pl.Switch.Bridges {
				for _, tg := range b.Tags {
					if tg.Name == vif.TapName(p.ID) {
						return tg.Tag
					}
				}
			}
		}
		return 0
	}
	w.eventually("the port is tagged", func() bool { return tag() != 0 })
	if tag() != 77 {
		t.Errorf("tag %d, want 77", tag())
	}
}

// For each n the n-th Apply fails; then all heals and the port becomes ACTIVE.
func TestFaultsHeal(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	for _, c := range []struct {
		what  string
		fault func(p *model.Port) host.Fault
	}{
		{"flows of the bridge", func(*model.Port) host.Fault {
			return host.Fault{Object: "bridge br-int", Op: "flows", Part: host.PartSwitch, Err: errInjected}
		}},
		{"the port alone", func(p *model.Port) host.Fault {
			return host.Fault{Object: "port " + vif.TapName(p.ID), Op: "tag", Part: host.PartSwitch, Port: p.ID, Err: errInjected}
		}},
		{"the rules of security groups", func(*model.Port) host.Fault {
			return host.Fault{Object: "flow x", Op: "add", Part: host.PartSwitch, Rules: true, Local: true, Err: errInjected}
		}},
		{"the namespace", func(*model.Port) host.Fault {
			return host.Fault{Object: "namespace qdhcp", Op: "create", Part: host.PartKernel, Network: n, Err: errInjected}
		}},
	} {
		for fails := range 4 {
			p := w.port(n)
			m.mu.Lock()
			begin := len(m.applied)
			m.fail = func(k int, _ plan.Plan) []host.Fault {
				if k < begin+fails {
					return []host.Fault{c.fault(p)}
				}
				return nil
			}
			m.mu.Unlock()
			m.plug(p.ID)
			w.becomes(p.ID, model.PortActive)
		}
		// While it lasts, the port is not ACTIVE; when it heals, it is, without any event.
		p := w.port(n)
		m.failWith(func(int, plan.Plan) []host.Fault { return []host.Fault{c.fault(p)} })
		m.plug(p.ID)
		w.never("ACTIVE with a fault: "+c.what, func() bool { return w.status(p.ID) == model.PortActive })
		w.eventually("degraded without recovery, once in the log: "+c.what, func() bool { return l.count("msg=degraded")-l.count("msg=recovered") == 1 })
		m.failWith(nil)
		w.becomes(p.ID, model.PortActive)
		w.eventually("recovery is logged", func() bool { return l.count("msg=degraded") == l.count("msg=recovered") })
	}
}

// A fault of another port or network costs this port nothing.
func TestFaultsAreIndependent(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	o := w.options(m, l)
	o.Grace = time.Nanosecond // or DHCP of n2, served until the fault, would count for a while
	w.agent(o)
	w.joined()
	n1, _ := w.network()
	n2, _ := w.network()
	bad, worse, good := w.port(n1), w.port(n2), w.port(n1)
	m.failWith(func(int, plan.Plan) []host.Fault {
		return []host.Fault{
			{Object: "port x", Op: "tag", Part: host.PartSwitch, Port: bad.ID, Err: errInjected},
			{Object: "namespace y", Op: "create", Part: host.PartKernel, Network: n2, Err: errInjected},
		}
	})
	for _, p := range []*model.Port{bad, worse, good} {
		m.plug(p.ID)
	}
	w.becomes(good.ID, model.PortActive)
	w.never("ACTIVE with a fault", func() bool {
		return w.status(bad.ID) == model.PortActive || w.status(worse.ID) == model.PortActive
	})
}

// What worked counts as working for a while when everything is in trouble, and not longer.
func TestGrace(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	o := w.options(m, l)
	o.Grace = 300 * time.Millisecond
	w.agent(o)
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	m.plug(p.ID)
	w.becomes(p.ID, model.PortActive)
	for _, f := range []host.Fault{
		{Object: "bridge br-int", Op: "flows", Part: host.PartSwitch, Err: errInjected},
		{Object: "dhcp qdhcp", Op: "serve", Part: host.PartDHCP, Network: n, Err: errInjected},
	} {
		begin := time.Now()
		m.failWith(func(int, plan.Plan) []host.Fault { return []host.Fault{f} })
		m.mu.Lock()
		m.signal()
		m.mu.Unlock()
		w.becomes(p.ID, model.PortDown)
		if d := time.Since(begin); d < o.Grace {
			t.Errorf("%s: DOWN after %v, within the grace of %v", f.Object, d, o.Grace)
		}
		m.failWith(nil)
		w.becomes(p.ID, model.PortActive)
	}
}

// Something waited for is no fault in the log unless it lasts.
func TestWaitingIsNotDegraded(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	w.agent(w.options(m, l))
	w.joined()
	begin := time.Now()
	m.failWith(func(int, plan.Plan) []host.Fault {
		return []host.Fault{{Object: "device", Op: "place", Part: host.PartKernel, Network: "n", Waiting: true, Err: errInjected}}
	})
	pass := func(n int) {
		t.Helper()
		before := m.count()
		w.eventually("passes go on", func() bool { m.mu.Lock(); m.signal(); m.mu.Unlock(); return m.count() > before+n })
	}
	pass(3)
	m.failWith(nil)
	pass(2)
	if l.count("degraded")+l.count("recovered") > 0 && time.Since(begin) < patience {
		t.Errorf("what was only waited for is told:\n%s", l.withoutPasses())
	}
}

func TestServerRestartLosesNoStatus(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	a, _ := w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p, q := w.port(n), w.port(n)
	m.plug(p.ID)
	m.plug(q.ID)
	w.becomes(p.ID, model.PortActive)
	w.becomes(q.ID, model.PortActive)
	w.stop()
	w.eventually("the agent notices", func() bool { return !a.Feed().State().InSync })
	applied := m.count()
	m.unplug(q.ID)
	w.eventually("the agent works on without the server", func() bool { return m.count() > applied })
	w.forceDown(p.ID)
	w.serve()
	w.becomes(p.ID, model.PortActive)
	w.becomes(q.ID, model.PortDown)
}

func TestDryRunTouchesNothing(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	running, _ := w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	m.plug(p.ID)
	w.becomes(p.ID, model.PortActive)
	dry := newMachine()
	dry.plug(p.ID)
	a, err := New(w.options(dry, l))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pl, err := a.Plan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !hasTap(pl, p.ID) || !strings.Contains(pl.String(), vif.TapName(p.ID)) {
		t.Errorf("plan:\n%s", pl)
	}
	if dry.count() != 0 {
		t.Error("a dry run applied something")
	}
	if st := running.Feed().State(); !st.InSync || st.Session != 1 {
		t.Errorf("a dry run disturbed the agent: in sync %v, session %d", st.InSync, st.Session)
	}
}

func TestAgentIDIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	a, err := agentID(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := agentID(dir)
	if err != nil || a != b {
		t.Errorf("%s then %s, %v", a, b, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "agent-id"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := agentID(dir); err == nil {
		t.Error("rubbish was taken for an ID")
	}
}

func TestEvidence(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p := w.port(n)
	m.plug(p.ID)
	w.becomes(p.ID, model.PortActive)
	ask := func(q string) trace.Evidence {
		b, err := w.server.Evidence(t.Context(), "h1", []byte(q))
		if err != nil {
			t.Fatal(err)
		}
		var ev trace.Evidence
		if err := json.Unmarshal(b, &ev); err != nil {
			t.Fatal(err)
		}
		return ev
	}
	var ev trace.Evidence
	w.eventually("evidence holds the newest record", func() bool {
		ev = ask(`{"port_id":"` + string(p.ID) + `"}`)
		return ev.Known && ev.Revision > p.Revision
	})
	if ev.Interface == nil || ev.Device == nil || ev.Flows == nil || ev.Flows.Wanted == 0 || ev.Flows.Wanted != ev.Flows.Present ||
		ev.DHCP == nil || !slices.Equal(ev.DHCP.Leases, []string{p.FixedIPs[0].Addr.String()}) || ev.Reported == nil || !ev.Reported.Wired || ev.LocalVLAN == 0 {
		b, _ := json.MarshalIndent(ev, "", " ")
		t.Errorf("%s", b)
	}
	if ev := ask(`{"port_id":"unknown"}`); ev.Known || ev.Interface != nil || ev.Flows != nil {
		t.Errorf("evidence of an unknown port: %+v", ev)
	}
	if _, err := w.server.Evidence(t.Context(), "h1", []byte("{")); err == nil {
		t.Error("a torn query was answered")
	}
}

func TestPlugLatency(t *testing.T) {
	w, m, l := newWorld(t), newMachine(), &logs{}
	w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	var took []time.Duration
	for range 50 {
		p := w.port(n)
		w.eventually("record is on the host", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.applied) > 0 && strings.Contains(m.last().String(), p.MAC.String())
		})
		begin := time.Now()
		m.plug(p.ID)
		for w.status(p.ID) != model.PortActive {
			time.Sleep(50 * time.Microsecond)
			if time.Since(begin) > time.Minute {
				t.Fatal("never ACTIVE")
			}
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("interface to ACTIVE without the machine's own time: p50 %v, p99 %v", took[25], took[49])
}
