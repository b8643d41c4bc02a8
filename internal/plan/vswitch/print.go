package vswitch

import (
	"fmt"
	"strconv"
	"strings"
)

// printOrder is the order in which OVS prints match fields. EthType and IPProto
// usually vanish in a shorthand, which is printed before the registers.
var printOrder = []Field{
	ConjID, CTState, CTZone, CTMark,
	EthType, // shorthand
	Reg0, Reg1, Reg2, Reg3, Reg4, Reg5, Reg6, Reg7,
	TunID, InPortField, VLANVID, VLANTCI, EthSrc, EthDst,
	IPv4Src, IPv6Src, IPv4Dst, IPv6Dst, ARPSPA, ARPTPA, IPProto, ARPOp, ARPSHA, ARPTHA,
	ICMPType, ICMPCode, ICMPv6Type, ICMPv6Code, NDTarget, NDSLL, NDTLL, NDReserved, NDOptionsType,
	TCPSrc, UDPSrc, SCTPSrc, TCPDst, UDPDst, SCTPDst,
}

// String prints f in ovs-ofctl syntax, as dump-flows --no-stats would but for the
// table, which is always named.
func (f Flow) String() string {
	var b strings.Builder
	if f.Cookie != 0 {
		fmt.Fprintf(&b, "cookie=0x%x, ", f.Cookie)
	}
	b.WriteString("table=")
	b.WriteString(strconv.Itoa(int(f.Table)))
	b.WriteString(", ")
	if f.HardTimeout != 0 {
		fmt.Fprintf(&b, "hard_timeout=%d, ", f.HardTimeout)
	}
	b.WriteString("priority=")
	b.WriteString(strconv.Itoa(int(f.Priority)))
	if m := MatchString(f.Match); m != "" {
		b.WriteByte(',')
		b.WriteString(m)
	}
	b.WriteString(" actions=")
	b.WriteString(ActionsString(f.Actions))
	return b.String()
}

// ActionsString prints an action list; an empty one is "drop".
func ActionsString(actions []Action) string {
	if len(actions) == 0 {
		return "drop"
	}
	var b strings.Builder
	for i, a := range actions {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(a.String())
	}
	return b.String()
}

// MatchString prints a match in ovs-ofctl syntax; the empty string matches everything.
func MatchString(match []FieldMatch) string {
	var by [numFields]*FieldMatch
	for i := range match {
		if f := match[i].Field; f < numFields {
			by[f] = &match[i]
		}
	}
	var parts []string
	tail := "" // dl_type that has no shorthand comes after dl_dst
	if t := by[EthType]; t != nil {
		p := by[IPProto]
		s, ok := shorthand{}, false
		if p != nil && p.Value.Lo != 0 {
			s, ok = shorthandFor(t.Value.Lo, p.Value.Lo)
		}
		if ok {
			by[IPProto] = nil
		} else {
			s, ok = shorthandFor(t.Value.Lo, 0)
		}
		if !ok {
			tail = "dl_type=" + formatValue(EthType, t.Value)
		}
		for _, f := range printOrder[:4] {
			parts = appendMatch(parts, by[f])
		}
		if ok {
			parts = append(parts, s.word)
		}
		by[ConjID], by[CTState], by[CTZone], by[CTMark] = nil, nil, nil, nil
	}
	for _, f := range printOrder {
		if f != EthType {
			parts = appendMatch(parts, by[f])
		}
		if f == EthDst && tail != "" {
			parts = append(parts, tail)
		}
	}
	return strings.Join(parts, ",")
}

func appendMatch(parts []string, m *FieldMatch) []string {
	if m == nil {
		return parts
	}
	return append(parts, m.String())
}

// String prints one match field: nw_src=10.0.0.0/24.
func (m FieldMatch) String() string {
	f, i := m.Field, m.Field.Info()
	full := m.Mask == ones(i.Width)
	switch {
	case i.Format == VLAN:
		if full && m.Value.Lo&VLANPresent != 0 {
			return "dl_vlan=" + strconv.FormatUint(m.Value.Lo&0xfff, 10)
		}
		return fmt.Sprintf("vlan_tci=0x%04x/0x%04x", m.Value.Lo, m.Mask.Lo)
	case i.Format == ConntrackState:
		return "ct_state=" + ctStateText(m.Value.Lo, m.Mask.Lo)
	case full:
		return f.MatchName() + "=" + formatValue(f, m.Value)
	}
	mask := ""
	switch i.Format {
	case IPv4, IPv6:
		if n := prefixLen(m.Mask, i.Width); n >= 0 {
			mask = strconv.Itoa(n)
		} else {
			mask = addrText(m.Mask.Addr(i.Width))
		}
	case Ethernet:
		mask = m.Mask.MAC().String()
	case Decimal: // ports, which OVS prints in hexadecimal when masked
		return fmt.Sprintf("%s=0x%x/0x%x", f.MatchName(), m.Value.Lo, m.Mask.Lo)
	default:
		return f.MatchName() + "=" + hex(m.Value.Lo) + "/" + hex(m.Mask.Lo)
	}
	return f.MatchName() + "=" + formatValue(f, m.Value) + "/" + mask
}

func ctStateText(v, mask uint64) string {
	var b strings.Builder
	for i, name := range ctFlags {
		bit := uint64(1) << i
		if mask&bit == 0 {
			continue
		}
		if v&bit != 0 {
			b.WriteByte('+')
		} else {
			b.WriteByte('-')
		}
		b.WriteString(name)
	}
	return b.String()
}

// subfield prints bits of a field: NXM_NX_REG6[0..15], NXM_OF_ETH_SRC[].
func subfield(f Field, ofs, n uint16) string {
	i := f.Info()
	switch {
	case ofs == 0 && n == i.Width:
		return i.NXM + "[]"
	case n == 1:
		return fmt.Sprintf("%s[%d]", i.NXM, ofs)
	default:
		return fmt.Sprintf("%s[%d..%d]", i.NXM, ofs, int(ofs)+int(n)-1)
	}
}

func (a Output) String() string {
	if s, ok := portNames[a.Port]; ok {
		return s
	}
	return "output:" + strconv.FormatUint(uint64(a.Port), 10)
}

func (a OutputReg) String() string { return "output:" + subfield(a.Field, 0, a.Field.Width()) }
func (InPort) String() string      { return "IN_PORT" }
func (Normal) String() string      { return "NORMAL" }
func (Controller) String() string  { return "CONTROLLER:65535" }
func (a GotoTable) String() string { return "goto_table:" + strconv.Itoa(int(a.Table)) }
func (a Resubmit) String() string  { return "resubmit(," + strconv.Itoa(int(a.Table)) + ")" }
func (a SetField) String() string {
	return "set_field:" + formatValue(a.Field, a.Value) + "->" + a.Field.Name()
}
func (PushVLAN) String() string { return "push_vlan:0x8100" }
func (PopVLAN) String() string  { return "pop_vlan" }
func (CTClear) String() string  { return "ct_clear" }

func (a Move) String() string {
	return "move:" + subfield(a.Src, a.SrcOfs, a.NBits) + "->" + subfield(a.Dst, a.DstOfs, a.NBits)
}

func (a Load) String() string {
	return "load:" + hex(a.Value.Lo) + "->" + subfield(a.Field, a.Ofs, a.NBits)
}

func (a Conjunction) String() string {
	return fmt.Sprintf("conjunction(%d,%d/%d)", a.ID, a.Clause, a.Of)
}

func (a CT) String() string {
	var args []string
	if a.Commit {
		args = append(args, "commit")
	}
	if a.Table != NoTable {
		args = append(args, "table="+strconv.Itoa(int(a.Table)))
	}
	if a.ZoneField != FieldNone {
		args = append(args, "zone="+subfield(a.ZoneField, 0, 16))
	} else if a.Zone != 0 {
		args = append(args, "zone="+strconv.Itoa(int(a.Zone)))
	}
	if len(a.Exec) > 0 {
		args = append(args, "exec("+ActionsString(a.Exec)+")")
	}
	return "ct(" + strings.Join(args, ",") + ")"
}

func (a Learn) String() string {
	args := []string{"table=" + strconv.Itoa(int(a.Table))}
	if a.HardTimeout != 0 {
		args = append(args, "hard_timeout="+strconv.Itoa(int(a.HardTimeout)))
	}
	args = append(args, "priority="+strconv.Itoa(int(a.Priority)))
	if a.Cookie != 0 {
		args = append(args, fmt.Sprintf("cookie=0x%x", a.Cookie))
	}
	for _, s := range a.Specs {
		args = append(args, s.String())
	}
	return "learn(" + strings.Join(args, ",") + ")"
}

// String prints one part of learn().
func (s LearnSpec) String() string {
	switch s.Kind {
	case LearnOutput:
		return "output:" + subfield(s.Src, s.SrcOfs, s.NBits)
	case LearnLoad:
		from := hex(s.Imm)
		if s.Src != FieldNone {
			from = subfield(s.Src, s.SrcOfs, s.NBits)
		}
		return "load:" + from + "->" + subfield(s.Dst, s.DstOfs, s.NBits)
	}
	dst := subfield(s.Dst, s.DstOfs, s.NBits)
	switch {
	case s.Src == s.Dst && s.SrcOfs == s.DstOfs:
		return dst
	case s.Src != FieldNone:
		return dst + "=" + subfield(s.Src, s.SrcOfs, s.NBits)
	case s.DstOfs == 0 && s.NBits == s.Dst.Width():
		// OVS prints a whole field by its own name and in its own format.
		return s.Dst.Name() + "=" + learnText(s.Dst, s.Imm)
	default:
		return dst + "=" + hex(s.Imm)
	}
}

// learnText is how a whole field's constant is written in learn(); OVS reads no
// leading zeros into eth_type there.
func learnText(f Field, v uint64) string {
	if f.Info().Format == EthernetType {
		return hex(v)
	}
	return formatValue(f, Num(v))
}
