// Package model holds the nouns of the cloud: networks, subnets, ports, hosts.
//
// The structs are the stored form: their JSON encoding is what etcd holds and what
// the feed carries. They are values: once stored, a struct is never changed in
// place. Wire shapes of the Neutron API are another package's business (neutron).
package model

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ProjectID, NetworkID, ... are distinct types so that one cannot be passed for another.
type (
	// ProjectID names the owner of a resource.
	ProjectID string
	// NetworkID is the UUID of a network.
	NetworkID string
	// SubnetID is the UUID of a subnet.
	SubnetID string
	// PortID is the UUID of a port.
	PortID string
	// HostName is the name by which a host's agent is known, as in binding:host_id.
	HostName string
)

// Meta is what Neutron calls the standard attributes.
type Meta struct {
	Description string    `json:"description,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	// Revision is Neutron's revision_number: it grows by one with each change.
	Revision int `json:"revision"`
}

// SegmentType is the way a network is realised outside a host.
type SegmentType string

// The segment types of Neutron that weft realises.
const (
	SegmentFlat  SegmentType = "flat"
	SegmentVLAN  SegmentType = "vlan"
	SegmentVXLAN SegmentType = "vxlan"
)

// What hosts try the tunnels between them with: frames of that type on that VNI. No network gets it; one that has it
// from before is carried, but for such frames.
const (
	ProbeVNI     = 1<<24 - 1
	ProbeEthType = 0x88b5 // for local experiments (IEEE 802)
)

// Segment is one realisation of a network.
type Segment struct {
	Type SegmentType `json:"type"`
	// Physical is the physical network of a flat or vlan segment, else empty.
	Physical string `json:"physical,omitempty"`
	// ID is the segmentation ID: a VLAN ID 1..4094 or a VNI 1..2^24-2; 0 for flat.
	ID uint32 `json:"id,omitempty"`
}

// NetworkSegment is a segment of a network with what is said of it.
type NetworkSegment struct {
	ID        string    `json:"id"`
	NetworkID NetworkID `json:"network_id"`
	Name      string    `json:"name,omitempty"`
	Segment   Segment   `json:"segment"`
	Meta
}

// Network is an L2 broadcast domain.
type Network struct {
	ID                    NetworkID `json:"id"`
	Project               ProjectID `json:"project"`
	Name                  string    `json:"name,omitempty"`
	AdminStateUp          bool      `json:"admin_state_up"`
	Shared                bool      `json:"shared,omitempty"`
	External              bool      `json:"external,omitempty"`
	IsDefault             bool      `json:"is_default,omitempty"`
	PortSecurity          bool      `json:"port_security"`
	MTU                   int       `json:"mtu"`
	Segment               Segment   `json:"segment"`
	AvailabilityZoneHints []string  `json:"az_hints,omitempty"`
	// DNSDomain is where a DNS service would publish the names of its ports.
	DNSDomain string `json:"dns_domain,omitempty"`
	// Segments are all segments when there are several, or something is said of one; the
	// first is Segment, which hosts use.
	Segments []NetworkSegment `json:"segments,omitempty"`
	// QoSPolicy is the ID of the policy that its ports are under unless they have their own.
	QoSPolicy string `json:"qos_policy,omitempty"`
	// DHCPHosts is where an administrator has put DHCP, sorted; none leaves it to the cloud.
	DHCPHosts []HostName `json:"dhcp_hosts,omitempty"`
	// DHCPAway says that an administrator has taken DHCP away until it is put somewhere again.
	DHCPAway bool `json:"dhcp_away,omitempty"`
	Meta
}

// UnmarshalJSON reads also what was stored when DHCP could be put on one host only.
func (n *Network) UnmarshalJSON(text []byte) error {
	type plain Network
	older := struct {
		*plain
		DHCPHost HostName `json:"dhcp_host"`
	}{plain: (*plain)(n)}
	if err := json.Unmarshal(text, &older); err != nil {
		return err
	}
	if older.DHCPHost != "" {
		n.DHCPHosts = []HostName{older.DHCPHost}
	}
	return nil
}

// AllSegments returns what the network occupies, the segment that hosts use first.
func (n *Network) AllSegments() []Segment {
	if len(n.Segments) == 0 {
		return []Segment{n.Segment}
	}
	all := make([]Segment, len(n.Segments))
	for i, s := range n.Segments {
		all[i] = s.Segment
	}
	return all
}

// Pool is an allocation pool: a range of addresses given out automatically, both ends included.
type Pool struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// Contains reports whether a lies in the pool.
func (p Pool) Contains(a netip.Addr) bool {
	return a.BitLen() == p.First.BitLen() && p.First.Compare(a) <= 0 && a.Compare(p.Last) <= 0
}

// Route is a host route of a subnet.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"next_hop"`
}

// Subnet is a prefix on a network with its gateway, DNS servers and host routes.
type Subnet struct {
	ID        SubnetID     `json:"id"`
	Project   ProjectID    `json:"project"`
	Name      string       `json:"name,omitempty"`
	NetworkID NetworkID    `json:"network_id"`
	CIDR      netip.Prefix `json:"cidr"`
	// Gateway is the zero Addr when the subnet has none (gateway_ip null).
	Gateway        netip.Addr   `json:"gateway,omitzero"`
	Pools          []Pool       `json:"pools,omitempty"`
	EnableDHCP     bool         `json:"enable_dhcp"`
	DNSNameservers []netip.Addr `json:"dns,omitempty"`
	HostRoutes     []Route      `json:"host_routes,omitempty"`
	// ServiceTypes are the device owners of the ports that get addresses here; none is all.
	ServiceTypes []string `json:"service_types,omitempty"`
	// RAMode and AddressMode say who tells guests of the subnet and how they get their
	// addresses; empty for IPv4 and where it is not weft's business.
	RAMode      IPv6Mode `json:"ipv6_ra_mode,omitempty"`
	AddressMode IPv6Mode `json:"ipv6_address_mode,omitempty"`
	// PoolID is the subnet pool that the CIDR was taken from, or "".
	PoolID            string `json:"subnetpool_id,omitempty"`
	DNSPublishFixedIP bool   `json:"dns_publish_fixed_ip,omitempty"`
	// SegmentID is the segment of the network with which it is associated, or "".
	SegmentID string `json:"segment_id,omitempty"`
	Meta
}

// FixedIP is an address of a port on one of its network's subnets.
type FixedIP struct {
	SubnetID SubnetID   `json:"subnet_id"`
	Addr     netip.Addr `json:"addr"`
}

// AddressPair is an extra source address that a port may use.
type AddressPair struct {
	MAC    MAC          `json:"mac"`
	Prefix netip.Prefix `json:"prefix"`
}

// DHCPOption is one extra_dhcp_opts entry: an option sent to this port only.
// Name is a dnsmasq option name or an option code in decimal.
type DHCPOption struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	IPVersion int    `json:"ip_version"`
}

// VIFType says how a port is realised on its host.
type VIFType string

// The VIF types of Neutron that occur here.
const (
	VIFUnbound       VIFType = "unbound"
	VIFOVS           VIFType = "ovs"
	VIFBindingFailed VIFType = "binding_failed"
	// VIFDistributed is that of a port which is realised on every host with ports of its network.
	VIFDistributed VIFType = "distributed"
)

// Binding says where and how a port is realised.
type Binding struct {
	// Host is empty while the port is unbound.
	Host     HostName `json:"host,omitempty"`
	VNICType string   `json:"vnic_type"`
	VIFType  VIFType  `json:"vif_type"`
	// Profile is the JSON object given as binding:profile; nil means {}.
	Profile map[string]any `json:"profile,omitempty"`
	// BridgeName and DatapathType are copied from the host at binding time (vif_details).
	BridgeName   string `json:"bridge_name,omitempty"`
	DatapathType string `json:"datapath_type,omitempty"`
	// Reason says in words why VIFType is binding_failed.
	Reason string `json:"reason,omitempty"`
}

// UnmarshalJSON keeps the numbers of Profile as they were written: as float64 some would
// come back changed, and others could not be read at all.
func (b *Binding) UnmarshalJSON(text []byte) error {
	type plain Binding
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode((*plain)(b))
}

// PortStatus is the derived state of a port.
type PortStatus string

// The port statuses of Neutron that occur here.
const (
	PortDown   PortStatus = "DOWN"
	PortActive PortStatus = "ACTIVE"
	// PortNotApplicable is for the outside of a floating IP: nothing is ever plugged there.
	PortNotApplicable PortStatus = "N/A"
)

// Device owners with a meaning of their own.
const (
	OwnerDHCP                = "network:dhcp"
	OwnerDistributed         = "network:distributed"
	OwnerRouterInterface     = "network:router_interface"
	OwnerRouterGateway       = "network:router_gateway"
	OwnerFloatingIP          = "network:floatingip"
	OwnerComputePrefix       = "compute:"
	OwnerNetworkPrefix       = "network:"
	DeviceIDReservedDHCPPort = "reserved_dhcp_port"
)

// Port is a NIC's place on a network.
type Port struct {
	ID        PortID    `json:"id"`
	Project   ProjectID `json:"project"`
	Name      string    `json:"name,omitempty"`
	NetworkID NetworkID `json:"network_id"`
	MAC       MAC       `json:"mac"`
	FixedIPs  []FixedIP `json:"fixed_ips,omitempty"`
	// Asked are the MAC and addresses that were asked for; the others were chosen.
	Asked []string `json:"asked,omitempty"`
	// Unaddressed says that the port was made without addresses on purpose (fixed_ips []).
	Unaddressed    bool          `json:"unaddressed,omitempty"`
	AdminStateUp   bool          `json:"admin_state_up"`
	Status         PortStatus    `json:"status"`
	DeviceID       string        `json:"device_id,omitempty"`
	DeviceOwner    string        `json:"device_owner,omitempty"`
	PortSecurity   bool          `json:"port_security"`
	SecurityGroups []string      `json:"security_groups,omitempty"`
	AddressPairs   []AddressPair `json:"address_pairs,omitempty"`
	DHCPOptions    []DHCPOption  `json:"dhcp_options,omitempty"`
	Binding        Binding       `json:"binding"`
	// Inactive are the bindings to further hosts, made before a live migration: nothing is
	// wired by them until one of them is activated and so becomes Binding.
	Inactive []Binding `json:"inactive,omitempty"`
	// DataPlaneStatus is ACTIVE or DOWN as something that watches the network from outside
	// found it, empty when it said nothing; weft only keeps it.
	DataPlaneStatus string `json:"data_plane_status,omitempty"`
	// DNSName is the host name asked for, in lower case; DNSDomain is where a DNS service would publish it.
	DNSName   string `json:"dns_name,omitempty"`
	DNSDomain string `json:"dns_domain,omitempty"`
	// QoSPolicy is the ID of the policy that the port itself is under.
	QoSPolicy string `json:"qos_policy,omitempty"`
	Meta
}

// Filtered reports whether what the port sends and receives is filtered: port security
// is on, and the port does not belong to the cloud itself.
func (p *Port) Filtered() bool { return p.PortSecurity && !TrustedOwner(p.DeviceOwner) }

// Distributed reports whether the port is realised on every host that has other ports of
// its network, the same on each, and unseen by the others.
func (p *Port) Distributed() bool { return p.Binding.VIFType == VIFDistributed }

// TrustedOwner reports whether ports of this owner belong to the cloud itself (DHCP,
// router): they may send whatever they like.
func TrustedOwner(owner string) bool { return strings.HasPrefix(owner, OwnerNetworkPrefix) }

// Host is what a host's agent said of itself when it last joined the feed.
type Host struct {
	Name HostName `json:"name"`
	// AgentID is a UUID chosen once per host; Neutron-style agent rows derive from it.
	AgentID           string            `json:"agent_id"`
	IntegrationBridge string            `json:"integration_bridge"`
	TunnelBridge      string            `json:"tunnel_bridge"`
	DatapathType      string            `json:"datapath_type"`
	BridgeMappings    map[string]string `json:"bridge_mappings,omitempty"`
	TunnelTypes       []string          `json:"tunnel_types,omitempty"`
	VTEP              netip.Addr        `json:"vtep,omitzero"`
	InterfaceTypes    []string          `json:"interface_types,omitempty"`
	OVSVersion        string            `json:"ovs_version,omitempty"`
	Roles             []HostRole        `json:"roles"`
	// LeaseTime is that of its DHCP service, in seconds.
	LeaseTime uint32 `json:"lease_time,omitempty"`
	// AgentVersion is that of weft on the host.
	AgentVersion string    `json:"agent_version,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
	StartedAt    time.Time `json:"started_at"`
	// ConnectedAt is when it last connected, and Server to which server, by name.
	ConnectedAt time.Time `json:"connected_at,omitzero"`
	Server      string    `json:"server,omitempty"`
	// CertificateUntil is the end of its certificate.
	CertificateUntil time.Time `json:"certificate_until,omitzero"`
	HeartbeatAt      time.Time `json:"heartbeat_at"`
	// HeardAt is when this server saw the last heartbeat, by its own clock. It is not stored.
	HeardAt time.Time `json:"-"`
	// Agents are what administrators said of the agents as which the host shows itself, by
	// type; none of a type without a word.
	Agents map[string]AgentSetting `json:"agents,omitempty"`
}

// HostRole is what a host is for.
type HostRole string

// The roles of hosts.
const (
	// RoleCompute: guests are to run there.
	RoleCompute HostRole = "compute"
	// RoleNetwork: it serves what networks need, such as DHCP.
	RoleNetwork HostRole = "network"
)

// AllRoles are those of a host that nobody has told what it is for.
func AllRoles() []HostRole { return []HostRole{RoleCompute, RoleNetwork} }

// Has reports whether the host has a role.
func (h *Host) Has(role HostRole) bool { return slices.Contains(h.Roles, role) }

// UnmarshalJSON reads also hosts from before there were roles.
func (h *Host) UnmarshalJSON(text []byte) error {
	type plain Host
	older := struct {
		*plain
		ServesDHCP bool `json:"serves_dhcp"`
	}{plain: (*plain)(h)}
	if err := json.Unmarshal(text, &older); err != nil {
		return err
	}
	if h.Roles == nil {
		h.Roles = []HostRole{RoleCompute}
		if older.ServesDHCP {
			h.Roles = AllRoles()
		}
	}
	return nil
}

// The ways in which DHCP is served.
const (
	// DHCPAgents: from some hosts, chosen for each network.
	DHCPAgents = "agents"
	// DHCPDistributed: by each host for the ports that it has itself.
	DHCPDistributed = "distributed"
)

// DHCPSetting says how DHCP is served in the whole cloud. The server that was started last
// has its way, so that no two work against each other.
type DHCPSetting struct {
	// Mode is DHCPAgents or DHCPDistributed.
	Mode string `json:"mode"`
	// PerNetwork is on how many hosts a network is served, as far as there are so many.
	PerNetwork int `json:"per_network"`
}

// The types of agent as which a host shows itself.
const (
	AgentSwitch = "Open vSwitch agent"
	AgentDHCP   = "DHCP agent"
	AgentL3     = "L3 agent"
)

// AgentSetting is what an administrator said of an agent.
type AgentSetting struct {
	Disabled    bool   `json:"disabled,omitempty"`
	Description string `json:"description,omitempty"`
	// Removed hides the agent until its host is heard of again.
	Removed bool `json:"removed,omitempty"`
}
