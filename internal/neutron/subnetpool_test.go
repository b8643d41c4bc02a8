package neutron

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSubnetPoolsOverHTTP(t *testing.T) {
	p := &replay{api: startAPI(t), subst: map[string]string{}}
	p.make("address-scope-create")
	p.make("subnetpool-create")
	pool := "/v2.0/subnetpools/" + p.subst["aa606391-b8e0-4b14-98ca-303c4398f5af"]
	scope := p.subst["ef831ddd-1355-4658-9bf6-5042006487d1"]
	network := id(p.must(201, "POST", "/v2.0/networks", m{"network": m{"name": "n"}}))
	sub := p.must(201, "POST", "/v2.0/subnets", m{"subnet": m{"network_id": network, "ip_version": 4, "subnetpool_id": strings.TrimPrefix(pool, "/v2.0/subnetpools/")}})
	if sub["cidr"] != "10.60.0.0/24" || sub["gateway_ip"] != "10.60.0.1" || sub["subnetpool_id"] != strings.TrimPrefix(pool, "/v2.0/subnetpools/") {
		t.Errorf("%v", sub)
	}
	show := func() map[string]any { return p.must(200, "GET", "/v2.0/networks/"+network, nil) }
	if show()["ipv4_address_scope"] != nil {
		t.Errorf("%v", show())
	}
	// The networks of a pool show its address scope from the moment it has one.
	if got := p.must(200, "PUT", pool, m{"subnetpool": m{"address_scope_id": scope, "default_quota": 512, "default_prefixlen": "25"}}); got["address_scope_id"] != scope ||
		got["default_quota"] != 512.0 || got["default_prefixlen"] != "25" || got["revision_number"] != 1.0 {
		t.Errorf("%v", got)
	}
	if n := show(); n["ipv4_address_scope"] != scope || n["ipv6_address_scope"] != nil {
		t.Errorf("%v", n)
	}
	r := p.do("PUT", pool+"/add_prefixes", m{"prefixes": []string{"10.61.0.0/16"}})
	if r.status != 200 || r.text != `{"prefixes":["10.60.0.0/15"]}` {
		t.Errorf("%d %s", r.status, r.text)
	}
	r = p.do("PUT", pool+"/remove_prefixes", m{"prefixes": []string{"10.61.0.0/16"}})
	if r.status != 200 || r.text != `{"prefixes":["10.60.0.0/16"]}` {
		t.Errorf("%d %s", r.status, r.text)
	}
	other := id(p.must(201, "POST", "/v2.0/networks", m{"network": m{"name": "o"}}))
	s := id(p.must(201, "POST", "/v2.0/subnets", m{"subnet": m{"network_id": other, "ip_version": 4, "cidr": "172.16.0.0/24"}}))
	if got, want := p.list(pool+"/onboard_network_subnets", m{"network_id": other}), fmt.Sprintf(`[{"cidr":"172.16.0.0/24","id":"%s"}]`, s); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, c := range []struct {
		method, path string
		body         any
		want         string
	}{
		{"POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": "x"}}, "400 HTTPBadRequest: Failed to parse request. Required attribute 'prefixes' not specified"},
		{"POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": " ", "prefixes": []string{"10.0.0.0/8"}}}, "400 HTTPBadRequest: Invalid input for name. Reason: ' ' Blank strings are not permitted."},
		{"POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": "x", "prefixes": []string{"ten"}}}, "400 HTTPBadRequest: Invalid input for prefixes. Reason: 'ten' is not a valid IP subnet."},
		{"POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": "x", "prefixes": []string{}}}, "400 EmptySubnetPoolPrefixList: Empty subnet pool prefix list."},
		{"POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": "x", "prefixes": []string{"10.0.0.0/8"}, "default_quota": -1}}, "400 HTTPBadRequest: Invalid input for default_quota. Reason: '-1' should be non-negative."},
		{"PUT", pool + "/add_prefixes", m{}, "400 HTTPBadRequest: Request body contains invalid data"},
		{"PUT", pool + "/onboard_network_subnets", m{"network_id": other}, "400 IllegalSubnetPoolUpdate: Illegal subnetpool update : Onboarding subnet " + s + ": 172.16.0.0/24 conflicts with allocated prefixes in subnet pool " + strings.TrimPrefix(pool, "/v2.0/subnetpools/") + "."},
		{"DELETE", pool, nil, "400 SubnetPoolDeleteError: Unable to delete subnet pool: Subnet pool has existing allocations."},
		{"DELETE", "/v2.0/address-scopes/" + scope, nil, "409 AddressScopeInUse: Unable to complete operation on address scope " + scope + ". There are one or more subnet pools in use on the address scope."},
		{"GET", "/v2.0/subnetpools/x", nil, "404 SubnetPoolNotFound: Subnet pool x could not be found."},
		{"GET", "/v2.0/address-scopes/x", nil, "404 AddressScopeNotFound: Address scope x could not be found."},
		{"POST", "/v2.0/address-scopes", m{"address_scope": m{"ip_version": 5}}, "400 HTTPBadRequest: Invalid input for ip_version. Reason: 5 is not in [4, 6]."},
		{"POST", "/v2.0/subnets", m{"subnet": m{"network_id": network, "ip_version": 4, "subnetpool_id": s}}, "404 SubnetPoolNotFound: Subnet pool " + s + " could not be found."},
	} {
		if got := p.do(c.method, c.path, c.body).fault(); got != c.want {
			t.Errorf("%s %s %v\n got %s\nwant %s", c.method, c.path, c.body, got, c.want)
		}
	}
	for filter, want := range map[string]int{"ip_version=4": 1, "ip_version=6": 0, "default_prefixlen=25": 1, "address_scope_id=" + scope: 1, "default_quota=512": 1, "is_default=True": 0, "name=s-sp": 1} {
		if l := p.do("GET", "/v2.0/subnetpools?"+filter, nil).list(); len(l) != want {
			t.Errorf("%s: %d, want %d", filter, len(l), want)
		}
	}
}

// list is the answer to a PUT, when that is no object.
func (p *replay) list(path string, body any) string {
	p.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, httptest.NewRequest("PUT", path, bytes.NewReader(text)))
	return strings.TrimSpace(w.Body.String())
}

func TestWhoMayUsePools(t *testing.T) {
	a := startPersonas(t)
	create := func(who string, pool m) string {
		t.Helper()
		got, r := a.as(who, "POST", "/v2.0/subnetpools", m{"subnetpool": pool})
		if got != "201" {
			t.Fatal(got)
		}
		return id(r.object())
	}
	own := create("member", m{"name": "own", "prefixes": []string{"10.0.0.0/16"}, "default_prefixlen": 24})
	foreign := create("member@p2", m{"name": "foreign", "prefixes": []string{"10.1.0.0/16"}})
	shared := create("admin@p2", m{"name": "shared", "prefixes": []string{"10.2.0.0/16"}, "shared": true, "default_prefixlen": 24})
	_, r := a.as("admin@p2", "POST", "/v2.0/address-scopes", m{"address_scope": m{"name": "s", "ip_version": 4, "shared": true}})
	scope := id(r.object())
	_, r = a.as("member", "POST", "/v2.0/networks", m{"network": m{}})
	network := id(r.object())
	for _, c := range []struct {
		who, method, path string
		body              any
		want              string
	}{
		{"member", "GET", "/v2.0/subnetpools/" + foreign, nil, "404 SubnetPoolNotFound: Subnet pool " + foreign + " could not be found."},
		{"member", "GET", "/v2.0/subnetpools/" + shared, nil, "200"},
		{"member", "PUT", "/v2.0/subnetpools/" + shared, m{"subnetpool": m{"name": "x"}}, "403 PolicyNotAuthorized: rule:update_subnetpool is disallowed by policy"},
		{"member", "POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": "x", "prefixes": []string{"10.9.0.0/16"}, "shared": true}},
			"403 PolicyNotAuthorized: (rule:create_subnetpool and rule:create_subnetpool:shared) is disallowed by policy"},
		{"member", "POST", "/v2.0/subnetpools", m{"subnetpool": m{"name": "x", "prefixes": []string{"10.9.0.0/16"}, "is_default": true}},
			"403 PolicyNotAuthorized: (rule:create_subnetpool and rule:create_subnetpool:is_default) is disallowed by policy"},
		{"member", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": network, "ip_version": 4, "subnetpool_id": foreign}},
			"404 SubnetPoolNotFound: Subnet pool " + foreign + " could not be found."},
		{"member", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": network, "ip_version": 4, "subnetpool_id": shared}}, "201"},
		{"member", "PUT", "/v2.0/subnetpools/" + own, m{"subnetpool": m{"address_scope_id": scope}}, "200"},
		{"member", "PUT", "/v2.0/subnetpools/" + own, m{"subnetpool": m{"name": "y"}},
			"400 IllegalSubnetPoolUpdate: Illegal subnetpool update : subnetpool " + own + " cannot be updated when associated with shared address scope " + scope + "."},
		{"admin", "PUT", "/v2.0/address-scopes/" + scope, m{"address_scope": m{"shared": false}},
			"400 AddressScopeUpdateError: Unable to update address scope " + scope + " : Shared address scope can't be unshared."},
		{"member", "GET", "/v2.0/network-ip-availabilities/" + network, nil, "404 NetworkNotFound: Network " + network + " could not be found."},
		{"admin", "GET", "/v2.0/network-ip-availabilities/" + network, nil, "200"},
	} {
		if got, _ := a.as(c.who, c.method, c.path, c.body); got != c.want {
			t.Errorf("%s %s %s:\n got %s\nwant %s", c.who, c.method, c.path, got, c.want)
		}
	}
	_, r = a.as("member", "GET", "/v2.0/subnetpools?sort_key=name&sort_dir=asc", nil)
	if l := r.list(); len(l) != 2 || l[0]["name"] != "own" || l[1]["name"] != "shared" {
		t.Errorf("a member sees %v", l)
	}
	// What a policy shares is there, too.
	if got, _ := a.as("member@p2", "POST", "/v2.0/rbac-policies", m{"rbac_policy": m{"object_type": "subnetpool", "object_id": foreign, "action": "access_as_shared", "target_tenant": "p1"}}); got != "201" {
		t.Error(got)
	}
	if got, _ := a.as("member", "GET", "/v2.0/subnetpools/"+foreign, nil); got != "200" {
		t.Error(got)
	}
	if l := a.do("GET", "/v2.0/network-ip-availabilities", nil, "X-Auth-Token", "member").list(); len(l) != 0 {
		t.Errorf("a member sees %v", l)
	}
}

func TestAvailability(t *testing.T) {
	p := &replay{api: startAPI(t), subst: map[string]string{}}
	p.make("network-create")
	p.make("subnet-create")
	p.make("subnet-create-ipv6-slaac")
	network := p.ours("7ac9e862-c147-4691-b95e-a6289d3deed4")
	for range 4 {
		p.must(201, "POST", "/v2.0/ports", m{"port": m{"network_id": network}})
	}
	p.must(201, "POST", "/v2.0/ports", m{"port": m{"network_id": network, "device_owner": "network:router_interface", "fixed_ips": []m{{"ip_address": "10.77.0.1"}}}})
	rec := load(t, "network-ip-availability-show")
	r := p.do("GET", "/v2.0/network-ip-availabilities/"+network, nil)
	p.compareKeys("availability", rec.Response["network_ip_availability"].(m), r.object())
	for _, want := range []string{`"total_ips":18446744073709551868`, `"used_ips":9`, `"used_ips":4,"total_ips":18446744073709551615`, `"used_ips":5,"total_ips":253`} {
		if !strings.Contains(r.text, want) {
			t.Errorf("no %s in %s", want, r.text)
		}
	}
	p.must(201, "POST", "/v2.0/networks", m{"network": m{"name": "empty"}})
	for filter, want := range map[string]int{"": 2, "ip_version=4": 1, "ip_version=5": 0, "network_name=s-net": 1, "network_name=empty": 1, "network_id=" + network: 1, "tenant_id=nobody": 0} {
		r := p.do("GET", "/v2.0/network-ip-availabilities?"+filter, nil)
		if l := r.list(); r.status != 200 || len(l) != want {
			t.Errorf("%q: %s", filter, r.text)
		}
	}
	r = p.do("GET", "/v2.0/network-ip-availabilities?ip_version=6", nil)
	if !strings.Contains(r.text, `"used_ips":4`) || strings.Contains(r.text, `"ip_version":4`) {
		t.Errorf("%s", r.text)
	}
}
