package neutron

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
)

// group makes a security group of a persona.
func (a *api) group(who, name string) string {
	a.t.Helper()
	got, r := a.as(who, "POST", "/v2.0/security-groups", m{"security_group": m{"name": name}})
	if got != "201" {
		a.t.Fatal(got)
	}
	return id(r.object())
}

// sound fails the test when fsck finds a problem.
func (a *api) sound() {
	a.t.Helper()
	problems, err := control.Fsck(a.t.Context(), a.client)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, p := range problems {
		a.t.Error("fsck:", p)
	}
}

// want sends a request as a persona and compares how it went.
func (a *api) want(want, who, method, path string, body any) answer {
	a.t.Helper()
	got, r := a.as(who, method, path, body)
	if got != want {
		a.t.Errorf("%s %s %s %v\n got %s\nwant %s", who, method, path, body, got, want)
	}
	return r
}

func TestSecurityGroupRulesAreJudged(t *testing.T) {
	a := startPersonas(t)
	g, theirs := a.group("member", "web"), a.group("member@p2", "other")
	ag := id(a.want("201", "member", "POST", "/v2.0/address-groups", m{"address_group": m{}}).object())
	const unknown = "00000000-0000-4000-8000-000000000000"
	missing := "404 SecurityGroupNotFound: Security group " + unknown + " does not exist"
	for _, c := range []struct {
		rule m
		want string
	}{
		{m{"protocol": "tcp", "port_range_min": 80, "port_range_max": "81"}, "201"},
		{m{"protocol": 6, "port_range_min": 80, "port_range_max": 81, "remote_ip_prefix": "0.0.0.0/0"}, "409 SecurityGroupRuleExists"},
		{m{"protocol": "ANY"}, "201"},
		{m{"protocol": nil}, "409 SecurityGroupRuleExists"},
		{m{"protocol": "17"}, "201"},
		{m{"protocol": "udp"}, "409 SecurityGroupRuleExists"},
		{m{"protocol": "udp", "port_range_min": 1, "port_range_max": 65535}, "409 SecurityGroupRuleExists"},
		{m{"protocol": "icmp", "ethertype": "ipv6"}, "201"},
		{m{"protocol": 58, "ethertype": "IPv6"}, "409 SecurityGroupRuleExists"},
		{m{"protocol": "icmp", "port_range_min": 0, "port_range_max": 0}, "201"},
		{m{"protocol": "icmp", "port_range_min": 11}, "201"},
		{m{"protocol": "bogus"}, "400 SecurityGroupRuleInvalidProtocol: Security group rule protocol bogus not supported. Only protocol values (None, 'any', 'ah', "},
		{m{"protocol": 256}, "400 SecurityGroupRuleInvalidProtocol: Security group rule protocol 256 "},
		{m{"protocol": []any{"tcp"}}, "400 SecurityGroupRuleInvalidProtocol"},
		{m{"ethertype": "bad"}, "400 SecurityGroupRuleInvalidEtherType: Security group rule for ethertype 'bad' not supported. Allowed values are ['IPv4', 'IPv6']."},
		{m{"direction": "up"}, "400 HTTPBadRequest: Invalid input for direction. Reason: up is not in ['ingress', 'egress']."},
		{m{"port_range_min": 80, "port_range_max": 80}, "400 SecurityGroupProtocolRequiredWithPorts: Must also specify protocol if port range is given."},
		{m{"protocol": "tcp", "port_range_min": -16, "port_range_max": 80}, "400 SecurityGroupInvalidPortValue: Invalid value for port -16"},
		{m{"protocol": "tcp", "port_range_min": 80, "port_range_max": 65536}, "400 SecurityGroupInvalidPortValue: Invalid value for port 65536"},
		{m{"protocol": "tcp", "port_range_min": 0, "port_range_max": 80}, "400 SecurityGroupInvalidPortValue: Invalid value for port 0"},
		{m{"protocol": "tcp", "port_range_min": 81, "port_range_max": 80}, "400 SecurityGroupInvalidPortRange: For TCP/UDP protocols, port_range_min must be <= port_range_max"},
		{m{"protocol": "tcp", "port_range_max": 6}, "400 SecurityGroupInvalidPortRange"},
		{m{"protocol": "vrrp", "port_range_min": 1, "port_range_max": 2}, "400 SecurityGroupInvalidProtocolForPort: Ports cannot be specified for protocol 112. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE."},
		{m{"protocol": "icmp", "port_range_min": 300, "port_range_max": 1}, "400 SecurityGroupInvalidIcmpValue: Invalid value for ICMP type (port_range_min) 300. It must be 0 to 255."},
		{m{"protocol": "icmp", "port_range_min": 1, "port_range_max": 256}, "400 SecurityGroupInvalidIcmpValue: Invalid value for ICMP code (port_range_max) 256. It must be 0 to 255."},
		{m{"protocol": "icmp", "port_range_max": 6}, "400 SecurityGroupMissingIcmpType: ICMP code (port-range-max) 6 is provided but ICMP type (port-range-min) is missing."},
		{m{"protocol": "ipv6-icmp"}, "400 SecurityGroupEthertypeConflictWithProtocol: Invalid ethertype IPv4 for protocol ipv6-icmp."},
		{m{"remote_ip_prefix": "bad_prefix"}, "400 InvalidCIDR: Invalid CIDR bad_prefix given as IP prefix."},
		{m{"remote_ip_prefix": "192.168.1.1/33"}, "400 InvalidCIDR"},
		{m{"remote_ip_prefix": "2001:db8::/32"}, "400 SecurityGroupRuleParameterConflict: Conflicting value ethertype IPv4 for CIDR 2001:db8::/32"},
		{m{"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": g}, "400 SecurityGroupMultipleRemoteEntites: Only one of "},
		{m{"remote_group_id": g}, "201"},
		{m{"remote_group_id": "bad_group_id"}, "404 SecurityGroupNotFound: Security group bad_group_id does not exist"},
		{m{"remote_group_id": theirs}, "404 SecurityGroupNotFound"},
		{m{"remote_address_group_id": ag}, "201"},
		{m{"remote_address_group_id": unknown}, "404 AddressGroupNotFound: Address group " + unknown + " could not be found."},
		{m{"security_group_id": unknown}, missing},
		{m{"security_group_id": theirs}, "404 SecurityGroupNotFound"},
		{m{"security_group_id": nil}, "400 HTTPBadRequest"},
	} {
		rule := m{"security_group_id": g, "direction": "ingress"}
		for k, v := range c.rule {
			rule[k] = v
		}
		got, r := a.as("member", "POST", "/v2.0/security-group-rules", m{"security_group_rule": rule})
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%v\n got %s\nwant %s", c.rule, got, c.want)
		}
		if r.status == 201 {
			if shown := a.do("GET", "/v2.0/security-group-rules/"+id(r.object()), nil, "X-Auth-Token", "member"); shown.text != r.text {
				t.Errorf("created %s\n  shown %s", r.text, shown.text)
			}
		}
	}
	a.sound()
}

func TestSecurityGroupRulesInBulk(t *testing.T) {
	a := startPersonas(t)
	g, h := a.group("member", "web"), a.group("member", "db")
	rule := func(group string, port int) m {
		return m{"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": port, "port_range_max": port}
	}
	foreign := rule(g, 82)
	foreign["project_id"] = "p2"
	for _, c := range []struct {
		rules []any
		want  string
	}{
		{[]any{rule(g, 80), rule(g, 80)}, "409 DuplicateSecurityGroupRuleInPost: Duplicate Security Group Rule in POST."},
		{[]any{rule(g, 80), rule(h, 81)}, "400 SecurityGroupNotSingleGroupRules: Only allowed to update rules for one security profile at a time"},
		{[]any{rule(g, 80), foreign}, "400 SecurityGroupRulesNotSingleProject: Multiple project_ids in bulk security group rule create not allowed"},
		{[]any{rule(g, 80), rule(g, 81)}, "201"},
	} {
		a.want(c.want, "admin", "POST", "/v2.0/security-group-rules", m{"security_group_rules": c.rules})
	}
	shown := a.want("200", "member", "GET", "/v2.0/security-groups/"+g, nil).object()
	if n := len(shown["security_group_rules"].([]any)); n != 4 || shown["revision_number"] != 3.0 {
		t.Errorf("%d rules at revision %v", n, shown["revision_number"])
	}
	a.sound()
}

func TestSecurityGroups(t *testing.T) {
	a := startPersonas(t)
	l := a.want("200", "reader", "GET", "/v2.0/security-groups", nil).list()
	if len(l) != 1 || l[0]["name"] != "default" || len(l[0]["security_group_rules"].([]any)) != 4 {
		t.Fatalf("a new project has %v", l)
	}
	def := id(l[0])
	for _, who := range []string{"member@p2", "admin@p2"} { // the member makes none for another project
		want := 0
		if who == "admin@p2" {
			want = 1
		}
		if l := a.want("200", who, "GET", "/v2.0/security-groups?project_id=p7", nil).list(); len(l) != want {
			t.Errorf("%s finds %d groups of p7", who, len(l))
		}
	}
	g, other := a.group("member", "web"), a.group("member", "db")
	a.want("409 SecurityGroupDefaultAlreadyExists: Default security group already exists.", "member", "PUT", "/v2.0/security-groups/"+g, m{"security_group": m{"name": "Default"}})
	a.want("409 SecurityGroupCannotUpdateDefault: Updating default security group not allowed.", "member", "PUT", "/v2.0/security-groups/"+def, m{"security_group": m{"name": "x"}})
	a.want("200", "member", "PUT", "/v2.0/security-groups/"+def, m{"security_group": m{"description": "x"}})
	a.want("409 SecurityGroupCannotRemoveDefault: Insufficient rights for removing default security group.", "member", "DELETE", "/v2.0/security-groups/"+def, nil)
	a.want("404 SecurityGroupNotFound: Security group "+g+" does not exist", "member@p2", "GET", "/v2.0/security-groups/"+g, nil)
	a.want("404 SecurityGroupNotFound: Security group "+g+" does not exist", "member@p2", "DELETE", "/v2.0/security-groups/"+g, nil)

	a.want("201", "member", "POST", "/v2.0/security-group-rules", m{"security_group_rule": m{"security_group_id": other, "direction": "ingress", "remote_group_id": g}})
	before := a.want("200", "member", "GET", "/v2.0/security-groups/"+other, nil).object()
	a.want("204", "member", "DELETE", "/v2.0/security-groups/"+g, nil)
	after := a.want("200", "member", "GET", "/v2.0/security-groups/"+other, nil).object()
	if len(before["security_group_rules"].([]any)) != 3 || len(after["security_group_rules"].([]any)) != 2 {
		t.Errorf("rules that name a removed group: before %v\nafter %v", before, after)
	}
	if l := a.want("200", "member", "GET", "/v2.0/security-group-rules?security_group_id="+g, nil).list(); len(l) != 0 {
		t.Errorf("rules of a removed group: %v", l)
	}
	if l := a.want("200", "reader", "GET", "/v2.0/security-group-rules", nil).list(); len(l) != 6 {
		t.Errorf("the project has %d rules, want 4 and 2", len(l))
	}
	if l := a.want("200", "reader", "GET", "/v2.0/security-group-rules?belongs_to_default_sg=true&direction=ingress", nil).list(); len(l) != 2 {
		t.Errorf("%v", l)
	}
	a.want("204", "admin", "DELETE", "/v2.0/security-groups/"+def, nil)
	if l := a.want("200", "member", "GET", "/v2.0/security-groups?name=default", nil).list(); len(l) != 1 || id(l[0]) == def {
		t.Errorf("the default group did not come back: %v", l)
	}
	a.sound()
}

func TestSharedSecurityGroup(t *testing.T) {
	a := startPersonas(t)
	g := a.group("member", "shared")
	_, r := a.as("member@p2", "POST", "/v2.0/networks", m{"network": m{}})
	n := id(r.object())
	port := m{"port": m{"network_id": n, "security_groups": []any{g}}}
	a.want("404 SecurityGroupNotFound: Security group "+g+" does not exist", "member@p2", "POST", "/v2.0/ports", port)
	policy := id(a.want("201", "member", "POST", "/v2.0/rbac-policies", m{"rbac_policy": m{"object_type": "security_group", "object_id": g,
		"action": "access_as_shared", "target_tenant": "p2"}}).object())
	p := id(a.want("201", "member@p2", "POST", "/v2.0/ports", port).object())
	if l := a.want("200", "member@p2", "GET", "/v2.0/security-groups?shared=true", nil).list(); len(l) != 1 || l[0]["shared"] != true {
		t.Errorf("shared groups: %v", l)
	}
	a.want("403 PolicyNotAuthorized: rule:create_security_group_rule is disallowed by policy", "member@p2", "POST", "/v2.0/security-group-rules",
		m{"security_group_rule": m{"security_group_id": g, "direction": "ingress"}})
	if got, _ := a.as("member", "DELETE", "/v2.0/rbac-policies/"+policy, nil); !strings.HasPrefix(got, "409 RbacPolicyInUse") {
		t.Error(got)
	}
	a.want("204", "member@p2", "DELETE", "/v2.0/ports/"+p, nil)
	a.want("204", "member", "DELETE", "/v2.0/security-groups/"+g, nil)
	a.want("404 RbacPolicyNotFound: RBAC policy of type unknown with ID "+policy+" not found", "member", "GET", "/v2.0/rbac-policies/"+policy, nil)
	a.sound()
}

func TestPortsAreGuarded(t *testing.T) {
	a := startPersonas(t)
	n := id(a.want("201", "member", "POST", "/v2.0/networks", m{"network": m{}}).object())
	open := id(a.want("201", "member", "POST", "/v2.0/networks", m{"network": m{"port_security_enabled": false}}).object())
	def := id(a.want("200", "member", "GET", "/v2.0/security-groups?name=default", nil).list()[0])
	g := a.group("member", "web")
	stateless := id(a.want("201", "member", "POST", "/v2.0/security-groups", m{"security_group": m{"stateful": false}}).object())
	theirs := a.group("member@p2", "theirs")
	pair := []any{m{"ip_address": "10.0.0.9"}}
	made := map[string]string{}
	needs := "400 PortSecurityAndIPRequiredForSecurityGroups: Port security must be enabled and port must have an IP address in order to use security groups."
	pairs := "409 AddressPairAndPortSecurityRequired: Port Security must be enabled in order to have allowed address pairs on a port."
	for _, c := range []struct {
		name   string
		port   m
		want   string
		groups string
	}{
		{"plain", m{}, "201", "[" + def + "]"},
		{"web", m{"security_groups": []any{g}, "allowed_address_pairs": pair}, "201", "[" + g + "]"},
		{"none", m{"security_groups": nil}, "201", "[]"},
		{"open", m{"network_id": open}, "201", "[]"},
		{"", m{"network_id": open, "security_groups": []any{g}}, needs, ""},
		{"guarded", m{"network_id": open, "port_security_enabled": true}, "201", "[" + def + "]"},
		{"off", m{"port_security_enabled": false}, "201", "[]"},
		{"", m{"port_security_enabled": false, "security_groups": []any{g}}, needs, ""},
		{"", m{"port_security_enabled": false, "allowed_address_pairs": pair}, pairs, ""},
		{"", m{"security_groups": []any{theirs}}, "404 SecurityGroupNotFound: Security group " + theirs + " does not exist", ""},
		{"", m{"security_groups": []any{g, stateless}}, "409 SecurityGroupConflict: Error Cannot apply both stateful and stateless security groups on the same port at the same time while attempting the operation.", ""},
	} {
		port := m{"network_id": n}
		for k, v := range c.port {
			port[k] = v
		}
		o := a.want(c.want, "member", "POST", "/v2.0/ports", m{"port": port}).object()
		if c.want == "201" {
			made[c.name] = id(o)
			if got := fmt.Sprint(o["security_groups"]); got != c.groups {
				t.Errorf("%s is in %s, want %s", c.name, got, c.groups)
			}
		}
	}
	for _, c := range []struct {
		name string
		port m
		want string
	}{
		{"plain", m{"port_security_enabled": false}, "409 PortSecurityPortHasSecurityGroup: Port has security group associated. Cannot disable port security or IP address until security group is removed."},
		{"web", m{"port_security_enabled": false, "security_groups": []any{}}, pairs},
		{"web", m{"port_security_enabled": false, "security_groups": []any{}, "allowed_address_pairs": []any{}}, "200"},
		{"web", m{"security_groups": []any{g}}, needs},
		{"web", m{"security_groups": []any{g}, "port_security_enabled": true}, "200"},
		{"plain", m{"security_groups": []any{theirs}}, "404 SecurityGroupNotFound: Security group " + theirs + " does not exist"},
	} {
		a.want(c.want, "member", "PUT", "/v2.0/ports/"+made[c.name], m{"port": c.port})
	}
	if l := a.want("200", "member", "GET", "/v2.0/ports?security_groups="+g+"&security_groups="+def, nil).list(); len(l) != 3 {
		t.Errorf("%d ports in the groups, want 3", len(l))
	}
	a.want("409 SecurityGroupInUse: Security Group "+g+" in use.", "member", "DELETE", "/v2.0/security-groups/"+g, nil)
	a.want("409 SecurityGroupInUse: Security Group "+g+" in use.", "member", "PUT", "/v2.0/security-groups/"+g, m{"security_group": m{"stateful": false}})
	a.want("204", "member", "DELETE", "/v2.0/ports/"+made["web"], nil)
	a.want("204", "member", "DELETE", "/v2.0/security-groups/"+g, nil)
	a.sound()
}

func TestAddressGroups(t *testing.T) {
	a := startPersonas(t)
	o := a.want("201", "member", "POST", "/v2.0/address-groups", m{"address_group": m{"name": "office", "addresses": []any{"10.0.0.0/24", "10.0.1.7/32"}}}).object()
	path := "/v2.0/address-groups/" + id(o)
	for _, c := range []struct{ action, body, want string }{
		{"add_addresses", `{"addresses":["10.0.0.0/24"]}`, "400 AddressesAlreadyExist: Addresses ['10.0.0.0/24'] already exist in the address group " + id(o) + "."},
		{"remove_addresses", `{"addresses":["10.9.0.0/24"]}`, "404 AddressesNotFound: Addresses ['10.9.0.0/24'] not found in the address group " + id(o) + "."},
		{"remove_addresses", `{"addresses":["10.9.0.9"]}`, "404 AddressesNotFound: Addresses ['10.9.0.9/32'] not found in the address group " + id(o) + "."},
		{"add_addresses", `{"addresses":["x"]}`, "400 HTTPBadRequest: Invalid input for addresses. Reason: 'x' is not a valid IP subnet."},
		{"add_addresses", `{}`, "400 HTTPBadRequest: Failed to parse request. Required attribute 'addresses' not specified"},
		{"add_addresses", `{"addresses":["2001:db8::/64"]}`, "200"},
		{"remove_addresses", `{"addresses":["10.0.0.0/24"]}`, "200"},
	} {
		a.want(c.want, "member", "PUT", path+"/"+c.action, c.body)
	}
	o = a.want("200", "member", "GET", path, nil).object()
	if got := fmt.Sprint(o["addresses"]); got != "[10.0.1.7/32 2001:db8::/64]" || o["revision_number"] != 2.0 {
		t.Errorf("%v", o)
	}
	g := a.group("member", "web")
	a.want("201", "member", "POST", "/v2.0/security-group-rules", m{"security_group_rule": m{"security_group_id": g, "direction": "ingress", "remote_address_group_id": id(o)}})
	a.want("409 AddressGroupInUse: Address group "+id(o)+" is in use on one or more security group rules.", "member", "DELETE", path, nil)
	a.want("204", "member", "DELETE", "/v2.0/security-groups/"+g, nil)
	a.want("404 AddressGroupNotFound: Address group "+id(o)+" could not be found.", "member@p2", "DELETE", path, nil)
	a.want("204", "member", "DELETE", path, nil)
	a.sound()
}

func TestDefaultSecurityGroupRules(t *testing.T) {
	a := startPersonas(t)
	const path = "/v2.0/default-security-group-rules"
	if l := a.want("200", "reader", "GET", path, nil).list(); len(l) != 4 {
		t.Fatalf("%v", l)
	}
	ssh := m{"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
	a.want("403 PolicyNotAuthorized: rule:create_default_security_group_rule is disallowed by policy", "member", "POST", path, m{"default_security_group_rule": ssh})
	o := a.want("201", "admin", "POST", path, m{"default_security_group_rule": ssh}).object()
	if o["used_in_default_sg"] != false || o["used_in_non_default_sg"] != true {
		t.Errorf("%v", o)
	}
	a.want("409 DefaultSecurityGroupRuleExists: Default Security group rule already exists. Rule id is "+id(o)+".", "admin", "POST", path, m{"default_security_group_rule": ssh})
	g := a.want("201", "member", "POST", "/v2.0/security-groups", m{"security_group": m{}}).object()
	def := a.want("200", "member", "GET", "/v2.0/security-groups?name=default", nil).list()[0]
	if n, d := len(g["security_group_rules"].([]any)), len(def["security_group_rules"].([]any)); n != 3 || d != 4 {
		t.Errorf("a new group has %d rules, a default one %d", n, d)
	}
	a.want("204", "admin", "DELETE", path+"/"+id(o), nil)
	a.want("404 DefaultSecurityGroupRuleNotFound: Default Security Group rule "+id(o)+" does not exist", "admin", "GET", path+"/"+id(o), nil)
	for _, o := range a.want("200", "admin", "GET", path+"?used_in_non_default_sg=true", nil).list() {
		a.want("204", "admin", "DELETE", path+"/"+id(o), nil)
	}
	g = a.want("201", "member", "POST", "/v2.0/security-groups", m{"security_group": m{}}).object()
	if n := len(g["security_group_rules"].([]any)); n != 0 {
		t.Errorf("a group without templates has %d rules", n)
	}
	a.sound()
}

func TestSecurityGroupQuotas(t *testing.T) {
	a := startPersonas(t)
	a.want("200", "admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"security_group": 2, "security_group_rule": 0}})
	a.want("200", "member", "GET", "/v2.0/security-groups", nil) // the default group counts against nothing
	a.want("409 OverQuota: Quota exceeded for resources: ['security_group_rule'].", "member", "POST", "/v2.0/security-groups", m{"security_group": m{}})
	a.want("200", "admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"security_group_rule": 7}})
	g := a.group("member", "web")
	a.want("409 OverQuota: Quota exceeded for resources: ['security_group'].", "member", "POST", "/v2.0/security-groups", m{"security_group": m{}})
	rule := m{"security_group_rule": m{"security_group_id": g, "direction": "ingress"}}
	a.want("201", "member", "POST", "/v2.0/security-group-rules", rule)
	a.want("409 OverQuota: Quota exceeded for resources: ['security_group_rule'].", "member", "POST", "/v2.0/security-group-rules", rule)
}

// TestDefaultGroupsRace lets many requests of new projects come at once.
func TestDefaultGroupsRace(t *testing.T) {
	a := startPersonas(t)
	n := id(a.want("201", "admin", "POST", "/v2.0/networks", m{"network": m{"shared": true}}).object())
	done := make(chan answer)
	for i := range 24 {
		go func() {
			r, err := a.try("POST", "/v2.0/ports", m{"port": m{"network_id": n}}, "X-Auth-Token", fmt.Sprint("member@q", i%3))
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
	}
	groups := map[string]bool{}
	for range 24 {
		select {
		case r := <-done:
			groups[fmt.Sprint(r.object()["security_groups"])] = true
		case <-time.After(time.Minute):
			t.Fatal("stuck")
		}
	}
	if len(groups) != 3 {
		t.Errorf("ports of 3 projects are in %v", groups)
	}
	a.sound()
}
