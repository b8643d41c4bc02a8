package feed

import (
	"sync"
	"time"
)

// maxUnderWay bounds what is remembered of a host that applies nothing.
const maxUnderWay = 64

// lag knows what was sent to a host and is not yet said to be applied.
type lag struct {
	mu       sync.Mutex
	underWay []sentAt // oldest first
}

// sentAt is a revision and when the host was first sent something up to it.
type sentAt struct {
	revision int64
	at       time.Time
}

// sent notes that the host was sent what brings it to a revision.
func (l *lag) sent(revision int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.underWay); n == maxUnderWay {
		l.underWay[n-1].revision = revision
		return
	}
	l.underWay = append(l.underWay, sentAt{revision, at})
}

// applied notes that the host has applied a revision, and returns how long that took for each
// sending that it ends.
func (l *lag) applied(revision int64, at time.Time) (took []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for ; n < len(l.underWay) && l.underWay[n].revision <= revision; n++ {
		took = append(took, at.Sub(l.underWay[n].at))
	}
	l.underWay = append(l.underWay[:0], l.underWay[n:]...)
	return took
}

// of is how long the oldest has been under way; 0 if nothing is.
func (l *lag) of(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.underWay) == 0 {
		return 0
	}
	return now.Sub(l.underWay[0].at)
}
