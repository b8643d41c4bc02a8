package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/doctor"
	"weft/internal/trace"
)

// examine asks the doctor.
func (c *manyHosts) examine(hosts ...string) (r doctor.Report) {
	c.t.Helper()
	began := time.Now()
	out, err := c.Servers()[0].Weft(append([]string{"doctor", "-o", "json"}, hosts...)...)
	if e := json.Unmarshal([]byte(out), &r); e != nil {
		c.t.Fatalf("%v: %v: %s", err, e, out)
	}
	if took := time.Since(began); took > time.Minute {
		c.t.Errorf("the doctor took %s", took)
	}
	return r
}

// finding is a check of a group, with its text.
func finding(r doctor.Report, group, name string) (found doctor.Check) {
	for _, g := range r.Groups {
		if strings.TrimSpace(g.Kind+" "+g.Name) != group {
			continue
		}
		for _, k := range g.Checks {
			if k.Name == name && (found.Name == "" || found.Verdict.Worse(k.Verdict) != found.Verdict) {
				found = k
			}
		}
	}
	return found
}

// awaitFinding waits until a check has a verdict, and a text with these words.
func (c *manyHosts) awaitFinding(group, name string, v trace.Verdict, words string) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s: %s to be %s", group, name, v), 20*time.Second, func() error {
		k := finding(c.examine(), group, name)
		if k.Verdict != v || !strings.Contains(k.Text, words) {
			return fmt.Errorf("it is %+v", k)
		}
		if v == trace.Broken && k.Do == "" {
			return fmt.Errorf("nothing to do is said: %+v", k)
		}
		return nil
	})
}

// What gcLeaves leaves behind for gcRemoves to find: of networks and ports that never were.
const (
	lostNetwork = "11111111-2222-4333-8444-555555555555"
	lostRouter  = "11111111-2222-4333-8444-666666666666"
	lostPort    = "22222222-3333-4444-8555-666666666666"
	lostTap     = "tap33333333-44"
	heldTap     = "tap44444444-55"
)

// gcLeaves leaves behind what Neutron and a crashed hypervisor leave, and what is somebody else's.
func gcLeaves(c *manyHosts) {
	n := c.Node("network")
	for _, ns := range []string{"qdhcp-" + lostNetwork, "qrouter-" + lostRouter, "operators-own"} {
		_, err := n.Run("ip", "netns", "add", ns)
		c.must(err)
	}
	for _, tap := range []string{lostTap, heldTap, "tap0"} {
		_, err := n.Run("sh", "-ec", "ip tuntap add dev "+tap+" mode tap; ip link set "+tap+" up")
		c.must(err)
	}
	_, err := n.OVS.Vsctl("add-port", "br-int", "tap22222222-33", "--", "set", "Interface", "tap22222222-33", "external_ids:iface-id="+lostPort,
		"--", "add-port", "br-int", "operator1", "--", "set", "Interface", "operator1", "type=internal")
	c.must(err)
	// Whoever is only just seen stays; from now on the agent knows them.
	c.await("all to be listed", 20*time.Second, func() error {
		out, err := n.Weft("gc", "--host", "network", "--yes")
		if err == nil || strings.Count(out, "may still be wanted") != 5 {
			return fmt.Errorf("%w\n%s", errors.Join(err, errors.New("not all")), out)
		}
		return nil
	})
}

// doctorFinds: what is well is well; a foreign controller and a small MTU are found, and end with their cause.
func doctorFinds(c *manyHosts) {
	var r doctor.Report
	c.await("all to be well", 20*time.Second, func() error {
		r = c.examine()
		for _, g := range r.Groups {
			for _, k := range g.Checks {
				if k.Verdict == trace.Broken || k.Verdict == trace.Unknown {
					return fmt.Errorf("%s %s: %+v", g.Kind, g.Name, k)
				}
			}
		}
		return nil
	})
	if k := finding(r, "host compute-1", "leftovers"); k.Verdict != trace.OK {
		c.t.Errorf("compute-1: %+v", k)
	}
	c.guestOn("compute-1", c.dualNetwork("examined"), "examined", nil)
	n := c.Node("compute-1")
	for range 4 { // the agent sets it right each time
		_, err := n.OVS.Vsctl("set-controller", "br-int", "tcp:127.0.0.1:6653")
		c.must(err)
		c.await("the agent's controller", 20*time.Second, func() error {
			if out, err := n.OVS.Vsctl("get-controller", "br-int"); err != nil || strings.Contains(out, "6653") {
				return fmt.Errorf("%s: %w", out, errors.Join(err, errors.New("another")))
			}
			return nil
		})
	}
	c.awaitFinding("host compute-1", "repairs", trace.Broken, "On bridge br-int somebody set")
	_, err := n.OVS.Vsctl("set-controller", "br-phys", "tcp:127.0.0.1:6653", "--", "set", "Bridge", "br-phys", "fail_mode=secure")
	c.must(err)
	c.awaitFinding("host compute-1", "bridge br-phys", trace.Broken, "tcp:127.0.0.1:6653")
	_, err = n.OVS.Vsctl("del-controller", "br-phys", "--", "set", "Bridge", "br-phys", "fail_mode=standalone")
	c.must(err)
	c.awaitFinding("host compute-1", "bridge br-phys", trace.OK, "")
	_, err = n.Run("ip", "link", "set", "br-phys", "mtu", "1400")
	c.must(err)
	c.awaitFinding("host compute-1", "underlay", trace.Broken, "has an MTU of 1400; networks here need 1500 (50 of them")
	_, err = n.Run("ip", "link", "set", "br-phys", "mtu", "1500")
	c.must(err)
	c.awaitFinding("host compute-1", "underlay", trace.OK, "")
	c.must(n.Agent.Signal(syscall.SIGSTOP))
	if k := finding(c.examine(), "host compute-1", "answer"); k.Verdict != trace.Unknown || !strings.Contains(k.Text, "said nothing for 5s") {
		c.t.Errorf("a host that hangs: %+v", k)
	}
	c.must(n.Agent.Signal(syscall.SIGCONT))
	c.must(n.Agent.Stop())
	c.awaitFinding("host compute-1", "answer", trace.Unknown, "not connected")
	c.must(n.StartAgent())
	c.awaitAgents()
	c.awaitFinding("host compute-1", "feed", trace.OK, "")
}

// openTap opens a tap as a hypervisor does.
func openTap(name string) (fd int, err error) {
	if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return fd, err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fd, err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	return fd, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
}

// threeServers: any server asks all of them, and their etcd is found to be of three.
func threeServers(c *manyHosts) {
	c.await("three servers to be well", 20*time.Second, func() error {
		r := c.examine()
		for _, n := range c.Servers() {
			for _, name := range []string{"answer", "clock", "etcd", "etcd alarm", "etcd commit", "certificate for other servers"} {
				if k := finding(r, "server "+n.Name, name); k.Verdict != trace.OK && k.Verdict != trace.Warning { // of a slow disk
					return fmt.Errorf("server %s: %+v", n.Name, k)
				}
			}
			if k := finding(r, "server "+n.Name, "etcd members"); !strings.HasPrefix(k.Text, "3 members, server-") || k.Verdict != trace.OK {
				return fmt.Errorf("server %s: %+v", n.Name, k)
			}
		}
		return nil
	})
}

// gcRemoves: what gcLeaves has left is listed, and removed when it is asked for; what is in use, wanted or somebody else's
// stays, and a neighbour's traffic goes on.
func gcRemoves(c *manyHosts) {
	network := c.dualNetwork("kept")
	a, b := c.dualGuestOn("network", network, "kept-a", nil), c.dualGuestOn("compute-0", network, "kept-b", nil)
	c.await("the way", comes, func() error { return a.sends(b.addr(4).String(), "-c", "1", "-W", "1") })
	n := c.Node("network")
	hold := -1
	c.must(n.Do(func() (err error) { hold, err = openTap(heldTap); return err }))
	defer unix.Close(hold)
	lost := []string{"namespace qdhcp-" + lostNetwork, "namespace qrouter-" + lostRouter, "tap " + lostTap, "port tap22222222-33 on br-int"}
	c.await("all to be listed and old enough", 2*time.Minute, func() error {
		out, err := n.Weft("gc")
		for _, what := range append([]string{heldTap}, lost...) {
			if !strings.Contains(out, what) {
				return fmt.Errorf("%s is not listed: %v\n%s", what, err, out)
			}
		}
		for _, other := range []string{"operator", "tap0", "qdhcp-" + network} {
			if strings.Contains(out, other) {
				c.t.Fatalf("%s is listed:\n%s", other, out)
			}
		}
		if strings.Contains(out, "it may go after") || !strings.Contains(out, "holds it") {
			return errors.New(out)
		}
		return nil
	})
	const all = "ls /run/netns; ip -o link | cut -d: -f2 | cut -d@ -f1"
	before, err := n.Run("sh", "-c", all)
	c.must(err)
	ping := c.ping(a.port, b.ip())
	out, err := n.Weft("gc", "--host", "network", "--yes")
	c.must(err)
	for _, what := range lost {
		if !strings.Contains(out, what+" removed") {
			c.t.Errorf("%s is not said to be removed:\n%s", what, out)
		}
	}
	after, err := n.Run("sh", "-c", all)
	c.must(err)
	gone := []string{"qdhcp-" + lostNetwork, "qrouter-" + lostRouter, lostTap}
	for _, name := range strings.Fields(before) {
		if there := slices.Contains(strings.Fields(after), name); there == slices.Contains(gone, name) {
			c.t.Errorf("%s is there: %v", name, there)
		}
	}
	ports, err := n.OVS.Vsctl("list-ports", "br-int")
	c.must(err)
	if strings.Contains(ports, "tap22222222-33") || !strings.Contains(ports, "operator1") {
		c.t.Errorf("br-int has %q", ports)
	}
	if sent, missed := ping.stop(c.host); missed > 0 || sent == 0 {
		c.t.Errorf("%d of %d pings of a neighbour were lost", missed, sent)
	}
	if out, err := n.Weft("gc"); err != nil || strings.Count(out, "\n") != 2 || !strings.Contains(out, heldTap) {
		c.t.Errorf("%v %s", err, out)
	}
}
