package test

import (
	"os/exec"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

// weft demo --cloud shows the reference cloud from all its nodes, and leaves nothing behind.
func TestDemoCloud(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "qemu", "guest")
	bin := weftBinary(t)
	t.Setenv("TMPDIR", t.TempDir())
	before := belongings(t)
	out, err := exec.Command(bin, "demo", "--cloud").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	m := demoLastLine.FindStringSubmatch(lines[len(lines)-1])
	if m == nil || m[1] != m[2] || m[3][2:] != m[1][2:] {
		t.Fatalf("the last line is %q", lines[len(lines)-1])
	}
	for _, want := range []string{
		"compute-0 tap: ", "IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from " + m[1],
		"IP 10.0.0.11 > 10.0.0.13: VXLAN, vni ", "IP 10.0.0.13 > 10.0.0.11: VXLAN, vni ", "IP 10.10.0.2.67 > 10.10.0.121.68: BOOTP/DHCP, Reply",
		"Port vxlan-0a00000d", "{peer=patch-int}", `Manager "ptcp:6640:127.0.0.1"`, `Controller "tcp:127.0.0.1:6633"`, "fail_mode: secure", "tag: 1",
		"tun type tap", "mtu 1450", "qdhcp-", "inet 10.10.0.2/24", `msg="VIF plugged"`, `is completed"`, "guest on compute-1: ping 10.10.0.121 answered",
		"OK: All is well",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not show %q", want)
		}
	}
	if after := belongings(t); after != before {
		t.Errorf("before the demo:\n%s\nafter it:\n%s", before, after)
	}
}
