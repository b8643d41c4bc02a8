// Package repairs remembers what somebody else has changed on the machine and was put back.
package repairs

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Repair is something that was as wanted, was found changed, and was put back: so somebody
// else changes it. Without a memory of it nobody could tell, a moment later.
type Repair struct {
	// Kind is "bridge", "port", "flows" or "namespace".
	Kind string
	// Bridge is where it is, unless that is a namespace; Name is the port, the flow that did not belong there, the
	// namespace, or namespace/device.
	Bridge, Name string
	// Cookie is that of the flows, if they are of one object.
	Cookie uint64
	// Found is what it was changed to, Set what it is again.
	Found, Set string
	// At is when it was put back the last time, and Times how often since it was first, Lately
	// in the last minute (a number beyond a few is not exact).
	At            time.Time
	Times, Lately int
}

const (
	// kept is how long a repair is remembered, most how many, and lately what
	// Repair.Lately counts.
	kept       = 10 * time.Minute
	most       = 256
	lately     = time.Minute
	latelyMost = 8
)

type key struct {
	kind, bridge, name string
	cookie             uint64
}

type keptRepair struct {
	Repair
	last []time.Time
}

// Memory remembers the repairs of the last minutes. The zero value remembers none yet.
type Memory struct {
	mu  sync.Mutex
	all map[key]*keptRepair
}

// Note takes in repairs that were made now.
func (m *Memory) Note(now time.Time, list []Repair) {
	if len(list) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[key]*keptRepair{}
	}
	for _, r := range list {
		k := key{r.Kind, r.Bridge, r.Name, r.Cookie}
		had := m.all[k]
		if had == nil {
			had = &keptRepair{}
			m.all[k] = had
		}
		r.At, r.Times = now, had.Times+1
		had.Repair = r
		had.last = append(had.last[max(0, len(had.last)-latelyMost+1):], now)
	}
	m.forget(now)
}

// forget drops what is old, and the oldest of too many. The caller holds mu.
func (m *Memory) forget(now time.Time) {
	maps.DeleteFunc(m.all, func(_ key, r *keptRepair) bool { return now.Sub(r.At) > kept })
	for len(m.all) > most {
		var oldest key
		for k, r := range m.all {
			if o := m.all[oldest]; o == nil || r.At.Before(o.At) {
				oldest = k
			}
		}
		delete(m.all, oldest)
	}
}

// List returns those of the last ten minutes, oldest first.
func (m *Memory) List(now time.Time) []Repair {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	out := make([]Repair, 0, len(m.all))
	for _, r := range m.all {
		r.Lately = 0
		for _, at := range r.last {
			if now.Sub(at) <= lately {
				r.Lately++
			}
		}
		out = append(out, r.Repair)
	}
	Sort(out)
	return out
}

// Sort puts repairs into the order of their times.
func Sort(list []Repair) {
	slices.SortFunc(list, func(a, b Repair) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Cookie, b.Cookie))
	})
}

// Differences collects in which properties something is not as wanted.
type Differences struct{ found, set []string }

// Add notes a property, if it is not as wanted; "" and "0" are none.
func (d *Differences) Add(what, is, want string) {
	if is == want {
		return
	}
	for _, side := range []struct {
		to *[]string
		is string
	}{{&d.found, is}, {&d.set, want}} {
		if side.is == "" || side.is == "0" {
			*side.to = append(*side.to, "no "+what)
		} else {
			*side.to = append(*side.to, what+" "+side.is)
		}
	}
}

// None reports whether all is as wanted.
func (d *Differences) None() bool { return len(d.found) == 0 }

// Texts says what was found, and what is set.
func (d *Differences) Texts() (found, set string) {
	if d.None() {
		return "other settings", "weft's"
	}
	return strings.Join(d.found, ", "), strings.Join(d.set, ", ")
}

// Gone and Again are what is said of something that was not there, and is.
const Gone, Again = "gone", "made again"
