// Package dhcp computes the DHCP namespaces and answers of a view, and the reply to
// any DHCP message.
//
// In goes a view; out come, per network, the namespace and a Server: what every
// client is told. A Table is that Server encoded and indexed; its Answer to a message
// depends on nothing else. Nothing is remembered: a lease follows from the port
// records, so it cannot disagree with them. Pure.
package dhcp

import (
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Lease is what DHCP tells one MAC on one network; it follows from the port and is not stored.
type Lease struct {
	PortID model.PortID
	MAC    model.MAC
	Addr   netip.Addr
	// Hostname is host-10-10-0-121, or the port's dns_name.
	Hostname string
	// Subnet is one of the server's Subnets.
	Subnet *Options
	// Extra are the port's extra_dhcp_opts for IPv4.
	Extra []model.DHCPOption
}

// Equal reports whether l and o tell the client the same, what its subnet says included.
func (l *Lease) Equal(o *Lease) bool {
	return l.PortID == o.PortID && l.MAC == o.MAC && l.Addr == o.Addr && l.Hostname == o.Hostname &&
		(l.Subnet == o.Subnet || l.Subnet.Equal(o.Subnet)) && slices.Equal(l.Extra, o.Extra)
}

// Options are what DHCP tells every client of one subnet.
type Options struct {
	SubnetID model.SubnetID
	// Server is the DHCP port's address on this subnet: server identifier and source address.
	Server netip.Addr
	Prefix netip.Prefix
	// Gateway is the router option; the zero Addr for none.
	Gateway netip.Addr
	// DNS are the servers to be told; empty for none.
	DNS []netip.Addr
	// Routes are the classless static routes (options 121 and 249) as sent, the default
	// route included; a next hop of 0.0.0.0 means on the link. Empty for none.
	Routes []model.Route
	Domain string
	MTU    int
	// LeaseTime is in seconds.
	LeaseTime uint32
}

// Equal reports whether o and p tell clients the same.
func (o *Options) Equal(p *Options) bool {
	return o.SubnetID == p.SubnetID && o.Server == p.Server && o.Prefix == p.Prefix && o.Gateway == p.Gateway &&
		slices.Equal(o.DNS, p.DNS) && slices.Equal(o.Routes, p.Routes) && o.Domain == p.Domain &&
		o.MTU == p.MTU && o.LeaseTime == p.LeaseTime
}

// Server is one network's DHCP service on this host.
type Server struct {
	NetworkID model.NetworkID
	// Namespace is qdhcp-<network>; Device is the tap of the DHCP port in it.
	Namespace string
	Device    string
	// MAC is that of the DHCP port; replies come from it.
	MAC model.MAC
	// Subnets are those served, sorted by ID.
	Subnets []*Options
	// Leases are sorted by MAC. A MAC with several v4 addresses has several, in the order
	// of the port's fixed IPs: the first is the one that is offered.
	Leases []Lease
}

// Same reports whether s and o are one and the same server, which costs nothing; two that
// are not may still be equal.
func (s *Server) Same(o *Server) bool {
	return len(s.Leases) > 0 && len(s.Leases) == len(o.Leases) && &s.Leases[0] == &o.Leases[0]
}

// Equal reports whether s and o serve the same to the same clients in the same place.
func (s *Server) Equal(o *Server) bool {
	return s.NetworkID == o.NetworkID && s.Namespace == o.Namespace && s.Device == o.Device && s.MAC == o.MAC &&
		slices.EqualFunc(s.Subnets, o.Subnets, (*Options).Equal) &&
		slices.EqualFunc(s.Leases, o.Leases, func(a, b Lease) bool { return a.Equal(&b) })
}
