package pipeline

import (
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// Tables of br-int: Neutron's numbers, so that who can read its switch can read ours. Those of
// the filter, 24 to 94, are package firewall's.
const (
	LocalSwitching = 0
	Canary         = 23
	Transient      = firewall.Transient
	Delivery       = firewall.Delivery
)

// Tables of br-tun.
const (
	TunnelStart   = 0
	PatchLVToTun  = 2
	GRETunToLV    = 3
	VXLANTunToLV  = 4
	GeneveTunToLV = 6
	LearnFromTun  = 10
	UnicastToTun  = 20
	ARPResponder  = 21
	FloodToTun    = 22
)

// Registers of br-int, beside those of package firewall.
const (
	// RegPart counts the parts of a list of receivers that is too long for one flow.
	RegPart = vswitch.Reg3
)

// Values of firewall.RegFlood: who gets what is for several; 0 is not decided yet.
const (
	// floodAll: every port, unfiltered.
	floodAll = iota + 1
	// floodOpen: the ports without a filter.
	floodOpen
	// floodFiltered: every port, those with a filter through it.
	floodFiltered
)

// OpenFlow numbers that weft asks for its own ports (ofport_request), so that flows can
// name them before anyone has looked. On br-int and on physical bridges they are far
// above what OVS gives out by itself.
const (
	OFPatchTun = 65000 // patch-tun on br-int
	OFIntPatch = 65001 // the first int-br-x on br-int; the others follow, by bridge name
	OFPhyPatch = 65000 // phy-br-x on each physical bridge
	OFPatchInt = 1     // patch-int on br-tun
)

// IntTables names the tables of br-int.
func IntTables() map[uint8]string {
	return map[uint8]string{
		LocalSwitching: "local_switching", Canary: "canary", firewall.ARPSpoof: "arp_spoof", firewall.MACSpoof: "mac_spoof",
		Transient: "transient", firewall.BaseEgress: "base_egress", firewall.RulesEgress: "rules_egress",
		firewall.AcceptOrIngress: "accept_or_ingress", firewall.BaseIngress: "base_ingress", firewall.RulesIngress: "rules_ingress",
		firewall.AcceptedEgress: "accepted_egress", firewall.AcceptedIngress: "accepted_ingress",
		firewall.Dropped: "dropped", Delivery: "accepted_egress_normal",
	}
}

// TunTables names the tables of br-tun.
func TunTables() map[uint8]string {
	return map[uint8]string{
		TunnelStart: "local_switching", PatchLVToTun: "patch_lv_to_tun", GRETunToLV: "gre_tun_to_lv",
		VXLANTunToLV: "vxlan_tun_to_lv", GeneveTunToLV: "geneve_tun_to_lv", LearnFromTun: "learn_from_tun",
		UnicastToTun: "ucast_to_tun", ARPResponder: "arp_responder", FloodToTun: "flood_to_tun",
	}
}
