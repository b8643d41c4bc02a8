package neutron

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// addressGroups is the table of /v2.0/address-groups.
func addressGroups() *table[model.AddressGroup, change[model.AddressGroup]] {
	return simple(table[model.AddressGroup, change[model.AddressGroup]]{
		kind: model.KindAddressGroup, singular: "address_group", plural: "address_groups", path: "address-groups",
		attributes: []attribute[model.AddressGroup, change[model.AddressGroup]]{
			idOf(func(g *model.AddressGroup) *string { return &g.ID }),
			textAt("name", post|put|filter|order, maxName, func(g *model.AddressGroup) *string { return &g.Name }),
			{name: "addresses", use: post, kind: "list of CIDRs",
				take: func(ch *change[model.AddressGroup], name string, v any) error {
					list, err := toPrefixes(name, v)
					if err != nil {
						return err
					}
					ch.Set(name, func(g *model.AddressGroup) { g.Addresses = list })
					return nil
				},
				wire: func(b []byte, g *model.AddressGroup, _ *aside) []byte {
					return appendList(b, g.Addresses, func(b []byte, p netip.Prefix) []byte { return appendText(b, p) })
				}},
			flagAt("shared", filter|order, false, func(g *model.AddressGroup) *bool { return &g.Shared }),
		},
	}, func(g *model.AddressGroup) *model.Meta { return &g.Meta }, func(g *model.AddressGroup) *model.ProjectID { return &g.Project })
}

// toPrefixes reads a list of different prefixes.
func toPrefixes(name string, v any) ([]netip.Prefix, error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, invalidFor(name, fmt.Sprintf("'%s' is not a list", pyStr(v)))
	}
	out := make([]netip.Prefix, 0, len(list))
	given := map[string]bool{}
	for _, e := range list {
		if given[pyStr(e)] {
			return nil, invalidFor(name, fmt.Sprintf("Duplicate items in the list: '%s'", pyStr(v)))
		}
		given[pyStr(e)] = true
	}
	for _, e := range list {
		p, reason := toSubnet(e)
		if reason != "" {
			return nil, invalidFor(name, reason)
		}
		out = append(out, p)
	}
	return out, nil
}

func addressGroupCollection(c *control.Control) *collection[model.AddressGroup, change[model.AddressGroup]] {
	t := addressGroups()
	act := func(verb func(context.Context, string, []netip.Prefix) (control.AddressGroupEntry, error)) func(context.Context, string, map[string]any) (any, error) {
		return func(ctx context.Context, id string, body map[string]any) (any, error) {
			v, has := body["addresses"]
			if !has || len(body) > 1 {
				return nil, badRequest("Failed to parse request. Required attribute 'addresses' not specified")
			}
			// Unlike when a group is made, an address alone will do.
			items, _ := v.([]any)
			for i, e := range items {
				if a, err := netip.ParseAddr(pyStr(e)); err == nil {
					items[i] = netip.PrefixFrom(a, a.BitLen()).String()
				}
			}
			list, err := toPrefixes("addresses", v)
			if err != nil {
				return nil, err
			}
			e, err := verb(ctx, id, list)
			if err != nil {
				return nil, err
			}
			return json.RawMessage(`{"address_group":` + string(t.encode(nil, e.Value, &aside{}, store.WholeView, nil)) + `}`), nil
		}
	}
	return &collection[model.AddressGroup, change[model.AddressGroup]]{
		table: t,
		id:    func(g *model.AddressGroup) string { return g.ID },
		find: func(r store.Reader, id string) *store.Entry[model.AddressGroup] {
			return store.AddressGroups.Get(r, id)
		},
		list: func(r store.Reader, q *query[model.AddressGroup, change[model.AddressGroup]]) iter.Seq[*store.Entry[model.AddressGroup]] {
			return sharable(r, store.AddressGroups, model.KindAddressGroup, q, "name")
		},
		shared: sharedBy(func(g *model.AddressGroup) string { return g.ID }),
		create: c.CreateAddressGroups, update: c.UpdateAddressGroup, remove: c.DeleteAddressGroup,
		actions: []action{
			{name: "add_addresses", rule: "add_addresses", serve: act(c.AddAddresses)},
			{name: "remove_addresses", rule: "remove_addresses", serve: act(c.RemoveAddresses)},
		},
		aliases: []string{"address-group", "rbac-address-group"},
	}
}
