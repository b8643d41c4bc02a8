package neutron

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

// cli runs the real openstack command against a server.
type cli struct{ *api }

// run returns what the command printed; it must succeed.
func (c *cli) run(args ...string) string {
	c.t.Helper()
	out, err := c.start(args...)
	if err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cli) start(args ...string) (string, error) {
	cmd := exec.Command("openstack", append([]string{"--os-auth-type", "none", "--os-endpoint", c.url}, args...)...)
	// Nothing of the caller's cloud may leak in.
	cmd.Env = []string{"HOME=" + c.t.TempDir(), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// object runs a command with -f json that prints one object.
func (c *cli) object(args ...string) map[string]any {
	c.t.Helper()
	var m map[string]any
	c.decode(&m, args)
	return m
}

// rows runs a list command.
func (c *cli) rows(args ...string) []map[string]any {
	c.t.Helper()
	var l []map[string]any
	c.decode(&l, args)
	return l
}

func (c *cli) decode(v any, args []string) {
	c.t.Helper()
	out := c.run(append(args, "-f", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// has checks values of an object as the CLI prints them.
func (c *cli) has(o map[string]any, pairs ...any) {
	c.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got, want := fmt.Sprint(o[pairs[i].(string)]), fmt.Sprint(pairs[i+1]); got != want {
			c.t.Errorf("%s: got %s, want %s", pairs[i], got, want)
		}
	}
}

func TestOpenstackCLI(t *testing.T) {
	labtest.Require(t, "openstack")
	if testing.Short() {
		t.Skip("the CLI takes seconds per command")
	}
	c := &cli{api: startAPI(t)}
	c.host("node-1")
	c.networks()
	c.subnets()
	c.ports()
	c.deletes()
}

func (c *cli) networks() {
	c.t.Helper()
	c.has(c.object("network", "create", "demo", "--description", "a network"), "name", "demo", "mtu", 1450,
		"provider:network_type", "vxlan", "description", "a network", "admin_state_up", true)
	c.has(c.object("network", "create", "lan", "--provider-network-type", "vlan", "--provider-physical-network", "physnet1",
		"--provider-segment", "123", "--disable"), "provider:network_type", "vlan", "provider:physical_network", "physnet1",
		"provider:segmentation_id", 123, "mtu", 1500, "admin_state_up", false)
	c.run("network", "set", "lan", "--name", "lan2", "--enable", "--mtu", "1400")
	c.has(c.object("network", "show", "lan2"), "name", "lan2", "admin_state_up", true, "mtu", 1400)
	if rows := c.rows("network", "list", "--provider-network-type", "vlan", "--long"); len(rows) != 1 || rows[0]["Name"] != "lan2" {
		c.t.Errorf("network list: %v", rows)
	}
	if rows := c.rows("extension", "list", "--network"); len(rows) != len(c.handler.extensions) {
		c.t.Errorf("extension list --network: %d rows", len(rows))
	}
	rows := c.rows("network", "agent", "list")
	if len(rows) != 3 || fmt.Sprint(rows[0]["Alive"]) != "true" {
		c.t.Errorf("network agent list: %v", rows)
	}
}

func (c *cli) subnets() {
	c.t.Helper()
	c.has(c.object("subnet", "create", "sub", "--network", "demo", "--subnet-range", "10.10.0.0/24", "--dns-nameserver", "192.0.2.53",
		"--host-route", "destination=10.99.0.0/16,gateway=10.10.0.9", "--allocation-pool", "start=10.10.0.2,end=10.10.0.200"),
		"gateway_ip", "10.10.0.1", "cidr", "10.10.0.0/24", "enable_dhcp", true, "dns_nameservers", "[192.0.2.53]")
	c.run("subnet", "set", "sub", "--description", "changed", "--no-dns-nameservers", "--dns-nameserver", "192.0.2.54")
	c.has(c.object("subnet", "show", "sub"), "description", "changed", "dns_nameservers", "[192.0.2.54]")
	if rows := c.rows("subnet", "list", "--network", "demo", "--dhcp"); len(rows) != 1 || rows[0]["Name"] != "sub" {
		c.t.Errorf("subnet list: %v", rows)
	}
}

func (c *cli) ports() {
	c.t.Helper()
	port := c.object("port", "create", "p1", "--network", "demo", "--fixed-ip", "subnet=sub,ip-address=10.10.0.121",
		"--mac-address", "fa:16:3e:7b:71:0b", "--host", "node-1", "--device-owner", "compute:nova",
		"--extra-dhcp-option", "name=66,value=tftp.example.org", "--binding-profile", "a=b")
	c.has(port, "mac_address", "fa:16:3e:7b:71:0b", "binding_vif_type", "ovs", "binding_host_id", "node-1", "status", "DOWN",
		"device_owner", "compute:nova")
	if ips := fmt.Sprint(port["fixed_ips"]); !strings.Contains(ips, "10.10.0.121") {
		c.t.Errorf("fixed_ips %s", ips)
	}
	c.run("port", "set", "p1", "--name", "web", "--disable", "--device", "vm-1")
	c.has(c.object("port", "show", "web"), "name", "web", "admin_state_up", false, "device_id", "vm-1")
	c.run("port", "unset", "web", "--host")
	c.has(c.object("port", "show", "web"), "binding_vif_type", "unbound", "binding_host_id", "")
	for _, by := range [][]string{{"--fixed-ip", "ip-address=10.10.0.121"}, {"--mac-address", "fa:16:3e:7b:71:0b"},
		{"--network", "demo", "--device-owner", "compute:nova"}} {
		if rows := c.rows(append([]string{"port", "list"}, by...)...); len(rows) != 1 || rows[0]["Name"] != "web" {
			c.t.Errorf("port list %v: %v", by, rows)
		}
	}
	if rows := c.rows("port", "list", "--device-owner", "network:dhcp", "--long"); len(rows) != 1 {
		c.t.Errorf("DHCP ports: %v", rows)
	}
	out, err := c.start("port", "create", "p2", "--network", "demo", "--fixed-ip", "ip-address=10.10.0.121")
	if err == nil || !strings.Contains(out, "IP address 10.10.0.121 already allocated in subnet") {
		c.t.Errorf("an address twice: %v %s", err, out)
	}
}

func (c *cli) deletes() {
	c.t.Helper()
	if out, err := c.start("network", "delete", "demo"); err == nil {
		c.t.Errorf("a network in use was deleted: %s", out)
	}
	c.run("port", "delete", "web")
	c.run("subnet", "delete", "sub")
	c.run("network", "delete", "demo", "lan2")
	if rows := c.rows("network", "list"); len(rows) != 0 {
		c.t.Errorf("left over: %v", rows)
	}
	if ports := c.do("GET", "/v2.0/ports", nil).list(); len(ports) != 0 {
		c.t.Errorf("left over: %v", ports)
	}
}

// TestSDK runs what Nova and programs on the SDK do; both libraries come with the CLI.
func TestSDK(t *testing.T) {
	labtest.Require(t, "openstack")
	a := startAPI(t)
	a.host("node-1")
	cmd := exec.Command(interpreter(t), "testdata/sdk.py", a.url)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "done") {
		t.Errorf("%v\n%s", err, out)
	}
}

// interpreter is the Python that the CLI itself runs on, by its first line.
func interpreter(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openstack")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	python, ok := strings.CutPrefix(first, "#!")
	if !ok {
		t.Skipf("%s is no script", path)
	}
	return strings.Fields(python)[0]
}
