package control

import (
	"testing"
	"time"
)

// TestContact: a server that was away cannot tell who is dead.
func TestContact(t *testing.T) {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	var c contact
	for _, x := range []struct {
		after time.Duration
		lasts time.Duration
	}{{0, 0}, {time.Second, time.Second}, {18 * time.Second, 19 * time.Second}, {20 * time.Second, 0}, {time.Second, time.Second}} {
		now = now.Add(x.after)
		c.made(now, 18*time.Second)
		if got := c.lasts(now); got != x.lasts {
			t.Errorf("after %s more it lasts %s, want %s", x.after, got, x.lasts)
		}
	}
}
