package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/host/kernel"
	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

const demoAbout = `Shows the whole chain from an API request to a virtual machine with an address.

In network, mount and process namespaces of its own it starts an Open vSwitch and
"weft up", creates a network, a subnet and a port through the HTTP API, plugs the port and
boots a small Linux in QEMU on it. The virtual machine asks for its address by DHCP, pings
its DHCP server, takes its NIC down and up and asks again. Every step is printed with the
time since the start, and the DHCP packets on the tap as tcpdump prints them.

The last line compares MAC and IP address in the virtual machine, on the tap and in the
API; the exit code is not 0 unless they agree.

With --cloud there are a controller, two compute nodes and a network node, each a machine of
its own (namespaces, an Open vSwitch, a weft) on one underlay. The virtual machine on the first
compute node gets its address from the network node, by VXLAN, and another on the second one
pings it. Each node's own view is printed.

Nothing of this machine is touched, and nothing stays behind. It needs root, Open vSwitch,
QEMU, and the kernel that scripts/guest.sh downloads: "make demo" and "make demo-cloud" see
to all of that.`

func demoCommand() *cobra.Command {
	var o struct {
		guest, accel string
		cloud, keep  bool
	}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole chain with a real virtual machine, then clean up",
		Long:  demoAbout,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			guest, err := lab.FindGuest(o.guest)
			if err != nil {
				return err
			}
			if err := lab.Isolate(); err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			d := newDemo(cmd.OutOrStdout())
			if o.cloud {
				c := &cloudDemo{demo: d, keep: o.keep}
				if err := c.run(cmd.Context(), guest, o.accel); err != nil {
					return errors.Join(err, c.explain())
				}
				return nil
			}
			if err := d.run(cmd.Context(), guest, o.accel); err != nil {
				return errors.Join(err, d.explain())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.cloud, "cloud", false, "show a controller, two compute nodes and a network node instead of one host")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "with --cloud: give a shell in which each node is a command, before cleaning up")
	cmd.Flags().StringVar(&o.guest, "guest", "", "directory with the guest's vmlinuz and initrd (default: where scripts/guest.sh puts them)")
	cmd.Flags().StringVar(&o.accel, "accel", "", "QEMU's accelerator, kvm or tcg (default: kvm if it works)")
	return cmd
}

// The demo's files are below /run, a tmpfs of its own that ends with its namespaces. The
// Open vSwitch is where every program expects it, so that all settings can be defaults.
const (
	demoOVS   = "/run/openvswitch"
	demoState = "/run/weft"
	demoLog   = "/run/weft-up.log"
)

// demo is one run of the demo.
type demo struct {
	out   *lineWriter
	start time.Time
	api   portAPI
	ovs   *lab.OVS
	up    *process
	vm    *lab.GuestVM

	// guest is what its reports are printed as.
	guest string
	port  apiPort
	// What was seen, for the last line.
	tap     kernel.Link
	leases  []lab.GuestEvent
	pings   int
	packets int
}

func newDemo(out io.Writer) *demo {
	return &demo{out: &lineWriter{w: out}, start: time.Now(), guest: "guest"}
}

// say prints one step with the time since the start.
func (d *demo) say(format string, args ...any) {
	d.out.printf("%8.3f s  %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

// quote prints the output of a program, set in.
func (d *demo) quote(text string) {
	for line := range strings.Lines(text) {
		d.out.printf("            %s\n", strings.TrimRight(line, "\n"))
	}
}

func (d *demo) run(ctx context.Context, guest lab.Guest, accel string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	defer d.stop()
	steps := []func(context.Context) error{
		d.startSwitch, d.startWeft, d.createObjects, d.plug,
		func(ctx context.Context) error { return d.boot(ctx, guest, accel) },
		d.show, d.look, d.cleanUp,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.verdict()
}

func (d *demo) startSwitch(ctx context.Context) error {
	if err := os.MkdirAll(demoOVS, 0o755); err != nil {
		return err
	}
	var err error
	d.ovs, err = lab.StartOVS(ctx, lab.OVSOptions{Dir: demoOVS, Datapath: lab.DatapathNetdev})
	if err != nil {
		return err
	}
	v, err := d.ovs.Vsctl("--version")
	if err != nil {
		return err
	}
	v, _, _ = strings.Cut(v, "\n")
	d.say("Open vSwitch %s runs in namespaces of this demo's own", v[strings.LastIndex(v, " ")+1:])
	return nil
}

func (d *demo) startWeft(ctx context.Context) error {
	var err error
	d.up, err = startSelf(demoLog, "up", "--state-dir", demoState, "--datapath-type", "netdev", "--manager", "ptcp:6640:127.0.0.1")
	if err != nil {
		return err
	}
	d.say("weft up --datapath-type netdev --manager ptcp:6640:127.0.0.1")
	for {
		if err = d.connect(ctx); err == nil {
			break
		}
		select {
		case <-d.up.done:
			return fmt.Errorf("weft up ended: %w", d.up.err)
		case <-ctx.Done():
			return fmt.Errorf("weft up does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	d.say("the API answers at %s", defaults().API)
	// What ovs-vsctl show says of the connection is up to five seconds old; the flows are not.
	for {
		out, err := d.ovs.Ofctl("dump-aggregate", "br-int")
		if err == nil && strings.Contains(out, "flow_count=") && !strings.Contains(out, "flow_count=0\n") {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent does not fill br-int: %s: %w", out, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	d.say("the agent has made br-int and br-tun, and their flows")
	return nil
}

// connect makes the client, with the credentials that weft has made for its owner.
func (d *demo) connect(ctx context.Context) error {
	c := defaults()
	c.StateDir = demoState
	cloud, err := chooseCloud(c, "", func(name string) string { return demoVars[name] })
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
}

// create posts one object and reads the answer into out; it prints the request as curl would have it.
func (d *demo) create(ctx context.Context, kind string, attrs map[string]any, out any) error {
	d.say("POST /v2.0/%ss %s", kind, compactJSON(map[string]any{kind: attrs}))
	return d.api.Do(ctx, http.MethodPost, "/v2.0/"+kind+"s", map[string]any{kind: attrs}, out)
}

func (d *demo) createObjects(ctx context.Context) error {
	var n struct {
		Network struct {
			ID, Name string
			MTU      int
			Type     string `json:"provider:network_type"`
			VNI      int    `json:"provider:segmentation_id"`
		}
	}
	if err := d.create(ctx, "network", map[string]any{"name": "demo"}, &n); err != nil {
		return fmt.Errorf("create network: %w", err)
	}
	d.say("network %s: %s, segmentation ID %d, MTU %d", n.Network.ID, n.Network.Type, n.Network.VNI, n.Network.MTU)

	var s struct {
		Subnet struct {
			ID, CIDR string
			Gateway  string `json:"gateway_ip"`
			DHCP     bool   `json:"enable_dhcp"`
		}
	}
	err := d.create(ctx, "subnet", map[string]any{"network_id": n.Network.ID, "name": "demo", "ip_version": 4, "cidr": "10.10.0.0/24"}, &s)
	if err != nil {
		return fmt.Errorf("create subnet: %w", err)
	}
	d.say("subnet %s: gateway %s, DHCP %v", s.Subnet.ID, s.Subnet.Gateway, s.Subnet.DHCP)

	var p struct{ Port apiPort }
	err = d.create(ctx, "port", map[string]any{"network_id": n.Network.ID, "name": "vm",
		"device_owner": "compute:nova", "fixed_ips": []any{map[string]any{"ip_address": "10.10.0.121"}}}, &p)
	if err != nil {
		return fmt.Errorf("create port: %w", err)
	}
	d.port = p.Port
	d.say("port %s: MAC %s, IP %s, status %s", d.port.ID, d.port.MAC, d.port.addr(), d.port.Status)
	return nil
}

// addr is the port's first address.
func (p apiPort) addr() string {
	if len(p.FixedIPs) == 0 {
		return ""
	}
	return p.FixedIPs[0].Addr
}

func (d *demo) plug(ctx context.Context) error {
	d.say("weft plug vm")
	out, err := runSelf(ctx, "plug", "vm")
	d.quote(out)
	if err != nil {
		return fmt.Errorf("plug: %w", err)
	}
	p, err := d.api.awaitStatus(ctx, d.port.ID, "ACTIVE")
	if err != nil {
		return err
	}
	d.port = p
	d.say("port %s: status %s, bound to %s", p.ID, p.Status, p.HostID)
	return nil
}

func (d *demo) boot(ctx context.Context, guest lab.Guest, accel string) error {
	tap := vif.TapName(model.PortID(d.port.ID))
	d.say("tcpdump -n -i %s port 67 or port 68   (in this process)", tap)
	capture, err := lab.CaptureBOOTP(tap, func(p lab.Packet) {
		d.packets++
		d.say("%s", p)
	})
	if err != nil {
		return err
	}
	defer capture.Close()
	mtu, err := d.api.mtu(ctx, d.port.NetworkID)
	if err != nil {
		return err
	}
	d.vm, err = lab.StartGuest(ctx, lab.GuestOptions{Guest: guest, Tap: tap, MAC: d.port.MAC, MTU: mtu, Demo: true, Accel: accel})
	if err != nil {
		return err
	}
	d.say("QEMU (%s) boots a Linux with a virtio NIC %s on %s", d.vm.Accel, d.port.MAC, tap)
	return d.listen(ctx)
}

// listen hears the guest until it is done.
func (d *demo) listen(ctx context.Context) error {
	for {
		e, err := d.vm.Next(ctx)
		if errors.Is(err, io.EOF) {
			return errors.New("the guest powered off before it had done all")
		}
		if err != nil {
			return err
		}
		d.hear(e)
		if e.Name == "done" {
			return nil
		}
	}
}

// hear prints what the guest reports, and keeps it.
func (d *demo) hear(e lab.GuestEvent) {
	f := e.Fields
	say := func(format string, args ...any) { d.say("%s: "+format, append([]any{d.guest}, args...)...) }
	switch e.Name {
	case "booted":
		say("booted after %s s; its NIC has MAC %s", f["uptime"], f["mac"])
	case "lease":
		d.leases = append(d.leases, e)
		say("got %s/%s by DHCP from %s: router %s, MTU %s, host name %s, lease %s s",
			f["ip"], f["mask"], f["server"], f["router"], f["mtu"], f["hostname"], f["lease"])
	case "ping":
		if f["ok"] == "yes" {
			d.pings++
			say("ping %s answered, %s on average", f["to"], f["avg"])
		} else {
			say("ping %s NOT answered", f["to"])
		}
	case "nic":
		say("NIC taken %s", f["state"])
	case "no-answer":
		say("no DHCP server answers")
	}
}

func (d *demo) show(ctx context.Context) error {
	d.say("weft trace vm")
	out, err := runSelf(ctx, "trace", "vm")
	d.quote(out)
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	d.say("ovs-vsctl show")
	out, err = d.ovs.Vsctl("show")
	d.quote(out)
	return err
}

// look notes what the tap is like while the guest has it.
func (d *demo) look(context.Context) (err error) {
	d.tap, err = kernel.LinkInfo("", vif.TapName(model.PortID(d.port.ID)))
	return err
}

// cleanUp removes what the demo made, as a user would: that has to work too.
func (d *demo) cleanUp(ctx context.Context) error {
	d.vm.Stop()
	if out, err := runSelf(ctx, "unplug", "vm"); err != nil {
		return fmt.Errorf("unplug: %w: %s", err, out)
	}
	if err := d.api.Do(ctx, http.MethodDelete, "/v2.0/ports/"+d.port.ID, nil, nil); err != nil {
		return fmt.Errorf("delete port: %w", err)
	}
	if err := d.api.Do(ctx, http.MethodDelete, "/v2.0/networks/"+d.port.NetworkID, nil, nil); err != nil {
		return fmt.Errorf("delete network: %w", err)
	}
	if err := d.up.stop(10 * time.Second); err != nil {
		return fmt.Errorf("stop weft up: %w", err)
	}
	d.up = nil
	d.say("unplugged, deleted, stopped")
	return nil
}

// verdict prints the last line, and says what was not as it should be.
func (d *demo) verdict() error {
	tap := d.tap
	var wrong []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	expect(len(d.leases) == 2, "the guest got %d leases, not 2", len(d.leases))
	for _, l := range d.leases {
		expect(l.Fields["mac"] == d.port.MAC, "guest MAC %s is not the port's %s", l.Fields["mac"], d.port.MAC)
		expect(l.Fields["ip"] == d.port.addr(), "guest IP %s is not the API's %s", l.Fields["ip"], d.port.addr())
	}
	expect(tap.Type == "tun", "the tap is a %s, not a tun", tap.Type)
	expect(tap.MAC.String() == "fe"+d.port.MAC[2:], "tap MAC %s is not %s with fe first", tap.MAC, d.port.MAC)
	expect(d.pings == 2, "%d of 2 pings to the DHCP server were answered", d.pings)
	expect(d.packets >= 8, "%d DHCP packets were captured, not 8", d.packets)
	if len(wrong) > 0 {
		return fmt.Errorf("not as it should be: %s", strings.Join(wrong, "; "))
	}
	l := d.leases[1].Fields
	d.out.printf("guest MAC %s = port MAC %s; tap MAC %s = the same with fe: first; guest IP %s = API IP %s\n",
		l["mac"], d.port.MAC, tap.MAC, l["ip"], d.port.addr())
	return nil
}

// stop ends what still runs; after a success that is only the Open vSwitch.
func (d *demo) stop() {
	if d.vm != nil {
		d.vm.Stop()
	}
	if d.up != nil {
		_ = d.up.stop(5 * time.Second)
	}
	if d.ovs != nil {
		_ = d.ovs.Stop()
	}
}

// explain adds the end of weft's log to a failure.
func (d *demo) explain() error {
	b, err := os.ReadFile(demoLog)
	if err != nil || len(b) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return fmt.Errorf("the end of weft's log:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
}
