package control

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// defaultVNIC is the VNIC type of a port that was given none, and the only one that can be bound.
const defaultVNIC = "normal"

// CreatePort makes a port: MAC and addresses given or chosen, bound when a host is named.
func (c *Control) CreatePort(ctx context.Context, req PortRequest) (*store.Entry[model.Port], error) {
	made, err := c.CreatePorts(ctx, []PortRequest{req})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// CreatePorts makes all ports or none.
func (c *Control) CreatePorts(ctx context.Context, reqs []PortRequest) ([]*store.Entry[model.Port], error) {
	if err := checkTogether(len(reqs)); err != nil {
		return nil, err
	}
	if err := c.ensureDefaultGroups(ctx, reqs); err != nil {
		return nil, err
	}
	began := time.Now()
	var made []*store.Entry[model.Port]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		places := map[model.NetworkID]place{}
		c.Read(func(r store.Reader) {
			for _, req := range reqs {
				if _, ok := places[req.NetworkID]; !ok {
					network, _ := c.VisibleNetwork(r, CallerOf(ctx), req.NetworkID) // nil when there is none
					places[req.NetworkID] = place{network: network, subnets: r.SubnetsOf(req.NetworkID)}
				}
			}
		})
		txn := c.store.Txn()
		err := c.within(ctx, txn, res, func(w *work) error {
			for _, req := range reqs {
				if err := w.underQoS("", req.QoSPolicy.Value); err != nil {
					return err
				}
				if err := w.ownDevice(&model.Port{Project: req.Project, DeviceID: req.DeviceID.Value, DeviceOwner: req.DeviceOwner.Value}); err != nil {
					return err
				}
			}
			return countEach(w, "port", reqs, func(r PortRequest) model.ProjectID { return r.Project })
		})
		if err != nil {
			return err
		}
		ports := make([]*model.Port, len(reqs))
		for i, req := range reqs {
			if n := places[req.NetworkID].network; n != nil {
				if req, err = c.guardNew(ctx, req, n.Value); err != nil {
					return err
				}
			}
			p, err := c.newPort(req, places[req.NetworkID], res, len(reqs))
			if err != nil {
				return err
			}
			txn.CreatePort(p)
			ports[i] = p
		}
		for _, at := range places {
			at.keep(txn)
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, ports, rev, func(r store.Reader, p *model.Port) *store.Entry[model.Port] { return r.Port(p.ID) })
		return nil
	})
	if err != nil {
		c.noteRefused(reqs, err)
		return nil, err
	}
	c.counts.ports.Add(len(made))
	c.counts.took.Observe(time.Since(began))
	return made, nil
}

// place is a network with its subnets at one revision.
type place struct {
	network *store.Entry[model.Network]
	subnets []*store.Entry[model.Subnet]
}

// keep makes the transaction fail when the place has changed. A write of a subnet also
// writes the network, so the network's condition would do; the subnets' make sure that
// an address never outlives its subnet even if some writer forgot that.
func (at place) keep(txn *store.Txn) {
	txn.UnchangedNetwork(at.network)
	for _, s := range at.subnets {
		txn.UnchangedSubnet(s)
	}
}

func (c *Control) newPort(req PortRequest, at place, res *store.Reservation, together int) (*model.Port, error) {
	if at.network == nil {
		return nil, model.NotFound{Kind: model.KindNetwork, ID: string(req.NetworkID)}
	}
	now := c.stamp()
	p := &model.Port{
		ID:           model.PortID(uuid.NewString()),
		Project:      req.Project,
		Name:         req.Name.Value,
		NetworkID:    req.NetworkID,
		AdminStateUp: req.AdminStateUp.Or(true),
		Status:       model.PortDown,
		DeviceID:     req.DeviceID.Value,
		DeviceOwner:  req.DeviceOwner.Value,
		PortSecurity: req.PortSecurity.Or(at.network.Value.PortSecurity),
		QoSPolicy:    req.QoSPolicy.Value,
		Unaddressed:  req.FixedIPs.Set && len(req.FixedIPs.Value) == 0,
		DHCPOptions:  mergeOptions(nil, req.DHCPOptions.Value),
		Binding: model.Binding{
			Host:     model.HostName(req.HostID.Value),
			VIFType:  model.VIFUnbound,
			VNICType: req.VNICType.Or(defaultVNIC),
		},
		Meta: model.Meta{Description: req.Description.Value, Tags: sortedTags(req.Tags.Value),
			CreatedAt: now, UpdatedAt: now, Revision: 1},
	}
	c.setNames(p, req)
	setList(&p.SecurityGroups, req.SecurityGroups)
	setProfile(&p.Binding, req.Profile)
	if model.TrustedOwner(p.DeviceOwner) {
		p.PortSecurity = false
	}
	// Addresses before the MAC: who must wait for an address then holds nothing, and
	// giving nothing back wakes nobody.
	ips, err := c.chooseAddresses(p, req.FixedIPs, at, res, together)
	if err != nil {
		return nil, err
	}
	p.FixedIPs = ips
	if err := c.chooseMAC(p, req.MAC, res); err != nil {
		return nil, err
	}
	if err := c.autoAddresses(p, nil, req.FixedIPs.Value, at, res); err != nil {
		return nil, err
	}
	if err := c.setPairs(p, req.AddressPairs.Value); err != nil {
		return nil, err
	}
	noteAsked(p, &model.Port{}, req)
	c.bind(p, at.network.Value)
	return p, nil
}

// defaultDNSDomain is the domain that stands for none: under it names of ports are not kept, as in Neutron.
const defaultDNSDomain = "openstacklocal"

// NamesPorts reports whether ports have the names that they are given.
func (c *Control) NamesPorts() bool {
	domain := strings.TrimSuffix(c.cfg.DNSDomain, ".")
	return domain != "" && domain != defaultDNSDomain
}

// setNames gives the port its DNS name and domain.
func (c *Control) setNames(p *model.Port, req PortRequest) {
	if c.NamesPorts() {
		set(&p.DNSName, req.DNSName)
		set(&p.DNSDomain, req.DNSDomain)
	}
}

// chooseMAC reserves the MAC asked for, or a free one.
func (c *Control) chooseMAC(p *model.Port, asked Opt[model.MAC], res *store.Reservation) (err error) {
	if asked.Set && !asked.Value.IsZero() {
		if asked.Value == (model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
			return model.Faultf(model.InvalidInput, "Invalid input for mac_address. Reason: '%s' is not a valid MAC address.", asked.Value)
		}
		p.MAC = asked.Value
		return taken(res.MAC(p.NetworkID, p.MAC), model.MACInUse,
			"Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
	}
	p.MAC, err = res.ChooseMAC(p.NetworkID, func(taken func(model.MAC) bool) (model.MAC, bool) {
		return ipam.ChooseMAC(c.cfg.BaseMAC, taken, c.rnd)
	})
	if errors.Is(err, store.ErrExhausted) {
		return model.Faultf(model.MACExhausted, "Unable to generate unique mac on network %s.", p.NetworkID)
	}
	return err
}

// changeMAC gives a port that is not realised anywhere the MAC asked for, or a new one.
func (c *Control) changeMAC(p, old *model.Port, asked Opt[model.MAC], res *store.Reservation) error {
	bound := func(to model.MAC) error {
		return model.Faultf(model.PortBound,
			"Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, new_mac %s.",
			p.ID, old.Binding.VIFType, old.MAC, to)
	}
	if old.Binding.VIFType == model.VIFOVS && !asked.Value.IsZero() {
		return bound(asked.Value)
	}
	if err := c.chooseMAC(p, asked, res); err != nil {
		return err
	}
	if old.Binding.VIFType == model.VIFOVS {
		return bound(p.MAC)
	}
	return nil
}

// setPairs gives the port its allowed address pairs.
func (c *Control) setPairs(p *model.Port, reqs []AddressPairRequest) error {
	if len(reqs) == 0 {
		p.AddressPairs = nil
		return nil
	}
	if !p.PortSecurity {
		return errPairsNeedSecurity
	}
	if len(reqs) > c.cfg.MaxAddressPairs {
		return model.Faultf(model.AddressPairExhausted,
			"The number of allowed address pair exceeds the maximum %d.", c.cfg.MaxAddressPairs)
	}
	pairs := make([]model.AddressPair, len(reqs))
	for i, r := range reqs {
		pairs[i] = model.AddressPair{MAC: r.MAC, Prefix: r.Prefix}
		if r.MAC.IsZero() {
			pairs[i].MAC = p.MAC
		}
		if slices.Contains(pairs[:i], pairs[i]) {
			return model.Faultf(model.InvalidInput,
				"Request contains duplicate address pair: mac_address %s ip_address %s.", pairs[i].MAC, pairs[i].Prefix)
		}
	}
	p.AddressPairs = pairs
	return nil
}

var errPairsNeedSecurity = model.Faultf(model.AddressPairNeedsSecurity,
	"Port Security must be enabled in order to have allowed address pairs on a port.")

// mergeOptions returns old with the entries of reqs added, replaced or removed, by name and IP version.
func mergeOptions(old []model.DHCPOption, reqs []DHCPOptionRequest) []model.DHCPOption {
	type key struct {
		name    string
		version int
	}
	out := slices.Clone(old)
	at := make(map[key]int, len(old)+len(reqs))
	for i, o := range out {
		at[key{o.Name, o.IPVersion}] = i
	}
	removed := map[int]bool{}
	for _, r := range reqs {
		o := r.DHCPOption
		if o.IPVersion == 0 {
			o.IPVersion = 4
		}
		k := key{o.Name, o.IPVersion}
		i, has := at[k]
		switch {
		case has && r.Delete:
			removed[i] = true
			delete(at, k)
		case has:
			out[i] = o
		case !r.Delete:
			at[k] = len(out)
			out = append(out, o)
		}
	}
	var kept []model.DHCPOption // nil when empty, as it reads when it comes back from the store
	for i, o := range out {
		if !removed[i] {
			kept = append(kept, o)
		}
	}
	return kept
}

// UpdatePort changes a port. Asking for what is already so changes nothing.
func (c *Control) UpdatePort(ctx context.Context, id model.PortID, req PortRequest) (*store.Entry[model.Port], error) {
	var made *store.Entry[model.Port]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		var old *store.Entry[model.Port]
		var at place
		c.Read(func(r store.Reader) {
			if old = r.Port(id); old != nil {
				at = place{network: r.Network(old.Value.NetworkID), subnets: r.SubnetsOf(old.Value.NetworkID)}
			}
		})
		if old == nil || at.network == nil {
			return model.NotFound{Kind: model.KindPort, ID: string(id)}
		}
		if err := checkRevision(req.IfRevision, old.Value.Meta); err != nil {
			return err
		}
		if err := c.guardChange(ctx, req, old.Value); err != nil {
			return err
		}
		p, err := c.changedPort(old.Value, req, at, res)
		if err != nil {
			return err
		}
		if reflect.DeepEqual(p, old.Value) {
			made = old
			return errUnchanged
		}
		c.touch(&p.Meta)
		txn := c.store.Txn()
		err = c.within(ctx, txn, res, func(w *work) error {
			if err := w.underQoS(old.Value.QoSPolicy, p.QoSPolicy); err != nil {
				return err
			}
			return w.followPort(old.Value, p)
		})
		if err != nil {
			return err
		}
		txn.UpdatePort(old, p)
		if p.MAC != old.Value.MAC {
			c.Read(func(r store.Reader) { showMAC(txn, r, p.ID) })
		}
		if !slices.Equal(p.FixedIPs, old.Value.FixedIPs) {
			at.keep(txn)
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.Port{p}, rev, func(r store.Reader, p *model.Port) *store.Entry[model.Port] { return r.Port(p.ID) })[0]
		return nil
	})
	return made, err
}

func (c *Control) changedPort(old *model.Port, req PortRequest, at place, res *store.Reservation) (*model.Port, error) {
	p := *old
	set(&p.Name, req.Name)
	set(&p.Description, req.Description)
	set(&p.AdminStateUp, req.AdminStateUp)
	set(&p.DeviceID, req.DeviceID)
	set(&p.DeviceOwner, req.DeviceOwner)
	set(&p.PortSecurity, req.PortSecurity)
	set(&p.DataPlaneStatus, req.DataPlane)
	set(&p.QoSPolicy, req.QoSPolicy)
	c.setNames(&p, req)
	setList(&p.SecurityGroups, req.SecurityGroups)
	if req.DHCPOptions.Set {
		p.DHCPOptions = mergeOptions(old.DHCPOptions, req.DHCPOptions.Value)
	}
	if req.MAC.Set && req.MAC.Value != old.MAC {
		if err := c.changeMAC(&p, old, req.MAC, res); err != nil {
			return nil, err
		}
	}
	if req.AddressPairs.Set {
		if err := c.setPairs(&p, req.AddressPairs.Value); err != nil {
			return nil, err
		}
	}
	if err := c.changeAddresses(&p, old, req, at, res); err != nil {
		return nil, err
	}
	noteAsked(&p, old, req)
	c.rebind(&p, req, at.network.Value)
	switch {
	case !p.AdminStateUp:
		p.Status = model.PortDown
	case !old.AdminStateUp:
		c.Read(func(r store.Reader) { p.Status = status(r, &p, c.facts.of(&p)) })
	}
	return &p, nil
}

// DeletePort removes a port. A DHCP port comes back while its network wants one.
func (c *Control) DeletePort(ctx context.Context, id model.PortID, ifRevision Opt[int]) error {
	var old *store.Entry[model.Port]
	err := c.transact(ctx, func(w *work) error {
		if old = w.r.Port(id); old == nil {
			return model.NotFound{Kind: model.KindPort, ID: string(id)}
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		if err := w.checkServicePort(old.Value); err != nil {
			return err
		}
		return w.removePort(id)
	})
	if err != nil {
		return err
	}
	c.facts.forget(id)
	if old.Value.DeviceOwner == model.OwnerDHCP {
		c.ensureDHCP(ctx, old.Value.NetworkID)
	}
	return nil
}
