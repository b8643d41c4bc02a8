package openflow

// BundleType is what a BundleControl asks for or answers.
type BundleType uint16

// The types of BundleControl.
const (
	BundleOpen BundleType = iota
	BundleOpenReply
	BundleClose
	BundleCloseReply
	BundleCommit
	BundleCommitReply
	BundleDiscard
	BundleDiscardReply
)

// Flags of bundles: all or nothing, and in the order given.
const (
	BundleAtomic  = 1
	BundleOrdered = 2
)

// BundleControl opens, commits or discards a bundle.
type BundleControl struct {
	ID    uint32
	Type  BundleType
	Flags uint16
}

// BundleAdd puts one message into a bundle. Its transaction ID is that of the
// message inside, as the standard demands.
type BundleAdd struct {
	ID    uint32
	Flags uint16
	// XID is set by Decode, and must be the xid given to Encode.
	XID     uint32
	Message Message
}

func (*BundleControl) kind() uint8 { return typeBundleControl }
func (*BundleAdd) kind() uint8     { return typeBundleAdd }

func (m *BundleControl) appendTo(b []byte) []byte {
	return put16(put16(put32(b, m.ID), uint16(m.Type)), m.Flags)
}

func (m *BundleAdd) appendTo(b []byte) []byte {
	return Encode(put16(pad(put32(b, m.ID), 2), m.Flags), m.XID, m.Message)
}

func (r *reader) bundleAdd(depth int) Message {
	if depth > 0 {
		r.fail("bundle inside a bundle")
		return nil
	}
	m := &BundleAdd{ID: r.u32()}
	r.skip(2)
	m.Flags = r.u16()
	if r.err != nil {
		return nil
	}
	n, err := Length(r.b)
	if err != nil {
		r.err = err
		return nil
	}
	// Properties may follow the message; weft knows none.
	body := r.take(n)
	if r.err != nil {
		return nil
	}
	m.XID, m.Message, r.err = decode(body, depth+1)
	return m
}
