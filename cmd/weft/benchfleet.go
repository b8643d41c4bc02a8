package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"weft/internal/feed"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
)

// benchPatience is how long the hosts may take for anything.
const benchPatience = 3 * time.Minute

// fleet are the simulated hosts.
type fleet struct {
	b     *bench
	hosts []*benchHost
	end   func()
}

// benchHost is a simulated host: it applies what the feed sends, and reports its ports as wired.
type benchHost struct {
	name   model.HostName
	cert   string
	roles  []model.HostRole
	client *feed.Client

	mu      sync.Mutex
	pending map[model.PortID]time.Time
	took    []time.Duration
}

func (b *bench) newFleet() (*fleet, error) {
	ca, err := feed.EnsureCA(b.certDir())
	if err != nil {
		return nil, err
	}
	f := &fleet{b: b, end: func() {}}
	for i := range b.hosts {
		h := &benchHost{name: b.hostName(i), roles: []model.HostRole{model.RoleCompute}, pending: map[model.PortID]time.Time{}}
		if i < b.networkHosts() {
			h.roles = []model.HostRole{model.RoleNetwork}
		}
		if h.cert, err = ca.IssueHost(h.name); err != nil {
			return nil, err
		}
		f.hosts = append(f.hosts, h)
	}
	return f, nil
}

// start lets all hosts come at once.
func (f *fleet) start(ctx context.Context, servers ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	f.end = func() { cancel(); wg.Wait() }
	nouns := new(feed.Nouns)
	for i, h := range f.hosts {
		t, name, err := feed.ClientTLS(h.cert)
		if err != nil {
			return err
		}
		describe := model.Host{Name: name, Roles: h.roles, IntegrationBridge: "br-int", TunnelBridge: "br-tun", DatapathType: "system",
			TunnelTypes: []string{"vxlan"}, VTEP: benchVTEP(i)}
		h.client = feed.NewClient(feed.ClientOptions{Servers: servers, TLS: t, Name: name, Nouns: nouns, Host: func() model.Host { return describe }})
		wg.Go(func() { _ = h.client.Run(ctx) })
		wg.Go(func() { h.work(ctx) })
	}
	return nil
}

func (f *fleet) stop() { f.end(); f.end = func() {} }

// work does what an agent does at each change, as far as a server can see.
func (h *benchHost) work(ctx context.Context) {
	session := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.client.Changed():
		}
		now := time.Now()
		st := h.client.Status()
		if st.InSync && st.Session != session {
			session = st.Session
			h.reportAll()
		}
		var facts []feed.PortFact
		h.mu.Lock()
		for id, due := range h.pending {
			if p := h.client.Port(id); p != nil && p.Binding.Host == h.name {
				h.took = append(h.took, now.Sub(due))
				delete(h.pending, id)
				facts = append(facts, feed.PortFact{PortID: id, Wired: true, DHCP: true})
			}
		}
		h.mu.Unlock()
		if len(facts) > 0 {
			h.client.Report(session, st.Revision, false, facts)
		}
	}
}

func (h *benchHost) reportAll() {
	st := h.client.State()
	var facts []feed.PortFact
	for id, p := range st.Cloud.Ports {
		if p.Binding.Host == h.name {
			facts = append(facts, feed.PortFact{PortID: id, Wired: true, DHCP: true})
		}
	}
	h.client.Report(st.Session, st.Revision, true, facts)
}

// expect notes that a port is going to be bound to the host.
func (h *benchHost) expect(id model.PortID, due time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending[id] = due
}

// await waits until all is as it should be.
func (f *fleet) await(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(benchPatience)
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("not after %s", benchPatience)
		case <-tick.C:
		}
	}
	return nil
}

func (f *fleet) inSync(ctx context.Context) error {
	err := f.await(ctx, func() bool {
		return !slices.ContainsFunc(f.hosts, func(h *benchHost) bool { return !h.client.Status().InSync })
	})
	if err == nil {
		return nil
	}
	for _, h := range f.hosts {
		if st := h.client.Status(); !st.InSync {
			return fmt.Errorf("host %s is not in sync (%s): %w", h.name, st.Err, err)
		}
	}
	return err
}

// reported waits until the server has as many ports ACTIVE as are bound, those of DHCP aside.
func (f *fleet) reported(ctx context.Context, s *benchServer, want int) error {
	got := 0
	err := f.await(ctx, func() bool {
		n, err := s.active(ctx)
		got = n
		return err == nil && n >= want
	})
	if err != nil {
		return fmt.Errorf("%d of %d ports are ACTIVE: %w", got, want, err)
	}
	return nil
}

// arrived waits for the bindings that the hosts expect, and returns how long each took.
func (f *fleet) arrived(ctx context.Context, want int) ([]time.Duration, error) {
	var took []time.Duration
	err := f.await(ctx, func() bool {
		took = took[:0]
		for _, h := range f.hosts {
			h.mu.Lock()
			took = append(took, h.took...)
			h.mu.Unlock()
		}
		return len(took) >= want
	})
	if err != nil {
		return nil, fmt.Errorf("%d of %d bindings arrived: %w", len(took), want, err)
	}
	return took, nil
}

// quiet waits until no host has heard anything for a while, and returns how many messages
// each has had.
func (f *fleet) quiet(ctx context.Context) (map[model.HostName]uint64, error) {
	count := func() map[model.HostName]uint64 {
		n := map[model.HostName]uint64{}
		for _, h := range f.hosts {
			n[h.name] = h.client.Status().Generation
		}
		return n
	}
	last, since := count(), time.Now()
	err := f.await(ctx, func() bool {
		if now := count(); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
	return last, err
}

// changed are the hosts that have heard something since.
func (f *fleet) changed(since map[model.HostName]uint64) (hosts []model.HostName) {
	for _, h := range f.hosts {
		if h.client.Status().Generation != since[h.name] {
			hosts = append(hosts, h.name)
		}
	}
	return hosts
}

// at returns the hosts at a server, and the sessions of the others.
func (f *fleet) at(server string) (there []*benchHost, others map[*benchHost]int) {
	others = map[*benchHost]int{}
	for _, h := range f.hosts {
		if st := h.client.Status(); st.Server == server {
			there = append(there, h)
		} else {
			others[h] = st.Session
		}
	}
	return there, others
}

// lastSync is when the last of the hosts came to be in sync.
func (f *fleet) lastSync(hosts []*benchHost) (last time.Time) {
	for _, h := range hosts {
		if st := h.client.Status(); st.Since.After(last) {
			last = st.Since
		}
	}
	return last
}

// snapshotBytes asks for the host's part as its agent would, beside it, and counts.
func (h *benchHost) snapshotBytes(ctx context.Context, server string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, benchPatience)
	defer cancel()
	t, _, err := feed.ClientTLS(h.cert)
	if err != nil {
		return 0, err
	}
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(credentials.NewTLS(t)))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stream, err := feedpb.NewFeedClient(conn).Connect(ctx)
	if err != nil {
		return 0, err
	}
	self, err := json.Marshal(model.Host{Name: h.name})
	if err != nil {
		return 0, err
	}
	err = stream.Send(&feedpb.ToServer{Kind: &feedpb.ToServer_Hello{Hello: &feedpb.Hello{Host: self, Observe: true}}})
	if err != nil {
		return 0, err
	}
	bytes := 0
	for {
		m, err := stream.Recv()
		if err != nil {
			return 0, errors.Join(errors.New("no whole snapshot"), err)
		}
		bytes += proto.Size(m)
		if m.GetEnd() != nil {
			return bytes, nil
		}
	}
}
