package store

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
)

// TestOrder compares with a sorted list, also for IDs that are no UUIDs.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o byID
		ids := map[string]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			id := rapid.StringMatching(`[0-9a-f]{0,3}[-0-9a-z~]{0,3}`).Draw(t, "id")
			if id == "" {
				continue
			}
			if ids[id] && rapid.Bool().Draw(t, "remove") {
				o.remove(id)
				delete(ids, id)
				continue
			}
			o.insert(&Entry[model.Port]{Value: &model.Port{ID: model.PortID(id)}})
			ids[id] = true
		}
		var sorted []string
		for id := range ids {
			sorted = append(sorted, id)
		}
		slices.Sort(sorted)
		at := rapid.StringMatching(`[0-9a-f]{0,3}[-0-9a-z~]{0,3}`).Draw(t, "at")
		var after, before []string
		for _, id := range sorted {
			if id > at {
				after = append(after, id)
			}
			if id < at || at == "" {
				before = append(before, id)
			}
		}
		slices.Reverse(before)
		same(t, "after", o.after(at), after)
		same(t, "before", o.before(at), before)
	})
}

func same(t *rapid.T, what string, seq iter.Seq[*Entry[model.Port]], want []string) {
	var got []string
	for e := range seq {
		got = append(got, string(e.Value.ID))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %s, want %s", what, strings.Join(got, " "), strings.Join(want, " "))
	}
}
