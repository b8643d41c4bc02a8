package neutron

import (
	"iter"

	"weft/internal/model"
	"weft/internal/store"
)

// qosType is a row of /v2.0/qos/rule-types.
type qosType struct {
	model.QoSRuleType
	// detailed rows also show the parameters.
	detailed bool
}

// qosTypes is the table of /v2.0/qos/rule-types. All types can be put into policies, so the
// two filters that widen the list in Neutron change nothing.
func qosTypes() *table[qosType, change[qosType]] {
	all := func(values []string) (predicate[qosType], error) {
		_, _, err := boolValues(values)
		return func(*qosType, *aside) bool { return true }, err
	}
	return simple(table[qosType, change[qosType]]{
		kind: "rule_type", singular: "rule_type", plural: "rule_types", path: "qos/rule-types",
		attributes: []attribute[qosType, change[qosType]]{
			{name: "type", kind: "string", text: func(t *qosType) string { return t.Name }},
			{name: "drivers", kind: "list of objects", wire: func(b []byte, t *qosType, _ *aside) []byte { return appendJSON(b, drivers(t)) },
				when: func(t *qosType, _ *aside) bool { return t.detailed }},
			{name: "all_rules", use: filter, match: all},
			{name: "all_supported", use: filter, match: all},
		},
	}, nil, nil)
}

type qosParameter struct {
	Name   string `json:"parameter_name"`
	Type   string `json:"parameter_type"`
	Values any    `json:"parameter_values"`
}

// drivers says, in Neutron's words, which values the parameters of a rule may have.
func drivers(t *qosType) any {
	bounds := map[string]int64{"start": 0, "end": model.MaxQoSValue}
	var list []qosParameter
	if t.Directions == nil {
		list = append(list, qosParameter{t.Value, "choices", model.DSCPMarks})
	} else {
		list = append(list, qosParameter{t.Value, "range", bounds})
	}
	if t.Burst != "" {
		list = append(list, qosParameter{t.Burst, "range", bounds})
	}
	if t.Directions != nil {
		list = append(list, qosParameter{"direction", "choices", t.Directions})
	}
	return []map[string]any{{"name": "openvswitch", "supported_parameters": list}}
}

func qosTypeCollection() *collection[qosType, change[qosType]] {
	rows := func(detailed bool) iter.Seq[*store.Entry[qosType]] {
		return func(yield func(*store.Entry[qosType]) bool) {
			for _, t := range model.QoSRuleTypes {
				if !yield(&store.Entry[qosType]{Value: &qosType{t, detailed}}) {
					return
				}
			}
		}
	}
	return &collection[qosType, change[qosType]]{
		table: qosTypes(),
		id:    func(t *qosType) string { return t.Name },
		find: func(_ store.Reader, name string) *store.Entry[qosType] {
			for e := range rows(true) {
				if e.Value.Name == name {
					return e
				}
			}
			return nil
		},
		list: func(store.Reader, *query[qosType, change[qosType]]) iter.Seq[*store.Entry[qosType]] {
			return rows(false)
		},
		missing: func(string) error { return faultNoRoute },
		aliases: []string{"qos-rule-type-details", "qos-rule-type-filter"},
	}
}

// qosAttribute is the policy that a network or a port is under.
func qosAttribute[M, R any](set func(r *R, id string), get func(*M) string) attribute[M, R] {
	return attribute[M, R]{name: "qos_policy_id", use: post | put, kind: "UUID or null",
		take: func(r *R, name string, v any) error {
			if v == nil {
				set(r, "")
				return nil
			}
			id, reason := toUUID(v)
			if reason != "" {
				return invalidFor(name, reason)
			}
			set(r, id)
			return nil
		},
		wire: func(b []byte, m *M, _ *aside) []byte { return appendTextOrNull(b, get(m)) }}
}
