// Package dhcp computes the DHCP namespaces and answers of a view, and the reply to
// any DHCP message.
//
// Nothing is remembered: a lease follows from the port records. Pure.
package dhcp

import (
	"net/netip"

	"weft/internal/model"
)

// Lease is what DHCP tells one MAC on one network; it follows from the port and is not stored.
type Lease struct {
	PortID model.PortID
	MAC    model.MAC
	Addr   netip.Addr
	// Hostname is host-10-10-0-121.
	Hostname string
	Subnet   *Options
	// Extra are the port's extra_dhcp_opts for IPv4.
	Extra []model.DHCPOption
}

// Options are what DHCP tells every client of one subnet.
type Options struct {
	SubnetID model.SubnetID
	// Server is the DHCP port's address on this subnet: server identifier and source address.
	Server  netip.Addr
	Prefix  netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
	Routes  []model.Route
	Domain  string
	MTU     int
	// LeaseTime is in seconds.
	LeaseTime uint32
}

// Server is one network's DHCP service on this host.
type Server struct {
	NetworkID model.NetworkID
	// Namespace is qdhcp-<network>; Device is the tap of the DHCP port in it.
	Namespace string
	Device    string
	// MAC is that of the DHCP port; replies come from it.
	MAC model.MAC
	// Leases by client MAC, sorted by MAC then address. A MAC with several v4 addresses has several.
	Leases []Lease
}
