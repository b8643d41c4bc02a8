package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/host/kernel"
	"weft/internal/lab/labtest"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// guest is a namespace with the NIC of a port: it has its addresses, answers what comes to
// the ports of servedPorts, and remembers every frame that it has received.
type guest struct {
	port
	h   *host
	air *ear
}

// servedPorts are those on which every guest echoes, TCP and UDP, in both families.
var servedPorts = []int{22, 80, 443, 8000, 8079, 8080}

// firewallHost is a host with weft up and one network of both families. args are given to weft up.
func firewallHost(t testing.TB, args ...string) (h *host, network string) {
	t.Helper()
	labtest.Require(t, "ping")
	h = newHost(t, args...)
	h.up()
	return h, h.dualNetwork("net")
}

// dualNetwork makes a network with a subnet of each family: 10.20.0.0/24 and fd20::/64. Ports
// get addresses that stories do not name.
func (h *host) dualNetwork(name string) string {
	h.t.Helper()
	var n struct{ Network struct{ ID string } }
	h.must(h.call("POST", "/v2.0/networks", m{"network": m{"name": name}}, &n))
	for _, subnet := range []m{
		{"ip_version": 4, "cidr": "10.20.0.0/24", "allocation_pools": []m{{"start": "10.20.0.200", "end": "10.20.0.240"}}},
		{"ip_version": 6, "cidr": "fd20::/64", "allocation_pools": []m{{"start": "fd20::200", "end": "fd20::fff"}}},
	} {
		h.must(h.call("POST", "/v2.0/subnets", m{"subnet": with(subnet, "network_id", n.Network.ID)}, nil))
	}
	return n.Network.ID
}

// guest makes a port and plugs it into a namespace of its name.
func (h *host) guest(network, name string, more m) *guest {
	h.t.Helper()
	g := &guest{port: h.newPort(network, name, more), h: h}
	h.namespace(name)
	g.quickIPv6()
	h.mustWeft("plug", g.ID, "--netns", name)
	g.furnish()
	return g
}

// quickIPv6 lets the addresses of a namespace be used at once: nobody looks for duplicates.
func (g *guest) quickIPv6() {
	g.h.t.Helper()
	g.exec("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
}

// furnish gives a plugged guest its addresses, ears and servers.
func (g *guest) furnish() {
	g.h.t.Helper()
	for _, f := range g.FixedIPs {
		bits := "/24"
		if netip.MustParseAddr(f.IP).Is6() {
			bits = "/64"
		}
		g.exec("ip", "addr", "add", f.IP+bits, "dev", "eth0")
	}
	g.h.await("the IPv6 addresses of "+g.Name, comes, func() error {
		if out := g.exec("ip", "-6", "addr", "show", "dev", "eth0", "tentative"); out != "" {
			return errors.New(out)
		}
		return nil
	})
	g.air = listenToAir(g.h.t, g.Name)
	for _, p := range servedPorts {
		g.serve(p)
	}
}

func (g *guest) exec(args ...string) string {
	g.h.t.Helper()
	return g.h.run("ip", append([]string{"netns", "exec", g.Name}, args...)...)
}

// addr is the guest's address of a family, 4 or 6.
func (g *guest) addr(family int) netip.Addr {
	for _, f := range g.FixedIPs {
		if a := netip.MustParseAddr(f.IP); a.Is4() == (family == 4) {
			return a
		}
	}
	g.h.t.Fatalf("%s has no IPv%d address", g.Name, family)
	return netip.Addr{}
}

// serve echoes on one port, TCP and UDP in both families, until the test ends.
func (g *guest) serve(port int) {
	g.h.t.Helper()
	for _, family := range []string{"4", "6"} {
		at := ":" + strconv.Itoa(port)
		var stream net.Listener
		var datagrams net.PacketConn
		g.h.must(kernel.Do(g.Name, func() (err error) {
			if stream, err = net.Listen("tcp"+family, at); err != nil {
				return err
			}
			datagrams, err = net.ListenPacket("udp"+family, at)
			return err
		}))
		g.h.t.Cleanup(func() { stream.Close(); datagrams.Close() })
		go echoStreams(stream)
		go echoDatagrams(datagrams)
	}
}

func echoStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(c, c); c.Close() }()
	}
}

func echoDatagrams(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// dial connects from a guest.
func (g *guest) dial(network string, to netip.Addr, port int, limit time.Duration) (c net.Conn, err error) {
	d := net.Dialer{Timeout: limit}
	err = kernel.Do(g.Name, func() error {
		c, err = d.Dial(network, netip.AddrPortFrom(to, uint16(port)).String())
		return err
	})
	return c, err
}

// try asks for an answer from an address: of TCP and UDP an echo, of ICMP one to a ping.
func (g *guest) try(proto string, to netip.Addr, port int, limit time.Duration) error {
	if proto == "icmp" {
		out, err := exec.Command("ip", "netns", "exec", g.Name, "ping", "-n", "-c", "1", "-W", fmt.Sprint(limit.Seconds()), to.String()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	c, err := g.dial(proto, to, port, limit)
	if err != nil {
		return err
	}
	defer c.Close()
	return echo(c, limit)
}

// echo sends something and wants it back. UDP is sent again now and then: an answer is what
// counts, not that the first datagram finds the neighbour known.
func echo(c net.Conn, limit time.Duration) error {
	const text = "echo"
	buf := make([]byte, 16)
	wait := limit
	if c.LocalAddr().Network() == "udp" {
		wait = min(limit, 100*time.Millisecond)
	}
	for began := time.Now(); ; {
		if _, err := c.Write([]byte(text)); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(buf)
		switch {
		case err == nil && string(buf[:n]) != text:
			return fmt.Errorf("the echo is %q", buf[:n])
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded), time.Since(began) >= limit:
			return err
		}
	}
}

// What a probe waits for an answer that must come, on the slowest of machines, and for one
// that must not.
const (
	comes  = 30 * time.Second
	absent = 300 * time.Millisecond
)

// probe is an attempt to reach another guest, and what is to come of it.
type probe struct {
	from, to *guest
	proto    string // tcp, udp, icmp
	port     int
	family   int // 4, 6; 0 is both
	passes   bool
	// half: the request passes and its answer does not.
	half bool
}

func (p probe) String() string {
	s := fmt.Sprintf("%s -> %s %s IPv%d", p.from.Name, p.to.Name, p.proto, p.family)
	if p.port != 0 {
		s += fmt.Sprintf(" port %d", p.port)
	}
	return s
}

// judge makes all probes, many at once. What must not pass must not be heard by the other side either.
func (h *host) judge(probes ...probe) {
	h.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var wrong []string
	atOnce := make(chan struct{}, 16)
	for _, each := range probes {
		for _, family := range []int{4, 6} {
			if each.family != 0 && each.family != family {
				continue
			}
			p := each
			p.family = family
			wg.Go(func() {
				atOnce <- struct{}{}
				defer func() { <-atOnce }()
				if err := p.run(); err != nil {
					mu.Lock()
					defer mu.Unlock()
					wrong = append(wrong, fmt.Sprintf("%s: %v", p, err))
				}
			})
		}
	}
	wg.Wait()
	for _, s := range wrong {
		h.t.Error(s)
	}
}

func (p probe) run() error {
	to := p.to.addr(p.family)
	if p.passes {
		return p.from.try(p.proto, to, p.port, comes)
	}
	heard := func() int { return p.to.air.count(p.heard) }
	before := heard()
	if err := p.from.try(p.proto, to, p.port, absent); err == nil {
		return errors.New("is answered")
	}
	n := heard() - before
	for began := time.Now(); p.half && n == 0 && time.Since(began) < comes; n = heard() - before {
		time.Sleep(5 * time.Millisecond)
	}
	if (n > 0) != p.half {
		return fmt.Errorf("the other side hears %d packets of it", n)
	}
	return nil
}

// heard recognizes the request of a probe.
func (p probe) heard(f frame) bool {
	if f.src != p.from.addr(p.family) || f.dst != p.to.addr(p.family) {
		return false
	}
	switch p.proto {
	case "tcp":
		return f.proto == protoTCP && f.dport == uint16(p.port)
	case "udp":
		return f.proto == protoUDP && f.dport == uint16(p.port)
	}
	return f.proto == protoICMP && f.icmpType == 8 || f.proto == protoICMPv6 && f.icmpType == 128
}

// each makes a probe of every protocol: TCP and UDP to port 80, and a ping.
func each(from, to *guest, passes bool) []probe {
	return []probe{
		{from: from, to: to, proto: "tcp", port: 80, passes: passes},
		{from: from, to: to, proto: "udp", port: 80, passes: passes},
		{from: from, to: to, proto: "icmp", passes: passes},
	}
}

// until tries again until a probe goes as it must, and says how long that has taken.
func (h *host) until(p probe) time.Duration {
	h.t.Helper()
	limit := absent
	if p.passes {
		limit = 10 * time.Millisecond
	}
	began := time.Now()
	h.await(fmt.Sprintf("%s, passes: %v", p, p.passes), comes, func() error {
		err := p.from.try(p.proto, p.to.addr(p.family), p.port, limit)
		switch {
		case p.passes:
			limit = min(2*limit, time.Second) // the way may be slow
			return err
		case err == nil:
			return errors.New("is answered")
		}
		return nil
	})
	return time.Since(began)
}

// group makes a security group. It has the two rules that let everything out, unless more says otherwise.
func (h *host) group(name string, more m) (id string) {
	h.t.Helper()
	attrs := m{"name": name}
	for k, v := range more {
		attrs[k] = v
	}
	var g struct {
		SecurityGroup struct{ ID string } `json:"security_group"`
	}
	h.must(h.call("POST", "/v2.0/security-groups", m{"security_group": attrs}, &g))
	return g.SecurityGroup.ID
}

// allow adds a rule to a group.
func (h *host) allow(group, direction, ethertype string, more m) (id string) {
	h.t.Helper()
	attrs := m{"security_group_id": group, "direction": direction, "ethertype": ethertype}
	for k, v := range more {
		attrs[k] = v
	}
	var r struct {
		Rule struct{ ID string } `json:"security_group_rule"`
	}
	h.must(h.call("POST", "/v2.0/security-group-rules", m{"security_group_rule": attrs}, &r))
	return r.Rule.ID
}

// allowBoth adds a rule for each family.
func (h *host) allowBoth(group, direction string, more m) (ids []string) {
	h.t.Helper()
	return []string{h.allow(group, direction, "IPv4", more), h.allow(group, direction, "IPv6", more)}
}

// portRange is a range of ports of a rule.
func portRange(proto string, low, high int) m {
	return m{"protocol": proto, "port_range_min": low, "port_range_max": high}
}

func (h *host) removeRules(ids ...string) {
	h.t.Helper()
	for _, id := range ids {
		h.must(h.call("DELETE", "/v2.0/security-group-rules/"+id, nil, nil))
	}
}

// update changes attributes of a guest's port.
func (g *guest) update(attrs m) {
	g.h.t.Helper()
	g.h.must(g.h.call("PUT", "/v2.0/ports/"+g.ID, m{"port": attrs}, nil))
}

// flows are those of br-int, sorted, without their counters.
func (h *host) flows() string {
	h.t.Helper()
	out, err := h.ovs.Ofctl("--no-stats", "dump-flows", "br-int")
	h.must(err)
	return strings.Join(slices.Sorted(strings.Lines(out)), "")
}

var flowCookie = regexp.MustCompile(`cookie=(0x[0-9a-f]+),.* n_packets=(\d+),`)

// drops counts the packets that the filter of a port has dropped, by reason.
func (g *guest) drops() map[string]int {
	g.h.t.Helper()
	out, err := g.h.ovs.Ofctl("dump-flows", "br-int")
	g.h.must(err)
	drops := map[string]int{}
	for line := range strings.Lines(out) {
		f := flowCookie.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		cookie, err := strconv.ParseUint(f[1], 0, 64)
		g.h.must(err)
		_, kind, object := vswitch.SplitCookie(cookie)
		reason := vswitch.ReasonOf(cookie)
		if kind == vswitch.KindPort && object == vswitch.CookieObject(g.ID) && reason != 0 {
			n, _ := strconv.Atoi(f[2])
			drops[firewall.Reason(reason).String()] += n
		}
	}
	return drops
}

// awaitDrop waits until a port has dropped more for a reason than it had before.
func (g *guest) awaitDrop(reason string, before map[string]int) {
	g.h.t.Helper()
	g.h.await(g.Name+" to drop for "+reason, comes, func() error {
		if now := g.drops(); now[reason] <= before[reason] {
			return fmt.Errorf("it has dropped %v, before %v", now, before)
		}
		return nil
	})
}
