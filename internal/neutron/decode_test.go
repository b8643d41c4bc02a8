package neutron

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weft/internal/control"
	"weft/internal/model"
)

const (
	someUUID  = "7ac9e862-c147-4691-b95e-a6289d3deed4"
	otherUUID = "fb39a3bc-5147-44fb-8989-1aba1143fc69"
)

// decode runs what a POST (or PUT) to the table does up to the verb.
func decode[M, R any](t *table[M, R], method, text string) (R, error) {
	var none R
	body, err := decodeBody([]byte(text))
	if err != nil {
		return none, err
	}
	given, _, err := t.given(body)
	if err != nil {
		return none, err
	}
	if method == "POST" {
		return t.create(given[0], "p1")
	}
	return t.update(given[0])
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ resource, method, body, want string }{
		{"network", "POST", ``, "HTTPBadRequest: Unable to find 'network' in request body"},
		{"network", "POST", `{}`, "HTTPBadRequest: Unable to find 'network' in request body"},
		{"network", "POST", `{"network":null}`, "HTTPBadRequest: Unable to find 'network' in request body"},
		{"network", "POST", `{"network":[]}`, "HTTPBadRequest: Object 'network' contains invalid data"},
		{"network", "POST", `[]`, "HTTPBadRequest: Body contains invalid data"},
		{"network", "POST", `{"network":`, "MalformedRequestBody: Malformed request body: Cannot understand JSON."},
		{"network", "POST", `{"network":{}} x`, "MalformedRequestBody: Malformed request body: Cannot understand JSON."},
		{"network", "POST", `{"networks":[]}`, "HTTPBadRequest: Resources required"},
		{"network", "POST", `{"networks":{}}`, "HTTPBadRequest: Body contains invalid data"},
		{"network", "POST", `{"networks":[1]}`, "HTTPBadRequest: Body contains invalid data"},
		{"network", "POST", `{"networks":[{"network":1}]}`, "HTTPBadRequest: Object 'network' contains invalid data"},
		{"network", "POST", `{"network":{"nam":"x","b":1}}`, "HTTPBadRequest: Unrecognized attribute(s) 'b, nam'"},
		{"network", "POST", `{"network":{"status":"x","id":"y"}}`, "HTTPBadRequest: Attribute 'id' not allowed in POST"},
		{"network", "PUT", `{"network":{"status":"x","id":"y"}}`, "HTTPBadRequest: Cannot update read-only attribute id"},
		{"network", "PUT", `{"network":{"project_id":"y"}}`, "HTTPBadRequest: Cannot update read-only attribute tenant_id"},
		{"network", "POST", `{"network":{"project_id":"a","tenant_id":"b"}}`, "HTTPBadRequest: 'project_id' and 'tenant_id' do not match"},
		{"network", "POST", `{"network":{"project_id":1}}`, "HTTPBadRequest: Invalid input for tenant_id. Reason: '1' is not a valid string."},
		{"network", "POST", `{"network":{"name":null}}`, "HTTPBadRequest: Invalid input for name. Reason: 'None' is not a valid string."},
		{"network", "POST", `{"network":{"name":{"a":[1,true,null,"x"]}}}`, "HTTPBadRequest: Invalid input for name. Reason: '{'a': [1, True, None, 'x']}' is not a valid string."},
		{"network", "POST", `{"network":{"admin_state_up":null}}`, "InvalidInput: Invalid input for operation: 'None' cannot be converted to boolean."},
		{"network", "POST", `{"network":{"mtu":"x"}}`, "InvalidInput: Invalid input for operation: 'x' is not an integer."},
		{"network", "POST", `{"network":{"mtu":-1}}`, "HTTPBadRequest: Invalid input for mtu. Reason: '-1' should be non-negative."},
		{"network", "POST", `{"network":{"mtu":1e300}}`, "InvalidInput: Invalid input for operation: '1e300' is not an integer."},
		{"network", "POST", `{"network":{"provider:segmentation_id":"x"}}`, "InvalidInput: Invalid input for operation: 'x' is not an integer."},
		{"network", "POST", `{"network":{"availability_zone_hints":["a","a"]}}`, "HTTPBadRequest: Invalid input for availability_zone_hints. Reason: Duplicate items in the list: 'a'."},
		{"network", "POST", `{"network":{"availability_zone_hints":["nova","mars"]}}`, "network: availability_zone mars could not be found"},
		{"network", "POST", `{"network":{"tags":["a"]}}`, "HTTPBadRequest: Attribute 'tags' not allowed in POST"},

		{"subnet", "POST", `{"subnet":{}}`, "HTTPBadRequest: Failed to parse request. Required attribute 'ip_version' not specified"},
		{"subnet", "POST", `{"subnet":{"ip_version":4}}`, "HTTPBadRequest: Failed to parse request. Required attribute 'network_id' not specified"},
		{"subnet", "POST", subnet(`"ip_version":5`), "HTTPBadRequest: Invalid input for ip_version. Reason: 5 is not in [4, 6]."},
		{"subnet", "POST", subnet(`"cidr":7`), "InvalidInput: Invalid input for operation: 7 is not in a CIDR format."},
		{"subnet", "POST", subnet(`"gateway_ip":"10.0.0.300"`), "HTTPBadRequest: Invalid input for gateway_ip. Reason: '10.0.0.300' is not a valid IP address."},
		{"subnet", "POST", subnet(`"allocation_pools":"x"`), "HTTPBadRequest: Invalid input for allocation_pools. Reason: Invalid data format for IP pool: 'x'."},
		{"subnet", "POST", subnet(`"allocation_pools":[{"start":"10.0.0.1"}]`), "HTTPBadRequest: Invalid input for allocation_pools. Reason: Validation of dictionary's keys failed. Expected keys: {'start', 'end'} Provided keys: {'start'}."},
		{"subnet", "POST", subnet(`"dns_nameservers":["x"]`), "HTTPBadRequest: Invalid input for dns_nameservers. Reason: 'x' is not a valid nameserver. 'x' is not a valid IP address."},
		{"subnet", "POST", subnet(`"dns_nameservers":["1.1.1.1","1.1.1.1"]`), "HTTPBadRequest: Invalid input for dns_nameservers. Reason: Duplicate nameserver '1.1.1.1'."},
		{"subnet", "POST", subnet(`"host_routes":[{"destination":"10.9.0.0","nexthop":"10.0.0.9"}]`), "HTTPBadRequest: Invalid input for host_routes. Reason: '10.9.0.0' isn't a recognized IP subnet cidr, '10.9.0.0/32' is recommended."},
		{"subnet", "POST", subnet(`"ipv6_ra_mode":"x"`), "HTTPBadRequest: Invalid input for ipv6_ra_mode. Reason: x is not in ['dhcpv6-stateful', 'dhcpv6-stateless', 'slaac']."},
		{"subnet", "POST", subnet(`"prefixlen":-1`), "HTTPBadRequest: Invalid input for prefixlen. Reason: '-1' should be non-negative."},
		{"subnet", "POST", subnet(`"subnetpool_id":"x"`), "HTTPBadRequest: Invalid input for subnetpool_id. Reason: 'x' is not a valid UUID."},
		{"subnet", "POST", subnet(`"service_types":"x"`), "HTTPBadRequest: Subnet service types must be a list."},
		{"subnet", "POST", subnet(`"service_types":[7]`), "InvalidInputSubnetServiceType: Subnet service type 7 is not a string."},
		{"subnet", "POST", subnet(`"service_types":["nova"]`), "InvalidSubnetServiceType: Subnet service type nova does not correspond to a valid device owner."},
		{"subnet", "PUT", `{"subnet":{"cidr":"10.0.0.0/8"}}`, "HTTPBadRequest: Cannot update read-only attribute cidr"},
		{"subnet", "PUT", `{"subnet":{"shared":true}}`, "HTTPBadRequest: Cannot update read-only attribute shared"},

		{"port", "POST", `{"port":{}}`, "HTTPBadRequest: Failed to parse request. Required attribute 'network_id' not specified"},
		{"port", "POST", port(`"mac_address":"00:00:00:00:00:00"`), "HTTPBadRequest: Invalid input for mac_address. Reason: '00:00:00:00:00:00' is not a valid MAC address."},
		{"port", "POST", port(`"fixed_ips":null`), "HTTPBadRequest: Invalid input for fixed_ips. Reason: Invalid data format for fixed IP: 'None'."},
		{"port", "POST", port(`"fixed_ips":[{}]`), "InvalidInput: Invalid input for operation: IP allocation requires subnet_id or ip_address."},
		{"port", "POST", port(`"fixed_ips":[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.1"}]`), "HTTPBadRequest: Invalid input for fixed_ips. Reason: Duplicate IP address '10.0.0.1'."},
		{"port", "POST", port(`"fixed_ips":[{"subnet_id":"x"}]`), "HTTPBadRequest: Invalid input for fixed_ips. Reason: 'x' is not a valid UUID."},
		{"port", "POST", port(`"security_groups":["` + otherUUID + `"]`), "nothing wrong"},
		{"port", "POST", port(`"security_groups":["web"]`), "HTTPBadRequest: Invalid input for security_groups. Reason: 'web' is not a valid UUID."},
		{"port", "POST", port(`"security_groups":"web"`), "HTTPBadRequest: Invalid input for security_groups. Reason: 'web' is not a list."},
		{"port", "POST", port(`"binding:vnic_type":"x"`), "HTTPBadRequest: Invalid input for binding:vnic_type. Reason: x is not in ['normal', 'direct', 'macvtap', 'baremetal', 'direct-physical', 'virtio-forwarder', 'smart-nic', 'vdpa', 'accelerator-direct', 'accelerator-direct-physical', 'remote-managed']."},
		{"port", "POST", port(`"binding:profile":[]`), "HTTPBadRequest: Invalid input for binding:profile. Reason: '[]' is not a dictionary."},
		{"port", "POST", port(`"binding:vif_type":"ovs"`), "HTTPBadRequest: Attribute 'binding:vif_type' not allowed in POST"},
		{"port", "POST", port(`"extra_dhcp_opts":[{"opt_name":"x"}]`), "InvalidInput: Invalid input for operation: No valid key specs matched for: {'opt_name': 'x'}."},
		{"port", "POST", port(`"extra_dhcp_opts":[{"opt_name":"x","opt_value":" "}]`), "InvalidInput: Invalid input for operation: No valid key specs matched for: {'opt_name': 'x', 'opt_value': ' '}."},
		{"port", "POST", port(`"dns_name":"a_b"`), "HTTPBadRequest: Invalid input for dns_name. Reason: 'a_b' not a valid PQDN or FQDN. Reason: Name 'a_b' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen."},
		{"port", "POST", port(`"dns_name":"-a"`), "HTTPBadRequest: Invalid input for dns_name. Reason: '-a' not a valid PQDN or FQDN. Reason: Name '-a' must not start or end with a hyphen."},
		{"port", "POST", port(`"dns_name":"a..b"`), "HTTPBadRequest: Invalid input for dns_name. Reason: 'a..b' not a valid PQDN or FQDN. Reason: Encountered an empty component."},
		{"port", "POST", port(`"dns_name":"a.1"`), "HTTPBadRequest: Invalid input for dns_name. Reason: 'a.1' not a valid PQDN or FQDN. Reason: TLD '1' must not be all numeric."},
		{"port", "POST", port(`"dns_name":1`), "InvalidInput: Invalid input for operation: Input value 1 must be string type."},
		{"port", "POST", port(`"dns_domain":"example.org"`), "HTTPBadRequest: Invalid input for dns_domain. Reason: 'example.org' is not a FQDN."},
		{"network", "PUT", `{"network":{"dns_domain":"example.org"}}`, "HTTPBadRequest: Invalid input for dns_domain. Reason: 'example.org' is not a FQDN."},
		{"port", "POST", port(`"allowed_address_pairs":[{"mac_address":"fa:16:3e:00:00:01"}]`), "AllowedAddressPairsMissingIP: AllowedAddressPair must contain ip_address"},
		{"port", "POST", port(`"allowed_address_pairs":[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.1"}]`), "DuplicateAddressPairInRequest: Request contains duplicate address pair: mac_address None ip_address 10.0.0.1."},
		{"port", "PUT", `{"port":{"network_id":"` + someUUID + `"}}`, "HTTPBadRequest: Cannot update read-only attribute network_id"},
		{"port", "PUT", `{"port":{"status":"ACTIVE"}}`, "HTTPBadRequest: Cannot update read-only attribute status"},
	} {
		var err error
		switch c.resource {
		case "network":
			_, err = decode(networks(), c.method, c.body)
		case "subnet":
			_, err = decode(subnets(), c.method, c.body)
		case "port":
			_, err = decode(ports(), c.method, c.body)
		}
		got := "nothing wrong"
		if err != nil {
			got = err.Error()
			if _, ok := err.(model.NotFound); ok {
				got = "network: " + got
			}
		}
		if got != c.want {
			t.Errorf("%s %s\n got %s\nwant %s", c.method, c.body, got, c.want)
		}
	}
}

// subnet is the body of a right subnet with more attributes, which win.
func subnet(more string) string {
	return `{"subnet":{"ip_version":4,"network_id":"` + someUUID + `","cidr":"10.0.0.0/24",` + more + `}}`
}

func port(more string) string { return `{"port":{"network_id":"` + someUUID + `",` + more + `}}` }

func TestDecodeNetwork(t *testing.T) {
	got, err := decode(networks(), "POST", `{"network":{"name":"n","admin_state_up":"False","shared":1,
		"provider:network_type":"vlan","provider:physical_network":"physnet1","provider:segmentation_id":"7",
		"mtu":"1400","description":null,"project_id":"p2","router:external":"t","availability_zone_hints":[]}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := control.NetworkRequest{Project: "p2", Name: control.Some("n"), AdminStateUp: control.Some(false), Shared: control.Some(true),
		NetworkType: control.Some("vlan"), Physical: control.Some("physnet1"), SegmentationID: control.Some(int64(7)),
		MTU: control.Some(1400), Description: control.Some(""), External: control.Some(true), AZHints: control.Some([]string{})}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got, err = decode(networks(), "POST", `{"network":{"provider:network_type":null}}`)
	if err != nil || got.Project != "p1" || got.NetworkType.Set {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDecodeSubnet(t *testing.T) {
	got, err := decode(subnets(), "POST", `{"subnet":{"ip_version":"4","network_id":"`+someUUID+`","cidr":"10.10.0.9/24","gateway_ip":null,
		"allocation_pools":[{"start":"10.10.0.10","end":"10.10.0.20"}],"dns_nameservers":["192.0.2.53"],"enable_dhcp":"no",
		"host_routes":[{"destination":"10.99.0.0/16","nexthop":"10.10.0.9"}],"subnetpool_id":null,"ipv6_ra_mode":null}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := control.SubnetRequest{Project: "p1", NetworkID: someUUID, IPVersion: 4, CIDR: netip.MustParsePrefix("10.10.0.0/24"),
		Gateway: control.Some(netip.Addr{}), EnableDHCP: control.Some(false), DNS: control.Some([]netip.Addr{netip.MustParseAddr("192.0.2.53")}),
		Pools:      control.Some([]model.Pool{{First: netip.MustParseAddr("10.10.0.10"), Last: netip.MustParseAddr("10.10.0.20")}}),
		HostRoutes: control.Some([]model.Route{{Destination: netip.MustParsePrefix("10.99.0.0/16"), NextHop: netip.MustParseAddr("10.10.0.9")}})}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
	got, err = decode(subnets(), "PUT", `{"subnet":{"dns_nameservers":null,"host_routes":null}}`)
	if err != nil || !got.DNS.Set || len(got.DNS.Value) != 0 || !got.HostRoutes.Set {
		t.Errorf("null lists: got %+v, %v", got, err)
	}
}

func TestDecodePort(t *testing.T) {
	got, err := decode(ports(), "POST", port(`"mac_address":"FA-16-3E-7B-71-0B","fixed_ips":[{"ip_address":"10.10.0.121"},{"subnet_id":"`+otherUUID+`"}],
		"binding:host_id":"h","binding:profile":{"a":1},"extra_dhcp_opts":[{"opt_name":"66","opt_value":"x"},{"opt_name":"67","opt_value":null,"ip_version":6},
		{"opt_name":"router","opt_value":""}],"security_groups":null,"port_security_enabled":false,
		"allowed_address_pairs":[{"ip_address":"10.0.0.0/24"},{"ip_address":"10.0.0.5","mac_address":"fa:16:3e:00:00:01"}]`))
	if err != nil {
		t.Fatal(err)
	}
	profile := got.Profile
	got.Profile = control.Opt[map[string]any]{}
	want := control.PortRequest{Project: "p1", NetworkID: someUUID, MAC: control.Some(model.MAC{0xfa, 0x16, 0x3e, 0x7b, 0x71, 0x0b}),
		FixedIPs: control.Some([]control.FixedIPRequest{{Addr: netip.MustParseAddr("10.10.0.121")}, {SubnetID: otherUUID}}),
		HostID:   control.Some("h"), PortSecurity: control.Some(false), SecurityGroups: control.Some([]string{}),
		DHCPOptions: control.Some([]control.DHCPOptionRequest{
			{DHCPOption: model.DHCPOption{Name: "66", Value: "x", IPVersion: 4}},
			{DHCPOption: model.DHCPOption{Name: "67", IPVersion: 6}, Delete: true},
			{DHCPOption: model.DHCPOption{Name: "router", IPVersion: 4}}}),
		AddressPairs: control.Some([]control.AddressPairRequest{{Prefix: netip.MustParsePrefix("10.0.0.0/24")},
			{MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}, Prefix: netip.MustParsePrefix("10.0.0.5/32")}}),
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
	if !profile.Set || string(appendJSON(nil, profile.Value)) != `{"a":1}` {
		t.Errorf("profile %+v", profile)
	}
	got, err = decode(ports(), "PUT", `{"port":{"binding:host_id":null,"binding:profile":null}}`)
	if err != nil || got.HostID != control.Some("") || !got.Profile.Set || got.Profile.Value != nil {
		t.Errorf("unbinding: got %+v, %v", got, err)
	}
}
