package ovs

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/plan/vswitch"
)

// TestDevices: the same on a datapath with devices that are real.
func TestDevices(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun")
	dir, err := os.MkdirTemp("/tmp", "weft-switch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The namespace is that of the test binary, see labtest.Main.
	o, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir, Datapath: lab.DatapathReal(), NetNS: "/proc/self/ns/net"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := &world{TB: t, lab: o}
	w.start("127.0.0.1:0")
	t.Cleanup(func() { w.stop() })
	want := w.example()
	for i := range want.Bridges {
		want.Bridges[i].DatapathType = o.Datapath
	}
	start := time.Now()
	w.apply(want)
	t.Logf("from nothing in %v", time.Since(start))
	dev, err := net.InterfaceByName("tapdhcp")
	if err != nil || dev.MTU != 1450 {
		t.Errorf("the internal port's device: %+v, %v", dev, err)
	}
	w.wantFlows("br-int", want.Flows["br-int"].All())
	before := w.changes()
	w.apply(want)
	if after := w.changes(); after != before {
		t.Errorf("not idle: %+v, then %+v", before, after)
	}
	// A device that does not exist is an error in OVS' words, and at once.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start = time.Now()
	_, err = w.s.AddPort(ctx, "br-int", vswitch.Port{Name: "tapnone", ExternalIDs: map[string]string{"iface-id": portID(1)}})
	if err == nil || ctx.Err() != nil {
		t.Errorf("a port without a device: %v", err)
	}
	t.Logf("after %v: %v", time.Since(start), err)
	if len(w.attachments()) != 1 {
		t.Error("attached without a device")
	}
	if err := w.s.DelPort(t.Context(), "br-int", "tapnone"); err != nil {
		t.Error(err)
	}
	for _, how := range []lab.Restart{lab.Clean, lab.Crash} {
		before := w.s.Stats()
		if err := w.lab.RestartVswitchd(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		w.eventually("in sync again", func() bool {
			o := w.s.Observe()
			return w.s.Stats().Connections >= before.Connections+2 && o.Bridges[0].InSync && o.Bridges[1].InSync
		})
		w.wantFlows("br-int", want.Flows["br-int"].All())
		if _, err := net.InterfaceByName("tapdhcp"); err != nil {
			t.Error(err)
		}
	}
}
