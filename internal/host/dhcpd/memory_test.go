package dhcpd

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/dhcp"
)

// What a network costs.
func TestMemoryPerNetwork(t *testing.T) {
	labtest.Require(t, "root", "tun")
	const networks = 200
	var plans []dhcp.Server
	for i := range networks {
		p := plan()
		p.NetworkID = model.NetworkID(fmt.Sprintf("%08x-0000-0000-0000-000000000000", i))
		p.Namespace, p.Device = "qdhcp-"+string(p.NetworkID), fmt.Sprintf("tap%d", i)
		if err := kernel.CreateNamespace(p.Namespace); err != nil {
			t.Fatal(err)
		}
		defer kernel.RemoveNamespace(p.Namespace)
		// Made in place: a move would take the kernel 20 ms.
		if err := kernel.Do(p.Namespace, func() error { return kernel.CreateTap(kernel.Tap{Name: p.Device, MTU: 1450}) }); err != nil {
			t.Fatal(err)
		}
		plans = append(plans, p)
	}
	before := rss(t)
	s := New(Options{})
	defer s.Close()
	began := time.Now()
	for _, f := range s.Apply(t.Context(), plans) {
		t.Fatal(f)
	}
	took := time.Since(began)
	each := (rss(t) - before) / networks
	t.Logf("%d networks opened in %v, %d octets each", networks, took, each)
	if each > 100<<10 {
		t.Errorf("%d octets per network", each)
	}
}

func rss(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	fmt.Sscan(string(b), &size, &resident)
	return resident * os.Getpagesize()
}
