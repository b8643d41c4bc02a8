package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Capture watches some of the traffic on one device, as tcpdump does.
type Capture struct {
	text func(frame []byte) string // empty for what is not watched
	fd   int
	stop chan struct{}
	done chan struct{}
}

// Packet is one captured packet.
type Packet struct {
	At   time.Time
	Text string // as tcpdump prints it, without the time
}

// String prints the packet as tcpdump does.
func (p Packet) String() string { return p.At.Format("15:04:05.000000") + " " + p.Text }

// CaptureBOOTP opens a capture on a device of the current namespace and hands each DHCP
// packet, sent or received there, to fn, on a goroutine of its own, until Close. It is
// `tcpdump -n -i DEV port 67 or port 68`.
func CaptureBOOTP(device string, fn func(Packet)) (*Capture, error) {
	return capture(device, bootpText, fn)
}

func capture(device string, text func([]byte) string, fn func(Packet)) (*Capture, error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", device, err)
	}
	proto := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", device, err)
	}
	tv := unix.Timeval{Usec: 50_000}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index}))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("capture on %s: %w", device, err)
	}
	c := &Capture{text: text, fd: fd, stop: make(chan struct{}), done: make(chan struct{})}
	go c.run(fn)
	return c, nil
}

func (c *Capture) run(fn func(Packet)) {
	defer close(c.done)
	buf := make([]byte, 65536)
	for {
		select {
		case <-c.stop:
			return
		default:
		}
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		switch {
		case err == nil:
			if text := c.text(buf[:n]); text != "" {
				fn(Packet{At: time.Now(), Text: text})
			}
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		default:
			return // the device is gone
		}
	}
}

// Close ends the capture; when it returns fn is not called any more.
func (c *Capture) Close() {
	close(c.stop)
	<-c.done
	unix.Close(c.fd)
}

// bootpText describes an Ethernet frame as tcpdump does, or is empty when the frame is no DHCP.
func bootpText(b []byte) string {
	src, dst, proto, u := ipv4(b)
	if proto != unix.IPPROTO_UDP || len(u) < 8 {
		return ""
	}
	sport, dport := binary.BigEndian.Uint16(u), binary.BigEndian.Uint16(u[2:])
	if (sport != 67 && sport != 68) || (dport != 67 && dport != 68) {
		return ""
	}
	length := int(binary.BigEndian.Uint16(u[4:])) - 8
	p := u[8:]
	if len(p) < 240 {
		return ""
	}
	what := fmt.Sprintf("unknown (0x%02x)", p[0])
	switch p[0] {
	case 1:
		what = "Request from " + net.HardwareAddr(p[28:34]).String()
	case 2:
		what = "Reply"
	}
	return fmt.Sprintf("IP %s.%d > %s.%d: BOOTP/DHCP, %s, length %d", src, sport, dst, dport, what, length)
}
