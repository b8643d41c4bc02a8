package neutron

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type (
	qosPolicyAttribute = attribute[model.QoSPolicy, change[model.QoSPolicy]]
	qosRuleAttribute   = attribute[model.QoSRule, change[model.QoSRule]]
	qosRuleCollection  = collection[model.QoSRule, change[model.QoSRule]]
)

// registerQoS serves QoS policies and, for each type of rule, the rules of a policy and
// those of all policies.
func (s *Server) registerQoS() {
	c := s.control
	register(s, qosPolicyCollection(c))
	for _, t := range model.QoSRuleTypes {
		rules := qosRules(t, "")
		registerNested(s, "/v2.0/qos/policies/{parent}/"+rules.plural, rules, qosRulesOf(c, rules, t.Name))
		if t.Name != "packet_rate_limit" { // has no such alias in Neutron
			register(s, qosAliasCollection(c, t))
		}
	}
	s.honour("qos-bw-limit-direction", "qos-bw-minimum-ingress", "qos-pps", "qos-pps-minimum",
		"qos-pps-minimum-rule-alias", "qos-rules-alias")
	types := qosTypeCollection()
	types.guards = types.guardsBy(s.policy)
	s.honour(types.aliases...)
	s.route("/v2.0/"+types.where(), func(string) served { return detailsForAdmins{types} })
}

// qosPolicies is the table of /v2.0/qos/policies.
func qosPolicies() *table[model.QoSPolicy, change[model.QoSPolicy]] {
	t := table[model.QoSPolicy, change[model.QoSPolicy]]{
		kind: model.KindQoS, singular: "policy", plural: "policies", path: "qos/policies",
		attributes: []qosPolicyAttribute{
			idOf(func(p *model.QoSPolicy) *string { return &p.ID }),
			textAt("name", post|put|filter|order, maxName, func(p *model.QoSPolicy) *string { return &p.Name }),
			flagAt("shared", post|put|filter, false, func(p *model.QoSPolicy) *bool { return &p.Shared }),
			{name: "rules", kind: "list of objects", wire: func(b []byte, p *model.QoSPolicy, _ *aside) []byte {
				return appendList(b, p.Rules, func(b []byte, r model.QoSRule) []byte { return appendQoSRule(b, p.ID, &r) })
			}},
			flagAt("is_default", post|put|filter, false, func(p *model.QoSPolicy) *bool { return &p.IsDefault }),
		},
	}
	return simple(t, func(p *model.QoSPolicy) *model.Meta { return &p.Meta },
		func(p *model.QoSPolicy) *model.ProjectID { return &p.Project })
}

// appendQoSRule writes a rule as its policy shows it.
func appendQoSRule(b []byte, policy string, r *model.QoSRule) []byte {
	number := func(name string, n int64) {
		b = appendString(b, name)
		b = appendInt(append(b, ':'), n)
		b = append(b, ',')
	}
	text := func(name, s string) {
		b = appendString(b, name)
		b = appendString(append(b, ':'), s)
		b = append(b, ',')
	}
	b = append(b, '{')
	if i := slices.IndexFunc(model.QoSRuleTypes, func(t model.QoSRuleType) bool { return t.Name == r.Type }); i >= 0 {
		t := model.QoSRuleTypes[i]
		number(t.Value, r.Value)
		if t.Burst != "" {
			number(t.Burst, r.Burst)
		}
		if t.Directions != nil {
			text("direction", r.Direction)
		}
	}
	text("id", r.ID)
	text("qos_policy_id", policy)
	text("type", r.Type)
	b[len(b)-1] = '}'
	return b
}

func qosPolicyCollection(c *control.Control) *collection[model.QoSPolicy, change[model.QoSPolicy]] {
	return &collection[model.QoSPolicy, change[model.QoSPolicy]]{
		table: qosPolicies(),
		id:    func(p *model.QoSPolicy) string { return p.ID },
		find:  store.QoSPolicies.Get,
		list: func(r store.Reader, q *query[model.QoSPolicy, change[model.QoSPolicy]]) iter.Seq[*store.Entry[model.QoSPolicy]] {
			return sharable(r, store.QoSPolicies, model.KindQoS, q, "name")
		},
		shared: sharedBy(func(p *model.QoSPolicy) string { return p.ID }),
		create: c.CreateQoSPolicies, update: c.UpdateQoSPolicy, remove: c.DeleteQoSPolicy,
		aliases: []string{"qos", "qos-default"},
	}
}

// qosRules is the table of the rules of one type, under a name with a prefix.
func qosRules(rt model.QoSRuleType, prefix string) *table[model.QoSRule, change[model.QoSRule]] {
	value := func(r *model.QoSRule) *int64 { return &r.Value }
	rows := []qosRuleAttribute{idOf(func(r *model.QoSRule) *string { return &r.ID })}
	if rt.Directions == nil {
		rows = append(rows, markRow(rt.Value))
	} else {
		rows = append(rows, numberAt(rt.Value, post|put|need|filter|order, nil, 0, model.MaxQoSValue, value))
	}
	if rt.Burst != "" {
		rows = append(rows, numberAt(rt.Burst, post|put|filter|order, json.Number("0"), 0, model.MaxQoSValue,
			func(r *model.QoSRule) *int64 { return &r.Burst }))
	}
	if rt.Directions != nil {
		rows = append(rows, directionRow(rt.Directions))
	}
	t := table[model.QoSRule, change[model.QoSRule]]{
		kind: model.KindQoSRule, singular: prefix + rt.Name + "_rule", plural: prefix + rt.Name + "_rules",
		rules: "policy_" + rt.Name + "_rule", attributes: rows,
	}
	if prefix != "" {
		t.rules = ""
		t.path = "qos/" + strings.ReplaceAll(t.plural, "_", "-")
	}
	return simple(t, nil, nil)
}

// directionRow is the direction of a rule, egress unless said otherwise.
func directionRow(directions []string) qosRuleAttribute {
	row := choiceAt("direction", post|put|filter|order, model.QoSEgress, directions, func(r *model.QoSRule) *string { return &r.Direction })
	take := row.take
	row.take = func(ch *change[model.QoSRule], name string, v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(directions, s) {
			return invalidFor(name, fmt.Sprintf("%s is not in ('%s')", pyStr(v), strings.Join(directions, "', '")))
		}
		return take(ch, name, v)
	}
	return row
}

// markRow is the DSCP of a rule.
func markRow(name string) qosRuleAttribute {
	row := numberAt(name, post|put|need|filter|order, nil, 0, model.MaxQoSValue, func(r *model.QoSRule) *int64 { return &r.Value })
	take := row.take
	row.kind = "one of the DSCPs of RFC 2474, 2597 and 3246"
	row.take = func(ch *change[model.QoSRule], name string, v any) error {
		n, err := toInt(v)
		if err != nil {
			return err
		}
		if !slices.Contains(model.DSCPMarks, n) {
			marks := strings.Join(strings.Fields(fmt.Sprint(model.DSCPMarks)), ", ")
			return invalidFor(name, fmt.Sprintf("%d is not in %s", n, marks))
		}
		return take(ch, name, v)
	}
	return row
}

// ofPolicy answers for an attribute of the policy of a rule.
func ofPolicy(e *store.Entry[model.QoSPolicy], object, attribute string) (string, bool) {
	if object != "ext_parent" || e == nil || attribute != "project_id" && attribute != "tenant_id" {
		return "", false
	}
	return string(e.Value.Project), true
}

// ruleEntry is a rule as an entry of its own; nil if there is none.
func ruleEntry(e *store.Entry[model.QoSPolicy], ruleType, id string) *store.Entry[model.QoSRule] {
	if e == nil {
		return nil
	}
	if r := e.Value.Rule(ruleType, id); r != nil {
		return &store.Entry[model.QoSRule]{Value: r, ModRev: e.ModRev}
	}
	return nil
}

// ruleEntries yields the rules of one type in some policies.
func ruleEntries(policies iter.Seq[*store.Entry[model.QoSPolicy]], ruleType string) iter.Seq[*store.Entry[model.QoSRule]] {
	return func(yield func(*store.Entry[model.QoSRule]) bool) {
		for e := range policies {
			for _, r := range e.Value.Rules {
				if r.Type == ruleType && !yield(ruleEntry(e, ruleType, r.ID)) {
					return
				}
			}
		}
	}
}

// qosRulesOf makes the collection of the rules of one type in a policy.
func qosRulesOf(c *control.Control, base *table[model.QoSRule, change[model.QoSRule]], ruleType string) func(policy string) *qosRuleCollection {
	return func(policy string) *qosRuleCollection {
		t := *base
		t.related = func(rd store.Reader, _ *model.QoSRule, object, attribute string) (string, bool) {
			return ofPolicy(store.QoSPolicies.Get(rd, policy), object, attribute)
		}
		return &qosRuleCollection{
			table: &t,
			id:    func(r *model.QoSRule) string { return r.ID },
			find: func(r store.Reader, id string) *store.Entry[model.QoSRule] {
				return ruleEntry(store.QoSPolicies.Get(r, policy), ruleType, id)
			},
			list: func(r store.Reader, _ *query[model.QoSRule, change[model.QoSRule]]) iter.Seq[*store.Entry[model.QoSRule]] {
				return ruleEntries(found([]string{policy}, func(id string) *store.Entry[model.QoSPolicy] {
					return store.QoSPolicies.Get(r, id)
				}), ruleType)
			},
			inside: func(r store.Reader, caller access.Caller) error {
				if e := store.QoSPolicies.Get(r, policy); e == nil || !c.SeesQoSPolicy(r, caller, e.Value) {
					return model.NotFound{Kind: model.KindQoS, ID: policy}
				}
				return nil
			},
			missing: func(id string) error { return control.QoSRuleNotFound(policy, id) },
			create: func(ctx context.Context, many []change[model.QoSRule]) ([]*store.Entry[model.QoSRule], error) {
				return c.CreateQoSRules(ctx, policy, ruleType, many)
			},
			update: func(ctx context.Context, id string, ch change[model.QoSRule]) (*store.Entry[model.QoSRule], error) {
				return c.UpdateQoSRule(ctx, policy, ruleType, id, ch)
			},
			remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
				return c.DeleteQoSRule(ctx, policy, ruleType, id, ifRevision)
			},
		}
	}
}

// qosAliasCollection are the rules of one type in all policies, for clients that know a
// rule and not its policy. A rule cannot be made there.
func qosAliasCollection(c *control.Control, rt model.QoSRuleType) *qosRuleCollection {
	t := qosRules(rt, "alias_")
	t.related = func(rd store.Reader, r *model.QoSRule, object, attribute string) (string, bool) {
		return ofPolicy(control.QoSPolicyOfRule(rd, rt.Name, r.ID), object, attribute)
	}
	policyOf := func(id string) (policy string) {
		c.Read(func(r store.Reader) {
			if e := control.QoSPolicyOfRule(r, rt.Name, id); e != nil {
				policy = e.Value.ID
			}
		})
		return policy
	}
	missing := func(id string) error { return control.QoSRuleNotFound("", id) }
	return &qosRuleCollection{
		table: t,
		id:    func(r *model.QoSRule) string { return r.ID },
		find: func(r store.Reader, id string) *store.Entry[model.QoSRule] {
			return ruleEntry(control.QoSPolicyOfRule(r, rt.Name, id), rt.Name, id)
		},
		list: func(r store.Reader, _ *query[model.QoSRule, change[model.QoSRule]]) iter.Seq[*store.Entry[model.QoSRule]] {
			return ruleEntries(store.QoSPolicies.All(r), rt.Name)
		},
		missing: missing,
		update: func(ctx context.Context, id string, ch change[model.QoSRule]) (*store.Entry[model.QoSRule], error) {
			policy := policyOf(id)
			if policy == "" {
				return nil, missing(id)
			}
			return c.UpdateQoSRule(ctx, policy, rt.Name, id, ch)
		},
		remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
			policy := policyOf(id)
			if policy == "" {
				return missing(id)
			}
			return c.DeleteQoSRule(ctx, policy, rt.Name, id, ifRevision)
		},
	}
}

// detailsForAdmins shows one type of rule to administrators only, as Neutron does.
type detailsForAdmins struct {
	*collection[qosType, change[qosType]]
}

func (d detailsForAdmins) serveOne(s *Server, w http.ResponseWriter, r *http.Request) error {
	if !s.policy.IsAdmin(control.CallerOf(r.Context())) {
		return fault{Status: http.StatusForbidden, Type: "NotAuthorized", Message: "Not authorized."}
	}
	return d.collection.serveOne(s, w, r)
}
