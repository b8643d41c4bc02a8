package ovs

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/plan/vswitch"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *lines) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// descriptors is how many files this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

// TestDatabaseComesLater: an agent may be started before Open vSwitch. It says once that
// it waits, and leaks nothing meanwhile.
func TestDatabaseComesLater(t *testing.T) {
	labtest.Require(t, "ovs")
	dir, err := os.MkdirTemp("/tmp", "weft-switch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var log lines
	opt := Options{OVSDB: "unix:" + dir + "/db.sock", ListenOpenFlow: "127.0.0.1:0", Resync: -1,
		Log: slog.New(slog.NewTextHandler(&log, nil))}
	s, err := Dial(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, s: s, target: s.ControllerTarget()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	if o := s.Observe(); o.Known || o.Connected {
		t.Errorf("observed %+v of no database", o)
	}
	if faults := s.Apply(t.Context(), w.example()); len(faults) == 0 {
		t.Error("applied to no database")
	}
	before := descriptors(t)
	time.Sleep(2500 * time.Millisecond)
	if now := descriptors(t); now > before+2 {
		t.Errorf("%d descriptors open while waiting, %d before", now, before)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines logged while waiting:\n%s", n, log.String())
	}

	if w.lab, err = lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.lab.Stop() })
	w.eventually("the database is known", func() bool { return s.Observe().Known })
	w.apply(w.example())

	// Who only plugs has nothing to wait for.
	if _, err := Dial(t.Context(), Options{OVSDB: "unix:" + dir + "/nothing.sock"}); err == nil {
		t.Error("no error without a controller and without a database")
	}
}

// TestForgetPort: a port of our own is taken off and made anew; others' are left alone.
func TestForgetPort(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	w.plug("tap1", "iface-id="+portID(1))
	before := w.vsctl("get", "Interface", "tapdhcp", "_uuid")
	if err := w.s.ForgetPort(t.Context(), "br-int", "tap1"); err == nil {
		t.Error("somebody else's port was taken")
	}
	for range 2 { // the second finds nothing to do
		if err := w.s.ForgetPort(t.Context(), "br-int", "tapdhcp"); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.vsctl("list-ports", "br-int"); strings.Contains(got, "tapdhcp") || !strings.Contains(got, "tap1") {
		t.Errorf("ports of br-int: %q", got)
	}
	w.apply(want)
	if after := w.vsctl("get", "Interface", "tapdhcp", "_uuid"); after == before {
		t.Error("the port was not made anew")
	}
}

// TestNoLongerVIF: an interface whose iface-id was taken away is closed; one that never
// was a VIF is nobody's business.
func TestNoLongerVIF(t *testing.T) {
	w := newWorld(t)
	want := w.example(1)
	w.apply(want)
	w.plug("tap1", "iface-id="+portID(1))
	w.plug("other")
	w.vsctl("set", "Port", "other", "tag=7")
	w.eventually("attached", func() bool { return w.attachments()["tap1"].OFPort != 0 })
	want.Bridges[0].Tags = []vswitch.PortTag{{Name: "tap1", Tag: 1, OtherConfig: map[string]string{"net_uuid": "n", "tag": "1"}}}
	w.apply(want)
	w.vsctl("remove", "Interface", "tap1", "external_ids", "iface-id")
	w.eventually("unplugged", func() bool { return len(w.attachments()) == 1 })
	want.Bridges[0].Tags = nil
	w.apply(want)
	if got := w.vsctl("get", "Port", "tap1", "tag", "other_config"); got != "4095\n{}" {
		t.Errorf("tag and other_config %q", got)
	}
	if got := w.vsctl("get", "Port", "other", "tag"); got != "7" {
		t.Errorf("tag of somebody else's port: %s", got)
	}
}

// TestGoneDevice: with the userspace datapath an interface keeps its number when its
// device is deleted; what is left to see is that it has no MAC any more.
func TestGoneDevice(t *testing.T) {
	number, state, mac := 5, "down", "fe:16:3e:00:00:01"
	for _, tt := range []struct {
		what string
		row  rowInterface
		want bool
	}{
		{"just made", rowInterface{OFPort: &number}, true},
		{"looked at", rowInterface{OFPort: &number, LinkState: &state, MACInUse: &mac}, true},
		{"deleted", rowInterface{OFPort: &number, LinkState: &state}, false},
		{"patch port", rowInterface{Type: "patch", OFPort: &number, LinkState: &state}, true},
	} {
		if got := attached(&tt.row); got != tt.want {
			t.Errorf("%s: attached %t", tt.what, got)
		}
	}
}
