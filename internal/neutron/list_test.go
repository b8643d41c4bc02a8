package neutron

import (
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/store"
)

// TestIndexesAgreeWithFilters: whatever is asked, starting from an index gives what
// filtering all ports gives.
func TestIndexesAgreeWithFilters(t *testing.T) {
	a := startAPI(t)
	a.host("node-1")
	var networks, subnets, ids, addrs, macs []string
	for i := range 3 {
		n, s := a.network(fmt.Sprint("n", i), "10.0.0.0/24") // the same prefix: addresses repeat
		networks, subnets = append(networks, n), append(subnets, s)
	}
	for i := range 36 {
		p := a.must(201, "POST", "/v2.0/ports", map[string]any{"port": map[string]any{
			"network_id": networks[i%3], "name": []string{"", "web", "db"}[i/3%3], "device_id": []string{"", "vm-1", "vm-2", "vm-3"}[i%4],
			"binding:host_id": []string{"", "node-1"}[i/2%2], "admin_state_up": i%5 > 0,
			"fixed_ips": []any{map[string]any{"ip_address": fmt.Sprintf("10.0.0.%d", 10+i/3)}}}})
		ids, macs = append(ids, id(p)), append(macs, p["mac_address"].(string))
		addrs = append(addrs, fmt.Sprintf("ip_address=10.0.0.%d", 10+i/3))
	}
	fixed := append(addrs, "subnet_id="+subnets[0], "subnet_id="+subnets[1], "ip_address=10.9.9.9", "ip_address_substr=0.1", "ip_address=x")
	choices := map[string][]string{
		"id": append(ids[:6], "nobody"), "network_id": append(networks, "nobody", ""), "name": {"", "web", "db", "nobody"},
		"device_id": {"", "vm-1", "vm-2", "nobody"}, "binding:host_id": {"", "node-1", "nobody"}, "fixed_ips": fixed,
		"mac_address": {macs[0], strings.ToUpper(macs[1]), "x"}, "admin_state_up": {"true", "false"}, "status": {"DOWN", "ACTIVE"},
	}
	keys := []string{"id", "network_id", "name", "device_id", "binding:host_id", "fixed_ips", "mac_address", "admin_state_up", "status"}
	quick := portCollection(a.control)
	slow := portCollection(a.control)
	slow.list = func(r store.Reader, _ *query[model.Port, portRequest]) iter.Seq[*store.Entry[model.Port]] {
		return r.Ports()
	}
	slow.ordered = nil
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		v := url.Values{}
		for range rapid.IntRange(0, 4).Draw(t, "filters") {
			k := rapid.SampledFrom(keys).Draw(t, "key")
			v.Add(k, rapid.SampledFrom(choices[k]).Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "marked") {
			v.Add("marker", rapid.SampledFrom(append(ids, "nobody")).Draw(t, "marker"))
		}
		v.Add("page_reverse", rapid.SampledFrom([]string{"True", "False"}).Draw(t, "reverse"))
		if rapid.Bool().Draw(t, "sorted") {
			v.Add("sort_key", rapid.SampledFrom([]string{"name", "id", "mac_address", "created_at", "admin_state_up", "revision_number"}).Draw(t, "sort"))
			v.Add("sort_dir", rapid.SampledFrom([]string{"asc", "desc"}).Draw(t, "dir"))
		}
		v.Add("limit", fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "limit")))
		q, err := quick.query(v.Encode())
		if err != nil {
			t.Fatal(err)
		}
		a.control.Read(func(r store.Reader) {
			got := listIDs(quick.selected(&viewer[model.Port, portRequest]{c: quick, rd: r, all: true}, q))
			want := listIDs(slow.selected(&viewer[model.Port, portRequest]{c: slow, rd: r, all: true}, q))
			if got != want {
				t.Fatalf("%s\n got %s\nwant %s", v.Encode(), got, want)
			}
			found += len(got)
		})
	})
	if found == 0 {
		t.Error("no query found anything")
	}
}

func listIDs(entries []*store.Entry[model.Port]) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(string(e.Value.ID) + " ")
	}
	return b.String()
}

// TestNetworkFollowsItsSubnets: the kept wire form of a network must not outlive a change
// of its subnets.
func TestNetworkFollowsItsSubnets(t *testing.T) {
	a := startAPI(t)
	network, _ := a.network("n", "")
	check := func(when, zones string, subnets ...string) {
		t.Helper()
		for _, n := range []map[string]any{a.must(200, "GET", "/v2.0/networks/"+network, nil), a.do("GET", "/v2.0/networks", nil).list()[0]} {
			// Two made within a second have no order in time.
			got, same := n["subnets"].([]any), len(n["subnets"].([]any)) == len(subnets)
			for _, s := range subnets {
				same = same && slices.Contains(got, any(s))
			}
			if z := fmt.Sprint(n["availability_zones"]); !same || z != zones {
				t.Errorf("%s: %v in %s, want %v in %s", when, got, z, subnets, zones)
			}
		}
	}
	check("at first", "[]")
	body := `{"subnet":{"network_id":"` + network + `","cidr":"10.0.0.0/24","ip_version":4}}`
	first := id(a.must(201, "POST", "/v2.0/subnets", body))
	check("with DHCP", "[nova]", first)
	a.must(200, "PUT", "/v2.0/subnets/"+first, `{"subnet":{"enable_dhcp":false}}`)
	check("without DHCP", "[]", first)
	second := id(a.must(201, "POST", "/v2.0/subnets", strings.Replace(body, "10.0.0.0", "10.0.1.0", 1)))
	check("with two", "[nova]", first, second)
	if r := a.do("DELETE", "/v2.0/subnets/"+first, nil); r.status != 204 {
		t.Fatal(r.text)
	}
	check("with the second", "[nova]", second)
}

// TestAnswersTellWhatWasAsked walks through changes and reads each back.
func TestAnswersTellWhatWasAsked(t *testing.T) {
	a := startAPI(t)
	a.host("node-1")
	network, _ := a.network("n", "10.0.0.0/24")
	path := "/v2.0/ports/" + id(a.must(201, "POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`"}}`))
	for _, c := range []struct{ change, key, want string }{
		{`"name":"é<&>\u2028"`, "name", "é<&>\u2028"},
		{`"description":"d"`, "description", "d"},
		{`"fixed_ips":[{"ip_address":"10.0.0.9"}]`, "fixed_ips", "10.0.0.9"},
		{`"fixed_ips":[]`, "fixed_ips", "[]"},
		{`"mac_address":"FA:16:3E:00:00:09"`, "mac_address", "fa:16:3e:00:00:09"},
		{`"binding:profile":{"a":{"b":[1,2.5,"x",null]}}`, "binding:profile", "map[a:map[b:[1 2.5 x <nil>]]]"},
		{`"binding:profile":null`, "binding:profile", "map[]"},
		{`"binding:host_id":"node-1"`, "binding:vif_type", "ovs"},
		{`"binding:host_id":"nowhere"`, "binding:vif_type", "binding_failed"},
		{`"binding:host_id":null`, "binding:vif_type", "unbound"},
		{`"extra_dhcp_opts":[{"opt_name":"66","opt_value":"a"},{"opt_name":"67","opt_value":"b"}]`, "extra_dhcp_opts", "opt_value:b"},
		{`"extra_dhcp_opts":[{"opt_name":"67","opt_value":null}]`, "extra_dhcp_opts", "[map[ip_version:4 opt_name:66 opt_value:a]]"},
		{`"security_groups":[]`, "security_groups", "[]"},
		{`"allowed_address_pairs":[{"ip_address":"10.0.0.0/28"}]`, "allowed_address_pairs", "[map[ip_address:10.0.0.0/28 mac_address:fa:16:3e:00:00:09]]"},
		{`"allowed_address_pairs":null`, "allowed_address_pairs", "[]"},
		{`"admin_state_up":"no"`, "admin_state_up", "false"},
	} {
		answered := a.must(200, "PUT", path, `{"port":{`+c.change+`}}`)
		shown := a.must(200, "GET", path, nil)
		listed := a.do("GET", "/v2.0/ports?network_id="+network, nil).list()[0]
		for where, o := range map[string]map[string]any{"PUT": answered, "GET": shown, "list": listed} {
			if got := fmt.Sprint(o[c.key]); !strings.Contains(got, c.want) || len(c.want) < 3 && got != c.want {
				t.Errorf("%s after %s: %s is %s, want %s", where, c.change, c.key, got, c.want)
			}
		}
	}
}
