package ovs

import (
	"fmt"

	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// wireFields maps the fields of a plan to those on the wire, by number.
var wireFields = map[vswitch.Field]openflow.Field{
	vswitch.InPortField:   openflow.InPort,
	vswitch.CTState:       openflow.CTState,
	vswitch.CTZone:        openflow.CTZone,
	vswitch.CTMark:        openflow.CTMark,
	vswitch.ConjID:        openflow.ConjID,
	vswitch.TunID:         openflow.TunID,
	vswitch.Reg0:          openflow.Reg0,
	vswitch.Reg1:          openflow.Reg1,
	vswitch.Reg2:          openflow.Reg2,
	vswitch.Reg3:          openflow.Reg3,
	vswitch.Reg4:          openflow.Reg4,
	vswitch.Reg5:          openflow.Reg5,
	vswitch.Reg6:          openflow.Reg6,
	vswitch.Reg7:          openflow.Reg7,
	vswitch.EthDst:        openflow.EthDst,
	vswitch.EthSrc:        openflow.EthSrc,
	vswitch.EthType:       openflow.EthType,
	vswitch.VLANVID:       openflow.VLANVID,
	vswitch.IPProto:       openflow.IPProto,
	vswitch.IPv4Src:       openflow.IPv4Src,
	vswitch.IPv4Dst:       openflow.IPv4Dst,
	vswitch.IPv6Src:       openflow.IPv6Src,
	vswitch.IPv6Dst:       openflow.IPv6Dst,
	vswitch.ARPOp:         openflow.ARPOp,
	vswitch.ARPSPA:        openflow.ARPSPA,
	vswitch.ARPTPA:        openflow.ARPTPA,
	vswitch.ARPSHA:        openflow.ARPSHA,
	vswitch.ARPTHA:        openflow.ARPTHA,
	vswitch.TCPSrc:        openflow.TCPSrc,
	vswitch.TCPDst:        openflow.TCPDst,
	vswitch.UDPSrc:        openflow.UDPSrc,
	vswitch.UDPDst:        openflow.UDPDst,
	vswitch.SCTPSrc:       openflow.SCTPSrc,
	vswitch.SCTPDst:       openflow.SCTPDst,
	vswitch.ICMPType:      openflow.ICMPType,
	vswitch.ICMPCode:      openflow.ICMPCode,
	vswitch.ICMPv6Type:    openflow.ICMPv6Type,
	vswitch.ICMPv6Code:    openflow.ICMPv6Code,
	vswitch.NDTarget:      openflow.NDTarget,
	vswitch.NDSLL:         openflow.NDSLL,
	vswitch.NDTLL:         openflow.NDTLL,
	vswitch.NDReserved:    openflow.NDReserved,
	vswitch.NDOptionsType: openflow.NDOptionsType,
	vswitch.VLANTCI:       openflow.VLANTCI,
}

// toWireField and fromWireField are the two directions of wireFields; the first is an
// array because a plan of 20,000 flows asks 100,000 times.
var (
	toWireField   = wireArray()
	fromWireField = planFields()
)

func wireArray() (a [256]openflow.Field) {
	for p, w := range wireFields {
		a[p] = w
	}
	return a
}

func planFields() map[openflow.Field]vswitch.Field {
	m := make(map[openflow.Field]vswitch.Field, len(wireFields))
	for p, w := range wireFields {
		m[w] = p
	}
	return m
}

// resubmitInPort is the in_port of a resubmit that leaves it alone.
const resubmitInPort = 0xfff8

// wholePacket is the max_len of an output to the controller that brings all of the packet.
const wholePacket = 0xffff

// toWire makes the OpenFlow form of a flow of a plan.
func toWire(f *vswitch.Flow) (openflow.Flow, error) {
	w := openflow.Flow{Table: f.Table, Priority: f.Priority, Cookie: f.Cookie, HardTimeout: f.HardTimeout}
	if n := len(f.Match); n > 0 {
		w.Match = make(openflow.Match, n)
	}
	for i, m := range f.Match {
		field := toWireField[m.Field]
		if field == 0 {
			return w, fmt.Errorf("field %d has no form on the wire", m.Field)
		}
		// Whether the mask is all ones is found out by Canonicalize.
		w.Match[i] = openflow.MatchField{Field: field, Value: openflow.Value(m.Value), Mask: openflow.Value(m.Mask), Masked: true}
	}
	actions := f.Actions
	if n := len(actions); n > 0 {
		if g, ok := actions[n-1].(vswitch.GotoTable); ok {
			actions = actions[:n-1]
			w.Instructions = []openflow.Instruction{openflow.GotoTable{Table: g.Table}}
		}
	}
	if len(actions) > 0 {
		as, err := toWireActions(actions)
		if err != nil {
			return w, err
		}
		w.Instructions = append([]openflow.Instruction{openflow.ApplyActions{Actions: as}}, w.Instructions...)
	}
	w.Canonicalize()
	return w, nil
}

func toWireActions(as []vswitch.Action) ([]openflow.Action, error) {
	out := make([]openflow.Action, len(as))
	for i, a := range as {
		w, err := toWireAction(a)
		if err != nil {
			return nil, err
		}
		out[i] = w
	}
	return out, nil
}

func toWireAction(a vswitch.Action) (openflow.Action, error) {
	switch a := a.(type) {
	case vswitch.Output:
		return openflow.Output{Port: a.Port}, nil
	case vswitch.InPort:
		return openflow.Output{Port: openflow.PortInPort}, nil
	case vswitch.Normal:
		return openflow.Output{Port: openflow.PortNormal}, nil
	case vswitch.Controller:
		return openflow.Output{Port: openflow.PortController, MaxLen: wholePacket}, nil
	case vswitch.Resubmit:
		return openflow.Resubmit{InPort: resubmitInPort, Table: a.Table}, nil
	case vswitch.SetField:
		v := openflow.Value(a.Value)
		if a.Field == vswitch.VLANVID {
			v.Lo |= openflow.VLANPresent
		}
		return openflow.SetField{Field: toWireField[a.Field], Value: v}, nil
	case vswitch.PushVLAN:
		return openflow.PushVLAN{EtherType: 0x8100}, nil
	case vswitch.PopVLAN:
		return openflow.PopVLAN{}, nil
	case vswitch.Move:
		return openflow.Move{Src: toWireField[a.Src], Dst: toWireField[a.Dst], SrcOfs: a.SrcOfs, DstOfs: a.DstOfs, NBits: a.NBits}, nil
	case vswitch.Load:
		return openflow.Load{Dst: toWireField[a.Field], Ofs: a.Ofs, NBits: a.NBits, Value: a.Value.Lo}, nil
	case vswitch.CTClear:
		return openflow.CTClear{}, nil
	case vswitch.OutputReg:
		return openflow.OutputReg{Src: toWireField[a.Field], NBits: a.Field.Width()}, nil
	case vswitch.Conjunction:
		return openflow.Conjunction{Clause: a.Clause - 1, Of: a.Of, ID: a.ID}, nil
	case vswitch.CT:
		return toWireCT(a)
	case vswitch.Learn:
		return toWireLearn(a), nil
	case vswitch.GotoTable:
		return nil, fmt.Errorf("%s is not the last action", a)
	}
	return nil, fmt.Errorf("action %T has no form on the wire", a)
}

func toWireCT(a vswitch.CT) (openflow.Action, error) {
	w := openflow.CT{Table: a.Table, Zone: a.Zone}
	if a.Commit {
		w.Flags = openflow.CTCommit
	}
	if a.ZoneField != vswitch.FieldNone {
		w.ZoneSrc, w.NBits, w.Zone = toWireField[a.ZoneField], 16, 0
	}
	if len(a.Exec) == 0 {
		return w, nil
	}
	var err error
	w.Actions, err = toWireActions(a.Exec)
	return w, err
}

func toWireLearn(a vswitch.Learn) openflow.Action {
	w := openflow.Learn{Table: a.Table, Priority: a.Priority, HardTimeout: a.HardTimeout, Cookie: a.Cookie}
	for _, s := range a.Specs {
		ws := openflow.LearnSpec{Dst: openflow.LearnDst(s.Kind), NBits: s.NBits}
		if s.Src != vswitch.FieldNone {
			ws.Src, ws.SrcOfs = toWireField[s.Src], s.SrcOfs
		} else {
			ws.Imm.Lo = s.Imm
		}
		if s.Kind != vswitch.LearnOutput {
			ws.Field, ws.Ofs = toWireField[s.Dst], s.DstOfs
		}
		w.Specs = append(w.Specs, ws)
	}
	return w
}

// fromWire makes a flow of a plan's words from one that a switch reports. A flow that
// weft could not have made is an error.
func fromWire(w openflow.Flow) (vswitch.Flow, error) {
	w.Canonicalize()
	f := vswitch.Flow{Table: w.Table, Priority: w.Priority, Cookie: w.Cookie, HardTimeout: w.HardTimeout}
	for _, m := range w.Match {
		field, ok := fromWireField[m.Field]
		if !ok || m.Raw != nil {
			return f, fmt.Errorf("field %#08x is none of a plan", uint32(m.Field))
		}
		mask := field.AllOnes()
		if m.Masked {
			mask = vswitch.Value(m.Mask)
		}
		f.Match = append(f.Match, vswitch.FieldMatch{Field: field, Value: vswitch.Value(m.Value), Mask: mask})
	}
	for _, i := range w.Instructions {
		switch i := i.(type) {
		case openflow.GotoTable:
			f.Actions = append(f.Actions, vswitch.GotoTable{Table: i.Table})
		case openflow.ApplyActions:
			for _, a := range i.Actions {
				p, err := fromWireAction(a)
				if err != nil {
					return f, err
				}
				f.Actions = append(f.Actions, p)
			}
		default:
			return f, fmt.Errorf("instruction %T is none of a plan", i)
		}
	}
	return f.Normalize(), nil
}

func fromWireAction(a openflow.Action) (vswitch.Action, error) {
	switch a := a.(type) {
	case openflow.Output:
		if a.Port == openflow.PortController {
			if a.MaxLen != wholePacket {
				return nil, fmt.Errorf("%d bytes to the controller are none of a plan", a.MaxLen)
			}
			return vswitch.Controller{}, nil
		}
		return vswitch.Output{Port: a.Port}, nil // Normalize knows the reserved ones
	case openflow.Resubmit:
		if a.InPort == resubmitInPort {
			return vswitch.Resubmit{Table: a.Table}, nil
		}
	case openflow.SetField:
		return vswitch.SetField{Field: fromWireField[a.Field], Value: vswitch.Value(a.Value)}, known(a.Field)
	case openflow.PushVLAN:
		return vswitch.PushVLAN{}, nil
	case openflow.PopVLAN:
		return vswitch.PopVLAN{}, nil
	case openflow.Move:
		return vswitch.Move{Src: fromWireField[a.Src], SrcOfs: a.SrcOfs, Dst: fromWireField[a.Dst], DstOfs: a.DstOfs, NBits: a.NBits},
			known(a.Src, a.Dst)
	case openflow.Load:
		return vswitch.Load{Field: fromWireField[a.Dst], Ofs: a.Ofs, NBits: a.NBits, Value: vswitch.Num(a.Value)}, known(a.Dst)
	case openflow.CTClear:
		return vswitch.CTClear{}, nil
	case openflow.OutputReg:
		if f := fromWireField[a.Src]; a.Ofs == 0 && a.NBits == f.Width() {
			return vswitch.OutputReg{Field: f}, known(a.Src)
		}
	case openflow.Conjunction:
		return vswitch.Conjunction{ID: a.ID, Clause: a.Clause + 1, Of: a.Of}, nil
	case openflow.CT:
		return fromWireCT(a)
	case openflow.Learn:
		return fromWireLearn(a)
	}
	return nil, fmt.Errorf("action %T is none of a plan", a)
}

func known(fs ...openflow.Field) error {
	for _, f := range fs {
		if f != 0 && fromWireField[f] == vswitch.FieldNone {
			return fmt.Errorf("field %#08x is none of a plan", uint32(f))
		}
	}
	return nil
}

func fromWireCT(a openflow.CT) (vswitch.Action, error) {
	p := vswitch.CT{Commit: a.Flags&openflow.CTCommit != 0, Table: a.Table, Zone: a.Zone, ZoneField: fromWireField[a.ZoneSrc]}
	if a.Flags&^openflow.CTCommit != 0 || a.Alg != 0 || a.ZoneSrc != 0 && (a.Ofs != 0 || a.NBits != 16) {
		return nil, fmt.Errorf("ct with flags %#x, alg %d, zone bits %d..: none of a plan", a.Flags, a.Alg, a.Ofs)
	}
	for _, e := range a.Actions {
		x, err := fromWireAction(e)
		if err != nil {
			return nil, err
		}
		p.Exec = append(p.Exec, x)
	}
	return p, known(a.ZoneSrc)
}

func fromWireLearn(a openflow.Learn) (vswitch.Action, error) {
	p := vswitch.Learn{Table: a.Table, Priority: a.Priority, HardTimeout: a.HardTimeout, Cookie: a.Cookie}
	if a.IdleTimeout != 0 || a.Flags != 0 || a.FinIdle != 0 || a.FinHard != 0 {
		return nil, fmt.Errorf("learn with flags %#x or idle timeouts is none of a plan", a.Flags)
	}
	for _, s := range a.Specs {
		if err := known(s.Src, s.Field); err != nil {
			return nil, err
		}
		p.Specs = append(p.Specs, vswitch.LearnSpec{Kind: vswitch.LearnKind(s.Dst), NBits: s.NBits,
			Src: fromWireField[s.Src], SrcOfs: s.SrcOfs, Imm: s.Imm.Lo, Dst: fromWireField[s.Field], DstOfs: s.Ofs})
	}
	return p, nil
}
