package neutron

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// startNAT is a cloud in which a router joins the network inside with the external one.
func startNAT(t *testing.T) (c *l3, router string) {
	t.Helper()
	c = startL3(t, startAPI(t))
	router = id(c.router(m{"external_gateway_info": m{"network_id": c.external}}))
	c.join(router, c.insideSubnet)
	return c, router
}

func (c *l3) floating(body m) map[string]any {
	c.t.Helper()
	body["floating_network_id"] = c.external
	return c.must(201, "POST", "/v2.0/floatingips", m{"floatingip": body})
}

func TestFloatingIPAssociation(t *testing.T) {
	c, router := startNAT(t)
	p := c.port(m{"network_id": c.inside, "name": "vm", "device_id": "d", "device_owner": "compute:nova"})
	addr := addresses(p["fixed_ips"])[0]
	f := c.floating(m{"port_id": id(p), "description": "d"})
	path := "/v2.0/floatingips/" + id(f)
	if f["router_id"] != router || f["fixed_ip_address"] != addr || f["port_id"] != id(p) || f["status"] != "DOWN" {
		t.Errorf("created: %v", f)
	}
	details, _ := f["port_details"].(map[string]any)
	if details["name"] != "vm" || details["device_owner"] != "compute:nova" || details["mac_address"] != p["mac_address"] {
		t.Errorf("details: %v", details)
	}
	c.must(200, "PUT", "/v2.0/ports/"+id(p), m{"port": m{"name": "renamed"}})
	if d, _ := c.must(200, "GET", path, nil)["port_details"].(map[string]any); d["name"] != "renamed" {
		t.Errorf("details do not follow the port: %v", d)
	}
	outside := c.do("GET", "/v2.0/ports?device_id="+id(f), nil).list()
	if len(outside) != 1 || outside[0]["device_owner"] != "network:floatingip" || outside[0]["status"] != "N/A" || outside[0]["tenant_id"] != "" {
		t.Fatalf("outside: %v", outside)
	}
	c.refuses("DELETE", "/v2.0/ports/"+id(outside[0]), nil, "409 ServicePortInUse", "has device owner network:floatingip")
	c.refuses("POST", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": c.external, "port_id": id(p)}},
		"409 FloatingIPPortAlreadyAssociated", "with port "+id(p)+" using fixed IP "+addr+", as that fixed IP already has a floating IP on external network "+c.external)
	// The router and its ways cannot go, nor the fixed IP.
	c.refuses("PUT", "/v2.0/routers/"+router, m{"router": m{"external_gateway_info": nil}}, "409 RouterExternalGatewayInUseByFloatingIp", c.external)
	c.refuses("PUT", "/v2.0/routers/"+router+"/remove_router_interface", m{"subnet_id": c.insideSubnet}, "409 RouterInterfaceInUseByFloatingIP", c.insideSubnet)
	c.refuses("PUT", "/v2.0/ports/"+id(p), m{"port": m{"fixed_ips": []m{{"ip_address": "10.1.0.250"}}}}, "400 BadRequest", "its original fixed_ip has been associated to a floating ip")
	// Another address of the port, another port, and none.
	c.must(200, "PUT", "/v2.0/ports/"+id(p), m{"port": m{"fixed_ips": []m{{"ip_address": addr}, {"ip_address": "10.1.0.250"}}}})
	c.refuses("PUT", path, m{"floatingip": m{"port_id": id(p)}}, "400 BadRequest", "has multiple fixed IPv4 addresses")
	if f := c.must(200, "PUT", path, m{"floatingip": m{"port_id": id(p), "fixed_ip_address": "10.1.0.250"}}); f["fixed_ip_address"] != "10.1.0.250" {
		t.Errorf("second address: %v", f)
	}
	if f := c.must(200, "PUT", path, m{"floatingip": m{"description": "e"}}); f["port_id"] != id(p) || f["description"] != "e" {
		t.Errorf("a description moved it: %v", f)
	}
	q := c.port(m{"network_id": c.inside})
	if f := c.must(200, "PUT", path, m{"floatingip": m{"port_id": id(q)}}); f["fixed_ip_address"] != addresses(q["fixed_ips"])[0] {
		t.Errorf("another port: %v", f)
	}
	f = c.must(200, "PUT", path, m{"floatingip": m{"port_id": nil}})
	if f["port_id"] != nil || f["router_id"] != nil || f["fixed_ip_address"] != nil || f["port_details"] != nil {
		t.Errorf("disassociated: %v", f)
	}
	c.must(200, "PUT", path, m{"floatingip": m{"port_id": id(q)}})
	if f = c.must(200, "PUT", path, m{"floatingip": m{}}); f["port_id"] != nil || f["fixed_ip_address"] != nil {
		t.Errorf("after a change that says nothing: %v", f)
	}
	// A port that goes leaves its floating IP.
	c.must(200, "PUT", path, m{"floatingip": m{"port_id": id(q)}})
	c.must(204, "DELETE", "/v2.0/ports/"+id(q), nil)
	if f = c.must(200, "GET", path, nil); f["port_id"] != nil || f["router_id"] != nil {
		t.Errorf("after its port: %v", f)
	}
	c.must(204, "DELETE", path, nil)
	c.must(404, "GET", "/v2.0/ports/"+id(outside[0]), nil)
	story{c.api}.sound()
}

func TestFloatingIPFaults(t *testing.T) {
	c, _ := startNAT(t)
	p := c.port(m{"network_id": c.inside})
	bare := c.port(m{"network_id": c.inside, "fixed_ips": []m{}})
	away := c.port(m{"network_id": c.other})
	empty := id(c.must(201, "POST", "/v2.0/networks", m{"network": m{"router:external": true}}))
	const nobody = "00000000-0000-4000-8000-000000000000"
	taken := c.floating(m{})["floating_ip_address"]
	for _, k := range []struct {
		body m
		want string
		text string
	}{
		{m{}, "400 HTTPBadRequest", "Required attribute 'floating_network_id' not specified"},
		{m{"floating_network_id": nobody}, "404 NetworkNotFound", nobody},
		{m{"floating_network_id": c.inside}, "400 BadRequest", "Bad floatingip request: Network " + c.inside + " is not a valid external network."},
		{m{"floating_network_id": empty}, "400 BadRequest", "Network " + empty + " does not contain any IPv4 subnet"},
		{m{"floating_network_id": c.external, "floating_ip_address": taken}, "409 IpAddressAlreadyAllocated", fmt.Sprint(taken)},
		{m{"floating_network_id": c.external, "floating_ip_address": "10.1.0.5"}, "400 InvalidIpForNetwork", "10.1.0.5"},
		{m{"floating_network_id": c.external, "subnet_id": c.insideSubnet}, "400 InvalidInput", c.insideSubnet},
		{m{"floating_network_id": c.external, "port_id": nobody}, "404 PortNotFound", nobody},
		{m{"floating_network_id": c.external, "port_id": id(away)}, "404 ExternalGatewayForFloatingIPNotFound",
			"External network " + c.external + " is not reachable from subnet " + c.otherSubnet + ".  Therefore, cannot associate Port " + id(away) + " with a Floating IP."},
		{m{"floating_network_id": c.external, "port_id": id(bare)}, "400 BadRequest", "has no fixed IPv4 addresses"},
		{m{"floating_network_id": c.external, "fixed_ip_address": "10.1.0.9"}, "400 BadRequest", "fixed_ip_address cannot be specified without a port_id"},
		{m{"floating_network_id": c.external, "port_id": id(p), "fixed_ip_address": "10.1.0.251"}, "400 BadRequest", "Port " + id(p) + " does not have fixed ip 10.1.0.251"},
		{m{"floating_network_id": c.external, "port_id": id(p), "fixed_ip_address": "2001:db8::1"}, "400 BadRequest", "that is not an IPv4 address"},
		{m{"floating_network_id": c.external, "dns_name": "-x"}, "400 HTTPBadRequest", "dns_name"},
	} {
		c.refuses("POST", "/v2.0/floatingips", m{"floatingip": k.body}, k.want, k.text)
	}
	if n := len(c.do("GET", "/v2.0/floatingips", nil).list()); n != 1 {
		t.Errorf("refused requests left %d floating IPs", n-1)
	}
	c.refuses("PUT", "/v2.0/floatingips/"+nobody, m{"floatingip": m{"port_id": nil}}, "404 FloatingIPNotFound", "Floating IP "+nobody+" could not be found")
	// An external network takes its idle floating IPs with it, and stays for one that is used.
	used := c.floating(m{"port_id": id(p)})
	c.refuses("DELETE", "/v2.0/networks/"+c.external, nil, "409 NetworkInUse", "")
	c.must(204, "DELETE", "/v2.0/floatingips/"+id(used), nil)
	router := c.do("GET", "/v2.0/routers", nil).list()[0]
	c.must(200, "PUT", "/v2.0/routers/"+id(router), m{"router": m{"external_gateway_info": nil}})
	c.must(204, "DELETE", "/v2.0/networks/"+c.external, nil)
	if left := c.do("GET", "/v2.0/floatingips", nil).list(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	story{c.api}.sound()
}

func TestFloatingIPLists(t *testing.T) {
	c, router := startNAT(t)
	p := c.port(m{"network_id": c.inside})
	f := c.floating(m{"port_id": id(p), "floating_ip_address": "203.0.113.99", "dns_name": "Host", "dns_domain": "example.org."})
	c.floating(m{})
	if f["dns_name"] != "host" || f["dns_domain"] != "example.org." || f["floating_ip_address"] != "203.0.113.99" {
		t.Errorf("created: %v", f)
	}
	for query, want := range map[string]int{
		"": 2, "?port_id=" + id(p): 1, "?fixed_ip_address=" + f["fixed_ip_address"].(string) + "&port_id=" + id(p): 1, "?router_id=" + router: 1,
		"?floating_ip_address=203.0.113.99": 1, "?floating_ip_address=203.0.113.98": 0, "?floating_network_id=" + c.external: 2,
		"?status=DOWN": 2, "?status=ACTIVE": 0, "?id=" + id(f): 1, "?port_id=": 1,
	} {
		if got := len(c.do("GET", "/v2.0/floatingips"+query, nil).list()); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	pools := c.do("GET", "/v2.0/floatingip_pools", nil).list()
	if len(pools) != 1 || pools[0]["subnet_id"] != c.externalSubnet || pools[0]["cidr"] != "203.0.113.0/24" {
		t.Errorf("pools: %v", pools)
	}
}

func TestFloatingIPPersonas(t *testing.T) {
	s := story{startPersonas(t)}
	public := s.make("admin@p9", "/v2.0/networks", m{"network": m{"name": "public", "router:external": true}})
	s.make("admin@p9", "/v2.0/subnets", m{"subnet": m{"network_id": public, "cidr": "203.0.113.0/24", "ip_version": 4}})
	inside := s.make("member", "/v2.0/networks", m{"network": m{}})
	subnet := s.make("member", "/v2.0/subnets", m{"subnet": m{"network_id": inside, "cidr": "10.1.0.0/24", "ip_version": 4}})
	router := s.make("member", "/v2.0/routers", m{"router": m{"external_gateway_info": m{"network_id": public}}})
	s.step("member", "PUT", "/v2.0/routers/"+router+"/add_router_interface", m{"subnet_id": subnet}, "200")
	port := s.make("member", "/v2.0/ports", m{"port": m{"network_id": inside}})
	f := s.make("member", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": public, "port_id": port}})
	begins := func(who, method, path string, body any, want string) {
		t.Helper()
		if got, _ := s.as(who, method, path, body); !strings.HasPrefix(got, want) {
			t.Errorf("%s %s %s: %s, want %s", who, method, path, got, want)
		}
	}
	body := m{"floatingip": m{"floating_network_id": public, "floating_ip_address": "203.0.113.50"}}
	begins("member", "POST", "/v2.0/floatingips", body, "403 PolicyNotAuthorized")
	begins("manager", "POST", "/v2.0/floatingips", body, "201")
	begins("member@p2", "GET", "/v2.0/floatingips/"+f, nil, "404 FloatingIPNotFound")
	begins("member@p2", "POST", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": public, "port_id": port}}, "404 PortNotFound")
	begins("reader", "DELETE", "/v2.0/floatingips/"+f, nil, "403 PolicyNotAuthorized")
	// An administrator's floating IP on a member's port.
	other := s.make("member", "/v2.0/ports", m{"port": m{"network_id": inside}})
	s.make("admin@p9", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": public, "port_id": other}})
	begins("member", "DELETE", "/v2.0/ports/"+other, nil, "409 FipAssociated")
	begins("admin@p9", "DELETE", "/v2.0/ports/"+other, nil, "204")
	forwarding := m{"port_forwarding": m{"protocol": "tcp", "internal_port_id": port, "internal_ip_address": "10.1.0.9", "internal_port": 80, "external_port": 80}}
	begins("member@p2", "POST", "/v2.0/floatingips/"+f+"/port_forwardings", forwarding, "403 PolicyNotAuthorized")
	_, list := s.as("member@p2", "GET", "/v2.0/floatingips", nil)
	if len(list.list()) != 0 {
		t.Errorf("another project sees %v", list.list())
	}
	s.sound()
}

func TestPortForwardings(t *testing.T) {
	c, router := startNAT(t)
	p, q := c.port(m{"network_id": c.inside}), c.port(m{"network_id": c.inside})
	addr := addresses(p["fixed_ips"])[0]
	f := c.floating(m{})
	fip := "/v2.0/floatingips/" + id(f)
	path := fip + "/port_forwardings"
	pf := func(more m) m {
		body := m{"protocol": "tcp", "internal_port_id": id(p), "internal_ip_address": addr, "internal_port": 22, "external_port": 2222}
		for k, v := range more {
			if body[k] = v; v == nil {
				delete(body, k)
			}
		}
		return m{"port_forwarding": body}
	}
	made := c.must(201, "POST", path, pf(m{"description": "ssh"}))
	wants := m{"protocol": "tcp", "internal_port_id": id(p), "internal_ip_address": addr, "internal_port": 22.0, "external_port": 2222.0,
		"description": "ssh", "internal_port_range": "22:22", "external_port_range": "2222:2222"}
	for k, want := range wants {
		if made[k] != want {
			t.Errorf("%s: %v, want %v", k, made[k], want)
		}
	}
	wide := c.must(201, "POST", path, pf(m{"internal_port": nil, "external_port": nil, "internal_port_range": "80:90", "external_port_range": "8080:8090"}))
	if _, has := wide["external_port"]; has || wide["external_port_range"] != "8080:8090" {
		t.Errorf("range: %v", wide)
	}
	shown := c.must(200, "GET", fip, nil)
	if l, _ := shown["port_forwardings"].([]any); shown["router_id"] != router || shown["port_id"] != nil || len(l) != 2 {
		t.Errorf("floating IP: %v", shown)
	}
	const nobody = "00000000-0000-4000-8000-000000000000"
	away := c.port(m{"network_id": c.other})
	bound := c.port(m{"network_id": c.inside})
	c.floating(m{"port_id": id(bound)})
	associated := c.floating(m{"port_id": id(q)})
	for _, k := range []struct {
		path string
		body m
		want string
		text string
	}{
		{path, pf(m{"internal_port": 23}), "400 BadRequest", "There is a port collision with the external_port_range. The following ranges collide: 2222:2222 and 2222:2222"},
		{path, pf(m{"external_port": 23}), "400 BadRequest", "There is a port collision with the internal_port_range. The following ranges collide: 22:22 and 22:22"},
		{path, pf(m{"external_port": 8085, "internal_port": 5}), "400 BadRequest", "8080:8090 and 8085:8085"},
		{path, pf(m{"external_port": nil, "external_port_range": "1:3", "internal_port": nil, "internal_port_range": "1:2"}), "400 BadRequest", "must be N-N or 1-N"},
		{path, pf(m{"external_port": 70000}), "400 HTTPBadRequest", "'70000' is too large"},
		{path, pf(m{"external_port": nil}), "400 HTTPBadRequest", "Required attribute 'external_port' not specified"},
		{path, pf(m{"external_port": nil, "external_port_range": "9:1"}), "400 HTTPBadRequest", "First port in a port range must be lower"},
		{path, pf(m{"protocol": "gre"}), "400 HTTPBadRequest", "gre is not in"},
		{path, pf(m{"internal_port_id": nobody, "external_port": 1, "internal_port": 1}), "404 PortNotFound", nobody},
		{path, pf(m{"internal_ip_address": "10.1.0.253", "external_port": 1, "internal_port": 1}), "400 BadRequest", "Requested internal IP address 10.1.0.253 is not suitable"},
		{path, pf(m{"internal_port_id": id(away), "internal_ip_address": addresses(away["fixed_ips"])[0], "external_port": 1}), "400 BadRequest", "is not reachable from subnet " + c.otherSubnet},
		{path, pf(m{"internal_port_id": id(bound), "internal_ip_address": addresses(bound["fixed_ips"])[0], "external_port": 1}), "409 PortHasBindingFloatingIP", id(bound)},
		{"/v2.0/floatingips/" + id(associated) + "/port_forwardings", pf(m{"external_port": 1, "internal_port": 1}), "409 FloatingIPPortAlreadyAssociated", ""},
		{"/v2.0/floatingips/" + nobody + "/port_forwardings", pf(m{}), "404 FloatingIPNotFound", nobody},
	} {
		c.refuses("POST", k.path, k.body, k.want, k.text)
	}
	c.refuses("GET", "/v2.0/floatingips/"+nobody+"/port_forwardings", nil, "404 FloatingIPNotFound", nobody)
	c.refuses("GET", "/v2.0/floatingips/"+id(associated)+"/port_forwardings/"+id(made), nil, "404 PortForwardingNotFound", "Port Forwarding "+id(made)+" could not be found.")
	c.refuses("PUT", fip, m{"floatingip": m{"port_id": id(q)}}, "409 FipInUseByPortForwarding", id(f))
	c.refuses("DELETE", fip, nil, "409 FipInUseByPortForwarding", id(f))
	c.refuses("PUT", "/v2.0/routers/"+router+"/remove_router_interface", m{"subnet_id": c.insideSubnet}, "409 RouterInterfaceInUseByFloatingIP", "")

	o := c.must(200, "PUT", path+"/"+id(made), m{"port_forwarding": m{"external_port": 2223, "description": "more"}})
	if o["external_port"] != 2223.0 || o["internal_port"] != 22.0 || o["description"] != "more" {
		t.Errorf("updated: %v", o)
	}
	var found []string
	for _, o := range c.do("GET", path+"?external_port=2223", nil).list() {
		found = append(found, id(o))
	}
	if !slices.Equal(found, []string{id(made)}) {
		t.Errorf("by external port: %v", found)
	}
	c.must(204, "DELETE", path+"/"+id(made), nil)
	if o := c.must(200, "GET", fip, nil); o["router_id"] != router {
		t.Errorf("one is left: %v", o)
	}
	// The port goes, and what was forwarded to it.
	c.must(204, "DELETE", "/v2.0/ports/"+id(p), nil)
	if o := c.must(200, "GET", fip, nil); o["router_id"] != nil || len(o["port_forwardings"].([]any)) != 0 {
		t.Errorf("none is left: %v", o)
	}
	c.must(204, "DELETE", fip, nil)
	story{c.api}.sound()
}
