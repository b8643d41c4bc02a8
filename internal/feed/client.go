package feed

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
)

// ClientOptions say to whom a Client speaks, and as whom.
type ClientOptions struct {
	// Servers are the addresses, host:port, of the servers' feeds that are known beforehand.
	Servers []string
	// TLS is the host's side of mutual TLS (ClientTLS).
	TLS *tls.Config
	// Name is the host's name, that of its certificate.
	Name model.HostName
	// Host says what this host is; asked at each connection. Nil sends the name alone.
	Host func() model.Host
	// StateDir is where the last known cloud is kept; empty keeps none.
	StateDir string
	// Evidence answers the server's queries; nil refuses them. Called in a goroutine per query.
	Evidence func(ctx context.Context, query []byte) ([]byte, error)
	// Observe only reads: the host's agent, if it runs, is not disturbed. Nothing is kept on
	// disk, and what is reported is not sent.
	Observe bool
	// Alive reports whether the host's work goes on; while it does not, no heartbeat is sent.
	// Nil means always.
	Alive func() bool
	// Heartbeat is the interval of heartbeats; 0 means 30 s.
	Heartbeat time.Duration
	// Silence is how long a server may say nothing before it is given up; 0 means 4 s.
	Silence time.Duration
	// MinBackoff and MaxBackoff bound the wait after all servers were tried; 0 means 50 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// Nouns may be shared by clients of one process; nil: what comes is this client's alone.
	Nouns *Nouns
	// Log may be nil.
	Log *slog.Logger
}

// State is what a Client knows.
type State struct {
	// Cloud is the host's part; the caller may keep it. Neither it nor the nouns in it are to
	// be changed.
	Cloud view.Cloud
	// Revision is that of the store at which Cloud was so.
	Revision int64
	// Known: Cloud is a whole, from the server or from the disk. While false, Cloud is empty
	// and says nothing.
	Known bool
	// FromDisk: Cloud is what was known before this process began.
	FromDisk bool
	// InSync: the server is connected and Cloud is its snapshot with all changes since.
	InSync bool
	// Session counts the snapshots: a new number means that the server has forgotten what
	// this host reported.
	Session int
	// Generation grows with every change of this state.
	Generation uint64
	// Server is the address of the server that Cloud is from, or was last.
	Server string
	// Since is when InSync last changed.
	Since time.Time
	// Err is why the server is not there, or nil.
	Err string
}

// Client is a host's end of the feed. Make one with NewClient.
type Client struct {
	o       ClientOptions
	log     *slog.Logger
	changed chan struct{}
	keep    *keeper
	route   *route

	mu    sync.Mutex
	state State
	// lent are the maps of state.Cloud that others may hold: they are copied before they change.
	lent lent
	// facts wait to be sent on the present stream; full says that they are everything.
	facts map[model.PortID]PortFact
	full  bool
	// factsRev is the revision that they are of, factsTold the one of those that were sent.
	factsRev, factsTold int64
	factWake            chan struct{}
	// helloWake asks for another Hello on the present stream.
	helloWake chan struct{}
}

// NewClient makes a Client and reads what the disk knows. A disk copy that cannot be
// read is logged and passed over: the server has the truth.
func NewClient(o ClientOptions) *Client {
	if o.Heartbeat <= 0 {
		o.Heartbeat = 30 * time.Second
	}
	if o.Silence <= 0 {
		o.Silence = silence
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 50 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 5 * time.Second
	}
	c := &Client{o: o, log: o.Log, changed: make(chan struct{}, 1), factWake: make(chan struct{}, 1), helloWake: make(chan struct{}, 1),
		facts: map[model.PortID]PortFact{}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.state = State{Cloud: view.NewCloud(), Since: time.Now(), Err: "not connected yet"}
	c.route = newRoute(o, c.log)
	if o.StateDir != "" && !o.Observe {
		c.keep = &keeper{dir: o.StateDir, host: o.Name, log: c.log, wake: make(chan struct{}, 1),
			take: func() (view.Cloud, int64) { s := c.State(); return s.Cloud, s.Revision }}
		cloud, rev, ok, err := readDisk(o.StateDir, o.Name)
		if err != nil {
			c.log.Warn("cannot read the last known cloud", "err", err)
		}
		if ok {
			c.state.Cloud, c.state.Revision, c.state.Known, c.state.FromDisk = cloud, rev, true, true
			c.log.Info("last known cloud read from disk", "rev", rev, "ports", len(cloud.Ports))
		}
	}
	return c
}

// Changed is signalled after State has changed; several changes may give one signal.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// State returns what the client knows now.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent.all()
	return c.state
}

// Status is State without the Cloud, at no cost.
func (c *Client) Status() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	s.Cloud = view.Cloud{}
	return s
}

// Port is a port of the host's cloud, or nil, without the cost of a whole State.
func (c *Client) Port(id model.PortID) *model.Port {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Cloud.Ports[id]
}

// Report hands facts to the server: changes of some ports, or all (full). It never
// blocks; the newest fact of a port wins. rev is the revision of the cloud that the host
// had applied, session that of the State it came from: what is not sent when the
// stream breaks is forgotten, and the next session wants a full report. Without facts it says
// what has been applied.
func (c *Client) Report(session int, rev int64, full bool, facts []PortFact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if session != c.state.Session || !c.state.InSync || c.o.Observe {
		return
	}
	if full {
		c.full = true
		clear(c.facts)
	}
	for _, f := range facts {
		c.facts[f.PortID] = f
	}
	c.factsRev = rev
	wake(c.factWake)
}

// Redescribe tells the server anew what this host is: what Host returns has changed.
func (c *Client) Redescribe() {
	if !c.o.Observe {
		wake(c.helloWake)
	}
}

// hello is what the server is told of this host.
func (c *Client) hello() (*feedpb.ToServer, error) {
	h := model.Host{Name: c.o.Name}
	if c.o.Host != nil {
		h = c.o.Host()
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("describe this host: %w", err)
	}
	return &feedpb.ToServer{Kind: &feedpb.ToServer_Hello{Hello: &feedpb.Hello{Host: b, Observe: c.o.Observe, Revision: c.Status().Revision}}}, nil
}

// Run keeps a stream to one of the servers until ctx ends. When it breaks, or the server
// falls silent, it goes on to the next at once; only after all it waits.
func (c *Client) Run(ctx context.Context) error {
	if c.keep != nil {
		done := make(chan struct{})
		go func() { defer close(done); c.keep.run(ctx) }()
		defer func() { <-done }()
	}
	delay, patience := c.o.MinBackoff, c.o.Silence
	tried, silent := 0, 0 // in a row: without a snapshot; that fell silent
	for {
		server, known := c.route.next()
		began := time.Now()
		wasSync, err := c.visit(ctx, server, patience)
		if ctx.Err() != nil {
			return nil
		}
		c.lost(server, err)
		wait := c.o.MinBackoff
		if tried++; wasSync {
			tried, delay = 0, c.o.MinBackoff
		} else if tried >= known {
			tried, wait, delay = 0, delay, min(2*delay, c.o.MaxBackoff) // all have failed
		}
		// If all fall silent, they have too much to do: to leave them and come again makes it worse.
		if silent++; !errors.Is(err, errSilent) {
			silent = 0
		} else if silent >= known {
			silent, patience = 0, min(2*patience, mostPatience*c.o.Silence)
		}
		if time.Since(began) > calm {
			silent, patience = 0, c.o.Silence
		}
		// Half to full, so that the hosts of a server that went do not come all at once.
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// lost notes that the stream has ended; it logs the transition, not each attempt.
func (c *Client) lost(server string, err error) {
	c.mu.Lock()
	was := c.state.InSync
	first := c.state.Err == "not connected yet"
	c.state.InSync, c.state.Err = false, err.Error()
	c.state.Generation++
	if was {
		c.state.Since = time.Now()
	}
	known := c.state.Known
	c.mu.Unlock()
	if was || first {
		c.log.Warn("no feed from the server", "server", server, "last_cloud_known", known, "err", err)
		wake(c.changed)
	}
}

// mostPatience is how many times as long as else a server may be silent at most where all
// have fallen silent, calm how long a stream lasts after which that is forgotten.
const (
	mostPatience = 8
	calm         = time.Minute
)

// visit runs one stream to one server to its end and reports whether it got as far as a
// whole snapshot. The server may be silent for as long as patience.
func (c *Client) visit(ctx context.Context, server string, patience time.Duration) (synced bool, err error) {
	conn, err := dial(server, c.o.TLS, patience)
	if err != nil {
		return false, fmt.Errorf("feed from %s: %w", server, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(patience, func() { cancel(errSilent) })
	defer watchdog.Stop()
	synced, err = c.session(ctx, server, feedpb.NewFeedClient(conn), func() { watchdog.Reset(patience) })
	if errors.Is(context.Cause(ctx), errSilent) {
		err = fmt.Errorf("%s: %w", server, errSilent)
	}
	return synced, err
}

var errSilent = errors.New("the server has fallen silent")

// session runs one stream to its end and reports whether it got as far as a whole snapshot;
// it calls heard at each word of the server.
func (c *Client) session(ctx context.Context, server string, fc feedpb.FeedClient, heard func()) (synced bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := fc.Connect(ctx)
	if err != nil {
		return false, err
	}
	out := &sender{stream: stream}
	hello, err := c.hello()
	if err != nil {
		return false, err
	}
	if err := out.send(hello); err != nil {
		return false, recvErr(stream, err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before the Wait above
	wg.Go(func() { c.speak(ctx, out) })

	var snapshot *view.Cloud
	for {
		m, err := stream.Recv()
		if err != nil {
			return synced, err
		}
		heard()
		switch k := m.Kind.(type) {
		case *feedpb.ToHost_Begin:
			fresh := view.NewCloud()
			snapshot = &fresh
			c.route.learn(k.Begin.Servers)
		case *feedpb.ToHost_Objects:
			if snapshot == nil {
				return synced, errors.New("server sent a piece of a snapshot out of place")
			}
			c.mu.Lock()
			c.applyLocked(*snapshot, k.Objects.Objects)
			c.mu.Unlock()
		case *feedpb.ToHost_End:
			if snapshot == nil {
				return synced, errors.New("server ended a snapshot that it did not begin")
			}
			c.replace(server, *snapshot, k.End.Revision)
			snapshot, synced = nil, true
		case *feedpb.ToHost_Changes:
			if !synced {
				return synced, errors.New("server sent changes before a snapshot")
			}
			c.change(k.Changes)
		case *feedpb.ToHost_Ping:
			c.route.learn(k.Ping.Servers)
		case *feedpb.ToHost_Query:
			wg.Go(func() { c.answer(ctx, out, k.Query) })
		}
	}
}

// recvErr finds the server's reason when a send has failed: gRPC gives it to Recv only.
func recvErr(stream feedpb.Feed_ConnectClient, err error) error {
	if _, e := stream.Recv(); e != nil {
		return e
	}
	return err
}

// replace takes a whole snapshot in the place of whatever was known.
func (c *Client) replace(server string, cloud view.Cloud, rev int64) {
	c.mu.Lock()
	c.state = State{Cloud: cloud, Revision: rev, Known: true, InSync: true, Server: server,
		Session: c.state.Session + 1, Generation: c.state.Generation + 1, Since: time.Now()}
	c.lent = lent{}
	clear(c.facts)
	c.full, c.factsTold = false, c.factsRev
	session := c.state.Session
	c.mu.Unlock()
	c.log.Info("in sync with the server", "server", server, "rev", rev, "session", session,
		"networks", len(cloud.Networks), "ports", len(cloud.Ports),
		"security_groups", len(cloud.Groups), "members", len(cloud.Members))
	c.tell()
}

func (c *Client) change(ch *feedpb.Changes) {
	c.mu.Lock()
	c.lent.takeBack(&c.state.Cloud, ch.Objects)
	c.applyLocked(c.state.Cloud, ch.Objects)
	c.state.Revision = ch.Revision
	c.state.Generation++
	c.mu.Unlock()
	c.tell()
}

// applyLocked writes objects into cloud. One that cannot be read (of a newer server, say) must not
// cut the host off from all others: it stays as it was last known.
func (c *Client) applyLocked(cloud view.Cloud, objects []*feedpb.Object) {
	for _, o := range objects {
		if err := applyObject(cloud, o, c.o.Nouns); err != nil {
			keepObject(cloud, c.state.Cloud, o)
			c.log.Error("server sent an object that cannot be read; its last form is kept", "err", err)
		}
	}
}

func (c *Client) tell() {
	wake(c.changed)
	if c.keep != nil {
		c.keep.changed()
	}
}

// speak sends facts and heartbeats until the stream ends.
func (c *Client) speak(ctx context.Context, out *sender) {
	beat := time.NewTicker(c.o.Heartbeat)
	defer beat.Stop()
	for {
		var m *feedpb.ToServer
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if c.o.Alive != nil && !c.o.Alive() {
				continue
			}
			m = &feedpb.ToServer{Kind: &feedpb.ToServer_Heartbeat{Heartbeat: &feedpb.Heartbeat{}}}
		case <-c.factWake:
			m = c.takeFacts()
		case <-c.helloWake:
			// It could be made at the beginning of the stream, so it can be now.
			m, _ = c.hello()
		}
		// An error ends the stream; Recv reports why.
		if m != nil && out.send(m) != nil {
			return
		}
	}
}

func (c *Client) takeFacts() *feedpb.ToServer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.facts) == 0 && !c.full && c.factsRev <= c.factsTold {
		return nil
	}
	f := &feedpb.Facts{Full: c.full, Revision: c.factsRev}
	for _, p := range c.facts {
		f.Ports = append(f.Ports, &feedpb.PortFact{PortId: string(p.PortID), Wired: p.Wired, Dhcp: p.DHCP})
	}
	clear(c.facts)
	c.full, c.factsTold = false, c.factsRev
	return &feedpb.ToServer{Kind: &feedpb.ToServer_Facts{Facts: f}}
}

func (c *Client) answer(ctx context.Context, out *sender, q *feedpb.Query) {
	a := &feedpb.Answer{Id: q.Id}
	if c.o.Evidence == nil {
		a.Error = "this host gathers no evidence"
	} else if body, err := c.o.Evidence(ctx, q.Body); err != nil {
		a.Error = err.Error()
	} else {
		a.Body = body
	}
	// An error ends the stream; Recv reports why.
	_ = out.send(&feedpb.ToServer{Kind: &feedpb.ToServer_Answer{Answer: a}})
}

// sender lets several goroutines write one stream.
type sender struct {
	mu     sync.Mutex
	stream feedpb.Feed_ConnectClient
}

func (s *sender) send(m *feedpb.ToServer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(m)
}

// wake signals a channel of capacity one without waiting.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
