package neutron

import (
	"cmp"
	"context"
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
	groupAttribute = attribute[model.SecurityGroup, change[model.SecurityGroup]]
	ruleAttribute  = attribute[model.SecurityGroupRule, change[model.SecurityGroupRule]]
)

// securityGroups is the table of /v2.0/security-groups. A group shows its rules.
func securityGroups(rules *table[model.SecurityGroupRule, change[model.SecurityGroupRule]]) *table[model.SecurityGroup, change[model.SecurityGroup]] {
	name := textAt("name", post|put|filter|order, maxName, func(g *model.SecurityGroup) *string { return &g.Name })
	take := name.take
	name.take = func(ch *change[model.SecurityGroup], name string, v any) error {
		if s, _ := v.(string); strings.EqualFold(s, "default") {
			return fault{Status: http.StatusConflict, Type: "SecurityGroupDefaultAlreadyExists", Message: "Default security group already exists."}
		}
		return take(ch, name, v)
	}
	stateful := flagAt("stateful", post|put|filter, true, func(g *model.SecurityGroup) *bool { return &g.Stateless })
	stateful.take = func(ch *change[model.SecurityGroup], name string, v any) error {
		b, err := toBool(v)
		if err != nil {
			return err
		}
		ch.Set(name, func(g *model.SecurityGroup) { g.Stateless = !b })
		return nil
	}
	stateful.flag = func(g *model.SecurityGroup) bool { return !g.Stateless }
	one := func(b []byte, rule *model.SecurityGroupRule) []byte {
		b = rules.encode(b, rule, &aside{}, store.WholeView, nil)
		return append(b[:len(b)-1], `,"tags":[]}`...) // Neutron gives them here and nowhere else
	}
	return simple(table[model.SecurityGroup, change[model.SecurityGroup]]{
		kind: model.KindSecurityGroup, singular: "security_group", plural: "security_groups", path: "security-groups",
		attributes: []groupAttribute{
			idOf(func(g *model.SecurityGroup) *string { return &g.ID }),
			name, stateful,
			flagAt("shared", filter, false, func(g *model.SecurityGroup) *bool { return &g.Shared }),
			{name: "security_group_rules", kind: "list of security group rules",
				wire: func(b []byte, _ *model.SecurityGroup, x *aside) []byte { return appendList(b, x.rules(), one) }},
		},
	}, func(g *model.SecurityGroup) *model.Meta { return &g.Meta }, func(g *model.SecurityGroup) *model.ProjectID { return &g.Project })
}

// rulesOf returns the rules of a group by ID.
func rulesOf(r store.Reader, group string) []*model.SecurityGroupRule {
	var rules []*model.SecurityGroupRule
	for e := range store.SecurityGroupRules.By(r, "group", group) {
		rules = append(rules, e.Value)
	}
	slices.SortFunc(rules, func(x, y *model.SecurityGroupRule) int { return cmp.Compare(x.ID, y.ID) })
	return rules
}

func securityGroupCollection(c *control.Control) *collection[model.SecurityGroup, change[model.SecurityGroup]] {
	return &collection[model.SecurityGroup, change[model.SecurityGroup]]{
		table: securityGroups(securityGroupRules()),
		id:    func(g *model.SecurityGroup) string { return g.ID },
		find: func(r store.Reader, id string) *store.Entry[model.SecurityGroup] {
			return store.SecurityGroups.Get(r, id)
		},
		before: func(ctx context.Context, q *query[model.SecurityGroup, change[model.SecurityGroup]]) error {
			if control.CallerOf(ctx).ProjectID == "" {
				return nil
			}
			return c.EnsureDefaultGroup(ctx, projectOf(ctx, q.filters))
		},
		list: func(r store.Reader, q *query[model.SecurityGroup, change[model.SecurityGroup]]) iter.Seq[*store.Entry[model.SecurityGroup]] {
			return sharable(r, store.SecurityGroups, model.KindSecurityGroup, q, "name")
		},
		around: func(r store.Reader, g *model.SecurityGroup) aside {
			return aside{rules: func() []*model.SecurityGroupRule { return rulesOf(r, g.ID) }}
		},
		shared: sharedBy(func(g *model.SecurityGroup) string { return g.ID }),
		create: c.CreateSecurityGroups, update: c.UpdateSecurityGroup, remove: c.DeleteSecurityGroup,
		aliases: []string{"security-group", "stateful-security-group", "security-groups-shared-filtering", "rbac-security-groups"},
	}
}

// projectOf is the project whose default group a list must show: that of the filter, or the caller's.
func projectOf(ctx context.Context, filters map[string][]string) model.ProjectID {
	for _, name := range []string{"project_id", "tenant_id"} {
		if values := filters[name]; len(values) > 0 && values[0] != "" {
			return model.ProjectID(values[0])
		}
	}
	return control.CallerOf(ctx).ProjectID
}

// securityGroupRules is the table of /v2.0/security-group-rules. Rules do not change.
func securityGroupRules() *table[model.SecurityGroupRule, change[model.SecurityGroupRule]] {
	attributes := []ruleAttribute{
		idOf(func(r *model.SecurityGroupRule) *string { return &r.ID }),
		textAt("security_group_id", post|need|filter|order, 36, func(r *model.SecurityGroupRule) *string { return &r.Group }),
	}
	attributes = append(attributes, matchAttributes(func(r *model.SecurityGroupRule) *model.RuleMatch { return &r.RuleMatch })...)
	attributes = append(attributes,
		flagAt("belongs_to_default_sg", filter, false, func(r *model.SecurityGroupRule) *bool { return &r.OfDefault }),
		ruleAttribute{name: "normalized_cidr", use: filter | order, kind: "CIDR or null",
			wire:    func(b []byte, r *model.SecurityGroupRule, _ *aside) []byte { return appendTextOrNull(b, normalized(r)) },
			match:   matchText(normalized),
			compare: func(x, y *model.SecurityGroupRule) int { return cmp.Compare(normalized(x), normalized(y)) }})
	t := simple(table[model.SecurityGroupRule, change[model.SecurityGroupRule]]{
		kind: model.KindSecurityGroupRule, singular: "security_group_rule", plural: "security_group_rules",
		path: "security-group-rules", attributes: attributes,
		related: func(rd store.Reader, r *model.SecurityGroupRule, object, attribute string) (string, bool) {
			g := store.SecurityGroups.Get(rd, r.Group)
			if g == nil || object != "security_group" || attribute != "project_id" && attribute != "tenant_id" {
				return "", false
			}
			return string(g.Value.Project), true
		},
	}, func(r *model.SecurityGroupRule) *model.Meta { return &r.Meta }, func(r *model.SecurityGroupRule) *model.ProjectID { return &r.Project })
	// Rules that were made with their group have no description, not even an empty one.
	description := t.lookup("description")
	text := description.text
	description.match, description.compare = matchText(text), func(x, y *model.SecurityGroupRule) int { return cmp.Compare(text(x), text(y)) }
	description.text = nil
	description.wire = func(b []byte, r *model.SecurityGroupRule, _ *aside) []byte {
		if r.Automatic {
			return append(b, "null"...)
		}
		return appendString(b, r.Description)
	}
	return t
}

// normalized is the remote prefix of a rule without the bits below its length, or "".
func normalized(r *model.SecurityGroupRule) string {
	if !r.RemotePrefix.IsValid() {
		return ""
	}
	return r.RemotePrefix.Masked().String()
}

func securityGroupRuleCollection(c *control.Control) *collection[model.SecurityGroupRule, change[model.SecurityGroupRule]] {
	type entries = iter.Seq[*store.Entry[model.SecurityGroupRule]]
	return &collection[model.SecurityGroupRule, change[model.SecurityGroupRule]]{
		table: securityGroupRules(),
		id:    func(r *model.SecurityGroupRule) string { return r.ID },
		find: func(r store.Reader, id string) *store.Entry[model.SecurityGroupRule] {
			return store.SecurityGroupRules.Get(r, id)
		},
		before: func(ctx context.Context, q *query[model.SecurityGroupRule, change[model.SecurityGroupRule]]) error {
			return c.EnsureDefaultGroup(ctx, projectOf(ctx, q.filters))
		},
		list: func(r store.Reader, q *query[model.SecurityGroupRule, change[model.SecurityGroupRule]]) iter.Seq[*store.Entry[model.SecurityGroupRule]] {
			ofGroup := func(id string) entries { return store.SecurityGroupRules.By(r, "group", id) }
			if ids, ok := q.wanted("id"); ok {
				return found(ids, func(id string) *store.Entry[model.SecurityGroupRule] { return store.SecurityGroupRules.Get(r, id) })
			}
			if ids, ok := q.wanted("security_group_id"); ok {
				return each(ids, ofGroup)
			}
			if ids, ok := q.wanted("project_id", "tenant_id"); ok {
				return each(ids, func(id string) entries { return store.SecurityGroupRules.By(r, "project", id) })
			}
			if q.project == "" {
				return store.SecurityGroupRules.All(r)
			}
			var own []string
			for g := range store.SecurityGroups.By(r, "project", string(q.project)) {
				own = append(own, g.Value.ID)
			}
			return each(own, ofGroup)
		},
		parent: func(r store.Reader, caller access.Caller, rule *model.SecurityGroupRule) error {
			_, err := c.VisibleGroup(r, caller, rule.Group)
			return err
		},
		create: c.CreateSecurityGroupRules, remove: c.DeleteSecurityGroupRule,
		aliases: []string{"security-groups-normalized-cidr", "security-groups-remote-address-group", "security-groups-rules-belongs-to-default-sg"},
	}
}

// ruleTemplates is the table of /v2.0/default-security-group-rules.
func ruleTemplates() *table[model.RuleTemplate, change[model.RuleTemplate]] {
	attributes := []attribute[model.RuleTemplate, change[model.RuleTemplate]]{
		idOf(func(t *model.RuleTemplate) *string { return &t.ID }),
		// Taken for the sake of clients that always give it: templates belong to nobody.
		{name: "tenant_id", use: post, kind: "project", take: takeProject(func(ch *change[model.RuleTemplate]) *model.ProjectID { return &ch.Project })},
		{name: "project_id", use: post, kind: "project", take: takeProject(func(ch *change[model.RuleTemplate]) *model.ProjectID { return &ch.Project })},
		textAt("description", post|filter, maxDescription, func(t *model.RuleTemplate) *string { return &t.Description }),
	}
	attributes = append(attributes, matchAttributes(func(t *model.RuleTemplate) *model.RuleMatch { return &t.RuleMatch })...)
	attributes = append(attributes,
		flagAt("used_in_default_sg", post|filter, false, func(t *model.RuleTemplate) *bool { return &t.InDefault }),
		flagAt("used_in_non_default_sg", post|filter, true, func(t *model.RuleTemplate) *bool { return &t.InOthers }))
	return simple(table[model.RuleTemplate, change[model.RuleTemplate]]{
		kind: model.KindRuleTemplate, singular: "default_security_group_rule", plural: "default_security_group_rules",
		path: "default-security-group-rules", attributes: attributes,
	}, nil, nil)
}

func ruleTemplateCollection(c *control.Control) *collection[model.RuleTemplate, change[model.RuleTemplate]] {
	all := func(r store.Reader) iter.Seq[*store.Entry[model.RuleTemplate]] {
		return func(yield func(*store.Entry[model.RuleTemplate]) bool) {
			for _, t := range control.Templates(r) {
				if !yield(&store.Entry[model.RuleTemplate]{Value: &t}) {
					return
				}
			}
		}
	}
	return &collection[model.RuleTemplate, change[model.RuleTemplate]]{
		table: ruleTemplates(),
		id:    func(t *model.RuleTemplate) string { return t.ID },
		find: func(r store.Reader, id string) *store.Entry[model.RuleTemplate] {
			for e := range all(r) {
				if e.Value.ID == id {
					return e
				}
			}
			return nil
		},
		list: func(r store.Reader, _ *query[model.RuleTemplate, change[model.RuleTemplate]]) iter.Seq[*store.Entry[model.RuleTemplate]] {
			return all(r)
		},
		create:  c.CreateTemplates,
		remove:  func(ctx context.Context, id string, _ control.Opt[int]) error { return c.DeleteTemplate(ctx, id) },
		aliases: []string{"security-groups-default-rules"},
	}
}

var (
	protocolValues = "(None, 'any', " + strings.TrimPrefix(strings.TrimSuffix(pyRepr(model.Protocols()), "]"), "[") + ")"
	ethertypes     = []string{"IPv4", "IPv6"}
	directions     = []string{"ingress", "egress"}
)

// toProtocol reads the name of an IP protocol, or its number; "" is any.
func toProtocol(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	if n, err := toInt(v); err == nil && 0 <= n && n <= 255 {
		return fmt.Sprint(n), nil
	}
	s, _ := v.(string)
	switch s = strings.ToLower(s); {
	case s == "any":
		return "", nil
	case slices.Contains(model.Protocols(), s):
		return s, nil
	}
	return "", fault{Status: http.StatusBadRequest, Type: "SecurityGroupRuleInvalidProtocol", Message: fmt.Sprintf(
		"Security group rule protocol %s not supported. Only protocol values %s and integer representations [0 to 255] are supported.",
		pyStr(v), protocolValues)}
}
