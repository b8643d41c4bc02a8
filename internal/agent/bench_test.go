package agent

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

// BenchmarkPass is all that the agent itself does for one change, without the machine's
// and the server's share: what grows with the ports of a host.
func BenchmarkPass(b *testing.B) {
	for _, ports := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("ports=%d", ports), func(b *testing.B) {
			a, err := New(Options{Feed: feed.ClientOptions{Name: "h1"}, Machine: newMachine(), Settings: plan.Defaults()})
			if err != nil {
				b.Fatal(err)
			}
			st, obs := crowd(ports)
			b.ReportAllocs()
			for b.Loop() {
				a.zones.number(st.Cloud, obs, "h1", a.log)
				v, p := a.plan(st, obs, a.zones.given)
				a.facts(st.Cloud, v, p, nil, a.start)
			}
		})
	}
}

// crowd is a cloud of one network with many ports, all plugged.
func crowd(ports int) (feed.State, host.Observed) {
	st := feed.State{Known: true, InSync: true, Session: 1, Cloud: view.Cloud{
		Networks: map[model.NetworkID]*model.Network{"n": {ID: "n", AdminStateUp: true, MTU: 1450, Segment: model.Segment{Type: model.SegmentVXLAN, ID: 1}}},
		Subnets:  map[model.SubnetID]*model.Subnet{"s": {ID: "s", NetworkID: "n", EnableDHCP: true, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Ports:    map[model.PortID]*model.Port{},
	}}
	obs := host.Observed{Ready: true, Connected: true}
	for i := range ports + 1 {
		id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i))
		p := &model.Port{ID: id, NetworkID: "n", AdminStateUp: true, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, byte(i >> 8), byte(i)},
			FixedIPs: []model.FixedIP{{SubnetID: "s", Addr: netip.AddrFrom4([4]byte{10, 0, byte((i + 2) >> 8), byte(i + 2)})}},
			Binding:  model.Binding{Host: "h1", VIFType: model.VIFOVS}}
		if i == 0 {
			p.DeviceOwner = model.OwnerDHCP
		}
		st.Cloud.Ports[id] = p
		obs.Attachments = append(obs.Attachments, view.Attachment{PortID: id, Device: vif.TapName(id), OFPort: view.OFPort(i + 1)})
	}
	return st, obs
}
