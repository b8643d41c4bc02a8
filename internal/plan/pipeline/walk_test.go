package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// Random conversations with real frames, while the cloud changes under them. What conntrack must
// know is kept beside it, in the words of firewall.State.

// flow5 names a connection of UDP by who opened it.
type flow5 struct {
	a, b         int // ports of the world
	six          bool
	aPort, bPort uint16
}

func (f flow5) reversed() flow5 { return flow5{f.b, f.a, f.six, f.bPort, f.aPort} }

// connection is what conntrack knows of one. Until it has seen an answer it calls all packets new.
type connection struct{ answered, cut bool }

// walk is a world in which ports send each other datagrams.
type walk struct {
	*stage
	w      *world
	memory Memory
	// known are the connections that conntrack has entered.
	known map[flow5]*connection
	// sent is the last frame of a connection in the direction that opened it.
	sent map[flow5][]byte
}

// farPort is the port on another host that sends and receives by the wire.
const farPort = oraclePorts

// party reports how a port takes part: not filtered by this host, filtered with states or without.
func (k *walk) party(i int) (g firewall.Guarded, filtered, stateful bool) {
	g = k.w.guarded(k.w.Ports[oracleID(i)])
	if i == farPort || !g.Filtered() {
		return g, false, false
	}
	for _, s := range g.Groups {
		if s.Stateless {
			return g, true, false
		}
	}
	return g, true, true
}

func (k *walk) device(i int) string {
	if i == farPort {
		return "wire"
	}
	return tap(oracleID(i))
}

func (k *walk) end(i int, six bool) side {
	p := k.w.Ports[oracleID(i)]
	s := side{mac: p.MAC, addr: p.FixedIPs[0].Addr}
	if six {
		s.addr = p.FixedIPs[1].Addr
	}
	return s
}

// state is what conntrack says of the next packet from f.a to f.b.
func (k *walk) state(f flow5) firewall.State {
	if c := k.known[f]; c != nil && c.answered {
		return firewall.Established
	}
	switch c := k.known[f.reversed()]; {
	case c == nil:
		return firewall.New
	case c.cut:
		return firewall.CutReply
	}
	return firewall.Reply
}

// looked: conntrack has seen a packet, whatever becomes of it.
func (k *walk) looked(f flow5, p firewall.Packet) {
	if c := k.known[f.reversed()]; c != nil && p.Proto == vswitch.ProtoUDP {
		c.answered = true
	}
}

// judge says whether a packet arrives, and keeps known what conntrack knows afterwards.
func (k *walk) judge(f flow5, p firewall.Packet) (arrives bool, why string) {
	sender, filtersOut, tracksOut := k.party(f.a)
	receiver, filtersIn, tracksIn := k.party(f.b)
	refused := func() {
		if p.State == firewall.Established {
			k.known[f].cut = true
		}
	}
	entered := func() {
		if k.known[f] == nil && p.State == firewall.New {
			k.known[f] = &connection{}
		} else if p.State == firewall.Established {
			k.known[f].cut = false
		}
	}
	if filtersOut {
		p.Egress = true
		v := firewall.Admits(sender, p)
		why += fmt.Sprintf(" sender (groups %v) %s %+v", sender.SecurityGroups, v.Reason, v)
		if tracksOut {
			k.looked(f, p)
		}
		if !v.Passes() {
			if tracksOut {
				refused()
			}
			return false, why
		}
		if tracksOut && !tracksIn {
			entered()
		}
	}
	if filtersIn {
		p.Egress = false
		v := firewall.Admits(receiver, p)
		why += fmt.Sprintf(" receiver (groups %v) %s %+v", receiver.SecurityGroups, v.Reason, v)
		if tracksIn {
			k.looked(f, p)
		}
		if !v.Passes() {
			if tracksIn {
				refused()
			}
			return false, why
		}
		if tracksIn {
			entered()
		}
	}
	return true, why
}

// copies says which other ports get a packet to elsewhere: those with its MAC address in a pair if their
// filter lets it pass, and those that may have any address.
func (k *walk) copies(f flow5, p firewall.Packet) (to []string) {
	p.Egress = false
	for i := range oraclePorts - 1 {
		g, filtered, stateful := k.party(i)
		mine := slices.ContainsFunc(g.AddressPairs, func(a model.AddressPair) bool { return a.MAC == p.EthDst })
		if i == f.a || filtered && !mine || g.DeviceOwner != "" {
			continue
		}
		if stateful {
			k.looked(f, p)
		}
		if filtered && !firewall.Admits(g, p).Passes() {
			continue
		}
		if stateful && p.State == firewall.New && k.known[f] == nil {
			k.known[f] = &connection{}
		}
		to = append(to, k.device(i))
	}
	return to
}

// packet is what f's next datagram is to Admits.
func (k *walk) packet(f flow5) firewall.Packet {
	a, b := k.end(f.a, f.six), k.end(f.b, f.six)
	p := firewall.Packet{EthSrc: a.mac, EthDst: b.mac, EtherType: vswitch.TypeIPv4, Src: a.addr, Dst: b.addr,
		Proto: vswitch.ProtoUDP, SrcPort: f.aPort, DstPort: f.bPort, State: k.state(f)}
	if f.six {
		p.EtherType = vswitch.TypeIPv6
	}
	return p
}

// next chooses who sends what: often something about a connection that is there.
func (k *walk) next(d dice) (f flow5, p firewall.Packet, send []byte) {
	old := slices.SortedFunc(maps.Keys(k.known), func(x, y flow5) int { return slices.Compare([]byte(fmt.Sprint(x)), []byte(fmt.Sprint(y))) })
	fresh := len(old) == 0 || d.chance(35)
	if fresh {
		f = flow5{a: d.IntN(oraclePorts - 1), b: d.IntN(oraclePorts - 1), six: d.chance(40), aPort: uint16(2000 + d.IntN(3)), bPort: pick[uint16](d, 22, 1000, 1024, 40000)}
		switch d.IntN(3) {
		case 0:
			f.a = farPort
		case 1:
			f.b = farPort
		}
		if f.a == f.b {
			f.b = farPort
		}
	} else {
		f = old[d.IntN(len(old))]
		if asked := k.sent[f]; asked != nil && d.chance(15) {
			return k.problem(f.reversed(), asked)
		}
		if d.chance(50) {
			f = f.reversed()
		}
	}
	a, b := k.end(f.a, f.six), k.end(f.b, f.six)
	send = datagram(a, b, f.aPort, f.bPort, fmt.Sprint("walk ", d.IntN(1000)))
	if k.known[f.reversed()] == nil {
		k.sent[f] = send
	}
	return f, k.packet(f), send
}

// problem is an ICMP error about the last datagram of the connection of which f is the answers.
func (k *walk) problem(f flow5, asked []byte) (flow5, firewall.Packet, []byte) {
	a, b := k.end(f.a, f.six), k.end(f.b, f.six)
	p := k.packet(f)
	p.Proto, p.SrcPort, p.DstPort, p.ICMPType, p.ICMPCode = vswitch.ProtoICMP, 0, 0, 3, 3
	if f.six {
		p.Proto, p.ICMPType, p.ICMPCode = vswitch.ProtoICMPv6, 1, 4
	}
	if p.State == firewall.Reply {
		p.State = firewall.Related
	}
	return f, p, unreachable(a, b, asked)
}

// TestWalk: while rules, members and the groups of ports change, each datagram and each error
// arrives or does not, as Admits and the states that follow from it say.
func TestWalk(t *testing.T) {
	seed := seeded(t)
	k := &walk{stage: newOracle(t), known: map[flow5]*connection{}, sent: map[flow5][]byte{}}
	k.wire()
	arrived, states, history := 0, map[string]int{}, map[flow5]string{}
	const worlds, perWorld = 40, 25
	for n := range worlds {
		d := diceOf(seed, n)
		k.enter(d)
		for range perWorld {
			f, p, send := k.next(d)
			states[[]string{"new", "established", "reply", "related", "cut"}[p.State]]++
			passes, why := k.judge(f, p)
			var want []string
			if passes {
				want = append(want, k.device(f.b))
				if arrived++; f.b == farPort {
					want = append(want, k.copies(f, p)...)
				}
			}
			k.send(k.device(f.a), send)
			have := slices.Sorted(maps.Keys(k.settle()))
			history[f] += fmt.Sprintf("world %d: %d to %d, state %d, arrives %v:%s\n", n, f.a, f.b, p.State, have, why)
			if !slices.Equal(have, slices.Sorted(slices.Values(want))) {
				t.Fatalf("world %d: %+v %+v arrives at %v, must at %v:%s\n%s%s%s%s", n, f, p, have, want, why, history[f], history[f.reversed()],
					explain(k.w.guarded(k.w.Ports[oracleID(f.a)])), explain(k.w.guarded(k.w.Ports[oracleID(f.b)])))
			}
		}
	}
	t.Logf("%d of %d arrived; %v", arrived, worlds*perWorld, states)
}
