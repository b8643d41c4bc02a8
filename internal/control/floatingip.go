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

// FloatingIPRequest asks to create or change a floating IP.
type FloatingIPRequest struct {
	Project     model.ProjectID // create only
	Description Opt[string]
	NetworkID   model.NetworkID // create only, as the next four
	SubnetID    model.SubnetID
	Addr        netip.Addr
	DNSName     Opt[string]
	DNSDomain   Opt[string]
	// FixedPort is the port to stand for; "" is none.
	FixedPort Opt[model.PortID]
	// FixedAddr is which address of the port; zero is its only IPv4 address.
	FixedAddr  Opt[netip.Addr]
	IfRevision Opt[int]
}

// CreateFloatingIPs makes all floating IPs or none.
func (c *Control) CreateFloatingIPs(ctx context.Context, reqs []FloatingIPRequest) ([]*store.Entry[model.FloatingIP], error) {
	if err := checkTogether(len(reqs)); err != nil {
		return nil, err
	}
	var made []*store.Entry[model.FloatingIP]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		floating := make([]*model.FloatingIP, len(reqs))
		places := make([]place, len(reqs))
		err := c.within(ctx, txn, res, func(w *work) (err error) {
			if err := countEach(w, "floatingip", reqs, func(r FloatingIPRequest) model.ProjectID { return r.Project }); err != nil {
				return err
			}
			for i, req := range reqs {
				if floating[i], places[i], err = w.newFloatingIP(req, floating[:i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, req := range reqs {
			if err := c.addOutside(floating[i], req, places[i], txn, res); err != nil {
				return err
			}
			store.FloatingIPs.Create(txn, floating[i])
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, floating, rev, findFloatingIP)
		return nil
	})
	return made, err
}

func findFloatingIP(r store.Reader, m *model.FloatingIP) *store.Entry[model.FloatingIP] {
	return store.FloatingIPs.Get(r, string(m.ID))
}

// newFloatingIP judges a request and all but the address; with are those made with it.
func (w *work) newFloatingIP(req FloatingIPRequest, with []*model.FloatingIP) (*model.FloatingIP, place, error) {
	network, err := w.c.VisibleNetwork(w.r, CallerOf(w.ctx), req.NetworkID)
	if err != nil {
		return nil, place{}, err
	}
	at := place{network: network, subnets: w.r.SubnetsOf(req.NetworkID)}
	if !at.network.Value.External {
		return nil, at, badRequest("floatingip", "Network %s is not a valid external network", req.NetworkID)
	}
	if !slices.ContainsFunc(at.subnets, func(s *store.Entry[model.Subnet]) bool { return s.Value.CIDR.Addr().Is4() }) {
		return nil, at, badRequest("floatingip", "Network %s does not contain any IPv4 subnet", req.NetworkID)
	}
	now := w.c.stamp()
	m := &model.FloatingIP{
		ID: model.FloatingIPID(uuid.NewString()), Project: req.Project, NetworkID: req.NetworkID, Addr: req.Addr,
		DNSName: req.DNSName.Value, DNSDomain: req.DNSDomain.Value,
		// Neutron counts these revisions from 0, as those of subnets.
		Meta: model.Meta{Description: req.Description.Value, CreatedAt: now, UpdatedAt: now},
	}
	if err := w.associate(m, req); err != nil {
		return nil, at, err
	}
	for _, o := range with {
		if m.FixedPort != "" && m.FixedPort == o.FixedPort && m.FixedAddr == o.FixedAddr && m.NetworkID == o.NetworkID {
			return nil, at, associated(m, m)
		}
	}
	return m, at, nil
}

// addOutside makes the port that holds the address on the external network.
func (c *Control) addOutside(m *model.FloatingIP, req FloatingIPRequest, at place, txn *store.Txn, res *store.Reservation) error {
	port := PortRequest{NetworkID: req.NetworkID, DeviceID: Some(string(m.ID)), DeviceOwner: Some(model.OwnerFloatingIP)}
	if req.SubnetID != "" || req.Addr.IsValid() {
		port.FixedIPs = Some([]FixedIPRequest{{SubnetID: req.SubnetID, Addr: req.Addr}})
	}
	p, err := c.newPort(port, at, res, 1)
	if err != nil {
		return err
	}
	four := ipv4(p)
	if len(four) == 0 {
		return model.Faultf(model.ExternalIPExhausted, "Unable to find any IP address on external network %s.", req.NetworkID)
	}
	p.Status = model.PortNotApplicable
	m.Addr, m.PortID = four[0].Addr, p.ID
	at.keep(txn)
	txn.CreatePort(p)
	return nil
}

// UpdateFloatingIP changes a floating IP. Asking for what is already so changes nothing.
func (c *Control) UpdateFloatingIP(ctx context.Context, id model.FloatingIPID, req FloatingIPRequest) (*store.Entry[model.FloatingIP], error) {
	if req == (FloatingIPRequest{IfRevision: req.IfRevision}) {
		req.FixedPort.Set = true // a change that says nothing parts the two, since long ago there was nothing else to say
	}
	var made *store.Entry[model.FloatingIP]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var m model.FloatingIP
		err := c.within(ctx, txn, res, func(w *work) error {
			old := store.FloatingIPs.Get(w.r, string(id))
			if old == nil {
				return model.NotFound{Kind: model.KindFloatingIP, ID: string(id)}
			}
			if err := checkRevision(req.IfRevision, old.Value.Meta); err != nil {
				return err
			}
			m = *old.Value
			set(&m.Description, req.Description)
			if req.FixedPort.Set || req.FixedAddr.Set {
				if err := w.associate(&m, req); err != nil {
					return err
				}
			}
			if reflect.DeepEqual(&m, old.Value) {
				made = old
				return errUnchanged
			}
			c.touch(&m.Meta)
			store.FloatingIPs.Update(txn, old, &m)
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.FloatingIP{&m}, rev, findFloatingIP)[0]
		return nil
	})
	return made, err
}

// DeleteFloatingIP gives the address back.
func (c *Control) DeleteFloatingIP(ctx context.Context, id model.FloatingIPID, ifRevision Opt[int]) error {
	return c.transact(ctx, func(w *work) error {
		old := store.FloatingIPs.Get(w.r, string(id))
		if old == nil {
			return model.NotFound{Kind: model.KindFloatingIP, ID: string(id)}
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		if store.PortForwardings.CountBy(w.r, "floatingip", string(id)) > 0 {
			return forwarding(id)
		}
		store.FloatingIPs.Delete(w.txn, old, w.r.Revision())
		return w.removePort(old.Value.PortID)
	})
}

func forwarding(id model.FloatingIPID) error {
	return model.Faultf(model.FloatingIPForwards, "Floating IP %s in use by Port Forwarding resources.", id)
}

// freeFloatingIPs returns, by their ports, the floating IPs of a network that stand for nothing.
func freeFloatingIPs(r store.Reader, id model.NetworkID) map[model.PortID]*store.Entry[model.FloatingIP] {
	free := map[model.PortID]*store.Entry[model.FloatingIP]{}
	for f := range store.FloatingIPs.By(r, "network", string(id)) {
		if f.Value.Router == "" {
			free[f.Value.PortID] = f
		}
	}
	return free
}
