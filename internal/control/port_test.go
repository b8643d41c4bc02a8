package control_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
)

func ips(reqs ...control.FixedIPRequest) control.Opt[[]control.FixedIPRequest] { return ptr(reqs) }

func mac(s string) model.MAC {
	m, err := model.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func TestCreatePortDefaults(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	s := c.subnet(n, "10.77.0.0/24")
	p := c.port(control.PortRequest{Project: "p", NetworkID: n.ID, Name: ptr("s-p1")})
	if !strings.HasPrefix(p.MAC.String(), "fa:16:3e:") || p.Status != model.PortDown || p.Revision != 1 || !p.AdminStateUp ||
		!p.PortSecurity || p.Binding.VIFType != model.VIFUnbound || p.Binding.VNICType != "normal" {
		t.Errorf("%+v", p)
	}
	if len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != s.ID || !s.Pools[0].Contains(p.FixedIPs[0].Addr) {
		t.Errorf("addresses %v", p.FixedIPs)
	}
	bare := c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ips()})
	if len(bare.FixedIPs) != 0 {
		t.Errorf("asked for no address, got %v", bare.FixedIPs)
	}
	if p := c.port(control.PortRequest{NetworkID: c.network(control.NetworkRequest{}).ID}); len(p.FixedIPs) != 0 {
		t.Errorf("address %v on a network without subnets", p.FixedIPs)
	}
	d := c.port(control.PortRequest{NetworkID: n.ID, DeviceOwner: ptr(model.OwnerDHCP)})
	if d.FixedIPs[0].Addr != addr("10.77.0.2") && p.FixedIPs[0].Addr != addr("10.77.0.2") || d.PortSecurity {
		t.Errorf("DHCP port: %+v", d)
	}
}

func TestPortWishes(t *testing.T) {
	c := newCloud(t)
	n, other := c.network(control.NetworkRequest{}), c.network(control.NetworkRequest{})
	s1, s2, s3 := c.subnet(n, "10.77.0.0/24"), c.subnet(n, "10.78.0.0/24"), c.subnet(other, "10.79.0.0/24")
	many := make([]control.AddressPairRequest, 11)
	for _, x := range []struct {
		name string
		req  control.PortRequest
		want string // addresses, or the message
		kind model.FaultKind
	}{
		{"address", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.78.0.5")})}, "[10.78.0.5]", 0},
		{"same address", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.78.0.5")})},
			"IP address 10.78.0.5 already allocated in subnet " + string(s2.ID), model.IPAlreadyAllocated},
		{"both", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{SubnetID: s1.ID, Addr: addr("10.77.0.5")},
			control.FixedIPRequest{SubnetID: s2.ID, Addr: addr("10.78.0.6")})}, "[10.77.0.5 10.78.0.6]", 0},
		{"the gateway, by name", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.78.0.1")})}, "[10.78.0.1]", 0},
		{"outside subnet", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{SubnetID: s1.ID, Addr: addr("10.88.0.5")})},
			"IP address 10.88.0.5 is not a valid IP for the specified subnet.", model.InvalidIPForSubnet},
		{"broadcast", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{SubnetID: s1.ID, Addr: addr("10.77.0.255")})},
			"IP address 10.77.0.255 is not a valid IP for the specified subnet.", model.InvalidIPForSubnet},
		{"outside network", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.200.0.1")})},
			"IP address 10.200.0.1 is not a valid IP for any of the subnets on the specified network.", model.InvalidIPForNetwork},
		{"foreign subnet", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{SubnetID: s3.ID})},
			fmt.Sprintf("Invalid input for operation: Failed to create port on network %s, because fixed_ips included invalid subnet %s.", n.ID, s3.ID), model.InvalidInput},
		{"nothing", control.PortRequest{FixedIPs: ips(control.FixedIPRequest{})},
			"Invalid input for operation: IP allocation requires subnet_id or ip_address.", model.InvalidInput},
		{"six", control.PortRequest{FixedIPs: ips(make([]control.FixedIPRequest, 6)...)},
			"Invalid input for operation: Exceeded maximum amount of fixed ips per port.", model.InvalidInput},
		{"mac", control.PortRequest{MAC: ptr(mac("02:00:00:00:00:01")), FixedIPs: ips()}, "[]", 0},
		{"same mac", control.PortRequest{MAC: ptr(mac("02:00:00:00:00:01"))},
			"Unable to complete operation for network " + string(n.ID) + ". The mac address 02:00:00:00:00:01 is in use.", model.MACInUse},
		{"pairs without security", control.PortRequest{PortSecurity: ptr(false), AddressPairs: ptr(many[:1])},
			"Port Security must be enabled in order to have allowed address pairs on a port.", model.AddressPairNeedsSecurity},
		{"too many pairs", control.PortRequest{AddressPairs: ptr(many)},
			"The number of allowed address pair exceeds the maximum 10.", model.AddressPairExhausted},
	} {
		x.req.NetworkID = n.ID
		e, err := c.CreatePort(t.Context(), x.req)
		if x.kind != 0 {
			wantFault(t, err, x.kind, x.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		var got []netip.Addr
		for _, f := range e.Value.FixedIPs {
			got = append(got, f.Addr)
		}
		if fmt.Sprint(got) != x.want {
			t.Errorf("%s: %v, want %s", x.name, got, x.want)
		}
	}
	for _, x := range []struct {
		req  control.PortRequest
		want model.NotFound
	}{
		{control.PortRequest{NetworkID: "gone"}, model.NotFound{Kind: model.KindNetwork, ID: "gone"}},
		{control.PortRequest{NetworkID: n.ID, FixedIPs: ips(control.FixedIPRequest{SubnetID: "gone"})}, model.NotFound{Kind: model.KindSubnet, ID: "gone"}},
	} {
		if _, err := c.CreatePort(t.Context(), x.req); !errors.Is(err, x.want) {
			t.Errorf("got %v, want %v", err, x.want)
		}
	}
	// The same MAC on another network is another matter.
	c.port(control.PortRequest{NetworkID: other.ID, MAC: ptr(mac("02:00:00:00:00:01"))})
	c.sound()
}

func TestExhaustedSubnetsInTurn(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	first, second := c.subnet(n, "10.0.0.0/30"), c.subnet(n, "10.0.1.0/30")
	a, b := c.port(control.PortRequest{NetworkID: n.ID}), c.port(control.PortRequest{NetworkID: n.ID})
	if got := map[model.SubnetID]bool{a.FixedIPs[0].SubnetID: true, b.FixedIPs[0].SubnetID: true}; !got[first.ID] || !got[second.ID] {
		t.Errorf("got %v", got)
	}
	_, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID})
	wantFault(t, err, model.IPExhausted, "No more IP addresses available on network "+string(n.ID)+".")
	_, err = c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, FixedIPs: ips(control.FixedIPRequest{SubnetID: first.ID})})
	wantFault(t, err, model.IPExhausted, "No more IP addresses available on network "+string(n.ID)+".")
	var f model.Fault
	if errors.As(err, &f) && !strings.Contains(f.Detail, "all 1 addresses") {
		t.Errorf("detail: %s", f.Detail)
	}
	if err := c.DeletePort(t.Context(), a.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if p := c.port(control.PortRequest{NetworkID: n.ID}); p.FixedIPs[0] != a.FixedIPs[0] {
		t.Errorf("%v, want the address given back, %v", p.FixedIPs, a.FixedIPs)
	}
}

func TestUpdatePort(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1"})
	n := c.network(control.NetworkRequest{})
	s := c.subnet(n, "10.0.0.0/24")
	p := c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.0.0.10")})})
	update := func(req control.PortRequest) *model.Port {
		t.Helper()
		e, err := c.UpdatePort(t.Context(), p.ID, req)
		if err != nil {
			t.Fatal(err)
		}
		return e.Value
	}
	if got := update(control.PortRequest{Name: ptr("renamed"), AdminStateUp: ptr(false)}); got.Revision != 2 || got.Name != "renamed" || got.AdminStateUp {
		t.Errorf("%+v", got)
	}
	if got := update(control.PortRequest{Name: ptr("renamed")}); got.Revision != 2 {
		t.Errorf("an update to the same counts: revision %d", got.Revision)
	}
	got := update(control.PortRequest{FixedIPs: ips(control.FixedIPRequest{SubnetID: s.ID}, control.FixedIPRequest{Addr: addr("10.0.0.11")})})
	if fmt.Sprint(got.FixedIPs[0].Addr, got.FixedIPs[1].Addr) != "10.0.0.10 10.0.0.11" {
		t.Errorf("one address of the subnet is to be kept: %v", got.FixedIPs)
	}
	got = update(control.PortRequest{FixedIPs: ips(control.FixedIPRequest{SubnetID: s.ID, Addr: addr("10.0.0.12")})})
	if fmt.Sprint(got.FixedIPs[0].Addr) != "10.0.0.12" || len(got.FixedIPs) != 1 {
		t.Errorf("%v", got.FixedIPs)
	}
	c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.0.0.10")})}) // free again
	_, err := c.UpdatePort(t.Context(), p.ID, control.PortRequest{FixedIPs: ips(control.FixedIPRequest{Addr: addr("10.0.0.10")})})
	wantFault(t, err, model.IPAlreadyAllocated, "IP address 10.0.0.10 already allocated in subnet "+string(s.ID))
	if got := update(control.PortRequest{MAC: ptr(mac("02:00:00:00:00:09"))}); got.MAC != mac("02:00:00:00:00:09") {
		t.Errorf("MAC %v", got.MAC)
	}
	_ = update(control.PortRequest{DHCPOptions: ptr([]control.DHCPOptionRequest{
		{DHCPOption: model.DHCPOption{Name: "66", Value: "a"}}, {DHCPOption: model.DHCPOption{Name: "67", Value: "b", IPVersion: 4}}})})
	got = update(control.PortRequest{DHCPOptions: ptr([]control.DHCPOptionRequest{
		{DHCPOption: model.DHCPOption{Name: "66"}, Delete: true}, {DHCPOption: model.DHCPOption{Name: "67", Value: "c"}}})})
	if fmt.Sprint(got.DHCPOptions) != "[{67 c 4}]" {
		t.Errorf("options %v", got.DHCPOptions)
	}
	got = update(control.PortRequest{AddressPairs: ptr([]control.AddressPairRequest{{Prefix: netip.MustParsePrefix("10.0.0.200/32")}})})
	if len(got.AddressPairs) != 1 || got.AddressPairs[0].MAC != got.MAC {
		t.Errorf("pairs %v", got.AddressPairs)
	}
	_, err = c.UpdatePort(t.Context(), p.ID, control.PortRequest{PortSecurity: ptr(false)})
	wantFault(t, err, model.AddressPairNeedsSecurity, "Port Security must be enabled in order to have allowed address pairs on a port.")
	got = update(control.PortRequest{HostID: ptr("h1")})
	_, err = c.UpdatePort(t.Context(), p.ID, control.PortRequest{MAC: ptr(mac("02:00:00:00:00:0a"))})
	wantFault(t, err, model.PortBound, "Unable to complete operation on port "+string(p.ID)+
		", port is already bound, port type: ovs, old_mac 02:00:00:00:00:09, new_mac 02:00:00:00:00:0a.")
	_, err = c.UpdatePort(t.Context(), p.ID, control.PortRequest{IfRevision: ptr(1)})
	wantFault(t, err, model.RevisionConflict, fmt.Sprintf("Constrained to 1, but current revision is %d", got.Revision))
	c.sound()
}

// TestEmptyIsNothing: to ask for nothing where there is nothing changes nothing, not even
// the revision, however empty is said.
func TestEmptyIsNothing(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	s := c.subnet(n, "10.0.0.0/24")
	p := c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ips()})
	e, err := c.UpdatePort(t.Context(), p.ID, control.PortRequest{FixedIPs: ips(), SecurityGroups: ptr([]string{}),
		DHCPOptions: ptr([]control.DHCPOptionRequest{}), AddressPairs: ptr([]control.AddressPairRequest{}), Profile: ptr(map[string]any{})})
	if err != nil || e.Value.Revision != 1 {
		t.Errorf("port: %+v, %v", e.Value, err)
	}
	sub, err := c.UpdateSubnet(t.Context(), s.ID, control.SubnetRequest{DNS: ptr([]netip.Addr{}), HostRoutes: ptr([]model.Route{}), ServiceTypes: ptr([]string{})})
	if err != nil || sub.Value.Revision != 0 {
		t.Errorf("subnet: %+v, %v", sub.Value, err)
	}
}

// TestOptionsMerge: by name and IP version, in the order they came; all in one go.
func TestOptionsMerge(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	option := func(name, value string, gone bool) control.DHCPOptionRequest {
		return control.DHCPOptionRequest{DHCPOption: model.DHCPOption{Name: name, Value: value, IPVersion: 4}, Delete: gone}
	}
	p := c.port(control.PortRequest{NetworkID: n.ID, DHCPOptions: ptr([]control.DHCPOptionRequest{
		option("a", "1", false), option("b", "2", false), option("a", "3", false), option("c", "", true), option("d", "4", false)})})
	if got := fmt.Sprint(p.DHCPOptions); got != "[{a 3 4} {b 2 4} {d 4 4}]" {
		t.Errorf("made: %s", got)
	}
	e, err := c.UpdatePort(t.Context(), p.ID, control.PortRequest{DHCPOptions: ptr([]control.DHCPOptionRequest{
		option("a", "", true), option("e", "5", false), option("a", "6", false)})})
	if err != nil || fmt.Sprint(e.Value.DHCPOptions) != "[{b 2 4} {d 4 4} {e 5 4} {a 6 4}]" {
		t.Errorf("changed: %+v, %v", e.Value.DHCPOptions, err)
	}
}
