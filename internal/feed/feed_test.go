package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// recorder stands for control where a test wants to see what was reported, or to fail it.
type recorder struct {
	mu         sync.Mutex
	registered []model.Host
	beats      map[model.HostName]int
	facts      map[model.HostName]map[model.PortID]control.PortFact
	reports    int
	fail       error
}

func (r *recorder) RegisterHost(_ context.Context, h model.Host) (*model.Host, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registered = append(r.registered, h)
	return &h, nil
}

func (r *recorder) Heartbeat(_ context.Context, h model.HostName) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beats[h]++
	return nil
}

func (r *recorder) ReportPorts(_ context.Context, h model.HostName, facts []control.PortFact) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.reports++
	if r.facts[h] == nil {
		r.facts[h] = map[model.PortID]control.PortFact{}
	}
	for _, f := range facts {
		r.facts[h][f.PortID] = f
	}
	return nil
}

// world is an etcd, a store and a feed server that can be stopped and started again.
type world struct {
	t      testing.TB
	store  *store.Store
	rec    *recorder
	ca     *CA
	dir    string
	addr   string
	server *Server
	stop   func()
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: storetest.New(t), dir: filepath.Join(t.TempDir(), "pki"),
		rec: &recorder{beats: map[model.HostName]int{}, facts: map[model.HostName]map[model.PortID]control.PortFact{}}}
	var err error
	if w.ca, err = EnsureCA(w.dir); err != nil {
		t.Fatal(err)
	}
	if err := w.ca.IssueServer(); err != nil {
		t.Fatal(err)
	}
	w.addr = "127.0.0.1:0"
	w.serve()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) serve() {
	tc, err := ServerTLS(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	w.server = NewServer(ServerOptions{Store: w.store, Control: w.rec})
	g := NewGRPC(tc)
	w.server.Register(g)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.server.Run(ctx) })
	wg.Go(func() { _ = g.Serve(l) })
	w.stop = func() { cancel(); g.Stop(); wg.Wait(); w.stop = func() {} }
}

// client starts a host's client; it ends with the test or by the returned function.
func (w *world) client(name model.HostName, change func(*ClientOptions)) (*Client, func()) {
	w.t.Helper()
	dir, err := w.ca.IssueHost(name)
	if err != nil {
		w.t.Fatal(err)
	}
	tc, cn, err := ClientTLS(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	o := ClientOptions{Target: w.addr, TLS: tc, Name: cn, MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	c := NewClient(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	stop := func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return c, stop
}

func (w *world) txn(f func(*store.Txn)) int64 {
	w.t.Helper()
	t := w.store.Txn()
	f(t)
	rev, err := t.Commit(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return rev
}

func (w *world) network(n int) model.NetworkID {
	id := model.NetworkID(fmt.Sprintf("%08d-0000-4000-8000-00000000000a", n))
	w.txn(func(t *store.Txn) {
		t.CreateNetwork(&model.Network{ID: id, Name: fmt.Sprint("net", n), AdminStateUp: true, MTU: 1450, Segment: model.Segment{Type: model.SegmentVXLAN, ID: uint32(n)}})
		t.CreateSubnet(&model.Subnet{ID: subnetOf(id), NetworkID: id, CIDR: netip.MustParsePrefix("10.0.0.0/16"), EnableDHCP: true})
	})
	return id
}

func subnetOf(id model.NetworkID) model.SubnetID { return model.SubnetID("s-" + string(id)) }

func port(id int, network model.NetworkID, host model.HostName) *model.Port {
	p := &model.Port{ID: model.PortID(fmt.Sprintf("%08d-0000-4000-8000-00000000000b", id)), NetworkID: network, AdminStateUp: true, Status: model.PortDown,
		MAC:      model.MAC{0xfa, 0x16, 0x3e, 0, byte(id >> 8), byte(id)},
		FixedIPs: []model.FixedIP{{SubnetID: subnetOf(network), Addr: netip.AddrFrom4([4]byte{10, 0, byte(id >> 8), byte(id)})}},
		Binding:  model.Binding{Host: host, VNICType: "normal", VIFType: model.VIFOVS}}
	if host == "" {
		p.Binding.VIFType = model.VIFUnbound
	}
	return p
}

func (w *world) create(p *model.Port) *model.Port {
	w.t.Helper()
	w.txn(func(t *store.Txn) { t.CreatePort(p) })
	return p
}

func (w *world) update(id model.PortID, f func(*model.Port)) {
	w.t.Helper()
	w.txn(func(t *store.Txn) {
		w.store.View(func(r store.Reader) {
			e := r.Port(id)
			p := *e.Value
			f(&p)
			p.Revision++
			t.UpdatePort(e, &p)
		})
	})
}

// cloud is all that the store holds.
func (w *world) cloud() view.Cloud {
	c := newCloud()
	w.store.View(func(r store.Reader) {
		for e := range r.Networks() {
			c.Networks[e.Value.ID] = e.Value
		}
		for e := range r.Subnets() {
			c.Subnets[e.Value.ID] = e.Value
		}
		for e := range r.Ports() {
			c.Ports[e.Value.ID] = e.Value
		}
	})
	return c
}

// settled waits until the client holds exactly the part that is its host's.
func (w *world) settled(c *Client) {
	w.t.Helper()
	var diff string
	if !eventually(func() bool {
		st := c.State()
		if !st.InSync {
			diff = "not in sync: " + st.Err
			return false
		}
		diff = diffCloud(view.Part(w.cloud(), c.o.Name), st.Cloud)
		return diff == ""
	}) {
		w.t.Fatalf("host %s does not hold its part:\n%s", c.o.Name, diff)
	}
}

func diffCloud(a, b view.Cloud) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty())
}

func eventually(f func() bool) bool {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if f() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return f()
}

func TestSnapshotAndChanges(t *testing.T) {
	w := newWorld(t)
	n1, n2, n3 := w.network(1), w.network(2), w.network(3)
	w.create(port(1, n1, "h1"))
	w.create(port(2, n2, "h2"))
	w.create(port(3, n3, "h1"))
	w.create(port(4, n3, "h2"))
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	w.settled(h1)
	w.settled(h2)

	steps := []struct {
		what string
		do   func()
	}{
		{"a port appears on a shared network", func() { w.create(port(5, n3, "h2")) }},
		{"an unbound port appears", func() { w.create(port(6, n1, "")) }},
		{"it is bound to the other host: the network enters", func() {
			w.update(port(6, n1, "").ID, func(p *model.Port) { p.Binding.Host, p.Binding.VIFType = "h2", model.VIFOVS })
		}},
		{"it moves: the network leaves again", func() {
			w.update(port(6, n1, "").ID, func(p *model.Port) { p.Binding.Host = "h1" })
		}},
		{"a binding fails: the network does not enter", func() {
			p := port(7, n1, "h2")
			p.Binding.VIFType = model.VIFBindingFailed
			w.create(p)
		}},
		{"a network changes", func() {
			w.txn(func(tx *store.Txn) {
				w.store.View(func(r store.Reader) {
					e := r.Network(n3)
					n := *e.Value
					n.Name = "renamed"
					tx.UpdateNetwork(e, &n)
				})
			})
		}},
		{"a subnet appears", func() {
			w.txn(func(tx *store.Txn) {
				tx.CreateSubnet(&model.Subnet{ID: "extra", NetworkID: n3, CIDR: netip.MustParsePrefix("10.9.0.0/24")})
			})
		}},
		{"a subnet goes", func() {
			w.txn(func(tx *store.Txn) {
				w.store.View(func(r store.Reader) { tx.DeleteSubnet(r.Subnet("extra"), r.Revision()) })
			})
		}},
		{"a port goes, and with it the network", func() {
			w.txn(func(tx *store.Txn) {
				w.store.View(func(r store.Reader) { tx.DeletePort(r.Port(port(2, n2, "").ID)) })
			})
		}},
		{"a new network with a port", func() { w.create(port(8, w.network(4), "h2")) }},
	}
	for _, s := range steps {
		t.Log(s.what)
		s.do()
		w.settled(h1)
		w.settled(h2)
	}
	if st := h1.State(); st.Session != 1 {
		t.Errorf("session %d, want one snapshot only", st.Session)
	}
}

// Whatever happens, what a host is sent never names a network that is not its own.
func TestHostNeverHearsOfOthers(t *testing.T) {
	w := newWorld(t)
	mine, other := w.network(1), w.network(2)
	w.create(port(1, mine, "h1"))
	h1, _ := w.client("h1", nil)
	w.settled(h1)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { w.create(port(100+i, other, "h2")) })
	}
	wg.Wait()
	w.create(port(2, mine, "h1"))
	w.settled(h1)
	st := h1.State()
	if len(st.Cloud.Networks) != 1 || len(st.Cloud.Ports) != 2 {
		t.Errorf("h1 holds %d networks, %d ports", len(st.Cloud.Networks), len(st.Cloud.Ports))
	}
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if len(w.server.interest) != 1 || w.server.interest[mine] == nil {
		t.Errorf("server tells h1 of %d networks", len(w.server.interest))
	}
}

// Many writers move ports between hosts at random; in the end each host holds its part.
func TestRandomMoves(t *testing.T) {
	w := newWorld(t)
	var nets []model.NetworkID
	for n := range 4 {
		nets = append(nets, w.network(n+1))
	}
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	hosts := []model.HostName{"h1", "h2", "h3", ""}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				n := g*30 + i + 1
				p := w.create(port(n, nets[n%4], hosts[n%3]))
				w.update(p.ID, func(p *model.Port) { p.Binding.Host = hosts[(n*7+g)%4] })
				if n%5 == 0 {
					w.txn(func(tx *store.Txn) {
						w.store.View(func(r store.Reader) { tx.DeletePort(r.Port(p.ID)) })
					})
				}
			}
		})
	}
	wg.Wait()
	w.settled(h1)
	w.settled(h2)
}

func TestReconnectKeepsThenReplaces(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	keep, gone := w.create(port(1, n1, "h1")), w.create(port(2, n1, "h1"))
	h1, _ := w.client("h1", nil)
	w.settled(h1)
	w.stop()
	if !eventually(func() bool { return !h1.State().InSync }) {
		t.Fatal("client believes to be in sync with a stopped server")
	}
	w.txn(func(tx *store.Txn) { w.store.View(func(r store.Reader) { tx.DeletePort(r.Port(gone.ID)) }) })
	if st := h1.State(); !st.Known || len(st.Cloud.Ports) != 2 {
		t.Fatalf("without a server the client holds %d ports", len(st.Cloud.Ports))
	}
	// From here on, whenever someone looks, either both ports are there or exactly the new state.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if st := h1.State(); st.Cloud.Ports[keep.ID] == nil || len(st.Cloud.Networks) != 1 {
				t.Error("a half snapshot was seen")
				return
			}
		}
	})
	w.serve()
	w.settled(h1)
	close(stop)
	wg.Wait()
	if st := h1.State(); st.Session != 2 || len(st.Cloud.Ports) != 1 {
		t.Errorf("session %d, %d ports", st.Session, len(st.Cloud.Ports))
	}
}

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
	for _, text := range []string{"", "{", `{"format":99,"host":"h1"}`} {
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
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
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
		o.Host = func() model.Host { return model.Host{Name: "h1", ServesDHCP: true} }
	})
	w.settled(c)
	if !eventually(func() bool { w.rec.mu.Lock(); defer w.rec.mu.Unlock(); return w.rec.beats["h1"] >= 3 }) {
		t.Error("no heartbeats")
	}
	w.rec.mu.Lock()
	defer w.rec.mu.Unlock()
	if len(w.rec.registered) != 1 || !w.rec.registered[0].ServesDHCP {
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
	serverAsHost, err := ServerTLS(w.dir)
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
			tc.Certificates = nil
			o.TLS = tc
		}, ""},
		{"the server's certificate as a host's", func(o *ClientOptions) {
			tc := ourTLS.Clone()
			tc.Certificates = serverAsHost.Certificates
			o.TLS = tc
		}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			cl, stop := w.client("h1", c.change)
			if !eventually(func() bool { st := cl.State(); return st.Err != "not connected yet" && st.Err != "" }) {
				t.Fatal("no refusal")
			}
			time.Sleep(50 * time.Millisecond)
			st := cl.State()
			if st.InSync || st.Known || !strings.Contains(st.Err, c.want) {
				t.Errorf("in sync %v, known %v, error %q; want %q", st.InSync, st.Known, st.Err, c.want)
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
	fresh := newCloud()
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
		for c.peek(p.ID) == nil {
			<-c.Changed()
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("write to host: p50 %v, p99 %v (store without fsync)", took[50], took[99])
	if took[50] > 20*time.Millisecond {
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
		for c.peek(p.ID) == nil {
			<-c.Changed()
		}
	}
}

func (c *Client) peek(id model.PortID) *model.Port {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Cloud.Ports[id]
}
