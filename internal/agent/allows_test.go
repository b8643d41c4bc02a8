package agent

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
	"weft/internal/trace"
)

// TestAllowsLive asks records and a real switch about every kind of packet.
func TestAllowsLive(t *testing.T) {
	w, l, o := newWorld(t), &logs{}, realSwitch(t)
	h, sw, _ := onSwitch(t, o, "127.0.0.1:0")
	a, stopAgent := w.agent(noDHCP(w, l, h, sw.ControllerTarget()))
	w.joined()
	n, _ := w.network()
	w.eventually("br-int is in sync", func() bool {
		return slices.ContainsFunc(sw.Observe().Bridges, func(b ovs.Bridge) bool { return b.Name == "br-int" && b.InSync })
	})
	p, peer, unplugged, open := w.port(n), w.port(n), w.port(n), w.port(n)
	for _, p := range []*model.Port{p, peer, open} {
		plugVIF(t, o, p)
		w.becomes(p.ID, model.PortActive)
	}
	if _, err := w.control.UpdatePort(t.Context(), open.ID, control.PortRequest{PortSecurity: control.Some(false), SecurityGroups: control.Some([]string{})}); err != nil {
		t.Fatal(err)
	}
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	ask := func(of *model.Port, params string) trace.Answer {
		t.Helper()
		v, err := url.ParseQuery(params)
		if err != nil {
			t.Fatal(err)
		}
		v.Set("q", string(of.ID))
		v.Set("live", "true")
		answer, err := in.Allows(t.Context(), v)
		if err != nil {
			t.Fatalf("%s: %v", params, err)
		}
		return answer
	}
	w.eventually("port security is off at the switch too", func() bool { return !ask(open, "to=192.0.2.7&dport=443&as=10.10.0.99").Disagree })

	for _, c := range []struct {
		of             *model.Port
		params, reason string
	}{
		{p, "from=PEER&dport=22", "admitted"},
		{p, "from=PEER&proto=47", "admitted"},
		{p, "from=PEER&proto=dccp&dport=5", "admitted"},
		{p, "from=192.0.2.7&dport=22", "no_ingress_rule"},
		{p, "from=192.0.2.7&proto=icmp", "no_ingress_rule"},
		{p, "from=192.0.2.7&proto=udp&sport=67&dport=68", "admitted"},
		{p, "from=PEER&as=255.255.255.255&proto=udp&sport=68&dport=67", "not_delivered"},
		{open, "from=PEER&as=255.255.255.255&proto=udp&sport=68&dport=67", "admitted"},
		{p, "from=192.0.2.7&dport=50000&sport=443&connection=reply", "admitted"},
		{p, "from=PEER&dport=22&connection=established", "admitted"},
		{p, "from=192.0.2.7&dport=22&connection=established", "no_ingress_rule"},
		{p, "from=fe80::2&icmp_type=135&as=fe80::1", "admitted"},
		{p, "from=2001:db8::2&proto=tcp&dport=80&as=2001:db8::1", "no_ingress_rule"},
		{p, "to=192.0.2.7&dport=443", "admitted"},
		{p, "to=PEER&dport=443", "admitted"},
		{p, "to=PEER&proto=sctp&dport=9", "admitted"},
		{p, "to=192.0.2.7&dport=443&connection=established", "admitted"},
		{p, "to=192.0.2.7&sport=22&dport=50000&connection=reply", "admitted"},
		{p, "to=fe80::2&proto=icmp", "admitted"},
		{p, "to=ff02::1&icmp_type=134&as=LL", "router_advertisement"},
		{p, "to=192.0.2.7&dport=443&as=10.10.0.99", "spoofed_ip"},
		{p, "to=192.0.2.7&dport=443&mac=02:00:00:00:00:99", "spoofed_mac"},
		{p, "to=PEER&proto=udp&sport=67&dport=68", "dhcp_server"},
		{open, "from=192.0.2.7&dport=22", "admitted"},
		{open, "to=192.0.2.7&dport=22&as=10.10.0.99", "admitted"},
	} {
		params := strings.NewReplacer("PEER", peer.FixedIPs[0].Addr.String(), "LL", linkLocal(c.of.MAC).String()).Replace(c.params)
		answer := ask(c.of, params)
		if answer.Reason != c.reason || answer.Disagree || answer.Switch.Silence != "" || answer.Switch.Passes != answer.Allowed {
			t.Errorf("%s: %s, want %s: %+v\nswitch %+v\n%+v", params, answer.Reason, c.reason, answer, answer.Switch, answer.Switch.Walked)
			continue
		}
		// A connection that no rule allows any more is marked by a flow that all ports share.
		if w := answer.Switch.Walked; !w.Ours || w.Flow == "" || !answer.Allowed && w.Reason != c.reason && c.reason != "not_delivered" && !strings.Contains(params, "established") {
			t.Errorf("%s: the switch says %+v", params, w)
		}
		t.Logf("%s\n%s\n%+v", params, answer.Text, answer.Switch.Walked)
	}

	if s := ask(unplugged, "to=192.0.2.7&dport=443"); !s.Allowed || s.Disagree || !strings.Contains(s.Switch.Silence, "nothing is plugged") {
		t.Errorf("not plugged: %+v %+v", s, s.Switch)
	}
	disagreements(w, o.Ofctl, ofportOf(t, h.Observe().Attachments, p), func() trace.Answer { return ask(p, "to=192.0.2.7&dport=443") })
	if ev := a.Evidence(t.Context(), traceQuery(p)); ev.Dropped["spoofed_ip"] != 0 || len(ev.Dropped) == 0 {
		t.Errorf("dropped packets although none was sent: %v", ev.Dropped)
	}
	stopAgent()
	w.eventually("the host is away", func() bool {
		s := ask(p, "to=192.0.2.7&dport=443")
		return s.Allowed && !s.Disagree && strings.Contains(s.Switch.Silence, "not connected")
	})
}

// TestAllowsDistributed: where every host answers DHCP itself, records and a real switch agree about its packets.
func TestAllowsDistributed(t *testing.T) {
	w, l, o := newWorld(t), &logs{}, realSwitch(t)
	txn := w.store.Txn()
	store.DHCPSettings.Create(txn, &model.DHCPSetting{Mode: model.DHCPDistributed, PerNetwork: 1})
	if _, err := txn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, sw, _ := onSwitch(t, o, "127.0.0.1:0")
	w.agent(noDHCP(w, l, h, sw.ControllerTarget()))
	w.joined()
	n, _ := w.network()
	p, near, open := w.port(n), w.port(n), w.port(n)
	if _, err := w.control.UpdatePort(t.Context(), open.ID, control.PortRequest{PortSecurity: control.Some(false), SecurityGroups: control.Some([]string{})}); err != nil {
		t.Fatal(err)
	}
	if err := w.control.EnsureDHCP(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	var dhcp *model.Port
	for _, p := range w.cloudPorts(n) {
		if p.Distributed() {
			dhcp = p
		}
	}
	for _, p := range []*model.Port{p, near, open} {
		plugVIF(t, o, p)
		w.becomes(p.ID, model.PortActive)
	}
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	for _, c := range []struct {
		of             *model.Port
		params, reason string
	}{
		{p, "to=255.255.255.255&as=0.0.0.0&proto=udp&sport=68&dport=67", "admitted"},
		{p, "to=DHCP&proto=udp&sport=68&dport=67", "admitted"},
		{p, "from=DHCP&proto=udp&sport=67&dport=68", "admitted"},
		{p, "from=DHCP&as=255.255.255.255&proto=udp&sport=67&dport=68", "admitted"},
		{p, "from=DHCP&proto=icmp", "no_ingress_rule"},
		{open, "from=DHCP&proto=udp&sport=67&dport=68", "admitted"},
		{open, "from=DHCP&proto=icmp", "admitted"},
		{open, "from=NEAR&as=255.255.255.255&proto=udp&sport=68&dport=67", "admitted"},
		{open, "from=10.10.0.250&as=255.255.255.255&proto=udp&sport=68&dport=67", "not_delivered"},
		{open, "from=10.10.0.250&proto=udp&sport=68&dport=67", "admitted"},
		{p, "from=NEAR&as=255.255.255.255&proto=udp&sport=68&dport=67", "not_delivered"},
	} {
		v, err := url.ParseQuery(strings.NewReplacer("DHCP", dhcp.FixedIPs[0].Addr.String(), "NEAR", near.FixedIPs[0].Addr.String()).Replace(c.params))
		if err != nil {
			t.Fatal(err)
		}
		v.Set("q", string(c.of.ID))
		v.Set("live", "true")
		var a trace.Answer
		w.eventually(c.params+": an answer", func() bool {
			a, err = in.Allows(t.Context(), v)
			return err == nil && a.Switch.Silence == ""
		})
		t.Logf("%s: %s, switch %+v", c.params, a.Text, a.Switch.Walked)
		if a.Reason != c.reason || a.Disagree {
			t.Errorf("%s: %s, want %s: %+v, switch %+v", c.params, a.Reason, c.reason, a, a.Switch.Walked)
		}
	}
}

// disagreements makes the switch do otherwise than the records say.
func disagreements(w *world, ofctl func(...string) (string, error), ofport view.OFPort, ask func() trace.Answer) {
	t := w.t
	do := func(args ...string) {
		t.Helper()
		if out, err := ofctl(args...); err != nil {
			t.Fatal(out, err)
		}
	}
	foreign := fmt.Sprintf("priority=60000,in_port=%d", ofport)
	do("add-flow", "br-int", foreign+",actions=drop")
	if s := ask(); !s.Allowed || !s.Disagree || s.Switch.Ours || !strings.Contains(s.Switch.Flow, foreign) || !strings.Contains(s.Switch.Advice, "not weft's") {
		t.Errorf("foreign drop: %+v, switch %+v", s, s.Switch)
	}
	do("--strict", "del-flows", "br-int", foreign)
	if s := ask(); s.Disagree {
		t.Errorf("foreign drop taken out: %+v", s.Switch)
	}
	do("del-flows", "br-int", fmt.Sprintf("table=60,in_port=%d", ofport))
	if s := ask(); !s.Allowed || !s.Disagree || !strings.Contains(s.Switch.Advice, "missing in the switch") {
		t.Errorf("flow removed: %+v, switch %+v", s, s.Switch)
	}
}

func ofportOf(t *testing.T, at []view.Attachment, p *model.Port) view.OFPort {
	t.Helper()
	i := slices.IndexFunc(at, func(a view.Attachment) bool { return a.PortID == p.ID })
	if i < 0 {
		t.Fatalf("%s is not attached", p.ID)
	}
	return at[i].OFPort
}

func linkLocal(m model.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}
