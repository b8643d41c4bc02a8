package neutron

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"weft/internal/control"
	"weft/internal/store/storetest"
)

func TestPortBindings(t *testing.T) {
	a := startAPI(t)
	a.host("node-1")
	a.host("node-2")
	network, _ := a.network("n", "10.0.0.0/24")
	make := func(owner string) string {
		return "/v2.0/ports/" + id(a.must(201, "POST", "/v2.0/ports", m{"port": m{"network_id": network, "device_owner": owner,
			"device_id": "vm", "binding:host_id": "node-1", "binding:profile": m{"a": "b"}}}))
	}
	vm, other := make("compute:nova"), make("")
	state := func() string {
		text := ""
		for _, b := range a.do("GET", vm+"/bindings", nil).list() {
			text += fmt.Sprint(b["host"], " ", b["status"], " ", b["vif_type"], "; ")
		}
		p := a.must(200, "GET", vm, nil)
		return text + fmt.Sprint(p["binding:host_id"], " ", p["binding:vif_type"])
	}
	binding := func(host string) m { return m{"binding": m{"host": host}} }
	portID := vm[len("/v2.0/ports/"):]
	for _, c := range []struct {
		method, path string
		body         any
		fault, then  string
	}{
		{"GET", other + "/bindings", nil, "400 BadRequest: Bad port request: Invalid port " + other[len("/v2.0/ports/"):] +
			". Operation only valid on compute and shared filesystem ports.", ""},
		{"GET", "/v2.0/ports/" + someUUID + "/bindings", nil, "404 PortNotFound: Port " + someUUID + " could not be found.", ""},
		{"POST", vm + "/bindings", binding("node-1"), "409 PortBindingAlreadyExists: Binding for port " + portID + " on host node-1 already exists.", ""},
		{"POST", vm + "/bindings", binding("node-9"), "500 PortBindingError: Binding for port " + portID + " on host node-9 could not be created or updated.", ""},
		{"POST", vm + "/bindings", m{"binding": m{}}, "400 HTTPBadRequest: Failed to parse request. Required attribute 'host' not specified",
			"node-1 ACTIVE ovs; node-1 ovs"},
		{"POST", vm + "/bindings", binding("node-2"), "", "node-1 ACTIVE ovs; node-2 INACTIVE ovs; node-1 ovs"},
		{"PUT", vm + "/bindings/node-2", m{"binding": m{"profile": m{"x": 1}}}, "", "node-1 ACTIVE ovs; node-2 INACTIVE ovs; node-1 ovs"},
		{"PUT", vm + "/bindings/node-1/activate", nil, "409 PortBindingAlreadyActive: Binding for port " + portID + " on host node-1 is already active.", ""},
		{"PUT", vm + "/bindings/node-9/activate", nil, "404 PortBindingNotFound: Binding for port " + portID + " for host node-9 could not be found.", ""},
		{"PUT", vm + "/bindings/node-2/activate", nil, "", "node-1 INACTIVE unbound; node-2 ACTIVE ovs; node-2 ovs"},
		{"GET", vm + "/bindings/node-9", nil, "404 PortBindingNotFound: Binding for port " + portID + " for host node-9 could not be found.", ""},
		{"DELETE", vm + "/bindings/node-1", nil, "", "node-2 ACTIVE ovs; node-2 ovs"},
		{"DELETE", vm + "/bindings/node-1", nil, "404 PortBindingNotFound: Binding for port " + portID + " for host node-1 could not be found.", ""},
		{"POST", vm + "/bindings", binding("node-1"), "", "node-1 INACTIVE ovs; node-2 ACTIVE ovs; node-2 ovs"},
		{"PUT", vm, m{"port": m{"binding:host_id": "node-1"}}, "", "node-1 ACTIVE ovs; node-1 ovs"},
	} {
		r := a.do(c.method, c.path, c.body)
		if c.fault != "" && r.fault() != c.fault || c.fault == "" && r.status >= 300 {
			t.Errorf("%s %s\n got %s\nwant %s", c.method, c.path, r.fault(), c.fault)
		}
		if got := state(); c.then != "" && got != c.then {
			t.Errorf("after %s %s: %s, want %s", c.method, c.path, got, c.then)
		}
	}
}

func TestPortMACAgain(t *testing.T) {
	a := startAPI(t)
	a.host("node-1")
	network, _ := a.network("n", "")
	p := a.must(201, "POST", "/v2.0/ports", m{"port": m{"network_id": network, "mac_address": nil}})
	again := a.must(200, "PUT", "/v2.0/ports/"+id(p), m{"port": m{"mac_address": nil}})
	if again["mac_address"] == p["mac_address"] || again["mac_address"] == "00:00:00:00:00:00" {
		t.Errorf("MAC %v after %v", again["mac_address"], p["mac_address"])
	}
	a.must(200, "PUT", "/v2.0/ports/"+id(p), m{"port": m{"binding:host_id": "node-1"}})
	if r := a.do("PUT", "/v2.0/ports/"+id(p), m{"port": m{"mac_address": nil}}); r.status != 409 {
		t.Errorf("a new MAC for a bound port: %s", r.fault())
	}
}

func TestDNSNames(t *testing.T) {
	for _, c := range []struct{ domain, name, kept, want string }{
		{"openstacklocal", "vm1", "", "map[fqdn:host-10-0-0-5.openstacklocal. hostname:host-10-0-0-5 ip_address:10.0.0.5]"},
		{"", "vm1", "", "map[fqdn:host-10-0-0-5 hostname:host-10-0-0-5 ip_address:10.0.0.5]"},
		{"example.org", "", "", "map[fqdn:host-10-0-0-5.example.org. hostname:host-10-0-0-5 ip_address:10.0.0.5]"},
		{"example.org", "VM1", "vm1", "map[fqdn:vm1.example.org. hostname:vm1 ip_address:10.0.0.5]"},
		{"example.org.", "vm1.example.org.", "vm1.example.org.", "map[fqdn:vm1.example.org. hostname:vm1.example.org. ip_address:10.0.0.5]"},
		{"example.org", "vm1.elsewhere.org.", "", "400 HTTPBadRequest: Invalid input for dns_name. Reason: The dns_name passed is a FQDN. " +
			"Its higher level labels must be equal to the dns_domain option in neutron.conf, that has been set to 'example.org'. " +
			"It must also include one or more valid DNS labels to the left of 'example.org'."},
	} {
		cfg := control.DefaultConfig()
		cfg.DNSDomain = c.domain
		ctl := control.New(control.Options{Store: storetest.New(t), Config: cfg})
		srv := httptest.NewServer(New(Options{Control: ctl}))
		a := &api{t: t, url: srv.URL, control: ctl, http: srv.Client()}
		network, _ := a.network("n", "10.0.0.0/24")
		r := a.do("POST", "/v2.0/ports", m{"port": m{"network_id": network, "dns_name": c.name, "fixed_ips": []any{m{"ip_address": "10.0.0.5"}}}})
		got := r.fault()
		if p := r.object(); r.status == 201 {
			got = fmt.Sprint(p["dns_assignment"].([]any)[0])
			if p["dns_name"] != c.kept {
				t.Errorf("%s in %s: kept as %v", c.name, c.domain, p["dns_name"])
			}
		}
		if got != c.want {
			t.Errorf("%s in %s\n got %s\nwant %s", c.name, c.domain, got, c.want)
		}
		srv.Close()
	}
}
