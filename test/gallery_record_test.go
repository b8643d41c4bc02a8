package test

import (
	"errors"
	"fmt"
	"strings"

	"weft/internal/trace"
)

// recordExhibits are faults of what the API holds.
var recordExhibits = []exhibit{
	{
		name: "port admin down", made: "weft port set PORT --admin-state-up=false", undone: "weft port set PORT --admin-state-up",
		cause: trace.CausePortDown, text: "The admin state of the port is down, so nothing passes it.",
		make: func(s *showing) func() {
			s.set(m{"admin_state_up": false})
			return func() { s.set(m{"admin_state_up": true}) }
		},
	},
	{
		name: "network admin down", made: "weft network set NETWORK --admin-state-up=false", undone: "weft network set NETWORK --admin-state-up",
		harms: sameNetwork,
		cause: trace.CauseNetworkDown, text: "The admin state of the network is down, so nothing passes on it.",
		make: func(s *showing) func() {
			set := func(up bool) {
				s.must(s.call("PUT", "/v2.0/networks/"+s.network, m{"network": m{"admin_state_up": up}}, nil))
			}
			set(false)
			return func() { set(true) }
		},
	},
	{
		name: "unbound", made: "weft port set PORT --host \"\"", undone: "weft port set PORT --host compute-0",
		cause: trace.CauseUnbound, text: "The port is bound to no host, but is plugged on host compute-0 (interface TAP).",
		make: func(s *showing) func() {
			s.set(m{"binding:host_id": ""})
			return func() { s.set(m{"binding:host_id": "compute-0"}) }
		},
	},
	{
		name: "bound to another host", made: "weft port set PORT --host compute-1, and the VM runs on compute-0", undone: "weft port set PORT --host compute-0",
		cause: trace.CauseElsewhere, text: "The port is bound to host compute-1, but is plugged on host compute-0 (interface TAP), where no agent wires it.",
		make: func(s *showing) func() {
			s.set(m{"binding:host_id": "compute-1"})
			return func() { s.set(m{"binding:host_id": "compute-0"}) }
		},
	},
	{
		name: "host that never joined", made: "weft port set PORT --host compute-9", undone: "weft port set PORT --host compute-0",
		cause: trace.CauseBindingFailed, text: `The port could not be bound to host compute-9: no agent has ever joined from host "compute-9".`,
		make: func(s *showing) func() {
			s.set(m{"binding:host_id": "compute-9"})
			return func() { s.set(m{"binding:host_id": "compute-0"}) }
		},
	},
	{
		name: "pool exhausted", made: "the last address of a subnet is taken, and Nova makes a port for a VM; then weft trace VM-ID", undone: "make the pool larger, or free an address",
		cause: trace.CausePortRefused, text: "No more IP addresses available on network NETWORK. (subnet ID: all 1 addresses of its pools are taken)",
		victim: func(s *showing) {
			var n struct{ Network struct{ ID string } }
			s.must(s.call("POST", "/v2.0/networks", m{"network": m{"name": "full"}}, &n))
			s.must(s.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 4, "cidr": "10.72.0.0/24", "enable_dhcp": false,
				"allocation_pools": []m{{"start": "10.72.0.9", "end": "10.72.0.9"}}}}, nil))
			taken := s.newPort(n.Network.ID, "taken", nil)
			s.t.Cleanup(func() { s.must(s.call("DELETE", "/v2.0/ports/"+taken.ID, nil, nil)) })
			s.asked = "5e0e1b2c-7a01-4c6b-9d35-0d5f2c1a9b77"
			s.names[n.Network.ID] = "NETWORK"
		},
		make: func(s *showing) func() {
			var networks struct{ Networks []struct{ ID string } }
			s.must(s.call("GET", "/v2.0/networks?name=full", nil, &networks))
			err := s.call("POST", "/v2.0/ports", m{"port": m{"network_id": networks.Networks[0].ID, "device_id": s.asked, "device_owner": "compute:nova"}}, nil)
			if refused := (statusError{}); !errors.As(err, &refused) || !strings.Contains(refused.Body, "IpAddressGenerationFailure") {
				s.t.Fatal(fmt.Errorf("a port of a network without addresses: %w", err))
			}
			return func() {}
		},
		lasting: true,
	},
	{
		name: "subnet with DHCP off", made: "weft subnet set SUBNET --dhcp=false, and the guest asks by DHCP", undone: "weft subnet set SUBNET --dhcp",
		harms: sameNetwork,
		cause: trace.CauseSubnetNoDHCP, text: "No subnet of the port gives out addresses by DHCP, so the guest has to know ADDRESS by itself, and it has not sent anything from there.",
		make: func(s *showing) func() {
			var list struct{ Subnets []struct{ ID string } }
			s.must(s.call("GET", "/v2.0/subnets?network_id="+s.network, nil, &list))
			set := func(dhcp bool) {
				s.must(s.call("PUT", "/v2.0/subnets/"+list.Subnets[0].ID, m{"subnet": m{"enable_dhcp": dhcp}}, nil))
			}
			set(false)
			s.asks()
			return func() { set(true) }
		},
	},
	{
		name: "group without egress", made: "weft port set PORT --secgroup GROUP, a group without any rule", undone: "weft port set PORT --security-group default",
		verdict: trace.OK, cause: trace.CauseHealthy, text: "All is well: the port is ACTIVE on host compute-0 with ADDRESS.",
		make: func(s *showing) func() {
			group, was := s.group("nothing", nil), s.Groups
			var g struct {
				Group struct {
					Rules []struct{ ID string } `json:"security_group_rules"`
				} `json:"security_group"`
			}
			s.must(s.call("GET", "/v2.0/security-groups/"+group, nil, &g))
			for _, r := range g.Group.Rules {
				s.removeRules(r.ID)
			}
			s.set(m{"security_groups": []string{group}})
			s.getsAddress(s.guest) // DHCP needs no rule
			return func() { s.set(m{"security_groups": was}) }
		},
	},
}

// asks has the victim ask by DHCP, whether it is answered or not.
func (s *showing) asks() {
	_, _ = s.udhcpc(s.guest.Name, "-t", "5")
}
