package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/host"
	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/trace"
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

func (w *whole) real(m Machine, l *logs) Options {
	o := w.options(m, l)
	o.Resync = 2 * time.Second
	o.Host.DatapathType, o.Settings.DatapathType = w.o.Datapath, w.o.Datapath
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
	out := run(t, "ip", "netns", "exec", ns, "busybox", "udhcpc", "-f", "-q", "-n", "-t", "30", "-T", "1", "-i", "eth0", "-s", "/bin/true")
	m := regexp.MustCompile(`lease of ([0-9.]+) obtained`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no lease: %s", out)
	}
	return m[1]
}

var pong = regexp.MustCompile(`bytes from .* icmp_seq=(\d+)`)

// ping sends at 10 ms until the returned function is called, which says how many were sent and lost up to
// some that were answered after the call.
func ping(t *testing.T, ns, to string) func() (sent, lost int) {
	t.Helper()
	var out logs
	cmd := exec.Command("ip", "netns", "exec", ns, "ping", "-n", "-i", "0.01", to)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	answered := func() [][]string { return pong.FindAllStringSubmatch(out.String(), -1) }
	return func() (sent, lost int) {
		enough := len(answered()) + 3
		(&world{t: t}).eventually("pings are answered", func() bool { return len(answered()) >= enough })
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		seen := map[int]bool{}
		for _, m := range answered() {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			seen[n], sent = true, max(sent, n)
		}
		return sent, sent - len(seen)
	}
}

// whole is a host with everything real but the hypervisor, and its server.
type whole struct {
	*world
	l      *logs
	o      *lab.OVS
	a      *Agent
	net    model.NetworkID
	ports  []*model.Port
	spaces []string
	// stop ends the agent and its drivers.
	stop func()
}

func newWhole(t *testing.T) *whole {
	labtest.Require(t, "root", "ovs", "tun", "busybox", "ping", "ip")
	w := &whole{world: newWorld(t), l: &logs{}}
	dir, err := os.MkdirTemp("/run", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	if w.o, err = lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir, Datapath: lab.DatapathReal()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.o.Stop() })
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.l.withoutPasses())
		}
	})
	w.start()
	return w
}

func (w *whole) start() {
	h, stopHost := wholeHost(w.t, w.o, w.l)
	a, stopAgent := w.agent(w.real(h, w.l))
	w.a, w.stop = a, func() { stopAgent(); stopHost() }
}

func (w *whole) addr(i int) string { return w.ports[i].FixedIPs[0].Addr.String() }

// leases checks that a guest is told the address that its record has.
func (w *whole) leases(i int) {
	w.t.Helper()
	if got := lease(w.t, w.spaces[i]); got != w.addr(i) {
		w.t.Errorf("guest %d was told %s, want %s", i, got, w.addr(i))
	}
}

func TestWholeHost(t *testing.T) {
	w := newWhole(t)
	w.joined()
	w.net, _ = w.network()
	if w.o.Datapath == lab.DatapathSystem {
		w.plugs(12) // in a guest that is emulated
	} else {
		w.plugs(50)
	}
	w.guestsGetAddresses()
	w.chainIsWhole()
	w.agentRestarts()
	w.switchRestarts()
	w.devicesAreLost()
	w.everythingGoes()
}

func (w *whole) plugs(count int) {
	var took []time.Duration
	for range count {
		p := w.port(w.net)
		begin := time.Now()
		w.spaces = append(w.spaces, w.guest(w.o, p))
		w.becomes(p.ID, model.PortActive)
		w.ports, took = append(w.ports, p), append(took, time.Since(begin))
	}
	slices.Sort(took)
	w.t.Logf("veth, ovs-vsctl and ACTIVE together: p50 %v, max %v", took[count/2], took[count-1])
}

func (w *whole) guestsGetAddresses() {
	for i := range 3 {
		w.leases(i)
		run(w.t, "ip", "-n", w.spaces[i], "addr", "add", w.addr(i)+"/24", "dev", "eth0")
	}
	ev := w.a.Evidence(w.t.Context(), traceQuery(w.ports[0]))
	if ev.DHCP == nil || !ev.DHCP.Listening || len(ev.Transactions) < 2 || ev.Device == nil || ev.Device.Kind != "veth" || len(ev.Gaps) > 0 {
		w.t.Errorf("evidence: %+v, DHCP %+v", ev, ev.DHCP)
	}
}

// chainIsWhole asks for the chain of a port as weft trace does: by its address.
func (w *whole) chainIsWhole() {
	in := inspect.New(inspect.Options{Cloud: w.control, Hosts: w.server})
	var out strings.Builder
	rep, err := in.Report(w.t.Context(), w.addr(0), nil)
	if err == nil {
		err = rep.Print(&out)
	}
	if err != nil || rep.Verdict != trace.OK {
		w.t.Errorf("%v\n%s", err, &out)
	}
	w.t.Log(out.String())
}

// agentRestarts while guests talk, and while the server is away: no packet is lost, DHCP
// is served from what was known, no flow and no record changes.
func (w *whole) agentRestarts() {
	w.eventually("the disk knows all that is ACTIVE", func() bool {
		b, err := os.ReadFile(filepath.Join(w.dir, "agent", "cloud.json"))
		return err == nil && strings.Count(string(b), `"ACTIVE"`) == len(w.ports)+1
	})
	revs, flows := w.revisions(w.ports), dumpFlows(w.t, w.o)
	w.track()
	one, two := ping(w.t, w.spaces[0], w.addr(1)), ping(w.t, w.spaces[2], w.addr(0))
	time.Sleep(200 * time.Millisecond)
	w.stop()
	w.world.stop()
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	w.start()
	if got := w.conntrack(); !strings.Contains(got, "192.0.2.99") {
		w.t.Errorf("a tracked connection is gone after the agent's restart: %s", got)
	}
	w.leases(3)
	w.t.Logf("a lease without a server %v after the agent's start (%v of them are its patience)", time.Since(began), w.a.o.DiskGrace)
	w.serve()
	w.eventually("in sync, everything reported", func() bool {
		ev := w.a.Evidence(w.t.Context(), traceQuery(w.ports[0]))
		return ev.Feed.InSync && ev.Reported != nil && ev.Reported.Wired && ev.Reported.DHCP
	})
	time.Sleep(300 * time.Millisecond)
	for i, stop := range []func() (int, int){one, two} {
		sent, lost := stop()
		w.t.Logf("ping %d: %d sent, %d lost", i, sent, lost)
		if lost > 0 || sent < 30 {
			w.t.Errorf("ping %d: %d of %d lost over a restart of the agent", i, lost, sent)
		}
	}
	if after := dumpFlows(w.t, w.o); after != flows {
		w.t.Errorf("flows differ after the restart:\n%s\n---\n%s", flows, after)
	}
	if got := w.revisions(w.ports); !slices.Equal(got, revs) {
		w.t.Error("a restart of the agent changed port records")
	}
}

// track makes the switch track a connection of somebody else's.
func (w *whole) track() {
	w.t.Helper()
	// UDP from 192.0.2.99:5000 to 192.0.2.98:53.
	const packet = "020000000001020000000002" + "0800" + "4500001c000100004011f60a" + "c0000263" + "c0000262" + "1388003500080000"
	if out, err := w.o.Vsctl("add-br", "br-foreign", "--", "set", "Bridge", "br-foreign", "datapath_type="+w.o.Datapath); err != nil {
		w.t.Fatal(out, err)
	}
	if out, err := w.o.Ofctl("packet-out", "br-foreign", "in_port=LOCAL packet="+packet+" actions=ct(commit,zone=9)"); err != nil {
		w.t.Fatal(out, err)
	}
	if got := w.conntrack(); !strings.Contains(got, "192.0.2.99") {
		w.t.Fatalf("nothing is tracked: %q", got)
	}
}

func (w *whole) conntrack() string {
	out, err := w.o.Appctl("dpctl/dump-conntrack")
	if err != nil {
		w.t.Fatal(out, err)
	}
	return out
}

// switchRestarts: the userspace datapath makes the namespace's device anew, and it has to
// be brought in again.
func (w *whole) switchRestarts() {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	revs := w.revisions(w.ports)
	if err := w.o.RestartVswitchd(ctx, lab.Crash); err != nil {
		w.t.Fatal(err)
	}
	began := time.Now()
	w.leases(4)
	w.t.Logf("a lease %v after ovs-vswitchd's restart", time.Since(began))
	time.Sleep(200 * time.Millisecond)
	if got := w.revisions(w.ports); !slices.Equal(got, revs) {
		w.t.Error("a restart of ovs-vswitchd changed port records: a status flapped")
	}
	if r := w.repairs(); len(r) > 0 {
		w.t.Errorf("what nobody else has changed was put back: %+v", r)
	}
}

// devicesAreLost to somebody who deletes what is the agent's: ovs-vswitchd does not notice.
func (w *whole) devicesAreLost() {
	ns := vif.DHCPNamespace(w.net)
	var tap string
	for _, p := range w.cloudPorts(w.net) {
		if p.DeviceOwner == model.OwnerDHCP {
			tap = vif.TapName(p.ID)
		}
	}
	if w.o.Datapath == lab.DatapathNetdev { // the kernel's devices cannot be deleted
		run(w.t, "ip", "-n", ns, "link", "del", tap)
		began := time.Now()
		w.leases(5)
		w.t.Logf("a lease %v after the DHCP device was deleted", time.Since(began))
		w.wasPutBack("namespace " + ns + "/" + tap)
	}

	// The sockets keep a nameless namespace alive, so that guests go on being served; the
	// next comparison with the machine puts it right.
	run(w.t, "ip", "netns", "del", ns)
	w.leases(6)
	w.eventually("namespace and device are back", func() bool {
		out, err := exec.Command("ip", "-br", "-n", ns, "addr", "show", tap).CombinedOutput()
		return err == nil && strings.Contains(string(out), "/24")
	})
	w.leases(7)
	w.wasPutBack("namespace " + ns)
	for _, up := range []bool{false, true} {
		if _, err := w.control.UpdateNetwork(w.t.Context(), w.net, control.NetworkRequest{AdminStateUp: control.Some(up)}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.leases(8)
}

// repairs are those of which weft trace would hear.
func (w *whole) repairs() []trace.Repair {
	return w.a.Evidence(w.t.Context(), traceQuery(w.ports[0])).Repairs
}

// wasPutBack: somebody had removed it, and that is remembered.
func (w *whole) wasPutBack(object string) {
	w.t.Helper()
	w.eventually(object+" is remembered", func() bool {
		return slices.ContainsFunc(w.repairs(), func(r trace.Repair) bool { return r.Kind+" "+r.Name == object && r.Found == "gone" })
	})
}

func (w *whole) everythingGoes() {
	for _, p := range w.ports {
		if out, err := w.o.Vsctl("--if-exists", "del-port", vif.TapName(p.ID)); err != nil {
			w.t.Fatal(out, err)
		}
		if err := w.control.DeletePort(w.t.Context(), p.ID, noRevision); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.control.DeleteNetwork(w.t.Context(), w.net, noRevision); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("namespace and device are gone", func() bool {
		out := run(w.t, "ip", "netns", "list")
		vs, _ := w.o.Vsctl("list-ports", "br-int")
		return !strings.Contains(out, "qdhcp-") && !strings.Contains(vs, "tap")
	})
}
