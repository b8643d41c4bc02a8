package neutron

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

const noID = "00000000-0000-4000-8000-000000000000"

// sample reads an official request or response.
func sample(t *testing.T, name string) m {
	t.Helper()
	text, err := os.ReadFile("testdata/qos/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var body m
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatal(err)
	}
	return body
}

// like compares keys and values with those of an official sample. The samples leave out
// the direction of rules in policies.
func like(t *testing.T, name string, got, want any) {
	t.Helper()
	switch want := want.(type) {
	case m:
		got, _ := got.(m)
		for k := range want {
			if _, has := got[k]; !has {
				t.Errorf("%s: no %s", name, k)
			}
		}
		for k, v := range got {
			w, has := want[k]
			if !has && k != "direction" && k != "rules" {
				t.Errorf("%s: %s=%v too much", name, k, v)
			}
			if has && !slices.Contains([]string{"id", "qos_policy_id", "project_id", "tenant_id", "created_at", "updated_at", "revision_number", "tags"}, k) {
				like(t, name+"."+k, v, w)
			}
		}
	case []any:
		got, _ := got.([]any)
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
			return
		}
		for i := range want {
			like(t, name, got[i], want[i])
		}
	default:
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestQoSSamples(t *testing.T) {
	a := startAPI(t)
	check := func(method, path, request, response string, status int) m {
		t.Helper()
		var body any
		if request != "" {
			body = sample(t, request)
		}
		r := a.do(method, path, body)
		if r.status != status {
			t.Errorf("%s %s: %d %s", method, path, r.status, r.text)
		}
		like(t, response, r.body, sample(t, response))
		return r.object()
	}
	base := "/v2.0/qos/policies"
	policy := base + "/" + id(check("POST", base, "policy-create-request", "policy-create-response", 201))
	for _, rt := range []string{"bandwidth_limit", "dscp_marking"} {
		check("POST", policy+"/"+rt+"_rules", rt+"_rule-create-request", rt+"_rule-create-response", 201)
	}
	check("GET", policy, "", "policy-show-response", 200)
	check("PUT", policy, "policy-update-request", "policy-update-response", 200)
	a.must(204, "DELETE", policy, nil)

	policy = base + "/" + id(check("POST", base, "policy-create-request", "policy-create-response", 201))
	for _, rt := range []string{"bandwidth_limit", "dscp_marking", "minimum_bandwidth", "minimum_packet_rate", "packet_rate_limit"} {
		rule := id(check("POST", policy+"/"+rt+"_rules", rt+"_rule-create-request", rt+"_rule-create-response", 201))
		path := policy + "/" + rt + "_rules/" + rule
		if rt == "minimum_packet_rate" { // its samples do not agree among themselves
			a.must(200, "PUT", path, m{rt + "_rule": m{"direction": "egress"}})
		}
		check("GET", path, "", rt+"_rule-show-response", 200)
		check("GET", policy+"/"+rt+"_rules", "", rt+"_rules-list-response", 200)
		if rt == "minimum_bandwidth" {
			a.must(200, "PUT", path, m{rt + "_rule": m{"min_kbps": 1}})
			a.must(409, "PUT", path, sample(t, rt+"_rule-update-request"))
			continue
		}
		check("PUT", path, rt+"_rule-update-request", rt+"_rule-update-response", 200)
	}
	if p := a.must(200, "GET", policy, nil); len(p["rules"].([]any)) != 5 || p["revision_number"] != 10.0 {
		t.Errorf("policy with five rules: %v", p)
	}
	check("GET", "/v2.0/qos/rule-types/bandwidth_limit", "", "rule_type-details-bandwidth_limit", 200)
	// Tags are not below qos/ in Neutron; here they are in both places.
	tags := strings.Replace(policy, "/qos", "", 1) + "/tags"
	a.do("PUT", tags, m{"tags": []any{"a", "b"}})
	a.must(204, "DELETE", tags+"/a", nil)
	if got := a.tagsOf(policy); got != a.tagsOf(strings.TrimSuffix(tags, "/tags")) || !strings.Contains(got, "b") || strings.Contains(got, "a") {
		t.Errorf("tags of a policy: %s", got)
	}
}

func TestQoSRefusals(t *testing.T) {
	a := startAPI(t)
	policy := id(a.must(201, "POST", "/v2.0/qos/policies", m{"policy": m{"name": "p"}}))
	rules := func(rt string) string { return "/v2.0/qos/policies/" + policy + "/" + rt + "_rules" }
	limit := id(a.must(201, "POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": 1000, "direction": "ingress"}}))
	least := id(a.must(201, "POST", rules("minimum_bandwidth"), m{"minimum_bandwidth_rule": m{"min_kbps": 500}}))
	mark := id(a.must(201, "POST", rules("dscp_marking"), m{"dscp_marking_rule": m{"dscp_mark": 0}}))
	a.must(201, "POST", rules("minimum_packet_rate"), m{"minimum_packet_rate_rule": m{"min_kpps": 5, "direction": "any"}})
	before := a.do("GET", "/v2.0/qos/policies/"+policy, nil).text
	conflict := func(value, rt, existing string) string {
		return "409 QoSRuleParameterConflict: Unable to add the rule with value " + value + " to the policy " + policy +
			" as the existing rule of type " + rt + " has value " + existing + "."
	}
	twice := func(rt, rule string) string {
		return "409 QoSRulesConflict: Rule " + rt + " conflicts with rule " + rule + " which already exists in QoS Policy " + policy + "."
	}
	for _, c := range []struct {
		method, path string
		body         any
		want         string
	}{
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{}}, "400 HTTPBadRequest: Failed to parse request. Required attribute 'max_kbps' not specified"},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": -1}}, "400 HTTPBadRequest: Invalid input for max_kbps. Reason: '-1' is too small - must be at least '0'."},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": 1, "max_burst_kbps": 1 << 31}},
			"400 HTTPBadRequest: Invalid input for max_burst_kbps. Reason: '2147483648' is too large - must be no larger than '2147483647'."},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": "fast"}}, "400 InvalidInput: Invalid input for operation: 'fast' is not an integer."},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": 1, "direction": "any"}},
			"400 HTTPBadRequest: Invalid input for direction. Reason: any is not in ('ingress', 'egress')."},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": 1, "dscp_mark": 8}}, "400 HTTPBadRequest: Unrecognized attribute(s) 'dscp_mark'"},
		{"POST", rules("dscp_marking"), m{"dscp_marking_rule": m{"dscp_mark": 7}}, "400 HTTPBadRequest: Invalid input for dscp_mark. Reason: " +
			"7 is not in [0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56]."},
		{"POST", rules("dscp_marking"), m{"dscp_marking_rule": m{"dscp_mark": 8}}, twice("dscp_marking", mark)},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": 1, "direction": "ingress"}}, twice("bandwidth_limit", limit)},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rule": m{"max_kbps": 499}}, conflict("499", "minimum_bandwidth", "500")},
		{"POST", rules("minimum_bandwidth"), m{"minimum_bandwidth_rule": m{"min_kbps": 1001, "direction": "ingress"}}, conflict("1001", "bandwidth_limit", "1000")},
		{"PUT", rules("minimum_bandwidth") + "/" + least, m{"minimum_bandwidth_rule": m{"min_kbps": 1001, "direction": "ingress"}}, conflict("1001", "bandwidth_limit", "1000")},
		{"PUT", "/v2.0/qos/alias-minimum-bandwidth-rules/" + least, m{"alias_minimum_bandwidth_rule": m{"min_kbps": 1001, "direction": "ingress"}}, conflict("1001", "bandwidth_limit", "1000")},
		{"POST", rules("minimum_packet_rate"), m{"minimum_packet_rate_rule": m{"min_kpps": 1}}, conflict("egress", "minimum_packet_rate", "any")},
		{"POST", rules("bandwidth_limit"), m{"bandwidth_limit_rules": []m{{"max_kbps": 800}, {"max_kbps": 900}}}, "409"},
		{"GET", rules("dscp_marking") + "/" + limit, nil, "404 QosRuleNotFound: QoS rule " + limit + " for policy " + policy + " could not be found."},
		{"PUT", rules("dscp_marking") + "/" + noID, m{"dscp_marking_rule": m{"dscp_mark": 8}}, "404 QosRuleNotFound: QoS rule " + noID + " for policy " + policy + " could not be found."},
		{"DELETE", rules("dscp_marking") + "/" + noID, nil, "404 QosRuleNotFound: QoS rule " + noID + " for policy " + policy + " could not be found."},
		{"DELETE", "/v2.0/qos/alias-dscp-marking-rules/" + noID, nil, "404 QosRuleNotFound: QoS rule " + noID + " for policy  could not be found."},
		{"GET", "/v2.0/qos/policies/" + noID + "/dscp_marking_rules", nil, "404 QosPolicyNotFound: QoS policy " + noID + " could not be found."},
		{"POST", "/v2.0/qos/policies/" + noID + "/dscp_marking_rules", m{"dscp_marking_rule": m{"dscp_mark": 8}}, "404 QosPolicyNotFound: QoS policy " + noID + " could not be found."},
		{"POST", "/v2.0/qos/alias-dscp-marking-rules", m{"alias_dscp_marking_rule": m{"dscp_mark": 8}},
			"405 HTTPMethodNotAllowed: The server could not comply with the request since it is either malformed or otherwise incorrect."},
		{"GET", "/v2.0/qos/rule-types/nonsense", nil, "404 HTTPNotFound: The resource could not be found."},
		{"POST", "/v2.0/networks", m{"network": m{"qos_policy_id": noID}}, "404 QosPolicyNotFound: QoS policy " + noID + " could not be found."},
		{"POST", "/v2.0/networks", m{"network": m{"qos_policy_id": "x"}}, "400 HTTPBadRequest: Invalid input for qos_policy_id. Reason: 'x' is not a valid UUID."},
		{"POST", "/v2.0/qos/policies", m{"policy": m{"rules": []m{}}}, "400 HTTPBadRequest: Attribute 'rules' not allowed in POST"},
	} {
		got := a.do(c.method, c.path, c.body).fault()
		if got != c.want && !(len(c.want) == 3 && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s %s %v:\n got %s\nwant %s", c.method, c.path, c.body, got, c.want)
		}
	}
	if after := a.do("GET", "/v2.0/qos/policies/"+policy, nil).text; after != before {
		t.Errorf("refused requests changed the policy from %s to %s", before, after)
	}
}

// TestQoSAliases reaches rules without their policy.
func TestQoSAliases(t *testing.T) {
	a := startAPI(t)
	policy := "/v2.0/qos/policies/" + id(a.must(201, "POST", "/v2.0/qos/policies", m{"policy": m{}}))
	rule := id(a.must(201, "POST", policy+"/bandwidth_limit_rules", m{"bandwidth_limit_rule": m{"max_kbps": 1}}))
	path := "/v2.0/qos/alias-bandwidth-limit-rules/" + rule
	r := a.do("PUT", path, m{"alias_bandwidth_limit_rule": m{"max_kbps": "2", "direction": "ingress"}})
	if want := `{"alias_bandwidth_limit_rule":{"id":"` + rule + `","max_kbps":2,"max_burst_kbps":0,"direction":"ingress"}}`; r.text != want {
		t.Errorf("got %s, want %s", r.text, want)
	}
	if shown := a.do("GET", path, nil); shown.text != r.text {
		t.Errorf("got %s, want %s", shown.text, r.text)
	}
	a.must(204, "DELETE", path, nil)
	if p := a.must(200, "GET", policy, nil); len(p["rules"].([]any)) != 0 {
		t.Errorf("after all: %v", p)
	}
	types := a.do("GET", "/v2.0/qos/rule-types?all_rules=True", nil)
	if want := `{"rule_types":[{"type":"bandwidth_limit"},{"type":"dscp_marking"},{"type":"minimum_bandwidth"},{"type":"minimum_packet_rate"},{"type":"packet_rate_limit"}]}`; types.text != want {
		t.Errorf("types: %s", types.text)
	}
}

// TestQoSForOthers is who may see, use and change a policy.
func TestQoSForOthers(t *testing.T) {
	s := story{startPersonas(t)}
	p := s.make("manager", "/v2.0/qos/policies", m{"policy": m{"name": "gold"}})
	path := "/v2.0/qos/policies/" + p
	rule := s.make("manager", path+"/dscp_marking_rules", m{"dscp_marking_rule": m{"dscp_mark": 8}})
	missing := "404 QosPolicyNotFound: QoS policy " + p + " could not be found."
	s.step("member", "GET", path, nil, "200")
	s.step("member", "POST", "/v2.0/qos/policies", m{"policy": m{}}, "403 PolicyNotAuthorized: rule:create_policy is disallowed by policy")
	s.step("member", "POST", path+"/dscp_marking_rules", m{"dscp_marking_rule": m{"dscp_mark": 8}},
		"403 PolicyNotAuthorized: rule:create_policy_dscp_marking_rule is disallowed by policy")
	for _, at := range []string{path, path + "/dscp_marking_rules", path + "/dscp_marking_rules/" + rule} {
		s.step("reader", "GET", at, nil, "200")
		s.step("manager@p2", "GET", at, nil, missing)
	}
	s.step("manager@p2", "POST", path+"/bandwidth_limit_rules", m{"bandwidth_limit_rule": m{"max_kbps": 8}}, missing)
	s.step("manager@p2", "GET", "/v2.0/qos/alias-dscp-marking-rules/"+rule, nil, "404 QosRuleNotFound: QoS rule "+rule+" for policy  could not be found.")
	s.step("manager@p2", "POST", "/v2.0/networks", m{"network": m{"qos_policy_id": p}}, missing)
	s.step("member", "GET", "/v2.0/qos/rule-types", nil, "200")
	s.step("member", "GET", "/v2.0/qos/rule-types/dscp_marking", nil, "403 NotAuthorized: Not authorized.")

	share := s.make("manager", "/v2.0/rbac-policies", m{"rbac_policy": m{"object_type": "qos_policy", "object_id": p, "action": "access_as_shared", "target_tenant": "p2"}})
	if o := s.step("member@p2", "GET", path, nil, "200").object(); o["shared"] != true || len(o["rules"].([]any)) != 1 {
		t.Errorf("shared policy: %v", o)
	}
	s.step("manager@p2", "DELETE", path, nil, "403 PolicyNotAuthorized: rule:delete_policy is disallowed by policy")
	net := s.make("member@p2", "/v2.0/networks", m{"network": m{"qos_policy_id": p}})
	port := s.make("member@p2", "/v2.0/ports", m{"port": m{"network_id": net, "qos_policy_id": p}})
	s.step("manager", "DELETE", "/v2.0/rbac-policies/"+share, nil, "409 RbacPolicyInUse: RBAC policy on object "+p+
		" cannot be removed because other objects depend on it.\nDetails: project_id=p2")
	s.step("manager", "DELETE", path, nil, "409 QosPolicyInUse: QoS Policy "+p+" is used by port "+port+".")
	if o := s.step("member@p2", "PUT", "/v2.0/ports/"+port, m{"port": m{"qos_policy_id": nil}}, "200").object(); o["qos_policy_id"] != nil {
		t.Errorf("port: %v", o)
	}
	s.step("manager", "DELETE", path, nil, "409 QosPolicyInUse: QoS Policy "+p+" is used by network "+net+".")

	// What an administrator has put something under, its project cannot take away.
	secret := s.make("admin@p9", "/v2.0/qos/policies", m{"policy": m{"name": "limit"}})
	s.step("admin", "PUT", "/v2.0/ports/"+port, m{"port": m{"qos_policy_id": secret}}, "200")
	fixed := "403 PolicyRemoveAuthorizationError: Failed to remove provided policy " + secret + " because you are not authorized."
	s.step("member@p2", "PUT", "/v2.0/ports/"+port, m{"port": m{"qos_policy_id": nil}}, fixed)
	s.step("member@p2", "PUT", "/v2.0/ports/"+port, m{"port": m{"qos_policy_id": p}}, fixed)
	s.step("admin", "PUT", "/v2.0/networks/"+net, m{"network": m{"qos_policy_id": secret}}, "200")
	s.step("member@p2", "PUT", "/v2.0/networks/"+net, m{"network": m{"qos_policy_id": nil}}, fixed)
	s.step("member@p2", "PUT", "/v2.0/networks/"+net, m{"network": m{"qos_policy_id": secret, "name": "n"}}, "200")
	s.step("manager", "DELETE", "/v2.0/rbac-policies/"+share, nil, "204")
	s.step("member@p2", "GET", path, nil, missing)
	s.step("manager", "DELETE", path, nil, "204")
	s.sound()
}

func TestQoSDefault(t *testing.T) {
	s := story{startPersonas(t)}
	policies := "/v2.0/qos/policies"
	taken := "409 QoSPolicyDefaultAlreadyExists: A default QoS policy exists for project p1."
	s.step("manager", "POST", policies, m{"policies": []m{{"is_default": true}, {"is_default": true}}}, taken)
	first := s.make("manager", policies, m{"policy": m{"is_default": true}})
	s.step("manager", "POST", policies, m{"policy": m{"is_default": true}}, taken)
	second := s.make("manager", policies, m{"policy": m{}})
	s.step("manager", "PUT", policies+"/"+second, m{"policy": m{"is_default": true}}, taken)
	s.make("manager@p2", policies, m{"policy": m{"is_default": true}})
	under := func(body m) (string, any) {
		t.Helper()
		n := s.step("member", "POST", "/v2.0/networks", m{"network": body}, "201").object()
		return id(n), n["qos_policy_id"]
	}
	net, got := under(m{})
	if got != first {
		t.Errorf("a new network is under %v", got)
	}
	if _, got := under(m{"qos_policy_id": nil}); got != first {
		t.Errorf("a new network without policy is under %v", got)
	}
	if _, got := under(m{"qos_policy_id": second}); got != second {
		t.Errorf("a new network under another policy is under %v", got)
	}
	s.step("member", "PUT", "/v2.0/networks/"+net, m{"network": m{"qos_policy_id": nil}}, "200")
	s.step("manager", "PUT", policies+"/"+first, m{"policy": m{"is_default": false}}, "200")
	if _, got := under(m{}); got != nil {
		t.Errorf("without default a new network is under %v", got)
	}
	s.step("manager", "PUT", policies+"/"+second, m{"policy": m{"is_default": true}}, "200")
	if l := s.step("manager", "GET", policies+"?is_default=True&fields=id", nil, "200").list(); len(l) != 1 || !maps.Equal(l[0], m{"id": second}) {
		t.Errorf("defaults: %v", l)
	}
	s.sound()
}
