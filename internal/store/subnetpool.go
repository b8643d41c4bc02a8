package store

import (
	"fmt"

	"weft/internal/model"
)

// AddressScopes are the address scopes. Pools that join one, or change their prefixes in
// it, also write it: so no two servers bring the same prefix into it.
var AddressScopes = define(definition[model.AddressScope]{
	kind: model.KindAddressScope,
	id:   func(s *model.AddressScope) string { return s.ID },
	indexes: map[string]func(*model.AddressScope) []string{
		"project": func(s *model.AddressScope) []string { return []string{string(s.Project)} },
	},
})

// SubnetPools are the subnet pools. Subnets that take a prefix from one also write it:
// so no two servers give out the same prefix.
var SubnetPools = define(definition[model.SubnetPool]{
	kind: model.KindSubnetPool,
	id:   func(p *model.SubnetPool) string { return p.ID },
	indexes: map[string]func(*model.SubnetPool) []string{
		"project": func(p *model.SubnetPool) []string { return []string{string(p.Project)} },
		"default": func(p *model.SubnetPool) []string { return defaultPool(p) },
	},
	unique: defaultPool,
	refs: func(p *model.SubnetPool) []Ref {
		if p.ScopeID == "" {
			return nil
		}
		return []Ref{{model.KindAddressScope, p.ScopeID}}
	},
	changed: func(m *mirror, old, p *model.SubnetPool) {
		if old == nil || old.ScopeID == p.ScopeID {
			return
		}
		// Networks show the address scopes of their subnets' pools.
		for ref := range m.referrers[Ref{model.KindSubnetPool, p.ID}] {
			if s := m.subnets[model.SubnetID(ref.ID)]; s != nil && ref.Kind == model.KindSubnet {
				m.networks[s.Value.NetworkID].forget()
			}
		}
	},
})

// defaultPool is the name of the default pool of an address family, which is one.
func defaultPool(p *model.SubnetPool) []string {
	if !p.IsDefault {
		return nil
	}
	return []string{DefaultPoolName(p.IPVersion)}
}

// SubnetsOfPool returns the subnets that have their prefixes from a pool.
func (r Reader) SubnetsOfPool(id string) (subnets []*Entry[model.Subnet]) {
	for ref := range r.Referrers(model.KindSubnetPool, id) {
		if ref.Kind == model.KindSubnet {
			subnets = append(subnets, r.Subnet(model.SubnetID(ref.ID)))
		}
	}
	return subnets
}

// PoolsOfScope returns the subnet pools of an address scope.
func (r Reader) PoolsOfScope(id string) (pools []*Entry[model.SubnetPool]) {
	for ref := range r.Referrers(model.KindAddressScope, id) {
		if ref.Kind == model.KindSubnetPool {
			pools = append(pools, SubnetPools.Get(r, ref.ID))
		}
	}
	return pools
}

// DefaultPoolName is the value of the index "default" for an address family.
func DefaultPoolName(version int64) string { return fmt.Sprintf("default-%d", version) }
