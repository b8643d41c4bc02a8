package access

import (
	"slices"
	"strings"
	"testing"

	"weft/internal/model"
)

const (
	mine   = "11111111111111111111111111111111"
	theirs = "22222222222222222222222222222222"
)

func as(project string, roles ...string) Caller {
	return Caller{UserID: "u", ProjectID: model.ProjectID(project), Roles: Expand(roles)}
}

// personas are those who ask, by name.
var personas = map[string]Caller{
	"admin":    as(theirs, "admin"),
	"service":  as(theirs, "service"),
	"manager":  as(mine, "manager"),
	"member":   as(mine, "member"),
	"reader":   as(mine, "reader"),
	"stranger": as(theirs, "manager"), // the manager of another project
	"nobody":   {},
}

func target(attrs map[string]string) Target {
	return func(name string) (string, bool) {
		v, ok := attrs[name]
		return v, ok
	}
}

func defaultPolicy(t testing.TB) *Policy {
	t.Helper()
	p, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaults(t *testing.T) {
	type attrs = map[string]string
	own := attrs{"project_id": mine}
	port := func(owner, network string) attrs {
		return attrs{"project_id": owner, "network:project_id": network, "network:shared": "False"}
	}
	for _, tt := range []struct {
		rule   string
		target attrs
		want   string // of all personas, those who may
	}{
		{"create_network", own, "admin manager member"},
		{"get_network", own, "admin service manager member reader"},
		{"get_network", attrs{"project_id": theirs}, "admin service stranger"},
		{"get_network", attrs{"project_id": theirs, "shared": "True"}, "admin service manager member reader stranger nobody"},
		{"get_network", attrs{"project_id": theirs, "router:external": "True"}, "admin service manager member reader stranger nobody"},
		{"delete_network", own, "admin manager member"},
		{"create_network:shared", own, "admin"},
		{"update_network:router:external", own, "admin"},
		{"get_network:provider:segmentation_id", own, "admin"},
		{"update_network:tags", own, "admin manager member"},

		{"create_subnet", attrs{"project_id": mine, "network:project_id": mine}, "admin manager member"},
		{"create_subnet", attrs{"project_id": mine, "network:project_id": theirs}, "admin stranger"},
		{"get_subnet", attrs{"project_id": theirs, "network:project_id": mine}, "admin service manager member reader stranger"},
		{"get_subnet", attrs{"project_id": theirs, "network:shared": "True"}, "admin service manager member reader stranger nobody"},
		{"create_subnetpool:shared", own, "admin"},
		{"get_subnetpool", attrs{"shared": "True"}, "admin service manager member reader stranger nobody"},

		{"create_port", port(mine, mine), "admin service manager member"},
		{"create_port", port(mine, theirs), "admin service stranger"},
		{"create_port", attrs{"project_id": mine, "network:project_id": theirs, "network:shared": "True"}, "admin service manager member reader stranger nobody"},
		{"create_port:fixed_ips:ip_address", port(mine, theirs), "admin service stranger"},
		{"create_port:device_owner", attrs{"device_owner": "compute:nova"}, "admin service manager member reader stranger nobody"},
		{"create_port:device_owner", attrs{"device_owner": "network:dhcp", "network:project_id": mine}, "admin service manager member"},
		{"create_port:device_owner", attrs{"device_owner": "network:dhcp", "network:project_id": theirs}, "admin service stranger"},
		{"create_port:binding:profile", port(mine, mine), "service"},
		{"update_port:binding:profile", port(mine, mine), "service"},
		{"update_port:binding:host_id", port(mine, mine), "admin service"},
		{"update_port:mac_address", port(mine, mine), "admin service manager"},
		{"update_port:allowed_address_pairs", port(mine, theirs), "admin service stranger"},
		{"update_port", port(mine, theirs), "admin service manager member"},
		{"get_port", port(mine, theirs), "admin service manager member reader stranger"},
		{"get_port", port(theirs, theirs), "admin service stranger"},
		{"get_port:binding:vif_type", port(mine, mine), "admin service"},
		{"delete_port", port(mine, theirs), "admin service manager member stranger"},
		{"activate", port(mine, mine), "service"},

		{"get_security_group", attrs{"project_id": theirs, "shared": "True"}, "admin service manager member reader stranger nobody"},
		{"create_security_group_rule", attrs{"project_id": mine, "security_group:project_id": mine}, "admin manager member"},
		{"create_security_group_rule", attrs{"project_id": mine, "security_group:project_id": theirs}, "admin stranger"},
		{"get_default_security_group_rule", attrs{}, "admin manager member reader stranger"},

		{"create_router:ha", own, "admin"},
		{"create_router:external_gateway_info:external_fixed_ips", own, "admin"},
		{"update_router:external_gateway_info:network_id", own, "admin manager member"},
		{"add_router_interface", own, "admin manager member"},
		{"create_floatingip:floating_ip_address", own, "admin manager"},
		{"get_floatingip_port_forwarding", attrs{"ext_parent:project_id": mine}, "admin manager member reader"},
		{"create_floatingip_port_forwarding", attrs{"project_id": mine}, "admin"}, // it has a parent, or nobody owns it

		{"create_policy", own, "admin manager"},
		{"update_policy_bandwidth_limit_rule", attrs{"ext_parent:project_id": mine}, "admin manager"},
		{"get_alias_minimum_packet_rate_rule", attrs{"ext_parent:project_id": mine}, "admin manager member reader"},
		{"create_rbac_policy:target_tenant", attrs{"target_project": "*"}, "admin"},
		{"create_rbac_policy:target_tenant", attrs{"target_project": theirs}, "admin service manager member reader stranger nobody"},
		{"get_agent", attrs{}, "admin"},
		{"get_quota", own, "admin manager"},
		{"update_quota", own, "admin"},
		{"get_network_ip_availability", own, "admin service"},

		{"get_unheard_of", own, "admin manager member reader"}, // the rule default
		{"context_with_global_access", own, ""},
		{"get_network", attrs{"project_id": ""}, "admin service"}, // nobody's, and not that of who has no project
		{"get_network", nil, "admin service"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			p := defaultPolicy(t)
			for name, c := range personas {
				want := slices.Contains(strings.Fields(tt.want), name)
				if got := p.Allows(tt.rule, c, target(tt.target)); got != want {
					t.Errorf("%s with %v: %v, want %v", name, tt.target, got, want)
				}
			}
			if !p.Allows(tt.rule, Caller{Admin: true}, nil) {
				t.Error("not allowed without authentication")
			}
		})
	}
}
