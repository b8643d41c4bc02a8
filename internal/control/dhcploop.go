package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

const (
	// dhcpTick is how often RunDHCP looks whether hosts have come or gone.
	dhcpTick = time.Second
	// dhcpPass is how often it looks at every network anyway.
	dhcpPass = 10 * time.Second
)

// DHCPSetting is how DHCP is served: as the server that was started last says, or as this
// one does while none has said anything.
func (c *Control) DHCPSetting(r store.Reader) model.DHCPSetting {
	if e := store.DHCPSettings.Get(r, store.TheDHCPSetting); e != nil {
		return *e.Value
	}
	return c.cfg.DHCP
}

// AnnounceDHCP makes this server's setting that of the cloud. Two servers with different
// ones would undo each other's work without end.
func (c *Control) AnnounceDHCP(ctx context.Context) error {
	return c.attempt(ctx, func(*store.Reservation) error {
		var old *store.Entry[model.DHCPSetting]
		c.Read(func(r store.Reader) { old = store.DHCPSettings.Get(r, store.TheDHCPSetting) })
		mine := c.cfg.DHCP
		txn := c.store.Txn()
		switch {
		case old == nil:
			store.DHCPSettings.Create(txn, &mine)
		case *old.Value == mine:
			return errUnchanged
		default:
			c.log.Info("the way DHCP is served changes", "mode", mine.Mode, "per_network", mine.PerNetwork,
				"was", old.Value.Mode, "was_per_network", old.Value.PerNetwork)
			store.DHCPSettings.Update(txn, old, &mine)
		}
		_, err := txn.Commit(ctx)
		return err
	})
}

// RunDHCP tends the DHCP ports of all networks until ctx ends: it moves those of dead
// hosts, uses hosts that have come, and makes good what a request, or another server, began
// and did not end. Every server runs it; what two do at once, one transaction does.
func (c *Control) RunDHCP(ctx context.Context) error {
	t := time.NewTicker(dhcpTick)
	defer t.Stop()
	var w watchman
	for {
		if err := c.Sync(ctx); err == nil {
			c.watchDHCP(ctx, &w)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// watchman is what RunDHCP remembers from look to look.
type watchman struct {
	announced bool
	// hosts are those that can serve DHCP, in words.
	hosts string
	// passed is when it looked at every network.
	passed time.Time
	contact
}

// watchDHCP is one look, at a mirror that is up to date.
func (c *Control) watchDHCP(ctx context.Context, w *watchman) {
	now := c.now()
	w.made(now, max(c.cfg.AgentDownTime/4, 3*dhcpTick))
	if !w.announced {
		if err := c.AnnounceDHCP(ctx); err != nil {
			return
		}
		w.announced = true
	}
	var hosts string
	c.Read(func(r store.Reader) { hosts = c.dhcpHosts(r) })
	if hosts == w.hosts && now.Sub(w.passed) < dhcpPass {
		return
	}
	c.ensureAllDHCP(ctx, w.lasts(now) >= c.cfg.AgentDownTime)
	w.hosts, w.passed = hosts, now
}

// contact is how long a server has been in touch with the store without a break. One that
// was itself away for long has missed heartbeats: it cannot tell who is dead.
type contact struct{ since, last time.Time }

// made notes contact now. Longer than gap without is a break.
func (c *contact) made(now time.Time, gap time.Duration) {
	if now.Sub(c.last) > gap {
		c.since = now
	}
	c.last = now
}

func (c *contact) lasts(now time.Time) time.Duration { return now.Sub(c.since) }

// dhcpHosts says in words which hosts there are for DHCP and what can be said of each. When
// it changes, there may be something to do.
func (c *Control) dhcpHosts(r store.Reader) string {
	var b strings.Builder
	now := c.now()
	for _, e := range r.Hosts() {
		if h := e.Value; h.Has(model.RoleNetwork) {
			fmt.Fprintln(&b, c.HostAlive(h, now), dhcpHost(h))
		}
	}
	return b.String()
}

// dhcpHost says in words what decides which networks a living host can serve.
func dhcpHost(h *model.Host) string {
	return fmt.Sprint(h.Name, h.Has(model.RoleNetwork), h.Agents, h.BridgeMappings, h.TunnelTypes)
}

// ensureAllDHCP tends every network that lacks something, and gives addresses to ports that
// a server did not get to give them. With failover, dead hosts lose their ports.
func (c *Control) ensureAllDHCP(ctx context.Context, failover bool) {
	c.ensureAllAuto(ctx)
	var todo []model.NetworkID
	c.Read(func(r store.Reader) {
		for e := range r.Networks() {
			if !c.dhcpState(r, e.Value.ID, failover).settled {
				todo = append(todo, e.Value.ID)
			}
		}
	})
	slices.Sort(todo)
	c.dhcpFaults.keep(todo)
	for _, id := range todo {
		if ctx.Err() != nil {
			return
		}
		c.noteDHCP(id, c.tendDHCP(ctx, id, failover))
	}
}
