package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"weft/internal/client"
	"weft/internal/host/kernel"
	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

// demoCloudDir holds the files of all machines, in the tmpfs of the demo's own.
const demoCloudDir = "/run/cloud"

// cloudDemo is the demo on several machines. What it shows is the reference cloud: the first guest is on compute-0.
type cloudDemo struct {
	*demo
	keep  bool
	cloud *lab.Cloud
	peer  *demo // the second guest, on compute-1

	mu      sync.Mutex
	tunnels map[string]int // packets on the network node's cable, by what they are
}

func (d *cloudDemo) run(ctx context.Context, guest lab.Guest, accel string) error {
	limit, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	defer d.stop()
	d.peer = &demo{out: d.out, start: d.start, guest: "guest on compute-1"}
	d.guest = "guest on compute-0"
	d.tunnels = map[string]int{}
	steps := []func(context.Context) error{
		d.startMachines, d.startServer, d.joinHosts, d.createObjects, d.createPeer, d.plug,
		func(ctx context.Context) error { return d.boot(ctx, guest, accel) },
		d.views, d.look,
	}
	for _, step := range steps {
		if err := step(limit); err != nil {
			return err
		}
	}
	if d.keep {
		if err := d.shell(ctx); err != nil {
			return err
		}
	}
	if err := d.cleanUp(ctx); err != nil {
		return err
	}
	return d.verdict()
}

func (d *cloudDemo) startMachines(ctx context.Context) error {
	weft, err := d.copySelf()
	if err != nil {
		return err
	}
	d.cloud, err = lab.NewCloud(ctx, lab.CloudOptions{Dir: demoCloudDir, Weft: weft, Nodes: lab.ReferenceCloud,
		Env: []string{"OS_CLIENT_CONFIG_FILE=" + filepath.Join(demoCloudDir, "controller", "state", "clouds.yaml")}})
	if err != nil {
		return err
	}
	for _, n := range d.cloud.Nodes {
		switch {
		case n.OVS == nil:
			d.say("%s: a machine with %s, and no switch", n.Name, n.IP)
		default:
			d.say("%s: a machine with %s, an Open vSwitch, and %s for tunnels", n.Name, n.IP, n.VTEP)
		}
	}
	return nil
}

// copySelf puts this program where all machines find it: its own path may be hidden from them.
func (d *cloudDemo) copySelf() (string, error) {
	to := filepath.Join(demoCloudDir, "bin", "weft")
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", err
	}
	self, err := os.ReadFile(lab.SelfExe)
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(to, self, 0o755)
}

func (d *cloudDemo) startServer(ctx context.Context) error {
	controller := d.cloud.Node("controller")
	d.say("controller: weft server, with")
	if err := d.quoteFile(controller.Config()); err != nil {
		return err
	}
	if err := controller.StartServer(); err != nil {
		return err
	}
	err := lab.Await(ctx, "the API", time.Minute, func() error {
		select {
		case <-controller.Server.Done:
			return fmt.Errorf("weft server ended: %w", controller.Server.Err)
		default:
		}
		c := defaults()
		c.StateDir = controller.StateDir()
		cloud, err := chooseCloud(c, "", func(string) string { return "" })
		if err != nil {
			return err
		}
		api, err := client.New(cloud)
		if err != nil {
			return err
		}
		d.api = portAPI{api}
		// This needs the credentials, which may not have been there a moment ago.
		return api.Do(ctx, http.MethodGet, "/v2.0/networks", nil, nil)
	})
	if err == nil {
		d.say("controller: the API answers at http://%s:9696", controller.IP)
	}
	return err
}

func (d *cloudDemo) quoteFile(name string) error {
	text, err := os.ReadFile(name)
	d.quote(string(text))
	return err
}

// view prints what a program says on a node.
func (d *cloudDemo) view(node, name string, args ...string) error {
	d.say("%s: %s", node, strings.Join(append([]string{name}, args...), " "))
	n := d.cloud.Node(node)
	run := n.Run
	if name == "weft" {
		run = func(_ string, args ...string) (string, error) { return n.Weft(args...) }
	}
	out, err := run(name, args...)
	d.quote(out)
	return err
}

func (d *cloudDemo) joinHosts(ctx context.Context) error {
	for i, n := range d.cloud.Hosts() {
		token, err := d.cloud.Token("agent")
		if err != nil {
			return err
		}
		d.say("controller: weft server token")
		d.say("%s: weft agent join %.20s...", n.Name, token)
		out, err := n.Weft("agent", "join", token)
		d.quote(out)
		if err != nil {
			return err
		}
		d.say("%s: weft agent", n.Name)
		if i == 0 {
			d.say("%s: cat weft.yaml", n.Name)
			if err := d.quoteFile(n.Config()); err != nil {
				return err
			}
		}
		if err := n.StartAgent(); err != nil {
			return err
		}
	}
	err := lab.Await(ctx, "all agents", time.Minute, func() error {
		var list struct{ Agents []struct{ Alive bool } }
		err := d.api.Do(ctx, http.MethodGet, "/v2.0/agents?alive=true&agent_type=Open%20vSwitch%20agent", nil, &list)
		if err == nil && len(list.Agents) < len(d.cloud.Hosts()) {
			err = fmt.Errorf("%d are alive", len(list.Agents))
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.view("controller", "weft", "agent", "list")
}

func (d *cloudDemo) createPeer(ctx context.Context) error {
	var p struct{ Port apiPort }
	err := d.create(ctx, "port", map[string]any{"network_id": d.port.NetworkID, "name": "peer", "device_owner": "compute:nova"}, &p)
	d.peer.port, d.peer.api = p.Port, d.api
	return err
}

func (d *cloudDemo) plug(ctx context.Context) error {
	for _, g := range []struct {
		node string
		demo *demo
	}{{"compute-0", d.demo}, {"compute-1", d.peer}} {
		if err := d.view(g.node, "weft", "plug", g.demo.port.Name, "--wait", "30s"); err != nil {
			return err
		}
		p, err := d.api.awaitStatus(ctx, g.demo.port.ID, "ACTIVE")
		if err != nil {
			return err
		}
		g.demo.port = p
	}
	return nil
}

// boot starts the guest on compute-0, whose packets are watched on its tap and on the cable of the network node. When
// it is done the other one, on compute-1, pings it.
func (d *cloudDemo) boot(ctx context.Context, guest lab.Guest, accel string) error {
	compute := d.cloud.Node("compute-0")
	tap := vif.TapName(model.PortID(d.port.ID))
	mtu, err := d.api.mtu(ctx, d.port.NetworkID)
	if err != nil {
		return err
	}
	d.say("compute-0: tcpdump -n -i %s port 67 or port 68; network: tcpdump -n udp port 4789 (both in this process)", tap)
	var onTap, onCable *lab.Capture
	err = errors.Join(
		compute.Do(func() (err error) {
			onTap, err = lab.CaptureBOOTP(tap, func(p lab.Packet) {
				d.packets++
				d.say("compute-0 tap: %s", p)
			})
			return err
		}),
		d.cloud.Underlay.Do(func() (err error) {
			onCable, err = lab.CaptureVXLAN(lab.Cable("network", lab.Data), d.tunnelled)
			return err
		}))
	for _, c := range []*lab.Capture{onTap, onCable} {
		if c != nil {
			defer c.Close()
		}
	}
	if err != nil {
		return err
	}
	d.vm, err = lab.StartGuest(ctx, lab.GuestOptions{Machine: compute.Machine, Guest: guest, Tap: tap, MAC: d.port.MAC, MTU: mtu, Demo: true, Accel: accel})
	if err != nil {
		return err
	}
	d.say("compute-0: QEMU (%s) boots a Linux with a virtio NIC %s on %s", d.vm.Accel, d.port.MAC, tap)
	if err := d.listen(ctx); err != nil {
		return err
	}
	p := d.peer
	tap = vif.TapName(model.PortID(p.port.ID))
	p.vm, err = lab.StartGuest(ctx, lab.GuestOptions{Machine: d.cloud.Node("compute-1").Machine, Guest: guest, Tap: tap,
		MAC: p.port.MAC, MTU: mtu, Peer: d.port.addr(), Accel: accel})
	if err != nil {
		return err
	}
	d.say("compute-1: QEMU (%s) boots another with %s on %s", p.vm.Accel, p.port.MAC, tap)
	return p.listen(ctx)
}

// tunnelled hears what the network node's tunnels carry. DHCP is printed, the rest counted.
func (d *cloudDemo) tunnelled(p lab.Packet) {
	kind := "others"
	if strings.Contains(p.Text, "BOOTP/DHCP") {
		kind = "DHCP"
		d.say("network eth1: %s", p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tunnels[kind]++
}

// views prints what each node looks like from its own shell.
func (d *cloudDemo) views(context.Context) error {
	tap := vif.TapName(model.PortID(d.port.ID))
	qdhcp := "qdhcp-" + d.port.NetworkID
	for _, v := range [][]string{
		{"controller", "weft", "port", "list"},
		{"controller", "weft", "trace", "vm"},
		{"compute-0", "ip", "-d", "link", "show", tap},
		{"compute-0", "ovs-vsctl", "show"},
		{"compute-1", "ovs-vsctl", "show"},
		{"network", "ovs-vsctl", "show"},
		{"network", "ip", "netns"},
		{"network", "ip", "-n", qdhcp, "addr"},
	} {
		if err := d.view(v[0], v[1], v[2:]...); err != nil {
			return err
		}
	}
	for _, n := range d.cloud.Hosts() {
		d.say("%s: grep -e %s -e %s weft.log", n.Name, d.port.ID[:8], d.port.NetworkID[:8])
		log, err := os.ReadFile(n.Log())
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, d.port.ID) || strings.Contains(line, d.port.NetworkID) {
				d.quote(line)
			}
		}
	}
	return nil
}

func (d *cloudDemo) look(context.Context) error {
	return d.cloud.Node("compute-0").Do(func() (err error) {
		d.tap, err = kernel.LinkInfo("", vif.TapName(model.PortID(d.port.ID)))
		return err
	})
}

// shell gives the user a shell in which the name of each node runs a command there.
func (d *cloudDemo) shell(ctx context.Context) error {
	bin := filepath.Join(demoCloudDir, "bin")
	for _, n := range d.cloud.Nodes {
		if err := n.Script(filepath.Join(bin, n.Name)); err != nil {
			return err
		}
	}
	d.say(`a shell: "compute-0 ovs-vsctl show" runs that there, "compute-0" alone gives a shell there, exit ends the cloud`)
	shell := exec.CommandContext(ctx, cmpOr(os.Getenv("SHELL"), "/bin/sh"))
	shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	shell.Stdin, shell.Stdout, shell.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = shell.Run() // the status of the user's last command
	return nil
}

// cleanUp removes what the demo made, as a user would: that has to work too.
func (d *cloudDemo) cleanUp(ctx context.Context) error {
	d.vm.Stop()
	d.peer.vm.Stop()
	for node, port := range map[string]string{"compute-0": "vm", "compute-1": "peer"} {
		if out, err := d.cloud.Node(node).Weft("unplug", port); err != nil {
			return fmt.Errorf("unplug: %w: %s", err, out)
		}
	}
	for _, path := range []string{"ports/" + d.port.ID, "ports/" + d.peer.port.ID, "networks/" + d.port.NetworkID} {
		if err := d.api.Do(ctx, http.MethodDelete, "/v2.0/"+path, nil, nil); err != nil {
			return fmt.Errorf("delete %s: %w", path, err)
		}
	}
	cloud := d.cloud
	d.cloud = nil
	if err := cloud.Close(); err != nil {
		return err
	}
	d.say("unplugged, deleted, stopped")
	return nil
}

// verdict is that of the demo of one host, and what only several hosts have.
func (d *cloudDemo) verdict() error {
	var wrong []string
	for _, l := range d.leases {
		if l.Fields["server"] != "10.10.0.2" {
			wrong = append(wrong, "the guest's address came from "+l.Fields["server"])
		}
	}
	if d.tunnels["DHCP"] < 8 {
		wrong = append(wrong, fmt.Sprintf("%d DHCP packets crossed the tunnel, not 8", d.tunnels["DHCP"]))
	}
	if d.peer.pings != 1 {
		wrong = append(wrong, "the guests on the two compute nodes do not reach each other")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as it should be: %s", strings.Join(wrong, "; "))
	}
	return d.demo.verdict()
}

func (d *cloudDemo) stop() {
	for _, g := range []*demo{d.demo, d.peer} {
		if g.vm != nil {
			g.vm.Stop()
		}
	}
	if d.cloud != nil {
		_ = d.cloud.Close()
	}
}

// explain adds the end of each node's log to a failure.
func (d *cloudDemo) explain() error {
	var errs []error
	logs, _ := filepath.Glob(filepath.Join(demoCloudDir, "*", "weft.log"))
	for _, name := range logs {
		if b, err := os.ReadFile(name); err == nil {
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			errs = append(errs, fmt.Errorf("the end of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n")))
		}
	}
	return errors.Join(errs...)
}
