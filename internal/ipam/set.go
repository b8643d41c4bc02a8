package ipam

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"weft/internal/model"
)

// chunkBits is the number of addresses one chunk of a Set covers.
const chunkBits = 4096

// Set is a set of addresses of one prefix: a sparse bitmap of chunks of 4096 addresses,
// each with a count. Membership, Add and Remove cost a binary search over the chunks in
// use; counting and finding the n-th free address of a pool walk these chunks only, so
// a /64 with ten addresses costs what ten addresses cost.
//
// Addresses more than 2^64 above the prefix's first cannot be held and count as taken.
// The zero Set is not useful; see NewSet. A Set is not safe for concurrent use.
type Set struct {
	prefix netip.Prefix
	base   netip.Addr
	chunks []chunk // sorted by num, none empty
	n      int
}

type chunk struct {
	num   uint64 // offset / chunkBits
	count int
	words [chunkBits / 64]uint64
}

// NewSet returns an empty set of addresses within prefix.
func NewSet(prefix netip.Prefix) *Set {
	return &Set{prefix: prefix.Masked(), base: prefix.Masked().Addr()}
}

// Prefix returns the prefix the set was made for.
func (s *Set) Prefix() netip.Prefix { return s.prefix }

// Len returns the number of addresses in the set.
func (s *Set) Len() int { return s.n }

// Has reports whether a is in the set.
func (s *Set) Has(a netip.Addr) bool {
	off, ok := s.offset(a)
	if !ok {
		return false
	}
	i, found := s.find(off / chunkBits)
	return found && s.chunks[i].words[off%chunkBits/64]&(1<<(off%64)) != 0
}

// Add puts a into the set and reports whether it was not there before. An address
// outside the prefix is ignored.
func (s *Set) Add(a netip.Addr) bool {
	off, ok := s.offset(a)
	if !ok {
		return false
	}
	i, found := s.find(off / chunkBits)
	if !found {
		s.chunks = slices.Insert(s.chunks, i, chunk{num: off / chunkBits})
	}
	c := &s.chunks[i]
	w, bit := &c.words[off%chunkBits/64], uint64(1)<<(off%64)
	if *w&bit != 0 {
		return false
	}
	*w |= bit
	c.count++
	s.n++
	return true
}

// Remove takes a out of the set and reports whether it was there.
func (s *Set) Remove(a netip.Addr) bool {
	off, ok := s.offset(a)
	if !ok {
		return false
	}
	i, found := s.find(off / chunkBits)
	if !found {
		return false
	}
	c := &s.chunks[i]
	w, bit := &c.words[off%chunkBits/64], uint64(1)<<(off%64)
	if *w&bit == 0 {
		return false
	}
	*w &^= bit
	c.count--
	s.n--
	if c.count == 0 {
		s.chunks = slices.Delete(s.chunks, i, i+1)
	}
	return true
}

// FreeUpTo returns how many addresses of p are not in the set, but at most limit.
func (s *Set) FreeUpTo(p model.Pool, limit uint64) uint64 {
	first, last, ok := s.bounds(p)
	if !ok {
		return 0
	}
	var free uint64
	s.walk(first, last, func(from, to uint64, c *chunk) bool {
		free += to - from + 1
		if c != nil {
			free -= c.taken(from, to)
		}
		return free < limit
	})
	return min(free, limit)
}

// NthFree returns the n-th address of p, counted from 0, that is not in the set.
func (s *Set) NthFree(p model.Pool, n uint64) (netip.Addr, bool) {
	first, last, ok := s.bounds(p)
	if !ok {
		return netip.Addr{}, false
	}
	var found netip.Addr
	s.walk(first, last, func(from, to uint64, c *chunk) bool {
		free := to - from + 1
		if c != nil {
			free -= c.taken(from, to)
		}
		if free != 0 && n >= free {
			n -= free
			return true
		}
		if c == nil {
			found = s.addr(from + n)
			return false
		}
		if free == 0 {
			return true
		}
		found = s.addr(c.nthFree(from, to, n))
		return false
	})
	return found, found.IsValid()
}

// walk calls f for consecutive pieces of [first, last]: one per chunk in use, with the
// chunk, and one per gap between chunks, with nil; until f returns false.
func (s *Set) walk(first, last uint64, f func(from, to uint64, c *chunk) bool) {
	i, _ := s.find(first / chunkBits)
	for from := first; ; {
		var c *chunk
		to := last
		if i < len(s.chunks) {
			start := s.chunks[i].num * chunkBits
			switch {
			case start > from && start <= last:
				to = start - 1
			case start <= from:
				c = &s.chunks[i]
				to = min(last, start+chunkBits-1)
				i++
			}
		}
		if !f(from, to, c) || to == last {
			return
		}
		from = to + 1
	}
}

// taken counts the bits of c in the offsets [from, to], which lie within c.
func (c *chunk) taken(from, to uint64) uint64 {
	a, b := from%chunkBits, to%chunkBits
	if a == 0 && b == chunkBits-1 {
		return uint64(c.count)
	}
	n := 0
	for w := a / 64; w <= b/64; w++ {
		n += bits.OnesCount64(c.words[w] & mask(w, a, b))
	}
	return uint64(n)
}

// nthFree returns the offset of the n-th clear bit of c in [from, to]; there must be one.
func (c *chunk) nthFree(from, to, n uint64) uint64 {
	a, b := from%chunkBits, to%chunkBits
	for w := a / 64; w <= b/64; w++ {
		clear := ^c.words[w] & mask(w, a, b)
		if k := uint64(bits.OnesCount64(clear)); n >= k {
			n -= k
			continue
		}
		for ; n > 0; n-- {
			clear &= clear - 1
		}
		return c.num*chunkBits + w*64 + uint64(bits.TrailingZeros64(clear))
	}
	return to
}

// mask returns the bits of word w that lie in [a, b].
func mask(w, a, b uint64) uint64 {
	m := ^uint64(0)
	if w == a/64 {
		m &= ^uint64(0) << (a % 64)
	}
	if w == b/64 {
		m &= ^uint64(0) >> (63 - b%64)
	}
	return m
}

func (s *Set) find(num uint64) (int, bool) {
	return slices.BinarySearchFunc(s.chunks, num, func(c chunk, n uint64) int {
		switch {
		case c.num < n:
			return -1
		case c.num > n:
			return 1
		}
		return 0
	})
}

// bounds turns a pool into offsets, cut to what the set can hold.
func (s *Set) bounds(p model.Pool) (first, last uint64, ok bool) {
	first, ok = s.offset(p.First)
	if !ok {
		return 0, 0, false
	}
	if last, ok = s.offset(p.Last); !ok {
		if !s.prefix.Contains(p.Last) {
			return 0, 0, false
		}
		last = ^uint64(0)
	}
	if last == ^uint64(0) {
		last-- // so that the number of addresses fits a uint64
	}
	return first, last, first <= last
}

// offset returns how far a lies above the first address of the prefix.
func (s *Set) offset(a netip.Addr) (uint64, bool) {
	if !s.prefix.Contains(a) {
		return 0, false
	}
	hiA, loA := halves(a)
	hiB, loB := halves(s.base)
	lo, borrow := bits.Sub64(loA, loB, 0)
	hi, _ := bits.Sub64(hiA, hiB, borrow)
	return lo, hi == 0
}

func (s *Set) addr(off uint64) netip.Addr {
	hi, lo := halves(s.base)
	lo, carry := bits.Add64(lo, off, 0)
	hi += carry
	if s.base.Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// halves returns a as two 64-bit numbers; an IPv4 address as its 32 bits.
func halves(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}
