package neutron

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/model"
)

func TestQueryRefuses(t *testing.T) {
	for _, c := range []struct{ resource, query, want string }{
		{"network", "bogus=1", "HTTPBadRequest: ['bogus'] is invalid attribute for filtering"},
		{"network", "b=1&a=2&b=3", "HTTPBadRequest: ['b', 'a'] is invalid attribute for filtering"},
		{"network", "subnets=x", "HTTPBadRequest: ['subnets'] is invalid attribute for filtering"},
		{"network", "shared=maybe", "InvalidInput: Invalid input for operation: 'maybe' cannot be converted to boolean."},
		{"network", "mtu=x", "InvalidInput: Invalid input for operation: 'x' is not an integer."},
		{"network", "tenant_id=a&project_id=a", "TenantIdProjectIdFilterConflict: Both tenant_id and project_id passed as filters."},
		{"network", "sort_key=name", "HTTPBadRequest: The number of sort_keys and sort_dirs must be same"},
		{"network", "sort_key=bogus&sort_dir=asc", "HTTPBadRequest: ['bogus'] is invalid attribute for sort_keys"},
		{"network", "sort_key=shared&sort_dir=asc", "HTTPBadRequest: ['shared'] is invalid attribute for sort_keys"},
		{"network", "sort_key=name&sort_dir=up", "HTTPBadRequest: ['up'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'"},
		{"network", "limit=x", "BadRequest: Bad limit request: Limit must be an integer 0 or greater and not 'x'."},
		{"network", "limit=-1", "BadRequest: Bad limit request: Limit must be an integer 0 or greater and not '-1'."},
		{"port", "fixed_ips=10.0.0.1", "InvalidInput: Invalid input for operation: '10.0.0.1' is not of the form <key>=[value]."},
		{"port", "binding:vif_type=ovs", "HTTPBadRequest: ['binding:vif_type'] is invalid attribute for filtering"},
	} {
		var err error
		if c.resource == "network" {
			_, err = networks().query(c.query)
		} else {
			_, err = ports().query(c.query)
		}
		got := "nothing wrong"
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s?%s\n got %s\nwant %s", c.resource, c.query, got, c.want)
		}
	}
}

func TestFilters(t *testing.T) {
	mac := model.MAC{0xfa, 0x16, 0x3e, 0x7b, 0x71, 0x0b}
	all := []*model.Port{
		{ID: "p1", Name: "web", NetworkID: "n1", MAC: mac, AdminStateUp: true, Status: model.PortActive, Project: "a",
			DeviceID: "d", DeviceOwner: "compute:nova", Binding: model.Binding{Host: "h1"}, Meta: model.Meta{Revision: 3},
			FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: netip.MustParseAddr("10.10.0.121")}, {SubnetID: "s2", Addr: netip.MustParseAddr("10.11.0.5")}}},
		{ID: "p2", NetworkID: "n1", Status: model.PortDown, Project: "b",
			FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: netip.MustParseAddr("10.10.0.122")}}},
		{ID: "p3", NetworkID: "n2", Status: model.PortDown, Project: "b"},
	}
	for query, want := range map[string]string{
		"":                                   "p1 p2 p3",
		"id=p1&id=p3":                        "p1 p3",
		"name=web":                           "p1",
		"name=":                              "p2 p3",
		"name=web&name=":                     "p1 p2 p3",
		"network_id=n1&status=DOWN":          "p2",
		"admin_state_up=True":                "p1",
		"admin_state_up=false":               "p2 p3",
		"admin_state_up=0&admin_state_up=1":  "p1 p2 p3",
		"mac_address=FA-16-3E-7B-71-0B":      "p1",
		"mac_address=x":                      "",
		"tenant_id=b":                        "p2 p3",
		"project_id=a":                       "p1",
		"device_id=d&device_owner=x":         "",
		"device_owner=compute:nova":          "p1",
		"binding:host_id=h1":                 "p1",
		"binding%3Ahost_id=h1":               "p1",
		"revision_number=3":                  "p1",
		"fixed_ips=ip_address%3D10.10.0.121": "p1",
		"fixed_ips=ip_address=10.10.0.121&fixed_ips=ip_address=10.10.0.122": "p1 p2",
		"fixed_ips=subnet_id%3Ds1":                                                  "p1 p2",
		"fixed_ips=subnet_id%3Ds1&fixed_ips=ip_address%3D10.11.0.5":                 "p1",
		"fixed_ips=ip_address_substr%3D.12":                                         "p1 p2",
		"fixed_ips=ip_address%3Dgarbage":                                            "",
		"fixed_ips=other%3Dx":                                                       "p1 p2 p3",
		"limit=2&marker=x&page_reverse=True&sort_key=id&sort_dir=asc&fields=id&a=b": "!",
	} {
		q, err := ports().query(query)
		if err != nil {
			if want != "!" {
				t.Errorf("%s: %v", query, err)
			}
			continue
		}
		var got []string
		for _, p := range all {
			if q.passes(p, &aside{}) {
				got = append(got, string(p.ID))
			}
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: got %q, want %q", query, g, want)
		}
	}
}

func TestSubnetSharedFilter(t *testing.T) {
	q, err := subnets().query("shared=True")
	if err != nil {
		t.Fatal(err)
	}
	if !q.passes(&model.Subnet{}, &aside{network: &model.Network{Shared: true}}) || q.passes(&model.Subnet{}, &aside{}) {
		t.Error("shared does not follow the network")
	}
}

func TestPage(t *testing.T) {
	list := []string{"a", "b", "c", "d", "e"}
	for _, c := range []struct {
		limit   int
		marker  string
		reverse bool
		want    string
	}{
		{0, "b", false, "abcde"}, {2, "", false, "ab"}, {2, "b", false, "cd"}, {2, "d", false, "e"}, {2, "e", false, ""},
		{9, "", false, "abcde"}, {2, "nobody", false, ""},
		{2, "", true, "de"}, {2, "d", true, "bc"}, {2, "b", true, "a"}, {2, "a", true, ""}, {2, "nobody", true, ""},
	} {
		got := strings.Join(page(slices.Clone(list), func(s string) string { return s }, c.limit, c.marker, c.reverse), "")
		if got != c.want {
			t.Errorf("limit %d marker %q reverse %v: got %q, want %q", c.limit, c.marker, c.reverse, got, c.want)
		}
	}
}

func TestLinks(t *testing.T) {
	const path = "http://h/v2.0/networks"
	for _, c := range []struct {
		query string
		ids   []string
		want  string
	}{
		{"", []string{"a"}, ``},
		{"limit=2&shared=False", []string{"a", "b"}, `,"networks_links":[` +
			`{"rel":"next","href":"http://h/v2.0/networks?limit=2\u0026shared=False\u0026marker=b"},` +
			`{"rel":"previous","href":"http://h/v2.0/networks?limit=2\u0026shared=False\u0026marker=a\u0026page_reverse=True"}]`},
		{"limit=2&marker=x", []string{"a"}, `,"networks_links":[{"rel":"previous","href":"http://h/v2.0/networks?limit=2\u0026marker=a\u0026page_reverse=True"}]`},
		{"limit=2&marker=x&page_reverse=True", []string{"a"}, `,"networks_links":[{"rel":"next","href":"http://h/v2.0/networks?limit=2\u0026marker=a"}]`},
		{"limit=2&marker=x&page_reverse=True", nil, `,"networks_links":[{"rel":"next","href":"http://h/v2.0/networks?limit=2"}]`},
	} {
		q, err := networks().query(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(q.appendLinks(nil, "networks", path, c.ids)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.query, got, c.want)
		}
	}
}

func TestPython(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{nil, "None"}, {true, "True"}, {"it's", `"it's"`}, {`it's "x"`, `'it\'s "x"'`}, {"a\nb\\\x01é\u200b", `'a\nb\\\x01é\u200b'`},
		{[]any{}, "[]"}, {map[string]any{"b": nil, "a": []any{false}}, "{'a': [False], 'b': None}"},
	} {
		if got := pyRepr(c.in); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
