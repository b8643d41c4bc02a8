package dhcp

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/netns"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

// Settings are what the operator decides about DHCP.
type Settings struct {
	// Domain is the DNS domain told to clients, without a trailing dot: openstacklocal.
	Domain string
	// LeaseTime is in seconds; 86400 in Neutron.
	LeaseTime uint32
}

// metadataAddr is where guests look for their metadata.
var metadataAddr = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// Servers returns the DHCP services of v, in the order of its networks.
func Servers(v view.View, s Settings) []Server { return new(Memory).Servers(v, s) }

// servedSubnet is a subnet for which this host answers, from the DHCP port's address on it.
type servedSubnet struct {
	*model.Subnet
	server netip.Addr
}

// served are the v4 subnets with DHCP on which the DHCP port of this host has its address already.
func served(n *view.Network) []servedSubnet {
	if n.DHCPPort == nil || !n.AdminStateUp {
		return nil
	}
	var out []servedSubnet
	for _, sn := range n.Subnets {
		if !sn.EnableDHCP || !sn.CIDR.Addr().Is4() {
			continue
		}
		if a, ok := addrOn(n.DHCPPort, sn.ID); ok {
			out = append(out, servedSubnet{sn, a})
		}
	}
	return out
}

func addrOn(p *model.Port, id model.SubnetID) (netip.Addr, bool) {
	for _, f := range p.FixedIPs {
		if f.SubnetID == id && f.Addr.Is4() {
			return f.Addr, true
		}
	}
	return netip.Addr{}, false
}

func server(host model.HostName, n *view.Network, subnets []servedSubnet, s Settings) Server {
	srv := Server{
		NetworkID: n.ID,
		Namespace: vif.DHCPNamespace(n.ID),
		Device:    vif.TapName(n.DHCPPort.ID),
		MAC:       n.DHCPPort.MAC,
	}
	byID := make(map[model.SubnetID]*Options, len(subnets))
	for _, sn := range subnets {
		o := options(n, sn, s)
		srv.Subnets = append(srv.Subnets, o)
		byID[sn.ID] = o
	}
	// Sorted before the leases are made: pointers move more cheaply than leases, and within
	// one port the order of its fixed IPs remains.
	ports := slices.Clone(n.Ports)
	if n.DHCPPort.Distributed() { // nobody else hears it
		ports = slices.DeleteFunc(ports, func(p *model.Port) bool { return p.Binding.Host != host })
	}
	slices.SortFunc(ports, func(a, b *model.Port) int {
		if c := bytes.Compare(a.MAC[:], b.MAC[:]); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	srv.Leases = make([]Lease, 0, len(ports))
	for _, p := range ports {
		// The servers themselves have their addresses from us already.
		if p.DeviceOwner == model.OwnerDHCP {
			continue
		}
		for _, f := range p.FixedIPs {
			o := byID[f.SubnetID]
			if o == nil || !f.Addr.Is4() {
				continue
			}
			srv.Leases = append(srv.Leases, Lease{
				PortID: p.ID, MAC: p.MAC, Addr: f.Addr, Hostname: hostname(p, f.Addr, s.Domain), Subnet: o, Extra: extra4(p.DHCPOptions),
			})
		}
	}
	return srv
}

func extra4(all []model.DHCPOption) []model.DHCPOption {
	if !slices.ContainsFunc(all, func(o model.DHCPOption) bool { return o.IPVersion == 6 }) {
		return all
	}
	var out []model.DHCPOption
	for _, o := range all {
		if o.IPVersion != 6 {
			out = append(out, o)
		}
	}
	return out
}

// hostname is the name of a port's address: the one it was given, without the domain in
// which it is, or one that follows from the address.
func hostname(p *model.Port, a netip.Addr, domain string) string {
	if name, full := strings.CutSuffix(p.DNSName, "."); name != "" {
		if full {
			name = strings.TrimSuffix(name, "."+domain)
		}
		return name
	}
	b := append(make([]byte, 0, 20), "host-"...)
	b = a.AppendTo(b)
	for i := 5; i < len(b); i++ {
		if b[i] == '.' {
			b[i] = '-'
		}
	}
	return string(b)
}

func options(n *view.Network, sn servedSubnet, s Settings) *Options {
	o := &Options{
		SubnetID: sn.ID, Server: sn.server, Prefix: sn.CIDR.Masked(), Gateway: sn.Gateway,
		DNS: nameservers(n, sn), Domain: s.Domain, MTU: n.MTU, LeaseTime: s.LeaseTime,
	}
	o.Routes, o.Gateway = routes(n, sn)
	return o
}

// nameservers are the subnet's own; 0.0.0.0 among them means that there shall be none.
// Where it says nothing the DHCP servers of the network are told, as Neutron does: by all of
// them in the same order.
func nameservers(n *view.Network, sn servedSubnet) []netip.Addr {
	var out []netip.Addr
	for _, a := range sn.DNSNameservers {
		if a.IsUnspecified() {
			return nil
		}
		if a.Is4() {
			out = append(out, a)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, p := range n.Ports {
		if a, ok := addrOn(p, sn.ID); ok && p.DeviceOwner == model.OwnerDHCP {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// routes are the classless static routes of a subnet and its gateway, which a default
// route among the host routes replaces when the subnet has none.
//
// The order is Neutron's. The default route is repeated here because a client that takes
// option 121 must ignore the router option (RFC 3442); so without routes there is none.
func routes(n *view.Network, sn servedSubnet) ([]model.Route, netip.Addr) {
	var out []model.Route
	for _, other := range n.Subnets {
		if other.ID != sn.ID && other.CIDR.Addr().Is4() {
			out = append(out, model.Route{Destination: other.CIDR.Masked(), NextHop: netip.IPv4Unspecified()})
		}
	}
	gateway := sn.Gateway
	if !gateway.Is4() {
		gateway = netip.Addr{}
	}
	for _, r := range sn.HostRoutes {
		switch {
		case !r.Destination.Addr().Is4() || !r.NextHop.Is4():
		case r.Destination.Bits() == 0:
			if !gateway.IsValid() {
				gateway = r.NextHop
			}
		default:
			out = append(out, r)
		}
	}
	// Metadata is answered by the router, if there is one. It is not answered in the DHCP
	// namespace yet, so an isolated subnet gets no route to it.
	if routed(n, sn.Subnet) {
		out = append(out, model.Route{Destination: netip.PrefixFrom(metadataAddr, 32), NextHop: sn.Gateway})
	}
	if len(out) > 0 && gateway.IsValid() {
		out = append(out, model.Route{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), NextHop: gateway})
	}
	return out, gateway
}

// routed reports whether a router has the subnet's gateway address.
func routed(n *view.Network, sn *model.Subnet) bool {
	for _, p := range n.Ports {
		if !strings.HasPrefix(p.DeviceOwner, "network:router_interface") && p.DeviceOwner != "network:ha_router_replicated_interface" {
			continue
		}
		if slices.Contains(p.FixedIPs, model.FixedIP{SubnetID: sn.ID, Addr: sn.Gateway}) {
			return true
		}
	}
	return false
}

// Namespaces returns the namespace of each DHCP port of v, in the order of its networks,
// also where there is nothing to serve for the moment: a namespace that goes while the
// switch still has the port takes the port's device along, and the switch never makes
// that device again.
func Namespaces(v view.View) []netns.Namespace {
	var out []netns.Namespace
	for _, n := range v.Networks {
		if n.DHCPPort != nil {
			out = append(out, namespace(n, served(n)))
		}
	}
	return out
}

func namespace(n *view.Network, subnets []servedSubnet) netns.Namespace {
	tap := vif.TapName(n.DHCPPort.ID)
	link := netns.Link{Name: tap, MAC: n.DHCPPort.MAC, MTU: n.MTU}
	// Stein shows 169.254.169.254/16, releases since Ussuri /32. With /16 the namespace
	// would think all link-local addresses to be neighbours; it has business with one.
	link.Addrs = append(link.Addrs, netip.PrefixFrom(metadataAddr, 32))
	ns := netns.Namespace{
		Name: vif.DHCPNamespace(n.ID),
		// Tenants may send router advertisements; they must not configure the host's end.
		Sysctls: map[string]string{"net/ipv6/conf/default/accept_ra": "0"},
	}
	for _, sn := range subnets {
		link.Addrs = append(link.Addrs, netip.PrefixFrom(sn.server, sn.CIDR.Bits()))
		if len(ns.Routes) > 0 || !sn.Gateway.Is4() || sn.Gateway == sn.server {
			continue
		}
		ns.Routes = append(ns.Routes, netns.Route{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: sn.Gateway, Device: tap})
		if !sn.CIDR.Contains(sn.Gateway) {
			ns.Routes = append(ns.Routes, netns.Route{Destination: netip.PrefixFrom(sn.Gateway, 32), Device: tap})
		}
	}
	ns.Links = []netns.Link{link}
	ns.Sort()
	return ns
}
