package identity

import (
	"errors"
	"testing"

	"weft/internal/access"
)

func TestFirstToken(t *testing.T) {
	c := start(t)
	a := c.as("", "POST", "/v3/auth/tokens", auth("admin", c.password, `{"project":{"name":"admin","domain":{"name":"Default"}}}`)).want(201)
	tok := a.object("token")
	t.Log(a.text)
	t.Log(len(a.header.Get("X-Subject-Token")), a.header.Get("X-Subject-Token"))
	if tok["is_domain"] != false || len(tok["roles"].([]any)) != 4 || len(tok["catalog"].([]any)) != 2 {
		t.Error(a.text)
	}
	caller, err := c.local.Authenticate(t.Context(), a.header.Get("X-Subject-Token"))
	if err != nil || caller.UserName != "admin" || !caller.Has("admin") || caller.ProjectName != "admin" {
		t.Error(caller, err)
	}
	if _, err := c.local.Authenticate(t.Context(), "x"+c.token); !errors.Is(err, access.ErrUnauthorized) {
		t.Error(err)
	}
	_, project, tok2 := c.member("joe")
	caller, err = c.local.Authenticate(t.Context(), tok2)
	if err != nil || string(caller.ProjectID) != project || caller.Has("admin") || !caller.Has("member") || !caller.Has("reader") {
		t.Error(caller, err)
	}
}
