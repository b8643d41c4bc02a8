package vif

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTunnelNumbers(t *testing.T) {
	type ports = map[string]Numbered[uint32]
	type numbers = map[string]uint32
	patch := Numbered[uint32]{Has: 1, Asks: 1}
	for _, c := range []struct {
		name   string
		bridge ports
		last   numbers
		names  []string
		want   numbers
	}{
		{"first start", ports{"patch-int": patch}, nil, []string{"b", "a"}, numbers{"a": 2, "b": 3}},
		{"an agent that has restarted", ports{"patch-int": patch, "b": {5, 5}}, nil, []string{"a", "b"}, numbers{"a": 6, "b": 5}},
		{"a switch that has restarted", ports{"patch-int": patch, "b": {0, 5}}, nil, []string{"a", "b"}, numbers{"a": 6, "b": 5}},
		{"what it has counts more than what it asks for", ports{"b": {7, 5}}, numbers{"b": 5}, []string{"b"}, numbers{"b": 7}},
		{"another has what it asks for", ports{"b": {0, 5}, "x": {5, 0}}, nil, []string{"b"}, numbers{"b": 6}},
		{"another asks for what it had", ports{"x": {0, 5}}, numbers{"b": 5}, []string{"b"}, numbers{"b": 5}},
		{"another asks for what would be next", ports{"x": {0, 2}}, nil, []string{"b"}, numbers{"b": 3}},
		{"it comes back", nil, numbers{"a": 2, "b": 3}, []string{"b", "c"}, numbers{"b": 3, "c": 4}},
		{"the number of one that is gone rests", ports{"b": {3, 3}}, numbers{"a": 4, "b": 3}, []string{"b", "c"}, numbers{"b": 3, "c": 5}},
		{"from the top to the bottom", ports{"x": {0xfeff, 0}, "y": {2, 2}}, nil, []string{"b"}, numbers{"b": 3}},
		{"LOCAL is no number", ports{"br-tun": {0xfffffffe, 0}}, nil, []string{"b"}, numbers{"b": 2}},
	} {
		if got := TunnelNumbers(c.bridge, c.last, c.names); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestTunnelNumbersHold: every name has a number that no other port has, one that the switch has given
// stays, and nothing changes when it is asked again.
func TestTunnelNumbersHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.SampledFrom([]uint32{0, 1, 2, 3, 4, 5, 6, 0xfefe, 0xfeff, 0xfffffffe})
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "x", "y"})
		bridge := rapid.MapOfN(name, rapid.Custom(func(t *rapid.T) Numbered[uint32] {
			return Numbered[uint32]{number.Draw(t, "has"), number.Draw(t, "asks")}
		}), 0, 6).Draw(t, "bridge")
		had := map[uint32]bool{}
		for n, p := range bridge { // no two ports of a bridge have a number
			if p.Has != 0 && had[p.Has] || p.Has > 0xfeff {
				p.Has = 0
				bridge[n] = p
			}
			had[p.Has] = true
		}
		last := rapid.MapOfN(name, number, 0, 4).Draw(t, "last")
		names := rapid.SliceOfNDistinct(name, 0, 4, rapid.ID[string]).Draw(t, "names")
		got := TunnelNumbers(bridge, last, names)
		seen := map[uint32]string{}
		for _, n := range names {
			of := got[n]
			if of == 0 || of > 0xfeff || seen[of] != "" {
				t.Fatalf("%s has %d: %v", n, of, got)
			}
			if h := bridge[n].Has; h != 0 && of != h {
				t.Fatalf("%s has %d and is said to have %d", n, h, of)
			}
			for other, p := range bridge {
				if other != n && p.Has == of {
					t.Fatalf("%s gets %d, which %s has", n, of, other)
				}
			}
			seen[of] = n
		}
		slices.Reverse(names)
		if again := TunnelNumbers(bridge, got, names); !maps.Equal(again, got) {
			t.Fatalf("first %v, then %v", got, again)
		}
	})
}
