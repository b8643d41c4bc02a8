package view

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/model"
)

const (
	// maxOFPort is the highest OpenFlow number that an ordinary port has.
	maxOFPort = 0xfeff
	// maxVLAN is the highest local VLAN.
	maxVLAN = 4094
)

// bound reports whether a port is realised on a host. A port that failed to bind is on none.
func bound(p *model.Port, host model.HostName) bool {
	return host != "" && p.Binding.Host == host && p.Binding.VIFType != model.VIFBindingFailed
}

// here reports whether a host that knows a port's network realises the port.
func here(p *model.Port, host model.HostName) bool { return bound(p, host) || p.Distributed() }

// NetworksOf lists the networks of which a host needs to know, sorted: those that
// exist and have a port bound to it.
func NetworksOf(c Cloud, host model.HostName) []model.NetworkID {
	ids := map[model.NetworkID]bool{}
	for _, p := range c.Ports {
		if p != nil && bound(p, host) && c.Networks[p.NetworkID] != nil {
			ids[p.NetworkID] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// Part returns the part of a cloud that concerns a host: what a server sends to it. These
// are the networks with a port bound there, with all their subnets and all their
// ports, wherever those are bound; the security groups of the filtered ports bound
// there, and what their rules name: members and address groups. The objects are
// shared, not copied.
func Part(c Cloud, host model.HostName) Cloud {
	part := NewCloud()
	for _, id := range NetworksOf(c, host) {
		part.Networks[id] = c.Networks[id]
	}
	for id, s := range c.Subnets {
		if s != nil && part.Networks[s.NetworkID] != nil {
			part.Subnets[id] = s
		}
	}
	for id, p := range c.Ports {
		if p != nil && part.Networks[p.NetworkID] != nil {
			part.Ports[id] = p
			if bound(p, host) && p.Filtered() {
				for _, id := range p.SecurityGroups {
					if g := c.Groups[id]; g != nil {
						part.Groups[id] = g
					}
				}
			}
		}
	}
	groups, addresses := named(maps.Values(part.Groups))
	for id, m := range c.Members {
		if m != nil && groups[id.Group] {
			part.Members[id] = m
		}
	}
	for id := range addresses {
		if a := c.AddressGroups[id]; a != nil {
			part.AddressGroups[id] = a
		}
	}
	for _, p := range part.Ports {
		if h := p.Binding.Host; h != host && bound(p, h) && c.Peers[h] != nil {
			part.Peers[h] = c.Peers[h]
		}
	}
	return part
}

// Of makes the View of a host from a cloud (or a part of one), what is attached to its
// integration bridge and the local VLANs of its networks.
//
// It answers for any input. A subnet or a port whose network is unknown is left
// out. Of several attachments of one port the newest counts, the one with the highest
// OpenFlow port: the others are devices left behind. Of several on one OpenFlow port
// the first by port ID counts; of several networks with one local VLAN the first by ID
// has it. An attachment without an OpenFlow port (the device is missing or
// broken) is none. Keys of the cloud's maps count, should an object disagree.
func Of(c Cloud, attachments []Attachment, host model.HostName, vlans map[model.NetworkID]LocalVLAN) View {
	v := View{Host: host}
	networks := map[model.NetworkID]*Network{}
	taken := map[LocalVLAN]bool{}
	for _, id := range NetworksOf(c, host) {
		n := &Network{Network: c.Networks[id], LocalVLAN: vlans[id]}
		if n.LocalVLAN > maxVLAN || taken[n.LocalVLAN] {
			n.LocalVLAN = 0 // rather unwired than wired to another's network
		}
		taken[n.LocalVLAN] = n.LocalVLAN != 0
		networks[id] = n
		v.Networks = append(v.Networks, n)
	}
	for _, id := range slices.Sorted(maps.Keys(c.Subnets)) {
		if s := c.Subnets[id]; s != nil && networks[s.NetworkID] != nil {
			networks[s.NetworkID].Subnets = append(networks[s.NetworkID].Subnets, s)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Ports)) {
		p := c.Ports[id]
		if p == nil || networks[p.NetworkID] == nil {
			continue
		}
		n := networks[p.NetworkID]
		n.Ports = append(n.Ports, p)
		if n.DHCPPort == nil && p.DeviceOwner == model.OwnerDHCP && here(p, host) {
			n.DHCPPort = p
		}
	}
	for _, n := range v.Networks {
		n.Peers = peers(c, n, host)
	}
	v.attach(c, attachments, networks)
	v.guard(c)
	return v
}

// peers are the other hosts of a network, sorted by name.
func peers(c Cloud, n *Network, host model.HostName) []*Peer {
	found := map[model.HostName]*Peer{}
	for _, p := range n.Ports {
		if peer := c.Peers[p.Binding.Host]; peer != nil && p.Binding.Host != host && bound(p, p.Binding.Host) {
			found[p.Binding.Host] = peer
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *Peer) int { return cmp.Compare(a.Host, b.Host) })
}

// VTEPs are where tunnels from a VTEP must lead, sorted: to the hosts that share a vxlan network
// with this one. There is no tunnel between an IPv4 and an IPv6 address, nor to oneself.
func (v View) VTEPs(from netip.Addr) []netip.Addr {
	found := map[netip.Addr]bool{}
	for _, n := range v.Networks {
		if n.LocalVLAN == 0 || n.Segment.Type != model.SegmentVXLAN {
			continue
		}
		for _, p := range n.Peers {
			if p.VTEP.IsValid() && p.VTEP.BitLen() == from.BitLen() && p.VTEP != from {
				found[p.VTEP] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), netip.Addr.Compare)
}

// attach fills Local and Strangers.
func (v *View) attach(c Cloud, attachments []Attachment, networks map[model.NetworkID]*Network) {
	all := slices.Clone(attachments)
	slices.SortFunc(all, compareAttachments)
	all = slices.Compact(all)
	havePort, haveOFPort := make(map[model.PortID]bool, len(all)), make(map[OFPort]bool, len(all))
	v.Local = make([]LocalPort, 0, len(all))
	for _, a := range all {
		p := c.Ports[a.PortID]
		known := p != nil && here(p, v.Host) && networks[p.NetworkID] != nil
		wired := a.OFPort > 0 && a.OFPort <= maxOFPort
		if !known || !wired || havePort[a.PortID] || haveOFPort[a.OFPort] {
			v.Strangers = append(v.Strangers, a)
			continue
		}
		havePort[a.PortID], haveOFPort[a.OFPort] = true, true
		v.Local = append(v.Local, LocalPort{Port: p, Network: networks[p.NetworkID], Attachment: a})
	}
	slices.SortFunc(v.Strangers, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), compareAttachments(a, b))
	})
}

// compareAttachments orders by port, then puts the one to choose first.
func compareAttachments(a, b Attachment) int {
	age := func(x Attachment) OFPort {
		if x.OFPort > maxOFPort {
			return 0
		}
		return x.OFPort
	}
	if c := cmp.Compare(a.PortID, b.PortID); c != 0 {
		return c // nearly always; the rest is not worked out
	}
	return cmp.Or(cmp.Compare(age(b), age(a)),
		cmp.Compare(a.Device, b.Device), cmp.Compare(a.OFPort, b.OFPort), slices.Compare(a.MAC[:], b.MAC[:]))
}
