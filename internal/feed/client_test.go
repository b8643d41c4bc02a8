package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
)

func TestDiskCopy(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	dir := filepath.Join(t.TempDir(), "agent")
	onDisk := func(o *ClientOptions) { o.StateDir = dir }
	c, stop := w.client("h1", onDisk)
	w.settled(c)
	w.create(port(2, n1, "h1"))
	w.settled(c)
	want := c.State()
	stop() // at once: the write that is due must still happen
	fi, err := os.Stat(filepath.Join(dir, diskFile))
	if err != nil || fi.Mode() != 0o600 {
		t.Fatalf("disk copy: %v %v", fi.Mode(), err)
	}
	w.stop()
	again, stop := w.client("h1", onDisk)
	st := again.State()
	if !st.Known || !st.FromDisk || st.InSync || st.Revision != want.Revision {
		t.Errorf("state from disk: known %v, from disk %v, in sync %v, revision %d, want %d", st.Known, st.FromDisk, st.InSync, st.Revision, want.Revision)
	}
	if d := diffCloud(want.Cloud, st.Cloud); d != "" {
		t.Error(d)
	}
	w.serve()
	w.settled(again)
	if st := again.State(); st.FromDisk || !st.InSync {
		t.Errorf("after the server came: %+v", st)
	}
	stop()
	// Of another host, of another format, torn: refused, and not fatal.
	other, _ := w.client("h2", onDisk)
	if other.State().FromDisk {
		t.Error("h2 took h1's cloud")
	}
	for _, text := range []string{"", "{", `{"format":99,"host":"h1"}`, `{"format":1,"host":"h1"}`, `{"format":2,"host":"h1"}`} {
		if err := os.WriteFile(filepath.Join(dir, diskFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, ok, err := readDisk(dir, "h1"); ok || err == nil {
			t.Errorf("%q was taken for a cloud", text)
		}
	}
}

func TestFacts(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	p1, p2 := w.create(port(1, n1, "h1")), w.create(port(2, n1, "h1"))
	c, _ := w.client("h1", nil)
	w.settled(c)
	fact := func(id model.PortID) (f control.PortFact, ok bool) {
		w.rec.mu.Lock()
		defer w.rec.mu.Unlock()
		f, ok = w.rec.facts["h1"][id]
		return f, ok
	}
	st := c.State()
	c.Report(st.Session, st.Revision, true, []PortFact{{PortID: p1.ID, Wired: true, DHCP: true}})
	if !eventually(func() bool { f, _ := fact(p1.ID); return f.Wired && f.DHCP }) {
		t.Fatal("fact did not arrive")
	}
	if f, ok := fact(p2.ID); !ok || f.Wired {
		t.Errorf("a port that a full report lacks: %+v, %v; want it told as not there", f, ok)
	}
	// While the store is away facts are kept, and the newest wins.
	w.rec.mu.Lock()
	w.rec.fail = errors.New("no store")
	w.rec.mu.Unlock()
	c.Report(st.Session, st.Revision, false, []PortFact{{PortID: p1.ID}, {PortID: p2.ID, Wired: true}})
	time.Sleep(30 * time.Millisecond)
	c.Report(st.Session, st.Revision, false, []PortFact{{PortID: p1.ID, Wired: true}})
	time.Sleep(10 * time.Millisecond)
	w.rec.mu.Lock()
	w.rec.fail = nil
	w.rec.mu.Unlock()
	if !eventually(func() bool {
		a, _ := fact(p1.ID)
		b, _ := fact(p2.ID)
		return a.Wired && !a.DHCP && b.Wired
	}) {
		t.Error("facts were lost while the store was away")
	}
	// Facts of an older session say nothing.
	c.Report(st.Session-1, st.Revision, false, []PortFact{{PortID: p2.ID}})
	time.Sleep(20 * time.Millisecond)
	if f, _ := fact(p2.ID); !f.Wired {
		t.Error("a fact of an old session was sent")
	}
}

func TestEvidence(t *testing.T) {
	w := newWorld(t)
	c, stop := w.client("h1", func(o *ClientOptions) {
		o.Evidence = func(_ context.Context, q []byte) ([]byte, error) {
			if string(q) == "bad" {
				return nil, errors.New("no such port here")
			}
			return append([]byte("re: "), q...), nil
		}
	})
	w.settled(c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			got, err := w.server.Evidence(ctx, "h1", fmt.Append(nil, i))
			if err != nil || string(got) != fmt.Sprint("re: ", i) {
				t.Errorf("query %d: %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if _, err := w.server.Evidence(ctx, "h1", []byte("bad")); err == nil || !strings.Contains(err.Error(), "no such port here") {
		t.Errorf("refused query: %v", err)
	}
	if _, err := w.server.Evidence(ctx, "h9", nil); !errors.Is(err, ErrNotConnected) {
		t.Errorf("absent host: %v", err)
	}
	stop()
	if !eventually(func() bool { return !w.server.Connected("h1") }) {
		t.Error("the host that left counts as connected")
	}
}

func TestHeartbeats(t *testing.T) {
	w := newWorld(t)
	c, _ := w.client("h1", func(o *ClientOptions) {
		o.Heartbeat = 5 * time.Millisecond
		o.Host = func() model.Host { return model.Host{Name: "h1", Roles: model.AllRoles()} }
	})
	w.settled(c)
	if !eventually(func() bool { w.rec.mu.Lock(); defer w.rec.mu.Unlock(); return w.rec.beats["h1"] >= 3 }) {
		t.Error("no heartbeats")
	}
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	if len(w.rec.registered) != 1 || !w.rec.registered[0].Has(model.RoleNetwork) {
		t.Errorf("registered %+v", w.rec.registered)
	}
}

// A host that connects again pushes its older stream out, and works.
func TestSecondConnectionWins(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	_, stop := w.client("h1", func(o *ClientOptions) { o.MinBackoff, o.MaxBackoff = time.Hour, time.Hour })
	if !eventually(func() bool { return w.server.Connected("h1") }) {
		t.Fatal("not connected")
	}
	b, _ := w.client("h1", nil)
	w.settled(b)
	w.create(port(1, n1, "h1"))
	w.settled(b)
	stop()
	if !w.server.Connected("h1") {
		t.Error("the older stream took the newer along")
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	foreign, err := EnsureCA(filepath.Join(t.TempDir(), "foreign"))
	if err != nil {
		t.Fatal(err)
	}
	foreignDir, err := foreign.IssueHost("h1")
	if err != nil {
		t.Fatal(err)
	}
	foreignTLS, _, err := ClientTLS(foreignDir)
	if err != nil {
		t.Fatal(err)
	}
	ourDir, err := w.ca.IssueHost("h1")
	if err != nil {
		t.Fatal(err)
	}
	ourTLS, _, err := ClientTLS(ourDir)
	if err != nil {
		t.Fatal(err)
	}
	serverAsHost, err := AskingTLS(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		change func(*ClientOptions)
		want   string
	}{
		{"Hello of another host than the certificate's", func(o *ClientOptions) { o.Name = "h2" }, "certificate of host h1"},
		{"unknown CA, both sides", func(o *ClientOptions) { o.TLS = foreignTLS }, "unknown authority"},
		{"unknown CA, the server's eyes", func(o *ClientOptions) {
			tc := foreignTLS.Clone()
			tc.RootCAs = ourTLS.RootCAs
			o.TLS = tc
		}, ""},
		{"no certificate", func(o *ClientOptions) {
			tc := ourTLS.Clone()
			tc.GetClientCertificate = nil
			o.TLS = tc
		}, "no verified client certificate"},
		{"the server's certificate as a host's", func(o *ClientOptions) {
			o.TLS = serverAsHost
		}, "not one of those"},
	} {
		t.Run(c.what, func(t *testing.T) {
			cl, stop := w.client("h1", c.change)
			if !eventually(func() bool {
				err := cl.State().Err
				return err != "not connected yet" && err != "" && strings.Contains(err, c.want)
			}) {
				t.Fatalf("error %q, want %q", cl.State().Err, c.want)
			}
			time.Sleep(50 * time.Millisecond)
			if st := cl.State(); st.InSync || st.Known {
				t.Errorf("in sync %v, known %v", st.InSync, st.Known)
			}
			stop()
		})
	}
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	if len(w.rec.registered) != 0 {
		t.Errorf("a refused host was registered: %v", w.rec.registered)
	}
}

// A stranger's garbage must not disturb the server.
func TestGarbage(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	for _, g := range []string{"", "GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\xff\xff" + strings.Repeat("\x00", 4096)} {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(g))
		_ = c.Close()
	}
	h1, _ := w.client("h1", nil)
	w.settled(h1)
}

// A large part comes in pieces.
func TestLargeSnapshot(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	w := newWorld(t)
	n1 := w.network(1)
	for i := 0; i < 3000; i += 100 {
		w.txn(func(tx *store.Txn) {
			for j := range 100 {
				tx.CreatePort(port(i+j+1, n1, "h1"))
			}
		})
	}
	h1, _ := w.client("h1", nil)
	w.settled(h1)
}

func TestUnreadableObjectKeepsTheOthers(t *testing.T) {
	c := NewClient(ClientOptions{Name: "h1"})
	old := &model.Port{ID: "p1", Name: "old"}
	c.state.Cloud.Ports["p1"] = old
	good, _ := json.Marshal(&model.Port{ID: "p2"})
	fresh := view.NewCloud()
	c.applyLocked(fresh, []*feedpb.Object{{Kind: "port", Id: "p1", Value: []byte("{")}, {Kind: "port", Id: "p2", Value: good}, {Kind: "router", Id: "r"}})
	if fresh.Ports["p1"] != old || fresh.Ports["p2"] == nil {
		t.Errorf("%v", fresh.Ports)
	}
}

func TestLatency(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	c, _ := w.client("h1", nil)
	w.settled(c)
	var took []time.Duration
	for i := range 100 {
		p := port(100+i, n1, "h1")
		begin := time.Now()
		w.create(p)
		for c.Port(p.ID) == nil {
			<-c.Changed()
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("write to host: p50 %v, p99 %v (store without fsync)", took[50], took[99])
	if took[50] > time.Second { // it waits for somebody's timer
		t.Errorf("p50 %v", took[50])
	}
}

func BenchmarkWriteToHost(b *testing.B) {
	w := newWorld(b)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	c, _ := w.client("h1", nil)
	w.settled(c)
	i := 0
	for b.Loop() {
		i++
		p := port(i+1, n1, "h1")
		w.create(p)
		for c.Port(p.ID) == nil {
			<-c.Changed()
		}
	}
}
