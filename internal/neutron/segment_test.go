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
