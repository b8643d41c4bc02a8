package feed

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
)

// helloTimeout is how long a host may stay silent after it has connected.
const helloTimeout = 10 * time.Second

// Control is what the server tells the cloud about hosts; *control.Control is one.
type Control interface {
	RegisterHost(ctx context.Context, h model.Host) (*model.Host, error)
	Heartbeat(ctx context.Context, h model.HostName) error
	ReportPorts(ctx context.Context, h model.HostName, facts []control.PortFact) error
	NoteCertificate(ctx context.Context, h model.HostName, until time.Time) error
	JoinHost(ctx context.Context, secret []byte, h model.HostName) (generation int, err error)
}

// ServerOptions are what a Server is made of.
type ServerOptions struct {
	Store   *store.Store
	Control Control
	// CA certifies hosts.
	CA *CA
	// Feeds returns the addresses of this server's own feed.
	Feeds func() []string
	// TLS is that of the server as a client of other servers (AskingTLS); nil asks none.
	TLS *tls.Config
	// Name is the server's own, as others have it in the store.
	Name string
	// Admission is how other servers join; none may when it is empty.
	Admission ServerAdmission
	// Self answers what this or another server asks about this one (AskServers); nil refuses.
	Self func(ctx context.Context, query []byte) ([]byte, error)
	// Log may be nil.
	Log *slog.Logger
	// Metrics counts what is sent; nil counts for nobody.
	Metrics *metrics.Registry
}

// Server is the feed's server. Make one with NewServer, Register it, and Run it.
type Server struct {
	feedpb.UnimplementedFeedServer
	store     *store.Store
	control   Control
	log       *slog.Logger
	ca        *CA
	guesses   guesses
	servers   servers
	admission ServerAdmission
	counts    counts
	self      func(ctx context.Context, query []byte) ([]byte, error)
	// turns are taken by snapshots: those of hosts that come all at once are made one after
	// the other, and the hosts that have theirs are served meanwhile.
	turns chan struct{}
	// looking bounds how many streams work out at a time what to send.
	looking chan struct{}
	// started is closed when the store's changes are being collected, stop when no longer.
	started, stop chan struct{}

	mu    sync.Mutex
	hosts map[model.HostName]*stream
	// interest are the streams to tell of changes about a topic: those whose host holds it,
	// or is about to.
	interest map[store.Ref]map[*stream]struct{}

	// peers are the hosts as others see them, when last told; Run's own.
	peers map[model.HostName]view.Peer
}

// NewServer makes a Server.
func NewServer(o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{store: o.Store, control: o.Control, log: o.Log, ca: o.CA, admission: o.Admission, self: o.Self, turns: make(chan struct{}, maxSnapshots),
		looking: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		servers: servers{name: o.Name, own: o.Feeds, tls: o.TLS}, started: make(chan struct{}), stop: make(chan struct{}),
		hosts: map[model.HostName]*stream{}, interest: map[store.Ref]map[*stream]struct{}{}}
	s.count(o.Metrics)
	return s
}

// NewGRPC makes a gRPC server with mutual TLS and the limits that the feed needs.
func NewGRPC(tc *tls.Config) *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(credentials.NewTLS(tc)),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.UnaryInterceptor(guardCall),
		grpc.StreamInterceptor(guardStream),
		grpc.ConnectionTimeout(10*time.Second), // for the handshake, of those who may be nobody
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 15 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
}

// Register adds the feed to a gRPC server made with NewGRPC.
func (s *Server) Register(r grpc.ServiceRegistrar) { feedpb.RegisterFeedServer(r, s) }

// Run hands the store's changes to the streams until ctx ends; then it ends the streams.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.stop)
	sub := s.store.Subscribe(ctx)
	s.peers = map[model.HostName]view.Peer{}
	s.store.View(func(r store.Reader) {
		s.servers.read(r)
		for _, e := range r.Hosts() {
			s.peers[e.Value.Name] = peerOf(e.Value)
		}
	})
	close(s.started)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.watchStore(ctx) })
	defer s.servers.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C():
			changes, _ := sub.Changes()
			s.dispatch(changes)
		}
	}
}

// dispatch marks the changes on the streams that they concern.
func (s *Server) dispatch(changes []store.Change) {
	s.counts.changes.Add(len(changes))
	// Where a changed port is bound now; a stream whose host it has left is in interest.
	bound := make(map[string]model.HostName)
	// The networks of a host of which others are to hear.
	seen := make(map[string][]model.NetworkID)
	s.store.View(func(r store.Reader) {
		for _, ch := range changes {
			switch ch.Kind {
			case model.KindServer:
				s.servers.read(r)
			case model.KindPort:
				if e := r.Port(model.PortID(ch.ID)); e != nil {
					bound[ch.ID] = e.Value.Binding.Host
				}
			case model.KindHost:
				if h := model.HostName(ch.ID); s.peerChanged(r, h) {
					for e := range r.PortsOnHost(h) {
						seen[ch.ID] = append(seen[ch.ID], e.Value.NetworkID)
					}
				}
			}
		}
	})
	for _, ch := range changes {
		if ch.Kind == model.KindHostIdentity {
			s.expel(model.HostName(ch.ID))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A stream is woken when all is marked: it may be concerned for several reasons, and is
	// to look once. First come the hosts of changed ports, who have something to do.
	marked := map[*stream]struct{}{}
	var first []*stream
	mark := func(st *stream, ch store.Change) {
		st.mark(ch)
		marked[st] = struct{}{}
	}
	tell := func(kind model.Kind, id string, ch store.Change) {
		for st := range s.interest[store.Ref{Kind: kind, ID: id}] {
			mark(st, ch)
		}
	}
	for _, ch := range changes {
		switch ch.Kind {
		case model.KindNetwork, model.KindSubnet, model.KindPort:
			tell(model.KindNetwork, string(ch.Network), ch)
		case model.KindSecurityGroup, model.KindAddressGroup:
			tell(ch.Kind, ch.ID, ch)
		case model.KindHost:
			for _, id := range seen[ch.ID] {
				tell(model.KindNetwork, string(id), ch)
			}
		}
		for _, id := range ch.Groups {
			tell(kindMembers, id, ch)
		}
		if st := s.hosts[bound[ch.ID]]; st != nil {
			mark(st, ch)
			first = append(first, st)
		}
	}
	for _, st := range first {
		wake(st.wakeup)
	}
	for st := range marked {
		wake(st.wakeup)
	}
}

// peerChanged notes what a host is to others now, and reports whether that is news.
func (s *Server) peerChanged(r store.Reader, h model.HostName) bool {
	old, had := s.peers[h]
	e := r.Host(h)
	if e == nil {
		delete(s.peers, h)
		return had
	}
	s.peers[h] = peerOf(e.Value)
	return !had || s.peers[h] != old
}

// peerOf is a host as others need it.
func peerOf(h *model.Host) view.Peer { return view.Peer{Host: h.Name, VTEP: h.VTEP} }

// Connect serves one host's stream.
func (s *Server) Connect(g feedpb.Feed_ConnectServer) error {
	who, err := callerOf(g.Context())
	if err != nil {
		return err
	}
	name := who.host
	if err := s.admit(g.Context(), who); err != nil {
		return err
	}
	hello, err := readHello(g, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(g.Context())
	defer cancel(nil)
	select {
	case <-s.started:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	if s.servers.storeAway.Load() {
		return errStoreAway
	}
	if hello.observe {
		s.log.Info("host is observed", "host", name)
		return s.observe(ctx, newStream(s, who, g, cancel))
	}
	st := newStream(s, who, g, cancel)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil) // before the Wait above
	wg.Go(func() { st.ping(ctx) })
	// Before the snapshot: registering makes the DHCP ports that the host will serve.
	if _, err := s.control.RegisterHost(ctx, st.noted(hello.host)); err != nil {
		return refusal(fmt.Errorf("register host %s: %w", name, err))
	}
	if err := s.catchUp(ctx, hello.revision); err != nil {
		return err
	}
	s.join(st)
	defer s.leave(st)
	if err := s.welcome(who); err != nil { // from here on expel would find the stream
		return err
	}
	s.log.Info("host joined", "host", name)

	wg.Go(func() { st.report(ctx) })
	// These two are not waited for: Recv and a Send to a host that does not read return
	// only after this handler has.
	received := make(chan error, 1)
	go func() { received <- st.receive(ctx) }()
	go func() {
		if err := st.send(ctx); err != nil {
			cancel(err)
		}
	}()
	select {
	case err = <-received:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.stop:
		err = status.Error(codes.Unavailable, "server is stopping")
	}
	s.log.Info("host left", "host", name, "reason", err)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// observe sends a snapshot and waits for the end of the stream.
func (s *Server) observe(ctx context.Context, st *stream) error {
	defer s.leave(st)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer st.cancel(nil) // before the Wait above
	wg.Go(func() { st.ping(ctx) })
	if err := st.snapshot(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.stop:
		return status.Error(codes.Unavailable, "server is stopping")
	}
}

// hello is what a host says first.
type hello struct {
	host     model.Host
	observe  bool
	revision int64
}

// readHello waits for the first message and checks that it is of the host it should be of.
func readHello(g feedpb.Feed_ConnectServer, name model.HostName) (h hello, err error) {
	type first struct {
		m   *feedpb.ToServer
		err error
	}
	got := make(chan first, 1)
	go func() {
		m, err := g.Recv()
		got <- first{m, err}
	}()
	t := time.NewTimer(helloTimeout)
	defer t.Stop()
	select {
	case f := <-got:
		if f.err != nil {
			return h, f.err
		}
		m := f.m.GetHello()
		if m == nil {
			return h, status.Error(codes.InvalidArgument, "first message is not Hello")
		}
		if err := json.Unmarshal(m.Host, &h.host); err != nil {
			return h, status.Errorf(codes.InvalidArgument, "Hello of %s: %v", name, err)
		}
		h.observe, h.revision = m.Observe, m.Revision
	case <-t.C:
		return h, status.Error(codes.DeadlineExceeded, "no Hello")
	}
	if h.host.Name != name {
		return h, status.Errorf(codes.PermissionDenied, "certificate of host %s, Hello of host %q", name, h.host.Name)
	}
	return h, nil
}

// join makes st the stream of its host, in the place of an older one: a host that comes
// again has lost its old connection, whether or not we have noticed.
func (s *Server) join(st *stream) {
	s.mu.Lock()
	old := s.hosts[st.host]
	s.hosts[st.host] = st
	s.mu.Unlock()
	if old != nil {
		s.log.Warn("host came again while connected; the older connection is dropped", "host", st.host)
		old.cancel(status.Error(codes.Aborted, "host connected again"))
	}
}

func (s *Server) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts[st.host] == st {
		delete(s.hosts, st.host)
	}
	for t := range st.watched {
		s.lose(st, t)
	}
	st.left = true
}

// watch makes st hear of changes about the topics, and reports whether it did of all of
// them already. One that has left hears of nothing and needs nothing.
func (s *Server) watch(st *stream, topics map[store.Ref]struct{}) (all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.left {
		return true
	}
	all = true
	for t := range topics {
		if _, has := st.watched[t]; has {
			continue
		}
		all = false
		if s.interest[t] == nil {
			s.interest[t] = map[*stream]struct{}{}
		}
		s.interest[t][st] = struct{}{}
		st.watched[t] = struct{}{}
	}
	return all
}

// unwatch makes st hear of nothing but the topics.
func (s *Server) unwatch(st *stream, but map[store.Ref]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range st.watched {
		if _, stays := but[t]; !stays {
			s.lose(st, t)
		}
	}
}

// lose makes st hear of a topic no more. s.mu is held.
func (s *Server) lose(st *stream, t store.Ref) {
	delete(s.interest[t], st)
	if len(s.interest[t]) == 0 {
		delete(s.interest, t)
	}
	delete(st.watched, t)
}

// ErrNotConnected says that a host has no stream to any server that can be asked.
var ErrNotConnected = errors.New("not connected to any server")

// Connected reports whether the host has a stream to this server.
func (s *Server) Connected(host model.HostName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[host] != nil
}
