package feed

import (
	"slices"
	"testing"
	"time"
)

// TestLag: a host lags by the oldest sending that it has not applied, however many came after.
func TestLag(t *testing.T) {
	var l lag
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	want := func(what string, now int, seconds float64) {
		t.Helper()
		if got := l.of(at(now)).Seconds(); got != seconds {
			t.Errorf("%s: %g s, want %g", what, got, seconds)
		}
	}
	want("nothing sent", 5, 0)
	l.sent(10, at(1))
	l.sent(12, at(2))
	l.sent(20, at(4))
	want("nothing applied", 5, 4)
	if took := l.applied(9, at(5)); len(took) != 0 {
		t.Errorf("older than all: %v", took)
	}
	if took := l.applied(15, at(5)); !slices.Equal(took, []time.Duration{4 * time.Second, 3 * time.Second}) {
		t.Errorf("two at once: %v", took)
	}
	want("one left", 5, 1)
	if took := l.applied(20, at(6)); !slices.Equal(took, []time.Duration{2 * time.Second}) {
		t.Errorf("the last: %v", took)
	}
	want("all applied", 60, 0)
	for i := range 3 * maxUnderWay {
		l.sent(int64(100+i), at(100+i))
	}
	want("applies nothing", 1000, 900)
	if n := len(l.underWay); n != maxUnderWay {
		t.Errorf("%d are remembered", n)
	}
	if l.applied(99+3*maxUnderWay, at(1000)); len(l.underWay) != 0 {
		t.Errorf("all applied, and %d left", len(l.underWay))
	}
}
