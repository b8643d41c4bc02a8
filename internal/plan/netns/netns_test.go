package netns

import (
	"net/netip"
	"testing"

	"weft/internal/model"
)

func example() Namespace {
	return Namespace{
		Name: "qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a",
		Links: []Link{{
			Name: "tapd677df3f-b5",
			MAC:  model.MAC{0xfa, 0x16, 0x3e, 0xe4, 0x05, 0xe6},
			MTU:  1450,
			Addrs: []netip.Prefix{
				netip.MustParsePrefix("169.254.169.254/32"),
				netip.MustParsePrefix("10.10.0.2/24"),
			},
		}},
		Routes: []Route{
			{Destination: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Device: "tapd677df3f-b5"},
			{Destination: netip.MustParsePrefix("192.0.2.1/32"), Device: "tapd677df3f-b5"},
		},
		Sysctls: map[string]string{"net/ipv6/conf/default/accept_ra": "0"},
	}
}

func TestString(t *testing.T) {
	n := example()
	n.Sort()
	const want = `ip netns add qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a
ip netns exec qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a sysctl -w net.ipv6.conf.default.accept_ra=0
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a link set lo up
ip link set tapd677df3f-b5 netns qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a link set tapd677df3f-b5 address fa:16:3e:e4:05:e6 mtu 1450 up
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a addr add 10.10.0.2/24 brd + dev tapd677df3f-b5
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a addr add 169.254.169.254/32 brd + dev tapd677df3f-b5
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a route replace 192.0.2.1/32 dev tapd677df3f-b5 proto static scope link
ip -n qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a route replace default via 192.0.2.1 dev tapd677df3f-b5 proto static
`
	if got := n.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestEqual(t *testing.T) {
	change := map[string]func(*Namespace){
		"name":    func(n *Namespace) { n.Name = "other" },
		"mtu":     func(n *Namespace) { n.Links[0].MTU = 1500 },
		"mac":     func(n *Namespace) { n.Links[0].MAC[5]++ },
		"address": func(n *Namespace) { n.Links[0].Addrs = n.Links[0].Addrs[:1] },
		"route":   func(n *Namespace) { n.Routes = nil },
		"sysctl":  func(n *Namespace) { n.Sysctls["net/ipv4/ip_forward"] = "1" },
	}
	a, b := example(), example()
	a.Sort()
	b.Sort()
	if !a.Equal(b) {
		t.Error("equal namespaces differ")
	}
	for name, f := range change {
		c := example()
		c.Sort()
		f(&c)
		if a.Equal(c) {
			t.Errorf("%s: a difference is not seen", name)
		}
	}
}
