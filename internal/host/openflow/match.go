package openflow

import (
	"bytes"
	"cmp"
	"slices"
)

// Field is a match field as its OXM header without the mask bit:
//
//	 31           16 15      9  8 7       0
//	+---------------+---------+--+---------+
//	|     class     |  field  |0 | length  |
//	+---------------+---------+--+---------+
//
// so a field that has no name here is still a Field, of known length.
type Field uint32

// The classes of OXM headers: Nicira's two and the one of the standard.
const (
	classNXM0 = 0x0000 << 16
	classNXM1 = 0x0001 << 16
	classOXM  = 0x8000 << 16
	// classExperimenter has four more bytes of header inside the value.
	classExperimenter = 0xffff
)

// The fields of the standard, by their OXM headers.
const (
	InPort     Field = classOXM | 0<<9 | 4
	Metadata   Field = classOXM | 2<<9 | 8
	EthDst     Field = classOXM | 3<<9 | 6
	EthSrc     Field = classOXM | 4<<9 | 6
	EthType    Field = classOXM | 5<<9 | 2
	VLANVID    Field = classOXM | 6<<9 | 2
	VLANPCP    Field = classOXM | 7<<9 | 1
	IPDSCP     Field = classOXM | 8<<9 | 1
	IPECN      Field = classOXM | 9<<9 | 1
	IPProto    Field = classOXM | 10<<9 | 1
	IPv4Src    Field = classOXM | 11<<9 | 4
	IPv4Dst    Field = classOXM | 12<<9 | 4
	TCPSrc     Field = classOXM | 13<<9 | 2
	TCPDst     Field = classOXM | 14<<9 | 2
	UDPSrc     Field = classOXM | 15<<9 | 2
	UDPDst     Field = classOXM | 16<<9 | 2
	SCTPSrc    Field = classOXM | 17<<9 | 2
	SCTPDst    Field = classOXM | 18<<9 | 2
	ICMPType   Field = classOXM | 19<<9 | 1
	ICMPCode   Field = classOXM | 20<<9 | 1
	ARPOp      Field = classOXM | 21<<9 | 2
	ARPSPA     Field = classOXM | 22<<9 | 4
	ARPTPA     Field = classOXM | 23<<9 | 4
	ARPSHA     Field = classOXM | 24<<9 | 6
	ARPTHA     Field = classOXM | 25<<9 | 6
	IPv6Src    Field = classOXM | 26<<9 | 16
	IPv6Dst    Field = classOXM | 27<<9 | 16
	IPv6Label  Field = classOXM | 28<<9 | 4
	ICMPv6Type Field = classOXM | 29<<9 | 1
	ICMPv6Code Field = classOXM | 30<<9 | 1
	NDTarget   Field = classOXM | 31<<9 | 16
	NDSLL      Field = classOXM | 32<<9 | 6
	NDTLL      Field = classOXM | 33<<9 | 6
	TunID      Field = classOXM | 38<<9 | 8
)

// The fields of Nicira that the standard lacks.
const (
	// VLANTCI is the whole tag; matched only in learn(), where a VID alone has no field.
	VLANTCI Field = classNXM0 | 4<<9 | 2
	Reg0    Field = classNXM1 | 0<<9 | 4
	Reg1    Field = classNXM1 | 1<<9 | 4
	Reg2    Field = classNXM1 | 2<<9 | 4
	Reg3    Field = classNXM1 | 3<<9 | 4
	Reg4    Field = classNXM1 | 4<<9 | 4
	Reg5    Field = classNXM1 | 5<<9 | 4
	Reg6    Field = classNXM1 | 6<<9 | 4
	Reg7    Field = classNXM1 | 7<<9 | 4
	TunSrc  Field = classNXM1 | 31<<9 | 4
	TunDst  Field = classNXM1 | 32<<9 | 4
	PktMark Field = classNXM1 | 33<<9 | 4
	ConjID  Field = classNXM1 | 37<<9 | 4
	CTState Field = classNXM1 | 105<<9 | 4
	CTZone  Field = classNXM1 | 106<<9 | 2
	CTMark  Field = classNXM1 | 107<<9 | 4
	CTLabel Field = classNXM1 | 108<<9 | 16
)

// The fields of neighbour discovery that Ericsson added to Open vSwitch.
const (
	NDReserved    Field = 0x1000<<16 | 1<<9 | 4
	NDOptionsType Field = 0x1000<<16 | 2<<9 | 1
)

// VLANPresent is the bit of VLANVID that says that there is a tag at all.
const VLANPresent = 0x1000

// Len is the length of the field's value in bytes.
func (f Field) Len() int { return int(f & 0xff) }

// bits is the width of the field, which for a few is less than its bytes.
func (f Field) bits() int {
	switch f {
	case VLANVID:
		return 13
	case VLANPCP:
		return 3
	case IPDSCP:
		return 6
	case IPECN:
		return 2
	case IPv6Label:
		return 20
	}
	return 8 * f.Len()
}

// canonical is the one header by which weft knows a field of two names: Open vSwitch
// itself answers with NXM headers in some places and with OXM headers in others.
func (f Field) canonical() Field {
	switch f {
	case classNXM0 | 1<<9 | 6:
		return EthDst
	case classNXM0 | 2<<9 | 6:
		return EthSrc
	case classNXM0 | 3<<9 | 2:
		return EthType
	case classNXM0 | 6<<9 | 1:
		return IPProto
	case classNXM0 | 7<<9 | 4:
		return IPv4Src
	case classNXM0 | 8<<9 | 4:
		return IPv4Dst
	case classNXM0 | 9<<9 | 2:
		return TCPSrc
	case classNXM0 | 10<<9 | 2:
		return TCPDst
	case classNXM0 | 11<<9 | 2:
		return UDPSrc
	case classNXM0 | 12<<9 | 2:
		return UDPDst
	case classNXM0 | 13<<9 | 1:
		return ICMPType
	case classNXM0 | 14<<9 | 1:
		return ICMPCode
	case classNXM0 | 15<<9 | 2:
		return ARPOp
	case classNXM0 | 16<<9 | 4:
		return ARPSPA
	case classNXM0 | 17<<9 | 4:
		return ARPTPA
	}
	return f.canonicalNX()
}

func (f Field) canonicalNX() Field {
	switch f {
	case classNXM1 | 16<<9 | 8:
		return TunID
	case classNXM1 | 17<<9 | 6:
		return ARPSHA
	case classNXM1 | 18<<9 | 6:
		return ARPTHA
	case classNXM1 | 19<<9 | 16:
		return IPv6Src
	case classNXM1 | 20<<9 | 16:
		return IPv6Dst
	case classNXM1 | 21<<9 | 1:
		return ICMPv6Type
	case classNXM1 | 22<<9 | 1:
		return ICMPv6Code
	case classNXM1 | 23<<9 | 16:
		return NDTarget
	case classNXM1 | 24<<9 | 6:
		return NDSLL
	case classNXM1 | 25<<9 | 6:
		return NDTLL
	}
	return f
}

// MatchField is one field of a match.
type MatchField struct {
	Field Field
	Value Value
	// Mask counts only when Masked.
	Mask   Value
	Masked bool
	// Raw is the whole TLV of a field that does not fit a Value (longer than 16
	// bytes, or an experimenter's); then Value and Mask are unused.
	Raw []byte
}

// Match is the fields that a packet must have; empty matches everything.
type Match []MatchField

// appendTo writes an ofp_match with its padding.
func (m Match) appendTo(b []byte) []byte {
	start := len(b)
	b = append(b, 0, 1, 0, 0)
	for i := range m {
		b = m[i].appendTo(b)
	}
	setLen(b, start, 2)
	return pad8(b, start)
}

func (m *MatchField) appendTo(b []byte) []byte {
	if m.Raw != nil {
		return append(b, m.Raw...)
	}
	n := m.Field.Len()
	if !m.Masked {
		return m.Value.appendTo(put32(b, uint32(m.Field)), n)
	}
	b = put32(b, uint32(m.Field)&^0x1ff|1<<8|uint32(2*n))
	return m.Mask.appendTo(m.Value.appendTo(b, n), n)
}

// match reads an ofp_match and its padding.
func (r *reader) match() Match {
	kind, length := r.u16(), int(r.u16())
	if r.err == nil && (kind != 1 || length < 4) {
		r.fail("match of type %d and length %d", kind, length)
	}
	sub := reader{b: r.take(length - 4)}
	r.skip(padding(length))
	if r.err != nil {
		return nil
	}
	var m Match
	if n := len(sub.b); n > 0 {
		m = make(Match, 0, n/7+1)
	}
	for len(sub.b) > 0 && sub.err == nil {
		m = append(m, sub.matchField())
	}
	if sub.err != nil {
		r.err = sub.err
	}
	return m
}

func (r *reader) matchField() MatchField {
	whole := r.b
	h := r.u32()
	n := int(h & 0xff)
	body := r.take(n)
	if r.err != nil {
		return MatchField{}
	}
	masked := h&(1<<8) != 0
	m := MatchField{Field: Field(h &^ 0x1ff), Masked: masked}
	if masked {
		if n%2 != 0 {
			r.fail("match field %#08x: odd length of value and mask", h)
		}
		n /= 2
	}
	m.Field |= Field(n)
	if h>>16 == classExperimenter || n > 16 || n == 0 {
		m.Raw = bytes.Clone(whole[:4+len(body)])
		return m
	}
	m.Value = valueOf(body[:n])
	if masked {
		m.Mask = valueOf(body[n : 2*n])
	}
	return m
}

// canonicalize sorts the match, gives every field its one name, and drops masks that
// are all ones and fields whose mask is all zero.
func (m Match) canonicalize() Match {
	out := m[:0]
	for _, f := range m {
		if f.Raw == nil {
			f.Field = f.Field.canonical()
			all := ones(f.Field.bits())
			switch {
			case !f.Masked:
			case f.Mask.and(all) == all:
				f.Masked, f.Mask = false, Value{}
			case f.Mask == Value{}:
				continue
			default:
				f.Value = f.Value.and(f.Mask)
			}
		}
		out = append(out, f)
	}
	if !slices.IsSortedFunc(out, byField) {
		slices.SortFunc(out, byField)
	}
	return out
}

func byField(a, b MatchField) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), bytes.Compare(a.Raw, b.Raw))
}
