package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weft/internal/access"
	"weft/internal/admin"
	"weft/internal/control"
	"weft/internal/inspect"
	"weft/internal/neutron"
	"weft/internal/store/storetest"
)

// people are known by their tokens.
type people struct{}

func (people) Authenticate(_ context.Context, token string) (access.Caller, error) {
	switch token {
	case "admin", "member":
		return access.Caller{Roles: []string{token}}, nil
	}
	return access.Caller{}, access.ErrUnauthorized
}

// TestAdminOnly: what is below /weft/ is for administrators.
func TestAdminOnly(t *testing.T) {
	st := storetest.New(t)
	c := control.New(control.Options{Store: st, Config: control.DefaultConfig()})
	srv := httptest.NewServer(apiHandler(&identityParts{auth: people{}},
		admin.Options{Control: c, Feeds: func() []string { return []string{"192.0.2.1:9697"} }},
		inspect.Options{Cloud: c}, neutron.Options{Control: c, Authenticator: people{}}))
	defer srv.Close()
	for _, x := range []struct {
		method, path, body string
		found              int // what an administrator gets
	}{
		{"POST", admin.TokensPath, `{"kind":"host","expires":60}`, 200},
		{"POST", admin.TokensPath, `{"kind":"host","expires":60,"king":true}`, 400},
		{"GET", admin.HostsPath, "", 200},
		{"GET", admin.HostsPath + "/h1", "", 404},
		{"POST", admin.HostsPath + "/h1/drain", "", 404},
		{"POST", admin.HostsPath + "/h1/undrain", "", 404},
		{"DELETE", admin.HostsPath + "/h1", "", 404},
		{"PUT", admin.HostsPath + "/h1", "", 405},
		{"GET", admin.DoctorPath + "?host=none", "", 404},
		{"GET", admin.GCPath + "?host=none", "", 404},
		{"POST", admin.GCPath, `{"hosts":[]}`, 200},
		{"POST", admin.GCPath, `{"hosts":[{"name":"none"}]}`, 404},
		{"GET", inspect.CapturePath + "?q=x", "", 404},
		{"GET", inspect.CapturePath + "?q=x&filter=prot", "", 400},
	} {
		for who, want := range map[string]int{"admin": x.found, "member": 403, "": 401, "stranger": 401} {
			req, err := http.NewRequestWithContext(t.Context(), x.method, srv.URL+x.path, strings.NewReader(x.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Auth-Token", who)
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%q: %s %s: %d, want %d", who, x.method, x.path, resp.StatusCode, want)
			}
		}
	}
}
