package model

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestHostFromBeforeRoles(t *testing.T) {
	for text, want := range map[string][]HostRole{
		`{"name":"h","serves_dhcp":true}`:                     AllRoles(),
		`{"name":"h","serves_dhcp":false}`:                    {RoleCompute},
		`{"name":"h","roles":["network"]}`:                    {RoleNetwork},
		`{"name":"h","roles":["compute"],"serves_dhcp":true}`: {RoleCompute},
	} {
		var h Host
		if err := json.Unmarshal([]byte(text), &h); err != nil || h.Name != "h" || !slices.Equal(h.Roles, want) {
			t.Errorf("%s: %q %v %v", text, h.Name, h.Roles, err)
		}
	}
}
