// Package netns is the language of a namespace: links, addresses, routes, sysctls.
//
// Its values are comparable and print as the ip(8) commands that would make them.
// It never touches a kernel; package host/kernel does.
package netns

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

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

// Equal reports whether l and o ask for the same.
func (l Link) Equal(o Link) bool {
	return l.Name == o.Name && l.MAC == o.MAC && l.MTU == o.MTU && slices.Equal(l.Addrs, o.Addrs)
}

// Route is a route in the main table of a namespace.
type Route struct {
	Destination netip.Prefix
	// Via is the zero Addr for a destination that is on the link.
	Via    netip.Addr
	Device string
}

// Namespace is one named network namespace with all that must be in it.
type Namespace struct {
	Name   string
	Links  []Link
	Routes []Route
	// Sysctls maps a path below /proc/sys, such as net/ipv4/ip_forward, to its value.
	Sysctls map[string]string
}

// Equal reports whether n and o ask for the same. Both must be sorted.
func (n Namespace) Equal(o Namespace) bool {
	return n.Name == o.Name &&
		slices.EqualFunc(n.Links, o.Links, Link.Equal) &&
		slices.Equal(n.Routes, o.Routes) &&
		maps.Equal(n.Sysctls, o.Sysctls)
}

// Sort puts links, addresses and routes into their one order. A route comes after
// those routes that lead to its next hop: longer destinations first.
func (n *Namespace) Sort() {
	slices.SortFunc(n.Links, func(a, b Link) int { return cmp.Compare(a.Name, b.Name) })
	for _, l := range n.Links {
		slices.SortFunc(l.Addrs, ComparePrefix)
	}
	slices.SortFunc(n.Routes, CompareRoute)
}

// ComparePrefix orders prefixes by address, then by length.
func ComparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// CompareRoute orders routes so that each can be added after those before it.
func CompareRoute(a, b Route) int {
	return cmp.Or(
		cmp.Compare(b.Destination.Bits(), a.Destination.Bits()),
		a.Destination.Addr().Compare(b.Destination.Addr()),
		a.Via.Compare(b.Via),
		cmp.Compare(a.Device, b.Device))
}

// String prints the commands that would make n on a machine that has its devices in
// the namespace of the caller, one to a line.
func (n Namespace) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip netns add %s\n", n.Name)
	for _, k := range slices.Sorted(maps.Keys(n.Sysctls)) {
		fmt.Fprintf(&b, "ip netns exec %s sysctl -w %s=%s\n", n.Name, strings.ReplaceAll(k, "/", "."), n.Sysctls[k])
	}
	fmt.Fprintf(&b, "ip -n %s link set lo up\n", n.Name)
	for _, l := range n.Links {
		fmt.Fprintf(&b, "ip link set %s netns %s\n", l.Name, n.Name)
		fmt.Fprintf(&b, "ip -n %s link set %s address %s mtu %d up\n", n.Name, l.Name, l.MAC, l.MTU)
		for _, a := range l.Addrs {
			fmt.Fprintf(&b, "ip -n %s addr add %s brd + dev %s\n", n.Name, a, l.Name)
		}
	}
	for _, r := range n.Routes {
		fmt.Fprintf(&b, "ip -n %s route replace %s\n", n.Name, r)
	}
	return b.String()
}

// String prints r as ip route takes it: "default via 10.10.0.1 dev tap0 proto static".
func (r Route) String() string {
	var b strings.Builder
	if r.Destination.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(r.Destination.String())
	}
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Via)
	}
	fmt.Fprintf(&b, " dev %s proto static", r.Device)
	if !r.Via.IsValid() {
		b.WriteString(" scope link")
	}
	return b.String()
}
