package access

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{"", "@"},
		{"@", "@"},
		{"!", "!"},
		{"role:a", "role:a"},
		{"((role:a))", "role:a"},
		{"role:a or role:b and role:c", "role:a or (role:b and role:c)"},
		{"role:a and role:b or role:c", "(role:a and role:b) or role:c"},
		{"role:a AND (role:b Or role:c)", "role:a and (role:b or role:c)"},
		{"(role:a or role:b) or (role:c or role:d)", "role:a or role:b or role:c or role:d"},
		{"not role:a and not not role:b", "not role:a and not not role:b"},
		{"not (role:a and role:b)", "not (role:a and role:b)"},
		{"( role:a )", "role:a"},
		{"(tenant_id:%(network:tenant_id)s)", "tenant_id:%(network:tenant_id)s"},
		{"is_admin:True", "rule:context_is_admin"},
		{"is_admin:False", "not rule:context_is_admin"},
		{"'public':%(visibility)s or True:%(shared)s", "'public':%(visibility)s or True:%(shared)s"},
	} {
		n, err := parse(tt.expr)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
		} else if got := n.String(); got != tt.want {
			t.Errorf("%q is read as %q, want %q", tt.expr, got, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for expr, want := range map[string]string{
		" ":                          "missing at the end",
		"role":                       "no check",
		"role:":                      "no check",
		":a":                         "no check",
		"'a b':c":                    "no check",
		"role:a role:b":              `"role:b" is not expected`,
		"role:a)":                    `")" is not expected`,
		"(role:a":                    "not closed",
		"()":                         `missing before ")"`,
		"role:a and":                 "missing at the end",
		"or role:a":                  `missing before "or"`,
		"role:a and or role:b":       `missing before "or"`,
		"not":                        "missing at the end",
		"colour:red":                 "a caller has no colour",
		"'a:b":                       "a caller has no 'a",
		"is_admin:1":                 "True or False",
		"project_id:%(x)d":           "neither",
		"project_id:%()s":            "neither",
		"project_id:%(x)s%(y)s":      "neither",
		"project_id:p%(x)s":          "neither",
		"field:networks":             "field:resource:attribute=value",
		"field:networks:shared":      "field:resource:attribute=value",
		"field:networks:=True":       "field:resource:attribute=value",
		"field:port:device_owner=~[": "missing closing ]",
	} {
		n, err := parse(expr)
		if err == nil {
			t.Errorf("%q is read as %q, want an error", expr, n)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want one that says %s", expr, err, want)
		}
	}
}

// TestChecks asks each kind of check.
func TestChecks(t *testing.T) {
	c := Caller{
		UserID: "u", UserName: "ann", UserDomainID: "ud", ProjectID: mine, ProjectName: "p", ProjectDomainID: "pd",
		SystemScope: true, Roles: []string{"member"}, ServiceRoles: []string{"service"},
	}
	object := target(map[string]string{
		"project_id": mine, "owner": "u", "shared": "True", "network:router:external": "True", "role": "Member",
		"device_owner": "network:dhcp", "n": "1",
	})
	for expr, want := range map[string]bool{
		"role:member": true, "role:MEMBER": true, "role:admin": false, "role:%(role)s": true, "role:%(none)s": false,
		"roles:member": true, "service_roles:service": true, "service_roles:member": false,
		"user_id:u": true, "user_id:%(owner)s": true, "user_name:ann": true, "user_domain_id:ud": true,
		"project_id:%(project_id)s": true, "project_id:%(tenant_id)s": true, "tenant_id:%(tenant_id)s": true,
		"project_name:p": true, "tenant_name:p": true, "project_domain_id:pd": true, "system_scope:all": true,
		"project_id:" + mine: true, "project_id:" + theirs: false, "domain_id:%(none)s": false,
		"True:%(shared)s": true, "'True':%(shared)s": true, `"True":%(shared)s`: true, "False:%(shared)s": false,
		"1:%(n)s": true, "'a':a": true, "'a':b": false,
		"field:policies:shared=True": true, "field:policies:shared=true": true, "field:policies:shared=False": false,
		"field:networks:router:external=True": true, "field:subnets:router:external=True": false,
		"field:port:device_owner=~^network:": true, "field:port:device_owner=~network": true,
		"field:port:device_owner=~dhcp": false, "field:port:none=~.*": false,
		"is_admin:True": false, "is_admin:False": true, "@": true, "!": false, "": true,
		"not role:admin and role:member": true, "not (role:admin or role:member)": false,
	} {
		p, err := New(map[string]string{"x": expr})
		if err != nil {
			t.Errorf("%q: %v", expr, err)
		} else if got := p.Allows("x", c, object); got != want {
			t.Errorf("%q: %v, want %v", expr, got, want)
		}
	}
}

// FuzzParse: whatever is read can be printed, and reads as the same again.
func FuzzParse(f *testing.F) {
	for _, table := range defaults {
		for _, d := range table {
			f.Add(d.expr)
		}
	}
	f.Add("not ((role:a or is_admin:False) AND 'x':%(y)s)) or @ and !")
	f.Add("field:port:device_owner=~^(a|b):x (")
	f.Fuzz(func(t *testing.T, expr string) {
		n, err := parse(expr)
		if err != nil {
			return
		}
		again, err := parse(n.String())
		if err != nil {
			t.Fatalf("%q prints as %q: %v", expr, n, err)
		}
		if !reflect.DeepEqual(n, again) {
			t.Fatalf("%q prints as %q, which reads as %q", expr, n, again)
		}
	})
}
