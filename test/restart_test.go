package test

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
)

// pair plugs two namespaces, a and b, into a network; they get their addresses by DHCP.
func (h *host) pair(network string) (a, b port) {
	h.t.Helper()
	ports := []port{h.newPort(network, "a", nil), h.newPort(network, "b", nil)}
	for _, p := range ports {
		h.namespace(p.Name)
		h.mustWeft("plug", p.ID, "--netns", p.Name)
		if got, err := h.udhcpc(p.Name); err != nil || got != p.ip() {
			h.t.Fatalf("%s by DHCP, %s by the API: %v", got, p.ip(), err)
		}
	}
	return ports[0], ports[1]
}

// pinger pings at 10 ms until it is stopped, and hears which of them are answered.
type pinger struct {
	cmd *exec.Cmd

	mu       sync.Mutex
	out      strings.Builder
	answered map[int]bool // by sequence number, from 1
	last     int          // the highest of them
	done     chan struct{}
}

var pingAnswer = regexp.MustCompile(`icmp_seq=(\d+) .*time=`)

func (h *host) ping(from port, to string) *pinger {
	h.t.Helper()
	p := &pinger{answered: map[int]bool{}, done: make(chan struct{})}
	p.cmd = exec.Command("ip", "netns", "exec", from.Name, "ping", "-i", "0.01", "-W", "1", to)
	out, err := p.cmd.StdoutPipe()
	h.must(err)
	p.cmd.Stderr = p.cmd.Stdout
	h.must(p.cmd.Start())
	h.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go p.read(out)
	return p
}

func (p *pinger) read(out io.Reader) {
	defer close(p.done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		p.mu.Lock()
		fmt.Fprintln(&p.out, lines.Text())
		if m := pingAnswer.FindStringSubmatch(lines.Text()); m != nil {
			seq, _ := strconv.Atoi(m[1])
			p.answered[seq], p.last = true, max(p.last, seq)
		}
		p.mu.Unlock()
	}
}

// heard returns the highest sequence number answered until now.
func (p *pinger) heard() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

var pingCount = regexp.MustCompile(`(\d+) packets transmitted`)

// stop returns how many were sent and lost. It waits for answers to pings sent after it was called, so that
// all sent before have had their time; what is under way when ping ends is neither sent nor lost. If no answers come
// any more, everything since the last one is lost.
func (p *pinger) stop(h *host) (sent, lost int) {
	h.t.Helper()
	enough, deadline := p.heard()+20, time.Now().Add(30*time.Second)
	for p.heard() < enough && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	_ = p.cmd.Process.Signal(sigint) // ping prints its summary
	<-p.done
	_ = p.cmd.Wait()
	m := pingCount.FindStringSubmatch(p.out.String())
	if m == nil {
		h.t.Fatalf("ping says %s", &p.out)
	}
	if sent = p.last; sent < enough {
		sent, _ = strconv.Atoi(m[1])
	}
	return sent, sent - len(p.answered)
}

// An agent that restarts, cleanly or by a crash, with many ports plugged loses not one ping
// and deletes no flow.
func TestAgentRestartLosesNothing(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	h := newHost(t)
	server := h.start("server")
	h.await("the API", 15*time.Second, func() error { return h.call("GET", "/", nil, nil) })
	agent := h.start("agent")
	h.await("the agent", 20*time.Second, func() error { return h.agentAlive(agent) })
	network := h.network("net", "10.20.0.0/24")
	a, b := h.pair(network)
	others := 48
	if h.ovs.Datapath == lab.DatapathSystem {
		others = 8 // in a guest that is emulated
	}
	var rest []port
	for i := range others {
		p := h.newPort(network, fmt.Sprintf("p%d", i), m{"binding:host_id": hostName})
		tap := "tap" + p.ID[:11]
		rest = append(rest, p)
		h.vsctl("add-port", "br-int", tap, "--", "set", "Interface", tap, "type=internal",
			"external_ids:iface-id="+p.ID, "external_ids:attached-mac="+p.MAC)
	}
	for _, p := range append(rest, a, b) {
		h.awaitStatus(p.ID, "ACTIVE")
	}
	tags := h.vsctl("--columns=name,tag", "list", "Port")
	flows := h.flowCount()

	ping := h.ping(a, b.ip())
	time.Sleep(300 * time.Millisecond)
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		if how == "SIGTERM" {
			agent.stop()
		} else {
			agent.kill()
		}
		time.Sleep(300 * time.Millisecond)
		before := time.Now()
		agent = h.start("agent")
		h.await("the agent to report everything again", 20*time.Second, func() error {
			if err := h.agentAlive(agent); err != nil {
				return err
			}
			if n := strings.Count(h.vsctl("show"), "is_connected: true"); n < 2 {
				return fmt.Errorf("%d bridges are connected", n)
			}
			return nil
		})
		// It must not merely be connected but have had time to do harm.
		time.Sleep(1500 * time.Millisecond)
		if n := h.flowCount(); n != flows {
			t.Errorf("after %s: %d flows, before %d", how, n, flows)
		}
		if young := h.youngFlows(time.Since(before)); len(young) > 0 {
			t.Errorf("after %s: %d flows were made anew, such as %s", how, len(young), young[0])
		}
		for _, p := range append(rest, a, b) {
			if s := h.port(p.ID).Status; s != "ACTIVE" {
				t.Errorf("after %s: port %s is %s", how, p.ID, s)
			}
		}
	}
	sent, lost := ping.stop(h)
	t.Logf("%d pings sent, %d lost", sent, lost)
	if lost > 0 {
		t.Errorf("%d of %d pings were lost", lost, sent)
	}
	if now := h.vsctl("--columns=name,tag", "list", "Port"); now != tags {
		t.Errorf("local VLANs changed from\n%s\nto\n%s", tags, now)
	}
	server.stop()
	agent.stop()
}

// flowCount counts the flows of both bridges.
func (h *host) flowCount() int {
	n := 0
	for _, b := range []string{"br-int", "br-tun"} {
		out, err := h.ovs.Ofctl("dump-flows", b)
		h.must(err)
		n += strings.Count(out, "cookie=") - strings.Count(out, "hard_timeout=")
	}
	return n
}

var flowDuration = regexp.MustCompile(`duration=([0-9.]+)s`)

// youngFlows are flows of br-int and br-tun younger than d; learnt ones do not count.
func (h *host) youngFlows(d time.Duration) (young []string) {
	for _, b := range []string{"br-int", "br-tun"} {
		out, err := h.ovs.Ofctl("dump-flows", b)
		h.must(err)
		for line := range strings.Lines(out) {
			m := flowDuration.FindStringSubmatch(line)
			if m == nil || strings.Contains(line, "hard_timeout=") {
				continue
			}
			if age, _ := strconv.ParseFloat(m[1], 64); age < d.Seconds() {
				young = append(young, line)
			}
		}
	}
	return young
}

// When ovs-vswitchd restarts, by itself or by a crash, everything comes back without help.
func TestVswitchdRestart(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	h := newHost(t)
	h.up()
	a, b := h.pair(h.network("net", "10.20.0.0/24"))
	flows := h.flowCount()
	for _, how := range []lab.Restart{lab.Clean, lab.Crash} {
		h.must(h.ovs.RestartVswitchd(t.Context(), how))
		began := time.Now()
		h.await("pings to go through again", 15*time.Second, func() error {
			out, err := exec.Command("ip", "netns", "exec", a.Name, "ping", "-c", "1", "-W", "1", b.ip()).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		t.Logf("restart %d: first ping after %s", how, time.Since(began))
		h.await("all flows", 10*time.Second, func() error {
			if n := h.flowCount(); n != flows {
				return fmt.Errorf("%d flows, before %d", n, flows)
			}
			return nil
		})
		h.await("DHCP", 10*time.Second, func() error {
			got, err := h.udhcpc(a.Name)
			if err == nil && got != a.ip() {
				err = fmt.Errorf("got %s, want %s", got, a.ip())
			}
			return err
		})
		h.awaitStatus(a.ID, "ACTIVE")
	}
}

// While the server is away the agent keeps serving DHCP and flows; when it is back every
// acknowledged object is still there, and the agent catches up.
func TestServerRestart(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	h := newHost(t)
	server := h.start("server")
	h.await("the API", 15*time.Second, func() error { return h.call("GET", "/", nil, nil) })
	agent := h.start("agent")
	h.await("the agent", 20*time.Second, func() error { return h.agentAlive(agent) })
	network := h.network("net", "10.20.0.0/24")
	a, b := h.pair(network)

	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		if how == "SIGTERM" {
			server.stop()
		} else {
			server.kill()
		}
		if err := h.call("GET", "/v2.0/ports", nil, nil); err == nil {
			t.Fatal("the server still answers")
		}
		// While it is away: a lease, a ping, and an interface that comes.
		if got, err := h.udhcpc(a.Name); err != nil || got != a.ip() {
			t.Errorf("DHCP without the server: %q, %v", got, err)
		}
		h.run("ip", "netns", "exec", a.Name, "ping", "-c", "1", "-W", "20", b.ip())
		h.vsctl("set", "Interface", "tap"+b.ID[:11], `external_ids:iface-id=""`)

		server = h.start("server")
		h.await("the API", 15*time.Second, func() error { return h.call("GET", "/v2.0/ports/"+a.ID, nil, nil) })
		if p := h.port(a.ID); p.MAC != a.MAC || p.ip() != a.ip() {
			t.Errorf("port was %+v and is %+v", a, p)
		}
		// What left while the server was away is noticed,
		h.awaitStatus(b.ID, "DOWN")
		h.vsctl("set", "Interface", "tap"+b.ID[:11], "external_ids:iface-id="+b.ID)
		h.awaitStatus(b.ID, "ACTIVE")
		h.awaitStatus(a.ID, "ACTIVE")
	}
	server.stop()
	agent.stop()
}

// kill -9 in the middle of concurrent port creates: after a restart every port that
// was acknowledged is there, and no address or MAC is there twice.
func TestKillDuringCreates(t *testing.T) {
	h := newHost(t)
	up := h.up()
	h.must(h.call("PUT", "/v2.0/quotas/fake_project_id", m{"quota": m{"port": -1}}, nil))
	network := h.network("net", "10.30.0.0/16")
	var mu sync.Mutex
	acked := map[string]port{}
	var next atomic.Int64
	const creates = 10000 // more than are made before the kill, however late that comes
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for next.Add(1) <= creates {
				var p struct{ Port port }
				if err := h.call("POST", "/v2.0/ports", m{"port": m{"network_id": network}}, &p); err != nil {
					return // the server is gone
				}
				mu.Lock()
				acked[p.Port.ID] = p.Port
				mu.Unlock()
			}
		})
	}
	h.await("some creates", 10*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(acked) < 200 {
			return fmt.Errorf("%d creates", len(acked))
		}
		return nil
	})
	up.kill()
	wg.Wait()
	t.Logf("killed after %d creates were acknowledged", len(acked))
	if len(acked) >= creates {
		t.Error("the kill came too late to test anything")
	}
	if out, err := h.weft("fsck", "--state-dir", filepath.Join(h.dir, "state")); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
	h.up()
	var list struct{ Ports []port }
	h.must(h.call("GET", "/v2.0/ports?network_id="+network, nil, &list))
	found := map[string]port{}
	addrs, macs := map[string]string{}, map[string]string{}
	for _, p := range list.Ports {
		found[p.ID] = p
		if other, dup := addrs[p.ip()]; dup {
			t.Errorf("address %s of %s is that of %s too", p.ip(), p.ID, other)
		}
		if other, dup := macs[p.MAC]; dup {
			t.Errorf("MAC %s of %s is that of %s too", p.MAC, p.ID, other)
		}
		addrs[p.ip()], macs[p.MAC] = p.ID, p.ID
	}
	for id, p := range acked {
		if q, ok := found[id]; !ok || q.ip() != p.ip() || q.MAC != p.MAC {
			t.Errorf("acknowledged %+v, found %+v", p, q)
		}
	}
}
