package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/vif"
)

// metadataAddr is the address that every DHCP namespace holds besides its own.
var metadataAddr = netip.MustParsePrefix("169.254.169.254/32")

// dhcp judges the DHCP services of the port's network, a step for each host that serves. One
// that works will do: what is broken at others is a warning then.
func (e *explainer) dhcp() []Step {
	if !e.needsDHCP() {
		return []Step{e.notServed()}
	}
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
	six := Step{Name: StepDHCPServer}
	if e.ipv6(&six, Warning); len(six.Items) > 0 {
		all = append(all, six)
	}
	return all
}

// ipv6 judges the port's IPv6 addresses, which nobody gives to the guest: weft answers neither DHCPv6 nor router
// solicitations. That is no fault when the guest uses its address all the same.
func (e *explainer) ipv6(s *Step, unused Verdict) {
	if model.TrustedOwner(e.p.DeviceOwner) || e.ev == nil {
		return
	}
	for _, f := range e.p.FixedIPs {
		if !f.Addr.Is6() {
			continue
		}
		used := e.hasSent([]string{f.Addr.String()}) || e.seenFrom(f.Addr)
		if text := f.Addr.String(); used || e.ev.Interface == nil {
			if used {
				text += ", which the guest uses"
			}
			s.show("address", text)
			continue
		}
		v, observed := unused, "not used"
		if !e.p.Filtered() {
			v, observed = Warning, "not seen" // what it sends is not counted
		}
		s.find(v, "address", f.Addr.String()+", used", observed, CauseNoIPv6,
			fmt.Sprintf("The guest has sent nothing from %s, and nobody gives it that address: weft answers neither DHCPv6 nor router solicitations yet.", f.Addr))
	}
}

// needsDHCP reports whether DHCP of the network concerns the port.
func (e *explainer) needsDHCP() bool {
	return e.servedAddrs() != nil || e.p.DeviceOwner == model.OwnerDHCP
}

// notServed says why DHCP gives a port nothing: none of its subnets does. That is no fault when it is so meant, which
// shows in that the guest uses its address all the same.
func (e *explainer) notServed() Step {
	s := Step{Name: StepDHCPServer}
	var with4 []string
	for _, f := range e.p.FixedIPs {
		sub := e.subnet(f.SubnetID)
		switch {
		case sub == nil:
		case f.Addr.Is6(): // see ipv6
		default:
			with4 = append(with4, f.Addr.String())
			s.show("address", fmt.Sprintf("%s, of a subnet without DHCP: %s", f.Addr, sub.CIDR))
		}
	}
	if len(with4) == 0 {
		e.ipv6(&s, Broken)
		return s
	}
	e.ipv6(&s, Warning)
	uses, known := e.usesAddress()
	switch text := fmt.Sprintf("No subnet of the port gives out addresses by DHCP, so the guest has to know %s by itself", strings.Join(with4, ", ")); {
	case uses:
		s.show("dhcp", "off; the guest has set its address itself")
	case known:
		s.find(Broken, "dhcp", "a subnet with DHCP, or a guest that knows its address", none, CauseSubnetNoDHCP, text+", and it has not sent anything from there.")
	default:
		s.find(Warning, "dhcp", "a subnet with DHCP, or a guest that knows its address", "off", CauseSubnetNoDHCP, text+".")
	}
	return s
}

// usesAddress reports whether the guest has sent anything from an IPv4 address of the port, and whether that is known: of a
// port without port security the switch does not count it.
func (e *explainer) usesAddress() (uses, known bool) {
	if e.ev == nil || e.ev.Flows == nil {
		return false, false
	}
	for _, f := range e.p.FixedIPs {
		if f.Addr.Is4() {
			uses = uses || e.ev.Flows.Sent[f.Addr.String()] > 0 || e.seenFrom(f.Addr)
		}
	}
	return uses, uses || e.p.Filtered()
}

// seenFrom: the guest has sent from the address lately, or somebody has chosen the DHCP server that it is.
func (e *explainer) seenFrom(a netip.Addr) bool {
	return slices.ContainsFunc(e.ev.Sources, func(s Source) bool {
		return s.Addr.IsSingleIP() && s.Addr.Addr() == a && s.MAC == e.p.MAC && !s.Dropped
	}) || slices.ContainsFunc(e.services(), func(d *DHCP) bool {
		return slices.ContainsFunc(d.Others, func(o OtherServer) bool { return o.Server == a })
	})
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
	if host != e.p.Binding.Host && !ev.Switch.Connected {
		s.judge("switch", "connected", "not connected: "+ev.Switch.Error, false, CauseSwitchGone,
			fmt.Sprintf("The agent of host %s, which serves DHCP on this network, cannot reach Open vSwitch: %s.", host, ev.Switch.Error))
	}
	// Before what is there now, which may be so since somebody's last change.
	e.repaired(&s, ev, func(r Repair) bool { return r.Kind == repairNamespace })
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
	if !d.Exists {
		return s
	}
	s.judge("device", vif.TapName(dp.ID), orNone(d.Device), d.Device != "", CauseNoDHCPDevice, fmt.Sprintf("The device %s is not in %s on host %s.", vif.TapName(dp.ID), d.Namespace, host))
	if d.Device == "" {
		return s
	}
	s.want("state", "up", upDown(!d.Down), CauseDHCPDown, fmt.Sprintf("The device %s in %s on host %s is down, so the DHCP service hears nothing.", d.Device, d.Namespace, host))
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
	if d.Heard || d.Unheard != "" {
		s.judge("hears", "a test message", heardText(d), d.Heard, CauseDHCPDeaf,
			fmt.Sprintf("What comes to %s in %s on host %s is dropped before the DHCP service: a test message did not reach it.", d.Device, d.Namespace, host))
	}
	for _, a := range e.servedAddrs() {
		got := none
		if slices.Contains(d.Leases, a.String()) {
			got = a.String()
		}
		s.want("lease", a.String(), got, CauseNoLease, fmt.Sprintf("The DHCP service on host %s would not give %s to the port.", host, a))
	}
	return s
}

func heardText(d *DHCP) string {
	if d.Heard {
		return "a test message"
	}
	return d.Unheard
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
