package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/model"
)

// Line says in a line what a packet is, nearly as tcpdump -n does, without time and direction.
func Line(p Packet) string {
	d := p.Data
	if len(d) < network {
		return fmt.Sprintf("%d bytes, too short for Ethernet", p.Len)
	}
	body := d[network:]
	switch typ := binary.BigEndian.Uint16(d[etherType:]); typ {
	case typeARP:
		return arpLine(body)
	case typeIP4:
		return ip4Line(body)
	case typeIP6:
		return ip6Line(body)
	default:
		return fmt.Sprintf("%s > %s, ethertype 0x%04x, length %d", macAt(d, 6), macAt(d, 0), typ, p.Len)
	}
}

func macAt(d []byte, i int) model.MAC { return model.MAC(d[i : i+6]) }

func addrAt(d []byte, i, n int) netip.Addr { a, _ := netip.AddrFromSlice(d[i : i+n]); return a }

func u16(d []byte, i int) int { return int(binary.BigEndian.Uint16(d[i:])) }

func arpLine(b []byte) string {
	if len(b) < 28 {
		return "ARP, cut off"
	}
	sender, target := addrAt(b, 14, 4), addrAt(b, 24, 4)
	switch op := u16(b, 6); op {
	case 1:
		return fmt.Sprintf("ARP, request who-has %s tell %s (%s)", target, sender, macAt(b, 8))
	case 2:
		return fmt.Sprintf("ARP, reply %s is-at %s to %s", sender, macAt(b, 8), target)
	default:
		return fmt.Sprintf("ARP, operation %d, %s to %s", op, sender, target)
	}
}

func ip4Line(b []byte) string {
	if len(b) < 20 {
		return "IP, cut off"
	}
	n, src, dst := int(b[0]&15)*4, addrAt(b, 12, 4), addrAt(b, 16, 4)
	if off := u16(b, 6) & 0x1fff; off != 0 {
		return fmt.Sprintf("IP %s > %s: %s fragment at %d", src, dst, protocolName(b[9]), 8*off)
	}
	return "IP " + transportLine(b[9], src, dst, b[min(max(n, 20), len(b)):], max(0, u16(b, 2)-n))
}

func ip6Line(b []byte) string {
	if len(b) < 40 {
		return "IP6, cut off"
	}
	next, src, dst, length := b[6], addrAt(b, 8, 16), addrAt(b, 24, 16), u16(b, 4)
	b = b[40:]
	// Hop by hop options go before what multicast listeners report.
	for (next == 0 || next == 60) && len(b) >= 8 {
		skip := 8 + 8*int(b[1])
		next, length = b[0], length-skip
		b = b[min(skip, len(b)):]
	}
	return "IP6 " + transportLine(next, src, dst, b, max(0, length))
}

func protocolName(p byte) string {
	for name, n := range transports {
		if n == int(p) {
			return strings.ToUpper(name)
		}
	}
	return fmt.Sprintf("protocol %d", p)
}

// transportLine is what is in an IP packet; length is that of the body, which may be cut off.
func transportLine(proto byte, src, dst netip.Addr, b []byte, length int) string {
	ends := fmt.Sprintf("%s > %s: ", src, dst)
	need := map[byte]int{protoTCP: 20, protoUDP: 8, protoICMP: 8, protoICMP6: 8}[proto]
	switch {
	case need == 0:
		return ends + fmt.Sprintf("%s, length %d", protocolName(proto), length)
	case len(b) < need:
		return ends + protocolName(proto) + ", cut off"
	case proto == protoICMP:
		return ends + "ICMP " + icmpLine(b) + fmt.Sprintf(", length %d", length)
	case proto == protoICMP6:
		return ends + "ICMP6, " + icmp6Line(b) + fmt.Sprintf(", length %d", length)
	}
	sport, dport := u16(b, 0), u16(b, 2)
	ends = fmt.Sprintf("%s.%d > %s.%d: ", src, sport, dst, dport)
	if proto == protoTCP {
		return ends + tcpLine(b, length)
	}
	if (sport == 67 || sport == 68) && (dport == 67 || dport == 68) {
		return ends + dhcpLine(b[8:])
	}
	return ends + fmt.Sprintf("UDP, length %d", max(0, u16(b, 4)-8))
}

func tcpLine(b []byte, length int) string {
	flags := ""
	for i, f := range []string{"F", "S", "R", "P", ".", "U", "E", "W"} {
		if b[13]&(1<<i) != 0 {
			flags += f
		}
	}
	if flags == "" {
		flags = "none"
	}
	s := fmt.Sprintf("Flags [%s], seq %d", flags, binary.BigEndian.Uint32(b[4:]))
	if b[13]&0x10 != 0 {
		s += fmt.Sprintf(", ack %d", binary.BigEndian.Uint32(b[8:]))
	}
	return s + fmt.Sprintf(", win %d, length %d", u16(b, 14), max(0, length-int(b[12]>>4)*4))
}

func icmpLine(b []byte) string {
	switch b[0] {
	case 8, 0:
		kind := map[byte]string{8: "request", 0: "reply"}[b[0]]
		return fmt.Sprintf("echo %s, id %d, seq %d", kind, u16(b, 4), u16(b, 6))
	case 3:
		what := map[byte]string{0: "net", 1: "host", 2: "protocol", 3: "port", 13: "administratively"}[b[1]]
		if b[1] == 4 {
			return fmt.Sprintf("unreachable - need to frag (mtu %d)", u16(b, 6))
		}
		return strings.TrimSpace(fmt.Sprintf("%s unreachable, code %d", what, b[1]))
	case 11:
		return "time exceeded"
	}
	return fmt.Sprintf("type %d, code %d", b[0], b[1])
}

func icmp6Line(b []byte) string {
	switch t := b[0]; {
	case t == 128 || t == 129:
		return fmt.Sprintf("echo %s, id %d, seq %d", map[byte]string{128: "request", 129: "reply"}[t], u16(b, 4), u16(b, 6))
	case t == 2:
		return fmt.Sprintf("packet too big, mtu %d", binary.BigEndian.Uint32(b[4:]))
	case t == 133:
		return "router solicitation"
	case t == 134:
		return "router advertisement"
	case t == 135 && len(b) >= 24:
		return fmt.Sprintf("neighbor solicitation, who has %s", addrAt(b, 8, 16))
	case t == 136 && len(b) >= 24:
		return fmt.Sprintf("neighbor advertisement, tgt is %s", addrAt(b, 8, 16))
	case t == 143:
		return "multicast listener report v2"
	}
	return fmt.Sprintf("type %d, code %d", b[0], b[1])
}

// The fields and options of DHCP that a line shows.
const (
	dhcpOptions    = 240
	optionAsked    = 50
	optionMessage  = 53
	optionServer   = 54
	dhcpYourAddr   = 16
	dhcpHardware   = 28
	dhcpXID        = 4
	dhcpFromClient = 1
)

var dhcpMessages = []string{"", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}

func dhcpLine(b []byte) string {
	if len(b) < dhcpOptions {
		return "BOOTP/DHCP, cut off"
	}
	name, details := "no message", ""
	for o := b[dhcpOptions:]; len(o) >= 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if len(o) < 2+n {
			break
		}
		switch v := o[2 : 2+n]; {
		case o[0] == optionMessage && n == 1 && int(v[0]) < len(dhcpMessages):
			name = dhcpMessages[v[0]]
		case o[0] == optionAsked && n == 4:
			details += ", asks for " + addrAt(v, 0, 4).String()
		case o[0] == optionServer && n == 4:
			details += ", server " + addrAt(v, 0, 4).String()
		}
		o = o[2+n:]
	}
	if a := addrAt(b, dhcpYourAddr, 4); !a.IsUnspecified() {
		details = ", gives " + a.String() + details
	}
	if b[0] == dhcpFromClient {
		return fmt.Sprintf("DHCP %s from %s, xid 0x%x%s", name, macAt(b, dhcpHardware), b[dhcpXID:dhcpXID+4], details)
	}
	return fmt.Sprintf("DHCP %s to %s, xid 0x%x%s", name, macAt(b, dhcpHardware), b[dhcpXID:dhcpXID+4], details)
}
