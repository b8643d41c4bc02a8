package view

import (
	"fmt"
	"maps"
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
	c := Cloud{Networks: map[model.NetworkID]*model.Network{}, Subnets: map[model.SubnetID]*model.Subnet{}, Ports: map[model.PortID]*model.Port{}}
	for _, t := range things {
		switch t := t.(type) {
		case *model.Network:
			c.Networks[t.ID] = t
		case *model.Subnet:
			c.Subnets[t.ID] = t
		case *model.Port:
			c.Ports[t.ID] = t
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
		c.Ports[id] = p
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
		if n := len(want.Local) + len(want.Strangers); n != len(distinct(at)) {
			t.Fatalf("%d attachments accounted for of %d", n, len(distinct(at)))
		}
	})
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
