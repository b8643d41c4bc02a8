package control

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

type (
	// AddressGroupChange asks to create or change an address group.
	AddressGroupChange = Change[model.AddressGroup]
	// AddressGroupEntry is a stored address group.
	AddressGroupEntry = *store.Entry[model.AddressGroup]
)

func addressGroups() noun[model.AddressGroup] {
	return noun[model.AddressGroup]{
		kind: store.AddressGroups, name: model.KindAddressGroup,
		id:    func(g *model.AddressGroup) *string { return &g.ID },
		owner: func(g *model.AddressGroup) *model.ProjectID { return &g.Project },
		meta:  func(g *model.AddressGroup) *model.Meta { return &g.Meta },
		judge: func(_ *work, _, g *model.AddressGroup, _ func(string) bool) error {
			g.Addresses = sorted(g.Addresses)
			return nil
		},
		remove: func(w *work, g *model.AddressGroup) error {
			for range w.r.Referrers(model.KindAddressGroup, g.ID) {
				return model.Faultf(model.AddressGroupInUse, "Address group %s is in use on one or more security group rules.", g.ID)
			}
			w.unshare(g.ID)
			return nil
		},
	}
}

// sorted returns different prefixes in order; none is nil.
func sorted(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Prefix.Compare)
	if list = slices.Compact(list); len(list) == 0 {
		return nil
	}
	return list
}

// CreateAddressGroups makes all groups or none.
func (c *Control) CreateAddressGroups(ctx context.Context, changes []AddressGroupChange) ([]AddressGroupEntry, error) {
	return createNouns(ctx, c, addressGroups(), changes)
}

// UpdateAddressGroup changes a group.
func (c *Control) UpdateAddressGroup(ctx context.Context, id string, ch AddressGroupChange) (AddressGroupEntry, error) {
	return updateNoun(ctx, c, addressGroups(), id, ch)
}

// DeleteAddressGroup removes a group that no rule refers to.
func (c *Control) DeleteAddressGroup(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, addressGroups(), id, ifRevision)
}

// AddAddresses adds prefixes to a group, none of which it may have.
func (c *Control) AddAddresses(ctx context.Context, id string, add []netip.Prefix) (AddressGroupEntry, error) {
	n := addressGroups()
	n.judge = func(_ *work, _, g *model.AddressGroup, _ func(string) bool) error {
		if had := intersect(add, g.Addresses, true); had != "" {
			return model.Faultf(model.AddressesExist, "Addresses [%s] already exist in the address group %s.", had, id)
		}
		g.Addresses = sorted(slices.Concat(g.Addresses, add))
		return nil
	}
	return updateNoun(ctx, c, n, id, AddressGroupChange{})
}

// RemoveAddresses removes prefixes from a group, which must have all of them.
func (c *Control) RemoveAddresses(ctx context.Context, id string, remove []netip.Prefix) (AddressGroupEntry, error) {
	n := addressGroups()
	n.judge = func(_ *work, _, g *model.AddressGroup, _ func(string) bool) error {
		if lacks := intersect(remove, g.Addresses, false); lacks != "" {
			return model.Faultf(model.AddressesMissing, "Addresses [%s] not found in the address group %s.", lacks, id)
		}
		g.Addresses = sorted(slices.DeleteFunc(slices.Clone(g.Addresses), func(p netip.Prefix) bool { return slices.Contains(remove, p) }))
		return nil
	}
	return updateNoun(ctx, c, n, id, AddressGroupChange{})
}

// intersect lists those of a list that another one has, or has not, as Neutron prints them.
func intersect(list, other []netip.Prefix, has bool) string {
	var out []string
	for _, p := range sorted(list) {
		if slices.Contains(other, p) == has {
			out = append(out, "'"+p.String()+"'")
		}
	}
	return strings.Join(out, ", ")
}

// seesAddresses reports whether the caller may use an address group.
func (w *work) seesAddresses(g *model.AddressGroup) bool {
	caller := CallerOf(w.ctx)
	return w.c.everywhere(caller) || g.Project == caller.ProjectID || g.Shared || SharedWith(w.r, g.ID, caller.ProjectID)
}
