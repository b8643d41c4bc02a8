package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/host/kernel"
)

const (
	protoICMP, protoTCP, protoUDP, protoICMPv6 = 1, 6, 17, 58

	etherIPv4, etherARP, etherIPv6 = 0x0800, 0x0806, 0x86dd
)

// frame is what a guest has received.
type frame struct {
	at           time.Time
	raw          []byte
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
	icmpType     uint8
}

func parseFrame(raw []byte) frame {
	f := frame{at: time.Now(), raw: raw}
	if len(raw) < 14 {
		return f
	}
	b := raw[14:]
	var next []byte
	switch binary.BigEndian.Uint16(raw[12:]) {
	case etherIPv4:
		if len(b) < 20 {
			return f
		}
		f.src, f.dst, f.proto = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), b[9]
		next = b[20:]
	case etherIPv6:
		if len(b) < 40 {
			return f
		}
		f.src, f.dst, f.proto = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[6]
		next = b[40:]
	}
	if len(next) < 4 {
		return f
	}
	switch f.proto {
	case protoTCP, protoUDP:
		f.sport, f.dport = binary.BigEndian.Uint16(next), binary.BigEndian.Uint16(next[2:])
	case protoICMP, protoICMPv6:
		f.icmpType = next[0]
	}
	return f
}

// ear remembers what comes to eth0 of a namespace, and can say something there.
type ear struct {
	fd, index int
	done      chan struct{}
	mu        sync.Mutex
	heard     []frame
}

func listenToAir(t testing.TB, ns string) *ear {
	t.Helper()
	e := &ear{done: make(chan struct{})}
	err := kernel.Do(ns, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		e.index = link.Index
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		return errors.Join(
			unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
			unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: e.index}))
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go e.listen(stop)
	t.Cleanup(func() { close(stop); <-e.done; unix.Close(e.fd) })
	return e
}

func (e *ear) listen(stop chan struct{}) {
	defer close(e.done)
	buf := make([]byte, 65536)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(e.fd, buf, 0)
		if link, ok := from.(*unix.SockaddrLinklayer); err != nil || !ok || link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		e.mu.Lock()
		e.heard = append(e.heard, parseFrame(bytes.Clone(buf[:n])))
		e.mu.Unlock()
	}
}

// count counts the frames heard so far of some kind.
func (e *ear) count(of func(frame) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, f := range e.heard {
		if of(f) {
			n++
		}
	}
	return n
}

// last is when a frame of some kind was heard last.
func (e *ear) last(of func(frame) bool) (at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.heard {
		if of(f) {
			at = f.at
		}
	}
	return at
}

// hears reports whether a frame with this text has been heard.
func (e *ear) hears(text string) bool {
	return e.count(func(f frame) bool { return bytes.Contains(f.raw, []byte(text)) }) > 0
}

// say sends a frame.
func (e *ear) say(raw []byte) error {
	return unix.Sendto(e.fd, raw, 0, &unix.SockaddrLinklayer{Ifindex: e.index, Halen: 6})
}

// Frames, from the outside in: each takes what it carries.

func ether(src, dst string, typ uint16, payload []byte) []byte {
	b := append(bytes.Clone(mac(dst)), mac(src)...)
	return append(binary.BigEndian.AppendUint16(b, typ), payload...)
}

func mac(s string) []byte {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// tagged puts a VLAN tag into a frame.
func tagged(raw []byte, vlan uint16) []byte {
	b := append(bytes.Clone(raw[:12]), 0x81, 0)
	return append(binary.BigEndian.AppendUint16(b, vlan), raw[12:]...)
}

// arp is a request (1) or an answer (2). The text follows it as padding does.
func arp(op uint16, sha string, spa netip.Addr, tha string, tpa netip.Addr, text string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, mac(sha)...), spa.AsSlice()...)
	b = append(append(b, mac(tha)...), tpa.AsSlice()...)
	return append(b, text...)
}

// packet is an IP packet of either family.
func packet(src, dst netip.Addr, proto uint8, payload []byte) []byte {
	if src.Is6() {
		b := []byte{0x60, 0, 0, 0}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), proto, 255)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
		return append(b, payload...)
	}
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(payload)))
	b = append(b, 0, 0, 0, 0, 64, proto, 0, 0)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

// udp is a datagram in its IP packet.
func udp(src, dst netip.AddrPort, text string) []byte {
	b := binary.BigEndian.AppendUint16(nil, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(text)))
	b = append(append(b, 0, 0), text...)
	binary.BigEndian.PutUint16(b[6:], checksum(pseudo(src.Addr(), dst.Addr(), protoUDP, b)))
	return packet(src.Addr(), dst.Addr(), protoUDP, b)
}

// icmp6 is a message in its IP packet; body follows the checksum.
func icmp6(src, dst netip.Addr, typ uint8, body []byte) []byte {
	b := append([]byte{typ, 0, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], checksum(pseudo(src, dst, protoICMPv6, b)))
	return packet(src, dst, protoICMPv6, b)
}

// ndOption is an option of neighbour discovery, padded to multiples of eight.
func ndOption(typ uint8, value []byte) []byte {
	b := append([]byte{typ, byte((len(value) + 9) / 8)}, value...)
	return append(b, make([]byte, (8-len(b)%8)%8)...)
}

// fragments are the two halves of a frame with an IP packet, cut after at bytes of what IP
// carries; the same id makes them one.
func fragments(raw []byte, at int, id byte) [][]byte {
	head, typ := raw[:14], binary.BigEndian.Uint16(raw[12:])
	if typ == etherIPv4 {
		ip, payload := raw[14:34], raw[34:]
		half := func(offset uint16, part []byte) []byte {
			h := bytes.Clone(ip)
			binary.BigEndian.PutUint16(h[2:], uint16(20+len(part)))
			h[4], h[5] = 0, id
			binary.BigEndian.PutUint16(h[6:], offset)
			h[10], h[11] = 0, 0
			binary.BigEndian.PutUint16(h[10:], checksum(h))
			return slices.Concat(head, h, part)
		}
		return [][]byte{half(0x2000, payload[:at]), half(uint16(at/8), payload[at:])}
	}
	ip, payload := raw[14:54], raw[54:]
	half := func(offset uint16, part []byte) []byte {
		h := bytes.Clone(ip)
		binary.BigEndian.PutUint16(h[4:], uint16(8+len(part)))
		h[6] = 44
		return slices.Concat(head, h, []byte{ip[6], 0, byte(offset >> 8), byte(offset), 0, 0, 0, id}, part)
	}
	return [][]byte{half(1, payload[:at]), half(uint16(at), payload[at:])}
}

func pseudo(src, dst netip.Addr, proto uint8, b []byte) []byte {
	p := append(src.AsSlice(), dst.AsSlice()...)
	p = binary.BigEndian.AppendUint32(p, uint32(len(b)))
	return append(append(p, 0, 0, 0, proto), b...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
