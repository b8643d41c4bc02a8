package control

import (
	"context"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// RemoveInterface takes a router off a subnet, or removes an interface of it.
func (c *Control) RemoveInterface(ctx context.Context, id model.RouterID, req InterfaceRequest) (gone InterfaceAnswer, err error) {
	if req.SubnetID == "" && req.PortID == "" {
		return gone, badRequest("router", "Either subnet_id or port_id must be specified")
	}
	err = c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		err := c.within(ctx, txn, res, func(w *work) (err error) {
			old := store.Routers.Get(w.r, string(id))
			if old == nil {
				return model.NotFound{Kind: model.KindRouter, ID: string(id)}
			}
			gone, err = w.leave(old, req)
			return err
		})
		if err != nil {
			return err
		}
		_, err = txn.Commit(ctx)
		return err
	})
	return gone, err
}

// leave judges and writes the removal of an interface.
func (w *work) leave(old *store.Entry[model.Router], req InterfaceRequest) (gone InterfaceAnswer, err error) {
	m := old.Value
	port, err := w.interfaceOf(m, req)
	if err != nil {
		return gone, err
	}
	subnets, err := w.subnetsOfPort(port.Value)
	if err != nil {
		return gone, err
	}
	some := req.PortID == "" && len(subnets) > 1
	if some {
		subnets = []*store.Entry[model.Subnet]{w.r.Subnet(req.SubnetID)}
	}
	for _, s := range subnets {
		if err := w.interfaceFree(m, s.Value); err != nil {
			return gone, err
		}
	}
	w.keepFloating(m.ID)
	ids := make([]model.SubnetID, len(subnets))
	for i, s := range subnets {
		ids[i] = s.Value.ID
	}
	if some {
		p := *port.Value
		p.FixedIPs = slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return f.SubnetID == req.SubnetID })
		w.c.touch(&p.Meta)
		w.txn.UpdatePort(port, &p)
		w.touchRouter(old)
		return answerFor(&p, ids...), nil
	}
	n := *m
	n.Interfaces = slices.DeleteFunc(slices.Clone(m.Interfaces), func(f model.RouterInterface) bool { return f.PortID == port.Value.ID })
	setList(&n.Interfaces, Opt[[]model.RouterInterface]{})
	w.c.touch(&n.Meta)
	store.Routers.Update(w.txn, old, &n)
	return answerFor(port.Value, ids...), w.removePort(port.Value.ID)
}

// interfaceOf finds the interface that a request names.
func (w *work) interfaceOf(m *model.Router, req InterfaceRequest) (*store.Entry[model.Port], error) {
	onSubnet := func(p *model.Port) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == req.SubnetID })
	}
	if req.PortID != "" {
		p := w.r.Port(req.PortID)
		is := slices.ContainsFunc(m.Interfaces, func(f model.RouterInterface) bool { return f.PortID == req.PortID })
		switch {
		case p == nil || !is:
			return nil, model.Faultf(model.InterfaceNotFound, "Router %s does not have an interface with id %s", m.ID, req.PortID)
		case req.SubnetID != "" && !onSubnet(p.Value):
			return nil, model.Faultf(model.SubnetMismatch, "Subnet on port %s does not match the requested subnet %s.", req.PortID, req.SubnetID)
		}
		return p, nil
	}
	if w.r.Subnet(req.SubnetID) == nil {
		return nil, model.NotFound{Kind: model.KindSubnet, ID: string(req.SubnetID)}
	}
	for _, f := range m.Interfaces {
		if p := w.r.Port(f.PortID); p != nil && onSubnet(p.Value) {
			return p, nil
		}
	}
	return nil, model.Faultf(model.InterfaceNotOnSubnet, "Router %s has no interface on subnet %s", m.ID, req.SubnetID)
}

// interfaceFree refuses while a floating IP or an extra route needs a router on a subnet.
func (w *work) interfaceFree(m *model.Router, s *model.Subnet) error {
	for _, r := range m.Routes {
		if s.CIDR.Contains(r.NextHop) {
			return model.Faultf(model.InterfaceInUseByRoute,
				"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", s.ID, m.ID)
		}
	}
	for e := range store.FloatingIPs.By(w.r, "router", string(m.ID)) {
		needed := w.onSubnet(e.Value.FixedPort, model.FixedIP{SubnetID: s.ID, Addr: e.Value.FixedAddr})
		for f := range store.PortForwardings.By(w.r, "floatingip", string(e.Value.ID)) {
			needed = needed || w.onSubnet(f.Value.PortID, model.FixedIP{SubnetID: s.ID, Addr: f.Value.Addr})
		}
		if needed {
			return model.Faultf(model.InterfaceInUseByFIP,
				"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", s.ID, m.ID)
		}
	}
	return nil
}

// onSubnet reports whether a port holds an address of a subnet.
func (w *work) onSubnet(id model.PortID, ip model.FixedIP) bool {
	p := w.r.Port(id)
	return p != nil && slices.Contains(p.Value.FixedIPs, ip)
}

// keepFloating makes the transaction fail when a floating IP comes to need a router, or
// one that does is moved.
func (w *work) keepFloating(id model.RouterID) {
	w.txn.NoNewRefs(store.Ref{Kind: model.KindRouter, ID: string(id)}, w.r.Revision())
	for e := range store.FloatingIPs.By(w.r, "router", string(id)) {
		store.FloatingIPs.Unchanged(w.txn, e)
	}
}
