package openflow

import "bytes"

// Reserved port numbers.
const (
	PortMax        uint32 = 0xffffff00
	PortInPort     uint32 = 0xfffffff8
	PortTable      uint32 = 0xfffffff9
	PortNormal     uint32 = 0xfffffffa
	PortFlood      uint32 = 0xfffffffb
	PortAll        uint32 = 0xfffffffc
	PortController uint32 = 0xfffffffd
	PortLocal      uint32 = 0xfffffffe
	PortAny        uint32 = 0xffffffff
)

// TableNone is the table number that means "no table" or "every table".
const TableNone = 0xff

// Action is one of the action types of this package.
type Action interface {
	appendTo(b []byte) []byte
	canonicalize() Action
}

// Types of actions.
const (
	actOutput       = 0
	actPushVLAN     = 17
	actPopVLAN      = 18
	actSetField     = 25
	actExperimenter = 0xffff
)

type (
	// Output sends the packet to a port; MaxLen counts only for PortController.
	Output struct {
		Port   uint32
		MaxLen uint16
	}
	// PushVLAN pushes a tag of the given ethertype, 0x8100.
	PushVLAN struct{ EtherType uint16 }
	// PopVLAN removes the outermost tag.
	PopVLAN struct{}
	// SetField writes a whole field.
	SetField struct {
		Field Field
		Value Value
	}
	// RawAction is an action that this package has no type for, with its header.
	RawAction struct{ Bytes []byte }
)

func (a Output) appendTo(b []byte) []byte {
	b = put16(put16(b, actOutput), 16)
	b = put16(put32(b, a.Port), a.MaxLen)
	return pad(b, 6)
}

func (a PushVLAN) appendTo(b []byte) []byte {
	b = put16(put16(b, actPushVLAN), 8)
	return pad(put16(b, a.EtherType), 2)
}

func (a PopVLAN) appendTo(b []byte) []byte { return pad(put16(put16(b, actPopVLAN), 8), 4) }

func (a SetField) appendTo(b []byte) []byte {
	start := len(b)
	b = put32(put16(put16(b, actSetField), 0), uint32(a.Field))
	b = pad8(a.Value.appendTo(b, a.Field.Len()), start)
	setLen(b, start, 2)
	return b
}

func (a RawAction) appendTo(b []byte) []byte { return append(b, a.Bytes...) }

func (a Output) canonicalize() Action {
	// What a switch says of max_len for a port other than the controller means nothing.
	if a.Port != PortController {
		a.MaxLen = 0
	}
	return a
}
func (a PushVLAN) canonicalize() Action  { return a }
func (a PopVLAN) canonicalize() Action   { return a }
func (a RawAction) canonicalize() Action { return a }
func (a SetField) canonicalize() Action {
	a.Field = a.Field.canonical()
	return a
}

func appendActions(b []byte, as []Action) []byte {
	for _, a := range as {
		b = a.appendTo(b)
	}
	return b
}

// maxNesting bounds ct(...exec(ct(...))): deeper than Open vSwitch itself ever goes.
const maxNesting = 4

// actions reads actions until the reader is empty.
func (r *reader) actions(depth int) []Action {
	var as []Action
	for r.err == nil && len(r.b) > 0 {
		as = append(as, r.action(depth))
	}
	return as
}

func (r *reader) action(depth int) Action {
	whole := r.b
	kind, length := r.u16(), int(r.u16())
	if r.err == nil && (length < 8 || length%8 != 0) {
		r.fail("action %d of length %d", kind, length)
	}
	body := r.take(length - 4)
	if r.err != nil {
		return nil
	}
	sub := reader{b: body}
	var a Action
	switch kind {
	case actOutput:
		a = Output{Port: sub.u32(), MaxLen: sub.u16()}
	case actPushVLAN:
		a = PushVLAN{EtherType: sub.u16()}
	case actPopVLAN:
		a = PopVLAN{}
	case actSetField:
		f := sub.matchField()
		if f.Raw == nil && !f.Masked {
			a = SetField{Field: f.Field, Value: f.Value}
		}
	case actExperimenter:
		a = sub.niciraAction(depth)
	}
	if sub.err != nil {
		r.err = sub.err
		return nil
	}
	if a == nil {
		a = RawAction{Bytes: bytes.Clone(whole[:length])}
	}
	return a
}
