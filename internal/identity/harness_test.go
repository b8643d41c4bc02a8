package identity

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"weft/internal/control"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// cloud is a running built-in identity and its admin.
type cloud struct {
	t        testing.TB
	local    *Local
	store    *store.Store
	client   *store.Client
	url      string
	password string
	ahead    atomic.Int64 // of the clock, as a time.Duration
	token    string
	ids      map[string]string // of the first identities, as project/admin
}

// answer is one response.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	text   string
	body   map[string]any
}

func start(t testing.TB) *cloud {
	t.Helper()
	client := storetest.Etcd(t)
	c := &cloud{t: t, client: client, store: storetest.Open(t, client), ids: map[string]string{}}
	local, err := New(Options{Store: c.store, Region: "RegionOne", NetworkURL: "http://:9696", HashCost: bcrypt.MinCost,
		Now: func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	c.local = local
	c.password = NewPassword()
	if made, err := local.Bootstrap(t.Context(), func() (string, error) { return c.password, nil }); err != nil || !made {
		t.Fatalf("bootstrap: %v, %v", made, err)
	}
	server := httptest.NewServer(local)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.token = c.login("admin", c.password, `{"project":{"name":"admin","domain":{"id":"default"}}}`)
	c.learn()
	return c
}

// learn notes the IDs of what is there.
func (c *cloud) learn() {
	c.t.Helper()
	for _, noun := range []string{"project", "role", "user", "domain"} {
		for _, o := range c.get("/v3/" + noun + "s").want(200).list(noun + "s") {
			c.ids[noun+"/"+o["name"].(string)] = o["id"].(string)
		}
	}
}

// do sends a request with the admin's token.
func (c *cloud) do(method, path, body string) answer {
	c.t.Helper()
	return c.as(c.token, method, path, body)
}

func (c *cloud) get(path string) answer { c.t.Helper(); return c.do("GET", path, "") }

// as sends a request with a token and more headers, given in pairs.
func (c *cloud) as(token, method, path, body string, headers ...string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := answer{t: c.t, status: resp.StatusCode, header: resp.Header, text: string(b)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && method != "HEAD" {
		d := json.NewDecoder(bytes.NewReader(b))
		if err := d.Decode(&a.body); err != nil {
			c.t.Fatalf("%s %s: %v: %s", method, path, err, b)
		}
	}
	return a
}

// auth is the body of a login by password in the default domain.
func auth(user, password, scope string) string {
	b, _ := json.Marshal(map[string]any{"methods": []string{"password"}, "password": map[string]any{
		"user": map[string]any{"name": user, "password": password, "domain": map[string]any{"id": "default"}}}})
	if scope != "" {
		scope = `,"scope":` + scope
	}
	return `{"auth":{"identity":` + string(b) + scope + `}}`
}

// login returns a token; the login must succeed.
func (c *cloud) login(user, password, scope string) string {
	c.t.Helper()
	return c.as("", "POST", "/v3/auth/tokens", auth(user, password, scope)).want(201).header.Get("X-Subject-Token")
}

// make makes an object and returns its ID.
func (c *cloud) make(noun, body string) string {
	c.t.Helper()
	return c.do("POST", "/v3/"+noun+"s", `{"`+noun+`":`+body+`}`).want(201).object(noun)["id"].(string)
}

// sound checks that the store is whole.
func (c *cloud) sound() {
	c.t.Helper()
	problems, err := control.Fsck(c.t.Context(), c.client)
	if err != nil || len(problems) > 0 {
		c.t.Errorf("fsck: %v, %v", problems, err)
	}
}

// member makes a user with the role member on a project of its own, and its token.
func (c *cloud) member(name string) (user, project, token string) {
	c.t.Helper()
	user = c.make("user", `{"name":"`+name+`","password":"pw-`+name+`"}`)
	project = c.make("project", `{"name":"`+name+`"}`)
	c.do("PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+c.ids["role/member"], "").want(204)
	return user, project, c.login(name, "pw-"+name, `{"project":{"id":"`+project+`"}}`)
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.text)
	}
	return a
}

func (a answer) object(noun string) map[string]any {
	a.t.Helper()
	o, ok := a.body[noun].(map[string]any)
	if !ok {
		a.t.Fatalf("no object %s: %s", noun, a.text)
	}
	return o
}

func (a answer) list(noun string) []map[string]any {
	a.t.Helper()
	l, ok := a.body[noun].([]any)
	if !ok {
		a.t.Fatalf("no list %s: %s", noun, a.text)
	}
	out := make([]map[string]any, len(l))
	for i := range l {
		out[i], _ = l[i].(map[string]any)
	}
	return out
}

// message is that of an error, which must have Keystone's form.
func (a answer) message() string {
	a.t.Helper()
	e := a.object("error")
	if e["code"] != float64(a.status) || e["title"] != http.StatusText(a.status) {
		a.t.Errorf("error %v with status %d", e, a.status)
	}
	m, _ := e["message"].(string)
	return m
}
