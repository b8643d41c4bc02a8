package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// echoAPI has everything that is looked for by name, with the name and -id as ID, and notes
// all other requests.
func echoAPI(sent *[]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		key := strings.ReplaceAll(last, "-", "_")
		for _, by := range []string{"name", "floating_ip_address", "id"} {
			if ref := r.URL.Query().Get(by); ref != "" && r.Method == http.MethodGet && len(r.URL.Query()) == 1 {
				fmt.Fprintf(w, `{%q: [{"id": "%s-id", "name": %q}]}`, key, ref, ref)
				return
			}
		}
		body, _ := io.ReadAll(r.Body)
		*sent = append(*sent, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/v2.0/")+" "+string(body)))
		switch {
		case r.Method == http.MethodGet && last != "details" && !strings.HasSuffix(last, "-id"):
			fmt.Fprintf(w, `{%q: []}`, key)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			var objects []string
			for _, n := range nouns() {
				objects = append(objects, fmt.Sprintf(`%q: {"ip_version": 4}`, n.One))
			}
			fmt.Fprintf(w, `{%s, "quota": {}}`, strings.Join(objects, ", "))
		}
	}
}

// TestRequests: what each command asks of the API.
func TestRequests(t *testing.T) {
	var sent []string
	srv := httptest.NewServer(echoAPI(&sent))
	t.Cleanup(srv.Close)
	cliEnv(t)
	t.Setenv("WEFT_API", srv.URL)
	for _, tc := range []struct{ args, want string }{
		{"network create n --shared --external --admin-state-up=false --mtu 1400 --type vlan --physical-network p1 --segment 7 --project p",
			`POST networks {"network":{"admin_state_up":false,"mtu":1400,"name":"n","project_id":"p","provider:network_type":"vlan","provider:physical_network":"p1","provider:segmentation_id":7,"router:external":true,"shared":true}}`},
		{"network list --external --project p", `GET networks?project_id=p&router%3Aexternal=true`},
		{"subnet create --network n --cidr 2001:db8::/64 --ra-mode slaac --address-mode slaac",
			`POST subnets {"subnet":{"cidr":"2001:db8::/64","ip_version":6,"ipv6_address_mode":"slaac","ipv6_ra_mode":"slaac","network_id":"n-id"}}`},
		{"subnet create s --network n --subnetpool sp --prefixlen 26 --route destination=10.0.0.0/8,nexthop=10.1.1.1",
			"GET subnetpools/sp-id\n" + `POST subnets {"subnet":{"host_routes":[{"destination":"10.0.0.0/8","nexthop":"10.1.1.1"}],"ip_version":4,"name":"s","network_id":"n-id","prefixlen":26,"subnetpool_id":"sp-id"}}`},
		{"subnet set s --route none --name t", `PUT subnets/s-id {"subnet":{"host_routes":[],"name":"t"}}`},
		{"port create p --network n --secgroup web --secgroup db --mac fa:16:3e:00:00:01 --allowed-address ip=10.0.0.9",
			`POST ports {"port":{"allowed_address_pairs":[{"ip_address":"10.0.0.9"}],"mac_address":"fa:16:3e:00:00:01","name":"p","network_id":"n-id","security_groups":["web-id","db-id"]}}`},
		{"port set p --secgroup none --fixed-ip subnet=s --fixed-ip ip=10.0.0.7 --host=",
			`PUT ports/p-id {"port":{"binding:host_id":"","fixed_ips":[{"subnet_id":"s-id"},{"ip_address":"10.0.0.7"}],"security_groups":[]}}`},
		{"port list --ip 10.0.0.7 --network n", `GET ports?fixed_ips=ip_address%3D10.0.0.7&network_id=n-id`},
		{"router create r --description d", `POST routers {"router":{"description":"d","name":"r"}}`},
		{"router set r --route destination=10.9.0.0/16,nexthop=10.0.0.9", `PUT routers/r-id {"router":{"routes":[{"destination":"10.9.0.0/16","nexthop":"10.0.0.9"}]}}`},
		{"router add-interface r s", `PUT routers/r-id/add_router_interface {"subnet_id":"s-id"}`},
		{"router remove-interface r --port p", `PUT routers/r-id/remove_router_interface {"port_id":"p-id"}`},
		{"router set-gateway r ext --snat=false --fixed-ip ip=192.0.2.9",
			`PUT routers/r-id {"router":{"external_gateway_info":{"enable_snat":false,"external_fixed_ips":[{"ip_address":"192.0.2.9"}],"network_id":"ext-id"}}}`},
		{"router unset-gateway r", `PUT routers/r-id {"router":{"external_gateway_info":{}}}`},
		{"secgroup create web --stateful=false", `POST security-groups {"security_group":{"name":"web","stateful":false}}`},
		{"secgroup delete a b", "DELETE security-groups/a-id\nDELETE security-groups/b-id"},
		{"secgroup rule create web --protocol tcp --port 80:90 --remote-ip 2001:db8::/32",
			`POST security-group-rules {"security_group_rule":{"direction":"ingress","ethertype":"IPv6","port_range_max":90,"port_range_min":80,"protocol":"tcp","remote_ip_prefix":"2001:db8::/32","security_group_id":"web-id"}}`},
		{"secgroup rule create web --direction egress --port 53 --protocol udp --remote-group db",
			`POST security-group-rules {"security_group_rule":{"direction":"egress","ethertype":"IPv4","port_range_max":53,"port_range_min":53,"protocol":"udp","remote_group_id":"db-id","security_group_id":"web-id"}}`},
		{"secgroup rule list --secgroup web --direction egress", `GET security-group-rules?direction=egress&security_group_id=web-id`},
		{"secgroup rule delete x", "DELETE security-group-rules/x-id"},
		{"floatingip create ext --port p --address 192.0.2.7", `POST floatingips {"floatingip":{"floating_ip_address":"192.0.2.7","floating_network_id":"ext-id","port_id":"p-id"}}`},
		{"floatingip associate 192.0.2.7 p --fixed-ip 10.0.0.7", `PUT floatingips/192.0.2.7-id {"floatingip":{"fixed_ip_address":"10.0.0.7","port_id":"p-id"}}`},
		{"floatingip disassociate 192.0.2.7", `PUT floatingips/192.0.2.7-id {"floatingip":{"port_id":null}}`},
		{"floatingip delete 192.0.2.7", `DELETE floatingips/192.0.2.7-id`},
		{"subnetpool create sp --prefix 10.0.0.0/8 --prefix 172.16.0.0/12 --default-prefixlen 24 --shared",
			`POST subnetpools {"subnetpool":{"default_prefixlen":24,"name":"sp","prefixes":["10.0.0.0/8","172.16.0.0/12"],"shared":true}}`},
		{"quota show p", `GET quotas/p/details`},
		{"quota set p port=100 security-group=-1", `PUT quotas/p {"quota":{"port":100,"security_group":-1}}`},
		{"agent list --host h", `GET agents?host=h`},
		{"gc compute-0", "weft: weft gc takes no arguments; \"compute-0\" is one\nUsage: weft gc [flags]\n[exit code 2]"},
		{"gc --host h1,h2 --host h3", "GET /weft/v1/gc?host=h1&host=h2&host=h3"},
		{"router add-interface r", "weft: give either a subnet or --port\n[exit code 2]"},
		{"router add-interface r s --port p", "weft: give either a subnet or --port\n[exit code 2]"},
		{"secgroup rule create web --port http", "weft: --port: \"http\" is not a number or FIRST:LAST\n[exit code 2]"},
		{"quota set p port=many", "weft: \"port=many\" is not RESOURCE=LIMIT with a number, such as port=100\n[exit code 2]"},
		{"subnetpool create sp", "weft: --prefix must be given\nTry: weft subnetpool create --help\n[exit code 2]"},
	} {
		sent = nil
		out := weft(t, strings.Fields(tc.args)...)
		got := strings.Join(slices.Compact(sent), "\n")
		if strings.Contains(out, "exit code") {
			got = strings.TrimSpace(out)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("weft %s:\n%s", tc.args, d)
		}
	}
}
