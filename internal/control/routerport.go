package control

import (
	"context"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// InterfaceRequest names an interface of a router by subnet, by port, or both.
type InterfaceRequest struct {
	SubnetID model.SubnetID
	PortID   model.PortID
}

// InterfaceAnswer says what was added or removed.
type InterfaceAnswer struct {
	Project   model.ProjectID
	PortID    model.PortID
	NetworkID model.NetworkID
	Subnets   []model.SubnetID
}

func answerFor(p *model.Port, subnets ...model.SubnetID) InterfaceAnswer {
	return InterfaceAnswer{Project: p.Project, PortID: p.ID, NetworkID: p.NetworkID, Subnets: subnets}
}

// AddInterface puts a router on a subnet, or makes a port its interface.
func (c *Control) AddInterface(ctx context.Context, id model.RouterID, req InterfaceRequest) (made InterfaceAnswer, err error) {
	switch {
	case req.SubnetID == "" && req.PortID == "":
		return made, badRequest("router", "Either subnet_id or port_id must be specified")
	case req.SubnetID != "" && req.PortID != "":
		return made, badRequest("router", "Cannot specify both subnet-id and port-id")
	}
	err = c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var add func() (InterfaceAnswer, error)
		var answer InterfaceAnswer
		err := c.within(ctx, txn, res, func(w *work) (err error) {
			old := store.Routers.Get(w.r, string(id))
			if old == nil {
				return model.NotFound{Kind: model.KindRouter, ID: string(id)}
			}
			if req.PortID != "" {
				answer, err = w.addPort(old, req.PortID)
				return err
			}
			add, err = w.addSubnet(old, req.SubnetID)
			return err
		})
		if err == nil && add != nil {
			answer, err = add()
		}
		if err != nil {
			return err
		}
		if _, err = txn.Commit(ctx); err == nil {
			made = answer
		}
		return err
	})
	return made, err
}

// join writes a router with one more interface.
func (c *Control) join(txn *store.Txn, old *store.Entry[model.Router], p *model.Port) {
	m := *old.Value
	m.Interfaces = append(slices.Clone(m.Interfaces), model.RouterInterface{PortID: p.ID, NetworkID: p.NetworkID})
	c.touch(&m.Meta)
	store.Routers.Update(txn, old, &m)
}

// addSubnet judges putting a router on a subnet, by the subnet's gateway address. What it
// returns does it, outside the View.
func (w *work) addSubnet(old *store.Entry[model.Router], id model.SubnetID) (func() (InterfaceAnswer, error), error) {
	m := old.Value
	e := w.r.Subnet(id)
	if e == nil {
		return nil, model.NotFound{Kind: model.KindSubnet, ID: string(id)}
	}
	s := e.Value
	at := place{network: w.r.Network(s.NetworkID), subnets: w.r.SubnetsOf(s.NetworkID)}
	if err := w.mayJoin(s, at.network); err != nil {
		return nil, err
	}
	if !s.Gateway.IsValid() {
		return nil, badRequest("router", "Subnet for router interface must have a gateway IP")
	}
	if err := w.checkInterface(m, []*store.Entry[model.Subnet]{e}); err != nil {
		return nil, err
	}
	wish := FixedIPRequest{SubnetID: s.ID, Addr: s.Gateway}
	if port := w.ipv6PortOf(m, s.NetworkID); port != nil && s.CIDR.Addr().Is6() {
		return func() (InterfaceAnswer, error) { return w.addPrefix(old, port, at, wish) }, nil
	}
	return func() (InterfaceAnswer, error) {
		p, err := w.c.newPort(PortRequest{Project: m.Project, NetworkID: s.NetworkID, FixedIPs: Some([]FixedIPRequest{wish}),
			DeviceID: Some(string(m.ID)), DeviceOwner: Some(model.OwnerRouterInterface)}, at, w.res, 1)
		if err != nil {
			return InterfaceAnswer{}, err
		}
		at.keep(w.txn)
		w.txn.CreatePort(p)
		w.c.join(w.txn, old, p)
		return answerFor(p, s.ID), nil
	}, nil
}

// mayJoin judges whether the caller may put a router on a subnet. One that it cannot see
// does not exist; on a network that is shared with all it would be the gateway of all.
func (w *work) mayJoin(s *model.Subnet, network *store.Entry[model.Network]) error {
	caller := CallerOf(w.ctx).ProjectID
	if network == nil {
		return model.NotFound{Kind: model.KindSubnet, ID: string(s.ID)}
	}
	n := network.Value
	inParticular := slices.ContainsFunc(policiesOf(w.r, string(n.ID), model.AccessAsShared),
		func(e *store.Entry[model.RBACPolicy]) bool { return e.Value.Target == caller })
	switch {
	case s.Project == caller || w.c.admin(w.ctx) || inParticular:
		return nil
	case n.Shared || n.Project == caller:
		return badRequest("router", "Cannot add interface to router because subnet %s is not owned by project making the request", s.ID)
	}
	return model.NotFound{Kind: model.KindSubnet, ID: string(s.ID)}
}

// ipv6PortOf returns the interface of a router on a network that has IPv6 addresses: all
// IPv6 subnets of a network share one.
func (w *work) ipv6PortOf(m *model.Router, id model.NetworkID) *store.Entry[model.Port] {
	for _, f := range m.Interfaces {
		if p := w.r.Port(f.PortID); p != nil && f.NetworkID == id && hasIPv6(p.Value) {
			return p
		}
	}
	return nil
}

func hasIPv6(p *model.Port) bool {
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.Is6() })
}

// addPrefix gives an interface one more address.
func (w *work) addPrefix(old *store.Entry[model.Router], port *store.Entry[model.Port], at place, wish FixedIPRequest) (InterfaceAnswer, error) {
	wishes := []FixedIPRequest{wish}
	for _, f := range port.Value.FixedIPs {
		wishes = append(wishes, FixedIPRequest{SubnetID: f.SubnetID, Addr: f.Addr})
	}
	p, err := w.c.changedPort(port.Value, PortRequest{FixedIPs: Some(wishes)}, at, w.res)
	if err != nil {
		return InterfaceAnswer{}, err
	}
	at.keep(w.txn)
	w.c.touch(&p.Meta)
	w.txn.UpdatePort(port, p)
	w.touchRouter(old)
	return answerFor(p, wish.SubnetID), nil
}

// touchRouter records a change that shows elsewhere, and keeps others away from the router.
func (w *work) touchRouter(old *store.Entry[model.Router]) {
	m := *old.Value
	w.c.touch(&m.Meta)
	store.Routers.Update(w.txn, old, &m)
}

// addPort makes a port that nobody uses an interface of a router.
func (w *work) addPort(old *store.Entry[model.Router], id model.PortID) (none InterfaceAnswer, err error) {
	m := old.Value
	e := w.r.Port(id)
	if e == nil || !w.seesPort(e.Value) {
		return none, model.NotFound{Kind: model.KindPort, ID: string(id)}
	}
	p := *e.Value
	switch {
	case p.DeviceID != "":
		return none, model.Faultf(model.PortInUse,
			"Unable to complete operation on port %s for network %s. Port already has an attached device %s.", id, p.NetworkID, p.DeviceID)
	case len(p.FixedIPs) == 0:
		return none, badRequest("router", "Router port must have at least one fixed IP")
	}
	if err := inTrunk(w.r, id); err != nil {
		return none, err
	}
	if other := w.ipv6PortOf(m, p.NetworkID); other != nil && hasIPv6(&p) {
		return none, badRequest("router", "Router already contains IPv6 port %s belonging to network id %s. Only one IPv6 port from the same network subnet can be connected to a router.",
			other.Value.ID, p.NetworkID)
	}
	subnets, err := w.subnetsOfPort(&p)
	if err != nil {
		return none, err
	}
	if err := w.checkInterface(m, subnets); err != nil {
		return none, err
	}
	v4 := slices.DeleteFunc(slices.Clone(subnets), func(s *store.Entry[model.Subnet]) bool { return s.Value.CIDR.Addr().Is6() })
	if len(v4) > 1 {
		return none, badRequest("router", "Cannot have multiple IPv4 subnets on router port")
	}
	if err := w.inPools(&p, subnets); err != nil {
		return none, err
	}
	p.DeviceID, p.DeviceOwner = string(m.ID), model.OwnerRouterInterface
	w.c.touch(&p.Meta)
	w.txn.UpdatePort(e, &p)
	w.c.join(w.txn, old, &p)
	ids := make([]model.SubnetID, len(subnets))
	for i, s := range subnets {
		ids[i] = s.Value.ID
	}
	return answerFor(&p, ids...), nil
}

// inPools refuses a port that holds an address outside the pools of someone else's
// subnet, which could be the gateway's.
func (w *work) inPools(p *model.Port, subnets []*store.Entry[model.Subnet]) error {
	if w.c.admin(w.ctx) {
		return nil
	}
	for i, f := range p.FixedIPs {
		s := subnets[i].Value
		in := slices.ContainsFunc(s.Pools, func(pool model.Pool) bool { return pool.Contains(f.Addr) })
		if !in && s.Project != CallerOf(w.ctx).ProjectID {
			return badRequest("router", "Cannot add interface to router because specified port %s has an IP address out of the allocation pool of subnet %s, which is not owned by the project making the request",
				p.ID, s.ID)
		}
	}
	return nil
}

// subnetsOfPort returns the subnet of each address of a port.
func (w *work) subnetsOfPort(p *model.Port) ([]*store.Entry[model.Subnet], error) {
	out := make([]*store.Entry[model.Subnet], len(p.FixedIPs))
	for i, f := range p.FixedIPs {
		if out[i] = w.r.Subnet(f.SubnetID); out[i] == nil {
			return nil, model.NotFound{Kind: model.KindSubnet, ID: string(f.SubnetID)}
		}
	}
	return out, nil
}

// subnetsInside returns the subnets on which a router has interfaces.
func (w *work) subnetsInside(m *model.Router) ([]*store.Entry[model.Subnet], error) {
	var out []*store.Entry[model.Subnet]
	for _, f := range m.Interfaces {
		if p := w.r.Port(f.PortID); p != nil {
			subnets, err := w.subnetsOfPort(p.Value)
			if err != nil {
				return nil, err
			}
			out = append(out, subnets...)
		}
	}
	return out, nil
}

// checkInterface judges whether a router can be on more subnets. Of a subnet whose guests
// hear of another router it cannot be the router.
func (w *work) checkInterface(m *model.Router, more []*store.Entry[model.Subnet]) error {
	for _, s := range more {
		if s.Value.RAMode == "" && s.Value.AddressMode != "" {
			return badRequest("router", "IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router", s.Value.ID)
		}
	}
	inside, err := w.subnetsInside(m)
	if err != nil {
		return err
	}
	var outside []*store.Entry[model.Subnet]
	if m.Gateway != nil {
		outside = w.r.SubnetsOf(m.Gateway.NetworkID)
		if p := w.r.Port(m.Gateway.PortID); p != nil {
			on, err := w.subnetsOfPort(p.Value)
			if err != nil {
				return err
			}
			inside = append(inside, on...)
		}
	}
	return checkApart(inside, more, outside)
}

// checkApart refuses subnets that a router is on already, and those that overlap with
// where it is or with what lies outside.
func checkApart(on, more, outside []*store.Entry[model.Subnet]) error {
	for _, o := range on {
		for _, s := range more {
			if o.Value.ID == s.Value.ID {
				return badRequest("router", "Router already has a port on subnet %s", o.Value.ID)
			}
		}
	}
	for _, o := range slices.Concat(on, outside) {
		for _, s := range more {
			if o.Value.CIDR.Overlaps(s.Value.CIDR) {
				return badRequest("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s",
					s.Value.CIDR, s.Value.ID, o.Value.CIDR, o.Value.ID)
			}
		}
	}
	return nil
}
