package store

import "weft/internal/model"

// QoSPolicies are found by the rules in them, too. A project has one default.
var QoSPolicies = define(definition[model.QoSPolicy]{
	kind: model.KindQoS,
	id:   func(p *model.QoSPolicy) string { return p.ID },
	indexes: map[string]func(*model.QoSPolicy) []string{
		"name":    func(p *model.QoSPolicy) []string { return []string{p.Name} },
		"project": func(p *model.QoSPolicy) []string { return []string{string(p.Project)} },
		"default": defaultQoSOf,
		"rule": func(p *model.QoSPolicy) []string {
			ids := make([]string, len(p.Rules))
			for i, r := range p.Rules {
				ids[i] = r.ID
			}
			return ids
		},
	},
	unique: func(p *model.QoSPolicy) []string {
		var names []string
		for _, project := range defaultQoSOf(p) {
			names = append(names, "default/"+project)
		}
		return names
	},
})

// defaultQoSOf returns the project whose default policy it is.
func defaultQoSOf(p *model.QoSPolicy) []string {
	if p.IsDefault {
		return []string{string(p.Project)}
	}
	return nil
}

// underQoS are the references of what is under a policy; "" is none.
func underQoS(policy string) []Ref {
	if policy == "" {
		return nil
	}
	return []Ref{{model.KindQoS, policy}}
}
