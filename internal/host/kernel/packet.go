package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/capture"
)

// packetBuffer is what the kernel may hold of packets that were not read yet.
const packetBuffer = 4 << 20

// Packets reads what passes a device. Read and Close may be called at the same time.
type Packets struct {
	file *os.File
	raw  rawConn
	oob  [256]byte
	// dropped adds up what the kernel said it had no room for; it starts anew at each question.
	dropped atomic.Uint64
}

type rawConn interface {
	Read(func(fd uintptr) bool) error
	Control(func(fd uintptr)) error
}

// OpenPackets listens to a device of a namespace ("" is that of the process) for packets that
// pass the filter, which cuts them off too. No packet is seen that the filter has not seen.
func OpenPackets(ns, device string, filter capture.Program) (*Packets, error) {
	var fd int
	err := Do(ns, func() (err error) {
		iface, err := net.InterfaceByName(device)
		if err != nil {
			return fmt.Errorf("device %s: %w", device, ErrNoLink)
		}
		if iface.Flags&net.FlagUp == 0 {
			return fmt.Errorf("device %s is down", device) // one hears nothing of it, and only that once
		}
		// Of no protocol the socket hears nothing until it is bound to one, below the filter.
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		if err := preparePackets(fd, iface.Index, filter); err != nil {
			unix.Close(fd)
			return fmt.Errorf("listen to device %s: %w", device, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := &Packets{file: os.NewFile(uintptr(fd), "packets of "+device)}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	return p, nil
}

func preparePackets(fd, index int, filter capture.Program) error {
	code := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		code[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, packetBuffer) != nil {
		// Not allowed: then as much as anybody may have.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, packetBuffer); err != nil {
			return fmt.Errorf("buffer: %w", err)
		}
	}
	for opt, level := range map[int]int{unix.SO_TIMESTAMPNS: unix.SOL_SOCKET, unix.PACKET_AUXDATA: unix.SOL_PACKET} {
		if err := unix.SetsockoptInt(fd, level, opt, 1); err != nil {
			return fmt.Errorf("socket option %d: %w", opt, err)
		}
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
}

// Read waits for a packet. buf should hold what the filter leaves of the longest.
func (p *Packets) Read(buf []byte) (capture.Packet, error) {
	var out capture.Packet
	var err error
	rerr := p.raw.Read(func(fd uintptr) bool {
		var n, oobn int
		var from unix.Sockaddr
		n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, p.oob[:], 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			return true
		}
		out = capture.Packet{Data: buf[:n], Len: n}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			out.Out = ll.Pkttype == unix.PACKET_OUTGOING
		}
		err = readAux(&out, p.oob[:oobn])
		return true
	})
	if rerr != nil {
		err = rerr
	}
	if out.At.IsZero() {
		out.At = time.Now()
	}
	return out, err
}

// readAux takes time and full length from what the kernel says beside the packet.
func readAux(out *capture.Packet, oob []byte) error {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return err
		}
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			sec := int64(binary.NativeEndian.Uint64(data))
			out.At = time.Unix(sec, int64(binary.NativeEndian.Uint64(data[8:])))
		case h.Level == unix.SOL_PACKET && h.Type == unix.PACKET_AUXDATA && len(data) >= 8:
			out.Len = int(binary.NativeEndian.Uint32(data[4:]))
		}
		oob = rest
	}
	return nil
}

// Dropped counts the packets for which there was no room.
func (p *Packets) Dropped() uint64 {
	_ = p.raw.Control(func(fd uintptr) {
		// It fails when closed, and then nothing is added.
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			p.dropped.Add(uint64(s.Drops))
		}
	})
	return p.dropped.Load()
}

// Close ends a Read that waits, too.
func (p *Packets) Close() error { return p.file.Close() }
