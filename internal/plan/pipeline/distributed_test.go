package pipeline

import (
	"testing"

	"weft/internal/model"
)

// TestDistributed: a DHCP port that every host has talks to the guests of this one, and nothing of
// that is seen outside, nor seen here of the others'.
func TestDistributed(t *testing.T) {
	w := distributed()
	w.network(netF, model.Segment{Type: model.SegmentFlat, Physical: "physnet1"}) // for the sentinel
	w.port(vmF, netF, "192.0.2.19", 8)
	st := newStage(t, w, mapped())
	st.plug("br-ex", "eth0", 1)
	st.sentinel, st.witness = "eth0", tap(vmF)
	m1, mDHCP, mOpen, mFar := w.Ports[vm1].MAC, w.Ports[dhcpA].MAC, w.Ports[open].MAC, w.Ports[far].MAC
	one, two, dhcp, free := tap(vm1), tap(vm2), tap(dhcpA), tap(open)
	const linkLocal1, all6 = "fe80::f816:3eff:fe00:b", "ff02::1"
	mAll6 := model.MAC{0x33, 0x33, 0, 0, 0, 1}
	discover := func(from model.MAC) []byte {
		return ipv4(broadcast, from, "0.0.0.0", "255.255.255.255", 17, udp(68, 67, "DISCOVER"))
	}
	out := func(frame []byte) []byte { return tagged(101, frame) }

	local := []step{
		{name: "DISCOVER", from: one, send: discover(m1), to: []string{dhcp, free}},
		{name: "DISCOVER without port security", from: free, send: discover(mOpen), to: []string{dhcp}},
		{name: "OFFER by unicast", from: dhcp, send: ipv4(m1, mDHCP, "10.10.0.2", "10.10.0.11", 17, udp(67, 68, "OFFER")), to: []string{one}},
		{name: "OFFER by broadcast", from: dhcp, send: ipv4(broadcast, mDHCP, "10.10.0.2", "255.255.255.255", 17, udp(67, 68, "OFFER")), to: []string{one, two, free}},
		{name: "renewal", from: one, send: ipv4(mDHCP, m1, "10.10.0.11", "10.10.0.2", 17, udp(68, 67, "REQUEST")), to: []string{dhcp}},
		{name: "ping", from: one, send: ipv4(mDHCP, m1, "10.10.0.11", "10.10.0.2", 1, echo), to: []string{dhcp}},
		{name: "who has the server", from: one, send: arp(1, m1, "10.10.0.11", broadcast, "10.10.0.2"), to: []string{dhcp}},
		{name: "the server has it", from: dhcp, send: arp(2, mDHCP, "10.10.0.2", m1, "10.10.0.11"), to: []string{one}},
		{name: "where is the server, IPv6", from: one, send: ipv6(mAll6, m1, linkLocal1, all6, 58, nd(135, "2001:db8::2")), to: []string{dhcp}},
		{name: "the server asks for a guest", from: dhcp, send: arp(1, mDHCP, "10.10.0.2", broadcast, "10.10.0.11"), to: []string{one, two, free}},
		{name: "the server asks for a guest elsewhere", from: dhcp, send: arp(1, mDHCP, "10.10.0.2", broadcast, "10.10.0.14"), to: []string{one, two, free}},
		{name: "the server announces itself", from: dhcp, send: arp(1, mDHCP, "10.10.0.2", broadcast, "10.10.0.2")},
		{name: "the server's duplicate address detection", from: dhcp, send: ipv6(mAll6, mDHCP, "::", all6, 58, nd(135, "2001:db8::2"))},
		{name: "the server's multicast", from: dhcp, send: ipv6(mAll6, mDHCP, "fe80::2", all6, 58, nd(143, "::"))},
		{name: "the server to a guest elsewhere", from: dhcp, send: ipv4(mFar, mDHCP, "10.10.0.2", "10.10.0.14", 1, echo), to: []string{free}},
	}
	asks := arp(1, m1, "10.10.0.11", broadcast, "10.10.0.14")
	answer := arp(2, mFar, "10.10.0.14", m1, "10.10.0.11")
	others := []step{
		{name: "guests find others", from: "eth0", send: out(answer), as: answer, to: []string{one}},
		{name: "a DISCOVER from outside", from: "eth0", send: out(discover(mFar))},
		{name: "to the server from outside", from: "eth0", send: out(ipv4(mDHCP, mFar, "10.10.0.14", "10.10.0.2", 17, udp(68, 67, "REQUEST")))},
		{name: "who has the server, from outside", from: "eth0", send: out(arp(1, mFar, "10.10.0.14", broadcast, "10.10.0.2"))},
		{name: "where is the server, from outside", from: "eth0", send: out(ipv6(mAll6, mFar, "fe80::e", all6, 58, nd(135, "2001:db8::2")))},
		{name: "from another's copy to all", from: "eth0", send: out(arp(1, mDHCP, "10.10.0.2", broadcast, "10.10.0.11"))},
		{name: "from another's copy to a guest", from: "eth0", send: out(ipv4(m1, mDHCP, "10.10.0.2", "10.10.0.11", 17, udp(67, 68, "OFFER")))},
	}
	st.run(append(local, others...))
	t.Run("guests ask for others", func(t *testing.T) {
		st.send(one, asks)
		got := st.settle()
		if len(got["eth0"]) != 1 || string(got["eth0"][0]) != string(out(asks)) || len(got[two]) != 1 {
			t.Errorf("received: %x", got)
		}
	})

	// While the port is not there its address is nobody's outside either.
	w.at = w.at[1:]
	st.apply(w)
	for _, s := range local[:6] {
		if s.from != dhcp {
			s.to = nil
			if s.name == "DISCOVER" {
				s.to = []string{free}
			}
			st.run([]step{{name: "not plugged: " + s.name, from: s.from, send: s.send, to: s.to}})
		}
	}
}
