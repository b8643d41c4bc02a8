package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

const (
	// maxBatch is how many transactions one etcd transaction carries at most. With an
	// inner transaction of up to 28 operations it stays under etcd's default limit of 128.
	maxBatch = 100
	// maxBatchOps is how large an inner transaction may be to be combined with others.
	maxBatchOps = 28
	// maxBatchBytes keeps a combined transaction well under etcd's request limit of 1.5 MiB.
	maxBatchBytes = 512 << 10
	// committers is how many etcd transactions are on their way at once. With one, all
	// callers that come while it is under way travel in the next.
	committers = 1
	// commitTimeout is how long an etcd transaction may take before its outcome is unknown.
	commitTimeout = 10 * time.Second
)

// Conflict says that a condition of a transaction did not hold. The mirror has reached
// Revision, at which it was found not to hold: read again and try again.
type Conflict struct{ Revision int64 }

func (c Conflict) Error() string {
	return fmt.Sprintf("changed meanwhile, at revision %d", c.Revision)
}

// pending is a transaction waiting for its outcome.
type pending struct {
	txn  *Txn
	done chan outcome
}

type outcome struct {
	rev int64
	ok  bool
	err error
}

// Commit carries out the transaction and returns its revision when the mirror has
// reached it. It returns Conflict when a condition did not hold, and an error with
// model.Fault Unavailable in it when etcd did not answer: then it may or may not have
// happened. A transaction larger than etcd takes is model.Fault InvalidInput.
func (t *Txn) Commit(ctx context.Context) (int64, error) {
	if t.err != nil {
		return 0, t.err
	}
	t.settle()
	p := &pending{txn: t, done: make(chan outcome, 1)}
	end := t.s.end()
	select {
	case t.s.queue <- p:
	case <-end:
		return 0, unavailable(errStopped)
	case <-ctx.Done():
		return 0, unavailable(ctx.Err())
	}
	var o outcome
	select {
	case o = <-p.done:
	case <-end:
		return 0, unavailable(errStopped)
	case <-ctx.Done():
		return 0, unavailable(ctx.Err())
	}
	if errors.Is(o.err, rpctypes.ErrTooManyOps) || errors.Is(o.err, rpctypes.ErrRequestTooLarge) {
		return 0, model.Fault{Kind: model.InvalidInput, Detail: o.err.Error(),
			Message: "Invalid input for operation: The request is too large for one transaction of the store."}
	}
	if o.err != nil {
		return 0, unavailable(o.err)
	}
	if err := t.s.waitRevision(ctx, o.rev); err != nil {
		return 0, err
	}
	if !o.ok {
		return 0, Conflict{Revision: o.rev}
	}
	return o.rev, nil
}

// commitLoop takes transactions off the queue, as many as are there and fit together,
// and commits them as one.
func (s *Store) commitLoop(ctx context.Context) {
	var left *pending // taken off the queue but did not fit the last batch
	for {
		first := left
		left = nil
		if first == nil {
			select {
			case first = <-s.queue:
			case <-ctx.Done():
				s.refuse(ctx.Err())
				return
			}
		}
		group := []*pending{first}
		if first.txn.combinable() {
			group, left = s.gather(first)
		}
		s.commit(ctx, group)
	}
}

// refuse answers everything queued when the store stops.
func (s *Store) refuse(err error) {
	for {
		select {
		case p := <-s.queue:
			p.done <- outcome{err: err}
		default:
			return
		}
	}
}

// gather adds queued transactions to first as long as they are independent of all in the
// group: no key written by one is written or compared by another. Then their order does
// not matter, and the one etcd transaction, which judges all conditions before it writes
// anything, has the same outcome as one after another would have.
func (s *Store) gather(first *pending) (group []*pending, left *pending) {
	group = []*pending{first}
	c := claims{written: map[string]bool{}, compared: map[string]bool{}}
	size := first.txn.size()
	c.add(first.txn)
	for len(group) < maxBatch && size < maxBatchBytes {
		select {
		case p := <-s.queue:
			if !p.txn.combinable() || !c.allow(p.txn) {
				return group, p
			}
			c.add(p.txn)
			size += p.txn.size()
			group = append(group, p)
		default:
			return group, nil
		}
	}
	return group, nil
}

// combinable reports whether the transaction may travel with others.
func (t *Txn) combinable() bool {
	return len(t.writes) <= maxBatchOps && len(t.compares) <= maxBatchOps
}

// claims are the keys and directories that the transactions of a group concern.
type claims struct {
	written, compared map[string]bool
	ranges            []string
}

func (c *claims) add(t *Txn) {
	for _, w := range t.writes {
		c.written[w.key] = true
	}
	for key := range t.touched {
		c.compared[key] = true
	}
	c.ranges = append(c.ranges, t.ranges...)
}

// allow reports whether t is independent of the group.
func (c *claims) allow(t *Txn) bool {
	for _, w := range t.writes {
		if c.written[w.key] || c.compared[w.key] || within(c.ranges, w.key) {
			return false
		}
	}
	for key := range t.touched {
		if c.written[key] {
			return false
		}
	}
	if len(t.ranges) == 0 {
		return true
	}
	for key := range c.written {
		if within(t.ranges, key) {
			return false
		}
	}
	return true
}

func within(dirs []string, key string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(key, dir) })
}

// commit sends a group to etcd, applies what succeeded to the mirror when nothing came
// between, and hands out the outcomes.
func (s *Store) commit(ctx context.Context, group []*pending) {
	ok, rev, err := s.transact(ctx, group)
	s.noteAnswer(ctx, err)
	if err != nil {
		for _, p := range group {
			p.done <- outcome{err: err}
		}
		return
	}
	b := batch{rev: rev}
	for i, p := range group {
		if ok[i] {
			b.writes = append(b.writes, p.txn.writes...)
		}
	}
	if len(b.writes) > 0 && !s.skipLocal {
		s.mirror.applyNext(b)
	}
	for i, p := range group {
		p.done <- outcome{rev: rev, ok: ok[i]}
	}
}

// transact sends a group to etcd, a single one as it is and several as inner transactions
// of one, and returns which of them succeeded, at what revision.
func (s *Store) transact(ctx context.Context, group []*pending) (ok []bool, rev int64, err error) {
	defer s.counts.asked("commit", time.Now(), &err)
	s.counts.carried.Add(len(group))
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if s.leader != nil {
		if changed := s.leader(); changed != nil {
			go s.giveUp(ctx, cancel, changed)
		}
	}
	if len(group) == 1 {
		t := group[0].txn
		resp, err := s.client.Txn(ctx).If(t.compares...).Then(t.ops()...).Commit()
		if err != nil {
			return nil, 0, err
		}
		return []bool{resp.Succeeded}, resp.Header.Revision, nil
	}
	ops := make([]clientv3.Op, len(group))
	for i, p := range group {
		ops[i] = clientv3.OpTxn(p.txn.compares, p.txn.ops(), nil)
	}
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, 0, err
	}
	ok = make([]bool, len(group))
	for i, r := range resp.Responses {
		inner, is := r.Response.(*etcdserverpb.ResponseOp_ResponseTxn)
		ok[i] = is && inner.ResponseTxn.Succeeded
	}
	return ok, resp.Header.Revision, nil
}

// leaderGrace is how long a new leader has to bring what the old one had passed on already.
const leaderGrace = 500 * time.Millisecond

// giveUp ends a transaction when etcd has changed its leader and then does not answer: the
// old leader has taken it along, and nobody else knows of it. etcd itself waits for seconds,
// and with it would all that is queued behind.
func (s *Store) giveUp(ctx context.Context, cancel func(), changed <-chan struct{}) {
	select {
	case <-changed:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(leaderGrace):
		cancel()
	case <-ctx.Done():
	}
}

// noteAnswer logs once when etcd stops taking writes, and once when it takes them again.
// Only commitLoop calls it.
func (s *Store) noteAnswer(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil || errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge):
		// We stop, or the request is at fault.
	case err != nil && !s.mute:
		s.mute = true
		s.log.Warn("etcd takes no writes; requests fail until it does", "err", err)
	case err == nil && s.mute:
		s.mute = false
		s.log.Info("etcd takes writes again")
	}
}
