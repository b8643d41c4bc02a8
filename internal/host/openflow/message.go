package openflow

import (
	"encoding/binary"
	"fmt"
)

// Message is one of the message types of this package.
type Message interface {
	kind() uint8
	appendTo(b []byte) []byte
}

// Types of messages.
const (
	typeHello           = 0
	typeError           = 1
	typeEchoRequest     = 2
	typeEchoReply       = 3
	typeExperimenter    = 4
	typeFeaturesRequest = 5
	typeFeaturesReply   = 6
	typeSetConfig       = 9
	typePacketIn        = 10
	typeFlowRemoved     = 11
	typePortStatus      = 12
	typePacketOut       = 13
	typeFlowMod         = 14
	typeMultipartReq    = 18
	typeMultipartReply  = 19
	typeBarrierRequest  = 20
	typeBarrierReply    = 21
	typeBundleControl   = 33
	typeBundleAdd       = 34
)

// FirstFragmentMatches is a flag of SetConfig: the first fragment of an IP packet has its
// ports and ICMP type for flows to match, the others have zeroes. It is Open vSwitch's own.
const FirstFragmentMatches = 3

type (
	// Hello opens a connection; Versions is a bitmap, bit n for version byte n.
	// 0 means the version of the header and nothing else.
	Hello struct{ Versions uint32 }
	// Error answers a message that the switch refuses; Data begins with that message.
	Error struct {
		Type, Code uint16
		Data       []byte
	}
	// EchoRequest asks whether the other side is there.
	EchoRequest struct{ Data []byte }
	// EchoReply answers with the same data.
	EchoReply struct{ Data []byte }
	// FeaturesRequest asks which switch this is.
	FeaturesRequest struct{}
	// FeaturesReply says it.
	FeaturesReply struct {
		DatapathID   uint64
		Buffers      uint32
		Tables       uint8
		AuxiliaryID  uint8
		Capabilities uint32
	}
	// SetConfig sets how much of a missed packet the controller gets, and in Flags what
	// becomes of IP fragments.
	SetConfig struct{ Flags, MissSendLen uint16 }
	// BarrierRequest is answered when everything before it is done.
	BarrierRequest struct{}
	// BarrierReply answers it.
	BarrierReply struct{}
	// Unknown is a message of a type that this package does not know.
	Unknown struct {
		Type uint8
		Body []byte
	}
)

func (*Hello) kind() uint8           { return typeHello }
func (*Error) kind() uint8           { return typeError }
func (*EchoRequest) kind() uint8     { return typeEchoRequest }
func (*EchoReply) kind() uint8       { return typeEchoReply }
func (*FeaturesRequest) kind() uint8 { return typeFeaturesRequest }
func (*FeaturesReply) kind() uint8   { return typeFeaturesReply }
func (*SetConfig) kind() uint8       { return typeSetConfig }
func (*BarrierRequest) kind() uint8  { return typeBarrierRequest }
func (*BarrierReply) kind() uint8    { return typeBarrierReply }
func (m *Unknown) kind() uint8       { return m.Type }

func (m *Hello) appendTo(b []byte) []byte {
	if m.Versions == 0 {
		return b
	}
	return put32(put16(put16(b, 1), 8), m.Versions)
}
func (m *Error) appendTo(b []byte) []byte {
	return append(put16(put16(b, m.Type), m.Code), m.Data...)
}
func (m *EchoRequest) appendTo(b []byte) []byte     { return append(b, m.Data...) }
func (m *EchoReply) appendTo(b []byte) []byte       { return append(b, m.Data...) }
func (m *FeaturesRequest) appendTo(b []byte) []byte { return b }
func (m *BarrierRequest) appendTo(b []byte) []byte  { return b }
func (m *BarrierReply) appendTo(b []byte) []byte    { return b }
func (m *Unknown) appendTo(b []byte) []byte         { return append(b, m.Body...) }
func (m *SetConfig) appendTo(b []byte) []byte       { return put16(put16(b, m.Flags), m.MissSendLen) }
func (m *FeaturesReply) appendTo(b []byte) []byte {
	b = put32(put64(b, m.DatapathID), m.Buffers)
	b = pad(append(b, m.Tables, m.AuxiliaryID), 2)
	return put32(put32(b, m.Capabilities), 0)
}

// Error makes an answer of the switch a Go error.
func (m *Error) Error() string {
	return fmt.Sprintf("switch answered error type %d code %d%s", m.Type, m.Code, errorName(m.Type, m.Code))
}

// errorName names the errors that a controller of weft can meet.
func errorName(t, c uint16) string {
	kind := map[uint16]string{
		1: "bad request", 2: "bad action", 3: "bad instruction", 4: "bad match",
		5: "flow mod failed", 13: "table features failed", 17: "bundle failed", 0xffff: "experimenter",
	}[t]
	if kind == "" {
		return ""
	}
	code := map[[2]uint16]string{
		{1, 0}: "bad version", {1, 1}: "bad type", {1, 6}: "bad length", {2, 0}: "bad type",
		{2, 1}: "bad length", {2, 4}: "bad port", {2, 5}: "bad argument", {2, 10}: "match inconsistent",
		{4, 6}: "bad field", {4, 7}: "bad value", {4, 8}: "bad mask", {4, 9}: "bad prerequisite", {4, 10}: "duplicate field",
		{5, 1}: "table full", {5, 2}: "bad table", {17, 4}: "bad flags", {17, 7}: "message failed",
	}[[2]uint16{t, c}]
	if code != "" {
		kind += ": " + code
	}
	return " (" + kind + ")"
}

// Encode appends the message with its header.
func Encode(b []byte, xid uint32, m Message) []byte {
	start := len(b)
	b = append(b, Version, m.kind(), 0, 0)
	b = m.appendTo(put32(b, xid))
	setLen(b, start, 2)
	return b
}

// Length reads the length of a message from its header. It is an error if it is
// shorter than the header, or if there is no whole header.
func Length(header []byte) (int, error) {
	if len(header) < HeaderLen {
		return 0, errShort
	}
	n := int(binary.BigEndian.Uint16(header[2:]))
	if n < HeaderLen {
		return 0, fmt.Errorf("message of length %d", n)
	}
	return n, nil
}

// Decode reads one whole message. A Hello may be of any version; everything else
// must be of OpenFlow 1.4.
func Decode(b []byte) (xid uint32, m Message, err error) { return decode(b, 0) }

func decode(b []byte, depth int) (uint32, Message, error) {
	n, err := Length(b)
	if err != nil {
		return 0, nil, err
	}
	if n != len(b) {
		return 0, nil, fmt.Errorf("message of length %d in %d bytes", n, len(b))
	}
	version, kind := b[0], b[1]
	xid := binary.BigEndian.Uint32(b[4:])
	if version != Version && kind != typeHello && kind != typeError {
		return xid, nil, fmt.Errorf("message of version %d", version)
	}
	r := &reader{b: b[HeaderLen:]}
	m := r.message(version, kind, depth)
	if r.err != nil {
		return xid, nil, fmt.Errorf("message type %d: %w", kind, r.err)
	}
	return xid, m, nil
}

func (r *reader) message(version, kind uint8, depth int) Message {
	switch kind {
	case typeHello:
		return r.hello(version)
	case typeError:
		return &Error{Type: r.u16(), Code: r.u16(), Data: r.rest()}
	case typeEchoRequest:
		return &EchoRequest{Data: r.rest()}
	case typeEchoReply:
		return &EchoReply{Data: r.rest()}
	case typeExperimenter:
		return r.experimenter()
	case typeFeaturesRequest:
		return &FeaturesRequest{}
	case typeFeaturesReply:
		m := &FeaturesReply{DatapathID: r.u64(), Buffers: r.u32(), Tables: r.u8(), AuxiliaryID: r.u8()}
		r.skip(2)
		m.Capabilities = r.u32()
		return m
	case typeSetConfig:
		return &SetConfig{Flags: r.u16(), MissSendLen: r.u16()}
	case typePacketIn:
		return r.packetIn()
	case typeFlowRemoved:
		return r.flowRemoved()
	case typePortStatus:
		return r.portStatus()
	case typePacketOut:
		return r.packetOut()
	case typeFlowMod:
		return r.flowMod()
	case typeMultipartReq:
		return r.multipartRequest()
	case typeMultipartReply:
		return r.multipartReply()
	case typeBarrierRequest:
		return &BarrierRequest{}
	case typeBarrierReply:
		return &BarrierReply{}
	case typeBundleControl:
		return &BundleControl{ID: r.u32(), Type: BundleType(r.u16()), Flags: r.u16()}
	case typeBundleAdd:
		return r.bundleAdd(depth)
	}
	return &Unknown{Type: kind, Body: r.rest()}
}

func (r *reader) hello(version uint8) Message {
	m := &Hello{}
	for len(r.b) >= 4 && r.err == nil {
		kind, n := r.u16(), int(r.u16())
		body := r.take(n - 4)
		if kind == 1 && len(body) >= 4 {
			m.Versions = binary.BigEndian.Uint32(body)
		}
		// The padding after the last element may be absent.
		r.skip(min(padding(n), len(r.b)))
	}
	switch {
	case m.Versions != 0:
	case version < 32:
		m.Versions = 1 << version
	default:
		r.fail("hello of version %d", version)
	}
	return m
}
