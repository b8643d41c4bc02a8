package control

import (
	"context"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

var addressScopes = noun[model.AddressScope]{
	kind:  store.AddressScopes,
	name:  model.KindAddressScope,
	id:    func(s *model.AddressScope) *string { return &s.ID },
	owner: func(s *model.AddressScope) *model.ProjectID { return &s.Project },
	meta:  func(s *model.AddressScope) *model.Meta { return &s.Meta },
	judge: func(w *work, old, s *model.AddressScope, _ func(string) bool) error {
		was := old != nil && old.Shared
		if was && !s.Shared {
			return model.Faultf(model.ScopeUpdate,
				"Unable to update address scope %s : Shared address scope can't be unshared.", s.ID)
		}
		return w.share(model.KindAddressScope, s.ID, s.Project, was, s.Shared)
	},
	remove: func(w *work, s *model.AddressScope) error {
		if len(w.r.PoolsOfScope(s.ID)) > 0 {
			return model.Faultf(model.ScopeInUse,
				"Unable to complete operation on address scope %s. There are one or more subnet pools in use on the address scope.", s.ID)
		}
		w.unshare(s.ID)
		return nil
	},
}

// CreateAddressScopes makes all address scopes or none.
func (c *Control) CreateAddressScopes(ctx context.Context, changes []Change[model.AddressScope]) ([]*store.Entry[model.AddressScope], error) {
	return createNouns(ctx, c, addressScopes, changes)
}

// UpdateAddressScope changes an address scope. A shared one stays shared.
func (c *Control) UpdateAddressScope(ctx context.Context, id string, ch Change[model.AddressScope]) (*store.Entry[model.AddressScope], error) {
	return updateNoun(ctx, c, addressScopes, id, ch)
}

// DeleteAddressScope removes an address scope without subnet pools.
func (c *Control) DeleteAddressScope(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, addressScopes, id, ifRevision)
}

// sees reports whether the caller may use an object of a project, which may be shared.
func (w *work) sees(id string, owner model.ProjectID, shared bool) bool {
	caller := CallerOf(w.ctx)
	return shared || owner == caller.ProjectID || w.c.everywhere(caller) || SharedWith(w.r, id, caller.ProjectID)
}

// enterScope judges that a pool belongs to an address scope: one that the caller may use,
// of the same family, in which no other pool has these prefixes.
func (w *work) enterScope(old, p *model.SubnetPool) error {
	if p.ScopeID == "" {
		return nil
	}
	e := store.AddressScopes.Get(w.r, p.ScopeID)
	if e == nil || !w.sees(p.ScopeID, e.Value.Project, e.Value.Shared) {
		return model.NotFound{Kind: model.KindAddressScope, ID: p.ScopeID}
	}
	if e.Value.IPVersion != p.IPVersion {
		return model.Faultf(model.ScopeFamily, "Illegal subnetpool association: subnetpool %s cannot associate with address scope %s because subnetpool ip_version is not %d.",
			p.ID, p.ScopeID, e.Value.IPVersion)
	}
	if old != nil && old.ScopeID != p.ScopeID && w.sharesNetworks(p) {
		return errScopeAffinity
	}
	for _, o := range w.r.PoolsOfScope(p.ScopeID) {
		if o.Value.ID != p.ID && overlap(o.Value, p) {
			return errScopeOverlap
		}
	}
	for _, o := range w.batch {
		if o, is := o.(*model.SubnetPool); is && o.ScopeID == p.ScopeID && overlap(o, p) {
			return errScopeOverlap
		}
	}
	if w.once(model.KindAddressScope, p.ScopeID) {
		store.AddressScopes.Update(w.txn, e, e.Value)
	}
	return nil
}

// sharesNetworks reports whether a network with subnets of the pool has others of the
// same family, which would be left in another address scope.
func (w *work) sharesNetworks(p *model.SubnetPool) bool {
	for _, s := range w.r.SubnetsOfPool(p.ID) {
		for _, o := range w.r.SubnetsOf(s.Value.NetworkID) {
			if o.Value.PoolID != p.ID && o.Value.Version() == p.IPVersion {
				return true
			}
		}
	}
	return false
}

func overlap(a, b *model.SubnetPool) bool { return ipam.Overlap(a.Prefixes, b.Prefixes) }

var (
	errScopeOverlap = model.Faultf(model.ScopeOverlap,
		"Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
	errScopeAffinity = model.Faultf(model.ScopeAffinity,
		"Subnets of the same address family hosted on the same network must all participate in the same address scope.")
	errPoolAffinity = model.Faultf(model.PoolAffinity,
		"Subnets hosted on the same network must be allocated from the same subnet pool.")
)
