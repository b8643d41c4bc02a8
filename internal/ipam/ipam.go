// Package ipam chooses MAC addresses, fixed IPs and segmentation IDs; given what is taken, returns a choice.
//
// Everything here is a pure function or a plain value: chance comes in as a function
// rnd(n) that returns a number in [0, n), what is taken comes in as a Set or a function.
// Nothing here remembers a choice; recording it is the store's business.
package ipam

import (
	"net/netip"

	"weft/internal/model"
)

// macTries bounds the search for a free MAC. With 24 random bits and a network of a
// million ports, one try fails with probability 0.06, so this many never all fail.
const macTries = 64

// ChooseMAC returns a MAC that begins as base does and is not taken. The first three
// octets of base are kept, the fourth too unless it is 00; the others come from rnd.
// It returns false when no free one was found in a bounded number of tries.
func ChooseMAC(base model.MAC, taken func(model.MAC) bool, rnd func(n int) int) (model.MAC, bool) {
	for range macTries {
		m := base
		r := rnd(1 << 24)
		if base[3] == 0 {
			m[3] = byte(r >> 16)
		}
		m[4], m[5] = byte(r>>8), byte(r)
		if !m.IsZero() && !taken(m) {
			return m, true
		}
	}
	return model.MAC{}, false
}

// DefaultGateway returns the first address of an IPv4 prefix plus one, and that of an
// IPv6 prefix itself, the subnet-router anycast address. For a /32 the former lies outside
// the prefix, as in Neutron: the one address stays free for a port.
func DefaultGateway(cidr netip.Prefix) netip.Addr {
	first := cidr.Masked().Addr()
	if first.Is4() {
		return first.Next()
	}
	return first
}

// EUI64 returns the address in a /64 that a host with this MAC gives itself (RFC 4291, appendix A).
func EUI64(cidr netip.Prefix, m model.MAC) netip.Addr {
	a := cidr.Masked().Addr().As16()
	copy(a[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(a)
}

// Last returns the last address of cidr: the broadcast address of an IPv4 prefix.
func Last(cidr netip.Prefix) netip.Addr {
	a := cidr.Masked().Addr()
	b := a.AsSlice()
	for i := cidr.Bits(); i < a.BitLen(); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// DefaultPools returns the allocation pools of a subnet that was given none: all host
// addresses but the gateway. An IPv4 /31 or /32 has no network and broadcast address, so
// all its addresses are host addresses (RFC 3021). The zero gateway takes nothing away.
func DefaultPools(cidr netip.Prefix, gateway netip.Addr) []model.Pool {
	first, last := cidr.Masked().Addr(), Last(cidr)
	switch v4 := first.Is4(); {
	case v4 && cidr.Bits() <= 30:
		first, last = first.Next(), last.Prev()
	case !v4 && cidr.Bits() < 128:
		first = first.Next() // ::0 is the subnet-router anycast address
	}
	whole := model.Pool{First: first, Last: last}
	if !gateway.IsValid() || !whole.Contains(gateway) {
		return []model.Pool{whole}
	}
	var pools []model.Pool
	if gateway != first {
		pools = append(pools, model.Pool{First: first, Last: gateway.Prev()})
	}
	if gateway != last {
		pools = append(pools, model.Pool{First: gateway.Next(), Last: last})
	}
	return pools
}

// IsHostAddress reports whether a port of a subnet with this prefix may hold a: it lies
// within, and is neither the network nor the broadcast address of an IPv4 prefix that has
// those, nor the subnet-router anycast address of an IPv6 prefix.
func IsHostAddress(cidr netip.Prefix, a netip.Addr) bool {
	if !cidr.Contains(a) {
		return false
	}
	first := cidr.Masked().Addr()
	if !a.Is4() {
		return a != first || cidr.IsSingleIP()
	}
	return cidr.Bits() >= 31 || a != first && a != Last(cidr)
}

// GatewayValid reports whether gw may be the gateway of cidr. A gateway outside the
// prefix is allowed (a routed one), and the subnet-router anycast address; the network and
// broadcast addresses of IPv4 are not.
func GatewayValid(cidr netip.Prefix, gw netip.Addr) bool {
	return gw.BitLen() == cidr.Addr().BitLen() && (!gw.Is4() || !cidr.Contains(gw) || IsHostAddress(cidr, gw))
}

// Window sizes of Neutron: a single address is drawn from the first 1000 free ones; n at
// once from the first 100 n, at most 100000.
const (
	singleWindow = 1000
	bulkFactor   = 100
	bulkWindow   = 100000
)

// Window returns how many of the first free addresses to draw from when n are wanted at once.
func Window(n int) uint64 {
	if n <= 1 {
		return singleWindow
	}
	return uint64(min(n*bulkFactor, bulkWindow))
}

// ChooseAddress returns one address of the first pool with space that is not in taken,
// drawn by rnd from the first min(free, window) free ones. It returns false when all
// pools are full.
func ChooseAddress(pools []model.Pool, taken *Set, window uint64, rnd func(n int) int) (netip.Addr, bool) {
	for _, p := range pools {
		free := taken.FreeUpTo(p, window)
		if free == 0 {
			continue
		}
		return taken.NthFree(p, uint64(rnd(int(free))))
	}
	return netip.Addr{}, false
}

// ChooseLowest returns the lowest free address of the first pool with space, as DHCP
// ports get. It returns false when all pools are full.
func ChooseLowest(pools []model.Pool, taken *Set) (netip.Addr, bool) {
	return ChooseAddress(pools, taken, 1, func(int) int { return 0 })
}

// segmentTries is how many random draws ChooseSegmentationID makes before it searches in order.
const segmentTries = 32

// ChooseSegmentationID returns an ID in [first, last] that is not taken. It draws at
// random; when the range is nearly full it searches upwards from a random place. It
// returns false when every ID is taken.
func ChooseSegmentationID(first, last uint32, taken func(uint32) bool, rnd func(n int) int) (uint32, bool) {
	if last < first {
		return 0, false
	}
	n := int(last-first) + 1
	for range segmentTries {
		if id := first + uint32(rnd(n)); !taken(id) {
			return id, true
		}
	}
	start := rnd(n)
	for i := range n {
		if id := first + uint32((start+i)%n); !taken(id) {
			return id, true
		}
	}
	return 0, false
}
