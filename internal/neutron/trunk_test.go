package neutron

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// trunkAPI is an API with ports by name: parent, a, b on one network, big on one with a
// larger MTU, vlan on a VLAN network, vm with a device, bound on a host.
func trunkAPI(t *testing.T) (*api, map[string]string) {
	a := startAPI(t)
	a.host("node-1")
	at := map[string]string{}
	network := func(n m) string { return id(a.must(201, "POST", "/v2.0/networks", m{"network": n})) }
	small, big := network(m{"mtu": 1400}), network(m{})
	vlan := network(m{"mtu": 1300, "provider:network_type": "vlan", "provider:physical_network": "physnet1", "provider:segmentation_id": 123})
	for name, p := range map[string]m{"parent": {}, "a": {}, "b": {}, "big": {"network_id": big}, "vlan": {"network_id": vlan},
		"vm": {"device_id": "d"}, "bound": {"binding:host_id": "node-1"}} {
		if p["network_id"] == nil {
			p["network_id"] = small
		}
		at[name] = id(a.must(201, "POST", "/v2.0/ports", m{"port": p}))
	}
	at["small"] = small
	return a, at
}

// named puts IDs in place of names in braces.
func named(text string, ids map[string]string) string {
	for name, id := range ids {
		text = strings.ReplaceAll(text, "{"+name+"}", id)
	}
	return text
}

func TestTrunkRules(t *testing.T) {
	a, ids := trunkAPI(t)
	trunk := a.must(201, "POST", "/v2.0/trunks", named(`{"trunk":{"port_id":"{parent}","sub_ports":[{"port_id":"{a}","segmentation_type":"vlan","segmentation_id":"7"}]}}`, ids))
	ids["trunk"] = id(trunk)
	sample, err := json.Marshal(trunk)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"status", "sub_ports", "name", "admin_state_up", "project_id", "tenant_id", "created_at", "updated_at",
		"revision_number", "port_id", "id", "description", "tags"} {
		if _, has := trunk[key]; !has {
			t.Errorf("no %s in %s", key, sample)
		}
	}
	add, remove := "/v2.0/trunks/{trunk}/add_subports", "/v2.0/trunks/{trunk}/remove_subports"
	const inUse = "409 ParentPortInUse: Port {%s} is currently in use and is not eligible for use as a parent port."
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v2.0/trunks", `{"trunk":{}}`, "400 HTTPBadRequest: Failed to parse request. Required attribute 'port_id' not specified"},
		{"POST", "/v2.0/trunks", `{"trunk":{"port_id":"` + someUUID + `"}}`, "404 PortNotFound: Port " + someUUID + " could not be found."},
		{"POST", "/v2.0/trunks", `{"trunk":{"port_id":"{parent}"}}`, fmt.Sprintf(inUse, "parent")},
		{"POST", "/v2.0/trunks", `{"trunk":{"port_id":"{a}"}}`, "409 TrunkPortInUse: Port {a} is in use by another trunk."},
		{"POST", "/v2.0/trunks", `{"trunk":{"port_id":"{bound}"}}`, fmt.Sprintf(inUse, "bound")},
		{"POST", "/v2.0/trunks", `{"trunk":{"port_id":"{b}","sub_ports":[{"port_id":"{b}","segmentation_type":"vlan","segmentation_id":7}]}}`, fmt.Sprintf(inUse, "b")},
		{"POST", "/v2.0/trunks", `{"trunks":[{"port_id":"{b}"},{"port_id":"{b}"}]}`, fmt.Sprintf(inUse, "b")},
		{"POST", "/v2.0/trunks", `{"trunk":{"port_id":"{b}","sub_ports":7}}`, "400 HTTPBadRequest: Invalid input for sub_ports. Reason: Invalid data format for subports: '7' is not a list."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{parent}","segmentation_type":"vlan","segmentation_id":9}]}`, fmt.Sprintf(inUse, "parent")},
		{"PUT", add, `{"sub_ports":[{"port_id":"{a}","segmentation_type":"vlan","segmentation_id":9}]}`, "409 TrunkPortInUse: Port {a} is in use by another trunk."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{b}","segmentation_type":"vlan","segmentation_id":7}]}`,
			"409 DuplicateSubPort: segmentation_type vlan and segmentation_id 7 already in use on trunk {trunk}."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{big}","segmentation_type":"vlan","segmentation_id":9}]}`,
			"409 SubPortMtuGreaterThanTrunkPortMtu: MTU 1450 of subport {big} cannot be greater than MTU 1400 of trunk {parent}."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{vm}","segmentation_type":"vlan","segmentation_id":9}]}`,
			"409 PortInUse: Unable to complete operation on port {vm} for network {small}. Port already has an attached device d."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{b}","segmentation_type":"inherit"}]}`, "400 InvalidInput: Invalid input for operation: Unknown segmentation_type 'vxlan'."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{b}","segmentation_type":"vlan","segmentation_id":4095}]}`, "400 InvalidInput: Invalid input for operation: Segmentation ID '4095' is not in range."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{b}","segmentation_type":"vlan","segmentation_id":"x"}]}`,
			"400 InvalidInput: Invalid input for operation: Invalid subport details: segmentation_id 'x' is not an integer."},
		{"PUT", add, `{"sub_ports":[{"port_id":"{b}","segmentation_type":"vlan"}]}`, "400 InvalidInput: Invalid input for operation: Invalid subport details " +
			"'{'port_id': '{b}', 'segmentation_type': 'vlan'}': missing segmentation information. Must specify both segmentation_id and segmentation_type."},
		{"PUT", add, `{"sub_ports":[{"port_id":"x"}]}`, "400 InvalidInput: Invalid input for operation: Invalid UUID for subport: 'x'."},
		{"PUT", add, `{"sub_ports":[{}]}`, "400 InvalidInput: Invalid input for operation: A valid port UUID must be specified."},
		{"PUT", remove, `{"sub_ports":[{"port_id":"{b}"}]}`, "404 SubPortNotFound: SubPort {b} on trunk {trunk} could not be found."},
		{"PUT", "/v2.0/trunks/" + someUUID + "/add_subports", `{"sub_ports":[]}`, "404 TrunkNotFound: Trunk " + someUUID + " could not be found."},
		{"DELETE", "/v2.0/ports/{parent}", "", "409 PortInUseAsTrunkParent: Port {parent} is currently a parent port for trunk {trunk}."},
		{"DELETE", "/v2.0/ports/{a}", "", "409 PortInUseAsSubPort: Port {a} is currently a subport for trunk {trunk}."},
		{"PUT", "/v2.0/trunks/{trunk}", `{"trunk":{"sub_ports":[]}}`, "400 HTTPBadRequest: Cannot update read-only attribute sub_ports"},
	} {
		if got, want := a.do(c.method, named(c.path, ids), named(c.body, ids)).fault(), named(c.want, ids); got != want {
			t.Errorf("%s %s %s\n got %s\nwant %s", c.method, c.path, c.body, got, want)
		}
	}
}

func TestTrunkLife(t *testing.T) {
	a, ids := trunkAPI(t)
	ids["trunk"] = id(a.must(201, "POST", "/v2.0/trunks", named(`{"trunk":{"port_id":"{parent}","name":"t"}}`, ids)))
	do := func(status int, method, path, body string) answer {
		t.Helper()
		r := a.do(method, named(path, ids), named(body, ids))
		if r.status != status {
			t.Fatalf("%s %s: %d %s", method, path, r.status, r.text)
		}
		return r
	}
	details := func() string {
		p := a.must(200, "GET", named("/v2.0/ports/{parent}", ids), nil)
		d, ok := p["trunk_details"].(map[string]any)
		if !ok {
			return "none"
		}
		text := ""
		for _, s := range d["sub_ports"].([]any) {
			s := s.(map[string]any)
			sub := a.must(200, "GET", "/v2.0/ports/"+s["port_id"].(string), nil)
			text += fmt.Sprint(s["segmentation_type"], s["segmentation_id"], " ", sub["mac_address"] == s["mac_address"], "; ")
		}
		return text
	}
	if got := details(); got != "" {
		t.Errorf("details of an empty trunk: %s", got)
	}
	r := do(200, "PUT", "/v2.0/trunks/{trunk}/add_subports", `{"sub_ports":[{"port_id":"{a}","segmentation_type":"vlan","segmentation_id":7},{"port_id":"{vlan}","segmentation_type":"inherit"}]}`)
	if r.body["id"] != ids["trunk"] || r.body["status"] != "DOWN" || r.body["revision_number"] != 2.0 {
		t.Errorf("answer to add_subports: %s", r.text)
	}
	if got := details(); got != "vlan7 true; vlan123 true; " {
		t.Errorf("details: %s", got)
	}
	do(200, "PUT", "/v2.0/ports/{a}", `{"port":{"mac_address":"fa:16:3e:00:00:99"}}`)
	if got := details(); got != "vlan7 true; vlan123 true; " {
		t.Errorf("details after a new MAC: %s", got)
	}
	if got := do(200, "GET", "/v2.0/trunks/{trunk}/get_subports", "").text; !strings.Contains(got, `"segmentation_id":123`) {
		t.Errorf("subports: %s", got)
	}
	do(200, "PUT", "/v2.0/trunks/{trunk}/remove_subports", `{"sub_ports":[{"port_id":"{a}"}]}`)
	do(204, "DELETE", "/v2.0/ports/{a}", "")
	if got := details(); got != "vlan123 true; " {
		t.Errorf("details after a removal: %s", got)
	}
	do(201, "PUT", "/v2.0/trunks/{trunk}/tags/x", "")
	if got := len(a.do("GET", named("/v2.0/trunks?port_id={parent}&tags=x&name=t", ids), nil).list()); got != 1 {
		t.Errorf("%d trunks found", got)
	}
	do(200, "PUT", "/v2.0/trunks/{trunk}", `{"trunk":{"admin_state_up":false}}`)
	if got, want := do(409, "DELETE", "/v2.0/trunks/{trunk}", "").fault(), named("409 TrunkDisabled: Trunk {trunk} is currently disabled.", ids); got != want {
		t.Error(got)
	}
	do(200, "PUT", "/v2.0/trunks/{trunk}", `{"trunk":{"admin_state_up":true}}`)
	do(200, "PUT", "/v2.0/ports/{parent}", `{"port":{"binding:host_id":"node-1"}}`)
	if got, want := do(409, "DELETE", "/v2.0/trunks/{trunk}", "").fault(), named("409 TrunkInUse: Trunk {trunk} is currently in use.", ids); got != want {
		t.Error(got)
	}
	do(200, "PUT", "/v2.0/ports/{parent}", `{"port":{"binding:host_id":null}}`)
	do(204, "DELETE", "/v2.0/trunks/{trunk}", "")
	if got := details(); got != "none" {
		t.Errorf("details after the trunk went: %s", got)
	}
	do(204, "DELETE", "/v2.0/ports/{vlan}", "")
}

// TestTrunkPortsAreNoRouters: a port is in a trunk or a router's, not both.
func TestTrunkPortsAreNoRouters(t *testing.T) {
	c := startL3(t, startAPI(t))
	r, on := id(c.router(m{})), m{"network_id": c.inside}
	parent, sub := id(c.port(on)), id(c.port(on))
	trunk := id(c.must(201, "POST", "/v2.0/trunks", m{"trunk": m{"port_id": parent,
		"sub_ports": []m{{"port_id": sub, "segmentation_type": "vlan", "segmentation_id": 7}}}}))
	add := "/v2.0/routers/" + r + "/add_router_interface"
	c.refuses("PUT", add, m{"port_id": parent}, "409 PortInUseAsTrunkParent", "Port "+parent+" is currently a parent port for trunk "+trunk+".")
	c.refuses("PUT", add, m{"port_id": sub}, "409 PortInUseAsSubPort", "Port "+sub+" is currently a subport for trunk "+trunk+".")
	if o := c.must(200, "GET", "/v2.0/ports/"+sub, nil); o["device_owner"] != "" {
		t.Errorf("a refused port became the router's: %v", o)
	}
	joined := c.join(r, c.insideSubnet)
	c.refuses("POST", "/v2.0/trunks", m{"trunk": m{"port_id": joined}}, "409 ParentPortInUse", joined)
	c.refuses("PUT", "/v2.0/trunks/"+trunk+"/add_subports", m{"sub_ports": []m{{"port_id": joined, "segmentation_type": "vlan", "segmentation_id": 8}}},
		"409 PortInUse", joined)
	if l := c.do("PUT", "/v2.0/routers/"+r+"/remove_router_interface", m{"port_id": joined}); l.status != 200 {
		t.Errorf("remove: %s", l.text)
	}
	// Once out of the trunk, the port is like any other.
	c.must(200, "PUT", "/v2.0/trunks/"+trunk+"/remove_subports", m{"sub_ports": []m{{"port_id": sub}}})
	if l := c.do("PUT", add, m{"port_id": sub}); l.status != 200 {
		t.Errorf("add: %s", l.text)
	}
	story{c.api}.sound()
}
