package dhcp

import (
	"fmt"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// A client never gets an address that is not its port's, and is refused only when it
// asks for one that is not; whatever it says.
func TestOnlyOnesOwnAddress(t *testing.T) {
	tab := table(t, testServer())
	macs := []model.MAC{mac("fa:16:3e:00:00:02"), mac("fa:16:3e:7b:71:0b"), mac("52:54:00:00:00:01")}
	addrs := [][]byte{{10, 10, 0, 7}, {10, 20, 1, 7}, {10, 10, 0, 121}, {10, 10, 0, 2}, {10, 20, 0, 2}, {0, 0, 0, 0}, {192, 0, 2, 1}, {10}, nil}
	own := map[model.MAC][]string{}
	for _, l := range tab.Server().Leases {
		own[l.MAC] = append(own[l.MAC], l.Addr.String())
	}
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(name string) []byte { return rapid.SampledFrom(addrs).Draw(rt, name) }
		m := rapid.SampledFrom(macs).Draw(rt, "mac")
		req := &dhcpv4.DHCPv4{OpCode: 1, HWType: 1, ClientHWAddr: m[:], ClientIPAddr: pick("ciaddr"), GatewayIPAddr: pick("giaddr"),
			Flags: rapid.Uint16().Draw(rt, "flags"), Options: dhcpv4.Options{53: {rapid.Byte().Draw(rt, "type") % 10}}}
		for _, code := range []uint8{50, 54, 118} {
			if a := pick(fmt.Sprint("option ", code)); a != nil {
				req.Options[code] = a
			}
		}
		a := tab.Answer(req, new(dhcpv4.DHCPv4))
		if (a.Reply != nil) != a.Reason.Answered() {
			rt.Fatalf("%v with reply %v", a.Reason, a.Reply)
		}
		if a.Reply == nil {
			return
		}
		if len(own[m]) == 0 {
			rt.Fatalf("a stranger got %v", a.Reply)
		}
		yours := a.Reply.YourIPAddr.String()
		switch a.Reason {
		case WrongAddress:
			// Only a relay, or a selection of subnets, may narrow what is right.
			_, relayed := addr4(req.GatewayIPAddr)
			_, selected := addr4(req.Options[118])
			if !relayed && !selected && slices.Contains(own[m], a.Asked.String()) {
				rt.Fatalf("refused its own address %v", a.Asked)
			}
		case WrongLink:
		case Informed:
			if a.Reply.YourIPAddr != nil || a.Reply.Options[51] != nil {
				rt.Fatalf("INFORM was answered with a lease: %v", a.Reply)
			}
		default:
			if !slices.Contains(own[m], yours) || a.Reason != Offered && a.Asked.String() != yours {
				rt.Fatalf("%v: got %s, asked for %v", a.Reason, yours, a.Asked)
			}
		}
	})
}

// The order in which ports and subnets are known does not matter, as a view is sorted;
// but the order of the ports within a network must not either.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := recorded()
		want := Servers(view.View{Networks: []*view.Network{n}}, settings)
		n.Ports = rapid.Permutation(n.Ports).Draw(rt, "ports")
		got := Servers(view.View{Networks: []*view.Network{n}}, settings)
		if !slices.EqualFunc(want, got, func(a, b Server) bool { return a.Equal(&b) }) {
			rt.Fatalf("got:\n%s\nwant:\n%s", text(got), text(want))
		}
	})
}

// BenchmarkServers is the cost of one network of 1000 ports in each new plan.
func BenchmarkServers(b *testing.B) {
	n := recorded()
	for i := range 1000 {
		n.Ports = append(n.Ports, &model.Port{
			ID: model.PortID(fmt.Sprint("port", i)), MAC: model.MAC{0xfa, 0x16, 0x3e, 1, byte(i >> 8), byte(i)},
			FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: addr(fmt.Sprintf("10.10.%d.%d", i>>8, i&255))}},
		})
	}
	v := view.View{Networks: []*view.Network{n}}
	b.ReportAllocs()
	for b.Loop() {
		Servers(v, settings)
	}
}
