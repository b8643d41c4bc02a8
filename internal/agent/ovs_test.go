package agent

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/host"
	"weft/internal/host/ovs"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// realSwitch starts a private Open vSwitch without any device of the kernel.
func realSwitch(t testing.TB) *lab.OVS {
	t.Helper()
	labtest.Require(t, "ovs")
	dir, err := os.MkdirTemp("", "weft-agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o, err := lab.StartOVS(ctx, lab.OVSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Stop() })
	return o
}

// onSwitch runs a Host on a real switch until the test or the returned function ends it.
func onSwitch(t testing.TB, o *lab.OVS, listen string) (h *host.Host, sw *ovs.Switch, stop func()) {
	t.Helper()
	sw, err := ovs.Dial(t.Context(), ovs.Options{OVSDB: o.OVSDB, ListenOpenFlow: listen})
	if err != nil {
		t.Fatal(err)
	}
	h = host.New(host.Parts{Switch: sw, IntegrationBridge: "br-int"})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = sw.Run(ctx) })
	wg.Go(func() { _ = h.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return h, sw, stop
}

// noDHCP lets ports become ACTIVE although no responder runs here.
func noDHCP(w *world, l *logs, m Machine, controller string) Options {
	o := w.options(m, l)
	o.Host.DatapathType, o.Settings.DatapathType, o.Settings.Controller = "dummy", "dummy", controller
	return o
}

// plugVIF does what libvirt does, when the agent has made the bridge.
func plugVIF(t *testing.T, o *lab.OVS, p *model.Port) {
	t.Helper()
	name := vif.TapName(p.ID)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := o.Vsctl("br-exists", "br-int"); err == nil {
			break
		}
	}
	if out, err := o.Vsctl("--", "--may-exist", "add-port", "br-int", name, "--", "set", "Interface", name,
		"external_ids:iface-id="+string(p.ID), "external_ids:attached-mac="+p.MAC.String(), "external_ids:iface-status=active"); err != nil {
		t.Fatal(out, err)
	}
}

func TestRealSwitch(t *testing.T) {
	w, l, o := newWorld(t), &logs{}, realSwitch(t)
	h, sw, stopHost := onSwitch(t, o, "127.0.0.1:0")
	a, stopAgent := w.agent(noDHCP(w, l, h, sw.ControllerTarget()))
	w.joined()
	n, _ := w.network()
	w.eventually("br-int is in sync", func() bool {
		return slices.ContainsFunc(sw.Observe().Bridges, func(b ovs.Bridge) bool { return b.Name == "br-int" && b.InSync })
	})

	t.Log("interfaces that appear become ACTIVE")
	var ports []*model.Port
	var took []time.Duration
	for range 20 {
		p := w.port(n)
		ports = append(ports, p)
		plugVIF(t, o, p) // returns when ovs-vswitchd has made it
		begin := time.Now()
		w.becomes(p.ID, model.PortActive)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("ovs-vsctl returned to ACTIVE: p50 %v, max %v", took[10], took[19])

	t.Log("evidence is complete")
	p := ports[0]
	w.eventually("all wanted flows are present", func() bool {
		ev := a.Evidence(t.Context(), traceQuery(p))
		return ev.Interface != nil && ev.Interface.OFPort > 0 && ev.Interface.Tag == ev.LocalVLAN && ev.Interface.Tag > 0 &&
			ev.Flows != nil && ev.Flows.Wanted > 0 && ev.Flows.Wanted == ev.Flows.Present && ev.Switch.Connected
	})

	restarts(w, l, o, p, ports, sw, func() { stopAgent(); stopHost() })

	t.Log("malformed external_ids of one interface harm no other")
	bad := "tapbad"
	if out, err := o.Vsctl("--", "add-port", "br-int", bad, "--", "set", "Interface", bad, "external_ids:iface-id=\"not a uuid\"", "external_ids:attached-mac=xx"); err != nil {
		t.Fatal(out, err)
	}
	q := w.port(n)
	plugVIF(t, o, q)
	w.becomes(q.ID, model.PortActive)
	if l.count("cannot be used as it is written") != 1 {
		t.Error("the malformed interface is not told of once")
	}

	t.Log("unplugged: DOWN, and its flows are gone")
	if out, err := o.Vsctl("del-port", vif.TapName(p.ID)); err != nil {
		t.Fatal(out, err)
	}
	w.becomes(p.ID, model.PortDown)
	w.becomes(q.ID, model.PortActive)
}

// restarts the agent, then ovs-vswitchd: no flow and no record differs after it.
func restarts(w *world, l *logs, o *lab.OVS, p *model.Port, ports []*model.Port, sw *ovs.Switch, stop func()) {
	t := w.t
	t.Log("a restart of the agent changes no flow and no status")
	revs := w.revisions(ports)
	before := dumpFlows(t, o)
	controller := sw.ControllerTarget()
	stop()
	if after := dumpFlows(t, o); after != before {
		t.Errorf("stopping changed flows:\n%s\n---\n%s", before, after)
	}
	h, sw, _ := onSwitch(t, o, strings.TrimPrefix(controller, "tcp:"))
	a, _ := w.agent(noDHCP(w, l, h, controller))
	w.eventually("the new agent has reported", func() bool {
		ev := a.Evidence(t.Context(), traceQuery(p))
		return ev.Reported != nil && ev.Reported.Wired
	})
	if s := sw.Stats(); s.FlowChanges != 0 {
		t.Errorf("the new agent changed %d flows", s.FlowChanges)
	}
	if after := dumpFlows(t, o); after != before {
		t.Errorf("flows differ after the restart:\n%s\n---\n%s", before, after)
	}
	if got := w.revisions(ports); !slices.Equal(revs, got) {
		t.Error("a restart of the agent changed port records")
	}

	t.Log("a restart of ovs-vswitchd brings the flows back, and no port goes DOWN")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := o.RestartVswitchd(ctx, lab.Crash); err != nil {
		t.Fatal(err)
	}
	w.eventually("flows are back", func() bool {
		ev := a.Evidence(t.Context(), traceQuery(p))
		return ev.Flows != nil && ev.Flows.Wanted > 0 && ev.Flows.Wanted == ev.Flows.Present
	})
	if got := w.revisions(ports); !slices.Equal(revs, got) {
		t.Error("a restart of ovs-vswitchd changed port records")
	}
}

// dumpFlows are the flows of br-int without what changes by itself.
func dumpFlows(t *testing.T, o *lab.OVS) string {
	t.Helper()
	out, err := o.Ofctl("-O", "OpenFlow14", "--no-stats", "dump-flows", "br-int")
	if err != nil {
		t.Fatal(out, err)
	}
	lines := strings.Split(out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
