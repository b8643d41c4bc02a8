package ovs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/lab/labtest"
	"weft/internal/model"
	"weft/internal/plan/vswitch"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// world is a private Open vSwitch with a Switch of this package that runs on it.
type world struct {
	testing.TB
	lab *lab.OVS
	s   *Switch
	// stop ends Run and waits for it.
	stop   func()
	target string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	labtest.Require(t, "ovs")
	dir, err := os.MkdirTemp("/tmp", "weft-switch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := &world{TB: t, lab: o}
	w.start("127.0.0.1:0")
	t.Cleanup(func() { w.stop() })
	return w
}

// start runs a Switch, as a process born now would.
func (w *world) start(listen string) {
	w.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(w.Output(), nil))
	}
	s, err := Dial(context.Background(), Options{OVSDB: w.lab.OVSDB, ListenOpenFlow: listen, Resync: -1, Log: log})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.s, w.target = s, s.ControllerTarget()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("run: %v", err)
		}
		w.stop = func() {}
	}
}

// restart ends the Switch and starts another on the same port.
func (w *world) restart() {
	w.Helper()
	addr := strings.TrimPrefix(w.target, "tcp:")
	w.stop()
	w.start(addr)
}

func (w *world) apply(want vswitch.Switch) {
	w.Helper()
	if faults := w.s.Apply(w.Context(), want); len(faults) > 0 {
		for _, f := range faults {
			w.Error(f)
		}
		w.FailNow()
	}
}

func (w *world) vsctl(args ...string) string {
	w.Helper()
	out, err := w.lab.Vsctl(args...)
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (w *world) ofctl(args ...string) string {
	w.Helper()
	out, err := w.lab.Ofctl(args...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// flowTexts are the flows of a bridge as ovs-ofctl shows them, without counters.
func (w *world) flowTexts(bridge string) []string {
	w.Helper()
	var list []string
	for _, l := range strings.Split(w.ofctl("dump-flows", "--no-stats", bridge), "\n") {
		if l = strings.TrimSpace(l); l != "" {
			list = append(list, l)
		}
	}
	slices.Sort(list)
	return list
}

// eventually waits until what is true.
func (w *world) eventually(name string, what func() bool) {
	w.Helper()
	deadline := time.Now().Add(time.Minute)
	for !what() {
		if time.Now().After(deadline) {
			w.Fatalf("not within a minute: %s", name)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// changes are the counters of what was changed: a look at a bridge that has just connected may come at any time.
func (w *world) changes() Stats {
	s := w.s.Stats()
	s.Dumps, s.Connections = 0, 0
	return s
}

const owner = 0x77ef

// flowsOfPort are some flows as a wired port has them.
func flowsOfPort(ofport uint32, vlan uint16, mac model.MAC) []vswitch.Flow {
	c := vswitch.Cookie(owner, vswitch.KindPort, ofport)
	return []vswitch.Flow{
		vswitch.NewFlow(0, 100, c, vswitch.Any().InPort(ofport), vswitch.SetReg(vswitch.Reg5, ofport), vswitch.Resubmit{Table: 60}),
		vswitch.NewFlow(60, 90, c, vswitch.Any().VLAN(vlan).EthDst(mac), vswitch.SetReg(vswitch.Reg5, ofport), vswitch.PopVLAN{}, vswitch.Output{Port: ofport}),
		vswitch.NewFlow(71, 95, c, vswitch.Any().InPort(ofport).ARP().EthSrc(mac), vswitch.Normal{}),
		vswitch.NewFlow(71, 80, c, vswitch.Any().InPort(ofport).UDP(68, 67).EthSrc(mac),
			vswitch.CT{Commit: true, Table: vswitch.NoTable, ZoneField: vswitch.Reg6, Exec: []vswitch.Action{vswitch.SetField{Field: vswitch.CTMark, Value: vswitch.Num(1)}}},
			vswitch.Resubmit{Table: 94}),
	}
}

func mac(n int) model.MAC { return model.MAC{0xfa, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)} }

func portID(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n) }

// learned is what a learn action of br-tun writes.
var learned = vswitch.Cookie(owner, vswitch.KindLearned, 0)

// example is a plan like a real one: two bridges with patch ports, a DHCP port, tables with names.
func (w *world) example(ports ...int) vswitch.Switch {
	base := vswitch.Cookie(owner, vswitch.KindBase, 0)
	bridge := func(name string, ports []vswitch.Port, tables map[uint8]string) vswitch.Bridge {
		return vswitch.Bridge{Name: name, DatapathType: "dummy", FailMode: "secure", Controller: w.target,
			Protocols: []string{"OpenFlow10", "OpenFlow13", "OpenFlow14"}, Ports: ports, TableNames: tables}
	}
	dhcp := vswitch.Port{Name: "tapdhcp", Type: "internal", MTU: 1450, Tag: 1,
		ExternalIDs: map[string]string{"iface-id": portID(0xd), "attached-mac": mac(0xd).String(), "iface-status": "active"},
		OtherConfig: map[string]string{"net_uuid": portID(1), "network_type": "vxlan", "tag": "1"}}
	sw := vswitch.Switch{
		Bridges: []vswitch.Bridge{
			bridge("br-int", []vswitch.Port{{Name: "patch-tun", Type: "patch", Options: map[string]string{"peer": "patch-int"}}, dhcp},
				map[uint8]string{0: "local_switching", 60: "transient"}),
			bridge("br-tun", []vswitch.Port{{Name: "patch-int", Type: "patch", Options: map[string]string{"peer": "patch-tun"}}},
				map[uint8]string{20: "ucast_to_tun"}),
		},
		Flows: map[string]vswitch.Flows{
			"br-int": {partOf(
				vswitch.NewFlow(0, 0, base, nil),
				vswitch.NewFlow(60, 3, base, nil, vswitch.Normal{}),
				vswitch.NewFlow(23, 0, base, nil),
			)},
			"br-tun": {partOf(
				vswitch.NewFlow(0, 1, base, vswitch.Any().InPort(1), vswitch.GotoTable{Table: 2}),
				vswitch.NewFlow(2, 0, base, vswitch.Any().Multicast(), vswitch.GotoTable{Table: 22}),
				vswitch.NewFlow(4, 1, base, vswitch.Any().Is(vswitch.TunID, vswitch.Num(0x3999)), vswitch.PushVLAN{}, vswitch.SetVLAN(1), vswitch.GotoTable{Table: 10}),
				vswitch.NewFlow(10, 1, base, nil, vswitch.Learn{Table: 20, Priority: 1, HardTimeout: 300, Cookie: learned, Specs: []vswitch.LearnSpec{
					{Kind: vswitch.LearnMatch, NBits: 12, Src: vswitch.VLANTCI, Dst: vswitch.VLANTCI},
					{Kind: vswitch.LearnMatch, NBits: 48, Src: vswitch.EthSrc, Dst: vswitch.EthDst},
					{Kind: vswitch.LearnLoad, NBits: 16, Dst: vswitch.VLANTCI},
					{Kind: vswitch.LearnLoad, NBits: 64, Src: vswitch.TunID, Dst: vswitch.TunID},
					{Kind: vswitch.LearnOutput, NBits: 32, Src: vswitch.InPortField}}}, vswitch.Output{Port: 1}),
				vswitch.NewFlow(20, 0, base, nil, vswitch.GotoTable{Table: 22}),
			)},
		},
	}
	for _, n := range ports {
		sw.Flows["br-int"] = append(sw.Flows["br-int"], partOf(flowsOfPort(uint32(n), 1, mac(n))...))
	}
	return sw
}

// wantFlows compares the flows of a bridge with a list, as ovs-ofctl shows them.
func (w *world) wantFlows(bridge string, want []vswitch.Flow, more ...string) {
	w.Helper()
	got, foreign, err := w.s.DumpFlows(w.Context(), bridge, 0, 0)
	if err != nil {
		w.Fatal(err)
	}
	if foreign != len(more) {
		w.Errorf("%s: %d flows that are none of a plan, want %d", bridge, foreign, len(more))
	}
	texts := func(fs []vswitch.Flow) (list []string) {
		for _, f := range fs {
			list = append(list, f.String())
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	var have []vswitch.Flow
	for _, f := range got {
		have = append(have, f.Flow)
	}
	if a, b := texts(want), texts(have); !slices.Equal(a, b) {
		w.Errorf("%s:\nwanted\n%s\ngot\n%s", bridge, strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func TestApplyTwiceDoesNothing(t *testing.T) {
	w := newWorld(t)
	start := time.Now()
	want := w.example(7, 8)
	w.apply(want)
	t.Logf("from nothing in %v", time.Since(start))
	w.wantFlows("br-int", want.Flows["br-int"].All())
	w.wantFlows("br-tun", want.Flows["br-tun"].All())
	before := w.changes()
	start = time.Now()
	w.apply(want)
	t.Logf("again in %v", time.Since(start))
	if after := w.changes(); after != before {
		t.Errorf("the second time was not idle: %+v, then %+v", before, after)
	}
	if before.Transactions != 1 || before.Bundles > 2 {
		t.Errorf("more than one transaction, or more than one bundle per bridge: %+v", before)
	}
	for _, row := range [][2]string{
		{"get bridge br-int fail_mode", "secure"},
		{"get bridge br-int other_config:disable-in-band", `"true"`},
		{"get bridge br-int protocols", "[OpenFlow10, OpenFlow13, OpenFlow14]"},
		{"get port tapdhcp tag", "1"},
		{"get interface tapdhcp mtu_request", "1450"},
		{"get interface tapdhcp external_ids:iface-status", "active"},
		{"get interface patch-tun options:peer", "patch-int"},
	} {
		if got := w.vsctl(strings.Fields(row[0])...); got != row[1] {
			t.Errorf("%s: %s, want %s", row[0], got, row[1])
		}
	}
	if out := w.ofctl("--names", "dump-flows", "br-int"); !strings.Contains(out, "table=transient") {
		t.Errorf("tables have no names:\n%s", out)
	}
	w.eventually("controller rows are connected", func() bool {
		o := w.s.Observe()
		return len(o.Bridges) == 2 && o.Bridges[0].Controllers[0].Connected && o.Bridges[1].Controllers[0].Connected &&
			o.Bridges[0].Connected && o.Bridges[0].InSync
	})
}

// TestDirty: from a bridge in any state to the planned one, what is right left alone.
func TestDirty(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	right := vswitch.NewFlow(0, 0, vswitch.Cookie(owner, vswitch.KindBase, 0), nil).String()
	w.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail_mode=secure", "other_config:hwaddr=00:11:22:33:44:55",
		"--", "set-controller", "br-int", "tcp:127.0.0.1:1", "--", "add-port", "br-int", "tapdhcp", "tag=99")
	w.ofctl("add-flow", "br-int", right)
	w.ofctl("add-flow", "br-int", "table=60,priority=3,cookie=0x1,actions=drop")          // ours, but wrong
	w.ofctl("add-flow", "br-int", "table=60,priority=77,cookie=0xabc,actions=NORMAL")     // foreign, in a table of ours
	w.ofctl("add-flow", "br-int", "table=60,priority=78,ip,actions=dec_ttl,NORMAL")       // foreign, of a kind we do not know
	w.ofctl("add-flow", "br-int", "table=200,priority=5,ip,cookie=0xabc,actions=dec_ttl") // foreign, in a table of theirs
	w.ofctl("add-flow", "br-int", "table=201,cookie=0x77ef000000000000,actions=drop")     // of an earlier weft
	age := func() string {
		for _, l := range strings.Split(w.ofctl("dump-flows", "br-int", "table=0,cookie=0x77ef010000000000/-1"), "\n") {
			if strings.Contains(l, "duration=") {
				_, l, _ = strings.Cut(l, "duration=")
				return l[:strings.IndexAny(l, ".s")]
			}
		}
		return "gone"
	}
	w.eventually("a second passes", func() bool { return age() >= "1" })
	w.apply(want)
	w.wantFlows("br-int", want.Flows["br-int"].All(), "dec_ttl")
	if a := age(); a < "1" {
		t.Errorf("the right flow was replaced: its age is %s", a)
	}
	if got := w.vsctl("get", "bridge", "br-int", "other_config:hwaddr"); got != `"00:11:22:33:44:55"` {
		t.Error("another key of other_config is", got)
	}
	if got := w.vsctl("get-controller", "br-int"); got != w.target {
		t.Error("controller", got)
	}
	if got := w.vsctl("get", "port", "tapdhcp", "tag"); got != "1" {
		t.Error("tag", got)
	}
	before := w.changes()
	w.apply(want)
	if after := w.changes(); after != before {
		t.Errorf("not idle after: %+v, then %+v", before, after)
	}
}

// TestVswitchdRestart: the flows come back by themselves, in one bundle for each bridge.
func TestVswitchdRestart(t *testing.T) {
	w := newWorld(t)
	want := w.example(7, 8, 9)
	w.apply(want)
	for _, how := range []lab.Restart{lab.Clean, lab.Crash} {
		before := w.s.Stats()
		if err := w.lab.RestartVswitchd(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		w.eventually("in sync again", func() bool {
			o := w.s.Observe()
			return w.s.Stats().Connections >= before.Connections+2 && o.Bridges[0].InSync && o.Bridges[1].InSync
		})
		t.Logf("flows back %v after ovs-vswitchd", time.Since(start))
		w.wantFlows("br-int", want.Flows["br-int"].All())
		w.wantFlows("br-tun", want.Flows["br-tun"].All())
		// On a slow machine both sides may call, and the first connection be given up.
		now := w.s.Stats()
		if n := now.Bundles - before.Bundles; n < 2 || n > now.Connections-before.Connections {
			t.Errorf("%d bundles for 2 bridges", n)
		}
		before = w.s.Stats()
		w.apply(want)
		if d := w.s.Stats().Bundles - before.Bundles; d != 0 {
			t.Errorf("apply afterwards sent %d bundles", d)
		}
	}
}

// TestOwnRestart: a process born now finds the flows right, and learned flows stay.
func TestOwnRestart(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	w.apply(want)
	w.ofctl("add-flow", "br-tun", fmt.Sprintf("table=20,cookie=%#x,hard_timeout=300,priority=1,vlan_tci=0x0001/0x0fff,"+
		"dl_dst=fa:16:3e:00:00:09,actions=load:0->NXM_OF_VLAN_TCI[],load:0x3999->NXM_NX_TUN_ID[],output:1", learned))
	flows := w.flowTexts("br-tun")
	w.restart()
	w.apply(want)
	if st := w.s.Stats(); st.Transactions+st.Bundles != 0 || st.Dumps < 2 {
		t.Errorf("a new process changed something: %+v", st)
	}
	if now := w.flowTexts("br-tun"); !slices.Equal(flows, now) {
		t.Errorf("flows of br-tun were\n%s\nand are\n%s", strings.Join(flows, "\n"), strings.Join(now, "\n"))
	}
	// A plan that learns no more has no use for what was learned.
	want.Flows["br-tun"] = vswitch.Flows{partOf(slices.DeleteFunc(want.Flows["br-tun"].All(), func(f vswitch.Flow) bool { return f.Table == 10 })...)}
	w.restart()
	w.apply(want)
	w.wantFlows("br-tun", want.Flows["br-tun"].All())
}

// TestResync: what somebody else did to the flows is undone.
func TestResync(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	w.apply(want)
	w.ofctl("del-flows", "br-int", "table=60")
	w.ofctl("add-flow", "br-int", "table=0,priority=7,actions=NORMAL")
	if w.apply(want); w.s.Stats().Dumps != 2 {
		t.Error("apply does not go by memory")
	}
	if f := w.s.Resync(t.Context()); len(f) > 0 {
		t.Error(f)
	}
	w.wantFlows("br-int", want.Flows["br-int"].All())
}

// partOf makes a part of flows, with the cookie of the first.
func partOf(flows ...vswitch.Flow) *vswitch.Part {
	if len(flows) == 0 {
		return vswitch.NewPart(0)
	}
	return vswitch.NewPart(flows[0].Cookie, flows...)
}
