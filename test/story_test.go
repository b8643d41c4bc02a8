// Package test holds the stories of the whole system: a real weft, a real Open vSwitch
// (userspace datapath; the kernel's in make test-kernel), real clients, in namespaces of the test's own.
package test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	maybeEtcd()
	labtest.Main(m)
}

const (
	apiURL   = "http://127.0.0.1:9696"
	hostName = "story"
)

// weftBinary is the program under test: $WEFT_BIN, or built once.
func weftBinary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("WEFT_BIN"); bin != "" {
		return bin
	}
	built.once.Do(func() {
		dir, err := os.MkdirTemp("/run", "bin")
		if err != nil {
			built.err = err
			return
		}
		built.bin = filepath.Join(dir, "weft")
		out, err := exec.Command("go", "build", "-o", built.bin, "weft/cmd/weft").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build weft: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.bin
}

// host is one machine: an Open vSwitch and whatever weft processes a story starts.
type host struct {
	t    testing.TB
	bin  string
	dir  string
	ovs  *lab.OVS
	args []string
	log  string
	http *http.Client
	url  string // of the API, if it is not apiURL
	said int
}

// newHost starts an Open vSwitch; weft is not started yet. args are given to every weft daemon.
func newHost(t testing.TB, args ...string) *host {
	t.Helper()
	labtest.Require(t, "root", "ovs", "tun")
	if c, err := net.Dial("tcp", strings.TrimPrefix(apiURL, "http://")); err == nil {
		c.Close()
		t.Fatal("an earlier story has left a weft running")
	}
	h := &host{t: t, bin: weftBinary(t), http: &http.Client{Timeout: 30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	// Short, for unix socket paths; and a tmpfs, as /run is the test's own.
	dir, err := os.MkdirTemp("/run", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h.dir = dir
	h.log = filepath.Join(dir, "weft.log")
	ovsDir := filepath.Join(dir, "ovs")
	if err := os.Mkdir(ovsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.ovs, err = lab.StartOVS(t.Context(), lab.OVSOptions{Dir: ovsDir, Datapath: lab.DatapathReal()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.leave)
	h.args = append([]string{"--host", hostName, "--state-dir", filepath.Join(dir, "state"), "--log-level", "debug"}, args...)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		b, _ := os.ReadFile(h.log)
		lines := strings.Split(string(b), "\n")
		t.Logf("the end of weft's log:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
		for _, c := range []string{"ip -br addr", "for n in $(ls /run/netns); do echo $n; ip -br -n $n addr; done"} {
			out, _ := exec.Command("sh", "-c", c).CombinedOutput()
			t.Logf("%s\n%s", c, out)
		}
		show, _ := h.ovs.Vsctl("show")
		t.Log(show)
	})
	return h
}

// leave ends a story, after its daemons have been ended: weft cleanup must remove all that
// weft has made. Then what the story itself made goes, for the next to begin with nothing.
func (h *host) leave() {
	if out, err := h.weft("cleanup"); err != nil {
		h.t.Errorf("%v: %s", err, out)
	}
	if left, err := h.ovs.Vsctl("list-br"); err != nil || left != "" {
		h.t.Errorf("weft cleanup leaves bridges: %v %s", err, left)
	}
	if left, _ := filepath.Glob("/run/netns/qdhcp-*"); len(left) > 0 {
		h.t.Errorf("weft cleanup leaves namespaces: %s", left)
	}
	if err := h.ovs.Stop(); err != nil {
		h.t.Error(err)
	}
	sweep(h.t)
}

// sweep removes all devices and namespaces that a story has made, for the next to begin
// with nothing. Open vSwitch's taps outlive it.
func sweep(t testing.TB) {
	script := "for l in $(ls /sys/class/net); do [ $l = lo ] || ip link del $l 2>/dev/null; done; for n in $(ls /run/netns); do ip netns del $n; done"
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil && len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// agentArgs are for commands that run the agent.
func (h *host) agentArgs() []string {
	return []string{"--ovsdb", h.ovs.OVSDB, "--datapath-type", h.ovs.Datapath}
}

// daemon is a weft process.
type daemon struct {
	h    *host
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// start starts a weft daemon: start("up"), start("server"), start("agent").
func (h *host) start(role string, args ...string) *daemon {
	h.t.Helper()
	all := append([]string{role}, h.args...)
	if role != "agent" {
		all = append(all, "--identity", "none") // unless args say otherwise
	}
	if role != "server" {
		all = append(all, h.agentArgs()...)
	}
	all = append(all, args...)
	out, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	d := &daemon{h: h, cmd: exec.Command(h.bin, all...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, out
	if err := d.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { d.err = d.cmd.Wait(); close(d.done) }()
	h.t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
	})
	return d
}

// up starts weft up and waits until the API answers and the agent is there.
func (h *host) up() *daemon {
	h.t.Helper()
	d := h.start("up")
	h.await("the agent to be alive", 20*time.Second, func() error { return h.agentAlive(d) })
	return d
}

// agentAlive asks the API for a live Open vSwitch agent; d, if given, must still run.
func (h *host) agentAlive(d *daemon) error {
	if d != nil {
		select {
		case <-d.done:
			h.t.Fatalf("weft ended: %v", d.err)
		default:
		}
	}
	var list struct {
		Agents []struct {
			Alive bool
			Type  string `json:"agent_type"`
		}
	}
	if err := h.call("GET", "/v2.0/agents", nil, &list); err != nil {
		return err
	}
	for _, a := range list.Agents {
		if a.Alive && a.Type == "Open vSwitch agent" {
			return nil
		}
	}
	return fmt.Errorf("agents: %+v", list.Agents)
}

// stop ends a daemon by SIGTERM, which must be clean and quick.
func (d *daemon) stop() {
	d.h.t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
		if d.err != nil {
			d.h.t.Errorf("after SIGTERM: %v", d.err)
		}
	case <-time.After(time.Minute):
		d.h.t.Fatal("does not end within a minute of SIGTERM")
	}
}

// kill is kill -9.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	<-d.done
}

// patience is how many times longer than on a quiet machine something may take.
const patience = 4

// await polls until f returns nil. limit is for a quiet machine.
func (h *host) await(what string, limit time.Duration, f func() error) {
	h.t.Helper()
	limit *= patience
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("waited %s for %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// weft runs a weft command against this host and returns what it prints.
func (h *host) weft(args ...string) (string, error) {
	if args[0] == "plug" {
		args = append(args, "--wait", "1m")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.bin, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = append(os.Environ(), "WEFT_HOST="+hostName, "WEFT_OVSDB="+h.ovs.OVSDB, "WEFT_DATAPATH_TYPE="+h.ovs.Datapath,
		"WEFT_STATE_DIR="+filepath.Join(h.dir, "state"))
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// mustWeft is weft for commands that must succeed.
func (h *host) mustWeft(args ...string) string {
	h.t.Helper()
	out, err := h.weft(args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// traced is what weft trace prints of a port, be it well or not.
func (h *host) traced(port string) string {
	h.t.Helper()
	out, err := h.weft("trace", port)
	if !strings.Contains(out, "port "+port) && !strings.Contains(out, "("+port+")") {
		h.t.Fatalf("weft trace %s: %v\n%s", port, err, out)
	}
	return out
}

// statusError is an answer of the API that is not a success.
type statusError struct {
	Code int
	Body string
}

func (e statusError) Error() string { return fmt.Sprintf("status %d: %s", e.Code, e.Body) }

// call sends a request to the API; in and out may be nil.
func (h *host) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, cmp.Or(h.url, apiURL)+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return statusError{resp.StatusCode, string(b)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// m is a JSON object.
type m = map[string]any

// port is what stories look at in a port.
type port struct {
	ID        string
	Name      string
	NetworkID string `json:"network_id"`
	MAC       string `json:"mac_address"`
	Status    string
	Host      string   `json:"binding:host_id"`
	VIFType   string   `json:"binding:vif_type"`
	Groups    []string `json:"security_groups"`
	FixedIPs  []struct {
		IP string `json:"ip_address"`
	} `json:"fixed_ips"`
}

func (p port) ip() string {
	if len(p.FixedIPs) == 0 {
		return ""
	}
	return p.FixedIPs[0].IP
}

// network makes a network with one subnet.
func (h *host) network(name, cidr string) (id string) {
	h.t.Helper()
	var n struct{ Network struct{ ID string } }
	h.must(h.call("POST", "/v2.0/networks", m{"network": m{"name": name}}, &n))
	h.must(h.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 4, "cidr": cidr}}, nil))
	return n.Network.ID
}

// newPort makes a port.
func (h *host) newPort(network, name string, more m) port {
	h.t.Helper()
	attrs := m{"network_id": network, "name": name, "device_owner": "compute:nova"}
	for k, v := range more {
		attrs[k] = v
	}
	var p struct{ Port port }
	h.must(h.call("POST", "/v2.0/ports", m{"port": attrs}, &p))
	return p.Port
}

// port reads a port.
func (h *host) port(id string) port {
	h.t.Helper()
	var p struct{ Port port }
	h.must(h.call("GET", "/v2.0/ports/"+id, nil, &p))
	return p.Port
}

// awaitStatus waits until a port has a status and returns how long that took.
func (h *host) awaitStatus(id, status string) time.Duration {
	h.t.Helper()
	began := time.Now()
	h.await("port "+id+" to be "+status, 10*time.Second, func() error {
		if p := h.port(id); p.Status != status {
			return fmt.Errorf("it is %+v", p)
		}
		return nil
	})
	return time.Since(began)
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// run runs a program that must succeed.
func (h *host) run(name string, args ...string) string {
	h.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// vsctl runs ovs-vsctl on the host's switch.
func (h *host) vsctl(args ...string) string {
	h.t.Helper()
	out, err := h.ovs.Vsctl(args...)
	h.must(err)
	return strings.TrimSpace(out)
}

// namespace makes a network namespace for a story.
func (h *host) namespace(name string) {
	h.t.Helper()
	h.run("ip", "netns", "add", name)
	h.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
}

// udhcpc gets an address by DHCP on eth0 of a namespace, as a small guest does; more are further arguments.
func (h *host) udhcpc(ns string, more ...string) (addr string, err error) {
	script := filepath.Join(h.dir, "udhcpc.sh")
	err = os.WriteFile(script, []byte("#!/bin/sh\n"+
		`case $1 in bound|renew) ip addr replace "$ip/$mask" dev "$interface"; echo "ADDRESS $ip";; esac`+"\n"), 0o755)
	if err != nil {
		return "", err
	}
	args := append([]string{"netns", "exec", ns, "busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "20", "-T", "1", "-s", script}, more...)
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("udhcpc in %s: %w: %s", ns, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if a, ok := strings.CutPrefix(strings.TrimSpace(line), "ADDRESS "); ok {
			return a, nil
		}
	}
	return "", errors.New("udhcpc says nothing of an address: " + string(out))
}

var built struct {
	once sync.Once
	bin  string
	err  error
}
