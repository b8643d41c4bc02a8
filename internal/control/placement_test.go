package control

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

func TestPlacement(t *testing.T) {
	able, dead, gone := candidate{able: true}, candidate{dead: true}, candidate{}
	loaded := func(n int) candidate { return candidate{able: true, load: n} }
	type hosts = map[model.HostName]candidate
	type slots = map[int]model.HostName
	for _, x := range []struct {
		name string
		p    placement
		want slots
	}{
		{"nobody", placement{number: 1}, slots{}},
		{"the least loaded", placement{number: 1, hosts: hosts{"a": loaded(2), "b": loaded(1), "c": loaded(3)}}, slots{0: "b"}},
		{"two", placement{number: 2, hosts: hosts{"a": loaded(2), "b": loaded(1), "c": loaded(3)}}, slots{0: "b", 1: "a"}},
		{"too few hosts", placement{number: 3, hosts: hosts{"a": able, "b": dead}}, slots{0: "a"}},
		{"a second host comes", placement{number: 2, ports: slots{0: "a"}, hosts: hosts{"a": loaded(9), "b": able}}, slots{0: "a", 1: "b"}},
		{"stays, whatever its load", placement{number: 1, ports: slots{0: "a"}, hosts: hosts{"a": loaded(9), "b": able}}, slots{0: "a"}},
		{"fewer wanted", placement{number: 1, ports: slots{0: "a", 1: "b"}, hosts: hosts{"a": able, "b": able}}, slots{0: "a"}},
		{"dead, for the moment", placement{number: 1, ports: slots{0: "a"}, hosts: hosts{"a": dead, "b": able}}, slots{0: "a"}},
		{"dead", placement{number: 1, failover: true, ports: slots{0: "a"}, hosts: hosts{"a": dead, "b": able}}, slots{0: "b"}},
		{"dead, and nobody else", placement{number: 1, failover: true, ports: slots{0: "a"}, hosts: hosts{"a": dead}}, slots{0: "a"}},
		{"dead, and the other has one already", placement{number: 2, failover: true, ports: slots{0: "a", 1: "b"}, hosts: hosts{"a": dead, "b": able}}, slots{0: "a", 1: "b"}},
		{"dead, and two others", placement{number: 2, failover: true, ports: slots{0: "a", 1: "b"}, hosts: hosts{"a": dead, "b": able, "c": able}}, slots{0: "c", 1: "b"}},
		{"cannot serve it any more", placement{number: 1, ports: slots{0: "a"}, hosts: hosts{"a": gone, "b": able}}, slots{0: "b"}},
		{"host removed", placement{number: 1, ports: slots{0: "a"}, hosts: hosts{"b": able}}, slots{0: "b"}},
		{"from everywhere to a host", placement{number: 1, ports: slots{0: ""}, hosts: hosts{"b": able}}, slots{0: "b"}},
		{"two on one host", placement{number: 2, ports: slots{0: "a", 1: "a"}, hosts: hosts{"a": able, "b": able}}, slots{0: "a", 1: "b"}},

		{"by hand", placement{number: 1, byHand: []model.HostName{"b", "c"}, ports: slots{0: "b"}, hosts: hosts{"a": able, "b": able, "c": loaded(7)}}, slots{0: "b", 1: "c"}},
		{"by hand elsewhere", placement{number: 1, byHand: []model.HostName{"b"}, ports: slots{0: "a"}, hosts: hosts{"a": able, "b": able}}, slots{0: "b"}},
		{"one less by hand", placement{number: 2, byHand: []model.HostName{"b"}, ports: slots{0: "a", 1: "b"}, hosts: hosts{"a": able, "b": able}}, slots{1: "b"}},
		{"a substitute", placement{number: 1, failover: true, byHand: []model.HostName{"a", "b"}, ports: slots{0: "a", 1: "b"}, hosts: hosts{"a": dead, "b": able, "c": able}}, slots{0: "c", 1: "b"}},
		{"back from the substitute", placement{number: 1, failover: true, byHand: []model.HostName{"a", "b"}, ports: slots{0: "c", 1: "b"}, hosts: hosts{"a": able, "b": able, "c": able}}, slots{0: "a", 1: "b"}},
	} {
		if got := x.p.slots(); !maps.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
	}
}

// randomPlacement draws a network in any state, also one that no sequence of ours leads to.
func randomPlacement(t *rapid.T) placement {
	names := []model.HostName{"a", "b", "c", "d", "e"}
	p := placement{
		network: model.NetworkID(rapid.StringN(1, 8, 8).Draw(t, "network")), number: rapid.IntRange(1, 4).Draw(t, "number"),
		ports: map[int]model.HostName{}, hosts: map[model.HostName]candidate{}, failover: rapid.Bool().Draw(t, "failover"),
	}
	for _, h := range names {
		c := candidate{load: rapid.IntRange(0, 3).Draw(t, "load")}
		switch rapid.IntRange(0, 3).Draw(t, "state of "+string(h)) {
		case 0, 1:
			c.able = true
		case 2:
			c.dead = true
		}
		if c.able || c.dead || rapid.Bool().Draw(t, "known") {
			p.hosts[h] = c
		}
		if rapid.IntRange(0, 5).Draw(t, "by hand") == 0 {
			p.byHand = append(p.byHand, h)
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "ports") {
		p.ports[rapid.IntRange(0, 5).Draw(t, "slot")] = rapid.SampledFrom(append(names, "gone")).Draw(t, "on")
	}
	return p
}

func TestPlacementProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := randomPlacement(t)
		got := p.slots()
		if err := p.judge(got); err != nil {
			t.Fatalf("%+v\ngives %v: %v", p, got, err)
		}
		// What restingSeats rests on.
		hosts := map[model.HostName]bool{}
		for _, h := range p.ports {
			if p.hosts[h].able {
				hosts[h] = true
			}
		}
		if len(hosts) == len(p.ports) && len(p.ports) == p.number && len(p.byHand) == 0 && !maps.Equal(got, p.ports) {
			t.Fatalf("%+v\ngives %v, and could rest", p, got)
		}
		// It is at rest: what it gives it gives again, in the next pass too.
		next := p
		next.ports = got
		if again := next.slots(); !maps.Equal(again, got) {
			t.Fatalf("%+v\ngives %v, and then %v", p, got, again)
		}
	})
}

// judge says what is wrong with an outcome.
func (p placement) judge(got map[int]model.HostName) error {
	want := p.number
	if len(p.byHand) > 0 {
		want = len(p.byHand)
	}
	able, on := 0, map[model.HostName]int{}
	for _, c := range p.hosts {
		if c.able {
			able++
		}
	}
	served := 0
	for slot, h := range got {
		on[h]++
		if p.hosts[h].able {
			served++
		} else if p.ports[slot] != h {
			return fmt.Errorf("slot %d goes to %s, which cannot serve it", slot, h)
		}
	}
	holding := 0 // kept by the dead, who may come back
	for slot, h := range p.ports {
		if got[slot] == h && p.hosts[h].dead && !p.failover {
			holding++
		}
	}
	switch {
	case len(got) > want:
		return fmt.Errorf("%d ports, want %d", len(got), want)
	case served < min(want, able)-holding:
		return fmt.Errorf("%d are served, %d could be", served, min(want, able))
	}
	for h, n := range on {
		if n > 1 && p.hosts[h].able {
			return fmt.Errorf("%d ports on %s", n, h)
		}
	}
	for _, h := range p.byHand {
		if p.hosts[h].able && on[h] == 0 {
			return fmt.Errorf("nothing on %s, where it was put", h)
		}
	}
	// Nobody is moved from a host that serves it, unless for the sake of a host that was named.
	moved := 0
	for slot, h := range p.ports {
		if to, kept := got[slot]; kept && to != h && p.hosts[h].able && on[h] == 0 && !slices.Contains(p.byHand, to) {
			moved++
		}
	}
	if moved > 0 {
		return fmt.Errorf("%d moved without need", moved)
	}
	return nil
}
