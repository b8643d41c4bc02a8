package neutron

import (
	"testing"

	"weft/internal/control"
	"weft/internal/model"
)

// story is a sequence of requests by personas.
type story struct{ *api }

// step sends a request and wants an outcome; the answer comes back for later steps.
func (s story) step(who, method, path string, body any, want string) answer {
	s.t.Helper()
	got, r := s.as(who, method, path, body)
	if got != want {
		s.t.Errorf("%s %s %s:\n got %s\nwant %s", who, method, path, got, want)
	}
	return r
}

// make creates an object and returns its ID.
func (s story) make(who, path string, body any) string {
	s.t.Helper()
	return id(s.step(who, "POST", path, body, "201").object())
}

// sound holds the store to its invariants.
func (s story) sound() {
	s.t.Helper()
	problems, err := control.Fsck(s.t.Context(), s.client)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range problems {
		s.t.Error("fsck:", p)
	}
}

func policy(network, action, target string) m {
	return m{"rbac_policy": m{"object_type": "network", "object_id": network, "action": action, "target_tenant": target}}
}

func TestSharingANetworkWithAProject(t *testing.T) {
	s := story{startPersonas(t)}
	net := s.make("member", "/v2.0/networks", m{"network": m{"name": "n"}})
	subnet := s.make("member", "/v2.0/subnets", m{"subnet": m{"network_id": net, "cidr": "10.0.0.0/24", "ip_version": 4, "enable_dhcp": false}})
	missing := "404 NetworkNotFound: Network " + net + " could not be found."
	port := m{"port": m{"network_id": net}}
	s.step("member@p2", "GET", "/v2.0/networks/"+net, nil, missing)
	s.step("member@p2", "POST", "/v2.0/ports", port, missing)
	s.step("member@p2", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": net, "cidr": "10.1.0.0/24", "ip_version": 4}}, missing)
	s.step("member@p2", "POST", "/v2.0/rbac-policies", policy(net, "access_as_shared", "p2"),
		"400 InvalidInput: Invalid input for operation: network "+net+" could not be found.")

	r := s.step("member", "POST", "/v2.0/rbac-policies", policy(net, "access_as_shared", "p2"), "201")
	rbac := r.object()
	if rbac["target_tenant"] != "p2" || rbac["project_id"] != "p1" || rbac["object_type"] != "network" {
		t.Errorf("policy: %v", rbac)
	}
	s.step("member", "POST", "/v2.0/rbac-policies", policy(net, "access_as_shared", "p2"),
		"409 DuplicateRbacPolicy: An RBAC policy already exists with those values.")
	s.step("member", "POST", "/v2.0/rbac-policies", policy(net, "access_as_shared", "*"),
		"403 PolicyNotAuthorized: (rule:create_rbac_policy and rule:create_rbac_policy:target_tenant) is disallowed by policy")
	s.step("member", "PUT", "/v2.0/rbac-policies/"+id(rbac), m{"rbac_policy": m{"target_tenant": "*"}},
		"403 PolicyNotAuthorized: (rule:update_rbac_policy and rule:update_rbac_policy:target_tenant) is disallowed by policy")
	s.step("member@p2", "DELETE", "/v2.0/rbac-policies/"+id(rbac), nil,
		"404 RbacPolicyNotFound: RBAC policy of type unknown with ID "+id(rbac)+" not found")

	if n := s.step("member@p2", "GET", "/v2.0/networks/"+net, nil, "200").object(); n["shared"] != true {
		t.Errorf("for the target it is not shared: %v", n)
	}
	if n := s.step("member", "GET", "/v2.0/networks/"+net, nil, "200").object(); n["shared"] != false {
		t.Errorf("for the owner it is shared: %v", n)
	}
	s.step("member@p3", "GET", "/v2.0/networks/"+net, nil, missing)
	if l := s.step("member@p2", "GET", "/v2.0/networks?shared=True", nil, "200").list(); len(l) != 1 {
		t.Errorf("shared networks: %v", l)
	}
	s.step("member@p2", "GET", "/v2.0/subnets/"+subnet, nil, "200")
	if l := s.step("member@p2", "GET", "/v2.0/subnets?shared=True", nil, "200").list(); len(l) != 1 {
		t.Errorf("shared subnets: %v", l)
	}

	// What others may do on the network.
	s.step("member@p2", "POST", "/v2.0/ports", m{"port": m{"network_id": net, "fixed_ips": []m{{"subnet_id": subnet, "ip_address": "10.0.0.9"}}}},
		"403 PolicyNotAuthorized: (((rule:create_port and rule:create_port:fixed_ips) and rule:create_port:fixed_ips:ip_address) and rule:create_port:fixed_ips:subnet_id) is disallowed by policy")
	s.step("member@p2", "POST", "/v2.0/ports", m{"port": m{"network_id": net, "allowed_address_pairs": []m{{"ip_address": "10.0.0.9"}}}},
		"403 PolicyNotAuthorized: ((rule:create_port and rule:create_port:allowed_address_pairs) and rule:create_port:allowed_address_pairs:ip_address) is disallowed by policy")
	s.step("member@p2", "POST", "/v2.0/ports", m{"port": m{"network_id": net, "device_owner": "network:dhcp"}},
		"403 PolicyNotAuthorized: (rule:create_port and rule:create_port:device_owner) is disallowed by policy")
	s.step("member@p2", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": net, "cidr": "10.1.0.0/24", "ip_version": 4}},
		"403 PolicyNotAuthorized: rule:create_subnet is disallowed by policy")
	p := s.make("member@p2", "/v2.0/ports", m{"port": m{"network_id": net, "device_owner": "compute:nova", "fixed_ips": []m{{"subnet_id": subnet}}}})
	s.step("member@p2", "PUT", "/v2.0/ports/"+p, m{"port": m{"device_owner": "network:router_interface"}},
		"403 PolicyNotAuthorized: (rule:update_port and rule:update_port:device_owner) is disallowed by policy")
	s.step("member@p2", "PUT", "/v2.0/ports/"+p, m{"port": m{"device_owner": "compute:az"}}, "200")

	// The policy stays as long as it is needed.
	s.step("member", "DELETE", "/v2.0/rbac-policies/"+id(rbac), nil, "409 RbacPolicyInUse: RBAC policy on object "+net+
		" cannot be removed because other objects depend on it.\nDetails: Unable to reconfigure sharing settings for network "+net+". Multiple projects are using it.")
	s.step("member", "PUT", "/v2.0/rbac-policies/"+id(rbac), m{"rbac_policy": m{"target_tenant": "p3"}}, "409 RbacPolicyInUse: RBAC policy on object "+net+
		" cannot be removed because other objects depend on it.\nDetails: Unable to reconfigure sharing settings for network "+net+". Multiple projects are using it.")
	s.step("member@p2", "DELETE", "/v2.0/ports/"+p, nil, "204")
	s.step("member", "PUT", "/v2.0/rbac-policies/"+id(rbac), m{"rbac_policy": m{"target_tenant": "p3"}}, "200")
	s.step("member@p2", "GET", "/v2.0/networks/"+net, nil, missing)
	s.step("member@p3", "GET", "/v2.0/networks/"+net, nil, "200")
	s.step("member", "DELETE", "/v2.0/rbac-policies/"+id(rbac), nil, "204")
	s.step("member@p3", "GET", "/v2.0/networks/"+net, nil, missing)
	s.sound()
}

func TestSharingANetworkWithAll(t *testing.T) {
	s := story{startPersonas(t)}
	net := s.make("admin", "/v2.0/networks", m{"network": m{"name": "n", "shared": true}})
	list := s.step("admin", "GET", "/v2.0/rbac-policies?object_id="+net, nil, "200").list()
	if len(list) != 1 || list[0]["target_tenant"] != "*" || list[0]["action"] != "access_as_shared" {
		t.Fatalf("a shared network has the policies %v", list)
	}
	s.step("admin", "POST", "/v2.0/rbac-policies", policy(net, "access_as_shared", "*"),
		"409 DuplicateRbacPolicy: An RBAC policy already exists with those values.")
	s.step("member@p2", "POST", "/v2.0/rbac-policies", policy(net, "access_as_shared", "p3"),
		"400 InvalidInput: Invalid input for operation: Only admins can manipulate policies on objects they do not own.")
	p := s.make("member@p2", "/v2.0/ports", m{"port": m{"network_id": net}})
	inUse := "409 InvalidSharedSetting: Unable to reconfigure sharing settings for network n. Multiple projects are using it."
	s.step("admin", "PUT", "/v2.0/networks/"+net, m{"network": m{"shared": false}}, inUse)
	both := s.step("admin", "POST", "/v2.0/rbac-policies", m{"rbac_policies": []m{
		policy(net, "access_as_shared", "p2")["rbac_policy"].(m), policy(net, "access_as_shared", "p3")["rbac_policy"].(m)}}, "201").list()
	s.step("admin", "PUT", "/v2.0/networks/"+net, m{"network": m{"shared": false}}, "200")
	if l := s.step("admin", "GET", "/v2.0/rbac-policies?object_id="+net, nil, "200").list(); len(l) != 2 {
		t.Errorf("left are %v, want %v", l, both)
	}
	s.step("member@p2", "DELETE", "/v2.0/ports/"+p, nil, "204")

	wide := s.make("admin", "/v2.0/rbac-policies", policy(net, "access_as_shared", "*"))
	if n := s.step("member", "GET", "/v2.0/networks/"+net, nil, "200").object(); n["shared"] != true || n["revision_number"] != 4.0 {
		t.Errorf("a policy for all does not share: %v", n)
	}
	s.step("admin", "DELETE", "/v2.0/rbac-policies/"+wide, nil, "204")
	if n := s.step("admin", "GET", "/v2.0/networks/"+net, nil, "200").object(); n["shared"] != false {
		t.Errorf("without its policy it is shared: %v", n)
	}
	s.sound()
	s.step("admin", "DELETE", "/v2.0/networks/"+net, nil, "204")
	if l := s.step("admin", "GET", "/v2.0/rbac-policies", nil, "200").list(); len(l) != 0 {
		t.Errorf("policies of no network: %v", l)
	}
	s.sound()
}

func TestExternalNetworks(t *testing.T) {
	s := story{startPersonas(t)}
	ext := s.make("admin", "/v2.0/networks", m{"network": m{"name": "x", "router:external": true, "is_default": true}})
	subnet := s.make("admin", "/v2.0/subnets", m{"subnet": m{"network_id": ext, "cidr": "10.0.0.0/24", "ip_version": 4, "enable_dhcp": false}})
	if n := s.step("member@p5", "GET", "/v2.0/networks/"+ext, nil, "200").object(); n["shared"] != false || n["router:external"] != true {
		t.Errorf("external network: %v", n)
	}
	if l := s.step("member@p5", "GET", "/v2.0/subnets?network_id="+ext, nil, "200").list(); len(l) != 0 {
		t.Errorf("a member sees the subnet of an external network: %v", l)
	}
	s.step("member@p5", "GET", "/v2.0/subnets/"+subnet, nil, "404 SubnetNotFound: Subnet "+subnet+" could not be found.")
	s.step("member@p5", "POST", "/v2.0/ports", m{"port": m{"network_id": ext}}, "403 PolicyNotAuthorized: rule:create_port is disallowed by policy")
	s.step("admin", "POST", "/v2.0/networks", m{"network": m{"router:external": true, "is_default": true}},
		"409 DefaultExternalNetworkExists: A default external network already exists: "+ext+".")
	wide := id(s.step("admin", "GET", "/v2.0/rbac-policies?action=access_as_external", nil, "200").list()[0])
	s.step("admin", "DELETE", "/v2.0/rbac-policies/"+wide, nil, "409 RbacPolicyInUse: RBAC policy on object "+ext+
		" cannot be removed because other objects depend on it.\nDetails: Default external networks must be shared to everyone.")
	s.step("admin", "PUT", "/v2.0/networks/"+ext, m{"network": m{"is_default": false}}, "200")

	// For one project only.
	s.step("admin", "PUT", "/v2.0/rbac-policies/"+wide, m{"rbac_policy": m{"target_tenant": "p2"}}, "200")
	s.step("member@p2", "GET", "/v2.0/networks/"+ext, nil, "200")
	s.step("member@p3", "GET", "/v2.0/networks/"+ext, nil, "404 NetworkNotFound: Network "+ext+" could not be found.")
	s.step("admin", "DELETE", "/v2.0/rbac-policies/"+wide, nil, "204")
	if n := s.step("admin", "GET", "/v2.0/networks/"+ext, nil, "200").object(); n["router:external"] != false {
		t.Errorf("it is external for nobody: %v", n)
	}
	s.make("admin", "/v2.0/rbac-policies", policy(ext, "access_as_external", "p3"))
	s.step("member@p3", "GET", "/v2.0/networks?router:external=True", nil, "200")
	if n := s.step("member@p3", "GET", "/v2.0/networks/"+ext, nil, "200").object(); n["router:external"] != true {
		t.Errorf("it is not external for its target: %v", n)
	}
	gateway := s.make("admin", "/v2.0/ports", m{"port": m{"network_id": ext, "device_owner": "network:router_gateway"}})
	s.step("admin", "PUT", "/v2.0/networks/"+ext, m{"network": m{"router:external": false}}, "409 ExternalNetworkInUse: External network "+ext+
		" cannot be updated to be made non-external, since it has existing gateway ports.")
	if err := s.control.DeletePort(t.Context(), model.PortID(gateway), control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	s.step("admin", "PUT", "/v2.0/networks/"+ext, m{"network": m{"router:external": false}}, "200")
	if l := s.step("admin", "GET", "/v2.0/rbac-policies", nil, "200").list(); len(l) != 0 {
		t.Errorf("policies of an internal network: %v", l)
	}
	s.sound()
}

func TestPoliciesThatCannotBe(t *testing.T) {
	s := story{startPersonas(t)}
	net := s.make("admin", "/v2.0/networks", m{"network": m{}})
	for _, c := range []struct {
		change m
		want   string
	}{
		{m{"object_type": "router"}, "400 InvalidInput: Invalid input for operation: 'router' is not a valid RBAC object type."},
		{m{"action": "access_as_is"}, "400 InvalidInput: Invalid input for operation: Invalid action 'access_as_is' for object type 'network'. Valid actions: ('access_as_shared', 'access_as_external')."},
		{m{"object_id": "x"}, "400 HTTPBadRequest: Invalid input for object_id. Reason: 'x' is not a valid UUID."},
		{m{"target_tenant": nil}, "400 HTTPBadRequest: Invalid input for target_tenant. Reason: 'None' is not a valid string."},
		{m{"other": 1}, "400 HTTPBadRequest: Unrecognized attribute(s) 'other'"},
	} {
		body := policy(net, "access_as_shared", "p2")
		for k, v := range c.change {
			body["rbac_policy"].(m)[k] = v
		}
		s.step("admin", "POST", "/v2.0/rbac-policies", body, c.want)
	}
	s.step("admin", "POST", "/v2.0/rbac-policies", m{"rbac_policy": m{"object_type": "network"}},
		"400 HTTPBadRequest: Failed to parse request. Required attribute 'object_id' not specified")
	same := policy(net, "access_as_shared", "p2")["rbac_policy"]
	s.step("admin", "POST", "/v2.0/rbac-policies", m{"rbac_policies": []any{same, same}},
		"409 DuplicateRbacPolicy: An RBAC policy already exists with those values.")
}
