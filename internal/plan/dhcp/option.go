package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/model"
)

// form is the way in which the text of an option becomes octets.
type form uint8

const (
	formGuess  form = iota // by the look of the text, as dnsmasq does for options unknown to it
	formAddrs              // addresses, comma separated; 0.0.0.0 means the server itself
	formText               // the text as it is
	formNames              // domain names in DNS encoding (RFC 3397), uncompressed
	formUint8              //
	formUint16             //
	formUint32             //
	formTime               // seconds, or a number with s, m, h, d, w, or infinite
	formRoutes             // prefix, router, prefix, router, ... (RFC 3442)
	formSIP                // names or addresses, told apart by a first octet (RFC 3361)
	formHex                // octets, with or without colons
)

// codeSiaddr is the header field siaddr, which extra_dhcp_opts sets by the name
// server-ip-address. No option has this code: 255 ends the options.
const codeSiaddr = 255

// optionForm describes an option that extra_dhcp_opts may name.
type optionForm struct {
	name string
	code uint8
	form form
}

// optionForms are the options by the names under which dnsmasq knows them, which are
// the names that users of Neutron write.
var optionForms = []optionForm{
	{"netmask", 1, formAddrs}, {"time-offset", 2, formUint32}, {"router", 3, formAddrs}, {"dns-server", 6, formAddrs},
	{"log-server", 7, formAddrs}, {"lpr-server", 9, formAddrs}, {"hostname", 12, formText}, {"boot-file-size", 13, formUint16},
	{"domain-name", 15, formText}, {"swap-server", 16, formAddrs}, {"root-path", 17, formText}, {"extension-path", 18, formText},
	{"ip-forward-enable", 19, formUint8}, {"non-local-source-routing", 20, formUint8}, {"policy-filter", 21, formAddrs},
	{"max-datagram-reassembly", 22, formUint16}, {"default-ttl", 23, formUint8}, {"mtu", 26, formUint16},
	{"all-subnets-local", 27, formUint8}, {"broadcast", 28, formAddrs}, {"router-discovery", 31, formUint8},
	{"router-solicitation", 32, formAddrs}, {"static-route", 33, formAddrs}, {"trailer-encapsulation", 34, formUint8},
	{"arp-timeout", 35, formUint32}, {"ethernet-encap", 36, formUint8}, {"tcp-ttl", 37, formUint8}, {"tcp-keepalive", 38, formUint32},
	{"nis-domain", 40, formText}, {"nis-server", 41, formAddrs}, {"ntp-server", 42, formAddrs}, {"vendor-encap", 43, formGuess},
	{"netbios-ns", 44, formAddrs}, {"netbios-dd", 45, formAddrs}, {"netbios-nodetype", 46, formUint8}, {"netbios-scope", 47, formText},
	{"x-windows-fs", 48, formAddrs}, {"x-windows-dm", 49, formAddrs}, {"T1", 58, formTime}, {"T2", 59, formTime},
	{"vendor-class", 60, formText}, {"nis+-domain", 64, formText}, {"nis+-server", 65, formAddrs}, {"tftp-server", 66, formText},
	{"bootfile-name", 67, formText}, {"mobile-ip-home", 68, formAddrs}, {"smtp-server", 69, formAddrs}, {"pop3-server", 70, formAddrs},
	{"nntp-server", 71, formAddrs}, {"irc-server", 74, formAddrs}, {"user-class", 77, formText}, {"client-arch", 93, formUint16},
	{"client-interface-id", 94, formGuess}, {"client-machine-id", 97, formHex}, {"posix-timezone", 100, formText},
	{"tzdb-timezone", 101, formText}, {"ipv6-only", 108, formUint32}, {"domain-search", 119, formNames}, {"sip-server", 120, formSIP},
	{"classless-static-route", 121, formRoutes}, {"vendor-id-encap", 125, formGuess}, {"tftp-server-address", 150, formAddrs},
	{"", 249, formRoutes}, {"server-ip-address", codeSiaddr, formAddrs},
}

// refused are the options that follow from the protocol: a port cannot choose them.
func refused(code uint8) bool {
	switch code {
	case 0, 50, 51, 52, 53, 54, 55, 57, 81, 82:
		return true
	}
	return false
}

// extraOption is one extra_dhcp_opts entry, encoded.
type extraOption struct {
	code  uint8
	value []byte
	// tag, if not empty, makes the option conditional, as in "tag:!ipxe,bootfile-name".
	tag    string
	negate bool
}

// OptionFault says that an extra_dhcp_opts entry of a port cannot be sent, and why.
type OptionFault struct {
	PortID model.PortID
	Name   string
	Value  string
	Err    error
}

func (f OptionFault) Error() string {
	return fmt.Sprintf("DHCP option %q of port %s: %v", f.Name, f.PortID, f.Err)
}

// Unwrap gives the cause.
func (f OptionFault) Unwrap() error { return f.Err }

// isClientID reports whether an extra_dhcp_opts entry names the client rather than an option to send.
func isClientID(name string) bool {
	switch strings.TrimPrefix(name, "option:") {
	case "client-id", "61":
		return true
	}
	return false
}

// clientID reads the value of a client-id entry: octets in hexadecimal with colons, or text.
func clientID(value string) []byte {
	if b, ok := hexOctets(value); ok {
		return b
	}
	return []byte(value)
}

func hexOctets(s string) ([]byte, bool) {
	if !strings.Contains(s, ":") {
		return nil, false
	}
	var out []byte
	for p := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) > 2 {
			return nil, false
		}
		out = append(out, byte(n))
	}
	return out, true
}

// encodeOption turns one extra_dhcp_opts entry into octets. self is the server's address.
func encodeOption(o model.DHCPOption, self netip.Addr) (extraOption, error) {
	var e extraOption
	name := o.Name
	if rest, ok := strings.CutPrefix(name, "tag:"); ok {
		tag, after, ok := strings.Cut(rest, ",")
		if !ok {
			return e, fmt.Errorf("a tag without an option")
		}
		e.tag, e.negate = strings.TrimPrefix(tag, "!"), strings.HasPrefix(tag, "!")
		name = after
	}
	f, err := lookupOption(strings.TrimPrefix(name, "option:"))
	if err != nil {
		return e, err
	}
	e.code = f.code
	// Neutron passes on the first line only.
	value, _, _ := strings.Cut(o.Value, "\n")
	if value == "" {
		if f.code == codeSiaddr {
			return e, fmt.Errorf("an address is needed")
		}
		return e, nil
	}
	e.value, err = encodeValue(f.form, value, self)
	if err != nil {
		return e, fmt.Errorf("value %q: %w", value, err)
	}
	if f.code == codeSiaddr && len(e.value) != 4 {
		return e, fmt.Errorf("value %q: one address is needed", value)
	}
	// More would not fit into any message.
	if len(e.value) > 1024 {
		return e, fmt.Errorf("value of %d octets is too long", len(e.value))
	}
	return e, nil
}

func lookupOption(name string) (optionForm, error) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil {
		if n == 0 || n >= 255 || refused(uint8(n)) {
			return optionForm{}, fmt.Errorf("option %d cannot be set", n)
		}
		for _, f := range optionForms {
			if f.code == uint8(n) {
				return f, nil
			}
		}
		return optionForm{code: uint8(n)}, nil
	}
	for _, f := range optionForms {
		if f.name != "" && strings.EqualFold(f.name, name) {
			return f, nil
		}
	}
	return optionForm{}, fmt.Errorf("no such option")
}

func encodeValue(f form, s string, self netip.Addr) ([]byte, error) {
	switch f {
	case formAddrs:
		return encodeAddrs(s, self)
	case formText:
		return []byte(unquote(s)), nil
	case formNames:
		return encodeNames(nil, s)
	case formUint8:
		return encodeUint(s, 1)
	case formUint16:
		return encodeUint(s, 2)
	case formUint32:
		return encodeUint(s, 4)
	case formTime:
		return encodeTime(s)
	case formRoutes:
		return encodeRoutesText(s)
	case formSIP:
		if b, err := encodeAddrs(s, self); err == nil {
			return append([]byte{1}, b...), nil
		}
		return encodeNames([]byte{0}, s)
	case formHex:
		if b, ok := hexOctets(s); ok {
			return b, nil
		}
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("not hexadecimal")
		}
		return b, nil
	}
	return guess(s, self), nil
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// guess encodes a value of an option whose form is not known: addresses, one number
// (in as many octets as it needs), octets in hexadecimal with colons, or else text.
func guess(s string, self netip.Addr) []byte {
	if b, err := encodeAddrs(s, self); err == nil {
		return b
	}
	if b, ok := hexOctets(s); ok {
		return b
	}
	digits, size := s, 0
	if n := len(s) - 1; n > 0 {
		if i := strings.IndexByte("bsi", s[n]); i >= 0 {
			digits, size = s[:n], 1<<i
		}
	}
	if v, err := strconv.ParseUint(digits, 10, 32); err == nil {
		switch {
		case size != 0:
		case v <= math.MaxUint8:
			size = 1
		case v <= math.MaxUint16:
			size = 2
		default:
			size = 4
		}
		if b, err := encodeUint(digits, size); err == nil {
			return b
		}
	}
	return []byte(unquote(s))
}

func encodeAddrs(s string, self netip.Addr) ([]byte, error) {
	var out []byte
	for p := range strings.SplitSeq(s, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(p))
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 address", p)
		}
		if a.IsUnspecified() && self.IsValid() {
			a = self
		}
		out = append(out, a.AsSlice()...)
	}
	return out, nil
}

func encodeUint(s string, size int) ([]byte, error) {
	// time-offset and the like are written with a sign.
	n, err := strconv.ParseInt(strings.TrimSpace(s), 0, 64)
	if err != nil || n >= 1<<(8*size) || n < -(1<<(8*size-1)) {
		return nil, fmt.Errorf("not a number of %d octets", size)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return b[8-size:], nil
}

func encodeTime(s string) ([]byte, error) {
	if s == "infinite" {
		return []byte{255, 255, 255, 255}, nil
	}
	unit := uint64(1)
	if i := strings.IndexByte("smhdwSMHDW", s[len(s)-1]); i >= 0 {
		unit = []uint64{1, 60, 3600, 86400, 7 * 86400}[i%5]
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n*unit > math.MaxUint32 {
		return nil, fmt.Errorf("not a time")
	}
	return binary.BigEndian.AppendUint32(nil, uint32(n*unit)), nil
}

func encodeNames(out []byte, s string) ([]byte, error) {
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSuffix(strings.TrimSpace(name), ".")
		if name == "" || len(name) > 253 {
			return nil, fmt.Errorf("%q is not a domain name", name)
		}
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > 63 {
				return nil, fmt.Errorf("%q is not a domain name", name)
			}
			out = append(out, byte(len(label)))
			out = append(out, label...)
		}
		out = append(out, 0)
	}
	return out, nil
}

func encodeRoutesText(s string) ([]byte, error) {
	parts := strings.Split(s, ",")
	if len(parts)%2 != 0 {
		return nil, fmt.Errorf("pairs of prefix and router are needed")
	}
	var rs []model.Route
	for i := 0; i < len(parts); i += 2 {
		dst, err := netip.ParsePrefix(strings.TrimSpace(parts[i]))
		if err != nil {
			// A bare address is a host.
			a, aerr := netip.ParseAddr(strings.TrimSpace(parts[i]))
			if aerr != nil {
				return nil, fmt.Errorf("%q is not a prefix", parts[i])
			}
			dst = netip.PrefixFrom(a, a.BitLen())
		}
		via, err := netip.ParseAddr(strings.TrimSpace(parts[i+1]))
		if err != nil || !via.Is4() || !dst.Addr().Is4() {
			return nil, fmt.Errorf("%q via %q is not an IPv4 route", parts[i], parts[i+1])
		}
		rs = append(rs, model.Route{Destination: dst, NextHop: via})
	}
	return encodeRoutes(rs), nil
}

// encodeRoutes packs routes as RFC 3442 says: the prefix length, only the octets of the
// destination that matter, the router.
func encodeRoutes(rs []model.Route) []byte {
	var out []byte
	for _, r := range rs {
		d := r.Destination.Masked()
		a, via := d.Addr().As4(), r.NextHop.As4()
		out = append(out, byte(d.Bits()))
		out = append(out, a[:(d.Bits()+7)/8]...)
		out = append(out, via[:]...)
	}
	return out
}
