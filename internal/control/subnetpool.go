package control

import (
	"context"
	"math"
	"net/netip"
	"slices"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// family is what differs between subnet pools of IPv4 and of IPv6.
type family struct {
	bits int // of an address
	// minLen is the shortest prefix given out when the pool does not say.
	minLen int64
	// unit is the length of the prefixes in which quotas are counted.
	unit int
}

func familyOf(version int64) family {
	if version == 4 {
		return family{bits: 32, minLen: 8, unit: 32}
	}
	return family{bits: 128, minLen: 64, unit: 64}
}

var subnetPools = noun[model.SubnetPool]{
	kind:  store.SubnetPools,
	name:  model.KindSubnetPool,
	id:    func(p *model.SubnetPool) *string { return &p.ID },
	owner: func(p *model.SubnetPool) *model.ProjectID { return &p.Project },
	meta:  func(p *model.SubnetPool) *model.Meta { return &p.Meta },
	quota: "subnetpool",
	judge: judgeSubnetPool,
	remove: func(w *work, p *model.SubnetPool) error {
		if len(w.r.SubnetsOfPool(p.ID)) > 0 {
			return model.Faultf(model.PoolDelete, "Unable to delete subnet pool: Subnet pool has existing allocations.")
		}
		w.unshare(p.ID)
		return nil
	},
}

// CreateSubnetPools makes all subnet pools or none.
func (c *Control) CreateSubnetPools(ctx context.Context, changes []Change[model.SubnetPool]) ([]*store.Entry[model.SubnetPool], error) {
	return createNouns(ctx, c, subnetPools, changes)
}

// UpdateSubnetPool changes a subnet pool. Its prefixes can only become more; see
// RemovePrefixes.
func (c *Control) UpdateSubnetPool(ctx context.Context, id string, ch Change[model.SubnetPool]) (*store.Entry[model.SubnetPool], error) {
	return updateNoun(ctx, c, subnetPools, id, ch)
}

// DeleteSubnetPool removes a subnet pool without subnets.
func (c *Control) DeleteSubnetPool(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, subnetPools, id, ifRevision)
}

// AddPrefixes adds to the prefixes of a subnet pool.
func (c *Control) AddPrefixes(ctx context.Context, id string, more []netip.Prefix) (*store.Entry[model.SubnetPool], error) {
	var ch Change[model.SubnetPool]
	ch.Set("prefixes", func(p *model.SubnetPool) { p.Prefixes = append(slices.Clone(p.Prefixes), more...) })
	return updateNoun(ctx, c, subnetPools, id, ch)
}

// RemovePrefixes takes from the prefixes of a subnet pool what no subnet of it uses. That
// no server gives any of it out meanwhile follows from the pool being written.
func (c *Control) RemovePrefixes(ctx context.Context, id string, less []netip.Prefix) (*store.Entry[model.SubnetPool], error) {
	var ch Change[model.SubnetPool]
	ch.Set("prefixes", func(p *model.SubnetPool) {
		if ipam.Overlap(p.Prefixes, less) {
			p.Prefixes = ipam.Subtract(p.Prefixes, less)
		}
	})
	shrink := subnetPools
	shrink.judge = func(w *work, old, p *model.SubnetPool, _ func(string) bool) error {
		if !slices.Equal(old.Prefixes, p.Prefixes) && ipam.Overlap(w.allocated(p.ID), less) {
			return model.Faultf(model.PoolPrefixUpdate,
				"Illegal update to prefixes: One or more the prefixes to be removed is in use by a subnet..")
		}
		return nil
	}
	return updateNoun(ctx, c, shrink, id, ch)
}

func judgeSubnetPool(w *work, old, p *model.SubnetPool, given func(string) bool) error {
	if err := judgePrefixes(old, p); err != nil {
		return err
	}
	f := familyOf(p.IPVersion)
	if old == nil {
		if !given("min_prefixlen") {
			p.MinLen = f.minLen
		}
		if !given("max_prefixlen") {
			p.MaxLen = int64(f.bits)
		}
		if !given("default_prefixlen") {
			p.DefaultLen = p.MinLen
		}
	}
	if err := judgeBounds(p, f); err != nil {
		return err
	}
	if p.IsDefault && (old == nil || !old.IsDefault) && w.hasDefault(p.IPVersion) {
		return invalid("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
	}
	if old != nil && old.ScopeID != "" {
		scope := store.AddressScopes.Get(w.r, old.ScopeID)
		if scope != nil && scope.Value.Project != CallerOf(w.ctx).ProjectID && !w.c.admin(w.ctx) {
			return model.Faultf(model.PoolUpdate,
				"Illegal subnetpool update : subnetpool %s cannot be updated when associated with shared address scope %s.", p.ID, old.ScopeID)
		}
	}
	if err := w.share(model.KindSubnetPool, p.ID, p.Project, old != nil && old.Shared, p.Shared); err != nil {
		return err
	}
	return w.enterScope(old, p)
}

func judgePrefixes(old, p *model.SubnetPool) error {
	if old != nil && slices.Equal(old.Prefixes, p.Prefixes) {
		return nil // emptied by RemovePrefixes, perhaps
	}
	if len(p.Prefixes) == 0 {
		return model.Faultf(model.PoolEmpty, "Empty subnet pool prefix list.")
	}
	if old == nil {
		p.IPVersion = model.IPVersion(p.Prefixes[0].Addr())
	}
	if slices.ContainsFunc(p.Prefixes, func(q netip.Prefix) bool { return model.IPVersion(q.Addr()) != p.IPVersion }) {
		return model.Faultf(model.PoolFamiliesMixed, "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
	}
	p.Prefixes = ipam.Merge(p.Prefixes)
	if old == nil {
		return nil
	}
	for _, q := range old.Prefixes {
		if !ipam.Covers(p.Prefixes, q) {
			return model.Faultf(model.PoolPrefixUpdate,
				"Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
		}
	}
	return nil
}

func judgeBounds(p *model.SubnetPool, f family) error {
	type bound struct {
		name string
		n    int64
	}
	least, most := bound{"min_prefixlen", p.MinLen}, bound{"max_prefixlen", p.MaxLen}
	usual, widest := bound{"default_prefixlen", p.DefaultLen}, bound{"ip_version_max", int64(f.bits)}
	for _, o := range []struct{ low, high, first, second bound }{
		{least, most, least, most}, {most, widest, most, widest}, {least, usual, usual, least}, {usual, most, usual, most},
	} {
		if o.low.n > o.high.n {
			return model.Faultf(model.PoolBounds, "Illegal prefix bounds: %s=%d, %s=%d.", o.first.name, o.first.n, o.second.name, o.second.n)
		}
	}
	return nil
}

// hasDefault reports whether there is a default pool of a family already.
func (w *work) hasDefault(version int64) bool {
	return w.defaultPool(version) != nil || slices.ContainsFunc(w.batch, func(o any) bool {
		p, is := o.(*model.SubnetPool)
		return is && p.IsDefault && p.IPVersion == version
	})
}

func (w *work) defaultPool(version int64) *store.Entry[model.SubnetPool] {
	for e := range store.SubnetPools.By(w.r, "default", store.DefaultPoolName(version)) {
		return e
	}
	return nil
}

// allocated are the prefixes of the subnets of a pool, those that the request makes included.
func (w *work) allocated(pool string) []netip.Prefix {
	var taken []netip.Prefix
	for _, s := range w.r.SubnetsOfPool(pool) {
		taken = append(taken, s.Value.CIDR)
	}
	for _, o := range w.batch {
		if s, is := o.(*model.Subnet); is && s.PoolID == pool {
			taken = append(taken, s.CIDR)
		}
	}
	return taken
}

// takePrefix takes a prefix from a pool for a subnet of a project: the one asked for, or
// one of the length asked for. The pool is written, so that nobody else takes it too.
func (w *work) takePrefix(e *store.Entry[model.SubnetPool], owner model.ProjectID, cidr netip.Prefix, bits int64) (netip.Prefix, error) {
	p := e.Value
	if cidr.IsValid() {
		bits = int64(cidr.Bits())
	}
	switch {
	case bits > p.MaxLen:
		return cidr, model.Faultf(model.PoolPrefixTooLong,
			"Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", bits, p.MaxLen)
	case bits < p.MinLen:
		return cidr, model.Faultf(model.PoolPrefixTooShort,
			"Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", bits, p.MinLen)
	}
	if err := w.poolQuota(p, owner, int(bits)); err != nil {
		return cidr, err
	}
	free := ipam.Subtract(p.Prefixes, w.allocated(p.ID))
	if !cidr.IsValid() {
		var ok bool
		if cidr, ok = ipam.ChoosePrefix(free, int(bits)); !ok {
			return cidr, model.Faultf(model.PoolExhausted, "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /%d.", bits)
		}
	} else if !ipam.Covers(free, cidr) {
		return cidr, model.Faultf(model.PoolExhausted, "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
	}
	if w.once(model.KindSubnetPool, p.ID) {
		store.SubnetPools.Update(w.txn, e, p)
	}
	return cidr, nil
}

// poolQuota refuses a project more of a pool than its default_quota.
func (w *work) poolQuota(p *model.SubnetPool, owner model.ProjectID, bits int) error {
	if p.Quota == nil || *p.Quota == 0 {
		return nil
	}
	unit := familyOf(p.IPVersion).unit
	used := math.Exp2(float64(unit - bits))
	count := func(s *model.Subnet) {
		if s.PoolID == p.ID && s.Project == owner {
			used += math.Exp2(float64(unit - s.CIDR.Bits()))
		}
	}
	for _, s := range w.r.SubnetsOfPool(p.ID) {
		count(s.Value)
	}
	for _, o := range w.batch {
		if s, is := o.(*model.Subnet); is {
			count(s)
		}
	}
	if used > float64(*p.Quota) {
		return model.Faultf(model.PoolQuota, "Per-project subnet pool prefix quota exceeded.")
	}
	return nil
}

// OnboardSubnets brings the subnets of a network into a pool of their address family: the
// pool gets their prefixes. Only the network's owner and administrators may.
func (c *Control) OnboardSubnets(ctx context.Context, id string, network model.NetworkID) ([]*model.Subnet, error) {
	var moved []*model.Subnet
	err := c.attempt(ctx, func(res *store.Reservation) error {
		moved = nil
		txn := c.store.Txn()
		err := c.within(ctx, txn, res, func(w *work) (err error) {
			moved, err = w.onboard(id, network)
			return err
		})
		if err != nil || len(moved) == 0 {
			return err
		}
		_, err = txn.Commit(ctx)
		return err
	})
	return moved, err
}

func (w *work) onboard(id string, network model.NetworkID) ([]*model.Subnet, error) {
	caller := CallerOf(w.ctx)
	n, err := w.c.VisibleNetwork(w.r, caller, network)
	if err != nil {
		return nil, err
	}
	if n.Value.Project != caller.ProjectID && !w.c.admin(w.ctx) {
		return nil, model.Faultf(model.NotAuthorized, "Not authorized.")
	}
	e := store.SubnetPools.Get(w.r, id)
	if e == nil {
		return nil, model.NotFound{Kind: model.KindSubnetPool, ID: id}
	}
	p := *e.Value
	p.Prefixes = slices.Clone(p.Prefixes)
	taken := w.allocated(id)
	var moved []*model.Subnet
	for _, o := range w.r.SubnetsOf(network) {
		if o.Value.Version() != p.IPVersion {
			continue
		}
		s := *o.Value
		if slices.ContainsFunc(taken, s.CIDR.Overlaps) {
			return nil, model.Faultf(model.PoolUpdate, "Illegal subnetpool update : Onboarding subnet %s: %s conflicts with allocated prefixes in subnet pool %s.",
				s.ID, s.CIDR, id)
		}
		s.PoolID = id
		w.c.touch(&s.Meta)
		w.txn.UpdateSubnet(o, &s)
		p.Prefixes = append(p.Prefixes, s.CIDR)
		moved = append(moved, &s)
	}
	if len(moved) == 0 {
		return nil, nil
	}
	if err := judgeSubnetPool(w, e.Value, &p, func(string) bool { return false }); err != nil {
		return nil, err
	}
	w.c.touch(&p.Meta)
	store.SubnetPools.Update(w.txn, e, &p)
	w.txn.UpdateNetwork(n, w.c.touchedNetwork(n))
	return moved, nil
}
