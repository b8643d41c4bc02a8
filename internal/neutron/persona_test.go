package neutron

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// personas is an Authenticator whose tokens are ROLE or ROLE@PROJECT: "member@p2". The
// project is p1 unless said otherwise.
type personas struct{}

func (personas) Authenticate(_ context.Context, token string) (access.Caller, error) {
	role, project, ok := strings.Cut(token, "@")
	if !ok {
		project = "p1"
	}
	switch role {
	case "admin", "manager", "member", "reader", "service":
		return access.Caller{UserID: token, ProjectID: model.ProjectID(project), Roles: access.Expand([]string{role})}, nil
	}
	return access.Caller{}, access.ErrUnauthorized
}

// startPersonas is an API at which requests say who they are from: a.as.
func startPersonas(t testing.TB) *api { return servePersonas(t, storetest.New(t)) }

func servePersonas(t testing.TB, s *store.Store) *api {
	t.Helper()
	cfg := control.DefaultConfig()
	cfg.FlatNetworks = []string{"physnet1"}
	cfg.VLANRanges = map[string][2]int{"physnet1": {100, 199}}
	client := storetest.Etcd(t)
	c := control.New(control.Options{Store: storetest.Open(t, client), Config: cfg})
	h := New(Options{Control: c, Authenticator: personas{}, AuthURL: "http://keystone.test/v3"})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &api{t: t, url: srv.URL, control: c, handler: h, http: srv.Client(), client: client}
}

// as sends a request as a persona and returns "status Type: message", or "status" when it went well.
func (a *api) as(who, method, path string, body any) (string, answer) {
	a.t.Helper()
	r := a.do(method, path, body, "X-Auth-Token", who)
	if r.status < 300 {
		return strings.TrimSpace(strings.Split(r.fault(), " ")[0]), r
	}
	return r.fault(), r
}

type m = map[string]any

func TestPersonas(t *testing.T) {
	a := startPersonas(t)
	_, r := a.as("member", "POST", "/v2.0/networks", m{"network": m{"name": "mine", "shared": false}})
	mine := id(r.object())
	_, r = a.as("admin@p9", "POST", "/v2.0/networks", m{"network": m{"name": "theirs"}})
	theirs := id(r.object())
	_, r = a.as("admin@p9", "POST", "/v2.0/networks", m{"network": m{"name": "all", "shared": true}})
	all := id(r.object())
	for _, c := range []struct {
		who, method, path string
		body              any
		want              string
	}{
		{"nobody", "GET", "/v2.0/networks", nil, "401 <nil>: <nil>"},
		{"", "GET", "/v2.0/extensions", nil, "401 <nil>: <nil>"},
		{"", "GET", "/", nil, "200"},
		{"", "GET", "/healthcheck", nil, "200"},
		{"reader", "GET", "/v2.0/networks/" + mine, nil, "200"},
		{"reader", "GET", "/v2.0/networks/" + all, nil, "200"},
		{"reader", "GET", "/v2.0/networks/" + theirs, nil, "404 NetworkNotFound: Network " + theirs + " could not be found."},
		{"reader", "PUT", "/v2.0/networks/" + mine, m{"network": m{"name": "x"}}, "403 PolicyNotAuthorized: rule:update_network is disallowed by policy"},
		{"reader", "POST", "/v2.0/networks", m{"network": m{}}, "403 PolicyNotAuthorized: rule:create_network is disallowed by policy"},
		{"member", "DELETE", "/v2.0/networks/" + theirs, nil, "404 NetworkNotFound: Network " + theirs + " could not be found."},
		{"member", "DELETE", "/v2.0/networks/" + all, nil, "403 PolicyNotAuthorized: rule:delete_network is disallowed by policy"},
		{"member", "PUT", "/v2.0/networks/" + mine, m{"network": m{"shared": true}},
			"403 PolicyNotAuthorized: (rule:update_network and rule:update_network:shared) is disallowed by policy"},
		{"member", "POST", "/v2.0/networks", m{"network": m{"router:external": true}},
			"403 PolicyNotAuthorized: (rule:create_network and rule:create_network:router:external) is disallowed by policy"},
		{"member", "POST", "/v2.0/networks", m{"network": m{"provider:network_type": "vlan"}},
			"403 PolicyNotAuthorized: (rule:create_network and rule:create_network:provider:network_type) is disallowed by policy"},
		{"member", "POST", "/v2.0/networks", m{"network": m{"project_id": "p2"}},
			"400 HTTPBadRequest: Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges"},
		{"member", "POST", "/v2.0/ports", m{"port": m{"network_id": mine, "binding:host_id": "h"}},
			"403 PolicyNotAuthorized: (rule:create_port and rule:create_port:binding:host_id) is disallowed by policy"},
		{"admin", "PUT", "/v2.0/networks/" + mine, m{"network": m{"description": "seen"}}, "200"},
		{"member", "GET", "/v2.0/quotas/p1", nil, "200"},
		{"member", "GET", "/v2.0/quotas/p2", nil, "403 AdminRequired: User does not have admin privileges: Only admin is authorized to access quotas for another tenant."},
		{"member", "PUT", "/v2.0/quotas/p1", m{"quota": m{"port": 9}}, "403 AdminRequired: User does not have admin privileges: Only admin is authorized to access quotas for another tenant."},
	} {
		if got, _ := a.as(c.who, c.method, c.path, c.body); got != c.want {
			t.Errorf("%s %s %s:\n got %s\nwant %s", c.who, c.method, c.path, got, c.want)
		}
	}
	_, r = a.as("member", "GET", "/v2.0/networks?sort_key=name&sort_dir=asc", nil)
	if l := r.list(); len(l) != 2 || l[0]["name"] != "all" || l[1]["name"] != "mine" {
		t.Errorf("a member sees %v", l)
	} else if _, has := l[1]["provider:network_type"]; has {
		t.Error("a member sees how its network is realised")
	}
	_, r = a.as("admin", "GET", "/v2.0/networks", nil)
	if l := r.list(); len(l) != 3 || l[0]["provider:network_type"] != "vxlan" {
		t.Errorf("an administrator sees %v", l)
	}
	if got := a.do("GET", "/v2.0/networks", nil).header.Get("WWW-Authenticate"); got != `Keystone uri="http://keystone.test/v3"` {
		t.Errorf("WWW-Authenticate: %s", got)
	}
}

func TestQuotas(t *testing.T) {
	a := startPersonas(t)
	step := func(who, method, path string, body any, want string) answer {
		t.Helper()
		got, r := a.as(who, method, path, body)
		if got != want {
			t.Errorf("%s %s %s:\n got %s\nwant %s", who, method, path, got, want)
		}
		return r
	}
	defaults := step("admin", "GET", "/v2.0/quotas/p1/default", nil, "200").text
	if got := step("admin", "GET", "/v2.0/quotas/p1", nil, "200").text; got != defaults {
		t.Errorf("got %s, want the defaults %s", got, defaults)
	}
	step("admin", "DELETE", "/v2.0/quotas/p1", nil, "404 TenantQuotaNotFound: Quota for project p1 could not be found.")
	step("admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"network": 1, "port": -1}}, "200")
	step("admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"subnet": 7}}, "200")
	step("admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"network": -2}}, "400 HTTPBadRequest: Invalid input for network. Reason: '-2' is too small - must be at least '-1'.")
	step("admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"nonsense": 1}}, "400 HTTPBadRequest: Unrecognized attribute(s) 'nonsense'")
	step("member", "POST", "/v2.0/networks", m{"network": m{}}, "201")
	step("member", "POST", "/v2.0/networks", m{"network": m{}}, "409 OverQuota: Quota exceeded for resources: ['network'].")
	step("member", "POST", "/v2.0/networks", m{"networks": []m{{}, {}}}, "409 OverQuota: Quota exceeded for resources: ['network'].")
	step("admin", "PUT", "/v2.0/quotas/p1", m{"quota": m{"network": 0, "check_limit": true}},
		"409 InvalidQuotaValue: Change would make usage less than 0 for the following resources: ['network'].")
	q := step("member", "GET", "/v2.0/quotas/p1/details.json", nil, "200").object()
	if n := q["network"].(m); n["limit"] != 1.0 || n["used"] != 1.0 || n["reserved"] != 0.0 {
		t.Errorf("details: %v", n)
	}
	rows := step("admin", "GET", "/v2.0/quotas", nil, "200").list()
	if len(rows) != 1 || rows[0]["project_id"] != "p1" || rows[0]["network"] != 1.0 || rows[0]["port"] != -1.0 || rows[0]["subnet"] != 7.0 {
		t.Errorf("list: %v", rows)
	}
	step("admin", "DELETE", "/v2.0/quotas/p1", nil, "204")
	if got := step("admin", "GET", "/v2.0/quotas/p1", nil, "200").text; got != defaults {
		t.Errorf("got %s, want the defaults %s", got, defaults)
	}
}
