package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Networks of a cloud's underlay. Hosts talk to servers on the first, tunnels to each other on the second, and the
// third is the physical network of VLAN and flat networks.
const (
	Management = "mgmt"
	Data       = "data"
	Provider   = "prov"
)

// PhysicalNetwork is the name of Provider in the settings of weft.
const PhysicalNetwork = "physnet1"

// NodeSpec says what a machine of a cloud is.
type NodeSpec struct {
	Name   string
	Server bool
	// Roles are those of its agent; without any it has no agent and no switch.
	Roles string
}

// ReferenceCloud is the cloud that weft has to reproduce: a controller, a network node, and two compute nodes.
var ReferenceCloud = []NodeSpec{
	{Name: "controller", Server: true},
	{Name: "compute-0", Roles: "compute"},
	{Name: "compute-1", Roles: "compute"},
	{Name: "network", Roles: "network"},
}

// ServerCloud has three servers.
var ServerCloud = []NodeSpec{
	{Name: "server-0", Server: true},
	{Name: "server-1", Server: true},
	{Name: "server-2", Server: true},
	{Name: "compute-0", Roles: "compute"},
	{Name: "compute-1", Roles: "compute"},
	{Name: "network", Roles: "network"},
}

// CloudOptions say what NewCloud makes.
type CloudOptions struct {
	// Dir is an empty directory with a short name, for unix sockets.
	Dir string
	// Weft is the program.
	Weft  string
	Nodes []NodeSpec
	// DataIPv6 gives the hosts IPv6 addresses on the network of the tunnels in place of IPv4's.
	DataIPv6 bool
	// Settings are added to every node's weft.yaml, Env to the environment of every weft.
	Settings string
	Env      []string
}

// Cloud is several machines on one underlay, each with its own Open vSwitch, server or agent.
type Cloud struct {
	Underlay *Underlay
	Nodes    []*Node

	o CloudOptions
}

// Node is a machine of a cloud.
type Node struct {
	*Machine
	Spec NodeSpec
	// IP is its address on the management network, VTEP where its tunnels end.
	IP, VTEP netip.Addr
	OVS      *OVS
	// What runs, if anything.
	Server, Agent *Process
	// Program is weft here, Env what is in its environment beside what is everywhere.
	Program string
	Env     []string

	cloud *Cloud
}

// NewCloud makes machines and switches; no weft runs yet. The process itself gets a leg on the management network.
func NewCloud(ctx context.Context, o CloudOptions) (*Cloud, error) {
	c := &Cloud{o: o}
	if err := c.build(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cloud) build(ctx context.Context) error {
	var err error
	if c.Underlay, err = NewUnderlay(c.o.Dir, 1500, Management, Data, Provider); err != nil {
		return err
	}
	if err := c.Underlay.Connect(nil, Management, Management); err != nil {
		return err
	}
	if err := run("ip", "addr", "add", "192.168.0.1/24", "dev", Management); err != nil {
		return err
	}
	for i, spec := range c.o.Nodes {
		n := &Node{Spec: spec, Program: c.o.Weft, cloud: c, IP: netip.AddrFrom4([4]byte{192, 168, 0, byte(10 + i)})}
		if spec.Roles != "" {
			n.VTEP = netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})
			if c.o.DataIPv6 {
				n.VTEP = netip.MustParseAddr(fmt.Sprintf("fd00:10::%d", 10+i))
			}
		}
		if n.Machine, err = NewMachine(spec.Name, c.o.Dir); err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, n)
		if err := n.furnish(ctx); err != nil {
			return fmt.Errorf("%s: %w", spec.Name, err)
		}
	}
	for _, n := range c.Nodes {
		if err := os.WriteFile(n.Config(), []byte(n.settings()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// furnish gives a machine its NICs and its switch.
func (n *Node) furnish(ctx context.Context) error {
	u := n.cloud.Underlay
	if err := u.Connect(n.Machine, "eth0", Management); err != nil {
		return err
	}
	if _, err := n.Run("ip", "addr", "add", n.IP.String()+"/24", "dev", "eth0"); err != nil {
		return err
	}
	if n.Spec.Roles != "" {
		if err := errors.Join(u.Connect(n.Machine, "eth1", Data), u.Connect(n.Machine, "eth2", Provider)); err != nil {
			return err
		}
		var err error
		n.OVS, err = StartOVS(ctx, OVSOptions{Dir: filepath.Join(n.Dir, "ovs"), Datapath: DatapathReal(), Machine: n.Machine})
		if err != nil {
			return err
		}
		// A switch in user space sends tunnels only out of a bridge of its own that has the address.
		datapath := "datapath_type=" + n.OVS.Datapath
		_, err = n.OVS.Vsctl("add-br", "br-phys", "--", "set", "Bridge", "br-phys", datapath, "fail_mode=standalone", "--", "add-port", "br-phys", "eth1",
			"--", "add-br", "br-ex", "--", "set", "Bridge", "br-ex", datapath, "--", "add-port", "br-ex", "eth2")
		if err != nil {
			return err
		}
		// Nobody else has the address, which need not be found out first.
		add := "ip addr add " + n.VTEP.String() + "/24 dev br-phys"
		if n.VTEP.Is6() {
			add = "ip addr add " + n.VTEP.String() + "/64 dev br-phys nodad"
		}
		if _, err := n.Run("sh", "-ec", add+"; ip link set br-phys up"); err != nil {
			return err
		}
	}
	return nil
}

// Config is the node's settings file.
func (n *Node) Config() string { return filepath.Join(n.Dir, "weft.yaml") }

// StateDir is where the node's weft keeps everything.
func (n *Node) StateDir() string { return filepath.Join(n.Dir, "state") }

// Log is where the node's weft logs.
func (n *Node) Log() string { return filepath.Join(n.Dir, "weft.log") }

// settings are the node's weft.yaml.
func (n *Node) settings() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("state_dir: %s", n.StateDir())
	if n.Spec.Server {
		line("api_listen: %s:9696", n.IP)
		line("identity_listen: %s:5000", n.IP)
		line("feed_listen: %s:9697", n.IP)
		if len(n.cloud.Servers()) > 1 {
			line("peer_listen: %s:2380", n.IP)
		}
	}
	if n.Spec.Roles != "" {
		line("tunnel_ip: %s", n.VTEP)
		line("roles: [%s]", n.Spec.Roles)
		line("datapath_type: %s", n.OVS.Datapath)
		line("bridge_mappings: {%s: br-ex}", PhysicalNetwork)
		line("manager: ptcp:6640:127.0.0.1")
	}
	b.WriteString(n.cloud.o.Settings)
	return b.String()
}

// Node finds a node by its name.
func (c *Cloud) Node(name string) *Node {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Name == name })
	return c.Nodes[i]
}

// Servers are the nodes with a server.
func (c *Cloud) Servers() []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return !n.Spec.Server })
}

// Hosts are the nodes with an agent.
func (c *Cloud) Hosts() []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return n.Spec.Roles == "" })
}

// API is the URL of a server's API.
func (n *Node) API() string { return fmt.Sprintf("http://%s:9696", n.IP) }

// Weft runs a command of weft on the node, with the node's settings.
func (n *Node) Weft(args ...string) (string, error) {
	return n.Run("env", slices.Concat(n.env(), []string{n.Program}, args)...)
}

func (n *Node) env() []string {
	return slices.Concat([]string{"WEFT_CONFIG=" + n.Config()}, n.cloud.o.Env, n.Env)
}

// daemon starts weft on the node, without settings of the user's own weft.
func (n *Node) daemon(args ...string) (*Process, error) {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "WEFT_") || strings.HasPrefix(e, "OS_") })
	return n.Daemon(n.Log(), append(env, n.env()...), n.Program, args...)
}

// StartServer starts the node's server.
func (n *Node) StartServer() (err error) {
	n.Server, err = n.daemon("server")
	return err
}

// StartAgent starts the node's agent.
func (n *Node) StartAgent() (err error) {
	n.Agent, err = n.daemon("agent")
	return err
}

// Token makes a token with which a host ("agent") or a server may join.
func (c *Cloud) Token(role string) (string, error) {
	args := []string{"server", "token"}
	if role == "server" {
		args = append(args, "--server")
	}
	out, err := c.Servers()[0].Weft(args...)
	return strings.TrimSpace(out), err
}

// Start starts all servers, lets all hosts join, and starts their agents.
func (c *Cloud) Start(ctx context.Context) error {
	for i, n := range c.Servers() {
		if i > 0 {
			if err := c.join(ctx, n, "server"); err != nil {
				return err
			}
		}
		if err := n.StartServer(); err != nil {
			return err
		}
		if err := n.answers(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.Hosts() {
		if err := c.join(ctx, n, "agent"); err != nil {
			return err
		}
		if err := n.StartAgent(); err != nil {
			return err
		}
	}
	return nil
}

// answers waits until the node's API does.
func (n *Node) answers(ctx context.Context) error {
	return Await(ctx, "the API of "+n.Name, time.Minute, func() error {
		conn, err := net.Dial("tcp", n.IP.String()+":9696")
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// join lets a node join as a server or as a host, by the first server.
func (c *Cloud) join(ctx context.Context, n *Node, role string) error {
	return Await(ctx, n.Name+" to join", time.Minute, func() error {
		token, err := c.Token(role)
		if err == nil {
			_, err = n.Weft(role, "join", token)
		}
		return err
	})
}

// Script writes a shell script that runs its arguments on the node, or a shell without any.
func (n *Node) Script(file string) error {
	text := fmt.Sprintf("#!/bin/sh\n[ $# -gt 0 ] || set -- ${SHELL:-sh}\nexec nsenter -t %d -n -m -u -p -- env %s PATH=\"$PATH\" \"$@\"\n",
		n.init.Process.Pid, strings.Join(n.env(), " "))
	return os.WriteFile(file, []byte(text), 0o755)
}

// Close ends everything; the files in Dir stay.
func (c *Cloud) Close() error {
	var errs []error
	for _, n := range slices.Backward(c.Nodes) {
		for _, p := range []*Process{n.Agent, n.Server} {
			if p != nil {
				errs = append(errs, p.Stop())
			}
		}
		if n.OVS != nil {
			errs = append(errs, n.OVS.Stop())
		}
		n.Close()
	}
	if c.Underlay != nil {
		c.Underlay.Close()
	}
	return errors.Join(errs...)
}

// Await polls until f returns nil.
func Await(ctx context.Context, what string, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", limit, what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
