package model

import "net/netip"

// IPv6Mode is a way in which IPv6 guests learn their addresses.
type IPv6Mode string

// The IPv6 modes of Neutron.
const (
	SLAAC           IPv6Mode = "slaac"
	DHCPv6Stateful  IPv6Mode = "dhcpv6-stateful"
	DHCPv6Stateless IPv6Mode = "dhcpv6-stateless"
)

// Version returns 4 or 6.
func (s *Subnet) Version() int64 { return IPVersion(s.CIDR.Addr()) }

// Auto reports whether guests make their addresses from their MACs: then each port of the
// network has one, except routers'.
func (s *Subnet) Auto() bool {
	auto := func(m IPv6Mode) bool { return m == SLAAC || m == DHCPv6Stateless }
	return auto(s.RAMode) || auto(s.AddressMode)
}

// DHCPv4 reports whether ports on the subnet get their addresses by DHCP of IPv4.
func (s *Subnet) DHCPv4() bool { return s.EnableDHCP && s.CIDR.Addr().Is4() }

// SubnetPool is a set of prefixes from which subnets take theirs.
type SubnetPool struct {
	ID      string    `json:"id"`
	Project ProjectID `json:"project"`
	Name    string    `json:"name"`
	// IPVersion is 4 or 6.
	IPVersion int64 `json:"ip_version"`
	// Prefixes are sorted, and merged where that makes a larger one.
	Prefixes []netip.Prefix `json:"prefixes"`
	// DefaultLen is the prefix length of a subnet that asks for none; MinLen and MaxLen
	// bound what it may ask for.
	DefaultLen int64 `json:"default_prefixlen"`
	MinLen     int64 `json:"min_prefixlen"`
	MaxLen     int64 `json:"max_prefixlen"`
	// Quota is how many addresses (IPv4) or /64s (IPv6) a project may take; 0, too, is no limit.
	Quota     *int64 `json:"default_quota,omitempty"`
	IsDefault bool   `json:"is_default,omitempty"`
	Shared    bool   `json:"shared,omitempty"`
	ScopeID   string `json:"address_scope_id,omitempty"`
	Meta
}

// AddressScope is a set of subnet pools whose prefixes do not overlap, so that routing
// between them needs no translation.
type AddressScope struct {
	ID      string    `json:"id"`
	Project ProjectID `json:"project"`
	Name    string    `json:"name,omitempty"`
	Shared  bool      `json:"shared,omitempty"`
	// IPVersion is 4 or 6.
	IPVersion int64 `json:"ip_version"`
	Meta
}

// IPVersion returns 4 or 6.
func IPVersion(a netip.Addr) int64 {
	if a.Is4() {
		return 4
	}
	return 6
}
