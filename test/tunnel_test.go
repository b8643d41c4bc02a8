package test

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/lab"
)

// answeredHere: who has an address on another host is answered on the asker's own, and packets go by tunnels as big as
// the network's MTU promises.
func answeredHere(c *manyHosts) {
	network := c.dualNetwork("answers")
	a, b := c.dualGuestOn("compute-0", network, "asks", nil), c.dualGuestOn("compute-1", network, "asked", nil)
	for _, to := range []string{b.addr(4).String(), b.addr(6).String()} {
		c.await("the way to "+to, comes, func() error { return a.sends(to, "-c", "1", "-W", "1") })
	}
	c.must(a.sends(b.addr(4).String(), "-c", "1", "-W", "20", "-M", "do", "-s", "1422")) // and 28 bytes of headers
	c.must(a.sends(b.addr(6).String(), "-c", "1", "-W", "20", "-M", "do", "-s", "1402")) // and 48
	if err := a.sends(b.addr(4).String(), "-c", "1", "-W", "1", "-M", "do", "-s", "1423"); err == nil {
		c.t.Error("a packet of 1451 bytes got through")
	}
	sw := c.Node("compute-0").OVS
	flows, err := sw.Ofctl("dump-flows", "br-tun")
	c.must(err)
	answers := []string{"arp_tpa=" + b.addr(4).String()}
	if sw.Datapath != lab.DatapathSystem { // which cannot
		answers = append(answers, "icmp_type=136,icmp_code=0,nd_target="+b.addr(6).String())
	}
	for _, answer := range answers {
		if countOf(flows, answer) == 0 {
			c.t.Errorf("nothing was answered by %s:\n%s", answer, flows)
		}
	}
}

// tunnelsStay: tunnels keep their numbers whoever restarts, and the ports of others on the bridge stay.
func tunnelsStay(c *manyHosts) {
	const foreign = "operator0"
	node := c.Node("compute-0")
	network := c.dualNetwork("numbers")
	a, b := c.dualGuestOn("compute-0", network, "here", nil), c.dualGuestOn("compute-1", network, "there", nil)
	_, err := node.OVS.Vsctl("add-port", "br-tun", foreign, "--", "set", "Interface", foreign, "type=internal")
	c.must(err)
	c.t.Cleanup(func() { _, _ = node.OVS.Vsctl("del-port", "br-tun", foreign) })
	numbers := func() (list []string) {
		out, err := node.OVS.Ofctl("show", "br-tun")
		c.must(err)
		for _, m := range regexp.MustCompile(`(?m)^ (\d+)\((\S+)\): addr`).FindAllStringSubmatch(out, -1) {
			list = append(list, m[2]+" "+m[1])
		}
		slices.Sort(list)
		return list
	}
	to := b.addr(4).String()
	c.await("the way to "+to, comes, func() error { return a.sends(to, "-c", "1", "-W", "1") })
	before := numbers()
	for i, name := range []string{foreign + " ", "patch-int ", "vxlan-0a00000c ", "vxlan-0a00000d "} {
		if len(before) != 4 || !strings.HasPrefix(before[i], name) {
			c.t.Fatalf("br-tun has %q", before)
		}
	}
	same := func() error {
		if now := numbers(); !slices.Equal(now, before) {
			return fmt.Errorf("ports were %q and are %q", before, now)
		}
		return a.sends(to, "-c", "1", "-W", "20")
	}
	c.must(node.Agent.Stop())
	c.must(node.StartAgent())
	c.must(same())
	c.awaitAgents()
	c.must(same())
	c.must(node.OVS.RestartVswitchd(c.t.Context(), lab.Crash))
	c.await("the tunnels after a crash of ovs-vswitchd", 30*time.Second, same)
}

// smallUnderlay: an underlay with too small an MTU is a fault with both numbers, seen at the port, which stays ACTIVE; and it
// ends with its cause.
func smallUnderlay(c *manyHosts) {
	node := c.Node("compute-0")
	g := c.guestOn("compute-0", c.dualNetwork("small"), "big", nil)
	fault := "MTU 1450 and 50 bytes of tunnel need an MTU of 1500; that of br-phys, which has the tunnel address 10.0.0.11, is 1400"
	shown := func(want bool) func() error {
		return func() error {
			out, err := node.Weft("trace", g.ID)
			is := false
			for line := range strings.Lines(out) {
				is = is || strings.Contains(line, fault) && !strings.Contains(line, " was: ") // which is history
			}
			if is != want {
				return errors.Join(fmt.Errorf("shown: %v\n%s", !want, out), err)
			}
			return nil
		}
	}
	_, err := node.Run("ip", "link", "set", "br-phys", "mtu", "1400")
	c.must(err)
	c.await("the fault", 20*time.Second, shown(true))
	if s := c.host.port(g.ID).Status; s != "ACTIVE" {
		c.t.Errorf("the port is %s", s)
	}
	_, err = node.Run("ip", "link", "set", "br-phys", "mtu", "1500")
	c.must(err)
	c.await("the end of the fault", 20*time.Second, shown(false))
}

// sends pings from the guest.
func (g *guest) sends(to string, args ...string) error {
	out, err := exec.Command("ip", append(append([]string{"netns", "exec", g.Name, "ping"}, args...), to)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ping from %s: %w: %s", g.Name, err, out)
	}
	return nil
}

var counted = regexp.MustCompile(`n_packets=(\d+)`)

// countOf counts the packets of the first flow with such a match.
func countOf(flows, match string) (n int) {
	for line := range strings.Lines(flows) {
		if m := counted.FindStringSubmatch(line); m != nil && strings.Contains(line, match+" ") {
			n, _ = strconv.Atoi(m[1])
			return n
		}
	}
	return 0
}
