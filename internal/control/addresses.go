package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// maxFixedIPs is how many addresses a port may have.
const maxFixedIPs = 5

// chooseAddresses reserves the addresses of a new port, except those that follow from its
// MAC; see autoAddresses. Without a wish it is one address of the first IPv4 subnet with
// space, and one of the first such IPv6 subnet; an empty list means none. together is how
// many ports the request makes, which widens the window to draw from.
func (c *Control) chooseAddresses(p *model.Port, asked Opt[[]FixedIPRequest], at place, res *store.Reservation, together int) ([]model.FixedIP, error) {
	if asked.Set {
		return c.askedAddresses(p, nil, asked.Value, at, res, together)
	}
	subnets, err := at.subnetsFor(p)
	if err != nil {
		return nil, err
	}
	var out []model.FixedIP
	for _, version := range []int64{4, 6} {
		var some []*model.Subnet
		for _, s := range subnets {
			if s.Version() == version && !s.Auto() {
				some = append(some, s)
			}
		}
		if len(some) == 0 {
			continue
		}
		f, err := c.chooseAmong(p, some, res, together)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// chooseAmong reserves an address of the first of some subnets with space.
func (c *Control) chooseAmong(p *model.Port, some []*model.Subnet, res *store.Reservation, together int) (model.FixedIP, error) {
	var wait error
	for _, s := range some {
		f, err := c.chooseAddress(p, s, res, together)
		switch {
		case err == nil:
			return f, nil
		case errors.As(err, new(store.Pending)):
			wait = err
		case !errors.Is(err, store.ErrExhausted):
			return f, err
		}
	}
	if wait != nil {
		return model.FixedIP{}, wait
	}
	return model.FixedIP{}, exhausted(p.NetworkID, some...)
}

// subnetsFor returns the subnets of the network that give addresses to ports of this
// device owner, those for certain owners first. A network without subnets is no fault.
func (at place) subnetsFor(p *model.Port) ([]*model.Subnet, error) {
	var special, general []*model.Subnet
	for _, e := range at.subnets {
		switch s := e.Value; {
		case len(s.ServiceTypes) == 0:
			general = append(general, s)
		case serves(s, p.DeviceOwner):
			special = append(special, s)
		}
	}
	if len(special)+len(general) == 0 && len(at.subnets) > 0 {
		return nil, model.Faultf(model.NoServiceSubnet,
			"No valid service subnet for the given device owner, network %s, service type %s.", p.NetworkID, p.DeviceOwner)
	}
	return append(special, general...), nil
}

// serves reports whether a subnet gives addresses to ports of a device owner.
func serves(s *model.Subnet, owner string) bool {
	return len(s.ServiceTypes) == 0 || slices.Contains(s.ServiceTypes, owner) || owner == model.OwnerDHCP && s.EnableDHCP
}

// autoAddresses adds to the addresses of a port what follows from its MAC: one on each
// subnet of SLAAC. A router's interface has none of itself. had are the port's addresses
// so far, and asked the wishes, which can name no other address of such a subnet.
func (c *Control) autoAddresses(p *model.Port, had []model.FixedIP, asked []FixedIPRequest, at place, res *store.Reservation) error {
	if routerInterface(p) {
		return nil
	}
	subnets, err := at.subnetsFor(p)
	if err != nil {
		return err
	}
	for _, s := range subnets {
		if !s.Auto() {
			continue
		}
		f := model.FixedIP{SubnetID: s.ID, Addr: ipam.EUI64(s.CIDR, p.MAC)}
		for _, r := range asked {
			if r.Addr != f.Addr && (r.SubnetID == "" || r.SubnetID == s.ID) && s.CIDR.Contains(r.Addr) {
				return model.Faultf(model.AddressOnAutoSubnet,
					"IPv6 address %s cannot be directly assigned to a port on subnet %s as the subnet is configured for automatic addresses", r.Addr, s.ID)
			}
		}
		if !slices.Contains(had, f) {
			err := taken(res.Address(s.ID, f.Addr), model.IPAlreadyAllocated, textAllocated, f.Addr, s.ID)
			if err != nil {
				return err
			}
		}
		p.FixedIPs = append(p.FixedIPs, f)
	}
	return nil
}

// changeAddresses gives a port the addresses that an update asks for, and those that
// follow from a new MAC.
func (c *Control) changeAddresses(p, old *model.Port, req PortRequest, at place, res *store.Reservation) error {
	if !req.FixedIPs.Set && p.MAC == old.MAC {
		return nil
	}
	if req.FixedIPs.Set {
		ips, err := c.askedAddresses(p, old.FixedIPs, req.FixedIPs.Value, at, res, 1)
		if err != nil {
			return err
		}
		p.FixedIPs = ips
	} else if !routerInterface(p) {
		p.FixedIPs = nil
		for _, f := range old.FixedIPs {
			if !at.auto(f.SubnetID) {
				p.FixedIPs = append(p.FixedIPs, f)
			}
		}
	}
	return c.autoAddresses(p, old.FixedIPs, req.FixedIPs.Value, at, res)
}

// auto reports whether addresses of a subnet follow from MACs.
func (at place) auto(id model.SubnetID) bool {
	return slices.ContainsFunc(at.subnets, func(e *store.Entry[model.Subnet]) bool { return e.Value.ID == id && e.Value.Auto() })
}

const textAllocated = "IP address %s already allocated in subnet %s"

// chooseAddress reserves one free address of a subnet. Ports of the cloud's own take the
// lowest; others any of a window, so that an address just given back is not at once
// given out again.
func (c *Control) chooseAddress(p *model.Port, s *model.Subnet, res *store.Reservation, together int) (model.FixedIP, error) {
	addr, err := res.ChooseAddress(s.ID, func(busy *ipam.Set) (netip.Addr, bool) {
		if automatic(p) {
			return ipam.ChooseLowest(s.Pools, busy)
		}
		return ipam.ChooseAddress(s.Pools, busy, ipam.Window(together), c.rnd)
	})
	return model.FixedIP{SubnetID: s.ID, Addr: addr}, err
}

// exhausted is the fault of a network without a free address; the detail has the numbers.
func exhausted(id model.NetworkID, subnets ...*model.Subnet) error {
	f := model.Faultf(model.IPExhausted, "No more IP addresses available on network %s.", id)
	for i, s := range subnets {
		if i > 0 {
			f.Detail += "; "
		}
		var size uint64
		for _, p := range s.Pools {
			size += ipam.NewSet(s.CIDR).FreeUpTo(p, 1<<62)
		}
		f.Detail += fmt.Sprintf("subnet %s: all %d addresses of its pools are taken", s.ID, size)
	}
	return f
}

// askedAddresses reserves what a list of wishes asks for, keeping those of had that fit.
// Wishes for a certain address come first, so that a chosen one never takes it. Those for
// addresses that follow from the MAC are left to autoAddresses. No wishes give nil, as it
// reads when it comes back from the store.
func (c *Control) askedAddresses(p *model.Port, had []model.FixedIP, asked []FixedIPRequest, at place, res *store.Reservation, together int) ([]model.FixedIP, error) {
	if len(asked) > maxFixedIPs {
		return nil, invalid("Exceeded maximum amount of fixed ips per port")
	}
	subnets, err := at.subnetsFor(p)
	if err != nil {
		return nil, err
	}
	wishes := make([]wish, 0, len(asked))
	for _, r := range asked {
		s, err := subnetFor(p, r, subnets)
		if err != nil {
			return nil, err
		}
		if !s.Auto() || routerInterface(p) {
			wishes = append(wishes, wish{s, model.FixedIP{SubnetID: s.ID, Addr: r.Addr}})
		}
	}
	keep := slices.Clone(had)
	for _, w := range wishes {
		if !w.Addr.IsValid() {
			continue
		}
		if k := slices.Index(keep, w.FixedIP); k >= 0 {
			keep = slices.Delete(keep, k, k+1)
			continue
		}
		err := taken(res.Address(w.SubnetID, w.Addr), model.IPAlreadyAllocated, textAllocated, w.Addr, w.SubnetID)
		if err != nil {
			return nil, err
		}
	}
	var out []model.FixedIP
	for _, w := range wishes {
		k := slices.IndexFunc(keep, func(f model.FixedIP) bool { return f.SubnetID == w.SubnetID })
		switch {
		case w.Addr.IsValid():
		case k >= 0:
			w.FixedIP = keep[k]
			keep = slices.Delete(keep, k, k+1)
		default:
			w.FixedIP, err = c.chooseAmong(p, []*model.Subnet{w.subnet}, res, together)
			if err != nil {
				return nil, err
			}
		}
		out = append(out, w.FixedIP)
	}
	return out, nil
}

// wish is a wish for an address, any when it has none, of a subnet.
type wish struct {
	subnet *model.Subnet
	model.FixedIP
}

// subnetFor finds which of the subnets a wish means and judges the address against it.
func subnetFor(p *model.Port, r FixedIPRequest, subnets []*model.Subnet) (*model.Subnet, error) {
	if r.SubnetID == "" {
		if !r.Addr.IsValid() {
			return nil, invalid("IP allocation requires subnet_id or ip_address")
		}
		for _, s := range subnets {
			if mayHold(p, s, r.Addr) {
				return s, nil
			}
		}
		if len(subnets) == 0 {
			return nil, invalid("IP allocation requires subnets for network")
		}
		return nil, model.Faultf(model.InvalidIPForNetwork,
			"IP address %s is not a valid IP for any of the subnets on the specified network.", r.Addr)
	}
	for _, s := range subnets {
		if s.ID != r.SubnetID {
			continue
		}
		if r.Addr.IsValid() && !mayHold(p, s, r.Addr) {
			return nil, model.Faultf(model.InvalidIPForSubnet,
				"IP address %s is not a valid IP for the specified subnet.", r.Addr)
		}
		return s, nil
	}
	return nil, wrongSubnet{network: p.NetworkID, subnet: r.SubnetID}
}

// mayHold reports whether a port may have an address of a subnet. The subnet-router
// anycast address is for routers, and for ports that could become a router's.
func mayHold(p *model.Port, s *model.Subnet, a netip.Addr) bool {
	if ipam.IsHostAddress(s.CIDR, a) {
		return true
	}
	return s.Version() == 6 && a == s.CIDR.Addr() && (p.DeviceOwner == "" || routerOwned(p))
}

// wrongSubnet says that a wish names a subnet that is not on the network; whether it is
// anywhere decides the fault.
type wrongSubnet struct {
	network model.NetworkID
	subnet  model.SubnetID
}

func (e wrongSubnet) Error() string {
	return fmt.Sprintf("subnet %s is not on network %s", e.subnet, e.network)
}

// fault returns NotFound when the subnet does not exist, InvalidInput when it is elsewhere.
func (e wrongSubnet) fault(c *Control) error {
	known := false
	c.Read(func(r store.Reader) { known = r.Subnet(e.subnet) != nil })
	if !known {
		return model.NotFound{Kind: model.KindSubnet, ID: string(e.subnet)}
	}
	return invalid("Failed to create port on network %s, because fixed_ips included invalid subnet %s", e.network, e.subnet)
}
