package vswitch

import (
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Match builds the match of a flow. Each method returns a longer match and leaves
// its receiver alone, so a common beginning can be shared.
type Match []FieldMatch

// Any matches every packet: the beginning of a match.
func Any() Match { return nil }

// Is adds a full match of a field.
func (m Match) Is(f Field, v Value) Match { return m.Masked(f, v, f.AllOnes()) }

// Masked adds a match of the bits of a field that are in mask.
func (m Match) Masked(f Field, v, mask Value) Match {
	return append(slices.Clip(m), FieldMatch{f, v, mask})
}

// InPort matches the port that the packet came in by.
func (m Match) InPort(p uint32) Match { return m.Is(InPortField, Num(uint64(p))) }

// Untagged matches packets without a VLAN tag.
func (m Match) Untagged() Match { return m.Is(VLANVID, Value{}) }

// VLAN matches packets tagged with a VLAN ID.
func (m Match) VLAN(id uint16) Match { return m.Is(VLANVID, Num(uint64(id)|VLANPresent)) }

// Reg matches a whole register.
func (m Match) Reg(f Field, v uint32) Match { return m.Is(f, Num(uint64(v))) }

// EthSrc matches the source MAC address.
func (m Match) EthSrc(a model.MAC) Match { return m.Is(EthSrc, MACValue(a)) }

// EthDst matches the destination MAC address.
func (m Match) EthDst(a model.MAC) Match { return m.Is(EthDst, MACValue(a)) }

// Multicast matches broadcast and multicast frames.
func (m Match) Multicast() Match { return m.Masked(EthDst, Num(1<<40), Num(1<<40)) }

// Unicast matches all other frames.
func (m Match) Unicast() Match { return m.Masked(EthDst, Value{}, Num(1<<40)) }

// Type matches an Ethernet type.
func (m Match) Type(t uint16) Match { return m.Is(EthType, Num(uint64(t))) }

// ARP matches ARP.
func (m Match) ARP() Match { return m.Type(TypeARP) }

// IPv4 matches IPv4.
func (m Match) IPv4() Match { return m.Type(TypeIPv4) }

// IPv6 matches IPv6.
func (m Match) IPv6() Match { return m.Type(TypeIPv6) }

// Proto matches an IP protocol; IPv4 or IPv6 must come with it.
func (m Match) Proto(p uint8) Match { return m.Is(IPProto, Num(uint64(p))) }

// UDP matches UDP over IPv4 with the given ports.
func (m Match) UDP(src, dst uint16) Match {
	return m.IPv4().Proto(ProtoUDP).Is(UDPSrc, Num(uint64(src))).Is(UDPDst, Num(uint64(dst)))
}

// UDP6 matches UDP over IPv6 with the given ports.
func (m Match) UDP6(src, dst uint16) Match {
	return m.IPv6().Proto(ProtoUDP).Is(UDPSrc, Num(uint64(src))).Is(UDPDst, Num(uint64(dst)))
}

// ICMPv6 matches an ICMPv6 type.
func (m Match) ICMPv6(typ uint8) Match {
	return m.IPv6().Proto(ProtoICMPv6).Is(ICMPv6Type, Num(uint64(typ)))
}

// Prefix matches an address field against a prefix; a prefix of length 0 matches all.
func (m Match) Prefix(f Field, p netip.Prefix) Match {
	return m.Masked(f, AddrValue(p.Addr()), prefixMask(p.Bits(), f.Width()))
}

// Addr matches an address field.
func (m Match) Addr(f Field, a netip.Addr) Match { return m.Is(f, AddrValue(a)) }

// NewFlow makes a normal flow. No actions means drop.
func NewFlow(table uint8, priority uint16, cookie uint64, m Match, actions ...Action) Flow {
	return Flow{Table: table, Priority: priority, Cookie: cookie, Match: m, Actions: actions}.Normalize()
}

// SetReg is the action that writes a whole register.
func SetReg(f Field, v uint32) Action { return SetField{f, Num(uint64(v))} }

// SetVLAN is the action that writes the VLAN ID of a tagged packet.
func SetVLAN(id uint16) Action { return SetField{VLANVID, Num(uint64(id) | VLANPresent)} }
