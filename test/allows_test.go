package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weft/internal/trace"
)

const metricsAddr = "127.0.0.1:9480"

// allows asks weft allows, and returns its answer and exit code.
func (h *host) allows(args ...string) (trace.Answer, int) {
	h.t.Helper()
	out, err := h.weft(append([]string{"allows", "-o", "json"}, args...)...)
	var a trace.Answer
	if e := json.Unmarshal([]byte(out), &a); e != nil {
		h.t.Fatalf("weft allows %s: %v: %s: %v", strings.Join(args, " "), err, out, e)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return a, exit.ExitCode()
	}
	h.must(err)
	return a, 0
}

// What weft allows says is what happens: to real packets, by the switch's own account, and in
// the exit code. What is dropped is counted, and goes on being so when rules change.
func TestAllows(t *testing.T) {
	h := newHost(t, "--metrics-listen", metricsAddr)
	h.up()
	network := h.dualNetwork("net")
	web := h.group("web", nil)
	h.allowBoth(web, "ingress", portRange("tcp", 80, 80))
	server, client := h.guest(network, "server", m{"security_groups": []string{web}}), h.guest(network, "client", nil)
	probes := []probe{
		{from: client, to: server, proto: "tcp", port: 80, passes: true},
		{from: client, to: server, proto: "tcp", port: 22},
		{from: client, to: server, proto: "udp", port: 80},
		{from: client, to: server, proto: "icmp"},
		{from: server, to: client, proto: "tcp", port: 80},
	}
	h.judge(probes...)
	for _, p := range probes {
		args := []string{"--live", "--proto", p.proto}
		if p.port != 0 {
			args = append(args, "--dport", fmt.Sprint(p.port))
		}
		for _, family := range []int{4, 6} {
			p.family = family
			sends, code := h.allows(append(args, p.from.Name, "--to", p.to.addr(family).String())...)
			if code != 0 || !sends.Allowed || !sends.Switch.Passes {
				t.Errorf("%s: sent: exit code %d, %s, switch %+v", p, code, sends.Text, sends.Switch)
			}
			want := map[bool]int{true: 0, false: 1}[p.passes]
			receives, code := h.allows(append(args, p.to.Name, "--from", p.from.addr(family).String())...)
			if code != want || receives.Allowed != p.passes || receives.Disagree || receives.Switch.Passes != p.passes {
				t.Errorf("%s: received: exit code %d, %s, switch %+v", p, code, receives.Text, receives.Switch)
			}
		}
	}
	h.countedDrops(server, client, web)

	t.Log("a stateless group")
	plain := h.group("plain", m{"stateful": false})
	h.allowBoth(plain, "ingress", portRange("tcp", 80, 80))
	h.guest(network, "plain", m{"security_groups": []string{plain}})
	for question, want := range map[string]int{"--from client --dport 80": 0, "--from client --dport 22": 1, "--from client --sport 80 --dport 50000 --reply": 1,
		"--to client --dport 22": 0, "--to client --dport 22 --as 10.20.0.250": 1} {
		if a, code := h.allows(append(strings.Fields(question), "plain", "--live")...); code != want || a.Switch.Silence != "" {
			t.Errorf("%s: exit code %d, want %d: %s, switch %+v", question, code, want, a.Text, a.Switch)
		}
	}

	t.Log("somebody else's flow")
	h.must(noOutput(h.ovs.Ofctl("add-flow", "br-int", "priority=60000,tcp,tp_dst=80,actions=drop")))
	a, code := h.allows("server", "--from", "client", "--dport", "80", "--live")
	if code != 3 || !a.Allowed || !a.Disagree || !strings.Contains(a.Switch.Advice, "not weft's") || !strings.Contains(a.Switch.Flow, "priority=60000") {
		t.Errorf("exit code %d, %+v, switch %+v", code, a, a.Switch)
	}
}

func noOutput(_ string, err error) error { return err }

// countedDrops holds what weft trace and the metrics say to what the flows have counted.
func (h *host) countedDrops(g, client *guest, group string) {
	h.t.Helper()
	before := g.drops()
	if before["no_ingress_rule"] == 0 {
		h.t.Fatalf("nothing was dropped: %v", before)
	}
	shown := h.traced(g.ID)
	if want := fmt.Sprintf("no_ingress_rule %d", before["no_ingress_rule"]); !strings.Contains(shown, want) || !strings.Contains(shown, "web ("+group+")") {
		h.t.Errorf("weft trace does not say %q:\n%s", want, shown)
	}
	if n := h.droppedMetric(g, "no_ingress_rule"); n < before["no_ingress_rule"] {
		h.t.Errorf("the metric is %d after %v", n, before)
	}
	if n := h.droppedMetric(g, "spoofed_mac"); n != 0 {
		h.t.Errorf("the metric of what never happened is %d", n)
	}
	// All flows of the port are made anew.
	last := h.droppedMetric(g, "no_ingress_rule")
	for _, groups := range [][]string{{}, {group}} {
		g.update(m{"security_groups": groups})
		h.until(probe{from: client, to: g, proto: "tcp", port: 80, family: 4, passes: len(groups) > 0})
		n := h.droppedMetric(g, "no_ingress_rule")
		if n < last {
			h.t.Errorf("with groups %v the metric goes back from %d to %d", groups, last, n)
		}
		last = n
	}
}

func (h *host) droppedMetric(g *guest, reason string) int {
	h.t.Helper()
	resp, err := h.http.Get("http://" + metricsAddr + "/metrics")
	h.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	h.must(err)
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^weft_port_dropped_packets_total\{port="%s",reason="%s"\} (\d+)$`, g.ID, reason))
	found := line.FindSubmatch(text)
	if found == nil {
		h.t.Fatalf("no metric of %s for %s:\n%s", g.Name, reason, text)
	}
	n, err := strconv.Atoi(string(found[1]))
	h.must(err)
	return n
}
