package trace

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
)

// followed is evidence of two hosts, h1 with the port and h2 with its DHCP port, on which all passes.
func followed() (Record, map[model.HostName]*Evidence) {
	r := record()
	r.DHCPPorts[0].Binding.Host = "h2"
	r.Hosts["h2"] = HostRecord{Host: &model.Host{Name: "h2", HeartbeatAt: now, VTEP: netip.MustParseAddr("10.0.0.12")}, Alive: true}
	said := map[model.HostName]*Evidence{"h1": evidence(), "h2": evidence()}
	for host, ev := range said {
		ev.Host = host
		for _, w := range Exchange(r) {
			ev.Walks = append(ev.Walks, WalkAnswer{Name: w.Name, DHCPPort: w.DHCPPort, Bridge: "br-int", Walked: Walked{Passes: true, Ours: true}})
		}
	}
	said["h1"].DHCP, said["h1"].Transactions = nil, nil
	return r, said
}

func judged(r Record, evidence map[model.HostName]*Evidence) Chain {
	said := map[model.HostName]Said{}
	for h, ev := range evidence {
		said[h] = Said{Evidence: ev}
	}
	return Explain(r, said, now)
}

// losePacket makes a host lose one of the packets.
func losePacket(ev *Evidence, name string, a WalkAnswer) {
	for i := range ev.Walks {
		if w := &ev.Walks[i]; w.Name == name {
			a.Name, a.DHCPPort = w.Name, w.DHCPPort
			*w = a
		}
	}
}

func TestExchange(t *testing.T) {
	foreign := WalkAnswer{Bridge: "br-int", Drops: true, Walked: Walked{Flow: "table=71,priority=999,udp", Cookie: "0x0"}}
	for _, c := range []struct {
		name    string
		spoil   func(r *Record, said map[model.HostName]*Evidence)
		verdict Verdict
		cause   Cause
		text    string
	}{
		{"all passes", func(*Record, map[model.HostName]*Evidence) {}, OK, CauseHealthy, ""},
		{"a foreign flow on the port's host", func(_ *Record, said map[model.HostName]*Evidence) { losePacket(said["h1"], walkAsks, foreign) }, Broken, CauseForeignFlow,
			"The switch of host h1 loses DISCOVER, REQUEST: the flow table=71,priority=999,udp of br-int, which is not weft's (cookie 0x0), drops it; by the records it may: every port may be a DHCP client."},
		{"a foreign flow on the DHCP host", func(_ *Record, said map[model.HostName]*Evidence) {
			foreign.Drops = false
			losePacket(said["h2"], walkAnswers, foreign)
		}, Broken, CauseForeignFlow, "The switch of host h2 loses OFFER, ACK: the flow table=71,priority=999,udp of br-int, which is not weft's (cookie 0x0), takes it elsewhere."},
		{"a flow of our own", func(_ *Record, said map[model.HostName]*Evidence) {
			losePacket(said["h1"], walkAsks, WalkAnswer{Bridge: "br-int", Drops: true, Walked: Walked{Ours: true, Flow: "table=71,priority=70,udp", Reason: "spoofed_mac"}})
		}, Broken, CauseExchangeLost, "The switch of host h1 loses DISCOVER, REQUEST: the flow table=71,priority=70,udp (spoofed_mac) of br-int drops it; by the records it may: every port may be a DHCP client."},
		{"no flow", func(_ *Record, said map[model.HostName]*Evidence) {
			losePacket(said["h2"], walkAsks, WalkAnswer{Bridge: "br-tun", Drops: true, Walked: Walked{Miss: true, Flow: "table=4 (no flow matches)"}})
		}, Broken, CauseExchangeLost, "The switch of host h2 loses DISCOVER, REQUEST: no flow matches in table=4 of br-tun."},
		{"no way to the other host", func(_ *Record, said map[model.HostName]*Evidence) {
			losePacket(said["h1"], walkAsks, WalkAnswer{Bridge: "br-tun", Walked: Walked{Ours: true, Flow: "table=22,priority=1,dl_vlan=1"}})
		}, Broken, CauseExchangeLost, "The switch of host h1 loses DISCOVER, REQUEST: after the flow table=22,priority=1,dl_vlan=1 of br-tun it is put out elsewhere only; by the records it may: every port may be a DHCP client."},
		{"only the renewal", func(_ *Record, said map[model.HostName]*Evidence) { losePacket(said["h1"], walkRenews, foreign) }, Warning, CauseForeignFlow, ""},
		{"another DHCP port that is reached", func(r *Record, said map[model.HostName]*Evidence) {
			losePacket(said["h2"], walkAsks, foreign)
			p := *r.DHCPPorts[0]
			p.ID, p.Binding.Host = "d0000000-0000-4000-8000-000000000002", "h1"
			r.DHCPPorts = append(r.DHCPPorts, &p)
			said["h1"].DHCP = said["h2"].DHCP
			for _, w := range []string{walkAsks, walkAnswers, walkRenews} {
				said["h1"].Walks = append(said["h1"].Walks, WalkAnswer{Name: w, DHCPPort: p.ID, Walked: Walked{Passes: true}})
			}
		}, Warning, CauseForeignFlow, ""},
		{"an agent that cannot follow", func(_ *Record, said map[model.HostName]*Evidence) { said["h1"].Walks, said["h2"].Walks = nil, nil }, OK, CauseHealthy, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, said := followed()
			c.spoil(&r, said)
			chain := judged(r, said)
			if a := chain.Answer; chain.Verdict != c.verdict || a.Cause != c.cause || c.text != "" && a.Text != c.text {
				t.Errorf("%s: %+v, want %s %s %q", chain.Verdict, a, c.verdict, c.cause, c.text)
			}
		})
	}
}

// Nobody follows an exchange that cannot be.
func TestExchangeOfWhom(t *testing.T) {
	for name, spoil := range map[string]func(r *Record){
		"unbound":          func(r *Record) { r.Port.Binding.Host = "" },
		"down":             func(r *Record) { r.Port.AdminStateUp = false },
		"network down":     func(r *Record) { r.Network.AdminStateUp = false },
		"no DHCP":          func(r *Record) { r.Subnets[0].EnableDHCP = false },
		"DHCP port":        func(r *Record) { r.Port.DeviceOwner = model.OwnerDHCP },
		"router":           func(r *Record) { r.Port.DeviceOwner = model.OwnerRouterInterface },
		"unbound DHCP":     func(r *Record) { r.DHCPPorts[0].Binding.Host = "" },
		"no DHCP address":  func(r *Record) { r.DHCPPorts[0].FixedIPs = nil },
		"no network":       func(r *Record) { r.Network = nil },
		"no address":       func(r *Record) { r.Port.FixedIPs = nil },
		"no DHCP port":     func(r *Record) { r.DHCPPorts = nil },
		"no port":          func(r *Record) { r.Port = nil },
		"no subnet at all": func(r *Record) { r.Subnets = nil },
	} {
		r := record()
		if n := len(Exchange(r)); n != 3 {
			t.Fatalf("%d packets", n)
		}
		if spoil(&r); len(Exchange(r)) != 0 {
			t.Errorf("%s: %+v", name, Exchange(r))
		}
	}
}

// A packet is asked for in the words of ofproto/trace, and what that says is read back.
func TestWay(t *testing.T) {
	y := Way{Walk: Exchange(record())[0], In: "br-int", As: "in_port=4", Out: "br-tun", OutPort: 3, Owner: 0x3ef7}
	if want := "in_port=4,dl_src=fa:16:3e:7b:71:0b,dl_dst=ff:ff:ff:ff:ff:ff,ip,nw_src=0.0.0.0,nw_dst=255.255.255.255,nw_ttl=64,nw_proto=17,udp_src=68,udp_dst=67"; y.Asked() != want {
		t.Errorf("asked %s", y.Asked())
	}
	const head = "bridge(\"br-int\")\n----------------\n 0. in_port=4, priority 9, cookie 0x3ef70300ec1cfc8c\n    goto_table:24\n"
	const tun = "24. priority 0, cookie 0x3ef7010000000000\n    output:65000\n\nbridge(\"br-tun\")\n----------------\n 0. dl_vlan=1, priority 1, cookie 0x3ef70200fd5ccfcf\n"
	for _, c := range []struct{ text, flow, reason string }{
		{head + tun + "    output:2\n    output:3\n", "", ""},
		{head + tun + "    output:2\n", "br-tun table=0,priority=1,dl_vlan=1", ""},
		{head + "24. arp, priority 5\n    drop\n", "br-int table=24,priority=5,arp", ""},
		{head + "24. in_port=4, priority 1, cookie 0x3ef70302ec1cfc8c\n    goto_table:93\n93. priority 0, cookie 0x3ef7010000000000\n    drop\n", "br-int table=24,priority=1,in_port=4", firewall.Reason(2).String()},
		{"", " ", ""},
	} {
		a := y.Answer(c.text)
		if a.Passes != (c.flow == "") || !a.Passes && a.Bridge+" "+a.Flow != c.flow || a.Reason != c.reason || a.Drops != (!a.Passes && !strings.Contains(c.flow, "br-tun") && a.Flow != "") {
			t.Errorf("%q: %+v, want %s %s", c.text, a, c.flow, c.reason)
		}
	}
}
