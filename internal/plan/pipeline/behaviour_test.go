package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/host/ovs"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// stage is a private Open vSwitch on which a world has been put, with the very text of
// its plan: ovs-vsctl commands and flow files.
type stage struct {
	t       *testing.T
	ovs     *lab.OVS
	control *ovs.Control
	w       *world
	s       Settings
	// offset is how much of each device's capture has been seen.
	offset map[string]int64
	// sentinel is the device whose broadcasts tell when earlier frames are through.
	sentinel, witness string
	sent              int
}

func newStage(t *testing.T, w *world, s Settings) *stage {
	t.Helper()
	labtest.Require(t, "ovs")
	dir, err := os.MkdirTemp("", "weft-pipe") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o, err := lab.StartOVS(context.Background(), lab.OVSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.DatapathType, s.Controller, s.Manager = "dummy", "", ""
	st := &stage{t: t, ovs: o, control: &ovs.Control{Dir: o.Dir}, w: w, s: s, offset: map[string]int64{}}
	t.Cleanup(st.control.Close)
	st.apply(newWorld())
	for _, a := range w.at {
		if w.Ports[a.PortID] != nil && w.Ports[a.PortID].DeviceOwner == model.OwnerDHCP {
			continue // the plan makes it
		}
		st.plug("br-int", a.Device, uint32(a.OFPort), "external_ids:iface-id="+string(a.PortID))
	}
	st.apply(w)
	for _, a := range w.at {
		st.watch(a.Device, uint32(a.OFPort))
	}
	return st
}

// apply runs the printed plan of a world.
func (st *stage) apply(w *world) {
	st.t.Helper()
	sw := Switch(w.view(), st.s)
	for _, b := range sw.Bridges {
		st.sh(strings.Join(b.Commands(), "\n"))
	}
	st.put(sw.Flows)
}

// put makes the flows of bridges what they must be.
func (st *stage) put(all map[string]vswitch.Flows) {
	st.t.Helper()
	for bridge, flows := range all {
		var text strings.Builder
		for _, f := range flows.All() {
			fmt.Fprintln(&text, f)
		}
		file := filepath.Join(st.ovs.Dir, bridge+".flows")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			st.t.Fatal(err)
		}
		if _, err := st.ovs.Ofctl("--bundle", "replace-flows", bridge, file); err != nil {
			st.t.Fatal(err)
		}
	}
	// What the datapath remembers of the flows before would else be forgotten a little later.
	st.appctl("dpctl/del-flows")
}

func (st *stage) sh(script string) {
	st.t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Env = st.ovs.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		st.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
}

func (st *stage) vsctl(args ...string) {
	st.t.Helper()
	if _, err := st.ovs.Vsctl(args...); err != nil {
		st.t.Fatal(err)
	}
}

// plug does what libvirt does: a device on a bridge, without a tag.
func (st *stage) plug(bridge, dev string, ofport uint32, more ...string) {
	st.t.Helper()
	st.vsctl(append([]string{"add-port", bridge, dev, "--", "set", "Interface", dev, "type=dummy", fmt.Sprint("ofport_request=", ofport)}, more...)...)
	st.watch(dev, ofport)
}

// watch captures what a device receives from the switch.
func (st *stage) watch(dev string, ofport uint32) {
	st.t.Helper()
	st.vsctl("set", "Interface", dev, "options:tx_pcap="+st.pcap(dev), fmt.Sprint("ofport_request=", ofport))
	st.offset[dev] = 24 // the file's heading
}

func (st *stage) pcap(dev string) string { return filepath.Join(st.ovs.Dir, dev+".pcap") }

func (st *stage) send(dev string, frame []byte) {
	st.t.Helper()
	st.appctl("netdev-dummy/receive", dev, hex.EncodeToString(frame))
}

// appctl asks ovs-vswitchd as ovs-appctl does, without a process for each time.
func (st *stage) appctl(command string, args ...string) string {
	st.t.Helper()
	out, err := st.control.Call(st.t.Context(), command, args...)
	if err != nil {
		st.t.Fatal(err)
	}
	return out
}

const sentinelType = 0x0806 // of ARP, which reaches every port

// settle returns what each device has received since the last time, once everything sent
// so far is through.
func (st *stage) settle() map[string][][]byte {
	st.t.Helper()
	st.sent++
	// On the same connection the switch might take both frames at once, and then they go by port. It
	// looks for new connections only after it has polled the ports.
	st.control.Close()
	st.send(st.sentinel, eth(broadcast, model.MAC{2, 0, 0, 0, 0, 1}, sentinelType, []byte(fmt.Sprint("sentinel to be seen by all ", st.sent))))
	got := map[string][][]byte{}
	deadline := time.Now().Add(10 * time.Second)
	for {
		through := false
		for dev := range st.offset {
			for _, f := range st.read(dev) {
				if bytes.HasPrefix(f[14:], []byte("sentinel")) {
					through = through || dev == st.witness
					continue
				}
				got[dev] = append(got[dev], f)
			}
		}
		if through {
			return got
		}
		if time.Now().After(deadline) {
			st.t.Fatalf("the sentinel did not reach %s", st.witness)
		}
		time.Sleep(time.Millisecond)
	}
}

func (st *stage) read(dev string) (frames [][]byte) {
	f, err := os.Open(st.pcap(dev))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, st.offset[dev], 1<<30))
	if err != nil {
		st.t.Fatal(err)
	}
	for len(b) >= 16 {
		n := 16 + int(binary.LittleEndian.Uint32(b[8:]))
		if len(b) < n {
			break
		}
		frames = append(frames, b[16:n])
		st.offset[dev] += int64(n)
		b = b[n:]
	}
	return frames
}

// revalidated waits until the datapath goes by the flows that there are now: after one that was learned, or
// written past the driver, it goes on with what it has cached for a moment.
func (st *stage) revalidated() {
	st.t.Helper()
	if _, err := st.ovs.Appctl("revalidator/wait"); err != nil {
		st.t.Fatal(err)
	}
}

// step is one frame sent, and who must receive what.
type step struct {
	name string
	from string
	send []byte
	// to are the receivers; they get the frame as sent unless as says otherwise.
	to []string
	as []byte
}

func (st *stage) run(steps []step) {
	for _, c := range steps {
		st.t.Run(c.name, func(t *testing.T) { st.step(t, c) })
	}
}

func (st *stage) step(t *testing.T, c step) {
	t.Helper()
	st.send(c.from, c.send)
	got := st.settle()
	want := c.send
	if c.as != nil {
		want = c.as
	}
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, slices.Sorted(slices.Values(c.to))) {
		t.Errorf("%s: received by %v, want %v", c.name, have, c.to)
	}
	for dev, frames := range got {
		if len(frames) != 1 || !bytes.Equal(frames[0], want) {
			t.Errorf("%s: %s received\n%x\nwant once\n%x", c.name, dev, frames, want)
		}
	}
}

func tap(id model.PortID) string { return vif.TapName(id) }

func TestBehaviour(t *testing.T) {
	w := kinds()
	st := newStage(t, w, settings())
	st.sentinel, st.witness = tap(open), tap(vm2)
	// A device that the cloud does not know, plugged without a tag: NORMAL would make it
	// overhear every network.
	st.plug("br-int", "stranger", 20, "external_ids:iface-id=unknown")
	// A tunnel that is not there yet: what comes in by it has VNI 14745.
	st.plug("br-tun", "wire", 30)
	if _, err := st.ovs.Ofctl("add-flow", "br-tun", "priority=5,in_port=30,actions=set_field:14745->tun_id,resubmit(,4)"); err != nil {
		t.Fatal(err)
	}

	m1, m2, mDHCP, mOpen := w.Ports[vm1].MAC, w.Ports[vm2].MAC, w.Ports[dhcpA].MAC, w.Ports[open].MAC
	mFar, mPairs, mDown, mVRRP := w.Ports[far].MAC, w.Ports[pairs].MAC, w.Ports[down].MAC, model.MAC{0, 0, 0x5e, 0, 1, 7}
	one, two, three, dhcp, free, pair := tap(vm1), tap(vm2), tap(vm3), tap(dhcpA), tap(open), tap(pairs)
	discover := ipv4(broadcast, m1, "0.0.0.0", "255.255.255.255", 17, udp(68, 67, "DISCOVER"))
	const linkLocal1 = "fe80::f816:3eff:fe00:b"
	const all6 = "ff02::1"
	mAll6 := model.MAC{0x33, 0x33, 0, 0, 0, 1}

	st.run([]step{
		{name: "DISCOVER reaches the DHCP port untagged, and no filtered port", from: one, send: discover, to: []string{dhcp, free}},
		{name: "with a priority tag too", from: one, send: tagged(0xa000, discover), as: discover, to: []string{dhcp, free}},
		{name: "OFFER by unicast", from: dhcp, send: ipv4(m1, mDHCP, "10.10.0.2", "10.10.0.11", 17, udp(67, 68, "OFFER")), to: []string{one}},
		{name: "OFFER by broadcast", from: dhcp, send: ipv4(broadcast, mDHCP, "10.10.0.2", "255.255.255.255", 17, udp(67, 68, "OFFER")), to: []string{one, two, free, pair}},
		{name: "renewal by unicast", from: one, send: ipv4(mDHCP, m1, "10.10.0.11", "10.10.0.2", 17, udp(68, 67, "REQUEST")), to: []string{dhcp}},
		{name: "rogue DHCP server", from: one, send: ipv4(m2, m1, "10.10.0.11", "10.10.0.12", 17, udp(67, 68, "OFFER"))},
		{name: "rogue DHCPv6 server", from: one, send: ipv6(m2, m1, linkLocal1, all6, 17, udp(547, 546, "REPLY"))},
		{name: "rogue router advertisement", from: one, send: ipv6(mAll6, m1, linkLocal1, all6, 58, nd(134, "::"))},
		{name: "a port without port security may be DHCP server", from: free, send: ipv4(m2, mOpen, "10.10.0.15", "10.10.0.12", 17, udp(67, 68, "OFFER")), to: []string{two}},

		{name: "ARP request", from: one, send: arp(1, m1, "10.10.0.11", broadcast, "10.10.0.12"), to: []string{dhcp, two, free, pair}},
		{name: "ARP reply", from: two, send: arp(2, m2, "10.10.0.12", m1, "10.10.0.11"), to: []string{one}},
		{name: "ARP probe", from: one, send: arp(1, m1, "0.0.0.0", broadcast, "10.10.0.11"), to: []string{dhcp, two, free, pair}},
		{name: "ARP reply from 0.0.0.0", from: one, send: arp(2, m1, "0.0.0.0", m2, "10.10.0.12")},
		{name: "ARP for another's address", from: one, send: arp(2, m1, "10.10.0.2", m2, "10.10.0.12")},
		{name: "IPv4", from: one, send: ipv4(m2, m1, "10.10.0.11", "10.10.0.12", 1, echo), to: []string{two}},
		{name: "another's MAC", from: one, send: ipv4(m2, mDHCP, "10.10.0.11", "10.10.0.12", 1, echo)},
		{name: "another's IPv4", from: one, send: ipv4(m2, m1, "10.10.0.15", "10.10.0.12", 1, echo)},
		{name: "0.0.0.0 other than DHCP", from: one, send: ipv4(m2, m1, "0.0.0.0", "10.10.0.12", 17, udp(68, 69, ""))},
		{name: "a tag of its own", from: one, send: tagged(1, ipv4(m2, m1, "10.10.0.11", "10.10.0.12", 1, echo))},
		{name: "a tag of another network", from: one, send: tagged(2, arp(1, m1, "10.10.0.11", broadcast, "10.10.0.12"))},
		{name: "a tag beneath a priority tag", from: one, send: tagged(0, tagged(2, arp(1, m1, "10.10.0.11", broadcast, "10.10.0.12")))},
		{name: "neither IP nor ARP", from: one, send: eth(m2, m1, 0x88cc, []byte("lldp"))},
		{name: "neither IP nor ARP, no port security", from: free, send: eth(m2, mOpen, 0x88cc, []byte("lldp"))},
		{name: "any source, no port security", from: free, send: ipv4(m2, mFar, "1.2.3.4", "10.10.0.12", 1, echo), to: []string{two}},
		{name: "to itself", from: one, send: ipv4(m1, m1, "10.10.0.11", "10.10.0.11", 1, echo)},

		{name: "IPv6 of its link-local address", from: one, send: ipv6(m2, m1, linkLocal1, "fe80::2", 58, echo6), to: []string{two}},
		{name: "another's IPv6", from: one, send: ipv6(m2, m1, "fe80::2", "fe80::1", 58, echo6)},
		{name: "duplicate address detection", from: one, send: ipv6(mAll6, m1, "::", all6, 58, nd(135, linkLocal1)), to: []string{dhcp, two, free, pair}},
		{name: "neighbour advertisement", from: one, send: ipv6(m2, m1, linkLocal1, "fe80::2", 58, nd(136, linkLocal1)), to: []string{two}},
		{name: "neighbour advertisement for another", from: one, send: ipv6(m2, m1, linkLocal1, "fe80::2", 58, nd(136, "fe80::2"))},
		{name: "global IPv6 that is its own", from: pair, send: ipv6(m2, mPairs, "2001:db8::16", "2001:db8::1", 58, echo6), to: []string{two}},

		{name: "address pair by prefix", from: pair, send: ipv4(m2, mPairs, "10.99.3.4", "10.10.0.12", 1, echo), to: []string{two}},
		{name: "address pair with a MAC", from: pair, send: ipv4(m2, mVRRP, "10.10.0.100", "10.10.0.12", 1, echo), to: []string{two}},
		{name: "address pair with the wrong MAC", from: pair, send: ipv4(m2, mPairs, "10.10.0.100", "10.10.0.12", 1, echo)},
		{name: "to the MAC of a pair", from: one, send: ipv4(mVRRP, m1, "10.10.0.11", "10.10.0.100", 1, echo), to: []string{pair, free}},

		{name: "the same MAC and address on another network", from: three, send: ipv4(m2, m1, "10.10.0.11", "10.10.0.12", 1, echo)},
		{name: "broadcast on another network", from: three, send: arp(1, m1, "10.10.0.11", broadcast, "10.10.0.12")},
		{name: "from an unknown device", from: "stranger", send: arp(1, m1, "10.10.0.11", broadcast, "10.10.0.12")},
		{name: "from an unknown device, tagged", from: "stranger", send: tagged(1, arp(1, m1, "10.10.0.11", broadcast, "10.10.0.12"))},
		{name: "from a closed port", from: tap(down), send: arp(1, mDown, "10.10.0.17", broadcast, "10.10.0.12")},
		{name: "to a closed port", from: one, send: ipv4(mDown, m1, "10.10.0.11", "10.10.0.17", 1, echo), to: []string{free}},

		{name: "from the tunnel to all", from: "wire", send: arp(1, mFar, "10.10.0.14", broadcast, "10.10.0.11"), to: []string{dhcp, one, two, free, pair}},
		{name: "from the tunnel to one", from: "wire", send: ipv4(m1, mFar, "10.10.0.14", "10.10.0.11", 1, echo), to: []string{one}},
		{name: "back to where the switch has learned it is", from: one, send: ipv4(mFar, m1, "10.10.0.11", "10.10.0.14", 1, echo), to: []string{"wire", free}},
		{name: "a tag inside the tunnel is the network's own", from: "wire", send: tagged(2, ipv4(m1, mFar, "10.10.0.14", "10.10.0.11", 1, echo)), to: []string{one}},
	})
}

// TestOpenAndClose walks one port through its life: nothing before the plan knows it,
// nothing while it is down, nothing after it has gone.
func TestOpenAndClose(t *testing.T) {
	w := kinds()
	late := w.at[len(w.at)-1:]
	w.at = w.at[:len(w.at)-1] // the port "down" is not attached yet
	st := newStage(t, w, settings())
	st.sentinel, st.witness = tap(open), tap(vm2)
	p := w.Ports[down]
	hello := arp(1, p.MAC, "10.10.0.17", broadcast, "10.10.0.12")
	others := []string{tap(dhcpA), tap(vm1), tap(vm2), tap(open), tap(pairs)}
	call := arp(1, w.Ports[vm1].MAC, "10.10.0.11", broadcast, "10.10.0.17")
	around := []string{tap(dhcpA), tap(vm2), tap(open), tap(pairs)}
	here := append([]string{tap(down)}, around...)

	st.plug("br-int", tap(down), uint32(late[0].OFPort))
	st.run([]step{{name: "plugged, not planned", from: tap(down), send: hello}, {name: "overhears nothing", from: tap(vm1), send: call, to: around}})
	w.at = append(w.at, late...)
	st.apply(w)
	st.run([]step{{name: "planned, down", from: tap(down), send: hello}, {name: "hears nothing", from: tap(vm1), send: call, to: around}})
	p.AdminStateUp = true
	st.apply(w)
	st.run([]step{{name: "up", from: tap(down), send: hello, to: others}, {name: "hears", from: tap(vm1), send: call, to: here}})
	p.Binding.Host = "host2"
	st.apply(w)
	st.run([]step{{name: "moved away", from: tap(down), send: hello}, {name: "hears no more", from: tap(vm1), send: call, to: around}})
}

// TestProviders sends frames to a physical network and back.
func TestProviders(t *testing.T) {
	w := providers()
	st := newStage(t, w, mapped())
	st.plug("br-ex", "eth0", 1)
	st.sentinel, st.witness = "eth0", tap(vmF)
	mV, mF, m3, mFar := w.Ports[vmV].MAC, w.Ports[vmF].MAC, w.Ports[vm3].MAC, model.MAC{2, 9, 9, 9, 9, 9}
	fromV := arp(1, mV, "192.0.2.18", broadcast, "192.0.2.1")
	toV := arp(2, mFar, "192.0.2.1", mV, "192.0.2.18")
	fromF := arp(1, mF, "192.0.2.19", broadcast, "192.0.2.1")
	st.run([]step{
		{name: "vlan, out", from: tap(vmV), send: fromV, as: tagged(101, fromV), to: []string{"eth0"}},
		{name: "vlan, in", from: "eth0", send: tagged(101, toV), as: toV, to: []string{tap(vmV)}},
		{name: "vlan, in, tag of nobody", from: "eth0", send: tagged(102, arp(1, mFar, "192.0.2.1", broadcast, "192.0.2.18"))},
		{name: "vlan, in, a local VLAN", from: "eth0", send: tagged(1, arp(1, mFar, "192.0.2.1", broadcast, "192.0.2.18"))},
		{name: "flat, out", from: tap(vmF), send: fromF, to: []string{"eth0"}},
		{name: "flat, in", from: "eth0", send: arp(2, mFar, "192.0.2.1", mF, "192.0.2.19"), to: []string{tap(vmF)}},
		{name: "flat, unknown destination", from: tap(vmF), send: ipv4(model.MAC{2, 8}, mF, "192.0.2.19", "192.0.2.8", 1, echo), to: []string{"eth0"}},
		{name: "physical network that is not mapped here", from: tap(vm3), send: arp(1, m3, "192.0.2.13", broadcast, "192.0.2.1")},
	})
}
