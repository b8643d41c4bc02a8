package pipeline

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// tunnels puts dummies in the place of a stage's tunnel ports. What comes in by one has the VNI given here.
func (st *stage) tunnels(vni map[string]uint32) {
	st.t.Helper()
	for dev, n := range vni {
		number := strings.TrimSpace(st.vsctlOut("get", "Interface", dev, "ofport"))
		st.vsctl("del-port", "br-tun", dev)
		of, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			st.t.Fatal(err)
		}
		st.plug("br-tun", dev, uint32(of))
		if _, err := st.ovs.Ofctl("add-flow", "br-tun", fmt.Sprintf("priority=5,in_port=%d,actions=set_field:%d->tun_id,resubmit(,4)", of, n)); err != nil {
			st.t.Fatal(err)
		}
	}
}

// flows are those of br-tun that have such a cookie.
func (st *stage) flows(cookie string) string {
	st.t.Helper()
	out, err := st.ovs.Ofctl("--no-stats", "dump-flows", "br-tun", cookie)
	if err != nil {
		st.t.Fatal(err)
	}
	_, list, _ := strings.Cut(out, "\n") // the heading
	return list
}

func (st *stage) vsctlOut(args ...string) string {
	st.t.Helper()
	out, err := st.ovs.Vsctl(args...)
	if err != nil {
		st.t.Fatal(err)
	}
	return out
}

// solicit asks for an IPv6 address and says who asks; advertise is the answer.
func solicit(src model.MAC, from, target string) []byte {
	a := netip.MustParseAddr(target).As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	return ipv6(model.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}, src, from, group.String(), 58, append(append(nd(solicitation, target), 1, 1), src[:]...))
}

func advertise(src, dst model.MAC, target, to string, flags byte) []byte {
	b := nd(advertisement, target)
	b[4] = flags
	return ipv6(dst, src, target, to, 58, append(append(b, 2, 1), src[:]...))
}

// TestProbeVNI: a network that has the VNI of the probes from before it was theirs is carried, and probes are not.
func TestProbeVNI(t *testing.T) {
	w := peers()
	w.Networks[netA].Segment.ID = model.ProbeVNI
	w.port(open, netA, "10.10.0.15", 7).PortSecurity = false
	st := newStage(t, w, settings())
	st.sentinel, st.witness = tap(open), tap(vm1)
	const to2 = "vxlan-0a000002"
	st.tunnels(map[string]uint32{to2: model.ProbeVNI})
	m1, mFar := w.Ports[vm1].MAC, w.Ports[far].MAC
	st.run([]step{
		{name: "in, to one", from: to2, send: ipv4(m1, mFar, "10.10.0.14", "10.10.0.11", 1, echo), to: []string{tap(vm1)}},
		{name: "in, a question", from: to2, send: arp(1, mFar, "10.10.0.14", broadcast, "10.10.0.11"), to: []string{tap(vm1), tap(open)}},
		{name: "in, a probe", from: to2, send: eth(m1, mFar, model.ProbeEthType, nil)},
	})
}

// TestTunnels sends frames to other hosts and back.
func TestTunnels(t *testing.T) {
	w := peers()
	w.port(open, netA, "10.10.0.15", 7).PortSecurity = false
	w.Ports[vm1].FixedIPs = append(w.Ports[vm1].FixedIPs, model.FixedIP{Addr: netip.MustParseAddr("2001:db8::11")})
	router := w.remote(pairs, netA, "host2", "2001:db8::1")
	router.DeviceOwner = model.OwnerRouterInterface
	st := newStage(t, w, settings())
	st.sentinel, st.witness = tap(open), tap(vm1)
	const to2, to3 = "vxlan-0a000002", "vxlan-0a000003"
	st.tunnels(map[string]uint32{to2: 14745, to3: 14745})

	one, three, free := tap(vm1), tap(vm3), tap(open)
	m1, m3, mDHCP, mFar := w.Ports[vm1].MAC, w.Ports[vm3].MAC, w.Ports[dhcpA].MAC, w.Ports[far].MAC
	stranger := model.MAC{2, 0x77, 0, 0, 0, 1}
	ask := func(of string) []byte { return arp(1, m1, "10.10.0.11", broadcast, of) }
	unknown := ipv4(stranger, m1, "10.10.0.11", "10.10.0.77", 1, echo)
	dad := ipv6(model.MAC{0x33, 0x33, 0xff, 0, 0, 0x14}, m1, "::", "ff02::1:ff00:14", 58, nd(solicitation, "2001:db8::11"))
	st.run([]step{
		{name: "DISCOVER goes wherever the network lives", from: one, send: ipv4(broadcast, m1, "0.0.0.0", "255.255.255.255", 17, udp(68, 67, "DISCOVER")), to: []string{free, to2, to3}},
		{name: "another network's broadcast goes to its hosts only", from: three, send: ipv4(broadcast, m3, "0.0.0.0", "255.255.255.255", 17, udp(68, 67, "DISCOVER")), to: []string{to3}},
		{name: "to the DHCP port, on its host", from: one, send: ipv4(mDHCP, m1, "10.10.0.11", "10.10.0.2", 17, udp(68, 67, "REQUEST")), to: []string{to2, free}},
		{name: "to a machine, on its host", from: one, send: ipv4(mFar, m1, "10.10.0.11", "10.10.0.14", 1, echo), to: []string{to3, free}},
		{name: "the same MAC on another network", from: three, send: ipv4(mFar, m3, "10.10.0.11", "10.10.0.14", 1, echo), to: []string{to3}},
		{name: "nobody knows where", from: one, send: unknown, to: []string{to2, to3, free}},

		{name: "ARP: answered from here", from: three, send: arp(1, m3, "10.10.0.11", broadcast, "10.10.0.14"), as: arp(2, mFar, "10.10.0.14", m3, "10.10.0.11"), to: []string{three}},
		{name: "ARP: who is down is not found", from: one, send: ask("10.10.0.17"), to: []string{free, to2, to3}},
		{name: "ARP: on a host without tunnel", from: one, send: ask("10.10.0.12"), to: []string{free, to2, to3}},
		{name: "ARP: an address of nobody", from: one, send: ask("10.10.0.99"), to: []string{free, to2, to3}},
		{name: "ARP: an announcement is no question", from: free, send: arp(2, w.Ports[open].MAC, "10.10.0.15", broadcast, "10.10.0.14"), to: []string{one, to2, to3}},

		{name: "ND: who looks for duplicates asks everybody", from: one, send: dad, to: []string{free, to2, to3}},
		{name: "ND: an address of nobody", from: one, send: solicit(m1, "2001:db8::11", "2001:db8::99"), to: []string{free, to2, to3}},

		{name: "in, to all, and not out again", from: to3, send: ipv4(broadcast, mFar, "10.10.0.14", "255.255.255.255", 17, udp(67, 68, "OFFER")), to: []string{one, free}},
		{name: "in, to one", from: to3, send: ipv4(m1, mFar, "10.10.0.14", "10.10.0.11", 1, echo), to: []string{one}},
		{name: "in, to nobody here, and not out again", from: to3, send: ipv4(model.MAC{2, 0x66}, mFar, "10.10.0.14", "10.10.0.66", 1, echo), to: []string{free}},
		{name: "in, for the port of a third host, and not out again", from: to3, send: ipv4(mDHCP, mFar, "10.10.0.14", "10.10.0.2", 17, udp(68, 67, "REQUEST")), to: []string{free}},
		{name: "in, a question about a third host is not answered", from: to3, send: arp(1, mFar, "10.10.0.14", broadcast, "10.10.0.2"), to: []string{one, free}},
		{name: "in, from a stranger", from: to2, send: ipv4(m1, stranger, "10.10.0.77", "10.10.0.11", 1, echo), to: []string{one}},
	})
	st.revalidated()
	st.run([]step{
		{name: "and back to where it was", from: one, send: unknown, to: []string{to2, free}},
		{name: "which another network does not know", from: three, send: ipv4(stranger, m3, "10.10.0.11", "10.10.0.77", 1, echo), to: []string{to3}},
	})
	// The answer comes to who asks, and the question to who is here.
	for _, c := range []struct {
		name           string
		question, want []byte
	}{
		{"ARP", ask("10.10.0.14"), arp(2, mFar, "10.10.0.14", m1, "10.10.0.11")},
		{"ARP probe", arp(1, m1, "0.0.0.0", broadcast, "10.10.0.14"), arp(2, mFar, "10.10.0.14", m1, "0.0.0.0")},
		{"ND", solicit(m1, "2001:db8::11", "2001:db8::14"), advertise(mFar, m1, "2001:db8::14", "2001:db8::11", 0x60)},
		{"ND for a router", solicit(m1, "2001:db8::11", "2001:db8::1"), advertise(router.MAC, m1, "2001:db8::1", "2001:db8::11", 0xe0)},
	} {
		st.send(one, c.question)
		got := st.settle()
		if fmt.Sprintf("%x", got) != fmt.Sprintf("%x", map[string][][]byte{one: {c.want}, free: {c.question}}) {
			t.Errorf("%s: received\n%x\nwant at %s\n%x", c.name, got, one, c.want)
		}
	}
	// The network's local VLAN goes to another one, while what was learned lives on.
	learned := st.flows("cookie=0x3ef7050000000000/-1")
	if !strings.Contains(learned, "dl_dst="+stranger.String()) {
		t.Fatalf("nothing was learned: %s", learned)
	}
	w.vlans[netA], w.vlans[netB] = 2, 1
	st.put(Switch(w.view(), st.s).Flows)
	for line := range strings.Lines(learned) {
		if _, err := st.ovs.Ofctl("add-flow", "br-tun", strings.TrimSpace(line)); err != nil {
			t.Fatal(err)
		}
	}
	st.revalidated()
	st.run([]step{
		{name: "learned under another VLAN", from: three, send: ipv4(stranger, m3, "10.10.0.11", "10.10.0.77", 1, echo), to: []string{to3}},
		{name: "learned, and its network has another VLAN", from: one, send: unknown, to: []string{to2, free}},
	})
}

// TestTunnelWalk holds br-tun to a page's worth of expectation in random clouds: a frame for the port of another
// host goes out by the tunnel to that host alone; one for all by those to the hosts of its network, each once, with its
// VNI; a question about an address of such a port goes nowhere; and what comes in goes to br-int or nowhere.
func TestTunnelWalk(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var st *stage
	traced := 0
	for range 25 {
		w := randomPeers(r)
		if st == nil {
			st = newStage(t, newWorld(), settings())
			for i := range 6 {
				st.plug("br-tun", fmt.Sprint("host", i), uint32(2+i))
			}
		}
		st.w = w
		v := w.view()
		st.put(Switch(v, st.s).Flows)
		for _, n := range v.Networks {
			all := map[uint32]bool{}
			for _, p := range n.Peers {
				if p.VTEP.IsValid() {
					all[uint32(p.VTEP.As4()[3])] = true
				}
			}
			everywhere := slices.Sorted(maps.Keys(all))
			in := fmt.Sprintf("in_port=%d,dl_vlan=%d,dl_src=02:00:00:00:00:09", OFPatchInt, n.LocalVLAN)
			check := func(what, packet string, want ...uint32) {
				t.Helper()
				traced++
				trace := st.appctl("ofproto/trace", "br-tun", packet)
				got, vni := outputs(trace)
				if !slices.Equal(got, want) || len(want) > 0 && want[0] != OFPatchInt && vni != n.Segment.ID {
					t.Fatalf("seed %d, network %s, %s: out by %v with VNI %d, want %v with %d\n%s", seed, n.ID, what, got, vni, want, n.Segment.ID, trace)
				}
			}
			check("for all", in+",dl_dst=ff:ff:ff:ff:ff:ff,udp", everywhere...)
			check("for a stranger", in+",dl_dst=02:00:00:00:00:07,udp", everywhere...)
			for _, p := range n.Ports {
				host := w.Peers[p.Binding.Host]
				reached := host != nil && host.VTEP.IsValid()
				ask := fmt.Sprintf("%s,dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1,arp_sha=02:00:00:00:00:09,arp_spa=10.0.0.9,arp_tpa=%s", in, p.FixedIPs[0].Addr)
				if !reached {
					check("to a port that is here or out of reach", in+",udp,dl_dst="+p.MAC.String(), everywhere...)
					check("about it", ask, everywhere...)
					continue
				}
				check("to "+string(p.ID), in+",udp,dl_dst="+p.MAC.String(), uint32(host.VTEP.As4()[3]))
				if p.AdminStateUp {
					check("about "+string(p.ID), ask, portIn)
				} else {
					check("about "+string(p.ID)+", which is down", ask, everywhere...)
				}
			}
			for _, tunnel := range v.Tunnels {
				for _, dst := range []string{"ff:ff:ff:ff:ff:ff", "02:00:00:00:00:07", n.Ports[0].MAC.String()} {
					check("from a tunnel", fmt.Sprintf("in_port=%d,tun_id=%d,dl_src=02:00:00:00:00:09,udp,dl_dst=%s", tunnel.OFPort, n.Segment.ID, dst), OFPatchInt)
				}
			}
		}
	}
	t.Logf("%d packets", traced)
}

// portIn stands for the port that a packet came in by.
const portIn = 0

var (
	bridgeOf  = regexp.MustCompile(`(?s)bridge\("br-tun"\)\n-+\n(.*?)(?:\nbridge\(|\nFinal flow:)`)
	tunOutput = regexp.MustCompile(`(?m)^ +(?:output:(\d+)|(IN_PORT))$`)
	setVNI    = regexp.MustCompile(`(?m)^ +set_field:(0x[0-9a-f]+|\d+)->tun_id$`)
)

// outputs are the ports of br-tun by which a traced packet goes out, sorted, and the VNI that it has then.
func outputs(trace string) (ports []uint32, vni uint32) {
	part := bridgeOf.FindStringSubmatch(trace)
	if part == nil {
		return nil, 0
	}
	for _, m := range tunOutput.FindAllStringSubmatch(part[1], -1) {
		n, _ := strconv.ParseUint(m[1], 10, 32) // IN_PORT is 0
		ports = append(ports, uint32(n))
	}
	for _, m := range setVNI.FindAllStringSubmatch(part[1], -1) {
		n, _ := strconv.ParseUint(m[1], 0, 32)
		vni = uint32(n)
	}
	slices.Sort(ports)
	return ports, vni
}

// randomPeers is a cloud of up to six other hosts, some without a VTEP, and three networks.
func randomPeers(r *rand.Rand) *world {
	w := newWorld()
	hosts := []model.HostName{"host1"}
	for i := range 1 + r.IntN(6) {
		name := model.HostName(fmt.Sprint("peer", i))
		hosts = append(hosts, name)
		if vtep := fmt.Sprintf("10.0.0.%d", 2+i); r.IntN(5) > 0 {
			w.peer(name, vtep)
		} else {
			w.peer(name, "")
		}
	}
	networks := []model.NetworkID{netA, netB, netV}
	for i, id := range networks {
		w.network(id, model.Segment{Type: model.SegmentVXLAN, ID: uint32(100 + i)})
	}
	for i := range 3 + r.IntN(20) {
		id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i+1))
		// Every address is on every network.
		p := w.port(id, networks[i%3], fmt.Sprintf("10.0.1.%d", 1+i/3), 0)
		p.AdminStateUp = r.IntN(4) > 0
		p.Binding.Host = hosts[r.IntN(len(hosts))]
		if i < 3 {
			p.Binding.Host = "host1" // else the network is not here
		}
	}
	return w
}

// manyPeers is a network of 5,000 ports on 1,000 other hosts.
func manyPeers() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	w.port(vm1, netA, "10.10.0.11", 4)
	for i := range 1000 {
		w.peer(model.HostName(fmt.Sprint("peer", i)), fmt.Sprintf("10.1.%d.%d", i>>8, i&255))
	}
	for i := range 5000 {
		id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i+1))
		p := w.remote(id, netA, model.HostName(fmt.Sprint("peer", i%1000)), fmt.Sprintf("10.11.%d.%d", i>>8, i&255))
		p.MAC[4] = byte(i >> 8)
	}
	return w
}

// BenchmarkPeers is what a pass costs on a host with 1,000 peers: from nothing, without news, and when one port of another
// host has changed.
func BenchmarkPeers(b *testing.B) {
	w := manyPeers()
	look := func() view.View {
		v := view.Of(w.Cloud, w.at, "host1", w.vlans)
		for i, a := range v.VTEPs(vtep1) {
			v.Tunnels = append(v.Tunnels, view.Tunnel{VTEP: a, OFPort: view.OFPort(i + 2)})
		}
		return v
	}
	v := look()
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			new(Memory).Switch(v, settings())
		}
	})
	var m Memory
	m.Switch(v, settings())
	b.Run("same", func(b *testing.B) {
		for b.Loop() {
			m.Switch(v, settings())
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			p := *w.Ports["00000007-0000-4000-8000-000000000000"]
			w.Ports[p.ID] = &p
			m.Switch(look(), settings())
		}
	})
}
