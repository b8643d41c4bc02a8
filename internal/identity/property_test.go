package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// TestRandomCalls: whatever is called in whatever order, nothing fails inside, and the
// store is whole.
func TestRandomCalls(t *testing.T) {
	c := start(t)
	rapid.Check(t, func(t *rapid.T) {
		pick := func(noun string) string {
			var ids []string
			for _, o := range c.get("/v3/" + noun + "s").want(200).list(noun + "s") {
				if id := o["id"].(string); id != c.ids["user/admin"] && id != c.ids["project/admin"] && id != c.ids["role/admin"] {
					ids = append(ids, id)
				}
			}
			return rapid.SampledFrom(append(ids, "nix")).Draw(t, noun)
		}
		name := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "member"}).Draw(t, "name") }
		do := func(method, path, body string) {
			if a := c.do(method, path, body); a.status >= 500 {
				t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.text)
			}
		}
		on := func() string {
			return rapid.SampledFrom([]string{"/v3/system", "/v3/projects/" + pick("project"), "/v3/domains/" + pick("domain")}).Draw(t, "on")
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(*rapid.T) {
				noun := rapid.SampledFrom([]string{"user", "project", "role", "domain"}).Draw(t, "noun")
				body := fmt.Sprintf(`{"name":%q}`, name())
				if noun == "user" || noun == "project" {
					body = fmt.Sprintf(`{"name":%q,"domain_id":%q}`, name(), pick("domain"))
				}
				do("POST", "/v3/"+noun+"s", `{"`+noun+`":`+body+`}`)
			},
			"rename": func(*rapid.T) {
				noun := rapid.SampledFrom([]string{"user", "project", "role", "domain"}).Draw(t, "noun")
				id := pick(noun)
				if id != "default" {
					do("PATCH", "/v3/"+noun+"s/"+id, fmt.Sprintf(`{%q:{"name":%q}}`, noun, name()))
				}
			},
			"delete": func(*rapid.T) {
				noun := rapid.SampledFrom([]string{"user", "project", "role", "domain"}).Draw(t, "noun")
				id := pick(noun)
				if noun == "domain" && id != "default" {
					do("PATCH", "/v3/domains/"+id, `{"domain":{"enabled":false}}`)
				}
				do("DELETE", "/v3/"+noun+"s/"+id, "")
			},
			"grant": func(*rapid.T) { do("PUT", on()+"/users/"+pick("user")+"/roles/"+pick("role"), "") },
			"take":  func(*rapid.T) { do("DELETE", on()+"/users/"+pick("user")+"/roles/"+pick("role"), "") },
		})
		problems, err := control.Fsck(context.Background(), c.client)
		if err != nil || len(problems) > 0 {
			t.Fatalf("fsck: %v, %v", problems, err)
		}
	})
	if !c.valid(c.token) {
		t.Error("the admin, who was never touched, lost its token")
	}
}

// TestManyAtOnce lets two servers on one etcd make and delete the same things.
func TestManyAtOnce(t *testing.T) {
	c := start(t)
	second, err := New(Options{Store: storetest.Open(t, c.client), Region: "RegionOne", NetworkURL: "http://:9696", HashCost: bcrypt.MinCost, Shared: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(second)
	t.Cleanup(server.Close)
	if made, err := second.Bootstrap(t.Context(), nil); err != nil || made {
		t.Fatalf("bootstrap again: %v, %v", made, err)
	}
	urls := []string{c.url, server.URL}
	role := c.ids["role/member"]
	var created [2]int
	var wg sync.WaitGroup
	for i := range urls {
		wg.Go(func() {
			for n := range 20 {
				post := func(noun string) string {
					body := fmt.Sprintf(`{%q:{"name":"x%d"}}`, noun, n)
					status, o := request(t, urls[i], c.token, "POST", "/v3/"+noun+"s", body)
					if status != http.StatusCreated {
						if status != http.StatusConflict {
							t.Errorf("create: %d %v", status, o)
						}
						return ""
					}
					id, _ := o[noun].(map[string]any)["id"].(string)
					return id
				}
				user, project := post("user"), post("project")
				if user == "" || project == "" {
					continue
				}
				created[i]++
				request(t, urls[1-i], c.token, "PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+role, "")
				request(t, urls[i], c.token, "DELETE", "/v3/projects/"+project, "")
				request(t, urls[1-i], c.token, "DELETE", "/v3/users/"+user, "")
			}
		})
	}
	wg.Wait()
	t.Log("created by each:", created)
	c.sound()
	// A user made at one server logs in at the other.
	c.make("user", `{"name":"both","password":"pw-both"}`)
	if status, o := request(t, server.URL, "", "POST", "/v3/auth/tokens", auth("both", "pw-both", "")); status != 201 {
		t.Errorf("%d %v", status, o)
	}
}

func request(t *testing.T, url, token, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	req.Header.Set("X-Auth-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	var o map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&o) // a 204 has none
	if resp.StatusCode >= 500 {
		t.Errorf("%s %s: %d %v", method, path, resp.StatusCode, o)
	}
	return resp.StatusCode, o
}

// fill makes users straight in the store, with two roles each in one of some projects.
func (c *cloud) fill(users int) {
	c.t.Helper()
	for i := range users {
		project := model.ProjectID(fmt.Sprintf("%032x", 1_000_000+i%100))
		txn := c.store.Txn()
		if i < 100 {
			store.Projects.Create(txn, &model.Project{ID: project, DomainID: "default", Name: fmt.Sprint("p", i), Enabled: true})
		}
		u := &model.User{ID: model.UserID(fmt.Sprintf("%032x", i)), DomainID: "default", Name: fmt.Sprint("u", i), Enabled: true}
		store.Users.Create(txn, u)
		for _, name := range []string{"member", "manager"} {
			role, on := model.RoleID(c.ids["role/"+name]), model.Target{Project: project}
			store.Assignments.Create(txn, &model.Assignment{ID: model.AssignmentID(u.ID, role, on), UserID: u.ID, RoleID: role, Target: on})
		}
		if _, err := txn.Commit(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// BenchmarkAuthenticate is what each request to the API pays, in a cloud of 1000 users.
func BenchmarkAuthenticate(b *testing.B) {
	c := start(b)
	c.fill(1000)
	now := c.local.now()
	var token string
	var err error
	c.store.View(func(r store.Reader) {
		token, err = claims{User: model.UserID(fmt.Sprintf("%032x", 999)), Target: model.Target{Project: model.ProjectID(fmt.Sprintf("%032x", 1_000_099))},
			Methods: byPassword, Issued: now, Expires: now.Add(time.Hour), Audit: newAuditID()}.sign(newestKey(r))
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.local.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
