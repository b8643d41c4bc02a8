package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// dora gets the port's address on eth0 of the thread's namespace, as a client that starts
// before its port is wired and repeats each message every 10 ms.
func dora(ctx context.Context, p port) error {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index}); err != nil {
		return err
	}
	tv := unix.Timeval{Usec: 10_000}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	discover, err := dhcpv4.NewDiscovery(link.HardwareAddr)
	if err != nil {
		return err
	}
	offer, err := exchange(ctx, fd, discover, dhcpv4.MessageTypeOffer)
	if err != nil {
		return err
	}
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		return err
	}
	ack, err := exchange(ctx, fd, request, dhcpv4.MessageTypeAck)
	if err != nil {
		return err
	}
	if got := ack.YourIPAddr.String(); len(p.FixedIPs) == 0 || got != p.FixedIPs[0].IP {
		return fmt.Errorf("DHCP gave %s to %+v", got, p)
	}
	return nil
}

// exchange sends a message until an answer of the wanted type comes.
func exchange(ctx context.Context, fd int, msg *dhcpv4.DHCPv4, want dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	frame := frameOf(msg)
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		if _, err := unix.Write(fd, frame); err != nil && !errors.Is(err, unix.ENETDOWN) {
			return nil, err
		}
		for until := time.Now().Add(10 * time.Millisecond); time.Now().Before(until); {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if r := reply(buf[:n]); r != nil && r.TransactionID == msg.TransactionID && r.MessageType() == want {
				return r, nil
			}
		}
	}
	return nil, fmt.Errorf("no %s: %w", want, ctx.Err())
}

// reply is the DHCP message to a client in a frame; nil if there is none.
func reply(b []byte) *dhcpv4.DHCPv4 {
	if len(b) < 14+20+8 || b[23] != unix.IPPROTO_UDP {
		return nil
	}
	udp := b[14+int(b[14]&15)*4:]
	if len(udp) < 8 || binary.BigEndian.Uint16(udp[2:]) != 68 {
		return nil
	}
	m, err := dhcpv4.FromBytes(udp[8:])
	if err != nil {
		return nil
	}
	return m
}

// frameOf is a broadcast from a client that has no address.
func frameOf(msg *dhcpv4.DHCPv4) []byte {
	payload := msg.ToBytes()
	b := make([]byte, 14+20+8, 14+20+8+len(payload))
	copy(b, "\xff\xff\xff\xff\xff\xff")
	copy(b[6:], msg.ClientHWAddr)
	binary.BigEndian.PutUint16(b[12:], unix.ETH_P_IP)
	ip, udp := b[14:34], b[34:42]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(20+8+len(payload)))
	copy(ip[16:], "\xff\xff\xff\xff")
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(udp, 68)
	binary.BigEndian.PutUint16(udp[2:], 67)
	// No UDP checksum: IPv4 allows that.
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	return append(b, payload...)
}
