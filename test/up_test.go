package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

const sigint = syscall.SIGINT

// weft up: the API answers curl and the openstack command; a second instance is told so;
// SIGTERM ends it cleanly; what was made is there again after a start.
func TestUp(t *testing.T) {
	labtest.Require(t, "curl")
	h := newHost(t)
	up := h.up()
	out := h.run("curl", "-sS", "-X", "POST", apiURL+"/v2.0/networks", "-d", `{"network": {"name": "n1"}}`)
	if !strings.Contains(out, `"provider:network_type"`) || !strings.Contains(out, `"vxlan"`) {
		t.Errorf("POST /v2.0/networks: %s", out)
	}
	if out := h.run("curl", "-sS", apiURL+"/"); !strings.Contains(out, `"v2.0"`) {
		t.Errorf("GET /: %s", out)
	}

	_, err := h.weft("up", "--ovsdb", h.ovs.OVSDB, "--state-dir", filepath.Join(h.dir, "state"))
	if err == nil || !strings.Contains(err.Error(), "another weft server") || !strings.Contains(err.Error(), "already uses "+filepath.Join(h.dir, "state")) {
		t.Errorf("second instance: %v", err)
	}
	if out := h.mustWeft("fsck", "--state-dir", filepath.Join(h.dir, "state")); !strings.Contains(out, "the store is whole") {
		t.Errorf("fsck while it runs: %s", out)
	}
	h.checkModes(filepath.Join(h.dir, "state"))
	h.await("the doctor to find nothing", 20*time.Second, func() error {
		out, err := h.weft("doctor", "--all")
		if err != nil || strings.Contains(out, "\n! ") || strings.Contains(out, "\n? ") || !strings.Contains(out, "underlay: The host has no tunnel_ip, and none of its networks needs one") {
			return fmt.Errorf("%w\n%s", errors.Join(err, errors.New("it does")), out)
		}
		return nil
	})

	began := time.Now()
	up.stop()
	t.Logf("stopped in %s", time.Since(began))
	if out := h.mustWeft("fsck", "--state-dir", filepath.Join(h.dir, "state")); !strings.Contains(out, "the store is whole") {
		t.Errorf("fsck: %s", out)
	}
	h.up()
	var list struct{ Networks []struct{ Name string } }
	h.must(h.call("GET", "/v2.0/networks", nil, &list))
	if len(list.Networks) != 1 || list.Networks[0].Name != "n1" {
		t.Errorf("after a restart: %+v", list)
	}
}

// checkModes: the state directory is root's only, and so is every secret in it.
func (h *host) checkModes(dir string) {
	h.t.Helper()
	fi, err := os.Stat(dir)
	h.must(err)
	if fi.Mode().Perm() != 0o700 {
		h.t.Errorf("%s has mode %s", dir, fi.Mode())
	}
	keys := 0
	h.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".key") {
			keys++
			if fi, err := d.Info(); err != nil || fi.Mode().Perm() != 0o600 {
				h.t.Errorf("%s: %v, %v", path, fi.Mode(), err)
			}
		}
		return nil
	}))
	if keys < 3 {
		h.t.Errorf("%d keys in %s", keys, dir)
	}
}

// The openstack command works at once with the credentials that the first start leaves.
func TestOpenstackCommand(t *testing.T) {
	labtest.Require(t, "openstack")
	h := newHost(t)
	h.start("up", "--identity", "builtin")
	clouds := filepath.Join(h.dir, "state", "clouds.yaml")
	h.await("the credentials", 20*time.Second, func() error { _, err := os.Stat(clouds); return err })
	openstack := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("openstack", append([]string{"--os-cloud", "weft"}, args...)...)
		cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+clouds)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openstack %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	h.await("the agent to be alive", 20*time.Second, func() error {
		out, err := h.weft("agent", "list", "-o", "yaml")
		if err == nil && !strings.Contains(out, "alive: true") {
			err = errors.New(out)
		}
		return err
	})
	openstack("network", "create", "demo")
	openstack("subnet", "create", "--network", "demo", "--subnet-range", "10.10.0.0/24", "demo")
	mac := openstack("port", "create", "--network", "demo", "--fixed-ip", "ip-address=10.10.0.121", "vm", "-f", "value", "-c", "mac_address")
	if !strings.HasPrefix(mac, "fa:16:3e:") {
		t.Errorf("MAC %q", mac)
	}
	h.mustWeft("plug", "vm")
	if s := openstack("port", "show", "vm", "-f", "value", "-c", "status"); s != "ACTIVE" {
		t.Errorf("status %q", s)
	}
	if out := openstack("network", "agent", "list"); !strings.Contains(out, "neutron-openvswitch-agent") || !strings.Contains(out, ":-)") {
		t.Errorf("agents:\n%s", out)
	}
	h.mustWeft("unplug", "vm")
	openstack("port", "delete", "vm")
	openstack("network", "delete", "demo")
	if out := openstack("network", "list", "-f", "value"); out != "" {
		t.Errorf("networks left: %s", out)
	}
}

// The two halves as separate processes: the agent connects by its own certificate, without
// which it is not let in, and after a late start of the server.
func TestServerAndAgentApart(t *testing.T) {
	h := newHost(t)
	server := h.start("server")
	h.await("the API", 15*time.Second, func() error { return h.call("GET", "/", nil, nil) })
	certs := strings.TrimSpace(h.mustWeft("certificate", hostName, "--state-dir", filepath.Join(h.dir, "state")))
	server.stop()
	if _, err := os.Stat(filepath.Join(certs, "host.key")); err != nil {
		t.Fatal(err)
	}

	// An agent with a state directory of its own, as on another machine.
	agentState := filepath.Join(h.dir, "agent-state")
	agent := h.start("agent", "--state-dir", agentState, "--cert-dir", certs)
	time.Sleep(300 * time.Millisecond)
	h.start("server")
	h.await("the agent", 20*time.Second, func() error { return h.agentAlive(agent) })
	p := h.newPort(h.network("net", "10.20.0.0/24"), "vm", nil)
	h.mustWeft("plug", "vm")
	h.awaitStatus(p.ID, "ACTIVE")

	// Certificates of another authority do not open the door.
	other := filepath.Join(h.dir, "other")
	foreign := strings.TrimSpace(h.mustWeft("certificate", hostName, "--state-dir", other))
	agent.stop()
	stranger := h.start("agent", "--state-dir", filepath.Join(h.dir, "stranger"), "--cert-dir", foreign)
	h.await("a word of the certificate in the log", 10*time.Second, func() error {
		b, err := os.ReadFile(h.log)
		if err == nil && !strings.Contains(string(b), "certificate") {
			err = errors.New("none")
		}
		return err
	})
	stranger.stop()
}
