package kernel

import (
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/lab/labtest"
)

const leftNS = "qrouter-11111111-2222-4333-8444-555555555555"

func namespaces(t *testing.T, keep ...string) map[string]Left {
	t.Helper()
	list, err := Namespaces(func(name string) bool { return slices.Contains(keep, name) })
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Left{}
	for _, l := range list {
		all[l.Name] = l
	}
	return all
}

// TestLeftNamespace: one is known by its name, what is in it is said, and it goes only when nobody is in it and it is still the same.
func TestLeftNamespace(t *testing.T) {
	labtest.Require(t, "root", "tun")
	for _, name := range []string{leftNS, "operators-own", "qrouter-mine"} {
		if err := CreateNamespace(name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = RemoveNamespace(name) })
	}
	l, found := namespaces(t)[leftNS]
	if !found || l.Ours || len(l.Links)+len(l.Others) > 0 {
		t.Fatalf("found %v: %+v", found, l)
	}
	if all := namespaces(t, leftNS); len(all) > 0 {
		t.Errorf("also found: %v", all)
	}
	if out, err := exec.Command("ip", "-n", leftNS, "link", "add", "qr-11111111-22", "type", "veth", "peer", "operator0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if l := namespaces(t)[leftNS]; !slices.Equal(l.Links, []string{"operator0", "qr-11111111-22"}) || !slices.Equal(l.Others, []string{"operator0"}) {
		t.Errorf("what is in it: %+v", l)
	}
	inside := exec.Command("ip", "netns", "exec", leftNS, "sleep", "60")
	if err := inside.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for Inhabitants()[l.Inode].PID != inside.Process.Pid && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if err := RemoveIdleNamespace(leftNS, l.Inode); err == nil || !strings.Contains(err.Error(), "runs in it") {
		t.Errorf("one with a process in it: %v", err)
	}
	_ = inside.Process.Kill()
	_ = inside.Wait()
	if err := RemoveIdleNamespace(leftNS, l.Inode+1); err == nil {
		t.Error("another one was removed")
	}
	if err := RemoveIdleNamespace(leftNS, l.Inode); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(Dir + "/" + leftNS); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if err := RemoveIdleNamespace("operators-own", 1); err == nil || !exists("operators-own") {
		t.Errorf("somebody else's: %v", err)
	}
}

// TestLeftTap: a tap is held while a process has it open, whoever that is.
func TestLeftTap(t *testing.T) {
	labtest.Require(t, "root", "tun")
	const name, other = "tap11111111-22", "tap0"
	for _, n := range []string{name, other} {
		makeDevice(t, n)
		t.Cleanup(func() { _ = DeleteTap(n) })
	}
	find := func() LeftTap {
		t.Helper()
		all, err := Taps()
		if err != nil || len(all) != 1 || all[0].Name != name || !all[0].Tap {
			t.Fatalf("%v %+v", err, all)
		}
		return all[0]
	}
	tap := find()
	if tap.Held {
		t.Error("it is held")
	}
	fd := hold(t, name, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	if !find().Held {
		t.Error("it is not held")
	}
	if err := DeleteIdleTap(name, tap.Index); err == nil || !strings.Contains(err.Error(), "holds it") {
		t.Errorf("one that is held: %v", err)
	}
	// Of one that is down the kernel tells nothing, but lets nobody else have it.
	link, err := netlink.LinkByName(name)
	if err != nil || netlink.LinkSetDown(link) != nil {
		t.Fatal(err)
	}
	if err := DeleteIdleTap(name, tap.Index); err == nil || !strings.Contains(err.Error(), "holds it") {
		t.Errorf("one that is held, and down: %v", err)
	}
	unix.Close(fd)
	deadline := time.Now().Add(10 * time.Second)
	for find().Held && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if err := DeleteIdleTap(name, tap.Index+1); err == nil {
		t.Error("another one was removed")
	}
	if err := DeleteIdleTap(name, tap.Index); err != nil {
		t.Error(err)
	}
	if all, err := Taps(); err != nil || len(all) > 0 {
		t.Errorf("%v %+v", err, all)
	}
}

// TestLeftTapOfSeveralQueues: any one of them held holds the tap.
func TestLeftTapOfSeveralQueues(t *testing.T) {
	labtest.Require(t, "root", "tun")
	const name = "tap11111111-33"
	t.Cleanup(func() { _ = DeleteTap(name) })
	first := hold(t, name, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_MULTI_QUEUE)
	if err := unix.IoctlSetInt(first, unix.TUNSETPERSIST, 1); err != nil {
		t.Fatal(err)
	}
	second := hold(t, name, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_MULTI_QUEUE)
	unix.Close(first)
	tap, found, err := findTap(name)
	if err != nil || !found || !tap.Held {
		t.Fatalf("%v %v %+v", found, err, tap)
	}
	if err := DeleteIdleTap(name, tap.Index); err == nil || !strings.Contains(err.Error(), "holds it") {
		t.Errorf("one that is held: %v", err)
	}
	unix.Close(second)
	if err := DeleteIdleTap(name, tap.Index); err != nil {
		t.Error(err)
	}
	if _, found, err := findTap(name); found || err != nil {
		t.Errorf("%v %v", found, err)
	}
}

// hold opens a tap as a hypervisor does.
func hold(t *testing.T, name string, flags uint16) (fd int) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestNeighbours(t *testing.T) {
	for version, of := range map[string]netip.Addr{"ipv4": netip.IPv4Unspecified(), "ipv6": netip.IPv6Unspecified()} {
		now, most, full := Neighbours(of)
		// The limit is the whole machine's: in a network namespace the kernel does not tell.
		if _, err := os.Stat("/proc/sys/net/" + version + "/neigh/default/gc_thresh3"); err != nil {
			if most != 0 || now < 0 {
				t.Errorf("%s: %d of %d, of which the kernel says nothing", version, now, most)
			}
			continue
		}
		if most <= 0 || now < 0 || now > most || full < 0 {
			t.Errorf("%s: %d of %d, full %d times", version, now, most, full)
		}
	}
}
