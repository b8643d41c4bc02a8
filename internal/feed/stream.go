package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// stream is the server's end of one host's stream.
type stream struct {
	s *Server
	caller
	since  time.Time
	g      feedpb.Feed_ConnectServer
	cancel context.CancelCauseFunc
	wakeup chan struct{}
	// part is what the host holds; only send touches it.
	part part
	// watched are the topics of which the server tells this stream; guarded by s.mu.
	watched map[store.Ref]struct{}
	// left: the stream's handler has returned; guarded by s.mu.
	left bool

	// out serialises Send: objects come from send, queries from ask.
	out sync.Mutex
	// spoke is when something was last sent, in nanoseconds since the epoch.
	spoke atomic.Int64
	lag   lag

	mu sync.Mutex
	// marked is when the oldest of dirty was marked.
	marked time.Time
	// dirty are the changes since the last round, each object once.
	dirty map[changeKey]store.Change
	// spare is an empty map for the next round.
	spare map[changeKey]store.Change
	// facts wait to be handed to control; full says that they are everything.
	facts    map[model.PortID]control.PortFact
	full     bool
	factWake chan struct{}
	nextID   uint64
	asked    map[uint64]chan *feedpb.Answer
}

func newStream(s *Server, who caller, g feedpb.Feed_ConnectServer, cancel context.CancelCauseFunc) *stream {
	return &stream{s: s, caller: who, since: time.Now().UTC(), g: g, cancel: cancel,
		wakeup: make(chan struct{}, 1), factWake: make(chan struct{}, 1),
		watched: map[store.Ref]struct{}{}, dirty: map[changeKey]store.Change{}, spare: map[changeKey]store.Change{}, facts: map[model.PortID]control.PortFact{},
		asked: map[uint64]chan *feedpb.Answer{}}
}

// changeKey tells changes apart: a port removed from one network and made on another are two.
type changeKey struct {
	store.Ref
	network model.NetworkID
}

func keyOf(ch store.Change) changeKey {
	return changeKey{store.Ref{Kind: ch.Kind, ID: ch.ID}, ch.Network}
}

// mark notes a change for the next round. It never blocks: a slow host gathers changes.
func (st *stream) mark(ch store.Change) {
	key := keyOf(ch)
	st.mu.Lock()
	if len(st.dirty) == 0 {
		st.marked = time.Now()
	}
	st.dirty[key] = ch.Merge(st.dirty[key])
	st.mu.Unlock()
}

func (st *stream) write(m *feedpb.ToHost) error {
	st.out.Lock()
	defer st.out.Unlock()
	err := st.g.Send(m)
	st.s.counts.messages.Add(1, "sent", kindToHost(m))
	st.spoke.Store(time.Now().UnixNano())
	return err
}

// send writes the snapshot and then rounds of changes until ctx ends.
func (st *stream) send(ctx context.Context) error {
	if err := st.snapshot(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-st.wakeup:
		}
		if err := st.round(); err != nil {
			return err
		}
	}
}

// maxSnapshots is how many hosts are sent their snapshots at a time, turnTime how long one
// of them may hold up the others: a host that reads slowly does so at its own cost.
const (
	maxSnapshots = 8
	turnTime     = time.Second
)

// snapshot sends the host's whole part.
func (st *stream) snapshot(ctx context.Context) error {
	select {
	case st.s.turns <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	release := sync.OnceFunc(func() { <-st.s.turns })
	defer release()
	defer time.AfterFunc(turnTime, release).Stop()
	objects, rev, err := st.look(nil)
	if err != nil {
		return err
	}
	if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Begin{Begin: &feedpb.Begin{Servers: st.s.servers.feeds()}}}); err != nil {
		return err
	}
	for piece := range pieces(objects) {
		if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Objects{Objects: &feedpb.Objects{Objects: piece}}}); err != nil {
			return err
		}
	}
	st.s.counts.objects.Add(len(objects), "snapshot")
	st.lag.sent(rev, time.Now())
	return st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_End{End: &feedpb.End{Revision: rev}}})
}

// pingAfter is how long a server says nothing before it says that it lives. A host gives a
// silent server up after silence.
const (
	pingAfter = 1500 * time.Millisecond
	silence   = 4 * time.Second
)

// ping keeps the stream from falling silent, and tells the host of new servers, until ctx ends.
func (st *stream) ping(ctx context.Context) {
	told := st.s.servers.feeds()
	for {
		quiet := time.Since(time.Unix(0, st.spoke.Load()))
		if feeds := st.s.servers.feeds(); quiet >= pingAfter || !slices.Equal(feeds, told) {
			p := &feedpb.Ping{}
			if !slices.Equal(feeds, told) {
				p.Servers, told = feeds, feeds
			}
			if st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Ping{Ping: p}}) != nil {
				return // the stream has ended; Recv reports why
			}
			quiet = 0
		}
		t := time.NewTimer(pingAfter - quiet)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// round sends what the marked changes have made of the host's part.
func (st *stream) round() error {
	st.mu.Lock()
	dirty, marked := st.dirty, st.marked
	st.dirty, st.spare = st.spare, dirty
	st.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	defer func() { clear(dirty) }() // the next round's, and only this goroutine's until then
	objects, rev, err := st.look(dirty)
	if err != nil || len(objects) == 0 {
		return err
	}
	st.lag.sent(rev, time.Now())
	for piece := range pieces(objects) {
		if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Changes{Changes: &feedpb.Changes{Revision: rev, Objects: piece}}}); err != nil {
			return err
		}
	}
	st.s.counts.objects.Add(len(objects), "changes")
	st.s.counts.sent.Observe(time.Since(marked))
	return nil
}

// look works out what the host is to hold, and the objects that bring it there from what
// it holds. A topic must be watched before it is read: a change after the reading is then
// marked, one before it is in what was read. So it looks again until it has found
// nothing that was not watched. What makes the host need a new topic is marked by
// itself: a binding because the stream has joined, a rule because its group is watched.
func (st *stream) look(dirty map[changeKey]store.Change) (objects []*feedpb.Object, rev int64, err error) {
	var b batch
	var now part
	same, looks := false, 0
	// Few look at a time: hosts that hear of a change all together would keep the requests
	// that come meanwhile from the processors.
	st.s.looking <- struct{}{}
	defer func() { <-st.s.looking }()
	for again := true; again; looks++ {
		b = batch{}
		st.s.store.View(func(r store.Reader) {
			rev = r.Revision()
			now, same = need(r, st.host, st.part, dirty)
			b.changes(r, st.host, st.part, now, same, dirty)
		})
		again = !same && !now.within(st.part) && !st.s.watch(st, now.topics)
	}
	if looks > 1 || !same && !st.part.within(now) {
		st.s.unwatch(st, now.topics)
	}
	st.part = now
	objects, err = b.encode()
	return objects, rev, err
}

// receive takes the host's messages until the stream ends.
func (st *stream) receive(ctx context.Context) error {
	for {
		m, err := st.g.Recv()
		if err != nil {
			return err
		}
		st.s.counts.messages.Add(1, "received", kindToServer(m))
		switch k := m.Kind.(type) {
		case *feedpb.ToServer_Facts:
			for _, took := range st.lag.applied(k.Facts.Revision, time.Now()) {
				st.s.counts.applied.Observe(took)
			}
			st.take(k.Facts)
		case *feedpb.ToServer_Heartbeat:
			if err := st.s.control.Heartbeat(ctx, st.host); err != nil && ctx.Err() == nil {
				st.s.log.Warn("heartbeat not noted", "host", st.host, "err", err)
			}
		case *feedpb.ToServer_Hello:
			st.again(ctx, k.Hello)
		case *feedpb.ToServer_Answer:
			st.mu.Lock()
			c := st.asked[k.Answer.Id]
			delete(st.asked, k.Answer.Id)
			st.mu.Unlock()
			if c != nil {
				c <- k.Answer
			}
		}
	}
}

// noted is a host as it describes itself, with what this server knows of its connection.
func (st *stream) noted(h model.Host) model.Host {
	h.Server, h.ConnectedAt, h.CertificateUntil = st.s.servers.name, st.since, st.until
	return h
}

// again takes a host's newer word on what it is.
func (st *stream) again(ctx context.Context, hello *feedpb.Hello) {
	var h model.Host
	err := json.Unmarshal(hello.Host, &h)
	if err == nil && h.Name != st.host {
		err = fmt.Errorf("it is of host %q", h.Name)
	}
	if err == nil {
		_, err = st.s.control.RegisterHost(ctx, st.noted(h))
	}
	if err != nil && ctx.Err() == nil {
		st.s.log.Warn("new description of a host not noted", "host", st.host, "err", err)
	}
}

// take notes facts for report; the newest fact of a port wins.
func (st *stream) take(f *feedpb.Facts) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if f.Full {
		st.full = true
		clear(st.facts)
	}
	for _, p := range f.Ports {
		id := model.PortID(p.PortId)
		st.facts[id] = control.PortFact{PortID: id, Wired: p.Wired, DHCP: p.Dhcp}
	}
	wake(st.factWake)
}

// report hands facts to control, again and again while the store is away: a fact is
// never lost while its stream lives, and the host tells all anew on the next one.
func (st *stream) report(ctx context.Context) {
	const first, most = 20 * time.Millisecond, 2 * time.Second
	delay, failing := first, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-st.factWake:
		}
		facts, full := st.pending()
		if len(facts) == 0 {
			continue
		}
		err := st.s.control.ReportPorts(ctx, st.host, facts)
		if err == nil {
			if failing {
				st.s.log.Info("facts of host noted again", "host", st.host)
			}
			delay, failing = first, false
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if !failing {
			st.s.log.Warn("facts of host not noted; trying on", "host", st.host, "ports", len(facts), "err", err)
		}
		failing = true
		st.putBack(facts, full)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, most)
	}
}

// pending takes the waiting facts. A full report is completed: ports bound to the host
// that it does not list are not there.
func (st *stream) pending() (facts []control.PortFact, full bool) {
	st.mu.Lock()
	taken := st.facts
	full = st.full
	st.facts, st.full = map[model.PortID]control.PortFact{}, false
	st.mu.Unlock()
	if full {
		st.s.store.View(func(r store.Reader) {
			for e := range r.PortsOnHost(st.host) {
				if _, ok := taken[e.Value.ID]; !ok {
					taken[e.Value.ID] = control.PortFact{PortID: e.Value.ID}
				}
			}
		})
	}
	for _, f := range taken {
		facts = append(facts, f)
	}
	return facts, full
}

// putBack returns facts that could not be handed over, unless newer ones have come.
func (st *stream) putBack(facts []control.PortFact, full bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.full {
		for _, f := range facts {
			if _, newer := st.facts[f.PortID]; !newer {
				st.facts[f.PortID] = f
			}
		}
		st.full = full
	}
	wake(st.factWake)
}

// ask sends a query and waits for its answer.
func (st *stream) ask(ctx context.Context, query []byte) ([]byte, error) {
	answer := make(chan *feedpb.Answer, 1)
	st.mu.Lock()
	st.nextID++
	id := st.nextID
	st.asked[id] = answer
	st.mu.Unlock()
	defer func() {
		st.mu.Lock()
		delete(st.asked, id)
		st.mu.Unlock()
	}()
	if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Query{Query: &feedpb.Query{Id: id, Body: query}}}); err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return nil, errors.New(a.Error)
		}
		return a.Body, nil
	case <-st.g.Context().Done():
		return nil, errors.New("the host left before it answered")
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
}
