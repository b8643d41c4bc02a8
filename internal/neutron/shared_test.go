package neutron

import (
	"fmt"
	"slices"
	"testing"
)

// TestListsOfWhatIsShared: a member's list has its own and what is shared with it, each
// once, whatever the filter.
func TestListsOfWhatIsShared(t *testing.T) {
	s := story{startPersonas(t)}
	for _, k := range []struct {
		path, singular, kind string
		more                 m
	}{
		{"/v2.0/security-groups", "security_group", "security_group", nil},
		{"/v2.0/address-groups", "address_group", "address_group", nil},
		{"/v2.0/address-scopes", "address_scope", "address_scope", m{"ip_version": 4}},
		{"/v2.0/subnetpools", "subnetpool", "subnetpool", m{"prefixes": []string{"10.0.0.0/8"}}},
		{"/v2.0/qos/policies", "policy", "qos_policy", nil},
	} {
		create := func(who, name string) string {
			body := m{"name": name}
			for key, v := range k.more {
				body[key] = v
			}
			return s.make(who, k.path, m{k.singular: body})
		}
		share := func(object, target string) {
			s.step("admin@"+k.kind, "POST", "/v2.0/rbac-policies", m{"rbac_policy": m{"object_type": k.kind, "object_id": object,
				"action": "access_as_shared", "target_tenant": target}}, "201")
		}
		create("admin@p2", "own")
		share(create("admin@p1", "particular"), "p2")
		all := create("admin@p1", "all")
		share(all, "*")
		share(all, "p2")
		create("admin@p1", "hidden")
		share(create("admin@p1", "others"), "p3")
		for query, want := range map[string][]string{
			"":                {"all", "own", "particular"},
			"?name=hidden":    nil,
			"?name=all":       {"all"},
			"?project_id=p1":  {"all", "particular"},
			"?shared=true":    {"all", "particular"},
			"?id=" + all:      {"all"},
			"?limit=1&name=a": nil,
		} {
			var got []string
			for _, o := range s.step("member@p2", "GET", k.path+query, nil, "200").list() {
				if name := fmt.Sprint(o["name"]); name != "default" {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s%s: %v, want %v", k.path, query, got, want)
			}
		}
	}
	s.sound()
}
