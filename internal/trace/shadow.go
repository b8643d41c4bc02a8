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
	// Partly: it matches or does more than Flow says.
	Partly, Drops bool
	Packets       uint64
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
}

// alternatives are what a field of the packets of a lane can be; a field without any can be anything.
type alternatives []vswitch.FieldMatch

// lane is what is known, in some tables of a bridge, of the packets of a port.
type lane struct {
	bridge string
	tables []uint8
	fields map[vswitch.Field]alternatives
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

// lanes are those of all packets of a port: what it sends, and what it is to receive.
func (p Spot) lanes() []lane {
	port, net := one(firewall.RegPort, vswitch.Num(uint64(p.OFPort))), one(firewall.RegNet, vswitch.Num(uint64(p.LocalVLAN)))
	tagged := one(vswitch.VLANVID, vswitch.Num(uint64(p.LocalVLAN)|vswitch.VLANPresent))
	from := p.sends()
	from[vswitch.InPortField] = ports([]uint32{p.OFPort})
	from[vswitch.VLANVID] = alternatives{{Field: vswitch.VLANVID, Mask: vswitch.Num(vswitch.VLANPresent)}}
	to := p.receives()
	with := func(m, more map[vswitch.Field]alternatives) map[vswitch.Field]alternatives {
		out := maps.Clone(m)
		maps.Copy(out, more)
		return out
	}
	type fields = map[vswitch.Field]alternatives
	all := []lane{
		{p.Int, []uint8{pipeline.LocalSwitching, firewall.ARPSpoof, firewall.MACSpoof, firewall.Transient}, from},
		{p.Int, []uint8{firewall.BaseEgress, firewall.RulesEgress, firewall.AcceptOrIngress}, with(from, fields{firewall.RegPort: port, firewall.RegNet: net})},
		{p.Int, []uint8{firewall.AcceptedEgress, firewall.Delivery}, with(from, fields{firewall.RegNet: net})},
		{p.Int, []uint8{pipeline.LocalSwitching}, with(to, fields{vswitch.InPortField: ports(p.Uplinks)})},
		{p.Int, []uint8{firewall.Transient}, with(to, fields{vswitch.InPortField: ports(p.Uplinks), vswitch.VLANVID: tagged})},
		{p.Int, []uint8{firewall.BaseIngress, firewall.RulesIngress, firewall.AcceptedIngress}, with(to, fields{firewall.RegPort: port, firewall.RegNet: net})},
		{p.Int, []uint8{firewall.Delivery}, with(to, fields{firewall.RegNet: net})},
	}
	if p.VNI == 0 {
		return all
	}
	toTunnels := p.sends()
	toTunnels[vswitch.InPortField] = ports([]uint32{pipeline.OFPatchInt})
	return append(all,
		lane{p.Tun, []uint8{pipeline.TunnelStart, pipeline.PatchLVToTun, pipeline.UnicastToTun, pipeline.ARPResponder, pipeline.FloodToTun}, with(toTunnels, fields{vswitch.VLANVID: tagged})},
		lane{p.Tun, []uint8{pipeline.TunnelStart, pipeline.VXLANTunToLV, pipeline.LearnFromTun},
			with(to, fields{vswitch.InPortField: ports(p.Tunnels), vswitch.TunID: one(vswitch.TunID, vswitch.Num(uint64(p.VNI)))})})
}

// sends is what the headers of packets that the port sends can be; of one without port security, anything.
func (p Spot) sends() map[vswitch.Field]alternatives {
	out := map[vswitch.Field]alternatives{}
	if !p.Port.Filtered() {
		return out
	}
	out[vswitch.EthSrc], out[vswitch.IPv4Src] = p.macs(vswitch.EthSrc), append(p.addrs(vswitch.IPv4Src), one(vswitch.IPv4Src, vswitch.Value{})...)
	out[vswitch.ARPSPA] = append(p.addrs(vswitch.ARPSPA), one(vswitch.ARPSPA, vswitch.Value{})...)
	return out
}

// receives is what those of packets for it can be: multicasts are for all.
func (p Spot) receives() map[vswitch.Field]alternatives {
	out := map[vswitch.Field]alternatives{}
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

// Shadows are those of the foreign flows that can match packets of the port before flows of the plan do that would.
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

// before: a flow of the plan for packets of the lane comes after f, or is not told from it by priority. The drop that a
// table ends with is for what nobody wants.
func (l lane) before(planned vswitch.Flows, f vswitch.Flow) bool {
	for _, part := range planned {
		for _, w := range part.List {
			if w.Table == f.Table && (w.Priority > 0 || len(w.Actions) > 0) && w.Priority <= f.Priority && overlap(w.Match, f.Match) && l.takes(w.Match) {
				return true
			}
		}
	}
	return false
}

func (p Spot) shadow(f Foreign) Shadow {
	s := Shadow{Bridge: f.Bridge, Table: f.Table, Priority: f.Priority, Match: vswitch.MatchString(f.Match), Actions: vswitch.ActionsString(f.Actions),
		Cookie: fmt.Sprintf("0x%x", f.Cookie), Drops: f.Drops, Packets: f.Packets}
	if f.Partly {
		s.Match += " and more, for which weft has no words"
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

// shadows judges the flows that come before the port's. One that loses packets of the exchange, or that drops what only this
// port has, is what is wrong; any other may be meant.
func (e *explainer) shadows(s *Step) {
	for i := range e.ev.Shadows {
		f := &e.ev.Shadows[i]
		decides := slices.ContainsFunc(e.ev.Walks, func(w WalkAnswer) bool {
			return !w.Passes && !w.Ours && w.Bridge == f.Bridge && w.Name != walkRenews && (w.Flow == f.head() || strings.HasPrefix(w.Flow, f.head()+","))
		})
		does, v := "takes what it matches elsewhere", Warning
		if f.Drops {
			does = "drops what it matches"
		}
		if decides || f.Drops && f.Own && f.Packets > 0 {
			v = Broken
		}
		s.find(v, "foreign flow", none, fmt.Sprintf("%s %s, %d packets", f.Bridge, f.text(), f.Packets), CauseForeignFlow,
			fmt.Sprintf("The flow %s of %s on host %s is not weft's (cookie %s), comes before those of the port and %s: %d packets so far.", f.text(), f.Bridge, e.p.Binding.Host, f.Cookie, does, f.Packets))
	}
}

// Bridges are those that the port's packets pass.
func (p Spot) Bridges() []string {
	if p.VNI == 0 {
		return []string{p.Int}
	}
	return []string{p.Int, p.Tun}
}
