package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/trace"
)

// defaultGroup is a security group with Neutron's four rules.
func defaultGroup(id string) *view.SecurityGroup {
	g := &view.SecurityGroup{ID: id}
	for i, direction := range []string{"egress", "egress", "ingress", "ingress"} {
		r := view.Rule{ID: fmt.Sprintf("%s-%d", id, i), RuleMatch: model.RuleMatch{Direction: direction, Ethertype: []string{"IPv4", "IPv6"}[i%2]}}
		if direction == "ingress" {
			r.RemoteGroup = id
		}
		g.Rules = append(g.Rules, r)
	}
	return g
}

// guarded gives all ports of a crowd a default group that has so many members in all.
func guarded(st *feed.State, members int) {
	c := &st.Cloud
	c.Groups = map[string]*view.SecurityGroup{"g": defaultGroup("g")}
	c.Members = map[view.MemberID]*view.Member{}
	for _, p := range c.Ports {
		p.PortSecurity = true
		if p.DeviceOwner == "" {
			p.SecurityGroups = []string{"g"}
			c.Members[view.MemberID{Group: "g", Port: p.ID}] = view.MemberOf(p, "g")
		}
	}
	for i := 0; len(c.Members) < members; i++ {
		elsewhere(c, i)
	}
}

// elsewhere adds a member on another host.
func elsewhere(c *view.Cloud, i int) view.MemberID {
	id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000001", i))
	p := &model.Port{ID: id, MAC: model.MAC{0xfa, 0x16, 0x3e, 1, byte(i >> 8), byte(i)},
		FixedIPs: []model.FixedIP{{Addr: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}}}
	c.Members[view.MemberID{Group: "g", Port: id}] = view.MemberOf(p, "g")
	return view.MemberID{Group: "g", Port: id}
}

// crowded is an agent on a real switch of the dummy datapath with many ports that are plugged.
func crowded(b testing.TB, ports, members int) (*Agent, *ovs.Switch, feed.State) {
	o := realSwitch(b)
	h, sw, _ := onSwitch(b, o, "127.0.0.1:0")
	s := plan.Defaults()
	s.DatapathType, s.Controller = "dummy", sw.ControllerTarget()
	a, err := New(Options{Feed: feed.ClientOptions{Name: "h1"}, Machine: h, Settings: s})
	if err != nil {
		b.Fatal(err)
	}
	st, _ := crowd(ports)
	st.InSync = false // there is no server to report to
	guarded(&st, members)
	a.work(b.Context(), feed.State{Known: true}, h.Observe(), false, time.Now())
	var plug []string
	for id, p := range st.Cloud.Ports {
		if p.DeviceOwner == "" {
			name := vif.TapName(id)
			plug = append(plug, "--", "add-port", "br-int", name, "--", "set", "Interface", name, "type=dummy", "external_ids:iface-id="+string(id))
		}
	}
	if out, err := o.Vsctl(plug...); err != nil {
		b.Fatal(out, err)
	}
	for len(h.Observe().Attachments) < ports {
		time.Sleep(10 * time.Millisecond)
	}
	return a, sw, st
}

// BenchmarkHost is a host of 1,000 ports with the default group: from a change of what is known to flows
// that the switch has acknowledged.
func BenchmarkHost(b *testing.B) {
	const ports, members = 1000, 2000
	a, sw, st := crowded(b, ports, members)
	pass := func() {
		if wait := a.work(context.Background(), st, a.o.Machine.Observe(), false, time.Now()); wait > 0 {
			b.Fatal(a.faults.list())
		}
	}
	begin := time.Now()
	a.zones.number(st.Cloud, host.Observed{}, "h1", a.log)
	_, p := a.plan(st, a.o.Machine.Observe(), a.zones.given)
	took := time.Since(begin)
	b.Logf("plan of %d flows from nothing: %v", len(p.Switch.Flows["br-int"].All()), took)
	begin = time.Now()
	a.work(context.Background(), st, a.o.Machine.Observe(), false, begin) // makes the DHCP port
	pass()
	b.Logf("first programming: %v", time.Since(begin))

	id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", 77))
	measure := func(name string, change func(i int)) {
		b.Run(name, func(b *testing.B) {
			var all []time.Duration
			b.ReportAllocs()
			before, i := sw.Stats(), 0
			for b.Loop() {
				change(i)
				begin := time.Now()
				pass()
				all = append(all, time.Since(begin))
				i++
			}
			after := sw.Stats()
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(after.FlowChanges-before.FlowChanges)/float64(len(all)), "flows/op")
		})
	}
	measure("nothing", func(int) {})
	measure("port changes", func(i int) {
		st.Cloud.Ports = maps.Clone(st.Cloud.Ports)
		p := *st.Cloud.Ports[id]
		p.FixedIPs = []model.FixedIP{{SubnetID: "s", Addr: netip.AddrFrom4([4]byte{10, 0, 200, byte(1 + i%100)})}}
		st.Cloud.Ports[id] = &p
	})
	measure("member joins or leaves", func(i int) {
		st.Cloud.Members = maps.Clone(st.Cloud.Members)
		if n := 5000 + i/2; i%2 == 0 {
			elsewhere(&st.Cloud, n)
		} else {
			maps.DeleteFunc(st.Cloud.Members, func(id view.MemberID, _ *view.Member) bool {
				return strings.HasPrefix(string(id.Port), fmt.Sprintf("%08x-", n))
			})
		}
	})
	b.Run("drops are read", func(b *testing.B) {
		for b.Loop() {
			if drops, err := sw.Drops(context.Background(), "br-int"); err != nil || len(drops) < ports {
				b.Fatal(len(drops), err)
			}
		}
	})
	b.Run("evidence of a port", func(b *testing.B) {
		for b.Loop() {
			if ev := a.Evidence(context.Background(), trace.Query{PortID: id, NetworkID: "n"}); ev.Flows == nil || ev.Flows.Present != ev.Flows.Wanted || len(ev.Gaps) > 0 {
				b.Fatalf("%+v", ev)
			}
		}
	})
}
