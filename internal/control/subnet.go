package control

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// CreateSubnet makes a subnet on a network, and the network's DHCP port when the subnet
// wants DHCP and a live host serves it.
func (c *Control) CreateSubnet(ctx context.Context, req SubnetRequest) (*store.Entry[model.Subnet], error) {
	made, err := c.CreateSubnets(ctx, []SubnetRequest{req})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// CreateSubnets makes all subnets or none.
func (c *Control) CreateSubnets(ctx context.Context, reqs []SubnetRequest) ([]*store.Entry[model.Subnet], error) {
	if err := checkTogether(len(reqs)); err != nil {
		return nil, err
	}
	var made []*store.Entry[model.Subnet]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		subnets := make([]*model.Subnet, 0, len(reqs))
		changed := map[model.NetworkID]*model.Network{}
		err := c.within(ctx, txn, res, func(w *work) error {
			r := w.r
			if err := countEach(w, "subnet", reqs, func(r SubnetRequest) model.ProjectID { return r.Project }); err != nil {
				return err
			}
			for _, req := range reqs {
				old, err := c.VisibleNetwork(r, CallerOf(ctx), req.NetworkID)
				if err != nil {
					return err
				}
				s, err := w.newSubnet(req, old.Value)
				if err != nil {
					return err
				}
				subnets = append(subnets, s)
				w.batch = append(w.batch, s)
				txn.CreateSubnet(s)
				if n := changed[s.NetworkID]; n != nil {
					n.Revision++
					continue
				}
				n := c.touchedNetwork(old)
				changed[s.NetworkID] = n
			}
			for id, n := range changed {
				txn.UpdateNetwork(r.Network(id), n)
			}
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, subnets, rev, func(r store.Reader, s *model.Subnet) *store.Entry[model.Subnet] { return r.Subnet(s.ID) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.settle(ctx, made)
	return made, nil
}

// settle gives new subnets what follows from them: the network's DHCP port, and in those
// of SLAAC an address for each port there is.
func (c *Control) settle(ctx context.Context, made []*store.Entry[model.Subnet]) {
	done := map[model.NetworkID]bool{}
	for _, e := range made {
		if s := e.Value; s.EnableDHCP && !done[s.NetworkID] {
			done[s.NetworkID] = true
			c.ensureDHCP(ctx, s.NetworkID)
		}
		if e.Value.Auto() {
			c.ensureAuto(ctx, e.Value.ID)
		}
	}
}

// touchedNetwork returns a copy of a network with its change recorded: a change of a
// subnet is a change of its network.
func (c *Control) touchedNetwork(old *store.Entry[model.Network]) *model.Network {
	n := *old.Value
	c.touch(&n.Meta)
	return &n
}

// wrongFamily is the fault of an address of the other family than the subnet's.
func wrongFamily(name string, value fmt.Stringer, version int64) error {
	return invalid("%s '%s' does not match the ip_version '%d'", name, value, version)
}

// checkSubnet judges what both creation and change must keep. id is how messages call
// the subnet; newDHCP says that DHCP is being switched on.
func (c *Control) checkSubnet(s *model.Subnet, id string, newDHCP bool) error {
	version := s.Version()
	other := func(a netip.Addr) bool { return model.IPVersion(a) != version }
	if version == 6 && s.CIDR.Addr().IsUnspecified() {
		return invalid("IPv6 subnet '::' is not supported")
	}
	if newDHCP {
		if err := checkDHCPPrefix(s.CIDR); err != nil {
			return err
		}
	}
	if s.Gateway.IsValid() {
		if other(s.Gateway) {
			return wrongFamily("gateway_ip", s.Gateway, version)
		}
		if !ipam.GatewayValid(s.CIDR, s.Gateway) {
			return invalid("Gateway is not valid on subnet")
		}
	}
	if len(s.DNSNameservers) > c.cfg.MaxNameservers {
		return model.Faultf(model.NameserversExhausted,
			"Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", id, c.cfg.MaxNameservers)
	}
	for _, a := range s.DNSNameservers {
		if other(a) {
			return wrongFamily("dns_nameserver", a, version)
		}
	}
	if len(s.HostRoutes) > c.cfg.MaxHostRoutes {
		return model.Faultf(model.HostRoutesExhausted,
			"Unable to complete operation for %s. The number of host routes exceeds the limit %d.", id, c.cfg.MaxHostRoutes)
	}
	for _, r := range s.HostRoutes {
		if other(r.NextHop) {
			return wrongFamily("nexthop", r.NextHop, version)
		}
		if other(r.Destination.Addr()) {
			return wrongFamily("destination", r.Destination, version)
		}
	}
	return nil
}

// checkDHCPPrefix refuses prefixes in which a DHCP server cannot live.
func checkDHCPPrefix(cidr netip.Prefix) error {
	switch {
	case cidr.Bits() > cidr.Addr().BitLen()-2:
		return invalid("Subnet has a prefix length that is incompatible with DHCP service enabled")
	case cidr.Addr().IsMulticast():
		return invalid("Multicast IP subnet is not supported if enable_dhcp is True")
	case cidr.Addr().IsLoopback():
		return invalid("Loopback IP subnet is not supported if enable_dhcp is True")
	case cidr.Addr().Is4() && cidr.Addr().IsUnspecified():
		return invalid("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")
	}
	return nil
}

// poolText prints a pool as Neutron's messages do.
func poolText(p model.Pool) string { return fmt.Sprintf("%s-%s", p.First, p.Last) }

func sortedPools(pools []model.Pool) []model.Pool {
	if len(pools) == 0 {
		return nil // as it reads when it comes back from the store
	}
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b model.Pool) int { return a.First.Compare(b.First) })
	return pools
}

// checkPools judges pools, sorted by their first address, of a subnet.
func checkPools(pools []model.Pool, cidr netip.Prefix) error {
	for _, p := range pools {
		if p.First.Is4() != cidr.Addr().Is4() || p.Last.Is4() != cidr.Addr().Is4() || p.Last.Less(p.First) {
			return model.Faultf(model.InvalidAllocationPool,
				"The allocation pool {'start': '%s', 'end': '%s'} is not valid.", p.First, p.Last)
		}
		if !ipam.IsHostAddress(cidr, p.First) || !ipam.IsHostAddress(cidr, p.Last) {
			return model.Faultf(model.OutOfBoundsPool,
				"The allocation pool %s spans beyond the subnet cidr %s.", poolText(p), cidr)
		}
	}
	for i := 1; i < len(pools); i++ {
		if pools[i-1].Last.Compare(pools[i].First) >= 0 {
			return model.Faultf(model.OverlappingPools,
				"Found overlapping allocation pools: %s %s for subnet %s.", poolText(pools[i-1]), poolText(pools[i]), cidr)
		}
	}
	return nil
}

func checkGatewayOutside(gateway netip.Addr, pools []model.Pool) error {
	for _, p := range pools {
		if gateway.IsValid() && p.Contains(gateway) {
			return model.Faultf(model.GatewayConflictsPool,
				"Gateway ip %s conflicts with allocation pool %s.", gateway, poolText(p))
		}
	}
	return nil
}

// UpdateSubnet changes a subnet, and the network's DHCP port when that follows from it.
func (c *Control) UpdateSubnet(ctx context.Context, id model.SubnetID, req SubnetRequest) (*store.Entry[model.Subnet], error) {
	var made *store.Entry[model.Subnet]
	dhcpChanged := false
	err := c.attempt(ctx, func(res *store.Reservation) error {
		var old *store.Entry[model.Subnet]
		var network *store.Entry[model.Network]
		var ports []*store.Entry[model.Port]
		c.Read(func(r store.Reader) {
			if old = r.Subnet(id); old != nil {
				network = r.Network(old.Value.NetworkID)
				ports = slices.Collect(r.PortsOnSubnet(id))
			}
		})
		if old == nil || network == nil {
			return model.NotFound{Kind: model.KindSubnet, ID: string(id)}
		}
		if err := checkRevision(req.IfRevision, old.Value.Meta); err != nil {
			return err
		}
		s, err := c.changedSubnet(old.Value, req, ports)
		if err != nil {
			return err
		}
		if reflect.DeepEqual(s, old.Value) {
			made = old
			return errUnchanged
		}
		// Larger pools may have the address that the DHCP port lacks.
		dhcpChanged = s.EnableDHCP || old.Value.EnableDHCP
		c.touch(&s.Meta)
		txn := c.store.Txn()
		if err := c.within(ctx, txn, res, func(w *work) error { return w.onSegment(old.Value, s, network.Value) }); err != nil {
			return err
		}
		txn.UpdateSubnet(old, s)
		txn.UpdateNetwork(network, c.touchedNetwork(network))
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.Subnet{s}, rev, func(r store.Reader, s *model.Subnet) *store.Entry[model.Subnet] { return r.Subnet(s.ID) })[0]
		return nil
	})
	if err == nil && dhcpChanged {
		c.ensureDHCP(ctx, made.Value.NetworkID)
	}
	return made, err
}

func (c *Control) changedSubnet(old *model.Subnet, req SubnetRequest, ports []*store.Entry[model.Port]) (*model.Subnet, error) {
	s := *old
	set(&s.Name, req.Name)
	set(&s.Description, req.Description)
	set(&s.Gateway, req.Gateway)
	set(&s.EnableDHCP, req.EnableDHCP)
	setList(&s.DNSNameservers, req.DNS)
	setList(&s.HostRoutes, req.HostRoutes)
	setList(&s.ServiceTypes, req.ServiceTypes)
	set(&s.DNSPublishFixedIP, req.DNSPublish)
	set(&s.SegmentID, req.SegmentID)
	if req.EnableDHCP.Set && !s.EnableDHCP && (s.RAMode != "" || s.AddressMode != "") {
		return nil, invalid("Cannot disable enable_dhcp with ipv6 attributes set")
	}
	if err := c.checkSubnet(&s, string(s.ID), s.EnableDHCP && !old.EnableDHCP); err != nil {
		return nil, err
	}
	if s.Gateway != old.Gateway && old.Gateway.IsValid() {
		for _, e := range ports {
			if p := e.Value; routerOwned(p) && slices.Contains(p.FixedIPs, model.FixedIP{SubnetID: s.ID, Addr: old.Gateway}) {
				return nil, model.Faultf(model.GatewayInUse,
					"Current gateway ip %s already in use by port %s. Unable to update.", old.Gateway, p.ID)
			}
		}
	}
	if req.Pools.Set {
		s.Pools = sortedPools(req.Pools.Value)
		if err := checkPools(s.Pools, s.CIDR); err != nil {
			return nil, err
		}
	}
	if req.Pools.Set || s.Gateway != old.Gateway {
		if err := checkGatewayOutside(s.Gateway, s.Pools); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

func routerOwned(p *model.Port) bool {
	return routerInterface(p) || p.DeviceOwner == model.OwnerRouterGateway
}

// routerInterface reports whether a port is a router's on a network of guests. Such a port
// has only the addresses that it was given.
func routerInterface(p *model.Port) bool {
	switch p.DeviceOwner {
	case model.OwnerRouterInterface, "network:ha_router_replicated_interface",
		"network:router_interface_distributed", "network:router_centralized_snat":
		return true
	}
	return false
}

// DeleteSubnet removes a subnet unless a port that is not the cloud's own holds an
// address of it that it did not get by itself: those of SLAAC go with the subnet, except
// routers'. The DHCP port loses its address, or goes when it was the last.
func (c *Control) DeleteSubnet(ctx context.Context, id model.SubnetID, ifRevision Opt[int]) error {
	return c.attempt(ctx, func(*store.Reservation) error {
		var old *store.Entry[model.Subnet]
		var network *store.Entry[model.Network]
		var ports []*store.Entry[model.Port]
		var at int64
		c.Read(func(r store.Reader) {
			at = r.Revision()
			if old = r.Subnet(id); old != nil {
				network = r.Network(old.Value.NetworkID)
				ports = slices.Collect(r.PortsOnSubnet(id))
			}
		})
		if old == nil || network == nil {
			return model.NotFound{Kind: model.KindSubnet, ID: string(id)}
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		stays := func(e *store.Entry[model.Port]) bool {
			return !automatic(e.Value) && (!old.Value.Auto() || routerInterface(e.Value))
		}
		if slices.ContainsFunc(ports, stays) {
			return model.Faultf(model.SubnetInUse,
				"Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id)
		}
		txn := c.store.Txn()
		for _, e := range ports {
			p := *e.Value
			p.FixedIPs = slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f model.FixedIP) bool { return f.SubnetID == id })
			if len(p.FixedIPs) == 0 {
				p.FixedIPs = nil
			}
			if automatic(&p) && p.FixedIPs == nil {
				txn.DeletePort(e, at)
				continue
			}
			c.touch(&p.Meta)
			txn.UpdatePort(e, &p)
		}
		txn.DeleteSubnet(old, at)
		txn.UpdateNetwork(network, c.touchedNetwork(network))
		_, err := txn.Commit(ctx)
		return err
	})
}
