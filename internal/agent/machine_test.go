package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/host"
	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// wholeHost runs the real thing: a switch with taps, namespaces, the DHCP responder.
func wholeHost(t *testing.T, o *lab.OVS, l *logs) (*host.Host, func()) {
	t.Helper()
	log := (&world{t: t}).logger(l)
	sw, err := ovs.Dial(t.Context(), ovs.Options{OVSDB: o.OVSDB, ListenOpenFlow: "127.0.0.1:6633", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Options{Log: log})
	d := dhcpd.New(dhcpd.Options{Log: log})
	h := host.New(host.Parts{Switch: sw, Kernel: k, DHCP: d, IntegrationBridge: "br-int", Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = sw.Run(ctx) })
	wg.Go(func() { _ = k.Run(ctx) })
	wg.Go(func() { _ = h.Run(ctx) })
	stop := func() { cancel(); wg.Wait(); d.Close() }
	t.Cleanup(stop)
	return h, stop
}

func (w *world) netdev(m Machine, l *logs) Options {
	o := w.options(m, l)
	o.Host.DatapathType, o.Settings.DatapathType = "netdev", "netdev"
	return o
}

// guest puts the guest's end of a port into a namespace and plugs the other end.
func (w *world) guest(o *lab.OVS, p *model.Port) string {
	w.t.Helper()
	ns := "g" + string(p.ID[:8])
	if err := kernel.CreateNamespace(ns); err != nil {
		w.t.Fatal(err)
	}
	v := kernel.Veth{Name: vif.TapName(p.ID), MAC: vif.TapMAC(p.MAC), Namespace: ns, Inner: "eth0", InnerMAC: p.MAC, MTU: 1450}
	if err := kernel.CreateVeth(v); err != nil {
		w.t.Fatal(err)
	}
	plugVIF(w.t, o, p)
	return ns
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := lab.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// lease asks for an address as a guest does and returns what it was told.
func lease(t *testing.T, ns string) string {
	t.Helper()
	out := run(t, "ip", "netns", "exec", ns, "busybox", "udhcpc", "-f", "-q", "-n", "-t", "5", "-T", "1", "-i", "eth0", "-s", "/bin/true")
	m := regexp.MustCompile(`lease of ([0-9.]+) obtained`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no lease: %s", out)
	}
	return m[1]
}

// ping sends at 10 ms until the returned function is called, which says how many were sent and lost.
func ping(t *testing.T, ns, to string) func() (sent, lost int) {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("ip", "netns", "exec", ns, "ping", "-n", "-i", "0.01", "-W", "1", to)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() (sent, lost int) {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("ping: %s", &out)
		}
		var received int
		_, err1 := fmt.Sscan(m[1], &sent)
		_, err2 := fmt.Sscan(m[2], &received)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		// The last one may still have been on its way.
		return sent, max(0, sent-received-1)
	}
}

func TestWholeHost(t *testing.T) {
	labtest.Require(t, "root", "ovs", "tun", "busybox", "ping", "ip")
	w, l := newWorld(t), &logs{}
	dir, err := os.MkdirTemp("/run", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	o, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir, Datapath: lab.DatapathNetdev})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Stop() })
	h, stopHost := wholeHost(t, o, l)
	a, stopAgent := w.agent(w.netdev(h, l))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.withoutPasses())
		}
	})
	w.joined()
	n, _ := w.network()

	const count = 50
	var ports []*model.Port
	var spaces []string
	var took []time.Duration
	for range count {
		p := w.port(n)
		begin := time.Now()
		spaces = append(spaces, w.guest(o, p))
		w.becomes(p.ID, model.PortActive)
		ports, took = append(ports, p), append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("veth, ovs-vsctl and ACTIVE together: p50 %v, max %v", took[count/2], took[count-1])

	t.Log("guests get their addresses from the records")
	for i := range 3 {
		if got, want := lease(t, spaces[i]), ports[i].FixedIPs[0].Addr.String(); got != want {
			t.Errorf("guest %d was told %s, want %s", i, got, want)
		}
		run(t, "ip", "-n", spaces[i], "addr", "add", ports[i].FixedIPs[0].Addr.String()+"/24", "dev", "eth0")
	}
	ev := a.Evidence(t.Context(), traceQuery(ports[0]))
	if ev.DHCP == nil || !ev.DHCP.Listening || len(ev.Transactions) < 2 || ev.Device == nil || ev.Device.Kind != "veth" || len(ev.Gaps) > 0 {
		t.Errorf("evidence: %+v, DHCP %+v", ev, ev.DHCP)
	}

	t.Log("the agent restarts while guests talk; the server is away meanwhile")
	w.eventually("the disk knows all that is ACTIVE", func() bool {
		b, err := os.ReadFile(filepath.Join(w.dir, "agent", "cloud.json"))
		return err == nil && strings.Count(string(b), `"ACTIVE"`) == count+1
	})
	revs, flows := w.revisions(ports), dumpFlows(t, o)
	one, two := ping(t, spaces[0], ports[1].FixedIPs[0].Addr.String()), ping(t, spaces[2], ports[0].FixedIPs[0].Addr.String())
	time.Sleep(200 * time.Millisecond)
	stopAgent()
	stopHost()
	w.stop()
	time.Sleep(300 * time.Millisecond)
	h, stopHost = wholeHost(t, o, l)
	began := time.Now()
	a, _ = w.agent(w.netdev(h, l))
	if got, want := lease(t, spaces[3]), ports[3].FixedIPs[0].Addr.String(); got != want {
		t.Errorf("without a server the guest was told %s, want %s", got, want)
	}
	t.Logf("a lease without a server %v after the agent's start (%v of them are its patience)", time.Since(began), a.o.DiskGrace)
	w.serve()
	w.eventually("in sync, everything reported", func() bool {
		ev := a.Evidence(t.Context(), traceQuery(ports[0]))
		return ev.Feed.InSync && ev.Reported != nil && ev.Reported.Wired && ev.Reported.DHCP
	})
	time.Sleep(300 * time.Millisecond)
	for i, stop := range []func() (int, int){one, two} {
		sent, lost := stop()
		t.Logf("ping %d: %d sent, %d lost", i, sent, lost)
		if lost > 0 || sent < 30 {
			t.Errorf("ping %d: %d of %d lost over a restart of the agent", i, lost, sent)
		}
	}
	if after := dumpFlows(t, o); after != flows {
		t.Errorf("flows differ after the restart:\n%s\n---\n%s", flows, after)
	}
	if got := w.revisions(ports); !slices.Equal(got, revs) {
		t.Error("a restart of the agent changed port records")
	}

	t.Log("ovs-vswitchd restarts: the namespace's device is made anew, and DHCP is back")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := o.RestartVswitchd(ctx, lab.Crash); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if got, want := lease(t, spaces[4]), ports[4].FixedIPs[0].Addr.String(); got != want {
		t.Errorf("after the switch's restart the guest was told %s, want %s", got, want)
	}
	t.Logf("a lease %v after ovs-vswitchd's restart", time.Since(began))

	t.Log("the network goes: nothing of it is left")
	for _, p := range ports {
		if out, err := o.Vsctl("--if-exists", "del-port", vif.TapName(p.ID)); err != nil {
			t.Fatal(out, err)
		}
		if err := w.control.DeletePort(t.Context(), p.ID, noRevision); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.control.DeleteNetwork(t.Context(), n, noRevision); err != nil {
		t.Fatal(err)
	}
	w.eventually("namespace and device are gone", func() bool {
		out := run(t, "ip", "netns", "list")
		vs, _ := o.Vsctl("list-ports", "br-int")
		return !strings.Contains(out, "qdhcp-") && !strings.Contains(vs, "tap")
	})
	stopHost()
}
