package control_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/control"
	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// v6 asks for a subnet with both modes.
func v6(n *model.Network, cidr string, mode model.IPv6Mode) control.SubnetRequest {
	return control.SubnetRequest{NetworkID: n.ID, IPVersion: 6, CIDR: netip.MustParsePrefix(cidr), RAMode: mode, AddressMode: mode}
}

func (c *cloud) subnet6(n *model.Network, cidr string, mode model.IPv6Mode) *model.Subnet {
	c.t.Helper()
	e, err := c.CreateSubnet(c.t.Context(), v6(n, cidr, mode))
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Value
}

// now returns the port as it is by now.
func (c *cloud) now(p *model.Port) *model.Port {
	c.t.Helper()
	e, err := c.Port(c.t.Context(), p.ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return e.Value
}

func eui64(s *model.Subnet, p *model.Port) model.FixedIP {
	return model.FixedIP{SubnetID: s.ID, Addr: ipam.EUI64(s.CIDR, p.MAC)}
}

func TestCreateSubnet6(t *testing.T) {
	c := newCloud(t)
	const both = "Invalid input for operation: ipv6_ra_mode set to 'slaac' with ipv6_address_mode set to 'dhcpv6-stateful' is not valid. If both attributes are set, they must be the same value."
	for _, x := range []struct {
		name, cidr string
		req        control.SubnetRequest
		want       string
		kind       model.FaultKind
	}{
		{"plain", "2001:db8::/64", control.SubnetRequest{}, "2001:db8:: [{2001:db8::1 2001:db8::ffff:ffff:ffff:ffff}]", 0},
		{"gateway", "2001:db8::/64", control.SubnetRequest{Gateway: ptr(addr("2001:db8::1"))}, "2001:db8::1 [{2001:db8::2 2001:db8::ffff:ffff:ffff:ffff}]", 0},
		{"link-local gateway", "2001:db8::/64", control.SubnetRequest{Gateway: ptr(addr("fe80::1"))}, "fe80::1 [{2001:db8::1 2001:db8::ffff:ffff:ffff:ffff}]", 0},
		{"/126", "2001:db8::/126", control.SubnetRequest{}, "2001:db8:: [{2001:db8::1 2001:db8::3}]", 0},
		{"ra mode only", "2001:db8::/64", control.SubnetRequest{RAMode: model.SLAAC}, "2001:db8:: [{2001:db8::1 2001:db8::ffff:ffff:ffff:ffff}]", 0},
		{"routes", "2001:db8::/64", control.SubnetRequest{HostRoutes: ptr([]model.Route{{Destination: netip.MustParsePrefix("2001::/64"), NextHop: addr("2003::1")}}),
			DNS: ptr([]netip.Addr{addr("2001:4860:4860::8888")})}, "2001:db8:: [{2001:db8::1 2001:db8::ffff:ffff:ffff:ffff}]", 0},
		{"/127 with dhcp", "2001:db8::/127", control.SubnetRequest{},
			"Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service enabled.", model.InvalidInput},
		{"nothing", "::/64", control.SubnetRequest{}, "Invalid input for operation: IPv6 subnet '::' is not supported.", model.InvalidInput},
		{"modes differ", "2001:db8::/64", control.SubnetRequest{RAMode: model.SLAAC, AddressMode: model.DHCPv6Stateful}, both, model.InvalidInput},
		{"slaac of /80", "2001:db8::/80", control.SubnetRequest{AddressMode: model.SLAAC},
			"Invalid input for operation: Invalid CIDR 2001:db8::/80 for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64.", model.InvalidInput},
		{"modes without dhcp", "2001:db8::/64", control.SubnetRequest{RAMode: model.DHCPv6Stateful, EnableDHCP: ptr(false)},
			"Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.", model.InvalidInput},
		{"modes of v4", "10.0.0.0/24", control.SubnetRequest{RAMode: model.SLAAC},
			"Invalid input for operation: ipv6_ra_mode is not valid when ip_version is 4.", model.InvalidInput},
		{"version", "10.0.0.0/24", control.SubnetRequest{IPVersion: 6},
			"Invalid input for operation: cidr '10.0.0.0/24' does not match the ip_version '6'.", model.InvalidInput},
		{"gateway of v4", "2001:db8::/64", control.SubnetRequest{Gateway: ptr(addr("10.0.0.1"))},
			"Invalid input for operation: gateway_ip '10.0.0.1' does not match the ip_version '6'.", model.InvalidInput},
		{"dns of v4", "2001:db8::/64", control.SubnetRequest{DNS: ptr([]netip.Addr{addr("10.0.0.1")})},
			"Invalid input for operation: dns_nameserver '10.0.0.1' does not match the ip_version '6'.", model.InvalidInput},
		{"pools of v4", "2001:db8::/64", control.SubnetRequest{Pools: pools("10.0.0.1-10.0.0.2")},
			"The allocation pool {'start': '10.0.0.1', 'end': '10.0.0.2'} is not valid.", model.InvalidAllocationPool},
		{"pool outside", "2001:db8::/64", control.SubnetRequest{Pools: pools("2001:db8::2-2001:db8:0:1::2")},
			"The allocation pool 2001:db8::2-2001:db8:0:1::2 spans beyond the subnet cidr 2001:db8::/64.", model.OutOfBoundsPool},
		{"neither cidr nor pool", "", control.SubnetRequest{IPVersion: 6},
			"Bad subnets request: a subnetpool must be specified in the absence of a cidr.", model.BadRequest},
		{"cidr and length", "2001:db8::/64", control.SubnetRequest{PrefixLen: ptr(int64(64))},
			"Bad subnets request: cidr and prefixlen must not be supplied together.", model.BadRequest},
	} {
		x.req.NetworkID = c.network(control.NetworkRequest{}).ID
		if x.cidr != "" {
			x.req.CIDR = netip.MustParsePrefix(x.cidr)
		}
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
	c.sound()
}

func TestMTUOfIPv6(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{MTU: ptr(1279)})
	text := "MTU of " + string(n.ID) + " is not valid, subnet requires a minimum of "
	_, err := c.CreateSubnet(t.Context(), v6(n, "2001:db8::/64", model.SLAAC))
	wantFault(t, err, model.MTUTooSmall, text+"1280")
	c.subnet(n, "10.0.0.0/24")
	if _, err := c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{MTU: ptr(1280)}); err != nil {
		t.Fatal(err)
	}
	c.subnet6(n, "2001:db8::/64", model.SLAAC)
	_, err = c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{MTU: ptr(1279)})
	wantFault(t, err, model.MTUTooSmall, text+"1280")
	_, err = c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{MTU: ptr(67)})
	wantFault(t, err, model.MTUTooSmall, text+"68")
}

// TestAddressesOfAPort: one address of IPv4, one of DHCPv6, and one of each SLAAC subnet.
func TestAddressesOfAPort(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	slaac := c.subnet6(n, "2001:db8:1::/64", model.SLAAC)
	v4a, v4b := c.subnet(n, "10.0.0.0/24"), c.subnet(n, "10.0.1.0/24")
	stateful := c.subnet6(n, "2001:db8:2::/64", model.DHCPv6Stateful)
	plain := c.subnet6(n, "2001:db8:3::/64", "")
	stateless := c.subnet6(n, "2001:db8:4::/64", model.DHCPv6Stateless)

	p := c.port(control.PortRequest{NetworkID: n.ID})
	if len(p.FixedIPs) != 4 || p.FixedIPs[0].SubnetID != v4a.ID || p.FixedIPs[1].SubnetID != stateful.ID ||
		p.FixedIPs[2] != eui64(slaac, p) || p.FixedIPs[3] != eui64(stateless, p) {
		t.Errorf("%v", p.FixedIPs)
	}
	// Wishes, and none: the addresses of SLAAC come in any case.
	p = c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: v4b.ID}, {Addr: addr("2001:db8:3::77")}, {SubnetID: slaac.ID}})})
	if len(p.FixedIPs) != 4 || p.FixedIPs[0].SubnetID != v4b.ID || p.FixedIPs[1] != (model.FixedIP{SubnetID: plain.ID, Addr: addr("2001:db8:3::77")}) ||
		p.FixedIPs[2] != eui64(slaac, p) || p.FixedIPs[3] != eui64(stateless, p) {
		t.Errorf("%v", p.FixedIPs)
	}
	p = c.port(control.PortRequest{NetworkID: n.ID, FixedIPs: ptr([]control.FixedIPRequest{})})
	if len(p.FixedIPs) != 2 {
		t.Errorf("%v", p.FixedIPs)
	}
	many, err := c.CreatePorts(t.Context(), []control.PortRequest{{NetworkID: n.ID}, {NetworkID: n.ID}})
	if err != nil || len(many[0].Value.FixedIPs) != 4 || len(many[1].Value.FixedIPs) != 4 {
		t.Errorf("bulk: %v, %v", many, err)
	}
	mac := model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}
	ask := func(a string, owner string) (*store.Entry[model.Port], error) {
		return c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, MAC: ptr(mac), DeviceOwner: ptr(owner),
			FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: slaac.ID, Addr: addr(a)}})})
	}
	_, err = ask("2001:db8:1::5", "")
	wantFault(t, err, model.AddressOnAutoSubnet,
		"IPv6 address 2001:db8:1::5 cannot be directly assigned to a port on subnet "+string(slaac.ID)+" as the subnet is configured for automatic addresses")
	if e, err := ask("2001:db8:1:0:f816:3eff:fe01:203", ""); err != nil || len(e.Value.FixedIPs) != 2 {
		t.Errorf("%v, %v", e, err)
	} else if err := c.DeletePort(t.Context(), e.Value.ID, control.Opt[int]{}); err != nil {
		t.Error(err)
	}
	// A router has the addresses that it was given, also the one that is nobody else's.
	if e, err := ask("2001:db8:1::", model.OwnerRouterInterface); err != nil || len(e.Value.FixedIPs) != 1 {
		t.Errorf("%v, %v", e, err)
	}
	_, err = c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, DeviceOwner: ptr("compute:nova"),
		FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: stateful.ID, Addr: addr("2001:db8:2::")}})})
	wantFault(t, err, model.InvalidIPForSubnet, "IP address 2001:db8:2:: is not a valid IP for the specified subnet.")
	c.sound()
}

func TestNewMACNewAddresses(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	v4, slaac := c.subnet(n, "10.0.0.0/24"), c.subnet6(n, "2001:db8::/64", model.SLAAC)
	p := c.port(control.PortRequest{NetworkID: n.ID})
	e, err := c.UpdatePort(t.Context(), p.ID, control.PortRequest{MAC: ptr(model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3})})
	if err != nil {
		t.Fatal(err)
	}
	if q := e.Value; !slices.Equal(q.FixedIPs, []model.FixedIP{p.FixedIPs[0], eui64(slaac, q)}) || q.FixedIPs[1] == p.FixedIPs[1] {
		t.Errorf("%v, was %v", q.FixedIPs, p.FixedIPs)
	}
	// Taking all addresses away leaves those that come by themselves.
	e, err = c.UpdatePort(t.Context(), p.ID, control.PortRequest{FixedIPs: ptr([]control.FixedIPRequest{})})
	if err != nil || !slices.Equal(e.Value.FixedIPs, []model.FixedIP{eui64(slaac, e.Value)}) {
		t.Errorf("%v, %v", e, err)
	}
	again, err := c.UpdatePort(t.Context(), p.ID, control.PortRequest{FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: slaac.ID}})})
	if err != nil || again.Value.Revision != e.Value.Revision {
		t.Errorf("asking for what is so: %v, %v", again, err)
	}
	e, err = c.UpdatePort(t.Context(), p.ID, control.PortRequest{FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: v4.ID}})})
	if err != nil || len(e.Value.FixedIPs) != 2 {
		t.Errorf("%v, %v", e, err)
	}
	c.sound()
}

// TestSubnetGivesPortsTheirAddress: a SLAAC subnet gives each port of its network an
// address when it comes, and takes it when it goes.
func TestSubnetGivesPortsTheirAddress(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/16")
	var reqs []control.PortRequest
	for range 501 { // more than one transaction of it
		reqs = append(reqs, control.PortRequest{NetworkID: n.ID})
	}
	ports, err := c.CreatePorts(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	router := c.port(control.PortRequest{NetworkID: n.ID, DeviceOwner: ptr(model.OwnerRouterInterface)})
	slaac := c.subnet6(n, "2001:db8::/64", model.SLAAC)
	for _, e := range ports {
		if p := c.now(e.Value); len(p.FixedIPs) != 2 || p.FixedIPs[1] != eui64(slaac, p) || p.Revision != e.Value.Revision+1 {
			t.Fatalf("%v, revision %d", p.FixedIPs, p.Revision)
		}
	}
	if d := c.dhcpPort(n.ID); len(d.FixedIPs) != 2 || d.FixedIPs[1] != eui64(slaac, d) {
		t.Errorf("DHCP port has %v", d.FixedIPs)
	}
	if p := c.now(router); len(p.FixedIPs) != 1 {
		t.Errorf("the router has %v", p.FixedIPs)
	}
	c.sound()
	_, err = c.UpdateSubnet(t.Context(), slaac.ID, control.SubnetRequest{EnableDHCP: ptr(false)})
	wantFault(t, err, model.InvalidInput, "Invalid input for operation: Cannot disable enable_dhcp with ipv6 attributes set.")
	wish := ptr([]control.FixedIPRequest{{SubnetID: slaac.ID}})
	if _, err := c.UpdatePort(t.Context(), router.ID, control.PortRequest{FixedIPs: wish}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, c.DeleteSubnet(t.Context(), slaac.ID, control.Opt[int]{}), model.SubnetInUse,
		"Unable to complete operation on subnet "+string(slaac.ID)+": One or more ports have an IP allocation from this subnet.")
	if err := c.DeletePort(t.Context(), router.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteSubnet(t.Context(), slaac.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if p := c.now(ports[500].Value); len(p.FixedIPs) != 1 {
		t.Errorf("%v", p.FixedIPs)
	}
	c.sound()
}

// TestPortOnSLAACAlone: a port without any IPv4 address does not wait for DHCP.
func TestPortOnSLAACAlone(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	c.subnet6(n, "2001:db8::/64", model.SLAAC)
	p := c.port(control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")})
	if err := c.ReportPorts(t.Context(), "h1", []control.PortFact{{PortID: p.ID, Wired: true}}); err != nil {
		t.Fatal(err)
	}
	if p = c.now(p); p.Status != model.PortActive {
		t.Errorf("status %s", p.Status)
	}
}

func TestServiceTypes(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	make := func(cidr string, types ...string) *model.Subnet {
		t.Helper()
		e, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix(cidr), ServiceTypes: ptr(types)})
		if err != nil {
			t.Fatal(err)
		}
		return e.Value
	}
	fip := make("10.0.0.0/24", model.OwnerFloatingIP)
	_, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, DeviceOwner: ptr("compute:nova")})
	wantFault(t, err, model.NoServiceSubnet,
		"No valid service subnet for the given device owner, network "+string(n.ID)+", service type compute:nova.")
	all, nova := make("10.1.0.0/24"), make("10.2.0.0/24", "compute:nova", model.OwnerRouterGateway)
	for owner, want := range map[string]*model.Subnet{model.OwnerFloatingIP: fip, "compute:nova": nova, "": all, "compute:az": all, model.OwnerDHCP: fip} {
		p := c.port(control.PortRequest{NetworkID: n.ID, DeviceOwner: ptr(owner)})
		if len(p.FixedIPs) != 1 || p.FixedIPs[0].SubnetID != want.ID {
			t.Errorf("%q got %v, want one of %s", owner, p.FixedIPs, want.CIDR)
		}
	}
	_, err = c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, FixedIPs: ptr([]control.FixedIPRequest{{SubnetID: fip.ID}})})
	wantFault(t, err, model.InvalidInput, fmt.Sprintf(
		"Invalid input for operation: Failed to create port on network %s, because fixed_ips included invalid subnet %s.", n.ID, fip.ID))
	c.sound()
}
