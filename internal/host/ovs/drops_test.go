package ovs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weft/internal/lab"
	"weft/internal/plan/vswitch"
)

// TestDrops: packets are counted by object and reason, whatever the reason's number, and
// flows without a reason are not read.
func TestDrops(t *testing.T) {
	w := newWorld(t)
	if _, err := w.s.Drops(t.Context(), "br-none"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("drops of no bridge: %v", err)
	}
	want := w.example(7)
	var flows []vswitch.Flow
	for reason := range vswitch.MaxReason + 1 {
		c := vswitch.WithReason(vswitch.Cookie(owner, vswitch.KindPort, 7), uint8(reason))
		flows = append(flows, vswitch.NewFlow(93, uint16(reason), c, vswitch.Any().InPort(7).ARP()),
			vswitch.NewFlow(94, uint16(reason), c, vswitch.Any().InPort(7).ARP()))
	}
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(flows...))
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(
		vswitch.NewFlow(0, 200, vswitch.WithReason(vswitch.Cookie(owner, vswitch.KindPort, 8), 3), vswitch.Any().VLAN(9))))
	w.apply(want)
	w.vsctl("add-port", "br-int", "p1", "--", "set", "Interface", "p1", "type=dummy")
	for range 3 {
		if out, err := w.lab.Appctl("netdev-dummy/receive", "p1", "eth(src=fa:16:3e:00:00:01,dst=fa:16:3e:00:00:02),eth_type(0x8100),vlan(vid=9,pcp=0),encap(eth_type(0x0800),ipv4(src=1.2.3.4,dst=1.2.3.5,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0))"); err != nil {
			t.Fatal(out, err)
		}
	}
	dropped := vswitch.WithReason(vswitch.Cookie(owner, vswitch.KindPort, 8), 3)
	var got []Drop
	// The packets are seen to by another thread, which tells of them when it likes.
	w.eventually("3 packets are counted", func() bool {
		var err error
		if got, err = w.s.Drops(t.Context(), "br-int"); err != nil {
			t.Fatal(err)
		}
		return slices.Contains(got, Drop{dropped, 3})
	})
	if len(got) != vswitch.MaxReason+1 || !slices.IsSortedFunc(got, func(a, b Drop) int { return cmp.Compare(a.Cookie, b.Cookie) }) {
		t.Errorf("%d drops: %v", len(got), got)
	}
	for _, d := range got {
		if d.Packets != 0 && d.Cookie != dropped || vswitch.ReasonOf(d.Cookie) == 0 {
			t.Errorf("%+v", d)
		}
	}
}

// TestFragments: flows can match the ports of a first fragment, also after ovs-vswitchd has restarted.
func TestFragments(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example(7))
	handled := func() bool {
		out, err := w.lab.Ofctl("get-frags", "br-int")
		return err == nil && strings.TrimSpace(out) == "nx-match"
	}
	w.eventually("first fragments can be matched", handled)
	if err := w.lab.RestartVswitchd(t.Context(), lab.Crash); err != nil {
		t.Fatal(err)
	}
	w.eventually("first fragments can be matched again", handled)
}

// TestForeign: flows that are not of the plan are found whatever their cookie, and nothing where there are none.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	shared := vswitch.Cookie(owner, vswitch.KindBase, 77)
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(vswitch.NewFlow(0, 3, shared, vswitch.Any().InPort(3), vswitch.GotoTable{Table: 60})))
	learns := vswitch.Learn{Table: 20, Priority: 1, Cookie: vswitch.Cookie(owner, vswitch.KindLearned, 0),
		Specs: []vswitch.LearnSpec{{Kind: vswitch.LearnMatch, Dst: vswitch.EthDst, NBits: 48, Src: vswitch.EthSrc}, {Kind: vswitch.LearnOutput, NBits: 32, Src: vswitch.InPortField}}}
	want.Flows["br-int"] = append(want.Flows["br-int"], partOf(vswitch.NewFlow(0, 99, vswitch.Cookie(owner, vswitch.KindBase, 78), vswitch.Any().InPort(4), learns)))
	w.apply(want)
	ofctl := func(args ...string) {
		t.Helper()
		if out, err := w.lab.Ofctl(args...); err != nil {
			t.Fatal(out, err)
		}
	}
	expect := func(when string, cookies ...uint64) {
		t.Helper()
		all, err := w.s.Foreign(t.Context(), "br-int", owner, []uint64{shared})
		if err != nil {
			t.Fatal(when, err)
		}
		var got []uint64
		for _, f := range all {
			got = append(got, f.Cookie)
		}
		slices.Sort(got)
		slices.Sort(cookies)
		if !slices.Equal(got, cookies) {
			t.Errorf("%s: flows with cookies %x, want %x", when, got, cookies)
		}
	}
	add := func(cookie uint64, flow string) {
		t.Helper()
		ofctl("add-flow", "br-int", fmt.Sprintf("cookie=%#x,%s", cookie, flow))
	}
	expect("at first")
	ofctl("add-flow", "br-int", "cookie=0x98,table=200,priority=7,actions=drop")
	expect("one in a table that the plan does not use")
	near, copied, learned := vswitch.Cookie(owner^1, vswitch.KindPort, 7), vswitch.Cookie(owner, vswitch.KindPort, 7), vswitch.Cookie(owner, vswitch.KindLearned, 0)
	add(0x99, "table=0,priority=60000,tcp,actions=drop")
	add(near, "table=60,priority=60001,udp,actions=NORMAL")
	expect("flows of others", 0x99, near)
	add(learned, "table=20,priority=1,dl_dst=fa:16:3e:00:00:09,actions=output:4")
	expect("one was learned", 0x99, near)
	add(copied, "table=0,priority=60002,udp,actions=drop")
	add(learned, "table=60,priority=60003,dl_dst=fa:16:3e:00:00:09,actions=drop")
	add(shared, "table=0,priority=60004,tcp_flags=syn,tcp,actions=drop")
	expect("with our cookies", 0x99, near, copied, learned, shared)
	w.s.Resync(t.Context())
	expect("after a resync")
	ofctl("mod-flows", "br-int", fmt.Sprintf("cookie=%#x/-1,actions=drop", shared))
	expect("changed in place", shared)
	w.s.Resync(t.Context())
	expect("after another")
	ofctl("del-flows", "br-int", fmt.Sprintf("cookie=%#x/-1", shared))
	expect("one is missing")
	more := w.example(7, 8)
	w.apply(more)
	expect("after a change")
}
