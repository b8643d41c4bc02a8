package trace

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
)

const (
	webGroup = "11111111-0000-4000-8000-000000000001"
	admins   = "22222222-0000-4000-8000-000000000002"
)

// asked is a question about the healthy port that a rule answers with yes.
func asked() Asked {
	port := func(n int64) *int64 { return &n }
	a := Asked{
		Guarded: firewall.Guarded{
			Port: record().Port,
			Groups: []*view.SecurityGroup{{ID: webGroup, Rules: []view.Rule{
				{ID: "r1", RuleMatch: model.RuleMatch{Direction: "egress", Ethertype: "IPv4"}},
				{ID: "r2", RuleMatch: model.RuleMatch{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortMin: port(80), PortMax: port(443)}},
				{ID: "r3", RuleMatch: model.RuleMatch{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", PortMin: port(22), PortMax: port(22), RemoteGroup: admins}},
				{ID: "r4", RuleMatch: model.RuleMatch{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", RemotePrefix: netip.MustParsePrefix("10.0.0.0/8")}},
			}}},
			Members: map[string][]*view.Member{admins: {{Group: admins, Port: "p", Sources: []view.Source{{Prefix: netip.MustParsePrefix("10.10.0.7/32")}}}}},
		},
		GroupNames: map[string]string{webGroup: "web", admins: "admins"},
		Packet: firewall.Packet{EtherType: 0x0800, EthSrc: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 7}, EthDst: record().Port.MAC, Proto: 6,
			Src: netip.MustParseAddr("10.10.0.7"), Dst: netip.MustParseAddr("10.10.0.121"), SrcPort: 50000, DstPort: 443},
	}
	a.Guarded.Port.PortSecurity = true
	a.Guarded.Port.SecurityGroups = []string{webGroup}
	return a
}

// out turns the packet round: the port sends it.
func (a *Asked) out() *firewall.Packet {
	p := &a.Packet
	p.Egress, p.Src, p.Dst, p.EthSrc, p.EthDst = true, p.Dst, p.Src, p.EthDst, p.EthSrc
	return p
}

// passed is evidence of a switch that lets the packet pass; dropped of one that does not.
func passed() *Evidence {
	ev := evidence()
	ev.Walked = &Walked{Passes: true, Ours: true, Flow: "table=82,priority=70,conj_id=8,ip,reg5=0x5", Cookie: "0x3ef7060011111111", Asked: "in_port=65000,tcp"}
	return ev
}

func dropped() *Evidence {
	ev := evidence()
	ev.Walked = &Walked{Ours: true, Flow: "table=82,priority=40,reg5=0x5", Cookie: "0x3ef703097f3a0c11", Reason: "no_ingress_rule", Asked: "in_port=65000,tcp"}
	return ev
}

// Each case is a question; testdata/allows.txt has the answers as a person reads them.
var questions = []struct {
	name string
	ask  func(a *Asked)
}{
	{"a rule with a range of ports", func(a *Asked) {}},
	{"a rule with a remote group", func(a *Asked) { a.Packet.DstPort = 22 }},
	{"a rule with a prefix", func(a *Asked) { a.Packet.Proto, a.Packet.ICMPType = 1, 8 }},
	{"a rule for everything", func(a *Asked) { a.out() }},
	{"a reply", func(a *Asked) {
		a.out()
		a.Packet.State, a.Packet.SrcPort, a.Packet.DstPort = firewall.Reply, 443, 50000
	}},
	{"further packets of a connection", func(a *Asked) { a.Packet.State = firewall.Established }},
	{"no rule of several", func(a *Asked) { a.Packet.DstPort = 23 }},
	{"a rule that the switch cannot match", func(a *Asked) {
		a.Packet.Proto = 33
		a.Guarded.Groups[0].Rules[3].Protocol, a.Guarded.Groups[0].Rules[3].PortMin = "dccp", a.Guarded.Groups[0].Rules[1].PortMin
	}},
	{"no rule of one", func(a *Asked) { a.Guarded.Groups[0].Rules = a.Guarded.Groups[0].Rules[3:] }},
	{"no rule of the direction", func(a *Asked) { a.Guarded.Groups[0].Rules = a.Guarded.Groups[0].Rules[:1] }},
	{"no group", func(a *Asked) { a.Guarded.Groups = nil }},
	{"no name", func(a *Asked) { a.Guarded.Port.Name, a.GroupNames = "", nil }},
	{"no port security", func(a *Asked) { a.Guarded.Port.PortSecurity = false; a.Packet.Proto = 47 }},
	{"a port of the network", func(a *Asked) { a.Guarded.Port.DeviceOwner = model.OwnerDHCP; a.Packet.Proto = 200 }},
	{"the port is down", func(a *Asked) { a.Guarded.Port.AdminStateUp = false }},
	{"another's address", func(a *Asked) { a.out().Src = netip.MustParseAddr("10.10.0.99") }},
	{"another's address, and none of its own", func(a *Asked) { a.out(); a.Guarded.Port.FixedIPs = nil }},
	{"another's MAC", func(a *Asked) { a.out().EthSrc = model.MAC{2, 0, 0, 0, 0, 9} }},
	{"a DHCP server", func(a *Asked) { p := a.out(); p.Proto, p.SrcPort, p.DstPort = 17, 67, 68 }},
	{"a DHCP client", func(a *Asked) { p := a.out(); p.Proto, p.SrcPort, p.DstPort = 17, 68, 67 }},
	{"a router", func(a *Asked) {
		p := a.out()
		p.EtherType, p.Proto, p.ICMPType = 0x86dd, 58, 134
		p.Src, p.Dst = netip.MustParseAddr("fe80::f816:3eff:fe7b:710b"), netip.MustParseAddr("ff02::1")
	}},
	{"live: agree on yes", func(a *Asked) { a.Live, a.Evidence = true, passed() }},
	{"live: agree on no", func(a *Asked) { a.Packet.DstPort = 23; a.Live, a.Evidence = true, dropped() }},
	{"live: not bound", func(a *Asked) {
		a.Guarded.Port.Binding.Host = ""
		a.Live, a.Silence = true, "the port is bound to no host"
	}},
	{"live: host away", func(a *Asked) { a.Live, a.Silence = true, "host h1 is not connected to this server" }},
	{"live: not plugged", func(a *Asked) {
		a.Live, a.Evidence = true, evidence()
		a.Evidence.Flows, a.Evidence.Interface, a.Evidence.Gaps = nil, nil, []string{"device tap7f3a0c11-22: no access"}
	}},
	{"live: switch away", func(a *Asked) {
		a.Live, a.Evidence = true, evidence()
		a.Evidence.Gaps = []string{"way of the packet: ovs-vswitchd: ofproto/trace: connection refused"}
	}},
	{"disagree: foreign flow", func(a *Asked) {
		a.Live, a.Evidence = true, dropped()
		a.Evidence.Walked = &Walked{Flow: "table=0,priority=65535,tcp", Cookie: "0x0", Asked: "in_port=65000,tcp"}
	}},
	{"disagree: could not be programmed", func(a *Asked) {
		a.Live, a.Evidence = true, dropped()
		a.Evidence.Faults = []Fault{{Object: "flows of port 7f3a0c11", Op: "add", Error: "table full", Tries: 3}}
	}},
	{"disagree: agent cut off", func(a *Asked) {
		a.Live, a.Evidence = true, dropped()
		a.Evidence.Feed = Feed{Error: "connection refused"}
	}},
	{"disagree: agent behind", func(a *Asked) { a.Live, a.Evidence = true, dropped(); a.Evidence.Revision = 3 }},
	{"disagree: flows missing", func(a *Asked) {
		a.Live, a.Evidence = true, dropped()
		a.Evidence.Walked.Miss, a.Evidence.Walked.Ours, a.Evidence.Walked.Flow = true, false, "table=82 (no flow matches)"
		a.Evidence.Flows = &Flows{Wanted: 9, Present: 7, Missing: []string{"x", "y"}}
	}},
	{"disagree: nobody knows why", func(a *Asked) { a.Packet.DstPort = 23; a.Live, a.Evidence = true, passed() }},
}

func TestAllows(t *testing.T) {
	var got strings.Builder
	for _, q := range questions {
		a := asked()
		q.ask(&a)
		answer := Allows(a, now)
		got.WriteString("# " + q.name + "\n")
		if err := answer.Print(&got); err != nil {
			t.Fatal(err)
		}
		got.WriteString("\n")
		if answer.Disagree != strings.HasPrefix(q.name, "disagree") {
			t.Errorf("%s: disagree is %v", q.name, answer.Disagree)
		}
		if (answer.Reason == "admitted") != answer.Allowed || answer.Allowed != strings.HasPrefix(answer.Text, "yes: ") {
			t.Errorf("%s: %+v", q.name, answer)
		}
		if q.name == "live: agree on yes" {
			b, err := json.MarshalIndent(answer, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "allows.json", append(b, '\n'))
		}
	}
	golden(t, "allows.txt", []byte(got.String()))
}
