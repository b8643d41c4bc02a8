package neutron

import (
	"regexp"
	"strings"
	"testing"
)

func TestDiscovery(t *testing.T) {
	a := startAPI(t)
	for _, c := range []struct {
		method, path string
		status       int
		contains     string
	}{
		{"GET", "/", 200, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"` + a.url + `/v2.0/"}]}]}`},
		{"GET", "/v2.0/", 200, `{"name":"port","collection":"ports","links":[{"rel":"self","href":"` + a.url + `/v2.0/ports"}]}`},
		{"GET", "/healthcheck", 200, `OK`},
		{"GET", "/v2.0", 404, `"HTTPNotFound"`},
		{"GET", "/v2.0/nonsense", 404, `{"NeutronError":{"type":"HTTPNotFound","message":"The resource could not be found.","detail":""}}`},
		{"GET", "/nonsense", 404, `"HTTPNotFound"`},
		{"GET", "/v2.0//networks", 404, `"HTTPNotFound"`},
		{"GET", "/v2.0/../v2.0/networks", 404, `"HTTPNotFound"`},
		{"GET", "/v2.0/networks/x/y", 404, `"HTTPNotFound"`},
		{"GET", "/v2.0/extensions/provider", 200, `"alias":"provider"`},
		{"GET", "/v2.0/extensions/hostnames", 404, `Extension with alias hostnames does not exist`},
		{"POST", "/v2.0/extensions", 404, `"HTTPNotFound"`},
		{"DELETE", "/v2.0/extensions/provider", 404, `"HTTPNotFound"`},
		{"PATCH", "/v2.0/networks/x", 405, `"HTTPMethodNotAllowed"`},
		{"POST", "/v2.0/networks/x", 405, `"HTTPMethodNotAllowed"`},
		{"PUT", "/v2.0/networks", 405, `"HTTPMethodNotAllowed"`},
		{"DELETE", "/v2.0/networks", 405, `"HTTPMethodNotAllowed"`},
		{"POST", "/v2.0/agents", 405, `"HTTPMethodNotAllowed"`},
		{"POST", "/", 405, `"HTTPMethodNotAllowed"`},
		{"GET", "/v2.0/networks/my%2Fname", 404, `Network my/name could not be found.`},
		{"DELETE", "/v2.0/ports/web", 404, `Port web could not be found.`},
		{"GET", "/v2.0/agents/x", 404, `Agent x could not be found.`},
		{"GET", "/v2.0/networks/x?bogus=1", 400, `['bogus'] is invalid attribute for filtering`},
	} {
		r := a.do(c.method, c.path, nil)
		if r.status != c.status || !strings.Contains(r.text, c.contains) {
			t.Errorf("%s %s: %d %s; want %d with %s", c.method, c.path, r.status, r.text, c.status, c.contains)
		}
		if rid := r.header.Get("X-Openstack-Request-Id"); !regexp.MustCompile(`^req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(rid) {
			t.Errorf("%s %s: request ID %q", c.method, c.path, rid)
		}
		if ct := r.header.Get("Content-Type"); c.path != "/healthcheck" && ct != "application/json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, ct)
		}
	}
}

func TestForwardedLinks(t *testing.T) {
	a := startAPI(t)
	r := a.do("GET", "/", nil, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "cloud.example.org", "X-Forwarded-Prefix", "/network/")
	if !strings.Contains(r.text, `"https://cloud.example.org/network/v2.0/"`) {
		t.Error(r.text)
	}
}

func TestBodies(t *testing.T) {
	a := startAPI(t)
	a.handler.maxBody = 2000
	network := id(a.must(201, "POST", "/v2.0/networks", `{"network":{}}`))
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v2.0/networks", `{"network":`, "400 MalformedRequestBody: Malformed request body: Cannot understand JSON."},
		{"POST", "/v2.0/networks", `{"network":{"name":"` + strings.Repeat("x", 3000) + `"}}`, "413 HTTPRequestEntityTooLarge: Request is too large."},
		{"DELETE", "/v2.0/networks/" + network, `{}`, "400 HTTPBadRequest: Request body is not supported in DELETE."},
		{"PUT", "/v2.0/networks/" + network, `{"networks":[{"name":"x"}]}`, "400 HTTPBadRequest: Bulk operation not supported"},
		{"PUT", "/v2.0/networks/" + network, ``, "400 HTTPBadRequest: Unable to find 'network' in request body"},
		{"PUT", "/v2.0/networks/nobody", `{"network":{"name":"x"}}`, "404 NetworkNotFound: Network nobody could not be found."},
	} {
		if got := a.do(c.method, c.path, c.body).fault(); got != c.want {
			t.Errorf("%s %s %.40s: got %s, want %s", c.method, c.path, c.body, got, c.want)
		}
	}
	if r := a.do("DELETE", "/v2.0/networks/"+network, nil); r.status != 204 || r.text != "" {
		t.Errorf("DELETE: %d %q", r.status, r.text)
	}
}

func TestRevisionIfMatch(t *testing.T) {
	a := startAPI(t)
	n := a.must(201, "POST", "/v2.0/networks", `{"network":{"name":"n"}}`)
	path := "/v2.0/networks/" + id(n)
	if n["revision_number"] != 1.0 {
		t.Errorf("revision_number %v, want 1", n["revision_number"])
	}
	n = a.must(200, "PUT", path, `{"network":{"name":"m"}}`, "If-Match", "revision_number=1")
	if n["revision_number"] != 2.0 || n["name"] != "m" {
		t.Errorf("got %v", n)
	}
	for _, c := range []struct{ header, want string }{
		{"revision_number=1", "412 HTTPPreconditionFailed: Constrained to 1, but current revision is 2"},
		{"revision_number=x", "400 HTTPBadRequest: Invalid If-Match header: expected revision_number=N and not 'revision_number=x'"},
		{"etag", "400 HTTPBadRequest: Invalid If-Match header: expected revision_number=N and not 'etag'"},
	} {
		if got := a.do("PUT", path, `{"network":{"name":"x"}}`, "If-Match", c.header).fault(); got != c.want {
			t.Errorf("PUT %s: got %s, want %s", c.header, got, c.want)
		}
		if got := a.do("DELETE", path, nil, "If-Match", c.header).fault(); got != c.want {
			t.Errorf("DELETE %s: got %s, want %s", c.header, got, c.want)
		}
	}
	if got := a.must(200, "GET", path, nil)["name"]; got != "m" {
		t.Errorf("name %v after refused changes", got)
	}
	if r := a.do("DELETE", path, nil, "If-Match", `"revision_number=2"`); r.status != 204 {
		t.Error(r.text)
	}
}

func TestProject(t *testing.T) {
	a := startAPI(t)
	for _, c := range []struct{ header, body, want string }{
		{"", `{"network":{}}`, "fake_project_id"},
		{"p1", `{"network":{}}`, "p1"},
		{"p1", `{"network":{"project_id":"p2"}}`, "p2"},
		{"", `{"network":{"tenant_id":"p3"}}`, "p3"},
	} {
		n := a.must(201, "POST", "/v2.0/networks", c.body, "X-Project-Id", c.header)
		if n["project_id"] != c.want || n["tenant_id"] != c.want {
			t.Errorf("%s %s: got %v and %v, want %s", c.header, c.body, n["project_id"], n["tenant_id"], c.want)
		}
	}
}

// TestNameOrID is how the SDK looks for something that may be a name or an ID.
func TestNameOrID(t *testing.T) {
	a := startAPI(t)
	n := a.must(201, "POST", "/v2.0/networks", `{"network":{"name":"demo"}}`)
	if r := a.do("GET", "/v2.0/networks/demo", nil); r.status != 404 {
		t.Errorf("by name: %d", r.status)
	}
	l := a.do("GET", "/v2.0/networks?name=demo", nil).list()
	if len(l) != 1 || id(l[0]) != id(n) {
		t.Errorf("?name=demo: %v", l)
	}
}

func TestPagesOfNetworks(t *testing.T) {
	a := startAPI(t)
	for _, name := range []string{"c", "a", "e", "b", "d"} {
		a.must(201, "POST", "/v2.0/networks", `{"network":{"name":"`+name+`"}}`)
	}
	var names []string
	path := "/v2.0/networks?sort_key=name&sort_dir=desc&limit=2&fields=name&fields=id"
	for range 5 {
		r := a.do("GET", path, nil)
		for _, n := range r.list() {
			names = append(names, n["name"].(string))
		}
		path = ""
		links, _ := r.body["networks_links"].([]any)
		for _, l := range links {
			if m := l.(map[string]any); m["rel"] == "next" {
				path = strings.TrimPrefix(m["href"].(string), a.url)
			}
		}
		if path == "" {
			break
		}
	}
	if got := strings.Join(names, ""); got != "edcba" {
		t.Errorf("pages gave %s", got)
	}
}
