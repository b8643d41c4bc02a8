package ipam

import (
	"cmp"
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
// a /64 with ten addresses costs what ten addresses cost. Chunks lie in blocks of 2^64
// addresses, of which an IPv4 prefix and an IPv6 one of 64 bits or more have one.
//
// The zero Set is not useful; see NewSet. A Set is not safe for concurrent use.
type Set struct {
	prefix netip.Prefix
	blocks map[uint64]*block // by the upper half of the address
	n      int
}

// block is the part of a Set with one upper half of the address.
type block struct {
	chunks []chunk // sorted by num, none empty
}

// chunk covers the addresses whose lower half divided by chunkBits is num. EUI-64
// addresses lie far apart: a single one is kept without a bitmap.
type chunk struct {
	num   uint64
	count int
	one   uint64 // the offset of the single address while words is nil
	words *[chunkBits / 64]uint64
}

// word returns the 64 bits that begin at 64 w.
func (c *chunk) word(w uint64) uint64 {
	switch {
	case c.words != nil:
		return c.words[w]
	case c.one/64 == w:
		return 1 << (c.one % 64)
	}
	return 0
}

func (c *chunk) has(off uint64) bool { return c.word(off/64)&(1<<(off%64)) != 0 }

// NewSet returns an empty set of addresses within prefix.
func NewSet(prefix netip.Prefix) *Set {
	return &Set{prefix: prefix.Masked(), blocks: map[uint64]*block{}}
}

// Prefix returns the prefix the set was made for.
func (s *Set) Prefix() netip.Prefix { return s.prefix }

// Len returns the number of addresses in the set.
func (s *Set) Len() int { return s.n }

// Has reports whether a is in the set.
func (s *Set) Has(a netip.Addr) bool {
	b, lo := s.at(a)
	if b == nil {
		return false
	}
	i, found := b.find(lo / chunkBits)
	return found && b.chunks[i].has(lo%chunkBits)
}

// Add puts a into the set and reports whether it was not there before. An address
// outside the prefix is ignored.
func (s *Set) Add(a netip.Addr) bool {
	if !s.prefix.Contains(a) {
		return false
	}
	hi, lo := halves(a)
	b := s.blocks[hi]
	if b == nil {
		b = &block{}
		s.blocks[hi] = b
	}
	off := lo % chunkBits
	i, found := b.find(lo / chunkBits)
	if !found {
		b.chunks = slices.Insert(b.chunks, i, chunk{num: lo / chunkBits, count: 1, one: off})
		s.n++
		return true
	}
	c := &b.chunks[i]
	if c.has(off) {
		return false
	}
	if c.words == nil {
		c.words = new([chunkBits / 64]uint64)
		c.words[c.one/64] = 1 << (c.one % 64)
	}
	c.words[off/64] |= 1 << (off % 64)
	c.count++
	s.n++
	return true
}

// Remove takes a out of the set and reports whether it was there.
func (s *Set) Remove(a netip.Addr) bool {
	b, lo := s.at(a)
	if b == nil {
		return false
	}
	off := lo % chunkBits
	i, found := b.find(lo / chunkBits)
	if !found || !b.chunks[i].has(off) {
		return false
	}
	c := &b.chunks[i]
	s.n--
	if c.count--; c.count > 0 {
		c.words[off/64] &^= 1 << (off % 64)
		return true
	}
	if b.chunks = slices.Delete(b.chunks, i, i+1); len(b.chunks) == 0 {
		hi, _ := halves(a)
		delete(s.blocks, hi)
	}
	return true
}

// FreeUpTo returns how many addresses of p are not in the set, but at most limit.
func (s *Set) FreeUpTo(p model.Pool, limit uint64) uint64 {
	var free uint64
	s.walk(p, func(_, from, to uint64, c *chunk) bool {
		free += min(c.free(from, to), limit-free)
		return free < limit
	})
	return free
}

// NthFree returns the n-th address of p, counted from 0, that is not in the set.
func (s *Set) NthFree(p model.Pool, n uint64) (netip.Addr, bool) {
	var found netip.Addr
	s.walk(p, func(hi, from, to uint64, c *chunk) bool {
		free := c.free(from, to)
		if n >= free {
			n -= free
			return true
		}
		lo := from + n
		if c != nil {
			lo = c.nthFree(from, to, n)
		}
		found = s.addr(hi, lo)
		return false
	})
	return found, found.IsValid()
}

// walk calls f for consecutive pieces of a pool, given by the upper half of the address
// and the lower halves of the first and the last: one per chunk in use, with the chunk,
// and one per gap between chunks, with nil; until f returns false.
func (s *Set) walk(p model.Pool, f func(hi, from, to uint64, c *chunk) bool) {
	if !s.prefix.Contains(p.First) || !s.prefix.Contains(p.Last) {
		return
	}
	hi, first := halves(p.First)
	lastHi, lastLo := halves(p.Last)
	for ; hi <= lastHi; hi++ {
		last := ^uint64(0)
		if hi == lastHi {
			last = lastLo
		}
		if !s.blocks[hi].walk(first, last, func(from, to uint64, c *chunk) bool { return f(hi, from, to, c) }) || hi == lastHi {
			return
		}
		first = 0
	}
}

// walk is Set.walk for [first, last] of one block, which may be nil, and reports whether
// f wants more.
func (b *block) walk(first, last uint64, f func(from, to uint64, c *chunk) bool) bool {
	if first > last {
		return true
	}
	var chunks []chunk
	if b != nil {
		i, _ := b.find(first / chunkBits)
		chunks = b.chunks[i:]
	}
	for from := first; ; {
		var c *chunk
		to := last
		if len(chunks) > 0 {
			start := chunks[0].num * chunkBits
			switch {
			case start > from && start <= last:
				to = start - 1
			case start <= from:
				c = &chunks[0]
				to = min(last, start+chunkBits-1)
				chunks = chunks[1:]
			}
		}
		if !f(from, to, c) {
			return false
		}
		if to == last {
			return true
		}
		from = to + 1
	}
}

// free counts the addresses of [from, to] that are not taken; c is nil for a gap. Of
// 2^64 it counts one less.
func (c *chunk) free(from, to uint64) uint64 {
	if c != nil {
		return to - from + 1 - c.taken(from, to)
	}
	if n := to - from; n != ^uint64(0) {
		return n + 1
	}
	return to
}

// taken counts the bits of c in the offsets [from, to], which lie within c.
func (c *chunk) taken(from, to uint64) uint64 {
	a, b := from%chunkBits, to%chunkBits
	if a == 0 && b == chunkBits-1 {
		return uint64(c.count)
	}
	n := 0
	for w := a / 64; w <= b/64; w++ {
		n += bits.OnesCount64(c.word(w) & mask(w, a, b))
	}
	return uint64(n)
}

// nthFree returns the offset of the n-th clear bit of c in [from, to]; there must be one.
func (c *chunk) nthFree(from, to, n uint64) uint64 {
	a, b := from%chunkBits, to%chunkBits
	for w := a / 64; w <= b/64; w++ {
		clear := ^c.word(w) & mask(w, a, b)
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

func (b *block) find(num uint64) (int, bool) {
	return slices.BinarySearchFunc(b.chunks, num, func(c chunk, n uint64) int { return cmp.Compare(c.num, n) })
}

// at returns the block that an address may be in, nil when there is none, and the lower
// half of the address.
func (s *Set) at(a netip.Addr) (*block, uint64) {
	if !s.prefix.Contains(a) {
		return nil, 0
	}
	hi, lo := halves(a)
	return s.blocks[hi], lo
}

// addr is the inverse of halves.
func (s *Set) addr(hi, lo uint64) netip.Addr {
	if s.prefix.Addr().Is4() {
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
