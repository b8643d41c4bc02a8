package neutron

import (
	"time"

	"weft/internal/control"
	"weft/internal/model"
)

// standardAttributes are those that every resource of Neutron has.
func standardAttributes[M, R any](meta func(*M) *model.Meta, description func(*R) *control.Opt[string]) []attribute[M, R] {
	rows := []attribute[M, R]{
		{name: "description", use: post | put | filter | order,
			take: func(r *R, name string, v any) error {
				if v == nil { // stored as ''
					*description(r) = control.Some("")
					return nil
				}
				return takeText(description, maxDescription)(r, name, v)
			},
			text: func(m *M) string { return meta(m).Description }},
		{name: "created_at", kind: "time", use: order,
			wire:    func(b []byte, m *M, _ *aside) []byte { return appendTime(b, meta(m).CreatedAt) },
			compare: func(x, y *M) int { return meta(x).CreatedAt.Compare(meta(y).CreatedAt) }},
		{name: "updated_at", kind: "time", use: order,
			wire:    func(b []byte, m *M, _ *aside) []byte { return appendTime(b, meta(m).UpdatedAt) },
			compare: func(x, y *M) int { return meta(x).UpdatedAt.Compare(meta(y).UpdatedAt) }},
		{name: "revision_number", use: filter | order,
			number: func(m *M) int64 { return int64(meta(m).Revision) }},
		{name: "changed_since", kind: "time", use: filter, match: matchSince(func(m *M) time.Time { return meta(m).UpdatedAt })},
	}
	return append(rows, tagAttributes[M, R](meta)...)
}

// sinceLayouts are the forms of a time that changed_since takes; without a zone it is UTC.
var sinceLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02"}

// matchSince makes the filter of what was changed at a time or later. The first of several
// values counts, as in Neutron.
func matchSince[M any](changed func(*M) time.Time) func([]string) (predicate[M], error) {
	return func(values []string) (predicate[M], error) {
		for _, layout := range sinceLayouts {
			if since, err := time.Parse(layout, values[0]); err == nil {
				return func(m *M, _ *aside) bool { return !changed(m).Before(since) }, nil
			}
		}
		return nil, invalidInput("The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SSZ")
	}
}
