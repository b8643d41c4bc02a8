package ovs

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/plan/vswitch"
)

func TestMixesUp(t *testing.T) {
	for version, want := range map[string]bool{
		"ovs-vswitchd (Open vSwitch) 2.13.8": true, "ovs-vswitchd (Open vSwitch) 2.17.7": true, "ovs-vswitchd (Open vSwitch) 2.17.8": false,
		"ovs-vswitchd (Open vSwitch) 3.0.4": true, "ovs-vswitchd (Open vSwitch) 3.1.0": true, "ovs-vswitchd (Open vSwitch) 3.1.3": false,
		"ovs-vswitchd (Open vSwitch) 3.2.0": false, "ovs-vswitchd (Open vSwitch) 3.7.1\n": false, "": false,
	} {
		if got := mixesUp(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

// TestForget: once flows have changed, a datapath that mixes them up has nothing left of the old ones.
func TestForget(t *testing.T) {
	w := newWorld(t)
	if version, err := w.s.control.Call(t.Context(), "version"); err != nil || !mixesUp(version) {
		t.Skipf("this Open vSwitch needs no help: %s, %v", version, err)
	}
	w.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=dummy", "fail_mode=secure",
		"--", "add-port", "br-int", "p1", "--", "set", "Interface", "p1", "type=dummy", "ofport_request=901")
	drop := func(prefix string) {
		want := w.example(7)
		want.Flows["br-int"] = append(want.Flows["br-int"], partOf(vswitch.NewFlow(0, 200, vswitch.Cookie(owner, vswitch.KindPort, 8),
			vswitch.Any().InPort(901).IPv4().Prefix(vswitch.IPv4Dst, netip.MustParsePrefix(prefix)))))
		w.apply(want)
	}
	cached := func() bool {
		out, err := w.lab.Appctl("dpctl/dump-flows", "dummy@ovs-dummy")
		if err != nil {
			t.Fatal(out, err)
		}
		return strings.Contains(out, "dst=10.1.2.2")
	}
	drop("10.1.2.0/24")
	// That the flows are new may just now make it forget: then it meets the next packet anew.
	w.eventually("the datapath remembers a packet", func() bool {
		if out, err := w.lab.Appctl("netdev-dummy/receive", "p1", "eth(src=fa:16:3e:00:00:01,dst=fa:16:3e:00:00:02),eth_type(0x0800),"+
			"ipv4(src=1.2.3.4,dst=10.1.2.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=2)"); err != nil {
			t.Fatal(out, err)
		}
		return cached()
	})
	drop("10.1.0.0/16")
	if cached() {
		t.Error("the datapath remembers it after the flows have changed")
	}
}
