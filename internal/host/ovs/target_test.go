package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/plan/vswitch"
)

// drawParts draws a plan of some of these flows, each in one part or another. Parts of
// last are taken over now and then.
func drawParts(t *rapid.T, all []vswitch.Flow, last vswitch.Flows) vswitch.Flows {
	const parts = 4
	kept := map[vswitch.Key]bool{}
	var list vswitch.Flows
	for i, p := range last {
		if rapid.Bool().Draw(t, fmt.Sprint("keep part ", i)) {
			list = append(list, p)
			for _, f := range p.List {
				kept[f.Key()] = true
			}
		}
	}
	var flows [parts][]vswitch.Flow
	for i, f := range all {
		if kept[f.Key()] {
			continue
		}
		at := rapid.IntRange(-1, parts-1).Draw(t, fmt.Sprint("part of flow ", i))
		if at < 0 {
			continue
		}
		if rapid.Bool().Draw(t, fmt.Sprint("another cookie for flow ", i)) {
			f.Cookie++
		}
		flows[at] = append(flows[at], f)
	}
	for i := range flows {
		// Cookies of parts may be the same.
		p := vswitch.NewPart(uint64(i/2), flows[i]...)
		p.Base = rapid.IntRange(0, 9).Draw(t, fmt.Sprint("base ", i)) == 0
		list = append(list, p)
	}
	return list
}

// TestDeltas: whatever plans follow each other, and whatever of them is withheld, the
// differences between parts lead to the same flows as the comparison of all flows does; what
// is taken from the last target is what would be made anew.
func TestDeltas(t *testing.T) {
	all := parse(t, everyFlow)
	rapid.Check(t, func(t *rapid.T) {
		stranger := encodedFlow{"\x32\x00\x07stranger", strings.Repeat("\x01", 12)}
		have, foreign := table{stranger.key: stranger.body}, table{stranger.key: stranger.body}
		var last *target
		var plan vswitch.Flows
		var in []*part
		for range rapid.IntRange(1, 6).Draw(t, "plans") {
			plan = drawParts(t, all, plan)
			now := compile(plan, nil, last)
			withheld := map[*part]bool{}
			for i, p := range compile(plan, nil, nil).parts {
				if !slices.Equal(p.flows, now.parts[i].flows) {
					t.Fatal("not encoded as if anew")
				}
				if rapid.IntRange(0, 9).Draw(t, "withhold") == 0 {
					withheld[now.parts[i]] = true
				}
			}
			want := now.without(withheld)
			d := now.fromParts(in, want, foreign)
			full := now.fromFlows(have, want)
			if len(d.drop) != len(full.drop) || d.changed < full.changed || !maps.Equal(d.foreign, full.foreign) {
				t.Fatalf("by parts %d dropped, %d changed; by flows %d dropped, %d changed", len(d.drop), d.changed, len(full.drop), full.changed)
			}
			for _, f := range d.put {
				have[f.key] = f.body
			}
			for _, f := range d.drop {
				if _, ok := have[f.key]; !ok {
					t.Fatal("drops what is not there")
				}
				delete(have, f.key)
			}
			wanted := maps.Clone(d.foreign)
			for _, p := range want {
				for _, f := range p.flows {
					wanted[f.key] = f.body
				}
			}
			if !maps.Equal(have, wanted) {
				t.Fatalf("%d flows, want %d", len(have), len(wanted))
			}
			if left := now.fromFlows(have, want); len(left.put)+len(left.drop) > 0 {
				t.Fatal("not what is wanted")
			}
			last, in, foreign = now, want, d.foreign
		}
	})
}

// badFlows are flows that a switch refuses, or that have no form on the wire, each for a reason of its own.
var badFlows = map[string]vswitch.Flow{
	"no prerequisite": {Table: 60, Priority: 5, Match: vswitch.Any().Is(vswitch.TCPDst, vswitch.Num(1))},
	"backwards":       {Table: 60, Priority: 6, Actions: []vswitch.Action{vswitch.GotoTable{Table: 3}}},
	"no such port":    {Table: 60, Priority: 7, Actions: []vswitch.Action{vswitch.Output{Port: 0xffffff77}}},
	"unencodable":     {Table: 60, Priority: 8, Actions: []vswitch.Action{vswitch.GotoTable{Table: 70}, vswitch.Output{Port: 1}}},
	"no such table":   {Table: 255, Priority: 9, Actions: []vswitch.Action{vswitch.Normal{}}},
}

// replace is want with another part in place of the one of a cookie on br-int.
func replace(want vswitch.Switch, cookie uint64, p *vswitch.Part) vswitch.Switch {
	parts := slices.Clone(want.Flows["br-int"])
	for i := range parts {
		if parts[i].Cookie == cookie {
			parts[i] = p
		}
	}
	want.Flows = maps.Clone(want.Flows)
	want.Flows["br-int"] = parts
	return want
}

// TestPartWithheld: of a part with a flow that the switch refuses nothing is put in, and what
// was there of it is removed; the rest of the change is made. It recovers when the part
// is another, or the switch takes it.
func TestPartWithheld(t *testing.T) {
	w := newWorld(t)
	for _, name := range slices.Sorted(maps.Keys(badFlows)) {
		was := w.example(7, 8)
		w.apply(was)
		cookie := was.Flows["br-int"][1].Cookie
		bad := badFlows[name]
		bad.Cookie = cookie
		want := replace(w.example(7, 8, 9), cookie, vswitch.NewPart(cookie, append(flowsOfPort(7, 1, mac(7)), bad)...))
		for _, try := range []string{"first", "again", "verify"} {
			faults := w.s.Apply(t.Context(), want)
			if try == "verify" {
				faults = w.s.Resync(t.Context())
			}
			if len(faults) != 1 || faults[0].Cookie != cookie {
				t.Errorf("%s, %s: %v", name, try, faults)
			}
			w.wantFlows("br-int", w.example(8, 9).Flows["br-int"].All())
			if w.s.Observe().Bridges[0].InSync {
				t.Errorf("%s, %s: in sync", name, try)
			}
		}
		w.apply(w.example(7, 8, 9))
		w.wantFlows("br-int", w.example(7, 8, 9).Flows["br-int"].All())
	}
}

// TestManyWithheld: any number of parts may be refused, at once or one after the other.
func TestManyWithheld(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	w.vsctl("--", "--id=@t", "create", "Flow_Table", "flow_limit=40", "--", "set", "Bridge", "br-int", "flow_tables:71=@t")
	var ports []int
	for n := range 60 {
		ports = append(ports, n+1)
	}
	// Two flows of each port are in table 71: a full table is found out at commit, by one flow.
	want := w.example(ports...)
	faults := w.s.Apply(t.Context(), want)
	if len(faults) != 40 {
		t.Errorf("%d faults: %v", len(faults), faults)
	}
	closed := map[uint64]bool{}
	for _, f := range faults {
		closed[f.Cookie] = true
	}
	for _, p := range want.Flows["br-int"][1:] {
		present := 0
		for _, f := range w.flowTexts("br-int") {
			if strings.Contains(f, fmt.Sprintf("cookie=%#x,", p.Cookie)) {
				present++
			}
		}
		if closed[p.Cookie] && present > 0 || !closed[p.Cookie] && present != len(p.List) {
			t.Errorf("part %#x: %d of %d flows", p.Cookie, present, len(p.List))
		}
	}
	w.vsctl("remove", "Bridge", "br-int", "flow_tables", "71")
	w.eventually("all are in", func() bool { return len(w.s.Apply(t.Context(), want)) == 0 })
	w.wantFlows("br-int", want.Flows["br-int"].All())
}

// TestBaseWithheld: without its base, nothing of a plan is put in, and what was there goes.
func TestBaseWithheld(t *testing.T) {
	w := newWorld(t)
	good := w.example(7, 8)
	for name, bad := range badFlows {
		w.apply(good)
		base := good.Flows["br-int"][0]
		bad.Cookie = base.Cookie
		broken := vswitch.NewPart(base.Cookie, append(slices.Clone(base.List), bad)...)
		broken.Base = true
		faults := w.s.Apply(t.Context(), replace(good, base.Cookie, broken))
		if len(faults) != 1 || faults[0].Cookie != 0 {
			t.Errorf("%s: %v", name, faults)
		}
		if left := w.flowTexts("br-int"); len(left) > 0 {
			t.Errorf("%s: %q is left", name, left)
		}
		w.wantFlows("br-tun", good.Flows["br-tun"].All())
	}
	w.apply(good)
	w.wantFlows("br-int", good.Flows["br-int"].All())
}
