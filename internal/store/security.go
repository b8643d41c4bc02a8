package store

import (
	"fmt"
	"iter"
	"slices"

	"weft/internal/model"
)

// SecurityGroups are by project and name; the index "default" has a project's default group.
var SecurityGroups = define(definition[model.SecurityGroup]{
	kind: model.KindSecurityGroup,
	id:   func(g *model.SecurityGroup) string { return g.ID },
	indexes: map[string]func(*model.SecurityGroup) []string{
		"project": func(g *model.SecurityGroup) []string { return []string{string(g.Project)} },
		"name":    func(g *model.SecurityGroup) []string { return []string{g.Name} },
		"default": defaultOf,
	},
	unique: func(g *model.SecurityGroup) []string {
		var names []string
		for _, p := range defaultOf(g) {
			names = append(names, "default/"+p)
		}
		return names
	},
	tells: func(g *model.SecurityGroup) Change { return Change{Kind: model.KindSecurityGroup, ID: g.ID} },
})

// defaultOf is the project that a group is the default group of.
func defaultOf(g *model.SecurityGroup) []string {
	if !g.Default {
		return nil
	}
	return []string{string(g.Project)}
}

// SecurityGroupRules are by group and project. A group has each rule once: what it
// matches is a unique name, as far as RuleName tells rules apart.
var SecurityGroupRules = define(definition[model.SecurityGroupRule]{
	kind: model.KindSecurityGroupRule,
	id:   func(r *model.SecurityGroupRule) string { return r.ID },
	indexes: map[string]func(*model.SecurityGroupRule) []string{
		"group":   func(r *model.SecurityGroupRule) []string { return []string{r.Group} },
		"project": func(r *model.SecurityGroupRule) []string { return []string{string(r.Project)} },
	},
	unique: func(r *model.SecurityGroupRule) []string { return []string{r.Group + "/" + RuleName(&r.RuleMatch)} },
	refs: func(r *model.SecurityGroupRule) []Ref {
		return append([]Ref{{model.KindSecurityGroup, r.Group}}, remoteRefs(&r.RuleMatch)...)
	},
	tells: func(r *model.SecurityGroupRule) Change { return Change{Kind: model.KindSecurityGroup, ID: r.Group} },
})

// remoteRefs are the groups that a rule names as the other side.
func remoteRefs(m *model.RuleMatch) []Ref {
	var refs []Ref
	if m.RemoteGroup != "" && m.RemoteGroup != model.ParentGroup {
		refs = append(refs, Ref{model.KindSecurityGroup, m.RemoteGroup})
	}
	if m.RemoteAddressGroup != "" {
		refs = append(refs, Ref{model.KindAddressGroup, m.RemoteAddressGroup})
	}
	return refs
}

// RuleName is equal for rules that let the same packets pass: a protocol has one name,
// and a prefix of length 0 is none.
func RuleName(m *model.RuleMatch) string {
	port := func(p *int64) string {
		if p == nil {
			return "*"
		}
		return fmt.Sprint(*p)
	}
	prefix := "*"
	if m.RemotePrefix.IsValid() && m.RemotePrefix.String() != "0.0.0.0/0" && m.RemotePrefix.String() != "::/0" {
		prefix = m.RemotePrefix.String()
	}
	return fmt.Sprintf("%s %s %s %s-%s %s %s %s", m.Direction, m.Ethertype, model.ProtocolNumber(m.Protocol, m.Ethertype),
		port(m.PortMin), port(m.PortMax), prefix, m.RemoteGroup, m.RemoteAddressGroup)
}

// RuleTemplates is at most one object.
var RuleTemplates = define(definition[model.RuleTemplates]{
	kind: model.KindRuleTemplate,
	id:   func(*model.RuleTemplates) string { return RuleTemplatesID },
	refs: func(t *model.RuleTemplates) []Ref {
		var refs []Ref
		for i := range t.Rules {
			refs = append(refs, remoteRefs(&t.Rules[i].RuleMatch)...)
		}
		return without(refs, nil)
	},
})

// RuleTemplatesID is the ID of the only object of RuleTemplates.
const RuleTemplatesID = "all"

// AddressGroups are by project and name.
var AddressGroups = define(definition[model.AddressGroup]{
	kind: model.KindAddressGroup,
	id:   func(g *model.AddressGroup) string { return g.ID },
	indexes: map[string]func(*model.AddressGroup) []string{
		"project": func(g *model.AddressGroup) []string { return []string{string(g.Project)} },
		"name":    func(g *model.AddressGroup) []string { return []string{g.Name} },
	},
	tells: func(g *model.AddressGroup) Change { return Change{Kind: model.KindAddressGroup, ID: g.ID} },
})

// membership returns the security groups of which a port is another member than before;
// either may be nil. Its status, say, is nothing to the groups.
func membership(before, after *model.Port) []string {
	switch {
	case before == nil && after == nil:
		return nil
	case before == nil:
		return after.SecurityGroups
	case after == nil:
		return before.SecurityGroups
	case before.MAC == after.MAC && slices.Equal(before.FixedIPs, after.FixedIPs) && slices.Equal(before.AddressPairs, after.AddressPairs):
		if slices.Equal(before.SecurityGroups, after.SecurityGroups) {
			return nil
		}
		return append(without(before.SecurityGroups, after.SecurityGroups), without(after.SecurityGroups, before.SecurityGroups)...)
	}
	return union(before.SecurityGroups, after.SecurityGroups)
}

// PortsInGroup yields the ports that are in a security group.
func (r Reader) PortsInGroup(id string) iter.Seq[*Entry[model.Port]] {
	return func(yield func(*Entry[model.Port]) bool) {
		for ref := range r.Referrers(model.KindSecurityGroup, id) {
			if ref.Kind != model.KindPort {
				continue
			}
			if e := r.Port(model.PortID(ref.ID)); e != nil && !yield(e) {
				return
			}
		}
	}
}
