package trace

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weft/internal/model"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func record() Record {
	return Record{
		Port: &model.Port{
			ID: "7f3a0c11-2222-4333-8444-555566667777", Name: "web-1", NetworkID: "b6d0aaaa-0000-4000-8000-000000000001",
			MAC: model.MAC{0xfa, 0x16, 0x3e, 0x7b, 0x71, 0x0b}, AdminStateUp: true, Status: model.PortActive,
			FixedIPs:     []model.FixedIP{{SubnetID: "s1", Addr: netip.MustParseAddr("10.10.0.121")}},
			PortSecurity: true, SecurityGroups: []string{"11111111-0000-4000-8000-000000000001"},
			DeviceOwner: "compute:nova", DeviceID: "vm-1",
			Binding: model.Binding{Host: "h1", VNICType: "normal", VIFType: model.VIFOVS},
			Meta:    model.Meta{Revision: 4},
		},
		Network: &model.Network{ID: "b6d0aaaa-0000-4000-8000-000000000001", Name: "demo", AdminStateUp: true, MTU: 1450,
			Segment: model.Segment{Type: model.SegmentVXLAN, ID: 77}},
		Subnets: []*model.Subnet{{ID: "s1", CIDR: netip.MustParsePrefix("10.10.0.0/24"), EnableDHCP: true}},
		DHCPPorts: []*model.Port{{
			ID: "d0000000-0000-4000-8000-000000000001", DeviceOwner: model.OwnerDHCP, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, 2},
			FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: netip.MustParseAddr("10.10.0.2")}},
			Binding:  model.Binding{Host: "h1"},
		}},
		Hosts:      map[model.HostName]HostRecord{"h1": {Host: &model.Host{Name: "h1", HeartbeatAt: now.Add(-3 * time.Second)}, Alive: true}},
		GroupNames: map[string]string{"11111111-0000-4000-8000-000000000001": "web"},
	}
}

func evidence() *Evidence {
	return &Evidence{
		PortID: "7f3a0c11-2222-4333-8444-555566667777", Host: "h1", At: now,
		Feed:   Feed{InSync: true, Revision: 1234, Since: now.Add(-time.Hour)},
		Switch: Switch{Connected: true, Bridge: "br-int", Version: "3.1.0"},
		Known:  true, Revision: 4, LocalVLAN: 1,
		Interface: &Interface{Name: "tap7f3a0c11-22", Bridge: "br-int", OFPort: 5, Tag: 1,
			ExternalIDs: map[string]string{"iface-id": "7f3a0c11-2222-4333-8444-555566667777", "attached-mac": "fa:16:3e:7b:71:0b"}},
		Device:  &Device{Name: "tap7f3a0c11-22", Kind: "tun", MAC: "fe:16:3e:7b:71:0b", MTU: 1450, Up: true, Carrier: true, RxPackets: 10, TxPackets: 20},
		Flows:   &Flows{Wanted: 6, Present: 6, Packets: 42},
		Dropped: map[string]uint64{"spoofed_ip": 3, "no_ingress_rule": 12, "dhcp_server": 0},
		DHCP: &DHCP{Wanted: true, Namespace: "qdhcp-b6d0aaaa-0000-4000-8000-000000000001", Exists: true, Device: "tapd0000000-00",
			Addresses: []string{"10.10.0.2/24", "169.254.169.254/32"}, MAC: "fa:16:3e:00:00:02", MTU: 1450, Listening: true, Heard: true, Leases: []string{"10.10.0.121"}},
		Transactions: []Transaction{
			{At: now.Add(-60 * time.Second), Message: "DISCOVER", Reply: "OFFER", Addr: "10.10.0.121", Elapsed: 80 * time.Microsecond},
			{At: now.Add(-59 * time.Second), Message: "REQUEST", Reply: "ACK", Addr: "10.10.0.121", Elapsed: 90 * time.Microsecond},
		},
		Reported: &Facts{Wired: true, DHCP: true, At: now.Add(-61 * time.Second)},
	}
}

// Each case breaks the healthy port in one way; the golden file is what a person reads.
var cases = []struct {
	name  string
	spoil func(r *Record, ev *Evidence) (noEvidence string)
	// step and what name where the answer is; empty when all is well.
	step, what string
}{
	{"healthy", func(r *Record, ev *Evidence) string { return "" }, "", ""},
	{"no-port", func(r *Record, ev *Evidence) string { *r = Record{}; return "" }, "record", "port"},
	{"unbound", func(r *Record, ev *Evidence) string {
		r.Port.Binding = model.Binding{VNICType: "normal", VIFType: model.VIFUnbound}
		r.Port.Status = model.PortDown
		return "the port is bound to no host"
	}, "binding", "host"},
	{"binding-failed", func(r *Record, ev *Evidence) string {
		r.Port.Binding.VIFType, r.Port.Binding.Reason = model.VIFBindingFailed, "host h1 has no mapping for physnet1"
		return ""
	}, "binding", "vif type"},
	{"host-down", func(r *Record, ev *Evidence) string {
		r.Hosts["h1"] = HostRecord{Host: &model.Host{Name: "h1", HeartbeatAt: now.Add(-10 * time.Minute)}}
		r.Port.Status = model.PortDown
		return "host h1 is not connected"
	}, "host", "agent"},
	{"host-hangs", func(r *Record, ev *Evidence) string {
		r.Port.Status = model.PortDown
		return "host h1 is connected and said nothing for 5s"
	}, "host", "evidence"},
	{"host-unknown", func(r *Record, ev *Evidence) string {
		delete(r.Hosts, "h1")
		return "host h1 is not connected"
	}, "host", "agent"},
	{"agent-behind", func(r *Record, ev *Evidence) string { ev.Revision = 3; return "" }, "host", "port known to agent"},
	{"not-plugged", func(r *Record, ev *Evidence) string {
		ev.Interface, ev.Device, ev.Flows, ev.Transactions = nil, nil, nil, nil
		ev.Reported.Wired, r.Port.Status = false, model.PortDown
		return ""
	}, "interface", "interface"},
	{"interface-error", func(r *Record, ev *Evidence) string {
		ev.Interface.OFPort, ev.Interface.Error, ev.Interface.Tag = -1, "could not open network device tap7f3a0c11-22 (No such device)", 0
		ev.Device, ev.Flows = nil, nil
		return ""
	}, "interface", "error"},
	{"wrong-mac", func(r *Record, ev *Evidence) string {
		ev.Interface.ExternalIDs["attached-mac"] = "fa:16:3e:00:00:99"
		return ""
	}, "interface", "attached-mac"},
	{"agent-dead", func(r *Record, ev *Evidence) string {
		h := *r.Hosts["h1"].Host
		h.CertificateUntil = now.Add(-time.Hour)
		r.Hosts["h1"] = HostRecord{&h, false}
		return "host h1 is not connected to any server"
	}, "host", "certificate"},
	{"vswitchd-dead", func(r *Record, ev *Evidence) string {
		ev.Switch = Switch{Bridge: "br-int", Error: "bridge br-int: the bridge is not connected to the controller", Trouble: "no_vswitchd", Vswitchd: "connect: connection refused"}
		return ""
	}, "host", "switch"},
	{"ovsdb-dead", func(r *Record, ev *Evidence) string {
		ev.Switch = Switch{Bridge: "br-int", Error: "the switch's database cannot be reached", Trouble: "no_database"}
		return ""
	}, "host", "switch"},
	{"ovsdb-empty", func(r *Record, ev *Evidence) string {
		ev.Switch = Switch{Bridge: "br-int", Error: "the switch's database is not initialised", Trouble: "empty_database"}
		return ""
	}, "host", "switch"},
	{"controller-lost", func(r *Record, ev *Evidence) string {
		ev.Switch = Switch{Bridge: "br-int", Error: "bridge br-int: the bridge is not connected to the controller", Trouble: "not_connected"}
		return ""
	}, "host", "switch"},
	{"guest-mac", func(r *Record, ev *Evidence) string {
		ev.Sources = []Source{{MAC: model.MAC{2, 0, 0, 0, 0, 0x77}, Packets: 9, Age: 200 * time.Millisecond, Dropped: true}}
		ev.Transactions = nil
		return ""
	}, "guest", "sends with MAC"},
	{"guest-mac-before", func(r *Record, ev *Evidence) string {
		ev.Flows.OtherMAC, ev.Flows.FromMAC = 7, 0
		return ""
	}, "guest", "sends with MAC"},
	{"guest-address", func(r *Record, ev *Evidence) string {
		ev.Sources = []Source{guestSource("10.10.0.99/32", true), guestSource("10.10.0.96/27", true)}
		ev.Sources[0].ARP = true
		return ""
	}, "guest", "sends from"},
	{"guest-address-too", func(r *Record, ev *Evidence) string {
		ev.Sources = []Source{guestSource("172.17.0.64/26", true), guestSource("10.10.0.121/32", false)}
		return ""
	}, "guest", "sends from"},
	{"guest-linklocal", func(r *Record, ev *Evidence) string {
		ev.Sources = []Source{guestSource("169.254.3.7/32", true)}
		return ""
	}, "guest", "sends from"},
	{"guest-sends", func(r *Record, ev *Evidence) string {
		ev.Sources = []Source{guestSource("10.10.0.121/32", false), guestSource("0.0.0.0/32", false)}
		return ""
	}, "", ""},
	{"guest-router", func(r *Record, ev *Evidence) string {
		r.Port.PortSecurity, r.Port.SecurityGroups = false, nil
		ev.Sources = []Source{guestSource("192.0.2.1/32", false), {MAC: model.MAC{2, 0, 0, 0, 0, 0x77}}}
		return ""
	}, "", ""},
	{"duplicate-mac", func(r *Record, ev *Evidence) string {
		ev.Rivals = []Source{{MAC: r.Port.MAC, Packets: 3, Age: time.Second, Device: "vxlan_sys_4789", Host: "h2", VTEP: netip.MustParseAddr("10.0.0.12")}}
		return ""
	}, "guest", "mac elsewhere"},
	{"duplicate-address", func(r *Record, ev *Evidence) string {
		ev.Rivals = []Source{{MAC: model.MAC{2, 0, 0, 0, 0, 0x77}, Addr: netip.MustParsePrefix("10.10.0.121/32"), ARP: true, Dropped: true, Device: "tap99999999-99", Port: "99999999-2222-4333-8444-555566667777"}}
		return ""
	}, "guest", "address elsewhere"},
	{"plugged-elsewhere", func(r *Record, ev *Evidence) string {
		ev.Interface, ev.Device, ev.Flows = nil, nil, nil
		r.Elsewhere = []Evidence{{Host: "h2", Interface: &Interface{Name: "tap7f3a0c11-22", Bridge: "br-int", OFPort: 3}}}
		return ""
	}, "interface", "interface"},
	{"iface-id-typo", func(r *Record, ev *Evidence) string {
		i := *ev.Interface
		i.ExternalIDs = map[string]string{"iface-id": "7f3a0c11-2222-4333-8444-555566667778", "attached-mac": "fa:16:3e:7b:71:0b"}
		ev.Interface, ev.Flows = nil, nil
		ev.LookAlikes = []LookAlike{{i, []string{"its name is that of the port's tap", "its attached-mac is the port's"}}}
		return ""
	}, "interface", "interface"},
	{"tap-not-on-switch", func(r *Record, ev *Evidence) string { ev.Interface, ev.Flows = nil, nil; return "" }, "interface", "interface"},
	{"stale-port", func(r *Record, ev *Evidence) string {
		ev.Interface.OFPort, ev.Device, ev.Flows = 0, nil, nil
		return ""
	}, "interface", "ofport"},
	{"twin", func(r *Record, ev *Evidence) string {
		ev.Twins = []Interface{{Name: "tapold", Bridge: "br-int", OFPort: -1}}
		ev.Device.Holder = &Holder{PID: 4711, Name: "qemu-system-x86", Domain: "instance-00000001"}
		return ""
	}, "interface", "other interface"},
	{"tag-repaired", func(r *Record, ev *Evidence) string {
		ev.Repairs = []Repair{{Kind: "port", Bridge: "br-int", Name: "tap7f3a0c11-22", Found: "tag 999", Set: "tag 1", At: now.Add(-3 * time.Minute), Times: 1}}
		return ""
	}, "interface", "port tap7f3a0c11-22"},
	{"tag-repaired-again", func(r *Record, ev *Evidence) string {
		ev.Repairs = []Repair{{Kind: "port", Bridge: "br-int", Name: "tap7f3a0c11-22", Found: "tag 999", Set: "tag 1", At: now.Add(-time.Second), Times: 12, Lately: 5}}
		return ""
	}, "interface", "port tap7f3a0c11-22"},
	{"faults-over", func(r *Record, ev *Evidence) string {
		ev.Past = []Fault{{Object: "bridge br-int", Op: "change flows", Error: "the bridge is not connected to the controller", Since: now.Add(-10 * time.Minute), Until: now.Add(-9 * time.Minute)}}
		return ""
	}, "", ""},
	{"others-repaired", func(r *Record, ev *Evidence) string {
		ev.Repairs = []Repair{
			{Kind: "bridge", Bridge: "br-int", Found: "controller tcp:192.0.2.1:6653", Set: "controller tcp:127.0.0.1:6633", At: now.Add(-time.Minute), Times: 1},
			{Kind: "flows", Bridge: "br-int", Name: "table=60,priority=40000 actions=drop", Found: "the flow table=60,priority=40000 actions=drop", Set: "removed", At: now.Add(-time.Minute), Times: 2},
			{Kind: "port", Bridge: "br-tun", Name: "vxlan-0a00000b", Found: "remote_ip 10.0.0.99", Set: "remote_ip 10.0.0.11", At: now.Add(-time.Minute), Times: 1}}
		return ""
	}, "host", "bridge br-int"},
	{"namespace-repaired", func(r *Record, ev *Evidence) string {
		ev.Repairs = []Repair{{Kind: "namespace", Name: "qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a/tapd677df3f-b5", Found: "no address 10.10.0.2/24", Set: "address 10.10.0.2/24 there", At: now.Add(-time.Minute), Times: 1}}
		return ""
	}, "dhcp", "namespace qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a/tapd677df3f-b5"},
	{"namespace-repaired-again", func(r *Record, ev *Evidence) string {
		ev.Repairs = []Repair{{Kind: "namespace", Name: "qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a", Found: "gone", Set: "made again", At: now.Add(-time.Second), Times: 7, Lately: 5}}
		return ""
	}, "dhcp", "namespace qdhcp-c9cdbbed-8503-49b9-a636-ed707b68805a"},
	{"flows-missing", func(r *Record, ev *Evidence) string {
		ev.Flows.Present = 5
		ev.Flows.Missing = []string{"table=60,priority=100,in_port=5 actions=load:0x5->NXM_NX_REG5[],load:0x1->NXM_NX_REG6[],goto_table:71"}
		return ""
	}, "flows", "flows"},
	{"closed", func(r *Record, ev *Evidence) string {
		ev.Flows.Present, ev.Flows.Missing, ev.Dropped = 5, []string{"table=60,priority=100,in_port=5 actions=drop"}, nil
		ev.Faults = []Fault{{Object: "flow of bridge br-int", Op: "add", Error: "OFPFMFC_TABLE_FULL", Since: now.Add(-time.Minute), Tries: 7, Closes: true}}
		return ""
	}, "filter", "passes"},
	{"rules-refused", func(r *Record, ev *Evidence) string {
		ev.Reported.Wired, r.Port.Status = false, model.PortDown
		ev.Faults = []Fault{{Object: "flow of bridge br-int", Op: "add", Error: "OFPFMFC_TABLE_FULL", Since: now.Add(-time.Minute), Tries: 7, Rules: true}}
		return ""
	}, "filter", "passes"},
	{"not-filtered", func(r *Record, ev *Evidence) string {
		r.Port.PortSecurity, r.Port.SecurityGroups = false, nil
		return ""
	}, "", ""},
	{"no-group", func(r *Record, ev *Evidence) string { r.Port.SecurityGroups = nil; return "" }, "", ""},
	{"no-listener", func(r *Record, ev *Evidence) string {
		ev.DHCP.Listening, ev.DHCP.Addresses = false, nil
		ev.Faults = []Fault{{Object: "namespace qdhcp-b6d0aaaa", Op: "create", Error: "operation not permitted", Since: now.Add(-time.Minute), Tries: 7}}
		return ""
	}, "dhcp", "address"},
	{"no-discover", func(r *Record, ev *Evidence) string { ev.Transactions = nil; return "" }, "lease", "last message"},
	{"nak", func(r *Record, ev *Evidence) string {
		ev.Transactions = append(ev.Transactions, Transaction{At: now.Add(-time.Second), Message: "REQUEST", Reply: "NAK", Addr: "10.10.0.99", Reason: "wrong address"})
		return ""
	}, "lease", "REQUEST"},
	{"status-stuck", func(r *Record, ev *Evidence) string { r.Port.Status = model.PortDown; return "" }, "status", "status"},
	{"gaps", func(r *Record, ev *Evidence) string { ev.Gaps = []string{"flows of br-int: timeout"}; return "" }, "faults", "gap"},
}

// guestSource is of frames that the guest has sent with its own MAC.
func guestSource(addr string, dropped bool) Source {
	return Source{MAC: record().Port.MAC, Addr: netip.MustParsePrefix(addr), Packets: 4, Age: 300 * time.Millisecond, Dropped: dropped}
}

// A clock that differs is a warning, and so is a certificate that ends.
func TestClockAndCertificate(t *testing.T) {
	for skew, want := range map[time.Duration]string{0: "", 900 * time.Millisecond: "", -90 * time.Second: "The clock of host h1 is 1m30s behind, compared with the server's.", 2 * time.Second: "The clock of host h1 is 2s ahead, compared with the server's."} {
		c := Explain(record(), map[model.HostName]Said{"h1": {Evidence: evidence(), Skew: skew}}, now)
		if want == "" && c.Verdict != OK || want != "" && (c.Verdict != Warning || c.Answer.Text != want || c.Answer.Cause != CauseClockSkew) {
			t.Errorf("%v: %s %+v", skew, c.Verdict, c.Answer)
		}
	}
	for _, c := range []struct {
		until, connected time.Duration
		gone             bool
		want             Cause
	}{
		{24 * time.Hour, -80 * 24 * time.Hour, false, CauseCertificateEnds}, {20 * time.Hour, -time.Hour, false, CauseHealthy},
		{80 * 24 * time.Hour, -time.Hour, false, CauseHealthy}, {-time.Hour, -80 * 24 * time.Hour, false, CauseCertificateExpired},
		{-time.Hour, -80 * 24 * time.Hour, true, CauseCertificateExpired}, {80 * 24 * time.Hour, -time.Hour, true, CauseAgentDead},
	} {
		r, said := record(), Said{Evidence: evidence()}
		if c.gone {
			said = Said{Silence: "host h1 is not connected to any server", Gone: true}
		}
		h := *r.Hosts["h1"].Host
		h.CertificateUntil, h.ConnectedAt = now.Add(c.until), now.Add(c.connected)
		r.Hosts["h1"] = HostRecord{&h, true}
		if got := Explain(r, map[model.HostName]Said{"h1": said}, now); got.Answer.Cause != c.want || c.gone != (got.Verdict == Broken) {
			t.Errorf("%+v: %s %+v", c, got.Verdict, got.Answer)
		}
	}
}

// explain judges by what host h1 said.
func explain(r Record, ev *Evidence, silence string) Chain {
	return Explain(r, map[model.HostName]Said{"h1": {Evidence: ev, Silence: silence}}, now)
}

func TestExplain(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, ev := record(), evidence()
			silence := c.spoil(&r, ev)
			if silence != "" {
				ev = nil
			}
			chain := explain(r, ev, silence)
			if a := chain.Answer; a.Step != c.step || a.What != c.what || (chain.Verdict == OK) != (c.step == "") || a.Text == "" || Causes[a.Cause].Title == "" {
				t.Errorf("%s: %+v, want %q %q", chain.Verdict, a, c.step, c.what)
			}
			var b bytes.Buffer
			if err := chain.Print(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name+".txt", b.Bytes())
		})
	}
}

func TestChainJSON(t *testing.T) {
	chain := explain(record(), evidence(), "")
	b, err := json.MarshalIndent(chain, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "healthy.json", append(b, '\n'))
	var back Chain
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if c, _ := json.MarshalIndent(back, "", "  "); !bytes.Equal(b, c) {
		t.Error("JSON does not survive a round trip")
	}
}

// Evidence may lack anything and hold any nonsense; no part of it may cause a panic.
func TestExplainSurvivesHoles(t *testing.T) {
	for i := range 1 << 6 {
		r, ev := record(), evidence()
		for bit, cut := range []func(){
			func() { r.Network = nil }, func() { r.Subnets = []*model.Subnet{nil} }, func() { r.DHCPPorts = nil },
			func() { r.Hosts = nil }, func() { ev = &Evidence{} }, func() { r.Port.DeviceOwner = model.OwnerDHCP },
		} {
			if i&(1<<bit) != 0 {
				cut()
			}
		}
		for _, e := range []*Evidence{ev, nil} {
			chain := explain(r, e, "")
			if err := chain.Print(&bytes.Buffer{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}

// Who may not see hosts learns nothing of them, nor of others' ports, from any chain.
func TestRedactHidesHosts(t *testing.T) {
	for _, c := range cases {
		r, ev := record(), evidence()
		silence := c.spoil(&r, ev)
		if silence != "" {
			ev = nil
		}
		chain := explain(r, ev, silence)
		chain.Redact()
		b, err := json.Marshal(chain)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{`"h1"`, " h1", `h2`, "99999999-2222", "tap7f3a", "10.0.0.12", "br-int"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s: %q is in %s", c.name, secret, b)
			}
		}
	}
}

// A port that no VM has yet is nothing to call an administrator for.
func TestRedactUnbound(t *testing.T) {
	r, ev := record(), evidence()
	r.Port.Binding = model.Binding{}
	chain := explain(r, ev, "")
	chain.Redact()
	if a := chain.Answer; a.Cause != CauseUnbound || a.Text != unboundText || a.Do == Causes[CauseUnbound].Do {
		t.Errorf("%+v", a)
	}
}

// Why nobody could look names hosts: members are told only that.
func TestRedactTellsNoReasonOfSilence(t *testing.T) {
	s := Step{Name: StepLease}
	s.unlooked("last message", "DISCOVER", "host h9 is not connected to any server")
	c := Chain{Host: "h9"}
	c.finish(s)
	c.conclude("")
	c.Redact()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("h9")) || !bytes.Contains(b, []byte("Nobody could look at the last message.")) {
		t.Errorf("%s", b)
	}
}
