package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// servers is what a server knows of all servers.
type servers struct {
	name string
	own  func() []string
	tls  *tls.Config
	// all are the feeds of all servers, sorted.
	all atomic.Pointer[[]string]
	// storeAway: etcd does not answer this server, so hosts are better off with another one.
	storeAway atomic.Bool

	mu sync.Mutex
	// others are the feeds of the other servers that run, by name.
	others map[string][]string
	conns  map[string]serverConn
}

type serverConn struct {
	*grpc.ClientConn
	feed string
}

// read takes over what the store says.
func (v *servers) read(r store.Reader) {
	all := []string{}
	others := map[string][]string{}
	for e := range store.Servers.All(r) {
		all = append(all, e.Value.Feeds...)
		if e.Value.Name != v.name && store.ServerPresences.Get(r, e.Value.Name) != nil {
			others[e.Value.Name] = e.Value.Feeds
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	v.all.Store(&all)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.others = others
	for name, c := range v.conns {
		if others[name] == nil {
			_ = c.Close() // nobody waits for it
			delete(v.conns, name)
		}
	}
}

// feeds are the addresses of the feeds of all servers, whether they run or not.
func (v *servers) feeds() []string {
	if all := v.all.Load(); all != nil {
		return *all
	}
	return nil
}

// Feeds are the addresses of the feeds of all servers, for those who join.
func (s *Server) Feeds() []string {
	all := slices.Concat(s.servers.feeds(), s.servers.own()) // which the store does not know at once
	slices.Sort(all)
	return slices.Compact(all)
}

func (v *servers) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		_ = c.Close() // nobody waits for it
	}
	v.conns = nil
}

// clients are those of the other servers that run.
func (v *servers) clients() map[string]feedpb.FeedClient {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := map[string]feedpb.FeedClient{}
	if v.tls == nil {
		return found
	}
	for name, feeds := range v.others {
		if len(feeds) == 0 {
			continue
		}
		c := v.conns[name]
		if c.ClientConn != nil && c.feed != feeds[0] {
			_ = c.Close() // it has moved
			c = serverConn{}
		}
		if c.ClientConn == nil {
			conn, err := dial(feeds[0], v.tls, time.Second)
			if err != nil {
				continue // an address that cannot be
			}
			if v.conns == nil {
				v.conns = map[string]serverConn{}
			}
			c = serverConn{conn, feeds[0]}
			v.conns[name] = c
		}
		found[name] = feedpb.NewFeedClient(c)
	}
	return found
}

// dial makes a connection to a feed, which is made when it is needed. Waits between attempts
// are the caller's business: gRPC shall not add its own, of up to two minutes.
func dial(target string, t *tls.Config, timeout time.Duration) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(credentials.NewTLS(t)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: timeout,
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.1, MaxDelay: 50 * time.Millisecond}}))
}

// Between servers: storeCheck is how often one that is not alone asks whether etcd answers
// it, storePatience how long that may take.
const (
	storeCheck    = time.Second
	storePatience = 5 * time.Second
)

var errStoreAway = status.Error(codes.Unavailable, "the store does not answer this server; try another")

// watchStore ends the streams while etcd does not answer this server and there are others:
// its hosts would miss all changes and not know.
func (s *Server) watchStore(ctx context.Context) {
	tick := time.NewTicker(storeCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(s.servers.feeds()) < 2 {
			s.servers.storeAway.Store(false)
			continue
		}
		brief, cancel := context.WithTimeout(ctx, storePatience)
		err := s.store.Sync(brief)
		cancel()
		if ctx.Err() != nil {
			return
		}
		away := err != nil
		if s.servers.storeAway.Swap(away) == away {
			continue
		}
		if !away {
			s.log.Info("the store answers again; hosts may come back")
			continue
		}
		s.log.Warn("the store does not answer this server; its hosts are sent to others", "err", err)
		s.mu.Lock()
		for _, st := range s.hosts {
			st.cancel(errStoreAway)
		}
		s.mu.Unlock()
	}
}

// catchUp waits until the mirror is as new as what a host has, so that its cloud does not go
// back in time. After a restore from a backup it can never be: then the mirror is as new as
// anything.
func (s *Server) catchUp(ctx context.Context, rev int64) error {
	if s.store.Revision() >= rev {
		return nil
	}
	if err := s.store.Sync(ctx); err != nil {
		return status.Errorf(codes.Unavailable, "the host has a newer cloud than this server: %v", err)
	}
	return nil
}

// hedge is how long a host of our own may take to answer before the other servers are asked
// too: it may have moved to one without our having noticed.
const hedge = 300 * time.Millisecond

// Evidence asks a host's agent, through whichever server it is connected to, and waits for
// its answer or ctx.
func (s *Server) Evidence(ctx context.Context, host model.HostName, query []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		body []byte
		err  error
	}
	answers := make(chan answer)
	ask := func(f func() ([]byte, error)) {
		go func() {
			body, err := f()
			select {
			case answers <- answer{body, err}:
			case <-ctx.Done():
			}
		}()
	}
	waiting := 1
	ask(func() ([]byte, error) { return s.ownEvidence(ctx, host, query) })
	others := time.NewTimer(hedge)
	defer others.Stop()
	asked := false
	askOthers := func() {
		if asked {
			return
		}
		asked = true
		for name, c := range s.servers.clients() {
			waiting++
			ask(func() ([]byte, error) { return evidenceBy(ctx, name, c, host, query) })
		}
	}
	failure := error(nil)
	for waiting > 0 {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.body, nil
			}
			waiting--
			// What a host says is of more use than that it is not there.
			if failure == nil || errors.Is(failure, ErrNotConnected) {
				failure = a.err
			}
			if errors.Is(a.err, ErrNotConnected) {
				askOthers()
			}
		case <-others.C:
			askOthers()
		case <-ctx.Done():
			if failure == nil || errors.Is(failure, ErrNotConnected) {
				failure = fmt.Errorf("ask host %s: no answer: %w", host, context.Cause(ctx))
			}
			return nil, failure
		}
	}
	return nil, failure
}

// ownEvidence asks a host that is connected to this server.
func (s *Server) ownEvidence(ctx context.Context, host model.HostName, query []byte) ([]byte, error) {
	s.mu.Lock()
	st := s.hosts[host]
	s.mu.Unlock()
	if st == nil {
		return nil, fmt.Errorf("host %s: %w", host, ErrNotConnected)
	}
	body, err := st.ask(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("ask host %s: %w", host, err)
	}
	return body, nil
}

// evidenceBy asks a host through another server. One that cannot be reached has it as little
// as one that says so.
func evidenceBy(ctx context.Context, name string, c feedpb.FeedClient, host model.HostName, query []byte) ([]byte, error) {
	a, err := c.Ask(ctx, &feedpb.AskRequest{Host: string(host), Body: query})
	if code := status.Code(err); code == codes.NotFound || code == codes.Unavailable {
		return nil, fmt.Errorf("host %s: %w", host, ErrNotConnected)
	}
	if err != nil {
		return nil, fmt.Errorf("ask host %s through server %s: %w", host, name, err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return a.Body, nil
}

// Ask serves another server; guard lets nobody else. Without a host the question is about this server.
func (s *Server) Ask(ctx context.Context, q *feedpb.AskRequest) (*feedpb.Answer, error) {
	if q.Host == "" {
		body, err := s.aboutSelf(ctx, q.Body)
		if err != nil {
			return &feedpb.Answer{Error: err.Error()}, nil
		}
		return &feedpb.Answer{Body: body}, nil
	}
	body, err := s.ownEvidence(ctx, model.HostName(q.Host), q.Body)
	switch {
	case errors.Is(err, ErrNotConnected):
		return nil, status.Error(codes.NotFound, err.Error())
	case ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		return &feedpb.Answer{Error: err.Error()}, nil
	}
	return &feedpb.Answer{Body: body}, nil
}
