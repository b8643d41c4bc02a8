package pipeline

import (
	"maps"
	"slices"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// Memory holds the parts of the last switch, each with what it follows from, so that the
// next is made faster: its Switch returns what the function Switch returns, and a part that
// is the same is the same pointer. The zero value is ready. One goroutine may use it.
type Memory struct {
	settings Settings
	base     *vswitch.Part
	groups   *firewall.Groups
	ports    map[model.PortID]*portMemo
	networks map[model.NetworkID]networkMemo
	tun      tunMemory
	// others are the parts of the other bridges, by bridge and cookie.
	others map[string]map[uint64]*vswitch.Part
	// layout are the bridges, which follow from wires, tunnels and settings.
	layout  []vswitch.Bridge
	wires   []wire
	tunnels []view.Tunnel
}

// wire is what a port of br-int follows from, or those of a network.
type wire struct {
	network *model.Network
	vlan    view.LocalVLAN
	dhcp    *model.Port
	tag     uint16
	device  string
}

type portMemo struct {
	member
	filter firewall.Filter
	part   *vswitch.Part
}

type networkMemo struct {
	network *model.Network
	vlan    view.LocalVLAN
	members []member
	// dhcp is its DHCP port here, if there is one.
	dhcp *model.Port
	// entry: what comes in from its segment is the network's.
	entry bool
	part  *vswitch.Part
}

// place is what a port has to itself on a host. The store sees to it that no two ports of a
// network share a MAC address, and no two networks a segment; should a view say so,
// the first by ID has it.
type place struct {
	vlan view.LocalVLAN
	mac  model.MAC
}

// Switch is as the function Switch.
func (m *Memory) Switch(v view.View, s Settings) vswitch.Switch {
	l := newLayout(v, s)
	if m.base == nil || !m.settings.equal(s) {
		*m = Memory{settings: s.clone(), base: vswitch.NewPart(l.base(), l.intBase()...)}
		m.base.Base = true
	}
	groups := firewall.Compile(&v, s.CookieOwner, m.groups)
	same := groups.SameFilters(m.groups)
	m.groups = groups
	flows := make(vswitch.Flows, 0, 1+len(groups.Parts)+len(v.Local)+len(v.Networks))
	flows = append(append(flows, m.base), groups.Parts...)

	ports := make(map[model.PortID]*portMemo, len(v.Local))
	members := make(map[model.NetworkID][]member, len(v.Networks))
	claimed := make(map[place]bool, len(v.Local))
	for i := range v.Local {
		p := &v.Local[i]
		at := place{p.Network.LocalVLAN, p.MAC}
		if !live(*p) || claimed[at] {
			continue
		}
		claimed[at] = true
		is := member{port: p.Port, ofport: uint32(p.Attachment.OFPort), vlan: uint32(p.Network.LocalVLAN), trusted: !p.Filtered()}
		old := m.ports[p.ID]
		now := old
		if !same || old == nil || !old.follows(is) {
			now = m.port(l, is, p.Groups, old)
		}
		ports[p.ID] = now
		members[p.Network.ID] = append(members[p.Network.ID], now.member)
		flows = append(flows, now.part)
	}
	m.ports = ports

	entries := map[model.Segment]bool{}
	networks := make(map[model.NetworkID]networkMemo, len(v.Networks))
	for _, n := range v.Networks {
		if n.LocalVLAN == 0 {
			continue
		}
		now := networkMemo{network: n.Network, vlan: n.LocalVLAN, members: members[n.ID], dhcp: n.DHCPPort, entry: !entries[n.Segment]}
		entries[n.Segment] = true
		if old, ok := m.networks[n.ID]; ok && old.network == now.network && old.vlan == now.vlan && old.dhcp == now.dhcp && old.entry == now.entry && slices.Equal(old.members, now.members) {
			now.part = old.part
		} else {
			now.part = old.part.Remade(l.ofNetwork(n), l.network(n, now)...)
		}
		networks[n.ID] = now
		flows = append(flows, now.part)
	}
	m.networks = networks
	all := map[string]vswitch.Flows{l.IntegrationBridge: flows}
	if l.TunnelBridge != "" {
		all[l.TunnelBridge] = m.tun.flows(l)
	}
	for _, b := range l.physical {
		all[b] = m.parts(b, l.physFlows(b))
	}
	return vswitch.Switch{Manager: l.Manager, Bridges: m.bridges(l), Flows: all}
}

// bridges are those of the layout; of the same ports, they are the same slice.
func (m *Memory) bridges(l *layout) []vswitch.Bridge {
	wires := make([]wire, 0, len(l.view.Networks)+len(l.view.Local))
	for _, n := range l.view.Networks {
		wires = append(wires, wire{network: n.Network, vlan: n.LocalVLAN, dhcp: n.DHCPPort})
	}
	for i := range l.view.Local {
		p := &l.view.Local[i]
		wires = append(wires, wire{network: p.Network.Network, tag: tag(p.Network, p.Port), device: p.Attachment.Device})
	}
	if m.layout == nil || !slices.Equal(m.wires, wires) || !slices.Equal(m.tunnels, l.view.Tunnels) {
		m.wires, m.tunnels, m.layout = wires, l.view.Tunnels, l.bridges()
	}
	return m.layout
}

// follows: whether a port is stateless follows from its filter, and is not known before.
func (p *portMemo) follows(is member) bool {
	is.stateless = p.stateless
	return p.member == is
}

// port makes the part of a port, or finds that it is the old one, which may be nil.
func (m *Memory) port(l *layout, is member, groups []*view.SecurityGroup, old *portMemo) *portMemo {
	now := &portMemo{member: is}
	if !is.trusted {
		now.filter = m.groups.Filter(groups)
		now.stateless = now.filter.Stateless
	}
	var last *vswitch.Part
	if old != nil {
		if old.member == now.member && old.filter.Equal(now.filter) {
			return old
		}
		last = old.part
	}
	list := l.port(now.member, now.filter)
	now.part = last.Remade(list[0].Cookie, list...)
	return now
}

// parts makes parts of the flows of a bridge that has few: one for each cookie, the first of
// which is the base.
func (m *Memory) parts(bridge string, flows []vswitch.Flow) vswitch.Flows {
	var order []uint64
	lists := map[uint64][]vswitch.Flow{}
	for _, f := range flows {
		if lists[f.Cookie] == nil {
			order = append(order, f.Cookie)
		}
		lists[f.Cookie] = append(lists[f.Cookie], f)
	}
	parts := make(vswitch.Flows, len(order))
	memo := make(map[uint64]*vswitch.Part, len(order))
	for i, c := range order {
		p := m.others[bridge][c].Remade(c, lists[c]...)
		if i == 0 && !p.Base {
			p.Base = true
		}
		parts[i], memo[c] = p, p
	}
	if m.others == nil {
		m.others = map[string]map[uint64]*vswitch.Part{}
	}
	m.others[bridge] = memo
	return parts
}

func (s Settings) equal(o Settings) bool {
	return maps.Equal(s.BridgeMappings, o.BridgeMappings) && s.IntegrationBridge == o.IntegrationBridge && s.TunnelBridge == o.TunnelBridge && s.VTEP == o.VTEP && s.DatapathType == o.DatapathType &&
		s.Controller == o.Controller && s.Manager == o.Manager && s.CookieOwner == o.CookieOwner
}

func (s Settings) clone() Settings {
	s.BridgeMappings = maps.Clone(s.BridgeMappings)
	return s
}
