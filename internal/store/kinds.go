package store

import "weft/internal/model"

// kinds are the kinds of object that are kept by definition alone. Networks, subnets,
// ports and hosts have indexes of their own in the mirror. Parents come before children.
func kinds() []anyKind {
	return []anyKind{
		Quotas,
		Domains, Projects, Users, Roles, Assignments, AppCreds, TokenKeys, Revocations,
	}
}

// Quotas are by project.
var Quotas = define(definition[model.Quota]{
	kind: model.KindQuota,
	id:   func(q *model.Quota) string { return string(q.Project) },
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
func networkRefs(*model.Network) []Ref { return nil }

// subnetRefs are the objects that must exist as long as a subnet does, besides its network.
func subnetRefs(*model.Subnet) []Ref { return nil }

// portRefs are the objects that must exist as long as a port does, besides its network and subnets.
func portRefs(p *model.Port) []Ref { return nil }
