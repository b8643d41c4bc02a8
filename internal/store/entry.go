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

	// encoded are wire forms: one that shows everything and one that shows less.
	encoded [2]atomic.Pointer[encoding]

	// derived are other forms of the value, the newest first.
	derived atomic.Pointer[derivation]
}

// derivation is a form of a value, by a name.
type derivation struct {
	name string
	text []byte
	next *derivation
}

// encoding is a wire form, and which attributes of the value it shows.
type encoding struct {
	view uint64
	text []byte
}

// WholeView is the view that shows everything.
const WholeView = ^uint64(0)

// Encoded returns the wire form of the value in a view, a number that says which
// attributes show; it calls encode when the form is not held from last time. Two
// goroutines may both encode when they come at once; both results are equal.
func (e *Entry[T]) Encoded(view uint64, encode func(*T) []byte) []byte {
	slot := &e.encoded[0]
	if view != WholeView {
		slot = &e.encoded[1]
	}
	if held := slot.Load(); held != nil && held.view == view {
		return held.text
	}
	b := encode(e.Value)
	slot.Store(&encoding{view, b})
	return b
}

// Derived returns a form of the value that follows from the value alone; it calls derive
// when it has not done so before. There are to be few names.
func (e *Entry[T]) Derived(name string, derive func(*T) ([]byte, error)) ([]byte, error) {
	first := e.derived.Load()
	for d := first; d != nil; d = d.next {
		if d.name == name {
			return d.text, nil
		}
	}
	text, err := derive(e.Value)
	if err == nil {
		// Of two goroutines that come at once one's form may be lost: it is made again.
		e.derived.CompareAndSwap(first, &derivation{name, text, first})
	}
	return text, err
}

// forget drops the wire forms, because something that shows in them has changed. The
// mirror must be locked.
func (e *Entry[T]) forget() {
	if e == nil {
		return
	}
	for i := range e.encoded {
		e.encoded[i].Store(nil)
	}
}

// Change says that an object was made, changed or removed: a network, subnet, port, host,
// security group (its rules are part of it) or address group. What it is now, the mirror
// knows: look it up by ID; absent means removed.
type Change struct {
	Kind model.Kind
	ID   string
	// Network is the network of a changed subnet or port (also of a removed one), the
	// network's own ID for a network, and else empty.
	Network model.NetworkID
	// Groups are the security groups of which a changed port is another member now: it has
	// entered or left them, or its addresses have changed.
	Groups []string
}
