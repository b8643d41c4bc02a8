package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
)

const (
	// lately is how long ago something that another client did may explain what is amiss now.
	lately = 10 * time.Minute
	// patience is how long a guest may take to go on with an exchange.
	patience = 5 * time.Second
)

// lease judges the conversation: what the guest asked, and what it was told.
func (e *explainer) lease() Step {
	s := Step{Name: StepLease}
	if len(e.r.DHCPPorts) == 0 {
		return s // said before
	}
	all, looked, silence := e.conversation()
	e.otherServers(&s)
	switch {
	case !looked:
		s.unlooked("last message", "DISCOVER or REQUEST", silence)
		return s
	case len(all) == 0:
		e.neverAsked(&s)
		return s
	}
	last := map[string]Transaction{}
	var order []string
	for _, t := range all {
		if i := slices.Index(order, t.Message); i >= 0 {
			order = slices.Delete(order, i, i+1)
		}
		order = append(order, t.Message)
		last[t.Message] = t
	}
	for _, m := range order {
		e.message(&s, last[m])
	}
	e.since(&s, all, last)
	return s
}

// conversation are the DHCP messages of the port, oldest first, as all hosts that serve it heard them: each once, with the
// answer that counts. Of several servers a client chooses one, and the others hear that, too.
func (e *explainer) conversation() (all []Transaction, looked bool, silence string) {
	silence = e.silence
	var hosts []model.HostName
	for _, dp := range e.r.DHCPPorts {
		if h := e.dhcpHost(dp); !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	for _, h := range hosts {
		ev, why := e.at(h)
		if ev == nil {
			silence = why
			continue
		}
		looked = true
		all = append(all, ev.Transactions...)
	}
	slices.SortStableFunc(all, func(a, b Transaction) int { return a.At.Compare(b.At) })
	var merged []Transaction
	for _, t := range all {
		i := slices.IndexFunc(merged, func(m Transaction) bool {
			return t.XID != "" && m.XID == t.XID && m.Message == t.Message && t.At.Sub(m.At) < time.Second
		})
		switch {
		case i >= 0 && e.worth(t) > e.worth(merged[i]):
			merged[i] = t
		case i < 0:
			merged = append(merged, t)
		}
	}
	// The choice of another of our own servers, which is not heard of.
	if others := slices.DeleteFunc(slices.Clone(merged), func(t Transaction) bool { return e.ours(t.Server) }); len(others) > 0 {
		merged = others
	}
	return merged, looked, silence
}

// worth orders what several servers did with one message.
func (e *explainer) worth(t Transaction) int {
	switch {
	case t.Reply != "" && t.Reply == expectedReply(t.Message):
		return 3
	case t.Reply != "":
		return 2
	case e.ours(t.Server):
		return 0
	}
	return 1
}

// ours reports whether an address is that of a DHCP server of the network.
func (e *explainer) ours(server string) bool {
	for _, dp := range e.r.DHCPPorts {
		if slices.ContainsFunc(dp.FixedIPs, func(f model.FixedIP) bool { return f.Addr.String() == server }) {
			return true
		}
	}
	return false
}

// message judges one message, the last of its kind.
func (e *explainer) message(s *Step, t Transaction) {
	want, text := expectedReply(t.Message), replyText(t, e.now)
	switch {
	case t.Server != "" && e.ours(t.Server):
		s.show(t.Message, text+", to "+t.Server)
	case t.Server != "":
		s.find(Broken, t.Message, want, text+", to "+t.Server, CauseRogueDHCP,
			fmt.Sprintf("The guest has chosen the offer of another DHCP server, %s: %s.", t.Server, e.whose(t.Server)))
		s.onlyAdmins(fmt.Sprintf("The guest has chosen the offer of another DHCP server, %s.", t.Server))
	case want == anything:
		s.show(t.Message, text)
	case t.Reply == "":
		s.judge(t.Message, want, text, false, CauseDHCPUnanswered, fmt.Sprintf("The guest's %s was not answered: %s.", t.Message, e.why(t)))
	default:
		s.judge(t.Message, want, text, t.Reply == want && e.holds(t.Addr), CauseDHCPRefused, fmt.Sprintf("The guest's %s was answered with %s: %s.", t.Message, t.Reply, e.why(t)))
	}
}

// whose names the port that has an address.
func (e *explainer) whose(addr string) string {
	for _, p := range e.r.Ports {
		if !slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.String() == addr }) &&
			!slices.ContainsFunc(p.AddressPairs, func(a model.AddressPair) bool { return a.Prefix.IsSingleIP() && a.Prefix.Addr().String() == addr }) {
			continue
		}
		on := ""
		if p.Binding.Host != "" {
			on = fmt.Sprintf(" on host %s", p.Binding.Host)
		}
		return fmt.Sprintf("port %s%s has that address", strings.TrimSpace(p.Name+" ("+string(p.ID)+")"), on)
	}
	return "no port of the network has that address"
}

// why says in words why a message was answered as it was. The words are those of package dhcp.
func (e *explainer) why(t Transaction) string {
	asked := cmp.Or(t.Addr, "no address")
	switch t.Reason {
	case "wrong address":
		return fmt.Sprintf("it asked for %s, and the port has %s", asked, ownText(e.p))
	case "wrong link", "unknown link":
		return "it came through a relay of a subnet on which the port has no address"
	case "no address asked for":
		return "it does not say which address it wants"
	}
	return cmp.Or(t.Reason, "the address is not the port's, which has "+ownText(e.p))
}

// since judges what the messages tell together, and what has not come since.
func (e *explainer) since(s *Step, all []Transaction, last map[string]Transaction) {
	request, asked := last["REQUEST"]
	after := func(message string) (n int, at time.Time) {
		for _, t := range all {
			if t.Message == message && (!asked || t.At.After(request.At)) {
				n, at = n+1, t.At
			}
		}
		return n, at
	}
	if n, at := after("DISCOVER"); n > 1 && last["DISCOVER"].Reply == "OFFER" {
		v := Broken
		if e.now.Sub(at) <= patience {
			v = Warning // it may still take the last one
		}
		s.find(v, "REQUEST", "after the OFFER", fmt.Sprintf("none after %d offers", n), CauseOfferLost,
			fmt.Sprintf("The guest asked %d times and does not take what it is offered: the offers do not come to it, or it has chosen another server.", n))
	}
	if n, at := after("RELEASE"); n > 0 {
		s.find(Broken, "RELEASE", none, ago(e.now, at), CauseReleased, fmt.Sprintf("The guest gave its address back %s and has not asked for one since.", ago(e.now, at)))
	}
	// Having found the address taken a guest asks again, and is told the same.
	if t, ok := last["DECLINE"]; ok && e.now.Sub(t.At) < lately && (!asked || request.At.Sub(t.At) < time.Minute) {
		s.find(Broken, "DECLINE", none, replyText(t, e.now), CauseDeclined,
			fmt.Sprintf("The guest found that somebody else uses %s, and declined it %s.", cmp.Or(t.Addr, "the address"), ago(e.now, t.At)))
	}
}

// neverAsked judges that no message has come, which is no fault when the guest has its address all the same.
func (e *explainer) neverAsked(s *Step) {
	const what, want = "last message", "DISCOVER or REQUEST"
	uses, _ := e.usesAddress()
	if uses {
		s.show(what, "none; the guest uses its address: it has it from before the service remembers, or has set it itself")
		return
	}
	text := fmt.Sprintf("No DHCP message has ever come from %s: the guest has not asked for an address, or its packets are lost before the DHCP service.", e.p.MAC)
	if n, t, ok := e.elsewhere(); ok {
		s.find(Broken, what, want, "none here; on network "+string(n)+" "+ago(e.now, t.Last), CauseWrongNetwork,
			fmt.Sprintf("The guest asks on network %s, and the port is of network %s: it is plugged into the wrong one.", n, e.p.NetworkID))
		return
	}
	if t, ok := e.stranger(); ok && !e.p.Filtered() {
		s.find(Broken, what, want, fmt.Sprintf("none; %s asked %d times, last %s", t.MAC, t.Count, ago(e.now, t.Last)), CauseUnknownMAC,
			fmt.Sprintf("No DHCP message has ever come from %s, but from %s, which no port of the network has: is that this guest?", e.p.MAC, t.MAC))
		return
	}
	if begun := e.historyBegan(); e.ev != nil && e.ev.Flows != nil && e.ev.Device != nil && e.ev.Device.RxPackets > 0 && begun.After(e.ev.At.Add(-e.ev.Flows.Age)) {
		s.show(what, fmt.Sprintf("none since %s, when the service began to remember; the port has been plugged for longer", begun.UTC().Format(timeForm)))
		return
	} else if e.p.CreatedAt.Before(begun) && e.ev != nil && e.ev.Device != nil && e.ev.Device.RxPackets > 0 {
		// Flows are younger than their port when the switch has started anew.
		s.find(Warning, what, want, none, CauseNeverAsked, fmt.Sprintf("No DHCP message has come from %s since %s, when the DHCP service began to remember; whether the guest has asked before is not known.",
			e.p.MAC, begun.UTC().Format(timeForm)))
		return
	}
	v := Broken
	if e.ev != nil && !e.p.Filtered() && e.ev.Device != nil && e.ev.Device.RxPackets > 0 {
		v = Warning // what it sends is not counted; it may have set its address itself
	}
	s.find(v, what, want, none, CauseNeverAsked, text)
}

// services are what the hosts that serve the port found of their DHCP services.
func (e *explainer) services() (all []*DHCP) {
	for _, dp := range e.r.DHCPPorts {
		if ev, _ := e.at(e.dhcpHost(dp)); ev != nil && ev.DHCP != nil {
			all = append(all, ev.DHCP)
		}
	}
	return all
}

// historyBegan is since when each of the services remembers; zero if one does not say.
func (e *explainer) historyBegan() (t time.Time) {
	for i, d := range e.services() {
		if i == 0 || d.Since.Before(t) {
			t = d.Since
		}
	}
	return t
}

// elsewhere finds another network on which the guest asks.
func (e *explainer) elsewhere() (id model.NetworkID, t Stranger, ok bool) {
	for _, d := range e.services() {
		for _, s := range d.Elsewhere {
			if e.now.Sub(s.Last) < lately && s.Last.After(t.Last) {
				id, t, ok = s.NetworkID, s, true
			}
		}
	}
	return id, t, ok
}

// stranger finds who asked last on the network and is none of its ports.
func (e *explainer) stranger() (t Stranger, ok bool) {
	for _, d := range e.services() {
		for _, s := range d.Strangers {
			known := slices.ContainsFunc(e.r.Ports, func(p *model.Port) bool { return p.MAC == s.MAC })
			if !known && e.now.Sub(s.Last) < lately && s.Last.After(t.Last) {
				t, ok = s, true
			}
		}
	}
	return t, ok
}

// otherServers shows the DHCP servers on the network that are not weft's; it is a warning at the port that is one.
func (e *explainer) otherServers(s *Step) {
	var seen []netip.Addr
	for _, d := range e.services() {
		for _, o := range d.Others {
			if e.ours(o.Server.String()) || slices.Contains(seen, o.Server) {
				continue
			}
			seen = append(seen, o.Server)
			text := fmt.Sprintf("%s, chosen %d times, last by %s %s: %s", o.Server, o.Count, o.MAC, ago(e.now, o.Last), e.whose(o.Server.String()))
			if e.holds(o.Server.String()) && e.now.Sub(o.Last) < lately {
				s.find(Warning, "other server", none, text, CauseIsRogueDHCP, fmt.Sprintf("This port answers DHCP: guests have chosen its offers %d times, last %s.", o.Count, ago(e.now, o.Last)))
			} else {
				s.show("other server", text)
				s.onlyAdmins("")
			}
		}
	}
}

func (e *explainer) holds(addr string) bool {
	return slices.ContainsFunc(e.p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.String() == addr })
}

// expectedReply is what a healthy guest's message is answered with.
func expectedReply(message string) string {
	switch message {
	case "DISCOVER":
		return "OFFER"
	case "REQUEST":
		return "ACK"
	}
	return anything
}

func replyText(t Transaction, now time.Time) string {
	var b strings.Builder
	b.WriteString(t.At.UTC().Format("2006-01-02T15:04:05.000Z"))
	if t.Reply == "" {
		b.WriteString(" silence")
	} else {
		fmt.Fprintf(&b, " %s", t.Reply)
	}
	if t.Addr != "" {
		fmt.Fprintf(&b, " %s", t.Addr)
	}
	if t.Elapsed > 0 {
		fmt.Fprintf(&b, " after %.3f ms", float64(t.Elapsed)/1e6)
	}
	if t.Reason != "" {
		fmt.Fprintf(&b, ": %s", t.Reason)
	}
	fmt.Fprintf(&b, " (%s)", ago(now, t.At))
	return b.String()
}
