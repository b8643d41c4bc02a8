package model

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// MAC is a 48-bit Ethernet address. It prints in lower case with colons.
type MAC [6]byte

// ParseMAC reads six octets in hexadecimal, separated by colons or dashes, as three
// dotted groups of four digits, or bare: the forms Neutron's sanitiser accepts.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	var digits string
	switch {
	case len(s) == 17 && (s[2] == ':' || s[2] == '-'):
		parts := strings.Split(s, s[2:3])
		if len(parts) != 6 {
			return m, fmt.Errorf("'%s' is not a valid MAC address", s)
		}
		for _, p := range parts {
			if len(p) != 2 {
				return m, fmt.Errorf("'%s' is not a valid MAC address", s)
			}
		}
		digits = strings.Join(parts, "")
	case len(s) == 14 && s[4] == '.' && s[9] == '.':
		digits = s[:4] + s[5:9] + s[10:]
	case len(s) == 12:
		digits = s
	}
	if len(digits) != 12 {
		return m, fmt.Errorf("'%s' is not a valid MAC address", s)
	}
	if _, err := hex.Decode(m[:], []byte(digits)); err != nil {
		return MAC{}, fmt.Errorf("'%s' is not a valid MAC address", s)
	}
	return m, nil
}

// String prints m as fa:16:3e:00:00:01.
func (m MAC) String() string {
	const hexdigits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, o := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hexdigits[o>>4], hexdigits[o&15])
	}
	return string(b)
}

// IsZero reports whether m is 00:00:00:00:00:00.
func (m MAC) IsZero() bool { return m == MAC{} }

// MarshalText makes a MAC a string in JSON and a usable map key.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText; it accepts what ParseMAC accepts.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}
