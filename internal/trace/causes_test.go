package trace

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/model"
)

// What no other test and no fault of the gallery shows: each cause is the answer to something.
func TestCauses(t *testing.T) {
	for _, c := range []struct {
		want  Cause
		spoil func(r *Record, ev *Evidence)
	}{
		{CauseNoNetwork, func(r *Record, ev *Evidence) { r.Network = nil }},
		{CauseNoMAC, func(r *Record, ev *Evidence) { r.Port.MAC = model.MAC{} }},
		{CauseNoSubnet, func(r *Record, ev *Evidence) { r.Port.FixedIPs[0].SubnetID = "s9" }},
		{CauseOutsideSubnet, func(r *Record, ev *Evidence) { r.Port.FixedIPs[0].Addr = netip.MustParseAddr("10.99.0.1") }},
		{CauseFeedBehind, func(r *Record, ev *Evidence) {
			ev.Feed = Feed{Error: "connection refused", Since: now.Add(-time.Minute)}
		}},
		{CauseWrongBridge, func(r *Record, ev *Evidence) { ev.Interface.Bridge = "br-ex" }},
		{CauseWrongType, func(r *Record, ev *Evidence) {
			r.Port.DeviceOwner, ev.Interface.Type = model.OwnerDHCP, "system"
		}},
		{CauseNoOFPort, func(r *Record, ev *Evidence) { ev.Interface.OFPort = -1 }},
		{CauseInterfaceError, func(r *Record, ev *Evidence) { ev.Interface.Error = "could not set configuration" }},
		{CauseNoDevice, func(r *Record, ev *Evidence) { ev.Device = nil }},
		{CauseTapMAC, func(r *Record, ev *Evidence) { ev.Device.MAC = "fe:16:3e:00:00:99" }},
		{CauseTapMTU, func(r *Record, ev *Evidence) { ev.Device.MTU = 1400 }},
		{CauseNoFlows, func(r *Record, ev *Evidence) { ev.Flows = nil }},
		{CauseNoDHCPPort, func(r *Record, ev *Evidence) { r.DHCPPorts = nil }},
		{CauseNotServed, func(r *Record, ev *Evidence) { ev.DHCP = nil }},
		{CauseDHCPMAC, func(r *Record, ev *Evidence) { ev.DHCP.MAC = "fa:16:3e:00:00:99" }},
		{CauseDHCPMTU, func(r *Record, ev *Evidence) { ev.DHCP.MTU = 1400 }},
		{CauseNoLease, func(r *Record, ev *Evidence) { ev.DHCP.Leases = nil }},
		{CauseDHCPUnanswered, func(r *Record, ev *Evidence) {
			ev.Transactions = []Transaction{{At: now.Add(-time.Second), Message: "DISCOVER", Reason: "no address"}}
		}},
		{CauseNotReported, func(r *Record, ev *Evidence) { ev.Reported = nil }},
		{CauseNotWired, func(r *Record, ev *Evidence) { ev.Reported.Wired = false }},
		{CauseFault, func(r *Record, ev *Evidence) {
			ev.Faults = []Fault{{Object: "port tap7f3a0c11-22", Op: "set", Error: "out of memory", Since: now.Add(-time.Minute), Tries: 3}}
		}},
		{CauseNoBridge, func(r *Record, ev *Evidence) { ev.Switch.Trouble, ev.Switch.Connected = "no_bridge", false }},
		{CauseUnderlay, func(r *Record, ev *Evidence) {
			ev.Faults = []Fault{{Object: "network demo", Op: "carry packets of its MTU", Error: "the underlay's is 1400", Since: now.Add(-time.Minute), Underlay: true}}
		}},
		{CauseGuestMACs, func(r *Record, ev *Evidence) {
			ev.Sources = []Source{{MAC: r.Port.MAC, Packets: 9, Age: time.Second}, {MAC: model.MAC{2, 0, 0, 0, 0, 0x77}, Packets: 9, Age: time.Second, Dropped: true}}
		}},
	} {
		r, ev := record(), evidence()
		c.spoil(&r, ev)
		verdict := Broken
		if c.want == CauseUnderlay || c.want == CauseGuestMACs {
			verdict = Warning
		}
		if chain := explain(r, ev, ""); chain.Verdict != verdict || chain.Answer.Cause != c.want {
			t.Errorf("%s: %s, %+v", c.want, chain.Verdict, chain.Answer)
		}
	}
}
