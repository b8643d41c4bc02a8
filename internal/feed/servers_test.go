package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// node is one of several servers on one etcd.
type node struct {
	name, addr string
	store      *store.Store
	server     *Server
	stop       func()
}

// further starts servers beside the world's own, all on its etcd, and records them all.
func (w *world) further(names ...string) []*node {
	w.t.Helper()
	tc, err := AskingTLS(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.stop()
	w.options = ServerOptions{TLS: tc, Name: "own"}
	w.serve()
	w.present("own", w.addr)
	var nodes []*node
	for _, name := range names {
		n := &node{name: name, store: storetest.Open(w.t, w.etcd)}
		v := &world{t: w.t, store: n.store, rec: w.rec, ca: w.ca, dir: w.dir, addr: "127.0.0.1:0", options: ServerOptions{TLS: tc, Name: name}}
		v.serve()
		w.t.Cleanup(func() { v.stop() })
		n.addr, n.server, n.stop = v.addr, v.server, func() { v.stop() }
		w.present(name, n.addr)
		nodes = append(nodes, n)
	}
	for _, s := range append([]*Server{w.server}, serversOf(nodes)...) {
		if !eventually(func() bool { return len(s.Feeds()) == 1+len(names) && len(s.servers.clients()) == len(names) }) {
			w.t.Fatalf("a server knows of %v, can ask %v", s.Feeds(), s.servers.clients())
		}
	}
	return nodes
}

func serversOf(nodes []*node) (all []*Server) {
	for _, n := range nodes {
		all = append(all, n.server)
	}
	return all
}

// present records a server and that it runs.
func (w *world) present(name, addr string) {
	w.t.Helper()
	w.txn(func(t *store.Txn) {
		store.Servers.Create(t, &model.Server{Name: name, Feeds: []string{addr}})
		store.ServerPresences.Create(t, &model.ServerPresence{Name: name})
	})
}

// at is the server that a client has its cloud from.
func at(c *Client) string {
	if st := c.Status(); st.InSync {
		return st.Server
	}
	return ""
}

func (w *world) movesFrom(c *Client, old string) {
	w.t.Helper()
	if !eventually(func() bool { s := at(c); return s != "" && s != old }) {
		w.t.Fatalf("the host is still at %q: %s", at(c), c.Status().Err)
	}
}

// Each server in turn goes, and the host holds its part again and again.
func TestHostMoves(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	nodes := w.further("b", "c")
	w.create(port(1, n1, "h1"))
	c, _ := w.client("h1", func(o *ClientOptions) { o.Servers = append(o.Servers, nodes[0].addr, nodes[1].addr) })
	w.settled(c)
	for i := range 2 {
		old := at(c)
		for _, n := range append(nodes, &node{addr: w.addr, stop: func() { w.stop() }}) {
			if n.addr == old {
				n.stop()
			}
		}
		w.movesFrom(c, old)
		w.create(port(10+i, n1, "h1"))
		w.settled(c)
	}
	if st := c.State(); st.Session != 3 {
		t.Errorf("session %d", st.Session)
	}
}

// A host that knows one server learns of the others, also of one that comes later, and knows
// them after a restart.
func TestHostLearns(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	nodes := w.further("b")
	dir := filepath.Join(t.TempDir(), "agent")
	kept := func(o *ClientOptions) { o.StateDir = dir }
	c, stop := w.client("h1", kept)
	w.settled(c)
	if at(c) != w.addr {
		t.Fatalf("at %s", at(c))
	}
	w.present("later", "127.0.0.1:1")
	if !eventually(func() bool { _, n := c.route.next(); return n == 3 }) {
		t.Error("the host was not told of a later server")
	}
	w.stop()
	w.movesFrom(c, w.addr)
	stop()
	c, _ = w.client("h1", kept) // knows of one that does not run, from its settings
	w.settled(c)
	if at(c) != nodes[0].addr {
		t.Errorf("at %s", at(c))
	}
}

// Hosts with the same settings do not all go to the same server.
func TestHostsSpread(t *testing.T) {
	first := map[string]int{}
	for range 300 {
		s, n := newRoute(ClientOptions{Servers: []string{"a", "b", "c"}}, nil).next()
		if n != 3 {
			t.Fatal(n)
		}
		first[s]++
	}
	for _, s := range []string{"a", "b", "c"} {
		if first[s] < 50 {
			t.Errorf("of 300 hosts %d go to %s first", first[s], s)
		}
	}
}

func TestRoute(t *testing.T) {
	r := newRoute(ClientOptions{Servers: []string{"a", "b"}}, nil)
	seen := func(n int) string {
		s := map[string]bool{}
		for range n {
			x, _ := r.next()
			s[x] = true
		}
		return fmt.Sprint(s)
	}
	if got := seen(2); got != "map[a:true b:true]" {
		t.Error(got)
	}
	r.learn([]string{"b", "c", "d"})
	r.learn(nil)
	if got := seen(4); got != "map[a:true b:true c:true d:true]" {
		t.Error(got)
	}
	r.learn([]string{"e"})
	if got := seen(3); got != "map[a:true b:true e:true]" {
		t.Error(got)
	}
	if s, n := newRoute(ClientOptions{}, nil).next(); s != "" || n != 1 {
		t.Error(s, n)
	}
}

// quiet is a connection in between that can be made to carry nothing any more.
func quiet(t *testing.T, to string) (addr string, hush func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	carry := func(dst, src net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := src.Read(buf)
			if err != nil {
				_ = dst.Close()
				return
			}
			mu.Lock() // for ever, when hushed
			_, _ = dst.Write(buf[:n])
			mu.Unlock()
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			go carry(c, d)
			go carry(d, c)
		}
	}()
	t.Cleanup(func() { mu.TryLock(); mu.Unlock() })
	return l.Addr().String(), mu.Lock
}

// A server that says nothing is given up after some seconds; one that only has no news is not.
func TestSilentServerIsGivenUp(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	nodes := w.further("b")
	way, hush := quiet(t, w.addr)
	c, _ := w.client("h1", func(o *ClientOptions) { o.Servers = []string{way} })
	w.settled(c)
	if at(c) != way {
		t.Fatal(at(c))
	}
	time.Sleep(silence + time.Second)
	if st := c.Status(); st.Session != 1 || !st.InSync {
		t.Fatalf("a server without news was left: %+v", st)
	}
	hush()
	began := time.Now()
	w.movesFrom(c, way)
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("moved after %v", took)
	}
	if s := at(c); s != nodes[0].addr && s != w.addr { // the latter by the address that others are told
		t.Errorf("at %s", s)
	}
	w.create(port(2, n1, "h1"))
	w.settled(c)
}

// A host that has seen the future is not sent back: a server that is behind catches up first.
func TestCloudNeverGoesBack(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.create(port(1, n1, "h1"))
	b := &world{t: t, rec: w.rec, ca: w.ca, dir: w.dir, addr: "127.0.0.1:0"}
	late, err := store.Open(t.Context(), w.etcd, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = late.Run(ctx) }()
		return func() { cancel(); <-done }
	}
	stopRun := run()
	<-late.Ready()
	stopRun() // from now on it misses everything
	b.store = late
	b.serve()
	t.Cleanup(func() { b.stop() })
	c, _ := w.client("h1", nil)
	w.settled(c)
	w.create(port(2, n1, "h1"))
	w.settled(c)
	rev := c.Status().Revision
	c.route.learn([]string{b.addr})
	w.stop()
	time.Sleep(300 * time.Millisecond)
	if st := c.State(); st.InSync || st.Revision != rev || len(st.Cloud.Ports) != 2 {
		t.Errorf("in sync %v at revision %d of %d, %d ports", st.InSync, st.Revision, rev, len(st.Cloud.Ports))
	}
	stopRun = run()
	defer stopRun()
	if !eventually(func() bool { return at(c) == b.addr }) {
		t.Fatalf("not at the other server: %s", c.Status().Err)
	}
	if st := c.State(); st.Revision < rev || len(st.Cloud.Ports) != 2 {
		t.Errorf("revision %d of %d, %d ports", st.Revision, rev, len(st.Cloud.Ports))
	}
}

// Any server can ask any host.
func TestEvidenceThroughAnotherServer(t *testing.T) {
	w := newWorld(t)
	nodes := w.further("b", "c")
	c, stop := w.client("h1", func(o *ClientOptions) {
		o.Servers = []string{nodes[0].addr}
		o.MinBackoff, o.MaxBackoff = time.Hour, time.Hour
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
	for _, s := range append(serversOf(nodes), w.server) {
		got, err := s.Evidence(ctx, "h1", []byte("x"))
		if err != nil || string(got) != "re: x" {
			t.Errorf("%s: %q, %v", s.servers.name, got, err)
		}
		if _, err := s.Evidence(ctx, "h1", []byte("bad")); err == nil || !strings.Contains(err.Error(), "no such port here") {
			t.Errorf("%s: refused query: %v", s.servers.name, err)
		}
		if _, err := s.Evidence(ctx, "h9", nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("%s: absent host: %v", s.servers.name, err)
		}
	}
	// Our own server still has an older stream of the host, and has not noticed its end.
	w.rawStream("h1")
	if got, err := w.server.Evidence(ctx, "h1", []byte("y")); err != nil || string(got) != "re: y" {
		t.Errorf("with a stale stream: %q, %v", got, err)
	}
	// A server that died and is still believed to run is not waited for.
	nodes[1].stop()
	stop()
	w.store.View(func(store.Reader) {})
	if _, err := nodes[0].server.Evidence(ctx, "h9", nil); !errors.Is(err, ErrNotConnected) {
		t.Errorf("absent host, a dead server: %v", err)
	}
}

// A host must not ask through servers.
func TestOnlyServersAsk(t *testing.T) {
	w := newWorld(t)
	dir, err := w.ca.IssueHost("h1")
	if err != nil {
		t.Fatal(err)
	}
	tc, _, err := ClientTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dial(w.addr, tc, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = feedpb.NewFeedClient(conn).Ask(t.Context(), &feedpb.AskRequest{Host: "h2"})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
}

// A host that reads its snapshot slowly, or not at all, keeps others from theirs for a moment only.
func TestSlowSnapshots(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	for i := 0; i < 2000; i += 100 {
		w.txn(func(tx *store.Txn) {
			for j := range 100 {
				tx.CreatePort(port(i+j+1, n1, "h2"))
			}
		})
	}
	for i := range maxSnapshots + 2 {
		h := model.HostName(fmt.Sprint("slow", i))
		w.create(port(5000+i, n1, h))
		w.rawStream(h)
	}
	w.create(port(6000, n1, "h1"))
	c, _ := w.client("h1", nil)
	w.settled(c)
}

// Any server can ask all of them about themselves; one that does not run is said not to.
func TestAskServers(t *testing.T) {
	w := newWorld(t)
	nodes := w.further("b", "c")
	for _, s := range append(serversOf(nodes[:1]), w.server) { // c is of an older version, which cannot say
		s.self = func(_ context.Context, q []byte) ([]byte, error) {
			return []byte(s.servers.name + " " + string(q)), nil
		}
	}
	w.txn(func(t *store.Txn) { store.Servers.Create(t, &model.Server{Name: "d", Feeds: []string{"192.0.2.1:1"}}) })
	if !eventually(func() bool { return len(w.server.Feeds()) == 4 }) {
		t.Fatal("it does not know of the fourth")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	words := w.server.AskServers(ctx, []byte("how"))
	for name, want := range map[string]string{"own": "own how", "b": "b how", "c": "", "d": ""} {
		got := words[name]
		if string(got.Body) != want || (got.Err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got.Body, got.Err)
		}
		if want != "" && (got.Sent.IsZero() || got.Received.Before(got.Sent)) {
			t.Errorf("%s: asked at %s, answered at %s", name, got.Sent, got.Received)
		}
	}
	if !errors.Is(words["d"].Err, errNotRunning) || len(words) != 4 {
		t.Errorf("%+v", words)
	}
}
