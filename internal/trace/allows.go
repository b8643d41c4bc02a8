package trace

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// Answer says whether the filter of a port lets a packet pass, by the records and, if it
// was asked too, by the switch.
type Answer struct {
	PortID    model.PortID    `json:"port_id"`
	Name      string          `json:"name"`
	NetworkID model.NetworkID `json:"network_id"`
	Host      model.HostName  `json:"host"`
	At        time.Time       `json:"at"`
	Packet    PacketText      `json:"packet"`
	// Allowed is what the records say.
	Allowed bool `json:"allowed"`
	// Reason is "admitted" or why not, in a word: of the filter, port_down or not_delivered; Text is the whole answer in a sentence.
	Reason string `json:"reason"`
	Text   string `json:"text"`
	// Rule and Group are the IDs of the rule that allows it, if one is needed.
	Rule      string `json:"rule,omitempty"`
	Group     string `json:"group,omitempty"`
	GroupName string `json:"group_name,omitempty"`
	// Switch is what the port's host says; nil if it was not asked.
	Switch *SwitchAnswer `json:"switch,omitempty"`
	// Disagree: the switch was asked and does otherwise than the records say.
	Disagree bool `json:"disagree"`
}

// SwitchAnswer is what the switch of a host does with a packet.
type SwitchAnswer struct {
	Host model.HostName `json:"host"`
	// Silence says why the switch could not be asked; then the rest is empty.
	Silence string `json:"silence,omitempty"`
	*Walked
	// Of is the security group whose rules the flow that decides has been made of, if it is one's.
	Of string `json:"of,omitempty"`
	// Advice says what to do when the switch does otherwise than the records say.
	Advice string `json:"advice,omitempty"`
}

// PacketText is a packet in words, for programs that read answers.
type PacketText struct {
	Direction  string    `json:"direction"`
	EtherType  string    `json:"ethertype"`
	Protocol   uint8     `json:"protocol"`
	Src        string    `json:"source"`
	Dst        string    `json:"destination"`
	SrcPort    uint16    `json:"source_port,omitempty"`
	DstPort    uint16    `json:"destination_port,omitempty"`
	ICMPType   *uint8    `json:"icmp_type,omitempty"`
	ICMPCode   *uint8    `json:"icmp_code,omitempty"`
	EthSrc     model.MAC `json:"source_mac"`
	EthDst     model.MAC `json:"destination_mac"`
	Connection string    `json:"connection"`
}

// Asked is what an Answer is made of.
type Asked struct {
	Guarded firewall.Guarded
	// GroupNames are those of the port's security groups, by ID.
	GroupNames map[string]string
	Packet     firewall.Packet
	// From is the port of the network that the packet is sent from; nil if that is not known. Distributed: every host answers
	// the DHCP requests of its own guests on this network.
	From        *model.Port
	Distributed bool
	// Live: the switch was asked. Evidence is nil when its host said nothing; then Silence says why.
	Live     bool
	Evidence *Evidence
	Silence  string
}

// Allows answers.
func Allows(a Asked, now time.Time) Answer {
	p := a.Guarded.Port
	out := Answer{PortID: p.ID, Name: p.Name, NetworkID: p.NetworkID, Host: p.Binding.Host, At: now, Packet: packetText(a.Packet)}
	v := firewall.Admits(a.Guarded, a.Packet)
	out.Allowed, out.Reason, out.Rule, out.Group = v.Passes(), v.Reason.String(), v.Rule, v.Group
	why := a.why(v)
	if kept := a.kept(); v.Passes() && kept != "" {
		out.Allowed, out.Reason, out.Rule, out.Group, why = false, "not_delivered", "", "", kept
	}
	if !p.AdminStateUp {
		out.Allowed, out.Reason, out.Rule, out.Group = false, "port_down", "", ""
		why = "its admin state is down, so nothing passes"
	}
	out.GroupName = a.GroupNames[out.Group]
	out.Text = fmt.Sprintf("%s: port %s %s %s: %s", yesNo(out.Allowed), nameOf(p), may(out.Allowed, a.Packet.Egress), whatOf(a.Packet), why)
	if a.Live {
		out.Switch = a.switchAnswer(p.Binding.Host, out.Allowed)
		out.Disagree = out.Switch.Advice != ""
	}
	return out
}

// kept says why a request for an address, which guests send to all, does not come to the port although its filter would let it pass;
// empty for any other packet, and if it does come.
func (a Asked) kept() string {
	p, port := a.Packet, a.Guarded.Port
	four := p.EtherType == 0x0800 && p.SrcPort == 68 && p.DstPort == 67
	six := p.EtherType == 0x86dd && p.SrcPort == 546 && p.DstPort == 547
	switch {
	case p.Egress || p.Proto != 17 || p.EthDst[0]&1 == 0 || !four && !six:
	case port.Filtered():
		return "requests for an address go to DHCP services, and to ports without port security, alone (not_delivered)"
	case four && a.Distributed && !a.fromHere():
		return "every host answers DHCP itself on this network, so requests of its guests do not leave it (not_delivered)"
	}
	return ""
}

func (a Asked) fromHere() bool {
	return a.From != nil && a.From.Binding.Host == a.Guarded.Port.Binding.Host
}

// Sender is the port of the host from which the switch is to be asked for the packet, where it makes a difference: another host's
// copy of a DHCP port that all have is not heard, nor is a request for an address.
func (a Asked) Sender() model.PortID {
	p := a.Packet
	if a.Distributed && !p.Egress && a.From != nil && (a.From.Distributed() || a.fromHere() && p.Proto == 17 && p.SrcPort == 68 && p.DstPort == 67) {
		return a.From.ID
	}
	return ""
}

func nameOf(p *model.Port) string {
	if p.Name != "" {
		return p.Name
	}
	return string(p.ID)
}

func may(allowed, egress bool) string {
	verb := "receive"
	if egress {
		verb = "send"
	}
	if allowed {
		return "may " + verb
	}
	return "may not " + verb
}

// whatOf names a packet: "TCP from 10.10.0.5 to 10.10.0.11 port 22".
func whatOf(p firewall.Packet) string {
	kind, src, dst, state := protocolName(p), p.Src.String(), p.Dst.String(), ""
	switch p.Proto {
	case 1, 58:
		kind += fmt.Sprintf(" type %d code %d", p.ICMPType, p.ICMPCode)
	case 6, 17, 132, 33, 136:
		dst += fmt.Sprintf(" port %d", p.DstPort)
		if p.State == firewall.Reply || p.SrcPort < 1024 {
			src += fmt.Sprintf(" port %d", p.SrcPort)
		}
	}
	switch p.State {
	case firewall.Established:
		state = " on an established connection"
	case firewall.Reply:
		state = " as a reply"
	}
	return kind + " from " + src + " to " + dst + state
}

func protocolName(p firewall.Packet) string {
	for _, name := range []string{"tcp", "udp", "sctp", "icmp", "icmpv6", "dccp", "udplite", "gre", "esp", "ah", "vrrp", "igmp", "ospf"} {
		if model.ProtocolNumber(name, "IPv4") == fmt.Sprint(p.Proto) {
			return strings.Replace(strings.ToUpper(name), "V6", "v6", 1)
		}
	}
	return fmt.Sprintf("IP protocol %d", p.Proto)
}

// why gives the reason of a verdict in words.
func (a Asked) why(v firewall.Verdict) string {
	p, pkt := a.Guarded.Port, a.Packet
	word := " (" + v.Reason.String() + ")"
	switch {
	case v.Rule != "":
		return fmt.Sprintf("rule %s of security group %s allows %s", v.Rule, a.group(v.Group), a.ruleText(v))
	case v.Passes():
		return v.Base
	case v.Reason == firewall.SpoofedMAC:
		return fmt.Sprintf("%s is not a MAC address of the port, which has %s%s", pkt.EthSrc, p.MAC, word)
	case v.Reason == firewall.SpoofedIP:
		return fmt.Sprintf("%s, sent from %s, is not an address of the port, which has %s%s", pkt.Src, pkt.EthSrc, ownText(p), word)
	case v.Reason == firewall.DHCPServer:
		return "a port with port security may not answer DHCP" + word
	case v.Reason == firewall.RouterAdvertisement:
		return "a port with port security may not advertise itself as a router" + word
	case v.Reason == firewall.NoEgressRule || v.Reason == firewall.NoIngressRule:
		return a.noRule() + word
	}
	return v.Reason.String()
}

func ownText(p *model.Port) string {
	var all []string
	for _, f := range p.FixedIPs {
		all = append(all, f.Addr.String())
	}
	for _, pair := range p.AddressPairs {
		all = append(all, pair.Prefix.String())
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func (a Asked) group(id string) string {
	if name := a.GroupNames[id]; name != "" {
		return name + " (" + id + ")"
	}
	return id
}

// noRule says of what rules none allows the packet.
func (a Asked) noRule() string {
	direction, rules, blind := "ingress", 0, ""
	if a.Packet.Egress {
		direction = "egress"
	}
	var names []string
	for _, g := range a.Guarded.Groups {
		names = append(names, a.group(g.ID))
		for _, r := range g.Rules {
			if r.Direction != direction {
				continue
			}
			rules++
			if p := a.Packet.Proto; (p == 33 || p == 136) && r.PortMin != nil && model.ProtocolNumber(r.Protocol, r.Ethertype) == strconv.Itoa(int(p)) {
				blind = fmt.Sprintf("; Open vSwitch knows no ports of %s, so rule %s, which names some, allows nothing", protocolName(a.Packet), r.ID)
			}
		}
	}
	of := "its security group "
	if len(names) > 1 {
		of = "its security groups "
	}
	of += strings.Join(names, ", ")
	switch {
	case len(names) == 0:
		return "it has port security and no security group, so no rule allows anything"
	case rules == 0:
		return "there is no " + direction + " rule in " + of
	case rules == 1:
		return "the only " + direction + " rule of " + of + " does not allow it" + blind
	}
	return fmt.Sprintf("none of the %d %s rules of %s allows it%s", rules, direction, of, blind)
}

// ruleText is the rule of a verdict: "ingress IPv4 tcp 22:23 from 10.0.0.0/8".
func (a Asked) ruleText(v firewall.Verdict) string {
	for _, g := range a.Guarded.Groups {
		i := slices.IndexFunc(g.Rules, func(r view.Rule) bool { return r.ID == v.Rule })
		if g.ID != v.Group || i < 0 {
			continue
		}
		m := g.Rules[i].RuleMatch
		text := m.Direction + " " + m.Ethertype + " " + cmpOr(m.Protocol, "any")
		if m.PortMin != nil {
			text += fmt.Sprintf(" %d", *m.PortMin)
			if m.PortMax != nil && *m.PortMax != *m.PortMin {
				text += fmt.Sprintf(":%d", *m.PortMax)
			}
		}
		side := " from "
		if m.Direction == "egress" {
			side = " to "
		}
		switch {
		case m.RemotePrefix.IsValid():
			text += side + m.RemotePrefix.String()
		case m.RemoteGroup != "":
			text += side + "members of security group " + a.group(m.RemoteGroup)
		case m.RemoteAddressGroup != "":
			text += side + "address group " + m.RemoteAddressGroup
		}
		return text
	}
	return "it"
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func packetText(p firewall.Packet) PacketText {
	t := PacketText{Direction: "ingress", EtherType: "IPv4", Protocol: p.Proto, Src: p.Src.String(), Dst: p.Dst.String(),
		SrcPort: p.SrcPort, DstPort: p.DstPort, EthSrc: p.EthSrc, EthDst: p.EthDst, Connection: "new"}
	if p.Egress {
		t.Direction = "egress"
	}
	if p.Src.Is6() {
		t.EtherType = "IPv6"
	}
	if p.Proto == 1 || p.Proto == 58 {
		t.ICMPType, t.ICMPCode = &p.ICMPType, &p.ICMPCode
	}
	switch p.State {
	case firewall.Established:
		t.Connection = "established"
	case firewall.Reply:
		t.Connection = "reply"
	}
	return t
}

// switchAnswer compares what the switch does with what the records say.
func (a Asked) switchAnswer(host model.HostName, allowed bool) *SwitchAnswer {
	s := &SwitchAnswer{Host: host, Silence: a.Silence}
	switch ev := a.Evidence; {
	case ev == nil:
	case ev.Flows == nil:
		e := explainer{ev: ev}
		s.Silence = "the port has no flows there: " + e.whyNoFlows()
	case ev.Walked == nil:
		s.Silence = strings.Join(ev.Gaps, "; ")
	default:
		s.Walked, s.Of = ev.Walked, a.groupOf(ev.Walked)
		if ev.Walked.Passes != allowed {
			s.Advice = a.advice()
		}
	}
	return s
}

// groupOf names the security group of a flow.
func (a Asked) groupOf(w *Walked) string {
	cookie, err := strconv.ParseUint(w.Cookie, 0, 64)
	_, kind, object := vswitch.SplitCookie(cookie)
	for _, g := range a.Guarded.Groups {
		if err == nil && w.Ours && kind == vswitch.KindGroup && object == vswitch.CookieObject(g.ID) {
			return a.group(g.ID)
		}
	}
	return ""
}

// advice says what may be behind a switch that does otherwise than the records say.
func (a Asked) advice() string {
	ev, p := a.Evidence, a.Guarded.Port
	for _, f := range ev.Faults {
		return fmt.Sprintf("the agent could not %s %s: %s; it tries again (%d times so far)", f.Op, f.Object, f.Error, f.Tries)
	}
	switch {
	case !ev.Walked.Ours && !ev.Walked.Miss:
		return "the flow is not weft's: find out who has put it there; the agent takes it out at its next resync"
	case !ev.Feed.InSync:
		return "the agent does not hear of changes: " + ev.Feed.Error
	case !ev.Known || ev.Revision < p.Revision:
		return fmt.Sprintf("the agent is behind: it knows revision %d of the port, and the record is at %d; ask again", ev.Revision, p.Revision)
	case ev.Flows != nil && len(ev.Flows.Missing) > 0:
		return fmt.Sprintf("%d of the port's %d flows are missing in the switch: somebody has removed them; the agent puts them back at its next resync",
			ev.Flows.Wanted-ev.Flows.Present, ev.Flows.Wanted)
	}
	return "the agent knows of nothing amiss; a change may be on its way to it: ask again, and if the answer stays, compare the host's flows with those of weft agent --dry-run"
}

// Print writes the answer for people.
func (a *Answer) Print(w io.Writer) error {
	var b strings.Builder
	b.WriteString(a.Text + "\n")
	if s := a.Switch; s != nil {
		switch {
		case s.Silence != "" && s.Host == "":
			fmt.Fprintf(&b, "no switch to ask: %s\n", s.Silence)
		case s.Silence != "":
			fmt.Fprintf(&b, "the switch of host %s could not be asked: %s\n", s.Host, s.Silence)
		default:
			fmt.Fprintf(&b, "the switch of host %s %s: %s", s.Host, passesOrDrops(s.Passes), s.Flow)
			if s.Reason != "" {
				fmt.Fprintf(&b, " (%s)", s.Reason)
			}
			if s.Of != "" {
				fmt.Fprintf(&b, ", of security group %s", s.Of)
			}
			b.WriteString("\n")
		}
		if a.Disagree {
			fmt.Fprintf(&b, "record and switch disagree: %s\n", s.Advice)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func passesOrDrops(passes bool) string {
	if passes {
		return "lets it pass"
	}
	return "drops it"
}
