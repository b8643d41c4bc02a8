// Package netns is the language of a namespace: links, addresses, routes, sysctls.
//
// Its values are comparable and print as the ip(8) commands that would make them.
// It never touches a kernel; package host/kernel does.
package netns

import (
	"net/netip"

	"weft/internal/model"
)

// Link is a network interface that must be in a namespace, up.
// The device itself is made by Open vSwitch (an internal port); the namespace only receives it.
type Link struct {
	Name string
	MAC  model.MAC
	MTU  int
	// Addrs are the addresses with prefix length, sorted.
	Addrs []netip.Prefix
}

// Route is a route in the main table of a namespace.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr
	Device      string
}

// Namespace is one named network namespace with all that must be in it.
type Namespace struct {
	Name   string
	Links  []Link
	Routes []Route
	// Sysctls maps a path below /proc/sys, such as net/ipv4/ip_forward, to its value.
	Sysctls map[string]string
}
