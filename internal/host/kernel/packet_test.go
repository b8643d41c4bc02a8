package kernel

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/capture"
	"weft/internal/lab/labtest"
)

// Packets on a real device: the filter, what is cut off, directions, and what there is no room for.
func TestPackets(t *testing.T) {
	labtest.Require(t, "root")
	for _, args := range [][]string{{"link", "add", "pk0", "type", "veth", "peer", "name", "pk1"}, {"link", "set", "pk0", "up"}, {"link", "set", "pk1", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "pk0").Run() })
	// The kernel takes its time to notice that the pair is connected; what is sent until then is lost.
	for limit := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName("pk0")
		if err == nil && l.Attrs().OperState == netlink.OperUp {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("pk0 is not up", err)
		}
	}
	open := func(device string, snap uint32) *Packets {
		f, err := capture.Compile("ether host fa:16:3e:00:00:09", snap)
		if err != nil {
			t.Fatal(err)
		}
		p, err := OpenPackets("", device, f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	sent, got := open("pk0", 100), open("pk1", 100)
	sender := openSender(t, "pk0")
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x16, 0x3e, 0, 0, 9, 0x12, 0x34}, make([]byte, 500)...)
	other := bytes.Replace(frame, []byte{0xfa, 0x16, 0x3e, 0, 0, 9}, []byte{0xfa, 0x16, 0x3e, 0, 0, 8}, 1)
	for _, f := range [][]byte{other, frame, other} {
		if _, err := unix.Write(sender, f); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	for p, out := range map[*Packets]bool{sent: true, got: false} {
		x, err := p.Read(buf)
		if err != nil || x.Len != 514 || !bytes.Equal(x.Data, frame[:100]) || x.Out != out || time.Since(x.At) > time.Minute || time.Since(x.At) < 0 {
			t.Errorf("out %v: %+v, %v", out, x, err)
		}
	}
	// Nobody reads: more than the buffer holds is dropped and counted.
	for range 3 * packetBuffer / 512 {
		if _, err := unix.Write(sender, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
	}
	if n := got.Dropped(); n == 0 || n != got.Dropped() {
		t.Errorf("%d dropped", n)
	}
	// Close ends a Read; so does the end of the device.
	done := make(chan error, 2)
	quiet := open("pk1", 100)
	go func() { _, err := quiet.Read(buf); done <- err }()
	quiet.Close()
	if err := <-done; err == nil {
		t.Error("a Read survives Close")
	}
	gone := open("pk1", 100)
	go func() { _, err := gone.Read(make([]byte, 100)); done <- err }()
	if out, err := exec.Command("ip", "link", "del", "pk0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := <-done; !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("the device is gone: %v", err)
	}
	if _, err := OpenPackets("", "pk0", capture.Program{{Op: 6, K: 1}}); !errors.Is(err, ErrNoLink) {
		t.Errorf("no device: %v", err)
	}
	if _, err := OpenPackets("nosuch", "pk0", capture.Program{{Op: 6, K: 1}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no namespace: %v", err)
	}
}

// openSender opens a socket that sends frames by a device.
func openSender(t *testing.T, device string) int {
	t.Helper()
	l, err := LinkInfo("", device)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Index, Protocol: 0}); err != nil {
		t.Fatal(err)
	}
	return fd
}
