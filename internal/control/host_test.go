package control_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}
func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

func TestBinding(t *testing.T) {
	clk := newClock()
	c := cloudOn(t, storetest.Etcd(t), clk.now)
	c.host(model.Host{Name: "old", IntegrationBridge: "br-int", TunnelTypes: []string{"vxlan"}})
	clk.forward(76 * time.Second)
	c.host(model.Host{Name: "h1", IntegrationBridge: "br-x", DatapathType: "netdev", TunnelTypes: []string{"vxlan"}})
	c.host(model.Host{Name: "gre", IntegrationBridge: "br-int", TunnelTypes: []string{"gre"}, BridgeMappings: map[string]string{"physnet1": "br-ex"}})
	c.host(model.Host{Name: "untunnelled", IntegrationBridge: "br-int"})
	n := c.network(control.NetworkRequest{})
	flat := c.network(control.NetworkRequest{NetworkType: ptr("flat"), Physical: ptr("physnet1")})
	for _, x := range []struct {
		name   string
		req    control.PortRequest
		vif    model.VIFType
		reason string
	}{
		{"good", control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")}, model.VIFOVS, ""},
		{"none", control.PortRequest{NetworkID: n.ID, HostID: ptr("")}, model.VIFUnbound, ""},
		{"unknown", control.PortRequest{NetworkID: n.ID, HostID: ptr("no-such-host")}, model.VIFBindingFailed, "no agent has ever joined"},
		{"dead", control.PortRequest{NetworkID: n.ID, HostID: ptr("old")}, model.VIFBindingFailed, "last heard of 1m16s ago"},
		{"direct", control.PortRequest{NetworkID: n.ID, HostID: ptr("h1"), VNICType: ptr("direct")}, model.VIFBindingFailed, `VNIC type "direct"`},
		{"no mapping", control.PortRequest{NetworkID: flat.ID, HostID: ptr("h1")}, model.VIFBindingFailed, `no bridge mapped to physical network "physnet1"`},
		{"no vxlan", control.PortRequest{NetworkID: n.ID, HostID: ptr("gre")}, model.VIFBindingFailed, "does not do vxlan"},
		{"no tunnels", control.PortRequest{NetworkID: n.ID, HostID: ptr("untunnelled")}, model.VIFBindingFailed, "does not do vxlan"},
		{"flat", control.PortRequest{NetworkID: flat.ID, HostID: ptr("gre")}, model.VIFOVS, ""},
	} {
		b := c.port(x.req).Binding
		if b.VIFType != x.vif || !strings.Contains(b.Reason, x.reason) || (x.reason == "") != (b.Reason == "") {
			t.Errorf("%s: %+v", x.name, b)
		}
		if x.name == "good" && (b.BridgeName != "br-x" || b.DatapathType != "netdev") {
			t.Errorf("details: %+v", b)
		}
	}
}

func TestBindingIsTriedAgain(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	p := c.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")})
	c.host(model.Host{Name: "h1"})
	e, _ := c.Port(t.Context(), p.ID)
	if e.Value.Binding.VIFType != model.VIFOVS || e.Value.Revision != 2 || e.Value.Binding.Reason != "" {
		t.Errorf("%+v", e.Value)
	}
	e, err := c.UpdatePort(t.Context(), p.ID, control.PortRequest{HostID: ptr("")})
	if err != nil || e.Value.Binding.VIFType != model.VIFUnbound || e.Value.Binding.BridgeName != "" {
		t.Errorf("unbound: %+v, %v", e.Value.Binding, err)
	}
}

func TestRegisterAndHeartbeat(t *testing.T) {
	clk := newClock()
	c := cloudOn(t, storetest.Etcd(t), clk.now)
	first := c.host(model.Host{Name: "h1"})
	if first.AgentID == "" || !c.HostAlive(first, clk.now()) {
		t.Errorf("%+v", first)
	}
	sub := c.store.Subscribe(t.Context())
	clk.forward(60 * time.Second)
	if err := c.Heartbeat(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	clk.forward(60 * time.Second)
	h := c.Hosts(t.Context())[0].Value
	if !c.HostAlive(h, clk.now()) || !h.HeartbeatAt.After(first.HeartbeatAt) {
		t.Errorf("%+v", h)
	}
	if changes, _ := sub.Changes(); len(changes) != 0 {
		t.Errorf("a heartbeat wakes subscribers: %v", changes)
	}
	clk.forward(16 * time.Second)
	if c.HostAlive(h, clk.now()) {
		t.Error("alive 76 s after its heartbeat")
	}
	if err := c.Heartbeat(t.Context(), "ghost"); !errors.Is(err, model.NotFound{Kind: model.KindHost, ID: "ghost"}) {
		t.Errorf("heartbeat of a host that never joined: %v", err)
	}
	again := c.host(model.Host{Name: "h1", OVSVersion: "3.1"})
	if again.AgentID != first.AgentID || again.CreatedAt != first.CreatedAt || again.OVSVersion != "3.1" {
		t.Errorf("%+v", again)
	}
}

func TestDHCPPort(t *testing.T) {
	clk := newClock()
	c := cloudOn(t, storetest.Etcd(t), clk.now)
	n := c.network(control.NetworkRequest{Project: "p"})
	s := c.subnet(n, "10.10.0.0/24")
	if c.dhcpPort(n.ID) != nil {
		t.Fatal("a DHCP port without a DHCP host")
	}
	c.host(model.Host{Name: "nbl-node", Roles: model.AllRoles()})
	d := c.dhcpPort(n.ID)
	if d == nil {
		t.Fatal("no DHCP port after a DHCP host joined")
	}
	// The device ID of a real Neutron for a host of this name.
	if want := "dhcpc694fdff-b004-5f1f-9412-05d4f09f3cfc-" + string(n.ID); d.DeviceID != want {
		t.Errorf("device_id %s, want %s", d.DeviceID, want)
	}
	if d.FixedIPs[0].Addr != addr("10.10.0.2") || d.PortSecurity || d.Project != "p" || d.Binding.Host != "nbl-node" ||
		d.Binding.VIFType != model.VIFOVS || d.Status != model.PortDown {
		t.Errorf("%+v", d)
	}
	clk.forward(time.Second)
	two := c.subnet(n, "10.11.0.0/24")
	if d := c.dhcpPort(n.ID); len(d.FixedIPs) != 2 || d.FixedIPs[1].Addr != addr("10.11.0.2") {
		t.Errorf("%v", d.FixedIPs)
	}
	if _, err := c.UpdateSubnet(t.Context(), two.ID, control.SubnetRequest{EnableDHCP: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	if d := c.dhcpPort(n.ID); len(d.FixedIPs) != 1 || d.FixedIPs[0].SubnetID != s.ID {
		t.Errorf("%v", d.FixedIPs)
	}
	if err := c.DeletePort(t.Context(), d.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if c.dhcpPort(n.ID) == nil {
		t.Error("a deleted DHCP port stays away")
	}
	// The host dies, another joins: the port moves there and keeps its address.
	clk.forward(80 * time.Second)
	c.host(model.Host{Name: "h2", Roles: model.AllRoles()})
	c.FailOver(t.Context())
	if d := c.dhcpPort(n.ID); d.Binding.Host != "h2" || d.DeviceID != control.DHCPDeviceID("h2", n.ID) || d.FixedIPs[0].Addr != addr("10.10.0.2") {
		t.Errorf("%+v", d)
	}
	if _, err := c.UpdateSubnet(t.Context(), s.ID, control.SubnetRequest{EnableDHCP: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	if c.dhcpPort(n.ID) != nil {
		t.Error("a DHCP port without a DHCP subnet")
	}
	c.sound()
}

// TestDHCPWhereThereIsSpace: a subnet without a free address takes DHCP from no other, its
// port stays as it is while nothing changes, and gets the address as soon as there is one.
func TestDHCPWhereThereIsSpace(t *testing.T) {
	clk := newClock()
	var told strings.Builder
	client := storetest.Etcd(t)
	c := &cloud{t: t, client: client, Control: control.New(control.Options{Store: storetest.Open(t, client), Config: testConfig(),
		Now: clk.now, Log: slog.New(slog.NewTextHandler(&told, nil))})}
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	e, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Pools: ptr([]model.Pool{})})
	if err != nil || c.dhcpPort(n.ID) != nil {
		t.Fatalf("a DHCP port without an address: %v, %v", c.dhcpPort(n.ID), err)
	}
	clk.forward(time.Second)
	two := c.subnet(n, "10.0.1.0/24")
	d := c.dhcpPort(n.ID)
	if d == nil || len(d.FixedIPs) != 1 || d.FixedIPs[0].SubnetID != two.ID {
		t.Fatalf("DHCP port %+v", d)
	}
	for range 3 {
		if err := c.Heartbeat(t.Context(), "h1"); err != nil {
			t.Fatal(err)
		}
	}
	if again := c.dhcpPort(n.ID); again.Revision != d.Revision {
		t.Errorf("revision %d, was %d", again.Revision, d.Revision)
	}
	if lines := strings.Count(told.String(), "\n"); lines != 1 {
		t.Errorf("told %d times:\n%s", lines, told.String())
	}
	if _, err := c.UpdateSubnet(t.Context(), e.Value.ID, control.SubnetRequest{Pools: pools("10.0.0.9-10.0.0.9")}); err != nil {
		t.Fatal(err)
	}
	if d := c.dhcpPort(n.ID); len(d.FixedIPs) != 2 || d.FixedIPs[0].Addr != addr("10.0.0.9") {
		t.Errorf("DHCP port %+v", d)
	}
	c.sound()
}

// TestHostComesBack: what was refused while a host was taken for dead is made good when
// it is heard of again.
func TestHostComesBack(t *testing.T) {
	clk := newClock()
	c := cloudOn(t, storetest.Etcd(t), clk.now)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	clk.forward(80 * time.Second)
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/24")
	p := c.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")})
	if c.dhcpPort(n.ID) != nil || p.Binding.VIFType != model.VIFBindingFailed {
		t.Fatal("a dead host was used")
	}
	if err := c.Heartbeat(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if e, _ := c.Port(t.Context(), p.ID); c.dhcpPort(n.ID) == nil || e.Value.Binding.VIFType != model.VIFOVS {
		t.Errorf("DHCP port %v, binding %+v", c.dhcpPort(n.ID), e.Value.Binding)
	}
}

func TestStatusFollowsFacts(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	c.host(model.Host{Name: "h2"})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/24")
	vm := c.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")})
	bare := c.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h1"), FixedIPs: ips()})
	loose := c.port(control.PortRequest{NetworkID: n.ID})
	dhcp := c.dhcpPort(n.ID)
	for _, x := range []struct {
		name string
		host model.HostName
		id   model.PortID
		fact control.PortFact
		want model.PortStatus
	}{
		{"wired only", "h1", vm.ID, control.PortFact{Wired: true}, model.PortDown},
		{"dhcp only", "h1", vm.ID, control.PortFact{DHCP: true}, model.PortDown},
		{"from another host", "h2", vm.ID, control.PortFact{Wired: true, DHCP: true}, model.PortDown},
		{"both", "h1", vm.ID, control.PortFact{Wired: true, DHCP: true}, model.PortActive},
		{"no address", "h1", bare.ID, control.PortFact{Wired: true}, model.PortActive},
		{"the dhcp port itself", "h1", dhcp.ID, control.PortFact{Wired: true}, model.PortActive},
		{"unbound", "h1", loose.ID, control.PortFact{Wired: true, DHCP: true}, model.PortDown},
		{"unplugged", "h1", vm.ID, control.PortFact{DHCP: true}, model.PortDown},
		{"gone", "h1", "gone", control.PortFact{Wired: true}, ""},
	} {
		x.fact.PortID = x.id
		if err := c.ReportPorts(t.Context(), x.host, []control.PortFact{x.fact}); err != nil {
			t.Fatal(x.name, err)
		}
		if e, _ := c.Port(t.Context(), x.id); e != nil && e.Value.Status != x.want {
			t.Errorf("%s: %s, want %s", x.name, e.Value.Status, x.want)
		}
	}
	// Facts that change nothing write nothing; going administratively down shows at once.
	active := []control.PortFact{{PortID: vm.ID, Wired: true, DHCP: true}}
	_ = c.ReportPorts(t.Context(), "h1", active)
	before := c.store.Revision()
	_ = c.ReportPorts(t.Context(), "h1", active)
	if c.store.Revision() != before {
		t.Error("the same facts were written again")
	}
	e, err := c.UpdatePort(t.Context(), vm.ID, control.PortRequest{AdminStateUp: ptr(false)})
	if err != nil || e.Value.Status != model.PortDown {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = c.UpdatePort(t.Context(), vm.ID, control.PortRequest{AdminStateUp: ptr(true)}); err != nil || e.Value.Status != model.PortActive {
		t.Errorf("raised again, and still wired: %+v, %v", e, err)
	}
	// DHCP of a network that is administratively down is off as asked for.
	if _, err := c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{AdminStateUp: ptr(false)}); err != nil {
		t.Fatal(err)
	}
	_ = c.ReportPorts(t.Context(), "h1", []control.PortFact{{PortID: vm.ID, Wired: true}})
	if e, err := c.Port(t.Context(), vm.ID); err != nil || e.Value.Status != model.PortActive {
		t.Errorf("on a network that is down: %+v, %v", e, err)
	}
}

func TestReportManyPorts(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1"})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/22")
	reqs := make([]control.PortRequest, 300)
	for i := range reqs {
		reqs[i] = control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")}
	}
	made, err := c.CreatePorts(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	var facts []control.PortFact
	for _, e := range made {
		facts = append(facts, control.PortFact{PortID: e.Value.ID, Wired: true, DHCP: true})
	}
	start := time.Now()
	if err := c.ReportPorts(t.Context(), "h1", facts); err != nil {
		t.Fatal(err)
	}
	t.Log("300 ports went ACTIVE in", time.Since(start))
	c.Read(func(r store.Reader) {
		for e := range r.PortsOf(n.ID) {
			if e.Value.Status != model.PortActive {
				t.Errorf("%s is %s", e.Value.ID, e.Value.Status)
			}
		}
	})
}
