package inspect

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/trace"
)

// allows asks over HTTP; the parameters are as in a URL.
func (w *world) allows(params string) (int, trace.Answer, string) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.in.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, AllowsPath+"?"+params, nil))
	var a trace.Answer
	var p problem
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
		w.t.Fatalf("%s: %v", rec.Body, err)
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &p)
	return rec.Code, a, p.Error
}

// rule adds a rule to a port's only group and returns its ID.
func (w *world) rule(p *model.Port, m model.RuleMatch) string {
	w.t.Helper()
	ch := control.SecurityGroupRuleChange{Project: p.Project}
	ch.Set("rule", func(r *model.SecurityGroupRule) { r.Group, r.RuleMatch = p.SecurityGroups[0], m })
	made, err := w.c.CreateSecurityGroupRules(w.t.Context(), []control.SecurityGroupRuleChange{ch})
	if err != nil {
		w.t.Fatal(err)
	}
	return made[0].Value.ID
}

func (w *world) update(p *model.Port, r control.PortRequest) *model.Port {
	w.t.Helper()
	e, err := w.c.UpdatePort(w.t.Context(), p.ID, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Value
}

func TestAllows(t *testing.T) {
	w := newWorld(t)
	e, err := w.c.CreatePort(t.Context(), control.PortRequest{Project: "p", NetworkID: w.net, Name: control.Some("guarded"), HostID: control.Some("h1")})
	if err != nil {
		t.Fatal(err)
	}
	e2, err := w.c.CreatePort(t.Context(), control.PortRequest{Project: "p", NetworkID: w.net, Name: control.Some("friend")})
	if err != nil {
		t.Fatal(err)
	}
	p, friend := e.Value, e2.Value
	if len(p.SecurityGroups) != 1 {
		t.Fatalf("groups %v", p.SecurityGroups)
	}
	ssh := int64(22)
	rule := w.rule(p, model.RuleMatch{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortMin: &ssh, PortMax: &ssh, RemotePrefix: netip.MustParsePrefix("192.0.2.0/24")})
	mac := model.MAC{0, 0, 0x5e, 0, 1, 7}
	p = w.update(p, control.PortRequest{AddressPairs: control.Some([]control.AddressPairRequest{{MAC: mac, Prefix: netip.MustParsePrefix("10.10.0.240/32")}})})
	own, other := p.FixedIPs[0].Addr.String(), friend.FixedIPs[0].Addr.String()

	code, a, _ := w.allows("q=guarded&from=192.0.2.9&dport=22")
	if code != http.StatusOK || !a.Allowed || a.Rule != rule || a.Group != p.SecurityGroups[0] || a.GroupName != "default" || a.Switch != nil ||
		a.Packet.Dst != own || a.Packet.EthDst != p.MAC || a.Packet.EthSrc != nobody || a.Packet.SrcPort != clientPort || a.Packet.Protocol != 6 {
		t.Errorf("%d %+v", code, a)
	}
	for params, want := range map[string]string{
		"from=192.0.2.9&dport=23":                           "no_ingress_rule",
		"from=" + other + "&dport=23":                       "admitted", // a member of the default group
		"from=" + other + "&proto=icmp":                     "admitted",
		"from=::ffff:192.0.2.9&dport=22":                    "admitted",
		"from=192.0.2.9&dport=22&connection=established":    "admitted",
		"from=192.0.2.9&dport=9&connection=reply":           "admitted",
		"to=192.0.2.9&proto=47":                             "admitted",
		"to=192.0.2.9&proto=esp":                            "admitted",
		"to=192.0.2.9&dport=1&as=10.10.0.99":                "spoofed_ip",
		"to=192.0.2.9&dport=1&as=10.10.0.240":               "admitted",
		"to=192.0.2.9&dport=1&mac=" + mac.String():          "spoofed_ip", // the pair's MAC has the pair's address only
		"to=192.0.2.9&dport=1&mac=02-00-00-00-00-09":        "spoofed_mac",
		"to=fe80::1%25eth0&icmp_type=128":                   "admitted",
		"to=ff02::1&icmp_type=134&as=fe80::1":               "router_advertisement",
		"to=255.255.255.255&proto=udp&sport=67&dport=68":    "dhcp_server",
		"to=" + other + "&proto=udp&sport=68&dport=67":      "admitted",
		"to=192.0.2.9&proto=UDP&dport=65535&sport=0":        "admitted",
		"from=192.0.2.9&icmp_type=3&icmp_code=4":            "no_ingress_rule",
		"from=" + other + "&dport=23&mac=02:00:00:00:00:09": "admitted", // rules go by addresses
		"from=2001:db8::1&proto=icmpv6&as=2001:db8::2":      "no_ingress_rule",
		"to=2001:db8::1&proto=icmp&as=2001:db8::2":          "spoofed_ip",
		"to=192.0.2.9&proto=58":                             "admitted",
		"from=192.0.2.9&proto=sctp&dport=22&icmp_type=&x=1": "",
		"from=192.0.2.9&to=192.0.2.9&dport=1":               "",
		"dport=1":                                           "",
		"from=friend&dport=1":                               "admitted",
		"to=" + friend.MAC.String() + "&dport=1":            "admitted",
		"to=2001:db8::1&dport=1":                            "",
		"from=192.0.2.9":                                    "",
		"from=192.0.2.9&proto=tcp":                          "",
		"from=192.0.2.9&proto=any":                          "",
		"from=192.0.2.9&proto=256":                          "",
		"from=192.0.2.9&dport=65536":                        "",
		"from=192.0.2.9&proto=icmp&dport=1":                 "",
		"from=192.0.2.9&proto=icmp&icmp_code=256":           "",
		"from=192.0.2.9&dport=1&mac=x":                      "",
		"from=192.0.2.9&dport=1&as=2001:db8::1":             "",
		"from=192.0.2.9&dport=1&as=x":                       "",
		"from=192.0.2.9&dport=1&connection=related":         "",
		"from=2001:db8::1&dport=1":                          "", // it has no IPv6 address
	} {
		code, a, msg := w.allows("q=guarded&" + params)
		switch {
		case want == "" && (code != http.StatusBadRequest || msg == ""):
			t.Errorf("%s: %d %q %+v, want it to be refused", params, code, msg, a)
		case want != "" && (code != http.StatusOK || a.Reason != want):
			t.Errorf("%s: %d %s %q %s, want %s", params, code, a.Reason, msg, a.Text, want)
		}
	}
	for from, want := range map[string]int{"nobody": 404, "twin": 409} {
		if code, _, msg := w.allows("q=guarded&dport=22&from=" + from); code != want {
			t.Errorf("from %q: %d %s, want %d", from, code, msg, want)
		}
	}
	for q, want := range map[string]int{"nobody": 404, "twin": 409, own: 200, "": 400} {
		if code, _, msg := w.allows("from=192.0.2.9&dport=22&q=" + url.QueryEscape(q)); code != want {
			t.Errorf("%q: %d %s, want %d", q, code, msg, want)
		}
	}
	if p = w.update(p, control.PortRequest{AdminStateUp: control.Some(false)}); p.AdminStateUp {
		t.Fatal("it is up")
	}
	if _, a, _ := w.allows("q=guarded&from=192.0.2.9&dport=22"); a.Allowed || a.Reason != "port_down" {
		t.Errorf("a port that is down: %+v", a)
	}
}

// TestAllowsAsksTheHost: it gets the very packet that the records were asked about.
func TestAllowsAsksTheHost(t *testing.T) {
	w := newWorld(t)
	var asked *firewall.Packet
	w.ask = func(h model.HostName, q trace.Query) ([]byte, error) {
		asked = q.Packet
		return json.Marshal(trace.Evidence{PortID: q.PortID, Host: h, Known: true, Flows: &trace.Flows{Wanted: 3, Present: 3}, Walked: &trace.Walked{Flow: "table=0"}})
	}
	_, a, _ := w.allows("q=web&to=" + w.b.FixedIPs[0].Addr.String() + "&dport=80&live=true")
	want := firewall.Packet{Egress: true, EthSrc: w.a.MAC, EthDst: w.b.MAC, EtherType: 0x800, Proto: 6, SrcPort: clientPort, DstPort: 80,
		Src: w.a.FixedIPs[0].Addr, Dst: w.b.FixedIPs[0].Addr}
	if asked == nil || *asked != want {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	if a.Switch == nil || a.Switch.Host != "h1" || a.Disagree != a.Allowed {
		t.Errorf("%+v, switch %+v", a, a.Switch)
	}
	if _, a, _ := w.allows("q=db&from=192.0.2.1&dport=80&live=true"); a.Disagree || !strings.Contains(a.Switch.Silence, "bound to no host") {
		t.Errorf("unbound: %+v, switch %+v", a, a.Switch)
	}
	if _, _, _ = w.allows("q=web&from=192.0.2.1&dport=80"); asked.DstPort != 80 || !asked.Egress {
		t.Errorf("the host was asked unbidden: %+v", asked)
	}
}
