package vif

import (
	"maps"
	"slices"
)

// Numbered is a port of the tunnel bridge: the OpenFlow number that it has, and the one that
// it asks for; 0 is none.
type Numbered[N ~uint32] struct{ Has, Asks N }

// maxNumber is the highest OpenFlow number that an ordinary port has.
const maxNumber = 0xfeff

// TunnelNumbers gives tunnel ports, which it is told by name, their OpenFlow numbers. The number that a port
// of the bridge has is its own; then counts the one that it asks for, then the one in last, as
// long as no other port has that. The rest get new ones, above the highest that is known as far as
// there are any: the flows that the switch has learned outlive a port, and must not find
// another one in its place.
func TunnelNumbers[N ~uint32](bridge map[string]Numbered[N], last map[string]N, names []string) map[string]N {
	out := make(map[string]N, len(names))
	taken := map[N]bool{0: true}
	highest := N(1) // the patch port
	for _, p := range bridge {
		taken[p.Has] = true
	}
	claim := func(name string, n N) {
		if _, ok := out[name]; !ok && !taken[n] && n <= maxNumber {
			out[name], taken[n] = n, true
		}
	}
	names = slices.Sorted(slices.Values(names))
	for _, name := range names {
		if n := bridge[name].Has; n != 0 {
			out[name] = n
		}
	}
	for _, name := range names {
		claim(name, bridge[name].Asks)
	}
	for _, name := range names {
		claim(name, last[name])
	}
	// What others ask for they may get any moment.
	for name, p := range bridge {
		if _, ok := out[name]; !ok {
			taken[p.Asks] = true
		}
	}
	for _, n := range slices.Concat(slices.Collect(maps.Values(last)), slices.Collect(maps.Keys(taken))) {
		if n <= maxNumber {
			highest = max(highest, n)
		}
	}
	next := highest + 1
	for _, name := range names {
		for out[name] == 0 {
			if next > maxNumber {
				next = 2
			}
			claim(name, next)
			next++
		}
	}
	return out
}
