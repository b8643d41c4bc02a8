package pipeline

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// aimed is a question about a packet that a flow matches, or misses by one bit.
func (w *world) aimed(d dice, f vswitch.Flow) question {
	i := d.IntN(oraclePorts)
	for _, m := range f.Match {
		of := int(m.Value.Lo)
		if d.chance(15) {
			of ^= 1
		}
		if m.Field == vswitch.InPortField || m.Field == firewall.RegPort {
			i = min(max(0, of-int(w.ofport(0))), oraclePorts-1)
		}
	}
	egress := f.Table < firewall.BaseIngress
	g := w.guarded(w.Ports[oracleID(i)])
	pk := d.packet(g, egress)
	d.aim(&pk, g.Port, f.Match)
	if egress {
		return w.sent(d, i, pk)
	}
	if pk.EthDst[0]&1 == 0 || dhcpRequest(pk) {
		pk.EthDst = g.MAC
	}
	return w.delivered(d, i, pk)
}

// aim gives a packet the fields that a match asks for, and at times one bit that it does not.
func (d dice) aim(p *firewall.Packet, port *model.Port, match vswitch.Match) {
	want := map[vswitch.Field]vswitch.Value{}
	for _, m := range match {
		any := vswitch.Value{Hi: d.Uint64() &^ m.Mask.Hi, Lo: d.Uint64() &^ m.Mask.Lo}
		v := vswitch.Value{Hi: m.Value.Hi | any.Hi, Lo: m.Value.Lo | any.Lo}
		if m.Field != vswitch.EthType && m.Field != vswitch.IPProto && d.chance(12) {
			v.Lo ^= 1 << d.IntN(min(int(m.Field.Width()), 64))
		}
		want[m.Field] = v
	}
	if v, ok := want[vswitch.EthType]; ok {
		d.retype(p, port, uint16(v.Lo))
	}
	if v, ok := want[vswitch.IPProto]; ok && uint8(v.Lo) != p.Proto {
		p.Proto = uint8(v.Lo)
		p.SrcPort, p.DstPort, p.ICMPType, p.ICMPCode, p.NDTarget, p.NDLink = 0, 0, 0, 0, netip.Addr{}, model.MAC{}
	}
	for f, v := range want {
		switch f {
		case vswitch.EthSrc:
			p.EthSrc = v.MAC()
		case vswitch.EthDst:
			p.EthDst = v.MAC()
		case vswitch.IPv4Src, vswitch.IPv6Src, vswitch.ARPSPA:
			p.Src = v.Addr(f.Width())
		case vswitch.IPv4Dst, vswitch.IPv6Dst:
			p.Dst = v.Addr(f.Width())
		case vswitch.UDPSrc:
			p.SrcPort = uint16(v.Lo)
		case vswitch.TCPDst, vswitch.UDPDst, vswitch.SCTPDst:
			p.DstPort = uint16(v.Lo)
		case vswitch.ICMPType, vswitch.ICMPv6Type:
			p.ICMPType = uint8(v.Lo)
		case vswitch.ICMPCode, vswitch.ICMPv6Code:
			p.ICMPCode = uint8(v.Lo)
		case vswitch.ARPOp:
			p.ARPOp = uint16(uint8(v.Lo)) // a switch sees no more of it
		}
	}
	if p.EtherType == vswitch.TypeARP {
		p.ARPSHA = p.EthSrc
	}
	d.discover(p)
	if v, ok := want[vswitch.ARPSHA]; ok {
		p.ARPSHA = v.MAC()
	}
	for _, f := range []vswitch.Field{vswitch.NDTarget, vswitch.NDSLL, vswitch.NDTLL} {
		v, ok := want[f]
		switch {
		case !ok || !p.NDTarget.IsValid() || p.ICMPCode != 0: // a bit of the type or the code may be off
		case f == vswitch.NDTarget:
			p.NDTarget = v.Addr(128)
		default:
			p.NDLink = v.MAC()
		}
	}
}

// retype makes a packet one of another Ethernet type.
func (d dice) retype(p *firewall.Packet, port *model.Port, typ uint16) {
	if p.EtherType == typ {
		return
	}
	q := firewall.Packet{Egress: p.Egress, EthSrc: p.EthSrc, EthDst: p.EthDst, EtherType: typ, State: p.State}
	six := typ == vswitch.TypeIPv6
	s := d.source(port, six)
	switch typ {
	case vswitch.TypeARP:
		q.ARPOp, q.Src, q.Dst = 1, s.Prefix.Addr(), d.address4()
	case vswitch.TypeIPv4, vswitch.TypeIPv6:
		q.Proto, q.Src, q.Dst = vswitch.ProtoTCP, s.Prefix.Addr(), d.address(six)
		if !q.Egress {
			q.Src, q.Dst = q.Dst, q.Src
		}
	}
	*p = q
}

// discover gives neighbour discovery what belongs to it, and takes it from everything else.
func (d dice) discover(p *firewall.Packet) {
	nd := p.EtherType == vswitch.TypeIPv6 && p.Proto == vswitch.ProtoICMPv6 && (p.ICMPType == 135 || p.ICMPType == 136)
	switch {
	case !nd:
		p.NDTarget, p.NDLink = netip.Addr{}, model.MAC{}
	case p.ICMPCode != 0: // a switch reads no more of it
		p.NDTarget, p.NDLink = netip.IPv6Unspecified(), model.MAC{}
	case !p.NDTarget.IsValid():
		p.ICMPCode, p.NDTarget, p.NDLink = 0, p.Src, pick(d, p.EthSrc, model.MAC{})
	}
}

// mutant is a flow with something wrong; ok is false if nothing came of it.
func (d dice) mutant(f vswitch.Flow) (what string, flows []vswitch.Flow, ok bool) {
	g := f
	switch d.IntN(4) {
	case 0:
		return "gone", nil, true
	case 1:
		g.Actions = nil
		return "drops", []vswitch.Flow{g}, len(f.Actions) > 0 && f.Actions[0] != goTo(firewall.Dropped)
	case 2:
		next := map[uint8]uint8{firewall.ARPSpoof: firewall.MACSpoof, firewall.MACSpoof: firewall.Transient, firewall.BaseEgress: firewall.AcceptOrIngress,
			firewall.RulesEgress: firewall.AcceptOrIngress, firewall.BaseIngress: firewall.AcceptedIngress, firewall.RulesIngress: firewall.AcceptedIngress}
		g.Actions = []vswitch.Action{goTo(next[f.Table])}
		return "accepts", []vswitch.Flow{g}, next[f.Table] != 0 && !slices.Equal(g.Actions, f.Actions)
	}
	var can []int
	for i, m := range f.Match {
		if m.Field.Info().Maskable {
			can = append(can, i)
		}
	}
	if len(can) == 0 {
		return "", nil, false
	}
	i := pick(d, can...)
	g.Match = slices.Clone(f.Match)
	m := &g.Match[i]
	bit := m.Mask.Lo & -m.Mask.Lo
	m.Mask.Lo, m.Value.Lo = m.Mask.Lo&^bit, m.Value.Lo&^bit
	if m.Mask == (vswitch.Value{}) {
		g.Match = slices.Delete(g.Match, i, i+1)
	}
	return "widened in " + f.Match[i].Field.Name(), []vswitch.Flow{g}, bit != 0
}

// TestOracleNotices changes one flow of the filter at a time: the oracle must see it. Not every change is one
// to what the switch does: two flows may say the same.
func TestOracleNotices(t *testing.T) {
	seed := seeded(t)
	o := newOracle(t)
	tables := []uint8{firewall.ARPSpoof, firewall.MACSpoof, firewall.BaseEgress, firewall.RulesEgress, firewall.BaseIngress, firewall.RulesIngress}
	const mutants, asked = 60, 120
	noticed, missed := 0, []string{}
	for n := 0; noticed+len(missed) < mutants; n++ {
		d := diceOf(seed, n)
		w := oracleWorld(d)
		all := Switch(w.view(), o.s).Flows["br-int"].All()
		keys := map[vswitch.Key]bool{}
		for _, f := range all {
			keys[f.Key()] = true
		}
		for _, table := range tables {
			at := d.IntN(len(all))
			for all[at].Table != table {
				at = (at + 1) % len(all)
			}
			f := all[at]
			what, with, ok := d.mutant(f)
			if !ok || len(with) > 0 && !slices.EqualFunc(with[0].Match, f.Match, func(a, b vswitch.FieldMatch) bool { return a == b }) && keys[with[0].Key()] {
				continue
			}
			o.replace(slices.Concat(all[:at:at], with, all[at+1:]))
			seen := false
			for i := 0; i < asked && !seen; i++ {
				q := w.aimed(d, f)
				switch {
				case i%4 == 3:
					q = w.question(d)
				case i%4 > 0 && len(with) > 0:
					q = w.aimed(d, with[0])
				}
				complaint, _ := o.ask(q)
				seen = complaint != ""
			}
			if seen {
				noticed++
			} else {
				missed = append(missed, fmt.Sprint(what, ": ", f))
			}
		}
	}
	t.Logf("%d of %d changes noticed, not these:\n%s", noticed, noticed+len(missed), strings.Join(missed, "\n"))
	if noticed*3 < (noticed+len(missed))*2 {
		t.Error("the oracle notices too little")
	}
}
