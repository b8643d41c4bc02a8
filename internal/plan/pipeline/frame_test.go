package pipeline

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

// Frames of the behaviour tests, as bytes.

var broadcast = model.MAC{255, 255, 255, 255, 255, 255}

func eth(dst, src model.MAC, typ uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = append(binary.BigEndian.AppendUint16(b, typ), payload...)
	for len(b) < 60 {
		b = append(b, 0)
	}
	return b
}

// tagged puts a VLAN tag into a frame.
func tagged(vlan uint16, frame []byte) []byte {
	b := append([]byte{}, frame[:12]...)
	b = binary.BigEndian.AppendUint16(b, 0x8100)
	b = binary.BigEndian.AppendUint16(b, vlan)
	return append(b, frame[12:]...)
}

func arp(op uint16, src model.MAC, spa string, dst model.MAC, tpa string) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, byte(op >> 8), byte(op)}
	p = append(append(p, src[:]...), netip.MustParseAddr(spa).AsSlice()...)
	tha := dst
	if op == 1 {
		tha = model.MAC{}
	}
	p = append(append(p, tha[:]...), netip.MustParseAddr(tpa).AsSlice()...)
	return eth(dst, src, 0x0806, p)
}

func ipv4(dst, src model.MAC, from, to string, proto byte, payload []byte) []byte {
	p := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0}
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	p = append(append(p, netip.MustParseAddr(from).AsSlice()...), netip.MustParseAddr(to).AsSlice()...)
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	var pseudo []byte
	if proto != 1 {
		pseudo = binary.BigEndian.AppendUint32(append([]byte{0, proto}, p[12:]...), uint32(len(payload)))
	}
	return eth(dst, src, 0x0800, append(p, summed(payload, proto, pseudo)...))
}

func udp(src, dst uint16, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func ipv6(dst, src model.MAC, from, to string, next byte, payload []byte) []byte {
	p := []byte{0x60, 0, 0, 0, 0, 0, next, 255}
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	p = append(append(p, netip.MustParseAddr(from).AsSlice()...), netip.MustParseAddr(to).AsSlice()...)
	pseudo := append([]byte{0, 0, 0, next}, p[8:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(payload)))
	return eth(dst, src, 0x86dd, append(p, summed(payload, next, pseudo)...))
}

// summed writes the internet checksum (RFC 1071) where a protocol has one: conntrack checks it.
func summed(payload []byte, proto byte, pseudo []byte) []byte {
	b := append([]byte{}, payload...)
	at, ok := map[byte]int{1: 2, 6: 16, 17: 6, 58: 2}[proto]
	if !ok || at+2 > len(b) {
		return b
	}
	b[at], b[at+1] = 0, 0
	var sum uint32
	for _, part := range [][]byte{pseudo, b} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(part[i]) << 8
			if i+1 < len(part) {
				sum += uint32(part[i+1])
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum))
	return b
}

// echo is an echo request.
var echo = []byte{8, 0, 0, 0, 0, 1, 0, 1, 'p', 'i', 'n', 'g'}

// nd is a neighbour discovery message with a target.
func nd(typ byte, target string) []byte {
	b := make([]byte, 8, 24)
	b[0] = typ
	return append(b, netip.MustParseAddr(target).AsSlice()...)
}

var echo6 = []byte{128, 0, 0, 0, 0, 1, 0, 1, 'p', 'i', 'n', 'g'}
