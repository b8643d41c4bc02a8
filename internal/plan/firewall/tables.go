package firewall

import "weft/internal/plan/vswitch"

// Tables of br-int through which what a filtered port sends or receives goes: Neutron's
// numbers.
const (
	ARPSpoof        = 24
	MACSpoof        = 25
	Transient       = 60
	BaseEgress      = 71
	RulesEgress     = 72
	AcceptOrIngress = 73
	BaseIngress     = 81
	RulesIngress    = 82
	AcceptedEgress  = 91
	AcceptedIngress = 92
	Dropped         = 93
	Delivery        = 94
)

// Registers of br-int. RegPort and RegNet are Neutron's.
const (
	// RegFlood is other than 0 for what goes to several receivers: a multicast, or a frame to the
	// MAC address of an address pair. Package pipeline says which.
	RegFlood = vswitch.Reg4
	// RegPort holds the OpenFlow port whose filter applies: the sender's up to table
	// 73, the receiver's after.
	RegPort = vswitch.Reg5
	// RegNet holds the local VLAN, which is also the conntrack zone.
	RegNet = vswitch.Reg6
)

// Reason says why a packet of a port is dropped. It is part of the cookie of the flow
// that drops it (vswitch.WithReason), so that the switch counts drops by port and reason.
type Reason uint8

// The reasons.
const (
	// Admitted is no reason: the packet passes.
	Admitted Reason = iota
	// SpoofedMAC: the sender uses a MAC address that is not its own.
	SpoofedMAC
	// SpoofedIP: the sender uses an IP address that is not its own.
	SpoofedIP
	// SpoofedARP: the sender claims another's address in ARP.
	SpoofedARP
	// SpoofedND: the sender claims another's address in a neighbour advertisement or solicitation.
	SpoofedND
	// DHCPServer: the sender answers DHCP.
	DHCPServer
	// RouterAdvertisement: the sender plays router.
	RouterAdvertisement
	// VLANTagged: the sender tags its frames.
	VLANTagged
	// NoEgressRule: no rule of the port's groups allows sending it.
	NoEgressRule
	// NoIngressRule: no rule of the port's groups allows receiving it.
	NoIngressRule
	// InvalidState: conntrack cannot make sense of it.
	InvalidState
	// Cut: it answers on a connection that no rule allows any more.
	Cut
	// OtherProtocol: it is neither IP nor ARP, which a filtered port neither sends nor receives.
	OtherProtocol
	numReasons
)

// All reasons fit into cookies, or this does not compile.
const _ = vswitch.MaxReason + 1 - uint8(numReasons)

var reasons = [numReasons]string{"admitted", "spoofed_mac", "spoofed_ip", "spoofed_arp", "spoofed_nd", "dhcp_server",
	"router_advertisement", "vlan_tagged", "no_egress_rule", "no_ingress_rule", "invalid_state", "cut", "other_protocol"}

// String is the reason's name in metrics: spoofed_mac, no_ingress_rule.
func (r Reason) String() string {
	if r < numReasons {
		return reasons[r]
	}
	return "unknown"
}
