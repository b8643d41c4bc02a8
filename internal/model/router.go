package model

import "net/netip"

type (
	// RouterID is the UUID of a router.
	RouterID string
	// FloatingIPID is the UUID of a floating IP.
	FloatingIPID string
)

// Router joins the subnets of its interfaces with each other and with an external network.
type Router struct {
	ID           RouterID  `json:"id"`
	Project      ProjectID `json:"project"`
	Name         string    `json:"name,omitempty"`
	AdminStateUp bool      `json:"admin_state_up"`
	// Distributed and HA say where the router shall run: on each host, on several.
	Distributed bool `json:"distributed,omitempty"`
	HA          bool `json:"ha,omitempty"`
	// Gateway is nil when the router leads nowhere outside.
	Gateway               *Gateway          `json:"gateway,omitempty"`
	Interfaces            []RouterInterface `json:"interfaces,omitempty"`
	Routes                []Route           `json:"routes,omitempty"`
	AvailabilityZoneHints []string          `json:"az_hints,omitempty"`
	Meta
}

// Gateway is a router's port on an external network; the port holds the addresses.
type Gateway struct {
	PortID    PortID    `json:"port_id"`
	NetworkID NetworkID `json:"network_id"`
	// SNAT says that what has no floating IP leaves with the router's own address.
	SNAT bool `json:"snat"`
}

// RouterInterface is a router's port on a network inside; the port holds the addresses.
type RouterInterface struct {
	PortID    PortID    `json:"port_id"`
	NetworkID NetworkID `json:"network_id"`
}

// FloatingIP is an address of an external network that stands for a fixed IP, or whose
// ports are forwarded, or that is kept for later.
type FloatingIP struct {
	ID        FloatingIPID `json:"id"`
	Project   ProjectID    `json:"project"`
	NetworkID NetworkID    `json:"network_id"`
	Addr      netip.Addr   `json:"addr"`
	// PortID is the port that holds Addr.
	PortID PortID `json:"port_id"`
	// FixedPort and FixedAddr are what the address stands for; empty when for nothing.
	FixedPort PortID     `json:"fixed_port,omitempty"`
	FixedAddr netip.Addr `json:"fixed_addr,omitzero"`
	// Router translates; empty when the address stands for nothing and forwards nothing.
	Router    RouterID `json:"router,omitempty"`
	DNSName   string   `json:"dns_name,omitempty"`
	DNSDomain string   `json:"dns_domain,omitempty"`
	Meta
}

// PortRange are transport ports from First to Last, both included.
type PortRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// Overlaps reports whether two ranges have a port in common.
func (r PortRange) Overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// PortForwarding hands what comes to some ports of a floating IP to a port's fixed IP.
type PortForwarding struct {
	ID         string       `json:"id"`
	FloatingIP FloatingIPID `json:"floating_ip"`
	Protocol   string       `json:"protocol"`
	External   PortRange    `json:"external"`
	Internal   PortRange    `json:"internal"`
	// PortID and Addr are where it goes.
	PortID PortID     `json:"port_id"`
	Addr   netip.Addr `json:"addr"`
	Meta
}
