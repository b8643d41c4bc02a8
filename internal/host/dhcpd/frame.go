package dhcpd

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

const (
	serverPort = 67
	clientPort = 68

	ethernetLen = 14
	ipv4Len     = 20
	udpLen      = 8
	headersLen  = ethernetLen + ipv4Len + udpLen
)

// payload finds the UDP payload of an Ethernet frame; it is nil if the frame is not whole.
func payload(frame []byte) []byte {
	if len(frame) < headersLen || frame[ethernetLen]>>4 != 4 {
		return nil
	}
	ip := frame[ethernetLen:]
	hlen := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	// Ethernet pads short frames, so the frame may be longer than the packet.
	if hlen < ipv4Len || total > len(ip) || total < hlen+udpLen {
		return nil
	}
	udp := ip[hlen:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpLen || n > len(udp) {
		return nil
	}
	return udp[udpLen:n]
}

// seal writes the headers of a reply into the first headersLen octets of frame; the rest is the message.
func seal(frame []byte, from, to model.MAC, src, dst netip.Addr) {
	copy(frame[0:], to[:])
	copy(frame[6:], from[:])
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	ip := frame[ethernetLen : ethernetLen+ipv4Len]
	s, d := src.As4(), dst.As4()
	ip[0] = 0x45
	ip[1] = 0xc0 // CS6, network control, as dnsmasq marks its replies
	binary.BigEndian.PutUint16(ip[2:], uint16(len(frame)-ethernetLen))
	binary.BigEndian.PutUint32(ip[4:], 0) // no identification, no fragments
	ip[8], ip[9] = 64, 17
	ip[10], ip[11] = 0, 0
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))
	udp := frame[ethernetLen+ipv4Len:]
	binary.BigEndian.PutUint16(udp[0:], serverPort)
	binary.BigEndian.PutUint16(udp[2:], clientPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	udp[6], udp[7] = 0, 0
	c := ^fold(sum(sum(uint32(17+len(udp)), ip[12:20]), udp))
	if c == 0 { // 0 would mean that there is none
		c = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], c)
}

// sum adds 16-bit words for the Internet checksum.
func sum(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return acc
}

func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc&0xffff + acc>>16
	}
	return uint16(acc)
}
