package store

import "weft/internal/model"

// kinds are the kinds of object that are kept by definition alone. Networks, subnets,
// ports and hosts have indexes of their own in the mirror. Parents come before children.
func kinds() []anyKind {
	return []anyKind{
		Quotas,
		DHCPSettings,
		AddressGroups,
		SecurityGroups,
		SecurityGroupRules,
		RuleTemplates,
		RBACPolicies, AutoTopologies,
		Trunks,
		AddressScopes, SubnetPools,
		QoSPolicies,
		Routers, FloatingIPs, PortForwardings,
		JoinTokens, HostIdentities,
		Servers, ServerPresences,
		Refusals,
		Domains, Projects, Users, Roles, Assignments, AppCreds, TokenKeys, Revocations,
	}
}

// Quotas are by project.
var Quotas = define(definition[model.Quota]{
	kind: model.KindQuota,
	id:   func(q *model.Quota) string { return string(q.Project) },
})

// DHCPSettings holds one object, of the ID TheDHCPSetting.
var DHCPSettings = define(definition[model.DHCPSetting]{
	kind: model.KindDHCPSetting,
	id:   func(*model.DHCPSetting) string { return TheDHCPSetting },
})

// TheDHCPSetting is the ID of how DHCP is served in the whole cloud.
const TheDHCPSetting = "cloud"

// RBACPolicies are found by the object they are about, by those who have made them, and
// by kind of object and whom they are for.
var RBACPolicies = define(definition[model.RBACPolicy]{
	kind: model.KindRBAC,
	id:   func(p *model.RBACPolicy) string { return p.ID },
	indexes: map[string]func(*model.RBACPolicy) []string{
		"object":  func(p *model.RBACPolicy) []string { return []string{p.ObjectID} },
		"project": func(p *model.RBACPolicy) []string { return []string{string(p.Project)} },
		"target":  func(p *model.RBACPolicy) []string { return []string{p.ObjectType + "/" + string(p.Target)} },
	},
	unique: func(p *model.RBACPolicy) []string {
		return []string{p.ObjectID + "/" + p.Action + "/" + string(p.Target)}
	},
	refs: func(p *model.RBACPolicy) []Ref { return []Ref{{model.Kind(p.ObjectType), p.ObjectID}} },
})

// AutoTopologies are by project. Their parts may go without them.
var AutoTopologies = define(definition[model.AutoTopology]{
	kind: "auto_allocated_topology",
	id:   func(t *model.AutoTopology) string { return string(t.Project) },
})

// Refusals are by their places, of which there is a limited number.
var Refusals = define(definition[model.Refusal]{
	kind: model.KindRefusal,
	id:   func(f *model.Refusal) string { return f.Place },
})

// kindOf finds a kind by its directory.
var kindOf = func() map[string]anyKind {
	m := map[string]anyKind{}
	for _, k := range kinds() {
		m[k.dir()] = k
	}
	return m
}()

// networkRefs are the objects that must exist as long as a network does.
func networkRefs(n *model.Network) []Ref { return underQoS(n.QoSPolicy) }

// subnetRefs are the objects that must exist as long as a subnet does, besides its network.
func subnetRefs(s *model.Subnet) (refs []Ref) {
	if s.PoolID != "" {
		refs = append(refs, Ref{model.KindSubnetPool, s.PoolID})
	}
	return refs
}

// portRefs are the objects that must exist as long as a port does, besides its network and subnets.
func portRefs(p *model.Port) []Ref {
	refs := underQoS(p.QoSPolicy)
	for _, id := range p.SecurityGroups {
		refs = append(refs, Ref{model.KindSecurityGroup, id})
	}
	return refs
}
