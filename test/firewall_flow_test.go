package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// Not one packet of two guests is lost while 1,000 rules of others come and go on their host.
func TestOthersRulesLoseNothing(t *testing.T) {
	h, network := firewallHost(t)
	a, b := h.guest(network, "a", nil), h.guest(network, "b", nil)
	h.must(h.call("PUT", "/v2.0/quotas/other", m{"quota": m{"security_group": -1, "security_group_rule": -1}}, nil))
	var groups []string
	for i := range 10 {
		g := h.group(fmt.Sprintf("group%d", i), m{"project_id": "other"})
		groups = append(groups, g)
		p := h.newPort(network, fmt.Sprintf("other%d", i), m{"project_id": "other", "security_groups": []string{g}, "binding:host_id": hostName})
		tap := vif.TapName(model.PortID(p.ID))
		h.vsctl("add-port", "br-int", tap, "--", "set", "Interface", tap, "type=internal",
			"external_ids:iface-id="+p.ID, "external_ids:attached-mac="+p.MAC)
		h.awaitStatus(p.ID, "ACTIVE")
	}
	pings := map[string]*pinger{}
	for _, family := range []int{4, 6} {
		pings[fmt.Sprintf("IPv%d", family)] = h.ping(a.port, b.addr(family).String())
	}
	began := time.Now()
	for i := range 500 {
		h.removeRules(h.allow(groups[i%len(groups)], "ingress", "IPv4", with(portRange("tcp", i+1, i+100), "remote_group_id", groups[0])))
	}
	took := time.Since(began)
	h.allow(groups[0], "ingress", "IPv4", portRange("tcp", 60001, 60001))
	h.await("the last change", comes, func() error {
		if flows := h.flows(); !strings.Contains(flows, "tp_dst=60001") {
			return fmt.Errorf("it is not in\n%s", flows)
		}
		return nil
	})
	for name, p := range pings {
		sent, lost := p.stop(h)
		t.Logf("%s: of %d pings %d were lost during 1000 changes in %s", name, sent, lost, took)
		if lost > 0 || sent < 20 {
			t.Errorf("%s: lost %d of %d pings", name, lost, sent)
		}
	}
}

// A real machine behind its groups: what it may send, and who may reach it.
func TestGuestMachine(t *testing.T) {
	labtest.Require(t, "qemu", "guest")
	h, network := firewallHost(t)
	group := h.group("machine", nil)
	var made struct {
		SecurityGroup struct {
			Rules []struct{ ID string } `json:"security_group_rules"`
		} `json:"security_group"`
	}
	h.must(h.call("GET", "/v2.0/security-groups/"+group, nil, &made))
	for _, r := range made.SecurityGroup.Rules {
		h.removeRules(r.ID)
	}
	p := h.newPort(network, "machine", m{"security_groups": []string{group}})
	h.mustWeft("plug", p.ID)
	visitor := h.guest(network, "visitor", nil)
	machine := &guest{port: p, h: h}

	_, next := h.machine(p)
	expect := func(report, key, want string) {
		t.Helper()
		if fields := next(report); fields[key] != want {
			t.Errorf("the machine reports %s %v, want %s=%s", report, fields, key, want)
		}
	}
	expect("lease", "ip", p.ip())
	if err := visitor.try("icmp", machine.addr(4), 0, absent); err == nil {
		t.Error("a ping gets in without a rule")
	}
	expect("ping", "ok", "no")
	h.allow(group, "ingress", "IPv4", m{"protocol": "icmp"})
	h.allow(group, "egress", "IPv4", nil)
	expect("ping", "ok", "yes")
	h.must(visitor.try("icmp", machine.addr(4), 0, comes))
}
