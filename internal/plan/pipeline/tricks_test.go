package pipeline

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/model"
)

// header6 puts an extension header before what an IPv6 frame carries.
func header6(frame []byte, kind byte, rest ...byte) []byte {
	h := append([]byte{frame[20]}, rest...)
	b := slices.Insert(slices.Clone(frame), 54, h...)
	b[20] = kind
	binary.BigEndian.PutUint16(b[18:], binary.BigEndian.Uint16(b[18:])+uint16(len(h)))
	return b
}

// options4 makes room for options in an IPv4 frame: no-operations.
func options4(frame []byte) []byte {
	b := slices.Insert(slices.Clone(frame), 34, 1, 1, 1, 1)
	b[14] = 0x46
	binary.BigEndian.PutUint16(b[16:], binary.BigEndian.Uint16(b[16:])+4)
	b[24], b[25] = 0, 0
	var sum uint32
	for i := 14; i < 38; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[24:], ^uint16(sum>>16+sum&0xffff))
	return b
}

// snap is a frame of IEEE 802.3 with the Ethernet type in a SNAP header.
func snap(frame []byte) []byte {
	b := slices.Concat(frame[:12], []byte{0, 0, 0xaa, 0xaa, 3, 0, 0, 0}, frame[12:])
	binary.BigEndian.PutUint16(b[12:], uint16(len(b)-14))
	return b
}

// TestTricks: what a filtered port may not send it may not send in any guise.
func TestTricks(t *testing.T) {
	tk := newTalk(t)
	if _, err := tk.ovs.Ofctl("set-frags", "br-int", "nx-match"); err != nil { // as the agent does
		t.Fatal(err)
	}
	web, one, far, six, six1 := tk.four["web"], tk.four["one"], tk.four["far"], tk.six["web"], tk.six["one"]
	local := side{six.mac, linkLocal(six.mac)}
	all4 := side{broadcast, netip.MustParseAddr("255.255.255.255")}
	all6 := side{model.MAC{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1")}
	hopByHop, noOptions := byte(0), []byte{0, 1, 4, 0, 0, 0, 0}

	advertisement := icmp(local, all6, 134, 0, []byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0})
	option := func(kind byte, m model.MAC) []byte { return append([]byte{kind, 1}, m[:]...) }
	nd := func(from side, typ, code byte, target netip.Addr, options ...[]byte) []byte {
		return icmp(from, all6, typ, code, slices.Concat([]byte{0x20, 0, 0, 0}, target.AsSlice(), slices.Concat(options...)))
	}
	claim := nd(six, 136, 0, six1.addr, option(2, six.mac))
	offer, offer6 := datagram(web, all4, 67, 68, "OFFER"), datagram(local, all6, 547, 546, "REPLY")
	foreignARP := arp(2, web.mac, one.addr.String(), far.mac, far.addr.String())
	oddARP := arp(2, web.mac, web.addr.String(), far.mac, far.addr.String())
	oddARP[15] = 6 // hardware type IEEE 802, of which a switch makes nothing
	fragment := func(frame []byte) []byte { return header6(frame, 44, 0, 0, 1, 0, 0, 0, 9) }
	piece4 := datagram(web, all4, 67, 68, "OFFER")
	piece4[20] |= 0x20
	binary.BigEndian.PutUint16(piece4[24:], binary.BigEndian.Uint16(piece4[24:])-0x2000)
	outer := func(frame []byte) []byte { b := tagged(1, frame); b[12], b[13] = 0x88, 0xa8; return b }

	around := []string{"one", "two", "plain", "bare", "open", "far"}
	for _, c := range []struct {
		name string
		send []byte
		to   []string
	}{
		{"router advertisement", advertisement, nil},
		{"after hop-by-hop options", header6(advertisement, hopByHop, noOptions...), nil},
		{"after destination options", header6(advertisement, 60, noOptions...), nil},
		{"after both", header6(header6(advertisement, 60, noOptions...), hopByHop, noOptions...), nil},
		{"after a routing header", header6(advertisement, 43, noOptions...), nil},
		{"in a fragment that is all", header6(advertisement, 44, 0, 0, 0, 0, 0, 0, 9), nil},
		{"in a first fragment", fragment(advertisement), nil},
		{"with another code", icmp(local, all6, 134, 1, make([]byte, 12)), nil},
		{"in IEEE 802.3", snap(advertisement), nil},
		{"behind a service tag", outer(advertisement), nil},

		{"another's address advertised", claim, nil},
		{"after hop-by-hop options", header6(claim, hopByHop, noOptions...), nil},
		{"with another code", nd(six, 136, 1, six1.addr, option(2, six.mac)), nil},
		{"own address advertised, the wrong option first", nd(six, 136, 0, six.addr, option(1, six1.mac), option(2, six1.mac)), nil},
		{"own address advertised behind two MAC addresses", nd(six, 136, 0, six.addr, option(2, six.mac), option(2, six1.mac)), nil},
		{"solicitation with two MAC addresses", nd(six, 135, 0, six1.addr, option(1, six1.mac), option(1, six1.mac)), nil},
		// No receiver takes one (RFC 4861, 7.1.1).
		{"solicitation with an option without length", nd(six, 135, 0, six1.addr, []byte{1, 0}, six1.mac[:]), around},
		{"solicitation with another code", nd(six, 135, 1, six1.addr, option(1, six1.mac)), nil},
		{"solicitation, as it should be", nd(six, 135, 0, six1.addr, option(1, six.mac)), around},

		{"ARP for another", foreignARP, nil},
		{"in IEEE 802.3", snap(foreignARP), nil},
		{"behind a service tag", outer(foreignARP), nil},
		{"ARP of another hardware type", oddARP, nil},
		{"ARP that is cut off", foreignARP[:38], nil},

		{"DHCP server", offer, nil},
		{"with IP options", options4(offer), nil},
		{"in a first fragment", piece4, nil},
		{"in IEEE 802.3", snap(offer), nil},
		{"DHCPv6 server", offer6, nil},
		{"after hop-by-hop options", header6(offer6, hopByHop, noOptions...), nil},
		{"in a first fragment", fragment(offer6), nil},

		{"another's address with IP options", options4(datagram(side{web.mac, one.addr}, far, 1, 2, "x")), nil},
		{"another's address in IEEE 802.3", snap(datagram(side{web.mac, one.addr}, far, 1, 2, "x")), nil},
		{"own address with IP options", options4(datagram(web, far, 1, 2, "x")), []string{"far"}},
		{"IP that is cut off", datagram(web, far, 3, 4, "x")[:30], nil},
		{"IPv6 called IPv4", func() []byte { b := datagram(six, tk.six["far"], 1, 2, "x"); b[12], b[13] = 8, 0; return b }(), nil},
		{"IPv4 called IPv6", func() []byte { b := datagram(web, far, 5, 6, "x"); b[12], b[13] = 0x86, 0xdd; return b }(), nil},
		{"a frame for the bridge itself", eth(model.MAC{1, 0x80, 0xc2, 0, 0, 0}, web.mac, 39, []byte{0x42, 0x42, 3}), nil},
		{"MPLS", eth(far.mac, web.mac, 0x8847, slices.Concat([]byte{0, 1, 1, 64}, datagram(web, far, 7, 8, "x")[14:])), nil},
		{"all of TCP's ports in a later fragment", func() []byte {
			b := header6(tcp(six, six1, 9, 22, 1, 0, syn, ""), 44, 0, 0, 8, 0, 0, 0, 9)
			return b
		}(), nil},
	} {
		t.Run(c.name, func(t *testing.T) { tk.says(t, c.name, "web", c.send, c.to...) })
	}
}
