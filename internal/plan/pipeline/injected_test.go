package pipeline

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// TestInjected sends random frames of every kind, each the first of its connection, by unicast and
// multicast, and looks where each arrives.
func TestInjected(t *testing.T) {
	seed := seeded(t)
	k := &walk{stage: newOracle(t)}
	k.wire()
	arrived, nowhere := 0, 0
	const worlds, perWorld = 40, 30
	for n := range worlds {
		d := diceOf(seed, n)
		k.enter(d)
		for range perWorld {
			from := d.IntN(oraclePorts)
			if from == oraclePorts-1 {
				from = farPort
			}
			p := k.anything(d, from)
			k.known = map[flow5]*connection{}
			k.appctl("dpctl/flush-conntrack")
			want := slices.Sorted(slices.Values(k.receivers(from, p)))
			send := frame(p)
			k.send(k.device(from), send)
			got := k.settle()
			if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
				t.Fatalf("world %d: from %d\n%+v\n%x\narrives at %v, must at %v\n%s", n, from, p, send, have, want, k.explain(p))
			}
			for dev, frames := range got {
				if len(frames) != 1 || !slices.Equal(frames[0], send) {
					t.Fatalf("world %d: %x arrives at %s as %x", n, send, dev, frames)
				}
			}
			if arrived += len(want); len(want) == 0 {
				nowhere++
			}
		}
	}
	t.Logf("%d frames arrived at %d ports, %d nowhere", worlds*perWorld, arrived, nowhere)
}

// enter makes the switch another world, often one that differs little from the one before. Port 0 is open in
// all: its ARP tells when all is through.
func (k *walk) enter(d dice) {
	if k.w != nil && d.chance(75) {
		k.w = k.w.changed(d)
	} else {
		k.w = oracleWorld(d)
		for i := range oraclePorts {
			k.w.Ports[oracleID(i)].DeviceOwner = map[bool]string{true: model.OwnerRouterInterface}[i == 0 || d.chance(5)]
		}
	}
	k.replace(k.memory.Switch(k.w.view(), k.s).Flows["br-int"].All())
	k.sentinel, k.witness = tap(oracleID(0)), "wire"
}

// anything is a packet from a port to another, elsewhere, or all.
func (k *walk) anything(d dice, from int) firewall.Packet {
	to := d.IntN(oraclePorts - 1)
	for to == from {
		to = d.IntN(oraclePorts - 1)
	}
	receiver := k.w.guarded(k.w.Ports[oracleID(to)])
	p := d.packet(receiver, false)
	if from != farPort {
		sender := k.w.guarded(k.w.Ports[oracleID(from)])
		if d.chance(50) {
			p = d.packet(sender, true)
			p.EthDst = pick(d, receiver.MAC, receiver.MAC, k.w.Ports[oracleID(farPort)].MAC)
		} else {
			p.Egress = true
			k.w.passOff(d, &p, sender.Port)
		}
	}
	if d.chance(25) {
		p.EthDst = broadcast
		if p.EtherType == vswitch.TypeIPv6 {
			p.EthDst, p.Dst = model.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1")
		}
	}
	p.State = firewall.New
	opens := map[uint8][]uint8{vswitch.ProtoICMP: {8, 13, 15}, vswitch.ProtoICMPv6: {128}}
	if types, ok := opens[p.Proto]; ok && (p.ICMPCode != 0 || !slices.Contains(types, p.ICMPType)) || (p.Proto == vswitch.ProtoTCP || p.Proto == vswitch.ProtoUDP) && p.DstPort == 0 {
		p.State = firewall.Invalid // it opens no connection
	}
	return p
}

// receivers are the devices at which a packet from a port must arrive.
func (k *walk) receivers(from int, p firewall.Packet) (all []string) {
	if sender, filtered, _ := k.party(from); from != farPort && (filtered || p.Tagged) && !firewall.Admits(sender, p).Passes() {
		return nil
	}
	p.Egress = false
	for i := range oraclePorts - 1 {
		if g, _, _ := k.party(i); i != from && p.EthDst == g.MAC {
			if firewall.Admits(g, p).Passes() {
				all = append(all, k.device(i))
			}
			return all
		}
	}
	if from != farPort {
		all = append(all, "wire")
	}
	if p.EthDst[0]&1 == 0 {
		return append(all, k.copies(flow5{a: from}, p)...)
	}
	for i := range oraclePorts - 1 {
		g, filtered, _ := k.party(i)
		// Who may serve DHCP must not have a filter.
		if i != from && firewall.Admits(g, p).Passes() && !(filtered && dhcpRequest(p)) {
			all = append(all, k.device(i))
		}
	}
	return all
}

func (k *walk) explain(p firewall.Packet) (s string) {
	for i := range oraclePorts - 1 {
		g := k.w.guarded(k.w.Ports[oracleID(i)])
		s += firewall.Admits(g, p).Reason.String() + " " + explain(g)
	}
	return s
}
