package neutron

import (
	"weft/internal/control"
	"weft/internal/model"
)

// standardAttributes are those that every resource of Neutron has.
func standardAttributes[M, R any](meta func(*M) *model.Meta, description func(*R) *control.Opt[string]) []attribute[M, R] {
	return []attribute[M, R]{
		{name: "description", use: post | put | filter | order,
			take: func(r *R, name string, v any) error {
				if v == nil { // stored as ''
					*description(r) = control.Some("")
					return nil
				}
				return takeText(description, maxDescription)(r, name, v)
			},
			text: func(m *M) string { return meta(m).Description }},
		// Tags cannot be given here in Neutron either: they have a resource of their own.
		{name: "tags", wire: func(b []byte, m *M, _ *aside) []byte {
			return appendList(b, meta(m).Tags, appendString)
		}},
		{name: "created_at", use: order,
			wire:    func(b []byte, m *M, _ *aside) []byte { return appendTime(b, meta(m).CreatedAt) },
			compare: func(x, y *M) int { return meta(x).CreatedAt.Compare(meta(y).CreatedAt) }},
		{name: "updated_at", use: order,
			wire:    func(b []byte, m *M, _ *aside) []byte { return appendTime(b, meta(m).UpdatedAt) },
			compare: func(x, y *M) int { return meta(x).UpdatedAt.Compare(meta(y).UpdatedAt) }},
		{name: "revision_number", use: filter | order,
			number: func(m *M) int64 { return int64(meta(m).Revision) }},
	}
}
