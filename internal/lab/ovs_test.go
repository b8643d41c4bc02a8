package lab_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// TestOVSDiesWithItsParent: kill -9 of the process that started the daemons ends them.
func TestOVSDiesWithItsParent(t *testing.T) {
	const key = "WEFT_LAB_CHILD"
	o := startOVS(t)
	if os.Getenv(key) != "" {
		fmt.Println(o.Dir)
		time.Sleep(time.Minute)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), key+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(line)
	defer os.RemoveAll(dir)
	// Their sockets, not their process numbers: as root the child is in a namespace of its own.
	answers := func(daemon string) bool {
		c, err := net.Dial("unix", filepath.Join(dir, daemon+".ctl"))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	daemons := []string{"ovsdb-server", "ovs-vswitchd"}
	for _, d := range daemons {
		if !answers(d) {
			t.Fatalf("%s does not answer in %s", d, dir)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as asked
	for _, d := range daemons {
		for deadline := time.Now().Add(time.Minute); answers(d); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s outlives its parent", d)
			}
		}
	}
}
