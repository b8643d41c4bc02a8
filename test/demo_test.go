package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

var demoLastLine = regexp.MustCompile(`^guest MAC (fa:16:3e:\S+) = port MAC (\S+); tap MAC (fe:16:3e:\S+) = the same with fe: first; guest IP 10\.10\.0\.121 = API IP 10\.10\.0\.121$`)

// weft demo shows what it should, and leaves nothing behind: no process, device,
// namespace, mount or file.
func TestDemo(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "qemu", "guest")
	bin := weftBinary(t)
	t.Setenv("TMPDIR", t.TempDir())
	before := belongings(t)
	out, err := exec.Command(bin, "demo").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	m := demoLastLine.FindStringSubmatch(lines[len(lines)-1])
	if m == nil || m[1] != m[2] || m[3][2:] != m[1][2:] {
		t.Errorf("the last line is %q", lines[len(lines)-1])
	}
	for _, want := range []string{
		"IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from " + m[1],
		"IP 10.10.0.2.67 > 10.10.0.121.68: BOOTP/DHCP, Reply",
		"guest: NIC taken down", "guest: NIC taken up",
		`Manager "ptcp:6640:127.0.0.1"`, `Controller "tcp:127.0.0.1:6633"`, "is_connected: true", "fail_mode: secure",
		"{peer=patch-int}", "tag: 1", "host-10-10-0-121",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	if !strings.Contains(string(out), "OK: All is well") {
		t.Error("weft trace found a difference in a healthy port")
	}
	if after := belongings(t); after != before {
		t.Errorf("before the demo:\n%s\nafter it:\n%s", before, after)
	}
}

// A demo that goes wrong says so by its exit code, and leaves nothing behind either.
func TestDemoFails(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "qemu")
	bin := weftBinary(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	before := belongings(t)
	for _, f := range []string{"vmlinuz", "initrd"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("no kernel"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(bin, "demo", "--guest", dir, "--accel", "tcg").CombinedOutput()
	if err == nil {
		t.Errorf("a demo without a guest succeeds:\n%s", out)
	}
	if after := belongings(t); after != before {
		t.Errorf("before the demo:\n%s\nafter it:\n%s", before, after)
	}
}

// belongings are all that a careless demo could leave behind.
func belongings(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ip -o link | sed 's/^[0-9]*: //; s/ .*//'; ls -A /run /run/netns /var/lib $TMPDIR; cut -d' ' -f2 /proc/mounts").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var b strings.Builder
	b.Write(out)
	procs, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		name, err := os.ReadFile(p)
		if err == nil && regexp.MustCompile(`weft|ovs|qemu`).Match(name) {
			fmt.Fprintf(&b, "process %s", name)
		}
	}
	return b.String()
}
