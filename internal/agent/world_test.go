package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/control"
	"weft/internal/doctor"
	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
	"weft/internal/store"
	"weft/internal/store/storetest"
	"weft/internal/trace"
)

// fakeMachine stands for the host where a test has to see what is applied, or to make
// the n-th operation fail. It attaches the plan's own ports at once, as OVS does.
type fakeMachine struct {
	mu       sync.Mutex
	changed  chan struct{}
	ready    bool
	version  string
	attached map[model.PortID]view.Attachment
	other    []map[string]string
	applied  []plan.Plan
	// flushed are the zones flushed, in order; flushing fails with noFlush.
	flushed []uint16
	noFlush error
	// fail gives the faults of the n-th Apply, counted from 0.
	fail func(n int, p plan.Plan) []host.Fault
	// dropped are packets by cookie.
	dropped map[uint64]uint64
	// left are leftovers.
	left []doctor.Leftover
}

func newMachine() *fakeMachine {
	return &fakeMachine{changed: make(chan struct{}, 1), ready: true, version: "9.9", attached: map[model.PortID]view.Attachment{}}
}

func (m *fakeMachine) Apply(_ context.Context, p plan.Plan, _ host.Options) ([]host.Fault, host.Timing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = append(m.applied, p)
	for _, b := range p.Switch.Bridges {
		for _, port := range b.Ports {
			id := model.PortID(port.ExternalIDs["iface-id"])
			if _, ok := m.attached[id]; id != "" && !ok {
				m.attach(id)
			}
		}
	}
	if m.fail != nil {
		return m.fail(len(m.applied)-1, p), host.Timing{}
	}
	return nil, host.Timing{}
}

func (m *fakeMachine) FlushZones(_ context.Context, zones []uint16) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noFlush == nil {
		m.flushed = append(m.flushed, zones...)
	}
	return m.noFlush
}

// attach is called with the lock held.
func (m *fakeMachine) attach(id model.PortID) {
	m.attached[id] = view.Attachment{PortID: id, Device: vif.TapName(id), OFPort: view.OFPort(100 + len(m.attached))}
	m.signal()
}

func (m *fakeMachine) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *fakeMachine) plug(id model.PortID) { m.mu.Lock(); defer m.mu.Unlock(); m.attach(id) }

func (m *fakeMachine) unplug(id model.PortID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.attached, id)
	m.signal()
}

func (m *fakeMachine) Observe() host.Observed {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := host.Observed{Ready: m.ready, Connected: true, OtherConfig: m.other, OVSVersion: m.version}
	for _, a := range m.attached {
		o.Attachments = append(o.Attachments, a)
	}
	return o
}

func (m *fakeMachine) Changed() <-chan struct{} { return m.changed }

func (m *fakeMachine) Probe(_ context.Context, q host.Query) host.Found {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, dropped := host.Found{}, maps.Clone(m.dropped)
	if a, ok := m.attached[q.PortID]; ok {
		f.Interface = &host.Interface{Name: a.Device, Bridge: q.Bridge, OFPort: int(a.OFPort)}
		f.Device = &kernel.Link{Name: a.Device, Type: "tun", Up: true, Carrier: true}
	}
	if len(m.applied) > 0 {
		for _, fl := range m.last().Switch.Flows[q.Bridge].All() {
			n := uint64(1)
			if vswitch.ReasonOf(fl.Cookie) != 0 {
				n = dropped[fl.Cookie]
				delete(dropped, fl.Cookie) // the first flow has all of the cookie's
			}
			f.Flows = append(f.Flows, host.FlowCount{Flow: fl, Packets: n})
		}
	}
	if q.Namespace != "" {
		f.DHCP = &host.DHCPFound{Exists: true, Listening: true, Device: &kernel.Link{Name: q.DHCPDevice}}
	}
	return f
}

func (m *fakeMachine) Seek(host.Query) host.Found { return host.Found{} }

func (m *fakeMachine) TryTunnels(_ context.Context, t host.TunnelTrial) host.TunnelsFound {
	f := host.TunnelsFound{Tunnels: make([]host.TunnelFound, len(t.To))}
	for i, to := range t.To {
		f.Tunnels[i] = host.TunnelFound{Port: &ovs.Port{Name: vif.Tunnel(model.SegmentVXLAN, to), OFPort: 2, Options: map[string]string{"remote_ip": to.String()}},
			Tried: []ovs.Tried{{Size: ovs.MinProbe, Sent: 1, By: "the other", Took: time.Millisecond}}}
	}
	return f
}

func (m *fakeMachine) Drops(context.Context) (map[uint64]uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.dropped), nil
}

func (m *fakeMachine) Conversation(model.PortID) ([]host.Transaction, <-chan struct{}) {
	return nil, nil
}

func (m *fakeMachine) Packets(model.PortID, string, capture.Program) (host.Packets, error) {
	return host.Packets{}, errInjected
}

func (m *fakeMachine) Survey(context.Context, host.SurveyQuery) doctor.Machine {
	return doctor.Machine{}
}

func (m *fakeMachine) Leftovers(q host.SurveyQuery) ([]doctor.Leftover, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.left), nil
}

func (m *fakeMachine) Remove(_ context.Context, l doctor.Leftover) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = slices.DeleteFunc(m.left, l.Same)
	return nil
}

// last is called with the lock held.
func (m *fakeMachine) last() plan.Plan { return m.applied[len(m.applied)-1] }

func (m *fakeMachine) count() int { m.mu.Lock(); defer m.mu.Unlock(); return len(m.applied) }

func (m *fakeMachine) failWith(f func(n int, p plan.Plan) []host.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// world is a server: etcd, store, control, feed.
type world struct {
	t       *testing.T
	store   *store.Store
	control *control.Control
	dir     string
	addr    string
	server  *feed.Server
	stop    func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: storetest.New(t), dir: t.TempDir(), addr: "127.0.0.1:0"}
	w.control = control.New(control.Options{Store: w.store, Config: control.DefaultConfig()})
	ca, err := feed.EnsureCA(filepath.Join(w.dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.IssueServer(); err != nil {
		t.Fatal(err)
	}
	w.serve()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) serve() {
	tc, err := feed.ServerTLS(filepath.Join(w.dir, "pki"))
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	w.server = feed.NewServer(feed.ServerOptions{Store: w.store, Control: w.control})
	g := feed.NewGRPC(tc)
	w.server.Register(g)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.server.Run(ctx) })
	wg.Go(func() { _ = g.Serve(l) })
	w.stop = func() { cancel(); g.Stop(); wg.Wait(); w.stop = func() {} }
}

// logs collects what an agent logs.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func (w *world) options(m Machine, l *logs) Options {
	w.t.Helper()
	ca, err := feed.EnsureCA(filepath.Join(w.dir, "pki"))
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := ca.IssueHost("h1")
	if err != nil {
		w.t.Fatal(err)
	}
	tc, name, err := feed.ClientTLS(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return Options{
		Metrics: metrics.New("test"),
		Feed:    feed.ClientOptions{Servers: []string{w.addr}, TLS: tc, Name: name, MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond},
		Machine: m, Settings: plan.Defaults(), StateDir: filepath.Join(w.dir, "agent"),
		Host:     model.Host{IntegrationBridge: "br-int", DatapathType: "system", Roles: model.AllRoles(), TunnelTypes: []string{"vxlan"}, VTEP: netip.MustParseAddr("192.0.2.1")},
		RetryMin: 2 * time.Millisecond, RetryMax: 20 * time.Millisecond, DiskGrace: 50 * time.Millisecond,
		Log: w.logger(l),
	}
}

// agent starts an agent; it ends with the test or by the returned function.
func (w *world) agent(o Options) (*Agent, func()) {
	w.t.Helper()
	a, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }()
	stop := func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return a, stop
}

// joined waits until the host is registered, so that ports can be bound to it.
func (w *world) joined() {
	w.t.Helper()
	w.eventually("host h1 joins", func() bool { return w.server.Connected("h1") })
}

func (w *world) network() (model.NetworkID, model.SubnetID) {
	w.t.Helper()
	n, err := w.control.CreateNetwork(w.t.Context(), control.NetworkRequest{Project: "p"})
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := w.control.CreateSubnet(w.t.Context(), control.SubnetRequest{Project: "p", NetworkID: n.Value.ID, CIDR: netip.MustParsePrefix("10.10.0.0/24")})
	if err != nil {
		w.t.Fatal(err)
	}
	return n.Value.ID, s.Value.ID
}

func (w *world) port(n model.NetworkID) *model.Port {
	w.t.Helper()
	e, err := w.control.CreatePort(w.t.Context(), control.PortRequest{Project: "p", NetworkID: n, HostID: control.Some("h1"), DeviceOwner: control.Some("compute:nova")})
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Value
}

func (w *world) status(id model.PortID) model.PortStatus {
	e, err := w.control.Port(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Value.Status
}

func (w *world) becomes(id model.PortID, want model.PortStatus) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("port %s becomes %s", id, want), func() bool { return w.status(id) == want })
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// never checks that something stays false for a while.
func (w *world) never(what string, f func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(40 * time.Millisecond)
	for time.Now().Before(deadline) {
		if f() {
			w.t.Fatalf("happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var errInjected = errors.New("injected")

func hasTap(p plan.Plan, id model.PortID) bool {
	for _, b := range p.Switch.Bridges {
		if slices.ContainsFunc(b.Tags, func(t vswitch.PortTag) bool { return t.Name == vif.TapName(id) }) {
			return true
		}
	}
	return false
}

func (w *world) cloudPorts(n model.NetworkID) (out []*model.Port) {
	w.store.View(func(r store.Reader) {
		for e := range r.PortsOf(n) {
			out = append(out, e.Value)
		}
	})
	return out
}

// forceDown writes a status that no fact supports, as if a report had been lost.
func (w *world) forceDown(id model.PortID) {
	w.t.Helper()
	tx := w.store.Txn()
	w.store.View(func(r store.Reader) {
		e := r.Port(id)
		p := *e.Value
		p.Status = model.PortDown
		p.Revision++
		tx.UpdatePort(e, &p)
	})
	if _, err := tx.Commit(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func traceQuery(p *model.Port) trace.Query { return trace.Query{PortID: p.ID} }

// revisions are those of the records: one that changes tells of a flapping status.
func (w *world) revisions(ports []*model.Port) (out []int) {
	for _, p := range ports {
		e, err := w.control.Port(w.t.Context(), p.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, e.Value.Revision)
	}
	return out
}

var noRevision control.Opt[int]

func (l *logs) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func (w *world) logger(l *logs) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// withoutPasses leaves out the one line per pass.
func (l *logs) withoutPasses() string {
	var out strings.Builder
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, "msg=pass") {
			out.WriteString(line)
		}
	}
	return out.String()
}
