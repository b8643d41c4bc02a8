package test

import (
	"testing"

	"weft/internal/lab/labtest"
)

// The default group: everything goes out, only members get in, and a machine needs no rule
// to get its address.
func TestDefaultGroup(t *testing.T) {
	labtest.Require(t, "busybox")
	h, network := firewallHost(t)
	a, b := h.guest(network, "a", nil), h.guest(network, "b", nil)
	outside := h.guest(network, "outside", m{"security_groups": []string{h.group("outside", nil)}})
	var all []probe
	all = append(all, each(a, b, true)...)
	all = append(all, each(b, a, true)...)
	all = append(all, each(outside, a, false)...)
	// Nothing lets a in at outside either; once something does, a's way out is open and the
	// answers come back in though a lets nobody of outside in.
	all = append(all, each(a, outside, false)...)
	h.judge(all...)
	h.allowBoth(h.port(outside.ID).Groups[0], "ingress", nil)
	h.until(probe{from: a, to: outside, proto: "udp", port: 80, family: 4, passes: true})
	h.until(probe{from: a, to: outside, proto: "udp", port: 80, family: 6, passes: true})
	h.judge(append(each(a, outside, true), each(outside, a, false)...)...)
	for _, g := range []*guest{a, b, outside} {
		if got, err := h.udhcpc(g.Name); err != nil || got != g.ip() {
			t.Errorf("%s gets %s by DHCP: %v", g.Name, got, err)
		}
	}
}
