package control_test

import (
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/store/storetest"
)

// TestAliveByOwnClock: two servers whose clocks differ by an hour agree about who lives,
// and so does one that starts later.
func TestAliveByOwnClock(t *testing.T) {
	client := storetest.Etcd(t)
	right, ahead := newClock(), newClock()
	ahead.forward(time.Hour)
	forward := func(d time.Duration) { right.forward(d); ahead.forward(d) }
	a, b := cloudOn(t, client, right.now), cloudOn(t, client, ahead.now)
	alive := func(c *cloud, clk *clock) map[model.HostName]bool {
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		out := map[model.HostName]bool{}
		for _, e := range c.Hosts(t.Context()) {
			out[e.Value.Name] = c.HostAlive(e.Value, clk.now())
		}
		return out
	}
	check := func(what string, h1, h2 bool, of ...map[model.HostName]bool) {
		t.Helper()
		for i, got := range of {
			if got["h1"] != h1 || got["h2"] != h2 {
				t.Errorf("%s: server %d: %v", what, i, got)
			}
		}
	}
	a.host(model.Host{Name: "h1"})
	b.host(model.Host{Name: "h2"})
	check("both have joined", true, true, alive(a, right), alive(b, ahead))
	forward(60 * time.Second)
	if err := a.Heartbeat(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	check("one is late", true, true, alive(a, right), alive(b, ahead))
	forward(20 * time.Second)
	check("one is dead", true, false, alive(a, right), alive(b, ahead))

	// The stamp that is newest is of the server that is ahead: by it h1 would be dead.
	late := newClock()
	late.forward(-time.Hour)
	c := cloudOn(t, client, late.now)
	check("at the start", true, true, alive(c, late))
	late.forward(30 * time.Second)
	if err := a.Heartbeat(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	check("heard of since", true, true, alive(c, late))
	late.forward(50 * time.Second)
	check("not heard of since", true, false, alive(c, late))

	// The heartbeat's stamp is the stored one, though it goes back.
	if err := b.Heartbeat(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if err := a.Heartbeat(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if at := a.Hosts(t.Context())[0].Value.HeartbeatAt; !at.Equal(right.now().Truncate(time.Second)) {
		t.Errorf("stamp %s", at)
	}
}

// TestLongDeadAtStart: a host that was dead before a server started is dead soon after.
func TestLongDeadAtStart(t *testing.T) {
	client, clk := storetest.Etcd(t), newClock()
	a := cloudOn(t, client, clk.now)
	a.host(model.Host{Name: "old"})
	clk.forward(24 * time.Hour)
	a.host(model.Host{Name: "new"})
	b := cloudOn(t, client, clk.now)
	alive := func(i int) bool { return b.HostAlive(b.Hosts(t.Context())[i].Value, clk.now()) }
	clk.forward(36 * time.Second)
	if !alive(0) || alive(1) {
		t.Errorf("36 s after the start new lives: %v, old lives: %v", alive(0), alive(1))
	}
}
