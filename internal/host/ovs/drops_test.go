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

// TestForeign: flows of other owners are found whatever their cookie, and nothing where there are none.
func TestForeign(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example(7))
	found := func() (cookies []uint64) {
		all, err := w.s.Foreign(t.Context(), "br-int", owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			cookies = append(cookies, f.Cookie)
		}
		slices.Sort(cookies)
		return cookies
	}
	if got := found(); len(got) != 0 {
		t.Errorf("foreign flows %x where there are none", got)
	}
	near := vswitch.Cookie(owner^1, vswitch.KindPort, 7)
	for i, flow := range []string{"table=0,priority=60000,tcp,actions=drop", "table=60,priority=60001,udp,actions=NORMAL"} {
		cookie := fmt.Sprintf("cookie=%#x,", []uint64{0x99, near}[i])
		if out, err := w.lab.Ofctl("add-flow", "br-int", cookie+flow); err != nil {
			t.Fatal(out, err)
		}
	}
	if got := found(); !slices.Equal(got, []uint64{0x99, near}) {
		t.Errorf("foreign flows %x", got)
	}
}
