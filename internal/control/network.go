package control

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// What VXLAN takes from the MTU: inner Ethernet 14, outer IPv4 20 or IPv6 40, UDP 8, VXLAN 8.
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// Bounds of segmentation IDs (802.1Q; RFC 7348).
const (
	minVLAN, maxVLAN = 1, 4094
	minVNI, maxVNI   = 1, model.ProbeVNI - 1 // that one is taken
)

// CreateNetwork makes a network on the segment asked for, or on a chosen VNI.
func (c *Control) CreateNetwork(ctx context.Context, req NetworkRequest) (*store.Entry[model.Network], error) {
	made, err := c.CreateNetworks(ctx, []NetworkRequest{req})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// CreateNetworks makes all networks or none.
func (c *Control) CreateNetworks(ctx context.Context, reqs []NetworkRequest) ([]*store.Entry[model.Network], error) {
	weight := len(reqs)
	for _, req := range reqs {
		if req.Shared.Value || req.External.Value {
			weight += 4 // for the policies that come with it
		}
	}
	if err := checkTogether(weight); err != nil {
		return nil, err
	}
	for _, req := range reqs {
		if err := c.EnsureDefaultGroup(ctx, req.Project); err != nil {
			return nil, err
		}
	}
	var made []*store.Entry[model.Network]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		qos := make([]string, len(reqs))
		err := c.within(ctx, txn, res, func(w *work) error {
			for i, req := range reqs {
				if err := w.onlyDefault("", req.IsDefault.Value); err != nil {
					return err
				}
				if qos[i] = cmp.Or(req.QoSPolicy.Value, defaultQoS(w.r, req.Project)); qos[i] == req.QoSPolicy.Value {
					if err := w.underQoS("", qos[i]); err != nil {
						return err
					}
				}
			}
			return countEach(w, "network", reqs, func(r NetworkRequest) model.ProjectID { return r.Project })
		})
		if err != nil {
			return err
		}
		networks := make([]*model.Network, len(reqs))
		for i, req := range reqs {
			n, err := c.newNetwork(req, res)
			if err != nil {
				return err
			}
			n.QoSPolicy = qos[i]
			txn.CreateNetwork(n)
			if n.Shared {
				store.RBACPolicies.Create(txn, c.wildcard(model.KindNetwork, string(n.ID), n.Project, model.AccessAsShared))
			}
			if n.External {
				store.RBACPolicies.Create(txn, c.wildcard(model.KindNetwork, string(n.ID), n.Project, model.AccessAsExternal))
			}
			networks[i] = n
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, networks, rev, func(r store.Reader, n *model.Network) *store.Entry[model.Network] { return r.Network(n.ID) })
		return nil
	})
	return made, err
}

// entries looks up what was just written. An object that someone has removed since is
// given as it was written.
func entries[T any](c *Control, values []*T, rev int64, find func(store.Reader, *T) *store.Entry[T]) []*store.Entry[T] {
	out := make([]*store.Entry[T], len(values))
	c.Read(func(r store.Reader) {
		for i, v := range values {
			if out[i] = find(r, v); out[i] == nil {
				out[i] = &store.Entry[T]{Value: v, ModRev: rev}
			}
		}
	})
	return out
}

func (c *Control) newNetwork(req NetworkRequest, res *store.Reservation) (*model.Network, error) {
	segments, err := c.segments(req, res)
	if err != nil {
		return nil, err
	}
	mtu, err := c.mtu(segments, req.MTU.Or(0))
	if err != nil {
		return nil, err
	}
	now := c.stamp()
	n := &model.Network{
		ID:           model.NetworkID(uuid.NewString()),
		Project:      req.Project,
		Name:         req.Name.Value,
		AdminStateUp: req.AdminStateUp.Or(true),
		Shared:       req.Shared.Value,
		External:     req.External.Value,
		DNSDomain:    req.DNSDomain.Value,
		IsDefault:    req.IsDefault.Value && req.External.Value,
		PortSecurity: req.PortSecurity.Or(true),
		MTU:          mtu,
		Meta:         model.Meta{Description: req.Description.Value, CreatedAt: now, UpdatedAt: now, Revision: 1},
	}
	setSegments(n, segments)
	setList(&n.AvailabilityZoneHints, req.AZHints)
	return n, nil
}

// mtu returns the MTU of a network on segments: what was asked for (0: nothing) within what fits.
func (c *Control) mtu(segments []model.Segment, asked int) (int, error) {
	most := 0
	for _, g := range segments {
		fits := c.cfg.PhysicalMTU
		if m, ok := c.cfg.PhysicalMTUs[g.Physical]; ok && g.Physical != "" {
			fits = m
		}
		if g.Type == model.SegmentVXLAN {
			fits -= overheadIPv4
			if c.cfg.OverlayIPVersion == 6 {
				fits -= overheadIPv6 - overheadIPv4
			}
		}
		if most == 0 || fits < most {
			most = fits
		}
	}
	switch {
	case asked == 0:
		return most, nil
	case asked > most:
		return 0, invalid("Requested MTU is too big, maximum is %d", most)
	}
	return asked, nil
}

// segment judges the provider attributes and reserves the segment they name or one that is free.
func (c *Control) segment(req SegmentRequest, res *store.Reservation) (model.Segment, error) {
	if !req.NetworkType.Set {
		if req.Physical.Set || req.SegmentationID.Set {
			return model.Segment{}, invalid("network_type required")
		}
		return c.chooseVNI(res)
	}
	switch model.SegmentType(req.NetworkType.Value) {
	case model.SegmentVXLAN:
		return c.vxlanSegment(req, res)
	case model.SegmentVLAN:
		return c.vlanSegment(req, res)
	case model.SegmentFlat:
		return c.flatSegment(req, res)
	}
	return model.Segment{}, invalid("network_type value '%s' not supported", req.NetworkType.Value)
}

func (c *Control) vxlanSegment(req SegmentRequest, res *store.Reservation) (model.Segment, error) {
	if req.Physical.Value != "" {
		return model.Segment{}, invalid("provider:physical_network specified for vxlan network")
	}
	if !req.SegmentationID.Set {
		return c.chooseVNI(res)
	}
	id := req.SegmentationID.Value
	if id < minVNI || id > maxVNI {
		return model.Segment{}, invalid("segmentation_id out of range (%d through %d)", minVNI, maxVNI)
	}
	g := model.Segment{Type: model.SegmentVXLAN, ID: uint32(id)}
	return g, taken(res.Segment(g), model.TunnelInUse,
		"Unable to create the network. The tunnel ID %d is in use.", id)
}

func (c *Control) vlanSegment(req SegmentRequest, res *store.Reservation) (model.Segment, error) {
	physical := req.Physical.Value
	if physical == "" {
		if req.SegmentationID.Set {
			return model.Segment{}, invalid("segmentation_id requires physical_network for VLAN provider network")
		}
		return c.chooseVLAN(c.vlanPhysicals(), res)
	}
	r, known := c.cfg.VLANRanges[physical]
	if !known {
		return model.Segment{}, invalid("physical_network '%s' unknown for VLAN provider network", physical)
	}
	if !req.SegmentationID.Set {
		if r[0] == 0 {
			return model.Segment{}, invalid("Physical network %s requires segmentation_id to be specified when creating a provider network", physical)
		}
		return c.chooseVLAN([]string{physical}, res)
	}
	id := req.SegmentationID.Value
	if id < minVLAN || id > maxVLAN {
		return model.Segment{}, invalid("segmentation_id out of range (%d through %d)", minVLAN, maxVLAN)
	}
	g := model.Segment{Type: model.SegmentVLAN, Physical: physical, ID: uint32(id)}
	return g, taken(res.Segment(g), model.VLANInUse,
		"Unable to create the network. The VLAN %d on physical network %s is in use.", id, physical)
}

// vlanPhysicals returns the physical networks that give out VLAN IDs, sorted.
func (c *Control) vlanPhysicals() []string {
	var names []string
	for name, r := range c.cfg.VLANRanges {
		if r[0] != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Control) flatSegment(req SegmentRequest, res *store.Reservation) (model.Segment, error) {
	physical := req.Physical.Value
	switch {
	case physical == "":
		return model.Segment{}, invalid("physical_network required for flat provider network")
	case !slices.Contains(c.cfg.FlatNetworks, physical) && !slices.Contains(c.cfg.FlatNetworks, "*"):
		return model.Segment{}, invalid("physical_network '%s' unknown for flat provider network", physical)
	case req.SegmentationID.Set:
		return model.Segment{}, invalid("segmentation_id prohibited for flat provider network")
	}
	g := model.Segment{Type: model.SegmentFlat, Physical: physical}
	return g, taken(res.Segment(g), model.FlatInUse,
		"Unable to create the flat network. Physical network %s is in use.", physical)
}

func (c *Control) chooseVNI(res *store.Reservation) (model.Segment, error) {
	first, last := c.cfg.VNIRange[0], c.cfg.VNIRange[1]
	g, err := res.ChooseSegment(func(taken func(model.Segment) bool) (model.Segment, bool) {
		id, ok := ipam.ChooseSegmentationID(first, last, func(id uint32) bool {
			return taken(model.Segment{Type: model.SegmentVXLAN, ID: id})
		}, c.rnd)
		return model.Segment{Type: model.SegmentVXLAN, ID: id}, ok
	})
	return g, noSegment(err)
}

func (c *Control) chooseVLAN(physicals []string, res *store.Reservation) (model.Segment, error) {
	if len(physicals) == 0 {
		f := model.Faultf(model.NoNetworkAvailable, textNoSegment)
		f.Detail = "no physical network is configured to give out VLAN IDs (vlan_ranges)"
		return model.Segment{}, f
	}
	g, err := res.ChooseSegment(func(taken func(model.Segment) bool) (model.Segment, bool) {
		for _, name := range physicals {
			r := c.cfg.VLANRanges[name]
			id, ok := ipam.ChooseSegmentationID(uint32(r[0]), uint32(r[1]), func(id uint32) bool {
				return taken(model.Segment{Type: model.SegmentVLAN, Physical: name, ID: id})
			}, c.rnd)
			if ok {
				return model.Segment{Type: model.SegmentVLAN, Physical: name, ID: id}, true
			}
		}
		return model.Segment{}, false
	})
	return g, noSegment(err)
}

const textNoSegment = "Unable to create the network. No project network is available for allocation."

func noSegment(err error) error {
	if errors.Is(err, store.ErrExhausted) {
		return model.Faultf(model.NoNetworkAvailable, textNoSegment)
	}
	return err
}

// taken turns store.ErrTaken into the fault of kind k and leaves other errors alone.
func taken(err error, k model.FaultKind, format string, args ...any) error {
	if errors.Is(err, store.ErrTaken) {
		return model.Faultf(k, format, args...)
	}
	return err
}

// invalid is Neutron's InvalidInput, which frames its reason.
func invalid(format string, args ...any) error {
	return model.Faultf(model.InvalidInput, "Invalid input for operation: "+format+".", args...)
}

// checkRevision judges If-Match: revision_number=N.
func checkRevision(want Opt[int], m model.Meta) error {
	if want.Set && want.Value != m.Revision {
		return model.Faultf(model.RevisionConflict, "Constrained to %d, but current revision is %d", want.Value, m.Revision)
	}
	return nil
}

// set assigns an Opt's value when present.
func set[T any](dst *T, o Opt[T]) {
	if o.Set {
		*dst = o.Value
	}
}

// setList assigns the list of an Opt when present; an empty one as nil, as it reads when
// it comes back from the store, so that asking for nothing twice changes nothing.
func setList[T any](dst *[]T, o Opt[[]T]) {
	if o.Set {
		*dst = o.Value
	}
	if len(*dst) == 0 {
		*dst = nil
	}
}

// UpdateNetwork changes a network. The segment cannot be changed. Asking for what is
// already so changes nothing, not even the revision.
func (c *Control) UpdateNetwork(ctx context.Context, id model.NetworkID, req NetworkRequest) (*store.Entry[model.Network], error) {
	var made *store.Entry[model.Network]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var n *model.Network
		err := c.within(ctx, txn, res, func(w *work) (err error) {
			old := w.r.Network(id)
			if old == nil {
				return model.NotFound{Kind: model.KindNetwork, ID: string(id)}
			}
			if err := checkRevision(req.IfRevision, old.Value.Meta); err != nil {
				return err
			}
			if n, err = c.changedNetwork(old.Value, req); err != nil {
				return err
			}
			if reflect.DeepEqual(n, old.Value) {
				made = old
				return errUnchanged
			}
			if err := w.openNetwork(old.Value, n); err != nil {
				return err
			}
			if n.MTU != old.Value.MTU {
				for _, s := range w.r.SubnetsOf(id) {
					if err := checkMTU(id, n.MTU, s.Value); err != nil {
						return err
					}
				}
			}
			if err := w.underQoS(old.Value.QoSPolicy, n.QoSPolicy); err != nil {
				return err
			}
			c.touch(&n.Meta)
			txn.UpdateNetwork(old, n)
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.Network{n}, rev, func(r store.Reader, n *model.Network) *store.Entry[model.Network] { return r.Network(n.ID) })[0]
		return nil
	})
	return made, err
}

// touch records a change.
func (c *Control) touch(m *model.Meta) {
	m.Revision++
	m.UpdatedAt = c.stamp()
}

func (c *Control) changedNetwork(old *model.Network, req NetworkRequest) (*model.Network, error) {
	n := *old
	g := old.Segment
	if len(req.Segments) > 0 || req.NetworkType.Set && req.NetworkType.Value != string(g.Type) ||
		req.Physical.Set && req.Physical.Value != g.Physical ||
		req.SegmentationID.Set && req.SegmentationID.Value != int64(g.ID) {
		return nil, invalid("Plugin does not support updating provider attributes")
	}
	set(&n.Name, req.Name)
	set(&n.Description, req.Description)
	set(&n.AdminStateUp, req.AdminStateUp)
	set(&n.Shared, req.Shared)
	set(&n.External, req.External)
	set(&n.IsDefault, req.IsDefault)
	set(&n.DNSDomain, req.DNSDomain)
	set(&n.QoSPolicy, req.QoSPolicy)
	n.IsDefault = n.IsDefault && n.External
	set(&n.PortSecurity, req.PortSecurity)
	if req.MTU.Set {
		mtu, err := c.mtu(n.AllSegments(), req.MTU.Value)
		if err != nil {
			return nil, err
		}
		n.MTU = mtu
	}
	return &n, nil
}

// DeleteNetwork removes a network with its subnets, DHCP ports and floating IPs that stand
// for nothing, unless other ports are on it.
func (c *Control) DeleteNetwork(ctx context.Context, id model.NetworkID, ifRevision Opt[int]) error {
	return c.transact(ctx, func(w *work) error {
		old, at := w.r.Network(id), w.r.Revision()
		if old == nil {
			return model.NotFound{Kind: model.KindNetwork, ID: string(id)}
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		ports := slices.Collect(w.r.PortsOf(id))
		free := freeFloatingIPs(w.r, id)
		held := slices.DeleteFunc(slices.Clone(ports), func(p *store.Entry[model.Port]) bool { return free[p.Value.ID] != nil })
		if inUse := notAutomatic(held); len(inUse) > 0 {
			return model.Faultf(model.NetworkInUse,
				"Unable to complete operation on network %s. There are one or more ports still in use on the network, id for these ports is: %s.",
				id, strings.Join(inUse, ","))
		}
		for _, p := range ports {
			w.txn.DeletePort(p, at)
			if f := free[p.Value.ID]; f != nil {
				store.FloatingIPs.Delete(w.txn, f, at)
			}
		}
		for _, s := range w.r.SubnetsOf(id) {
			w.txn.DeleteSubnet(s, at)
		}
		w.unshare(string(id))
		w.txn.DeleteNetwork(old, at)
		return nil
	})
}

// notAutomatic returns the IDs, sorted, of ports that do not go away with their network.
func notAutomatic(ports []*store.Entry[model.Port]) []string {
	var ids []string
	for _, p := range ports {
		if !automatic(p.Value) {
			ids = append(ids, string(p.Value.ID))
		}
	}
	slices.Sort(ids)
	return ids
}

// automatic reports whether the cloud made the port for itself and may remove it.
func automatic(p *model.Port) bool {
	return p.DeviceOwner == model.OwnerDHCP || p.DeviceOwner == model.OwnerDistributed
}
