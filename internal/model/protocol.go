package model

import (
	"slices"
	"strconv"
)

type protocol struct {
	name   string
	number int
}

// protocols are the IP protocols that rules may name, by their IANA numbers, in the order
// of Neutron's messages. Two names of a number are one protocol.
var protocols = []protocol{
	{"ah", 51}, {"dccp", 33}, {"egp", 8}, {"esp", 50}, {"gre", 47}, {"hopopt", 0}, {"icmp", 1}, {"igmp", 2},
	{"ip", 0}, {"ipip", 4}, {"ipv6-encap", 41}, {"ipv6-frag", 44}, {"ipv6-icmp", 58}, {"icmpv6", 58},
	{"ipv6-nonxt", 59}, {"ipv6-opts", 60}, {"ipv6-route", 43}, {"ospf", 89}, {"pgm", 113}, {"rsvp", 46},
	{"sctp", 132}, {"tcp", 6}, {"udp", 17}, {"udplite", 136}, {"vrrp", 112},
}

// Protocols returns the names of the IP protocols that rules may name.
func Protocols() []string {
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.name
	}
	return names
}

// ProtocolNumber returns the number of a protocol given by name or number, as text; ""
// stays "". ICMP in a rule for IPv6 is ICMPv6.
func ProtocolNumber(name, ethertype string) string {
	if i := slices.IndexFunc(protocols, func(p protocol) bool { return p.name == name }); i >= 0 {
		name = strconv.Itoa(protocols[i].number)
	}
	if name == "1" && ethertype == "IPv6" {
		return "58"
	}
	return name
}
