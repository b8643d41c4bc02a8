package agent

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"weft/internal/host"
	"weft/internal/model"
)

// faultKey tells faults apart.
type faultKey struct{ object, op string }

// trackedFault is a fault with its history.
type trackedFault struct {
	host.Fault
	since time.Time
	tries int
	// told: the fault has been logged.
	told bool
}

// pastFault is a fault that is over since until.
type pastFault struct {
	trackedFault
	until time.Time
}

// pastKept is how long a fault that is over is remembered, and pastMost how many are.
const (
	pastKept = time.Hour
	pastMost = 64
)

// patience is how long something may be waited for before it counts as degraded.
const patience = 2 * time.Second

// faultTable holds what could not be done at the last pass.
type faultTable struct {
	now map[faultKey]trackedFault
	// past are those that were told and are over, oldest first.
	past []pastFault
	// delay is the wait before the next try; it grows while nothing gets better.
	delay time.Duration
}

// update takes the faults of a pass, logs what is newly degraded and what has recovered,
// and returns the wait before the next try; 0 when all is well.
func (t *faultTable) update(faults []host.Fault, now time.Time, o Options, log *slog.Logger) time.Duration {
	next := make(map[faultKey]trackedFault, len(faults))
	better := false
	for _, f := range faults {
		k := faultKey{f.Object, f.Op}
		tf := trackedFault{Fault: f, since: now, tries: 1}
		if old, ok := t.now[k]; ok {
			tf.since, tf.tries, tf.told = old.since, old.tries+1, old.told
		} else {
			better = true // something new deserves a quick second try
		}
		if !tf.told && (!f.Waiting || now.Sub(tf.since) >= patience) {
			tf.told = true
			log.Warn("degraded", "object", f.Object, "op", f.Op, "err", f.Err)
		}
		next[k] = tf
	}
	for k, f := range t.now {
		if _, still := next[k]; !still {
			better = true
			if f.told {
				t.past = append(t.past, pastFault{f, now})
				log.Info("recovered", "object", k.object, "op", k.op, "tries", f.tries, "elapsed_ms", ms(now.Sub(f.since)))
			}
		}
	}
	t.now = next
	t.past = slices.DeleteFunc(t.past[max(0, len(t.past)-pastMost):], func(f pastFault) bool { return now.Sub(f.until) > pastKept })
	if len(next) == 0 {
		t.delay = 0
		return 0
	}
	if better || t.delay == 0 {
		t.delay = o.RetryMin
	} else {
		t.delay = min(2*t.delay, o.RetryMax)
	}
	return t.delay
}

// list returns the faults, sorted.
func (t *faultTable) list() []trackedFault {
	out := make([]trackedFault, 0, len(t.now))
	for _, f := range t.now {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b trackedFault) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Op, b.Op))
	})
	return out
}

// switchDownFor is how long there has been a fault that concerns every port; 0 when there is none.
func (t *faultTable) switchDownFor(now time.Time) time.Duration {
	return t.longest(now, func(f host.Fault) bool {
		return f.Part == host.PartSwitch && f.Port == "" && f.Network == "" && !f.Local
	})
}

// serviceDownFor is how long there has been a fault of a network's DHCP service.
func (t *faultTable) serviceDownFor(id model.NetworkID, now time.Time) time.Duration {
	return t.longest(now, func(f host.Fault) bool { return f.Network == id && f.Part != host.PartUnderlay })
}

func (t *faultTable) longest(now time.Time, counts func(host.Fault) bool) time.Duration {
	var longest time.Duration
	for _, f := range t.now {
		if counts(f.Fault) {
			longest = max(longest, now.Sub(f.since))
		}
	}
	return longest
}
