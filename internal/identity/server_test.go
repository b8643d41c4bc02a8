package identity

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRequests goes through each route as admin: what works, and what is refused how.
// In paths and bodies, words like USER stand for IDs.
func TestRequests(t *testing.T) {
	c := start(t)
	user, project, _ := c.member("joe")
	domain := c.make("domain", `{"name":"other","enabled":false}`)
	role := c.make("role", `{"name":"extra"}`)
	c.do("PUT", "/v3/domains/default/users/"+user+"/roles/"+role, "").want(204)
	ids := strings.NewReplacer("USER", user, "PROJECT", project, "DOMAIN", domain, "ROLE", role, "MEMBER", c.ids["role/member"],
		"ADMIN", c.ids["role/admin"], "REGION", "RegionOne", "SERVICE", services[1].id(), "ENDPOINT", fixedID("endpoint", "network", "public"))
	long := strings.Repeat("x", 65)
	for _, k := range []struct {
		request string // method, path and body
		status  int
		want    string // in the body, separated by |
	}{
		{"GET /", 300, `"values":[{"id":"v3.14"`},
		{"GET /v3", 200, `"version":{"id":"v3.14"|"rel":"self"`},
		{"GET /v3/", 200, `"status":"stable"`},
		{"GET /v2.0", 404, "could not be found"},
		{"PUT /v3/users", 405, "not allowed"},
		{"GET /v3/groups", 501, "no groups"},
		{"PUT /v3/projects/PROJECT/groups/x/roles/ROLE", 404, "could not be found"},

		{"GET /v3/auth/catalog", 200, `"type":"identity"|"type":"network"`},
		{"GET /v3/auth/projects", 200, `"name":"admin"`},
		{"GET /v3/auth/domains", 200, `"domains":[]`},
		{"GET /v3/auth/system", 200, `"system":[{"all":true}]`},
		{"GET /v3/auth/tokens", 404, "Could not find token"},
		{"DELETE /v3/auth/tokens", 404, "Could not find token"},

		{"GET /v3/domains", 200, `"links":{"next":null|"name":"Default"|"name":"other"`},
		{"GET /v3/domains?name=Default", 200, `"id":"default"`},
		{"GET /v3/domains?enabled=false", 200, `"domains":[{"description":"","enabled":false`},
		{"GET /v3/domains/default", 200, `"name":"Default"`},
		{"GET /v3/domains/nix", 404, "Could not find domain: nix."},
		{`POST /v3/domains {"domain":{"name":"Default"}}`, 409, "Conflict occurred attempting to store domain - Duplicate entry found with name Default."},
		{`POST /v3/domains {"domain":{}}`, 400, "'name' is a required property"},
		{`POST /v3/domains {"domain":{"name":"` + long + `"}}`, 400, "1 to 64 characters"},
		{`POST /v3/domains {"domain":{"name":" "}}`, 400, "not all of them space"},
		{`POST /v3/domains {"domain":{"name":7}}`, 400, "7 is not of type 'string'"},
		{`POST /v3/domains {"domain":{"name":"d","enabled":"yes"}}`, 400, "is not of type 'boolean'"},
		{`POST /v3/domains {"project":{"name":"d"}}`, 400, "Expecting to find domain in request body"},
		{`POST /v3/domains [1]`, 400, "JSON"},
		{`PATCH /v3/domains/DOMAIN {"domain":{"description":"what"}}`, 200, `"description":"what"|"name":"other"`},
		{`PATCH /v3/domains/DOMAIN {"domain":{"name":"Default"}}`, 409, "Duplicate"},
		{"DELETE /v3/domains/default", 403, "please disable it first"},
		{"DELETE /v3/domains/nix", 404, "Could not find domain"},

		{"GET /v3/projects?name=joe", 200, `"parent_id":"default"|"is_domain":false|"tags":[]|"id":"` + project},
		{"GET /v3/projects?domain_id=DOMAIN", 200, `"projects":[]`},
		{"GET /v3/projects?is_domain=true", 200, `"projects":[]`},
		{"GET /v3/projects/PROJECT", 200, `"domain_id":"default"`},
		{"GET /v3/projects/joe", 404, "Could not find project: joe."},
		{`POST /v3/projects {"project":{"name":"tagged","tags":["a","b"],"description":"d","parent_id":"default"}}`, 201, `"tags":["a","b"]|"description":"d"`},
		{`POST /v3/projects {"project":{"name":"joe"}}`, 409, "attempting to store project - Duplicate entry found with name joe at domain ID default."},
		{`POST /v3/projects {"project":{"name":"joe","domain_id":"DOMAIN"}}`, 201, `"domain_id":"` + domain},
		{`POST /v3/projects {"project":{"name":"x","domain_id":"nix"}}`, 404, "Could not find domain: nix."},
		{`POST /v3/projects {"project":{"name":"x","parent_id":"PROJECT"}}`, 400, "projects below projects"},
		{`POST /v3/projects {"project":{"name":"x","is_domain":true}}`, 400, "projects that are domains"},
		{`POST /v3/projects {"project":{"name":"x","tags":"a"}}`, 400, "not a list of strings"},
		{`PATCH /v3/projects/PROJECT {"project":{"description":"what"}}`, 200, `"description":"what"`},
		{`PATCH /v3/projects/PROJECT {"project":{"name":"admin"}}`, 409, "Duplicate"},
		{`PATCH /v3/projects/PROJECT {"project":{"domain_id":"DOMAIN"}}`, 400, "cannot be changed"},
		{`PATCH /v3/projects/nix {"project":{}}`, 404, "Could not find project"},

		{"GET /v3/users?name=joe&domain_id=default&enabled=1", 200, `"id":"` + user},
		{"GET /v3/users?enabled=0", 200, `"users":[]`},
		{"GET /v3/users/USER", 200, `"password_expires_at":null|"options":{}|"name":"joe"`},
		{"GET /v3/users/joe", 404, "Could not find user: joe."},
		{"GET /v3/users/USER/projects", 200, `"name":"joe"`},
		{"GET /v3/users/nix/projects", 404, "Could not find user"},
		{"GET /v3/users/USER/groups", 200, `"groups":[]`},
		{`POST /v3/users {"user":{"name":"ann","email":"a@example.org","default_project_id":"PROJECT","password":"x"}}`, 201, `"email":"a@example.org"|"default_project_id":"` + project},
		{`POST /v3/users {"user":{"name":"joe"}}`, 409, "attempting to store user - Duplicate entry found with name joe at domain ID default."},
		{`POST /v3/users {"user":{"name":"joe","domain_id":"nix"}}`, 404, "Could not find domain"},
		{`POST /v3/users {"user":{"name":"j","password":7}}`, 400, "'password': 7 is not"},
		{`PATCH /v3/users/USER {"user":{"email":"j@example.org","description":"d"}}`, 200, `"email":"j@example.org"|"name":"joe"`},
		{`PATCH /v3/users/USER {"user":{"email":null}}`, 200, `"name":"joe"`},
		{`PATCH /v3/users/USER {"user":{"name":"admin"}}`, 409, "Duplicate"},
		{`PATCH /v3/users/nix {"user":{}}`, 404, "Could not find user"},
		{`POST /v3/users/USER/password {"user":{"password":"new","original_password":"wrong"}}`, 401, "requires"},
		{`POST /v3/users/nix/password {"user":{"password":"new","original_password":"wrong"}}`, 401, "requires"},
		{`POST /v3/users/USER/password {"user":{"password":"new"}}`, 400, "original_password"},
		{`POST /v3/users/USER/password {"user":{"password":"pw-joe","original_password":"pw-joe"}}`, 400, "must not be the old"},

		{"GET /v3/roles?name=member", 200, `"domain_id":null|"name":"member"`},
		{"GET /v3/roles?domain_id=default", 200, `"roles":[]`},
		{"GET /v3/roles/ROLE", 200, `"name":"extra"`},
		{"GET /v3/roles/extra", 404, "Could not find role: extra."},
		{`POST /v3/roles {"role":{"name":"extra"}}`, 409, "attempting to store role - Duplicate entry found with name extra."},
		{`POST /v3/roles {"role":{"name":"x","domain_id":"default"}}`, 400, "belong to a domain"},
		{`PATCH /v3/roles/ROLE {"role":{"description":"more"}}`, 200, `"description":"more"`},
		{"GET /v3/roles/MEMBER/implies", 200, `"prior_role":|"name":"reader"`},
		{"GET /v3/role_inferences", 200, `"name":"manager"|"implies"`},

		{"GET /v3/projects/PROJECT/users/USER/roles", 200, `"name":"member"`},
		{"HEAD /v3/projects/PROJECT/users/USER/roles/MEMBER", 204, ""},
		{"GET /v3/projects/PROJECT/users/USER/roles/MEMBER", 204, ""},
		{"GET /v3/projects/PROJECT/users/USER/roles/ROLE", 404, "Could not find role assignment with role: " + role + ", user or group: " + user + ", project, domain, or system: " + project + "."},
		{"PUT /v3/projects/PROJECT/users/USER/roles/MEMBER", 204, ""},
		{"PUT /v3/projects/PROJECT/users/USER/roles/nix", 404, "Could not find role: nix."},
		{"PUT /v3/projects/nix/users/USER/roles/MEMBER", 404, "Could not find project: nix."},
		{"PUT /v3/projects/PROJECT/users/nix/roles/MEMBER", 404, "Could not find user: nix."},
		{"PUT /v3/system/users/USER/roles/MEMBER", 204, ""},
		{"GET /v3/system/users/USER/roles", 200, `"name":"member"`},
		{"DELETE /v3/system/users/USER/roles/MEMBER", 204, ""},
		{"DELETE /v3/system/users/USER/roles/MEMBER", 404, "Could not find role assignment"},
		{"GET /v3/domains/default/users/USER/roles", 200, `"name":"extra"`},
		{"GET /v3/role_assignments?user.id=USER&include_names", 200, `"name":"joe"|"project":{"domain":{"id":"default","name":"Default"}|"name":"member"`},
		{"GET /v3/role_assignments?user.id=USER&effective&scope.project.id=PROJECT&include_names=true", 200, `"name":"reader"|"prior_role":`},
		{"GET /v3/role_assignments?scope.system=all", 200, `"system":{"all":true}`},
		{"GET /v3/role_assignments?scope.domain.id=default&role.id=ROLE", 200, `"domain":{"id":"default"}`},
		{"GET /v3/role_assignments?scope.domain.id=default&role.id=ADMIN", 200, `"role_assignments":[]`},
		{"GET /v3/role_assignments?group.id=x", 200, `"role_assignments":[]`},
		{"GET /v3/role_assignments?scope.system=all&scope.domain.id=default", 400, "Specify one"},

		{"GET /v3/regions", 200, `"id":"RegionOne"`},
		{"GET /v3/regions/REGION", 200, `"parent_region_id":null`},
		{"GET /v3/services?type=network", 200, `"name":"neutron"`},
		{"GET /v3/services?type=volume", 200, `"services":[]`},
		{"GET /v3/services/SERVICE", 200, `"type":"network"`},
		{"GET /v3/services/nix", 404, "Could not find service: nix."},
		{"GET /v3/endpoints?interface=public&service_id=SERVICE", 200, `"url":"http://127.0.0.1:9696"`},
		{"GET /v3/endpoints/ENDPOINT", 200, `"interface":"public"`},
		{"POST /v3/services {}", 405, "not allowed"},

		{"GET /v3/users/USER/application_credentials", 200, `"application_credentials":[]`},
		{"GET /v3/users/USER/application_credentials/nix", 404, "Could not find Application Credential: nix."},
		{`POST /v3/users/USER/application_credentials {"application_credential":{"name":"x"}}`, 403, "identity:create_application_credential"},

		{`PATCH /v3/domains/default {"domain":{"description":"` + strings.Repeat("x", maxBody) + `"}}`, 413, "too large"},
		{"DELETE /v3/projects/PROJECT", 204, ""},
		{"DELETE /v3/projects/PROJECT", 404, "Could not find project"},
		{"DELETE /v3/users/USER", 204, ""},
		{"DELETE /v3/users/USER", 404, "Could not find user"},
		{"DELETE /v3/roles/ROLE", 204, ""},
		{"DELETE /v3/domains/DOMAIN", 204, ""},
		{"GET /v3/projects?domain_id=DOMAIN", 200, `"projects":[]`},
	} {
		method, rest, _ := strings.Cut(ids.Replace(k.request), " ")
		path, body, _ := strings.Cut(rest, " ")
		a := c.do(method, path, body)
		name := k.request[:min(len(k.request), 120)]
		if a.status != k.status {
			t.Errorf("%s: %d, want %d: %s", name, a.status, k.status, a.text)
			continue
		}
		for want := range strings.SplitSeq(k.want, "|") {
			if !strings.Contains(a.text, want) {
				t.Errorf("%s: no %s in %s", name, want, a.text)
			}
		}
		if a.status >= 400 {
			a.message()
		}
		if a.header.Get("X-Openstack-Request-Id") == "" || a.header.Get("Vary") != "X-Auth-Token" {
			t.Errorf("%s: headers %v", name, a.header)
		}
		if method == http.MethodHead && a.text != "" {
			t.Errorf("%s: %q", name, a.text)
		}
	}
	c.sound()
}

// TestWhoMay tries each route as several callers.
func TestWhoMay(t *testing.T) {
	c := start(t)
	joe, project, member := c.member("joe")
	ann, _, _ := c.member("ann")
	c.do("PUT", "/v3/system/users/"+ann+"/roles/"+c.ids["role/reader"], "").want(204)
	reader := c.login("ann", "pw-ann", `{"system":{"all":true}}`)
	paths := strings.NewReplacer("{user}", joe, "{project}", project, "{domain}", "default", "{role}", c.ids["role/member"], "{id}", "nix", "{$}", "")
	open := map[string]string{ // by method and path, who may besides admin: o open, a any user, m joe himself or his project, r reader
		"GET /{$}": "o", "GET /v3": "o", "GET /v3/{$}": "o", "POST /v3/auth/tokens": "o", "POST /v3/users/{user}/password": "o",
		"GET /v3/auth/tokens": "a", "DELETE /v3/auth/tokens": "a", "GET /v3/auth/catalog": "a", "GET /v3/auth/projects": "a",
		"GET /v3/auth/domains": "a", "GET /v3/auth/system": "a", "GET /v3/regions": "a", "GET /v3/regions/{id}": "a",
		"GET /v3/domains/{domain}": "mr", "GET /v3/projects/{project}": "mr", "GET /v3/users/{user}": "mr",
		"GET /v3/users/{user}/projects": "mr", "GET /v3/users/{user}/groups": "mr", "GET /v3/users/{user}/application_credentials": "mr",
		"GET /v3/users/{user}/application_credentials/{id}": "mr", "DELETE /v3/users/{user}/application_credentials/{id}": "m",
		"POST /v3/users/{user}/application_credentials": "m",
	}
	for _, r := range routes() {
		may, known := open[r.method+" "+r.path]
		if !known && r.method == "GET" {
			may = "r"
		}
		for who, token := range map[string]string{"": "", "m": member, "r": reader} {
			if r.method == "DELETE" && who == "m" && strings.Contains(may, "m") || r.path == "/v3/auth/catalog" {
				continue // it would be done, or needs a project
			}
			allowed := strings.Contains(may, "o") || token != "" && (strings.Contains(may, "a") || strings.Contains(may, who))
			a := c.as(token, r.method, paths.Replace(r.path), `{}`)
			refused := a.status == 403 || a.status == 401
			if refused == allowed {
				t.Errorf("%s %s as %q: %d, allowed %v: %s", r.method, r.path, who, a.status, allowed, a.text)
			}
			if a.status == 403 && a.message() != "You are not authorized to perform the requested action: identity:"+r.action+"." {
				t.Errorf("%s %s: %s", r.method, r.path, a.text)
			}
		}
	}
	other := c.ids["user/admin"]
	for path, status := range map[string]int{
		"/v3/users/" + other: 403, "/v3/users/nix": 403, "/v3/projects/" + c.ids["project/admin"]: 403,
		"/v3/role_assignments?user.id=" + joe: 200, "/v3/role_assignments?user.id=" + other: 403,
		"/v3/users/" + other + "/application_credentials": 403,
	} {
		if a := c.as(member, "GET", path, ""); a.status != status {
			t.Errorf("GET %s as member: %d, want %d", path, a.status, status)
		}
	}
	c.as(member, "GET", "/v3/auth/tokens", "", "X-Subject-Token", c.token).want(403)
	c.as(member, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", c.token).want(403)
}

// TestAppCreds: a program acts as a user, with some of its roles, until it is told not to.
func TestAppCreds(t *testing.T) {
	c := start(t)
	joe, project, token := c.member("joe")
	path := "/v3/users/" + joe + "/application_credentials"
	create := func(token, body string) answer {
		return c.as(token, "POST", path, `{"application_credential":`+body+`}`)
	}
	login := func(id, secret string) answer {
		return c.as("", "POST", "/v3/auth/tokens", fmt.Sprintf(
			`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":%q,"secret":%q}}}}`, id, secret))
	}
	made := create(token, `{"name":"all"}`).want(201).object("application_credential")
	id, secret := made["id"].(string), made["secret"].(string)
	if made["project_id"] != project || made["expires_at"] != nil || made["unrestricted"] != false || len(made["roles"].([]any)) != 2 {
		t.Errorf("%v", made)
	}
	if a := c.as(token, "GET", path+"/"+id, "").want(200); a.object("application_credential")["secret"] != nil {
		t.Error(a.text)
	}
	a := login(id, secret).want(201)
	tok := a.object("token")
	if tok["project"].(map[string]any)["id"] != project || tok["application_credential"].(map[string]any)["restricted"] != true ||
		fmt.Sprint(tok["methods"]) != "[application_credential]" {
		t.Error(a.text)
	}
	byCred := a.header.Get("X-Subject-Token")
	login(id, "wrong").want(401)
	byName := c.as("", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["application_credential"],"application_credential":
		{"name":"all","secret":"`+secret+`","user":{"name":"joe","domain":{"id":"default"}}}}}}`).want(201)
	if byName.object("token")["application_credential"].(map[string]any)["id"] != id {
		t.Error(byName.text)
	}
	// It gets neither other scopes, nor others of its kind.
	c.as("", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"`+byCred+`"}},"scope":"unscoped"}}`).want(401)
	c.as("", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"`+id+`","secret":"`+secret+`"}},"scope":"unscoped"}}`).want(401)
	create(byCred, `{"name":"more"}`).want(403)
	c.as(byCred, "DELETE", path+"/"+id, "").want(403)

	for body, want := range map[string]int{
		`{"name":"all"}`: 409,
		`{}`:             400,
		`{"name":"x","roles":[{"name":"admin"}]}`:                      400,
		`{"name":"x","roles":7}`:                                       400,
		`{"name":"x","expires_at":"soon"}`:                             400,
		`{"name":"x","expires_at":"2001-01-01T00:00:00"}`:              400,
		`{"name":"x","access_rules":[{"path":"/"}]}`:                   400,
		`{"name":"y","access_rules":[]}`:                               201,
		`{"name":"z","expires_at":"2101-01-01T00:00:00"}`:              201,
		`{"name":"r","roles":[{"name":"reader"}]}`:                     201,
		`{"name":"i","roles":[{"id":"` + c.ids["role/member"] + `"}]}`: 201,
		`{"name":"u","unrestricted":true,"secret":"mine"}`:             201,
	} {
		if a := create(token, body); a.status != want {
			t.Errorf("%s: %d, want %d: %s", body, a.status, want, a.text)
		}
	}
	create(c.login("joe", "pw-joe", `"unscoped"`), `{"name":"nowhere"}`).want(400)
	roles := map[string]string{}
	for _, o := range c.as(token, "GET", path, "").want(200).list("application_credentials") {
		roles[o["name"].(string)] = fmt.Sprintf("%d %v", len(o["roles"].([]any)), o["expires_at"])
		if o["name"] == "u" {
			free := login(o["id"].(string), "mine").want(201).header.Get("X-Subject-Token")
			create(free, `{"name":"child"}`).want(201)
		}
	}
	if roles["r"] != "1 <nil>" || roles["i"] != "1 <nil>" || roles["z"] != "2 2101-01-01T00:00:00.000000" {
		t.Errorf("%v", roles)
	}
	// It goes with what it is of.
	c.do("DELETE", "/v3/projects/"+project+"/users/"+joe+"/roles/"+c.ids["role/member"], "").want(204)
	if c.valid(byCred) {
		t.Error("valid without the role")
	}
	c.do("PUT", "/v3/projects/"+project+"/users/"+joe+"/roles/"+c.ids["role/member"], "").want(204)
	if !c.valid(byCred) {
		t.Error("not valid with the role")
	}
	c.as(token, "DELETE", path+"/"+id, "").want(204)
	if c.valid(byCred) {
		t.Error("valid without the credential")
	}
	c.do("DELETE", "/v3/projects/"+project, "").want(204)
	if left := c.get(path).want(200).list("application_credentials"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	c.sound()
}

// TestCascade: a domain goes with all that lies in it, and leaves the rest.
func TestCascade(t *testing.T) {
	c := start(t)
	joe, project, _ := c.member("joe")
	d := c.make("domain", `{"name":"d"}`)
	in := c.make("user", `{"name":"joe","domain_id":"`+d+`"}`)
	p := c.make("project", `{"name":"joe","domain_id":"`+d+`"}`)
	for _, path := range []string{"/v3/projects/" + p + "/users/" + joe, "/v3/projects/" + project + "/users/" + in,
		"/v3/projects/" + p + "/users/" + in, "/v3/domains/" + d + "/users/" + in, "/v3/system/users/" + in} {
		c.do("PUT", path+"/roles/"+c.ids["role/reader"], "").want(204)
	}
	c.do("DELETE", "/v3/domains/"+d, "").want(403)
	c.do("PATCH", "/v3/domains/"+d, `{"domain":{"enabled":false}}`).want(200)
	c.do("DELETE", "/v3/domains/"+d, "").want(204)
	c.get("/v3/users/" + in).want(404)
	c.get("/v3/projects/" + p).want(404)
	if left := c.get("/v3/role_assignments").want(200).list("role_assignments"); len(left) != 3 {
		t.Errorf("left: %v", left)
	}
	c.do("DELETE", "/v3/roles/"+c.ids["role/member"], "").want(204)
	if left := c.get("/v3/role_assignments").want(200).list("role_assignments"); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	c.sound()
}
