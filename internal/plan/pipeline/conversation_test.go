package pipeline

import (
	"net/netip"
	"testing"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// talk is a world of guarded ports in which frames are sent and rules change.
type talk struct {
	*stage
	dev map[string]string
	// four and six are the ends, by the name of the port.
	four, six map[string]side
}

func anyRule(id, direction, ethertype string) view.Rule {
	return view.Rule{ID: id, RuleMatch: model.RuleMatch{Direction: direction, Ethertype: ethertype}}
}

// service is a rule for both families' protocol and port (or type); min 0 is any.
func service(id, direction, protocol string, min int64) []view.Rule {
	var all []view.Rule
	for _, family := range []string{"IPv4", "IPv6"} {
		r := anyRule(id+family, direction, family)
		r.Protocol = protocol
		if min > 0 {
			r.PortMin, r.PortMax = &min, &min
		}
		all = append(all, r)
	}
	return all
}

func fromGroup(id, direction, group string) []view.Rule {
	all := service(id, direction, "", 0)
	for i := range all {
		all[i].RemoteGroup = group
	}
	return all
}

// newTalk is a network with these ports: web lets in SSH and sends anything; one and two let in
// each other; plain (stateless) lets in SSH and sends what comes from there; bare has no
// groups; open is not filtered; far is on another host.
func newTalk(t *testing.T) *talk {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	group := func(id string, stateless bool, rules ...[]view.Rule) {
		g := &view.SecurityGroup{ID: id, Stateless: stateless}
		for _, r := range rules {
			g.Rules = append(g.Rules, r...)
		}
		w.Groups[id] = g
	}
	group("web", false, service("a", "egress", "", 0), service("b", "ingress", "tcp", 22))
	group("friends", false, service("a", "egress", "", 0), fromGroup("b", "ingress", "friends"))
	group("plain", true, service("a", "ingress", "tcp", 22), service("b", "egress", "tcp", 1024))
	tk := &talk{dev: map[string]string{}, four: map[string]side{}, six: map[string]side{}}
	for i, x := range []struct{ name, group string }{{"web", "web"}, {"one", "friends"}, {"two", "friends"}, {"plain", "plain"}, {"bare", ""}, {"open", ""}, {"far", "friends"}} {
		a := netip.AddrFrom4([4]byte{10, 10, 0, byte(0x10 + i)})
		p := w.port(oracleID(i), netA, a.String(), view.OFPort(4+i))
		a6 := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(0x10 + i)})
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{Addr: a6})
		if x.group != "" {
			p.SecurityGroups = []string{x.group}
		}
		if x.name == "open" { // of the network itself: not filtered, and no place for unknown addresses
			p.DeviceOwner = model.OwnerRouterInterface
		}
		if x.name == "far" {
			p.Binding.Host, w.at = "host2", w.at[:len(w.at)-1]
		}
		w.memberships(p)
		tk.dev[x.name], tk.four[x.name], tk.six[x.name] = tap(p.ID), side{p.MAC, a}, side{p.MAC, a6}
	}
	tk.stage = newStage(t, w, settings())
	tk.sentinel, tk.witness = tk.dev["open"], "wire"
	tk.dev["far"] = "wire"
	tk.wire()
	return tk
}

// wire is a device through which the first network goes on elsewhere: what comes in by it has its
// VNI, and all that leaves for elsewhere goes to it.
func (st *stage) wire() {
	st.t.Helper()
	st.plug("br-tun", "wire", 30)
	for _, f := range []string{"priority=5,in_port=30,actions=set_field:14745->tun_id,resubmit(,4)", "table=22,priority=5,dl_vlan=1,actions=pop_vlan,output:30"} {
		if _, err := st.ovs.Ofctl("add-flow", "br-tun", f); err != nil {
			st.t.Fatal(err)
		}
	}
}

// says sends a frame from a port and expects it at these, and nowhere else.
func (tk *talk) says(t *testing.T, what, from string, frame []byte, to ...string) {
	t.Helper()
	s := step{name: what, from: tk.dev[from], send: frame}
	for _, name := range to {
		s.to = append(s.to, tk.dev[name])
	}
	tk.step(t, s)
}

// without takes rules away from a group until the test is over or put back is called.
func (tk *talk) without(group string, ids ...string) (putBack func()) {
	g := tk.w.Groups[group]
	less := &view.SecurityGroup{ID: g.ID, Stateless: g.Stateless}
	for _, r := range g.Rules {
		gone := false
		for _, id := range ids {
			gone = gone || r.ID == id+"IPv4" || r.ID == id+"IPv6"
		}
		if !gone {
			less.Rules = append(less.Rules, r)
		}
	}
	tk.w.Groups[group] = less
	tk.be(tk.w)
	return func() { tk.w.Groups[group] = g; tk.be(tk.w) }
}

// handshake opens a TCP connection between two ports, whose names the test has checked to be allowed.
func (tk *talk) handshake(t *testing.T, a, b string, x, y side, port uint16) {
	t.Helper()
	tk.says(t, "SYN", a, tcp(x, y, port, 22, 100, 0, syn, ""), b)
	tk.says(t, "SYN|ACK", b, tcp(y, x, 22, port, 500, 101, syn|ack, ""), a)
	tk.says(t, "ACK", a, tcp(x, y, port, 22, 101, 501, ack, ""), b)
	tk.says(t, "data", a, tcp(x, y, port, 22, 101, 501, ack, "hello"), b)
	tk.says(t, "answer", b, tcp(y, x, 22, port, 501, 106, ack, "world"), a)
}

func TestConversations(t *testing.T) {
	tk := newTalk(t)
	for family, ends := range map[string]map[string]side{"IPv4": tk.four, "IPv6": tk.six} {
		e := func(name string) side { return ends[name] }
		t.Run(family, func(t *testing.T) {
			for name, f := range map[string]func(*testing.T){
				"tcp": func(t *testing.T) { tk.connections(t, e) }, "datagrams": func(t *testing.T) { tk.datagrams(t, e) },
				"cut": func(t *testing.T) { tk.cut(t, e) }, "cut between neighbours": func(t *testing.T) { tk.cutNeighbours(t, e) },
				"members": func(t *testing.T) { tk.members(t, e) }, "stateless": func(t *testing.T) { tk.stateless(t, e) },
				"bare": func(t *testing.T) { tk.bare(t, e) }, "multicast": func(t *testing.T) { tk.multicast(t, e) },
				"shared MAC": func(t *testing.T) { tk.sharedMAC(t, e) },
			} {
				t.Run(name, func(t *testing.T) {
					tk.appctl("dpctl/flush-conntrack")
					f(t)
				})
			}
		})
	}
}

// connections: TCP between here and elsewhere, and between ports of this host.
func (tk *talk) connections(t *testing.T, e func(string) side) {
	far, web, one, two, open := e("far"), e("web"), e("one"), e("two"), e("open")
	tk.handshake(t, "far", "web", far, web, 1024)
	tk.handshake(t, "web", "far", web, far, 1025)
	tk.handshake(t, "one", "two", one, two, 1026)
	tk.handshake(t, "two", "one", two, one, 1027)
	tk.handshake(t, "one", "web", one, web, 1028)
	tk.handshake(t, "open", "web", open, web, 1029)
	tk.handshake(t, "web", "open", web, open, 1030)
	tk.says(t, "another port", "far", tcp(far, web, 1031, 23, 1, 0, syn, ""))
	tk.says(t, "between neighbours, another port", "one", tcp(one, web, 1031, 23, 1, 0, syn, ""))
	tk.says(t, "from an unfiltered neighbour, another port", "open", tcp(open, web, 1031, 23, 1, 0, syn, ""))
	tk.says(t, "no member", "web", tcp(web, one, 1032, 22, 1, 0, syn, ""))
	tk.says(t, "a SYN|ACK that nobody asked for", "far", tcp(far, web, 1033, 22, 1, 1, syn|ack, ""))
	tk.says(t, "an RST of no connection, to a port that lets nobody in", "far", tcp(far, web, 1034, 23, 1, 1, rst, ""))
}

// datagrams: UDP, ping, and errors about them.
func (tk *talk) datagrams(t *testing.T, e func(string) side) {
	far, web, one, two := e("far"), e("web"), e("one"), e("two")
	ask := datagram(web, far, 4000, 53, "name?")
	tk.says(t, "an answer before the question", "far", datagram(far, web, 53, 4000, "address!"))
	tk.says(t, "an error about nothing", "far", unreachable(far, web, ask))
	tk.says(t, "question", "web", ask, "far")
	tk.says(t, "an error about it", "far", unreachable(far, web, ask), "web")
	tk.says(t, "answer", "far", datagram(far, web, 53, 4000, "address!"), "web")
	tk.says(t, "an answer from another port", "far", datagram(far, web, 54, 4000, "address!"))
	tk.says(t, "second question", "web", datagram(web, far, 4000, 53, "more?"), "far")
	tk.says(t, "an answer to a question of a neighbour", "far", datagram(far, one, 9, 9, "x"), "one") // a member
	tk.says(t, "an echo reply that nobody asked for", "far", ping(far, web, true, 7))
	tk.says(t, "ping that nobody lets in", "far", ping(far, web, false, 8))
	tk.says(t, "ping", "web", ping(web, far, false, 7), "far")
	tk.says(t, "echo reply", "far", ping(far, web, true, 7), "web")
	tk.says(t, "ping to a neighbour", "one", ping(one, two, false, 9), "two")
	tk.says(t, "reply of the neighbour", "two", ping(two, one, true, 9), "one")
	tk.says(t, "ping to a neighbour that lets nobody in", "one", ping(one, web, false, 9))
	neighbour := datagram(one, two, 4001, 53, "name?")
	tk.says(t, "question to a neighbour", "one", neighbour, "two")
	tk.says(t, "error of a neighbour", "two", unreachable(two, one, neighbour), "one")
}

// cut: a connection ends with its rule, in both directions, and goes on when the rule is back.
func (tk *talk) cut(t *testing.T, e func(string) side) {
	far, web := e("far"), e("web")
	tk.handshake(t, "far", "web", far, web, 1024)
	tk.handshake(t, "web", "far", web, far, 1025)
	putBack := tk.without("web", "b")
	tk.says(t, "in without its rule", "far", tcp(far, web, 1024, 22, 106, 506, ack, "still there?"))
	tk.says(t, "and its answers", "web", tcp(web, far, 22, 1024, 506, 106, ack, "yes"))
	tk.says(t, "the other connection goes on", "web", tcp(web, far, 1025, 22, 106, 506, ack, "x"), "far")
	tk.says(t, "both ways", "far", tcp(far, web, 22, 1025, 506, 107, ack, "x"), "web")
	putBack()
	tk.says(t, "in with its rule again", "far", tcp(far, web, 1024, 22, 106, 506, ack, "again"), "web")
	tk.says(t, "and its answers again", "web", tcp(web, far, 22, 1024, 506, 111, ack, "yes"), "far")
	putBack = tk.without("web", "a")
	tk.says(t, "out without its rule", "web", tcp(web, far, 1025, 22, 107, 507, ack, "x"))
	tk.says(t, "and its answers", "far", tcp(far, web, 22, 1025, 507, 107, ack, "x"))
	tk.says(t, "answers need no rule", "web", tcp(web, far, 22, 1024, 509, 111, ack, "yes"), "far")
	putBack()
	tk.says(t, "out with its rule again", "web", tcp(web, far, 1025, 22, 107, 507, ack, "x"), "far")
	tk.says(t, "and its answers again", "far", tcp(far, web, 22, 1025, 507, 108, ack, "x"), "web")
}

// cutNeighbours: the same between two ports of one host, whose filters share what conntrack knows.
func (tk *talk) cutNeighbours(t *testing.T, e func(string) side) {
	one, web := e("one"), e("web")
	tk.handshake(t, "one", "web", one, web, 1024)
	for _, c := range []struct{ what, group, rules string }{{"the receiver's rule", "web", "b"}, {"the sender's rule", "friends", "a"}} {
		putBack := tk.without(c.group, c.rules)
		tk.says(t, c.what+" is gone", "one", tcp(one, web, 1024, 22, 106, 506, ack, "x"))
		tk.says(t, c.what+" is gone: answers", "web", tcp(web, one, 22, 1024, 506, 106, ack, "x"))
		putBack()
		tk.says(t, c.what+" is back", "one", tcp(one, web, 1024, 22, 106, 506, ack, "x"), "web")
		tk.says(t, c.what+" is back: answers", "web", tcp(web, one, 22, 1024, 506, 107, ack, "x"), "one")
	}
}

// members: who leaves a group is no longer let in as one of it.
func (tk *talk) members(t *testing.T, e func(string) side) {
	far, one := e("far"), e("one")
	id := view.MemberID{Group: "friends", Port: oracleID(6)}
	m := tk.w.Members[id]
	tk.handshake(t, "far", "one", far, one, 1024)
	delete(tk.w.Members, id)
	tk.be(tk.w)
	tk.says(t, "no member any more", "far", tcp(far, one, 1024, 22, 106, 506, ack, "x"))
	tk.says(t, "answers", "one", tcp(one, far, 22, 1024, 506, 106, ack, "x"))
	tk.says(t, "a new connection", "far", tcp(far, one, 1025, 22, 1, 0, syn, ""))
	tk.w.Members[id] = m
	tk.be(tk.w)
	tk.says(t, "a member again", "far", tcp(far, one, 1024, 22, 106, 506, ack, "x"), "one")
	tk.says(t, "answers again", "one", tcp(one, far, 22, 1024, 506, 107, ack, "x"), "far")
}

// stateless: each direction needs its rule, and no state does any harm.
func (tk *talk) stateless(t *testing.T, e func(string) side) {
	far, plain, one := e("far"), e("plain"), e("one")
	tk.handshake(t, "far", "plain", far, plain, 1024)
	tk.says(t, "an answer that no rule allows", "plain", tcp(plain, far, 22, 1025, 1, 1, syn|ack, ""))
	tk.says(t, "an answer to nothing that a rule allows", "plain", tcp(plain, far, 23, 1024, 1, 1, syn|ack, ""), "far")
	tk.says(t, "in the middle of nothing", "far", tcp(far, plain, 9, 22, 1, 1, ack, "x"), "plain")
	tk.says(t, "another port", "far", tcp(far, plain, 9, 23, 1, 0, syn, ""))
	tk.says(t, "from a neighbour with states", "one", tcp(one, plain, 1024, 22, 100, 0, syn, ""), "plain")
	tk.says(t, "its answer", "plain", tcp(plain, one, 22, 1024, 500, 101, syn|ack, ""), "one")
	tk.says(t, "answer to a neighbour that did not ask", "plain", tcp(plain, one, 33, 1024, 500, 101, syn|ack, ""))
}

// bare: a port without groups takes part in no conversation.
func (tk *talk) bare(t *testing.T, e func(string) side) {
	far, bare, open := e("far"), e("bare"), e("open")
	tk.says(t, "in", "far", datagram(far, bare, 1, 2, "x"))
	tk.says(t, "out", "bare", datagram(bare, far, 1, 2, "x"))
	tk.says(t, "in from a neighbour", "open", datagram(open, bare, 1, 2, "x"))
	tk.says(t, "out to a neighbour", "bare", datagram(bare, open, 1, 2, "x"))
	tk.says(t, "ping", "far", ping(far, bare, false, 1))
	if bare.addr.Is4() {
		tk.says(t, "ARP", "far", arp(1, far.mac, far.addr.String(), bare.mac, bare.addr.String()), "bare")
		tk.says(t, "ARP, out", "bare", arp(2, bare.mac, bare.addr.String(), far.mac, far.addr.String()), "far")
		tk.says(t, "DHCP answer", "far", datagram(far, bare, 67, 68, "OFFER"), "bare")
	} else {
		tk.says(t, "solicitation", "far", icmp(far, bare, 135, 0, append([]byte{0, 0, 0, 0}, bare.addr.AsSlice()...)), "bare")
		tk.says(t, "advertisement", "bare", icmp(bare, far, 136, 0, append([]byte{0, 0, 0, 0}, bare.addr.AsSlice()...)), "far")
		tk.says(t, "DHCPv6 answer", "far", datagram(far, bare, 547, 546, "REPLY"), "bare")
	}
}

// multicast is let in by each receiver's own rules.
func (tk *talk) multicast(t *testing.T, e func(string) side) {
	all := side{broadcast, netip.MustParseAddr("255.255.255.255")}
	if e("far").addr.Is6() {
		all = side{model.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1")}
	}
	far, one, open, bare := e("far"), e("one"), e("open"), e("bare")
	tk.says(t, "of a member elsewhere", "far", datagram(far, all, 5000, 5000, "x"), "one", "two", "open")
	tk.says(t, "again, as an established connection", "far", datagram(far, all, 5000, 5000, "x"), "one", "two", "open")
	tk.says(t, "of a member here", "one", datagram(one, all, 5000, 5000, "x"), "two", "open", "far")
	tk.says(t, "of a neighbour that is not filtered", "open", datagram(open, all, 5000, 5000, "x"), "far")
	tk.says(t, "of one that may not", "bare", datagram(bare, all, 5000, 5000, "x"))
	if all.addr.Is4() {
		tk.says(t, "ARP", "far", arp(1, far.mac, far.addr.String(), broadcast, one.addr.String()), "web", "one", "two", "plain", "bare", "open")
		tk.says(t, "DISCOVER", "bare", datagram(side{bare.mac, netip.IPv4Unspecified()}, all, 68, 67, "DISCOVER"), "open", "far")
		tk.says(t, "OFFER", "far", datagram(far, all, 67, 68, "OFFER"), "web", "one", "two", "plain", "bare", "open")
	} else {
		tk.says(t, "solicitation", "far", icmp(far, all, 135, 0, append([]byte{0, 0, 0, 0}, one.addr.AsSlice()...)), "web", "one", "two", "plain", "bare", "open")
		tk.says(t, "router advertisement", "far", icmp(far, all, 134, 0, make([]byte, 12)), "web", "one", "two", "plain", "bare", "open")
		tk.says(t, "SOLICIT", "bare", datagram(side{bare.mac, linkLocal(bare.mac)}, all, 546, 547, "SOLICIT"), "open", "far")
	}
}

// sharedMAC: whoever has the MAC address of the other side in an address pair gets copies, and when his
// filter refuses them, the connection is none the worse for it.
func (tk *talk) sharedMAC(t *testing.T, e func(string) side) {
	bare := tk.w.Ports[oracleID(4)]
	bare.AddressPairs = []model.AddressPair{{MAC: e("far").mac, Prefix: netip.MustParsePrefix("10.10.0.100/32")}}
	tk.be(tk.w)
	tk.handshake(t, "web", "far", e("web"), e("far"), 1024)
	bare.AddressPairs = nil
	tk.be(tk.w)
}
