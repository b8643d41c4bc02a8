package vswitch

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/model"
)

// Num makes a Value of a number.
func Num(n uint64) Value { return Value{Lo: n} }

func ones(width uint16) Value {
	switch {
	case width == 0:
		return Value{}
	case width <= 64:
		return Value{Lo: ^uint64(0) >> (64 - width)}
	default:
		return Value{Hi: ^uint64(0) >> (128 - width), Lo: ^uint64(0)}
	}
}

func (v Value) and(m Value) Value { return Value{v.Hi & m.Hi, v.Lo & m.Lo} }
func (v Value) isZero() bool      { return v == Value{} }

// Addr reads v as an IPv4 (width 32) or IPv6 (width 128) address.
func (v Value) Addr(width uint16) netip.Addr {
	if width == 32 {
		return netip.AddrFrom4([4]byte{byte(v.Lo >> 24), byte(v.Lo >> 16), byte(v.Lo >> 8), byte(v.Lo)})
	}
	var b [16]byte
	for i := range 8 {
		b[i], b[i+8] = byte(v.Hi>>(56-8*i)), byte(v.Lo>>(56-8*i))
	}
	return netip.AddrFrom16(b)
}

// MAC reads v as a MAC address.
func (v Value) MAC() model.MAC {
	var m model.MAC
	for i := range m {
		m[i] = byte(v.Lo >> (40 - 8*i))
	}
	return m
}

// prefixLen is the length of mask m of the given width as a prefix, or -1.
func prefixLen(m Value, width uint16) int {
	n := bits.LeadingZeros64(^m.Hi)
	if width <= 64 {
		n = bits.LeadingZeros64(^(m.Lo << (64 - width)))
		n = min(n, int(width))
	} else if n == 64 {
		n += bits.LeadingZeros64(^m.Lo)
	}
	if m != prefixMask(n, width) {
		return -1
	}
	return n
}

func prefixMask(n int, width uint16) Value {
	all := ones(width)
	if n <= 0 {
		return Value{}
	}
	if width <= 64 {
		return Num(all.Lo << (int(width) - n) & all.Lo)
	}
	if n <= 64 {
		return Value{Hi: ^uint64(0) << (64 - n)}
	}
	return Value{Hi: ^uint64(0), Lo: ^uint64(0) << (128 - n)}
}

// hex prints n as C's %#x does: zero has no prefix.
func hex(n uint64) string {
	if n == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(n, 16)
}

// formatValue prints a whole value of a field.
func formatValue(f Field, v Value) string {
	switch i := f.Info(); i.Format {
	case Hex, ConntrackState:
		return hex(v.Lo)
	case EthernetType:
		return fmt.Sprintf("0x%04x", v.Lo)
	case Ethernet:
		return v.MAC().String()
	case IPv4, IPv6:
		return addrText(v.Addr(i.Width))
	case PortNumber:
		return portText(uint32(v.Lo))
	default:
		return strconv.FormatUint(v.Lo, 10)
	}
}

// addrText prints an address as OVS reads it back; IPv4-mapped text is avoided.
func addrText(a netip.Addr) string {
	if !a.Is4In6() {
		return a.String()
	}
	b := a.As16()
	return fmt.Sprintf("::ffff:%x:%x", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15]))
}

func portText(n uint32) string {
	if s, ok := portNames[n]; ok {
		return s
	}
	return strconv.FormatUint(uint64(n), 10)
}

// parseNum reads a decimal or 0x number that fits in width bits.
func parseNum(s string, width uint16) (uint64, error) {
	base, digits := 10, s
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		base, digits = 16, rest
	}
	n, err := strconv.ParseUint(digits, base, min(int(width), 64))
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of %d bits", s, width)
	}
	return n, nil
}

func parsePort(s string) (uint32, error) {
	for n, name := range portNames {
		if strings.EqualFold(s, name) {
			return n, nil
		}
	}
	n, err := parseNum(s, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port number", s)
	}
	if _, reserved := portNames[uint32(n)]; n >= PortMax && !reserved {
		return 0, fmt.Errorf("port number %d is out of range", n)
	}
	return uint32(n), nil
}

// parseValue reads a whole value of a field.
func parseValue(f Field, s string) (Value, error) {
	switch i := f.Info(); i.Format {
	case Ethernet:
		return parseMAC(s)
	case IPv4, IPv6:
		if i.Format == IPv4 && strings.HasPrefix(s, "0x") {
			n, err := parseNum(s, 32)
			return Num(n), err
		}
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4() != (i.Format == IPv4) {
			return Value{}, fmt.Errorf("%q is not an address for %s", s, f)
		}
		return AddrValue(a), nil
	case PortNumber:
		n, err := parsePort(s)
		return Num(uint64(n)), err
	default:
		n, err := parseNum(s, i.Width)
		return Num(n), err
	}
}

func parseMAC(s string) (Value, error) {
	m, err := model.ParseMAC(s)
	if err != nil || len(s) != 17 || s[2] != ':' {
		return Value{}, fmt.Errorf("%q is not a MAC address", s)
	}
	return MACValue(m), nil
}
