package firewall

import "weft/internal/plan/vswitch"

// flow, match and goTo keep the tables below readable as tables.
var flow, match = vswitch.NewFlow, vswitch.Any

func goTo(table uint8) vswitch.Action { return vswitch.GotoTable{Table: table} }

// ICMPv6 types (RFC 4861, RFC 2710, RFC 3810).
const (
	mldQuery   = 130
	mldReport  = 131
	mldDone    = 132
	ndRS       = 133
	ndRA       = 134
	ndNS       = 135
	ndNA       = 136
	mldReport2 = 143
)

// Configuration are the ICMPv6 types that every port may receive (RFC 4890, 4.4.1): without
// them there is no IPv6 at all.
func Configuration() []uint8 {
	return []uint8{mldQuery, mldReport, mldDone, ndRS, ndRA,
		ndNS, ndNA}
}

// claims are the ICMPv6 types by which a sender claims an address, beside RA.
func claims() []uint8 {
	return []uint8{ndRS, ndNS, ndNA}
}

// Bits of ct_state.
const (
	ctNew = 1 << iota
	ctEst
	ctRel
	ctRpl
	ctInv
	ctTrk
)

// state matches packets that have the bits of is and not those of not.
func state(m vswitch.Match, is, not uint64) vswitch.Match {
	return m.Masked(vswitch.CTState, vswitch.Num(is), vswitch.Num(is|not))
}

// original matches what conntrack has put in the direction that opens a connection: rules
// judge each such packet, so that a rule that goes takes its connections along.
func original(m vswitch.Match) vswitch.Match { return state(m, ctTrk, ctInv|ctRel|ctRpl) }

// Marks of connections.
const (
	markAllowed = 0
	// markCut is on a connection of which a packet was refused after it had begun.
	markCut = 1
)

// track looks a packet up in the zone of its network, and goes on in a table.
func track(table uint8) vswitch.Action {
	return vswitch.CT{Table: table, ZoneField: RegNet}
}

// commit enters the connection of a packet, with a mark.
func commit(mark uint64) vswitch.Action {
	return vswitch.CT{Commit: true, Table: vswitch.NoTable, ZoneField: RegNet,
		Exec: []vswitch.Action{vswitch.SetField{Field: vswitch.CTMark, Value: vswitch.Num(mark)}}}
}

// families are IPv4 and IPv6: conntrack works on nothing else.
func families() []vswitch.Match { return []vswitch.Match{match().IPv4(), match().IPv6()} }

// Base are the flows of the filter that are there whatever the ports. All tables end with a drop.
func Base(c uint64) []vswitch.Flow {
	var flows []vswitch.Flow
	for _, t := range []uint8{MACSpoof, BaseEgress, RulesEgress, AcceptOrIngress, BaseIngress, RulesIngress, Dropped} {
		flows = append(flows, flow(t, 0, c, match()))
	}
	flows = append(flows, spoofBase(c)...)
	flows = append(flows, egressBase(c)...)
	flows = append(flows, ingressBase(c)...)
	flows = append(flows, rulesBase(c, RulesEgress, AcceptOrIngress)...)
	flows = append(flows, listeners(c)...)
	flows = append(flows, rulesBase(c, RulesIngress, AcceptedIngress)...)
	return append(flows, acceptBase(c)...)
}

// spoofBase lets through table 24 what claims no address, and nothing else.
func spoofBase(c uint64) []vswitch.Flow {
	flows := []vswitch.Flow{
		flow(ARPSpoof, 0, c, match(), goTo(MACSpoof)),
		flow(ARPSpoof, 1, c, match().ARP()),
	}
	for _, t := range claims() {
		flows = append(flows, flow(ARPSpoof, 1, c, match().ICMPv6(t)))
	}
	// What the switch cannot make sense of has no target and no option to it, say an option that
	// is there twice. Receivers may see it differently. (Another code finds no flow that lets it pass.)
	for _, t := range []uint8{ndNS, ndNA} {
		flows = append(flows, flow(ARPSpoof, 4, vswitch.WithReason(c, uint8(SpoofedND)), neighbour(match(), t).Addr(vswitch.NDTarget, none6), goTo(Dropped)))
	}
	return flows
}

// neighbour matches a solicitation or an advertisement of a neighbour, for flows that look at its
// target or options. The code must be matched with them: without it Open vSwitch (3.1) leaves them
// out of what it tells the kernel, and one honest message would let lies pass for as long as the
// kernel remembers it.
func neighbour(m vswitch.Match, typ uint8) vswitch.Match {
	return m.ICMPv6(typ).Is(vswitch.ICMPv6Code, vswitch.Num(0))
}

// egressBase accepts in table 71 what every port may send: what table 24 has judged, and what
// a machine sends before it has an address.
func egressBase(c uint64) []vswitch.Flow {
	accept := goTo(AcceptOrIngress)
	flows := []vswitch.Flow{
		flow(BaseEgress, 95, c, match().ARP(), accept),
		flow(BaseEgress, 95, c, match().Type(vswitch.TypeRARP), accept), // QEMU after a migration; table 25 has judged it
		flow(BaseEgress, 80, c, match().UDP(68, 67).Addr(vswitch.IPv4Src, none4), accept),
	}
	for _, t := range claims() {
		flows = append(flows, flow(BaseEgress, 95, c, match().ICMPv6(t), accept))
	}
	for _, t := range []uint8{mldReport, mldReport2} {
		flows = append(flows, flow(BaseEgress, 95, c, match().ICMPv6(t).Addr(vswitch.IPv6Src, none6), accept))
	}
	return flows
}

// ingressBase accepts in table 81 what every port may receive, and has the rest tracked.
func ingressBase(c uint64) []vswitch.Flow {
	accept := goTo(AcceptedIngress)
	flows := []vswitch.Flow{
		flow(BaseIngress, 100, c, match().ARP(), accept),
		flow(BaseIngress, 95, c, match().UDP(67, 68), accept),
		flow(BaseIngress, 95, c, match().UDP6(547, 546), accept),
	}
	for _, t := range Configuration() {
		flows = append(flows, flow(BaseIngress, 100, c, match().ICMPv6(t), accept))
	}
	for _, ip := range families() {
		flows = append(flows,
			flow(BaseIngress, 90, c, state(ip, 0, ctTrk), track(RulesIngress)),
			flow(BaseIngress, 80, c, state(ip, ctTrk, 0), goTo(RulesIngress)))
	}
	return flows
}

// rulesBase is what tables 72 and 82 do with packets that no rule lets pass: answers and
// errors of connections that were allowed pass; a connection that has begun and is not
// allowed any more is marked, so that its answers stop too.
func rulesBase(c uint64, table, accepted uint8) []vswitch.Flow {
	accept := goTo(accepted)
	allowed := match().Is(vswitch.CTMark, vswitch.Num(markAllowed))
	flows := []vswitch.Flow{
		flow(table, 50, vswitch.WithReason(c, uint8(InvalidState)), state(match(), ctInv|ctTrk, 0), goTo(Dropped)),
		flow(table, 50, vswitch.WithReason(c, uint8(Cut)), state(match().Is(vswitch.CTMark, vswitch.Num(markCut)), ctTrk, ctInv), goTo(Dropped)),
		flow(table, 50, c, state(allowed, ctEst|ctRpl|ctTrk, ctRel|ctInv), accept),
		flow(table, 50, c, state(allowed, ctRel|ctTrk, ctNew|ctEst|ctInv), accept),
	}
	// One of several receivers that refuses does not cut the connection for the others.
	for _, ip := range families() {
		flows = append(flows, flow(table, 40, c, state(ip.Reg(RegFlood, 0), ctEst|ctTrk, 0), commit(markCut)))
	}
	return flows
}

// listeners lets every port say, from its own address, which multicasts it wants: a switch that
// listens for that (RFC 4541) would else cut it off. Conntrack calls these messages invalid.
func listeners(c uint64) []vswitch.Flow {
	var flows []vswitch.Flow
	for _, t := range []uint8{mldReport, mldDone, mldReport2} {
		flows = append(flows, flow(RulesEgress, 78, c, match().ICMPv6(t).Multicast(), goTo(AcceptOrIngress)))
	}
	return flows
}

// acceptBase enters new connections where they are accepted last: in table 92 when a
// filtered port of this host receives, else in table 73. A connection that a rule
// allows again loses its mark.
func acceptBase(c uint64) []vswitch.Flow {
	out := vswitch.OutputReg{Field: RegPort}
	flows := []vswitch.Flow{
		flow(AcceptOrIngress, 80, c, match(), goTo(Delivery)),
		flow(AcceptedEgress, 0, c, match(), goTo(Delivery)),
		flow(AcceptedIngress, 0, c, match(), out),
		// Nobody answers to the address of a multicast.
		flow(AcceptedIngress, 20, c, match().Multicast(), out),
	}
	for _, ip := range families() {
		for _, m := range []vswitch.Match{
			state(ip, ctNew|ctTrk, ctEst),
			state(ip.Is(vswitch.CTMark, vswitch.Num(markCut)), ctEst|ctTrk, ctNew),
		} {
			flows = append(flows,
				flow(AcceptOrIngress, 90, c, m, commit(markAllowed), goTo(AcceptedEgress)),
				flow(AcceptedIngress, 10, c, m, commit(markAllowed), out))
		}
	}
	return flows
}
