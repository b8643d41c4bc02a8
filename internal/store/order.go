package store

import (
	"iter"
	"slices"
	"strings"

	"weft/internal/model"
)

// byID keeps ports in the order of their IDs, so that a page of all ports costs the page.
// IDs are random UUIDs: their first three digits spread them over small sorted buckets.
type byID [4096][]*Entry[model.Port]

// bucketOf is the bucket of an ID or of any text, monotone in the text's order.
func bucketOf(id string) int {
	n := 0
	for i := range 3 {
		n *= 16
		if i >= len(id) {
			continue
		}
		switch c := id[i]; {
		case c < '0':
			return n * pow16(2-i)
		case c <= '9':
			n += int(c - '0')
		case c < 'a':
			return (n+9)*pow16(2-i) + pow16(2-i) - 1
		case c <= 'f':
			n += int(c-'a') + 10
		default:
			return (n+15)*pow16(2-i) + pow16(2-i) - 1
		}
	}
	return n
}

func pow16(n int) int { return 1 << (4 * n) }

func compareID(e *Entry[model.Port], id string) int { return strings.Compare(string(e.Value.ID), id) }

func (o *byID) insert(e *Entry[model.Port]) {
	b := &o[bucketOf(string(e.Value.ID))]
	i, there := slices.BinarySearchFunc(*b, string(e.Value.ID), compareID)
	if there {
		(*b)[i] = e
		return
	}
	*b = slices.Insert(*b, i, e)
}

func (o *byID) remove(id string) {
	b := &o[bucketOf(id)]
	if i, there := slices.BinarySearchFunc(*b, id, compareID); there {
		*b = slices.Delete(*b, i, i+1)
	}
}

// after yields the ports whose IDs come after id, in order; all for "".
func (o *byID) after(id string) iter.Seq[*Entry[model.Port]] {
	return func(yield func(*Entry[model.Port]) bool) {
		first := bucketOf(id)
		for n := first; n < len(o); n++ {
			from := 0
			if n == first {
				i, there := slices.BinarySearchFunc(o[n], id, compareID)
				if from = i; there {
					from++
				}
			}
			for _, e := range o[n][from:] {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// before yields the ports whose IDs come before id, the last first; all for "".
func (o *byID) before(id string) iter.Seq[*Entry[model.Port]] {
	return func(yield func(*Entry[model.Port]) bool) {
		last := len(o) - 1
		if id != "" {
			last = bucketOf(id)
		}
		for n := last; n >= 0; n-- {
			to := len(o[n])
			if n == last && id != "" {
				to, _ = slices.BinarySearchFunc(o[n], id, compareID)
			}
			for _, e := range slices.Backward(o[n][:to]) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// PortsAfter yields the ports whose IDs come after one, in the order of their IDs; all for "".
func (r Reader) PortsAfter(id string) iter.Seq[*Entry[model.Port]] { return r.m.portOrder.after(id) }

// PortsBefore yields the ports whose IDs come before one, in the opposite order; all for "".
func (r Reader) PortsBefore(id string) iter.Seq[*Entry[model.Port]] { return r.m.portOrder.before(id) }
