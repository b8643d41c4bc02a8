package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// valid reports whether a token is good for anything at present.
func (c *cloud) valid(token string) bool {
	c.t.Helper()
	_, err := c.local.Authenticate(c.t.Context(), token)
	if err != nil && !errors.Is(err, access.ErrUnauthorized) {
		c.t.Fatal(err)
	}
	return err == nil
}

func TestLogin(t *testing.T) {
	c := start(t)
	user, project, _ := c.member("joe")
	c.do("PATCH", "/v3/users/"+user, `{"user":{"default_project_id":"`+project+`"}}`).want(200)
	c.make("user", `{"name":"keyless"}`)
	off := c.make("project", `{"name":"off","enabled":false}`)
	c.do("PUT", "/v3/projects/"+off+"/users/"+user+"/roles/"+c.ids["role/member"], "").want(204)
	byToken := func(scope string) string {
		return `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + c.token + `"}},"scope":` + scope + `}}`
	}
	for name, k := range map[string]struct {
		body   string
		status int
		want   string // in the body
	}{
		"project by name":         {auth("joe", "pw-joe", `{"project":{"name":"joe","domain":{"name":"Default"}}}`), 201, `"project":{"domain":{"id":"default","name":"Default"},"id":"` + project + `"`},
		"project by id":           {auth("joe", "pw-joe", `{"project":{"id":"`+project+`"}}`), 201, `"is_domain":false`},
		"default project":         {auth("joe", "pw-joe", ""), 201, `"id":"` + project},
		"unscoped":                {auth("joe", "pw-joe", `"unscoped"`), 201, `"methods":["password"],"user"`},
		"unscoped object":         {auth("joe", "pw-joe", `{"unscoped":{}}`), 201, `"issued_at"`},
		"no default project":      {auth("admin", c.password, ""), 201, `"issued_at"`},
		"system":                  {auth("admin", c.password, `{"system":{"all":true}}`), 201, `"system":{"all":true}`},
		"by token":                {byToken(`{"system":{"all":true}}`), 201, `"methods":["password","token"]`},
		"token rescoped away":     {byToken(`"unscoped"`), 201, `"audit_ids":`},
		"no role on domain":       {auth("admin", c.password, `{"domain":{"id":"default"}}`), 401, "requires authentication"},
		"no role on project":      {auth("joe", "pw-joe", `{"project":{"id":"`+c.ids["project/admin"]+`"}}`), 401, "requires"},
		"no role on system":       {auth("joe", "pw-joe", `{"system":{"all":true}}`), 401, "requires"},
		"no such project":         {auth("joe", "pw-joe", `{"project":{"name":"nix","domain":{"id":"default"}}}`), 401, "requires"},
		"no such domain":          {auth("joe", "pw-joe", `{"domain":{"name":"nix"}}`), 401, "requires"},
		"disabled project":        {auth("joe", "pw-joe", `{"project":{"id":"`+off+`"}}`), 401, "requires"},
		"wrong password":          {auth("joe", "nix", ""), 401, "requires"},
		"no such user":            {auth("nix", "nix", ""), 401, "requires"},
		"user without password":   {auth("keyless", "", ""), 401, "requires"},
		"empty password":          {auth("joe", "", ""), 401, "requires"},
		"bad token":               {`{"auth":{"identity":{"methods":["token"],"token":{"id":"nix"}}}}`, 401, "requires"},
		"no such method":          {`{"auth":{"identity":{"methods":["oauth1"]}}}`, 401, "requires"},
		"no method":               {`{"auth":{"identity":{"methods":[]}}}`, 400, "methods"},
		"method without data":     {`{"auth":{"identity":{"methods":["password"]}}}`, 400, "password"},
		"user without domain":     {`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"joe","password":"x"}}}}}`, 400, "domain"},
		"no identity":             {`{"auth":{}}`, 400, "identity"},
		"nothing":                 {`{}`, 400, "auth"},
		"no JSON":                 {`{`, 400, "JSON"},
		"null":                    {`null`, 400, "auth"},
		"two scopes":              {auth("joe", "pw-joe", `{"unscoped":{},"system":{"all":true}}`), 400, "scope"},
		"odd scope":               {auth("joe", "pw-joe", `7`), 400, "scope"},
		"project without domain":  {auth("joe", "pw-joe", `{"project":{"name":"joe"}}`), 400, "domain"},
		"trust":                   {auth("joe", "pw-joe", `{"OS-TRUST:trust":{"id":"x"}}`), 400, "trusts"},
		"system that is not all":  {auth("joe", "pw-joe", `{"system":{}}`), 400, "all"},
		"credential of nobody":    {`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"nix","secret":"x"}}}}`, 401, "requires"},
		"credential without user": {`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"name":"nix","secret":"x"}}}}`, 400, "user"},
	} {
		a := c.as("", "POST", "/v3/auth/tokens", k.body)
		if a.status != k.status || !strings.Contains(a.text, k.want) {
			t.Errorf("%s: %d, want %d with %s: %s", name, a.status, k.status, k.want, a.text)
		}
		if a.status != 201 {
			a.message()
		}
		if h := a.header.Get("WWW-Authenticate"); (h != "") != (a.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", name, h)
		}
		if token := a.header.Get("X-Subject-Token"); (a.status == 201) != (token != "" && c.valid(token)) {
			t.Errorf("%s: token %q", name, token)
		}
	}
}

// TestTokenShape holds a token's body to what Keystone's has.
func TestTokenShape(t *testing.T) {
	c := start(t)
	a := c.as("", "POST", "/v3/auth/tokens", auth("admin", c.password, `{"project":{"name":"admin","domain":{"id":"default"}}}`)).want(201)
	tok := a.object("token")
	var roles []string
	for _, r := range tok["roles"].([]any) {
		roles = append(roles, r.(map[string]any)["name"].(string))
	}
	if fmt.Sprint(roles) != "[admin manager member reader]" {
		t.Errorf("roles %v", roles)
	}
	for _, at := range []string{"issued_at", "expires_at"} {
		if _, err := time.Parse("2006-01-02T15:04:05.000000Z", tok[at].(string)); err != nil {
			t.Error(err)
		}
	}
	types := map[string]string{}
	for _, s := range tok["catalog"].([]any) {
		service := s.(map[string]any)
		endpoints := service["endpoints"].([]any)
		if len(endpoints) != 3 {
			t.Errorf("endpoints: %v", endpoints)
		}
		e := endpoints[0].(map[string]any)
		if e["interface"] != "public" || e["region_id"] != "RegionOne" || e["region"] != "RegionOne" {
			t.Errorf("endpoint %v", e)
		}
		types[service["type"].(string)] = e["url"].(string)
	}
	if want := map[string]string{"identity": c.url + "/v3", "network": "http://127.0.0.1:9696"}; !reflect.DeepEqual(types, want) {
		t.Errorf("catalog %v, want %v", types, want)
	}
	if a := c.as("", "POST", "/v3/auth/tokens?nocatalog", auth("admin", c.password, `{"system":{"all":true}}`)).want(201); a.object("token")["catalog"] != nil {
		t.Error(a.text)
	}
	again := c.as(c.token, "GET", "/v3/auth/tokens", "", "X-Subject-Token", a.header.Get("X-Subject-Token")).want(200)
	if !reflect.DeepEqual(again.body, a.body) {
		t.Errorf("validated:\n%s\nissued:\n%s", again.text, a.text)
	}
}

// TestTokenEnds goes through all that voids a token.
func TestTokenEnds(t *testing.T) {
	c := start(t)
	for name, end := range map[string]func(user, project, token string){
		"revoked by its bearer": func(_, _, token string) {
			c.as(token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token).want(204)
		},
		"revoked by an admin": func(_, _, token string) {
			c.as(c.token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token).want(204)
		},
		"user disabled": func(user, _, _ string) { c.do("PATCH", "/v3/users/"+user, `{"user":{"enabled":false}}`).want(200) },
		"user disabled for a moment": func(user, _, _ string) {
			c.do("PATCH", "/v3/users/"+user, `{"user":{"enabled":false}}`).want(200)
			c.do("PATCH", "/v3/users/"+user, `{"user":{"enabled":true}}`).want(200)
		},
		"user deleted":    func(user, _, _ string) { c.do("DELETE", "/v3/users/"+user, "").want(204) },
		"project deleted": func(_, project, _ string) { c.do("DELETE", "/v3/projects/"+project, "").want(204) },
		"project disabled": func(_, project, _ string) {
			c.do("PATCH", "/v3/projects/"+project, `{"project":{"enabled":false}}`).want(200)
		},
		"role taken": func(user, project, _ string) {
			c.do("DELETE", "/v3/projects/"+project+"/users/"+user+"/roles/"+c.ids["role/member"], "").want(204)
		},
		"password set by an admin": func(user, _, _ string) {
			c.do("PATCH", "/v3/users/"+user, `{"user":{"password":"other"}}`).want(200)
		},
		"password changed": func(user, _, _ string) {
			var u struct{ User struct{ Name string } }
			_ = json.Unmarshal([]byte(c.get("/v3/users/"+user).want(200).text), &u)
			c.as("", "POST", "/v3/users/"+user+"/password", `{"user":{"password":"other","original_password":"pw-`+u.User.Name+`"}}`).want(204)
		},
	} {
		user, project, token := c.member(strings.ReplaceAll(name, " ", "-"))
		if !c.valid(token) {
			t.Errorf("%s: not valid from the start", name)
		}
		end(user, project, token)
		if c.valid(token) {
			t.Errorf("%s: the token is still good", name)
		}
		c.as(token, "GET", "/v3/auth/projects", "").want(401)
		c.as(c.token, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token).want(404)
	}
	_, _, token := c.member("late")
	c.ahead.Store(int64(DefaultLifetime + time.Second))
	if c.valid(token) || c.valid(c.token) {
		t.Error("an expired token is good")
	}
}

// TestChain: a token for a token ends with the first, names it, and lives on its own.
func TestChain(t *testing.T) {
	c := start(t)
	_, project, token := c.member("joe")
	a := c.as("", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"`+token+`"}},"scope":{"project":{"id":"`+project+`"}}}}`).want(201)
	first := c.as(token, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token).want(200).object("token")
	tok := a.object("token")
	audits := tok["audit_ids"].([]any)
	if tok["expires_at"] != first["expires_at"] || len(audits) != 2 || audits[1] != first["audit_ids"].([]any)[0] {
		t.Errorf("%s after %v", a.text, first)
	}
	second := a.header.Get("X-Subject-Token")
	c.as(token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token).want(204)
	if c.valid(token) || !c.valid(second) {
		t.Error("to revoke one token voids that one")
	}
}

func TestCaller(t *testing.T) {
	c := start(t)
	user, project, token := c.member("joe")
	got, err := c.local.Authenticate(t.Context(), token)
	want := access.Caller{UserID: user, UserName: "joe", UserDomainID: "default", ProjectID: model.ProjectID(project), ProjectName: "joe",
		ProjectDomainID: "default", Roles: []string{"member", "reader"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	got, err = c.local.Authenticate(t.Context(), c.login("admin", c.password, `{"system":{"all":true}}`))
	if err != nil || !got.SystemScope || got.ProjectID != "" || !got.Has("admin") || got.Admin {
		t.Errorf("%+v, %v", got, err)
	}
	role := c.make("role", `{"name":"Swift Operator"}`)
	c.do("PUT", "/v3/domains/default/users/"+user+"/roles/"+role, "").want(204)
	got, err = c.local.Authenticate(t.Context(), c.login("joe", "pw-joe", `{"domain":{"id":"default"}}`))
	if err != nil || got.DomainID != "default" || fmt.Sprint(got.Roles) != "[swift operator]" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestTidy: keys change, old ones verify for as long as they must, and nothing is kept for ever.
func TestTidy(t *testing.T) {
	c := start(t)
	_, _, token := c.member("joe")
	c.as(token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token).want(204)
	count := func() (keys, revocations int) {
		c.store.View(func(r store.Reader) { keys, revocations = store.TokenKeys.Count(r), store.Revocations.Count(r) })
		return keys, revocations
	}
	at := func(ahead time.Duration, keys, revocations int) {
		t.Helper()
		c.ahead.Store(int64(ahead))
		if err := c.local.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if k, r := count(); k != keys || r != revocations {
			t.Errorf("after %s: %d keys and %d revocations, want %d and %d", ahead, k, r, keys, revocations)
		}
	}
	at(0, 1, 1)
	at(keyAge-time.Minute, 1, 0)
	before := c.login("admin", c.password, "")
	at(keyAge, 2, 0)
	if !c.valid(before) || !c.valid(c.login("admin", c.password, "")) {
		t.Error("a token is void because another key signs")
	}
	at(2*keyAge, 3, 0)
	at(3*keyAge, 3, 0)
}
