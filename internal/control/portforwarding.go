package control

import (
	"context"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// ForwardingChange asks to create or change a port forwarding.
type ForwardingChange = Change[model.PortForwarding]

// CreateForwardings makes all port forwardings of a floating IP or none.
func (c *Control) CreateForwardings(ctx context.Context, id model.FloatingIPID, changes []ForwardingChange) ([]*store.Entry[model.PortForwarding], error) {
	if err := checkTogether(len(changes)); err != nil {
		return nil, err
	}
	var made []*store.Entry[model.PortForwarding]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		forwardings := make([]*model.PortForwarding, len(changes))
		err := c.within(ctx, txn, res, func(w *work) error {
			floating, err := w.floating(id)
			if err != nil {
				return err
			}
			router := floating.Value.Router
			ports := map[model.PortID]bool{}
			for i, ch := range changes {
				now := c.stamp()
				m := &model.PortForwarding{ID: uuid.NewString(), FloatingIP: id, Meta: model.Meta{CreatedAt: now, UpdatedAt: now, Revision: 1}}
				ch.Apply(m)
				if floating.Value.FixedPort != "" {
					f := *floating.Value
					f.FixedPort, f.FixedAddr = m.PortID, m.Addr
					return associated(&f, floating.Value)
				}
				if err := w.judgeForwarding(floating.Value, &router, m, forwardings[:i]); err != nil {
					return err
				}
				store.PortForwardings.Create(txn, m)
				forwardings[i], ports[m.PortID] = m, true
			}
			w.touchPorts(ports)
			w.forwards(floating, router, len(changes))
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, forwardings, rev, findForwarding)
		return nil
	})
	return made, err
}

func findForwarding(r store.Reader, m *model.PortForwarding) *store.Entry[model.PortForwarding] {
	return store.PortForwardings.Get(r, m.ID)
}

func (w *work) floating(id model.FloatingIPID) (*store.Entry[model.FloatingIP], error) {
	if e := store.FloatingIPs.Get(w.r, string(id)); e != nil {
		return e, nil
	}
	return nil, model.NotFound{Kind: model.KindFloatingIP, ID: string(id)}
}

// forwardingOf finds a port forwarding of a floating IP.
func (w *work) forwardingOf(parent model.FloatingIPID, id string) (*store.Entry[model.PortForwarding], error) {
	if e := store.PortForwardings.Get(w.r, id); e != nil && e.Value.FloatingIP == parent {
		return e, nil
	}
	return nil, model.NotFound{Kind: model.KindPortForwarding, ID: id}
}

// touchPorts records that forwarding to some ports changed, which also keeps others from
// changing them, or forwarding to them, at the same time.
func (w *work) touchPorts(ids map[model.PortID]bool) {
	for id := range ids {
		if e := w.r.Port(id); e != nil {
			p := *e.Value
			w.c.touch(&p.Meta)
			w.txn.UpdatePort(e, &p)
		}
	}
}

// judgeForwarding completes and checks a port forwarding of a floating IP. router is the
// one that forwards for it, if there is one yet; with are those made with it.
func (w *work) judgeForwarding(floating *model.FloatingIP, router *model.RouterID, m *model.PortForwarding, with []*model.PortForwarding) error {
	if n, out := m.Internal.Last-m.Internal.First, m.External.Last-m.External.First; n > 0 && n != out {
		return badRequest("port_forwarding", "Invalid ranges of internal and/or external ports. The relation between internal and external ports must be N-N or 1-N")
	}
	port := w.r.Port(m.PortID)
	if port == nil || !w.seesPort(port.Value) {
		return model.NotFound{Kind: model.KindPort, ID: string(m.PortID)}
	}
	four := ipv4(port.Value)
	if len(four) == 0 {
		return badRequest("port_forwarding", "Requested internal port %s must allocate an IPv4 address at least", m.PortID)
	}
	if !m.Addr.IsValid() {
		m.Addr = four[0].Addr
	}
	i := slices.IndexFunc(four, func(f model.FixedIP) bool { return f.Addr == m.Addr })
	if i < 0 {
		return badRequest("port_forwarding", "Requested internal IP address %s is not suitable for internal neutron port %s, as its fixed_ips are %s",
			m.Addr, m.PortID, addressesText(four))
	}
	for f := range store.FloatingIPs.By(w.r, "port", string(m.PortID)) {
		return model.Faultf(model.PortHasFloatingIP,
			"Cannot create port forwarding to floating IP %s (%s) with port %s using fixed IP %s, as that port already has a binding floating IP.",
			f.Value.Addr, f.Value.ID, m.PortID, m.Addr)
	}
	if err := w.checkCollisions(m, with); err != nil {
		return err
	}
	between := w.routerBetween(port.Value, four[i], floating.NetworkID)
	switch {
	case between == nil:
		return badRequest("port_forwarding", "External network %s is not reachable from subnet %s. Cannot set Port forwarding for port %s with Floating IP %s",
			floating.NetworkID, four[i].SubnetID, m.PortID, floating.ID)
	case *router != "" && *router != between.Value.ID:
		return badRequest("port_forwarding", "The Floating IP %s had been set on router %s, the internal Neutron port %s can not reach it",
			floating.ID, *router, m.PortID)
	}
	*router = between.Value.ID
	store.Routers.Unchanged(w.txn, between)
	return nil
}

// checkCollisions refuses a port forwarding that shares outer ports with one of its
// floating IP, or inner ports with one to the same address.
func (w *work) checkCollisions(m *model.PortForwarding, with []*model.PortForwarding) error {
	others := slices.Clone(with)
	for e := range store.PortForwardings.By(w.r, "floatingip", string(m.FloatingIP)) {
		others = append(others, e.Value)
	}
	for e := range store.PortForwardings.By(w.r, "port", string(m.PortID)) {
		if e.Value.FloatingIP != m.FloatingIP {
			others = append(others, e.Value)
		}
	}
	const format = "There is a port collision with the %s. The following ranges collide: %d:%d and %d:%d"
	for _, o := range others {
		if o.ID == m.ID || o.Protocol != m.Protocol {
			continue
		}
		if o.PortID == m.PortID && o.Addr == m.Addr && o.Internal.Overlaps(m.Internal) {
			return badRequest("port_forwarding", format, "internal_port_range", o.Internal.First, o.Internal.Last, m.Internal.First, m.Internal.Last)
		}
		if o.FloatingIP == m.FloatingIP && o.External.Overlaps(m.External) {
			return badRequest("port_forwarding", format, "external_port_range", o.External.First, o.External.Last, m.External.First, m.External.Last)
		}
	}
	return nil
}

// addressesText prints fixed IPs as Neutron's messages do.
func addressesText(ips []model.FixedIP) string {
	text := "["
	for i, f := range ips {
		if i > 0 {
			text += ", "
		}
		text += "{'subnet_id': '" + string(f.SubnetID) + "', 'ip_address': '" + f.Addr.String() + "'}"
	}
	return text + "]"
}

// UpdateForwarding changes a port forwarding. Asking for what is already so changes nothing.
func (c *Control) UpdateForwarding(ctx context.Context, parent model.FloatingIPID, id string, ch ForwardingChange) (*store.Entry[model.PortForwarding], error) {
	var made *store.Entry[model.PortForwarding]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var m model.PortForwarding
		err := c.within(ctx, txn, res, func(w *work) error {
			floating, err := w.floating(parent)
			if err != nil {
				return err
			}
			old, err := w.forwardingOf(parent, id)
			if err != nil {
				return err
			}
			if err := checkRevision(ch.IfRevision, old.Value.Meta); err != nil {
				return err
			}
			m = *old.Value
			ch.Apply(&m)
			if m.PortID != old.Value.PortID && !ch.Has("internal_ip_address") {
				m.Addr = netip.Addr{}
			}
			router := floating.Value.Router
			if store.PortForwardings.CountBy(w.r, "floatingip", string(parent)) == 1 {
				router = "" // no other one holds it there
			}
			if err := w.judgeForwarding(floating.Value, &router, &m, nil); err != nil {
				return err
			}
			if reflect.DeepEqual(&m, old.Value) {
				made = old
				return errUnchanged
			}
			c.touch(&m.Meta)
			store.PortForwardings.Update(txn, old, &m)
			w.touchPorts(map[model.PortID]bool{m.PortID: true, old.Value.PortID: true})
			w.forwards(floating, router, 1)
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.PortForwarding{&m}, rev, findForwarding)[0]
		return nil
	})
	return made, err
}

// DeleteForwarding removes a port forwarding; with the last one the floating IP leaves its router.
func (c *Control) DeleteForwarding(ctx context.Context, parent model.FloatingIPID, id string, ifRevision Opt[int]) error {
	return c.transact(ctx, func(w *work) error {
		floating, err := w.floating(parent)
		if err != nil {
			return err
		}
		old, err := w.forwardingOf(parent, id)
		if err != nil {
			return err
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		store.PortForwardings.Delete(w.txn, old, w.r.Revision())
		w.touchPorts(map[model.PortID]bool{old.Value.PortID: true})
		left := store.PortForwardings.CountBy(w.r, "floatingip", string(parent)) - 1
		w.forwards(floating, floating.Value.Router, left)
		return nil
	})
}
