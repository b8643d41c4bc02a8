package openflow

// niciraVendor is the experimenter number of Nicira's extensions.
const niciraVendor = 0x00002320

// Subtypes of Nicira's actions.
const (
	nxResubmit      = 1
	nxRegMove       = 6
	nxRegLoad       = 7
	nxResubmitTable = 14
	nxOutputReg     = 15
	nxLearn         = 16
	nxConjunction   = 34
	nxCT            = 35
	nxCTClear       = 43
)

// nxCTFlushZone is the subtype of the message FlushZone.
const nxCTFlushZone = 29

// FlushZone makes the switch forget every connection of a conntrack zone.
type FlushZone struct{ Zone uint16 }

func (*FlushZone) kind() uint8 { return typeExperimenter }

func (m *FlushZone) appendTo(b []byte) []byte {
	return put16(pad(put32(put32(b, niciraVendor), nxCTFlushZone), 6), m.Zone)
}

// experimenter reads a message of somebody's extensions.
func (r *reader) experimenter() Message {
	whole := *r
	if r.u32() == niciraVendor && r.u32() == nxCTFlushZone && len(r.b) == 8 {
		r.skip(6)
		return &FlushZone{Zone: r.u16()}
	}
	*r = whole
	return &Unknown{Type: typeExperimenter, Body: r.rest()}
}

// CTCommit is the flag of CT that enters the connection into the table.
const CTCommit = 1

type (
	// Resubmit looks the packet up again in Table as if it came from InPort
	// (0xfff8: unchanged), and comes back.
	Resubmit struct {
		InPort uint16
		Table  uint8
	}
	// Move copies NBits bits of one field to another.
	Move struct {
		Src, Dst              Field
		SrcOfs, DstOfs, NBits uint16
	}
	// Load writes NBits bits of a field, from bit Ofs.
	Load struct {
		Dst        Field
		Ofs, NBits uint16
		Value      uint64
	}
	// OutputReg sends the packet to the port whose number is NBits bits of a field.
	OutputReg struct {
		Src        Field
		Ofs, NBits uint16
	}
	// Conjunction is one clause (from 0) of Of.
	Conjunction struct {
		Clause, Of uint8
		ID         uint32
	}
	// CT sends the packet through connection tracking.
	CT struct {
		// Flags is CTCommit or 0 (2 is "force").
		Flags uint16
		// ZoneSrc is the field of which NBits bits from Ofs are the zone; 0 means Zone.
		ZoneSrc    Field
		Ofs, NBits uint16
		Zone       uint16
		// Table is where the packet goes on; TableNone means nowhere.
		Table   uint8
		Alg     uint16
		Actions []Action
	}
	// CTClear forgets what connection tracking said.
	CTClear struct{}
	// Learn adds a flow made of Specs and the packet.
	Learn struct {
		IdleTimeout, HardTimeout uint16
		Priority                 uint16
		Cookie                   uint64
		Flags                    uint16
		Table                    uint8
		FinIdle, FinHard         uint16
		Specs                    []LearnSpec
	}
)

// LearnSpec is one part of the learned flow.
type LearnSpec struct {
	Dst LearnDst
	// NBits are matched, loaded or output.
	NBits uint16
	// Src is the field to copy from; 0 means the constant Imm.
	Src    Field
	SrcOfs uint16
	Imm    Value
	// Field and Ofs say what is matched or loaded; unused for LearnOutput.
	Field Field
	Ofs   uint16
}

// LearnDst is what a LearnSpec becomes in the learned flow.
type LearnDst uint8

// The kinds of LearnSpec, as on the wire.
const (
	LearnMatch LearnDst = iota
	LearnLoad
	LearnOutput
)

// Bits of the header of a LearnSpec.
const (
	learnImmediate = 1 << 13
	learnDstShift  = 11
	learnNBits     = 1<<11 - 1
)

// nx begins an action of Nicira of the given whole length.
func nx(b []byte, subtype, length uint16) []byte {
	b = put16(put16(b, actExperimenter), length)
	return put16(put32(b, niciraVendor), subtype)
}

// ofsNBits packs a range of bits the way Nicira does: offset, then width less one in six bits.
func ofsNBits(ofs, n uint16) uint16 { return ofs<<6 | (n-1)&0x3f }

func (a Resubmit) appendTo(b []byte) []byte {
	b = put16(nx(b, nxResubmitTable, 16), a.InPort)
	return pad(append(b, a.Table), 3)
}

func (a Move) appendTo(b []byte) []byte {
	b = put16(put16(put16(nx(b, nxRegMove, 24), a.NBits), a.SrcOfs), a.DstOfs)
	return put32(put32(b, uint32(a.Src)), uint32(a.Dst))
}

func (a Load) appendTo(b []byte) []byte {
	b = put16(nx(b, nxRegLoad, 24), ofsNBits(a.Ofs, a.NBits))
	return put64(put32(b, uint32(a.Dst)), a.Value)
}

func (a OutputReg) appendTo(b []byte) []byte {
	b = put32(put16(nx(b, nxOutputReg, 24), ofsNBits(a.Ofs, a.NBits)), uint32(a.Src))
	return pad(put16(b, 0xffff), 6) // max_len counts only for the controller
}

func (a Conjunction) appendTo(b []byte) []byte {
	return put32(append(nx(b, nxConjunction, 16), a.Clause, a.Of), a.ID)
}

func (a CT) appendTo(b []byte) []byte {
	start := len(b)
	b = put16(nx(b, nxCT, 0), a.Flags)
	if a.ZoneSrc != 0 {
		b = put16(put32(b, uint32(a.ZoneSrc)), ofsNBits(a.Ofs, a.NBits))
	} else {
		b = put16(put32(b, 0), a.Zone)
	}
	b = put16(pad(append(b, a.Table), 3), a.Alg)
	b = appendActions(b, a.Actions)
	setLen(b, start, 2)
	return b
}

func (a CTClear) appendTo(b []byte) []byte { return pad(nx(b, nxCTClear, 16), 6) }

func (a Learn) appendTo(b []byte) []byte {
	start := len(b)
	b = put16(put16(put16(nx(b, nxLearn, 0), a.IdleTimeout), a.HardTimeout), a.Priority)
	b = put16(put64(b, a.Cookie), a.Flags)
	b = put16(put16(append(b, a.Table, 0), a.FinIdle), a.FinHard)
	for i := range a.Specs {
		b = a.Specs[i].appendTo(b)
	}
	b = pad8(b, start)
	setLen(b, start, 2)
	return b
}

func (s *LearnSpec) appendTo(b []byte) []byte {
	h := uint16(s.Dst)<<learnDstShift | s.NBits&learnNBits
	if s.Src != 0 {
		b = put16(put32(put16(b, h), uint32(s.Src)), s.SrcOfs)
	} else {
		b = s.Imm.appendTo(put16(b, h|learnImmediate), immLen(s.NBits))
	}
	if s.Dst == LearnOutput {
		return b
	}
	return put16(put32(b, uint32(s.Field)), s.Ofs)
}

// immLen is how many bytes a constant of n bits takes inside learn: whole 16-bit words.
func immLen(n uint16) int { return 2 * ((int(n) + 15) / 16) }

// niciraAction reads the action after its type and length; nil means that it is
// none that this package has a type for.
func (r *reader) niciraAction(depth int) Action {
	if r.u32() != niciraVendor {
		return nil
	}
	switch r.u16() {
	case nxResubmit:
		return Resubmit{InPort: r.u16(), Table: TableNone}
	case nxResubmitTable:
		return Resubmit{InPort: r.u16(), Table: r.u8()}
	case nxRegMove:
		a := Move{NBits: r.u16(), SrcOfs: r.u16(), DstOfs: r.u16()}
		a.Src, a.Dst = Field(r.u32()), Field(r.u32())
		return a
	case nxRegLoad:
		on := r.u16()
		return Load{Ofs: on >> 6, NBits: on&0x3f + 1, Dst: Field(r.u32()), Value: r.u64()}
	case nxOutputReg:
		on := r.u16()
		return OutputReg{Ofs: on >> 6, NBits: on&0x3f + 1, Src: Field(r.u32())}
	case nxConjunction:
		return Conjunction{Clause: r.u8(), Of: r.u8(), ID: r.u32()}
	case nxCTClear:
		return CTClear{}
	case nxCT:
		return r.ct(depth)
	case nxLearn:
		return r.learn()
	}
	return nil
}

func (r *reader) ct(depth int) Action {
	if depth >= maxNesting {
		r.fail("actions nested deeper than %d", maxNesting)
		return nil
	}
	a := CT{Flags: r.u16(), ZoneSrc: Field(r.u32())}
	zone := r.u16()
	if a.ZoneSrc != 0 {
		a.Ofs, a.NBits = zone>>6, zone&0x3f+1
	} else {
		a.Zone = zone
	}
	a.Table = r.u8()
	r.skip(3)
	a.Alg = r.u16()
	a.Actions = r.actions(depth + 1)
	return a
}

func (r *reader) learn() Action {
	a := Learn{IdleTimeout: r.u16(), HardTimeout: r.u16(), Priority: r.u16(), Cookie: r.u64(), Flags: r.u16()}
	a.Table = r.u8()
	r.skip(1)
	a.FinIdle, a.FinHard = r.u16(), r.u16()
	for r.err == nil && len(r.b) >= 2 {
		h := r.u16()
		if h == 0 {
			break // padding
		}
		a.Specs = append(a.Specs, r.learnSpec(h))
	}
	return a
}

func (r *reader) learnSpec(h uint16) LearnSpec {
	s := LearnSpec{Dst: LearnDst(h >> learnDstShift & 3), NBits: h & learnNBits}
	if h&learnImmediate != 0 {
		b := r.take(immLen(s.NBits))
		if len(b) > 16 {
			r.fail("learn: constant of %d bits", s.NBits)
			return s
		}
		s.Imm = valueOf(b)
	} else {
		if s.Src = Field(r.u32()); s.Src == 0 {
			r.fail("learn: source field 0")
		}
		s.SrcOfs = r.u16()
	}
	switch {
	case h>>14 != 0 || s.Dst > LearnOutput:
		r.fail("learn: header %#04x", h)
	case s.Dst != LearnOutput:
		s.Field, s.Ofs = Field(r.u32()), r.u16()
	}
	return s
}

func (a Resubmit) canonicalize() Action    { return a }
func (a Conjunction) canonicalize() Action { return a }
func (a OutputReg) canonicalize() Action {
	a.Src = a.Src.canonical()
	return a
}
func (a CTClear) canonicalize() Action { return a }

func (a Move) canonicalize() Action {
	a.Src, a.Dst = a.Src.canonical(), a.Dst.canonical()
	return a
}

func (a Load) canonicalize() Action {
	a.Dst = a.Dst.canonical()
	return a
}

func (a CT) canonicalize() Action {
	a.ZoneSrc = a.ZoneSrc.canonical()
	for i := range a.Actions {
		a.Actions[i] = a.Actions[i].canonicalize()
	}
	return a
}

func (a Learn) canonicalize() Action {
	for i := range a.Specs {
		s := &a.Specs[i]
		s.Src, s.Field = s.Src.canonical(), s.Field.canonical()
	}
	return a
}
