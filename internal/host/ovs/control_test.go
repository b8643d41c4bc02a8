package ovs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"weft/internal/lab"
)

func TestTrace(t *testing.T) {
	w := newWorld(t)
	w.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+w.lab.Datapath, "protocols=OpenFlow10,OpenFlow14", "--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "ofport_request=7")
	w.ofctl("del-flows", "br0")
	w.ofctl("add-flow", "br0", "cookie=0xabc,table=0,priority=9,in_port=7,ip actions=ct(table=1)")
	w.ofctl("add-flow", "br0", "table=1,ct_state=+new actions=drop")
	w.ofctl("add-flow", "br0", "table=1,ct_state=+est actions=local")
	const flow = "in_port=7,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2"
	trace := func(ctNext ...string) string {
		t.Helper()
		out, err := w.s.Trace(t.Context(), "br0", flow, ctNext...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for range 3 { // on one connection
		if out := trace(); !strings.Contains(out, "cookie 0xabc") || strings.Contains(out, "LOCAL") {
			t.Errorf("a new connection is not dropped:\n%s", out)
		}
		if out := trace("trk,est"); !strings.Contains(out, "LOCAL") {
			t.Errorf("an established connection does not pass:\n%s", out)
		}
	}
	_, err := w.s.Trace(t.Context(), "br9", flow)
	if err == nil || !strings.Contains(err.Error(), "ofproto/trace: ") {
		t.Errorf("trace on a bridge that is not there: %v", err)
	}
	if err := w.lab.RestartVswitchd(t.Context(), lab.Crash); err != nil {
		t.Fatal(err)
	}
	if out, err := w.s.Trace(t.Context(), "br0", flow); err != nil || !strings.Contains(out, "Final flow") {
		t.Errorf("after a restart of ovs-vswitchd: %v\n%s", err, out)
	}
	var many sync.WaitGroup
	for range 8 {
		many.Go(func() {
			if _, err := w.s.Trace(t.Context(), "br0", flow); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()
}

func TestControlEnds(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &w.s.control
	if _, err := c.Call(ctx, "version"); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that is not wanted any more: %v", err)
	}
	if out, err := c.Call(t.Context(), "version"); err != nil || !strings.Contains(out, "Open vSwitch") {
		t.Errorf("version: %q, %v", out, err)
	}
	if err := w.lab.StopVswitchd(lab.Clean); err != nil {
		t.Fatal(err)
	}
	if out, err := c.Call(t.Context(), "version"); err == nil {
		t.Errorf("ovs-vswitchd is stopped and answers %q", out)
	}
	if _, err := (&Control{Dir: t.TempDir()}).Call(t.Context(), "version"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no ovs-vswitchd: %v", err)
	}
}

func TestControlDir(t *testing.T) {
	for ovsdb, want := range map[string]string{
		"unix:/var/run/openvswitch/db.sock": "/var/run/openvswitch",
		"unix:/tmp/x/db.sock":               "/tmp/x",
		"tcp:127.0.0.1:6640":                defaultRunDir,
	} {
		if got := controlDir(ovsdb); got != filepath.Clean(want) {
			t.Errorf("%s: %s, want %s", ovsdb, got, want)
		}
	}
}
