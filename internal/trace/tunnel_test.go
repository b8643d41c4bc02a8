package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/internal/model"
)

// ends are two hosts with a healthy tunnel between them.
func ends() (a, b *TunnelEnd) {
	end := func(host, own, other model.HostName, address, to string) *TunnelEnd {
		return &TunnelEnd{TunnelPeer: TunnelPeer{host, netip.MustParseAddr(address)}, Said: &Tunnels{
			Host: own, Bridge: "br-tun", Address: netip.MustParseAddr(address), Underlay: &Underlay{Device: "eth1", MTU: 1500}, Flows: &Flows{Wanted: 9, Present: 9},
			Tunnels: []Tunnel{{To: TunnelPeer{other, netip.MustParseAddr(to)}, Port: &TunnelPort{Name: "vxlan-x", OFPort: 2, Remote: to, Local: address, TxPackets: 7, RxPackets: 5},
				Probes: []Probes{{Size: 60, Sent: 1, AnsweredBy: string(other), Took: time.Millisecond, Heard: 1}, {Size: 1464, Sent: 1, AnsweredBy: string(other), Took: 2 * time.Millisecond, Heard: 1}}}}}}
	}
	return end("h1", "h1", "h2", "10.0.0.1", "10.0.0.2"), end("h2", "h2", "h1", "10.0.0.2", "10.0.0.1")
}

// lose makes probes of a size, as one end sent them, never come back; heard says whether the other end got them.
func lose(from, to *TunnelEnd, size, heard int) {
	p := &from.Said.Tunnels[0].Probes[size]
	p.Sent, p.AnsweredBy, p.Took = 2, "", 0
	to.Said.Tunnels[0].Probes[size].Heard = heard
}

func TestJudgeTunnel(t *testing.T) {
	port := func(e *TunnelEnd) *TunnelPort { return e.Said.Tunnels[0].Port }
	for _, x := range []struct {
		name  string
		spoil func(a, b *TunnelEnd)
		// The worst item: cause and text; none if all is well.
		want Verdict
		what string
		why  Cause
		text string
	}{
		{"healthy", func(a, b *TunnelEnd) {}, OK, "", "", ""},
		{"blocked", func(a, b *TunnelEnd) { lose(a, b, 0, 0); lose(b, a, 0, 0); lose(a, b, 1, 0); lose(b, a, 1, 0) }, Broken, "small packets h1 to h2", CauseTunnelBlocked,
			"Nothing passes the tunnel between h1 (10.0.0.1) and h2 (10.0.0.2): 2 probes were sent each way, and none arrived."},
		{"blocked there", func(a, b *TunnelEnd) { lose(a, b, 0, 0); lose(b, a, 0, 2); lose(a, b, 1, 0); lose(b, a, 1, 2) }, Broken, "small packets h1 to h2", CauseTunnelOneWay,
			"Nothing that h1 (10.0.0.1) sends through the tunnel arrives at h2 (10.0.0.2): 2 of 2 probes were lost; the other way they pass."},
		{"blocked back", func(a, b *TunnelEnd) { lose(a, b, 0, 2); lose(b, a, 0, 0); lose(a, b, 1, 2); lose(b, a, 1, 0) }, Broken, "small packets h2 to h1", CauseTunnelOneWay,
			"Nothing that h2 (10.0.0.2) sends through the tunnel arrives at h1 (10.0.0.1): 2 of 2 probes were lost; the other way they pass."},
		{"narrow there", func(a, b *TunnelEnd) { lose(a, b, 1, 0); lose(b, a, 1, 2) }, Broken, "packets of 1450 bytes h1 to h2", CauseTunnelMTU,
			"Packets of 1450 bytes, the network's MTU, are lost in the tunnel from h1 (10.0.0.1) to h2 (10.0.0.2) (2 of 2), and small ones pass: with the tunnel's header they have 1500 bytes, and the underlay between the hosts carries less."},
		{"narrow device", func(a, b *TunnelEnd) { lose(a, b, 1, 0); lose(b, a, 1, 0); b.Said.Underlay.MTU = 1400 }, Broken, "packets of 1450 bytes h1 to h2", CauseTunnelMTU,
			"Packets of 1450 bytes, the network's MTU, are lost in the tunnel from h1 (10.0.0.1) to h2 (10.0.0.2) (2 of 2), and small ones pass: with the tunnel's header they have 1500 bytes, and the MTU of eth1 on h2 is 1400."},
		{"narrow device that carries all the same", func(a, b *TunnelEnd) { a.Said.Underlay.MTU = 1499 }, Warning, "underlay of h1", CauseTunnelMTU,
			"Packets of 1450 bytes, the network's MTU, have 1500 with the tunnel's header, and the MTU of eth1 on h1 is 1499."},
		{"address on no device", func(a, b *TunnelEnd) { b.Said.Underlay = &Underlay{}; lose(a, b, 0, 0); lose(b, a, 0, 0) }, Broken, "address of h2", CauseTunnelAddressMissing,
			"No device of host h2 has its tunnel address 10.0.0.2, so its tunnels carry nothing."},
		{"device down", func(a, b *TunnelEnd) { a.Said.Underlay.Down = true; lose(a, b, 0, 0); lose(b, a, 0, 0) }, Broken, "address of h1", CauseUnderlayDown,
			"eth1, which has the tunnel address 10.0.0.1 of host h1, is down or has no carrier, so its tunnels carry nothing."},
		{"no address", func(a, b *TunnelEnd) { a.Address = netip.Addr{} }, Broken, "address of h1", CauseNoTunnelAddress, "Host h1 has no tunnel address, so no tunnel leads to it or from it."},
		{"another address than told", func(a, b *TunnelEnd) { a.Said.Address = netip.MustParseAddr("10.0.0.9") }, Broken, "address of h1", CauseTunnelWrongAddress,
			"Tunnels of host h1 end at 10.0.0.9 by its own settings, and at 10.0.0.1 by the records, which other hosts follow."},
		{"one address", func(a, b *TunnelEnd) { b.Address, b.Said.Address = a.Address, a.Address }, Broken, "addresses", CauseTunnelWrongAddress, "Hosts h1 and h2 have one tunnel address, 10.0.0.1."},
		{"two families", func(a, b *TunnelEnd) { b.Address = netip.MustParseAddr("fd00::2"); b.Said.Address = b.Address }, Broken, "addresses", CauseNoTunnelAddress,
			"The tunnel addresses of h1 (10.0.0.1) and h2 (fd00::2) are not of one IP version, so there is no tunnel between them."},
		{"no port", func(a, b *TunnelEnd) { lose(b, a, 0, 0); a.Said.Tunnels[0] = Tunnel{To: a.Said.Tunnels[0].To} }, Broken, "port of h1", CauseNoTunnelPort,
			"Bridge br-tun of host h1 has no tunnel to h2 (10.0.0.2)."},
		{"port in error", func(a, b *TunnelEnd) { port(a).OFPort, port(a).Error = 0, "could not add network device" }, Broken, "port of h1", CauseTunnelPortError,
			"Open vSwitch on host h1 could not make the tunnel vxlan-x to h2 (10.0.0.2): could not add network device."},
		{"port to another address", func(a, b *TunnelEnd) { port(b).Remote = "10.0.0.77" }, Broken, "port of h2", CauseTunnelWrongAddress,
			"The tunnel vxlan-x of host h2 leads to 10.0.0.77 from 10.0.0.2, and should lead to 10.0.0.1 from 10.0.0.2."},
		{"another host answers", func(a, b *TunnelEnd) { a.Said.Tunnels[0].Probes[0].AnsweredBy = "h3" }, Broken, "small packets h1 to h2", CauseTunnelWrongHost,
			"The tunnel from h1 (10.0.0.1) to h2 (10.0.0.2) ends at host h3."},
		{"flows missing", func(a, b *TunnelEnd) { b.Said.Flows.Present = 7; lose(a, b, 0, 0); lose(b, a, 0, 0) }, Broken, "flows of h2", CauseTunnelFlows,
			"2 of the 9 flows of br-tun on host h2, through which its tunnels pass, are missing in the switch."},
		{"nobody said", func(a, b *TunnelEnd) {
			a.Said, a.Silence, b.Said, b.Silence = nil, "host h1 is away", nil, "host h2 is away"
		}, Unknown, "tunnel from h1 to h2", CauseNotLooked,
			"Nobody could look at the tunnel from h1 to h2: host h1 is away."},
		{"one said, and the probes came back", func(a, b *TunnelEnd) { b.Said, b.Silence = nil, "host h2 is away" }, Unknown, "address of h2", CauseNotLooked,
			"Nobody could look at the address of h2: host h2 is away."},
		{"probes not sent", func(a, b *TunnelEnd) {
			lose(b, a, 0, 0)
			a.Said.Gaps = []string{"probes: bridge br-tun: the bridge is not connected to the controller"}
			a.Said.Tunnels[0].Probes = nil
		}, Unknown, "small packets h2 to h1", CauseNotLooked,
			"Nobody could look at the small packets h2 to h1: host h1: probes: bridge br-tun: the bridge is not connected to the controller."},
	} {
		a, b := ends()
		x.spoil(a, b)
		var c Chain
		c.finish(JudgeTunnel(*a, *b, 1450))
		c.conclude("")
		if got := c.Answer; c.Verdict != x.want || x.want != OK && (got.What != x.what || got.Cause != x.why || got.Text != x.text || got.Do == "") {
			t.Errorf("%s: %s %+v\n%+v", x.name, c.Verdict, got, c.Steps)
		}
		if n := strings.Count(c.Answer.Text, ". "); n > 0 {
			t.Errorf("%s: more than a sentence: %s", x.name, c.Answer.Text)
		}
	}
}

// TestTunnelStep: a port whose DHCP is on its own host needs no tunnel; of several one will do; who was not
// asked is not spoken of.
func TestTunnelStep(t *testing.T) {
	a, b := ends()
	lose(a, b, 0, 0)
	lose(b, a, 0, 0)
	of := func(said map[model.HostName]Said, hosts ...model.HostName) (out []Step) {
		r := record()
		for i, h := range []model.HostName{"h1", "h2", "h3"} {
			r.Hosts[h] = HostRecord{Host: &model.Host{Name: h, VTEP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}, Alive: true}
		}
		dp := r.DHCPPorts[0]
		r.DHCPPorts = nil
		for _, h := range hosts {
			p := *dp
			p.Binding.Host = h
			r.DHCPPorts = append(r.DHCPPorts, &p)
		}
		for _, s := range Explain(r, said, now).Steps {
			if s.Name == StepTunnel {
				out = append(out, s)
			}
		}
		return out
	}
	steps := func(hosts ...model.HostName) (out []Verdict) {
		for _, s := range of(map[model.HostName]Said{"h1": {Evidence: evidence(), Tunnels: a.Said}, "h2": {Evidence: evidence(), Tunnels: b.Said}}, hosts...) {
			out = append(out, s.Verdict)
		}
		return out
	}
	for _, x := range []struct {
		name string
		got  []Verdict
		want []Verdict
	}{
		{"own host", steps("h1"), nil},
		{"other host", steps("h2"), []Verdict{Broken}},
		{"own and other", steps("h1", "h2"), []Verdict{Warning}},
	} {
		if len(x.got) != len(x.want) || len(x.got) > 0 && x.got[0] != x.want[0] {
			t.Errorf("%s: %v, want %v", x.name, x.got, x.want)
		}
	}
	// What somebody has led elsewhere comes first.
	well, other := ends()
	ev := evidence()
	ev.Repairs = []Repair{{Kind: repairPort, Bridge: "br-tun", Name: "vxlan-0a000002", Found: "remote_ip 10.0.0.99", Set: "remote_ip 10.0.0.2", At: now.Add(-time.Second), Times: 1}}
	found := of(map[model.HostName]Said{"h1": {Evidence: ev, Tunnels: well.Said}, "h2": {Evidence: evidence(), Tunnels: other.Said}}, "h2")
	if len(found) != 1 || found[0].Verdict != Warning || found[0].Items[0].Cause != CauseTunnelWrongAddress {
		t.Errorf("changed: %+v", found)
	}
}
