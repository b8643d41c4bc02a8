package neutron

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/control"
	"weft/internal/store/storetest"
)

// walk is a random client of the whole API. It remembers what it made, by collection, and
// makes requests that name these things, sensibly or not.
type walk struct {
	*api
	t    *rapid.T
	made map[string][]string
	// run tells the projects of one walk from those of another.
	run int
	// done counts, for all walks, the requests that were not refused.
	done *int
}

// some is the ID of something made before, or of nothing.
func (w *walk) some(collection string) string {
	ids := w.made[collection]
	if len(ids) == 0 || rapid.IntRange(0, 29).Draw(w.t, "nothing") == 29 {
		return someUUID
	}
	return rapid.SampledFrom(ids).Draw(w.t, collection)
}

func (w *walk) maybe(collection string) any {
	if rapid.Bool().Draw(w.t, "null") {
		return nil
	}
	return w.some(collection)
}

func (w *walk) number(least, most int) int { return rapid.IntRange(least, most).Draw(w.t, "number") }
func (w *walk) flag() bool                 { return rapid.Bool().Draw(w.t, "flag") }
func (w *walk) pick(of ...string) string   { return rapid.SampledFrom(of).Draw(w.t, "choice") }

// send makes a request, which may be refused, but never fail.
func (w *walk) send(method, path string, body any) answer {
	who := fmt.Sprintf("%s-%d", w.pick("admin@p1", "admin@p1", "admin@p1", "member@p1", "member@p1", "member@p2"), w.run)
	r := w.do(method, path, body, "X-Auth-Token", who)
	if r.status >= 500 {
		w.t.Fatalf("%s: %s %s %v: %d %s", who, method, path, body, r.status, r.text)
	}
	if r.status < 300 {
		*w.done++
	}
	return r
}

// create makes an object of a collection.
func (w *walk) create(collection, singular string, body m) {
	if r := w.send("POST", "/v2.0/"+collection, m{singular: body}); r.status == http.StatusCreated {
		w.made[collection] = append(w.made[collection], id(r.object()))
	}
}

// bodies are what the walk creates.
func (w *walk) bodies() map[string]func() {
	return map[string]func(){
		"network": func() {
			w.create("networks", "network", m{"port_security_enabled": w.flag()})
		},
		"network for all": func() {
			w.create("networks", "network", m{"shared": w.flag(), "router:external": true})
		},
		"subnet": func() {
			w.create("subnets", "subnet", m{"network_id": w.some("networks"), "ip_version": 4, "enable_dhcp": w.flag(),
				"cidr": fmt.Sprintf("10.0.%d.0/%d", w.number(0, 7), w.number(26, 28))})
		},
		"subnet 6": func() {
			mode := w.pick("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
			w.create("subnets", "subnet", m{"network_id": w.some("networks"), "ip_version": 6, "ipv6_ra_mode": mode, "ipv6_address_mode": mode,
				"cidr": fmt.Sprintf("2001:db8:%d::/64", w.number(0, 3))})
		},
		"subnet of a pool": func() {
			w.create("subnets", "subnet", m{"network_id": w.some("networks"), "ip_version": 4, "subnetpool_id": w.some("subnetpools"), "prefixlen": w.number(25, 29)})
		},
		"port": func() {
			w.create("ports", "port", m{"network_id": w.some("networks"), "device_owner": w.pick("", "compute:nova"), "device_id": w.pick("", "vm")})
		},
		"port with": func() {
			w.create("ports", "port", m{"network_id": w.some("networks"), "security_groups": []string{w.some("security-groups")},
				"fixed_ips": []m{{"subnet_id": w.some("subnets")}}, "qos_policy_id": w.maybe("qos/policies")})
		},
		"pool": func() {
			w.create("subnetpools", "subnetpool", m{"name": "p", "prefixes": []string{fmt.Sprintf("10.%d.0.0/16", w.number(0, 3))},
				"address_scope_id": w.maybe("address-scopes"), "is_default": w.flag()})
		},
		"scope": func() {
			w.create("address-scopes", "address_scope", m{"name": "s", "ip_version": 4, "shared": w.flag()})
		},
		"group": func() { w.create("security-groups", "security_group", m{"name": "g", "stateful": w.flag()}) },
		"rule": func() {
			w.create("security-group-rules", "security_group_rule", m{"security_group_id": w.some("security-groups"), "direction": w.pick("ingress", "egress"),
				"protocol": w.pick("tcp", "udp"), "port_range_min": 1, "port_range_max": w.number(1, 3), "remote_group_id": w.maybe("security-groups")})
		},
		"address group": func() {
			w.create("address-groups", "address_group", m{"name": "a", "addresses": []string{fmt.Sprintf("10.0.0.%d/32", w.number(1, 9))}})
		},
		"router": func() { w.create("routers", "router", m{"admin_state_up": w.flag()}) },
		"router with a gateway": func() {
			w.create("routers", "router", m{"external_gateway_info": m{"network_id": w.some("networks")}})
		},
		"floating IP": func() {
			w.create("floatingips", "floatingip", m{"floating_network_id": w.some("networks"), "port_id": w.maybe("ports")})
		},
		"forwarding": func() {
			port, addr := w.some("ports"), "10.0.0.2"
			if ips, _ := w.do("GET", "/v2.0/ports/"+port, nil, "X-Auth-Token", "admin").object()["fixed_ips"].([]any); len(ips) > 0 {
				addr, _ = ips[0].(m)["ip_address"].(string)
			}
			w.send("POST", "/v2.0/floatingips/"+w.some("floatingips")+"/port_forwardings", m{"port_forwarding": m{"protocol": "tcp",
				"external_port": w.number(1, 3), "internal_port": w.number(1, 3), "internal_port_id": port, "internal_ip_address": addr}})
		},
		"trunk": func() { w.create("trunks", "trunk", m{"port_id": w.some("ports")}) },
		"policy": func() {
			w.create("qos/policies", "policy", m{"name": "q", "is_default": w.flag(), "shared": w.flag()})
		},
		"limit": func() {
			w.send("POST", "/v2.0/qos/policies/"+w.some("qos/policies")+"/bandwidth_limit_rules",
				m{"bandwidth_limit_rule": m{"max_kbps": w.number(1, 9), "direction": w.pick("ingress", "egress")}})
		},
		"rbac": func() {
			kind := w.pick("network", "security_group", "subnetpool", "address_scope", "qos_policy", "address_group")
			of := map[string]string{"network": "networks", "security_group": "security-groups", "subnetpool": "subnetpools",
				"address_scope": "address-scopes", "qos_policy": "qos/policies", "address_group": "address-groups"}[kind]
			w.create("rbac-policies", "rbac_policy", m{"object_type": kind, "object_id": w.some(of),
				"action": w.pick("access_as_shared", "access_as_external"), "target_tenant": w.pick("*", fmt.Sprint("p1-", w.run), fmt.Sprint("p2-", w.run))})
		},
	}
}

// changes are what else the walk does.
func (w *walk) changes() map[string]func() {
	put := func(collection, singular string, body func() m) func() {
		return func() { w.send("PUT", "/v2.0/"+collection+"/"+w.some(collection), m{singular: body()}) }
	}
	act := func(collection, action string, body func() m) func() {
		return func() { w.send("PUT", "/v2.0/"+collection+"/"+w.some(collection)+"/"+action, body()) }
	}
	return map[string]func(){
		"interface":    act("routers", "add_router_interface", func() m { return m{"subnet_id": w.some("subnets")} }),
		"interface of": act("routers", "add_router_interface", func() m { return m{"port_id": w.some("ports")} }),
		"no interface": act("routers", "remove_router_interface", func() m { return m{"subnet_id": w.some("subnets")} }),
		"gateway": put("routers", "router", func() m {
			return m{"external_gateway_info": m{"network_id": w.some("networks")}}
		}),
		"no gateway":   put("routers", "router", func() m { return m{"external_gateway_info": nil} }),
		"route":        put("routers", "router", func() m { return m{"routes": []m{{"destination": "10.9.0.0/24", "nexthop": "10.0.0.2"}}} }),
		"associate":    put("floatingips", "floatingip", func() m { return m{"port_id": w.maybe("ports")} }),
		"move":         put("ports", "port", func() m { return m{"fixed_ips": []m{{"subnet_id": w.some("subnets")}}} }),
		"groups":       put("ports", "port", func() m { return m{"security_groups": []string{w.some("security-groups")}} }),
		"open":         put("ports", "port", func() m { return m{"port_security_enabled": w.flag(), "security_groups": []string{}} }),
		"mac":          put("ports", "port", func() m { return m{"mac_address": nil} }),
		"share":        put("networks", "network", func() m { return m{"shared": w.flag()} }),
		"external":     put("networks", "network", func() m { return m{"router:external": w.flag()} }),
		"qos":          put("networks", "network", func() m { return m{"qos_policy_id": w.maybe("qos/policies")} }),
		"scope a pool": put("subnetpools", "subnetpool", func() m { return m{"address_scope_id": w.maybe("address-scopes")} }),
		"subport": act("trunks", "add_subports", func() m {
			return m{"sub_ports": []m{{"port_id": w.some("ports"), "segmentation_type": "vlan", "segmentation_id": w.number(1, 3)}}}
		}),
		"tag":     act("networks", "tags", func() m { return m{"tags": []string{"a", "b"}} }),
		"default": func() { w.send("GET", "/v2.0/security-groups", nil) },
	}
}

var walked = []string{"networks", "subnets", "ports", "subnetpools", "address-scopes", "security-groups", "security-group-rules",
	"address-groups", "routers", "floatingips", "trunks", "qos/policies", "rbac-policies"}

// TestAnyCallsLeaveItWhole: whatever is asked, of whatever is there, by whomever, is done
// or refused, and the store is whole.
func TestAnyCallsLeaveItWhole(t *testing.T) {
	client := storetest.Etcd(t)
	a := servePersonas(t, storetest.Open(t, client))
	a.host("node-1")
	runs := 0
	done := map[string]*int{}
	rapid.Check(t, func(t *rapid.T) {
		runs++
		w := &walk{api: a, t: t, made: map[string][]string{}, run: runs}
		verbs := w.bodies()
		for name, f := range w.changes() {
			verbs[name] = f
		}
		for _, c := range walked {
			verbs["delete from "+c] = func() { w.send("DELETE", "/v2.0/"+c+"/"+w.some(c), nil) }
		}
		names := slices.Sorted(maps.Keys(verbs))
		// First what most of the rest needs.
		begin := []string{"network", "network", "network for all", "subnet", "subnet", "subnet", "port", "port", "port", "port", "group",
			"router", "router with a gateway", "router with a gateway", "interface", "interface", "interface", "policy", "pool", "scope"}
		for i := range len(begin) + rapid.IntRange(1, 100).Draw(t, "calls") {
			name := ""
			if i < len(begin) {
				name = begin[i]
			} else {
				name = rapid.SampledFrom(names).Draw(t, "verb")
			}
			if done[name] == nil {
				done[name] = new(int)
			}
			w.done = done[name]
			verbs[name]()
		}
		problems, err := control.Fsck(a.t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s", p)
		}
		if t.Failed() {
			t.FailNow()
		}
	})
	idle := 0
	for name, n := range done {
		t.Logf("%s: %d", name, *n)
		if *n == 0 {
			idle++
		}
	}
	if idle > len(done)/4 {
		t.Errorf("%d of %d verbs were always refused: too little is tested", idle, len(done))
	}
}
