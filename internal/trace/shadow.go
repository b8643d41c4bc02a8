package trace

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/pipeline"
	"weft/internal/plan/vswitch"
)

// Foreign is a flow in a switch that is not the plan's.
type Foreign struct {
	Bridge string
	vswitch.Flow
	// Partly: it matches or does more than Flow says. Copied: it bears weft's cookie all the same.
	Partly, Copied, Drops bool
	Packets               uint64
}

// Shadow is such a flow that comes before flows of the plan for packets of the port.
type Shadow struct {
	Bridge   string `json:"bridge"`
	Table    uint8  `json:"table"`
	Priority uint16 `json:"priority"`
	// Match and Actions are in ovs-ofctl's words.
	Match   string `json:"match"`
	Actions string `json:"actions"`
	Cookie  string `json:"cookie"`
	// Copied: the cookie is one of weft's.
	Copied  bool   `json:"copied,omitempty"`
	Drops   bool   `json:"drops,omitempty"`
	Packets uint64 `json:"packets"`
	// Own: it matches by something that only this port has.
	Own bool `json:"own,omitempty"`
}

// Spot is a port on the bridges of its host.
type Spot struct {
	Port      *model.Port
	Int, Tun  string
	OFPort    uint32
	LocalVLAN uint16
	// Uplinks are the ports of Int by which what the port receives from other hosts comes, Tunnels those of Tun.
	Uplinks, Tunnels []uint32
	VNI              uint32
	// Only, if there are any, are the packets from and to the port that matter; else all do.
	Only []Walk
}

// alternatives are what a field of the packets of a lane can be; a field without any can be anything.
type alternatives []vswitch.FieldMatch

// headers are what is known of packets.
type headers map[vswitch.Field]alternatives

func (h headers) with(more headers) headers {
	out := maps.Clone(h)
	maps.Copy(out, more)
	return out
}

// lane is what is known, in some tables of a bridge, of the packets of a port.
type lane struct {
	bridge string
	tables []uint8
	fields headers
}

func one(f vswitch.Field, v vswitch.Value) alternatives {
	return alternatives{{Field: f, Value: v, Mask: f.AllOnes()}}
}

func ports(all []uint32) (out alternatives) {
	for _, n := range all {
		out = append(out, one(vswitch.InPortField, vswitch.Num(uint64(n)))...)
	}
	return out
}

// lanes are those of all packets of a port that matter: what it sends, and what it is to receive.
func (p Spot) lanes() []lane {
	if len(p.Only) == 0 {
		return append(p.out(p.sends()), p.in(p.receives())...)
	}
	var all []lane
	for _, w := range p.Only {
		if w.From.PortID == p.Port.ID {
			all = append(all, p.out(headersIn(w.Packet))...)
		} else {
			all = append(all, p.in(headersIn(w.Packet))...)
		}
	}
	return all
}

// headersIn are those of a packet of UDP over IPv4.
func headersIn(p firewall.Packet) headers {
	number := func(f vswitch.Field, n uint16) alternatives { return one(f, vswitch.Num(uint64(n))) }
	return headers{
		vswitch.EthSrc: one(vswitch.EthSrc, vswitch.MACValue(p.EthSrc)), vswitch.EthDst: one(vswitch.EthDst, vswitch.MACValue(p.EthDst)),
		vswitch.EthType: number(vswitch.EthType, p.EtherType), vswitch.IPProto: number(vswitch.IPProto, uint16(p.Proto)),
		vswitch.IPv4Src: one(vswitch.IPv4Src, vswitch.AddrValue(p.Src)), vswitch.IPv4Dst: one(vswitch.IPv4Dst, vswitch.AddrValue(p.Dst)),
		vswitch.UDPSrc: number(vswitch.UDPSrc, p.SrcPort), vswitch.UDPDst: number(vswitch.UDPDst, p.DstPort),
	}
}

func (p Spot) regPort() alternatives { return one(firewall.RegPort, vswitch.Num(uint64(p.OFPort))) }
func (p Spot) regNet() alternatives  { return one(firewall.RegNet, vswitch.Num(uint64(p.LocalVLAN))) }
func (p Spot) tagged() alternatives {
	return one(vswitch.VLANVID, vswitch.Num(uint64(p.LocalVLAN)|vswitch.VLANPresent))
}

// out are the lanes of packets that the port sends.
func (p Spot) out(h headers) []lane {
	from := h.with(headers{vswitch.InPortField: ports([]uint32{p.OFPort}),
		vswitch.VLANVID: alternatives{{Field: vswitch.VLANVID, Mask: vswitch.Num(vswitch.VLANPresent)}}})
	all := []lane{
		{p.Int, []uint8{pipeline.LocalSwitching, firewall.Transient}, from},
		{p.Int, []uint8{firewall.AcceptOrIngress}, from.with(headers{firewall.RegPort: p.regPort(), firewall.RegNet: p.regNet()})},
		{p.Int, []uint8{firewall.AcceptedEgress, firewall.Delivery}, from.with(headers{firewall.RegNet: p.regNet()})},
	}
	if p.Port.Filtered() {
		all = append(all, lane{p.Int, []uint8{firewall.ARPSpoof, firewall.MACSpoof}, from},
			lane{p.Int, []uint8{firewall.BaseEgress, firewall.RulesEgress}, from.with(headers{firewall.RegPort: p.regPort(), firewall.RegNet: p.regNet()})})
	}
	if p.VNI != 0 {
		all = append(all, lane{p.Tun, []uint8{pipeline.TunnelStart, pipeline.PatchLVToTun, pipeline.UnicastToTun, pipeline.ARPResponder, pipeline.FloodToTun},
			h.with(headers{vswitch.InPortField: ports([]uint32{pipeline.OFPatchInt}), vswitch.VLANVID: p.tagged()})})
	}
	return all
}

// in are the lanes of packets that the port is to receive.
func (p Spot) in(h headers) []lane {
	all := []lane{
		{p.Int, []uint8{pipeline.LocalSwitching}, h.with(headers{vswitch.InPortField: ports(p.Uplinks)})},
		{p.Int, []uint8{firewall.Transient}, h.with(headers{vswitch.InPortField: ports(p.Uplinks), vswitch.VLANVID: p.tagged()})},
		{p.Int, []uint8{firewall.BaseIngress, firewall.RulesIngress, firewall.AcceptedIngress}, h.with(headers{firewall.RegPort: p.regPort(), firewall.RegNet: p.regNet()})},
		{p.Int, []uint8{firewall.Delivery}, h.with(headers{firewall.RegNet: p.regNet()})},
	}
	if p.VNI != 0 {
		all = append(all, lane{p.Tun, []uint8{pipeline.TunnelStart, pipeline.VXLANTunToLV, pipeline.LearnFromTun},
			h.with(headers{vswitch.InPortField: ports(p.Tunnels), vswitch.TunID: one(vswitch.TunID, vswitch.Num(uint64(p.VNI)))})})
	}
	return all
}

// sends is what the headers of packets that the port sends can be; of one without port security, anything.
func (p Spot) sends() headers {
	out := headers{}
	if !p.Port.Filtered() {
		return out
	}
	out[vswitch.EthSrc], out[vswitch.IPv4Src] = p.macs(vswitch.EthSrc), append(p.addrs(vswitch.IPv4Src), one(vswitch.IPv4Src, vswitch.Value{})...)
	out[vswitch.ARPSPA] = append(p.addrs(vswitch.ARPSPA), one(vswitch.ARPSPA, vswitch.Value{})...)
	return out
}

// receives is what those of packets for it can be: multicasts are for all.
func (p Spot) receives() headers {
	out := headers{}
	if !p.Port.Filtered() {
		return out
	}
	out[vswitch.EthDst] = append(p.macs(vswitch.EthDst), vswitch.FieldMatch{Field: vswitch.EthDst, Value: vswitch.Num(1 << 40), Mask: vswitch.Num(1 << 40)})
	// 224.0.0.0/3 has the multicasts and the broadcast.
	out[vswitch.IPv4Dst] = append(p.addrs(vswitch.IPv4Dst), vswitch.FieldMatch{Field: vswitch.IPv4Dst, Value: vswitch.Num(7 << 29), Mask: vswitch.Num(7 << 29)})
	return out
}

func (p Spot) macs(f vswitch.Field) alternatives {
	all := one(f, vswitch.MACValue(p.Port.MAC))
	for _, pair := range p.Port.AddressPairs {
		if !pair.MAC.IsZero() {
			all = append(all, one(f, vswitch.MACValue(pair.MAC))...)
		}
	}
	return all
}

// addrs are the port's IPv4 addresses and those of its pairs.
func (p Spot) addrs(f vswitch.Field) (all alternatives) {
	for _, a := range p.Port.FixedIPs {
		if a.Addr.Is4() {
			all = append(all, one(f, vswitch.AddrValue(a.Addr))...)
		}
	}
	for _, pair := range p.Port.AddressPairs {
		if pair.Prefix.Addr().Is4() {
			mask := uint64(0xffffffff) << (32 - pair.Prefix.Bits()) & 0xffffffff
			all = append(all, vswitch.FieldMatch{Field: f, Value: vswitch.AddrValue(pair.Prefix.Masked().Addr()), Mask: vswitch.Num(mask)})
		}
	}
	return all
}

// agree: some packet can have both.
func agree(a, b vswitch.FieldMatch) bool {
	return (a.Value.Hi^b.Value.Hi)&a.Mask.Hi&b.Mask.Hi == 0 && (a.Value.Lo^b.Value.Lo)&a.Mask.Lo&b.Mask.Lo == 0
}

// takes: a flow of that match can match packets of the lane.
func (l lane) takes(match vswitch.Match) bool {
	for _, m := range match {
		alts, known := l.fields[m.Field]
		fits := !known
		for _, a := range alts {
			fits = fits || agree(m, a)
		}
		if !fits {
			return false
		}
	}
	return true
}

// within: all packets of the lane have that match.
func (l lane) within(match vswitch.Match) bool {
	for _, m := range match {
		alts := l.fields[m.Field]
		for _, a := range alts {
			if m.Mask.Hi&^a.Mask.Hi != 0 || m.Mask.Lo&^a.Mask.Lo != 0 || !agree(m, a) {
				return false
			}
		}
		if len(alts) == 0 {
			return false
		}
	}
	return true
}

// overlap: some packet can match both.
func overlap(a, b vswitch.Match) bool {
	for _, x := range a {
		for _, y := range b {
			if x.Field == y.Field && !agree(x, y) {
				return false
			}
		}
	}
	return true
}

// Shadows are those of the foreign flows that can match packets that matter before flows of the plan do that would.
func (p Spot) Shadows(planned map[string]vswitch.Flows, foreign []Foreign) (all []Shadow) {
	if len(foreign) == 0 {
		return nil
	}
	lanes := p.lanes()
	for _, f := range foreign {
		for _, l := range lanes {
			if l.bridge == f.Bridge && slices.Contains(l.tables, f.Table) && l.takes(f.Match) && l.before(planned[f.Bridge], f.Flow) {
				all = append(all, p.shadow(f))
				break
			}
		}
	}
	return all
}

// before: a flow of the plan for packets of the lane comes after f, or is not told from it by priority; and none that is
// for all of them comes before f. The drop that a table ends with is for what nobody wants.
func (l lane) before(planned vswitch.Flows, f vswitch.Flow) (shadows bool) {
	for _, part := range planned {
		for _, w := range part.List {
			switch {
			case w.Table != f.Table || w.Priority == 0 && len(w.Actions) == 0:
			case w.Priority > f.Priority && l.within(w.Match):
				return false
			case w.Priority <= f.Priority && overlap(w.Match, f.Match) && l.takes(w.Match):
				shadows = true
			}
		}
	}
	return shadows
}

func (p Spot) shadow(f Foreign) Shadow {
	s := Shadow{Bridge: f.Bridge, Table: f.Table, Priority: f.Priority, Match: vswitch.MatchString(f.Match), Actions: vswitch.ActionsString(f.Actions),
		Cookie: fmt.Sprintf("0x%x", f.Cookie), Copied: f.Copied, Drops: f.Drops, Packets: f.Packets}
	if f.Partly {
		s.Match += " and more, for which weft has no words"
	}
	if len(p.Only) > 0 {
		return s // what only this port has, others' exchanges have as well
	}
	for _, m := range f.Match {
		whole := m.Mask == m.Field.AllOnes()
		switch m.Field {
		case vswitch.InPortField, firewall.RegPort:
			s.Own = s.Own || f.Bridge == p.Int && m.Value == vswitch.Num(uint64(p.OFPort))
		case vswitch.EthSrc, vswitch.EthDst:
			s.Own = s.Own || whole && m.Value.MAC() == p.Port.MAC
		case vswitch.IPv4Src, vswitch.IPv4Dst, vswitch.IPv6Src, vswitch.IPv6Dst, vswitch.ARPSPA, vswitch.ARPTPA:
			s.Own = s.Own || whole && p.has(m.Value.Addr(m.Field.Width()))
		}
	}
	return s
}

func (p Spot) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.Port.FixedIPs, func(f model.FixedIP) bool { return f.Addr == a })
}

// Disown notes of a walk that the flow at which it ended is none of weft's, if it is one of these, whatever its cookie.
func (w *Walked) Disown(bridge string, shadows []Shadow) {
	f, err := vswitch.ParseFlow(w.Flow + " actions=drop")
	if err != nil {
		return // none matches, or one with words that no plan has
	}
	is := Shadow{Bridge: bridge, Table: f.Table, Priority: f.Priority, Match: vswitch.MatchString(f.Match), Cookie: w.Cookie}
	if i := slices.IndexFunc(shadows, is.Same); i >= 0 && shadows[i].Copied {
		w.Ours = false
	}
}

// Same: both are one flow.
func (s Shadow) Same(o Shadow) bool {
	return s.Bridge == o.Bridge && s.Table == o.Table && s.Priority == o.Priority && s.Match == o.Match && s.Cookie == o.Cookie
}

// head is how ofproto/trace and ovs-ofctl begin to name the flow.
func (s *Shadow) head() string { return fmt.Sprintf("table=%d,priority=%d", s.Table, s.Priority) }

// text is the flow in ovs-ofctl's words.
func (s *Shadow) text() string {
	text := s.head()
	if s.Match != "" {
		text += "," + s.Match
	}
	return text + " actions=" + s.Actions
}

// shadows judges the flows on a host that come before the port's, or before what its exchange needs there. One that loses packets
// of the exchange, or that drops what only this port has, is what is wrong; any other may be meant. works: there is a DHCP port
// from and to which all of an exchange passes.
func (e *explainer) shadows(s *Step, ev *Evidence, works bool) {
	whose := "those of the port"
	if s.Host != e.p.Binding.Host {
		whose = "those that the port's DHCP packets need there"
	}
	for i := range ev.Shadows {
		f := &ev.Shadows[i]
		decides := slices.ContainsFunc(ev.Walks, func(w WalkAnswer) bool {
			return !w.Passes && !w.Ours && w.Bridge == f.Bridge && w.Name != walkRenews && (w.Flow == f.head() || strings.HasPrefix(w.Flow, f.head()+","))
		})
		does, v := "takes what it matches elsewhere", Warning
		if f.Drops {
			does = "drops what it matches"
		}
		if decides && !works || f.Drops && f.Own && f.Packets > 0 {
			v = Broken
		}
		is := "is not weft's (cookie " + f.Cookie + ")"
		if f.Copied {
			is = "is not of weft's plan, although it bears weft's cookie (" + f.Cookie + ")"
		}
		s.find(v, "foreign flow", none, fmt.Sprintf("%s %s, %d packets", f.Bridge, f.text(), f.Packets), CauseForeignFlow,
			fmt.Sprintf("The flow %s of %s on host %s %s, comes before %s and %s: %d packets so far.", f.text(), f.Bridge, s.Host, is, whose, does, f.Packets))
	}
}

// Bridges are those that the port's packets pass.
func (p Spot) Bridges() []string {
	if p.VNI == 0 {
		return []string{p.Int}
	}
	return []string{p.Int, p.Tun}
}
