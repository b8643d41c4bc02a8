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
	ports    map[model.PortID]portMemo
	networks map[model.NetworkID]networkMemo
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
	m.groups = firewall.Compile(&v, s.CookieOwner, m.groups)
	flows := slices.Concat(vswitch.Flows{m.base}, m.groups.Parts)

	ports := make(map[model.PortID]portMemo, len(v.Local))
	members := make(map[model.NetworkID][]member, len(v.Networks))
	claimed := make(map[place]bool, len(v.Local))
	for i := range v.Local {
		p := &v.Local[i]
		at := place{p.Network.LocalVLAN, p.MAC}
		if !live(*p) || claimed[at] {
			continue
		}
		claimed[at] = true
		now := portMemo{member: member{port: p.Port, ofport: uint32(p.Attachment.OFPort), vlan: uint32(p.Network.LocalVLAN), trusted: !p.Filtered()}}
		if !now.trusted {
			now.filter = m.groups.Filter(p.Groups)
			now.stateless = now.filter.Stateless
		}
		if old, ok := m.ports[p.ID]; ok && old.member == now.member && old.filter.Equal(now.filter) {
			now.part = old.part
		} else {
			list := l.port(now.member, now.filter)
			now.part = vswitch.NewPart(list[0].Cookie, list...)
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
		now := networkMemo{network: n.Network, vlan: n.LocalVLAN, members: members[n.ID], entry: !entries[n.Segment]}
		entries[n.Segment] = true
		if old, ok := m.networks[n.ID]; ok && old.network == now.network && old.vlan == now.vlan && old.entry == now.entry && slices.Equal(old.members, now.members) {
			now.part = old.part
		} else {
			now.part = vswitch.NewPart(l.ofNetwork(n), l.network(n, now)...)
		}
		networks[n.ID] = now
		flows = append(flows, now.part)
	}
	m.networks = networks
	return l.fill(flows)
}

func (s Settings) equal(o Settings) bool {
	same := maps.Equal(s.BridgeMappings, o.BridgeMappings)
	s.BridgeMappings, o.BridgeMappings = nil, nil
	return same && s.IntegrationBridge == o.IntegrationBridge && s.TunnelBridge == o.TunnelBridge && s.DatapathType == o.DatapathType &&
		s.Controller == o.Controller && s.Manager == o.Manager && s.CookieOwner == o.CookieOwner
}

func (s Settings) clone() Settings {
	s.BridgeMappings = maps.Clone(s.BridgeMappings)
	return s
}
