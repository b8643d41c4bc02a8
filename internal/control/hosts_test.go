package control_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

func (c *cloud) info(name model.HostName) (h control.HostInfo) {
	c.t.Helper()
	var err error
	c.Read(func(r store.Reader) { h, err = c.HostInfo(r, name) })
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

func (c *cloud) isAt(id model.PortID) model.HostName {
	c.t.Helper()
	e, err := c.Port(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Value.Binding.Host
}

func (c *cloud) bound(n *model.Network, host string) *model.Port {
	c.t.Helper()
	return c.port(control.PortRequest{NetworkID: n.ID, DeviceOwner: control.Some("compute:nova"), HostID: control.Some(host)})
}

func TestDrain(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/24")
	vm := c.bound(n, "h1")
	dhcp := c.dhcpPort(n.ID)
	c.host(model.Host{Name: "h2", Roles: model.AllRoles()})
	if err := c.DrainHost(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if h := c.info("h1"); h.State != control.HostDrained || len(h.Bound) != 1 || h.Bound[0].ID != vm.ID {
		t.Errorf("%s, %d ports: want it drained, the guest's port there, DHCP gone", h.State, len(h.Bound))
	}
	if at := c.isAt(dhcp.ID); at != "h2" {
		t.Errorf("DHCP is at %s", at)
	}
	if p := c.bound(n, "h1"); p.Binding.VIFType != model.VIFBindingFailed || !strings.Contains(p.Binding.Reason, "disabled") {
		t.Errorf("a drained host took a port: %+v", p.Binding)
	}
	// It stays drained when its agent starts anew, and until it is said to be no longer.
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	if c.info("h1").State != control.HostDrained {
		t.Error("a new start of the agent undid it")
	}
	if err := c.UndrainHost(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	h := c.info("h1")
	if h.State != control.HostUp || len(h.Bound) != 2 || slices.ContainsFunc(h.Bound, func(p *model.Port) bool { return p.Binding.VIFType != model.VIFOVS }) {
		t.Errorf("%s: the port that could not be bound is to be now", h.State)
	}
	var missing model.NotFound
	if err := c.DrainHost(t.Context(), "h9"); !errors.As(err, &missing) {
		t.Errorf("a host that is not there: %v", err)
	}
	c.sound()
}

func TestRemoveHost(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	c := cloudOn(t, storetest.Etcd(t), func() time.Time { return now })
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/24")
	vm := c.bound(n, "h1")
	dhcp := c.dhcpPort(n.ID)
	c.host(model.Host{Name: "h2", Roles: model.AllRoles()})

	if err := c.RemoveHost(t.Context(), "h1", control.Removal{}); err == nil || !strings.Contains(err.Error(), "2 ports are bound to host h1") {
		t.Fatal(err)
	}
	if c.info("h1").State != control.HostUp {
		t.Fatal("a refused removal did something")
	}
	if err := c.RemoveHost(t.Context(), "h1", control.Removal{Force: true}); err != nil {
		t.Fatal(err)
	}
	if h := c.info("h1"); h.State != control.HostRemoved || len(c.Hosts(t.Context())) != 1 {
		t.Errorf("%s, %d hosts", h.State, len(c.Hosts(t.Context())))
	}
	e, _ := c.Port(t.Context(), vm.ID)
	if b := e.Value.Binding; b.VIFType != model.VIFBindingFailed || !strings.Contains(b.Reason, "was removed") || e.Value.Status != model.PortDown {
		t.Errorf("%+v %s", b, e.Value.Status)
	}
	if at := c.isAt(dhcp.ID); at != "h2" {
		t.Errorf("DHCP is at %s", at)
	}
	// It cannot come back as it was, and its heartbeats are for nothing.
	_, err := c.RegisterHost(t.Context(), model.Host{Name: "h1"})
	refusal(t, err, "was removed")
	if err := c.Heartbeat(t.Context(), "h1"); err == nil {
		t.Error("a removed host lives")
	}
	if err := c.RemoveHost(t.Context(), "h1", control.Removal{}); err != nil {
		t.Errorf("again: %v", err)
	}
	// With a new token it can, and has its ports.
	secret, _, err := c.NewJoinToken(t.Context(), model.JoinHost, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := c.JoinHost(t.Context(), secret[:], "h1"); err != nil || g != 1 {
		t.Fatal(g, err)
	}
	if h := c.info("h1"); h.State != control.HostAwaited {
		t.Error(h.State)
	}
	c.host(model.Host{Name: "h1"})
	if e, _ := c.Port(t.Context(), vm.ID); e.Value.Binding.VIFType != model.VIFOVS {
		t.Errorf("%+v", e.Value.Binding)
	}
	now = now.Add(time.Hour)
	if h := c.info("h1"); h.State != control.HostDown {
		t.Error(h.State)
	}
	c.sound()
}
