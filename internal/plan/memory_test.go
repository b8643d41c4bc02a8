package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// walk is a cloud, what is attached on host1, and the settings, which change step by step; every
// noun that changes is a new one.
type walk struct {
	*rapid.T
	c        view.Cloud
	at       map[model.PortID]view.OFPort
	vlans    map[model.NetworkID]view.LocalVLAN
	numbers  []view.OFPort // of tunnels
	settings Settings
}

func (w *walk) one(name string, of int) int { return rapid.IntRange(0, of-1).Draw(w.T, name) }

func (w *walk) yes(name string) bool { return rapid.Bool().Draw(w.T, name) }

func uid(kind, n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind<<16|n, n) }

// step changes one thing.
func (w *walk) step() {
	w.c = view.Cloud{Networks: maps.Clone(w.c.Networks), Subnets: maps.Clone(w.c.Subnets), Ports: maps.Clone(w.c.Ports),
		Groups: maps.Clone(w.c.Groups), Members: maps.Clone(w.c.Members), AddressGroups: maps.Clone(w.c.AddressGroups), Peers: maps.Clone(w.c.Peers)}
	gone := w.one("gone", 5) == 0
	switch n := w.one("which", 6); w.one("what", 11) {
	case 0:
		id := model.NetworkID(uid(1, n%2))
		segment := model.Segment{Type: model.SegmentVXLAN, ID: uint32(100 + w.one("vni", 2))}
		if w.yes("vlan") {
			segment = model.Segment{Type: model.SegmentVLAN, ID: uint32(10 + n), Physical: "physnet1"}
		}
		put(w.c.Networks, id, &model.Network{ID: id, AdminStateUp: w.yes("up"), MTU: 1450 + w.one("mtu", 2), Segment: segment}, gone)
	case 1:
		id := model.SubnetID(uid(2, n%2))
		put(w.c.Subnets, id, &model.Subnet{ID: id, NetworkID: model.NetworkID(uid(1, n%2)), EnableDHCP: w.yes("dhcp"),
			CIDR: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", n%2)), Gateway: netip.MustParseAddr("10.0.0.1")}, gone)
	case 2, 3:
		w.port(n, gone)
	case 4:
		w.group(n%2, gone)
	case 5:
		p := w.c.Ports[model.PortID(uid(3, n))]
		if id := uid(4, w.one("group", 2)); p != nil {
			put(w.c.Members, view.MemberID{Group: id, Port: p.ID}, view.MemberOf(p, id), gone)
		}
	case 6:
		a := &model.AddressGroup{ID: uid(5, 0)}
		for i := range w.one("addresses", 3) {
			a.Addresses = append(a.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), 0}), 8*w.one("bits", 4)))
		}
		put(w.c.AddressGroups, a.ID, a, gone)
	case 7:
		put(w.at, model.PortID(uid(3, n)), view.OFPort(1+w.one("ofport", 6)), gone)
	case 8:
		w.settings.LeaseTime = uint32(60 + w.one("lease time", 2))
		w.settings.BridgeMappings = map[string]string{"physnet1": fmt.Sprint("br-", w.one("bridge", 2))}
		w.settings.TunnelBridge = []string{"", "br-tun"}[w.one("tunnels", 2)]
	case 9:
		p := &view.Peer{Host: model.HostName(fmt.Sprint("host", 2+n%2))}
		if vtep := w.one("VTEP", 4); vtep > 0 {
			p.VTEP = netip.AddrFrom4([4]byte{10, 0, 0, byte(vtep + 1)})
		}
		put(w.c.Peers, p.Host, p, gone)
	case 10:
		w.numbers = rapid.Permutation([]view.OFPort{2, 3, 4, 5, 6}).Draw(w.T, "tunnel numbers")
	}
}

func put[K comparable, V any](m map[K]V, k K, v V, gone bool) {
	if m[k] = v; gone {
		delete(m, k)
	}
}

func (w *walk) port(n int, gone bool) {
	net := w.one("network", 2)
	p := &model.Port{ID: model.PortID(uid(3, n)), NetworkID: model.NetworkID(uid(1, net)), AdminStateUp: w.one("up", 4) > 0, PortSecurity: w.one("secure", 4) > 0,
		MAC:     model.MAC{0xfa, 0x16, 0x3e, 0, 0, byte(n)},
		Binding: model.Binding{Host: "host1", VIFType: model.VIFOVS}}
	for i := range w.one("addresses", 3) {
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{SubnetID: model.SubnetID(uid(2, net)), Addr: netip.AddrFrom4([4]byte{10, byte(net), byte(i), byte(n + 2)})})
	}
	if w.yes("pair") {
		p.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("10.9.0.0/24"), MAC: model.MAC{2, 0, 0, 0, 0, byte(w.one("pair MAC", 2))}}}
	}
	if n == 0 {
		p.DeviceOwner, p.PortSecurity = model.OwnerDHCP, false
	}
	for g := range 2 {
		if w.yes("in group") {
			p.SecurityGroups = append(p.SecurityGroups, uid(4, g))
		}
	}
	p.Binding.Host = []model.HostName{"host1", "host1", "host1", "host2", "host3"}[w.one("host", 5)]
	put(w.c.Ports, p.ID, p, gone)
}

func (w *walk) group(n int, gone bool) {
	g := &view.SecurityGroup{ID: uid(4, n), Stateless: w.one("stateless", 4) == 0}
	for i := range w.one("rules", 4) {
		r := view.Rule{ID: uid(6, i), RuleMatch: model.RuleMatch{Direction: []string{"ingress", "egress"}[w.one("direction", 2)],
			Ethertype: []string{"IPv4", "IPv6"}[w.one("ethertype", 2)]}}
		switch w.one("remote", 4) {
		case 1:
			r.RemoteGroup = uid(4, w.one("remote group", 2))
		case 2:
			r.RemoteAddressGroup = uid(5, 0)
		case 3:
			r.RemotePrefix = netip.MustParsePrefix("192.0.2.0/24")
		}
		if w.yes("tcp") {
			first, last := int64(w.one("first", 100)), int64(100+w.one("last", 100))
			r.Protocol, r.PortMin, r.PortMax = "tcp", &first, &last
		}
		g.Rules = append(g.Rules, r)
	}
	put(w.c.Groups, g.ID, g, gone)
}

func (w *walk) view() view.View {
	var at []view.Attachment
	for id, n := range w.at {
		at = append(at, view.Attachment{PortID: id, Device: vif.TapName(id), OFPort: n})
	}
	w.vlans, _ = vif.LocalVLANs(w.vlans, view.NetworksOf(w.c, "host1"))
	v := view.Of(w.c, at, "host1", w.vlans)
	for i, a := range v.VTEPs(netip.MustParseAddr("10.0.0.1")) {
		v.Tunnels = append(v.Tunnels, view.Tunnel{VTEP: a, OFPort: w.numbers[i]})
	}
	return v
}

// TestMemory: with whatever memory of earlier views, the plan is the one that is made without any; and a
// part of the flows is another one only if it says something else.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{T: t, c: view.NewCloud(), at: map[model.PortID]view.OFPort{}, settings: Defaults(), numbers: []view.OFPort{2, 3, 4}}
		for n := range 2 {
			name := model.HostName(fmt.Sprint("host", 2+n))
			w.c.Peers[name] = &view.Peer{Host: name, VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + n)})}
		}
		for n := range 2 {
			id := model.NetworkID(uid(1, n))
			w.c.Networks[id] = &model.Network{ID: id, AdminStateUp: true, MTU: 1450, Segment: model.Segment{Type: model.SegmentVXLAN, ID: uint32(100 + n)}}
		}
		for n := range 6 {
			w.port(n, false)
			w.at[model.PortID(uid(3, n))] = view.OFPort(n + 1)
		}
		w.group(0, false)
		w.group(1, false)
		var m Memory
		last := map[string]*vswitch.Part{}
		for i := range 10 {
			v := w.view()
			got, want := m.Make(v, w.settings), Make(v, w.settings)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("step %d: memory makes another plan: %s", i, gocmp.Diff(want, got, gocmp.Exporter(func(reflect.Type) bool { return true })))
			}
			now := map[string]*vswitch.Part{}
			for bridge, parts := range got.Switch.Flows {
				for _, p := range parts {
					text := fmt.Sprint(bridge, p.Cookie, p.List)
					now[text] = p
					if old := last[text]; old != nil && old != p {
						t.Fatalf("step %d: part %#x of %s is made anew", i, p.Cookie, bridge)
					}
				}
			}
			last = now
			settings := w.settings
			if w.step(); !reflect.DeepEqual(settings, w.settings) {
				clear(last) // nobody's agent changes its settings while it runs
			}
		}
	})
}
