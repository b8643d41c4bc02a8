package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/store"
	"weft/internal/trace"
)

// AllowsPath is where questions about the filter of a port are answered, with a trace.Answer
// in JSON. Which port is asked about is told by q, as for Path; the packet by from or to (the
// other side: an address, or what names another port), proto, dport, sport, icmp_type, icmp_code, mac (the source's),
// as (the port's own address) and connection (new, established, reply). live=true asks the
// port's host too.
const AllowsPath = "/weft/v1/allows"

// question is a packet as a person describes it.
type question struct {
	egress bool
	// peer is the other side, as the port's own address if it is not the obvious one.
	peer, as netip.Addr
	mac      model.MAC
	packet   firewall.Packet
}

// clientPort is a port of the side that opens a connection, of those that are given out for that.
const clientPort = 50000

// nobody is a unicast MAC address that no port has.
var nobody = model.MAC{2, 0, 0, 0, 0, 1}

// parseQuestion reads the parameters of a request about port p.
func parseQuestion(r store.Reader, p *model.Port, v url.Values) (question, error) {
	q := question{egress: v.Has("to")}
	q.packet.Egress = q.egress
	if v.Has("from") == v.Has("to") {
		return q, errors.New("give one of from and to: the other side")
	}
	var err error
	if q.peer, err = peerAddr(r, p, v.Get("from")+v.Get("to")); err != nil {
		return q, err
	}
	if v.Has("as") {
		if q.as, err = parseAddr(v.Get("as")); err != nil {
			return q, err
		}
		if q.as.Is4() != q.peer.Is4() {
			return q, fmt.Errorf("%s and %s are not of one family", q.as, q.peer)
		}
	}
	if v.Has("mac") {
		if q.mac, err = model.ParseMAC(v.Get("mac")); err != nil {
			return q, err
		}
	}
	switch c := v.Get("connection"); c {
	case "", "new":
	case "established":
		q.packet.State = firewall.Established
	case "reply":
		q.packet.State = firewall.Reply
	default:
		return q, fmt.Errorf("connection: %q is none of new, established, reply", c)
	}
	return q, q.service(v)
}

// peerAddr is the address of the other side. Of a port it is one of a family that p has too.
func peerAddr(r store.Reader, p *model.Port, s string) (netip.Addr, error) {
	if a, err := parseAddr(s); err == nil {
		return a, nil
	}
	other, err := find(r, strings.TrimSpace(s))
	if err != nil {
		return netip.Addr{}, err
	}
	for _, mine := range p.FixedIPs {
		for _, theirs := range other.FixedIPs {
			if mine.Addr.Is4() == theirs.Addr.Is4() {
				return theirs.Addr, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("ports %s and %s have no addresses of one family; give an address", p.ID, other.ID)
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return a, fmt.Errorf("%q is no address", s)
	}
	return a.Unmap().WithZone(""), nil
}

// service reads protocol and ports, or type and code.
func (q *question) service(v url.Values) error {
	p, ethertype := &q.packet, "IPv4"
	p.EtherType = 0x0800
	if q.peer.Is6() {
		p.EtherType, ethertype = 0x86dd, "IPv6"
	}
	name := strings.ToLower(v.Get("proto"))
	switch {
	case name != "":
	case v.Has("dport"):
		name = "tcp"
	case v.Has("icmp_type"):
		name = "icmp"
	default:
		return errors.New("which protocol? Give proto, or dport for TCP")
	}
	number, err := strconv.ParseUint(model.ProtocolNumber(name, ethertype), 10, 8)
	if err != nil {
		return fmt.Errorf("proto: %q is neither a number up to 255 nor one of %s", name, strings.Join(model.Protocols(), ", "))
	}
	p.Proto = uint8(number)
	hasPorts, isICMP := slices.Contains([]uint8{6, 17, 132, 33, 136}, p.Proto), p.Proto == 1 || p.Proto == 58
	if hasPorts && !v.Has("dport") {
		return errors.New("which port? Give dport")
	}
	if isICMP { // a ping, unless it is said otherwise
		p.ICMPType = 8
		if p.Proto == 58 {
			p.ICMPType = 128
		}
	} else if hasPorts {
		p.SrcPort = clientPort
	}
	for _, f := range []struct {
		key  string
		of   bool
		bits int
		set  func(uint64)
	}{
		{"dport", hasPorts, 16, func(n uint64) { p.DstPort = uint16(n) }},
		{"sport", hasPorts, 16, func(n uint64) { p.SrcPort = uint16(n) }},
		{"icmp_type", isICMP, 8, func(n uint64) { p.ICMPType = uint8(n) }},
		{"icmp_code", isICMP, 8, func(n uint64) { p.ICMPCode = uint8(n) }},
	} {
		n, err := strconv.ParseUint(v.Get(f.key), 10, f.bits)
		switch {
		case !v.Has(f.key):
		case !f.of:
			return fmt.Errorf("%s: a packet of protocol %s has none", f.key, name)
		case err != nil:
			return fmt.Errorf("%s: %q is no number of %d bits", f.key, v.Get(f.key), f.bits)
		default:
			f.set(n)
		}
	}
	return nil
}

// Allows answers whether the filter of a port lets a packet pass.
func (in *Inspector) Allows(ctx context.Context, v url.Values) (trace.Answer, error) {
	var a trace.Asked
	var err error
	in.o.Cloud.Read(func(r store.Reader) {
		var p *model.Port
		if p, err = find(r, strings.TrimSpace(v.Get("q"))); err != nil {
			return
		}
		var q question
		if q, err = parseQuestion(r, p, v); err != nil {
			return
		}
		a.Guarded, a.GroupNames = guarded(r, p)
		a.Packet, err = q.packetOf(r, p)
		for e := range r.PortsOf(p.NetworkID) {
			a.Distributed = a.Distributed || e.Value.Distributed()
			if e.Value.MAC == a.Packet.EthSrc {
				a.From = e.Value
			}
		}
	})
	if err != nil {
		return trace.Answer{}, err
	}
	if a.Live = v.Get("live") == "true"; a.Live {
		a.Evidence, a.Silence = in.evidence(ctx, a.Guarded.Port.Binding.Host, trace.Query{PortID: a.Guarded.Port.ID, NetworkID: a.Guarded.Port.NetworkID, Packet: &a.Packet, From: a.Sender()})
	}
	return trace.Allows(a, in.o.Now()), nil
}

// packetOf fills in the addresses that the question leaves open.
func (q question) packetOf(r store.Reader, p *model.Port) (firewall.Packet, error) {
	own := cmp.Or(q.as, ownAddr(r, p, q.peer))
	if !own.IsValid() {
		return firewall.Packet{}, fmt.Errorf("port %s has no address of the family of %s; give as: the address that it uses", p.ID, q.peer)
	}
	mine, theirs := macBehind(p, own), macOf(r, p, q.peer, own)
	if q.egress && !q.mac.IsZero() {
		mine = q.mac
	} else if !q.mac.IsZero() {
		theirs = q.mac
	}
	if m, ok := multicastMAC(own); ok && !q.egress {
		mine = m
	}
	out := q.packet
	if q.egress {
		out.Src, out.Dst, out.EthSrc, out.EthDst = own, q.peer, mine, theirs
	} else {
		out.Src, out.Dst, out.EthSrc, out.EthDst = q.peer, own, theirs, mine
	}
	return out, nil
}

// ownAddr is the address of a port that it would use towards a peer: one on the peer's subnet
// if there is one, else the first of the family.
func ownAddr(r store.Reader, p *model.Port, peer netip.Addr) netip.Addr {
	if peer.Is6() && peer.IsLinkLocalUnicast() {
		m := p.MAC
		return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
	}
	var first netip.Addr
	for _, f := range p.FixedIPs {
		if f.Addr.Is4() != peer.Is4() {
			continue
		}
		if s := r.Subnet(f.SubnetID); s != nil && s.Value.CIDR.Contains(peer) {
			return f.Addr
		}
		first = cmp.Or(first, f.Addr)
	}
	return first
}

// macBehind is the MAC address with which a port uses an address: that of an address pair, or its own.
func macBehind(p *model.Port, a netip.Addr) model.MAC {
	fixed := slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr == a })
	for _, pair := range p.AddressPairs {
		if !fixed && !pair.MAC.IsZero() && pair.Prefix.Contains(a) {
			return pair.MAC
		}
	}
	return p.MAC
}

// macOf is the MAC address behind which a port finds an address: that of the port of its
// network that has it, else its gateway's, else one that nobody has.
func macOf(r store.Reader, p *model.Port, a, own netip.Addr) model.MAC {
	if m, ok := multicastMAC(a); ok {
		return m
	}
	on := func(a netip.Addr) model.MAC {
		for _, e := range r.PortsWithAddr(a) {
			if e.Value.NetworkID == p.NetworkID && e.Value.ID != p.ID {
				return e.Value.MAC
			}
		}
		return model.MAC{}
	}
	gateway := model.MAC{}
	for _, f := range p.FixedIPs {
		if s := r.Subnet(f.SubnetID); f.Addr == own && s != nil {
			gateway = on(s.Value.Gateway)
		}
	}
	return cmp.Or(on(a), gateway, nobody)
}

// multicastMAC is the MAC address to which packets for a group of receivers are sent.
func multicastMAC(a netip.Addr) (m model.MAC, ok bool) {
	b := a.As16()
	switch {
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return model.MAC{255, 255, 255, 255, 255, 255}, true
	case a.IsMulticast() && a.Is4():
		return model.MAC{1, 0, 0x5e, b[13] & 0x7f, b[14], b[15]}, true
	case a.IsMulticast():
		return model.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}, true
	}
	return m, false
}

// guarded gathers what the filter of a port depends on, and the names of its groups.
func guarded(r store.Reader, p *model.Port) (firewall.Guarded, map[string]string) {
	g := firewall.Guarded{Port: p, Members: map[string][]*view.Member{}, AddressGroups: map[string]*model.AddressGroup{}}
	names := map[string]string{}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(p.SecurityGroups))) {
		e, group := store.SecurityGroups.Get(r, id), feed.GroupOf(r, id)
		if e == nil {
			continue
		}
		names[id] = e.Value.Name
		g.Groups = append(g.Groups, group)
		for _, rule := range group.Rules {
			if id := rule.RemoteGroup; id != "" && g.Members[id] == nil {
				g.Members[id] = members(r, id)
				if e := store.SecurityGroups.Get(r, id); e != nil {
					names[id] = e.Value.Name
				}
			}
			if e := store.AddressGroups.Get(r, rule.RemoteAddressGroup); e != nil {
				g.AddressGroups[e.Value.ID] = e.Value
			}
		}
	}
	return g, names
}

func members(r store.Reader, group string) []*view.Member {
	all := []*view.Member{}
	for e := range r.PortsInGroup(group) {
		all = append(all, view.MemberOf(e.Value, group))
	}
	return all
}
