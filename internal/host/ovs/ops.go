package ovs

import (
	"maps"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Our mark in the external_ids of ports and bridges that Apply makes.
const (
	keyOwner   = "owner"
	valueOwner = "weft"
)

func owned(ids map[string]string) bool { return ids[keyOwner] == valueOwner }

// change is what must be done to one object: operations that make sense together.
// They name rows by name and not by a named UUID of another change, so that each
// change can also be a transaction of its own.
type change struct {
	object, op string
	ops        []ovsdb.Operation
}

func strMap(m map[string]string) ovsdb.OvsMap {
	g := make(map[any]any, len(m))
	for k, v := range m {
		g[k] = v
	}
	return ovsdb.OvsMap{GoMap: g}
}

func set[T any](vs ...T) ovsdb.OvsSet {
	g := make([]any, len(vs))
	for i, v := range vs {
		g[i] = v
	}
	return ovsdb.OvsSet{GoSet: g}
}

// optional is a set of one, or of none for the zero value.
func optional[T comparable](v T) ovsdb.OvsSet {
	var zero T
	if v == zero {
		return set[T]()
	}
	return set(v)
}

func uuid(id string) ovsdb.UUID { return ovsdb.UUID{GoUUID: id} }

func byName(name string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, name)}
}

func byUUID(id string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, uuid(id))}
}

func insert(table, named string, row ovsdb.Row) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationInsert, Table: table, UUIDName: named, Row: row}
}

func update(table string, where []ovsdb.Condition, row ovsdb.Row) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: table, Where: where, Row: row}
}

func mutate(table string, where []ovsdb.Condition, column string, how ovsdb.Mutator, value any) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationMutate, Table: table, Where: where,
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation(column, how, value)}}
}

// contains reports whether m has every key of part with its value.
func contains(m, part map[string]string) bool {
	for k, v := range part {
		if w, ok := m[k]; !ok || w != v {
			return false
		}
	}
	return true
}

// merged is m with the keys of part.
func merged(m, part map[string]string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, part)
	return out
}
