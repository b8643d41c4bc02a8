package trace

import (
	"fmt"
	"slices"

	"weft/internal/plan/firewall"
	"weft/internal/plan/pipeline"
	"weft/internal/plan/vswitch"
)

// Walked is what the switch does with a packet, as it says itself (ofproto/trace).
type Walked struct {
	// Passes: the port's filter lets it through.
	Passes bool `json:"passes"`
	// Flow is the flow that decided, without its actions; Miss: no flow matches there.
	Flow   string `json:"flow"`
	Miss   bool   `json:"miss,omitempty"`
	Cookie string `json:"cookie"`
	// Ours: the flow has weft's cookie, and is not known to be somebody else's. Reason is the one in the cookie of a flow that drops.
	Ours   bool   `json:"ours"`
	Reason string `json:"reason,omitempty"`
	// Asked is the packet as the switch was given it.
	Asked string `json:"asked"`
}

// Place is where a port is on the integration bridge.
type Place struct {
	Bridge    string
	OFPort    uint32
	LocalVLAN uint16
	// From is the port of the bridge that what the port is to receive comes from; 0: from another host.
	From uint32
	// Owner is the number in the cookies of weft's flows.
	Owner uint16
}

// WalkOf puts a packet as ofproto/trace wants it: what a port sends as coming from it, what
// it is to receive as coming from another host, or another port of this one. ctNext is what conntrack is taken to say.
func (at Place) WalkOf(p firewall.Packet) (flow string, ctNext []string) {
	switch {
	case p.Egress:
		flow = fmt.Sprintf("in_port=%d", at.OFPort)
	case at.From != 0:
		flow = fmt.Sprintf("in_port=%d", at.From)
	default:
		flow = fmt.Sprintf("in_port=%d,dl_vlan=%d", pipeline.OFPatchTun, at.LocalVLAN)
	}
	flow += headersOf(p)
	switch p.State {
	case firewall.Established:
		return flow, []string{"trk,est"}
	case firewall.Reply:
		return flow, []string{"trk,est,rpl"}
	}
	return flow, []string{"trk,new"}
}

// headersOf are the headers of a packet in the words of ofproto/trace, with a comma before.
func headersOf(p firewall.Packet) string {
	flow := fmt.Sprintf(",dl_src=%s,dl_dst=%s", p.EthSrc, p.EthDst)
	if p.Src.Is4() {
		flow += fmt.Sprintf(",ip,nw_src=%s,nw_dst=%s", p.Src, p.Dst)
	} else {
		flow += fmt.Sprintf(",ipv6,ipv6_src=%s,ipv6_dst=%s", p.Src, p.Dst)
	}
	flow += fmt.Sprintf(",nw_ttl=64,nw_proto=%d", p.Proto)
	switch {
	case p.Proto == 6 || p.Proto == 17 || p.Proto == 132:
		name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[p.Proto]
		flow += fmt.Sprintf(",%s_src=%d,%[1]s_dst=%[3]d", name, p.SrcPort, p.DstPort)
	case p.Proto == 1 && p.Src.Is4():
		flow += fmt.Sprintf(",icmp_type=%d,icmp_code=%d", p.ICMPType, p.ICMPCode)
	case p.Proto == 58 && p.Src.Is6():
		flow += fmt.Sprintf(",icmpv6_type=%d,icmpv6_code=%d", p.ICMPType, p.ICMPCode)
	}
	return flow
}

// Way is a Walk on one host, in the numbers of its switch: where the packet comes in, and where it must go out.
type Way struct {
	Walk
	// In is the bridge at which ofproto/trace begins, with As before the headers of the packet: in_port=2,tun_id=0x7.
	In, As string
	// Out is the bridge that must put it out, at OutPort.
	Out     string
	OutPort uint32
	Owner   uint16
}

// Asked is the packet as ofproto/trace wants it.
func (y Way) Asked() string { return y.As + headersOf(y.Packet) }

// Answer reads what ofproto/trace says. If the packet is lost, the flow is the last that it met, on the bridge that it should
// have left by if it came there. Table 93 only counts: what led there has the reason.
func (y Way) Answer(text string) WalkAnswer {
	steps := slices.DeleteFunc(vswitch.ParseWalk(text).Steps, func(s vswitch.Step) bool { return s.Table == firewall.Dropped })
	a := WalkAnswer{Name: y.Name, DHCPPort: y.DHCPPort, Walked: Walked{Asked: y.Asked()}}
	last := -1
	for i := range steps {
		if steps[i].Bridge == y.Out && slices.Contains(steps[i].Outputs, y.OutPort) {
			a.Passes, last = true, i
			break
		}
		if last < 0 || steps[i].Bridge == y.Out || steps[last].Bridge != y.Out {
			last = i
		}
	}
	if last < 0 {
		return a
	}
	s := &steps[last]
	owner, _, _ := vswitch.SplitCookie(s.Cookie)
	a.Bridge, a.Flow, a.Miss, a.Cookie, a.Ours, a.Drops = s.Bridge, s.Flow(), s.Miss, fmt.Sprintf("0x%x", s.Cookie), owner == y.Owner, s.Drops()
	if r := vswitch.ReasonOf(s.Cookie); r != 0 && a.Ours && !a.Passes {
		a.Reason, a.Drops = firewall.Reason(r).String(), true
	}
	return a
}

// Walked reads the answer of ofproto/trace. What a port sends has passed its filter when it
// comes to table 73, from where it goes to its receivers and their filters; what it is to
// receive has passed when it is put out at the port.
func (at Place) Walked(text, asked string, egress bool) *Walked {
	steps := slices.DeleteFunc(vswitch.ParseWalk(text).Steps, func(s vswitch.Step) bool { return s.Bridge != at.Bridge })
	w := &Walked{Asked: asked}
	decided := -1 // the last step that is the filter's
	for i := range steps {
		s := &steps[i]
		if egress && s.Table == firewall.AcceptOrIngress {
			w.Passes = !s.Drops()
			if !w.Passes {
				decided = i
			}
			break
		}
		w.Passes = !egress && slices.Contains(s.Outputs, at.OFPort)
		if s.Table != firewall.Dropped && (egress || s.Table <= firewall.RulesIngress || s.Drops()) {
			decided = i
		}
		if w.Passes {
			break
		}
	}
	if decided < 0 {
		return w
	}
	s := &steps[decided]
	owner, _, _ := vswitch.SplitCookie(s.Cookie)
	w.Flow, w.Miss, w.Cookie, w.Ours = s.Flow(), s.Miss, fmt.Sprintf("0x%x", s.Cookie), owner == at.Owner
	if r := vswitch.ReasonOf(s.Cookie); r != 0 && w.Ours && !w.Passes {
		w.Reason = firewall.Reason(r).String()
	}
	return w
}
