package control_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// dhcpCloud is a cloud of which DHCP is set, with a clock.
func dhcpCloud(t *testing.T, client *store.Client, clk *clock, setting model.DHCPSetting) *cloud {
	cfg := testConfig()
	cfg.DHCP = setting
	s := storetest.OpenWith(t, client, store.Options{Now: clk.now})
	return &cloud{Control: control.New(control.Options{Store: s, Config: cfg, Now: clk.now}), t: t, client: client, store: s}
}

func (c *cloud) dhcpPorts(id model.NetworkID) map[model.HostName]*model.Port {
	ports := map[model.HostName]*model.Port{}
	c.Read(func(r store.Reader) {
		for _, e := range r.DHCPPortsOf(id) {
			ports[e.Value.Binding.Host] = e.Value
		}
	})
	return ports
}

func (c *cloud) wantDHCP(id model.NetworkID, when string, hosts ...model.HostName) map[model.HostName]*model.Port {
	c.t.Helper()
	ports := c.dhcpPorts(id)
	if on := slices.Sorted(maps.Keys(ports)); !slices.Equal(on, hosts) {
		c.t.Fatalf("%s: DHCP on %v, want %v", when, on, hosts)
	}
	return ports
}

func (c *cloud) beat(hosts ...model.HostName) {
	c.t.Helper()
	for _, h := range hosts {
		if err := c.Heartbeat(c.t.Context(), h); err != nil {
			c.t.Fatal(err)
		}
	}
}

func agents(n int) model.DHCPSetting {
	return model.DHCPSetting{Mode: model.DHCPAgents, PerNetwork: n}
}

// TestDHCPOnSeveralHosts: two hosts for a network, one while there is one; a dead one's port
// moves with its addresses, and does not come back.
func TestDHCPOnSeveralHosts(t *testing.T) {
	clk := newClock()
	c := dhcpCloud(t, storetest.Etcd(t), clk, agents(2))
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.10.0.0/24")
	c.wantDHCP(n.ID, "one host", "h1")
	c.host(model.Host{Name: "h2", Roles: model.AllRoles()})
	both := c.wantDHCP(n.ID, "two hosts", "h1", "h2")
	if a, b := both["h1"].FixedIPs[0].Addr, both["h2"].FixedIPs[0].Addr; a != addr("10.10.0.2") || b != addr("10.10.0.3") {
		t.Errorf("addresses %v and %v", a, b)
	}
	c.host(model.Host{Name: "h3", Roles: model.AllRoles()})
	c.wantDHCP(n.ID, "three hosts", "h1", "h2")

	clk.forward(80 * time.Second)
	c.beat("h2", "h3")
	c.wantDHCP(n.ID, "h1 has just died", "h1", "h2")
	c.FailOver(t.Context())
	after := c.wantDHCP(n.ID, "h1 is dead", "h2", "h3")
	if got, had := after["h3"], both["h1"]; got.ID != had.ID || got.MAC != had.MAC || !slices.Equal(got.FixedIPs, had.FixedIPs) || got.Status != model.PortDown ||
		got.DeviceID != control.DHCPDeviceID("h3", n.ID) {
		t.Errorf("moved it is %+v", got)
	}
	if got := after["h2"]; got.Revision != both["h2"].Revision {
		t.Errorf("the port of the living host was touched: %+v", got)
	}
	c.beat("h1")
	c.FailOver(t.Context())
	c.wantDHCP(n.ID, "h1 is back", "h2", "h3")

	// Nobody is left: the ports stay, and say that nobody answers.
	_ = c.ReportPorts(t.Context(), "h2", []control.PortFact{{PortID: after["h2"].ID, Wired: true}})
	clk.forward(80 * time.Second)
	c.FailOver(t.Context())
	if p := c.wantDHCP(n.ID, "all are dead", "h2", "h3")["h2"]; p.Status != model.PortDown {
		t.Errorf("on a dead host it is %s", p.Status)
	}
	before := c.store.Revision()
	c.FailOver(t.Context())
	if c.store.Revision() != before {
		t.Error("a pass without news writes")
	}
	c.sound()
}

// TestDHCPSpreads: networks are spread over hosts, and those of a dead one over the others.
func TestDHCPSpreads(t *testing.T) {
	clk := newClock()
	c := dhcpCloud(t, storetest.Etcd(t), clk, agents(1))
	hosts := []model.HostName{"h1", "h2", "h3"}
	for _, h := range hosts {
		c.host(model.Host{Name: h, Roles: model.AllRoles()})
	}
	for range 30 {
		c.subnet(c.network(control.NetworkRequest{}), "10.0.0.0/24")
	}
	load := func() map[model.HostName]int {
		got := map[model.HostName]int{}
		c.Read(func(r store.Reader) {
			for _, h := range hosts {
				got[h] = r.DHCPPortCountOn(h)
			}
		})
		return got
	}
	if got := load(); !maps.Equal(got, map[model.HostName]int{"h1": 10, "h2": 10, "h3": 10}) {
		t.Errorf("30 networks: %v", got)
	}
	clk.forward(80 * time.Second)
	c.beat("h1", "h3")
	c.FailOver(t.Context())
	if got := load(); !maps.Equal(got, map[model.HostName]int{"h1": 15, "h2": 0, "h3": 15}) {
		t.Errorf("without h2: %v", got)
	}
	c.sound()
}

// TestServersTendTogether: several servers pass at once, and agree.
func TestServersTendTogether(t *testing.T) {
	clk := newClock()
	client := storetest.Etcd(t)
	var servers []*cloud
	for range 3 {
		servers = append(servers, dhcpCloud(t, client, clk, agents(2)))
	}
	for i := range 4 {
		servers[0].host(model.Host{Name: model.HostName(fmt.Sprintf("h%d", i)), Roles: model.AllRoles()})
	}
	var nets []*model.Network
	for range 8 {
		n := servers[0].network(control.NetworkRequest{})
		servers[0].subnet(n, "10.0.0.0/28")
		nets = append(nets, n)
	}
	clk.forward(80 * time.Second)
	servers[1].beat("h2", "h3")
	together := func(f func(*cloud)) {
		var wg sync.WaitGroup
		for _, s := range servers {
			wg.Go(func() {
				if err := s.Sync(t.Context()); err != nil {
					t.Error(err)
				}
				f(s)
			})
		}
		wg.Wait()
	}
	together(func(s *cloud) { s.FailOver(t.Context()) })
	together(func(*cloud) {})
	for _, n := range nets {
		servers[2].wantDHCP(n.ID, "h0 and h1 are dead", "h2", "h3")
	}
	servers[0].sound()
}

// TestDHCPByHand: what an administrator says holds, as long as it can.
func TestDHCPByHand(t *testing.T) {
	clk := newClock()
	c := dhcpCloud(t, storetest.Etcd(t), clk, agents(1))
	for _, h := range []model.HostName{"h1", "h2", "h3"} {
		c.host(model.Host{Name: h, Roles: model.AllRoles()})
	}
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/24")
	agent := func(h model.HostName) (id string) {
		c.Read(func(r store.Reader) {
			for _, a := range c.Agents(r, clk.now()) {
				if a.Host.Name == h && a.Type == model.AgentDHCP {
					id = a.ID
				}
			}
		})
		return id
	}
	do := func(verb func(context.Context, string, model.NetworkID) error, h model.HostName) {
		t.Helper()
		if err := verb(t.Context(), agent(h), n.ID); err != nil {
			t.Fatal(err)
		}
	}
	first := slices.Collect(maps.Keys(c.dhcpPorts(n.ID)))[0]
	others := slices.DeleteFunc([]model.HostName{"h1", "h2", "h3"}, func(h model.HostName) bool { return h == first })
	do(c.PutDHCP, others[0])
	do(c.TakeDHCP, first)
	c.wantDHCP(n.ID, "moved by hand", others[0])
	do(c.PutDHCP, others[1])
	c.wantDHCP(n.ID, "one more", others...)
	clk.forward(80 * time.Second)
	c.beat(first, others[1])
	c.FailOver(t.Context())
	c.wantDHCP(n.ID, "one is dead", slices.Sorted(slices.Values([]model.HostName{first, others[1]}))...)
	c.beat(others[0])
	c.FailOver(t.Context())
	c.wantDHCP(n.ID, "it is back", others...)
	do(c.TakeDHCP, others[0])
	do(c.TakeDHCP, others[1])
	c.FailOver(t.Context())
	c.wantDHCP(n.ID, "taken away")
	do(c.PutDHCP, first)
	c.wantDHCP(n.ID, "given back", first)
	c.sound()
}

// TestLastSettingHolds: the server that was started last has its way, on all servers.
func TestLastSettingHolds(t *testing.T) {
	clk := newClock()
	client := storetest.Etcd(t)
	one, two := dhcpCloud(t, client, clk, agents(1)), dhcpCloud(t, client, clk, agents(2))
	one.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	one.host(model.Host{Name: "h2", Roles: model.AllRoles()})
	n := one.network(control.NetworkRequest{})
	one.subnet(n, "10.0.0.0/24")
	for _, s := range []*cloud{one, two} {
		if err := s.AnnounceDHCP(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	two.FailOver(t.Context())
	if err := one.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.FailOver(t.Context())
	one.wantDHCP(n.ID, "two are wanted", "h1", "h2")
	if err := one.AnnounceDHCP(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.FailOver(t.Context())
	if len(one.dhcpPorts(n.ID)) != 1 {
		t.Errorf("one is wanted: %v", one.dhcpPorts(n.ID))
	}
	one.sound()
}

// TestDistributedDHCP: one port for all hosts, and a change of the mode on a cloud that has ports.
func TestDistributedDHCP(t *testing.T) {
	clk := newClock()
	client := storetest.Etcd(t)
	everywhere := dhcpCloud(t, client, clk, model.DHCPSetting{Mode: model.DHCPDistributed, PerNetwork: 1})
	placed := dhcpCloud(t, client, clk, agents(2))
	restart := func(c *cloud) {
		t.Helper()
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.AnnounceDHCP(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.FailOver(t.Context())
		c.FailOver(t.Context())
	}
	restart(everywhere)
	n := everywhere.network(control.NetworkRequest{})
	everywhere.subnet(n, "10.10.0.0/24")
	d := everywhere.wantDHCP(n.ID, "everywhere", "")[""]
	if !d.Distributed() || d.DeviceID != "reserved_dhcp_port" || d.Status != model.PortActive || d.FixedIPs[0].Addr != addr("10.10.0.2") {
		t.Errorf("%+v", d)
	}
	for _, up := range []bool{false, true} {
		e, err := everywhere.UpdatePort(t.Context(), d.ID, control.PortRequest{AdminStateUp: ptr(up)})
		if err != nil || (e.Value.Status == model.PortActive) != up {
			t.Errorf("administratively up %t: %+v, %v", up, e, err)
		}
	}
	for _, h := range []model.HostName{"h1", "h2", "h3"} {
		everywhere.host(model.Host{Name: h, Roles: []model.HostRole{model.RoleCompute}})
	}
	everywhere.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")})
	everywhere.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h3")})
	everywhere.Read(func(r store.Reader) {
		e := r.Network(n.ID)
		if on := control.DHCPHosts(r, e.Value); !slices.Equal(on, []model.HostName{"h1", "h3"}) {
			t.Errorf("served by %v", on)
		}
		if len(control.DHCPPortsOn(r, "h3")) != 1 || len(control.DHCPPortsOn(r, "h2")) != 0 {
			t.Errorf("on h3 %v, on h2 %v", control.DHCPPortsOn(r, "h3"), control.DHCPPortsOn(r, "h2"))
		}
	})

	everywhere.host(model.Host{Name: "h2", Roles: model.AllRoles()})
	everywhere.host(model.Host{Name: "h3", Roles: model.AllRoles()})
	restart(placed)
	on := placed.wantDHCP(n.ID, "on two hosts", "h2", "h3")
	if first := on["h2"]; first.ID != d.ID {
		first = on["h3"]
		if first.ID != d.ID || first.MAC != d.MAC || !slices.Equal(first.FixedIPs, d.FixedIPs) || first.Status != model.PortDown {
			t.Errorf("%+v was %+v", first, d)
		}
	}
	restart(everywhere)
	if again := everywhere.wantDHCP(n.ID, "everywhere again", "")[""]; again.ID != d.ID || again.MAC != d.MAC || !slices.Equal(again.FixedIPs, d.FixedIPs) {
		t.Errorf("%+v was %+v", again, d)
	}
	everywhere.sound()
}

// TestOlderHand: what was put by hand before there could be several.
func TestOlderHand(t *testing.T) {
	var n model.Network
	if err := n.UnmarshalJSON([]byte(`{"id":"n","mtu":1450,"dhcp_host":"h1","created_at":"2026-11-23T12:00:00Z"}`)); err != nil {
		t.Fatal(err)
	}
	if n.ID != "n" || n.MTU != 1450 || n.CreatedAt.IsZero() || !slices.Equal(n.DHCPHosts, []model.HostName{"h1"}) {
		t.Errorf("%+v", n)
	}
}
