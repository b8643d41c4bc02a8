package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// hostGroup judges one host.
func hostGroup(h Host, f Facts) Group {
	g := Group{Kind: GroupHost, Name: string(h.Name)}
	if h.Record != nil {
		g.certificate(Certificate{Name: "of the host", Until: h.Record.CertificateUntil}, f.Now,
			"Let the host join again (weft server token on a server, weft agent join there); see its log why it could not renew it.")
	}
	if h.Silence != "" {
		if h.State == "awaited" {
			g.warn("answer", "Start weft agent there; or forget the host (weft host remove).", "The host has joined, and its agent was never heard of.")
			return g
		}
		g.unknown("answer", "See whether the machine runs and reaches a server (weft host show "+string(h.Name)+"), and what weft agent says in its log.",
			"The host does not answer: %s.", strings.TrimSuffix(h.Silence, "."))
		return g
	}
	g.ok("answer", "It answered in %s.", round(h.Received.Sub(h.Sent)))
	g.clock(h.Answer, h.At)
	if h.Feed.InSync {
		g.ok("feed", "The agent has all that concerns it.")
	} else {
		g.broken("feed", "See the agent's log; weft host show "+string(h.Name)+" says which server it was on.", "The agent is not in step with the servers: %s.", orNone(h.Feed.Error))
	}
	daemons(&g, h)
	bridges(&g, h)
	masters(&g, h)
	underlay(&g, h, f.PhysicalMTU)
	kernel(&g, h)
	faults(&g, h)
	repairs(&g, h)
	leftovers(&g, h)
	for _, gap := range h.Gaps {
		g.unknown("gap", "", "Nobody could look at %s.", gap)
	}
	return g
}

// daemons judges Open vSwitch's two.
func daemons(g *Group, h Host) {
	s := h.Switch
	switch {
	case !s.Connected:
		g.broken("ovsdb", "Start Open vSwitch (systemctl restart openvswitch-switch); see whether the agent's setting ovsdb is right.",
			"The agent cannot reach the switch's database.")
	case s.Empty:
		g.broken("ovsdb", "Initialise it: ovs-vsctl --no-wait init, or reinstall Open vSwitch's own service, which does.",
			"The switch's database is empty: it was never initialised, so no bridge can be made.")
	default:
		g.ok("ovsdb", "The switch's database answers.")
	}
	switch {
	case s.Silence != "":
		g.broken("ovs-vswitchd", "Start it (systemctl restart openvswitch-switch), and see its log.", "ovs-vswitchd does not answer: %s. Packets that no cached flow knows are dropped.", strings.TrimSuffix(s.Silence, "."))
	case s.Version != "" && s.Running != "" && s.Version != s.Running:
		g.warn("ovs-vswitchd", "Restart Open vSwitch when it suits; guests lose a second or two.", "Open vSwitch %s is installed, but %s still runs.", s.Version, s.Running)
	case older(s.Running, 2, 17):
		g.warn("ovs-vswitchd", "Upgrade to Open vSwitch 2.17 or later.", "ovs-vswitchd is of version %s; weft is not tested with it.", s.Running)
	default:
		g.ok("ovs-vswitchd", "ovs-vswitchd %s answers.", s.Running)
	}
	if s.Lookups > 0 {
		const do = "A storm of new connections, or a processor that is too busy: see top for ovs-vswitchd, and weft trace for who sends."
		if s.Lost*10000 > s.Lookups {
			g.warn("ovs lost", do, "%d of %d packets were lost since its datapath was made, because it did not keep up with new flows.", s.Lost, s.Lookups)
		} else {
			g.ok("ovs lost", "%d of %d packets were lost on the way to ovs-vswitchd since its datapath was made.", s.Lost, s.Lookups)
		}
	}
	var failed []string
	for _, name := range sortedKeys(s.Failed) {
		failed = append(failed, name+" ("+s.Failed[name]+")")
	}
	if len(failed) > 0 {
		g.warn("ovs interfaces", "Make the device, or take the port off the switch (ovs-vsctl del-port); weft gc takes off those of ports that are no more.",
			"%s of the switch cannot work: %s.", count(len(failed), "interface"), few(failed, "; "))
	} else if s.Connected {
		g.ok("ovs interfaces", "All interfaces of the switch work.")
	}
}

// older reports whether a version such as 3.1.0 is known and before major.minor.
func older(v string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(v, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}

// bridges holds those that are there against those that are planned.
func bridges(g *Group, h Host) {
	if !h.Switch.Connected {
		return
	}
	wanted := h.Wanted
	if u := h.Underlay; u != nil && slices.ContainsFunc(h.Switch.Bridges, func(b Bridge) bool { return b.Name == u.Name }) {
		// It is the operator's, but the tunnels leave by it.
		wanted = append(slices.Clone(wanted), Bridge{Name: u.Name})
	}
	for _, want := range wanted {
		name := "bridge " + want.Name
		i := slices.IndexFunc(h.Switch.Bridges, func(b Bridge) bool { return b.Name == want.Name })
		if i < 0 {
			g.broken(name, "Make it (ovs-vsctl add-br "+want.Name+"), or put bridge_mappings right in the agent's settings.", "There is no bridge %s.", want.Name)
			continue
		}
		b := h.Switch.Bridges[i]
		was := len(g.Checks)
		if want.FailMode != "" && b.FailMode != want.FailMode {
			g.broken(name, "The agent sets it within a second; if it stays, see its faults.", "Bridge %s has fail_mode %s, not %s: when its controller is away it forwards what no rule allows.", b.Name, orNone(b.FailMode), want.FailMode)
		}
		if want.Datapath != "" && b.Datapath != want.Datapath {
			g.broken(name, "Set datapath_type in the agent's settings to what the host has.", "Bridge %s is of datapath type %s, not %s.", b.Name, orNone(b.Datapath), want.Datapath)
		}
		if len(want.Controllers) > 0 && !b.Connected {
			g.broken(name, "See whether something else listens at the agent's openflow_listen, and whether ovs-vswitchd runs.", "Bridge %s is not connected to the agent: its flows cannot be changed.", b.Name)
		}
		for _, c := range foreign(b, want) {
			controller(g, name, b, c, len(want.Controllers) > 0)
		}
		if len(g.Checks) == was {
			g.ok(name, "Bridge %s is as it must be, and nobody else rules it.", b.Name)
		}
	}
}

// foreign are the controllers of a bridge that are not the agent.
func foreign(b, want Bridge) (list []Target) {
	for _, c := range b.Controllers {
		if !slices.ContainsFunc(want.Controllers, func(w Target) bool { return w.Target == c.Target }) {
			list = append(list, c)
		}
	}
	return list
}

func controller(g *Group, name string, b Bridge, c Target, ours bool) {
	do := "Find out who sets it (another SDN controller, or neutron-openvswitch-agent that still runs?), stop that, then: ovs-vsctl del-controller " + b.Name + "."
	switch {
	case ours:
		g.broken(name, do, "Bridge %s has another controller, %s, beside the agent: it may undo any flow.", b.Name, c.Target)
	case c.Connected:
		g.warn(name, do, "A controller, %s, rules bridge %s, by which the tunnels leave: what passes is up to it.", c.Target, b.Name)
	case b.FailMode == "secure":
		g.broken(name, do, "Bridge %s is told to obey a controller, %s, that it does not reach, and with fail_mode secure it forwards nothing of its own: the tunnels carry nothing.", b.Name, c.Target)
	default:
		g.warn(name, do, "Bridge %s is told to obey a controller, %s, that it does not reach now; if it comes, it decides what passes of the tunnels.", b.Name, c.Target)
	}
}

// masters are others that may write to the switch.
func masters(g *Group, h Host) {
	was := len(g.Checks)
	for _, m := range h.Switch.Managers {
		switch {
		case m.Target == h.Manager:
		case open(m.Target):
			g.broken("ovs managers", "ovs-vsctl del-manager, or let it listen at 127.0.0.1 only.", "The switch's database is open to all the network by the manager %s: who reaches it owns this host's networking.", m.Target)
		case strings.HasPrefix(m.Target, "p"):
			// It listens on this machine alone: a convenience.
		default:
			g.warn("ovs managers", "Find out who it is (OpenDaylight? OVN?); if nobody you know: ovs-vsctl del-manager.", "A foreign manager, %s (%s), may rewrite the switch's database.", m.Target, connected(m.Connected))
		}
	}
	if h.Switch.OVN != "" {
		g.warn("ovs managers", "If OVN is not in use here any more: ovs-vsctl remove open . external_ids ovn-remote, and stop ovn-controller.",
			"The switch's database tells ovn-controller to obey %s: where that runs it makes a bridge br-int of its own.", h.Switch.OVN)
	}
	if len(g.Checks) == was && h.Switch.Connected {
		g.ok("ovs managers", "Nobody else manages the switch's database.")
	}
	var rivals []string
	for _, p := range h.Kernel.Rivals {
		rivals = append(rivals, fmt.Sprintf("%s (process %d)", p.Name, p.PID))
	}
	if len(rivals) > 0 {
		g.broken("rivals", "Stop and disable them (systemctl disable --now ...): two masters undo each other's flows, tags and namespaces.", "Agents of another network service run here: %s.", few(rivals, ", "))
	} else {
		g.ok("rivals", "No agent of another network service runs here.")
	}
}

// open reports whether a manager's target listens at more than this machine.
func open(target string) bool {
	f := strings.SplitN(target, ":", 3)
	if len(f) < 2 || f[0] != "ptcp" && f[0] != "pssl" {
		return false
	}
	return len(f) == 2 || f[2] != "127.0.0.1" && f[2] != "[::1]" && f[2] != "::1"
}

func connected(is bool) string {
	if is {
		return "connected"
	}
	return "not connected"
}

// underlay judges what is under the tunnels.
func underlay(g *Group, h Host, promised int) {
	u := h.Underlay
	switch {
	case h.VTEP == "" && h.Shared > 0:
		g.broken("underlay", "Set tunnel_ip in the agent's settings, and restart it.", "The host has no tunnel_ip, and %s here %s on other hosts too: nothing passes between them.",
			count(h.Shared, "tunnelled network"), plural(h.Shared, "is", "are"))
		return
	case h.VTEP == "":
		g.ok("underlay", "The host has no tunnel_ip, and none of its networks needs one.")
		return
	case u == nil:
		return
	case u.Name == "":
		g.broken("underlay", "Give the address to a device, or put tunnel_ip right in the agent's settings.", "No device of this host has its tunnel address %s: tunnels to other hosts carry nothing.", h.VTEP)
		return
	case u.Down:
		g.broken("underlay", fmt.Sprintf("Set it up (ip link set %s up), or see to its cable and switch.", u.Name), "%s, which has the tunnel address %s, is down or has no carrier: tunnels to other hosts carry nothing.", u.Name, h.VTEP)
		return
	case u.MTU < h.NeedMTU:
		do := fmt.Sprintf("Raise the MTU of %s and of the switches between hosts to %d, or lower the MTU of the networks.", u.Name, h.NeedMTU)
		if h.tunnelsIPv6() && promised > 0 && h.NeedMTU > promised {
			do += " The servers made those networks for tunnels over IPv4: overlay_ip_version: 6 there has new ones leave room for the larger header."
		}
		g.broken("underlay", do,
			"%s, which has the tunnel address %s, has an MTU of %d; networks here need %d (%d of them headers of the tunnel): big packets are lost.", u.Name, h.VTEP, u.MTU, h.NeedMTU, h.Overhead)
	case promised > 0 && u.MTU < promised:
		g.warn("underlay", fmt.Sprintf("Raise the MTU of %s to %d, or lower physical_mtu on the servers.", u.Name, promised),
			"%s, which has the tunnel address %s, has an MTU of %d, and the servers promise new networks %d.", u.Name, h.VTEP, u.MTU, promised)
	default:
		g.ok("underlay", "%s has the tunnel address %s and an MTU of %d.", u.Name, h.VTEP, u.MTU)
	}
	switch {
	case len(u.Elsewhere) > 0 && u.ReversePath == 1:
		g.broken("underlay route", fmt.Sprintf("Put the routes right, or sysctl net.ipv4.conf.%s.rp_filter=2.", u.Name),
			"Packets to %s leave by another device than %s, and rp_filter is strict there: their tunnel packets are dropped without a trace.", few(u.Elsewhere, ", "), u.Name)
	case len(u.Elsewhere) > 0:
		g.warn("underlay route", "See ip route get for that address; put the routes right if that is not meant.", "Packets to %s leave by another device than %s, whose MTU nobody has checked.", few(u.Elsewhere, ", "), u.Name)
	case h.tunnelsIPv6():
		g.ok("underlay route", "All other hosts are reached by %s.", u.Name)
	default:
		g.ok("underlay route", "All other hosts are reached by %s; rp_filter %d drops nothing there.", u.Name, u.ReversePath)
	}
}

// tunnelsIPv6 reports whether the host's tunnels end at an IPv6 address.
func (h Host) tunnelsIPv6() bool {
	a, err := netip.ParseAddr(h.VTEP)
	return err == nil && a.Is6()
}

// kernel judges modules and conntrack.
func kernel(g *Group, h Host) {
	k := h.Kernel
	if len(k.Missing) > 0 {
		g.broken("modules", "modprobe "+strings.Join(k.Missing, " ")+", and name them in /etc/modules-load.d.", "The kernel (%s) lacks %s.", k.Release, strings.Join(k.Missing, ", "))
	} else {
		g.ok("modules", "The kernel (%s) has the modules that are needed.", k.Release)
	}
	neighbours(g, h)
	if k.MaxConnections <= 0 {
		return
	}
	share := float64(k.Connections) / float64(k.MaxConnections)
	text := fmt.Sprintf("conntrack follows %d connections of at most %d (%.0f %%).", k.Connections, k.MaxConnections, 100*share)
	const do = "Raise net.netfilter.nf_conntrack_max; see weft trace of the busiest guests for who opens so many."
	switch {
	case share >= 0.95:
		g.broken("conntrack", do, "%s When it is full new connections of guests are dropped.", text)
	case share >= 0.75:
		g.warn("conntrack", do, "%s When it is full new connections of guests are dropped.", text)
	default:
		g.ok("conntrack", "%s", text)
	}
}

// usualNeighbours is what the table holds unless told otherwise. Who has raised that has learned from having it full.
const usualNeighbours = 1024

// neighbours judges the table in which each other host has an entry: it is as small as for a home.
func neighbours(g *Group, h Host) {
	k, version := h.Kernel, "ipv4"
	if k.MaxNeighbours <= 0 {
		return
	}
	if h.tunnelsIPv6() {
		version = "ipv6"
	}
	do := "Raise net." + version + ".neigh.default.gc_thresh3 (and gc_thresh1, gc_thresh2) well above the number of hosts."
	switch text := fmt.Sprintf("The neighbour table holds %d entries of at most %d.", k.Neighbours, k.MaxNeighbours); {
	case k.Neighbours*4 >= k.MaxNeighbours*3:
		g.warn("neighbours", do, "%s When it is full, tunnels to hosts that are not in it carry nothing for a while.", text)
	case k.FullNeighbours > 0 && k.MaxNeighbours <= usualNeighbours:
		g.warn("neighbours", do, "%s It was full %s since this machine began, and packets were lost then.", text, times(k.FullNeighbours))
	default:
		g.ok("neighbours", "%s", text)
	}
}

// faults are what the agent itself has found.
func faults(g *Group, h Host) {
	for _, f := range h.Faults {
		g.broken("agent", "weft trace of a port concerned shows what suffers; the agent goes on trying.", "The agent could not %s %s: %s (tries: %d, since %s).", f.Op, f.Object, strings.TrimSuffix(f.Error, "."), f.Tries, stamp(f.Since))
	}
	if len(h.Faults) == 0 {
		g.ok("agent", "The agent could do all that is to be done.")
	}
}

// oftenRepaired is how often within a minute something is put right before it counts as broken.
const oftenRepaired = 3

// repairs are what somebody else keeps changing.
func repairs(g *Group, h Host) {
	if len(h.Repairs) == 0 {
		g.ok("repairs", "Nobody has changed lately what the agent has set.")
		return
	}
	const do = "Find out who does it (another agent or controller, a script, somebody with ovs-vsctl, ovs-ofctl or ip) and stop that."
	for _, r := range h.Repairs {
		what := r.Kind + " " + r.Name + " of " + r.Bridge
		switch r.Kind {
		case "bridge":
			what = "bridge " + r.Bridge
		case "namespace":
			what = "namespace " + r.Name
		}
		text := fmt.Sprintf("On %s somebody set %s; the agent set %s again, %s, last at %s.", what, orNone(r.Found), orNone(r.Set), times(r.Times), stamp(r.At))
		if r.Lately >= oftenRepaired {
			g.broken("repairs", do, "%s It goes on: what the agent sets does not last.", text)
			continue
		}
		g.warn("repairs", do, "%s", text)
	}
}

// leftovers are what gc would take away.
func leftovers(g *Group, h Host) {
	var idle, used []string
	for _, l := range h.Leftovers {
		if l.Use != "" {
			used = append(used, l.Title()+" ("+l.Use+")")
		} else {
			idle = append(idle, l.Title())
		}
	}
	if len(idle) > 0 {
		g.warn("leftovers", "weft gc --host "+string(h.Name)+" lists them; with --yes it removes them.", "%s here %s to nothing in the cloud: %s.", count(len(idle), "thing"), plural(len(idle), "belongs", "belong"), few(idle, ", "))
	}
	if len(used) > 0 {
		g.warn("leftovers in use", "Stop who uses it first; then weft gc --host "+string(h.Name)+" --yes removes it.", "%s here %s to nothing in the cloud, yet somebody uses %s: %s.", count(len(used), "thing"), plural(len(used), "belongs", "belong"), plural(len(used), "it", "them"), few(used, ", "))
	}
	if len(h.Leftovers) == 0 {
		g.ok("leftovers", "No namespace, port or tap belongs to nothing.")
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
