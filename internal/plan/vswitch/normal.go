package vswitch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// NoTable is the recirculation table of a CT that does not recirculate.
const NoTable = 255

// Key identifies a flow: two flows with one Key cannot both be in a switch. It is comparable.
type Key struct {
	Table    uint8
	Priority uint16
	// Match is the match in a private binary form.
	Match string
}

// Key returns the identity of f, which must be normal (see Normalize).
func (f Flow) Key() Key {
	b := make([]byte, 0, len(f.Match)*12)
	for _, m := range f.Match {
		b = append(b, byte(m.Field))
		b = appendValue(b, m.Field, m.Value)
		if full := m.Field.AllOnes(); m.Mask != full {
			// A second entry of the same field number cannot follow, so the
			// length of each entry is known to a reader.
			b = append(b, byte(m.Field)|0x80)
			b = appendValue(b, m.Field, m.Mask)
		}
	}
	return Key{f.Table, f.Priority, string(b)}
}

func appendValue(b []byte, f Field, v Value) []byte {
	switch w := f.Width(); {
	case w > 64:
		b = binary.BigEndian.AppendUint64(b, v.Hi)
		return binary.BigEndian.AppendUint64(b, v.Lo)
	case w > 32:
		return binary.BigEndian.AppendUint64(b, v.Lo)
	default:
		return binary.BigEndian.AppendUint32(b, uint32(v.Lo))
	}
}

// Normalize returns f in the one form in which equal flows are equal values: match
// fields sorted with the bits outside the mask zero and empty masks gone; whole-field
// loads written as set_field; reserved output ports written as their own actions.
// ParseFlow and NewFlow return normal flows. f is not changed.
func (f Flow) Normalize() Flow {
	match := make([]FieldMatch, 0, len(f.Match))
	for _, m := range f.Match {
		m.Mask = m.Mask.and(m.Field.AllOnes())
		if m.Mask.isZero() {
			continue
		}
		m.Value = m.Value.and(m.Mask)
		match = append(match, m)
	}
	slices.SortFunc(match, func(a, b FieldMatch) int { return cmp.Compare(a.Field, b.Field) })
	f.Match = nil
	if len(match) > 0 {
		f.Match = match
	}
	f.Actions = normalActions(f.Actions)
	return f
}

func normalActions(in []Action) []Action {
	if len(in) == 0 {
		return nil
	}
	out := make([]Action, len(in))
	for i, a := range in {
		out[i] = normalAction(a)
	}
	return out
}

func normalAction(a Action) Action {
	switch a := a.(type) {
	case Output:
		switch a.Port {
		case PortInPort:
			return InPort{}
		case PortNormal:
			return Normal{}
		}
		return a
	case Load:
		a.Value = a.Value.and(ones(min(a.NBits, 64)))
		if a.Ofs == 0 && a.NBits == a.Field.Width() && a.Field != VLANVID {
			return SetField{a.Field, a.Value}
		}
		return a
	case SetField:
		a.Value = a.Value.and(a.Field.AllOnes())
		if a.Field == VLANVID {
			a.Value.Lo |= VLANPresent
		}
		return a
	case CT:
		if a.ZoneField != FieldNone {
			a.Zone = 0
		}
		a.Exec = normalActions(a.Exec)
		return a
	case Learn:
		a.Specs = slices.Clone(a.Specs)
		for i, s := range a.Specs {
			if s.Src != FieldNone {
				s.Imm = 0
			} else {
				s.SrcOfs, s.Imm = 0, s.Imm&ones(min(s.NBits, 64)).Lo
			}
			if s.Kind == LearnOutput {
				s.Dst, s.DstOfs = FieldNone, 0
			}
			a.Specs[i] = s
		}
		return a
	}
	return a
}

// Equal reports whether two normal flows are the same in every respect, cookie included.
func (f Flow) Equal(g Flow) bool {
	return f.Table == g.Table && f.Priority == g.Priority && f.Cookie == g.Cookie &&
		f.HardTimeout == g.HardTimeout && slices.Equal(f.Match, g.Match) && EqualActions(f.Actions, g.Actions)
}

// EqualActions reports whether two normal action lists are the same.
func EqualActions(a, b []Action) bool { return slices.EqualFunc(a, b, equalAction) }

func equalAction(a, b Action) bool {
	switch a := a.(type) {
	case CT:
		b, ok := b.(CT)
		return ok && a.Commit == b.Commit && a.Table == b.Table && a.ZoneField == b.ZoneField &&
			a.Zone == b.Zone && EqualActions(a.Exec, b.Exec)
	case Learn:
		b, ok := b.(Learn)
		return ok && a.Table == b.Table && a.Priority == b.Priority && a.HardTimeout == b.HardTimeout &&
			a.Cookie == b.Cookie && slices.Equal(a.Specs, b.Specs)
	}
	switch b.(type) {
	case CT, Learn: // not comparable with ==
		return false
	}
	return a == b
}

// Compare orders flows by table, descending priority, match as printed fields, cookie.
// Only flows that differ in neither key nor cookie compare equal.
func Compare(a, b Flow) int {
	if c := cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority)); c != 0 {
		return c
	}
	if c := slices.CompareFunc(a.Match, b.Match, compareMatch); c != 0 {
		return c
	}
	return cmp.Compare(a.Cookie, b.Cookie)
}

func compareMatch(a, b FieldMatch) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Value.Hi, b.Value.Hi), cmp.Compare(a.Value.Lo, b.Value.Lo),
		cmp.Compare(b.Mask.Hi, a.Mask.Hi), cmp.Compare(b.Mask.Lo, a.Mask.Lo))
}

// Sort sorts flows by Compare, in place. The sort is stable.
func Sort(flows []Flow) { slices.SortStableFunc(flows, Compare) }

// Unique drops, from a sorted list, every flow whose Key an earlier flow has.
func Unique(flows []Flow) []Flow {
	return slices.CompactFunc(flows, func(a, b Flow) bool {
		return a.Table == b.Table && a.Priority == b.Priority && slices.Equal(a.Match, b.Match)
	})
}

// Check says why OVS would refuse f, or nil: a field twice, a missing prerequisite, a
// mask where none may be, a value too wide, goto_table before the end.
func (f Flow) Check() error {
	var by [numFields]*FieldMatch
	for i, m := range f.Match {
		if m.Field == FieldNone || m.Field >= numFields {
			return fmt.Errorf("field number %d is unknown", m.Field)
		}
		all := m.Field.AllOnes()
		switch {
		case by[m.Field] != nil:
			return fmt.Errorf("%s is matched twice", m.Field.MatchName())
		case m.Field == VLANTCI:
			return errors.New("vlan_tci with priority bits cannot be matched")
		case m.Mask != m.Mask.and(all) || m.Value != m.Value.and(all):
			return fmt.Errorf("%s does not fit in %d bits", m.Field.MatchName(), m.Field.Width())
		case m.Mask != all && !m.Field.Info().Maskable:
			return fmt.Errorf("%s cannot be masked", m.Field.MatchName())
		case m.Field == CTState && m.Mask.Lo>>len(ctFlags) != 0:
			return errors.New("ct_state has unknown flags")
		}
		by[m.Field] = &f.Match[i]
	}
	for _, m := range f.Match {
		if !holds(m.Field.Info().Prereq, &by) {
			return fmt.Errorf("%s needs a match that makes it exist", m.Field.MatchName())
		}
	}
	return checkActions(f.Actions)
}

func holds(p Prereq, by *[numFields]*FieldMatch) bool {
	is := func(f Field, vs ...uint64) bool {
		return by[f] != nil && slices.Contains(vs, by[f].Value.Lo)
	}
	switch p {
	case NeedIP:
		return is(EthType, TypeIPv4, TypeIPv6)
	case NeedIPv4:
		return is(EthType, TypeIPv4)
	case NeedIPv6:
		return is(EthType, TypeIPv6)
	case NeedARP:
		return is(EthType, TypeARP, TypeRARP)
	case NeedTCP:
		return holds(NeedIP, by) && is(IPProto, ProtoTCP)
	case NeedUDP:
		return holds(NeedIP, by) && is(IPProto, ProtoUDP)
	case NeedSCTP:
		return holds(NeedIP, by) && is(IPProto, ProtoSCTP)
	case NeedICMP:
		return holds(NeedIPv4, by) && is(IPProto, ProtoICMP)
	case NeedICMPv6:
		return holds(NeedIPv6, by) && is(IPProto, ProtoICMPv6)
	case NeedND:
		return holds(NeedICMPv6, by) && is(ICMPv6Type, 135, 136)
	case NeedNS:
		return holds(NeedICMPv6, by) && is(ICMPv6Type, 135)
	case NeedNA:
		return holds(NeedICMPv6, by) && is(ICMPv6Type, 136)
	}
	return true
}

func checkActions(actions []Action) error {
	for i, a := range actions {
		switch a := a.(type) {
		case GotoTable:
			if i != len(actions)-1 {
				return errors.New("goto_table is not the last action")
			}
		case Load:
			if a.NBits == 0 || a.NBits > 64 || int(a.Ofs)+int(a.NBits) > int(a.Field.Width()) {
				return fmt.Errorf("%s: no such bits", a)
			}
		case Move:
			if a.NBits == 0 || int(a.SrcOfs)+int(a.NBits) > int(a.Src.Width()) || int(a.DstOfs)+int(a.NBits) > int(a.Dst.Width()) {
				return fmt.Errorf("%s: no such bits", a)
			}
		case CT:
			for _, e := range a.Exec {
				if s, ok := e.(SetField); !ok || s.Field != CTMark {
					return fmt.Errorf("%s cannot be in exec()", e)
				}
			}
			if a.ZoneField != FieldNone && a.ZoneField.Width() < 16 {
				return fmt.Errorf("%s is too narrow for a zone", a.ZoneField)
			}
		case OutputReg:
			if a.Field < Reg0 || a.Field > Reg7 {
				return fmt.Errorf("%s is no register", a.Field)
			}
		case Conjunction:
			if a.Of < 2 || a.Of > 64 || a.Clause < 1 || a.Clause > a.Of {
				return fmt.Errorf("%s: clauses run from 1 to 64", a)
			}
		case Learn:
			for _, s := range a.Specs {
				if err := s.check(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s LearnSpec) check() error {
	bad := s.NBits == 0
	if s.Src != FieldNone {
		bad = bad || int(s.SrcOfs)+int(s.NBits) > int(s.Src.Width())
	} else {
		bad = bad || s.NBits > 64 || s.Kind == LearnOutput
	}
	if s.Kind != LearnOutput {
		bad = bad || int(s.DstOfs)+int(s.NBits) > int(s.Dst.Width())
	}
	if bad {
		return fmt.Errorf("learn: %s: no such bits", s)
	}
	return nil
}
