package openflow

import "bytes"

// Flow is one entry of a flow table.
type Flow struct {
	Table                    uint8
	Priority                 uint16
	Cookie                   uint64
	IdleTimeout, HardTimeout uint16
	Flags, Importance        uint16
	Match                    Match
	Instructions             []Instruction
}

// Instruction is one of the instruction types of this package.
type Instruction interface {
	appendTo(b []byte) []byte
	canonicalize() Instruction
}

// Types of instructions.
const (
	instGotoTable    = 1
	instApplyActions = 4
)

type (
	// GotoTable goes on in a later table.
	GotoTable struct{ Table uint8 }
	// ApplyActions does the actions at once.
	ApplyActions struct{ Actions []Action }
	// RawInstruction is an instruction without a type here, with its header.
	RawInstruction struct{ Bytes []byte }
)

func (i GotoTable) appendTo(b []byte) []byte {
	return pad(append(put16(put16(b, instGotoTable), 8), i.Table), 3)
}

func (i ApplyActions) appendTo(b []byte) []byte {
	start := len(b)
	b = pad(put16(put16(b, instApplyActions), 0), 4)
	b = appendActions(b, i.Actions)
	setLen(b, start, 2)
	return b
}

func (i RawInstruction) appendTo(b []byte) []byte { return append(b, i.Bytes...) }

func (i GotoTable) canonicalize() Instruction      { return i }
func (i RawInstruction) canonicalize() Instruction { return i }
func (i ApplyActions) canonicalize() Instruction {
	for n := range i.Actions {
		i.Actions[n] = i.Actions[n].canonicalize()
	}
	return i
}

func appendInstructions(b []byte, is []Instruction) []byte {
	for _, i := range is {
		b = i.appendTo(b)
	}
	return b
}

func (r *reader) instructions() []Instruction {
	var is []Instruction
	for r.err == nil && len(r.b) > 0 {
		whole := r.b
		kind, length := r.u16(), int(r.u16())
		if r.err == nil && (length < 8 || length%8 != 0) {
			r.fail("instruction %d of length %d", kind, length)
		}
		sub := reader{b: r.take(length - 4)}
		if r.err != nil {
			return nil
		}
		switch kind {
		case instGotoTable:
			is = append(is, GotoTable{Table: sub.u8()})
		case instApplyActions:
			sub.skip(4)
			is = append(is, ApplyActions{Actions: sub.actions(0)})
		default:
			is = append(is, RawInstruction{Bytes: bytes.Clone(whole[:length])})
		}
		if sub.err != nil {
			r.err = sub.err
		}
	}
	return is
}

// Canonicalize brings the flow, in place, into the one form in which two flows that
// mean the same are the same bytes: the form in which weft builds its own.
func (f *Flow) Canonicalize() {
	f.Match = f.Match.canonicalize()
	for i := range f.Instructions {
		f.Instructions[i] = f.Instructions[i].canonicalize()
	}
}

// AppendKey appends what identifies a flow on its bridge: table, priority and match.
func (f *Flow) AppendKey(b []byte) []byte {
	return f.Match.appendTo(put16(append(b, f.Table), f.Priority))
}

// AppendBody appends what a flow of a given key does: cookie, timeouts, instructions.
// Flags and importance are left out: they say how a flow is counted and evicted, and
// weft sets none.
func (f *Flow) AppendBody(b []byte) []byte {
	b = put16(put16(put64(b, f.Cookie), f.IdleTimeout), f.HardTimeout)
	return appendInstructions(b, f.Instructions)
}

// Command is what a FlowMod does.
type Command uint8

// The commands of FlowMod.
const (
	Add Command = iota
	Modify
	ModifyStrict
	Delete
	DeleteStrict
)

// NoBuffer says that a message carries its packet itself.
const NoBuffer = 0xffffffff

// FlowMod changes a flow table.
type FlowMod struct {
	Command    Command
	CookieMask uint64
	BufferID   uint32
	// OutPort and OutGroup narrow a deletion; PortAny for all.
	OutPort, OutGroup uint32
	Flow              Flow
}

// AddFlow is the FlowMod that adds a flow, or replaces the one of the same key.
func AddFlow(f Flow) *FlowMod {
	return &FlowMod{Command: Add, BufferID: NoBuffer, OutPort: PortAny, OutGroup: PortAny, Flow: f}
}

// DeleteFlow is the FlowMod that deletes exactly the flow of that table, priority and match.
func DeleteFlow(table uint8, priority uint16, m Match) *FlowMod {
	f := Flow{Table: table, Priority: priority, Match: m}
	return &FlowMod{Command: DeleteStrict, BufferID: NoBuffer, OutPort: PortAny, OutGroup: PortAny, Flow: f}
}

func (m *FlowMod) kind() uint8 { return typeFlowMod }

func (m *FlowMod) appendTo(b []byte) []byte {
	f := &m.Flow
	b = put64(put64(b, f.Cookie), m.CookieMask)
	b = append(b, f.Table, uint8(m.Command))
	b = put16(put16(put16(b, f.IdleTimeout), f.HardTimeout), f.Priority)
	b = put32(put32(put32(b, m.BufferID), m.OutPort), m.OutGroup)
	b = put16(put16(b, f.Flags), f.Importance)
	return appendInstructions(f.Match.appendTo(b), f.Instructions)
}

func (r *reader) flowMod() Message {
	m := &FlowMod{}
	f := &m.Flow
	f.Cookie, m.CookieMask = r.u64(), r.u64()
	f.Table, m.Command = r.u8(), Command(r.u8())
	f.IdleTimeout, f.HardTimeout, f.Priority = r.u16(), r.u16(), r.u16()
	m.BufferID, m.OutPort, m.OutGroup = r.u32(), r.u32(), r.u32()
	f.Flags, f.Importance = r.u16(), r.u16()
	f.Match = r.match()
	f.Instructions = r.instructions()
	return m
}

// FlowStats is a flow with its counters, as dumped.
type FlowStats struct {
	Flow
	DurationSec, DurationNsec uint32
	Packets, Bytes            uint64
}

func (s *FlowStats) appendTo(b []byte) []byte {
	start := len(b)
	b = put32(put32(append(put16(b, 0), s.Table, 0), s.DurationSec), s.DurationNsec)
	b = put16(put16(put16(b, s.Priority), s.IdleTimeout), s.HardTimeout)
	b = pad(put16(put16(b, s.Flags), s.Importance), 2)
	b = put64(put64(put64(b, s.Cookie), s.Packets), s.Bytes)
	b = appendInstructions(s.Match.appendTo(b), s.Instructions)
	setLen(b, start, 0)
	return b
}

func (r *reader) flowStats() FlowStats {
	n := int(r.u16())
	sub := r.sub(n - 2)
	var s FlowStats
	s.Table = sub.u8()
	sub.skip(1)
	s.DurationSec, s.DurationNsec = sub.u32(), sub.u32()
	s.Priority, s.IdleTimeout, s.HardTimeout = sub.u16(), sub.u16(), sub.u16()
	s.Flags, s.Importance = sub.u16(), sub.u16()
	sub.skip(2)
	s.Cookie, s.Packets, s.Bytes = sub.u64(), sub.u64(), sub.u64()
	s.Match = sub.match()
	s.Instructions = sub.instructions()
	if r.err == nil {
		r.err = sub.err
	}
	return s
}

// EncodedFlowMod is a FlowMod put together from the key and the body of a flow (see
// AppendKey and AppendBody): who keeps flows as those two strings need not keep the
// flows themselves.
type EncodedFlowMod struct {
	Command   Command
	Key, Body string
}

// The sizes of the fixed parts of keys and bodies.
const (
	keyFixed  = 3
	bodyFixed = 12
)

func (m *EncodedFlowMod) kind() uint8 { return typeFlowMod }

func (m *EncodedFlowMod) appendTo(b []byte) []byte {
	b = pad(append(b, m.Body[:8]...), 8)
	b = append(b, m.Key[0], uint8(m.Command))
	b = append(b, m.Body[8:bodyFixed]...)
	b = append(b, m.Key[1:keyFixed]...)
	b = put32(put32(put32(b, NoBuffer), PortAny), PortAny)
	b = pad(b, 4)
	b = append(b, m.Key[keyFixed:]...)
	if m.Command == Delete || m.Command == DeleteStrict {
		return b
	}
	return append(b, m.Body[bodyFixed:]...)
}

// FlowOf is the flow of a key and a body.
func FlowOf(key, body string) (Flow, error) {
	r := reader{b: []byte(key)}
	f := Flow{Table: r.u8(), Priority: r.u16(), Match: r.match()}
	if r.err != nil {
		return f, r.err
	}
	r = reader{b: []byte(body)}
	f.Cookie, f.IdleTimeout, f.HardTimeout = r.u64(), r.u16(), r.u16()
	f.Instructions = r.instructions()
	return f, r.err
}
