package client

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// cloudServer is a small Keystone and a Neutron with seven networks, of which it tells
// three a page.
type cloudServer struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string // of POST /v3/auth/tokens
	valid  string   // the token that is accepted
	logins int
}

func (s *cloudServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Openstack-Request-Id", "req-1")
	if r.URL.Path == "/identity/v3/auth/tokens" {
		s.login(w, r)
		return
	}
	if s.valid != "open" && r.Header.Get("X-Auth-Token") != s.valid {
		w.WriteHeader(401)
		fmt.Fprint(w, `{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}`)
		return
	}
	switch r.URL.Path {
	case "/net/v2.0/networks":
		s.networks(w, r)
	case "/net/v2.0/proxy":
		w.WriteHeader(502)
		fmt.Fprint(w, "<html>bad gateway</html>")
	case "/net/weft/v1/trace":
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error": "no port has it"}`)
	case "/identity/v3/projects/other", "/identity/v3/projects/twice":
		w.WriteHeader(404)
	case "/identity/v3/projects":
		fmt.Fprint(w, map[string]string{"other": `{"projects": [{"id": "p2", "name": "other"}]}`,
			"twice": `{"projects": [{"id": "p3"}, {"id": "p4"}]}`}[r.URL.Query().Get("name")])
	default:
		w.WriteHeader(404)
		fmt.Fprint(w, `{"NeutronError": {"type": "PortNotFound", "message": "Port x could not be found.", "detail": ""}}`)
	}
}

func (s *cloudServer) login(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.bodies = append(s.bodies, string(body))
	if strings.Contains(string(body), "wrong") {
		w.WriteHeader(401)
		fmt.Fprint(w, `{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}`)
		return
	}
	s.logins++
	s.valid = fmt.Sprintf("token-%d", s.logins)
	w.Header().Set("X-Subject-Token", s.valid)
	w.WriteHeader(201)
	fmt.Fprintf(w, `{"token": {"project": {"id": "p1", "name": "lab"}, "catalog": [
		{"type": "identity", "endpoints": []},
		{"type": "network", "endpoints": [
			{"interface": "internal", "region": "north", "url": "http://127.0.0.1:1"},
			{"interface": "public", "region": "south", "url": "http://127.0.0.1:1"},
			{"interface": "public", "region": "north", "region_id": "north", "url": "%s/net/v2.0/"}]}]}}`, s.URL)
}

func (s *cloudServer) networks(w http.ResponseWriter, r *http.Request) {
	var page []string
	from := 0
	_, _ = fmt.Sscan(r.URL.Query().Get("marker"), &from)
	if name := r.URL.Query().Get("name"); name != "" && name != "all" {
		fmt.Fprint(w, `{"networks": []}`)
		return
	}
	for i := from; i < min(from+3, 7); i++ {
		page = append(page, fmt.Sprintf(`{"id": "%d", "project_id": "p"}`, i))
	}
	links := ""
	if from+3 < 7 {
		// As behind a proxy that does not say who it is.
		links = fmt.Sprintf(`, "networks_links": [{"rel": "previous", "href": "x"}, {"rel": "next", "href": "http://wrong.example/v2.0/networks?marker=%d&name=%s"}]`,
			from+3, r.URL.Query().Get("name"))
	}
	fmt.Fprintf(w, `{"networks": [%s]%s}`, strings.Join(page, ","), links)
}

func startCloud(t *testing.T) *cloudServer {
	t.Helper()
	s := &cloudServer{valid: "open"}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// user is a client with a password.
func (s *cloudServer) user(t *testing.T, change func(*Cloud)) *Client {
	t.Helper()
	c := Cloud{Source: "cloud lab", AuthURL: s.URL + "/identity", Username: "alice", Password: "secret", ProjectName: "lab", Region: "north"}
	if change != nil {
		change(&c)
	}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	api, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

var networks = Collection{Path: "/v2.0/networks", Key: "networks", One: "network", Name: "name"}

func TestPagesAndTokens(t *testing.T) {
	s := startCloud(t)
	api := s.user(t, nil)
	for range 2 {
		all, err := api.List(t.Context(), networks.Path, networks.Key, url.Values{"name": {"all"}})
		if err != nil || len(all) != 7 {
			t.Fatalf("%d networks, %v", len(all), err)
		}
	}
	if s.logins != 1 {
		t.Errorf("%d tokens for two lists, want 1", s.logins)
	}
	s.mu.Lock()
	s.valid = "revoked"
	s.mu.Unlock()
	if _, err := api.List(t.Context(), networks.Path, networks.Key, nil); err != nil || s.logins != 2 {
		t.Errorf("after the token was revoked: %v, %d logins", err, s.logins)
	}
}

func TestCredentials(t *testing.T) {
	s := startCloud(t)
	for _, tc := range []struct {
		change func(*Cloud)
		want   string
	}{
		{nil, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"id":"default"},"name":"alice","password":"secret"}}},"scope":{"project":{"domain":{"id":"default"},"name":"lab"}}}}`},
		{func(c *Cloud) { c.UserID, c.ProjectID, c.AuthURL = "u1", "p1", c.AuthURL+"/v3/" }, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"u1","password":"secret"}}},"scope":{"project":{"id":"p1"}}}}`},
		{func(c *Cloud) { c.ProjectName, c.SystemScope = "", "all" }, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"id":"default"},"name":"alice","password":"secret"}}},"scope":{"system":{"all":true}}}}`},
		{func(c *Cloud) { c.ProjectName, c.DomainName = "", "d" }, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"id":"default"},"name":"alice","password":"secret"}}},"scope":{"domain":{"name":"d"}}}}`},
		{func(c *Cloud) { c.AuthType, c.Token = "v3token", "t1" }, `{"auth":{"identity":{"methods":["token"],"token":{"id":"t1"}},"scope":{"project":{"domain":{"id":"default"},"name":"lab"}}}}`},
		{func(c *Cloud) { c.ApplicationCredentialID, c.ApplicationCredentialSecret = "i", "s" }, `{"auth":{"identity":{"application_credential":{"id":"i","secret":"s"},"methods":["application_credential"]}}}`},
		{func(c *Cloud) { c.ApplicationCredentialName, c.ApplicationCredentialSecret = "n", "s" }, `{"auth":{"identity":{"application_credential":{"name":"n","secret":"s","user":{"domain":{"id":"default"},"name":"alice"}},"methods":["application_credential"]}}}`},
	} {
		if _, err := s.user(t, tc.change).List(t.Context(), networks.Path, networks.Key, nil); err != nil {
			t.Errorf("%s: %v", tc.want, err)
		}
		if got := s.bodies[len(s.bodies)-1]; got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	logins := len(s.bodies)
	s.valid = "open"
	for _, change := range []func(*Cloud){
		func(c *Cloud) { c.AuthType, c.Endpoint = "none", s.URL+"/net/" },
		func(c *Cloud) { c.AuthType, c.Token, c.Endpoint, c.AuthURL = "token", "t", s.URL+"/net/v2.0", "" },
	} {
		if _, err := s.user(t, change).List(t.Context(), networks.Path, networks.Key, nil); err != nil || len(s.bodies) != logins {
			t.Errorf("without Keystone: %v, %d requests to it", err, len(s.bodies)-logins)
		}
	}
}

// TestErrors: what goes wrong is said so that a person knows what to do.
func TestErrors(t *testing.T) {
	s := startCloud(t)
	get := func(path string) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error { return c.Do(ctx, http.MethodGet, path, nil, nil) }
	}
	find := func(ref string) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error {
			_, err := c.Find(ctx, networks, ref)
			return err
		}
	}
	for _, tc := range []struct {
		change func(*Cloud)
		do     func(context.Context, *Client) error
		want   string
	}{
		{nil, get("/v2.0/ports/x"), "neutron says: Port x could not be found. (PortNotFound, 404, req-1)"},
		{nil, get("/weft/v1/trace"), "neutron says: no port has it (404, req-1)"},
		{nil, get("/v2.0/proxy"), "neutron says: Bad Gateway (502, req-1)"},
		{nil, find("none"), `no network has the ID or name "none"`},
		{nil, find("all"), "7 networks are named \"all\"; give the ID of one:\n  0 (project p)\n  1 (project p)\n  2 (project p)\n  3 (project p)\n  4 (project p)\n  5 (project p)\n  6 (project p)"},
		{func(c *Cloud) { c.Password = "wrong" }, find("x"), "cloud lab: keystone says: The request you have made requires authentication. (401, req-1)\nThat is all it says when the user, the password or the project is wrong"},
		{func(c *Cloud) { c.Region = "east" }, find("x"), `cloud lab: keystone's catalog has the network service in region north, south, not in "east"`},
		{func(c *Cloud) { c.Interface = "admin" }, find("x"), `cloud lab: keystone's catalog has the network service with interface internal, public, not admin`},
		{func(c *Cloud) { c.AuthURL = "http://127.0.0.1:1" }, find("x"), "keystone does not answer at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused (the address is from cloud lab)"},
		{func(c *Cloud) { c.AuthType, c.Endpoint = "none", "http://127.0.0.1:1" }, find("x"), "neutron does not answer at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused (the address is from cloud lab)"},
	} {
		if err := tc.do(t.Context(), s.user(t, tc.change)); err == nil || err.Error() != tc.want {
			t.Errorf("got  %v\nwant %s", err, tc.want)
		}
	}
}

func TestProject(t *testing.T) {
	s := startCloud(t)
	api := s.user(t, nil)
	for ref, want := range map[string]string{"lab": "p1", "p1": "p1", "other": "p2", "twice": `2 projects are named "twice"`} {
		p, err := api.Project(t.Context(), ref)
		if got := fmt.Sprint(p.ID, err); !strings.Contains(got, want) {
			t.Errorf("project %s: %s, want %s", ref, got, want)
		}
	}
	if own, err := api.Own(t.Context()); err != nil || own.ID != "p1" {
		t.Errorf("own project %v %v", own, err)
	}
}

// TestCertificates: a server's certificate is checked, against cacert if there is one.
func TestCertificates(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"networks": []}`) }))
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(c Cloud) error {
		c.AuthType, c.Endpoint = "none", s.URL
		api, err := New(c)
		if err != nil {
			return err
		}
		_, err = api.List(t.Context(), networks.Path, networks.Key, nil)
		return err
	}
	var gone Unreachable
	if err := try(Cloud{}); !errors.As(err, &gone) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	if err := errors.Join(try(Cloud{CACert: ca}), try(Cloud{Insecure: true})); err != nil {
		t.Error(err)
	}
	if err := try(Cloud{CACert: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cacert that is not there: %v", err)
	}
}

// Keystone's tokens are opaque, and so are objects: what is not known is kept.
func TestRaw(t *testing.T) {
	s := startCloud(t)
	all, err := s.user(t, nil).List(t.Context(), networks.Path, networks.Key, nil)
	if err != nil || !slices.Equal(all[0], json.RawMessage(`{"id": "0", "project_id": "p"}`)) {
		t.Errorf("%s, %v", all, err)
	}
}
