package control

import (
	"github.com/google/uuid"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// newSubnet judges a request for a subnet of network n.
func (w *work) newSubnet(req SubnetRequest, n *model.Network) (*model.Subnet, error) {
	pool, err := w.poolFor(&req)
	if err != nil {
		return nil, err
	}
	now := w.c.stamp()
	s := &model.Subnet{
		ID:                model.SubnetID(uuid.NewString()),
		Project:           req.Project,
		Name:              req.Name.Value,
		NetworkID:         req.NetworkID,
		CIDR:              req.CIDR.Masked(),
		Gateway:           req.Gateway.Value,
		EnableDHCP:        req.EnableDHCP.Or(true),
		RAMode:            req.RAMode,
		AddressMode:       req.AddressMode,
		DNSPublishFixedIP: req.DNSPublish.Value,
		// Neutron counts a subnet's revisions from 0, other objects' from 1.
		Meta: model.Meta{Description: req.Description.Value, CreatedAt: now, UpdatedAt: now},
	}
	setList(&s.DNSNameservers, req.DNS)
	setList(&s.HostRoutes, req.HostRoutes)
	setList(&s.ServiceTypes, req.ServiceTypes)
	set(&s.SegmentID, req.SegmentID)
	if pool != nil {
		s.PoolID = pool.Value.ID
		if s.CIDR, err = w.takePrefix(pool, s.Project, req.CIDR, req.PrefixLen.Or(pool.Value.DefaultLen)); err != nil {
			return nil, err
		}
	}
	if !req.Gateway.Set {
		s.Gateway = ipam.DefaultGateway(s.CIDR)
		if pool != nil && !req.CIDR.IsValid() {
			s.Gateway = s.CIDR.Addr().Next() // also of IPv6, as in Neutron
		}
	}
	if req.IPVersion != 0 && req.IPVersion != s.Version() {
		return nil, wrongFamily("cidr", s.CIDR, req.IPVersion)
	}
	if err := w.c.checkSubnet(s, "new subnet", s.EnableDHCP); err != nil {
		return nil, err
	}
	if err := checkModes(s); err != nil {
		return nil, err
	}
	if err := w.fits(s, pool, n); err != nil {
		return nil, err
	}
	if err := w.onSegment(nil, s, n); err != nil {
		return nil, err
	}
	if !req.Pools.Set {
		s.Pools = ipam.DefaultPools(s.CIDR, s.Gateway)
		return s, nil
	}
	s.Pools = sortedPools(req.Pools.Value)
	if err := checkPools(s.Pools, s.CIDR); err != nil {
		return nil, err
	}
	return s, checkGatewayOutside(s.Gateway, s.Pools)
}

// poolFor finds the subnet pool that a request means, or nil. A request for any prefix of
// a pool with a certain gateway asks for the prefix around that.
func (w *work) poolFor(req *SubnetRequest) (*store.Entry[model.SubnetPool], error) {
	var pool *store.Entry[model.SubnetPool]
	switch {
	case req.CIDR.IsValid() && req.PrefixLen.Set:
		return nil, badSubnet("cidr and prefixlen must not be supplied together")
	case req.DefaultPool && req.PoolID != "":
		return nil, badSubnet("subnetpool_id and use_default_subnetpool cannot both be specified")
	case req.DefaultPool:
		version := req.IPVersion
		if req.CIDR.IsValid() {
			version = model.IPVersion(req.CIDR.Addr())
		}
		if pool = w.defaultPool(version); pool == nil {
			return nil, badSubnet("No default subnetpool found for IPv%d", version)
		}
	case req.PoolID != "":
		pool = store.SubnetPools.Get(w.r, req.PoolID)
		if pool == nil || !w.sees(req.PoolID, pool.Value.Project, pool.Value.Shared) {
			return nil, model.NotFound{Kind: model.KindSubnetPool, ID: req.PoolID}
		}
	case !req.CIDR.IsValid():
		return nil, badSubnet("a subnetpool must be specified in the absence of a cidr")
	default:
		return nil, nil
	}
	if req.IPVersion != 0 && req.IPVersion != pool.Value.IPVersion {
		return nil, badSubnet("Cannot allocate IPv%d subnet from IPv%d subnet pool", req.IPVersion, pool.Value.IPVersion)
	}
	if req.CIDR.IsValid() {
		return pool, nil
	}
	if req.Pools.Set {
		return nil, badSubnet("allocation_pools allowed only for specific subnet requests.")
	}
	if g := req.Gateway.Value; g.IsValid() {
		if cidr, err := g.Prefix(int(req.PrefixLen.Or(pool.Value.DefaultLen))); err == nil {
			req.CIDR = cidr
		}
	}
	return pool, nil
}

// fits judges a new subnet against its network and the subnets there, also those that the
// request makes.
func (w *work) fits(s *model.Subnet, pool *store.Entry[model.SubnetPool], n *model.Network) error {
	if s.CIDR.Bits() == 0 {
		return invalid("0 is not allowed as CIDR prefix length")
	}
	if err := checkMTU(n.ID, n.MTU, s); err != nil {
		return err
	}
	others := w.neighbours(s)
	scope := ""
	for _, o := range others {
		if o.CIDR.Overlaps(s.CIDR) {
			return invalid("Requested subnet with cidr: %s for network: %s overlaps with another subnet", s.CIDR, s.NetworkID)
		}
		if p := store.SubnetPools.Get(w.r, o.PoolID); p != nil && o.Version() == s.Version() && p.Value.ScopeID != "" {
			scope = p.Value.ScopeID
		}
	}
	if scope != "" && pool != nil && pool.Value.ScopeID != scope {
		return errScopeAffinity
	}
	for _, o := range others {
		if o.Version() == s.Version() && o.PoolID != s.PoolID && (s.PoolID == "" || scope == "") {
			return errPoolAffinity
		}
	}
	return nil
}

// neighbours returns the other subnets of a subnet's network, also those that the request
// makes.
func (w *work) neighbours(s *model.Subnet) (others []*model.Subnet) {
	for _, e := range w.r.SubnetsOf(s.NetworkID) {
		if e.Value.ID != s.ID {
			others = append(others, e.Value)
		}
	}
	for _, o := range w.batch {
		if o, is := o.(*model.Subnet); is && o.NetworkID == s.NetworkID {
			others = append(others, o)
		}
	}
	return others
}

// The least MTUs with which subnets work (RFC 791, RFC 8200).
const (
	minMTU4 = 68
	minMTU6 = 1280
)

// checkMTU refuses a network's MTU with which one of the subnets cannot work.
func checkMTU(id model.NetworkID, mtu int, subnets ...*model.Subnet) error {
	for _, s := range subnets {
		least := minMTU4
		if s.Version() == 6 && mtu >= minMTU4 {
			least = minMTU6
		}
		if mtu < least {
			return model.Faultf(model.MTUTooSmall, "MTU of %s is not valid, subnet requires a minimum of %d", id, least)
		}
	}
	return nil
}

// badSubnet is the fault of attributes that contradict each other.
func badSubnet(format string, args ...any) error {
	return model.Faultf(model.BadRequest, "Bad subnets request: "+format+".", args...)
}

// checkModes judges the IPv6 modes of a new subnet.
func checkModes(s *model.Subnet) error {
	switch {
	case s.Version() == 4 && s.RAMode != "":
		return invalid("ipv6_ra_mode is not valid when ip_version is 4")
	case s.Version() == 4 && s.AddressMode != "":
		return invalid("ipv6_address_mode is not valid when ip_version is 4")
	case !s.EnableDHCP && (s.RAMode != "" || s.AddressMode != ""):
		return invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case s.RAMode != "" && s.AddressMode != "" && s.RAMode != s.AddressMode:
		return invalid("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. If both attributes are set, they must be the same value",
			s.RAMode, s.AddressMode)
	case s.Auto() && s.CIDR.Bits() != 64:
		return invalid("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64", s.CIDR)
	}
	return nil
}
