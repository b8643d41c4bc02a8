package kernel

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/lab/labtest"
)

func TestDomainOf(t *testing.T) {
	for want, args := range map[string][]string{
		"instance-00000001": {"/usr/bin/qemu-system-x86_64", "-name", "guest=instance-00000001,debug-threads=on", "-S"},
		"vm1":               {"qemu", "-m", "128", "-name", "vm1"},
		"vm2":               {"qemu", "-name", "vm2,process=x"},
		"":                  {"qemu", "-name"},
	} {
		if got := domainOf(args); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
	if domainOf(nil) != "" {
		t.Error("a domain of nothing")
	}
}

// A tap that this process has open is this process's; one that nobody has open is nobody's.
func TestHolders(t *testing.T) {
	labtest.Require(t, "root", "tun")
	open := func(name string) int {
		t.Helper()
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			t.Fatal(err)
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	var h Holders
	fd := open("taphold1")
	for range 2 { // looked for, and remembered
		if got, ok := h.Of("taphold1"); !ok || got.PID != os.Getpid() || got.Name == "" {
			t.Errorf("%+v %v", got, ok)
		}
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if got, ok := h.Of("taphold1"); ok {
		t.Errorf("still held by %+v", got)
	}
}
