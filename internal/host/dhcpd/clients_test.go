package dhcpd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
	"weft/internal/plan/dhcp"
)

func TestUdhcpc(t *testing.T) {
	labtest.Require(t, "udhcpc")
	s := start(t, plan())
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ $1 = bound ] && env\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out := inClient(t, "udhcpc", "-f", "-q", "-n", "-t", "3", "-T", "10", "-i", nic, "-s", script, "-O", "mtu", "-O", "hostname")
	t.Logf("lease after %v", time.Since(began))
	for _, want := range []string{"ip=10.10.0.121", "subnet=255.255.0.0", "router=10.10.0.1", "dns=10.10.0.2", "domain=openstacklocal", "hostname=host-10-10-0-121", "mtu=1450", "lease=86400", "serverid=10.10.0.2"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
	h := s.History("one")
	if len(h) != 2 || h[0].Message.String() != "DISCOVER" || h[0].Reply.String() != "OFFER" ||
		h[1].Message.String() != "REQUEST" || h[1].Reply.String() != "ACK" || h[1].Reason != dhcp.Selected || h[1].Given != addr("10.10.0.121") {
		t.Errorf("history: %+v", h)
	}
}

func TestDhclient(t *testing.T) {
	labtest.Require(t, "dhclient")
	s := start(t, plan())
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	// The script does what matters of dhclient-script: up, and the address.
	text := "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\ncase $reason in PREINIT) ip link set $interface up;; BOUND|REBOOT) ip addr replace $new_ip_address/16 dev $interface; env;; esac\nexit 0\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"dhclient", "-1", "-v", "-4", "-sf", script, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-cf", "/dev/null", nic}
	stop := append([]string{"dhclient", "-x", "-4"}, args[4:]...)
	out := inClient(t, args...)
	for _, want := range []string{"new_ip_address=10.10.0.121", "new_routers=10.10.0.1", "new_domain_name=openstacklocal", "new_host_name=host-10-10-0-121", "new_dhcp_lease_time=86400", "new_dhcp_renewal_time=43200", "new_dhcp_rebinding_time=75600", "new_broadcast_address=10.10.255.255"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
	inClient(t, stop...)
	// It remembers its address, and asks for that: INIT-REBOOT.
	if out := inClient(t, args...); !strings.Contains(out, "DHCPACK of 10.10.0.121") {
		t.Errorf("second time:\n%s", out)
	}
	h := s.History("one")
	if last := h[len(h)-1]; last.Reason != dhcp.Rebooted {
		t.Errorf("last: %+v", last)
	}
	inClient(t, stop...)
	// The port has another address now: NAK at once, then the new address.
	p := plan()
	p.Leases[0].Addr, p.Leases[0].Hostname = addr("10.10.0.77"), "host-10-10-0-77"
	for _, f := range s.Apply(t.Context(), []dhcp.Server{p}) {
		t.Fatal(f)
	}
	began := time.Now()
	if out := inClient(t, args...); !strings.Contains(out, "DHCPNAK from 10.10.0.2") || !strings.Contains(out, "DHCPACK of 10.10.0.77") {
		t.Errorf("after the change:\n%s", out)
	}
	t.Logf("from the old address to the new in %v", time.Since(began))
	// Renewal by unicast, from its own address; dhclient -r gives the address back.
	inClient(t, "dhclient", "-r", "-4", "-sf", script, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "-cf", "/dev/null", nic)
	waitFor(t, func() bool { h := s.History("one"); return h[len(h)-1].Reason == dhcp.Released })
}
