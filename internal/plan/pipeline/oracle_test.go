package pipeline

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

var (
	oracleSeed    = flag.Uint64("oracle.seed", 0, "seed of the oracle's clouds and packets; 0 takes another each time")
	oracleShow    = flag.Int("oracle.show", 5, "how many disagreements to show")
	oraclePackets = flag.Int("oracle.packets", 20000, "how many packets the oracle asks about")
)

// seeded returns the seed to use and prints it.
func seeded(t *testing.T) uint64 {
	seed := *oracleSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-oracle.seed=%d", seed)
	return seed
}

func diceOf(seed uint64, world int) dice { return dice{rand.New(rand.NewPCG(seed, uint64(world)))} }

// newOracle starts a switch with the ports of every oracleWorld.
func newOracle(t *testing.T) *stage {
	t.Helper()
	w := oracleWorld(diceOf(1, 0))
	for _, p := range w.Ports {
		p.DeviceOwner = "" // it would be the plan that makes the port of a DHCP server
	}
	return newStage(t, w, settings())
}

// replace makes flows those of br-int.
func (st *stage) replace(flows []vswitch.Flow) {
	st.t.Helper()
	st.put(map[string]vswitch.Flows{"br-int": {vswitch.NewPart(0, flows...)}})
}

// be makes br-int what a world wants.
func (st *stage) be(w *world) {
	st.t.Helper()
	st.replace(Switch(w.view(), st.s).Flows["br-int"].All())
}

// question is a packet, and what must become of it.
type question struct {
	flow, ct string // as ofproto/trace wants them
	// passes: the packet reaches table, or comes out at OpenFlow port out.
	passes bool
	table  int
	out    uint32
	// reasons is why the ports named drop it, by the first half of their cookie.
	reasons map[uint32]firewall.Reason
	// cut: its connection has been cut. silent: no flow says why it is dropped.
	cut, silent bool

	about func() string
}

var ctStates = map[firewall.State][]string{
	firewall.New: {"trk,new"}, firewall.Established: {"trk,est"}, firewall.Reply: {"trk,est,rpl"},
	firewall.Related: {"trk,rel", "trk,rel,rpl"}, firewall.CutReply: {"trk,est,rpl", "trk,rel", "trk,rel,rpl"}, firewall.Invalid: {"trk,inv"},
}

// question makes one about a random packet of the world.
func (w *world) question(d dice) question {
	i := d.IntN(oraclePorts)
	g := w.guarded(w.Ports[oracleID(i)])
	switch k := d.IntN(10); {
	case k < 4: // sent by the port to anybody
		pk := d.packet(g, true)
		if d.chance(10) {
			pk.EthDst = broadcast
		}
		return w.sent(d, i, pk)
	case k < 7 || i == oraclePorts-1: // delivered to the port from the tunnel
		pk := d.packet(g, false)
		if d.chance(10) && !dhcpRequest(pk) {
			pk.EthDst = broadcast
		}
		return w.delivered(d, i, pk)
	}
	// from one port to another of this host
	j := d.IntN(oraclePorts - 1)
	if j == i {
		j = (j + 1) % (oraclePorts - 1)
	}
	peer := w.guarded(w.Ports[oracleID(j)])
	q := question{out: w.ofport(j)}
	var pk firewall.Packet
	if d.chance(50) {
		pk = d.packet(peer, false)
		pk.Egress = true
		w.passOff(d, &pk, g.Port)
	} else {
		pk = d.packet(g, true)
		pk.EthDst, pk.Tagged = peer.MAC, false
		if s := d.source(peer.Port, pk.EtherType == vswitch.TypeIPv6); pk.Dst.IsValid() && pk.Dst.Is6() == s.Prefix.Addr().Is6() {
			pk.Dst = s.Prefix.Addr()
		}
	}
	w.pose(d, &q, pk, w.ofport(i), 0, g, peer)
	return q
}

func (w *world) ofport(i int) uint32 { return uint32(w.at[i].OFPort) }

// sent is the question whether port i may send a packet.
func (w *world) sent(d dice, i int, pk firewall.Packet) question {
	q, tag := question{table: firewall.AcceptOrIngress}, view.LocalVLAN(0)
	if pk.Tagged {
		tag = view.LocalVLAN(1 + d.IntN(2))
	}
	w.pose(d, &q, pk, w.ofport(i), tag, w.guarded(w.Ports[oracleID(i)]))
	return q
}

// delivered is the question whether port i may receive a packet from elsewhere.
func (w *world) delivered(d dice, i int, pk firewall.Packet) question {
	q, p := question{out: w.ofport(i)}, w.Ports[oracleID(i)]
	w.pose(d, &q, pk, OFPatchTun, w.vlans[p.NetworkID], w.guarded(p))
	return q
}

// pose fills in a question about a packet that comes in at an OpenFlow port and passes the filters of ports.
func (w *world) pose(d dice, q *question, pk firewall.Packet, in uint32, tag view.LocalVLAN, ports ...firewall.Guarded) {
	verdicts := w.judge(q, pk, ports...)
	q.ct = pick(d, ctStates[pk.State]...)
	q.cut = pk.State == firewall.CutReply || pk.State == firewall.Established && d.chance(30)
	q.flow = traced(pk, in, tag, q.cut)
	q.about = func() string {
		s := fmt.Sprintf("%+v\n%v\n", pk, verdicts)
		for _, g := range ports {
			s += explain(g)
		}
		return s
	}
}

// passOff makes a port the sender of a packet.
func (w *world) passOff(d dice, pk *firewall.Packet, sender *model.Port) {
	s := d.source(sender, pk.EtherType == vswitch.TypeIPv6)
	pk.EthSrc = s.MAC
	if pk.Src.IsValid() && pk.Src.Is6() == s.Prefix.Addr().Is6() {
		pk.Src = s.Prefix.Addr()
	}
}

// judge asks Admits, first of the sender, then, if it passes, of the receiver.
func (w *world) judge(q *question, pk firewall.Packet, ports ...firewall.Guarded) (all []firewall.Verdict) {
	q.reasons = map[uint32]firewall.Reason{}
	for _, g := range ports {
		v := firewall.Admits(g, pk)
		all = append(all, v)
		if q.passes = v.Passes(); !q.passes {
			q.reasons[vswitch.CookieObject(string(g.ID))] = v.Reason
			q.silent = v.Reason == firewall.OtherProtocol && !pk.Egress || v.Reason == firewall.VLANTagged && !g.Filtered() ||
				pk.State == firewall.Established && (v.Reason == firewall.NoEgressRule || v.Reason == firewall.NoIngressRule)
			break
		}
		pk.Egress = false
	}
	return all
}

func dhcpRequest(p firewall.Packet) bool {
	if p.EtherType == vswitch.TypeIPv6 {
		return p.Proto == vswitch.ProtoUDP && p.SrcPort == 546 && p.DstPort == 547
	}
	return p.Proto == vswitch.ProtoUDP && p.SrcPort == 68 && p.DstPort == 67
}

var (
	ruleLine   = regexp.MustCompile(`(?m)^ *(\d+)\. (?:.*cookie 0x([0-9a-f]+))?`)
	outputLine = regexp.MustCompile(`(?m)^ *(?:output:|-> output port is )(\d+)$`)
)

// observe reads a trace: whether the packet passes, and the last reason for which one of ports drops it.
func (q question) observe(trace string) (passes bool, why firewall.Reason) {
	trace, _, _ = strings.Cut(trace, `bridge("br-tun")`)
	for _, m := range ruleLine.FindAllStringSubmatch(trace, -1) {
		table, _ := strconv.Atoi(m[1])
		passes = passes || q.table != 0 && table == q.table
		cookie, _ := strconv.ParseUint(m[2], 16, 64)
		_, kind, of := vswitch.SplitCookie(cookie)
		if r := firewall.Reason(vswitch.ReasonOf(cookie)); r != 0 && (kind != vswitch.KindPort || q.reasons[of] != 0) {
			why = r
		}
	}
	for _, m := range outputLine.FindAllStringSubmatch(trace, -1) {
		port, _ := strconv.ParseUint(m[1], 10, 32)
		passes = passes || q.out != 0 && uint32(port) == q.out
	}
	return passes, why
}

// ask traces a question's packet, and tells what is wrong with what the switch does.
func (st *stage) ask(q question) (wrong string, why firewall.Reason) {
	trace := st.appctl("ofproto/trace", "br-int", q.flow, "--ct-next", q.ct)
	passes, why := q.observe(trace)
	want := firewall.Admitted
	for _, r := range q.reasons {
		want = r
	}
	if q.cut && (want == firewall.NoEgressRule || want == firewall.NoIngressRule) && why == firewall.Cut {
		why = want // cut already: to Admits that is all the same
	}
	if passes != q.passes || !passes && why != want && (why != 0 || !q.silent) {
		return fmt.Sprintf("the switch lets it pass: %v (%s), Admits: %v (%s)\n%s\n%s --ct-next %s\n%s", passes, why, q.passes, want, q.about(), q.flow, q.ct, trace), why
	}
	return "", why
}

// TestOracle: for random clouds and packets the switch does with the flows what Admits promises.
func TestOracle(t *testing.T) {
	seed := seeded(t)
	o := newOracle(t)
	const perWorld = 250
	passed, told, dropped, wrong := 0, 0, 0, 0
	reasons := map[firewall.Reason]int{}
	for n := range max(1, *oraclePackets/perWorld) {
		d := diceOf(seed, n)
		w := oracleWorld(d)
		flows := Switch(w.view(), o.s).Flows["br-int"].All()
		o.replace(flows)
		for i := range perWorld {
			q := w.question(d)
			if i%4 == 0 {
				q = w.aimed(d, flows[d.IntN(len(flows))])
			}
			complaint, why := o.ask(q)
			if complaint != "" {
				if wrong++; wrong <= *oracleShow {
					t.Errorf("world %d: %s", n, complaint)
				}
			}
			if q.passes {
				passed++
			} else if dropped++; why != 0 {
				told++
			}
			for _, r := range q.reasons {
				reasons[r]++
			}
		}
	}
	t.Logf("%d packets passed, %d were dropped, of %d of them the switch knows why: %v; %d wrong", passed, dropped, told, reasons, wrong)
	if total := passed + dropped; passed*10 < total*3 || dropped*10 < total*3 {
		t.Error("the packets are too much of one kind to tell anything")
	}
	for r := firewall.SpoofedMAC; r <= firewall.OtherProtocol; r++ {
		if *oraclePackets >= 5000 && reasons[r] == 0 {
			t.Errorf("no packet was dropped for %s", r)
		}
	}
}

// TestOracleWorldsAreSound holds for the flows of random groups what TestSound does for the scenes.
func TestOracleWorldsAreSound(t *testing.T) {
	seed := seeded(t)
	for n := range 100 {
		checkSound(t, Switch(oracleWorld(diceOf(seed, n)).view(), settings()))
	}
}
