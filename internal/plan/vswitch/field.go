package vswitch

import "slices"

// Format says how a value of a field is written.
type Format uint8

// The formats of field values.
const (
	// Decimal is a plain number: tp_dst=67.
	Decimal Format = iota
	// Hex is 0x-prefixed except for zero: reg5=0x4, reg5=0.
	Hex
	// EthernetType is always four hexadecimal digits: dl_type=0x88cc.
	EthernetType
	// Ethernet is a MAC address.
	Ethernet
	// IPv4 is dotted; its mask is a prefix length where it is one.
	IPv4
	// IPv6 is RFC 5952 text; its mask is a prefix length where it is one.
	IPv6
	// PortNumber is a decimal OpenFlow port or a reserved name such as LOCAL.
	PortNumber
	// ConntrackState is a list of flags with signs: +est-rel.
	ConntrackState
	// VLAN is the VLAN ID with the present bit 0x1000: dl_vlan=1 or vlan_tci=0x0000/0x1fff.
	VLAN
)

// FieldInfo is what is known of a field.
type FieldInfo struct {
	// Name is the field's own name, as in set_field:V->Name.
	Name string
	// Match is the name used in a match, where that differs from Name.
	Match string
	// NXM is the name used for bit ranges, as in move:NXM_OF_ETH_SRC[].
	NXM string
	// Width is in bits.
	Width uint16
	// Format is how a value is written.
	Format Format
	// Maskable says that a match may leave bits out.
	Maskable bool
	// Prereq must hold for the field to exist in a packet.
	Prereq Prereq
}

// Prereq is the kind of packet in which a field exists.
type Prereq uint8

// The kinds of packet that fields ask for.
const (
	NeedNothing Prereq = iota
	NeedIP             // IPv4 or IPv6
	NeedIPv4
	NeedIPv6
	NeedARP
	NeedTCP
	NeedUDP
	NeedSCTP
	NeedICMP
	NeedICMPv6
	NeedND // ICMPv6 type 135 or 136
	NeedNS // ICMPv6 type 135
	NeedNA // ICMPv6 type 136
)

// The numbers that prerequisites are made of.
const (
	TypeIPv4 = 0x0800
	TypeARP  = 0x0806
	TypeRARP = 0x8035
	TypeIPv6 = 0x86dd

	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132

	// VLANPresent is the bit of VLANVID that says that there is a tag.
	VLANPresent = 0x1000
)

func reg(n string) FieldInfo {
	return FieldInfo{Name: "reg" + n, NXM: "NXM_NX_REG" + n, Width: 32, Format: Hex, Maskable: true}
}

var fields = [numFields]FieldInfo{
	InPortField: {Name: "in_port", NXM: "OXM_OF_IN_PORT", Width: 32, Format: PortNumber},
	CTState:     {Name: "ct_state", NXM: "NXM_NX_CT_STATE", Width: 32, Format: ConntrackState, Maskable: true},
	CTZone:      {Name: "ct_zone", NXM: "NXM_NX_CT_ZONE", Width: 16, Format: Decimal},
	CTMark:      {Name: "ct_mark", NXM: "NXM_NX_CT_MARK", Width: 32, Format: Hex, Maskable: true},
	ConjID:      {Name: "conj_id", NXM: "NXM_NX_CONJ_ID", Width: 32, Format: Decimal},
	TunID:       {Name: "tun_id", NXM: "NXM_NX_TUN_ID", Width: 64, Format: Hex, Maskable: true},
	Reg0:        reg("0"), Reg1: reg("1"), Reg2: reg("2"), Reg3: reg("3"),
	Reg4: reg("4"), Reg5: reg("5"), Reg6: reg("6"), Reg7: reg("7"),
	EthDst:        {Name: "eth_dst", Match: "dl_dst", NXM: "NXM_OF_ETH_DST", Width: 48, Format: Ethernet, Maskable: true},
	EthSrc:        {Name: "eth_src", Match: "dl_src", NXM: "NXM_OF_ETH_SRC", Width: 48, Format: Ethernet, Maskable: true},
	EthType:       {Name: "eth_type", Match: "dl_type", NXM: "NXM_OF_ETH_TYPE", Width: 16, Format: EthernetType},
	VLANVID:       {Name: "vlan_vid", Match: "dl_vlan", NXM: "OXM_OF_VLAN_VID", Width: 13, Format: VLAN, Maskable: true},
	IPProto:       {Name: "nw_proto", NXM: "NXM_OF_IP_PROTO", Width: 8, Format: Decimal, Prereq: NeedIP},
	IPv4Src:       {Name: "ip_src", Match: "nw_src", NXM: "NXM_OF_IP_SRC", Width: 32, Format: IPv4, Maskable: true, Prereq: NeedIPv4},
	IPv4Dst:       {Name: "ip_dst", Match: "nw_dst", NXM: "NXM_OF_IP_DST", Width: 32, Format: IPv4, Maskable: true, Prereq: NeedIPv4},
	IPv6Src:       {Name: "ipv6_src", NXM: "NXM_NX_IPV6_SRC", Width: 128, Format: IPv6, Maskable: true, Prereq: NeedIPv6},
	IPv6Dst:       {Name: "ipv6_dst", NXM: "NXM_NX_IPV6_DST", Width: 128, Format: IPv6, Maskable: true, Prereq: NeedIPv6},
	ARPOp:         {Name: "arp_op", NXM: "NXM_OF_ARP_OP", Width: 16, Format: Decimal, Prereq: NeedARP},
	ARPSPA:        {Name: "arp_spa", NXM: "NXM_OF_ARP_SPA", Width: 32, Format: IPv4, Maskable: true, Prereq: NeedARP},
	ARPTPA:        {Name: "arp_tpa", NXM: "NXM_OF_ARP_TPA", Width: 32, Format: IPv4, Maskable: true, Prereq: NeedARP},
	ARPSHA:        {Name: "arp_sha", NXM: "NXM_NX_ARP_SHA", Width: 48, Format: Ethernet, Maskable: true, Prereq: NeedARP},
	ARPTHA:        {Name: "arp_tha", NXM: "NXM_NX_ARP_THA", Width: 48, Format: Ethernet, Maskable: true, Prereq: NeedARP},
	TCPSrc:        {Name: "tcp_src", Match: "tp_src", NXM: "NXM_OF_TCP_SRC", Width: 16, Format: Decimal, Maskable: true, Prereq: NeedTCP},
	TCPDst:        {Name: "tcp_dst", Match: "tp_dst", NXM: "NXM_OF_TCP_DST", Width: 16, Format: Decimal, Maskable: true, Prereq: NeedTCP},
	UDPSrc:        {Name: "udp_src", Match: "tp_src", NXM: "NXM_OF_UDP_SRC", Width: 16, Format: Decimal, Maskable: true, Prereq: NeedUDP},
	UDPDst:        {Name: "udp_dst", Match: "tp_dst", NXM: "NXM_OF_UDP_DST", Width: 16, Format: Decimal, Maskable: true, Prereq: NeedUDP},
	SCTPSrc:       {Name: "sctp_src", Match: "tp_src", NXM: "OXM_OF_SCTP_SRC", Width: 16, Format: Decimal, Maskable: true, Prereq: NeedSCTP},
	SCTPDst:       {Name: "sctp_dst", Match: "tp_dst", NXM: "OXM_OF_SCTP_DST", Width: 16, Format: Decimal, Maskable: true, Prereq: NeedSCTP},
	ICMPType:      {Name: "icmp_type", NXM: "NXM_OF_ICMP_TYPE", Width: 8, Format: Decimal, Prereq: NeedICMP},
	ICMPCode:      {Name: "icmp_code", NXM: "NXM_OF_ICMP_CODE", Width: 8, Format: Decimal, Prereq: NeedICMP},
	ICMPv6Type:    {Name: "icmpv6_type", Match: "icmp_type", NXM: "NXM_NX_ICMPV6_TYPE", Width: 8, Format: Decimal, Prereq: NeedICMPv6},
	ICMPv6Code:    {Name: "icmpv6_code", Match: "icmp_code", NXM: "NXM_NX_ICMPV6_CODE", Width: 8, Format: Decimal, Prereq: NeedICMPv6},
	NDTarget:      {Name: "nd_target", NXM: "NXM_NX_ND_TARGET", Width: 128, Format: IPv6, Maskable: true, Prereq: NeedND},
	NDSLL:         {Name: "nd_sll", NXM: "NXM_NX_ND_SLL", Width: 48, Format: Ethernet, Maskable: true, Prereq: NeedNS},
	NDTLL:         {Name: "nd_tll", NXM: "NXM_NX_ND_TLL", Width: 48, Format: Ethernet, Maskable: true, Prereq: NeedNA},
	NDReserved:    {Name: "nd_reserved", NXM: "ERICOXM_OF_ICMPV6_ND_RESERVED", Width: 32, Format: Decimal, Prereq: NeedND},
	NDOptionsType: {Name: "nd_options_type", NXM: "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", Width: 8, Format: Decimal, Prereq: NeedND},
	VLANTCI:       {Name: "vlan_tci", NXM: "NXM_OF_VLAN_TCI", Width: 16, Format: Hex},
}

// Info is what is known of f; the zero FieldInfo when f is no field.
func (f Field) Info() FieldInfo {
	if f >= numFields {
		return FieldInfo{}
	}
	return fields[f]
}

// Name is the field's own ovs-ofctl name, such as eth_src or reg5.
func (f Field) Name() string { return f.Info().Name }

// String is Name; for FieldNone it is "none".
func (f Field) String() string {
	if f == FieldNone || f >= numFields {
		return "none"
	}
	return f.Name()
}

// MatchName is the name that ovs-ofctl prints for f in a match, such as dl_src or tp_dst.
func (f Field) MatchName() string {
	if m := f.Info().Match; m != "" {
		return m
	}
	return f.Name()
}

// Width is in bits.
func (f Field) Width() uint16 { return f.Info().Width }

// AllOnes is the mask of a full match of f.
func (f Field) AllOnes() Value { return ones(f.Width()) }

// Fields lists every field.
func Fields() []Field {
	var all []Field
	for f := FieldNone + 1; f < numFields; f++ {
		all = append(all, f)
	}
	return all
}

// fieldNames maps every name of a field that we accept, but those that depend on
// the protocol (tp_src, icmp_type).
var fieldNames = func() map[string]Field {
	m := map[string]Field{}
	for _, f := range Fields() {
		i := fields[f]
		m[i.Name] = f
		if i.Match != "" && i.Match != "tp_src" && i.Match != "tp_dst" && f != ICMPv6Type && f != ICMPv6Code {
			m[i.Match] = f
		}
	}
	m["ip_proto"] = IPProto
	m["tunnel_id"] = TunID
	m["in_port_oxm"] = InPortField
	return m
}()

// nxmNames maps the names used for bit ranges. NXM and OXM names of the same width
// are the same field to us; NXM_OF_IN_PORT is 16 bits wide and therefore absent.
var nxmNames = func() map[string]Field {
	m := map[string]Field{}
	for _, f := range Fields() {
		i := fields[f]
		m[i.NXM], m[i.Name] = f, f
	}
	for alias, f := range map[string]Field{
		"OXM_OF_ETH_DST": EthDst, "OXM_OF_ETH_SRC": EthSrc, "OXM_OF_ETH_TYPE": EthType,
		"OXM_OF_IP_PROTO": IPProto, "OXM_OF_IPV4_SRC": IPv4Src, "OXM_OF_IPV4_DST": IPv4Dst,
		"OXM_OF_IPV6_SRC": IPv6Src, "OXM_OF_IPV6_DST": IPv6Dst, "OXM_OF_TUNNEL_ID": TunID,
		"OXM_OF_ARP_OP": ARPOp, "OXM_OF_ARP_SPA": ARPSPA, "OXM_OF_ARP_TPA": ARPTPA,
		"OXM_OF_ARP_SHA": ARPSHA, "OXM_OF_ARP_THA": ARPTHA,
		"OXM_OF_TCP_SRC": TCPSrc, "OXM_OF_TCP_DST": TCPDst, "OXM_OF_UDP_SRC": UDPSrc, "OXM_OF_UDP_DST": UDPDst,
		"OXM_OF_ICMPV4_TYPE": ICMPType, "OXM_OF_ICMPV4_CODE": ICMPCode,
		"OXM_OF_ICMPV6_TYPE": ICMPv6Type, "OXM_OF_ICMPV6_CODE": ICMPv6Code,
		"OXM_OF_IPV6_ND_TARGET": NDTarget, "OXM_OF_IPV6_ND_SLL": NDSLL, "OXM_OF_IPV6_ND_TLL": NDTLL,
		"eth_src": EthSrc, "eth_dst": EthDst,
	} {
		m[alias] = f
	}
	return m
}()

// shorthand is a word of ovs-ofctl that stands for an Ethernet type and an IP protocol.
type shorthand struct {
	word    string
	ethType uint16
	proto   uint8 // 0: any
}

var shorthands = []shorthand{
	{"ip", TypeIPv4, 0}, {"ipv6", TypeIPv6, 0}, {"arp", TypeARP, 0}, {"rarp", TypeRARP, 0},
	{"icmp", TypeIPv4, ProtoICMP}, {"tcp", TypeIPv4, ProtoTCP}, {"udp", TypeIPv4, ProtoUDP}, {"sctp", TypeIPv4, ProtoSCTP},
	{"icmp6", TypeIPv6, ProtoICMPv6}, {"tcp6", TypeIPv6, ProtoTCP}, {"udp6", TypeIPv6, ProtoUDP}, {"sctp6", TypeIPv6, ProtoSCTP},
}

func shorthandFor(ethType uint64, proto uint64) (shorthand, bool) {
	i := slices.IndexFunc(shorthands, func(s shorthand) bool {
		return uint64(s.ethType) == ethType && uint64(s.proto) == proto
	})
	if i < 0 {
		return shorthand{}, false
	}
	return shorthands[i], true
}

// ctFlags are the bits of ct_state, lowest first.
var ctFlags = []string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}

// Bits of ct_state.
const (
	CTNew         = 1 << 0
	CTEstablished = 1 << 1
	CTRelated     = 1 << 2
	CTReply       = 1 << 3
	CTInvalid     = 1 << 4
	CTTracked     = 1 << 5
)

// Reserved OpenFlow port numbers.
const (
	PortInPort = 0xfffffff8
	PortNormal = 0xfffffffa
	PortFlood  = 0xfffffffb
	PortAll    = 0xfffffffc
	PortLocal  = 0xfffffffe
	// PortMax is the first number that no ordinary port has.
	PortMax = 0xff00
)

var portNames = map[uint32]string{
	PortInPort: "IN_PORT", PortNormal: "NORMAL", PortFlood: "FLOOD", PortAll: "ALL", PortLocal: "LOCAL",
}
