// Package plan states as one printable value everything a host must be for its view
// of the cloud.
//
// The same Plan serves apply, dry-run, golden tests and trace: there is no second
// opinion. Pure.
package plan

import (
	"weft/internal/plan/dhcp"
	"weft/internal/plan/netns"
	"weft/internal/plan/vswitch"
)

// Plan is all that must be on one host.
type Plan struct {
	Switch vswitch.Switch
	// Namespaces are sorted by name.
	Namespaces []netns.Namespace
	// DHCP are the DHCP services, sorted by network.
	DHCP []dhcp.Server
}
