package test

import (
	"strings"
	"testing"
)

// weft agent --dry-run prints what the agent would make of this host, beside a running
// agent, and changes nothing.
func TestDryRun(t *testing.T) {
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	p := h.newPort(network, "vm", nil)
	h.mustWeft("plug", "vm")
	h.awaitStatus(p.ID, "ACTIVE")
	flows := h.flowCount()
	out := h.mustWeft("agent", "--dry-run")
	for _, want := range []string{"br-int", "tap" + p.ID[:11], "qdhcp-" + network, p.MAC, p.ip()} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not name %s:\n%s", want, out)
		}
	}
	if n := h.flowCount(); n != flows {
		t.Errorf("%d flows before, %d after", flows, n)
	}
	h.awaitStatus(p.ID, "ACTIVE")
	if err := h.agentAlive(nil); err != nil {
		t.Error(err)
	}
}
