package control

import (
	"context"
	"errors"

	"weft/internal/model"
	"weft/internal/store"
)

// AutoTopology returns the network that a project gets without asking for its parts: one
// with a subnet of each default subnet pool, behind a router to the default external
// network. It is made when there is none.
func (c *Control) AutoTopology(ctx context.Context, p model.ProjectID) (model.NetworkID, error) {
	var there model.NetworkID
	var b topology
	var err error
	c.Read(func(r store.Reader) {
		if there = autoNetwork(r, p); there == "" {
			b, err = c.plannedTopology(r)
		}
	})
	if err != nil || there != "" {
		return there, err
	}
	b.AutoTopology.Project = p
	if err = b.build(ctx, c); err == nil {
		err = c.saveTopology(ctx, b.AutoTopology)
	}
	if err == nil {
		_, err = c.UpdateNetwork(ctx, b.NetworkID, NetworkRequest{AdminStateUp: Some(true)})
	}
	if err == nil {
		return b.NetworkID, nil
	}
	b.clear(context.WithoutCancel(ctx), c)
	var lost store.Conflict
	if errors.As(err, &lost) { // another request was faster
		c.Read(func(r store.Reader) { there = autoNetwork(r, p) })
		return there, nil
	}
	return "", err
}

// CheckAutoTopology says what keeps projects from getting a topology without asking.
func (c *Control) CheckAutoTopology(context.Context) (err error) {
	c.Read(func(r store.Reader) {
		var b topology
		if b, err = c.plannedTopology(r); err == nil && len(b.pools) == 0 {
			err = allocationFailure("No default subnetpools defined", nil)
		}
	})
	return err
}

// DeleteAutoTopology removes what a project got without asking, as far as it is there.
func (c *Control) DeleteAutoTopology(ctx context.Context, p model.ProjectID) error {
	var b topology
	c.Read(func(r store.Reader) {
		if e := store.AutoTopologies.Get(r, string(p)); e != nil {
			b.AutoTopology = *e.Value
			b.subnets = r.SubnetsOf(e.Value.NetworkID)
		}
	})
	if b.NetworkID == "" {
		return nil
	}
	if err := b.clear(ctx, c); err != nil {
		return err
	}
	return c.transact(ctx, func(w *work) error {
		e := store.AutoTopologies.Get(w.r, string(p))
		if e == nil || e.Value.NetworkID != b.NetworkID {
			return errUnchanged
		}
		store.AutoTopologies.Delete(w.txn, e, w.r.Revision())
		return nil
	})
}

// autoNetwork returns the network that a project has got without asking; "" is none.
func autoNetwork(r store.Reader, p model.ProjectID) model.NetworkID {
	if e := store.AutoTopologies.Get(r, string(p)); e != nil && r.Network(e.Value.NetworkID) != nil {
		return e.Value.NetworkID
	}
	return ""
}

// topology is one that is made or removed.
type topology struct {
	model.AutoTopology
	external model.NetworkID
	pools    []*model.SubnetPool
	subnets  []*store.Entry[model.Subnet]
}

// plannedTopology finds what a topology is made from.
func (c *Control) plannedTopology(r store.Reader) (b topology, err error) {
	for e := range r.Networks() {
		if e.Value.IsDefault {
			b.external = e.Value.ID
		}
	}
	if b.external == "" {
		return b, allocationFailure("No default router:external network", nil)
	}
	for _, version := range []int64{4, 6} {
		for e := range store.SubnetPools.All(r) {
			if e.Value.IsDefault && e.Value.IPVersion == version {
				b.pools = append(b.pools, e.Value)
			}
		}
	}
	return b, nil
}

// build makes the parts one after the other, by the verbs by which a client would.
func (b *topology) build(ctx context.Context, c *Control) error {
	n, err := c.CreateNetwork(ctx, NetworkRequest{Project: b.Project, Name: Some("auto_allocated_network"), AdminStateUp: Some(false)})
	if err != nil {
		return err
	}
	b.NetworkID = n.Value.ID
	for _, p := range b.pools {
		name := map[int64]string{4: "auto_allocated_subnet_v4", 6: "auto_allocated_subnet_v6"}[p.IPVersion]
		s, err := c.CreateSubnet(ctx, SubnetRequest{Project: b.Project, NetworkID: b.NetworkID, Name: Some(name), IPVersion: p.IPVersion, PoolID: p.ID})
		if err != nil {
			return allocationFailure("Unable to provide project private network", err)
		}
		b.subnets = append(b.subnets, s)
	}
	if len(b.subnets) == 0 {
		return allocationFailure("Unable to provide project private network", nil)
	}
	routers, err := c.CreateRouters(ctx, []RouterRequest{{Project: b.Project, Name: Some("auto_allocated_router"),
		Gateway: Some(&GatewayRequest{NetworkID: b.external})}})
	if err != nil {
		return allocationFailure("Unable to provide external connectivity", err)
	}
	b.RouterID = routers[0].Value.ID
	for _, s := range b.subnets {
		if _, err := c.AddInterface(ctx, b.RouterID, InterfaceRequest{SubnetID: s.Value.ID}); err != nil {
			return allocationFailure("Unable to provide external connectivity", err)
		}
	}
	return nil
}

// clear removes the parts that are there.
func (b *topology) clear(ctx context.Context, c *Control) error {
	var missing model.NotFound
	gone := func(err error) error {
		if errors.As(err, &missing) {
			return nil
		}
		return err
	}
	if b.RouterID != "" {
		for _, s := range b.subnets {
			_, err := c.RemoveInterface(ctx, b.RouterID, InterfaceRequest{SubnetID: s.Value.ID})
			if err := gone(err); err != nil {
				return err
			}
		}
		if err := gone(c.DeleteRouter(ctx, b.RouterID, Opt[int]{})); err != nil {
			return err
		}
	}
	if b.NetworkID == "" {
		return nil
	}
	return gone(c.DeleteNetwork(ctx, b.NetworkID, Opt[int]{}))
}

// saveTopology records what a project has got. A store.Conflict says that it has got
// another one meanwhile.
func (c *Control) saveTopology(ctx context.Context, t model.AutoTopology) error {
	var there bool
	err := c.transact(ctx, func(w *work) error {
		old := store.AutoTopologies.Get(w.r, string(t.Project))
		switch {
		case old == nil:
			store.AutoTopologies.Create(w.txn, &t)
		case w.r.Network(old.Value.NetworkID) != nil:
			there = true
			return errUnchanged
		default:
			store.AutoTopologies.Update(w.txn, old, &t)
		}
		return nil
	})
	if err == nil && there {
		return store.Conflict{}
	}
	return err
}

// allocationFailure is the fault of a topology that cannot be had, unless the project
// itself is to blame.
func allocationFailure(reason string, cause error) error {
	f := model.Faultf(model.AutoAllocationFailure, "Deployment error: %s.", reason)
	var own model.Fault
	switch {
	case cause == nil:
	case errors.As(cause, &own) && (own.Kind == model.OverQuota || own.Kind == model.Unavailable):
		return cause
	default:
		f.Detail = cause.Error()
	}
	return f
}
