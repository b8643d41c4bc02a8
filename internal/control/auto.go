package control

import (
	"context"
	"slices"
	"strings"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// autoTogether is how many ports get their address on a new SLAAC subnet in one transaction.
const autoTogether = 500

// ensureAuto gives the ports of a network that lack it their address on a subnet of SLAAC.
// Ports made after the subnet have it from the start. What fails is logged, and made good
// when a host that serves DHCP is heard of.
func (c *Control) ensureAuto(ctx context.Context, id model.SubnetID) {
	for done := false; !done; {
		err := c.attempt(ctx, func(res *store.Reservation) (err error) {
			done, err = c.addAuto(ctx, id, res)
			return err
		})
		if err != nil {
			c.log.Warn("ports without their address on a new subnet", "subnet", id, "err", err)
			return
		}
	}
}

// addAuto is one transaction of ensureAuto; done says that it was the last. An address
// that another port holds is left to it.
func (c *Control) addAuto(ctx context.Context, id model.SubnetID, res *store.Reservation) (done bool, err error) {
	var subnet *store.Entry[model.Subnet]
	var network *store.Entry[model.Network]
	var ports []*store.Entry[model.Port]
	c.Read(func(r store.Reader) {
		if subnet = r.Subnet(id); subnet != nil {
			network = r.Network(subnet.Value.NetworkID)
			ports = lackingAuto(r, subnet.Value)
		}
	})
	if network == nil || len(ports) == 0 {
		return true, nil
	}
	slices.SortFunc(ports, func(a, b *store.Entry[model.Port]) int {
		return strings.Compare(string(a.Value.ID), string(b.Value.ID))
	})
	if done = len(ports) <= autoTogether; !done {
		ports = ports[:autoTogether]
	}
	txn := c.store.Txn()
	for _, e := range ports {
		p := *e.Value
		f := model.FixedIP{SubnetID: id, Addr: ipam.EUI64(subnet.Value.CIDR, p.MAC)}
		if err := res.Address(id, f.Addr); err != nil {
			return done, err
		}
		p.FixedIPs = append(slices.Clone(p.FixedIPs), f)
		c.touch(&p.Meta)
		txn.UpdatePort(e, &p)
	}
	place{network: network, subnets: []*store.Entry[model.Subnet]{subnet}}.keep(txn)
	_, err = txn.Commit(ctx)
	return done, err
}

// lackingAuto returns the ports that are to get an address on a subnet of SLAAC.
func lackingAuto(r store.Reader, s *model.Subnet) (ports []*store.Entry[model.Port]) {
	for e := range r.PortsOf(s.NetworkID) {
		p := e.Value
		has := slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.SubnetID == s.ID })
		if !has && !routerInterface(p) && serves(s, p.DeviceOwner) && r.PortByAddr(s.ID, ipam.EUI64(s.CIDR, p.MAC)) == nil {
			ports = append(ports, e)
		}
	}
	return ports
}

// ensureAllAuto is ensureAuto for what another server began and did not end. To see that
// nothing lacks, it counts: ports on the network and addresses on the subnet.
func (c *Control) ensureAllAuto(ctx context.Context) {
	var todo []model.SubnetID
	c.Read(func(r store.Reader) {
		for e := range r.Subnets() {
			s := e.Value
			if s.Auto() && r.AddressCountOf(s.ID) < r.PortCountOf(s.NetworkID) && len(lackingAuto(r, s)) > 0 {
				todo = append(todo, s.ID)
			}
		}
	})
	for _, id := range todo {
		c.ensureAuto(ctx, id)
	}
}
