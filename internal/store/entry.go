package store

import (
	"sync/atomic"

	"weft/internal/model"
)

// Entry is one stored object as the mirror holds it. Value never changes: an update
// makes a new Entry. So a pointer taken from a Reader stays good after the View ends.
type Entry[T any] struct {
	// Value is shared by all readers; nobody may change it or what it points to.
	Value *T
	// ModRev is the etcd revision of the write that made this entry.
	ModRev int64

	encoded atomic.Pointer[[]byte]
}

// Encoded returns the wire form of the value, calling encode the first time only. There
// is one slot: all callers must pass the same encoding. Two goroutines may both encode
// when they come at once; both results are equal.
func (e *Entry[T]) Encoded(encode func(*T) []byte) []byte {
	if b := e.encoded.Load(); b != nil {
		return *b
	}
	b := encode(e.Value)
	e.encoded.Store(&b)
	return b
}

// Change says that an object was made, changed or removed. What it is now, the mirror
// knows: look it up by ID; absent means removed.
type Change struct {
	Kind model.Kind
	ID   string
	// Network is the network of a changed subnet or port (also of a removed one), the
	// network's own ID for a network, and empty for a host.
	Network model.NetworkID
}
