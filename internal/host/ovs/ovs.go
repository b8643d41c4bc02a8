// Package ovs makes a running Open vSwitch equal a plan, through OVSDB and OpenFlow, and reads it back.
//
// In goes a vswitch.Switch; what is not as it says is changed: bridges, ports and tags
// in one OVSDB transaction, then the flows of each bridge in one atomic bundle with a
// barrier behind it. What is already right is not touched, so that Apply can be called
// at any time and by a process born a second ago. The bridges connect to this process
// as their OpenFlow controller; one that connects anew (because it, or this process,
// was restarted) has its flows read, compared and put right in one bundle. Flows are
// never cleared. Ports that others made are only written tags to, never deleted.
//
// Flows come in parts. One that is the same as before is not looked at; of one of which
// the switch refuses a flow, no flow stays in.
//
// Ours are: flows whose cookie has the owner number of the plan's flows, and all other
// flows in tables that the plan uses, but those that a planned learn action made; ports
// and bridges whose external_ids say owner=weft; of other people's ports, the tag and
// the keys of other_config that a plan writes.
package ovs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/host/repairs"
	"weft/internal/metrics"
	"weft/internal/plan/vswitch"
)

// Options say which Open vSwitch, and how to serve it.
type Options struct {
	// OVSDB is the address of the database: "unix:/var/run/openvswitch/db.sock" or "tcp:127.0.0.1:6640".
	OVSDB string
	// ListenOpenFlow is the address on which bridges find their controller,
	// "127.0.0.1:6633". Empty: no flows are handled (weft plug only needs the database).
	ListenOpenFlow string
	// IntegrationBridge is the one whose interfaces are VIFs; empty means br-int.
	IntegrationBridge string
	// Resync is how often the flows of a bridge are read and compared although nothing
	// is known to have changed them; 0 means every minute, negative never.
	Resync time.Duration
	// Host is the name that is told to who tries a tunnel to here.
	Host string
	// Log is where transitions are told; nil discards.
	Log *slog.Logger
	// Metrics counts what is programmed; nil counts for nobody.
	Metrics *metrics.Registry
}

// Fault is one object that could not be made as wanted.
type Fault struct {
	// Object is the kind and name: "bridge br-int", "port tap01234567-89", "flow ...".
	Object string
	// Op is what was tried.
	Op  string
	Err error
	// Cookie is that of the flow, if the fault is of one flow.
	Cookie uint64
}

func (f Fault) Error() string { return f.Op + " " + f.Object + ": " + f.Err.Error() }

// Unwrap returns the cause.
func (f Fault) Unwrap() error { return f.Err }

// Stats count what was sent, since Dial.
type Stats struct {
	// Transactions are those of OVSDB.
	Transactions int64
	// Bundles and FlowChanges are those of OpenFlow; Dumps are reads of all flows of a bridge.
	Bundles, FlowChanges, Dumps int64
	// Connections are OpenFlow connections that bridges made.
	Connections int64
}

// Switch is the Open vSwitch of this host. Its methods may be called from any goroutine.
type Switch struct {
	opt    Options
	log    *slog.Logger
	listen net.Listener

	db      atomic.Pointer[database]
	changed chan struct{}
	// kick asks Run to look at bridges whose datapath ID has become known.
	kick chan struct{}
	// adopt hands Run a connection that Apply has opened to a bridge itself.
	adopt chan net.Conn

	mu     sync.Mutex
	conns  map[uint64]*conn
	flows  map[string]*flows
	connUp chan struct{} // closed and replaced when a bridge connects
	// observed is what Observe has shown: only those interfaces may Apply judge.
	observed *observed
	// tags are the settings last written to ports of others, by port: hearing of them is no news.
	tags map[string]vswitch.PortTag
	// listened is when ListenOpenFlow was opened: bridges need a second to come back.
	listened time.Time

	probes probes

	// control is ovs-vswitchd's control socket.
	control Control
	// stale: the datapath's cache could not be emptied after the last change.
	stale atomic.Bool

	// apply serialises Apply, AddPort and DelPort: each decides by what it reads.
	apply sync.Mutex
	// settled and kept belong to Apply: what needs no change, and what was right after the last one.
	settled settled
	kept    map[string]keptRow
	repairs repairs.Memory

	counts counts

	transactions, bundles, flowChanges, dumps, connections atomic.Int64
}

// Dial connects to the database, reads it, and opens the controller's port. Run must
// be running for bridges to be served.
//
// A Switch that is to be a controller does not fail for want of a database: the host's
// Open vSwitch may start after it. Run goes on trying, and Observe says when it is known.
func Dial(ctx context.Context, opt Options) (*Switch, error) {
	if opt.OVSDB == "" {
		return nil, errors.New("ovs: no OVSDB address")
	}
	if opt.IntegrationBridge == "" {
		opt.IntegrationBridge = "br-int"
	}
	if opt.Resync == 0 {
		opt.Resync = time.Minute
	}
	s := &Switch{
		opt: opt, log: opt.Log, changed: make(chan struct{}, 1), kick: make(chan struct{}, 1), adopt: make(chan net.Conn), connUp: make(chan struct{}),
		conns: map[uint64]*conn{}, flows: map[string]*flows{}, tags: map[string]vswitch.PortTag{},
		control: Control{Dir: controlDir(opt.OVSDB)}, probes: probes{host: cmp.Or(opt.Host, "a host without a name")},
	}
	s.count(opt.Metrics)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if opt.ListenOpenFlow != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", opt.ListenOpenFlow)
		if err != nil {
			return nil, fmt.Errorf("openflow controller: %w", err)
		}
		s.listen, s.listened = l, time.Now()
	}
	db, err := dialDatabase(ctx, opt.OVSDB, s.log, &events{s})
	switch {
	case err == nil:
		s.db.Store(db)
		s.notify()
	case s.listen == nil:
		return nil, err
	case ctx.Err() != nil:
		_ = s.listen.Close()
		return nil, err
	default:
		s.log.Warn("Open vSwitch's database cannot be reached; waiting for it", "err", err)
	}
	return s, nil
}

// ControllerTarget is what a bridge's Controller must be to find this process: "tcp:127.0.0.1:6633".
func (s *Switch) ControllerTarget() string {
	if s.listen == nil {
		return ""
	}
	return "tcp:" + s.listen.Addr().String()
}

// Changed tells that what Observe returns has changed, or that a bridge has connected.
// Many changes make one signal.
func (s *Switch) Changed() <-chan struct{} { return s.changed }

func (s *Switch) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Stats returns the counters.
func (s *Switch) Stats() Stats {
	return Stats{Transactions: s.transactions.Load(), Bundles: s.bundles.Load(), FlowChanges: s.flowChanges.Load(),
		Dumps: s.dumps.Load(), Connections: s.connections.Load()}
}

// Run serves bridges and keeps the database connection until ctx ends. Then it closes
// both; the flows stay in the bridges.
func (s *Switch) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.control.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { s.keepDatabase(ctx) })
	wg.Go(func() { s.resyncOnKick(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case nc := <-s.adopt:
				wg.Go(func() { s.serveBridge(ctx, nc) })
			}
		}
	})
	if s.listen == nil {
		<-ctx.Done()
		return nil
	}
	if s.opt.Resync > 0 {
		wg.Go(func() { s.resyncOnTimer(ctx) })
	}
	stop := context.AfterFunc(ctx, func() { _ = s.listen.Close() })
	defer stop()
	for {
		nc, err := s.listen.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("openflow controller: %w", err)
		}
		if err != nil {
			// Out of file descriptors, or the peer gave up: neither is the end.
			s.log.Warn("openflow accept failed", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		wg.Go(func() { s.serveBridge(ctx, nc) })
	}
}

// Close closes what Dial opened; for a Switch that was never Run.
func (s *Switch) Close() {
	if s.listen != nil {
		_ = s.listen.Close()
	}
	s.db.Load().close()
	s.control.Close()
}

// keepDatabase connects again whenever the database goes away.
func (s *Switch) keepDatabase(ctx context.Context) {
	for {
		db := s.db.Load()
		db.wait(ctx)
		db.close()
		if ctx.Err() != nil {
			return
		}
		if db != nil {
			s.log.Warn("ovsdb connection lost")
			s.notify()
		}
		for delay := 20 * time.Millisecond; ; delay = min(2*delay, time.Second) {
			dctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			fresh, err := dialDatabase(dctx, s.opt.OVSDB, s.log, &events{s})
			cancel()
			if err == nil {
				s.db.Store(fresh)
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
		}
		s.log.Info("ovsdb connected", "ovsdb", s.opt.OVSDB)
		s.notify()
		s.resyncAll(ctx, remembered)
	}
}

// serveBridge is one OpenFlow connection from its first byte to its last.
func (s *Switch) serveBridge(ctx context.Context, nc net.Conn) {
	c, err := accept(ctx, nc)
	if err != nil {
		_ = nc.Close()
		if ctx.Err() == nil {
			// Tried again and again while a bridge is away, which is a fault of Apply and told as such.
			s.log.Debug("openflow handshake failed", "peer", nc.RemoteAddr(), "err", err)
		}
		return
	}
	stop := context.AfterFunc(ctx, func() { c.close(ctx.Err()) })
	defer stop()
	s.connections.Add(1)
	s.mu.Lock()
	old := s.conns[c.dpid]
	s.conns[c.dpid] = c
	close(s.connUp)
	s.connUp = make(chan struct{})
	s.mu.Unlock()
	if old != nil {
		old.close(errReplaced)
	}
	name := s.bridgeName(c.dpid)
	s.log.Info("bridge connected", "bridge", name, "dpid", fmt.Sprintf("%016x", c.dpid))
	s.notify()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if name != "" {
			s.resync(ctx, name, remembered)
		}
	}()
	err = c.serve(&s.probes)
	<-done
	s.mu.Lock()
	if s.conns[c.dpid] == c {
		delete(s.conns, c.dpid)
	}
	s.mu.Unlock()
	if c.replaced() {
		s.log.Debug("bridge has another connection", "bridge", name)
		return
	}
	if ctx.Err() == nil {
		s.log.Warn("bridge disconnected", "bridge", s.bridgeName(c.dpid), "err", err)
		s.notify()
		s.callBack(ctx, c.dpid)
	}
}

// callBack opens a connection to a bridge that has closed the last one, unless it has
// come back itself: it may be in no hurry to.
func (s *Switch) callBack(ctx context.Context, dpid uint64) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(50 * time.Millisecond):
	}
	if name := s.bridgeName(dpid); name != "" && s.connOf(name) == nil {
		s.reach(ctx, name)
	}
}

// resyncOnKick looks at all bridges when one has got its datapath ID: a bridge may
// connect before the database says which one it is.
func (s *Switch) resyncOnKick(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
			s.resyncAll(ctx, remembered)
		}
	}
}

// resyncOnTimer compares each bridge with its target now and then.
func (s *Switch) resyncOnTimer(ctx context.Context) {
	t := time.NewTicker(s.opt.Resync)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.resyncAll(ctx, verify)
		}
	}
}

// Resync compares the flows of every bridge with what the bridge holds now, and puts right what differs.
func (s *Switch) Resync(ctx context.Context) []Fault { return s.resyncAll(ctx, verify) }

func (s *Switch) resyncAll(ctx context.Context, how syncMode) []Fault {
	s.mu.Lock()
	names := make([]string, 0, len(s.flows))
	for n := range s.flows {
		names = append(names, n)
	}
	s.mu.Unlock()
	var faults []Fault
	for _, n := range names {
		faults = append(faults, s.resync(ctx, n, how)...)
	}
	return faults
}

// resync brings a bridge to its last target, if it is connected and has one.
func (s *Switch) resync(ctx context.Context, bridge string, how syncMode) []Fault {
	b := s.flowsOf(bridge)
	c := s.connOf(bridge)
	if c == nil || !b.isSet() {
		return nil
	}
	o, faults := s.sync(ctx, b, c, how)
	if ctx.Err() != nil {
		return faults
	}
	for _, f := range faults {
		switch {
		case errors.Is(f.Err, errReplaced): // the other connection sees to it
			continue
		case errors.Is(f.Err, errMoved): // the next plan does
			s.log.Info("flows wait for a new plan", "bridge", bridge, "err", f.Err)
			s.notify()
			continue
		}
		s.log.Error("flows not in sync", "bridge", bridge, "err", f)
	}
	if n := o.added + o.changed + o.removed; n > 0 && len(faults) == 0 {
		level := slog.LevelInfo
		if how == verify {
			// Nothing happened that explains it: somebody else was at our flows.
			level = slog.LevelWarn
			s.counts.repaired.Add(n, bridge)
		}
		s.log.Log(ctx, level, "flows put right", "bridge", bridge, "added", o.added, "changed", o.changed, "removed", o.removed, "kept", o.unchanged)
	}
	return faults
}

func (s *Switch) sync(ctx context.Context, b *flows, c *conn, how syncMode) (outcome, []Fault) {
	began := time.Now()
	o, faults := b.sync(ctx, c, how)
	s.repairs.Note(time.Now(), o.repairs)
	s.counts.sync(b.bridge, o, len(faults), time.Since(began))
	s.bundles.Add(int64(o.bundles))
	if o.bundles > 0 {
		s.flowChanges.Add(int64(o.added + o.changed + o.removed))
		s.forget(ctx, b.bridge)
	}
	if o.dumped {
		s.dumps.Add(1)
	}
	return o, faults
}

func (s *Switch) flowsOf(bridge string) *flows {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.flows[bridge]
	if b == nil {
		b = &flows{bridge: bridge}
		s.flows[bridge] = b
	}
	return b
}

// connOf is the connection of a bridge; nil if it has none.
func (s *Switch) connOf(bridge string) *conn {
	for _, r := range rows[rowBridge](s.db.Load(), tableBridge) {
		if r.Name != bridge {
			continue
		}
		dpid, err := strconv.ParseUint(or(r.DatapathID), 16, 64)
		if err != nil {
			return nil // ovs-vswitchd has not made it yet
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.conns[dpid]
	}
	return nil
}

func (s *Switch) bridgeName(dpid uint64) string {
	for _, r := range rows[rowBridge](s.db.Load(), tableBridge) {
		if id, err := strconv.ParseUint(or(r.DatapathID), 16, 64); err == nil && id == dpid {
			return r.Name
		}
	}
	return ""
}
