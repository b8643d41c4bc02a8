package trace

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// planned are flows of the plan for two ports, on OpenFlow ports 5 and 6.
func planned(t *testing.T) map[string]vswitch.Flows {
	t.Helper()
	part := func(lines ...string) *vswitch.Part {
		var list []vswitch.Flow
		for _, l := range lines {
			list = append(list, flowIs(t, l))
		}
		return vswitch.NewPart(1, list...)
	}
	return map[string]vswitch.Flows{
		"br-int": {part("table=0,priority=0 actions=drop", "table=0,priority=3,in_port=65000 actions=goto_table:60", "table=71,priority=80,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67 actions=goto_table:73",
			"table=81,priority=95,udp,tp_src=67,tp_dst=68 actions=goto_table:92", "table=73,priority=80 actions=goto_table:94"),
			part("table=0,priority=9,in_port=5,vlan_tci=0x0000/0x1fff actions=goto_table:24", "table=60,priority=90,dl_vlan=1,dl_dst=fa:16:3e:7b:71:0b actions=goto_table:81",
				"table=71,priority=65,ip,reg5=0x5,dl_src=fa:16:3e:7b:71:0b,nw_src=10.10.0.121 actions=goto_table:72"),
			part("table=0,priority=9,in_port=6,vlan_tci=0x0000/0x1fff actions=goto_table:24")},
		"br-tun": {part("table=0,priority=1,in_port=1,dl_vlan=1 actions=goto_table:2", "table=0,priority=1,in_port=2 actions=goto_table:4", "table=4,priority=1,tun_id=0x4d actions=goto_table:10")},
	}
}

func flowIs(t *testing.T, text string) vswitch.Flow {
	t.Helper()
	f, err := vswitch.ParseFlow(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f.Normalize()
}

func TestShadows(t *testing.T) {
	spot := Spot{Port: record().Port, Int: "br-int", Tun: "br-tun", OFPort: 5, LocalVLAN: 1, VNI: 77, Uplinks: []uint32{65000}, Tunnels: []uint32{2}}
	for _, c := range []struct {
		flow string
		want bool
		own  bool
	}{
		{"br-int table=0,priority=65535 actions=drop", true, false},
		{"br-int table=0,priority=65535,in_port=5 actions=drop", true, true},
		{"br-int table=0,priority=65535,in_port=6 actions=drop", false, false},
		{"br-int table=0,priority=65535,in_port=65000 actions=drop", true, false},
		{"br-int table=0,priority=65535,in_port=65000,dl_dst=fa:16:3e:7b:71:0b actions=drop", true, true},
		{"br-int table=0,priority=65535,in_port=65000,dl_dst=fa:16:3e:00:00:99 actions=drop", false, false},
		{"br-int table=0,priority=65535,in_port=65000,dl_dst=ff:ff:ff:ff:ff:ff actions=drop", true, false},
		{"br-int table=0,priority=2 actions=normal", false, false}, // it comes after all of the port's
		{"br-int table=0,priority=3 actions=normal", true, false},
		{"br-int table=0,priority=100,tcp,in_port=5,tp_dst=22 actions=drop", true, true},
		{"br-int table=0,priority=100,in_port=5,dl_vlan=7 actions=drop", false, false}, // it sends no tags
		{"br-int table=7,priority=100 actions=drop", false, false},
		{"br-int table=60,priority=100,dl_vlan=1,dl_dst=fa:16:3e:7b:71:0b actions=drop", true, true},
		{"br-int table=60,priority=100,dl_vlan=2 actions=drop", false, false},
		{"br-int table=71,priority=100,ip,nw_src=10.10.0.121 actions=drop", true, true},
		{"br-int table=71,priority=100,ip,nw_src=10.10.0.0/24 actions=drop", true, false},
		{"br-int table=71,priority=100,ip,nw_src=10.10.0.99 actions=drop", false, false},
		{"br-int table=71,priority=100,udp,reg5=0x6 actions=drop", false, false},
		{"br-int table=81,priority=100,arp actions=drop", false, false}, // nothing of this plan is shadowed
		{"br-int table=81,priority=100,udp,reg5=0x5,tp_dst=68 actions=drop", true, true},
		{"br-int table=81,priority=100,udp,nw_dst=10.10.0.99 actions=drop", false, false},
		{"br-int table=81,priority=100,udp,nw_dst=255.255.255.255 actions=drop", true, false},
		{"br-tun table=0,priority=100,in_port=1 actions=drop", true, false},
		{"br-tun table=0,priority=100,in_port=1,dl_vlan=2 actions=drop", false, false},
		{"br-tun table=0,priority=100,in_port=3 actions=drop", false, false},
		{"br-tun table=0,priority=100,in_port=2,tun_id=0x4e actions=drop", false, false},
		{"br-tun table=4,priority=100 actions=drop", true, false},
	} {
		bridge, text, _ := strings.Cut(c.flow, " ")
		f := Foreign{Bridge: bridge, Flow: flowIs(t, text), Drops: strings.HasSuffix(text, "=drop"), Packets: 3}
		got := spot.Shadows(planned(t), []Foreign{f})
		if (len(got) == 1) != c.want || c.want && got[0].Own != c.own {
			t.Errorf("%s: %+v, want %v, own %v", c.flow, got, c.want, c.own)
		}
	}
	// What a port without port security sends can have any address.
	open := *record().Port
	open.PortSecurity = false
	spot.Port = &open
	f := Foreign{Bridge: "br-int", Flow: flowIs(t, "table=0,priority=100,ip,in_port=5,nw_src=10.10.0.99 actions=drop")}
	if got := spot.Shadows(planned(t), []Foreign{f}); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	open.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("10.10.0.96/28")}}
	open.PortSecurity = true
	if got := spot.Shadows(planned(t), []Foreign{f}); len(got) != 1 {
		t.Errorf("of an address pair: %+v", got)
	}
}

// TestShadowsOfExchange: at a DHCP port only what takes packets of the port's exchange shadows anything.
func TestShadowsOfExchange(t *testing.T) {
	dhcp := &model.Port{ID: "d", MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}, DeviceOwner: model.OwnerDHCP}
	mac := record().Port.MAC
	asks := firewall.Packet{EtherType: 0x0800, EthSrc: mac, EthDst: model.MAC{255, 255, 255, 255, 255, 255}, Src: netip.IPv4Unspecified(),
		Dst: netip.AddrFrom4([4]byte{255, 255, 255, 255}), Proto: 17, SrcPort: 68, DstPort: 67}
	answers := firewall.Packet{EtherType: 0x0800, EthSrc: dhcp.MAC, EthDst: mac, Src: netip.MustParseAddr("10.10.0.2"),
		Dst: netip.MustParseAddr("10.10.0.121"), Proto: 17, SrcPort: 67, DstPort: 68}
	spot := Spot{Port: dhcp, Int: "br-int", Tun: "br-tun", OFPort: 3, LocalVLAN: 1, VNI: 77, Uplinks: []uint32{65000}, Tunnels: []uint32{2},
		Only: []Walk{{Name: walkAsks, DHCPPort: "d", From: WalkEnd{PortID: "p"}, To: WalkEnd{PortID: "d"}, Packet: asks},
			{Name: walkAnswers, DHCPPort: "d", From: WalkEnd{PortID: "d"}, To: WalkEnd{PortID: "p"}, Packet: answers}}}
	plan := planned(t)
	plan["br-int"] = append(plan["br-int"], vswitch.NewPart(2, flowIs(t, "table=0,priority=9,in_port=3,vlan_tci=0x0000/0x1fff actions=goto_table:60"),
		flowIs(t, "table=81,priority=110,reg5=0x3 actions=output:3"), flowIs(t, "table=94,priority=20,reg6=0x1 actions=output:3")))
	for flow, want := range map[string]bool{
		"br-int table=0,priority=100,in_port=3 actions=drop":                            true,
		"br-int table=0,priority=100,in_port=5 actions=drop":                            false,
		"br-int table=0,priority=100,tcp actions=drop":                                  false,
		"br-int table=0,priority=100,udp,tp_dst=67 actions=drop":                        true,
		"br-int table=0,priority=100,udp,tp_dst=53 actions=drop":                        false,
		"br-int table=0,priority=100,dl_src=fa:16:3e:7b:71:0b actions=drop":             true,
		"br-int table=0,priority=100,dl_src=fa:16:3e:00:00:99 actions=drop":             false,
		"br-int table=71,priority=100,udp actions=drop":                                 false, // it has no filter
		"br-int table=81,priority=100,udp actions=drop":                                 false, // its own comes before
		"br-int table=81,priority=111,udp actions=drop":                                 true,
		"br-int table=94,priority=100,udp,reg6=0x1,nw_dst=10.10.0.121 actions=drop":     true,
		"br-int table=94,priority=100,udp,reg6=0x2 actions=drop":                        false,
		"br-tun table=0,priority=100,in_port=2 actions=drop":                            true,
		"br-tun table=0,priority=100,in_port=7 actions=drop":                            false, // of another host
		"br-tun table=4,priority=100,tun_id=0x4d,dl_dst=ff:ff:ff:ff:ff:ff actions=drop": true,
		"br-tun table=4,priority=100,arp actions=drop":                                  false,
	} {
		bridge, text, _ := strings.Cut(flow, " ")
		got := spot.Shadows(plan, []Foreign{{Bridge: bridge, Flow: flowIs(t, text), Drops: true, Packets: 3}})
		if (len(got) == 1) != want || want && got[0].Own {
			t.Errorf("%s: %+v, want %v", flow, got, want)
		}
	}
}

// TestDisown: a flow is known for none of weft's by all that it is, not by its cookie.
func TestDisown(t *testing.T) {
	shadows := []Shadow{{Bridge: "br-int", Table: 71, Priority: 80, Match: "udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67", Cookie: "0x77ef010000000000", Copied: true}}
	for _, c := range []struct {
		bridge, flow, cookie string
		ours                 bool
	}{
		{"br-int", "table=71,priority=80,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67", "0x77ef010000000000", false},
		{"br-int", "table=71,priority=80,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67", "0x77ef030000000000", true},
		{"br-int", "table=71,priority=80,udp,nw_src=0.0.0.0,tp_src=68", "0x77ef010000000000", true},
		{"br-tun", "table=71,priority=80,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67", "0x77ef010000000000", true},
		{"br-int", "table=71 (no flow matches)", "0x0", true},
	} {
		w := Walked{Flow: c.flow, Cookie: c.cookie, Ours: true}
		if w.Disown(c.bridge, shadows); w.Ours != c.ours {
			t.Errorf("%+v: %v", c, w.Ours)
		}
	}
}

// TestJudgeShadowsElsewhere: on a DHCP host a flow is what is wrong if it loses the exchange, unless another host serves the port.
func TestJudgeShadowsElsewhere(t *testing.T) {
	shadow := Shadow{Bridge: "br-tun", Priority: 999, Match: "udp", Actions: "drop", Cookie: "0x0", Drops: true, Packets: 3}
	lost := WalkAnswer{Name: walkAsks, DHCPPort: "d1", Bridge: "br-tun", Drops: true, Walked: Walked{Flow: "table=0,priority=999,udp", Cookie: "0x0"}}
	for _, c := range []struct {
		walks   []WalkAnswer
		works   bool
		verdict Verdict
	}{{[]WalkAnswer{lost}, false, Broken}, {[]WalkAnswer{lost}, true, Warning}, {nil, false, Warning}} {
		e := explainer{r: record(), p: record().Port, said: map[model.HostName]Said{"h1": {Evidence: evidence()}, "h2": {Evidence: &Evidence{Shadows: []Shadow{shadow}, Walks: c.walks}}}}
		e.ev, e.silence = e.at("h1")
		steps := e.flows(c.works)
		if len(steps) != 2 || steps[1].Host != "h2" || len(steps[1].Items) != 1 || steps[1].Items[0].Verdict != c.verdict ||
			!strings.HasPrefix(steps[1].Items[0].Text, "The flow table=0,priority=999,udp actions=drop of br-tun on host h2 is not weft's (cookie 0x0), comes before those that the port's DHCP packets need there and drops what it matches: ") {
			t.Errorf("%+v: %+v", c, steps)
		}
	}
}

func TestJudgeShadows(t *testing.T) {
	shadow := Shadow{Bridge: "br-int", Table: 0, Priority: 999, Match: "tcp,in_port=5", Actions: "drop", Cookie: "0x0", Drops: true, Own: true}
	lost := []WalkAnswer{{Name: walkAsks, Bridge: "br-int", Drops: true, Walked: Walked{Flow: "table=0,priority=999,in_port=5,tcp", Cookie: "0x0"}}}
	for _, c := range []struct {
		name    string
		spoil   func(ev *Evidence)
		verdict Verdict
	}{
		{"nothing has come to it", func(*Evidence) {}, Warning},
		{"it has dropped packets", func(ev *Evidence) { ev.Shadows[0].Packets = 4 }, Broken},
		{"it has dropped packets, of whom is not known", func(ev *Evidence) { ev.Shadows[0].Packets, ev.Shadows[0].Own = 4, false }, Warning},
		{"it loses a packet of the exchange", func(ev *Evidence) { ev.Walks = lost }, Broken},
	} {
		ev := evidence()
		ev.Shadows = []Shadow{shadow}
		c.spoil(ev)
		if chain := explain(record(), ev, ""); chain.Verdict != c.verdict || chain.Answer.Cause != CauseForeignFlow || chain.Answer.Step != StepFlows ||
			!strings.HasPrefix(chain.Answer.Text, "The flow table=0,priority=999,tcp,in_port=5 actions=drop of br-int on host h1 is not weft's (cookie 0x0), comes before those of the port and drops what it matches: ") {
			t.Errorf("%s: %s %+v", c.name, chain.Verdict, chain.Answer)
		}
	}
}
