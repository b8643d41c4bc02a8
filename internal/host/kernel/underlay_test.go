package kernel

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

// TestUnderlay: the device of the VTEP is known, and every change of it is told.
func TestUnderlay(t *testing.T) {
	labtest.Require(t, "root")
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	for _, vtep := range []string{"192.0.2.7", "2001:db8::7"} {
		ctx, cancel := context.WithCancel(t.Context())
		k := New(Options{VTEP: netip.MustParseAddr(vtep)})
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		is := func(want Underlay) {
			t.Helper()
			limit := time.After(time.Minute)
			for {
				got, known := k.Underlay()
				if known && got == want {
					return
				}
				select {
				case <-k.Changed():
				case <-limit:
					t.Fatalf("%s: %v (known: %v), want %v", vtep, got, known, want)
				}
			}
		}
		is(Underlay{})
		ip("link add under0 type veth peer name under1")
		ip("link set under1 up")
		ip("link set under0 up mtu 1400")
		ip("addr add " + vtep + "/32 dev under0 nodad")
		is(Underlay{Device: "under0", MTU: 1400})
		ip("link set under0 mtu 1500")
		is(Underlay{Device: "under0", MTU: 1500})
		ip("link set under1 down") // the cable is pulled
		is(Underlay{Device: "under0", MTU: 1500, Down: true})
		ip("link set under1 up")
		is(Underlay{Device: "under0", MTU: 1500})
		ip("addr del " + vtep + "/32 dev under0")
		is(Underlay{})
		ip("addr add " + vtep + "/32 dev under0 nodad")
		is(Underlay{Device: "under0", MTU: 1500})
		ip("link del under0")
		is(Underlay{})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
