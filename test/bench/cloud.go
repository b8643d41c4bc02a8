package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weft/internal/lab"
)

// cloud is a running weft up with its switch.
type cloud struct {
	base string
	http *http.Client
	ovs  *lab.OVS
	cmd  *exec.Cmd
	dir  string // on the disk
	run  string // on a tmpfs: sockets and logs
	weft string
	// token is sent with requests when it is there.
	token string
}

func startCloud(ctx context.Context, o options) (*cloud, error) {
	bin, err := filepath.Abs(o.weft)
	if err != nil {
		return nil, err
	}
	c := &cloud{weft: bin, base: "http://127.0.0.1:9696", http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}}
	if c.dir, err = os.MkdirTemp(o.dir, "weft-bench-"); err != nil {
		return nil, err
	}
	if c.run, err = os.MkdirTemp("/run", "b"); err != nil {
		return nil, err
	}
	if c.ovs, err = lab.StartOVS(ctx, lab.OVSOptions{Dir: c.run, Datapath: lab.DatapathNetdev}); err != nil {
		return nil, err
	}
	if err := c.launch(); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// launch starts weft and waits until its agent is there.
func (c *cloud) launch() error {
	log, err := os.OpenFile(filepath.Join(c.run, "weft.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c.cmd = exec.Command(c.weft, "up", "--state-dir", c.dir, "--host", "bench", "--ovsdb", c.ovs.OVSDB, "--datapath-type", "netdev",
		"--identity", "none",
		"--quotas", "network=-1,subnet=-1,port=-1,security_group=-1,security_group_rule=-1")
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		var list struct{ Agents []struct{ Alive bool } }
		err := c.call("GET", "/v2.0/agents", nil, &list)
		if err == nil && len(list.Agents) > 0 && list.Agents[0].Alive {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("weft up does not come up: %v\n%s", err, c.logTail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// halt stops weft and leaves its switch as it is.
func (c *cloud) halt() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		_ = c.cmd.Wait()
	}
}

func (c *cloud) stop() {
	c.halt()
	_ = c.ovs.Stop()
	_ = os.RemoveAll(c.dir)
}

func (c *cloud) logTail() string {
	b, _ := os.ReadFile(filepath.Join(c.run, "weft.log"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

type m = map[string]any

// call sends one request; the answer is always read to its end.
func (c *cloud) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.base+path, body)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil && resp.StatusCode < 300 {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d: %s", method, path, resp.StatusCode, b)
	}
	return json.Unmarshal(b, out)
}

// network makes a network with a subnet.
func (c *cloud) network(name, cidr string) (string, error) {
	var n struct{ Network struct{ ID string } }
	if err := c.call("POST", "/v2.0/networks", m{"network": m{"name": name}}, &n); err != nil {
		return "", err
	}
	return n.Network.ID, c.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 4, "cidr": cidr}}, nil)
}

type port struct {
	ID       string
	MAC      string `json:"mac_address"`
	Status   string
	FixedIPs []struct {
		IP string `json:"ip_address"`
	} `json:"fixed_ips"`
}

func (c *cloud) port(network string, more m) (port, error) {
	attrs := m{"network_id": network}
	for k, v := range more {
		attrs[k] = v
	}
	var p struct{ Port port }
	err := c.call("POST", "/v2.0/ports", m{"port": attrs}, &p)
	return p.Port, err
}

// execute runs a program, which must succeed.
func execute(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
