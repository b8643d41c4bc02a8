package dhcpd

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/plan/dhcp"
	"weft/internal/plan/netns"
)

// TestSwitchRestarts serves on an internal port of a real switch. On the userspace datapath its
// devices go away with ovs-vswitchd and come back in the wrong namespace; the kernel keeps them.
func TestSwitchRestarts(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "udhcpc")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o, err := lab.StartOVS(ctx, lab.OVSOptions{Dir: t.TempDir(), Datapath: lab.DatapathReal()})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Stop()
	if out, err := o.Vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type="+o.Datapath,
		"--", "add-port", "br-int", tap, "--", "set", "interface", tap, "type=internal",
		"--", "add-port", "br-int", nic, "--", "set", "interface", nic, "type=internal"); err != nil {
		t.Fatal(err, out)
	}
	k := kernel.New(kernel.Options{})
	go k.Run(ctx)
	s := New(Options{})
	defer s.Close()
	defer kernel.RemoveNamespace(serverNS)
	defer kernel.RemoveNamespace(clientNS)
	if err := kernel.CreateNamespace(clientNS); err != nil {
		t.Fatal(err)
	}
	want := netns.Namespace{Name: serverNS, Links: []netns.Link{{Name: tap, MAC: serverMAC, MTU: 1450, Addrs: []netip.Prefix{netip.MustParsePrefix("10.10.0.2/16")}}}}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ $1 = bound ] && env\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// As an agent's loop: apply when told of a change, and again after faults.
	looped := make(chan struct{})
	go func() {
		defer close(looped)
		for {
			var retry <-chan time.Time
			if len(k.Apply(ctx, []netns.Namespace{want}, kernel.Extent{InSync: true}))+len(s.Apply(ctx, []dhcp.Server{plan()})) > 0 {
				retry = time.After(20 * time.Millisecond)
			}
			select {
			case <-k.Changed():
			case <-retry:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-looped }()
	for _, restart := range []struct {
		name string
		do   func() error
	}{
		{"first", func() error { return nil }},
		{"clean restart", func() error { return o.RestartVswitchd(ctx, lab.Clean) }},
		{"crash", func() error { return o.RestartVswitchd(ctx, lab.Crash) }},
	} {
		if err := restart.do(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := kernel.PlaceLink(ctx, clientNS, netns.Link{Name: nic, MAC: clientMAC, MTU: 1450}); err != nil {
			t.Fatal(err)
		}
		out := inClient(t, "udhcpc", "-f", "-q", "-n", "-t", "20", "-T", "1", "-i", nic, "-s", script)
		t.Logf("%s: lease %v after the switch was back", restart.name, time.Since(began))
		if !strings.Contains(out, "ip=10.10.0.121\n") {
			t.Errorf("%s: no lease:\n%s", restart.name, out)
		}
	}
}
