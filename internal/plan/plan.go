// Package plan states as one printable value everything a host must be for its view
// of the cloud.
//
// The same Plan serves apply, dry-run, golden tests and trace: there is no second
// opinion. In goes a View and Settings; out comes a Plan, sorted: the same view gives
// the same plan, and equal plans print the same. Pure.
package plan

import (
	"fmt"
	"strings"

	"weft/internal/plan/dhcp"
	"weft/internal/plan/netns"
	"weft/internal/plan/pipeline"
	"weft/internal/plan/view"
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

// Make makes the plan of a host for what concerns it.
func Make(v view.View, s Settings) Plan { return new(Memory).Make(v, s) }

// Memory holds what of the last plan may be that of the next: its Make returns what the function
// Make returns. It knows what a thing was made from by its pointer: nouns are never changed
// in place. The zero value is ready. One goroutine may use it.
type Memory struct {
	pipeline pipeline.Memory
	dhcp     dhcp.Memory
}

// Make is as the function Make.
func (m *Memory) Make(v view.View, s Settings) Plan {
	return Plan{
		Switch:     m.pipeline.Switch(v, s.pipeline()),
		Namespaces: dhcp.Namespaces(v),
		DHCP:       m.dhcp.Servers(v, s.dhcp()),
	}
}

// String prints the plan as the commands that would make it: ovs-vsctl, ovs-ofctl, ip;
// then what DHCP tells whom.
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString(p.Switch.String())
	for _, n := range p.Namespaces {
		b.WriteString(n.String())
	}
	for i := range p.DHCP {
		writeDHCP(&b, &p.DHCP[i])
	}
	return b.String()
}

func writeDHCP(b *strings.Builder, s *dhcp.Server) {
	fmt.Fprintf(b, "dhcp %s: on %s as %s\n", s.Namespace, s.Device, s.MAC)
	for _, o := range s.Subnets {
		fmt.Fprintf(b, "dhcp %s: subnet %s server %s", s.Namespace, o.Prefix, o.Server)
		if o.Gateway.IsValid() {
			fmt.Fprintf(b, " router %s", o.Gateway)
		}
		for _, a := range o.DNS {
			fmt.Fprintf(b, " dns %s", a)
		}
		for _, r := range o.Routes {
			fmt.Fprintf(b, " route %s,%s", r.Destination, r.NextHop)
		}
		fmt.Fprintf(b, " domain %q mtu %d lease %ds\n", o.Domain, o.MTU, o.LeaseTime)
	}
	for _, l := range s.Leases {
		fmt.Fprintf(b, "dhcp %s: lease %s %s %s", s.Namespace, l.MAC, l.Addr, l.Hostname)
		for _, o := range l.Extra {
			fmt.Fprintf(b, " %s=%q", o.Name, o.Value)
		}
		b.WriteString("\n")
	}
}
