package control

import (
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// associate judges what a floating IP shall stand for and finds the router between, or
// takes it off what it stands for.
func (w *work) associate(m *model.FloatingIP, req FloatingIPRequest) error {
	if req.FixedPort.Value == "" {
		if req.FixedAddr.Value.IsValid() {
			return badRequest("floatingip", "fixed_ip_address cannot be specified without a port_id")
		}
		if req.FixedPort.Set && m.FixedPort != "" {
			m.FixedPort, m.FixedAddr, m.Router = "", netip.Addr{}, ""
		}
		return nil
	}
	if store.PortForwardings.CountBy(w.r, "floatingip", string(m.ID)) > 0 {
		return forwarding(m.ID)
	}
	port, err := w.fixedPort(m, req.FixedPort.Value)
	if err != nil {
		return err
	}
	fixed, err := fixedIP(port.Value, req.FixedAddr.Value)
	if err != nil {
		return err
	}
	router := w.routerBetween(port.Value, fixed, m.NetworkID)
	if router == nil {
		return model.Faultf(model.NoGatewayForFloatingIP,
			"External network %s is not reachable from subnet %s.  Therefore, cannot associate Port %s with a Floating IP.",
			m.NetworkID, fixed.SubnetID, port.Value.ID)
	}
	for o := range store.FloatingIPs.By(w.r, "port", string(port.Value.ID)) {
		if o.Value.ID != m.ID && o.Value.FixedAddr == fixed.Addr && o.Value.NetworkID == m.NetworkID {
			m.FixedPort, m.FixedAddr = port.Value.ID, fixed.Addr
			return associated(m, o.Value)
		}
	}
	m.FixedPort, m.FixedAddr, m.Router = port.Value.ID, fixed.Addr, router.Value.ID
	w.txn.UnchangedPort(port)
	store.Routers.Unchanged(w.txn, router)
	return nil
}

// associated is the fault of a floating IP for a fixed IP that has one.
func associated(m, holder *model.FloatingIP) error {
	addr := "None"
	if m.Addr.IsValid() {
		addr = m.Addr.String()
	}
	f := model.Faultf(model.FloatingIPPortAssociated,
		"Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
		addr, m.ID, m.FixedPort, m.FixedAddr, m.NetworkID)
	if holder != m {
		f.Detail = "it has floating IP " + string(holder.ID)
	}
	return f
}

// fixedPort finds the port to stand for.
func (w *work) fixedPort(m *model.FloatingIP, id model.PortID) (*store.Entry[model.Port], error) {
	e := w.r.Port(id)
	if e == nil || !w.seesPort(e.Value) {
		return nil, model.NotFound{Kind: model.KindPort, ID: string(id)}
	}
	switch {
	case e.Value.Project != m.Project && !w.c.admin(w.ctx):
		return nil, badRequest("floatingip", "Cannot process floating IP association with Port %s, since that port is owned by a different project", id)
	case e.Value.DeviceOwner == model.OwnerDHCP:
		return nil, badRequest("floatingip", "Port %s is unable to be assigned a floating IP", id)
	}
	return e, nil
}

// fixedIP returns the fixed IP of a port with an address, or its only IPv4 one.
func fixedIP(p *model.Port, addr netip.Addr) (none model.FixedIP, err error) {
	if addr.IsValid() {
		if !addr.Is4() {
			return none, badRequest("floatingip", "Cannot process floating IP association with %s, since that is not an IPv4 address", addr)
		}
		i := slices.IndexFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr == addr })
		if i < 0 {
			return none, badRequest("floatingip", "Port %s does not have fixed ip %s", p.ID, addr)
		}
		return p.FixedIPs[i], nil
	}
	switch four := ipv4(p); len(four) {
	case 0:
		return none, badRequest("floatingip", "Cannot add floating IP to port %s that has no fixed IPv4 addresses", p.ID)
	case 1:
		return four[0], nil
	}
	return none, badRequest("floatingip", "Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP", p.ID)
}

// routerBetween finds a router that has an interface on the subnet of a port's fixed IP
// and its gateway on an external network; the one that is the subnet's gateway if it
// does. nil is none.
func (w *work) routerBetween(p *model.Port, fixed model.FixedIP, external model.NetworkID) *store.Entry[model.Router] {
	subnet := w.r.Subnet(fixed.SubnetID)
	if subnet == nil {
		return nil
	}
	var found *store.Entry[model.Router]
	for e := range store.Routers.By(w.r, "network", string(p.NetworkID)) {
		if e.Value.Gateway == nil || e.Value.Gateway.NetworkID != external {
			continue
		}
		for _, f := range e.Value.Interfaces {
			port := w.r.Port(f.PortID)
			if port == nil {
				continue
			}
			for _, ip := range port.Value.FixedIPs {
				switch {
				case ip.SubnetID != fixed.SubnetID:
				case ip.Addr == subnet.Value.Gateway:
					return e
				case found == nil || e.Value.ID < found.Value.ID:
					found = e
				}
			}
		}
	}
	return found
}
