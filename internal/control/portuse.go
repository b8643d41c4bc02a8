package control

import (
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// What routers, floating IPs and port forwardings have to do with a port that goes or changes.

// checkServicePort refuses a client's removal of a port that belongs to a router or is
// the outside of a floating IP.
func (w *work) checkServicePort(p *model.Port) error {
	if w.holderOf(p) == "" {
		return nil
	}
	return model.Faultf(model.ServicePortInUse,
		"Port %s cannot be deleted directly via the port API: has device owner %s.", p.ID, p.DeviceOwner)
}

// holderOf returns which kind of object a port was made for or belongs to; "" is none.
func (w *work) holderOf(p *model.Port) model.Kind {
	for ref := range w.r.Referrers(model.KindPort, string(p.ID)) {
		switch ref.Kind {
		case model.KindRouter:
			return ref.Kind
		case model.KindFloatingIP:
			if f := store.FloatingIPs.Get(w.r, ref.ID); f != nil && f.Value.PortID == p.ID {
				return ref.Kind
			}
		}
	}
	return ""
}

// removePort removes a port, takes floating IPs off it, and removes what was forwarded to it.
func (w *work) removePort(id model.PortID) error {
	e := w.r.Port(id)
	if e == nil {
		return model.NotFound{Kind: model.KindPort, ID: string(id)}
	}
	if err := inTrunk(w.r, id); err != nil {
		return err
	}
	for f := range store.FloatingIPs.By(w.r, "port", string(id)) {
		if f.Value.Project != CallerOf(w.ctx).ProjectID && !w.c.admin(w.ctx) {
			return model.Faultf(model.FloatingIPAssociated,
				"Unable to complete the operation on port %s because the port still has an associated floating IP.", id)
		}
		m := *f.Value
		m.FixedPort, m.FixedAddr, m.Router = "", netip.Addr{}, ""
		w.c.touch(&m.Meta)
		store.FloatingIPs.Update(w.txn, f, &m)
	}
	w.dropForwardings(id, func(*model.PortForwarding) bool { return true })
	w.txn.DeletePort(e, w.r.Revision())
	return nil
}

// dropForwardings removes what is forwarded to a port as far as gone says so. A floating
// IP that then forwards nothing leaves its router.
func (w *work) dropForwardings(id model.PortID, gone func(*model.PortForwarding) bool) {
	left := map[*store.Entry[model.FloatingIP]]int{}
	for e := range store.PortForwardings.By(w.r, "port", string(id)) {
		if !gone(e.Value) {
			continue
		}
		store.PortForwardings.Delete(w.txn, e, w.r.Revision())
		f := store.FloatingIPs.Get(w.r, string(e.Value.FloatingIP))
		if _, seen := left[f]; !seen {
			left[f] = store.PortForwardings.CountBy(w.r, "floatingip", string(e.Value.FloatingIP))
		}
		left[f]--
	}
	for f, n := range left {
		w.forwards(f, f.Value.Router, n)
	}
}

// forwards writes a floating IP that now forwards n ports, by a router.
func (w *work) forwards(old *store.Entry[model.FloatingIP], router model.RouterID, n int) {
	m := *old.Value
	if m.Router = router; n == 0 {
		m.Router = ""
	}
	w.c.touch(&m.Meta)
	store.FloatingIPs.Update(w.txn, old, &m)
}

// ownDevice refuses a port that gives itself out as an interface of another project's router.
func (w *work) ownDevice(p *model.Port) error {
	m := store.Routers.Get(w.r, p.DeviceID)
	if m == nil || !routerInterface(p) || m.Value.Project == p.Project || w.c.admin(w.ctx) {
		return nil
	}
	return model.Faultf(model.DeviceNotOwned,
		"The following device_id %s is not owned by your project or matches another project router.", p.DeviceID)
}

// followPort judges a change of a port by what depends on it, and makes it follow.
func (w *work) followPort(old, p *model.Port) error {
	self := store.Ref{Kind: model.KindPort, ID: string(p.ID)}
	moved := !slices.Equal(old.FixedIPs, p.FixedIPs)
	if moved {
		w.txn.NoNewRefs(self, w.r.Revision())
	}
	holder := w.holderOf(p)
	if holder != "" && (old.DeviceID != p.DeviceID || old.DeviceOwner != p.DeviceOwner) {
		return model.Faultf(model.DeviceOwnerUnsupported,
			"Operation %s is not supported for device_owner %s on port %s.", "update_device", old.DeviceOwner, p.ID)
	}
	if old.DeviceID != p.DeviceID || old.DeviceOwner != p.DeviceOwner {
		if err := w.ownDevice(p); err != nil {
			return err
		}
	}
	if !moved {
		return nil
	}
	if holder != "" && old.DeviceOwner != model.OwnerRouterGateway && !slices.Equal(ipv4(old), ipv4(p)) {
		return model.Faultf(model.IPChangeNotAllowed, "IP updates for port %s are not allowed", p.ID)
	}
	has := func(a netip.Addr) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr == a })
	}
	for f := range store.FloatingIPs.By(w.r, "port", string(p.ID)) {
		if !has(f.Value.FixedAddr) {
			return badRequest("port", "Cannot update the fixed_ips of the port %s, because its original fixed_ip has been associated to a floating ip", p.ID)
		}
		store.FloatingIPs.Unchanged(w.txn, f)
	}
	w.dropForwardings(p.ID, func(f *model.PortForwarding) bool { return !has(f.Addr) })
	return nil
}

func ipv4(p *model.Port) []model.FixedIP {
	return slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return !f.Addr.Is4() })
}
