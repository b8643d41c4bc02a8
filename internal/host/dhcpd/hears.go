package dhcpd

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"time"

	"weft/internal/model"
)

// probeMAC is the client of our own test messages. Nobody gets an answer under it, and it is no stranger.
var probeMAC = model.MAC{0x02, 'w', 'e', 'f', 't', 0x44}

// ErrUnheard means that a test message did not come to the service.
var ErrUnheard = errors.New("a test message sent into the device did not come to the DHCP service")

// ErrNotServed means that nothing serves the network here.
var ErrNotServed = errors.New("the network is not served here")

const (
	// probeTries times probeWait is how long it takes to find out that the service is deaf.
	probeTries = 3
	probeWait  = 300 * time.Millisecond
)

// Hears tests whether what comes to the device of a network reaches its service: past the kernel's state of the
// device, and whatever else may drop it there (nftables, tc). send has to put a frame
// into the device from outside. It takes a millisecond, and a second when nothing is heard.
func (s *Server) Hears(ctx context.Context, id model.NetworkID, send func(frame []byte) error) error {
	s.mu.RLock()
	v := s.services[id]
	s.mu.RUnlock()
	if v == nil {
		return ErrNotServed
	}
	var x XID
	_, _ = rand.Read(x[:])
	heard := make(chan struct{})
	v.mu.Lock()
	v.awaited[x] = heard
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.awaited, x)
		v.mu.Unlock()
	}()
	frame := probeFrame(v.mac, x)
	for range probeTries {
		if err := send(frame); err != nil {
			return err
		}
		select {
		case <-heard:
			return nil
		case <-time.After(probeWait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ErrUnheard
}

// hear takes in a message that is one of our own tests.
func (v *service) hear(x XID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.awaited[x]; c != nil {
		close(c)
		delete(v.awaited, x)
	}
}

// bootpLen is the length of a message without options; the cookie that begins those follows (RFC 2131 section 3).
const bootpLen = 236

// probeFrame is a message that no client would send, but that a service reads: without a type.
func probeFrame(to model.MAC, x XID) []byte {
	frame := make([]byte, headersLen+bootpLen+5)
	m := frame[headersLen:]
	m[0], m[1], m[2] = 1, 1, 6
	copy(m[4:], x[:])
	copy(m[28:], probeMAC[:])
	copy(m[bootpLen:], []byte{0x63, 0x82, 0x53, 0x63, 0xff})
	seal(frame, probeMAC, to, netip.IPv4Unspecified(), broadcast)
	// A client's ports; they are swapped within the checksum, which stays right.
	frame[headersLen-8+1], frame[headersLen-8+3] = clientPort, serverPort
	return frame
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
