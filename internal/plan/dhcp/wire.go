package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// The fixed part of a message, RFC 2131 section 2:
//
//	0  op htype hlen hops    12 ciaddr    28 chaddr (16)
//	4  xid                   16 yiaddr    44 sname (64)
//	8  secs flags            20 siaddr   108 file (128)
//	                         24 giaddr   236 magic cookie, 240 options
const (
	offSname   = 44
	offFile    = 108
	offCookie  = 236
	offOptions = 240
	// minLength is that of a BOOTP message; relays and old clients drop shorter ones.
	minLength = 300
)

const magicCookie = 0x63825363

// errNotDHCP is the error for octets that are no DHCP message.
var errNotDHCP = errors.New("not a DHCP message")

// Decode reads a DHCP message from b into m, whose option map it reuses.
//
// It differs from the library's own reader in that m refers to b instead of copying it,
// in that a missing end option is forgiven (some boot ROMs forget it), and in that
// options in the sname and file fields are read (option 52).
func Decode(b []byte, m *dhcpv4.DHCPv4) error {
	if len(b) < offOptions || binary.BigEndian.Uint32(b[offCookie:]) != magicCookie {
		return errNotDHCP
	}
	opts := m.Options
	if opts == nil {
		opts = make(dhcpv4.Options, 16)
	}
	clear(opts)
	hlen := min(int(b[2]), 16)
	*m = dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeType(b[0]), HWType: iana.HWType(b[1]), HopCount: b[3],
		TransactionID: dhcpv4.TransactionID(b[4:8]),
		NumSeconds:    binary.BigEndian.Uint16(b[8:]), Flags: binary.BigEndian.Uint16(b[10:]),
		ClientIPAddr: b[12:16:16], YourIPAddr: b[16:20:20], ServerIPAddr: b[20:24:24], GatewayIPAddr: b[24:28:28],
		ClientHWAddr: b[28 : 28+hlen : 28+hlen],
		Options:      opts,
	}
	if err := decodeOptions(b[offOptions:], opts); err != nil {
		return err
	}
	overload := opts[52]
	sname, file := b[offSname:offFile], b[offFile:offCookie]
	if len(overload) == 1 && overload[0]&1 != 0 {
		if err := decodeOptions(file, opts); err != nil {
			return err
		}
	} else {
		m.BootFileName = cString(file)
	}
	if len(overload) == 1 && overload[0]&2 != 0 {
		return decodeOptions(sname, opts)
	}
	m.ServerHostName = cString(sname)
	return nil
}

func cString(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func decodeOptions(b []byte, into dhcpv4.Options) error {
	for len(b) > 0 {
		code := b[0]
		if code == 255 {
			return nil
		}
		if code == 0 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return fmt.Errorf("%w: option %d is cut off", errNotDHCP, code)
		}
		n := 2 + int(b[1])
		v := b[2:n:n]
		if old, ok := into[code]; ok {
			// RFC 3396: the parts of a long option follow each other. The old slice's capacity
			// ends with it, so this copies.
			v = append(old, v...)
		}
		into[code] = v
		b = b[n:]
	}
	return nil
}

// wireOrder is the order in which options are written: what a client cannot do without
// first, since what does not fit in the end is left out. Options that are not listed
// follow in ascending order, and 82 is last as RFC 3046 wants.
var wireOrder = [...]uint8{53, 54, 51, 58, 59, 1, 28, 3, 6, 12, 15, 26, 121, 61, 249}

// Append writes m to dst as at most limit octets, padded to the length of a BOOTP
// message. Options that do not fit go into the file and sname fields when these are
// empty (option 52); what does not fit there either is left out and returned.
func Append(dst []byte, m *dhcpv4.DHCPv4, limit int) (out []byte, left []uint8) {
	start := len(dst)
	dst = append(dst, make([]byte, offOptions)...)
	h := dst[start:]
	h[0], h[1], h[2], h[3] = byte(m.OpCode), byte(m.HWType), byte(len(m.ClientHWAddr)), m.HopCount
	copy(h[4:8], m.TransactionID[:])
	binary.BigEndian.PutUint16(h[8:], m.NumSeconds)
	binary.BigEndian.PutUint16(h[10:], m.Flags)
	copy(h[12:16], m.ClientIPAddr)
	copy(h[16:20], m.YourIPAddr)
	copy(h[20:24], m.ServerIPAddr)
	copy(h[24:28], m.GatewayIPAddr)
	copy(h[28:44], m.ClientHWAddr)
	copy(h[offSname:offFile-1], m.ServerHostName)
	copy(h[offFile:offCookie-1], m.BootFileName)
	binary.BigEndian.PutUint32(h[offCookie:], magicCookie)

	codes := order(m.Options)
	// Most messages fit; then none of what follows matters.
	if total := optionsLength(m.Options); total+1 <= limit-offOptions {
		for _, c := range codes {
			dst = appendOption(dst, c, m.Options[c])
		}
		dst = append(dst, 255)
	} else {
		dst, left = appendOverloaded(dst, m, codes, start, limit)
	}
	for len(dst)-start < minLength {
		dst = append(dst, 0)
	}
	return dst, left
}

// order lists the codes of o in the order of writing.
func order(o dhcpv4.Options) []uint8 {
	codes := make([]uint8, 0, 32)
	var seen [256]bool
	for _, c := range wireOrder {
		if _, ok := o[c]; ok {
			codes = append(codes, c)
			seen[c] = true
		}
	}
	n := len(codes)
	_, relayed := o[82]
	for c := range o {
		if !seen[c] && c != 82 && c != 0 && c != 255 {
			codes = append(codes, c)
		}
	}
	slices.Sort(codes[n:])
	if relayed {
		codes = append(codes, 82)
	}
	return codes
}

func optionsLength(o dhcpv4.Options) int {
	total := 0
	for _, v := range o {
		total += optionLength(v)
	}
	return total
}

// optionLength counts the headers of all parts of an option of more than 255 octets.
func optionLength(v []byte) int {
	return len(v) + 2*max(1, (len(v)+254)/255)
}

func appendOption(dst []byte, code uint8, v []byte) []byte {
	for {
		n := min(len(v), 255)
		dst = append(dst, code, byte(n))
		dst = append(dst, v[:n]...)
		if v = v[n:]; len(v) == 0 {
			return dst
		}
	}
}

// appendOverloaded places each option in the first area with room for it.
func appendOverloaded(dst []byte, m *dhcpv4.DHCPv4, codes []uint8, start, limit int) ([]byte, []uint8) {
	file := make([]byte, 0, offCookie-offFile)
	sname := make([]byte, 0, offFile-offSname)
	// Room for option 52 and the end, and for the relay's option, which must come back.
	room := limit - offOptions - 3 - 1
	if v, ok := m.Options[82]; ok {
		room -= optionLength(v)
	}
	var left []uint8
	for _, c := range codes {
		v := m.Options[c]
		n := optionLength(v)
		switch {
		case c == 82:
		case n <= room:
			dst = appendOption(dst, c, v)
			room -= n
		case m.BootFileName == "" && len(file)+n < cap(file):
			file = appendOption(file, c, v)
		case m.ServerHostName == "" && len(sname)+n < cap(sname):
			sname = appendOption(sname, c, v)
		default:
			left = append(left, c)
		}
	}
	var overload byte
	if len(file) > 0 {
		overload |= 1
		copy(dst[start+offFile:], append(file, 255))
	}
	if len(sname) > 0 {
		overload |= 2
		copy(dst[start+offSname:], append(sname, 255))
	}
	if overload != 0 {
		dst = append(dst, 52, 1, overload)
	}
	if v, ok := m.Options[82]; ok {
		dst = appendOption(dst, 82, v)
	}
	return append(dst, 255), left
}

// userClass reports whether a user class option (RFC 3004, or the bare text that iPXE
// and others send) is or contains name.
func userClass(v []byte, name string) bool { return strings.Contains(string(v), name) }
