package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"weft/internal/inspect"
	"weft/internal/trace"
)

// TestTraceShowsWhatTheAPIShows: a member follows the ports of his project, without the insides
// of hosts; those of others are not there for him; without a token there is nothing.
func TestTraceShowsWhatTheAPIShows(t *testing.T) {
	auth, api, password := startCloud(t)
	login := func(user, password, project string) string {
		_, token := keystone(t, auth+"/auth/tokens", "", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"domain":{"id":"default"},"password":%q}}},
			"scope":{"project":{"name":%q,"domain":{"id":"default"}}}}}`, user, password, project))
		return token
	}
	call := func(method, url, token, body string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b
	}
	admin := login("admin", password, "admin")
	id := func(kind, body string) string {
		answer, _ := keystone(t, auth+"/"+kind+"s", admin, body)
		return answer[kind].(map[string]any)["id"].(string)
	}
	project := id("project", `{"project":{"name":"lab","domain_id":"default"}}`)
	user := id("user", `{"user":{"name":"joe","domain_id":"default","password":"pw-joe"}}`)
	_, roles := call("GET", auth+"/roles?name=member", admin, "")
	var list struct{ Roles []struct{ ID string } }
	if err := json.Unmarshal(roles, &list); err != nil || len(list.Roles) != 1 {
		t.Fatalf("%s %v", roles, err)
	}
	if code, b := call("PUT", auth+"/projects/"+project+"/users/"+user+"/roles/"+list.Roles[0].ID, admin, ""); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, b)
	}
	joe := login("joe", "pw-joe", "lab")
	create := func(token, kind, body string) string {
		t.Helper()
		code, b := call("POST", api+"/v2.0/"+kind+"s", token, body)
		var one map[string]map[string]any
		if err := json.Unmarshal(b, &one); err != nil || code != http.StatusCreated {
			t.Fatalf("%s: %d %s", kind, code, b)
		}
		return one[kind]["id"].(string)
	}
	network := create(joe, "network", `{"network":{"name":"joes"}}`)
	create(joe, "subnet", `{"subnet":{"network_id":"`+network+`","ip_version":4,"cidr":"10.0.0.0/29"}}`)
	own := create(joe, "port", `{"port":{"network_id":"`+network+`","name":"nic","device_id":"vm-of-joe"}}`)
	theirs := create(admin, "network", `{"network":{"name":"others"}}`)
	other := create(admin, "port", `{"port":{"network_id":"`+theirs+`","name":"nic"}}`)
	if code, b := call("PUT", api+"/v2.0/ports/"+own, admin, `{"port":{"binding:host_id":"secret-host"}}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, b)
	}
	look := func(token, q string) (int, trace.Report, string) {
		code, b := call("GET", api+inspect.Path+"?q="+url.QueryEscape(q), token, "")
		var r trace.Report
		_ = json.Unmarshal(b, &r) // what is no report is judged by the code
		return code, r, string(b)
	}
	for _, q := range []string{own, "nic", "vm-of-joe"} { // the other "nic" is not there for him
		code, r, text := look(joe, q)
		if code != http.StatusOK || len(r.Chains) != 1 || string(r.Chains[0].PortID) != own || r.Verdict != trace.Broken {
			t.Fatalf("%s: %d %s", q, code, text)
		}
		if strings.Contains(text, "secret-host") {
			t.Errorf("a member reads of hosts:\n%s", text)
		}
	}
	if code, _, text := look(joe, other); code != http.StatusNotFound {
		t.Errorf("another's port: %d %s", code, text)
	}
	if code, _, text := look(admin, "nic"); code != http.StatusConflict {
		t.Errorf("two for the administrator: %d %s", code, text)
	}
	if code, r, text := look(admin, own); code != http.StatusOK || r.Chains[0].Host != "secret-host" || r.Chains[0].Answer.Step != trace.StepBinding {
		t.Errorf("the administrator: %d %s", code, text)
	}
	if code, _, text := look("", own); code != http.StatusUnauthorized {
		t.Errorf("nobody: %d %s", code, text)
	}
	// A port that was refused, again and again: its project learns of it, once.
	for range 6 {
		_, _ = call("POST", api+"/v2.0/ports", joe, `{"port":{"network_id":"`+network+`","device_id":"late-vm"}}`)
	}
	for range 3 {
		_, _ = call("POST", api+"/v2.0/ports", joe, `{"port":{"network_id":"`+network+`","device_id":"refused-vm"}}`)
	}
	if code, r, text := look(admin, "refused-vm"); code != http.StatusOK || r.Verdict != trace.Broken || len(r.Refused) != 1 || !strings.Contains(text, "No more IP addresses available on network "+network) {
		t.Errorf("refused: %d %s", code, text)
	}
	if code, r, text := look(joe, "refused-vm"); code != http.StatusOK || len(r.Refused) != 1 {
		t.Errorf("refused, to a member of the project: %d %s", code, text)
	}
	_, _ = call("POST", api+"/v2.0/ports", admin, `{"port":{"network_id":"`+network+`","device_id":"admins-vm"}}`)
	if code, _, text := look(joe, "admins-vm"); code != http.StatusNotFound {
		t.Errorf("refused to another project, to a member: %d %s", code, text)
	}
}
