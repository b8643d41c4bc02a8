package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"weft/internal/admin"
	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/identity"
	"weft/internal/inspect"
	"weft/internal/model"
	"weft/internal/neutron"
	"weft/internal/store/storetest"
)

// startCloud serves the API with the built-in identity, and returns the URL of Keystone
// and the admin's password.
func startCloud(t *testing.T) (auth, api, password string) {
	t.Helper()
	s := storetest.New(t)
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	local, err := identity.New(identity.Options{Store: s, Region: "RegionOne", NetworkURL: srv.URL, HashCost: bcrypt.MinCost})
	if err != nil {
		t.Fatal(err)
	}
	password = identity.NewPassword()
	if _, err := local.Bootstrap(t.Context(), func() (string, error) { return password, nil }); err != nil {
		t.Fatal(err)
	}
	mux.Handle("/v3/", local)
	verbs := control.New(control.Options{Store: s, Config: control.DefaultConfig()})
	mux.Handle("/", apiHandler(&identityParts{auth: local}, admin.Options{Control: verbs}, inspect.Options{Cloud: verbs, Hosts: noHosts{}, Refused: verbs.Refused},
		neutron.Options{Control: verbs, Authenticator: local}))
	return srv.URL + "/v3", srv.URL, password
}

// noHosts is a feed without any host.
type noHosts struct{}

func (noHosts) Evidence(context.Context, model.HostName, []byte) ([]byte, error) {
	return nil, feed.ErrNotConnected
}

// cloudYAML is one cloud of clouds.yaml.
func cloudYAML(name, auth string) string { return fmt.Sprintf("  %s:\n    %s\n", name, auth) }

// keystone posts to Keystone and returns the answer and the token in it.
func keystone(t *testing.T, url, token, body string) (answer map[string]any, subject string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Auth-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %s %v %v", url, resp.Status, answer, err)
	}
	return answer, resp.Header.Get("X-Subject-Token")
}

// TestCredentials: the commands against the real API with the built-in identity, by each
// kind of credentials.
func TestCredentials(t *testing.T) {
	home := cliEnv(t)
	auth, api, password := startCloud(t)
	answer, token := keystone(t, auth+"/auth/tokens", "", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"`+
		password+`"}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`)
	user := answer["token"].(map[string]any)["user"].(map[string]any)["id"].(string)
	answer, _ = keystone(t, auth+"/users/"+user+"/application_credentials", token, `{"application_credential":{"name":"cli"}}`)
	credential := answer["application_credential"].(map[string]any)

	who := func(password, project string) string {
		return fmt.Sprintf("auth: {auth_url: %q, username: admin, password: %q, project_name: %s, user_domain_name: Default, project_domain_id: default}", auth, password, project)
	}
	own := filepath.Join(home, "state", "clouds.yaml")
	for file, clouds := range map[string]string{
		own: cloudYAML("weft", who(password, "admin")),
		filepath.Join(home, "clouds.yaml"): cloudYAML("wrong", who("guess", "admin")) + cloudYAML("elsewhere", who(password, "service")) +
			cloudYAML("app", fmt.Sprintf("auth_type: v3applicationcredential\n    auth: {auth_url: %q, application_credential_id: %v, application_credential_secret: %q}", auth, credential["id"], credential["secret"])) +
			cloudYAML("app-name", fmt.Sprintf("auth_type: v3applicationcredential\n    auth: {auth_url: %q, username: admin, user_domain_id: default, application_credential_name: cli, application_credential_secret: %q}", auth, credential["secret"])) +
			cloudYAML("token", fmt.Sprintf("auth_type: token\n    auth: {auth_url: %q, token: %q, project_name: admin}", auth, token)) +
			cloudYAML("bare-token", fmt.Sprintf("auth_type: token\n    auth: {token: %q}\n    network_endpoint_override: %s", token, api)) +
			cloudYAML("far", who(password, "admin")+"\n    region_name: Mars"),
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("clouds:\n"+clouds), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Root on the server's host needs no settings.
	if out := weft(t, "network", "create", "lab"); !strings.Contains(out, "lab") || strings.Contains(out, "exit code") {
		t.Fatal(out)
	}
	if out := weft(t, "network", "create", "theirs", "--project", "service"); strings.Contains(out, "exit code") {
		t.Error(out)
	}
	for _, tc := range []struct{ args, want string }{
		{"--project service", "theirs"},
		{"--project admin", "lab"},
		{"--name lab --os-cloud app", "lab"},
		{"--name lab --os-cloud app-name", "lab"},
		{"--name lab --os-cloud token", "lab"},
		{"--name lab --os-cloud bare-token", "lab"},
		{"--project nobody", `weft: --project: no project has the ID or name "nobody"`},
		{"--os-cloud wrong", "weft: cloud wrong of clouds.yaml: keystone says: The request you have made requires authentication. (401, req-"},
		{"--os-cloud far", `weft: cloud far of clouds.yaml: keystone's catalog has the network service in region RegionOne, not in "Mars"`},
		{"--os-cloud typo", `weft: there is no cloud "typo"; clouds.yaml, ` + own + ` has app, app-name, bare-token, elsewhere, far, token, wrong, weft`},
		{"--api " + api, "No credentials are at hand: name a cloud of clouds.yaml"},
	} {
		out := weft(t, append([]string{"network", "list"}, strings.Fields(tc.args)...)...)
		refused := strings.HasPrefix(tc.want, "weft: ") || strings.HasPrefix(tc.want, "No ")
		if !strings.Contains(out, tc.want) || refused != strings.Contains(out, "exit code 1") || !refused && strings.Count(out, "\n") != 2 {
			t.Errorf("weft network list %s: want %q in:\n%s", tc.args, tc.want, out)
		}
	}
}
