package pipeline

import (
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// tunMemory holds the parts of br-tun, each with what it follows from.
type tunMemory struct {
	base     *vswitch.Part
	tunnels  []view.Tunnel
	ports    []*vswitch.Part // of tunnels
	networks map[model.NetworkID]*tunNetworkMemo
}

type tunNetworkMemo struct {
	network *model.Network
	vlan    view.LocalVLAN
	entry   bool
	peers   []*view.Peer
	ports   []*model.Port
	remotes map[model.PortID]*remoteMemo
	// parts are the network's own and those of the remotes.
	parts vswitch.Flows
}

type remoteMemo struct {
	remote
	part *vswitch.Part
}

// flows are those of br-tun, and the memory for the next time.
func (m *tunMemory) flows(l *layout) vswitch.Flows {
	if m.base == nil {
		m.base = vswitch.NewPart(l.base(), l.tunBase()...)
		m.base.Base = true
	}
	same := slices.Equal(m.tunnels, l.view.Tunnels)
	if !same {
		former := make(map[view.Tunnel]*vswitch.Part, len(m.ports))
		for i, t := range m.tunnels {
			former[t] = m.ports[i]
		}
		m.tunnels, m.ports = l.view.Tunnels, make([]*vswitch.Part, len(l.view.Tunnels))
		for i, t := range m.tunnels {
			if m.ports[i] = former[t]; m.ports[i] == nil {
				m.ports[i] = l.tunPort(t)
			}
		}
	}
	all := append(vswitch.Flows{m.base}, m.ports...)
	taken := map[uint32]bool{}
	networks := make(map[model.NetworkID]*tunNetworkMemo, len(l.view.Networks))
	for _, n := range l.view.Networks {
		if n.LocalVLAN == 0 || n.Segment.Type != model.SegmentVXLAN {
			continue
		}
		now := &tunNetworkMemo{network: n.Network, vlan: n.LocalVLAN, entry: !taken[n.Segment.ID], peers: n.Peers, ports: n.Ports}
		taken[n.Segment.ID] = true // see place
		old := m.networks[n.ID]
		if same && old != nil && old.network == now.network && old.vlan == now.vlan && old.entry == now.entry &&
			slices.Equal(old.peers, now.peers) && slices.Equal(old.ports, now.ports) {
			now = old
		} else {
			now.make(l, n, old)
		}
		networks[n.ID] = now
		all = append(all, now.parts...)
	}
	m.networks = networks
	return all
}

// make makes the parts of a network; old, which may be nil, is how it was.
func (m *tunNetworkMemo) make(l *layout, n *view.Network, old *tunNetworkMemo) {
	var to []uint32
	at := make(map[model.HostName]uint32, len(n.Peers))
	for _, p := range n.Peers {
		if t := l.tunnels[p.VTEP]; t != 0 {
			at[p.Host] = t
			to = append(to, t)
		}
	}
	slices.Sort(to)
	own := l.tunNetwork(n, slices.Compact(to), m.entry)
	if old != nil {
		own = old.parts[0].Remade(own.Cookie, own.List...)
	}
	m.parts = append(m.parts, own)
	m.remotes = make(map[model.PortID]*remoteMemo, len(n.Ports))
	claims := claims{macs: map[model.MAC]bool{}, addrs: map[netip.Addr]bool{}}
	for _, p := range n.Ports {
		t := at[p.Binding.Host]
		if t == 0 || p.Binding.VIFType != model.VIFOVS {
			continue
		}
		now := &remoteMemo{remote: remote{port: p, vlan: n.LocalVLAN, vni: n.Segment.ID, tunnel: t}}
		now.hasMAC, now.addrs = claims.of(p)
		var last *vswitch.Part
		if old != nil && old.remotes[p.ID] != nil {
			if o := old.remotes[p.ID]; o.equal(now.remote) {
				now = o
			}
			last = old.remotes[p.ID].part
		}
		if now.part == nil {
			cookie, flows := l.toRemote(now.remote)
			now.part = last.Remade(cookie, flows...)
		}
		m.remotes[p.ID] = now
		m.parts = append(m.parts, now.part)
	}
}

// claims are the MAC addresses and fixed IPs of a network that ports have. The store sees to it
// that no two have one; should a view say so, the first by ID has it.
type claims struct {
	macs  map[model.MAC]bool
	addrs map[netip.Addr]bool
}

// of says what of a port's own is its alone. Who is administratively down is not to be found.
func (c claims) of(p *model.Port) (mac bool, addrs []netip.Addr) {
	mac = !c.macs[p.MAC]
	c.macs[p.MAC] = true
	if !p.AdminStateUp {
		return mac, nil
	}
	for _, f := range p.FixedIPs {
		if a := f.Addr.Unmap(); !c.addrs[a] {
			c.addrs[a] = true
			addrs = append(addrs, a)
		}
	}
	return mac, addrs
}
