package agent

import (
	"net/netip"
	"slices"
	"testing"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/view"
)

func TestUnderlayFaults(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	peer := func(name, vtep string) *view.Peer {
		p := &view.Peer{Host: model.HostName(name)}
		if vtep != "" {
			p.VTEP = netip.MustParseAddr(vtep)
		}
		return p
	}
	vxlan := model.Segment{Type: model.SegmentVXLAN, ID: 7}
	network := func(s model.Segment, mtu int, vlan view.LocalVLAN, peers ...*view.Peer) *view.Network {
		return &view.Network{Network: &model.Network{ID: "n", MTU: mtu, Segment: s}, LocalVLAN: vlan, Peers: peers}
	}
	const bridge = "br-tun"
	for _, c := range []struct {
		name    string
		network *view.Network
		vtep    netip.Addr
		bridge  string
		under   *host.Underlay
		want    []string
	}{
		{"all is well", network(vxlan, 1450, 1, peer("h2", "10.0.0.2")), v4, bridge, &host.Underlay{Device: "eth0", MTU: 1500}, nil},
		{"one host alone", network(vxlan, 1450, 1), netip.Addr{}, bridge, nil, nil},
		{"no tunnels", network(vxlan, 1450, 1, peer("h2", "10.0.0.2")), netip.Addr{}, "", nil, nil},
		{"a vlan", network(model.Segment{Type: model.SegmentVLAN, ID: 7}, 1500, 1, peer("h2", "")), v4, bridge, &host.Underlay{Device: "eth0", MTU: 1500}, nil},
		{"too small", network(vxlan, 1450, 1), v4, bridge, &host.Underlay{Device: "eth0", MTU: 1499}, []string{
			"carry packets of its MTU network n: MTU 1450 and 50 bytes of tunnel need an MTU of 1500; that of eth0, which has the tunnel address 10.0.0.1, is 1499"}},
		{"fits IPv4 and not IPv6", network(vxlan, 1450, 1), v6, bridge, &host.Underlay{Device: "eth0", MTU: 1500}, []string{
			"carry packets of its MTU network n: MTU 1450 and 70 bytes of tunnel need an MTU of 1520; that of eth0, which has the tunnel address 2001:db8::1, is 1500"}},
		{"no VTEP", network(vxlan, 1450, 1, peer("h2", "10.0.0.2")), netip.Addr{}, bridge, nil, []string{
			"reach other hosts network n: this host has no tunnel_ip, and the network is also on 1 others"}},
		{"peers without", network(vxlan, 1450, 1, peer("h2", ""), peer("h3", ""), peer("h4", "10.0.0.4")), v4, bridge, nil, []string{
			"reach other hosts network n: without a tunnel_ip: h2, h3"}},
		{"another IP version", network(vxlan, 1450, 1, peer("h2", "2001:db8::2")), v4, bridge, nil, []string{
			"reach other hosts network n: not of the IP version of 10.0.0.1: h2 (2001:db8::2)"}},
		{"not here", network(vxlan, 1450, 1), v4, bridge, &host.Underlay{}, []string{
			"find tunnel address 10.0.0.1: no device of this host has it: tunnels to other hosts carry nothing"}},
		{"down", network(vxlan, 1450, 1), v4, bridge, &host.Underlay{Device: "eth0", MTU: 1500, Down: true}, []string{
			"use tunnel address 10.0.0.1: eth0, which has it, is down or has no carrier: tunnels to other hosts carry nothing"}},
	} {
		var got []string
		faults := underlayFaults(view.View{Networks: []*view.Network{c.network}}, plan.Settings{TunnelBridge: c.bridge, VTEP: c.vtep}, c.under)
		for _, f := range faults {
			got = append(got, f.Error())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
		if b := brokenBy(faults); len(b.ports)+len(b.networks)+len(b.services) > 0 || b.switchDown || b.rules {
			t.Errorf("%s: ports are taken for broken: %+v", c.name, b)
		}
	}
}
