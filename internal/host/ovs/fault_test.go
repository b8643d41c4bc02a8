package ovs

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"weft/internal/plan/vswitch"
)

// cutter stands between two programs and cuts their connections after so many bytes of
// the one that listens, or of the one that dials.
type cutter struct {
	net.Listener
	network, to string

	mu    sync.Mutex
	left  int // bytes that may still pass; negative: any number
	conns map[net.Conn]bool
}

func newCutter(t testing.TB, network, listen, to string) *cutter {
	t.Helper()
	l, err := net.Listen(network, listen)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, network: network, to: to, left: -1, conns: map[net.Conn]bool{}}
	go c.serve()
	t.Cleanup(func() {
		l.Close()
		c.arm(0)
	})
	return c
}

func (c *cutter) serve() {
	for {
		in, err := c.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial(c.network, c.to)
		if err != nil {
			in.Close()
			continue
		}
		c.mu.Lock()
		c.conns[in], c.conns[out] = true, true
		c.mu.Unlock()
		go c.pass(in, out)
		go c.pass(out, in)
	}
}

func (c *cutter) pass(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 512)
	for {
		n, err := src.Read(buf)
		if n = c.take(n); n < 0 {
			return
		}
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// take counts n bytes and says how many of them may pass; -1 if none may any more.
func (c *cutter) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.left < 0:
		return n
	case c.left == 0:
		return -1
	}
	n = min(n, c.left)
	c.left -= n
	return n
}

// arm lets n more bytes pass and then cuts; 0 cuts now.
func (c *cutter) arm(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = n
	if n == 0 {
		for k := range c.conns {
			k.Close()
		}
		clear(c.conns)
	}
}

// heal lets everything pass again.
func (c *cutter) heal() { c.arm(-1) }

// TestOpenFlowCut: a connection that ends anywhere in the middle leaves the bridge with
// the old flows or with the new ones, and the next attempt converges.
func TestOpenFlowCut(t *testing.T) {
	w := newWorld(t)
	cut := newCutter(t, "tcp", "127.0.0.1:0", strings.TrimPrefix(w.target, "tcp:"))
	w.target = "tcp:" + cut.Addr().String()
	w.apply(w.example())
	sizes := [2]int{len(w.flowTexts("br-int")), 0}
	sizes[1] = sizes[0] + 4*3
	for _, at := range []int{1, 40, 500, 1500} {
		more := w.example(7, 8, 9)
		cut.arm(at)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		faults := w.s.Apply(ctx, more)
		cancel()
		if n := len(w.flowTexts("br-int")); n != sizes[0] && n != sizes[1] {
			t.Errorf("cut after %d bytes: %d flows are neither the old %d nor the new %d (%v)", at, n, sizes[0], sizes[1], faults)
		}
		cut.arm(0)
		cut.heal()
		w.eventually("in sync again without help", func() bool { return len(w.flowTexts("br-int")) == sizes[1] })
		w.eventually("apply without fault", func() bool { return len(w.s.Apply(t.Context(), more)) == 0 })
		w.wantFlows("br-int", more.Flows["br-int"].All())
		w.apply(w.example())
	}
}

// TestDatabaseCut: the same for the connection to the database.
func TestDatabaseCut(t *testing.T) {
	w := newWorld(t)
	w.stop()
	sock := filepath.Join(w.lab.Dir, "cut.sock")
	cut := newCutter(t, "unix", sock, strings.TrimPrefix(w.lab.OVSDB, "unix:"))
	w.lab.OVSDB = "unix:" + sock
	w.start("127.0.0.1:0")
	w.apply(w.example())
	for i, at := range []int{1, 300, 900, 2000, 4000, 8000} {
		want := w.example(i)
		for n := range 5 {
			want.Bridges[0].Ports = append(want.Bridges[0].Ports, vswitch.Port{Name: fmt.Sprintf("tap%d-%d", i, n), Type: "internal"})
		}
		db := w.s.db.Load()
		cut.arm(at)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		w.s.Apply(ctx, want)
		cancel()
		cut.arm(0)
		cut.heal()
		w.eventually("connected again", func() bool { return w.s.db.Load() != db })
		w.eventually("apply without fault", func() bool { return len(w.s.Apply(t.Context(), want)) == 0 })
		w.wantFlows("br-int", want.Flows["br-int"].All())
		if n := len(w.s.Observe().Bridges[0].Ports); n != 1+2+5 {
			t.Errorf("cut after %d bytes: %d ports", at, n)
		}
		before := w.changes()
		if w.apply(want); w.changes() != before {
			t.Error("not idle")
		}
	}
}

// TestOneBadObject: what the database refuses of one object keeps no other from being made.
func TestOneBadObject(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	for i := range 4 {
		p := vswitch.Port{Name: fmt.Sprintf("tap%d", i), Type: "internal", OFPort: uint32(100 + i)}
		if i == 2 {
			p.OFPort = 70000 // out of range for the schema
		}
		want.Bridges[0].Ports = append(want.Bridges[0].Ports, p)
	}
	faults := w.s.Apply(t.Context(), want)
	for _, f := range faults {
		if f.Object != "port tap2" {
			t.Errorf("fault: %v", f)
		}
	}
	if len(faults) == 0 {
		t.Error("no fault")
	}
	w.wantFlows("br-int", want.Flows["br-int"].All())
	for _, p := range w.s.Observe().Bridges[0].Ports {
		if p.Name == "tap3" && p.OFPort != 103 {
			t.Errorf("%+v", p)
		}
	}
}

// TestEachChangeFails: with any one of the changes refused, all others are made; then it heals.
func TestEachChangeFails(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	db := w.s.db.Load()
	snap := db.snapshot()
	n := len(changes(snap, &want, "br-int", nil))
	for i := range n {
		list := changes(snap, &want, "br-int", nil)
		bad := ovsdb.Operation{Op: ovsdb.OperationAbort}
		list[i].ops = append([]ovsdb.Operation{bad}, list[i].ops...)
		faults := w.s.do(t.Context(), db, list)
		// The ports of a bridge that is missing are missing, too.
		if len(faults) == 0 || faults[0].Object != list[i].object {
			t.Errorf("change %d (%s): %v", i, list[i].object, faults)
		}
		w.apply(want)
		w.wantFlows("br-int", want.Flows["br-int"].All())
		w.apply(vswitch.Switch{})
		w.eventually("empty", func() bool { snap = db.snapshot(); return len(snap.bridges) == 0 })
	}
	t.Logf("%d changes", n)
}

// TestReadWhileReplaced: who reads flows does not notice that the bridge and this process call each other
// at that time.
func TestReadWhileReplaced(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	w.apply(want)
	before := w.s.Stats().Connections
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			w.s.reach(t.Context(), "br-int")
		}
	}()
	w.eventually("many connections", func() bool {
		w.wantFlows("br-int", want.Flows["br-int"].All())
		if _, err := w.s.Drops(t.Context(), "br-int"); err != nil {
			t.Error(err)
		}
		if _, err := w.s.Settings(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := w.s.Foreign(t.Context(), "br-int", owner, nil); err != nil {
			t.Error(err)
		}
		return w.s.Stats().Connections-before >= 10
	})
	<-done
}

// TestStrangers: what is no OpenFlow switch harms nobody.
func TestStrangers(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	w.apply(want)
	addr := strings.TrimPrefix(w.target, "tcp:")
	for _, hello := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x05\x00\x00\x08\x00\x00\x00\x00", "\x05\x00\xff\xff\x00\x00\x00\x00",
		"\x01\x00\x00\x08\x00\x00\x00\x00", strings.Repeat("\xff", 1000),
		"\x05\x00\x00\x08\x00\x00\x00\x00\x05\x06\x00\x20\x00\x00\x00\x00" + strings.Repeat("\x00", 24) + "\x05\x13\x00\x10garbage"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, hello); err != nil {
			t.Error(err)
		}
		if len(hello) == 16 {
			defer c.Close() // one that stays silent
			continue
		}
		c.Close()
	}
	more := w.example(7, 8)
	w.apply(more)
	w.wantFlows("br-int", more.Flows["br-int"].All())
}
