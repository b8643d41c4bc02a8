package access

import (
	"slices"
	"strings"
)

// Who says in words whom a rule allows, for documentation: "admin, owner (member)".
func (p *Policy) Who(rule string) string {
	return strings.Join(p.rule(rule).who(), ", ")
}

// who returns the alternatives in words, sorted.
func (n *node) who() []string {
	n = n.named()
	var all []string
	switch n.op {
	case opAlways:
		return []string{"everyone"}
	case opNever:
		return []string{"nobody"}
	case opOr:
		for _, k := range n.kids {
			all = append(all, k.who()...)
		}
	case opAnd:
		all = []string{n.both()}
	case opNot:
		all = []string{"everyone unless " + n.kids[0].condition()}
	case opRole:
		all = []string{n.value + n.attr}
	case opCred:
		all = []string{n.owner()}
	case opEqual, opMatch:
		all = []string{"everyone if " + n.condition()}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if slices.Contains(all, "everyone") {
		return []string{"everyone"}
	}
	return all
}

// named follows references to rules.
func (n *node) named() *node {
	for n.op == opRule {
		n = n.to
	}
	return n
}

// owner names the caller that an attribute of the target names.
func (n *node) owner() string {
	of, own := strings.CutSuffix(n.attr, "project_id")
	if n.cred != projectID || !own {
		return n.text
	}
	switch of = strings.TrimSuffix(of, ":"); of {
	case "":
		return "owner"
	case "ext_parent":
		return "parent owner"
	}
	return strings.ReplaceAll(of, "_", " ") + " owner"
}

// both puts a conjunction in words: an owner with the role in parentheses, and conditions.
func (n *node) both() string {
	var who, roles, only []string
	for _, k := range n.kids {
		switch k = k.named(); k.op {
		case opRole:
			roles = append(roles, k.who()...)
		case opCred:
			who = append(who, k.who()...)
		case opNot:
			only = append(only, "unless "+k.kids[0].condition())
		default:
			only = append(only, "if "+k.condition())
		}
	}
	text := strings.Join(who, " and ")
	switch {
	case text == "" && len(roles) == 0:
		text = "everyone"
	case text == "":
		text = strings.Join(roles, " and ")
	case len(roles) > 0:
		text += " (" + strings.Join(roles, " and ") + ")"
	}
	only = slices.Compact(only)
	return strings.Join(append([]string{text}, only...), " ")
}

// condition puts in words what the target must be like.
func (n *node) condition() string {
	n = n.named()
	switch {
	case n.op == opMatch:
		return n.attr + " matches " + strings.TrimSuffix(strings.TrimPrefix(n.re.String(), "^(?:"), ")")
	case n.op == opEqual && n.lit == "True":
		return strings.TrimPrefix(n.attr, "router:")
	case n.op == opEqual:
		return n.attr + " is " + n.lit
	}
	return n.String()
}
