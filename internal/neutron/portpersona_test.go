package neutron

import (
	"testing"
)

// TestPortPersonas: who may do what to ports, their bindings, their tags and trunks of them.
func TestPortPersonas(t *testing.T) {
	a := startPersonas(t)
	a.host("node-1")
	a.host("node-2")
	made := func(who, path string, body m) map[string]any {
		t.Helper()
		text, r := a.as(who, "POST", path, body)
		if text != "201" {
			t.Fatalf("%s: POST %s: %s", who, path, text)
		}
		return r.object()
	}
	network := id(made("member", "/v2.0/networks", m{"network": m{}}))
	p := made("member", "/v2.0/ports", m{"port": m{"network_id": network, "device_owner": "compute:nova", "tags": []string{"a"}}})
	child := id(made("member", "/v2.0/ports", m{"port": m{"network_id": network}}))
	trunk := id(made("member", "/v2.0/trunks", m{"trunk": m{"port_id": id(p)}}))
	port, bindings := "/v2.0/ports/"+id(p), "/v2.0/ports/"+id(p)+"/bindings"
	binding := m{"binding": m{"host": "node-1"}}
	sub := m{"sub_ports": []m{{"port_id": child, "segmentation_type": "vlan", "segmentation_id": 5}}}
	const forbidden = "403 PolicyNotAuthorized"
	for _, c := range []struct {
		who, method, path string
		body              any
		want              string
	}{
		{"reader", "GET", port + "/tags", nil, "200"},
		{"reader", "PUT", port + "/tags/x", nil, forbidden},
		{"member", "PUT", port + "/tags/x", nil, "201"},
		{"member@p2", "GET", port + "/tags", nil, "404 TagResourceNotFound"},
		{"member@p2", "PUT", port + "/tags/x", nil, "404 TagResourceNotFound"},
		{"admin@p9", "DELETE", port + "/tags/x", nil, "204"},
		{"member", "POST", bindings, binding, forbidden},
		{"service@p8", "POST", bindings, binding, "201"},
		{"service@p8", "GET", bindings + "/node-1", nil, "200"},
		{"admin@p9", "GET", bindings + "/node-1", nil, "200"},
		{"member", "GET", bindings + "/node-1", nil, "404 PortBindingNotFound"},
		{"member", "PUT", bindings + "/node-1/activate", nil, "404 PortBindingNotFound"},
		{"service@p8", "PUT", bindings + "/node-1/activate", nil, "200"},
		{"member", "PUT", port, m{"port": m{"binding:host_id": "node-2"}}, forbidden},
		{"admin@p9", "PUT", port, m{"port": m{"binding:profile": m{"a": 1}}}, forbidden},
		{"service@p8", "PUT", port, m{"port": m{"binding:profile": m{"a": 1}}}, "200"},
		{"member", "PUT", port, m{"port": m{"data_plane_status": "DOWN"}}, forbidden},
		{"admin@p9", "PUT", port, m{"port": m{"data_plane_status": "BUILD"}}, "400 HTTPBadRequest: Invalid input for data_plane_status. Reason: BUILD is not in [None, 'ACTIVE', 'DOWN']."},
		{"admin@p9", "PUT", port, m{"port": m{"data_plane_status": "DOWN"}}, "200"},
		{"admin@p9", "PUT", port, m{"port": m{"data_plane_status": nil}}, "200"},
		{"reader", "GET", "/v2.0/trunks/" + trunk, nil, "200"},
		{"reader", "GET", "/v2.0/trunks/" + trunk + "/get_subports", nil, "200"},
		{"reader", "PUT", "/v2.0/trunks/" + trunk + "/add_subports", sub, forbidden},
		{"member@p2", "GET", "/v2.0/trunks/" + trunk, nil, "404 TrunkNotFound"},
		{"member@p2", "PUT", "/v2.0/trunks/" + trunk + "/add_subports", sub, "404 TrunkNotFound"},
		{"member@p2", "POST", "/v2.0/trunks", m{"trunk": m{"port_id": child}}, "404 PortNotFound"},
		{"member", "PUT", "/v2.0/trunks/" + trunk + "/add_subports", sub, "200"},
	} {
		got, _ := a.as(c.who, c.method, c.path, c.body)
		if len(got) > len(c.want) {
			got = got[:len(c.want)]
		}
		if got != c.want {
			t.Errorf("%s %s %s: %s, want %s", c.who, c.method, c.path, got, c.want)
		}
	}
}

// TestPortAsMember: a member sees what a member of the recorded Neutron sees.
func TestPortAsMember(t *testing.T) {
	a := startPersonas(t)
	_, r := a.as("member", "POST", "/v2.0/networks", m{"network": m{}})
	p := &replay{api: a}
	_, created := a.as("member", "POST", "/v2.0/ports", m{"port": m{"network_id": id(r.object())}})
	p.compareKeys("port-create-member", load(t, "port-create-member").Response["port"].(map[string]any), created.object())
	_, shown := a.as("member", "GET", "/v2.0/ports/"+id(created.object()), nil)
	p.compareKeys("port-show-member", load(t, "port-show-member").Response["port"].(map[string]any), shown.object())
}

// TestAddressless: Nova takes a port without addresses only when it says that this is on purpose.
func TestAddressless(t *testing.T) {
	a := startPersonas(t)
	_, r := a.as("member", "POST", "/v2.0/networks", m{"network": m{}})
	network := id(r.object())
	for name, c := range map[string]struct {
		port m
		want string
	}{
		"none yet": {m{"network_id": network}, "immediate"},
		"none":     {m{"network_id": network, "fixed_ips": []m{}}, "none"},
	} {
		_, r := a.as("member", "POST", "/v2.0/ports", m{"port": c.port})
		if got := r.object()["ip_allocation"]; got != c.want {
			t.Errorf("%s: ip_allocation %v, want %s", name, got, c.want)
		}
		if _, shown := r.object()["resource_request"]; shown {
			t.Error("a member sees what is asked of Placement")
		}
		_, r = a.as("admin", "GET", "/v2.0/ports/"+id(r.object()), nil)
		if v, shown := r.object()["resource_request"]; !shown || v != nil {
			t.Errorf("resource_request is %v (%v), want null", v, shown)
		}
	}
}
