package lab_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab"
)

// startOVS starts a dummy Open vSwitch, or skips where there is none (a failure if
// WEFT_REQUIRE names ovs).
func startOVS(t *testing.T) *lab.OVS {
	t.Helper()
	if err := lab.HaveOVS(); err != nil {
		if strings.Contains(os.Getenv("WEFT_REQUIRE"), "ovs") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("/tmp", "weft-ovs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	start := time.Now()
	o, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ovs ready after %v", time.Since(start))
	t.Cleanup(func() {
		if err := o.Stop(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func TestOVSLivesAndDies(t *testing.T) {
	o := startOVS(t)
	if _, err := o.Vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail_mode=secure"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Ofctl("add-flow", "br-int", "table=3,actions=drop"); err != nil {
		t.Fatal(err)
	}
	for _, how := range []lab.Restart{lab.Clean, lab.Crash} {
		_, before := o.Pids()
		if err := o.RestartVswitchd(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		if _, after := o.Pids(); after == before {
			t.Fatal("the same process")
		}
		out, err := o.Ofctl("dump-flows", "br-int")
		if err != nil || strings.Contains(out, "table=3") {
			t.Fatalf("after a restart the flows are gone, but: %q, %v", out, err)
		}
	}
	if _, err := o.Appctl("version"); err != nil {
		t.Fatal(err)
	}
	server, switchd := o.Pids()
	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{server, switchd} {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
}
