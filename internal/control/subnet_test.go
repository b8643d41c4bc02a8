package control_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
)

func pools(text string) control.Opt[[]model.Pool] {
	var out []model.Pool
	for _, s := range strings.Fields(text) {
		a, b, _ := strings.Cut(s, "-")
		out = append(out, model.Pool{First: addr(a), Last: addr(b)})
	}
	return ptr(out)
}

func TestCreateSubnet(t *testing.T) {
	c := newCloud(t)
	none := ptr(netip.Addr{})
	long := func(n int) (out []netip.Addr) {
		for range n {
			out = append(out, addr("192.0.2.1"))
		}
		return out
	}
	for _, x := range []struct {
		name string
		cidr string
		req  control.SubnetRequest
		want string // "gateway pools", or the message
		kind model.FaultKind
	}{
		{"plain", "10.77.0.0/24", control.SubnetRequest{}, "10.77.0.1 [{10.77.0.2 10.77.0.254}]", 0},
		{"host bits", "10.77.0.9/24", control.SubnetRequest{}, "10.77.0.1 [{10.77.0.2 10.77.0.254}]", 0},
		{"no gateway", "10.77.0.0/24", control.SubnetRequest{Gateway: none}, "invalid IP [{10.77.0.1 10.77.0.254}]", 0},
		{"gateway in the middle", "10.77.0.0/29", control.SubnetRequest{Gateway: ptr(addr("10.77.0.3"))},
			"10.77.0.3 [{10.77.0.1 10.77.0.2} {10.77.0.4 10.77.0.6}]", 0},
		{"pools", "10.77.0.0/24", control.SubnetRequest{Pools: pools("10.77.0.90-10.77.0.99 10.77.0.10-10.77.0.19")},
			"10.77.0.1 [{10.77.0.10 10.77.0.19} {10.77.0.90 10.77.0.99}]", 0},
		{"/31 without dhcp", "10.77.0.0/31", control.SubnetRequest{EnableDHCP: ptr(false), Gateway: none}, "invalid IP [{10.77.0.0 10.77.0.1}]", 0},
		{"/32 without dhcp", "10.77.0.7/32", control.SubnetRequest{EnableDHCP: ptr(false)}, "10.77.0.8 [{10.77.0.7 10.77.0.7}]", 0},
		{"/31 with dhcp", "10.77.0.0/31", control.SubnetRequest{},
			"Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service enabled.", model.InvalidInput},
		{"multicast", "224.1.0.0/24", control.SubnetRequest{},
			"Invalid input for operation: Multicast IP subnet is not supported if enable_dhcp is True.", model.InvalidInput},
		{"loopback", "127.1.0.0/24", control.SubnetRequest{},
			"Invalid input for operation: Loopback IP subnet is not supported if enable_dhcp is True.", model.InvalidInput},
		{"everything", "1.0.0.0/0", control.SubnetRequest{EnableDHCP: ptr(false), Gateway: none},
			"Invalid input for operation: 0 is not allowed as CIDR prefix length.", model.InvalidInput},
		{"gateway is broadcast", "10.77.0.0/24", control.SubnetRequest{Gateway: ptr(addr("10.77.0.255"))},
			"Invalid input for operation: Gateway is not valid on subnet.", model.InvalidInput},
		{"gateway in pool", "10.77.0.0/24", control.SubnetRequest{Pools: pools("10.77.0.1-10.77.0.9")},
			"Gateway ip 10.77.0.1 conflicts with allocation pool 10.77.0.1-10.77.0.9.", model.GatewayConflictsPool},
		{"pool backwards", "10.77.0.0/24", control.SubnetRequest{Pools: pools("10.77.0.9-10.77.0.2")},
			"The allocation pool {'start': '10.77.0.9', 'end': '10.77.0.2'} is not valid.", model.InvalidAllocationPool},
		{"pool outside", "10.77.0.0/24", control.SubnetRequest{Pools: pools("10.77.0.9-10.77.1.2")},
			"The allocation pool 10.77.0.9-10.77.1.2 spans beyond the subnet cidr 10.77.0.0/24.", model.OutOfBoundsPool},
		{"pools overlap", "10.77.0.0/24", control.SubnetRequest{Pools: pools("10.77.0.9-10.77.0.20 10.77.0.20-10.77.0.30")},
			"Found overlapping allocation pools: 10.77.0.9-10.77.0.20 10.77.0.20-10.77.0.30 for subnet 10.77.0.0/24.", model.OverlappingPools},
		{"nameservers", "10.77.0.0/24", control.SubnetRequest{DNS: ptr(long(6))},
			"Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 5.", model.NameserversExhausted},
		{"routes", "10.77.0.0/24", control.SubnetRequest{HostRoutes: ptr(make([]model.Route, 21))},
			"Unable to complete operation for new subnet. The number of host routes exceeds the limit 20.", model.HostRoutesExhausted},
	} {
		x.req.NetworkID = c.network(control.NetworkRequest{}).ID
		x.req.CIDR = netip.MustParsePrefix(x.cidr)
		e, err := c.CreateSubnet(t.Context(), x.req)
		if x.kind != 0 {
			wantFault(t, err, x.kind, x.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if got := fmt.Sprint(e.Value.Gateway, " ", e.Value.Pools); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.77.0.0/24")
	_, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix("10.77.0.128/25")})
	wantFault(t, err, model.InvalidInput, "Invalid input for operation: Requested subnet with cidr: 10.77.0.128/25 for network: "+
		string(n.ID)+" overlaps with another subnet.")
	c.sound()
}

func TestUpdateSubnet(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	s := c.subnet(n, "10.0.0.0/24")
	e, err := c.UpdateSubnet(t.Context(), s.ID, control.SubnetRequest{Name: ptr("x"), DNS: ptr([]netip.Addr{addr("192.0.2.53")})})
	if err != nil || e.Value.Name != "x" || e.Value.Revision != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if e, _ := c.Network(t.Context(), n.ID); e.Value.Revision != 3 {
		t.Errorf("network revision %d after a subnet was made and changed, want 3", e.Value.Revision)
	}
	_, err = c.UpdateSubnet(t.Context(), s.ID, control.SubnetRequest{Gateway: ptr(addr("10.0.0.7"))})
	wantFault(t, err, model.GatewayConflictsPool, "Gateway ip 10.0.0.7 conflicts with allocation pool 10.0.0.2-10.0.0.254.")
	e, err = c.UpdateSubnet(t.Context(), s.ID, control.SubnetRequest{Gateway: ptr(addr("10.0.0.254")), Pools: pools("10.0.0.10-10.0.0.20")})
	if err != nil || fmt.Sprint(e.Value.Gateway, e.Value.Pools) != "10.0.0.254 [{10.0.0.10 10.0.0.20}]" {
		t.Errorf("%+v, %v", e, err)
	}
	p := c.port(control.PortRequest{NetworkID: n.ID})
	if a := p.FixedIPs[0].Addr; a.Less(addr("10.0.0.10")) || addr("10.0.0.20").Less(a) {
		t.Errorf("%v is outside the new pool", a)
	}
	e, err = c.UpdateSubnet(t.Context(), s.ID, control.SubnetRequest{Gateway: ptr(netip.Addr{})})
	if err != nil || e.Value.Gateway.IsValid() {
		t.Errorf("%+v, %v", e, err)
	}
	c.sound()
}

func TestDeleteSubnet(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	a, b := c.subnet(n, "10.0.0.0/24"), c.subnet(n, "10.1.0.0/24")
	if d := c.dhcpPort(n.ID); len(d.FixedIPs) != 2 {
		t.Fatalf("DHCP port has %v", d.FixedIPs)
	}
	p := c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: a.ID}})})
	err := c.DeleteSubnet(t.Context(), a.ID, control.Opt[int]{})
	wantFault(t, err, model.SubnetInUse, "Unable to complete operation on subnet "+string(a.ID)+
		": One or more ports have an IP allocation from this subnet.")
	if err := c.DeletePort(t.Context(), p.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteSubnet(t.Context(), a.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if d := c.dhcpPort(n.ID); d == nil || len(d.FixedIPs) != 1 || d.FixedIPs[0].SubnetID != b.ID {
		t.Fatalf("DHCP port: %+v", d)
	}
	if err := c.DeleteSubnet(t.Context(), b.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if d := c.dhcpPort(n.ID); d != nil {
		t.Errorf("DHCP port outlives the last subnet: %+v", d)
	}
	c.sound()
}
