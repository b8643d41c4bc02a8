// Package labtest runs test binaries isolated and says what a test needs.
//
// A test that needs more than a Go toolchain calls Require: it is skipped where the
// need is not met, and fails instead where WEFT_REQUIRE lists the need, as CI does.
package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
)

// RequireVar is the environment variable that lists, separated by commas, the needs
// whose absence is a failure; "all" means every need.
const RequireVar = "WEFT_REQUIRE"

var isolateErr error

// Main is TestMain's body: as root it runs the tests in namespaces of their own, see
// lab.Isolate. Without root they run where they are and Require("root") skips.
//
//	func TestMain(m *testing.M) { labtest.Main(m) }
func Main(m *testing.M) {
	if !fuzzWorker() {
		isolateErr = lab.Isolate()
	}
	os.Exit(m.Run())
}

// fuzzWorker reports whether this is a worker of go test -fuzz: it talks to its
// coordinator through inherited files, and shares its namespaces.
func fuzzWorker() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzzworker") })
}

// Require skips the test, or fails it when WEFT_REQUIRE says so, unless every need is met.
//
// Needs are "root" (the test binary is isolated by Main), "ovs", "qemu", "guest" (the
// guest's kernel has been fetched by scripts/guest.sh), "libvirt" (daemon, virsh and
// driver for QEMU), "tun", "netfilter" (nft in this kernel), or the name of a program
// such as "nft", "openstack", "perfdhcp", "udhcpc".
func Require(t testing.TB, needs ...string) {
	t.Helper()
	for _, need := range needs {
		err := check(need)
		switch {
		case err == nil:
		case required(need):
			t.Fatalf("needs %s, which %s requires: %v", need, RequireVar, err)
		default:
			t.Skipf("needs %s: %v", need, err)
		}
	}
}

func required(need string) bool {
	list := strings.Split(os.Getenv(RequireVar), ",")
	return slices.Contains(list, need) || slices.Contains(list, "all")
}

func check(need string) error {
	switch need {
	case "root":
		if isolateErr != nil {
			return isolateErr
		}
		if !lab.Isolated() {
			return fmt.Errorf("TestMain does not call labtest.Main")
		}
		return nil
	case "ovs":
		return programs("ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovsdb-tool")
	case "qemu":
		return programs("qemu-system-x86_64")
	case "guest":
		_, err := lab.FindGuest("")
		return err
	case "libvirt":
		return lab.HaveLibvirt()
	case "tun":
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err
	case "netfilter":
		if err := programs("nft"); err != nil {
			return err
		}
		if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil {
			return fmt.Errorf("nft list tables: %w: %s", err, out)
		}
		return nil
	}
	return programs(need)
}

// programs looks in PATH and in the places where Debian keeps root's programs.
func programs(names ...string) error {
	for _, name := range names {
		if _, err := lab.LookPath(name); err != nil {
			return err
		}
	}
	return nil
}
