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
