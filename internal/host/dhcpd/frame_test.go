package dhcpd

import (
	"bytes"
	"testing"

	"weft/internal/plan/dhcp"
)

func TestSeal(t *testing.T) {
	for _, msg := range [][]byte{[]byte("even"), []byte("odd"), {}} {
		f := append(make([]byte, headersLen), msg...)
		seal(f, serverMAC, clientMAC, addr("10.10.0.2"), addr("10.10.0.121"))
		if got := payload(f); !bytes.Equal(got, msg) {
			t.Errorf("payload %q, want %q", got, msg)
		}
		// A right checksum makes the sum all ones.
		if fold(sum(0, f[14:34])) != 0xffff || fold(sum(sum(uint32(17+len(f)-34), f[26:34]), f[34:])) != 0xffff {
			t.Errorf("checksums of %x", f)
		}
	}
}

func FuzzPayload(f *testing.F) {
	whole := append(make([]byte, headersLen), "message"...)
	seal(whole, serverMAC, clientMAC, addr("10.10.0.2"), addr("10.10.0.121"))
	f.Add(whole)
	f.Add(whole[:20])
	f.Add(append(bytes.Clone(whole), make([]byte, 20)...))
	tab, _ := dhcp.NewTable(plan())
	v := &service{mac: serverMAC, history: newHistory(), totals: new(totals)}
	ba := newBatch()
	f.Fuzz(func(t *testing.T, b []byte) {
		p := payload(b)
		if len(p) > len(b) {
			t.Errorf("%d octets out of %d", len(p), len(b))
		}
		v.one(ba, tab, b[:min(len(b), frameSize)])
		ba.tx.n, ba.relay.n, ba.notes = 0, 0, ba.notes[:0]
	})
}
