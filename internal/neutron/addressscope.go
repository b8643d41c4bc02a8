package neutron

import (
	"iter"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// addressScopes is the table of /v2.0/address-scopes.
func addressScopes() *table[model.AddressScope, change[model.AddressScope]] {
	version := numberAt("ip_version", post|need|filter|order, nil, 4, 6, func(s *model.AddressScope) *int64 { return &s.IPVersion })
	version.kind = "4 or 6"
	version.take = func(ch *change[model.AddressScope], name string, v any) error {
		n, err := toVersion(name, v)
		if err == nil {
			ch.Set(name, func(s *model.AddressScope) { s.IPVersion = n })
		}
		return err
	}
	return simple(table[model.AddressScope, change[model.AddressScope]]{
		kind: model.KindAddressScope, singular: "address_scope", plural: "address_scopes", path: "address-scopes",
		attributes: []attribute[model.AddressScope, change[model.AddressScope]]{
			idOf(func(s *model.AddressScope) *string { return &s.ID }),
			textAt("name", post|put|filter|order, maxName, func(s *model.AddressScope) *string { return &s.Name }),
			flagAt("shared", post|put|filter|order, false, func(s *model.AddressScope) *bool { return &s.Shared }),
			version,
		},
	}, nil, func(s *model.AddressScope) *model.ProjectID { return &s.Project })
}

// addressScopeCollection joins the table of address scopes to the verbs.
func addressScopeCollection(c *control.Control) *collection[model.AddressScope, change[model.AddressScope]] {
	return &collection[model.AddressScope, change[model.AddressScope]]{
		table: addressScopes(),
		id:    func(s *model.AddressScope) string { return s.ID },
		find:  store.AddressScopes.Get,
		list: func(r store.Reader, q *query[model.AddressScope, change[model.AddressScope]]) iter.Seq[*store.Entry[model.AddressScope]] {
			return sharable(r, store.AddressScopes, model.KindAddressScope, q)
		},
		shared:  sharedBy(func(s *model.AddressScope) string { return s.ID }),
		create:  c.CreateAddressScopes,
		update:  c.UpdateAddressScope,
		remove:  c.DeleteAddressScope,
		aliases: []string{"address-scope", "rbac-address-scope"},
	}
}
