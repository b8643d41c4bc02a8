package view

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// named are the security groups and address groups that rules of the groups name as the
// other side.
func named(of iter.Seq[*SecurityGroup]) (groups, addresses map[string]bool) {
	groups, addresses = map[string]bool{}, map[string]bool{}
	for g := range of {
		for i := range g.Rules {
			if id := g.Rules[i].RemoteGroup; id != "" {
				groups[id] = true
			}
			if id := g.Rules[i].RemoteAddressGroup; id != "" {
				addresses[id] = true
			}
		}
	}
	return groups, addresses
}

// guard fills in what the filters of the local ports depend on.
func (v *View) guard(c Cloud) {
	held := map[string]*SecurityGroup{}
	for i := range v.Local {
		l := &v.Local[i]
		if !l.Filtered() {
			continue
		}
		l.Groups = groupsOf(l.Port, c)
		for _, g := range l.Groups {
			held[g.ID] = g
		}
	}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		v.Groups = append(v.Groups, held[id])
	}
	groups, addresses := named(slices.Values(v.Groups))
	v.Members = map[string][]*Member{}
	for id, m := range c.Members {
		if m != nil && groups[id.Group] {
			v.Members[id.Group] = append(v.Members[id.Group], m)
		}
	}
	for _, members := range v.Members {
		slices.SortFunc(members, func(a, b *Member) int { return cmp.Compare(a.Port, b.Port) })
	}
	v.AddressGroups = map[string]*model.AddressGroup{}
	for id := range addresses {
		if a := c.AddressGroups[id]; a != nil {
			v.AddressGroups[id] = a
		}
	}
}

// groupsOf are the security groups of a port that are known, sorted by ID, each once.
func groupsOf(p *model.Port, c Cloud) []*SecurityGroup {
	groups := make([]*SecurityGroup, 0, len(p.SecurityGroups))
	for _, id := range p.SecurityGroups {
		if g := c.Groups[id]; g != nil {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b *SecurityGroup) int { return cmp.Compare(a.ID, b.ID) })
	return slices.Compact(groups)
}

// MemberOf makes of a port what it is as a member of a security group.
func MemberOf(p *model.Port, group string) *Member {
	m := &Member{Group: group, Port: p.ID, Sources: make([]Source, 0, len(p.FixedIPs)+len(p.AddressPairs))}
	for _, f := range p.FixedIPs {
		a := f.Addr.Unmap()
		m.Sources = append(m.Sources, Source{p.MAC, netip.PrefixFrom(a, a.BitLen())})
	}
	for _, pair := range p.AddressPairs {
		s := Source{pair.MAC, pair.Prefix.Masked()}
		if s.MAC.IsZero() {
			s.MAC = p.MAC
		}
		m.Sources = append(m.Sources, s)
	}
	slices.SortFunc(m.Sources, func(a, b Source) int {
		return cmp.Or(slices.Compare(a.MAC[:], b.MAC[:]), a.Prefix.Compare(b.Prefix))
	})
	m.Sources = slices.Compact(m.Sources)
	return m
}
