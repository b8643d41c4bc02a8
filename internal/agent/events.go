package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/trace"
)

const (
	// eventsKept is how many events of a port are remembered, the last.
	eventsKept = 32
	// portsKept bounds the ports whose events are.
	portsKept = 10000
	// followWaits is how long a question may wait.
	followWaits = 20 * time.Second
)

// events remembers what lately happened to ports, for those who follow one.
type events struct {
	mu    sync.Mutex
	ports map[model.PortID]*portEvents
	// high is the highest number that an event has had; those of a port follow each other.
	high uint64
	// news is closed at the next event, if somebody waits for it.
	news chan struct{}
}

// portEvents are those of one port, oldest first; last is the number of the last.
type portEvents struct {
	list []trace.Event
	last uint64
}

func (e *events) add(id model.PortID, at time.Time, kind trace.EventKind, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ports == nil {
		e.ports = map[model.PortID]*portEvents{}
	}
	p := e.ports[id]
	if p == nil {
		if len(e.ports) >= portsKept {
			e.forgetOldest()
		}
		p = &portEvents{last: e.high}
		e.ports[id] = p
	}
	if len(p.list) == eventsKept {
		p.list = slices.Delete(p.list, 0, 1)
	}
	p.last++
	e.high = max(e.high, p.last)
	p.list = append(p.list, trace.Event{At: at.UTC(), Kind: kind, Text: fmt.Sprintf(format, args...)})
	e.wake()
}

// wake makes those look who wait; called with the lock.
func (e *events) wake() {
	if e.news != nil {
		close(e.news)
		e.news = nil
	}
}

// passed is called after each pass, in which something may have been repaired.
func (e *events) passed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake()
}

// forgetOldest forgets the port of which there was nothing new for longest.
func (e *events) forgetOldest() {
	var oldest model.PortID
	var at time.Time
	for id, p := range e.ports {
		if last := p.list[len(p.list)-1].At; oldest == "" || last.Before(at) {
			oldest, at = id, last
		}
	}
	delete(e.ports, oldest)
}

// since returns a port's events after a number, the number of the last, how many were lost between,
// and what is closed at the next event of any port.
func (e *events) since(id model.PortID, after uint64) (list []trace.Event, last, lost uint64, news <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.news == nil {
		e.news = make(chan struct{})
	}
	p := e.ports[id]
	if p == nil || p.last <= after {
		return nil, after, 0, e.news
	}
	fresh := p.last - after
	if kept := uint64(len(p.list)); fresh > kept {
		if after > 0 {
			lost = fresh - kept
		}
		fresh = kept
	}
	return slices.Clone(p.list[uint64(len(p.list))-fresh:]), p.last, lost, e.news
}

// follow answers a question about what happens to a port.
func (a *Agent) follow(ctx context.Context, of trace.Query) trace.Followed {
	id, q := of.PortID, of.Follow
	wait := time.NewTimer(min(q.Wait, followWaits))
	defer wait.Stop()
	epoch := a.start.UnixNano()
	out := trace.Followed{Epoch: epoch, Last: q.After, Heard: q.Heard, Mended: q.Mended}
	if q.Epoch != epoch {
		out.Last = 0
	}
	for over := false; ; {
		list, last, lost, news := a.events.since(id, out.Last)
		told, spoken := a.o.Machine.Conversation(id)
		heard := q.Heard
		for _, t := range evidenceTransactions(told) {
			if t.At.After(q.Heard) {
				heard = t.At
				list = append(list, t.Events()...)
			}
		}
		for _, r := range a.o.Machine.Seek(a.hostQuery(of)).Repairs {
			if r.At.After(q.Mended) {
				list = append(list, trace.Repair(r).Event())
				if r.At.After(out.Mended) {
					out.Mended = r.At
				}
			}
		}
		if len(list) > 0 || over {
			slices.SortStableFunc(list, func(x, y trace.Event) int { return x.At.Compare(y.At) })
			out.Events, out.Last, out.Lost, out.Heard, out.Now = list, last, lost, heard, time.Now().UTC()
			return out
		}
		select {
		case <-news:
		case <-spoken:
		case <-wait.C:
			over = true
		case <-ctx.Done():
			over = true
		}
	}
}

// noteRecords notes which ports have come to this host or have changed, and which have gone.
func (a *Agent) noteRecords(st feed.State, now time.Time) {
	for id, p := range st.Cloud.Ports {
		if p.Binding.Host != a.o.Feed.Name {
			continue
		}
		switch old, known := a.here[id]; {
		case !known:
			a.events.add(id, now, trace.EventHost, "the record is here, revision %d", p.Revision)
		case old != p.Revision:
			a.events.add(id, now, trace.EventHost, "the record has changed, revision %d", p.Revision)
		}
		a.here[id] = p.Revision
	}
	for id := range a.here {
		if p := st.Cloud.Ports[id]; p == nil || p.Binding.Host != a.o.Feed.Name {
			a.events.add(id, now, trace.EventHost, "the record is not of this host any more")
			delete(a.here, id)
		}
	}
}

// noteStrangers notes interfaces of ports that are not of this host, when they appear and go.
func (a *Agent) noteStrangers(all []view.Attachment, now time.Time) {
	here := make(map[model.PortID]bool, len(all))
	for i := range all {
		s := &all[i]
		here[s.PortID] = true
		if a.strange[s.PortID] == "" {
			a.events.add(s.PortID, now, trace.EventInterface, "%s has appeared, but the port is not of this host, as far as it has heard", s.Device)
		}
		a.strange[s.PortID] = s.Device
	}
	for id, device := range a.strange {
		if !here[id] {
			if _, local := a.plugged[id]; !local {
				a.events.add(id, now, trace.EventInterface, "%s has gone", device)
			}
			delete(a.strange, id)
		}
	}
}
