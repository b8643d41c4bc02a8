package control

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

const (
	// refusedSize is how many refusals the cloud remembers: so many places has the store for them.
	refusedSize = 1000
	// refusedAge is how long they are told.
	refusedAge = 7 * 24 * time.Hour
	// refusedBurst is how many a server writes down, in a transaction each, before it pauses for
	// refusedPause: a client that asks in a loop must not keep the store busy.
	refusedBurst = 10
	refusedPause = time.Second
	// refusedText bounds the message, refusedAddrs the addresses that are kept of one.
	refusedText, refusedAddrs = 1000, 10
)

// refusals are those that wait to be written down, the oldest first. A port that is asked for
// again and again is there once. What the store does not take stays, for this server to tell.
type refusals struct {
	mu      sync.Mutex
	waiting []model.Refusal
	// some holds a value when some wait.
	some chan struct{}
}

func (f *refusals) add(r model.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.waiting, func(o model.Refusal) bool { return o.SamePort(&r) }); i >= 0 {
		f.waiting[i] = r
	} else {
		f.waiting = append(f.waiting, r)
	}
	if len(f.waiting) > refusedSize {
		f.waiting = slices.Delete(f.waiting, 0, 1)
	}
	select {
	case f.some <- struct{}{}:
	default:
	}
}

// next are those to be written down next.
func (f *refusals) next() []model.Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.waiting[:min(len(f.waiting), refusedBurst)])
}

// kept forgets one that is written down, unless the port was refused again meanwhile.
func (f *refusals) kept(r model.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = slices.DeleteFunc(f.waiting, func(o model.Refusal) bool { return o.SamePort(&r) && o.At.Equal(r.At) })
}

func (f *refusals) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiting) == 0
}

// Refused returns the ports lately refused, by any server, that q would mean: by VM, name, MAC
// or address, newest first.
func (c *Control) Refused(q string) []model.Refusal {
	var out []model.Refusal
	add := func(r model.Refusal) {
		again := slices.ContainsFunc(out, func(o model.Refusal) bool { return o.SamePort(&r) })
		if r.Answers(q) && !again && c.now().Sub(r.At) < refusedAge {
			r.Place = ""
			out = append(out, r)
		}
	}
	c.refused.mu.Lock()
	for _, r := range c.refused.waiting {
		add(r)
	}
	c.refused.mu.Unlock()
	c.Read(func(r store.Reader) {
		for e := range store.Refusals.All(r) {
			add(*e.Value)
		}
	})
	slices.SortStableFunc(out, func(a, b model.Refusal) int { return b.At.Compare(a.At) })
	return out
}

// RunRefused writes refusals down where all servers find them, also after a restart, until ctx
// ends. The request that was refused does not wait for it.
func (c *Control) RunRefused(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.refused.some:
		}
		for !c.refused.empty() {
			for _, r := range c.refused.next() {
				if err := c.keepRefused(ctx, r); err != nil {
					break // it is tried again; the store has said what is wrong
				}
				c.refused.kept(r)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(refusedPause):
			}
		}
	}
}

// keepRefused writes one down: where the same port was refused before, else at a free place,
// else in place of the oldest.
func (c *Control) keepRefused(ctx context.Context, f model.Refusal) error {
	return c.transact(ctx, func(w *work) error {
		var same, oldest *store.Entry[model.Refusal]
		for e := range store.Refusals.All(w.r) {
			if e.Value.SamePort(&f) {
				same = e
			}
			if oldest == nil || e.Value.At.Before(oldest.Value.At) {
				oldest = e
			}
		}
		n := 0
		for n < refusedSize && store.Refusals.Get(w.r, strconv.Itoa(n)) != nil {
			n++
		}
		switch {
		case same != nil && same.Value.At.After(f.At):
			return errUnchanged // another server has refused it again
		case same == nil && n < refusedSize:
			f.Place = strconv.Itoa(n)
			store.Refusals.Create(w.txn, &f)
			return nil
		case same == nil:
			same = oldest
		}
		f.Place = same.Value.Place
		store.Refusals.Update(w.txn, same, &f)
		return nil
	})
}

// noteRefused remembers why ports were not made. What is wrong with the request itself is not
// worth it: its sender has read that.
func (c *Control) noteRefused(reqs []PortRequest, err error) {
	var f model.Fault
	if !errors.As(err, &f) || f.Kind == model.InvalidInput {
		return
	}
	text := f.Error()
	for _, q := range reqs {
		r := model.Refusal{At: c.now().UTC(), Project: q.Project, NetworkID: q.NetworkID, DeviceID: q.DeviceID.Value, Name: q.Name.Value,
			Message: text[:min(len(text), refusedText)]}
		if !q.MAC.Value.IsZero() {
			r.MAC = q.MAC.Value.String()
		}
		for _, a := range q.FixedIPs.Value {
			if a.Addr.IsValid() && len(r.Addrs) < refusedAddrs {
				r.Addrs = append(r.Addrs, a.Addr.String())
			}
		}
		if cmp.Or(r.DeviceID, r.Name, r.MAC) != "" || len(r.Addrs) > 0 {
			c.refused.add(r)
		}
	}
}

// noteAsked writes down which of the port's MAC and addresses were asked for, rather than
// chosen. What the port was before, old, had already keeps its word.
func noteAsked(p, old *model.Port, req PortRequest) {
	asked := slices.Clone(old.Asked)
	if m := req.MAC.Value; !m.IsZero() && m != old.MAC {
		asked = append(asked, m.String())
	}
	has := func(p *model.Port, addr string) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.String() == addr })
	}
	for _, a := range req.FixedIPs.Value {
		if s := a.Addr.String(); a.Addr.IsValid() && !has(old, s) {
			asked = append(asked, s)
		}
	}
	p.Asked = nil
	for _, a := range asked {
		if (a == p.MAC.String() || has(p, a)) && !slices.Contains(p.Asked, a) {
			p.Asked = append(p.Asked, a)
		}
	}
}
