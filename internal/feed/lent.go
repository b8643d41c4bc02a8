package feed

import (
	"maps"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
)

// lent says which maps of a Cloud somebody else may be reading. To hand out a Cloud then
// costs nothing, and a change copies only the maps that it concerns, once.
type lent struct{ networks, subnets, ports, groups, members, addressGroups, peers bool }

// all notes that the whole Cloud is handed out.
func (l *lent) all() { *l = lent{true, true, true, true, true, true, true} }

// takeBack makes the maps that the objects will change the owner's alone.
func (l *lent) takeBack(c *view.Cloud, objects []*feedpb.Object) {
	for _, o := range objects {
		switch model.Kind(o.Kind) {
		case model.KindNetwork: // one that goes takes along what is on it
			own(&c.Networks, &l.networks)
			own(&c.Subnets, &l.subnets)
			own(&c.Ports, &l.ports)
		case model.KindSubnet:
			own(&c.Subnets, &l.subnets)
		case model.KindPort:
			own(&c.Ports, &l.ports)
		case model.KindSecurityGroup:
			own(&c.Groups, &l.groups)
		case kindMember, kindMembers:
			own(&c.Members, &l.members)
		case model.KindAddressGroup:
			own(&c.AddressGroups, &l.addressGroups)
		case model.KindHost:
			own(&c.Peers, &l.peers)
		}
	}
}

func own[K comparable, T any](m *map[K]*T, lent *bool) {
	if *lent {
		*m, *lent = maps.Clone(*m), false
	}
}
