package doctor

import (
	"fmt"
	"strings"
	"time"

	"weft/internal/trace"
)

// never are troubles that operators of Neutron know and that cannot happen here, and why.
var never = []struct{ name, text string }{
	{"rpc", "not applicable: no RPC bus. Nothing is lost, late or doubled in RabbitMQ; hosts follow the store by one stream each"},
	{"full-sync", "not applicable: no full synchronisation of agents. A host that comes back is sent what has changed, or its own part at most"},
	{"database", "not applicable: no MySQL or Galera. No deadlocks, no lost connections, no migrations of a schema"},
	{"dnsmasq", "not applicable: no dnsmasq. No lease files, no reloads that a lease races with; answers follow from the records"},
	{"provisioning", "not applicable: no provisioning blocks. A port's status follows from facts that are told again until they hold"},
	{"ovn", "not applicable: no OVN. No northbound or southbound database to be stale, no elections of theirs, no BFD between gateways"},
	{"iptables", "not applicable: no iptables and no Linux bridges under the switch. net.bridge.bridge-nf-call-* do not matter"},
	{"ovsdb-monitor", "not applicable: no ovsdb-client process to lose. The agent holds its own connection to the switch's database"},
	{"privsep", "not applicable: no privsep helpers. The agent is one process"},
	{"keepalived", "not applicable: no keepalived. Nothing can have two masters"},
	{"mac-learning", "not applicable: no MAC learning on the integration bridge. Nothing to overflow or to wrap"},
	{"forwarding", "not applicable: nothing is forwarded by the hosts' IP stacks. net.ipv4.ip_forward does not matter"},
}

// cloudGroup judges what is not of one machine.
func cloudGroup(f Facts) Group {
	g := Group{Kind: GroupCloud}
	switch {
	case f.Store.Unchecked != "":
		g.unknown("store", "See what is said of etcd below.", "Nobody could check the store: %s.", f.Store.Unchecked)
	case len(f.Store.Broken) > 0:
		g.broken("store", "weft fsck lists all of it. Delete and make anew what is named; if an address or a MAC is held twice, first find out which of the two is in use.",
			"The store contradicts itself %s: %s.", times(len(f.Store.Broken)), few(f.Store.Broken, "; "))
	default:
		g.ok("store", "Nothing in the store contradicts itself: no address, MAC or segment is held twice, and nothing refers to what is not there.")
	}
	tunnelAddresses(&g, f)
	tunnels(&g, f)
	versions(&g, f)
	for _, n := range never {
		g.add(trace.Shown, n.name, "", "%s.", n.text)
	}
	return g
}

// tunnelAddresses finds those that two hosts say are theirs.
func tunnelAddresses(g *Group, f Facts) {
	has := map[string]string{}
	for _, h := range f.Hosts {
		if h.Record == nil || !h.Record.VTEP.IsValid() {
			continue
		}
		a := h.Record.VTEP.String()
		if other := has[a]; other != "" {
			g.broken("tunnel-addresses", "Give each host a tunnel_ip of its own and restart its agent; or remove the one that is gone (weft host remove).",
				"Hosts %s and %s both say that their tunnels end at %s.", other, h.Name, a)
			return
		}
		has[a] = string(h.Name)
	}
	if len(has) > 0 {
		g.ok("tunnel-addresses", "Each of %s has a tunnel address of its own.", count(len(has), "host"))
	}
}

// weftOf is the part of a version that tells one weft from another: not the compiler, nor the kind of machine.
func weftOf(version string) string {
	v, _, _ := strings.Cut(version, " go")
	return strings.TrimPrefix(v, "weft ")
}

// versions says which run another weft than the server that was asked.
func versions(g *Group, f Facts) {
	own := weftOf(f.Version)
	var other []string
	for _, s := range f.Servers {
		if v := weftOf(s.Version); s.Silence == "" && v != "" && v != own {
			other = append(other, fmt.Sprintf("server %s (%s)", s.Name, v))
		}
	}
	for _, h := range f.Hosts {
		if h.Record == nil {
			continue
		}
		if v := weftOf(h.Record.AgentVersion); v != "" && v != own {
			other = append(other, fmt.Sprintf("host %s (%s)", h.Name, v))
		}
	}
	if len(other) > 0 {
		g.warn("versions", "Finish the upgrade: install the same weft everywhere, servers first.", "This server is weft %s; another runs on %s.", own, few(other, ", "))
		return
	}
	g.ok("versions", "All run weft %s.", own)
}

// few joins the first of many.
func few(all []string, sep string) string {
	const most = 5
	if len(all) > most {
		return fmt.Sprintf("%s%sand %d more", strings.Join(all[:most], sep), sep, len(all)-most)
	}
	return strings.Join(all, sep)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// Clocks: what differs by more than skewSeen makes logs and timelines hard to read, and by
// skewBad makes certificates and tokens count as not yet or no longer good.
const (
	skewSeen = time.Second
	skewBad  = 30 * time.Second
)

// clock judges the clock of a machine by when it answered; at is the time that it said.
func (g *Group) clock(a Answer, at time.Time) {
	if at.IsZero() || a.Sent.IsZero() {
		return
	}
	trip := a.Received.Sub(a.Sent)
	off := at.Sub(a.Sent.Add(trip / 2))
	// The answer may have been made at any moment between question and answer.
	sure := max(off.Abs()-trip/2, 0)
	word := "ahead of"
	if off < 0 {
		word = "behind"
	}
	const do = "Let the machine follow a time server (chrony or systemd-timesyncd; timedatectl shows whether it does)."
	text := fmt.Sprintf("Its clock is %s %s that of the server asked (known to within %s).", round(off.Abs()), word, round(trip/2))
	switch {
	case sure >= skewBad:
		g.broken("clock", do, "%s So far apart certificates and tokens may count as not yet good or as run out, and no two logs agree.", text)
	case sure >= skewSeen:
		g.warn("clock", do, "%s Logs and timelines of several machines are out of order.", text)
	default:
		g.ok("clock", "%s", text)
	}
}

// round drops the digits that nobody reads.
func round(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Microsecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return "less than 10µs"
}

// certificate judges one by the time of the server asked.
func (g *Group) certificate(c Certificate, now time.Time, renew string) {
	name := "certificate " + c.Name
	left := c.Until.Sub(now)
	switch {
	case c.Until.IsZero():
	case now.Before(c.Since):
		g.broken(name, "Put the clocks right, then "+lower(renew), "The certificate %s is good only from %s.", c.Name, stamp(c.Since))
	case left <= 0:
		g.broken(name, renew, "The certificate %s ran out at %s: nobody lets its holder in.", c.Name, stamp(c.Until))
	case left < week || !c.Due.IsZero() && now.Sub(c.Due) > 24*time.Hour:
		g.warn(name, renew, "The certificate %s runs out at %s, in %s, and should have been renewed.", c.Name, stamp(c.Until), days(left))
	default:
		g.ok(name, "The certificate %s is good until %s (%s).", c.Name, stamp(c.Until), days(left))
	}
}

const week = 7 * 24 * time.Hour

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Truncate(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func lower(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToLower(s[:1]) + s[1:]
}
