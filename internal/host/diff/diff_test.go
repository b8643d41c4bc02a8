package diff

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOf(t *testing.T) {
	type m = map[string]int
	rows := []struct {
		name          string
		wanted, there m
		want          Changes[string]
	}{
		{"nothing", nil, nil, Changes[string]{}},
		{"the same", m{"a": 1}, m{"a": 1}, Changes[string]{}},
		{"all new", m{"b": 2, "a": 1}, nil, Changes[string]{Add: []string{"a", "b"}}},
		{"all gone", nil, m{"b": 2, "a": 1}, Changes[string]{Remove: []string{"a", "b"}}},
		{"each kind", m{"a": 1, "b": 2, "c": 3}, m{"b": 2, "c": 4, "d": 5},
			Changes[string]{Add: []string{"a"}, Change: []string{"c"}, Remove: []string{"d"}}},
	}
	for _, r := range rows {
		got := OfComparable(r.wanted, r.there)
		if d := cmp.Diff(r.want, got); d != "" {
			t.Errorf("%s: %s", r.name, d)
		}
		if got.Empty() != (got.Len() == 0) {
			t.Errorf("%s: empty %v, length %d", r.name, got.Empty(), got.Len())
		}
	}
}

// TestAsymmetric: what is there may be more than what is wanted.
func TestAsymmetric(t *testing.T) {
	c := Of(map[string]int{"mtu": 1450}, map[string][]int{"mtu": {1450, 1500}}, func(w int, t []int) bool { return slices.Contains(t, w) })
	if !c.Empty() {
		t.Error(c)
	}
}

// TestConverges: doing what Of says makes the two equal, from anywhere.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.MapOf(rapid.IntRange(0, 20), rapid.IntRange(0, 3))
		wanted, there := gen.Draw(t, "wanted"), gen.Draw(t, "there")
		c := OfComparable(wanted, there)
		for _, k := range append(c.Add, c.Change...) {
			there[k] = wanted[k]
		}
		for _, k := range c.Remove {
			delete(there, k)
		}
		if !maps.Equal(wanted, there) || !OfComparable(wanted, there).Empty() {
			t.Fatalf("wanted %v, got %v", wanted, there)
		}
	})
}
