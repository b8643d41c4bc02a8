package store

import (
	"context"
	"slices"
	"sync"

	"weft/internal/model"
)

// Subscription collects changes until they are asked for. However many changes come, an
// object appears once: what is remembered is which objects to look at again.
type Subscription struct {
	signal chan struct{}

	mu      sync.Mutex
	pending map[changeKey]Change
	rev     int64
}

// changeKey tells changes of different objects apart.
type changeKey struct {
	kind    model.Kind
	id      string
	network model.NetworkID
}

// Subscribe starts collecting changes, from the mirror's present revision on, until ctx
// ends. A subscriber that wants everything subscribes first, then reads all through View.
// After a lost watch the changes are the differences, so nothing is missed.
func (s *Store) Subscribe(ctx context.Context) *Subscription {
	sub := &Subscription{signal: make(chan struct{}, 1), pending: map[changeKey]Change{}}
	m := s.mirror
	m.mu.Lock()
	sub.rev = m.rev
	m.subs[sub] = struct{}{}
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		delete(m.subs, sub)
		m.mu.Unlock()
	})
	return sub
}

// C delivers a value when there are changes to collect.
func (s *Subscription) C() <-chan struct{} { return s.signal }

// Changes returns the objects that changed since the last call, in no particular order,
// and the revision up to which that is complete. A View made after it sees them all.
func (s *Subscription) Changes() ([]Change, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := make([]Change, 0, len(s.pending))
	for _, c := range s.pending {
		changes = append(changes, c)
	}
	clear(s.pending)
	return changes, s.rev
}

func (s *Subscription) add(c Change) {
	s.mu.Lock()
	k := changeKey{c.Kind, c.ID, c.Network}
	s.pending[k] = c.Merge(s.pending[k])
	s.mu.Unlock()
}

// Merge returns a change that says what c and an earlier change of the same object say.
func (c Change) Merge(earlier Change) Change {
	c.Groups = union(c.Groups, earlier.Groups)
	return c
}

// union returns what is in a or b. The result may share memory with a.
func union(a, b []string) []string {
	a = slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// reach is called with the mirror locked, after the changes of rev were added.
func (s *Subscription) reach(rev int64) {
	s.mu.Lock()
	s.rev = rev
	some := len(s.pending) > 0
	s.mu.Unlock()
	if some {
		select {
		case s.signal <- struct{}{}:
		default:
		}
	}
}
