package agent

import (
	"slices"
	"strings"
	"testing"

	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/trace"
)

// TestTraceOfInterfaces: what is wrong with the interface of a port on a real switch is told as
// it is, and the port next to it stays healthy.
func TestTraceOfInterfaces(t *testing.T) {
	w, l, o := newWorld(t), &logs{}, realSwitch(t)
	h, sw, _ := onSwitch(t, o, "127.0.0.1:0")
	w.agent(noDHCP(w, l, h, sw.ControllerTarget()))
	w.joined()
	n, _ := w.network()
	w.eventually("br-int is in sync", func() bool {
		return slices.ContainsFunc(sw.Observe().Bridges, func(b ovs.Bridge) bool { return b.Name == "br-int" && b.InSync })
	})
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	step := func(p *model.Port, name string) trace.Step {
		rep, err := in.Report(t.Context(), string(p.ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(rep.Chains[0].Steps, func(s trace.Step) bool { return s.Name == name })
		if i < 0 {
			t.Fatalf("no step %s of %+v", name, rep.Chains[0])
		}
		return rep.Chains[0].Steps[i]
	}
	says := func(p *model.Port, cause trace.Cause, words ...string) {
		t.Helper()
		var items []trace.Item
		w.eventually("trace says "+string(cause), func() bool {
			items = step(p, trace.StepInterface).Items
			return slices.ContainsFunc(items, func(it trace.Item) bool {
				return it.Cause == cause && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(it.Text, word) })
			})
		})
	}
	a, b := w.port(n), w.port(n)
	tap := vif.TapName(a.ID)
	plugVIF(t, o, a)
	plugVIF(t, o, b)
	w.becomes(a.ID, model.PortActive)
	w.becomes(b.ID, model.PortActive)
	vsctl := func(args ...string) {
		t.Helper()
		if out, err := o.Vsctl(args...); err != nil {
			t.Fatal(out, err)
		}
	}

	vsctl("set", "port", tap, "tag=999")
	says(a, trace.CauseWrongTag, tap, "tag 999", "put back")
	if s := step(b, trace.StepInterface); s.Verdict != trace.OK {
		t.Errorf("the port next to it: %+v", s)
	}

	typo := string(a.ID[:35]) + "x"
	vsctl("set", "interface", tap, "external_ids:iface-id="+typo)
	says(a, trace.CauseIfaceID, tap, typo, "attached-mac", "its name", "nearly")
	if s := step(b, trace.StepInterface); s.Verdict != trace.OK {
		t.Errorf("the port next to it: %+v", s)
	}

	// The port is moved, and its VM is not.
	vsctl("set", "interface", tap, "external_ids:iface-id="+string(a.ID))
	w.becomes(a.ID, model.PortActive)
	vsctl("add-port", "br-int", "tapold", "--", "set", "interface", "tapold", "external_ids:iface-id="+string(a.ID))
	says(a, trace.CauseTwin, "tapold", tap)
	vsctl("del-port", tap, "--", "del-port", "tapold")
	w.becomes(a.ID, model.PortDown)
	says(a, trace.CauseNotPlugged, string(a.ID))
}
