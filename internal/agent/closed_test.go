package agent

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/model"
	"weft/internal/trace"
)

// TestClosedSaysWhy: a port whose flows the switch refuses stays closed and DOWN, and the
// chain, weft allows and the metrics say so; others do not suffer, and it heals by itself.
func TestClosedSaysWhy(t *testing.T) {
	w, l, o := newWorld(t), &logs{}, realSwitch(t)
	h, sw, _ := onSwitch(t, o, "127.0.0.1:0")
	a, _ := w.agent(noDHCP(w, l, h, sw.ControllerTarget()))
	w.joined()
	n, _ := w.network()
	w.eventually("br-int is in sync", func() bool {
		return slices.ContainsFunc(sw.Observe().Bridges, func(b ovs.Bridge) bool { return b.Name == "br-int" && b.InSync })
	})
	first, second := w.port(n), w.port(n)
	plugVIF(t, o, first)
	w.becomes(first.ID, model.PortActive)
	vsctl := func(args ...string) {
		t.Helper()
		if out, err := o.Vsctl(args...); err != nil {
			t.Fatal(out, err)
		}
	}
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	chain := func(p *model.Port) (trace.Item, bool) {
		rep, err := in.Report(t.Context(), string(p.ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range rep.Chains[0].Steps {
			for _, it := range s.Items {
				if s.Name == trace.StepFilter && it.What == "passes" {
					return it, true
				}
			}
		}
		return trace.Item{}, false
	}

	// Table 25 has a flow for each MAC address: it has room for those of the first port only.
	vsctl("--", "--id=@t", "create", "Flow_Table", "name=mac_spoof", "flow_limit=4", "--", "set", "Bridge", "br-int", "flow_tables:25=@t")
	plugVIF(t, o, second)
	w.eventually("the second port is said to be closed", func() bool {
		it, closed := chain(second)
		return closed && it.Cause == trace.CauseClosed && strings.Contains(it.Text, "The port is closed, because its flows could not be put into the switch")
	})
	if s := w.status(second.ID); s != model.PortDown {
		t.Errorf("the closed port is %s", s)
	}
	if s := w.status(first.ID); s != model.PortActive {
		t.Errorf("the other port is %s", s)
	}
	if it, closed := chain(first); closed {
		t.Errorf("the other port is said to be closed: %+v", it)
	}
	answer, err := in.Allows(t.Context(), url.Values{"q": {string(second.ID)}, "to": {"192.0.2.7"}, "dport": {"443"}, "live": {"true"}})
	if err != nil || !answer.Disagree || !strings.Contains(answer.Switch.Advice, "the agent could not") {
		t.Errorf("%v, %+v, switch %+v", err, answer, answer.Switch)
	}
	if text := metricsOf(a); !strings.Contains(text, `weft_ports{state="closed"} 1`) || strings.Contains(text, `weft_faults{part="switch"} 0`) {
		t.Errorf("metrics say\n%s", text)
	}
	t.Logf("%s\n%s", answer.Text, answer.Switch.Advice)

	vsctl("clear", "Flow_Table", "mac_spoof", "flow_limit")
	w.becomes(second.ID, model.PortActive)
	w.eventually("it is not said to be closed any more", func() bool { _, closed := chain(second); return !closed })
}
