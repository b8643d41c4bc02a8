// Package store keeps the nouns in etcd: typed keys, transactions, the mirror, list and watch at one revision.
//
// # Reading
//
// The store keeps all objects in memory, indexed: the mirror, a copy of etcd at one
// revision. View gives a Reader of it. Entries are immutable and outlive the View.
// Reading never waits for etcd. With several servers on one etcd, Sync first makes the
// mirror at least as new as the last write of any server.
//
// # Writing
//
// A Txn collects conditions and writes; Commit sends them to etcd and returns when the
// mirror has reached the revision of the write, so who writes sees the write. Each
// object comes with its unique keys (docs/keyspace.md), created if absent in the same
// transaction. When a condition did not hold, Commit returns Conflict after the mirror
// has caught up with what got in the way: read again and try again. Independent
// transactions of concurrent callers travel in one etcd transaction (group commit).
//
// A Reservation keeps concurrent callers in one process from choosing the same address,
// MAC or segmentation ID; between processes the unique keys do.
//
// The store never judges a rule of the cloud; package control does.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/metrics"
	"weft/internal/model"
)

// Client is a connection to etcd, in-process or remote.
type Client = clientv3.Client

// DefaultPrefix is where all keys lie unless Options say otherwise.
const DefaultPrefix = "/weft/v1/"

// schemaVersion is the version of the stored form. A store of a newer version is refused;
// one of an older version is taken over: its values are read, and written anew as they change.
const schemaVersion = 2

// Options configure a Store.
type Options struct {
	// Prefix of all keys; DefaultPrefix when empty. It ends with a slash.
	Prefix string
	// Log receives transitions (mirror in sync, watch lost); nil discards.
	Log *slog.Logger
	// Metrics counts what etcd is asked; nil counts for nobody.
	Metrics *metrics.Registry
	// Now is the clock by which heartbeats of hosts are heard; nil means time.Now.
	Now func() time.Time
	// LeaderChanged returns a channel that closes when the etcd next gets another leader, or
	// nil while it has none. With it a write that the old leader took along fails soon
	// instead of after many seconds; nil if that cannot be known.
	LeaderChanged func() <-chan struct{}
}

// Store is one process's access to the stored cloud. Make one with Open, then Run it.
type Store struct {
	client *clientv3.Client
	keys   keys
	log    *slog.Logger
	mirror *mirror
	alloc  *allocator
	queue  chan *pending
	ready  chan struct{}
	once   sync.Once
	leader func() <-chan struct{} // Options.LeaderChanged
	mute   bool                   // etcd took no write the last time; commitLoop's own
	counts counts

	fencing sync.Mutex // held while a fence is written
	fenced  int64      // revision of the last fence

	runMu   sync.Mutex
	stopped chan struct{} // closed while Run is not running any more

	patience time.Duration // syncTimeout, but shorter in tests

	// skipLocal makes writes wait for the watch instead of being applied at once; tests use it.
	skipLocal bool
}

// Open checks that the prefix holds a store this program understands, and marks an empty
// one as its own. The mirror is empty until Run has listed it; wait for Ready.
func Open(ctx context.Context, client *Client, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if !strings.HasSuffix(o.Prefix, "/") {
		return nil, fmt.Errorf("store prefix %q does not end with a slash", o.Prefix)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	alloc := newAllocator()
	s := &Store{
		client:  client,
		keys:    keys{prefix: o.Prefix},
		leader:  o.LeaderChanged,
		log:     o.Log,
		mirror:  newMirror(alloc, o.Now),
		alloc:   alloc,
		queue:   make(chan *pending, 4*maxBatch),
		ready:   make(chan struct{}),
		stopped: make(chan struct{}),

		patience: syncTimeout,
		counts:   newCounts(o.Metrics),
	}
	if err := s.checkVersion(ctx); err != nil {
		return nil, err
	}
	s.count(o.Metrics)
	return s, nil
}

func (s *Store) checkVersion(ctx context.Context) error {
	key := s.keys.version()
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, strconv.Itoa(schemaVersion))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return fmt.Errorf("read the version of the store: %w", err)
	}
	if resp.Succeeded {
		return nil
	}
	v, err := strconv.Atoi(string(resp.Responses[0].GetResponseRange().Kvs[0].Value))
	if err != nil {
		return fmt.Errorf("read the version of the store: %w", err)
	}
	if v > schemaVersion {
		return fmt.Errorf("the store has version %d; this program understands up to %d", v, schemaVersion)
	}
	if v < schemaVersion {
		if _, err := s.client.Put(ctx, key, strconv.Itoa(schemaVersion)); err != nil {
			return fmt.Errorf("mark the store with version %d: %w", schemaVersion, err)
		}
		s.log.Info("store taken over from an older version", "version", v)
	}
	return nil
}

// Ready is closed when the mirror holds everything for the first time.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run keeps the mirror equal to etcd and commits transactions until ctx ends. It returns
// nil then, and an error only when it cannot go on.
func (s *Store) Run(ctx context.Context) error {
	s.runMu.Lock()
	select {
	case <-s.stopped:
		s.stopped = make(chan struct{}) // run again
	default:
	}
	stopped := s.stopped
	s.runMu.Unlock()
	defer close(stopped)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range committers {
		wg.Go(func() { s.commitLoop(ctx) })
	}
	return s.follow(ctx)
}

// end closes when Run ends; transactions then have nobody to carry them out.
func (s *Store) end() <-chan struct{} {
	s.runMu.Lock()
	defer s.runMu.Unlock()
	return s.stopped
}

// errStopped is why a transaction fails when the store does not run any more.
var errStopped = errors.New("the store has stopped")

// View calls f with a Reader of the mirror at one revision. f must not block, write to
// the store, or keep the Reader; it may keep entries. Writers wait while f runs.
func (s *Store) View(f func(Reader)) {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	f(Reader{s.mirror})
}

// Revision returns the revision the mirror has reached.
func (s *Store) Revision() int64 {
	s.mirror.mu.RLock()
	defer s.mirror.mu.RUnlock()
	return s.mirror.rev
}

// Sync returns when the mirror has reached everything that any server wrote before the
// call, or, when etcd is away, after a bounded time with model.Fault Unavailable.
func (s *Store) Sync(ctx context.Context) (err error) {
	defer s.counts.asked("sync", time.Now(), &err)
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	resp, err := s.client.Get(ctx, s.keys.version(), clientv3.WithKeysOnly())
	for errors.Is(err, rpctypes.ErrLeaderChanged) && ctx.Err() == nil {
		resp, err = s.client.Get(ctx, s.keys.version(), clientv3.WithKeysOnly())
	}
	if err != nil {
		return unavailable(err)
	}
	return s.waitRevision(ctx, resp.Header.Revision)
}

// stalled is how long waitRevision sees the mirror stand still before it puts up a fence.
// That is needed only when the revision belongs to a key outside the prefix, of which
// the watch does not tell.
const stalled = 5 * time.Millisecond

// syncTimeout is how long a caller waits for the mirror before it is told that it cannot know.
const syncTimeout = 10 * time.Second

// waitRevision returns when the mirror has reached rev.
func (s *Store) waitRevision(ctx context.Context, rev int64) error {
	if _, reached := s.mirror.reached(rev); reached {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	timer := time.NewTimer(stalled)
	defer timer.Stop()
	for {
		changed, reached := s.mirror.reached(rev)
		if reached {
			return nil
		}
		select {
		case <-changed:
			timer.Reset(stalled)
		case <-timer.C:
			if err := s.fence(ctx, rev); err != nil {
				return unavailable(err)
			}
			timer.Reset(4 * stalled)
		case <-ctx.Done():
			return unavailable(ctx.Err())
		}
	}
}

// fence writes a key that says nothing: when the watch brings it, it has brought all that
// was written before. etcd's own progress notifications would promise that without a
// write, but before 3.4.25 and 3.5.8 they overtake events, which would then be lost.
// One fence on its way serves all who wait for what was written before it.
func (s *Store) fence(ctx context.Context, rev int64) error {
	if !s.fencing.TryLock() {
		return nil
	}
	defer s.fencing.Unlock()
	if s.fenced >= rev && s.fenced > s.Revision() {
		return nil
	}
	resp, err := s.client.Put(ctx, s.keys.fence(), "")
	if err != nil {
		return err
	}
	s.fenced = resp.Header.Revision
	return nil
}

// unavailable wraps a failure of etcd as the fault the API knows.
func unavailable(err error) error {
	return errors.Join(model.Fault{Kind: model.Unavailable, Message: "The store is unavailable.", Detail: err.Error()}, err)
}
