package neutron

import "testing"

func TestAutoTopology(t *testing.T) {
	s := story{startPersonas(t)}
	const path = "/v2.0/auto-allocated-topology/"
	s.step("member", "GET", path+"p1?fields=dry-run", nil, "409 AutoAllocationFailure: Deployment error: No default router:external network.")
	s.step("member", "GET", path+"p1", nil, "409 AutoAllocationFailure: Deployment error: No default router:external network.")
	ext := s.make("admin@p9", "/v2.0/networks", m{"network": m{"name": "public", "router:external": true, "is_default": true}})
	s.make("admin@p9", "/v2.0/subnets", m{"subnet": m{"network_id": ext, "cidr": "192.0.2.0/24", "ip_version": 4, "enable_dhcp": false}})
	s.step("member", "GET", path+"p1?fields=dry-run", nil, "409 AutoAllocationFailure: Deployment error: No default subnetpools defined.")
	s.step("member", "GET", path+"p1", nil, "409 AutoAllocationFailure: Deployment error: Unable to provide project private network.")
	if l := s.step("admin", "GET", "/v2.0/networks?project_id=p1", nil, "200").list(); len(l) != 0 {
		t.Errorf("a refusal leaves %v", l)
	}
	s.make("admin@p9", "/v2.0/subnetpools", m{"subnetpool": m{"name": "pool", "prefixes": []string{"10.9.0.0/16"}, "default_prefixlen": 26, "is_default": true, "shared": true}})
	if o := s.step("member", "GET", path+"None?fields=dry-run", nil, "200").object(); o["id"] != "dry-run=pass" || o["tenant_id"] != "p1" {
		t.Errorf("dry run: %v", o)
	}
	s.step("member", "GET", path+"p2", nil, "403 PolicyNotAuthorized: rule:get_auto_allocated_topology is disallowed by policy")
	s.step("member", "GET", path+"p1?fields=name", nil, "400 BadRequest: Bad auto_allocate request: Unrecognized field.")
	s.step("member", "PUT", path+"p1", m{}, "405 HTTPMethodNotAllowed: "+faultMethod.Message)

	net := id(s.step("member", "GET", path+"p1", nil, "200").object())
	if again := id(s.step("member", "GET", path+"p1", nil, "200").object()); again != net {
		t.Errorf("another topology: %s and %s", net, again)
	}
	n := s.step("member", "GET", "/v2.0/networks/"+net, nil, "200").object()
	if n["name"] != "auto_allocated_network" || n["admin_state_up"] != true || len(n["subnets"].([]any)) != 1 {
		t.Errorf("network: %v", n)
	}
	if l := s.step("member", "GET", "/v2.0/routers", nil, "200").list(); len(l) != 1 || l[0]["name"] != "auto_allocated_router" {
		t.Errorf("routers: %v", l)
	}
	s.sound()
	s.step("member", "DELETE", path+"p1", nil, "204")
	s.step("member", "DELETE", path+"p1", nil, "204")
	for _, what := range []string{"networks?project_id=p1", "routers", "subnets"} {
		if l := s.step("member", "GET", "/v2.0/"+what, nil, "200").list(); len(l) != 0 {
			t.Errorf("%s: %v", what, l)
		}
	}
	s.sound()
	if again := id(s.step("member", "GET", path+"p1", nil, "200").object()); again == net || again == "" {
		t.Errorf("after removal the topology is %q", again)
	}
}
