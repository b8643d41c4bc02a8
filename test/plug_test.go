package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

// An OVS interface with external_ids:iface-id, as libvirt and os-vif make them, turns its
// port ACTIVE; when it goes the port is DOWN again.
func TestPlugByExternalIDs(t *testing.T) {
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	p := h.newPort(network, "vm", m{"binding:host_id": hostName})
	if p.VIFType != "ovs" || p.Status != "DOWN" {
		t.Fatalf("a bound port is %+v", p)
	}
	tap := "tap" + p.ID[:11]
	h.vsctl("add-port", "br-int", tap, "--", "set", "Interface", tap, "type=internal",
		"external_ids:iface-id="+p.ID, "external_ids:attached-mac="+p.MAC, "external_ids:iface-status=active")
	t.Logf("ACTIVE after %s", h.awaitStatus(p.ID, "ACTIVE"))
	if tag := h.vsctl("get", "Port", tap, "tag"); tag == "[]" {
		t.Error("the port has no tag")
	}
	other := h.vsctl("get", "Port", tap, "other_config")
	if !strings.Contains(other, `net_uuid="`+network+`"`) || !strings.Contains(other, "network_type=vxlan") {
		t.Errorf("other_config is %s", other)
	}
	h.vsctl("del-port", tap)
	t.Logf("DOWN after %s", h.awaitStatus(p.ID, "DOWN"))
}

// The host looks as a Neutron host does.
func TestHostLooksLikeNeutrons(t *testing.T) {
	h := newHost(t)
	h.up()
	h.await("both bridges to be connected", 10*time.Second, func() error {
		if n := strings.Count(h.vsctl("show"), "is_connected: true"); n < 2 {
			return fmt.Errorf("%d connections in\n%s", n, h.vsctl("show"))
		}
		return nil
	})
	h.vsctl("add-port", "br-int", "other") // not ours
	show := h.vsctl("show")
	for _, want := range []string{`Controller "tcp:127.0.0.1:6633"`, "fail_mode: secure", "Port patch-tun", "{peer=patch-int}", "Port patch-int", "Bridge br-int", "Bridge br-tun"} {
		if !strings.Contains(show, want) {
			t.Errorf("ovs-vsctl show has no %s:\n%s", want, show)
		}
	}
}

// weft plug makes the tap and the OVS port; weft unplug takes both away.
func TestPlugTap(t *testing.T) {
	h := newHost(t)
	h.up()
	p := h.newPort(h.network("net", "10.20.0.0/24"), "vm", nil)
	out := h.mustWeft("plug", "vm", "--user", "nobody")
	tap := "tap" + p.ID[:11]
	if !strings.Contains(out, tap) || !strings.Contains(out, "ACTIVE") {
		t.Errorf("weft plug prints %q", out)
	}
	if q := h.port(p.ID); q.Status != "ACTIVE" || q.Host != hostName {
		t.Errorf("plugged port is %+v", q)
	}
	link := h.run("ip", "-d", "link", "show", tap)
	for _, want := range []string{"link/ether fe" + p.MAC[2:], "mtu 1450", "tun type tap", "persist on", "vnet_hdr on", "user nobody", ",UP"} {
		if !strings.Contains(link, want) {
			t.Errorf("no %q in\n%s", want, link)
		}
	}
	ids := h.vsctl("get", "Interface", tap, "external_ids")
	for _, want := range []string{`iface-id="` + p.ID + `"`, `attached-mac="` + p.MAC + `"`, "iface-status=active"} {
		if !strings.Contains(ids, want) {
			t.Errorf("no %s in external_ids %s", want, ids)
		}
	}
	if typ := h.vsctl("get", "Interface", tap, "type"); typ != `""` {
		t.Errorf("interface type is %s", typ)
	}
	// Once more changes nothing.
	h.mustWeft("plug", p.ID)

	h.mustWeft("unplug", "vm")
	h.awaitStatus(p.ID, "DOWN")
	if _, err := os.Stat("/sys/class/net/" + tap); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tap is still there: %v", err)
	}
	if ports := h.vsctl("list-ports", "br-int"); strings.Contains(ports, tap) {
		t.Errorf("br-int still has %s", tap)
	}
	if q := h.port(p.ID); q.Host != "" || q.VIFType != "unbound" {
		t.Errorf("unplugged port is %+v", q)
	}
	// Also of a port that the API has forgotten.
	h.mustWeft("plug", "vm")
	h.must(h.call("DELETE", "/v2.0/ports/"+p.ID, nil, nil))
	h.mustWeft("unplug", p.ID)
	if ports := h.vsctl("list-ports", "br-int"); strings.Contains(ports, tap) {
		t.Errorf("br-int still has %s", tap)
	}
}

// weft plug refuses what cannot be, and says why.
func TestPlugRefuses(t *testing.T) {
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	elsewhere := h.newPort(network, "elsewhere", m{"binding:host_id": "other-host"})
	loose := h.newPort(network, "loose", nil)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"plug", "no-such-port"}, `no port has the ID or name "no-such-port"`},
		{[]string{"plug", elsewhere.ID}, "is bound to host other-host"},
		{[]string{"plug", loose.ID, "--host", "no-such-host"}, `no agent has ever joined from host "no-such-host"`},
		{[]string{"plug", elsewhere.ID, "--user", "no-such-user"}, "no-such-user"},
		{[]string{"plug"}, "accepts 1 arg"},
		{[]string{"plug", "x", "--api", "http://127.0.0.1:1"}, "does not answer at http://127.0.0.1:1"},
	} {
		if _, err := h.weft(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("weft %s: %v; want %q", strings.Join(c.args, " "), err, c.want)
		}
	}
	if got := h.port(loose.ID); got.VIFType != "unbound" {
		t.Errorf("the refused port is %s", got.VIFType)
	}
	if ports := h.vsctl("list-ports", "br-int"); strings.Contains(ports, "tap"+loose.ID[:11]) {
		t.Errorf("br-int has the refused port: %s", ports)
	}
}

// weft plug --netns puts a NIC with the port's own MAC into a namespace, and DHCP clients
// of different kinds get the port's address there.
func TestPlugNamespace(t *testing.T) {
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	for _, c := range []struct {
		client string
		get    func(ns string) (string, error)
	}{
		{"busybox", func(ns string) (string, error) { return h.udhcpc(ns) }},
		{"dhclient", h.dhclient},
	} {
		t.Run(c.client, func(t *testing.T) {
			labtest.Require(t, c.client)
			ns := "ns-" + c.client
			h.namespace(ns)
			p := h.newPort(network, ns, nil)
			h.mustWeft("plug", ns, "--netns", ns)
			link := h.run("ip", "-n", ns, "link", "show", "eth0")
			if !strings.Contains(link, "link/ether "+p.MAC) || !strings.Contains(link, "mtu 1450") {
				t.Errorf("in the namespace: %s", link)
			}
			got, err := c.get(ns)
			if err != nil {
				t.Fatal(err)
			}
			if got != p.ip() {
				t.Errorf("got %s by DHCP, the API says %s", got, p.ip())
			}
			h.run("ip", "netns", "exec", ns, "ping", "-c", "1", "-W", "20", "10.20.0.2")
			h.mustWeft("unplug", ns)
			if out, err := exec.Command("ip", "-n", ns, "link", "show", "eth0").CombinedOutput(); err == nil {
				t.Errorf("after unplug there is still %s", out)
			}
		})
	}
}

// dhclient gets an address as Debian's classic client does.
func (h *host) dhclient(ns string) (string, error) {
	script := h.dir + "/dhclient-script"
	err := os.WriteFile(script, []byte("#!/bin/sh\n"+
		`case $reason in BOUND) ip addr replace "$new_ip_address/24" dev "$interface"; echo "$new_ip_address" >`+h.dir+`/dhclient.address;; esac`+"\n"), 0o755)
	if err != nil {
		return "", err
	}
	out, err := exec.Command("timeout", "60", "ip", "netns", "exec", ns, "dhclient", "-4", "-1", "-v", "-sf", script,
		"-lf", h.dir+"/dhclient.leases", "-pf", h.dir+"/dhclient.pid", "eth0").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("dhclient: %w: %s", err, out)
	}
	_ = exec.Command("sh", "-c", "kill $(cat "+h.dir+"/dhclient.pid)").Run()
	b, err := os.ReadFile(h.dir + "/dhclient.address")
	return strings.TrimSpace(string(b)), err
}

// One interface with nonsense in its external_ids does not keep others from being wired.
func TestMalformedExternalIDs(t *testing.T) {
	h := newHost(t)
	h.up()
	network := h.network("net", "10.20.0.0/24")
	good := h.newPort(network, "good", m{"binding:host_id": hostName})
	bare := h.newPort(network, "bare", m{"binding:host_id": hostName})
	odd := h.newPort(network, "odd", m{"binding:host_id": hostName})
	for i, ids := range []string{
		`external_ids:iface-id=""`, `external_ids:iface-id="not-a-uuid"`, `external_ids:iface-id="../../etc/passwd"`,
		`external_ids:iface-id="` + strings.Repeat("x", 4000) + `"`, `external_ids:attached-mac="fa:16:3e"`,
		`external_ids:iface-id="00000000-0000-0000-0000-000000000000"`,
	} {
		name := fmt.Sprintf("bad%d", i)
		h.vsctl("add-port", "br-int", name, "--", "set", "Interface", name, "type=internal", ids)
	}
	add := func(name, id string, more ...string) {
		h.vsctl(append([]string{"add-port", "br-int", name, "--", "set", "Interface", name, "type=internal", "external_ids:iface-id=" + id}, more...)...)
	}
	add("good0", good.ID, "external_ids:attached-mac="+good.MAC)
	// Neutron never wires a port without attached-mac, and stops at a malformed one.
	add("bare0", bare.ID)
	add("odd0", odd.ID, `external_ids:attached-mac="nonsense"`)
	for _, p := range []port{good, bare, odd} {
		h.awaitStatus(p.ID, "ACTIVE")
	}
}
