package ovs

import (
	"fmt"
	"slices"
	"testing"
)

// TestSettings: what others may set by hand, one after the other, on what weft has made.
func TestSettings(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	w.apply(want)
	found := func() []string {
		list, err := w.s.Settings(t.Context(), "tapdhcp", "patch-tun", "tapgone")
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, s := range list {
			texts = append(texts, fmt.Sprintf("%s %s %s %s", s.Bridge, s.Port, s.Name, s.Value))
		}
		return texts
	}
	if list := found(); list != nil {
		t.Fatalf("nothing is set: %q", list)
	}
	for _, c := range []struct {
		set, unset func()
		want       string
	}{
		{func() { w.ofctl("mod-port", "br-int", "tapdhcp", "no-forward") }, func() { w.ofctl("mod-port", "br-int", "tapdhcp", "forward") }, "br-int tapdhcp no-forward true"},
		{func() { w.ofctl("mod-port", "br-int", "patch-tun", "no-receive") }, func() { w.ofctl("mod-port", "br-int", "patch-tun", "receive") }, "br-int patch-tun no-receive true"},
		{func() { w.vsctl("set", "Port", "tapdhcp", "vlan_mode=trunk") }, func() { w.vsctl("clear", "Port", "tapdhcp", "vlan_mode") }, "br-int tapdhcp vlan_mode trunk"},
		{func() { w.vsctl("set", "Port", "tapdhcp", "protected=true") }, func() { w.vsctl("set", "Port", "tapdhcp", "protected=false") }, "br-int tapdhcp protected true"},
		{func() { w.vsctl("set", "Interface", "tapdhcp", "ingress_policing_rate=8") }, func() { w.vsctl("set", "Interface", "tapdhcp", "ingress_policing_rate=0") }, "br-int tapdhcp ingress_policing_rate 8"},
		{func() {
			w.vsctl("--", "--id=@q", "create", "QoS", "type=linux-htb", "other-config:max-rate=9000", "--", "set", "Port", "tapdhcp", "qos=@q")
		}, func() { w.vsctl("clear", "Port", "tapdhcp", "qos") }, "br-int tapdhcp qos 9000"},
		{func() {
			w.vsctl("--", "--id=@p", "get", "Port", "tapdhcp", "--", "--id=@m", "create", "Mirror", "name=m0", "output-port=@p", "--", "set", "Bridge", "br-int", "mirrors=@m")
		}, func() { w.vsctl("clear", "Bridge", "br-int", "mirrors") }, "br-int tapdhcp mirror m0"},
		{func() { w.vsctl("set", "Bridge", "br-tun", "rstp_enable=true") }, func() { w.vsctl("set", "Bridge", "br-tun", "rstp_enable=false") }, "br-tun  rstp_enable true"},
	} {
		c.set()
		if list := found(); !slices.Equal(list, []string{c.want}) {
			t.Errorf("found %q, want %q", list, c.want)
		}
		c.unset()
	}
	// vlan_mode=access is what a tag means anyway; a port of another network concerns nobody here.
	w.vsctl("set", "Port", "tapdhcp", "vlan_mode=access")
	if list, err := w.s.Settings(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	if list := found(); list != nil {
		t.Errorf("found %q", list)
	}
	// A bridge with spanning tree keeps its ports from passing anything for a while, but those that are internal.
	w.vsctl("set", "Bridge", "br-int", "stp_enable=true")
	w.eventually("state of the port", func() bool {
		list := found()
		return slices.Contains(list, "br-int  stp_enable true") &&
			(slices.Contains(list, "br-int patch-tun stp_enable listening") || slices.Contains(list, "br-int patch-tun stp_enable learning"))
	})
	w.vsctl("set", "Bridge", "br-int", "stp_enable=false")
	w.eventually("nothing", func() bool { return len(found()) == 0 })
	if before := w.s.Stats(); len(w.s.Apply(t.Context(), want)) > 0 || w.s.Stats().Transactions != before.Transactions {
		t.Error("looking has changed something")
	}
}
