package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/firewall"
)

// Walk asks for the way of a packet of the network from one port to another, through the switches of both hosts: each
// follows it as far as it is on its own.
type Walk struct {
	// Name is what the packet is; DHCPPort is the one of the two ports that is it.
	Name     string          `json:"name"`
	DHCPPort model.PortID    `json:"dhcp_port"`
	From     WalkEnd         `json:"from"`
	To       WalkEnd         `json:"to"`
	Packet   firewall.Packet `json:"packet"`
}

// WalkEnd is one end of a Walk, and where the tunnels of its host end.
type WalkEnd struct {
	PortID model.PortID `json:"port_id"`
	VTEP   netip.Addr   `json:"vtep,omitzero"`
}

// WalkAnswer is what became of a packet on a host: Passes says that it came to the port, or left for the other host.
type WalkAnswer struct {
	Name     string       `json:"name"`
	DHCPPort model.PortID `json:"dhcp_port"`
	// Bridge is that of Flow; Drops: the packet ends there, else it goes elsewhere.
	Bridge string `json:"bridge"`
	Drops  bool   `json:"drops,omitempty"`
	Walked
}

// The packets of an exchange. A switch does not tell a DISCOVER from the REQUEST that follows, nor their answers.
const (
	walkAsks    = "DISCOVER, REQUEST"
	walkAnswers = "OFFER, ACK"
	walkRenews  = "renewal"
)

// Exchange are the packets with which a port gets its address and keeps it, for each DHCP port that serves it.
func Exchange(r Record) (all []Walk) {
	if r.Port == nil || r.Port.Binding.Host == "" || !r.Port.AdminStateUp || r.Network == nil || !r.Network.AdminStateUp {
		return nil
	}
	e := explainer{r: r, p: r.Port}
	end := func(p *model.Port, h model.HostName) WalkEnd {
		w := WalkEnd{PortID: p.ID}
		if host := r.Hosts[h].Host; host != nil {
			w.VTEP = host.VTEP
		}
		return w
	}
	for _, dp := range r.DHCPPorts {
		own, server := e.leased(dp)
		if e.dhcpHost(dp) == "" || !own.IsValid() {
			continue
		}
		port, dhcp := end(r.Port, r.Port.Binding.Host), end(dp, e.dhcpHost(dp))
		asks := firewall.Packet{Egress: true, EtherType: 0x0800, EthSrc: r.Port.MAC, EthDst: model.MAC{255, 255, 255, 255, 255, 255},
			Src: netip.IPv4Unspecified(), Dst: netip.AddrFrom4([4]byte{255, 255, 255, 255}), Proto: 17, SrcPort: 68, DstPort: 67}
		answers, renews := asks, asks
		answers.EthSrc, answers.EthDst, answers.Src, answers.Dst, answers.SrcPort, answers.DstPort = dp.MAC, r.Port.MAC, server, own, 67, 68
		renews.EthDst, renews.Src, renews.Dst = dp.MAC, own, server
		all = append(all, Walk{walkAsks, dp.ID, port, dhcp, asks}, Walk{walkAnswers, dp.ID, dhcp, port, answers}, Walk{walkRenews, dp.ID, port, dhcp, renews})
	}
	return all
}

// leased is the first address of the port that a DHCP port serves, and from which of its own.
func (e *explainer) leased(dp *model.Port) (own, server netip.Addr) {
	served := e.servedAddrs()
	for _, f := range e.p.FixedIPs {
		for _, d := range dp.FixedIPs {
			if d.SubnetID == f.SubnetID && slices.Contains(served, f.Addr) && d.Addr.Is4() {
				return f.Addr, d.Addr
			}
		}
	}
	return own, server
}

// exchange judges what becomes of the packets of a DHCP exchange: by the records, and by the switches of both hosts.
// One DHCP port to which and from which all pass will do (works): what is lost of others' is a warning then.
func (e *explainer) exchange() (steps []Step, works bool) {
	walks := Exchange(e.r)
	hosts := e.hosts()
	steps = make([]Step, len(hosts))
	for _, dp := range e.r.DHCPPorts {
		fine, answered := true, false
		for i, h := range hosts {
			if ev, _ := e.at(h); ev != nil && h == e.dhcpHost(dp) {
				fine = e.settingsOfDHCP(&steps[i], ev, dp)
			}
		}
		for _, w := range walks {
			if w.DHCPPort != dp.ID {
				continue
			}
			for i, h := range hosts {
				ev, _ := e.at(h)
				if ev == nil {
					continue
				}
				j := slices.IndexFunc(ev.Walks, func(a WalkAnswer) bool { return a.Name == w.Name && a.DHCPPort == dp.ID })
				if j < 0 {
					continue
				}
				steps[i].Name, steps[i].Host = StepExchange, h
				answered = true
				fine = e.walk(&steps[i], h, dp, w, ev.Walks[j]) && fine
			}
		}
		works = works || answered && fine
	}
	for i := range steps {
		for j := range steps[i].Items {
			if it := &steps[i].Items[j]; works && it.Verdict == Broken {
				it.Verdict = Warning
			}
		}
	}
	return slices.DeleteFunc(steps, func(s Step) bool { return s.Name == "" }), works
}

// walk judges one packet on one host, and reports whether it passes.
func (e *explainer) walk(s *Step, host model.HostName, dp *model.Port, w Walk, a WalkAnswer) bool {
	what := w.Name
	if len(e.r.DHCPPorts) > 1 {
		what += " " + string(dp.ID[:min(8, len(dp.ID))])
	}
	here, there, peer := e.p.Binding.Host == host, e.dhcpHost(dp) == host, e.dhcpHost(dp)
	if there {
		peer = e.p.Binding.Host
	}
	toPort := w.To.PortID == e.p.ID
	goal := "leaves for host " + string(peer)
	switch {
	case toPort && here:
		goal = "comes to the port"
	case !toPort && there:
		goal = "comes to the DHCP port"
	}
	// Only the port's own host filters what the port sends and receives.
	verdict, text := firewall.Verdict{}, ""
	if here {
		p := w.Packet
		p.Egress = !toPort
		verdict = firewall.Admits(firewall.Guarded{Port: e.p}, p)
		if verdict.Passes() {
			text = "by the records it may: " + verdict.Base
		} else {
			text = "by the records it may not: " + verdict.Reason.String()
		}
	}
	observed := goal
	if !a.Passes {
		observed = "lost at " + a.where()
	}
	switch {
	case a.Passes && verdict.Passes():
		s.judge(what, goal, observed, true, "", "")
		return true
	case a.Passes:
		s.find(Broken, what, "dropped ("+verdict.Reason.String()+")", observed, CauseDisagree, fmt.Sprintf("The switch of host %s lets %s pass; %s.", host, w.Name, text))
		return false
	}
	cause := CauseExchangeLost
	if !a.Ours && !a.Miss {
		cause = CauseForeignFlow
	}
	v := Broken
	if w.Name == walkRenews {
		v = Warning
	}
	sentence := fmt.Sprintf("The switch of host %s loses %s: %s", host, w.Name, a.loses())
	if here {
		sentence += "; " + text
	}
	s.find(v, what, goal, observed, cause, sentence+".")
	return v != Broken
}

// where names the flow at which a packet went wrong.
func (a *WalkAnswer) where() string {
	text := a.Bridge + " " + a.Flow
	if a.Reason != "" {
		text += " (" + a.Reason + ")"
	}
	return text
}

// loses says in words what the flow does.
func (a *WalkAnswer) loses() string {
	switch {
	case a.Flow == "":
		return "no bridge has it"
	case a.Miss:
		return fmt.Sprintf("no flow matches in %s of %s", strings.TrimSuffix(a.Flow, " (no flow matches)"), a.Bridge)
	case !a.Ours && a.Drops:
		return fmt.Sprintf("the flow %s of %s, which is not weft's (cookie %s), drops it", a.Flow, a.Bridge, a.Cookie)
	case !a.Ours:
		return fmt.Sprintf("the flow %s of %s, which is not weft's (cookie %s), takes it elsewhere", a.Flow, a.Bridge, a.Cookie)
	case a.Drops:
		return fmt.Sprintf("the flow %s of %s drops it", a.where()[len(a.Bridge)+1:], a.Bridge)
	}
	return fmt.Sprintf("after the flow %s of %s it is put out elsewhere only", a.where()[len(a.Bridge)+1:], a.Bridge)
}
