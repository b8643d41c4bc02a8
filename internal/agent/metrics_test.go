package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// dropCookie is that of a flow of a port that drops for a reason.
func dropCookie(id model.PortID, r firewall.Reason) uint64 {
	c := vswitch.Cookie(plan.Defaults().CookieOwner, vswitch.KindPort, vswitch.CookieObject(string(id)))
	return vswitch.WithReason(c, uint8(r))
}

// TestDropCounts: a counter of the switch that begins anew takes nothing from the sum.
func TestDropCounts(t *testing.T) {
	const a, b = model.PortID("aaaaaaaa-0000-4000-8000-000000000001"), model.PortID("bbbbbbbb-0000-4000-8000-000000000001")
	mac, rule, other := dropCookie(a, firewall.SpoofedMAC), dropCookie(a, firewall.NoIngressRule), dropCookie(b, firewall.SpoofedMAC)
	both := map[uint32]model.PortID{vswitch.CookieObject(string(a)): a, vswitch.CookieObject(string(b)): b}
	onlyA := map[uint32]model.PortID{vswitch.CookieObject(string(a)): a}
	foreign := vswitch.WithReason(vswitch.Cookie(1, vswitch.KindPort, vswitch.CookieObject(string(a))), 1)
	var d dropCounts
	for i, step := range []struct {
		read map[uint64]uint64
		here map[uint32]model.PortID
		want string
	}{
		{map[uint64]uint64{mac: 5, rule: 0, foreign: 9}, both, "map[a:map[no_ingress_rule:0 spoofed_mac:5]]"},
		{map[uint64]uint64{mac: 7, rule: 1, other: 3}, both, "map[a:map[no_ingress_rule:1 spoofed_mac:7] b:map[spoofed_mac:3]]"},
		{map[uint64]uint64{mac: 2, rule: 1, other: 3}, both, "map[a:map[no_ingress_rule:1 spoofed_mac:9] b:map[spoofed_mac:3]]"},
		{map[uint64]uint64{}, both, "map[a:map[no_ingress_rule:1 spoofed_mac:9] b:map[spoofed_mac:3]]"},
		{map[uint64]uint64{mac: 1, rule: 1, other: 0}, onlyA, "map[a:map[no_ingress_rule:2 spoofed_mac:10]]"},
		{map[uint64]uint64{other: 4}, both, "map[a:map[no_ingress_rule:2 spoofed_mac:10] b:map[spoofed_mac:4]]"},
	} {
		got := fmt.Sprint(d.update(plan.Defaults().CookieOwner, step.read, step.here, time.Now()))
		if got = strings.NewReplacer(string(a), "a", string(b), "b").Replace(got); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	flow := func(n uint64) []host.FlowCount {
		return []host.FlowCount{{Flow: vswitch.Flow{Cookie: mac}, Packets: n}, {Flow: vswitch.Flow{Cookie: vswitch.WithReason(mac, 0)}, Packets: 50}, {Flow: vswitch.Flow{Cookie: mac}, Packets: 2}}
	}
	early := time.Now()
	for i, step := range []struct {
		flows []host.FlowCount
		late  bool // asked before the last answer came, and maybe answered before
		want  string
	}{
		{flow(1), false, "map[no_ingress_rule:2 spoofed_mac:13]"},
		{flow(0), true, "map[no_ingress_rule:2 spoofed_mac:13]"},
		{flow(4), true, "map[no_ingress_rule:2 spoofed_mac:16]"},
		{flow(1), false, "map[no_ingress_rule:2 spoofed_mac:19]"},
		{nil, false, "map[]"},
	} {
		began := time.Now()
		if step.late {
			began = early
		}
		if got := fmt.Sprint(d.port(plan.Defaults().CookieOwner, a, step.flows, began)); got != step.want {
			t.Errorf("one port, step %d: %s, want %s", i, got, step.want)
		}
	}
}

// metricsOf is what an agent of newWorld's options serves.
func metricsOf(a *Agent) string {
	rec := httptest.NewRecorder()
	a.o.Metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

func TestMetrics(t *testing.T) {
	w, l, m := newWorld(t), &logs{}, newMachine()
	a, _ := w.agent(w.options(m, l))
	w.joined()
	n, _ := w.network()
	p, q := w.port(n), w.port(n)
	m.plug(p.ID)
	m.plug("cccccccc-0000-4000-8000-000000000001")
	w.becomes(p.ID, model.PortActive)
	m.mu.Lock()
	m.dropped = map[uint64]uint64{dropCookie(p.ID, firewall.SpoofedIP): 12, dropCookie(p.ID, firewall.NoEgressRule): 0, dropCookie("dddddddd", firewall.SpoofedIP): 1,
		vswitch.WithReason(vswitch.Cookie(plan.Defaults().CookieOwner, vswitch.KindBase, 0), uint8(firewall.Cut)): 4}
	m.mu.Unlock()
	var text string
	w.eventually("both ports are wired and the stranger is seen", func() bool {
		text = metricsOf(a)
		return strings.Contains(text, `weft_ports{state="wired"} 2`) && strings.Contains(text, `weft_ports{state="stranger"} 1`)
	})
	for _, want := range []string{
		`weft_ports{state="closed"} 0`, `weft_ports{state="stranger"} 1`, `weft_ports{state="wired"} 2`, // the DHCP port is one
		`weft_flows{bridge="br-int"} `, `weft_flows{bridge="br-tun"} `, `weft_faults{part="switch"} 0`, "weft_agent_in_sync 1", "weft_switch_connected 1", `weft_pass_duration_seconds_bucket{le="0.001"} `,
		`weft_dropped_packets_total{reason="cut"} 4`, `weft_pass_duration_seconds_bucket{le="+Inf"} `, "weft_pass_duration_seconds_count ",
		fmt.Sprintf(`weft_port_dropped_packets_total{port=%q,reason="spoofed_ip"} 12`, p.ID),
		fmt.Sprintf(`weft_port_dropped_packets_total{port=%q,reason="no_egress_rule"} 0`, p.ID),
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "dddddddd") || strings.Contains(text, string(q.ID)) {
		t.Errorf("of other ports:\n%s", text)
	}
	if ev := a.Evidence(t.Context(), traceQuery(p)); ev.Dropped["spoofed_ip"] != 12 {
		t.Errorf("evidence has %v", ev.Dropped)
	}
}
