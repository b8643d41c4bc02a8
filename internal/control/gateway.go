package control

import (
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// GatewayRequest is external_gateway_info.
type GatewayRequest struct {
	NetworkID model.NetworkID
	SNAT      Opt[bool]
	// FixedIPs are wishes for the addresses of the gateway port; none leaves them to weft.
	FixedIPs []FixedIPRequest
}

// gatewayMove is a judged change of a router's gateway. nil changes nothing.
type gatewayMove struct {
	want *GatewayRequest
	// at is the network wanted.
	at place
	// port is the gateway port there is.
	port *store.Entry[model.Port]
	// rev is the mirror's revision at which all this was read.
	rev int64
}

// judgeGateway judges what a request wants of a router's gateway; nil is none.
func (w *work) judgeGateway(m *model.Router, want *GatewayRequest) (*gatewayMove, error) {
	g := &gatewayMove{want: want, rev: w.r.Revision()}
	if m.Gateway != nil {
		g.port = w.r.Port(m.Gateway.PortID)
	}
	if g.port == nil && want == nil {
		return nil, nil
	}
	if want != nil {
		if err := w.judgeExternal(g); err != nil {
			return nil, err
		}
	}
	if g.port != nil && !g.stays() {
		if err := w.gatewayFree(m); err != nil {
			return nil, err
		}
	}
	if want != nil && !g.stays() {
		inside, err := w.subnetsInside(m)
		if err != nil {
			return nil, err
		}
		if err := checkApart(inside, g.at.subnets, nil); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// judgeExternal finds the network wanted and judges whether it can be outside.
func (w *work) judgeExternal(g *gatewayMove) error {
	id := g.want.NetworkID
	network, err := w.c.VisibleNetwork(w.r, CallerOf(w.ctx), id)
	if err != nil {
		return err
	}
	g.at = place{network: network, subnets: w.r.SubnetsOf(id)}
	if !g.at.network.Value.External {
		return badRequest("router", "Network %s is not an external network", id)
	}
	for _, f := range g.want.FixedIPs {
		for _, s := range g.at.subnets {
			if f.Addr.IsValid() && f.Addr == s.Value.Gateway {
				return badRequest("router", "External IP %s is the same as the gateway IP", f.Addr)
			}
		}
	}
	return nil
}

// gatewayFree refuses while floating IPs need the gateway.
func (w *work) gatewayFree(m *model.Router) error {
	if m.Gateway == nil || store.FloatingIPs.CountBy(w.r, "router", string(m.ID)) == 0 {
		return nil
	}
	return model.Faultf(model.GatewayInUseByFloatingIP,
		"Gateway cannot be updated for router %s, since a gateway to external network %s is required by one or more floating IPs.",
		m.ID, m.Gateway.NetworkID)
}

// stays reports whether the gateway port remains on its network.
func (g *gatewayMove) stays() bool {
	return g.port != nil && g.want != nil && g.port.Value.NetworkID == g.want.NetworkID
}

// moves reports whether the gateway port remains and gets other addresses.
func (g *gatewayMove) moves() bool {
	if !g.stays() || len(g.want.FixedIPs) == 0 {
		return false
	}
	had := map[model.SubnetID]bool{}
	addrs := map[netip.Addr]bool{}
	for _, f := range g.port.Value.FixedIPs {
		had[f.SubnetID], addrs[f.Addr] = true, true
	}
	if len(g.want.FixedIPs) != len(g.port.Value.FixedIPs) {
		return true
	}
	return slices.ContainsFunc(g.want.FixedIPs, func(f FixedIPRequest) bool {
		return f.SubnetID != "" && !had[f.SubnetID] || f.Addr.IsValid() && !addrs[f.Addr]
	})
}

// changes reports whether a move changes what a router shows besides its own record.
func (g *gatewayMove) changes() bool { return g != nil && g.moves() }

// carryOut makes, changes or removes the gateway port, and gives the router its gateway.
func (g *gatewayMove) carryOut(c *Control, txn *store.Txn, res *store.Reservation, m *model.Router) error {
	if g == nil {
		return nil
	}
	if g.port != nil && !g.stays() {
		// What floating IP needed the gateway was looked at; none may have come since.
		txn.NoNewRefs(store.Ref{Kind: model.KindRouter, ID: string(m.ID)}, g.rev)
		txn.DeletePort(g.port, g.rev)
		m.Gateway = nil
	}
	if g.want == nil {
		return nil
	}
	g.at.keep(txn)
	snat := g.want.SNAT.Or(true)
	switch {
	case g.moves():
		p, err := c.changedPort(g.port.Value, PortRequest{FixedIPs: Some(g.want.FixedIPs)}, g.at, res)
		if err != nil {
			return err
		}
		c.touch(&p.Meta)
		txn.UpdatePort(g.port, p)
	case !g.stays():
		req := PortRequest{NetworkID: g.want.NetworkID, DeviceID: Some(string(m.ID)), DeviceOwner: Some(model.OwnerRouterGateway)}
		if len(g.want.FixedIPs) > 0 {
			req.FixedIPs = Some(g.want.FixedIPs)
		}
		p, err := c.newPort(req, g.at, res, 1)
		if err != nil {
			return err
		}
		txn.CreatePort(p)
		m.Gateway = &model.Gateway{PortID: p.ID, NetworkID: p.NetworkID, SNAT: snat}
	}
	if m.Gateway.SNAT != snat {
		changed := *m.Gateway
		changed.SNAT = snat
		m.Gateway = &changed
	}
	return nil
}
