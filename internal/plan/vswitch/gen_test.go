package vswitch

import (
	"pgregory.net/rapid"
)

// genFlow draws flows that OVS accepts: a kind of packet first, then fields that exist in it.
var genFlow = rapid.Custom(func(t *rapid.T) Flow {
	kinds := []struct {
		base   Match
		fields []Field
	}{
		{nil, nil},
		{Any().Type(0x88cc), nil},
		{Any().ARP(), []Field{ARPOp, ARPSPA, ARPTPA, ARPSHA, ARPTHA}},
		{Any().Type(TypeRARP), []Field{ARPSPA}},
		{Any().IPv4(), []Field{IPv4Src, IPv4Dst}},
		{Any().IPv4().Proto(47), []Field{IPv4Dst}},
		{Any().IPv4().Proto(ProtoTCP), []Field{IPv4Src, TCPSrc, TCPDst}},
		{Any().IPv4().Proto(ProtoUDP), []Field{IPv4Dst, UDPSrc, UDPDst}},
		{Any().IPv4().Proto(ProtoSCTP), []Field{SCTPSrc, SCTPDst}},
		{Any().IPv4().Proto(ProtoICMP), []Field{ICMPType, ICMPCode}},
		{Any().IPv6(), []Field{IPv6Src, IPv6Dst}},
		{Any().IPv6().Proto(ProtoTCP), []Field{IPv6Src, TCPSrc, TCPDst}},
		{Any().IPv6().Proto(ProtoUDP), []Field{IPv6Dst, UDPSrc, UDPDst}},
		{Any().ICMPv6(135), []Field{ICMPv6Code, NDTarget, NDSLL, IPv6Src}},
		{Any().ICMPv6(136), []Field{NDTarget, NDTLL, IPv6Dst}},
	}
	k := rapid.SampledFrom(kinds).Draw(t, "kind")
	common := []Field{CTState, CTZone, CTMark, TunID, Reg0, Reg5, Reg6, EthDst, EthSrc, VLANVID, InPortField}
	if len(k.base) > 0 {
		common = append(common, ConjID)
	}
	m := k.base
	for _, f := range append(common, k.fields...) {
		if rapid.IntRange(0, 2).Draw(t, "use") == 0 {
			m = append(m, genMatch(t, f))
		}
	}
	return NewFlow(uint8(rapid.IntRange(0, 200).Draw(t, "table")), rapid.Uint16().Draw(t, "prio"),
		rapid.Uint64().Draw(t, "cookie"), m, genActions(t, k.base)...)
})

func genMatch(t *rapid.T, f Field) FieldMatch {
	i := f.Info()
	v := Value{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
	mask := f.AllOnes()
	if i.Maskable && rapid.Bool().Draw(t, "masked") {
		mask = Value{rapid.Uint64().Draw(t, "mhi"), rapid.Uint64().Draw(t, "mlo")}
		if rapid.Bool().Draw(t, "prefix") {
			mask = prefixMask(rapid.IntRange(0, int(i.Width)).Draw(t, "len"), i.Width)
		}
	}
	if i.Format == IPv6 {
		// ovs-ofctl takes a mask that begins with a decimal digit for a prefix length.
		if prefixLen(mask, 128) < 0 {
			mask.Hi |= 0xf << 60
		}
	}
	switch f {
	case ARPOp: // OVS knows the low octet only
		v.Lo &= 0xff
	case ICMPv6Code: // neighbour discovery has none other
		v.Lo = 0
	case InPortField:
		v.Lo = rapid.SampledFrom([]uint64{1, 7, 65000, PortLocal}).Draw(t, "in")
	case CTState:
		mask = mask.and(Num(0x3f))
		mask.Lo |= CTTracked // flags of an untracked packet make no sense to OVS
		v.Lo |= CTTracked
		v.Lo &^= CTInvalid
	case VLANVID:
		mask.Lo |= VLANPresent
		v.Lo |= VLANPresent
		if rapid.Bool().Draw(t, "untagged") {
			v, mask = Value{}, VLANVID.AllOnes()
		}
	}
	return FieldMatch{f, v.and(f.AllOnes()), mask.and(f.AllOnes())}
}

func genActions(t *rapid.T, base Match) []Action {
	regs := rapid.SampledFrom([]Field{Reg0, Reg5, Reg6, Reg7, TunID, EthDst, EthSrc})
	one := rapid.Custom(func(t *rapid.T) Action {
		switch rapid.IntRange(0, 10).Draw(t, "action") {
		case 0:
			return Output{rapid.SampledFrom([]uint32{1, 65000, PortLocal, PortFlood, PortAll}).Draw(t, "port")}
		case 1:
			return rapid.SampledFrom([]Action{InPort{}, Controller{}}).Draw(t, "back")
		case 2:
			return Normal{}
		case 3:
			return Resubmit{uint8(rapid.IntRange(0, 254).Draw(t, "table"))}
		case 4:
			f := regs.Draw(t, "field")
			return SetField{f, Num(rapid.Uint64().Draw(t, "v")).and(f.AllOnes())}
		case 5:
			f := regs.Draw(t, "field")
			n := uint16(rapid.IntRange(1, int(min(f.Width(), 64))).Draw(t, "n"))
			return Load{f, uint16(rapid.IntRange(0, int(f.Width()-n)).Draw(t, "ofs")), n, Num(rapid.Uint64().Draw(t, "v"))}
		case 6:
			a, b := regs.Draw(t, "src"), regs.Draw(t, "dst")
			n := uint16(rapid.IntRange(1, int(min(a.Width(), b.Width()))).Draw(t, "n"))
			return Move{a, a.Width() - n, b, b.Width() - n, n}
		case 7:
			return Learn{Table: 20, Priority: rapid.Uint16Range(0, 32767).Draw(t, "p"), HardTimeout: rapid.Uint16().Draw(t, "h"),
				Cookie: rapid.Uint64().Draw(t, "c"), Specs: []LearnSpec{
					{Kind: LearnMatch, Dst: VLANTCI, NBits: 12, Src: VLANTCI},
					{Kind: LearnMatch, Dst: EthType, NBits: 16, Imm: 0x806},
					{Kind: LearnMatch, Dst: EthDst, NBits: 48, Src: EthSrc},
					{Kind: LearnMatch, Dst: Reg6, DstOfs: 4, NBits: 4, Imm: 3},
					{Kind: LearnLoad, Dst: VLANTCI, NBits: 16},
					{Kind: LearnLoad, Dst: TunID, NBits: 64, Src: TunID},
					{Kind: LearnOutput, Src: InPortField, NBits: 32},
				}}
		case 8:
			return PushVLAN{}
		case 9:
			return OutputReg{rapid.SampledFrom([]Field{Reg0, Reg5, Reg7}).Draw(t, "reg")}
		}
		return CTClear{}
	})
	if len(base) > 0 && rapid.IntRange(0, 9).Draw(t, "conj") == 0 {
		return []Action{Conjunction{rapid.Uint32().Draw(t, "id"), 1, 2}}
	}
	acts := rapid.SliceOfN(one, 0, 4).Draw(t, "acts")
	if len(base) > 0 && base[0].Value.Lo == TypeIPv4 && rapid.Bool().Draw(t, "ct") {
		ct := CT{Table: NoTable, Commit: rapid.Bool().Draw(t, "commit"), Zone: rapid.Uint16().Draw(t, "zone")}
		if rapid.Bool().Draw(t, "zf") {
			ct.ZoneField, ct.Zone = Reg6, 0
		}
		if rapid.Bool().Draw(t, "recirc") {
			ct.Table = uint8(rapid.IntRange(0, 254).Draw(t, "table"))
		}
		if ct.Commit && rapid.Bool().Draw(t, "exec") {
			ct.Exec = []Action{SetField{CTMark, Num(1)}}
		}
		acts = append(acts, ct)
	}
	if rapid.Bool().Draw(t, "goto") {
		acts = append(acts, GotoTable{uint8(rapid.IntRange(201, 254).Draw(t, "goto"))})
	}
	return acts
}
