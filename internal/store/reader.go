package store

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
)

// Reader reads the mirror at one revision. It is valid only inside the View that gave
// it; the entries it returns stay valid. Sequences come in no particular order unless
// said otherwise.
type Reader struct{ m *mirror }

// Revision returns the etcd revision the reader sees.
func (r Reader) Revision() int64 { return r.m.rev }

// Network returns the network with this ID, or nil.
func (r Reader) Network(id model.NetworkID) *Entry[model.Network] { return r.m.networks[id] }

// Networks yields all networks.
func (r Reader) Networks() iter.Seq[*Entry[model.Network]] { return maps.Values(r.m.networks) }

// NetworkCount returns how many networks there are.
func (r Reader) NetworkCount() int { return len(r.m.networks) }

// NetworkOfSegment returns the network that holds the segment, or "".
func (r Reader) NetworkOfSegment(g model.Segment) model.NetworkID { return r.m.segments[g] }

// Subnet returns the subnet with this ID, or nil.
func (r Reader) Subnet(id model.SubnetID) *Entry[model.Subnet] { return r.m.subnets[id] }

// Subnets yields all subnets.
func (r Reader) Subnets() iter.Seq[*Entry[model.Subnet]] { return maps.Values(r.m.subnets) }

// SubnetCount returns how many subnets there are.
func (r Reader) SubnetCount() int { return len(r.m.subnets) }

// SubnetsOf returns the subnets of a network, oldest first.
func (r Reader) SubnetsOf(id model.NetworkID) []*Entry[model.Subnet] {
	n := r.m.perNetwork[id]
	if n == nil {
		return nil
	}
	subnets := slices.Collect(maps.Values(n.subnets))
	slices.SortFunc(subnets, func(a, b *Entry[model.Subnet]) int {
		if c := a.Value.CreatedAt.Compare(b.Value.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.Value.ID), string(b.Value.ID))
	})
	return subnets
}

// Port returns the port with this ID, or nil.
func (r Reader) Port(id model.PortID) *Entry[model.Port] { return r.m.ports[id] }

// Ports yields all ports.
func (r Reader) Ports() iter.Seq[*Entry[model.Port]] { return maps.Values(r.m.ports) }

// PortCount returns how many ports there are.
func (r Reader) PortCount() int { return len(r.m.ports) }

// PortsOf yields the ports of a network.
func (r Reader) PortsOf(id model.NetworkID) iter.Seq[*Entry[model.Port]] {
	n := r.m.perNetwork[id]
	if n == nil {
		return func(func(*Entry[model.Port]) bool) {}
	}
	return maps.Values(n.ports)
}

// PortCountOf returns how many ports a network has.
func (r Reader) PortCountOf(id model.NetworkID) int {
	if n := r.m.perNetwork[id]; n != nil {
		return len(n.ports)
	}
	return 0
}

// DHCPPortsOf returns the network:dhcp ports of a network, sorted by ID.
func (r Reader) DHCPPortsOf(id model.NetworkID) []*Entry[model.Port] {
	n := r.m.perNetwork[id]
	if n == nil || len(n.dhcp) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Values(n.dhcp), func(a, b *Entry[model.Port]) int {
		return strings.Compare(string(a.Value.ID), string(b.Value.ID))
	})
}

// DHCPPortCountOn returns how many network:dhcp ports are bound to a host.
func (r Reader) DHCPPortCountOn(h model.HostName) int { return r.m.dhcpOn[h] }

// PortsOnHost yields the ports whose binding names the host.
func (r Reader) PortsOnHost(h model.HostName) iter.Seq[*Entry[model.Port]] {
	return maps.Values(r.m.byHost[h])
}

// HostsOf returns the hosts that ports of a network are bound to, sorted; not those where
// all failed to bind. The slice is shared, and the same as long as no host comes or goes.
func (r Reader) HostsOf(id model.NetworkID) []model.HostName {
	if n := r.m.perNetwork[id]; n != nil {
		return n.hosts
	}
	return nil
}

// PortsOfDevice returns the ports with this device_id (which is not empty).
func (r Reader) PortsOfDevice(id string) []*Entry[model.Port] { return slices.Clone(r.m.byDevice[id]) }

// PortsWithMAC returns the ports with this MAC, of any network.
func (r Reader) PortsWithMAC(m model.MAC) []*Entry[model.Port] { return slices.Clone(r.m.byMAC[m]) }

// PortsWithAddr returns the ports that hold this address, on any subnet.
func (r Reader) PortsWithAddr(a netip.Addr) []*Entry[model.Port] {
	return slices.Clone(r.m.byAddr[a])
}

// PortsNamed returns the ports with this name (which is not empty).
func (r Reader) PortsNamed(name string) []*Entry[model.Port] {
	return slices.Clone(r.m.portNames[name])
}

// PortByMAC returns the port of a network with this MAC, or nil.
func (r Reader) PortByMAC(id model.NetworkID, m model.MAC) *Entry[model.Port] {
	for _, e := range r.m.byMAC[m] {
		if e.Value.NetworkID == id {
			return e
		}
	}
	return nil
}

// PortByAddr returns the port that holds an address of a subnet, or nil.
func (r Reader) PortByAddr(id model.SubnetID, a netip.Addr) *Entry[model.Port] {
	for _, e := range r.m.byAddr[a] {
		for _, f := range e.Value.FixedIPs {
			if f.SubnetID == id && f.Addr == a {
				return e
			}
		}
	}
	return nil
}

// AddressCountOf returns how many addresses of a subnet ports hold.
func (r Reader) AddressCountOf(id model.SubnetID) int {
	if n := r.m.perSubnet[id]; n != nil {
		return n.addresses
	}
	return 0
}

// PortsOnSubnet yields the ports that hold an address of the subnet, each once.
func (r Reader) PortsOnSubnet(id model.SubnetID) iter.Seq[*Entry[model.Port]] {
	n := r.m.perSubnet[id]
	if n == nil {
		return func(func(*Entry[model.Port]) bool) {}
	}
	return maps.Values(n.ports)
}

// NetworksOfProject yields the networks that a project owns.
func (r Reader) NetworksOfProject(id model.ProjectID) iter.Seq[*Entry[model.Network]] {
	return maps.Values(r.m.networksOf[id])
}

// NetworkCountOfProject returns how many networks a project owns.
func (r Reader) NetworkCountOfProject(id model.ProjectID) int { return len(r.m.networksOf[id]) }

// SubnetsOfProject yields the subnets that a project owns.
func (r Reader) SubnetsOfProject(id model.ProjectID) iter.Seq[*Entry[model.Subnet]] {
	return maps.Values(r.m.subnetsOf[id])
}

// SubnetCountOfProject returns how many subnets a project owns.
func (r Reader) SubnetCountOfProject(id model.ProjectID) int { return len(r.m.subnetsOf[id]) }

// PortsOfProject yields the ports that a project owns.
func (r Reader) PortsOfProject(id model.ProjectID) iter.Seq[*Entry[model.Port]] {
	return maps.Values(r.m.portsOf[id])
}

// PortCountOfProject returns how many ports a project owns.
func (r Reader) PortCountOfProject(id model.ProjectID) int { return len(r.m.portsOf[id]) }

// Host returns the host with this name, or nil. Its HeartbeatAt is the latest known.
func (r Reader) Host(name model.HostName) *Entry[model.Host] { return r.m.hosts[name] }

// Hosts returns all hosts, sorted by name.
func (r Reader) Hosts() []*Entry[model.Host] {
	hosts := slices.Collect(maps.Values(r.m.hosts))
	slices.SortFunc(hosts, func(a, b *Entry[model.Host]) int {
		return strings.Compare(string(a.Value.Name), string(b.Value.Name))
	})
	return hosts
}
