package lab_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// TestGuest boots the guest against a DHCP server that is not ours, so that a fault of
// the guest and a fault of weft can be told apart.
func TestGuest(t *testing.T) {
	labtest.Require(t, "root", "tun", "qemu", "guest", "busybox")
	dir := t.TempDir()
	run(t, "ip", "tuntap", "add", "tapguest", "mode", "tap")
	run(t, "ip", "addr", "add", "10.99.0.1/24", "dev", "tapguest")
	run(t, "ip", "link", "set", "tapguest", "up")
	conf := filepath.Join(dir, "udhcpd.conf")
	if err := os.WriteFile(conf, []byte(
		"start 10.99.0.20\nend 10.99.0.20\ninterface tapguest\nlease_file "+dir+"/leases\npidfile "+dir+"/pid\n"+
			"option subnet 255.255.255.0\noption router 10.99.0.1\noption mtu 1450\noption hostname host-10-99-0-20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	server := exec.CommandContext(ctx, "busybox", "udhcpd", "-f", conf)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	var seen []string
	capture, err := lab.CaptureBOOTP("tapguest", func(p lab.Packet) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p.Text)
	})
	if err != nil {
		t.Fatal(err)
	}
	guest, err := lab.FindGuest("")
	if err != nil {
		t.Fatal(err)
	}
	const mac = "fa:16:3e:00:00:20"
	vm, err := lab.StartGuest(ctx, lab.GuestOptions{Guest: guest, Tap: "tapguest", MAC: mac, MTU: 1450, Demo: true, Console: testWriter{t}})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Stop()
	for range 2 {
		e, err := vm.Expect(ctx, "lease")
		if err != nil {
			t.Fatal(err)
		}
		for k, want := range map[string]string{"mac": mac, "ip": "10.99.0.20", "mtu": "1450", "hostname": "host-10-99-0-20"} {
			if e.Fields[k] != want {
				t.Errorf("%s = %q, want %q", k, e.Fields[k], want)
			}
		}
		if e, err = vm.Expect(ctx, "ping"); err != nil || e.Fields["ok"] != "yes" {
			t.Fatalf("ping: %v, %v", e, err)
		}
	}
	if _, err := vm.Expect(ctx, "done"); err != nil {
		t.Fatal(err)
	}
	capture.Close()
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(seen, "\n")
	for _, want := range []string{
		"IP 0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from " + mac + ", length 300",
		"IP 10.99.0.1.67 > 255.255.255.255.68: BOOTP/DHCP, Reply, length 300",
	} {
		if strings.Count(all, want) < 4 {
			t.Errorf("captured no four times %q:\n%s", want, all)
		}
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}
