package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/access"
	"weft/internal/lab/labtest"
)

// startKeystone runs Debian's Keystone on a database of its own, and returns a cloud whose
// requests go there. On SQLite it can make no roles.
func startKeystone(t *testing.T) *cloud {
	t.Helper()
	dir := t.TempDir()
	const host, port = "127.0.35.35", "5000" // an address on which nobody else listens
	c := &cloud{t: t, url: "http://" + host + ":" + port, password: "pw", ids: map[string]string{}}
	conf := filepath.Join(dir, "keystone.conf")
	text := strings.ReplaceAll("[database]\nconnection = sqlite:///DIR/keystone.db\n[fernet_tokens]\nkey_repository = DIR/fernet\n"+
		"[credential]\nkey_repository = DIR/credential\n[cache]\nenabled = false\n", "DIR", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"fernet", "credential"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	manage := func(args ...string) {
		cmd := exec.Command("keystone-manage", append([]string{"--config-file", conf}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("keystone-manage %s: %v\n%s", args, err, out)
		}
	}
	manage("db_sync")
	uid, gid := fmt.Sprint(os.Getuid()), fmt.Sprint(os.Getgid())
	manage("fernet_setup", "--keystone-user", uid, "--keystone-group", gid)
	manage("bootstrap", "--bootstrap-password", c.password, "--bootstrap-region-id", "RegionOne", "--bootstrap-public-url", c.url+"/v3")
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "keystone-wsgi-public", "--host", host, "--port", port)
	cmd.Env = append(os.Environ(), "OS_KEYSTONE_CONFIG_FILES="+conf)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the end of Keystone's log:\n%s", log.Bytes()[max(0, log.Len()-6000):])
		}
	})
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(c.url + "/v3"); err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("keystone does not answer")
		}
	}
	c.token = c.login("admin", c.password, `{"project":{"name":"admin","domain":{"id":"default"}}}`)
	c.make("project", `{"name":"service","domain_id":"default"}`)
	c.learn()
	return c
}

// TestRealKeystone asks Debian's Keystone about tokens, and holds the built-in identity to it:
// the same requests have the same statuses and answers of the same shape.
func TestRealKeystone(t *testing.T) {
	labtest.Require(t, "keystone-manage", "keystone-wsgi-public")
	if testing.Short() {
		t.Skip("Keystone takes half a minute to start")
	}
	real, own := startKeystone(t), start(t)
	t.Run("remote", func(t *testing.T) { remoteOn(t, real) })
	t.Run("alike", func(t *testing.T) { alike(t, real, own) })
}

func remoteOn(t *testing.T, c *cloud) {
	id := c.make("user", `{"name":"neutron","password":"secret","domain_id":"default"}`)
	c.do("PUT", "/v3/projects/"+c.ids["project/service"]+"/users/"+id+"/roles/"+c.ids["role/admin"], "").want(204)
	r := NewRemote(RemoteOptions{URL: c.url, Username: "neutron", Password: "secret", UserDomain: "Default", Project: "service",
		ProjectDomain: "Default", CacheTime: time.Millisecond})
	joe, project, token := c.member("joe")
	got, err := r.Authenticate(t.Context(), token)
	if err != nil || got.UserID != joe || string(got.ProjectID) != project || got.ProjectName != "joe" || got.UserDomainID != "default" ||
		!got.Has("member") || !got.Has("reader") || got.Has("admin") {
		t.Errorf("%+v, %v", got, err)
	}
	system, err := r.Authenticate(t.Context(), c.login("admin", c.password, `{"system":{"all":true}}`))
	if err != nil || !system.SystemScope || !system.Has("admin") {
		t.Errorf("%+v, %v", system, err)
	}
	c.as(token, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", token).want(204)
	time.Sleep(2 * time.Millisecond) // the cache time
	for _, token := range []string{token, "nonsense"} {
		if _, err := r.Authenticate(t.Context(), token); !errors.Is(err, access.ErrUnauthorized) {
			t.Errorf("%v", err)
		}
	}
	c.do("DELETE", "/v3/users/"+joe, "").want(204)
	c.do("DELETE", "/v3/projects/"+project, "").want(204)
}

// alike sends the same requests to two identities and compares.
func alike(t *testing.T, real, own *cloud) {
	type objects struct{ user, project, token string }
	made := map[*cloud]objects{}
	for _, c := range []*cloud{real, own} {
		c.t = t
		u, p, token := c.member("ann")
		made[c] = objects{u, p, token}
	}
	for _, request := range []string{
		"GET /v3", "GET /",
		"GET /v3/auth/catalog", "GET /v3/auth/projects", "GET /v3/auth/domains", "GET /v3/auth/system",
		"GET /v3/domains", "GET /v3/domains/default", "GET /v3/domains/nix", "GET /v3/domains?name=Default",
		"GET /v3/projects", "GET /v3/projects/PROJECT", "GET /v3/projects/nix", "GET /v3/projects?name=ann",
		`POST /v3/projects {"project":{"name":"ann"}}`, `POST /v3/projects {"project":{}}`, `POST /v3/projects {"project":{"name":"","domain_id":"default"}}`,
		`POST /v3/projects {"project":{"name":"new","domain_id":"default"}}`, `PATCH /v3/projects/PROJECT {"project":{"description":"d"}}`,
		"GET /v3/users", "GET /v3/users/USER", "GET /v3/users/nix", "GET /v3/users/USER/projects", "GET /v3/users/USER/groups",
		`POST /v3/users {"user":{"name":"ann","domain_id":"default"}}`, `POST /v3/users {"user":{"name":"bob","password":"x","domain_id":"default"}}`,
		`PATCH /v3/users/USER {"user":{"description":"d"}}`, `PATCH /v3/users/USER {"user":{"enabled":"maybe"}}`,
		`POST /v3/users/USER/password {"user":{"password":"new","original_password":"wrong"}}`,
		"GET /v3/roles", "GET /v3/roles/MEMBER", "GET /v3/roles/nix", `POST /v3/roles {"role":{"name":"member"}}`,
		"GET /v3/roles/MEMBER/implies",
		"GET /v3/projects/PROJECT/users/USER/roles", "HEAD /v3/projects/PROJECT/users/USER/roles/MEMBER",
		"GET /v3/projects/PROJECT/users/USER/roles/ADMIN", "PUT /v3/projects/PROJECT/users/USER/roles/nix", "PUT /v3/projects/PROJECT/users/USER/roles/MEMBER",
		"PUT /v3/system/users/USER/roles/MEMBER", "GET /v3/system/users/USER/roles",
		"GET /v3/role_assignments?user.id=USER", "GET /v3/role_assignments?user.id=USER&include_names",
		"GET /v3/role_assignments?scope.system=all",
		"DELETE /v3/system/users/USER/roles/MEMBER", "DELETE /v3/system/users/USER/roles/MEMBER",
		"GET /v3/role_assignments?user.id=USER&effective&include_names", // which leaves out Keystone's system
		"GET /v3/regions", "GET /v3/regions/RegionOne", "GET /v3/services?type=identity", "GET /v3/endpoints?interface=public",
		"GET /v3/users/USER/application_credentials", "GET /v3/users/USER/application_credentials/nix",
		`as ann POST /v3/users/USER/application_credentials {"application_credential":{"name":"robot"}}`,
		`as ann POST /v3/users/USER/application_credentials {"application_credential":{"name":"robot"}}`,
		"as ann GET /v3/users/USER", "as ann GET /v3/users", "as ann GET /v3/projects/PROJECT", "as ann GET /v3/domains", "as ann GET /v3/roles",
		"as nobody GET /v3/users", "as nobody GET /v3/auth/tokens", "GET /v3/auth/tokens",
		"as nobody POST /v3/auth/tokens " + auth("ann", "pw-ann", `{"project":{"name":"ann","domain":{"id":"default"}}}`),
		"as nobody POST /v3/auth/tokens " + auth("ann", "pw-ann", `"unscoped"`), "as nobody POST /v3/auth/tokens " + auth("ann", "pw-ann", ""),
		"as nobody POST /v3/auth/tokens " + auth("ann", "wrong", ""), "as nobody POST /v3/auth/tokens {}",
		"as nobody POST /v3/auth/tokens " + auth("ann", "pw-ann", `{"domain":{"id":"default"}}`),
		"DELETE /v3/domains/default", "DELETE /v3/projects/PROJECT", "DELETE /v3/users/USER", "DELETE /v3/users/USER",
	} {
		var answers []answer
		for _, c := range []*cloud{real, own} {
			m := made[c]
			token, rest := c.token, request
			if s, ok := strings.CutPrefix(rest, "as ann "); ok {
				token, rest = m.token, s
			} else if s, ok := strings.CutPrefix(rest, "as nobody "); ok {
				token, rest = "", s
			}
			rest = strings.NewReplacer("USER", m.user, "PROJECT", m.project, "MEMBER", c.ids["role/member"], "ADMIN", c.ids["role/admin"]).Replace(rest)
			method, rest, _ := strings.Cut(rest, " ")
			path, body, _ := strings.Cut(rest, " ")
			answers = append(answers, c.as(token, method, path, body))
		}
		want, got := answers[0], answers[1]
		if want.status != got.status {
			t.Errorf("%s: %d, Keystone %d\n%s\nKeystone: %s", request, got.status, want.status, got.text, want.text)
			continue
		}
		if w, g := common(want.body), common(got.body); !slices.Equal(w, g) {
			t.Errorf("%s:\n  has too  %v\n  has not  %v", request, minus(g, w), minus(w, g))
		}
	}
}

// common is the shape of an answer without what is Keystone's alone: options of roles, a
// copy of attributes as extra, and null for an application credential that is not unrestricted.
func common(body map[string]any) []string {
	return slices.DeleteFunc(shape("", body), func(p string) bool {
		return strings.Contains(p, ".options") || strings.Contains(p, ".extra") || strings.Contains(p, ".unrestricted")
	})
}

// shape lists the paths of a JSON value with their types; elements of a list count as one,
// and null as what it may stand for.
func shape(path string, v any) []string {
	found := map[string]bool{}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			for _, p := range shape(path+"."+k, e) {
				found[p] = true
			}
		}
		if len(v) == 0 {
			found[path+" object"] = true
		}
	case []any:
		found[path+" list"] = true
		for _, e := range v {
			for _, p := range shape(path+"[]", e) {
				found[p] = true
			}
		}
	case nil:
		found[path+" null"] = true
	default:
		found[fmt.Sprintf("%s %T", path, v)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
