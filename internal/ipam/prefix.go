package ipam

import (
	"net/netip"
	"slices"

	"weft/internal/model"
)

// Sets of prefixes are lists. In a merged one no prefix holds another, no two make up a
// larger one, and they are sorted; so a prefix lies in the set when one of them holds it.
// The prefixes of a set are of one address family.

// Merge returns the merged set of the same addresses.
func Merge(prefixes []netip.Prefix) []netip.Prefix { return prefixesOf(ranges(prefixes)) }

// Subtract returns the merged set of what is in a and not in b.
func Subtract(a, b []netip.Prefix) []netip.Prefix {
	var left []model.Pool
	minus := ranges(b)
	for _, r := range ranges(a) {
		first, empty := r.First, false
		for _, m := range minus {
			if m.Last.Less(first) || r.Last.Less(m.First) {
				continue
			}
			if first.Less(m.First) {
				left = append(left, model.Pool{First: first, Last: m.First.Prev()})
			}
			if empty = r.Last.Compare(m.Last) <= 0; empty {
				break
			}
			first = m.Last.Next()
		}
		if !empty {
			left = append(left, model.Pool{First: first, Last: r.Last})
		}
	}
	return prefixesOf(left)
}

// Covers reports whether all of p lies in a merged set.
func Covers(merged []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(merged, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) })
}

// Overlap reports whether two sets have an address in common.
func Overlap(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}

// ChoosePrefix returns a prefix of this length from a merged set: the first of the
// smallest member that has one, so that large ones stay whole.
func ChoosePrefix(merged []netip.Prefix, bits int) (netip.Prefix, bool) {
	best := -1
	for i, p := range merged {
		if p.Bits() <= bits && (best < 0 || p.Bits() > merged[best].Bits()) {
			best = i
		}
	}
	if best < 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(merged[best].Addr(), bits), true
}

// ranges returns the addresses of prefixes as sorted ranges that do not touch.
func ranges(prefixes []netip.Prefix) []model.Pool {
	sorted := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		sorted[i] = p.Masked()
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []model.Pool
	for _, p := range sorted {
		first, last := p.Addr(), Last(p)
		if n := len(out); n > 0 && (first.Compare(out[n-1].Last) <= 0 || out[n-1].Last.Next() == first) {
			if out[n-1].Last.Less(last) {
				out[n-1].Last = last
			}
			continue
		}
		out = append(out, model.Pool{First: first, Last: last})
	}
	return out
}

// prefixesOf returns the fewest prefixes that have the addresses of sorted ranges.
func prefixesOf(ranges []model.Pool) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range ranges {
		for first := r.First; ; {
			p := netip.PrefixFrom(first, first.BitLen())
			for p.Bits() > 0 {
				q := netip.PrefixFrom(first, p.Bits()-1)
				if q.Masked().Addr() != first || r.Last.Less(Last(q)) {
					break
				}
				p = q
			}
			out = append(out, p)
			if Last(p) == r.Last {
				break
			}
			first = Last(p).Next()
		}
	}
	return out
}
