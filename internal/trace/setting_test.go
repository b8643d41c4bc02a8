package trace

import (
	"strings"
	"testing"
)

func TestSettingsOfAPort(t *testing.T) {
	const tap, dhcp = "tap7f3a0c11-22", "tapd0000000-00"
	for _, c := range []struct {
		set     Setting
		verdict Verdict
		step    string
		text    string
	}{
		{Setting{"br-int", tap, "no-receive", "true"}, Broken, StepInterface, "Open vSwitch drops all that comes in from " + tap + " on host h1: its OpenFlow port is set to no-receive (ovs-ofctl -O OpenFlow14 mod-port br-int " + tap + " receive takes that away)."},
		{Setting{"br-int", tap, "vlan_mode", "trunk"}, Warning, StepInterface, tap + " on host h1 has vlan_mode trunk, so its tag does not mean what weft means by it (ovs-vsctl clear Port " + tap + " vlan_mode takes that away)."},
		{Setting{"br-int", tap, "protected", "true"}, Warning, StepInterface, tap + " on host h1 is protected: it reaches no other protected port of its bridge (ovs-vsctl set Port " + tap + " protected=false takes that away)."},
		{Setting{"br-int", tap, "qos", "64000"}, Broken, StepInterface, "What the guest receives is limited to 64 kbit/s at " + tap + " on host h1 (ovs-vsctl clear Port " + tap + " qos takes that away)."},
		{Setting{"br-int", tap, "qos", "800000000"}, OK, "", ""},
		{Setting{"br-int", tap, "ingress_policing_rate", "100"}, OK, "", ""},
		{Setting{"br-int", tap, "ingress_policing_rate", "99"}, Broken, StepInterface, "What the guest sends is limited to 99 kbit/s at " + tap + " on host h1 (ovs-vsctl set Interface " + tap + " ingress_policing_rate=0 takes that away)."},
		{Setting{"br-tun", "", "rstp_enable", "true"}, Warning, StepHost, "Spanning tree (rstp_enable) is on at bridge br-tun on host h1, and closes ports for half a minute and longer (ovs-vsctl set Bridge br-tun rstp_enable=false takes that away)."},
		{Setting{"br-int", "patch-tun", "no-forward", "true"}, Broken, StepHost, "Open vSwitch puts nothing out at patch-tun on host h1: its OpenFlow port is set to no-forward (ovs-ofctl -O OpenFlow14 mod-port br-int patch-tun forward takes that away)."},
		{Setting{"br-int", dhcp, "no-forward", "true"}, Broken, StepExchange, "Open vSwitch puts nothing out at " + dhcp + " on host h1: its OpenFlow port is set to no-forward (ovs-ofctl -O OpenFlow14 mod-port br-int " + dhcp + " forward takes that away)."},
		// A tunnel to a host that has nothing to do with the port.
		{Setting{"br-tun", "vxlan-0a000063", "no-forward", "true"}, OK, "", ""},
	} {
		t.Run(strings.TrimSpace(c.set.Port+" "+c.set.Name+" "+c.set.Value), func(t *testing.T) {
			ev := evidence()
			ev.Settings = []Setting{c.set}
			chain := explain(record(), ev, "")
			if chain.Verdict != c.verdict {
				t.Fatalf("verdict %s: %s", chain.Verdict, chain.Answer.Text)
			}
			if c.verdict != OK && (chain.Answer.Step != c.step || chain.Answer.Cause != CauseSetting || chain.Answer.Text != c.text) {
				t.Errorf("step %s, %s:\n%s\nwant\n%s", chain.Answer.Step, chain.Answer.Cause, chain.Answer.Text, c.text)
			}
		})
	}
}
