package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/model"
)

// metadataAddr is the address that every DHCP namespace holds besides its own.
var metadataAddr = netip.MustParsePrefix("169.254.169.254/32")

// dhcp judges the DHCP services of the port's network, a step for each host that serves. One
// that works will do: what is broken at others is a warning then.
func (e *explainer) dhcp() []Step {
	if len(e.r.DHCPPorts) == 0 {
		s := Step{Name: StepDHCPServer}
		s.judge("dhcp port", present, none, false, CauseNoDHCPPort, fmt.Sprintf("Network %s has no DHCP port, so nobody answers DHCP on it.", e.p.NetworkID))
		return []Step{s}
	}
	var all []Step
	works := 0
	for _, dp := range e.r.DHCPPorts {
		s := e.service(dp)
		if !slices.ContainsFunc(s.Items, func(it Item) bool { return severity[it.Verdict] > severity[Warning] }) {
			works++
		}
		all = append(all, s)
	}
	for i := range all {
		for j := range all[i].Items {
			if it := &all[i].Items[j]; works > 0 && severity[it.Verdict] > severity[Warning] {
				it.Verdict = Warning
			}
		}
	}
	return all
}

// dhcpHost is where a DHCP port serves this port.
func (e *explainer) dhcpHost(dp *model.Port) model.HostName {
	if dp.Distributed() {
		return e.p.Binding.Host
	}
	return dp.Binding.Host
}

// service judges the DHCP service behind one DHCP port.
func (e *explainer) service(dp *model.Port) Step {
	host := e.dhcpHost(dp)
	s := Step{Name: StepDHCPServer, Host: host}
	s.show("dhcp port", string(dp.ID))
	if dp.Binding.Host == "" && !dp.Distributed() {
		s.judge("host", "a host", none, false, CauseNotServed, "The network's DHCP port is bound to no host: no live host serves DHCP.")
		return s
	}
	if h, ok := e.r.Hosts[host]; host != e.p.Binding.Host && (!ok || !h.Alive) {
		s.judge("agent", "alive", e.lastHeard(host), false, CauseAgentDead, fmt.Sprintf("Host %s, which serves DHCP on this network, is dead or cut off: %s.", host, e.lastHeard(host)))
		return s
	}
	ev, silence := e.at(host)
	if ev == nil {
		s.unlooked("namespace", present, silence)
		return s
	}
	d := ev.DHCP
	if d == nil {
		s.judge("namespace", present, none, false, CauseNotServed, fmt.Sprintf("Host %s does not serve DHCP on this network, and its DHCP port is bound there.", host))
		return s
	}
	observed := d.Namespace
	if !d.Exists {
		observed = none
	}
	s.want("namespace", d.Namespace, observed, CauseNoNamespace, fmt.Sprintf("The namespace %s is not there on host %s.", d.Namespace, host))
	s.show("device", orNone(d.Device))
	for _, a := range e.serverAddrs(dp) {
		got := none
		if slices.Contains(d.Addresses, a.String()) {
			got = a.String()
		}
		s.want("address", a.String(), got, CauseDHCPAddress, fmt.Sprintf("The device %s in %s on host %s does not have the address %s.", d.Device, d.Namespace, host, a))
	}
	s.want("mac", dp.MAC.String(), orNone(d.MAC), CauseDHCPMAC, fmt.Sprintf("The device %s in %s on host %s has MAC %s, and the DHCP port's is %s.", d.Device, d.Namespace, host, orNone(d.MAC), dp.MAC))
	if e.r.Network != nil {
		s.want("mtu", strconv.Itoa(e.r.Network.MTU), orNone(number(d.MTU)), CauseDHCPMTU, fmt.Sprintf("The device %s in %s on host %s has MTU %d, and the network's is %d.", d.Device, d.Namespace, host, d.MTU, e.r.Network.MTU))
	}
	s.want("listening", "yes", yesNo(d.Listening), CauseNotListening, fmt.Sprintf("Nobody listens for DHCP in %s on host %s.", d.Namespace, host))
	for _, a := range e.servedAddrs() {
		got := none
		if slices.Contains(d.Leases, a.String()) {
			got = a.String()
		}
		s.want("lease", a.String(), got, CauseNoLease, fmt.Sprintf("The DHCP service on host %s would not give %s to the port.", host, a))
	}
	return s
}

// serverAddrs are the addresses that the namespace of a DHCP port must hold: those from
// which it answers, which are of IPv4.
func (e *explainer) serverAddrs(dp *model.Port) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range dp.FixedIPs {
		if sub := e.subnet(f.SubnetID); sub != nil && sub.DHCPv4() {
			out = append(out, netip.PrefixFrom(f.Addr, sub.CIDR.Bits()))
		}
	}
	return append(out, metadataAddr)
}

// servedAddrs are the port's addresses that DHCP gives out; nil for a port that needs no DHCP.
func (e *explainer) servedAddrs() []netip.Addr {
	if model.TrustedOwner(e.p.DeviceOwner) {
		return nil
	}
	var out []netip.Addr
	for _, f := range e.p.FixedIPs {
		if sub := e.subnet(f.SubnetID); sub != nil && sub.DHCPv4() {
			out = append(out, f.Addr)
		}
	}
	return out
}

// lease shows the last of each message: what the guest asked, and what it was told.
func (e *explainer) lease() Step {
	s := Step{Name: StepLease}
	var all []Transaction
	looked, silence := false, e.silence
	for _, dp := range e.r.DHCPPorts {
		ev, why := e.at(e.dhcpHost(dp))
		if ev == nil {
			silence = why
			continue
		}
		looked = true
		all = append(all, ev.Transactions...)
	}
	slices.SortStableFunc(all, func(a, b Transaction) int { return a.At.Compare(b.At) })
	switch {
	case len(e.r.DHCPPorts) == 0: // said before
		return s
	case !looked:
		s.unlooked("last message", "DISCOVER or REQUEST", silence)
		return s
	case len(all) == 0:
		s.judge("last message", "DISCOVER or REQUEST", none, false, CauseNeverAsked,
			fmt.Sprintf("No DHCP message has ever come from %s: the guest has not asked for an address, or its packets are lost before the DHCP service.", e.p.MAC))
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
		t, want := last[m], expectedReply(m)
		text := replyText(t, e.now)
		switch {
		case want == anything:
			s.show(m, text)
		case t.Reply == "":
			s.judge(m, want, text, false, CauseDHCPUnanswered, fmt.Sprintf("The guest's %s was not answered: %s.", m, t.Reason))
		default:
			s.judge(m, want, text, t.Reply == want && e.holds(t.Addr), CauseDHCPRefused, fmt.Sprintf("The guest's %s was answered with %s %s: %s.", m, t.Reply, t.Addr, t.Reason))
		}
	}
	return s
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
