package vswitch

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weft/internal/model"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFlow.Draw(t, "flow")
		if err := f.Check(); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		g, err := ParseFlow(f.String())
		if err != nil {
			t.Fatal(err)
		}
		if !g.Equal(f) || !reflect.DeepEqual(g, f) || g.Key() != f.Key() || Compare(f, g) != 0 {
			t.Fatalf("%s\nreads back as\n%s", f, g)
		}
		if n := f.Normalize(); !reflect.DeepEqual(n, f) {
			t.Fatalf("%s\nis normalised to\n%s", f, n)
		}
	})
}

func TestKeyAndEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, g := genFlow.Draw(t, "f"), genFlow.Draw(t, "g")
		if rapid.Bool().Draw(t, "same match") {
			g.Match = f.Match
		}
		if rapid.Bool().Draw(t, "same table") {
			g.Table, g.Priority = f.Table, f.Priority
		}
		same := f.Table == g.Table && f.Priority == g.Priority && MatchString(f.Match) == MatchString(g.Match)
		if (f.Key() == g.Key()) != same {
			t.Fatalf("keys of\n%s\n%s\nequal: %v", f, g, !same)
		}
		if f.Equal(g) != (f.String() == g.String()) {
			t.Fatalf("%s\n%s\nequal: %v", f, g, f.Equal(g))
		}
	})
}

// TestParse: what people and switches write, and the one form we print.
func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{" priority=0 actions=drop", "table=0, priority=0 actions=drop"},
		{"actions=NORMAL", "table=0, priority=32768 actions=NORMAL"},
		{"cookie=0x0, duration=1.5s, table=71, n_packets=3, n_bytes=210, idle_age=4, hard_age=5, reset_counts priority=110,ct_state=+trk actions=ct_clear,resubmit(,71)",
			"table=71, priority=110,ct_state=+trk actions=ct_clear,resubmit(,71)"},
		{"table=60,priority=100,in_port=4,actions=load:0x4->NXM_NX_REG5[],load:1->NXM_NX_REG6[],resubmit(,71)",
			"table=60, priority=100,in_port=4 actions=set_field:0x4->reg5,set_field:0x1->reg6,resubmit(,71)"},
		{"ip,nw_proto=17,tp_dst=67,actions=output:4", "table=0, priority=32768,udp,tp_dst=67 actions=output:4"},
		{"udp,udp_dst=67,actions=output:4", "table=0, priority=32768,udp,tp_dst=67 actions=output:4"},
		{"dl_type=0x0800,nw_src=10.1.2.3/8 actions=drop", "table=0, priority=32768,ip,nw_src=10.0.0.0/8 actions=drop"},
		{"ip,nw_src=10.0.0.0/255.0.0.0 actions=drop", "table=0, priority=32768,ip,nw_src=10.0.0.0/8 actions=drop"},
		{"ip,nw_src=0.0.0.0/0 actions=drop", "table=0, priority=32768,ip actions=drop"},
		{"icmp6,icmp_type=135,nd_target=fe80::1 actions=drop", "table=0, priority=32768,icmp6,icmp_type=135,nd_target=fe80::1 actions=drop"},
		{"vlan_tci=0x1001/0x1fff actions=strip_vlan,output:1", "table=0, priority=32768,dl_vlan=1 actions=pop_vlan,output:1"},
		{"dl_vlan=0xffff actions=mod_vlan_vid:5", "table=0, priority=32768,vlan_tci=0x0000/0x1fff actions=set_field:4101->vlan_vid"},
		{"vlan_vid=0x1000/0x1000 actions=drop", "table=0, priority=32768,vlan_tci=0x1000/0x1000 actions=drop"},
		{"ct_state=0x22/0x22 actions=drop", "table=0, priority=32768,ct_state=+est+trk actions=drop"},
		{"in_port=LOCAL actions=output:LOCAL,output:0xfffffff8", "table=0, priority=32768,in_port=LOCAL actions=LOCAL,IN_PORT"},
		{"actions=set_field:0x50/0xf0->reg6,set_tunnel:0x9,mod_dl_src:fa:16:3e:00:00:01",
			"table=0, priority=32768 actions=load:0x5->NXM_NX_REG6[4..7],set_field:0x9->tun_id,set_field:fa:16:3e:00:00:01->eth_src"},
		{"ip,actions=ct(commit,zone=NXM_NX_REG6[0..15],exec(load:0x1->NXM_NX_CT_MARK[]))",
			"table=0, priority=32768,ip actions=ct(commit,zone=NXM_NX_REG6[0..15],exec(set_field:0x1->ct_mark))"},
		{"hard_timeout=300,actions=move:OXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", "table=0, hard_timeout=300, priority=32768 actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]"},
	} {
		f, err := ParseFlow(c.in)
		if err != nil || f.String() != c.want {
			t.Errorf("%s\nis %s (%v)\nwant %s", c.in, f, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, why := range map[string]string{
		"":                                                   "no actions=",
		"priority=1":                                         "no actions=",
		"xactions=drop":                                      "no actions=",
		"bogus actions=drop":                                 "unknown word",
		"bogus=1 actions=drop":                               "unknown field",
		"nw_src=1.2.3.4 actions=drop":                        "needs a match",
		"tp_dst=1 actions=drop":                              "without its protocol",
		"icmp,tp_dst=1 actions=drop":                         "without its protocol",
		"ip,arp actions=drop":                                "matched twice",
		"reg5=0x100000000 actions=drop":                      "not a number",
		"reg5=1,reg5=1 actions=drop":                         "matched twice",
		"ip,nw_src=::1 actions=drop":                         "not an address",
		"ip,nw_src=1.2.3.4/33 actions=drop":                  "not a mask",
		"icmp6,icmp_type=133,nd_target=::1 actions=drop":     "needs a match",
		"in_port=1/1 actions=drop":                           "cannot be masked",
		"in_port=tap0 actions=drop":                          "not a port number",
		"in_port=65281 actions=drop":                         "out of range",
		"vlan_tci=0x1001 actions=drop":                       "priority bits",
		"dl_vlan=4096 actions=drop":                          "out of range",
		"ct_state=+est+est actions=drop":                     "not understood",
		"ct_state=est actions=drop":                          "not understood",
		"table=255 actions=drop":                             "not a table",
		"table=local_switching actions=drop":                 "not a table",
		"idle_timeout=3 actions=drop":                        "idle_timeout",
		"actions=goto_table:3,output:1":                      "not the last",
		"actions=resubmit(1,2)":                              "table only",
		"actions=conjunction(1,3/2)":                         "clauses",
		"actions=ct(commit":                                  "unbalanced",
		"actions=ct(table=1))":                               "unbalanced",
		"actions=ct(nat)":                                    "unknown argument",
		"ip actions=ct(commit,exec(set_field:1->reg5))":      "exec()",
		"actions=push_vlan:0x88a8":                           "0x8100",
		"actions=load:1->NXM_NX_REG5[32]":                    "no bits",
		"actions=load:16->NXM_NX_REG5[0..3]":                 "not a number",
		"actions=set_field:0x5/0x5->reg5":                    "run of bits",
		"actions=move:NXM_OF_ETH_SRC[]->NXM_NX_REG5[]":       "differ in width",
		"actions=learn(output:NXM_OF_IN_PORT[])":             "known field",
		"actions=learn(table=1,load:NXM_NX_TUN_ID[]->bogus)": "known field",
		"actions=controller":                                 "unknown action",
		"actions=output:tap0":                                "not a port number",
	} {
		f, err := ParseFlow(in)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q is %s, error %v; want an error with %q", in, f, err, why)
		}
	}
}

func TestParseDump(t *testing.T) {
	text := `OFPST_FLOW reply (OF1.4) (xid=0x2):
 cookie=0x3ef70300a0000011, duration=61.25s, table=25, n_packets=7, n_bytes=420, priority=2,in_port=4,dl_src=fa:16:3e:00:00:0b actions=goto_table:60

# a comment
 cookie=0x0, duration=0.001s, table=0, n_packets=0, n_bytes=0, priority=0 actions=drop
`
	got, err := ParseFlows(text)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d flows, %v", len(got), err)
	}
	if c := got[0]; c.Packets != 7 || c.Bytes != 420 || c.Age != 61250*time.Millisecond || c.Cookie != 0x3ef70300a0000011 {
		t.Errorf("first flow counts %+v", c)
	}
	if _, err := ParseFlows(text + "garbage\n"); err == nil || !strings.Contains(err.Error(), "line 6") {
		t.Errorf("garbage: %v", err)
	}
}

// TestNeutron reads the flows of a real Neutron, and prints them as they were recorded.
func TestNeutron(t *testing.T) {
	for _, name := range []string{"neutron-br-int.txt", "neutron-br-tun.txt"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			f, err := ParseFlow(line)
			if err != nil {
				t.Error(err)
				continue
			}
			want := strings.TrimSpace(strings.ReplaceAll(line, "reset_counts ", ""))
			if !strings.HasPrefix(want, "table=") {
				want = "table=0, " + want
			}
			if f.String() != want {
				t.Errorf("%s\nis printed as\n%s", want, f)
			}
		}
	}
}

func TestSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(genFlow, 0, 8).Draw(t, "flows")
		a = append(a, a...)
		b := rapid.Permutation(a).Draw(t, "order")
		Sort(a)
		Sort(b)
		a, b = Unique(a), Unique(b)
		if !slices.EqualFunc(a, b, func(x, y Flow) bool { return x.Key() == y.Key() && x.Cookie == y.Cookie }) {
			t.Fatalf("the order of\n%v\nand\n%v", a, b)
		}
		for i := 1; i < len(a); i++ {
			if a[i-1].Key() == a[i].Key() {
				t.Fatalf("%s is there twice", a[i])
			}
		}
	})
}

// TestMatchShared: a beginning shared by two matches is not written to.
func TestMatchShared(t *testing.T) {
	base := Any().InPort(1).Untagged().Reg(Reg5, 1)
	a, b := base.IPv4(), base.ARP()
	if MatchString(a) == MatchString(b) || len(base) != 3 {
		t.Errorf("%s and %s share memory", MatchString(a), MatchString(b))
	}
}

func TestBuild(t *testing.T) {
	mac := model.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}
	for want, m := range map[string]Match{
		"in_port=4,vlan_tci=0x0000/0x1fff":                Any().InPort(4).Untagged(),
		"dl_vlan=1,dl_dst=fa:16:3e:00:00:01":              Any().VLAN(1).EthDst(mac),
		"dl_src=fa:16:3e:00:00:01":                        Any().EthSrc(mac),
		"dl_dst=01:00:00:00:00:00/01:00:00:00:00:00":      Any().Multicast(),
		"dl_dst=00:00:00:00:00:00/01:00:00:00:00:00":      Any().Unicast(),
		"udp,reg5=0x4,nw_src=0.0.0.0,tp_src=68,tp_dst=67": Any().Reg(Reg5, 4).UDP(68, 67).Addr(IPv4Src, netip.IPv4Unspecified()),
		"udp6,tp_src=547,tp_dst=546":                      Any().UDP6(547, 546),
		"icmp6,icmp_type=134":                             Any().ICMPv6(134),
		"arp,arp_spa=10.0.0.0/8":                          Any().ARP().Prefix(ARPSPA, netip.MustParsePrefix("10.9.9.9/8")),
		"arp":                                             Any().ARP().Prefix(ARPSPA, netip.MustParsePrefix("0.0.0.0/0")),
		"ipv6,ipv6_src=::ffff:102:304":                    Any().IPv6().Addr(IPv6Src, netip.MustParseAddr("::ffff:1.2.3.4")),
		"ip,nw_proto=0":                                   Any().IPv4().Proto(0),
		"rarp":                                            Any().Type(TypeRARP),
		"dl_type=0x88cc":                                  Any().Type(0x88cc),
		"tun_id=0x3999":                                   Any().Is(TunID, Num(14745)),
	} {
		if got := MatchString(NewFlow(0, 0, 0, m).Match); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestCookie(t *testing.T) {
	c := Cookie(0x3ef7, KindPort, 0xa80c937d)
	owner, kind, object := SplitCookie(c)
	if c != 0x3ef70300a80c937d || owner != 0x3ef7 || kind != KindPort || object != 0xa80c937d {
		t.Errorf("%#x: %#x %d %#x", c, owner, kind, object)
	}
}

func FuzzParseFlow(f *testing.F) {
	for _, name := range []string{"neutron-br-int.txt", "neutron-br-tun.txt"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f.Add(line)
		}
	}
	f.Add("ct_state=+est-rel,ipv6,ipv6_src=fe80::/64 actions=ct(commit,exec(set_field:1->ct_mark)),move:NXM_OF_ETH_SRC[0..3]->NXM_NX_REG5[4..7]")
	f.Add("vlan_tci=0x1000/0x1000 actions=load:1->NXM_NX_REG5[3],learn(eth_type=0x800,NXM_NX_REG6[0..3]=0x3)")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseFlow(s)
		if err != nil {
			return
		}
		b, err := ParseFlow(a.String())
		if err != nil || !a.Equal(b) || !reflect.DeepEqual(a, b) || a.Key() != b.Key() {
			t.Fatalf("%q is\n%s, which reads back as\n%s (%v)", s, a, b, err)
		}
	})
}
