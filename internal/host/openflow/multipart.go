package openflow

// Types of multipart messages.
const (
	multipartFlow      = 1
	multipartAggregate = 2
	multipartTable     = 3
	multipartPortStats = 4
	multipartPortDesc  = 13
)

// multipartMore is the flag of a reply that is not the last.
const multipartMore = 1

type (
	// FlowStatsRequest asks for flows.
	FlowStatsRequest struct {
		// Table is TableNone for all tables.
		Table              uint8
		OutPort, OutGroup  uint32
		Cookie, CookieMask uint64
		Match              Match
	}
	// FlowStatsReply is a part of the answer; More says that it is not the last.
	FlowStatsReply struct {
		More  bool
		Flows []FlowStats
	}
	// AggregateRequest asks how many flows there are of those that the request for them would get.
	AggregateRequest FlowStatsRequest
	// AggregateReply is the answer.
	AggregateReply struct {
		Packets, Bytes uint64
		Flows          uint32
	}
	// TableStatsRequest asks for the counters of all tables.
	TableStatsRequest struct{}
	// TableStatsReply is a part of the answer.
	TableStatsReply struct {
		More   bool
		Tables []TableStats
	}
	// TableStats are the counters of a table: how many flows are in it, and what it has been asked for.
	TableStats struct {
		Table            uint8
		Flows            uint32
		Lookups, Matched uint64
	}
	// PortStatsRequest asks for the counters of a port, or with PortAny of all.
	PortStatsRequest struct{ Port uint32 }
	// PortStatsReply is a part of the answer.
	PortStatsReply struct {
		More  bool
		Ports []PortStats
	}
	// PortDescRequest asks for the ports of the bridge.
	PortDescRequest struct{}
	// PortDescReply is a part of the answer.
	PortDescReply struct {
		More  bool
		Ports []PortDesc
	}
	// MultipartRequest is any other request.
	MultipartRequest struct {
		Type, Flags uint16
		Body        []byte
	}
	// MultipartReply is any other reply.
	MultipartReply struct {
		Type, Flags uint16
		Body        []byte
	}
)

// AllFlows asks for every flow of the bridge.
func AllFlows() *FlowStatsRequest {
	return &FlowStatsRequest{Table: TableNone, OutPort: PortAny, OutGroup: PortAny}
}

func (*FlowStatsRequest) kind() uint8  { return typeMultipartReq }
func (*AggregateRequest) kind() uint8  { return typeMultipartReq }
func (*TableStatsRequest) kind() uint8 { return typeMultipartReq }
func (*PortStatsRequest) kind() uint8  { return typeMultipartReq }
func (*PortDescRequest) kind() uint8   { return typeMultipartReq }
func (*MultipartRequest) kind() uint8  { return typeMultipartReq }
func (*FlowStatsReply) kind() uint8    { return typeMultipartReply }
func (*AggregateReply) kind() uint8    { return typeMultipartReply }
func (*TableStatsReply) kind() uint8   { return typeMultipartReply }
func (*PortStatsReply) kind() uint8    { return typeMultipartReply }
func (*PortDescReply) kind() uint8     { return typeMultipartReply }
func (*MultipartReply) kind() uint8    { return typeMultipartReply }

func multipart(b []byte, kind, flags uint16) []byte { return pad(put16(put16(b, kind), flags), 4) }

func moreFlag(more bool) uint16 {
	if more {
		return multipartMore
	}
	return 0
}

func (m *FlowStatsRequest) appendTo(b []byte) []byte { return m.appendAs(b, multipartFlow) }

func (m *AggregateRequest) appendTo(b []byte) []byte {
	return (*FlowStatsRequest)(m).appendAs(b, multipartAggregate)
}

func (m *AggregateReply) appendTo(b []byte) []byte {
	return pad(put32(put64(put64(multipart(b, multipartAggregate, 0), m.Packets), m.Bytes), m.Flows), 4)
}

func (m *FlowStatsRequest) appendAs(b []byte, kind uint16) []byte {
	b = pad(append(multipart(b, kind, 0), m.Table), 3)
	b = pad(put32(put32(b, m.OutPort), m.OutGroup), 4)
	return m.Match.appendTo(put64(put64(b, m.Cookie), m.CookieMask))
}

func (m *FlowStatsReply) appendTo(b []byte) []byte {
	b = multipart(b, multipartFlow, moreFlag(m.More))
	for i := range m.Flows {
		b = m.Flows[i].appendTo(b)
	}
	return b
}

func (m *TableStatsRequest) appendTo(b []byte) []byte { return multipart(b, multipartTable, 0) }

func (m *TableStatsReply) appendTo(b []byte) []byte {
	b = multipart(b, multipartTable, moreFlag(m.More))
	for _, t := range m.Tables {
		b = put64(put64(put32(pad(append(b, t.Table), 3), t.Flows), t.Lookups), t.Matched)
	}
	return b
}

func (m *PortStatsRequest) appendTo(b []byte) []byte {
	return pad(put32(multipart(b, multipartPortStats, 0), m.Port), 4)
}

func (m *PortStatsReply) appendTo(b []byte) []byte {
	b = multipart(b, multipartPortStats, moreFlag(m.More))
	for i := range m.Ports {
		b = m.Ports[i].appendTo(b)
	}
	return b
}

func (m *PortDescRequest) appendTo(b []byte) []byte { return multipart(b, multipartPortDesc, 0) }

func (m *PortDescReply) appendTo(b []byte) []byte {
	b = multipart(b, multipartPortDesc, moreFlag(m.More))
	for i := range m.Ports {
		b = m.Ports[i].appendTo(b)
	}
	return b
}

func (m *MultipartRequest) appendTo(b []byte) []byte {
	return append(multipart(b, m.Type, m.Flags), m.Body...)
}

func (m *MultipartReply) appendTo(b []byte) []byte {
	return append(multipart(b, m.Type, m.Flags), m.Body...)
}

func (r *reader) multipartRequest() Message {
	kind, flags := r.u16(), r.u16()
	r.skip(4)
	switch kind {
	case multipartFlow, multipartAggregate:
		m := &FlowStatsRequest{Table: r.u8()}
		r.skip(3)
		m.OutPort, m.OutGroup = r.u32(), r.u32()
		r.skip(4)
		m.Cookie, m.CookieMask = r.u64(), r.u64()
		m.Match = r.match()
		if kind == multipartAggregate {
			return (*AggregateRequest)(m)
		}
		return m
	case multipartTable:
		return &TableStatsRequest{}
	case multipartPortStats:
		m := &PortStatsRequest{Port: r.u32()}
		r.skip(4)
		return m
	case multipartPortDesc:
		return &PortDescRequest{}
	}
	return &MultipartRequest{Type: kind, Flags: flags, Body: r.rest()}
}

func (r *reader) multipartReply() Message {
	kind, flags := r.u16(), r.u16()
	r.skip(4)
	more := flags&multipartMore != 0
	switch kind {
	case multipartFlow:
		m := &FlowStatsReply{More: more}
		for r.err == nil && len(r.b) > 0 {
			m.Flows = append(m.Flows, r.flowStats())
		}
		return m
	case multipartAggregate:
		m := &AggregateReply{Packets: r.u64(), Bytes: r.u64(), Flows: r.u32()}
		r.skip(4)
		return m
	case multipartTable:
		m := &TableStatsReply{More: more}
		for r.err == nil && len(r.b) > 0 {
			t := TableStats{Table: r.u8()}
			r.skip(3)
			t.Flows, t.Lookups, t.Matched = r.u32(), r.u64(), r.u64()
			m.Tables = append(m.Tables, t)
		}
		return m
	case multipartPortStats:
		m := &PortStatsReply{More: more}
		for r.err == nil && len(r.b) > 0 {
			m.Ports = append(m.Ports, r.portStats())
		}
		return m
	case multipartPortDesc:
		m := &PortDescReply{More: more}
		for r.err == nil && len(r.b) > 0 {
			m.Ports = append(m.Ports, r.portDesc())
		}
		return m
	}
	return &MultipartReply{Type: kind, Flags: flags, Body: r.rest()}
}
