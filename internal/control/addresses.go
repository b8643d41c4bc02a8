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

// chooseAddresses reserves the addresses of a new port. Without a wish it is one address
// of the first subnet with space; an empty list means none. together is how many ports
// the request makes, which widens the window to draw from.
func (c *Control) chooseAddresses(p *model.Port, asked Opt[[]FixedIPRequest], at place, res *store.Reservation, together int) ([]model.FixedIP, error) {
	if asked.Set {
		return c.askedAddresses(p, nil, asked.Value, at, res, together)
	}
	if len(at.subnets) == 0 {
		return nil, nil
	}
	var wait error
	for _, s := range at.subnets {
		f, err := c.chooseAddress(p, s.Value, res, together)
		switch {
		case err == nil:
			return []model.FixedIP{f}, nil
		case errors.As(err, new(store.Pending)):
			wait = err
		case !errors.Is(err, store.ErrExhausted):
			return nil, err
		}
	}
	if wait != nil {
		return nil, wait
	}
	return nil, exhausted(p.NetworkID, at.subnets...)
}

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
func exhausted(id model.NetworkID, subnets ...*store.Entry[model.Subnet]) error {
	f := model.Faultf(model.IPExhausted, "No more IP addresses available on network %s.", id)
	for i, s := range subnets {
		if i > 0 {
			f.Detail += "; "
		}
		var size uint64
		for _, p := range s.Value.Pools {
			size += ipam.NewSet(s.Value.CIDR).FreeUpTo(p, 1<<62)
		}
		f.Detail += fmt.Sprintf("subnet %s: all %d addresses of its pools are taken", s.Value.ID, size)
	}
	return f
}

// askedAddresses reserves what a list of wishes asks for, keeping those of had that fit.
// Wishes for a certain address come first, so that a chosen one never takes it. No wishes
// give nil, as it reads when it comes back from the store.
func (c *Control) askedAddresses(p *model.Port, had []model.FixedIP, asked []FixedIPRequest, at place, res *store.Reservation, together int) ([]model.FixedIP, error) {
	if len(asked) > maxFixedIPs {
		return nil, invalid("Exceeded maximum amount of fixed ips per port")
	}
	if len(asked) == 0 {
		return nil, nil
	}
	out := make([]model.FixedIP, len(asked))
	keep := slices.Clone(had)
	for i, r := range asked {
		if !r.Addr.IsValid() {
			continue
		}
		s, err := subnetFor(p, r, at)
		if err != nil {
			return nil, err
		}
		out[i] = model.FixedIP{SubnetID: s.ID, Addr: r.Addr}
		if k := slices.Index(keep, out[i]); k >= 0 {
			keep = slices.Delete(keep, k, k+1)
			continue
		}
		err = taken(res.Address(s.ID, r.Addr), model.IPAlreadyAllocated,
			"IP address %s already allocated in subnet %s", r.Addr, s.ID)
		if err != nil {
			return nil, err
		}
	}
	for i, r := range asked {
		if r.Addr.IsValid() {
			continue
		}
		s, err := subnetFor(p, r, at)
		if err != nil {
			return nil, err
		}
		if k := slices.IndexFunc(keep, func(f model.FixedIP) bool { return f.SubnetID == s.ID }); k >= 0 {
			out[i] = keep[k]
			keep = slices.Delete(keep, k, k+1)
			continue
		}
		out[i], err = c.chooseAddress(p, s, res, together)
		if errors.Is(err, store.ErrExhausted) {
			return nil, exhausted(p.NetworkID, &store.Entry[model.Subnet]{Value: s})
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// subnetFor finds the subnet a wish means and judges the address against it.
func subnetFor(p *model.Port, r FixedIPRequest, at place) (*model.Subnet, error) {
	if r.SubnetID == "" {
		if !r.Addr.IsValid() {
			return nil, invalid("IP allocation requires subnet_id or ip_address")
		}
		for _, s := range at.subnets {
			if ipam.IsHostAddress(s.Value.CIDR, r.Addr) {
				return s.Value, nil
			}
		}
		if len(at.subnets) == 0 {
			return nil, invalid("IP allocation requires subnets for network")
		}
		return nil, model.Faultf(model.InvalidIPForNetwork,
			"IP address %s is not a valid IP for any of the subnets on the specified network.", r.Addr)
	}
	for _, s := range at.subnets {
		if s.Value.ID != r.SubnetID {
			continue
		}
		if r.Addr.IsValid() && !ipam.IsHostAddress(s.Value.CIDR, r.Addr) {
			return nil, model.Faultf(model.InvalidIPForSubnet,
				"IP address %s is not a valid IP for the specified subnet.", r.Addr)
		}
		return s.Value, nil
	}
	return nil, wrongSubnet{network: p.NetworkID, subnet: r.SubnetID}
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
