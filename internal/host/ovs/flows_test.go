package ovs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// everyFlow has every field and every action of a plan at least once.
var everyFlow = strings.Split(strings.TrimSpace(`
table=0,priority=65535,dl_vlan=4095 actions=drop
table=0,priority=9,in_port=4 actions=goto_table:25
table=0,priority=8,vlan_tci=0x0000/0x1fff actions=NORMAL
table=0,priority=8,vlan_tci=0x1000/0x1000 actions=IN_PORT
table=1,priority=8,in_port=LOCAL actions=output:1,output:2
table=2,priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 actions=goto_table:20
table=4,priority=1,tun_id=0x3999 actions=push_vlan:0x8100,set_field:4097->vlan_vid,goto_table:10
table=5,hard_timeout=30,priority=1,tun_id=0x3000/0xf000 actions=set_field:0x3999->tun_id,set_field:fa:16:3e:00:00:01->eth_src,set_field:fa:16:3e:00:00:02->eth_dst,output:2
table=10,priority=1 actions=learn(table=20,hard_timeout=300,priority=1,cookie=0x77ef050000000000,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[]),output:1
table=21,priority=1,arp,dl_vlan=1,arp_tpa=10.10.0.2 actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:fa:16:3e:16:06:bc->eth_src,load:0x2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:0xfa163e1606bc->NXM_NX_ARP_SHA[],load:0xa0a0002->NXM_OF_ARP_SPA[],IN_PORT
table=24,priority=2,arp,in_port=4,arp_spa=10.10.0.126,arp_tpa=10.0.0.0/8,arp_op=1,arp_sha=fa:16:3e:16:06:bc,arp_tha=00:00:00:00:00:00 actions=resubmit(,25)
table=24,priority=2,icmp6,in_port=4,icmp_type=136,icmp_code=0,nd_target=fe80::f816:3eff:fe16:6bc,nd_tll=fa:16:3e:16:06:bc actions=resubmit(,58)
table=24,priority=2,icmp6,in_port=4,icmp_type=135,nd_target=fe80::/64,nd_sll=fa:16:3e:16:06:bc actions=resubmit(,58)
table=60,priority=90,dl_vlan=1,dl_dst=fa:16:3e:16:06:bc actions=set_field:0x4->reg5,set_field:0x1->reg6,pop_vlan,resubmit(,81)
table=60,priority=1,reg0=0x1,reg1=0x2,reg2=0x3,reg3=0x4,reg4=0x5/0xff,reg5=0x6,reg6=0x7,reg7=0x8 actions=load:0x5->NXM_NX_REG0[8..11],drop
table=71,priority=65,ip,reg5=0x4,in_port=4,dl_src=fa:16:3e:16:06:bc,nw_src=10.10.0.126 actions=ct(table=72,zone=NXM_NX_REG6[0..15])
table=71,priority=66,ipv6,ipv6_src=fe80::f816:3eff:fe16:6bc,ipv6_dst=2001:db8::/32 actions=ct(table=72,zone=5)
table=71,priority=110,ct_state=+trk actions=ct_clear,resubmit(,71)
table=72,priority=40,ct_state=+est,ip,reg5=0x4 actions=ct(commit,zone=NXM_NX_REG6[0..15],exec(set_field:0x1->ct_mark))
table=72,priority=50,ct_state=+est-rel+rpl,ct_zone=1,ct_mark=0,reg5=0x4 actions=resubmit(,94)
table=72,priority=51,ct_state=+inv+trk,ct_mark=0x1/0x1 actions=resubmit(,93)
table=82,priority=70,conj_id=16,ct_state=+est-rel-rpl,ip,reg5=0x4 actions=set_field:0x10->reg7,output:4
table=82,priority=70,ct_state=+new-est,ip,reg6=0x1,nw_src=10.10.0.126 actions=conjunction(16,1/2),conjunction(17,1/2)
table=82,priority=71,tcp,nw_src=10.0.0.0/8,nw_dst=10.10.0.7,tp_src=22,tp_dst=0x400/0xfc00 actions=conjunction(16,2/2)
table=82,priority=71,udp6,tp_src=547,tp_dst=546 actions=output:4
table=82,priority=71,sctp,tp_src=1,tp_dst=2 actions=output:4
table=82,priority=71,icmp,icmp_type=8,icmp_code=0 actions=output:4
table=82,priority=71,dl_type=0x88cc actions=NORMAL
`), "\n")

func parse(t testing.TB, texts []string) []vswitch.Flow {
	t.Helper()
	var list []vswitch.Flow
	for _, s := range texts {
		s = strings.TrimSuffix(s, ",drop")
		f, err := vswitch.ParseFlow(s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if f.Cookie == 0 {
			f.Cookie = vswitch.Cookie(owner, vswitch.KindBase, uint32(len(list)))
		}
		list = append(list, f)
	}
	return list
}

// TestEveryFlow: each kind of flow arrives in the switch as ovs-ofctl would have
// written it, reads back as it was, and is recognised as right by the next process.
func TestEveryFlow(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	texts := slices.Clone(everyFlow)
	goldens, err := filepath.Glob("../../plan/*/testdata/*.flows")
	if err != nil {
		t.Fatal(err)
	}
	dumps, err := filepath.Glob("../../plan/vswitch/testdata/neutron-*.txt")
	if err != nil || len(goldens) == 0 {
		t.Fatal("no goldens of plans", err)
	}
	flows := parse(t, texts)
	w.checkFlows(want, flows)
	for _, file := range slices.Concat(goldens, dumps) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		flows = nil
		for _, l := range strings.Split(string(b), "\n") {
			// A golden holds the commands for the bridges, too, and the flows of each.
			l = strings.TrimPrefix(l, "ovs-ofctl add-flow br-int ")
			if f, err := vswitch.ParseFlow(strings.Trim(l, "'\"")); err == nil {
				// One owner all the way, as in life: else flows of the last file are somebody else's.
				f.Cookie = f.Cookie&(1<<48-1) | owner<<48
				flows = append(flows, f)
			}
		}
		vswitch.Sort(flows)
		t.Logf("%s: %d flows", file, len(flows))
		if len(flows) < 3 {
			t.Errorf("%s: not understood", file)
		}
		w.checkFlows(want, vswitch.Unique(flows))
	}
}

func (w *world) checkFlows(want vswitch.Switch, flows []vswitch.Flow) {
	w.Helper()
	want.Flows = map[string]vswitch.Flows{"br-int": {partOf(slices.Clone(flows)...)}, "br-tun": want.Flows["br-tun"]}
	w.apply(want)
	w.wantFlows("br-int", flows)
	counted, err := vswitch.ParseFlows(w.ofctl("dump-flows", "br-int"))
	if err != nil {
		w.Fatal(err)
	}
	var theirs []string
	for _, c := range counted {
		theirs = append(theirs, c.Flow.String())
	}
	slices.Sort(theirs)
	var ours []string
	for _, f := range flows {
		ours = append(ours, f.String())
	}
	slices.Sort(ours)
	for _, s := range ours {
		if !slices.Contains(theirs, s) {
			w.Errorf("ovs-ofctl does not show\n%s", s)
		}
	}
	if len(ours) != len(theirs) {
		w.Errorf("%d flows, ovs-ofctl shows %d", len(ours), len(theirs))
	}
	before := w.s.Stats()
	if f := w.s.Resync(w.Context()); len(f) > 0 {
		w.Error(f)
	}
	if after := w.s.Stats(); after.Bundles != before.Bundles {
		w.Errorf("what the switch reports is not what was sent: %d bundles more", after.Bundles-before.Bundles)
	}
}

// TestTranslation: every field has a form on the wire of the same width, and every
// flow comes back as it went, without a switch.
func TestTranslation(t *testing.T) {
	for _, f := range vswitch.Fields() {
		w, ok := wireFields[f]
		if !ok {
			t.Errorf("%s has no form on the wire", f)
		} else if f != vswitch.VLANVID && w.Len()*8 != int(f.Width()) {
			t.Errorf("%s: %d bits, %d bytes on the wire", f, f.Width(), w.Len())
		}
	}
	for _, f := range parse(t, everyFlow) {
		w, err := toWire(&f)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		_, m, err := openflow.Decode(openflow.Encode(nil, 1, openflow.AddFlow(w)))
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		got, err := fromWire(m.(*openflow.FlowMod).Flow)
		if err != nil || !got.Equal(f) {
			t.Errorf("%s comes back as %s (%v)", f, got, err)
		}
	}
}

// FuzzFromWire: whatever flow a switch reports, it is a flow of a plan or an error, and
// one that is of a plan goes back on the wire.
func FuzzFromWire(f *testing.F) {
	for _, p := range parse(f, everyFlow) {
		w, err := toWire(&p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(openflow.Encode(nil, 1, openflow.AddFlow(w)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, m, err := openflow.Decode(b)
		if err != nil {
			return
		}
		fm, ok := m.(*openflow.FlowMod)
		if !ok {
			return
		}
		p, err := fromWire(fm.Flow)
		if err != nil {
			return
		}
		_ = p.String()
		if _, err := toWire(&p); err != nil && p.Check() == nil {
			t.Errorf("%s: %v", p, err)
		}
	})
}
