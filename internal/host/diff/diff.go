// Package diff compares what is wanted with what is there: what to add, change and remove.
//
// In go two maps with the same keys, out come three sorted lists of keys. It decides
// nothing else: who owns what is there, and in which order it may be touched, is known
// to the caller. Pure.
package diff

import (
	"cmp"
	"slices"
)

// Changes are the keys to add, to change and to remove, each list sorted.
type Changes[K cmp.Ordered] struct {
	Add, Change, Remove []K
}

// Empty reports whether there is nothing to do.
func (c Changes[K]) Empty() bool { return len(c.Add)+len(c.Change)+len(c.Remove) == 0 }

// Len is the number of keys to touch.
func (c Changes[K]) Len() int { return len(c.Add) + len(c.Change) + len(c.Remove) }

// Of returns what turns there into wanted. equal says whether the thing that is there
// is good enough for the one that is wanted; it need not be symmetric.
func Of[K cmp.Ordered, W, T any](wanted map[K]W, there map[K]T, equal func(W, T) bool) Changes[K] {
	var c Changes[K]
	for k, w := range wanted {
		if t, ok := there[k]; !ok {
			c.Add = append(c.Add, k)
		} else if !equal(w, t) {
			c.Change = append(c.Change, k)
		}
	}
	for k := range there {
		if _, ok := wanted[k]; !ok {
			c.Remove = append(c.Remove, k)
		}
	}
	slices.Sort(c.Add)
	slices.Sort(c.Change)
	slices.Sort(c.Remove)
	return c
}

// OfComparable is Of where a thing is as wanted when it is equal.
func OfComparable[K cmp.Ordered, V comparable](wanted, there map[K]V) Changes[K] {
	return Of(wanted, there, func(w, t V) bool { return w == t })
}
