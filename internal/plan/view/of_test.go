package view

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

func network(id model.NetworkID) *model.Network { return &model.Network{ID: id} }

func port(id model.PortID, n model.NetworkID, host model.HostName) *model.Port {
	return &model.Port{ID: id, NetworkID: n, Binding: model.Binding{Host: host, VIFType: model.VIFOVS}}
}

func cloud(things ...any) Cloud {
	c := NewCloud()
	for _, t := range things {
		switch t := t.(type) {
		case *model.Network:
			c.Networks[t.ID] = t
		case *model.Subnet:
			c.Subnets[t.ID] = t
		case *model.Port:
			c.Ports[t.ID] = t
		case *SecurityGroup:
			c.Groups[t.ID] = t
		case *Member:
			c.Members[MemberID{t.Group, t.Port}] = t
		case *model.AddressGroup:
			c.AddressGroups[t.ID] = t
		}
	}
	return c
}

// describe prints what matters of a view.
func describe(v View) string {
	s := ""
	for _, n := range v.Networks {
		s += fmt.Sprintf("net %s vlan %d:", n.ID, n.LocalVLAN)
		for _, sn := range n.Subnets {
			s += " " + string(sn.ID)
		}
		for _, p := range n.Ports {
			s += " " + string(p.ID)
		}
		if n.DHCPPort != nil {
			s += " dhcp " + string(n.DHCPPort.ID)
		}
		s += "\n"
	}
	for _, l := range v.Local {
		s += fmt.Sprintf("local %s on %s as %s:%d\n", l.ID, l.Network.ID, l.Attachment.Device, l.Attachment.OFPort)
	}
	for _, l := range v.Local {
		for _, g := range l.Groups {
			s += fmt.Sprintf("filter of %s: %s\n", l.ID, g.ID)
		}
	}
	for _, g := range v.Groups {
		s += fmt.Sprintf("group %s: %d rules\n", g.ID, len(g.Rules))
	}
	for _, id := range slices.Sorted(maps.Keys(v.Members)) {
		for _, m := range v.Members[id] {
			s += fmt.Sprintf("member of %s: %s\n", id, m.Port)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.AddressGroups)) {
		s += "addresses " + id + "\n"
	}
	for _, a := range v.Strangers {
		s += fmt.Sprintf("stranger %s %s:%d\n", a.PortID, a.Device, a.OFPort)
	}
	return s
}

func TestOf(t *testing.T) {
	failed := port("p9", "n1", "h1")
	failed.Binding.VIFType = model.VIFBindingFailed
	dhcp := port("p5", "n1", "h1")
	dhcp.DeviceOwner = model.OwnerDHCP
	dhcpElsewhere := port("p4", "n1", "h2")
	dhcpElsewhere.DeviceOwner = model.OwnerDHCP
	all := cloud(network("n1"), network("n2"), network("n3"),
		&model.Subnet{ID: "s1", NetworkID: "n1"}, &model.Subnet{ID: "s2", NetworkID: "n2"}, &model.Subnet{ID: "s3", NetworkID: "gone"},
		port("p1", "n1", "h1"), port("p2", "n1", "h2"), port("p3", "n2", "h2"),
		dhcp, dhcpElsewhere, port("p6", "gone", "h1"), port("p7", "n3", ""), failed)

	for _, c := range []struct {
		name  string
		cloud Cloud
		at    []Attachment
		vlans map[model.NetworkID]LocalVLAN
		want  string
	}{
		{"nothing", Cloud{}, nil, nil, ""},
		{"networks with a port here", all, nil, map[model.NetworkID]LocalVLAN{"n1": 3, "n2": 4},
			"net n1 vlan 3: s1 p1 p2 p4 p5 p9 dhcp p5\n"},
		{"no VLAN left", all, nil, nil, "net n1 vlan 0: s1 p1 p2 p4 p5 p9 dhcp p5\n"},
		{"attached, elsewhere, unknown, failed, network gone", all,
			[]Attachment{{PortID: "p1", Device: "tapp1", OFPort: 4}, {PortID: "p2", Device: "b", OFPort: 5}, {PortID: "x", Device: "a", OFPort: 6},
				{PortID: "p9", Device: "c", OFPort: 7}, {PortID: "p6", Device: "d", OFPort: 8}}, map[model.NetworkID]LocalVLAN{"n1": 1},
			"net n1 vlan 1: s1 p1 p2 p4 p5 p9 dhcp p5\nlocal p1 on n1 as tapp1:4\nstranger x a:6\nstranger p2 b:5\nstranger p9 c:7\nstranger p6 d:8\n"},
		{"attached twice", all,
			[]Attachment{{PortID: "p1", Device: "old", OFPort: 4}, {PortID: "p1", Device: "new", OFPort: 9}, {PortID: "p1", Device: "broken", OFPort: 65535}},
			map[model.NetworkID]LocalVLAN{"n1": 1},
			"net n1 vlan 1: s1 p1 p2 p4 p5 p9 dhcp p5\nlocal p1 on n1 as new:9\nstranger p1 broken:65535\nstranger p1 old:4\n"},
		{"one OpenFlow port for two", all,
			[]Attachment{{PortID: "p5", Device: "b", OFPort: 4}, {PortID: "p1", Device: "a", OFPort: 4}}, map[model.NetworkID]LocalVLAN{"n1": 1},
			"net n1 vlan 1: s1 p1 p2 p4 p5 p9 dhcp p5\nlocal p1 on n1 as a:4\nstranger p5 b:4\n"},
		{"no OpenFlow port yet", all, []Attachment{{PortID: "p1", Device: "a"}}, map[model.NetworkID]LocalVLAN{"n1": 1},
			"net n1 vlan 1: s1 p1 p2 p4 p5 p9 dhcp p5\nstranger p1 a:0\n"},
		{"one VLAN for two", cloud(network("n1"), network("n2"), port("p1", "n1", "h1"), port("p2", "n2", "h1")), nil,
			map[model.NetworkID]LocalVLAN{"n1": 5, "n2": 5}, "net n1 vlan 5: p1\nnet n2 vlan 0: p2\n"},
		{"VLANs that cannot be", cloud(network("n1"), network("n2"), port("p1", "n1", "h1"), port("p2", "n2", "h1")), nil,
			map[model.NetworkID]LocalVLAN{"n1": 4095, "n2": 9999}, "net n1 vlan 0: p1\nnet n2 vlan 0: p2\n"},
		{"nil objects", Cloud{Ports: map[model.PortID]*model.Port{"a": nil}, Networks: map[model.NetworkID]*model.Network{"n": nil}}, nil, nil, ""},
	} {
		if got := describe(Of(c.cloud, c.at, "h1", c.vlans)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	if got := describe(Of(all, nil, "", nil)); got != "" {
		t.Errorf("a host without a name sees %s", got)
	}
}

// A guarded host: what filtered ports need and nothing else.
func guardedCloud() Cloud {
	guarded := func(id model.PortID, host model.HostName, groups ...string) *model.Port {
		p := port(id, "n1", host)
		p.PortSecurity, p.SecurityGroups = true, groups
		return p
	}
	rule := func(group, addresses string) Rule {
		return Rule{ID: "r" + group + addresses, RuleMatch: model.RuleMatch{RemoteGroup: group, RemoteAddressGroup: addresses}}
	}
	open := guarded("p3", "h1", "open")
	open.PortSecurity = false
	dhcp := guarded("p4", "h1", "open")
	dhcp.DeviceOwner = model.OwnerDHCP
	return cloud(network("n1"), guarded("p1", "h1", "b", "a", "gone", "a"), guarded("p2", "h1", "late"), open, dhcp, guarded("p5", "h2", "far"),
		&SecurityGroup{ID: "a", Rules: []Rule{rule("a", ""), rule("x", "")}}, &SecurityGroup{ID: "b", Rules: []Rule{rule("", "ag1"), rule("", "gone")}},
		&SecurityGroup{ID: "late", Rules: []Rule{rule("y", ""), rule("", "ag2")}}, &SecurityGroup{ID: "open", Rules: []Rule{rule("z", "")}},
		&SecurityGroup{ID: "far", Rules: []Rule{rule("z", "ag3")}},
		&Member{Group: "a", Port: "p1"}, &Member{Group: "b", Port: "p1"}, &Member{Group: "x", Port: "q2"}, &Member{Group: "x", Port: "q1"},
		&Member{Group: "y", Port: "q3"}, &Member{Group: "z", Port: "q4"},
		&model.AddressGroup{ID: "ag1"}, &model.AddressGroup{ID: "ag2"}, &model.AddressGroup{ID: "ag3"})
}

func TestGuarded(t *testing.T) {
	c := guardedCloud()
	// p2 is bound here but not attached: the host holds its groups, the view does not.
	v := Of(c, []Attachment{{PortID: "p1", Device: "t1", OFPort: 1}, {PortID: "p3", Device: "t3", OFPort: 3}, {PortID: "p4", Device: "t4", OFPort: 4}},
		"h1", map[model.NetworkID]LocalVLAN{"n1": 1})
	want := "net n1 vlan 1: p1 p2 p3 p4 p5 dhcp p4\nlocal p1 on n1 as t1:1\nlocal p3 on n1 as t3:3\nlocal p4 on n1 as t4:4\n" +
		"filter of p1: a\nfilter of p1: b\ngroup a: 2 rules\ngroup b: 2 rules\nmember of a: p1\nmember of x: q1\nmember of x: q2\naddresses ag1\n"
	if got := describe(v); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	part := Part(c, "h1")
	delete(c.Groups, "open")
	delete(c.Groups, "far")
	for _, id := range []MemberID{{"b", "p1"}, {"z", "q4"}} {
		delete(c.Members, id)
	}
	delete(c.AddressGroups, "ag3")
	if !reflect.DeepEqual(part, c) {
		t.Errorf("part is %v\nwant %v", part, c)
	}
}

func TestPart(t *testing.T) {
	c := cloud(network("n1"), network("n2"), &model.Subnet{ID: "s1", NetworkID: "n1"}, &model.Subnet{ID: "s2", NetworkID: "n2"},
		port("p1", "n1", "h1"), port("p2", "n1", "h2"), port("p3", "n2", "h2"))
	got := Part(c, "h1")
	want := cloud(network("n1"), &model.Subnet{ID: "s1", NetworkID: "n1"}, port("p1", "n1", "h1"), port("p2", "n1", "h2"))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("part is %v, want %v", got, want)
	}
}

// genCloud makes clouds with dangling references on purpose: IDs come from a pool of few.
func genCloud(t *rapid.T) (Cloud, []Attachment) {
	c := cloud()
	group := rapid.SampledFrom([]string{"g1", "g2", "g3", "gone"})
	net := rapid.SampledFrom([]model.NetworkID{"n1", "n2", "n3", "gone", ""})
	for _, id := range rapid.SliceOfDistinct(rapid.SampledFrom([]model.NetworkID{"n1", "n2", "n3"}), rapid.ID).Draw(t, "nets") {
		c.Networks[id] = network(id)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "subnets") {
		id := model.SubnetID(fmt.Sprint("s", i))
		c.Subnets[id] = &model.Subnet{ID: id, NetworkID: net.Draw(t, "net")}
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "ports") {
		id := model.PortID(fmt.Sprint("p", i))
		p := port(id, net.Draw(t, "net"), rapid.SampledFrom([]model.HostName{"h1", "h2", ""}).Draw(t, "host"))
		p.DeviceOwner = rapid.SampledFrom([]string{"", model.OwnerDHCP}).Draw(t, "owner")
		p.PortSecurity = rapid.Bool().Draw(t, "port security")
		p.SecurityGroups = rapid.SliceOf(group).Draw(t, "groups")
		c.Ports[id] = p
		for _, g := range p.SecurityGroups {
			c.Members[MemberID{g, id}] = MemberOf(p, g)
		}
	}
	for _, id := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"g1", "g2", "g3"}), rapid.ID).Draw(t, "known groups") {
		g := &SecurityGroup{ID: id}
		for i := range rapid.IntRange(0, 3).Draw(t, "rules") {
			r := Rule{ID: fmt.Sprint(id, i)}
			switch rapid.IntRange(0, 2).Draw(t, "remote") {
			case 1:
				r.RemoteGroup = group.Draw(t, "remote group")
			case 2:
				r.RemoteAddressGroup = rapid.SampledFrom([]string{"a1", "a2", "a3"}).Draw(t, "address group")
			}
			g.Rules = append(g.Rules, r)
		}
		c.Groups[id] = g
	}
	for _, id := range []string{"a1", "a2"} {
		c.AddressGroups[id] = &model.AddressGroup{ID: id}
	}
	at := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Attachment {
		return Attachment{
			PortID: rapid.SampledFrom([]model.PortID{"p0", "p1", "p2", "p3", "x"}).Draw(t, "port"),
			Device: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "dev"),
			OFPort: rapid.SampledFrom([]OFPort{0, 1, 2, 3, 4, 65535}).Draw(t, "ofport"),
		}
	})).Draw(t, "at")
	return c, at
}

func TestOfProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, at := genCloud(t)
		vlans := map[model.NetworkID]LocalVLAN{"n1": 1, "n2": 2}
		want := Of(c, at, "h1", vlans)

		shuffled := rapid.Permutation(slices.Concat(at, at)).Draw(t, "shuffled")
		if got := Of(c, shuffled, "h1", vlans); !reflect.DeepEqual(got, want) {
			t.Fatalf("order or repetition matters:\n%s\nand\n%s", describe(got), describe(want))
		}
		if got := Of(Part(c, "h1"), at, "h1", vlans); !reflect.DeepEqual(got, want) {
			t.Fatalf("the part does not do for the whole:\n%s\nand\n%s", describe(got), describe(want))
		}
		if part := Part(c, "h1"); !reflect.DeepEqual(Part(part, "h1"), part) {
			t.Fatal("a part has a smaller part")
		}
		if !slices.IsSortedFunc(want.Local, func(a, b LocalPort) int { return cmpID(a.ID, b.ID) }) {
			t.Fatal("local ports are not sorted")
		}
		for _, l := range want.Local {
			if l.Network == nil || !slices.Contains(want.Networks, l.Network) || l.Binding.Host != "h1" {
				t.Fatalf("local port %s dangles", l.ID)
			}
		}
		checkFilters(t, c, want)
		if n := len(want.Local) + len(want.Strangers); n != len(distinct(at)) {
			t.Fatalf("%d attachments accounted for of %d", n, len(distinct(at)))
		}
	})
}

// checkFilters checks that the view has what the filters of its local ports need, and no more.
func checkFilters(t *rapid.T, c Cloud, v View) {
	need, named := map[string]bool{}, map[string]bool{}
	for _, l := range v.Local {
		if len(l.Groups) > 0 && !l.Filtered() {
			t.Fatalf("port %s is not filtered and has groups", l.ID)
		}
		for _, id := range l.SecurityGroups {
			if g := c.Groups[id]; l.Filtered() && g != nil {
				need[id] = true
				if !slices.Contains(l.Groups, g) {
					t.Fatalf("port %s lacks group %s", l.ID, id)
				}
				for _, r := range g.Rules {
					named[r.RemoteGroup], named[r.RemoteAddressGroup] = true, true
				}
			}
		}
	}
	for _, g := range v.Groups {
		if !need[g.ID] {
			t.Fatalf("group %s is of no local port", g.ID)
		}
	}
	if len(v.Groups) != len(need) {
		t.Fatalf("%d groups, need %d", len(v.Groups), len(need))
	}
	for id, m := range c.Members {
		if named[id.Group] != slices.Contains(v.Members[id.Group], m) {
			t.Fatalf("member %v: needed %v", id, named[id.Group])
		}
	}
	for id, a := range c.AddressGroups {
		if named[id] != (v.AddressGroups[id] == a) {
			t.Fatalf("address group %s: needed %v", id, named[id])
		}
	}
}

func TestMemberOf(t *testing.T) {
	mac, other := model.MAC{2, 0, 0, 0, 0, 1}, model.MAC{2, 0, 0, 0, 0, 2}
	p := &model.Port{ID: "p", MAC: mac,
		FixedIPs: []model.FixedIP{{Addr: netip.MustParseAddr("10.0.0.9")}, {Addr: netip.MustParseAddr("2001:db8::9")}},
		AddressPairs: []model.AddressPair{{Prefix: netip.MustParsePrefix("10.0.0.9/32")}, {MAC: other, Prefix: netip.MustParsePrefix("10.0.0.9/32")},
			{Prefix: netip.MustParsePrefix("10.1.2.3/16")}, {MAC: mac, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}}
	got := fmt.Sprint(*MemberOf(p, "g"))
	want := "{g p [{02:00:00:00:00:01 0.0.0.0/0} {02:00:00:00:00:01 10.0.0.9/32} {02:00:00:00:00:01 10.1.0.0/16} {02:00:00:00:00:01 2001:db8::9/128} {02:00:00:00:00:02 10.0.0.9/32}]}"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// BenchmarkOf is the share of a full host in each pass of its agent.
func BenchmarkOf(b *testing.B) {
	c, at := crowd(1000, 2000)
	vlans := map[model.NetworkID]LocalVLAN{"n": 1}
	b.ReportAllocs()
	for b.Loop() {
		if v := Of(c, at, "h1", vlans); len(v.Local) != 1000 || len(v.Members["g"]) != 3000 {
			b.Fatal(len(v.Local), len(v.Members["g"]))
		}
	}
}

// crowd is a group that names itself, with ports on this host and members elsewhere.
func crowd(ports, members int) (Cloud, []Attachment) {
	c := cloud(network("n"), &SecurityGroup{ID: "g", Rules: []Rule{{ID: "r", RuleMatch: model.RuleMatch{RemoteGroup: "g"}}}})
	var at []Attachment
	for i := range ports + members {
		id := model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", uint32(i)*2654435761))
		p := port(id, "n", "h1")
		p.PortSecurity, p.SecurityGroups = true, []string{"g"}
		c.Members[MemberID{"g", id}] = MemberOf(p, "g")
		if i < ports {
			c.Ports[id] = p
			at = append(at, Attachment{PortID: id, Device: fmt.Sprint("tap", i), OFPort: OFPort(i + 1)})
		}
	}
	return c, at
}

func cmpID(a, b model.PortID) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

func distinct(at []Attachment) map[Attachment]bool {
	return maps.Collect(func(yield func(Attachment, bool) bool) {
		for _, a := range at {
			if !yield(a, true) {
				return
			}
		}
	})
}

func TestVTEPs(t *testing.T) {
	peer := func(addr string) *Peer {
		p := &Peer{}
		if addr != "" {
			p.VTEP = netip.MustParseAddr(addr)
		}
		return p
	}
	vxlan := &model.Network{Segment: model.Segment{Type: model.SegmentVXLAN}}
	v := View{Networks: []*Network{
		{Network: vxlan, LocalVLAN: 1, Peers: []*Peer{peer("10.0.0.3"), peer(""), peer("2001:db8::2"), peer("10.0.0.2")}},
		{Network: vxlan, LocalVLAN: 2, Peers: []*Peer{peer("10.0.0.3"), peer("10.0.0.1")}},
		{Network: vxlan, Peers: []*Peer{peer("10.0.0.9")}}, // no local VLAN was left
		{Network: &model.Network{Segment: model.Segment{Type: model.SegmentVLAN}}, LocalVLAN: 3, Peers: []*Peer{peer("10.0.0.8")}},
	}}
	for from, want := range map[string]string{"10.0.0.1": "[10.0.0.2 10.0.0.3]", "2001:db8::1": "[2001:db8::2]"} {
		if got := fmt.Sprint(v.VTEPs(netip.MustParseAddr(from))); got != want {
			t.Errorf("from %s: %s, want %s", from, got, want)
		}
	}
	if got := v.VTEPs(netip.Addr{}); len(got) != 0 {
		t.Errorf("from nowhere: %v", got)
	}
}
