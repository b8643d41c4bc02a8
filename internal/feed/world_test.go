package feed

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weft/internal/control"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// A server that is started again listens where it did: nobody else may have the port meanwhile.
func TestMain(m *testing.M) { labtest.Main(m) }

// recorder stands for control where a test wants to see what was reported, or to fail it.
type recorder struct {
	mu         sync.Mutex
	registered []model.Host
	beats      map[model.HostName]int
	facts      map[model.HostName]map[model.PortID]control.PortFact
	reports    int
	fail       error
	// until is the end of the certificate that was noted last.
	until time.Time
	// joins is who decides about joining.
	joins *control.Control
}

func (r *recorder) JoinHost(ctx context.Context, secret []byte, h model.HostName) (int, error) {
	return r.joins.JoinHost(ctx, secret, h)
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

func (r *recorder) NoteCertificate(_ context.Context, h model.HostName, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = until
	return nil
}

// world is an etcd, a store and a feed server that can be stopped and started again.
type world struct {
	t      testing.TB
	etcd   *store.Client
	store  *store.Store
	rec    *recorder
	ca     *CA
	dir    string
	addr   string
	server *Server
	// options are those that the next server gets beside Store and Control.
	options ServerOptions
	stop    func()
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, etcd: storetest.Etcd(t), dir: filepath.Join(t.TempDir(), "pki"),
		rec: &recorder{beats: map[model.HostName]int{}, facts: map[model.HostName]map[model.PortID]control.PortFact{}}}
	w.store = storetest.Open(t, w.etcd)
	w.rec.joins = control.New(control.Options{Store: w.store, Config: control.DefaultConfig()})
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
	o := w.options
	o.Store, o.Control, o.CA, o.Feeds = w.store, w.rec, w.ca, func() []string { return []string{w.addr} }
	w.server = NewServer(o)
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
	o := ClientOptions{Servers: []string{w.addr}, TLS: tc, Name: cn, MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond}
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
	c := view.NewCloud()
	w.store.View(func(r store.Reader) {
		for e := range r.Networks() {
			c.Networks[e.Value.ID] = e.Value
		}
		for e := range r.Subnets() {
			c.Subnets[e.Value.ID] = e.Value
		}
		for e := range r.Ports() {
			c.Ports[e.Value.ID] = e.Value
			for _, g := range e.Value.SecurityGroups {
				c.Members[view.MemberID{Group: g, Port: e.Value.ID}] = view.MemberOf(e.Value, g)
			}
		}
		for e := range store.SecurityGroups.All(r) {
			c.Groups[e.Value.ID] = &view.SecurityGroup{ID: e.Value.ID, Stateless: e.Value.Stateless}
		}
		for e := range store.SecurityGroupRules.All(r) {
			g := c.Groups[e.Value.Group]
			g.Rules = append(g.Rules, view.Rule{ID: e.Value.ID, RuleMatch: e.Value.RuleMatch})
		}
		for _, g := range c.Groups {
			slices.SortFunc(g.Rules, func(a, b view.Rule) int { return strings.Compare(a.ID, b.ID) })
		}
		for e := range store.AddressGroups.All(r) {
			c.AddressGroups[e.Value.ID] = e.Value
		}
		for _, e := range r.Hosts() {
			c.Peers[e.Value.Name] = &view.Peer{Host: e.Value.Name, VTEP: e.Value.VTEP}
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
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if f() {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return f()
}
