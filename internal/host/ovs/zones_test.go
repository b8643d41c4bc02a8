package ovs

import (
	"errors"
	"strings"
	"testing"

	"weft/internal/plan/vswitch"
)

// TestFlushZones: the connections of the zones are forgotten, and no others.
func TestFlushZones(t *testing.T) {
	w := newWorld(t)
	if err := w.s.FlushZones(t.Context(), "br-none", []uint16{1}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("zones of no bridge: %v", err)
	}
	want := w.example()
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(
		vswitch.NewFlow(0, 200, vswitch.Cookie(owner, vswitch.KindPort, 8), vswitch.Any().IPv4(),
			vswitch.CT{Commit: true, Table: vswitch.NoTable, Zone: 5}, vswitch.CT{Commit: true, Table: vswitch.NoTable, Zone: 6},
			vswitch.CT{Commit: true, Table: vswitch.NoTable, Zone: 7})))
	w.apply(want)
	w.vsctl("add-port", "br-int", "p1", "--", "set", "Interface", "p1", "type=dummy")
	zones := func() (in []string) {
		out, err := w.lab.Appctl("dpctl/dump-conntrack")
		if err != nil {
			t.Fatal(out, err)
		}
		for _, z := range []string{"zone=5", "zone=6", "zone=7"} {
			if strings.Contains(out, z) {
				in = append(in, z)
			}
		}
		return in
	}
	send := func() {
		if out, err := w.lab.Appctl("netdev-dummy/receive", "p1", "eth(src=fa:16:3e:00:00:01,dst=fa:16:3e:00:00:02),eth_type(0x0800),"+
			"ipv4(src=1.2.3.4,dst=1.2.3.5,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=2)"); err != nil {
			t.Fatal(out, err)
		}
	}
	send()
	w.eventually("three connections", func() bool { return len(zones()) == 3 })
	if err := w.s.FlushZones(t.Context(), "br-int", []uint16{5, 7, 9}); err != nil {
		t.Fatal(err)
	}
	if left := zones(); len(left) != 1 || left[0] != "zone=6" {
		t.Errorf("left: %v", left)
	}
	if err := w.s.FlushZones(t.Context(), "br-int", nil); err != nil {
		t.Error(err)
	}
}
