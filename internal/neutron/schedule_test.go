package neutron

import (
	"net/http/httptest"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store/storetest"
)

// joins registers a host that serves DHCP.
func joins(t *testing.T, c *control.Control, name model.HostName) {
	t.Helper()
	_, err := c.RegisterHost(t.Context(), model.Host{Name: name, IntegrationBridge: "br-int", DatapathType: "netdev",
		TunnelTypes: []string{"vxlan"}, Roles: model.AllRoles()})
	if err != nil {
		t.Fatal(err)
	}
}

// twoHosts is an API with personas and hosts that serve DHCP, and the IDs of their DHCP agents.
func twoHosts(t *testing.T) (s story, agents map[string]string) {
	s = story{startPersonas(t)}
	for _, h := range []model.HostName{"h1", "h2"} {
		joins(t, s.control, h)
	}
	agents = map[string]string{}
	for _, a := range s.step("admin", "GET", "/v2.0/agents?agent_type=DHCP+agent", nil, "200").list() {
		agents[a["host"].(string)] = id(a)
	}
	return s, agents
}

func TestDHCPAgents(t *testing.T) {
	s, agents := twoHosts(t)
	if l := s.step("member", "GET", "/v2.0/agents", nil, "200").list(); len(l) != 0 {
		t.Errorf("a member sees agents: %v", l)
	}
	s.step("member", "GET", "/v2.0/agents/"+agents["h1"], nil, "404 AgentNotFound: Agent "+agents["h1"]+" could not be found.")
	net := s.make("member", "/v2.0/networks", m{"network": m{"name": "n"}})
	hosts := func() (on []any) {
		t.Helper()
		for _, a := range s.step("admin", "GET", "/v2.0/networks/"+net+"/dhcp-agents", nil, "200").list() {
			on = append(on, a["host"])
		}
		return on
	}
	if on := hosts(); len(on) != 0 {
		t.Errorf("a network without subnets is served on %v", on)
	}
	s.make("member", "/v2.0/subnets", m{"subnet": m{"network_id": net, "cidr": "10.0.0.0/24", "ip_version": 4}})
	on := hosts()
	if len(on) != 1 {
		t.Fatalf("served on %v", on)
	}
	here, there := on[0].(string), "h1"
	if here == there {
		there = "h2"
	}
	networks := func(host string) int {
		t.Helper()
		return len(s.step("admin", "GET", "/v2.0/agents/"+agents[host]+"/dhcp-networks", nil, "200").list())
	}
	if networks(here) != 1 || networks(there) != 0 {
		t.Error("agents list other networks than networks list agents")
	}
	path := func(host string) string { return "/v2.0/agents/" + agents[host] + "/dhcp-networks" }
	body := m{"network_id": net}
	s.step("member", "GET", path(here), nil, "403 PolicyNotAuthorized: rule:get_dhcp-networks is disallowed by policy")
	s.step("member", "POST", path(there), body, "403 PolicyNotAuthorized: rule:create_dhcp-network is disallowed by policy")
	s.step("admin", "POST", path(here), body, "409 NetworkHostedByDHCPAgent: The network "+net+" has been already hosted by the DHCP Agent "+agents[here]+".")
	if r := s.step("admin", "POST", path(there), body, "201"); r.text != "null" {
		t.Errorf("answer: %s", r.text)
	}
	if on := hosts(); len(on) != 2 {
		t.Errorf("put on %s too it is served on %v", there, on)
	}
	s.step("admin", "DELETE", path(here)+"/"+net, nil, "204")
	if on := hosts(); len(on) != 1 || on[0] != there {
		t.Errorf("taken from %s it is served on %v", here, on)
	}
	s.step("admin", "DELETE", path(here)+"/"+net, nil, "409 NetworkNotHostedByDhcpAgent: The network "+net+" is not hosted by the DHCP Agent "+agents[here]+".")
	s.step("admin", "DELETE", path(there)+"/"+net, nil, "204")
	joins(t, s.control, "h1") // nothing that makes DHCP come back by itself
	if on := hosts(); len(on) != 0 {
		t.Errorf("taken away it is served on %v", on)
	}
	if n := s.step("member", "GET", "/v2.0/networks/"+net, nil, "200").object(); len(n["availability_zones"].([]any)) != 0 || n["revision_number"] != 2.0 {
		t.Errorf("without DHCP: %v", n)
	}
	s.step("admin", "POST", path(here), body, "201")
	if on := hosts(); len(on) != 1 || on[0] != here {
		t.Errorf("put back on %s it is served on %v", here, on)
	}

	// A disabled agent takes no networks, and gives away those that it has.
	s.step("admin", "PUT", "/v2.0/agents/"+agents[here], m{"agent": m{"admin_state_up": false, "description": "worn"}}, "200")
	if on := hosts(); len(on) != 1 || on[0] != there {
		t.Errorf("disabled on %s it is served on %v", here, on)
	}
	s.step("admin", "POST", path(here), body, "404 InvalidDHCPAgent: Agent "+agents[here]+" is not a valid DHCP Agent or has been disabled.")
	s.step("admin", "POST", path(there), m{"network_id": agents[here]}, "404 NetworkNotFound: Network "+agents[here]+" could not be found.")
	s.step("admin", "GET", "/v2.0/agents/"+net+"/dhcp-networks", nil, "404 AgentNotFound: Agent "+net+" could not be found.")
	s.sound()
}

// TestDistributedDHCPAgents: the agents of a network are those of its hosts; nobody can place it.
func TestDistributedDHCPAgents(t *testing.T) {
	s, agents := twoHosts(t)
	cfg := s.control.Config()
	cfg.DHCP.Mode = model.DHCPDistributed
	c := control.New(control.Options{Store: storetest.Open(t, s.client), Config: cfg})
	if err := c.AnnounceDHCP(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.control.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	net := s.make("member", "/v2.0/networks", m{"network": m{"name": "n"}})
	s.make("member", "/v2.0/subnets", m{"subnet": m{"network_id": net, "cidr": "10.0.0.0/24", "ip_version": 4}})
	s.make("admin", "/v2.0/ports", m{"port": m{"network_id": net, "binding:host_id": "h2"}})
	on := s.step("admin", "GET", "/v2.0/networks/"+net+"/dhcp-agents", nil, "200").list()
	if len(on) != 1 || on[0]["host"] != "h2" {
		t.Errorf("served by %v", on)
	}
	d := s.step("admin", "GET", "/v2.0/ports?device_owner=network:dhcp&network_id="+net, nil, "200").list()
	if len(d) != 1 || d[0]["binding:host_id"] != "" || d[0]["binding:vif_type"] != "distributed" || d[0]["device_id"] != "reserved_dhcp_port" || d[0]["status"] != "ACTIVE" {
		t.Errorf("the DHCP port: %v", d)
	}
	path := func(host string) string { return "/v2.0/agents/" + agents[host] + "/dhcp-networks" }
	refused := "400 InvalidInput: Invalid input for operation: DHCP is distributed: network " + net + " is served by every host that has ports of it."
	s.step("admin", "POST", path("h1"), m{"network_id": net}, refused)
	s.step("admin", "POST", path("h2"), m{"network_id": net}, "409 NetworkHostedByDHCPAgent: The network "+net+" has been already hosted by the DHCP Agent "+agents["h2"]+".")
	s.step("admin", "DELETE", path("h2")+"/"+net, nil, refused)
	if l := s.step("admin", "GET", path("h2"), nil, "200").list(); len(l) != 1 {
		t.Errorf("networks of h2: %v", l)
	}
	a := s.step("admin", "GET", "/v2.0/agents/"+agents["h2"], nil, "200").object()
	if conf := a["configurations"].(map[string]any); conf["networks"] != 1.0 || conf["ports"] != 2.0 {
		t.Errorf("h2 says %v", conf)
	}
	s.sound()
}

func TestAgentSettings(t *testing.T) {
	s, agents := twoHosts(t)
	path := "/v2.0/agents/" + agents["h1"]
	a := s.step("admin", "PUT", path, m{"agent": m{"admin_state_up": false, "description": "worn"}}, "200").object()
	if a["admin_state_up"] != false || a["description"] != "worn" {
		t.Errorf("agent: %v", a)
	}
	joins(t, s.control, "h1") // a new start changes nothing of that
	if l := s.step("admin", "GET", "/v2.0/agents?description=worn&admin_state_up=False&sort_key=host&sort_dir=asc", nil, "200").list(); len(l) != 1 || id(l[0]) != agents["h1"] {
		t.Errorf("disabled agents: %v", l)
	}
	s.step("admin", "PUT", path, m{"agent": m{"host": "x"}}, "400 HTTPBadRequest: Cannot update read-only attribute host")
	s.step("admin", "POST", "/v2.0/agents", m{"agent": m{}}, "405 HTTPMethodNotAllowed: "+faultMethod.Message)
	s.step("admin", "DELETE", path, nil, "409 InUse: The resource is in use.")
	s.step("member", "PUT", path, m{"agent": m{"description": "x"}}, "404 AgentNotFound: Agent "+agents["h1"]+" could not be found.")

	// Neither host is heard of for a long time.
	late := time.Now().Add(time.Hour)
	now := func() time.Time { return late }
	s.control = control.New(control.Options{Store: storetest.Open(t, s.client), Config: s.control.Config(), Now: now})
	srv := httptest.NewServer(New(Options{Control: s.control, Authenticator: personas{}, Now: now}))
	defer srv.Close()
	s.url = srv.URL
	for _, a := range s.step("admin", "GET", "/v2.0/agents?host=h1", nil, "200").list() {
		s.step("admin", "DELETE", "/v2.0/agents/"+id(a), nil, "204")
		s.step("admin", "GET", "/v2.0/agents/"+id(a), nil, "404 AgentNotFound: Agent "+id(a)+" could not be found.")
	}
	if l := s.step("admin", "GET", "/v2.0/agents", nil, "200").list(); len(l) != 3 {
		t.Errorf("left are %v", l)
	}
	if z := s.step("member", "GET", "/v2.0/availability_zones?resource=network", nil, "200").list(); len(z) != 1 || z[0]["state"] != "unavailable" {
		t.Errorf("zone of dead hosts: %v", z)
	}
	joins(t, s.control, "h1")
	if l := s.step("admin", "GET", "/v2.0/agents?host=h1", nil, "200").list(); len(l) != 3 {
		t.Errorf("back again are %v", l)
	}
}

// TestRouterSchedules: no host serves routers, which lists say and nobody can change.
func TestRouterSchedules(t *testing.T) {
	s, agents := twoHosts(t)
	routers := "/v2.0/agents/" + agents["h1"] + "/l3-routers"
	router := s.make("member", "/v2.0/routers", m{"router": m{}})
	for _, c := range []struct{ who, method, path, want, body string }{
		{"admin", "GET", routers, "200", `{"routers":[]}`},
		{"admin", "GET", "/v2.0/routers/" + router + "/l3-agents", "200", `{"agents":[]}`},
		{"admin", "GET", "/v2.0/agents/" + someUUID + "/l3-routers", "404 AgentNotFound: Agent " + someUUID + " could not be found.", ""},
		{"admin", "GET", "/v2.0/routers/" + someUUID + "/l3-agents", "404 RouterNotFound: Router " + someUUID + " could not be found", ""},
		{"member", "GET", routers, "404 AgentNotFound: Agent " + agents["h1"] + " could not be found.", ""},
		{"member", "GET", "/v2.0/routers/" + router + "/l3-agents", "403 PolicyNotAuthorized: rule:get_l3-agents is disallowed by policy", ""},
	} {
		if r := s.step(c.who, c.method, c.path, nil, c.want); c.body != "" && r.text != c.body {
			t.Errorf("%s: %s", c.path, r.text)
		}
	}
	if r := s.do("POST", routers, m{"router_id": router}, "X-Auth-Token", "admin"); r.status != 405 {
		t.Errorf("a router was put on an agent: %s", r.text)
	}
	if r := s.do("GET", "/v2.0/extensions/l3_agent_scheduler", nil, "X-Auth-Token", "admin"); r.status != 404 {
		t.Errorf("advertised: %s", r.text)
	}
}

func TestFlavorsAreNone(t *testing.T) {
	a := startAPI(t)
	for _, name := range []string{"flavors", "service_profiles"} {
		if r := a.do("GET", "/v2.0/"+name+"?name=x", nil); r.status != 200 || r.text != `{"`+name+`":[]}` {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
		if r := a.do("POST", "/v2.0/"+name, m{}); r.status != 405 {
			t.Errorf("POST %s: %s", name, r.text)
		}
		if r := a.do("GET", "/v2.0/"+name+"/x", nil); r.status != 404 {
			t.Errorf("one of %s: %s", name, r.text)
		}
	}
	if r := a.do("GET", "/v2.0/extensions/flavors", nil); r.status != 404 {
		t.Errorf("advertised: %s", r.text)
	}
}
