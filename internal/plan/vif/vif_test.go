package vif

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

func TestNames(t *testing.T) {
	mac, err := model.ParseMAC("fa:16:3e:7b:71:0b")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"tap", TapName("a80c937d-c4aa-4930-8c5c-ddd9b6ec6745"), "tapa80c937d-c4"},
		{"tap of a short ID", TapName("x"), "tapx"},
		{"tap MAC", TapMAC(mac).String(), "fe:16:3e:7b:71:0b"},
		{"namespace", DHCPNamespace("c9cdbbed-8503"), "qdhcp-c9cdbbed-8503"},
		{"int patch", IntPatch("br-ex"), "int-br-ex"},
		{"phy patch", PhyPatch("br-ex"), "phy-br-ex"},
		{"longest bridge that fits", IntPatch("br-physnet1"), "int-br-physnet1"},
		{"tunnel", Tunnel(model.SegmentVXLAN, netip.MustParseAddr("10.0.0.3")), "vxlan-0a000003"},
		{"tunnel to a mapped address", Tunnel(model.SegmentVXLAN, netip.MustParseAddr("::ffff:10.0.0.3")), "vxlan-0a000003"},
		{"tunnel to an IPv6 address, as Neutron names it", Tunnel(model.SegmentVXLAN, netip.MustParseAddr("2001:db8::1")), "vxlan-xsyzhsi4u"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}

func TestNamesFit(t *testing.T) {
	a, b := IntPatch("br-physical-one"), IntPatch("br-physical-two")
	if len(a) > MaxName || len(b) > MaxName || a == b {
		t.Errorf("patch names of long bridges: %q, %q", a, b)
	}
	v6a := Tunnel(model.SegmentVXLAN, netip.MustParseAddr("2001:db8::1"))
	v6b := Tunnel(model.SegmentVXLAN, netip.MustParseAddr("2001:db8::2"))
	if len(v6a) > MaxName || v6a == v6b {
		t.Errorf("tunnel names of IPv6: %q, %q", v6a, v6b)
	}
}

func TestLocalVLANs(t *testing.T) {
	type m = map[model.NetworkID]uint16
	for _, c := range []struct {
		name string
		prev m
		nets []model.NetworkID
		want m
	}{
		{"first start", nil, []model.NetworkID{"b", "a"}, m{"a": 1, "b": 2}},
		{"kept", m{"b": 1}, []model.NetworkID{"a", "b"}, m{"a": 2, "b": 1}},
		{"gap is filled", m{"a": 1, "c": 3}, []model.NetworkID{"a", "c", "d"}, m{"a": 1, "c": 3, "d": 2}},
		{"a number that was in use rests", m{"x": 1}, []model.NetworkID{"a"}, m{"a": 2}},
		{"no such VLAN", m{"a": 4095, "b": 0}, []model.NetworkID{"a", "b"}, m{"a": 1, "b": 2}},
		{"two claim one", m{"a": 7, "b": 7}, []model.NetworkID{"b", "a"}, m{"a": 7, "b": 1}},
		{"named twice", nil, []model.NetworkID{"a", "a"}, m{"a": 1}},
		{"none", m{"a": 1}, nil, m{}},
	} {
		got, exhausted := LocalVLANs(c.prev, c.nets)
		if !maps.Equal(got, c.want) || len(exhausted) != 0 {
			t.Errorf("%s: %v, exhausted %v; want %v", c.name, got, exhausted, c.want)
		}
	}
}

func TestLocalVLANsExhausted(t *testing.T) {
	var nets []model.NetworkID
	for i := range 4096 {
		nets = append(nets, model.NetworkID(fmt.Sprintf("%04d", i)))
	}
	got, exhausted := LocalVLANs(map[model.NetworkID]uint16{"4095": 9}, nets)
	if len(got) != 4094 || got["4095"] != 9 || !slices.Equal(exhausted, []model.NetworkID{"4093", "4094"}) {
		t.Errorf("%d numbers given, exhausted %v", len(got), exhausted)
	}
}

func TestLocalVLANsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Custom(func(t *rapid.T) model.NetworkID {
			return model.NetworkID(rapid.StringMatching(`[a-f]{1,2}`).Draw(t, "id"))
		})
		prev := rapid.MapOf(id, rapid.Uint16()).Draw(t, "prev")
		nets := rapid.SliceOf(id).Draw(t, "nets")
		got, _ := LocalVLANs(prev, nets)
		seen := map[uint16]bool{}
		for _, n := range got {
			if n < MinVLAN || n > MaxVLAN || seen[n] {
				t.Fatalf("%v", got)
			}
			seen[n] = true
		}
		again, _ := LocalVLANs(got, rapid.Permutation(nets).Draw(t, "order"))
		if !maps.Equal(got, again) {
			t.Fatalf("not stable: %v, then %v", got, again)
		}
	})
}

func TestOtherConfig(t *testing.T) {
	n := &model.Network{ID: "c9cdbbed", Segment: model.Segment{Type: model.SegmentVXLAN, ID: 14745}}
	got := OtherConfig(n, 1)
	want := map[string]string{"net_uuid": "c9cdbbed", "network_type": "vxlan", "physical_network": "None", "segmentation_id": "14745", "tag": "1"}
	if !maps.Equal(got, want) {
		t.Errorf("other_config %v, want %v", got, want)
	}
	if id, vlan, ok := ParseOtherConfig(got); id != "c9cdbbed" || vlan != 1 || !ok {
		t.Errorf("read back %s, %d, %v", id, vlan, ok)
	}
	for _, bad := range []map[string]string{nil, {"net_uuid": "a"}, {"tag": "1"}, {"net_uuid": "a", "tag": "4095"}, {"net_uuid": "a", "tag": "x"}} {
		if _, _, ok := ParseOtherConfig(bad); ok {
			t.Errorf("%v is read as a local VLAN", bad)
		}
	}
	restored := Restore[uint16]([]map[string]string{
		{"net_uuid": "a", "tag": "5"}, {"net_uuid": "a", "tag": "4"}, {"net_uuid": "a", "tag": "5"},
		{"net_uuid": "b", "tag": "7"}, {"net_uuid": "b", "tag": "6"}, nil,
	})
	if !maps.Equal(restored, map[model.NetworkID]uint16{"a": 5, "b": 6}) {
		t.Errorf("restored %v", restored)
	}
}
