package firewall

import (
	"net/netip"
	"strconv"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// service is what a rule says of a packet but for its remote group: comparable, so that
// rules of any groups which say the same share a flow. The zero value of family is none.
type service struct {
	family uint16 // Ethernet type
	// proto is the IP protocol if hasProto.
	hasProto bool
	proto    uint8
	// port and mask match the destination port; mask 0 is any.
	port, mask uint16
	// typ and code are those of ICMP; -1 is any.
	typ, code int16
	// remote is the other side; invalid is any.
	remote netip.Prefix
}

// any reports whether all packets of the family match.
func (s service) any() bool { return !s.hasProto && !s.remote.IsValid() }

// onlyRemote reports whether all packets of the remote prefix match.
func (s service) onlyRemote() bool { return !s.hasProto && s.remote.IsValid() }

// match is the service in one direction of a port: the remote is who sends or who receives.
func (s service) match(egress bool) vswitch.Match {
	m := match().Type(s.family)
	if s.remote.IsValid() {
		m = m.Prefix(remoteField(s.family, egress), s.remote)
	}
	if !s.hasProto {
		return m
	}
	m = m.Proto(s.proto)
	if s.mask != 0 {
		m = m.Masked(portFields[s.proto], vswitch.Num(uint64(s.port)), vswitch.Num(uint64(s.mask)))
	}
	typ, code := vswitch.ICMPType, vswitch.ICMPCode
	if s.family == vswitch.TypeIPv6 {
		typ, code = vswitch.ICMPv6Type, vswitch.ICMPv6Code
	}
	if s.typ >= 0 {
		m = m.Is(typ, vswitch.Num(uint64(s.typ)))
	}
	if s.code >= 0 {
		m = m.Is(code, vswitch.Num(uint64(s.code)))
	}
	return m
}

func remoteField(family uint16, egress bool) vswitch.Field {
	switch {
	case family == vswitch.TypeIPv4 && egress:
		return vswitch.IPv4Dst
	case family == vswitch.TypeIPv4:
		return vswitch.IPv4Src
	case egress:
		return vswitch.IPv6Dst
	}
	return vswitch.IPv6Src
}

// portFields are the destination ports that a switch can match.
var portFields = map[uint8]vswitch.Field{
	vswitch.ProtoTCP: vswitch.TCPDst, vswitch.ProtoUDP: vswitch.UDPDst, vswitch.ProtoSCTP: vswitch.SCTPDst,
}

// familyOf is the Ethernet type of a rule's ethertype; 0 if it is none.
func familyOf(ethertype string) uint16 {
	switch ethertype {
	case "IPv4":
		return vswitch.TypeIPv4
	case "IPv6":
		return vswitch.TypeIPv6
	}
	return 0
}

// services are what a rule lets pass, apart from remote groups: none if the switch cannot
// tell (ports of a protocol whose ports Open vSwitch does not know, such as DCCP): such
// a rule admits nothing.
func services(r *view.Rule) []service {
	s := service{family: familyOf(r.Ethertype), typ: -1, code: -1}
	if s.family == 0 {
		return nil
	}
	if p := r.RemotePrefix; p.IsValid() && p.Bits() > 0 {
		s.remote = p.Masked()
	}
	if r.Protocol == "" {
		if r.PortMin != nil || r.PortMax != nil {
			return nil
		}
		return []service{s}
	}
	n, err := strconv.ParseUint(model.ProtocolNumber(r.Protocol, r.Ethertype), 10, 8)
	if err != nil {
		return nil
	}
	s.hasProto, s.proto = true, uint8(n)
	switch {
	case r.PortMin == nil && r.PortMax == nil:
		return []service{s}
	case isICMP(s):
		if r.PortMin != nil {
			s.typ = int16(*r.PortMin)
		}
		if r.PortMax != nil {
			s.code = int16(*r.PortMax)
		}
		return []service{s}
	case portFields[s.proto] == vswitch.FieldNone || r.PortMin == nil || r.PortMax == nil:
		return nil
	}
	var all []service
	for _, m := range portMasks(uint32(*r.PortMin), uint32(*r.PortMax)) {
		s.port, s.mask = m[0], m[1]
		all = append(all, s)
	}
	return all
}

func isICMP(s service) bool {
	return s.family == vswitch.TypeIPv4 && s.proto == vswitch.ProtoICMP || s.family == vswitch.TypeIPv6 && s.proto == vswitch.ProtoICMPv6
}

// portMasks covers a range of ports, ends included, by as few values with masks as it takes.
// All of 0..65535 is one with mask 0.
func portMasks(first, last uint32) [][2]uint16 {
	var all [][2]uint16
	for first <= last && last <= 0xffff {
		size := uint32(1)
		for first&(2*size-1) == 0 && first+2*size-1 <= last {
			size *= 2
		}
		all = append(all, [2]uint16{uint16(first), uint16(0x10000 - size)})
		first += size
	}
	return all
}
