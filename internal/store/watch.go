package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// listPage is how many keys one list request brings. etcd looks at all that is left of
// the range for each page, so pages are large.
const listPage = 20000

// retryAfter is how long follow waits after etcd failed before it lists again.
const retryAfter = 200 * time.Millisecond

// follow lists everything at one revision and then watches from the next, for ever.
// When the watch is lost (etcd compacted the revisions it still needed, or went away) it
// lists again; the mirror then changes by the difference.
func (s *Store) follow(ctx context.Context) error {
	failing := false
	for {
		err := s.list(ctx)
		if err == nil {
			if failing {
				s.log.Info("store in sync again", "rev", s.Revision())
				failing = false
			}
			s.once.Do(func() { close(s.ready) })
			err = s.watch(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if !failing {
			s.log.Warn("store watch lost", "err", err)
			failing = true
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

// list reads all objects at one revision and makes the mirror equal to them. Unique keys
// and references follow from the objects, and are two thirds of all.
func (s *Store) list(ctx context.Context) error {
	var kvs []*mvccpb.KeyValue
	var rev int64
	for _, dir := range order {
		prefix := s.keys.object(dir, "")
		from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
		for {
			resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
			if err != nil {
				return fmt.Errorf("list the store: %w", err)
			}
			if rev == 0 {
				rev = resp.Header.Revision
			}
			kvs = append(kvs, resp.Kvs...)
			if !resp.More {
				break
			}
			from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
		}
	}
	s.replace(kvs, rev)
	return nil
}

// replace makes the mirror hold exactly kvs at rev, by the difference to what it holds.
func (s *Store) replace(kvs []*mvccpb.KeyValue, rev int64) {
	m := s.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rev > rev {
		return // own writes that came next were applied since: the mirror missed nothing
	}
	first := m.rev == 0
	seen := map[string]bool{}
	// By kind, so that parents are there before children.
	perDir := map[string][]*mvccpb.KeyValue{}
	for _, kv := range kvs {
		if dir, rest, ok := s.keys.split(string(kv.Key)); ok {
			perDir[dir] = append(perDir[dir], kv)
			seen[dir+"/"+rest] = true
		}
	}
	for _, w := range m.missing(seen) {
		m.applyOne(w, rev)
	}
	for _, dir := range order {
		for _, kv := range perDir[dir] {
			_, id, _ := s.keys.split(string(kv.Key))
			if dir != dirHeartbeat && m.modRev(dir, id) == kv.ModRevision {
				continue
			}
			if w, ok := s.decode(kv); ok {
				m.applyOne(w, kv.ModRevision)
			}
		}
	}
	if first {
		m.backdate()
	}
	m.advance(rev)
}

// startGrace is the most by which a heartbeat found at the start counts as old. It leaves a
// host that lives the time to be heard of (30 s) before it counts as dead (after 75 s).
const startGrace = 40 * time.Second

// backdate judges, of heartbeats found at the start, when they would have been heard: as
// long ago as they are older than the newest, which says how long nobody could be heard.
// Their stamps may be of several servers, whose clocks differ: at most startGrace is taken for true.
func (m *mirror) backdate() {
	var newest time.Time
	for _, b := range m.beats {
		if b.at.After(newest) {
			newest = b.at
		}
	}
	now := m.now()
	for name, b := range m.beats {
		b.heard = now.Add(-min(newest.Sub(b.at), startGrace))
		m.beats[name] = b
		if e := m.hosts[name]; e != nil {
			m.hosts[name] = withHeartbeat(e, b)
		}
	}
}

// modRev returns the revision of the entry held, or 0.
func (m *mirror) modRev(dir, id string) int64 {
	switch dir {
	case dirNetwork:
		if e := m.networks[model.NetworkID(id)]; e != nil {
			return e.ModRev
		}
	case dirSubnet:
		if e := m.subnets[model.SubnetID(id)]; e != nil {
			return e.ModRev
		}
	case dirPort:
		if e := m.ports[model.PortID(id)]; e != nil {
			return e.ModRev
		}
	case dirHost:
		if e := m.hosts[model.HostName(id)]; e != nil {
			return e.ModRev
		}
	default:
		if rows := m.rows[dir]; rows != nil {
			return rows.modRev(id)
		}
	}
	return 0
}

// missing returns deletes of everything held that is not in seen, children first.
func (m *mirror) missing(seen map[string]bool) []write {
	var gone []write
	add := func(dir, id string) {
		if !seen[dir+"/"+id] {
			gone = append(gone, write{dir: dir, id: id})
		}
	}
	for _, k := range slices.Backward(kinds()) {
		for id := range m.rows[k.dir()].ids() {
			add(k.dir(), id)
		}
	}
	for id := range m.ports {
		add(dirPort, string(id))
	}
	for id := range m.subnets {
		add(dirSubnet, string(id))
	}
	for id := range m.networks {
		add(dirNetwork, string(id))
	}
	for id := range m.beats {
		add(dirHeartbeat, string(id))
	}
	for id := range m.hosts {
		add(dirHost, string(id))
	}
	return gone
}

// errWatchClosed says that etcd ended the watch without a reason.
var errWatchClosed = errors.New("the watch was closed")

// watch applies events from the mirror's revision on until the watch is lost.
func (s *Store) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := s.client.Watch(ctx, s.keys.prefix, clientv3.WithPrefix(), clientv3.WithRev(s.Revision()+1))
	for resp := range events {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch the store: %w", err)
		}
		// The revision in a response's header promises nothing: events up to it may still come.
		s.mirror.applyAll(s.batches(resp.Events))
	}
	return errWatchClosed
}

// batches groups events by revision and decodes those the mirror does not have yet.
func (s *Store) batches(events []*clientv3.Event) []batch {
	have := s.Revision()
	var out []batch
	for _, ev := range events {
		rev := ev.Kv.ModRevision
		if rev <= have {
			continue // our own write, applied when it was acknowledged
		}
		if len(out) == 0 || out[len(out)-1].rev != rev {
			out = append(out, batch{rev: rev})
		}
		b := &out[len(out)-1]
		if ev.Type == clientv3.EventTypeDelete {
			if dir, id, ok := s.keys.split(string(ev.Kv.Key)); ok {
				b.writes = append(b.writes, write{dir: dir, id: id})
			}
			continue
		}
		if w, ok := s.decode(ev.Kv); ok {
			b.writes = append(b.writes, w)
		}
	}
	return out
}

// decode turns a stored pair into a write of an object. A value that cannot be read is
// reported once and treated as if it were not there: one bad object must not stop the cloud.
func (s *Store) decode(kv *mvccpb.KeyValue) (write, bool) {
	dir, id, ok := s.keys.split(string(kv.Key))
	if !ok {
		return write{}, false
	}
	obj, err := decodeValue(dir, kv.Value)
	if err != nil {
		s.log.Error("stored value cannot be read", "key", string(kv.Key), "rev", kv.ModRevision, "err", err)
		return write{}, false
	}
	if obj == nil {
		return write{}, false // a unique key; the objects say the same
	}
	return write{dir: dir, id: id, obj: obj}, true
}

// decodeValue reads the value of an object key. Fields this program does not know are
// ignored, so that a newer server may add some. It returns nil for keys without an object.
func decodeValue(dir string, value []byte) (any, error) {
	switch dir {
	case dirNetwork:
		return decodeInto(value, &model.Network{})
	case dirSubnet:
		return decodeInto(value, &model.Subnet{})
	case dirPort:
		return decodeInto(value, &model.Port{})
	case dirHost:
		return decodeInto(value, &model.Host{})
	case dirHeartbeat:
		at, err := time.Parse(time.RFC3339, string(value))
		if err != nil {
			return nil, err
		}
		return at, nil
	}
	if k := kindOf[dir]; k != nil {
		return k.decode(value)
	}
	return nil, nil
}

func decodeInto[T any](value []byte, v *T) (any, error) {
	if err := json.Unmarshal(value, v); err != nil {
		return nil, err
	}
	return v, nil
}
