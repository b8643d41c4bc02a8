package ovs

import (
	"strings"
	"testing"
	"time"

	"weft/internal/plan/vswitch"
)

// TestRepairs: what somebody else changes is put back and remembered; what weft itself changes, or
// what is new, is no repair.
func TestRepairs(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	w.plug("tap1", "iface-id="+portID(1))
	w.eventually("attached", func() bool { return len(w.attachments()) == 2 })
	tag := func(n int) []vswitch.PortTag {
		return []vswitch.PortTag{{Name: "tap1", Tag: uint16(n), OtherConfig: map[string]string{"tag": "x"}}}
	}
	again := func(n int) {
		next := w.example()
		next.Bridges[0].Tags = tag(n)
		w.apply(next)
	}
	again(3)
	again(4)
	port := func() string { return w.s.db.Load().snapshot().ports["tap1"].UUID }
	old := port()
	w.vsctl("del-port", "tap1")
	w.eventually("gone", func() bool { return len(w.attachments()) == 1 })
	w.plug("tap1", "iface-id="+portID(1))
	w.eventually("attached again", func() bool { return len(w.attachments()) == 2 && port() != old })
	again(4)
	if got := w.s.Repairs(); len(got) != 0 {
		t.Errorf("weft's own changes are repairs: %+v", got)
	}

	for range 3 {
		w.vsctl("set", "port", "tap1", "tag=999")
		w.eventually("999 is seen", func() bool { return or(w.s.db.Load().snapshot().ports["tap1"].Tag) == 999 })
		again(4)
	}
	w.vsctl("set-controller", "br-int", "tcp:192.0.2.1:6653")
	w.eventually("it is seen", func() bool {
		b := w.s.Observe().Bridges[0]
		return len(b.Controllers) == 1 && strings.Contains(b.Controllers[0].Target, "192.0.2.1")
	})
	again(4)
	// What a look at a new connection finds is no repair, and the bridge and this process may call each other now.
	got := w.s.Repairs()
	w.eventually("three repairs", func() bool {
		w.ofctl("add-flow", "br-int", "table=60,priority=40000,cookie=0x99,actions=drop")
		w.s.Resync(t.Context())
		got = w.s.Repairs()
		return len(got) >= 3
	})
	if len(got) != 3 {
		t.Fatalf("%d repairs: %+v", len(got), got)
	}
	if r := got[0]; r.Kind != "port" || r.Name != "tap1" || r.Found != "tag 999" || r.Set != "tag 4" || r.Times != 3 || r.Lately != 3 || time.Since(r.At) > time.Minute {
		t.Errorf("%+v", r)
	}
	if r := got[1]; r.Kind != "bridge" || r.Bridge != "br-int" || r.Found != "controller tcp:192.0.2.1:6653" || r.Set != "controller "+w.s.ControllerTarget() {
		t.Errorf("%+v", r)
	}
	if r := got[2]; r.Kind != "flows" || !strings.Contains(r.Found, "priority=40000") || r.Set != "removed" {
		t.Errorf("%+v", r)
	}

	w.eventually("the next repair", func() bool {
		w.ofctl("del-flows", "br-int", "table=60")
		w.s.Resync(t.Context())
		got = w.s.Repairs()
		return len(got) > 3
	})
	if r := got[len(got)-1]; r.Kind != "flows" || !strings.Contains(r.Found, "missing") || r.Cookie == 0 && r.Name != "" {
		t.Errorf("%+v", got)
	}
}
