package neutron

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"weft/internal/model"
)

// The converters below take a value as encoding/json decoded it (numbers as
// json.Number) or a string from a query, and give the Go value. Their reasons are
// without a final full stop: invalidFor and invalidInput add it.

// Lengths that Neutron's tables allow.
const (
	maxName        = 255
	maxDescription = 255
	maxProject     = 255
	maxDevice      = 255
	maxProvider    = 64
)

// toBool accepts what Neutron's strict boolean conversion accepts.
func toBool(v any) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(pyStr(v))) {
	case "1", "t", "true", "on", "y", "yes":
		return true, nil
	case "0", "f", "false", "off", "n", "no":
		return false, nil
	}
	return false, invalidInput("'%s' cannot be converted to boolean", pyStr(v))
}

// toInt accepts numbers, numbers in strings and booleans; a fraction is cut off, as
// Neutron does.
func toInt(v any) (int64, error) {
	fail := invalidInput("'%s' is not an integer", pyStr(v))
	var text string
	switch v := v.(type) {
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case string:
		text = strings.TrimSpace(v)
	case json.Number:
		if f, err := v.Float64(); err == nil && f > -1e15 && f < 1e15 {
			return int64(f), nil
		}
		return 0, fail
	default:
		return 0, fail
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || !n.IsInt64() {
		return 0, fail
	}
	return n.Int64(), nil
}

// toString checks that v is a string of at most limit characters.
func toString(v any, limit int) (string, string) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Sprintf("'%s' is not a valid string", pyStr(v))
	}
	if len(s) > limit && utf8.RuneCountInString(s) > limit {
		return "", fmt.Sprintf("'%s' exceeds maximum length of %d", s, limit)
	}
	return s, ""
}

// toUUID checks the form; the text is kept as given, because IDs are compared as text.
func toUUID(v any) (string, string) {
	s, ok := v.(string)
	if !ok || !isUUID(s) {
		return "", fmt.Sprintf("'%s' is not a valid UUID", pyStr(v))
	}
	return s, ""
}

// isUUID accepts what Neutron accepts: 32 hexadecimal digits, dashes anywhere, urn: and braces.
func isUUID(s string) bool {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		return isHex(s[:8]) && isHex(s[9:13]) && isHex(s[14:18]) && isHex(s[19:23]) && isHex(s[24:])
	}
	s = strings.TrimPrefix(strings.ToLower(s), "urn:uuid:")
	s = strings.ReplaceAll(strings.Trim(s, "{}"), "-", "")
	return len(s) == 32 && isHex(s)
}

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

// toAddr reads an IP address. A zone or leading zeros are refused.
func toAddr(v any) (netip.Addr, string) {
	s, _ := v.(string)
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Sprintf("'%s' is not a valid IP address", pyStr(v))
	}
	return a, ""
}

// toCIDR reads a prefix; an address alone is a prefix of full length, and host bits are
// dropped, both as Neutron does.
func toCIDR(v any) (netip.Prefix, error) {
	s, _ := v.(string)
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, invalidInput("%s is not in a CIDR format", pyStr(v))
}

// toSubnet reads a prefix where Neutron checks without converting (host routes).
func toSubnet(v any) (netip.Prefix, string) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			return netip.Prefix{}, fmt.Sprintf("'%s' isn't a recognized IP subnet cidr, '%s' is recommended",
				s, netip.PrefixFrom(a, a.BitLen()))
		}
		return netip.Prefix{}, fmt.Sprintf("'%s' is not a valid IP subnet", pyStr(v))
	}
	return p.Masked(), ""
}

// toMAC reads a unicast or multicast MAC address other than all zeros and all ones.
func toMAC(v any) (model.MAC, string) {
	s, _ := v.(string)
	m, err := model.ParseMAC(s)
	if err != nil || m.IsZero() || m == (model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
		return model.MAC{}, fmt.Sprintf("'%s' is not a valid MAC address", pyStr(v))
	}
	return m, ""
}

// oneOf checks that v is one of the strings allowed.
func oneOf(v any, allowed []string) (string, string) {
	if s, ok := v.(string); ok && slices.Contains(allowed, s) {
		return s, ""
	}
	return "", fmt.Sprintf("%s is not in %s", pyStr(v), pyRepr(allowed))
}

// toDict checks that v is an object with exactly the keys named.
func toDict(v any, keys ...string) (map[string]any, string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Sprintf("Invalid input. '%s' must be a dictionary with keys: %s", pyStr(v), pyRepr(keys))
	}
	same := len(m) == len(keys)
	for _, k := range keys {
		_, has := m[k]
		same = same && has
	}
	if !same {
		provided := make([]string, 0, len(m))
		for k := range m {
			provided = append(provided, k)
		}
		slices.Sort(provided)
		return nil, fmt.Sprintf("Validation of dictionary's keys failed. Expected keys: %s Provided keys: %s",
			pySet(keys), pySet(provided))
	}
	return m, ""
}

// sortedKeys are the keys of an object in order, so that which of several faults is told
// of does not depend on chance.
func sortedKeys(d map[string]any) []string {
	return slices.Sorted(maps.Keys(d))
}

// pySet writes strings as Neutron's language writes a set.
func pySet(s []string) string {
	if len(s) == 0 {
		return "set()"
	}
	r := pyRepr(s)
	return "{" + r[1:len(r)-1] + "}"
}
