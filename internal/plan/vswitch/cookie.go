package vswitch

import "strconv"

// A cookie says whose a flow is and what it is for:
//
//	63        48 47    40 39      32 31                    0
//	+-----------+--------+----------+-----------------------+
//	|   owner   |  kind  |  reason  |        object         |
//	+-----------+--------+----------+-----------------------+
//
// owner is one number for all of weft, so that a process born a second ago knows its
// flows; kind is a Kind; reason says of a flow
// of a port why it drops, or is 0; object is the first 32 bits of a UUID, or 0.

// CookieKind is what a flow is for.
type CookieKind uint8

// The kinds of flow.
const (
	// KindBase is a flow that is there whatever the view: table misses, patch ports.
	KindBase CookieKind = iota + 1
	// KindNetwork belongs to a network.
	KindNetwork
	// KindPort belongs to a port.
	KindPort
	// KindTunnel belongs to a tunnel to another host.
	KindTunnel
	// KindLearned is a flow that the switch itself made by learn(). It is not in any
	// plan, and whoever compares flows with a plan leaves it alone.
	KindLearned
	// KindGroup belongs to security groups: rules and members.
	KindGroup
)

// Cookie puts a cookie together.
func Cookie(owner uint16, k CookieKind, object uint32) uint64 {
	return uint64(owner)<<48 | uint64(k)<<40 | uint64(object)
}

// SplitCookie takes a cookie apart.
func SplitCookie(c uint64) (owner uint16, k CookieKind, object uint32) {
	return uint16(c >> 48), CookieKind(c >> 40), uint32(c)
}

// MaxReason is the highest drop reason that a cookie may have. Each bit more would let whoever counts drops go
// through all flows of a switch once more.
const MaxReason = 15

// WithReason writes a drop reason, up to MaxReason, into a cookie.
func WithReason(c uint64, reason uint8) uint64 { return c&^(0xff<<32) | uint64(reason)<<32 }

// ReasonOf returns the drop reason of a cookie; 0 is none.
func ReasonOf(c uint64) uint8 { return uint8(c >> 32) }

// CookieObject is the part of an ID that a cookie has room for: the first 32 bits of a UUID; 0
// for what is none.
func CookieObject(id string) uint32 {
	n, err := strconv.ParseUint(id[:min(8, len(id))], 16, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
