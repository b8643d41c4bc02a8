package pipeline

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// The clouds of the tests. IDs are like UUIDs, so that names and cookies look real.
const (
	netA  model.NetworkID = "aaaaaaaa-0000-4000-8000-000000000000"
	netB  model.NetworkID = "bbbbbbbb-0000-4000-8000-000000000000"
	netV  model.NetworkID = "cccccccc-0000-4000-8000-000000000000"
	netF  model.NetworkID = "dddddddd-0000-4000-8000-000000000000"
	dhcpA model.PortID    = "a0000002-0000-4000-8000-000000000000"
	vm1   model.PortID    = "a0000011-0000-4000-8000-000000000000"
	vm2   model.PortID    = "a0000012-0000-4000-8000-000000000000"
	vm3   model.PortID    = "b0000013-0000-4000-8000-000000000000"
	far   model.PortID    = "a0000014-0000-4000-8000-000000000000"
	farB  model.PortID    = "b0000014-0000-4000-8000-000000000000"
	open  model.PortID    = "a0000015-0000-4000-8000-000000000000"
	pairs model.PortID    = "a0000016-0000-4000-8000-000000000000"
	down  model.PortID    = "a0000017-0000-4000-8000-000000000000"
	vmV   model.PortID    = "c0000018-0000-4000-8000-000000000000"
	vmF   model.PortID    = "d0000019-0000-4000-8000-000000000000"
)

// world is a cloud being built, and what is attached on host1.
type world struct {
	view.Cloud
	at    []view.Attachment
	vlans map[model.NetworkID]view.LocalVLAN
}

func newWorld() *world {
	return &world{
		Cloud: view.NewCloud(),
		vlans: map[model.NetworkID]view.LocalVLAN{},
	}
}

// vtep1 is where tunnels to host1 end.
var vtep1 = netip.MustParseAddr("10.0.0.1")

// view is that of host1. A tunnel's number is the last octet of its VTEP.
func (w *world) view() view.View {
	v := view.Of(w.Cloud, w.at, "host1", w.vlans)
	for _, a := range v.VTEPs(vtep1) {
		v.Tunnels = append(v.Tunnels, view.Tunnel{VTEP: a, OFPort: view.OFPort(a.As4()[3])})
	}
	return v
}

// peer adds another host; addr is its VTEP, or empty.
func (w *world) peer(name model.HostName, addr string) {
	p := &view.Peer{Host: name}
	if addr != "" {
		p.VTEP = netip.MustParseAddr(addr)
	}
	w.Peers[name] = p
}

// remote adds a port bound to another host.
func (w *world) remote(id model.PortID, n model.NetworkID, host model.HostName, addrs ...string) *model.Port {
	p := w.port(id, n, addrs[0], 0)
	p.Binding.Host = host
	for _, a := range addrs[1:] {
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{Addr: netip.MustParseAddr(a)})
	}
	return p
}

// The security groups of the tests.
const (
	grpDefault = "5ec00001-0000-4000-8000-000000000000"
	grpWeb     = "5ec00002-0000-4000-8000-000000000000"
	grpOpen    = "5ec00003-0000-4000-8000-000000000000"
)

// rule makes a rule; ID and further fields are the caller's.
func rule(direction, ethertype string, more func(*view.Rule)) view.Rule {
	r := view.Rule{ID: direction + "-" + ethertype, RuleMatch: model.RuleMatch{Direction: direction, Ethertype: ethertype}}
	if more != nil {
		more(&r)
	}
	return r
}

func ports(first, last int64) func(*view.Rule) {
	return func(r *view.Rule) { r.Protocol, r.PortMin, r.PortMax = "tcp", &first, &last }
}

// defaultGroup is what a project's default group begins with.
func defaultGroup() *view.SecurityGroup {
	self := func(r *view.Rule) { r.RemoteGroup = grpDefault }
	return &view.SecurityGroup{ID: grpDefault, Rules: []view.Rule{
		rule("egress", "IPv4", nil), rule("egress", "IPv6", nil), rule("ingress", "IPv4", self), rule("ingress", "IPv6", self)}}
}

// openGroup lets everything pass both ways.
func openGroup() *view.SecurityGroup {
	return &view.SecurityGroup{ID: grpOpen, Rules: []view.Rule{
		rule("egress", "IPv4", nil), rule("egress", "IPv6", nil), rule("ingress", "IPv4", nil), rule("ingress", "IPv6", nil)}}
}

// join puts ports into a security group.
func (w *world) join(g *view.SecurityGroup, ids ...model.PortID) {
	w.Groups[g.ID] = g
	for _, id := range ids {
		p := w.Ports[id]
		p.SecurityGroups = append(p.SecurityGroups, g.ID)
		w.Members[view.MemberID{Group: g.ID, Port: id}] = view.MemberOf(p, g.ID)
	}
}

func (w *world) network(id model.NetworkID, s model.Segment) {
	w.Networks[id] = &model.Network{ID: id, AdminStateUp: true, MTU: 1450, Segment: s}
	w.vlans[id] = view.LocalVLAN(len(w.vlans) + 1)
}

// port adds a port bound to host1 whose MAC ends with the last octet of its address,
// attached as OpenFlow port ofport unless that is 0.
func (w *world) port(id model.PortID, n model.NetworkID, addr string, ofport view.OFPort) *model.Port {
	a := netip.MustParseAddr(addr)
	p := &model.Port{
		ID: id, NetworkID: n, AdminStateUp: true, PortSecurity: true, MAC: macOf(a),
		FixedIPs: []model.FixedIP{{Addr: a}},
		Binding:  model.Binding{Host: "host1", VIFType: model.VIFOVS},
	}
	w.Ports[id] = p
	if ofport != 0 {
		w.at = append(w.at, view.Attachment{PortID: id, Device: "tap" + string(id[:11]), OFPort: ofport})
	}
	return p
}

func macOf(a netip.Addr) model.MAC {
	s := a.AsSlice()
	return model.MAC{0xfa, 0x16, 0x3e, 0, 0, s[len(s)-1]}
}

// one is the world of the README: a network with its DHCP port and two machines.
func one() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	d := w.port(dhcpA, netA, "10.10.0.2", 3)
	d.DeviceOwner, d.PortSecurity = model.OwnerDHCP, false
	w.port(vm1, netA, "10.10.0.11", 4)
	w.port(vm2, netA, "10.10.0.12", 5)
	w.join(defaultGroup(), vm1, vm2)
	return w
}

// kinds has a port of every kind on the network of one, and a second network.
func kinds() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	d := w.port(dhcpA, netA, "10.10.0.2", 3)
	d.DeviceOwner, d.PortSecurity = model.OwnerDHCP, false
	w.port(vm1, netA, "10.10.0.11", 4)
	w.port(vm2, netA, "10.10.0.12", 5)
	w.network(netB, model.Segment{Type: model.SegmentVXLAN, ID: 14746})
	w.port(vm3, netB, "10.10.0.11", 6) // the same address on another network
	w.port(far, netA, "10.10.0.14", 0).Binding.Host = "host2"
	w.port(open, netA, "10.10.0.15", 7).PortSecurity = false
	p := w.port(pairs, netA, "10.10.0.16", 8)
	p.FixedIPs = append(p.FixedIPs, model.FixedIP{Addr: netip.MustParseAddr("2001:db8::16")})
	p.AddressPairs = []model.AddressPair{
		{MAC: p.MAC, Prefix: netip.MustParsePrefix("10.99.0.0/16")},
		{MAC: model.MAC{0, 0, 0x5e, 0, 1, 7}, Prefix: netip.MustParsePrefix("10.10.0.100/32")},
	}
	w.port(down, netA, "10.10.0.17", 9).AdminStateUp = false
	w.join(openGroup(), vm1, vm2, vm3, pairs, down)
	return w
}

// peers is a network whose DHCP is on host2 and that has ports on host3 and host4, which has no
// VTEP; the second network has one on host3.
func peers() *world {
	w := newWorld()
	w.peer("host2", "10.0.0.2")
	w.peer("host3", "10.0.0.3")
	w.peer("host4", "")
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	w.network(netB, model.Segment{Type: model.SegmentVXLAN, ID: 14746})
	w.port(vm1, netA, "10.10.0.11", 4)
	w.port(vm3, netB, "10.10.0.11", 6)
	d := w.remote(dhcpA, netA, "host2", "10.10.0.2")
	d.DeviceOwner, d.PortSecurity = model.OwnerDHCP, false
	w.remote(far, netA, "host3", "10.10.0.14", "2001:db8::14")
	w.remote(down, netA, "host3", "10.10.0.17").AdminStateUp = false
	w.remote(vm2, netA, "host4", "10.10.0.12")
	w.remote(farB, netB, "host3", "10.10.0.14")
	w.join(openGroup(), vm1, vm3)
	return w
}

// provider has networks that leave by physical networks, one of them not mapped here.
func providers() *world {
	w := newWorld()
	w.network(netV, model.Segment{Type: model.SegmentVLAN, Physical: "physnet1", ID: 101})
	w.network(netF, model.Segment{Type: model.SegmentFlat, Physical: "physnet1"})
	w.network(netB, model.Segment{Type: model.SegmentVLAN, Physical: "elsewhere", ID: 7})
	w.port(vmV, netV, "192.0.2.18", 4)
	w.port(vmF, netF, "192.0.2.19", 5)
	w.port(vm3, netB, "192.0.2.13", 6)
	w.join(openGroup(), vmV, vmF, vm3)
	return w
}

// distributed is a provider network whose DHCP port is on every host.
func distributed() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVLAN, Physical: "physnet1", ID: 101})
	d := w.port(dhcpA, netA, "10.10.0.2", 3)
	d.DeviceOwner, d.PortSecurity = model.OwnerDHCP, false
	d.Binding = model.Binding{VIFType: model.VIFDistributed}
	d.FixedIPs = append(d.FixedIPs, model.FixedIP{Addr: netip.MustParseAddr("2001:db8::2")})
	w.port(vm1, netA, "10.10.0.11", 4)
	w.port(vm2, netA, "10.10.0.12", 5)
	w.port(open, netA, "10.10.0.15", 7).PortSecurity = false
	w.remote(far, netA, "host2", "10.10.0.14")
	w.join(openGroup(), vm1, vm2)
	return w
}

func settings() Settings {
	return Settings{
		IntegrationBridge: "br-int", TunnelBridge: "br-tun", VTEP: vtep1, DatapathType: "system",
		Controller: "tcp:127.0.0.1:6633", Manager: "ptcp:6640:127.0.0.1", CookieOwner: 0x3ef7,
	}
}

func userspace() Settings {
	s := settings()
	s.DatapathType = "netdev"
	return s
}

func mapped() Settings {
	s := settings()
	s.BridgeMappings = map[string]string{"physnet1": "br-ex"}
	return s
}

// crowd is a network with n machines.
func crowd(n int) *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	for i := range n {
		id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i+1))
		p := w.port(id, netA, fmt.Sprintf("10.10.%d.%d", i>>8, i&255), view.OFPort(i+1))
		p.MAC[4] = byte(i >> 8)
	}
	w.join(defaultGroup(), slices.Sorted(maps.Keys(w.Ports))...)
	return w
}

// web is a web server that members of another group may log in to.
func web() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	w.port(vm1, netA, "10.10.0.11", 4)
	w.port(vm2, netA, "10.10.0.12", 5)
	w.port(far, netA, "10.10.0.14", 0).Binding.Host = "host2"
	w.join(webGroup(), vm1)
	w.join(defaultGroup(), vm2, far)
	return w
}

func webGroup() *view.SecurityGroup {
	return &view.SecurityGroup{ID: grpWeb, Rules: []view.Rule{
		rule("egress", "IPv4", nil),
		rule("ingress", "IPv4", ports(80, 80)),
		rule("ingress", "IPv6", ports(80, 80)),
		rule("ingress", "IPv4", ports(8000, 8079)),
		rule("ingress", "IPv4", func(r *view.Rule) { ports(22, 22)(r); r.RemoteGroup = grpDefault }),
		rule("ingress", "IPv4", func(r *view.Rule) {
			echo := int64(8)
			r.Protocol, r.PortMin, r.RemotePrefix = "icmp", &echo, netip.MustParsePrefix("192.0.2.0/24")
		}),
	}}
}

// stateless is the same web server in a stateless group, with rules for its answers.
func stateless() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	w.port(vm1, netA, "10.10.0.11", 4)
	w.join(&view.SecurityGroup{ID: grpWeb, Stateless: true, Rules: []view.Rule{
		rule("egress", "IPv4", nil), rule("ingress", "IPv4", ports(80, 80)), rule("ingress", "IPv4", ports(32768, 60999)),
	}}, vm1)
	return w
}

// paired is a port that may send from any IPv4 address, and two that share a MAC and an address.
func paired() *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	w.port(vm1, netA, "10.10.0.11", 4).AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	shared := model.AddressPair{MAC: model.MAC{0, 0, 0x5e, 0, 1, 7}, Prefix: netip.MustParsePrefix("10.10.0.100/32")}
	w.port(vm2, netA, "10.10.0.12", 5).AddressPairs = []model.AddressPair{shared}
	w.port(pairs, netA, "10.10.0.16", 6).AddressPairs = []model.AddressPair{shared}
	w.join(openGroup(), vm1, vm2, pairs)
	return w
}
