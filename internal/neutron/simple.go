package neutron

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
)

// Most resources are requested by a control.Change: their attributes are places in the
// model, and one row says all about each.

type change[M any] = control.Change[M]

// simple completes a table whose requests are changes of the model itself. meta and owner
// find the standard attributes and the project in the model; nil for what is not there.
func simple[M any](t table[M, change[M]], meta func(*M) *model.Meta, owner func(*M) *model.ProjectID) *table[M, change[M]] {
	t.defaults = true
	t.meta = meta
	if meta != nil {
		t.attributes = append(t.attributes, metaAttributes(meta)...)
	}
	if owner != nil {
		get := func(m *M) string { return string(*owner(m)) }
		take := takeProject(func(ch *change[M]) *model.ProjectID { return &ch.Project })
		t.attributes = append(t.attributes,
			attribute[M, change[M]]{name: "tenant_id", use: post | filter | order, kind: "project", take: take, text: get},
			attribute[M, change[M]]{name: "project_id", use: post | filter | order, kind: "project", take: take, text: get})
		t.owner = func(m *M) model.ProjectID { return *owner(m) }
	}
	t.project = func(ch *change[M]) *model.ProjectID { return &ch.Project }
	t.revision = func(ch *change[M]) *control.Opt[int] { return &ch.IfRevision }
	t.draft = func(ch *change[M]) *M {
		m := new(M)
		if owner != nil {
			*owner(m) = ch.Project
		}
		ch.Apply(m)
		return m
	}
	return newTable(t)
}

// metaAttributes are the standard attributes in a table of changes.
func metaAttributes[M any](meta func(*M) *model.Meta) []attribute[M, change[M]] {
	rows := standardAttributes[M, change[M]](meta, nil)
	rows[0] = textAt("description", post|put|filter|order, maxDescription, func(m *M) *string { return &meta(m).Description })
	take := rows[0].take
	rows[0].take = func(ch *change[M], name string, v any) error {
		if v == nil {
			v = "" // as Neutron stores it
		}
		return take(ch, name, v)
	}
	return rows
}

// idOf is the row of an object's ID.
func idOf[M any](at func(*M) *string) attribute[M, change[M]] {
	return attribute[M, change[M]]{name: "id", use: filter | order, kind: "UUID", text: func(m *M) string { return *at(m) }}
}

// textAt is a row of a string of at most limit characters, "" when it is not given.
func textAt[M any](name string, u use, limit int, at func(*M) *string) attribute[M, change[M]] {
	return attribute[M, change[M]]{name: name, use: u, kind: fmt.Sprintf("string(%d)", limit), def: "",
		take: func(ch *change[M], name string, v any) error {
			s, reason := toString(v, limit)
			if reason != "" {
				return invalidFor(name, reason)
			}
			ch.Set(name, func(m *M) { *at(m) = s })
			return nil
		},
		text: func(m *M) string { return *at(m) }}
}

// flagAt is a row of a boolean.
func flagAt[M any](name string, u use, def bool, at func(*M) *bool) attribute[M, change[M]] {
	return attribute[M, change[M]]{name: name, use: u, kind: "boolean", def: def,
		take: func(ch *change[M], name string, v any) error {
			b, err := toBool(v)
			if err != nil {
				return err
			}
			ch.Set(name, func(m *M) { *at(m) = b })
			return nil
		},
		flag: func(m *M) bool { return *at(m) }}
}

// numberAt is a row of an integer from least to most. def is nil when there is no default.
func numberAt[M any](name string, u use, def any, least, most int64, at func(*M) *int64) attribute[M, change[M]] {
	return attribute[M, change[M]]{name: name, use: u, kind: fmt.Sprintf("integer %d..%d", least, most), def: def,
		take: func(ch *change[M], name string, v any) error {
			n, err := toInt(v)
			if err != nil {
				return err
			}
			switch {
			case n < least:
				return invalidFor(name, fmt.Sprintf("'%d' is too small - must be at least '%d'", n, least))
			case n > most:
				return invalidFor(name, fmt.Sprintf("'%d' is too large - must be no larger than '%d'", n, most))
			}
			ch.Set(name, func(m *M) { *at(m) = n })
			return nil
		},
		number: func(m *M) int64 { return *at(m) }}
}

// refAt is a row of another object's UUID, which may be null unless it is needed.
func refAt[M any](name string, u use, at func(*M) *string) attribute[M, change[M]] {
	return attribute[M, change[M]]{name: name, use: u, kind: "UUID",
		take: func(ch *change[M], name string, v any) error {
			if v == nil && u&need == 0 {
				ch.Set(name, func(m *M) { *at(m) = "" })
				return nil
			}
			id, reason := toUUID(v)
			if reason != "" {
				return invalidFor(name, reason)
			}
			ch.Set(name, func(m *M) { *at(m) = id })
			return nil
		},
		wire:    func(b []byte, m *M, _ *aside) []byte { return appendTextOrNull(b, *at(m)) },
		match:   matchText(func(m *M) string { return *at(m) }),
		compare: func(x, y *M) int { return cmp.Compare(*at(x), *at(y)) }}
}

// choiceAt is a row of one of the strings allowed; def is nil when there is no default.
func choiceAt[M any](name string, u use, def any, allowed []string, at func(*M) *string) attribute[M, change[M]] {
	return attribute[M, change[M]]{name: name, use: u, kind: "one of " + strings.Join(slices.Clone(allowed), ", "), def: def,
		take: func(ch *change[M], name string, v any) error {
			s, reason := oneOf(v, allowed)
			if reason != "" {
				return invalidFor(name, reason)
			}
			ch.Set(name, func(m *M) { *at(m) = s })
			return nil
		},
		text: func(m *M) string { return *at(m) }}
}
