package access

import (
	"math/rand/v2"
	"slices"
	"strconv"
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

func TestOverrides(t *testing.T) {
	p, err := New(map[string]string{
		"create_network": "rule:operators",
		"operators":      "role:operator or rule:context_is_admin",
		"default":        "!",
		"regular_user":   "role:reader",
	})
	if err != nil {
		t.Fatal(err)
	}
	own := target(map[string]string{"project_id": mine})
	for _, tt := range []struct {
		rule string
		who  Caller
		want bool
	}{
		{"create_network", as(mine, "member"), false},
		{"create_network", as(theirs, "Operator"), true},
		{"create_network", as(theirs, "admin"), true},
		{"create_subnetpool", as(mine, "member"), true}, // as before
		{"get_unheard_of", as(mine, "admin"), false},
	} {
		if got := p.Allows(tt.rule, tt.who, own); got != tt.want {
			t.Errorf("%s with %v: %v, want %v", tt.rule, tt.who.Roles, got, tt.want)
		}
	}
	if !p.Defined("operators") || p.Defined("get_unheard_of") {
		t.Error("an alias is defined, what nobody named is not")
	}
	rules := p.Rules()
	if !slices.IsSortedFunc(rules, func(a, b Rule) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the rules are not sorted")
	}
	for _, want := range []Rule{
		{"create_network", "rule:operators", adminOrProjectMember},
		{"operators", "role:operator or rule:context_is_admin", ""},
		{"delete_network", adminOrProjectMember, adminOrProjectMember},
	} {
		if !slices.Contains(rules, want) {
			t.Errorf("no rule %+v", want)
		}
	}
}

func TestBadOverrides(t *testing.T) {
	for _, tt := range []struct {
		overrides map[string]string
		want      []string
	}{
		{map[string]string{"get_port": "role:a or"}, []string{`"get_port"`, "missing at the end"}},
		{map[string]string{"get_port": "(", "get_network": "x"}, []string{`"get_port"`, `"get_network"`}},
		{map[string]string{"get_port": "not rule:ghost"}, []string{`"get_port"`, `"ghost"`}},
		{map[string]string{"a": "rule:a"}, []string{`"a"`, "itself"}},
		{map[string]string{"a": "rule:b", "b": "role:x or not rule:a"}, []string{"itself"}},
		{map[string]string{"context_is_admin": "is_admin:True"}, []string{"itself"}},
	} {
		p, err := New(tt.overrides)
		if err == nil || p != nil {
			t.Errorf("%v: no error", tt.overrides)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v does not say %s", tt.overrides, err, want)
			}
		}
	}
}

// TestDefaultsOnce: a name twice in the tables would hide one of the two.
func TestDefaultsOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, table := range defaults {
		for _, d := range table {
			if seen[d.name] {
				t.Errorf("%s is there twice", d.name)
			}
			seen[d.name] = true
		}
	}
}

// TestConstant: what is decided without a target is decided so for each target.
func TestConstant(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	caller := func() Caller {
		c := as(pick("", mine, theirs), pick("admin", "service", "manager", "member", "reader", "advsvc"), pick("", "member"))
		c.DomainID, c.SystemScope = pick("", "d"), rnd.IntN(2) == 0
		return c
	}
	object := func(name string) (string, bool) {
		switch {
		case rnd.IntN(3) == 0:
			return "", false
		case strings.HasSuffix(name, "project_id"):
			return pick("", mine, theirs), true
		}
		return pick("True", "False", "*", "network:dhcp", "member"), true
	}
	var expr func(depth int) string
	expr = func(depth int) string {
		if depth > 0 {
			switch rnd.IntN(4) {
			case 0:
				return "(" + expr(depth-1) + " and " + expr(depth-1) + ")"
			case 1:
				return "(" + expr(depth-1) + " or " + expr(depth-1) + ")"
			case 2:
				return "not " + expr(depth-1)
			}
		}
		return pick("@", "!", "role:admin", "role:member", "role:%(role)s", "project_id:%(project_id)s", "domain_id:%(x)s",
			"system_scope:all", "True:%(shared)s", "rule:shared", "is_admin:True", "field:port:device_owner=~^network:")
	}
	overrides := map[string]string{}
	for i := range 500 {
		overrides["random"+strconv.Itoa(i)] = expr(4)
	}
	p, err := New(overrides)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Rules() {
		for range 20 {
			c := caller()
			allowed, known := p.Constant(r.Name, c)
			for range 10 {
				if got := p.Allows(r.Name, c, object); known && got != allowed {
					t.Fatalf("%s (%s) for %+v is always %v, but now %v", r.Name, r.Expression, c, allowed, got)
				}
			}
		}
	}
	for _, tt := range []struct {
		rule           string
		who            string
		allowed, known bool
	}{
		{"get_port", "admin", true, true},
		{"get_port", "member", false, false},
		{"get_port", "nobody", false, true},
		{"get_port:binding:vif_type", "service", true, true},
		{"get_port:binding:vif_type", "member", false, true},
		{"create_network", "reader", false, true},
		{"get_network", "nobody", false, false}, // it may be shared
	} {
		if allowed, known := p.Constant(tt.rule, personas[tt.who]); allowed != tt.allowed || known != tt.known {
			t.Errorf("%s for %s: %v, known %v, want %v, known %v", tt.rule, tt.who, allowed, known, tt.allowed, tt.known)
		}
	}
	if allowed, known := p.Constant("context_with_global_access", Caller{Admin: true}); !allowed || !known {
		t.Error("without authentication all is allowed")
	}
}

func TestIsAdmin(t *testing.T) {
	p := defaultPolicy(t)
	for name, c := range personas {
		if got := p.IsAdmin(c); got != (name == "admin") {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !p.IsAdmin(Caller{Admin: true}) {
		t.Error("not without authentication")
	}
}

func TestExpand(t *testing.T) {
	for _, tt := range []struct{ roles, want string }{
		{"", ""},
		{"reader", "reader"},
		{"Member", "member reader"},
		{"manager member", "manager member reader"},
		{"ADMIN", "admin manager member reader"},
		{"service creator", "creator service"},
	} {
		if got := strings.Join(Expand(strings.Fields(tt.roles)), " "); got != tt.want {
			t.Errorf("%q expands to %q, want %q", tt.roles, got, tt.want)
		}
	}
}

func TestWho(t *testing.T) {
	p, err := New(map[string]string{
		"a": "role:x and role:y and user_id:%(user_id)s",
		"b": "rule:shared and role:x and not True:%(locked)s",
		"c": "True:%(shared)s and True:%(open)s",
		"d": "role:x or @",
		"e": "not (role:x or role:y)",
	})
	if err != nil {
		t.Fatal(err)
	}
	for rule, want := range map[string]string{
		"create_network":                     "admin, owner (member)",
		"create_network:shared":              "admin",
		"get_network":                        "admin, advsvc, everyone if external, everyone if shared, owner (reader), service",
		"create_subnet":                      "admin, network owner (member)",
		"create_port:binding:profile":        "service",
		"create_port:device_owner":           "admin, everyone unless device_owner matches ^network:, network owner (member), service",
		"create_security_group_rule":         "admin, security group owner (member)",
		"update_policy_bandwidth_limit_rule": "admin, parent owner (manager)",
		"create_rbac_policy:target_tenant":   "admin, everyone unless target_project is *",
		"get_flavor":                         "reader",
		"regular_user":                       "everyone",
		"context_with_global_access":         "nobody",
		"get_unheard_of":                     "admin, owner",

		"a": "user_id:%(user_id)s (x and y)",
		"b": "x if shared unless locked",
		"c": "everyone if shared if open",
		"d": "everyone",
		"e": "everyone unless role:x or role:y",
	} {
		if got := p.Who(rule); got != want {
			t.Errorf("%s: %q, want %q", rule, got, want)
		}
	}
}

// TestNoAllocations: a list asks for each object in it.
func TestNoAllocations(t *testing.T) {
	p, object := defaultPolicy(t), someonesPort
	for _, r := range p.Rules() {
		for name, c := range personas {
			if n := testing.AllocsPerRun(10, func() { p.Allows(r.Name, c, object) }); n > 0 {
				t.Errorf("%s for %s allocates %v times", r.Name, name, n)
			}
		}
	}
}

// someonesPort is a port on another project's network.
func someonesPort(name string) (string, bool) {
	switch name {
	case "project_id":
		return mine, true
	case "network:project_id":
		return theirs, true
	case "device_owner":
		return "network:dhcp", true
	}
	return "", false
}

func BenchmarkAllows(b *testing.B) {
	p, c := defaultPolicy(b), as(mine, "member")
	for _, rule := range []string{"get_port", "get_port:binding:vif_type", "get_network"} {
		b.Run(rule, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Allows(rule, c, someonesPort)
			}
		})
	}
}
