package dhcp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/view"
)

const (
	netID  = "c9cdbbed-8503-49b9-a636-ed707b68805a"
	portID = "d677df3f-b5aa-4e0c-9d3b-5ac1a4f0a001"
)

// recorded is the network of the recorded Neutron: one subnet, a router, a VM.
func recorded() *view.Network {
	sn := &model.Subnet{
		ID: "s1", NetworkID: netID, CIDR: prefix("10.10.0.0/24"), Gateway: addr("10.10.0.1"), EnableDHCP: true,
	}
	dhcp := &model.Port{
		ID: portID, NetworkID: netID, MAC: mac("fa:16:3e:e4:05:e6"), DeviceOwner: model.OwnerDHCP,
		FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: addr("10.10.0.2")}},
	}
	return &view.Network{
		Network: &model.Network{ID: netID, AdminStateUp: true, MTU: 1450},
		Subnets: []*model.Subnet{sn},
		Ports: []*model.Port{
			{ID: "router", MAC: mac("fa:16:3e:7b:e5:cf"), DeviceOwner: model.OwnerRouterInterface, FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: addr("10.10.0.1")}}},
			{ID: "vm", MAC: mac("fa:16:3e:16:06:bc"), FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: addr("10.10.0.126")}}},
			dhcp,
		},
		DHCPPort: dhcp,
	}
}

var settings = Settings{Domain: "openstacklocal", LeaseTime: 86400}

// text prints servers in the words of Neutron's files for dnsmasq (host, opts), so that
// it can be laid beside the recorded ones.
func text(ss []Server) string {
	var b strings.Builder
	for _, s := range ss {
		for _, l := range s.Leases {
			fmt.Fprintf(&b, "%s,%s.%s.,%s\n", l.MAC, l.Hostname, l.Subnet.Domain, l.Addr)
		}
		for _, o := range s.Subnets {
			tag := "tag:subnet-" + string(o.SubnetID) + ","
			fmt.Fprintf(&b, "%sserver %s mtu %d lease %d\n", tag, o.Server, o.MTU, o.LeaseTime)
			if len(o.DNS) > 0 {
				fmt.Fprintf(&b, "%soption:dns-server,%s\n", tag, join(o.DNS))
			}
			if len(o.Routes) > 0 {
				var r []string
				for _, x := range o.Routes {
					r = append(r, x.Destination.String(), x.NextHop.String())
				}
				fmt.Fprintf(&b, "%soption:classless-static-route,%s\n", tag, strings.Join(r, ","))
			}
			if o.Gateway.IsValid() {
				fmt.Fprintf(&b, "%soption:router,%s\n", tag, o.Gateway)
			}
		}
	}
	return b.String()
}

func join(as []netip.Addr) string {
	var s []string
	for _, a := range as {
		s = append(s, a.String())
	}
	return strings.Join(s, ",")
}

func TestServers(t *testing.T) {
	second := &model.Subnet{ID: "s2", NetworkID: netID, CIDR: prefix("10.20.0.0/22"), EnableDHCP: true}
	withSecond := func(n *view.Network) {
		n.Subnets = append(n.Subnets, second)
		n.DHCPPort.FixedIPs = append(n.DHCPPort.FixedIPs, model.FixedIP{SubnetID: "s2", Addr: addr("10.20.0.2")})
	}
	const hosts = "fa:16:3e:16:06:bc,host-10-10-0-126.openstacklocal.,10.10.0.126\nfa:16:3e:7b:e5:cf,host-10-10-0-1.openstacklocal.,10.10.0.1\n"
	const serves = "tag:subnet-s1,server 10.10.0.2 mtu 1450 lease 86400\n"
	const dns = "tag:subnet-s1,option:dns-server,10.10.0.2\n"
	const router = "tag:subnet-s1,option:router,10.10.0.1\n"
	for _, tt := range []struct {
		name   string
		change func(*view.Network)
		want   string
	}{
		{"as recorded", func(*view.Network) {},
			hosts + serves + dns + "tag:subnet-s1,option:classless-static-route,169.254.169.254/32,10.10.0.1,0.0.0.0/0,10.10.0.1\n" + router},
		{"isolated: no route, so no option 121", func(n *view.Network) { n.Ports[0].DeviceOwner = "compute:nova" }, hosts + serves + dns + router},
		{"router elsewhere is no gateway", func(n *view.Network) { n.Subnets[0].Gateway = addr("10.10.0.254") },
			hosts + serves + dns + "tag:subnet-s1,option:router,10.10.0.254\n"},
		{"nameservers", func(n *view.Network) {
			n.Ports[0].DeviceOwner = ""
			n.Subnets[0].DNSNameservers = []netip.Addr{addr("192.0.2.53"), addr("2001:db8::53"), addr("192.0.2.54")}
		}, hosts + serves + "tag:subnet-s1,option:dns-server,192.0.2.53,192.0.2.54\n" + router},
		{"no DNS wanted", func(n *view.Network) {
			n.Ports[0].DeviceOwner = ""
			n.Subnets[0].DNSNameservers = []netip.Addr{addr("0.0.0.0")}
		}, hosts + serves + router},
		{"names given", func(n *view.Network) { n.Ports[0].DNSName, n.Ports[1].DNSName = "gw.openstacklocal.", "vm1" },
			"fa:16:3e:16:06:bc,vm1.openstacklocal.,10.10.0.126\nfa:16:3e:7b:e5:cf,gw.openstacklocal.,10.10.0.1\n" + serves + dns +
				"tag:subnet-s1,option:classless-static-route,169.254.169.254/32,10.10.0.1,0.0.0.0/0,10.10.0.1\n" + router},
		{"two DHCP servers", func(n *view.Network) {
			n.Ports[0].DeviceOwner = model.OwnerDHCP
			n.Ports[0].FixedIPs[0].Addr = addr("10.10.0.3")
		}, "fa:16:3e:16:06:bc,host-10-10-0-126.openstacklocal.,10.10.0.126\n" + serves + "tag:subnet-s1,option:dns-server,10.10.0.2,10.10.0.3\n" + router},
		{"no gateway, but a default route", func(n *view.Network) {
			n.Subnets[0].Gateway = netip.Addr{}
			n.Subnets[0].HostRoutes = []model.Route{{Destination: prefix("0.0.0.0/0"), NextHop: addr("10.10.0.9")}, {Destination: prefix("192.0.2.0/24"), NextHop: addr("10.10.0.8")}}
		}, hosts + serves + dns + "tag:subnet-s1,option:classless-static-route,192.0.2.0/24,10.10.0.8,0.0.0.0/0,10.10.0.9\n" + "tag:subnet-s1,option:router,10.10.0.9\n"},
		{"two subnets", func(n *view.Network) { n.Ports[0].DeviceOwner = ""; withSecond(n) },
			hosts + serves + dns + "tag:subnet-s1,option:classless-static-route,10.20.0.0/22,0.0.0.0,0.0.0.0/0,10.10.0.1\n" + router +
				"tag:subnet-s2,server 10.20.0.2 mtu 1450 lease 86400\ntag:subnet-s2,option:dns-server,10.20.0.2\ntag:subnet-s2,option:classless-static-route,10.10.0.0/24,0.0.0.0\n"},
		{"two addresses, in the port's order", func(n *view.Network) {
			withSecond(n)
			n.Ports = n.Ports[1:]
			n.Ports[0].FixedIPs = []model.FixedIP{{SubnetID: "s2", Addr: addr("10.20.0.9")}, {SubnetID: "s1", Addr: addr("10.10.0.9")}}
			n.Subnets[0].Gateway, n.Subnets = netip.Addr{}, slices.Clone(n.Subnets)
		}, "fa:16:3e:16:06:bc,host-10-20-0-9.openstacklocal.,10.20.0.9\nfa:16:3e:16:06:bc,host-10-10-0-9.openstacklocal.,10.10.0.9\n" +
			serves + dns + "tag:subnet-s1,option:classless-static-route,10.20.0.0/22,0.0.0.0\n" +
			"tag:subnet-s2,server 10.20.0.2 mtu 1450 lease 86400\ntag:subnet-s2,option:dns-server,10.20.0.2\ntag:subnet-s2,option:classless-static-route,10.10.0.0/24,0.0.0.0\n"},
		{"a subnet without DHCP is not served, but is on the link", func(n *view.Network) {
			n.Ports[0].DeviceOwner = ""
			n.Subnets = append(n.Subnets, &model.Subnet{ID: "s3", CIDR: prefix("10.30.0.0/24")})
			n.Ports[1].FixedIPs = append(n.Ports[1].FixedIPs, model.FixedIP{SubnetID: "s3", Addr: addr("10.30.0.9")})
		}, hosts + serves + dns + "tag:subnet-s1,option:classless-static-route,10.30.0.0/24,0.0.0.0,0.0.0.0/0,10.10.0.1\n" + router},
		{"the DHCP port has no address there yet", func(n *view.Network) { n.DHCPPort.FixedIPs = nil }, ""},
		{"network down", func(n *view.Network) { n.AdminStateUp = false }, ""},
		{"served elsewhere", func(n *view.Network) { n.DHCPPort = nil }, ""},
		{"IPv6 only", func(n *view.Network) { n.Subnets[0].CIDR = prefix("2001:db8::/64") }, ""},
	} {
		n := recorded()
		tt.change(n)
		v := view.View{Networks: []*view.Network{n}}
		ss := Servers(v, settings)
		if got := text(ss); got != tt.want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", tt.name, got, tt.want)
		}
		if again := Servers(v, settings); !slices.EqualFunc(ss, again, func(a, b Server) bool { return a.Equal(&b) }) {
			t.Errorf("%s: not the same the second time", tt.name)
		}
		// As long as there is a port, its device needs a home.
		if got := len(Namespaces(v)) == 1; got != (n.DHCPPort != nil) {
			t.Errorf("%s: namespace: %t; DHCP port: %v", tt.name, got, n.DHCPPort)
		}
	}
}

// TestDistributedServer: what every host serves, each serves to its own guests.
func TestDistributedServer(t *testing.T) {
	n := recorded()
	n.DHCPPort.Binding = model.Binding{VIFType: model.VIFDistributed}
	n.Ports[1].Binding.Host = "h1"
	for host, leases := range map[model.HostName]int{"h1": 1, "h2": 0} {
		got := Servers(view.View{Host: host, Networks: []*view.Network{n}}, settings)
		if len(got) != 1 || len(got[0].Leases) != leases || got[0].Subnets[0].Server != addr("10.10.0.2") {
			t.Errorf("%s serves\n%s", host, text(got))
		}
	}
}

func TestNamespaces(t *testing.T) {
	n := recorded()
	offLink := recorded()
	offLink.Subnets[0].Gateway = addr("192.0.2.1")
	none := recorded()
	none.Subnets[0].Gateway = netip.Addr{}
	const common = `ip netns add qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a
ip netns exec qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a sysctl -w net.ipv6.conf.default.accept_ra=0
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a link set lo up
ip link set tapd677df3f-b5 netns qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a link set tapd677df3f-b5 address fa:16:3e:e4:05:e6 mtu 1450 up
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a addr add 10.10.0.2/24 brd + dev tapd677df3f-b5
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a addr add 169.254.169.254/32 brd + dev tapd677df3f-b5
`
	const route = "ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a route replace "
	for want, n := range map[string]*view.Network{
		common + route + "default via 10.10.0.1 dev tapd677df3f-b5 proto static\n":                                                                       n,
		common + route + "192.0.2.1/32 dev tapd677df3f-b5 proto static scope link\n" + route + "default via 192.0.2.1 dev tapd677df3f-b5 proto static\n": offLink,
		common: none,
	} {
		got := Namespaces(view.View{Networks: []*view.Network{n}})
		if len(got) != 1 || got[0].String() != want {
			t.Errorf("got:\n%v\nwant:\n%s", got, want)
		}
	}
}

func TestEncodeSubnet(t *testing.T) {
	for _, tt := range []struct{ prefix, mask, broadcast string }{
		{"10.10.0.0/24", "ffffff00", "0a0a00ff"},
		{"10.10.0.0/8", "ff000000", "0affffff"},
		{"10.10.0.4/31", "fffffffe", ""},
		{"10.10.0.4/32", "ffffffff", ""},
		{"0.0.0.0/0", "00000000", "ffffffff"},
	} {
		e := encode(&Options{Prefix: prefix(tt.prefix), Server: addr("10.10.0.2"), LeaseTime: 4294967295})
		if fmt.Sprintf("%x", e.mask) != tt.mask || fmt.Sprintf("%x", e.broadcast) != tt.broadcast || fmt.Sprintf("%x", e.t2) != "dfffffff" {
			t.Errorf("%s: %x %x %x", tt.prefix, e.mask, e.broadcast, e.t2)
		}
	}
}
