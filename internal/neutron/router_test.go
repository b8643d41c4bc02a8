package neutron

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// l3 is a cloud with an external network 203.0.113.0/24 and two networks inside.
type l3 struct {
	*api
	external, externalSubnet string
	inside, insideSubnet     string
	other, otherSubnet       string
}

func startL3(t *testing.T, a *api) *l3 {
	t.Helper()
	c := &l3{api: a}
	c.external = id(a.must(201, "POST", "/v2.0/networks", m{"network": m{"name": "public", "router:external": true}}))
	c.externalSubnet = id(a.must(201, "POST", "/v2.0/subnets", m{"subnet": m{"network_id": c.external, "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": false}}))
	c.inside, c.insideSubnet = a.network("inside", "10.1.0.0/24")
	c.other, c.otherSubnet = a.network("other", "10.2.0.0/24")
	return c
}

func (c *l3) router(body m) map[string]any {
	c.t.Helper()
	return c.must(201, "POST", "/v2.0/routers", m{"router": body})
}

// join puts a router on a subnet and returns the port.
func (c *l3) join(router, subnet string) string {
	c.t.Helper()
	r := c.do("PUT", "/v2.0/routers/"+router+"/add_router_interface", m{"subnet_id": subnet})
	if r.status != 200 {
		c.t.Fatalf("add interface: %s", r.text)
	}
	return r.body["port_id"].(string)
}

func (c *l3) port(body m) map[string]any {
	c.t.Helper()
	return c.must(201, "POST", "/v2.0/ports", m{"port": body})
}

// refuses sends a request that must fail with "status Type" and a text.
func (c *l3) refuses(method, path string, body any, want, text string) {
	c.t.Helper()
	r := c.do(method, path, body)
	if got := r.fault(); !strings.HasPrefix(got, want+": ") || !strings.Contains(got, text) {
		c.t.Errorf("%s %s %v\n got %s\nwant %s: ...%s...", method, path, body, got, want, text)
	}
}

func gateway(o map[string]any) map[string]any {
	g, _ := o["external_gateway_info"].(map[string]any)
	return g
}

func addresses(v any) []string {
	var out []string
	for _, f := range v.([]any) {
		out = append(out, f.(map[string]any)["ip_address"].(string))
	}
	return out
}

func TestRouterGateway(t *testing.T) {
	c := startL3(t, startAPI(t))
	if o := c.router(m{"external_gateway_info": m{}, "admin_state_up": false}); o["external_gateway_info"] != nil || o["admin_state_up"] != false {
		t.Errorf("an empty object is no gateway: %v", o)
	}
	r := c.router(m{"name": "r", "external_gateway_info": m{"network_id": c.external}})
	path := "/v2.0/routers/" + id(r)
	if g := gateway(r); g["enable_snat"] != true || g["network_id"] != c.external || len(addresses(g["external_fixed_ips"])) != 1 {
		t.Errorf("gateway: %v", g)
	}
	ports := c.do("GET", "/v2.0/ports?device_owner=network:router_gateway&device_id="+id(r), nil).list()
	if len(ports) != 1 || ports[0]["tenant_id"] != "" || ports[0]["port_security_enabled"] != false {
		t.Fatalf("gateway ports: %v", ports)
	}
	o := c.must(200, "PUT", path, m{"router": m{"external_gateway_info": m{"network_id": c.external, "enable_snat": false}}})
	if g := gateway(o); g["enable_snat"] != false || !slices.Equal(addresses(g["external_fixed_ips"]), addresses(gateway(r)["external_fixed_ips"])) {
		t.Errorf("without SNAT: %v", g)
	}
	fixed := m{"network_id": c.external, "external_fixed_ips": []m{{"subnet_id": c.externalSubnet, "ip_address": "203.0.113.77"}}}
	o = c.must(200, "PUT", path, m{"router": m{"external_gateway_info": fixed}})
	if g := gateway(o); !slices.Equal(addresses(g["external_fixed_ips"]), []string{"203.0.113.77"}) {
		t.Errorf("with an address: %v", g)
	}
	if again := c.must(200, "PUT", path, m{"router": m{"external_gateway_info": fixed}}); again["revision_number"] != o["revision_number"] {
		t.Errorf("asking again changed something: %v, %v", again["revision_number"], o["revision_number"])
	}
	before := len(c.do("GET", "/v2.0/routers", nil).list())
	c.refuses("POST", "/v2.0/routers", m{"router": m{"external_gateway_info": fixed}}, "409 IpAddressAlreadyAllocated", "203.0.113.77")
	if after := len(c.do("GET", "/v2.0/routers", nil).list()); after != before {
		t.Errorf("a refused router was left behind")
	}
	// An administrator moves the port itself: the router shows it.
	c.must(200, "PUT", "/v2.0/ports/"+id(ports[0]), m{"port": m{"fixed_ips": []m{{"ip_address": "203.0.113.78"}}}})
	if g := gateway(c.must(200, "GET", path, nil)); !slices.Equal(addresses(g["external_fixed_ips"]), []string{"203.0.113.78"}) {
		t.Errorf("after the port moved: %v", g)
	}
	o = c.must(200, "PUT", path, m{"router": m{"external_gateway_info": nil}})
	if o["external_gateway_info"] != nil {
		t.Errorf("cleared: %v", o)
	}
	c.must(404, "GET", "/v2.0/ports/"+id(ports[0]), nil)

	const nobody = "00000000-0000-4000-8000-000000000000"
	for _, k := range []struct {
		info m
		want string
		text string
	}{
		{m{"network_id": nobody}, "404 NetworkNotFound", nobody},
		{m{"network_id": c.inside}, "400 BadRequest", "Bad router request: Network " + c.inside + " is not an external network."},
		{m{"network_id": c.external, "external_fixed_ips": []m{{"ip_address": "203.0.113.1"}}}, "400 BadRequest", "External IP 203.0.113.1 is the same as the gateway IP"},
		{m{"network_id": c.external, "external_fixed_ips": []m{{"ip_address": "10.1.0.9"}}}, "400 InvalidIpForNetwork", ""},
		{m{"enable_snat": true}, "400 HTTPBadRequest", "Expected keys: {'network_id'} Provided keys: {'enable_snat'}"},
		{m{"network_id": c.external, "x": 1}, "400 HTTPBadRequest", "Unexpected keys supplied: x"},
		{m{"network_id": c.external, "enable_snat": "perhaps"}, "400 HTTPBadRequest", "perhaps"},
	} {
		c.refuses("PUT", path, m{"router": m{"external_gateway_info": k.info}}, k.want, k.text)
	}
	c.must(204, "DELETE", path, nil)
	story{c.api}.sound()
}

func TestRouterInterfaces(t *testing.T) {
	c := startL3(t, startAPI(t))
	r := id(c.router(m{"external_gateway_info": m{"network_id": c.external}}))
	add, remove := "/v2.0/routers/"+r+"/add_router_interface", "/v2.0/routers/"+r+"/remove_router_interface"
	before := c.must(200, "GET", "/v2.0/routers/"+r, nil)["revision_number"].(float64)
	port := c.join(r, c.insideSubnet)
	if after := c.must(200, "GET", "/v2.0/routers/"+r, nil)["revision_number"]; after != before+1 {
		t.Errorf("revision %v after %v", after, before)
	}
	p := c.must(200, "GET", "/v2.0/ports/"+port, nil)
	if p["device_id"] != r || p["device_owner"] != "network:router_interface" || !slices.Equal(addresses(p["fixed_ips"]), []string{"10.1.0.1"}) {
		t.Errorf("port: %v", p)
	}
	free := c.port(m{"network_id": c.other})
	used := c.port(m{"network_id": c.other, "device_id": "vm"})
	bare := c.port(m{"network_id": c.other, "fixed_ips": []m{}})
	_, overlapping := c.network("overlapping", "10.1.0.0/25")
	_, outside := c.network("outside", "203.0.113.0/28")
	noGateway := id(c.must(201, "POST", "/v2.0/subnets", m{"subnet": m{"network_id": c.other, "cidr": "10.3.0.0/24", "ip_version": 4, "gateway_ip": nil}}))
	const nobody = "00000000-0000-4000-8000-000000000000"
	for _, k := range []struct {
		path string
		body m
		want string
		text string
	}{
		{add, m{}, "400 BadRequest", "Either subnet_id or port_id must be specified"},
		{add, m{"subnet_id": c.otherSubnet, "port_id": id(free)}, "400 BadRequest", "Cannot specify both subnet-id and port-id"},
		{add, m{"subnet_id": "x"}, "400 BadRequest", "'x' is not a valid UUID"},
		{add, m{"subnet_id": nobody}, "404 SubnetNotFound", nobody},
		{add, m{"port_id": nobody}, "404 PortNotFound", nobody},
		{add, m{"subnet_id": c.insideSubnet}, "400 BadRequest", "Router already has a port on subnet " + c.insideSubnet},
		{add, m{"subnet_id": overlapping}, "400 BadRequest", fmt.Sprintf("Cidr 10.1.0.0/25 of subnet %s overlaps with cidr 10.1.0.0/24 of subnet %s", overlapping, c.insideSubnet)},
		{add, m{"subnet_id": outside}, "400 BadRequest", "overlaps with cidr 203.0.113.0/24"},
		{add, m{"subnet_id": noGateway}, "400 BadRequest", "Subnet for router interface must have a gateway IP"},
		{add, m{"port_id": id(used)}, "409 PortInUse", "Port already has an attached device vm."},
		{add, m{"port_id": id(bare)}, "400 BadRequest", "Router port must have at least one fixed IP"},
		{remove, m{}, "400 BadRequest", "Either subnet_id or port_id must be specified"},
		{remove, m{"subnet_id": c.otherSubnet}, "404 RouterInterfaceNotFoundForSubnet", "Router " + r + " has no interface on subnet " + c.otherSubnet},
		{remove, m{"port_id": id(free)}, "404 RouterInterfaceNotFound", "Router " + r + " does not have an interface with id " + id(free)},
		{remove, m{"port_id": port, "subnet_id": c.otherSubnet}, "400 SubnetMismatchForPort", "Subnet on port " + port},
	} {
		c.refuses("PUT", k.path, k.body, k.want, k.text)
	}
	// What belongs to a router stays as the router needs it.
	c.refuses("DELETE", "/v2.0/ports/"+port, nil, "409 ServicePortInUse", "has device owner network:router_interface")
	c.refuses("PUT", "/v2.0/ports/"+port, m{"port": m{"fixed_ips": []m{{"ip_address": "10.1.0.9"}}}}, "400 IPAddressChangeNotAllowed", port)
	c.refuses("PUT", "/v2.0/ports/"+port, m{"port": m{"device_id": ""}}, "409 UnsupportedPortDeviceOwner", port)
	c.must(200, "PUT", "/v2.0/ports/"+port, m{"port": m{"fixed_ips": []m{{"subnet_id": c.insideSubnet}}}})
	c.refuses("DELETE", "/v2.0/subnets/"+c.insideSubnet, nil, "409 SubnetInUse", "")
	c.refuses("DELETE", "/v2.0/networks/"+c.inside, nil, "409 NetworkInUse", port)
	c.refuses("DELETE", "/v2.0/routers/"+r, nil, "409 RouterInUse", "Router "+r+" has ports still attached: "+port)

	joined := c.do("PUT", add, m{"port_id": id(free)})
	if joined.status != 200 || joined.body["subnet_id"] != c.otherSubnet {
		t.Fatalf("by port: %s", joined.text)
	}
	if l := c.do("PUT", remove, m{"port_id": id(free)}); l.status != 200 || l.body["subnet_id"] != c.otherSubnet {
		t.Errorf("remove by port: %s", l.text)
	}
	c.must(404, "GET", "/v2.0/ports/"+id(free), nil)
	if l := c.do("PUT", remove, m{"subnet_id": c.insideSubnet}); l.status != 200 || l.body["port_id"] != port {
		t.Errorf("remove by subnet: %s", l.text)
	}
	if l := c.do("GET", "/v2.0/routers/"+r+"/l3-agents", nil); l.status != 200 || l.text != `{"agents":[]}` {
		t.Errorf("agents: %s", l.text)
	}
	c.must(204, "DELETE", "/v2.0/routers/"+r, nil)
	if left := c.do("GET", "/v2.0/ports?device_id="+r, nil).list(); len(left) != 0 {
		t.Errorf("ports left: %v", left)
	}
	story{c.api}.sound()
}

func TestExtraRoutes(t *testing.T) {
	c := startL3(t, startAPI(t))
	r := id(c.router(m{}))
	path := "/v2.0/routers/" + r
	c.join(r, c.insideSubnet)
	route := func(dst, hop string) m { return m{"destination": dst, "nexthop": hop} }
	a, b := route("192.0.2.0/24", "10.1.0.5"), route("198.51.100.0/24", "10.1.0.6")
	routes := func(o map[string]any) string { return fmt.Sprint(o["routes"]) }
	two := routes(c.must(200, "PUT", path, m{"router": m{"routes": []m{a, b}}}))
	if !strings.Contains(two, "192.0.2.0/24") || !strings.Contains(two, "198.51.100.0/24") {
		t.Errorf("routes: %s", two)
	}
	many := make([]m, 31)
	for i := range many {
		many[i] = route(fmt.Sprintf("172.16.%d.0/24", i), "10.1.0.5")
	}
	for _, k := range []struct {
		routes any
		want   string
		text   string
	}{
		{[]m{route("192.0.2.0/24", "10.9.0.5")}, "400 InvalidRoutes", "Invalid format for routes: [{'destination': '192.0.2.0/24', 'nexthop': '10.9.0.5'}], the nexthop is not connected with router"},
		{[]m{route("192.0.2.0/24", "10.1.0.1")}, "400 InvalidRoutes", "the nexthop is used by router"},
		{many, "400 RoutesExhausted", "Unable to complete operation for " + r + ". The number of routes exceeds the maximum 30."},
		{[]m{a, a}, "400 HTTPBadRequest", "Duplicate hostroute"},
		{"x", "400 HTTPBadRequest", "Invalid data format for hostroute: 'x'"},
	} {
		c.refuses("PUT", path, m{"router": m{"routes": k.routes}}, k.want, k.text)
	}
	c.refuses("PUT", path+"/remove_router_interface", m{"subnet_id": c.insideSubnet}, "409 RouterInterfaceInUseByRoute", "required by one or more routes")
	c.refuses("POST", "/v2.0/routers", m{"router": m{"routes": []m{a}}}, "400 HTTPBadRequest", "Attribute 'routes' not allowed in POST")
	if got := routes(c.must(200, "PUT", path, m{"router": m{"routes": nil}})); got != "[]" {
		t.Errorf("after null: %s", got)
	}
	for _, k := range []struct {
		verb   string
		routes []m
		want   int
	}{
		{"add_extraroutes", []m{a}, 1}, {"add_extraroutes", []m{a, b}, 2}, {"remove_extraroutes", []m{a}, 1}, {"remove_extraroutes", []m{a}, 1},
	} {
		o := c.must(200, "PUT", path+"/"+k.verb, m{"router": m{"routes": k.routes}})
		if l, _ := o["routes"].([]any); len(l) != k.want || o["id"] != r {
			t.Errorf("%s: %v, want %d routes", k.verb, o, k.want)
		}
	}
	c.refuses("PUT", path+"/add_extraroutes", m{"router": m{}}, "400 HTTPBadRequest", "")
	story{c.api}.sound()
}

func TestRouterPersonas(t *testing.T) {
	a := startPersonas(t)
	_, o := a.as("admin@p9", "POST", "/v2.0/networks", m{"network": m{"name": "public", "router:external": true}})
	public := id(o.object())
	a.as("admin@p9", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": public, "cidr": "203.0.113.0/24", "ip_version": 4}})
	_, o = a.as("admin@p9", "POST", "/v2.0/networks", m{"network": m{"name": "theirs"}})
	theirs := id(o.object())
	_, o = a.as("admin@p9", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": theirs, "cidr": "10.9.0.0/24", "ip_version": 4}})
	theirSubnet := id(o.object())
	_, o = a.as("admin@p9", "POST", "/v2.0/networks", m{"network": m{"name": "all", "shared": true}})
	_, o = a.as("admin@p9", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": id(o.object()), "cidr": "10.8.0.0/24", "ip_version": 4}})
	allSubnet := id(o.object())
	_, o = a.as("member", "POST", "/v2.0/routers", m{"router": m{"name": "r", "external_gateway_info": m{"network_id": public}}})
	r := id(o.object())
	path := "/v2.0/routers/" + r
	if _, has := o.object()["distributed"]; has {
		t.Errorf("a member sees distributed: %v", o.object())
	}
	if _, o := a.as("admin", "GET", path, nil); o.object()["distributed"] != false || o.object()["ha"] != false {
		t.Errorf("an administrator does not: %v", o.object())
	}
	for _, k := range []struct {
		who, method, path string
		body              any
		want              string
	}{
		{"member", "POST", "/v2.0/routers", m{"router": m{"distributed": true}}, "403 PolicyNotAuthorized"},
		{"member", "POST", "/v2.0/routers", m{"router": m{"external_gateway_info": m{"network_id": public, "enable_snat": false}}}, "403 PolicyNotAuthorized"},
		{"member", "POST", "/v2.0/routers", m{"router": m{"external_gateway_info": m{"network_id": theirs}}}, "404 NetworkNotFound"},
		{"member@p2", "GET", path, nil, "404 RouterNotFound"},
		{"member@p2", "PUT", path + "/add_router_interface", m{"subnet_id": theirSubnet}, "404 RouterNotFound"},
		{"member", "PUT", path + "/add_router_interface", m{"subnet_id": theirSubnet}, "404 SubnetNotFound"},
		{"member", "PUT", path + "/add_router_interface", m{"subnet_id": allSubnet}, "400 BadRequest"},
		{"reader", "PUT", path, m{"router": m{"name": "x"}}, "403 PolicyNotAuthorized"},
		{"reader", "GET", path, nil, "200"},
		{"member", "GET", path + "/l3-agents", nil, "403 PolicyNotAuthorized"},
		{"admin", "PUT", path, m{"router": m{"distributed": true}}, "400 BadRequest"},
		{"admin", "PUT", path, m{"router": m{"admin_state_up": false}}, "200"},
		{"admin", "PUT", path, m{"router": m{"distributed": true, "ha": true}}, "200"},
	} {
		got, _ := a.as(k.who, k.method, k.path, k.body)
		if got, _, _ := strings.Cut(got, ":"); got != k.want {
			t.Errorf("%s %s %s %v: %s, want %s", k.who, k.method, k.path, k.body, got, k.want)
		}
	}
	_, o = a.as("member@p2", "POST", "/v2.0/networks", m{"network": m{}})
	got, _ := a.as("member@p2", "POST", "/v2.0/ports", m{"port": m{"network_id": id(o.object()), "device_owner": "network:router_interface", "device_id": r}})
	if !strings.HasPrefix(got, "409 DeviceIDNotOwnedByTenant: The following device_id "+r) {
		t.Errorf("a port of another project's router: %s", got)
	}
	for who, want := range map[string]int{"member": 1, "member@p2": 0, "admin@p9": 1} {
		if _, o := a.as(who, "GET", "/v2.0/routers?name=r", nil); len(o.list()) != want {
			t.Errorf("%s sees %d routers, want %d", who, len(o.list()), want)
		}
	}
}

func TestRouterInterfacesIPv6(t *testing.T) {
	c := startL3(t, startAPI(t))
	r := id(c.router(m{}))
	subnet := func(network, cidr string, more m) string {
		body := m{"network_id": network, "cidr": cidr, "ip_version": 6}
		for k, v := range more {
			body[k] = v
		}
		return id(c.must(201, "POST", "/v2.0/subnets", m{"subnet": body}))
	}
	slaac := subnet(c.inside, "2001:db8:1::/64", m{"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"})
	stateful := subnet(c.inside, "2001:db8:2::/64", m{"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"})
	elsewhere := subnet(c.other, "2001:db8:3::/64", m{"ipv6_address_mode": "slaac"})
	c.refuses("PUT", "/v2.0/routers/"+r+"/add_router_interface", m{"subnet_id": elsewhere}, "400 BadRequest", "configured to receive RAs from an external router")
	four := c.join(r, c.insideSubnet)
	port := c.join(r, slaac)
	if again := c.join(r, stateful); again != port || port == four {
		t.Errorf("ports %s and %s: IPv6 subnets of a network share one", port, again)
	}
	has := addresses(c.must(200, "GET", "/v2.0/ports/"+port, nil)["fixed_ips"])
	slices.Sort(has)
	if !slices.Equal(has, []string{"2001:db8:1::", "2001:db8:2::"}) {
		t.Errorf("addresses: %v", has)
	}
	guest := c.port(m{"network_id": c.inside, "fixed_ips": []m{{"subnet_id": stateful}}})
	c.refuses("PUT", "/v2.0/routers/"+r+"/add_router_interface", m{"port_id": id(guest)}, "400 BadRequest", "")
	for i, s := range []string{slaac, stateful} {
		if l := c.do("PUT", "/v2.0/routers/"+r+"/remove_router_interface", m{"subnet_id": s}); l.status != 200 || l.body["port_id"] != port {
			t.Fatalf("leave %s: %s", s, l.text)
		}
		if want := []int{200, 404}[i]; c.do("GET", "/v2.0/ports/"+port, nil).status != want {
			t.Errorf("after %d prefixes left, the port is not %d", i+1, want)
		}
	}
	story{c.api}.sound()
}
