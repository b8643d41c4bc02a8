package neutron

import "testing"

func TestSegments(t *testing.T) {
	s := story{startPersonas(t)}
	seg := func(kind, physical string, id any) m {
		return m{"provider:network_type": kind, "provider:physical_network": physical, "provider:segmentation_id": id}
	}
	two := []m{seg("vlan", "physnet1", 101), {"provider:network_type": "vxlan"}}
	s.step("member", "POST", "/v2.0/networks", m{"network": m{"segments": two}},
		"403 PolicyNotAuthorized: (rule:create_network and rule:create_network:segments) is disallowed by policy")
	for _, c := range []struct {
		body m
		want string
	}{
		{m{"segments": two, "provider:network_type": "vxlan"}, "400 SegmentsSetInConjunctionWithProviders: Segments and provider values cannot both be set."},
		{m{"segments": []m{two[0], two[0]}}, "400 SegmentsContainDuplicateEntry: Duplicate segment entry in request."},
		{m{"segments": []m{{"x": 1}}}, "400 HTTPBadRequest: Unrecognized attribute(s) 'x'"},
		{m{"segments": []m{{}, {}}}, "400 InvalidInput: Invalid input for operation: network_type required."},
	} {
		s.step("admin", "POST", "/v2.0/networks", m{"network": c.body}, c.want)
	}
	n := s.step("admin", "POST", "/v2.0/networks", m{"network": m{"segments": two}}, "201").object()
	list := n["segments"].([]any)
	if _, has := n["provider:network_type"]; has || len(list) != 2 || list[0].(m)["provider:segmentation_id"] != 101.0 || n["mtu"] != 1450.0 {
		t.Errorf("network of two segments: %v", n)
	}
	s.step("admin", "POST", "/v2.0/networks", m{"network": seg("vlan", "physnet1", 101)},
		"409 VlanIdInUse: Unable to create the network. The VLAN 101 on physical network physnet1 is in use.")
	if n := s.step("member@p2", "GET", "/v2.0/networks", nil, "200").list(); len(n) != 0 {
		t.Errorf("others see %v", n)
	}

	// Segments as objects.
	rows := s.step("admin", "GET", "/v2.0/segments?network_id="+id(n)+"&sort_key=network_type&sort_dir=asc", nil, "200").list()
	if len(rows) != 2 || rows[0]["segmentation_id"] != 101.0 || rows[0]["name"] != nil || rows[0]["physical_network"] != "physnet1" {
		t.Fatalf("segments: %v", rows)
	}
	s.step("member", "GET", "/v2.0/segments/"+id(rows[0]), nil, "404 SegmentNotFound: Segment "+id(rows[0])+" could not be found.")
	if g := s.step("admin", "PUT", "/v2.0/segments/"+id(rows[0]), m{"segment": m{"name": "first", "description": "d"}}, "200").object(); g["name"] != "first" || g["revision_number"] != 1.0 {
		t.Errorf("segment: %v", g)
	}
	one := s.make("admin", "/v2.0/networks", m{"network": m{}})
	first := s.step("admin", "GET", "/v2.0/segments?network_id="+one, nil, "200").list()[0]
	s.step("admin", "DELETE", "/v2.0/segments/"+id(first), nil, "409 SegmentInUse: Segment '"+id(first)+"' cannot be deleted: The network has no other segment.")
	added := s.make("admin", "/v2.0/segments", m{"segment": m{"network_id": one, "network_type": "vlan", "physical_network": "physnet1", "segmentation_id": 102, "name": "rack2"}})
	s.step("admin", "POST", "/v2.0/segments", m{"segment": m{"network_id": one, "network_type": "vlan", "physical_network": "physnet1", "segmentation_id": 102}},
		"409 VlanIdInUse: Unable to create the network. The VLAN 102 on physical network physnet1 is in use.")
	s.step("admin", "POST", "/v2.0/segments", m{"segment": m{"network_id": added, "network_type": "vxlan"}}, "404 NetworkNotFound: Network "+added+" could not be found.")
	s.step("admin", "GET", "/v2.0/segments/"+id(first), nil, "200")
	s.sound()
	p := s.make("admin", "/v2.0/ports", m{"port": m{"network_id": one}})
	s.step("admin", "DELETE", "/v2.0/segments/"+id(first), nil, "409 SegmentInUse: Segment '"+id(first)+"' cannot be deleted: The segment carries the ports of the network.")
	s.step("admin", "DELETE", "/v2.0/ports/"+p, nil, "204")
	s.step("admin", "DELETE", "/v2.0/segments/"+id(first), nil, "204")
	if n := s.step("admin", "GET", "/v2.0/networks/"+one, nil, "200").object(); n["provider:segmentation_id"] != 102.0 {
		t.Errorf("network on its second segment: %v", n)
	}
	s.sound()
	s.step("admin", "DELETE", "/v2.0/networks/"+one, nil, "204")
	s.step("admin", "DELETE", "/v2.0/networks/"+id(n), nil, "204")
	s.step("admin", "POST", "/v2.0/networks", m{"network": seg("vlan", "physnet1", 101)}, "201")
	s.sound()
}

func TestSubnetSegments(t *testing.T) {
	s := story{startPersonas(t)}
	two := []m{{"provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": 101},
		{"provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": 102}}
	n := s.make("admin", "/v2.0/networks", m{"network": m{"segments": two, "shared": true}})
	plain := s.make("admin", "/v2.0/networks", m{"network": m{}})
	segment := func(network string, i int) string {
		rows := s.step("admin", "GET", "/v2.0/segments?network_id="+network+"&sort_key=segmentation_id&sort_dir=asc", nil, "200").list()
		return id(rows[i])
	}
	first, second, other := segment(n, 0), segment(n, 1), segment(plain, 0)
	subnet := func(network, cidr string, more m) m {
		body := m{"network_id": network, "cidr": cidr, "ip_version": 4, "enable_dhcp": false}
		for k, v := range more {
			body[k] = v
		}
		return m{"subnet": body}
	}
	const subnets = "/v2.0/subnets"
	notAll := func(network string) string {
		return "400 SubnetsNotAllAssociatedWithSegments: All of the subnets on network '" + network + "' must either all be associated with segments or all not associated with any segment."
	}
	for _, c := range []struct {
		who, segment, want string
	}{
		{"member", first, "403 PolicyNotAuthorized: (rule:create_subnet and rule:create_subnet:segment_id) is disallowed by policy"},
		{"admin", someUUID, "404 SegmentNotFound: Segment " + someUUID + " could not be found."},
		{"admin", other, "400 NetworkIdsDontMatch: The subnet's network id, '" + n + "', doesn't match the network_id of segment '" + other + "'"},
	} {
		s.step(c.who, "POST", subnets, subnet(n, "10.1.0.0/24", m{"segment_id": c.segment}), c.want)
	}
	on := s.step("admin", "POST", subnets, subnet(n, "10.1.0.0/24", m{"segment_id": first}), "201").object()
	if on["segment_id"] != first {
		t.Errorf("created: %v", on)
	}
	s.step("admin", "POST", subnets, subnet(n, "10.2.0.0/24", nil), notAll(n))
	s.step("admin", "POST", subnets, m{"subnets": []any{subnet(plain, "10.2.0.0/24", nil)["subnet"], subnet(plain, "10.3.0.0/24", m{"segment_id": other})["subnet"]}}, notAll(plain))
	s.make("admin", subnets, subnet(n, "10.2.0.0/24", m{"segment_id": second}))
	routed := s.make("admin", subnets, subnet(n, "10.3.0.0/24", m{"service_types": []string{"network:routed"}}))
	if o := s.step("member", "GET", subnets+"/"+id(on), nil, "200").object(); o["segment_id"] != nil {
		t.Errorf("a member sees the segment: %v", o)
	}
	if l := s.step("admin", "GET", subnets+"?segment_id="+second, nil, "200").list(); len(l) != 1 || l[0]["cidr"] != "10.2.0.0/24" {
		t.Errorf("by segment: %v", l)
	}
	s.step("admin", "PUT", subnets+"/"+id(on), m{"subnet": m{"segment_id": second}}, notAll(n))
	s.step("admin", "DELETE", "/v2.0/segments/"+second, nil, "409 SegmentInUse: Segment '"+second+"' cannot be deleted: The segment is still associated with subnet(s) "+
		id(s.step("admin", "GET", subnets+"?segment_id="+second, nil, "200").list()[0])+".")
	s.step("admin", "DELETE", subnets+"/"+id(s.step("admin", "GET", subnets+"?segment_id="+second, nil, "200").list()[0]), nil, "204")
	s.step("admin", "PUT", subnets+"/"+id(on), m{"subnet": m{"segment_id": nil}},
		"400 SubnetSegmentAssociationChangeNotAllowed: A subnet that is already associated with a segment cannot have its segment association changed.")
	s.step("admin", "DELETE", "/v2.0/segments/"+second, nil, "204")

	// An existing subnet, the only one of a network with one segment, can be put on it.
	only := s.make("admin", subnets, subnet(plain, "10.4.0.0/24", nil))
	if o := s.step("admin", "PUT", subnets+"/"+only, m{"subnet": m{"segment_id": other}}, "200").object(); o["segment_id"] != other {
		t.Errorf("put on the segment: %v", o)
	}
	s.make("admin", "/v2.0/segments", m{"segment": m{"network_id": plain, "network_type": "vlan", "physical_network": "physnet1", "segmentation_id": 103}})
	if o := s.step("admin", "GET", subnets+"/"+only, nil, "200").object(); segment(plain, 0) != other && segment(plain, 1) != other || o["segment_id"] != other {
		t.Errorf("the segment lost its ID: %v", o)
	}
	several := s.make("admin", "/v2.0/networks", m{"network": m{"segments": []m{{"provider:network_type": "vxlan"}, {"provider:network_type": "vxlan"}}}})
	late := s.make("admin", subnets, subnet(several, "10.5.0.0/24", nil))
	s.step("admin", "PUT", subnets+"/"+late, m{"subnet": m{"segment_id": segment(several, 0)}}, "400 NoUpdateSubnetWhenMultipleSegmentsOnNetwork: The network '"+several+
		"' has multiple segments, it is only possible to associate an existing subnet with a segment on networks with a single segment.")
	s.step("admin", "DELETE", subnets+"/"+routed, nil, "204")
	s.sound()
}
