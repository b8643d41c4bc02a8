package ovs

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/model"
)

func TestParseSource(t *testing.T) {
	mac := model.MAC{0xfa, 0x16, 0x3e, 0xed, 0x6d, 0x9d}
	for line, want := range map[string]Source{
		`recirc_id(0),in_port(tap60f79bf3-ff),packet_type(ns=0,id=0),eth(src=fa:16:3e:ed:6d:9d),eth_type(0x0800),ipv4(src=10.10.0.177/255.255.255.192,proto=1,frag=no), packets:3, bytes:294, used:3.438s, actions:drop`: {Device: "tap60f79bf3-ff", MAC: mac, Addr: netip.MustParsePrefix("10.10.0.177/26"), Packets: 3, Age: 3438 * time.Millisecond, Dropped: true},
		`ct_state(-new-est-trk),ct_mark(0),recirc_id(0),in_port(tap60f79bf3-ff),packet_type(ns=0,id=0),eth(src=fa:16:3e:ed:6d:9d,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),arp(sip=10.10.0.207,op=1,sha=fa:16:3e:ed:6d:9d), packets:0, bytes:0, used:never, actions:tap251c5589-20,tap4a1f4427-50`: {Device: "tap60f79bf3-ff",
			MAC: mac, Addr: netip.MustParsePrefix("10.10.0.207/32"), ARP: true},
		`tunnel(tun_id=0x3999,src=10.0.0.11,dst=10.0.0.10,flags(-df-csum+key)),recirc_id(0),in_port(vxlan_sys_4789),eth(src=fa:16:3e:ed:6d:9d,dst=fa:16:3e:00:00:02),eth_type(0x0800),ipv4(frag=no), packets:9, bytes:9, used:0.010s, flags:SFP., actions:3`: {Device: "vxlan_sys_4789",
			MAC: mac, VNI: 0x3999, VTEP: netip.MustParseAddr("10.0.0.11"), Packets: 9, Age: 10 * time.Millisecond},
		`recirc_id(0),in_port(eth2),eth(src=fa:16:3e:ed:6d:9d),eth_type(0x8100),vlan(vid=101,pcp=0),encap(eth_type(0x86dd),ipv6(src=fe80::1,frag=no)), packets:1, bytes:9, used:0.010s, actions:pop_vlan,3`: {Device: "eth2",
			MAC: mac, VLAN: 101, Addr: netip.MustParsePrefix("fe80::1/128"), Packets: 1, Age: 10 * time.Millisecond},
		`recirc_id(0),in_port(2),eth(dst=fa:16:3e:ed:6d:9d),eth_type(0x0806), packets:1, bytes:42, used:0.186s, dp:ovs, actions:drop`: {Device: "2", Packets: 1, Age: 186 * time.Millisecond, Dropped: true},
	} {
		if got, ok := parseSource(line + "\n"); !ok || got != want {
			t.Errorf("%s\n got %+v\nwant %+v", line, got, want)
		}
	}
	for _, line := range []string{"", "flow-dump from the main thread:", "recirc_id(0x4),in_port(tap1),eth(), packets:1, bytes:1, used:1s, actions:drop", "recirc_id(0),in_port(1)"} {
		if got, ok := parseSource(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	f.Add("recirc_id(0),in_port(x),eth(src=fa:16:3e:ed:6d:9d),arp(sip=1.2.3.4/255.0.255.0), packets:0, bytes:0, used:never, actions:drop")
	f.Fuzz(func(_ *testing.T, line string) { parseSource(line) })
}

// TestSources: a real datapath tells from what frames came.
func TestSources(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	w.plug("tap1", "iface-id="+portID(1))
	w.plug("tap2", "iface-id="+portID(2))
	// A request for 10.10.0.9 from 10.10.0.7.
	arp := func(mac string) string {
		return "ffffffffffff" + mac + "0806" + "0001080006040001" + mac + hex.EncodeToString([]byte{10, 10, 0, 7}) + "000000000000" + hex.EncodeToString([]byte{10, 10, 0, 9})
	}
	w.ofctl("add-flow", "br-int", "table=0,priority=50000,arp,dl_src=fa:16:3e:00:00:01,arp_spa=10.10.0.7,actions=drop")
	for dev, mac := range map[string]string{"tap1": "fa163e000001", "tap2": "fa163e000002"} {
		if out, err := w.lab.Appctl("netdev-dummy/receive", dev, arp(mac)); err != nil {
			t.Fatal(out, err)
		}
	}
	mac := model.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}
	var got []Source
	w.eventually("both are seen", func() bool {
		var err error
		if got, err = w.s.Sources(t.Context(), "tap1", mac, []netip.Addr{netip.MustParseAddr("10.10.0.7")}); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(got, func(s Source) bool {
			return s.Device == "tap1" && s.MAC == mac && s.ARP && strings.HasPrefix(s.Addr.String(), "10.10.0.7/") && s.Dropped
		}) &&
			slices.ContainsFunc(got, func(s Source) bool { return s.Device == "tap2" })
	})
	if len(got) != 2 {
		t.Errorf("%+v", got)
	}
}
