package openflow

import "bytes"

// PortDesc describes one port of a bridge.
type PortDesc struct {
	Number uint32
	MAC    [6]byte
	Name   string
	// Config bit 0 and State bit 0 say that the port, or its link, is down. See also PortNoReceive, PortNoForward.
	Config, State uint32
	// Properties are kept as they came.
	Properties []byte
}

// Bits of Config (OpenFlow 1.4, 7.2.1): what comes in from the port is dropped; what is to go out at it is.
const (
	PortNoReceive uint32 = 1 << 2
	PortNoForward uint32 = 1 << 5
)

// portLen is the length of a port without properties.
const portLen = 40

func (p *PortDesc) appendTo(b []byte) []byte {
	start := len(b)
	b = pad(put16(put32(b, p.Number), 0), 2)
	b = pad(append(b, p.MAC[:]...), 2)
	var name [16]byte
	copy(name[:15], p.Name)
	b = put32(put32(append(b, name[:]...), p.Config), p.State)
	b = append(b, p.Properties...)
	setLen(b, start, 4)
	return b
}

func (r *reader) portDesc() PortDesc {
	p := PortDesc{Number: r.u32()}
	n := int(r.u16())
	if r.err == nil && n < portLen {
		r.fail("port of length %d", n)
	}
	sub := r.sub(n - 6)
	sub.skip(2)
	copy(p.MAC[:], sub.take(6))
	sub.skip(2)
	name, _, _ := bytes.Cut(sub.take(16), []byte{0})
	p.Name = string(name)
	p.Config, p.State = sub.u32(), sub.u32()
	p.Properties = sub.rest()
	if r.err == nil {
		r.err = sub.err
	}
	return p
}

// PortStats are the counters of one port.
type PortStats struct {
	Number                    uint32
	DurationSec, DurationNsec uint32
	RxPackets, TxPackets      uint64
	RxBytes, TxBytes          uint64
	RxDropped, TxDropped      uint64
	RxErrors, TxErrors        uint64
	// Properties are kept as they came.
	Properties []byte
}

// portStatsLen is the length of the counters of a port without properties.
const portStatsLen = 80

func (p *PortStats) appendTo(b []byte) []byte {
	start := len(b)
	b = put32(pad(put16(b, 0), 2), p.Number)
	b = put32(put32(b, p.DurationSec), p.DurationNsec)
	for _, n := range []uint64{p.RxPackets, p.TxPackets, p.RxBytes, p.TxBytes, p.RxDropped, p.TxDropped, p.RxErrors, p.TxErrors} {
		b = put64(b, n)
	}
	b = append(b, p.Properties...)
	setLen(b, start, 0)
	return b
}

func (r *reader) portStats() PortStats {
	n := int(r.u16())
	if r.err == nil && n < portStatsLen {
		r.fail("counters of length %d", n)
	}
	sub := r.sub(n - 2)
	sub.skip(2)
	p := PortStats{Number: sub.u32(), DurationSec: sub.u32(), DurationNsec: sub.u32()}
	for _, to := range []*uint64{&p.RxPackets, &p.TxPackets, &p.RxBytes, &p.TxBytes, &p.RxDropped, &p.TxDropped, &p.RxErrors, &p.TxErrors} {
		*to = sub.u64()
	}
	p.Properties = sub.rest()
	if r.err == nil {
		r.err = sub.err
	}
	return p
}

// PortStatus tells that a port was added, deleted or modified.
type PortStatus struct {
	// Reason is 0 added, 1 deleted, 2 modified.
	Reason uint8
	Port   PortDesc
}

func (*PortStatus) kind() uint8 { return typePortStatus }

func (m *PortStatus) appendTo(b []byte) []byte {
	return m.Port.appendTo(pad(append(b, m.Reason), 7))
}

func (r *reader) portStatus() Message {
	m := &PortStatus{Reason: r.u8()}
	r.skip(7)
	m.Port = r.portDesc()
	return m
}

// PacketIn brings a packet to the controller.
type PacketIn struct {
	BufferID uint32
	TotalLen uint16
	Reason   uint8
	Table    uint8
	Cookie   uint64
	Match    Match
	Data     []byte
}

func (*PacketIn) kind() uint8 { return typePacketIn }

func (m *PacketIn) appendTo(b []byte) []byte {
	b = put16(put32(b, m.BufferID), m.TotalLen)
	b = put64(append(b, m.Reason, m.Table), m.Cookie)
	return append(pad(m.Match.appendTo(b), 2), m.Data...)
}

func (r *reader) packetIn() Message {
	m := &PacketIn{BufferID: r.u32(), TotalLen: r.u16(), Reason: r.u8(), Table: r.u8(), Cookie: r.u64()}
	m.Match = r.match()
	r.skip(2)
	m.Data = r.rest()
	return m
}

// PacketOut sends a packet through actions.
type PacketOut struct {
	BufferID uint32
	InPort   uint32
	Actions  []Action
	Data     []byte
}

func (*PacketOut) kind() uint8 { return typePacketOut }

func (m *PacketOut) appendTo(b []byte) []byte {
	b = put32(put32(b, m.BufferID), m.InPort)
	acts := appendActions(nil, m.Actions)
	b = pad(put16(b, uint16(len(acts))), 6)
	return append(append(b, acts...), m.Data...)
}

func (r *reader) packetOut() Message {
	m := &PacketOut{BufferID: r.u32(), InPort: r.u32()}
	n := int(r.u16())
	r.skip(6)
	sub := r.sub(n)
	m.Actions = sub.actions(0)
	if r.err == nil {
		r.err = sub.err
	}
	m.Data = r.rest()
	return m
}

// FlowRemoved tells that a flow timed out or was deleted.
type FlowRemoved struct {
	Cookie                    uint64
	Priority                  uint16
	Reason, Table             uint8
	DurationSec, DurationNsec uint32
	IdleTimeout, HardTimeout  uint16
	Packets, Bytes            uint64
	Match                     Match
}

func (*FlowRemoved) kind() uint8 { return typeFlowRemoved }

func (m *FlowRemoved) appendTo(b []byte) []byte {
	b = append(put16(put64(b, m.Cookie), m.Priority), m.Reason, m.Table)
	b = put32(put32(b, m.DurationSec), m.DurationNsec)
	b = put16(put16(b, m.IdleTimeout), m.HardTimeout)
	return m.Match.appendTo(put64(put64(b, m.Packets), m.Bytes))
}

func (r *reader) flowRemoved() Message {
	m := &FlowRemoved{Cookie: r.u64(), Priority: r.u16(), Reason: r.u8(), Table: r.u8()}
	m.DurationSec, m.DurationNsec = r.u32(), r.u32()
	m.IdleTimeout, m.HardTimeout = r.u16(), r.u16()
	m.Packets, m.Bytes = r.u64(), r.u64()
	m.Match = r.match()
	return m
}
