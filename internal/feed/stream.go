package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// stream is the server's end of one host's stream.
type stream struct {
	s      *Server
	host   model.HostName
	g      feedpb.Feed_ConnectServer
	cancel context.CancelCauseFunc
	wakeup chan struct{}
	// part are the networks that the host holds; only send touches it.
	part map[model.NetworkID]struct{}
	// watched are the networks of which the server tells this stream; guarded by s.mu.
	watched map[model.NetworkID]struct{}
	// left: the stream's handler has returned; guarded by s.mu.
	left bool

	// out serialises Send: objects come from send, queries from ask.
	out sync.Mutex

	mu sync.Mutex
	// dirty are the changes since the last round, each object once.
	dirty map[objectKey]store.Change
	// facts wait to be handed to control; full says that they are everything.
	facts    map[model.PortID]control.PortFact
	full     bool
	factWake chan struct{}
	nextID   uint64
	asked    map[uint64]chan *feedpb.Answer
}

type objectKey struct {
	kind model.Kind
	id   string
}

func newStream(s *Server, host model.HostName, g feedpb.Feed_ConnectServer, cancel context.CancelCauseFunc) *stream {
	return &stream{s: s, host: host, g: g, cancel: cancel,
		wakeup: make(chan struct{}, 1), factWake: make(chan struct{}, 1),
		part: map[model.NetworkID]struct{}{}, watched: map[model.NetworkID]struct{}{},
		dirty: map[objectKey]store.Change{}, facts: map[model.PortID]control.PortFact{},
		asked: map[uint64]chan *feedpb.Answer{}}
}

// mark notes a change for the next round. It never blocks: a slow host gathers changes.
func (st *stream) mark(ch store.Change) {
	st.mu.Lock()
	st.dirty[objectKey{ch.Kind, ch.ID}] = ch
	st.mu.Unlock()
	wake(st.wakeup)
}

func (st *stream) write(m *feedpb.ToHost) error {
	st.out.Lock()
	defer st.out.Unlock()
	return st.g.Send(m)
}

// send writes the snapshot and then rounds of changes until ctx ends.
func (st *stream) send(ctx context.Context) error {
	if err := st.snapshot(); err != nil {
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

// hostNetworks are the networks with a port bound to the host, as view.Part has it: a port
// that failed to bind is on no host.
func hostNetworks(r store.Reader, host model.HostName) map[model.NetworkID]struct{} {
	nets := map[model.NetworkID]struct{}{}
	for e := range r.PortsOnHost(host) {
		if e.Value.Binding.VIFType != model.VIFBindingFailed {
			nets[e.Value.NetworkID] = struct{}{}
		}
	}
	return nets
}

// snapshot sends the host's whole part. Networks are watched before they are read: a
// change after the reading is marked, one before it is in what was read. A network
// that enters between the two looks below is marked by the binding itself, because
// the stream has joined.
func (st *stream) snapshot() error {
	var nets map[model.NetworkID]struct{}
	st.s.store.View(func(r store.Reader) { nets = hostNetworks(r, st.host) })
	st.s.mu.Lock()
	for id := range nets {
		st.s.watch(st, id)
	}
	st.s.mu.Unlock()

	var b batch
	var rev int64
	st.s.store.View(func(r store.Reader) {
		rev = r.Revision()
		for id := range nets {
			b.network(r, id)
		}
	})
	st.part = nets
	if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Begin{Begin: &feedpb.Begin{}}}); err != nil {
		return err
	}
	objects, err := b.encode()
	if err != nil {
		return err
	}
	for piece := range pieces(objects) {
		if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Objects{Objects: &feedpb.Objects{Objects: piece}}}); err != nil {
			return err
		}
	}
	return st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_End{End: &feedpb.End{Revision: rev}}})
}

// round sends what the marked changes have made of the host's part.
func (st *stream) round() error {
	st.mu.Lock()
	dirty := st.dirty
	st.dirty = make(map[objectKey]store.Change)
	st.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	// As in snapshot: watch first, then read.
	st.s.mu.Lock()
	for _, ch := range dirty {
		st.s.watch(st, ch.Network)
	}
	st.s.mu.Unlock()

	var b batch
	var rev int64
	touched := map[model.NetworkID]struct{}{}
	st.s.store.View(func(r store.Reader) {
		rev = r.Revision()
		now := hostNetworks(r, st.host)
		for _, ch := range dirty {
			touched[ch.Network] = struct{}{}
		}
		entered := map[model.NetworkID]bool{}
		for id := range touched {
			_, was := st.part[id]
			_, is := now[id]
			switch {
			case is && !was:
				entered[id] = true
				st.part[id] = struct{}{}
				b.network(r, id)
			case was && !is:
				delete(st.part, id)
				b.gone(model.KindNetwork, string(id))
			}
		}
		for _, ch := range dirty {
			if _, in := st.part[ch.Network]; in && !entered[ch.Network] {
				b.object(r, ch)
			}
		}
	})
	st.s.mu.Lock()
	for id := range touched {
		if _, in := st.part[id]; !in {
			st.s.lose(st, id)
		}
	}
	st.s.mu.Unlock()
	if b.len() == 0 {
		return nil
	}
	objects, err := b.encode()
	if err != nil {
		return err
	}
	for piece := range pieces(objects) {
		if err := st.write(&feedpb.ToHost{Kind: &feedpb.ToHost_Changes{Changes: &feedpb.Changes{Revision: rev, Objects: piece}}}); err != nil {
			return err
		}
	}
	return nil
}

// receive takes the host's messages until the stream ends.
func (st *stream) receive(ctx context.Context) error {
	for {
		m, err := st.g.Recv()
		if err != nil {
			return err
		}
		switch k := m.Kind.(type) {
		case *feedpb.ToServer_Facts:
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

// again takes a host's newer word on what it is.
func (st *stream) again(ctx context.Context, hello *feedpb.Hello) {
	var h model.Host
	err := json.Unmarshal(hello.Host, &h)
	if err == nil && h.Name != st.host {
		err = fmt.Errorf("it is of host %q", h.Name)
	}
	if err == nil {
		_, err = st.s.control.RegisterHost(ctx, h)
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

// batch gathers nouns under the mirror's lock and encodes them after.
type batch struct {
	values  []any
	objects []*feedpb.Object
}

func (b *batch) len() int { return len(b.objects) }

func (b *batch) put(kind model.Kind, id string, v any) {
	b.values = append(b.values, v)
	b.objects = append(b.objects, &feedpb.Object{Kind: string(kind), Id: id})
}

func (b *batch) gone(kind model.Kind, id string) { b.put(kind, id, nil) }

// network adds a network with all that is on it.
func (b *batch) network(r store.Reader, id model.NetworkID) {
	if e := r.Network(id); e != nil {
		b.put(model.KindNetwork, string(id), e.Value)
	}
	for _, e := range r.SubnetsOf(id) {
		b.put(model.KindSubnet, string(e.Value.ID), e.Value)
	}
	for e := range r.PortsOf(id) {
		b.put(model.KindPort, string(e.Value.ID), e.Value)
	}
}

// object adds what a changed object is now.
func (b *batch) object(r store.Reader, ch store.Change) {
	switch ch.Kind {
	case model.KindNetwork:
		if e := r.Network(model.NetworkID(ch.ID)); e != nil {
			b.put(ch.Kind, ch.ID, e.Value)
			return
		}
	case model.KindSubnet:
		if e := r.Subnet(model.SubnetID(ch.ID)); e != nil {
			b.put(ch.Kind, ch.ID, e.Value)
			return
		}
	case model.KindPort:
		if e := r.Port(model.PortID(ch.ID)); e != nil {
			b.put(ch.Kind, ch.ID, e.Value)
			return
		}
	default:
		return
	}
	b.gone(ch.Kind, ch.ID)
}

func (b *batch) encode() ([]*feedpb.Object, error) {
	for i, v := range b.values {
		if v == nil {
			continue
		}
		data, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", b.objects[i].Kind, b.objects[i].Id, err)
		}
		b.objects[i].Value = data
	}
	return b.objects, nil
}

// pieces cuts objects into messages of about chunkBytes.
func pieces(objects []*feedpb.Object) func(func([]*feedpb.Object) bool) {
	return func(yield func([]*feedpb.Object) bool) {
		begin, size := 0, 0
		for i, o := range objects {
			if size += len(o.Value) + len(o.Id) + 16; size >= chunkBytes {
				if !yield(objects[begin : i+1]) {
					return
				}
				begin, size = i+1, 0
			}
		}
		if begin < len(objects) {
			yield(objects[begin:])
		}
	}
}
