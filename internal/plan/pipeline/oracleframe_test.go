package pipeline

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// Frames of conversations, and of the packets of the oracle.

// side is one end of a conversation.
type side struct {
	mac  model.MAC
	addr netip.Addr
}

// ip is a frame of either family.
func ip(from, to side, proto uint8, payload []byte) []byte {
	if from.addr.Is4() {
		return ipv4(to.mac, from.mac, from.addr.String(), to.addr.String(), proto, payload)
	}
	return ipv6(to.mac, from.mac, from.addr.String(), to.addr.String(), proto, payload)
}

// Flags of TCP.
const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

func tcp(from, to side, src, dst uint16, seq, acked uint32, flags byte, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, acked)
	b = append(b, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	return ip(from, to, vswitch.ProtoTCP, append(b, data...))
}

func datagram(from, to side, src, dst uint16, data string) []byte {
	return ip(from, to, vswitch.ProtoUDP, udp(src, dst, data))
}

// icmp is a message of ICMP or ICMPv6, by the family of its ends.
func icmp(from, to side, typ, code uint8, rest []byte) []byte {
	proto := uint8(vswitch.ProtoICMP)
	if from.addr.Is6() {
		proto = vswitch.ProtoICMPv6
	}
	return ip(from, to, proto, append([]byte{typ, code, 0, 0}, rest...))
}

// ping is an echo request, or its answer.
func ping(from, to side, answer bool, id uint16) []byte {
	typ := byte(8)
	if from.addr.Is6() {
		typ = 128
	}
	if answer {
		typ = map[byte]byte{8: 0, 128: 129}[typ]
	}
	return icmp(from, to, typ, 0, append(binary.BigEndian.AppendUint16(nil, id), 0, 1, 'p', 'i', 'n', 'g'))
}

// unreachable is the error that says that nobody listens at the port to which a frame went.
func unreachable(from, to side, frame []byte) []byte {
	inner := append([]byte{0, 0, 0, 0}, frame[14:min(len(frame), 14+48)]...)
	if from.addr.Is6() {
		return icmp(from, to, 1, 4, inner)
	}
	return icmp(from, to, 3, 3, inner)
}

// frame is a packet as bytes: the first of a connection.
func frame(p firewall.Packet) []byte {
	from, to := side{p.EthSrc, p.Src}, side{p.EthDst, p.Dst}
	var b []byte
	switch {
	case p.EtherType == vswitch.TypeARP:
		b = arp(p.ARPOp, p.EthSrc, p.Src.String(), p.EthDst, p.Dst.String())
		copy(b[22:], p.ARPSHA[:])
	case p.EtherType != vswitch.TypeIPv4 && p.EtherType != vswitch.TypeIPv6:
		b = eth(p.EthDst, p.EthSrc, p.EtherType, []byte("other"))
	case p.Proto == vswitch.ProtoTCP:
		b = tcp(from, to, p.SrcPort, p.DstPort, 1, 0, syn, "")
	case p.Proto == vswitch.ProtoUDP:
		b = datagram(from, to, p.SrcPort, p.DstPort, "hello")
	case p.Proto == vswitch.ProtoSCTP:
		h := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.SrcPort), p.DstPort)
		h = append(h, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1) // INIT
		binary.LittleEndian.PutUint32(h[8:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
		b = ip(from, to, p.Proto, h)
	case p.NDTarget.IsValid():
		rest := append([]byte{0, 0, 0, 0}, p.NDTarget.AsSlice()...)
		if !p.NDLink.IsZero() {
			rest = append(append(rest, map[uint8]byte{135: 1, 136: 2}[p.ICMPType], 1), p.NDLink[:]...)
		}
		b = icmp(from, to, p.ICMPType, p.ICMPCode, rest)
	case p.Proto == vswitch.ProtoICMP && from.addr.Is4(), p.Proto == vswitch.ProtoICMPv6 && from.addr.Is6():
		b = icmp(from, to, p.ICMPType, p.ICMPCode, []byte("abcdefgh"))
	default:
		b = ip(from, to, p.Proto, []byte("something else"))
	}
	if p.Tagged {
		b = tagged(1, b)
	}
	return b
}
