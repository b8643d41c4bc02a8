package pipeline

import "weft/internal/plan/vswitch"

// Tables of br-int: Neutron's numbers, so that who can read its switch can read ours.
const (
	LocalSwitching  = 0
	Canary          = 23
	ARPSpoof        = 24
	MACSpoof        = 25
	Transient       = 60
	BaseEgress      = 71
	AcceptOrIngress = 73
	BaseIngress     = 81
	Dropped         = 93
	AcceptedEgress  = 94
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

// Registers of br-int, as in Neutron.
const (
	// RegPort holds the OpenFlow port whose filter applies: the sender's up to table
	// 73, the receiver's after.
	RegPort = vswitch.Reg5
	// RegNet holds the local VLAN, which is also the conntrack zone.
	RegNet = vswitch.Reg6
	// RegPart counts the parts of a list of receivers that is too long for one flow.
	RegPart = vswitch.Reg3
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

// IntTables names the tables of br-int, those of later releases included, so that a
// dump reads the same on every host.
func IntTables() map[uint8]string {
	return map[uint8]string{
		LocalSwitching: "local_switching", Canary: "canary", ARPSpoof: "arp_spoof", MACSpoof: "mac_spoof",
		Transient: "transient", BaseEgress: "base_egress", 72: "rules_egress", AcceptOrIngress: "accept_or_ingress",
		BaseIngress: "base_ingress", 82: "rules_ingress", 91: "accepted_egress", 92: "accepted_ingress",
		Dropped: "dropped", AcceptedEgress: "accepted_egress_normal",
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
