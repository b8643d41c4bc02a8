package pipeline

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
)

// The random clouds of the oracle: always the same ports at the same place, with
// everything else about them changed from one to the next.

// oraclePorts are the attached ports, the last of them on a network of its own; farPorts are
// on another host.
const oraclePorts, farPorts = 7, 4

func oracleID(i int) model.PortID {
	return model.PortID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", 0xa0000010+i))
}

// dice are the random choices of one world.
type dice struct{ *rand.Rand }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// someMACs are those of nobody, somebody and everybody.
func (d dice) mac() model.MAC {
	return pick(d, macOf(netip.AddrFrom4([4]byte{10, 10, 0, byte(0x10 + d.IntN(12))})), model.MAC{0, 0, 0x5e, 0, 1, byte(1 + d.IntN(3))}, model.MAC{0xfa, 0x16, 0x3e, 9, 9, 9})
}

// address4 is mostly one that some port has, or a neighbour of it.
func (d dice) address4() netip.Addr {
	switch d.IntN(4) {
	case 0:
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(d.IntN(256))})
	case 1:
		return netip.AddrFrom4([4]byte{10, byte(10 + d.IntN(2)), byte(d.IntN(2)), byte(0x10 + d.IntN(12))})
	}
	return netip.AddrFrom4([4]byte{10, 10, 0, byte(0x10 + d.IntN(12))})
}

func (d dice) address6() netip.Addr {
	last := byte(0x10 + d.IntN(12))
	switch d.IntN(4) {
	case 0:
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 5: byte(d.IntN(2)), 15: last})
	case 1:
		return linkLocal(d.mac())
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: last})
}

func (d dice) address(six bool) netip.Addr {
	if six {
		return d.address6()
	}
	return d.address4()
}

// prefix keeps the bits below its length, as the API does.
func (d dice) prefix(six bool) netip.Prefix {
	a := d.address(six)
	bits := pick(d, 0, 1, 8, 15, 16, 23, 24, 28, 30, 31, 32, 32)
	if six {
		bits = pick(d, 0, 1, 32, 48, 63, 64, 120, 126, 127, 128, 128)
	}
	return netip.PrefixFrom(a, bits)
}

// oracleWorld makes one.
func oracleWorld(d dice) *world {
	w := newWorld()
	w.network(netA, model.Segment{Type: model.SegmentVXLAN, ID: 14745})
	w.network(netB, model.Segment{Type: model.SegmentVXLAN, ID: 14746})
	w.AddressGroups = map[string]*model.AddressGroup{}
	for i := range 3 {
		g := d.addressGroup(i)
		w.AddressGroups[g.ID] = g
	}
	for i := range 6 {
		g := d.group(i)
		w.Groups[g.ID] = g
	}
	for i := range oraclePorts + farPorts {
		n := netA
		if i == oraclePorts-1 {
			n = netB
		}
		p := w.port(oracleID(i), n, fmt.Sprint("10.10.0.", 0x10+i), 0)
		p.FixedIPs = append(p.FixedIPs, model.FixedIP{Addr: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(0x10 + i)})})
		if i < oraclePorts {
			w.at = append(w.at, view.Attachment{PortID: p.ID, Device: tap(p.ID), OFPort: view.OFPort(4 + i)})
		} else {
			p.Binding.Host = "host2"
		}
		d.protect(p)
		w.memberships(p)
	}
	return w
}

// group is one with some rules; the last two are stateless, as protect knows.
func (d dice) group(i int) *view.SecurityGroup {
	g := &view.SecurityGroup{ID: fmt.Sprint("sg", i), Stateless: i >= 4}
	for r := range d.IntN(7) {
		g.Rules = append(g.Rules, view.Rule{ID: fmt.Sprint("rule", i, r), RuleMatch: d.rule()})
	}
	return g
}

func (d dice) addressGroup(i int) *model.AddressGroup {
	g := &model.AddressGroup{ID: fmt.Sprint("ag", i)}
	for range d.IntN(4) {
		g.Addresses = append(g.Addresses, d.prefix(d.chance(50)))
	}
	return g
}

// changed is a world in which one thing is not as before; what is, is the same object.
func (w *world) changed(d dice) *world {
	next := *w
	next.Cloud.Ports, next.Groups, next.Members = maps.Clone(w.Ports), maps.Clone(w.Groups), maps.Clone(w.Members)
	next.AddressGroups = maps.Clone(w.AddressGroups)
	switch d.IntN(4) {
	case 0:
		g := d.group(d.IntN(6))
		next.Groups[g.ID] = g
	case 1:
		g := d.addressGroup(d.IntN(3))
		next.AddressGroups[g.ID] = g
	default:
		p := *w.Ports[oracleID(1+d.IntN(oraclePorts+farPorts-1))]
		for _, g := range p.SecurityGroups {
			delete(next.Members, view.MemberID{Group: g, Port: p.ID})
		}
		p.PortSecurity, p.SecurityGroups, p.AddressPairs = true, nil, nil
		d.protect(&p)
		p.DeviceOwner = ""
		next.Ports[p.ID] = &p
		next.memberships(&p)
	}
	return &next
}

// protect decides how a port is filtered.
func (d dice) protect(p *model.Port) {
	for range max(0, d.IntN(5)-2) {
		six := d.chance(40)
		p.AddressPairs = append(p.AddressPairs, model.AddressPair{MAC: pick(d, p.MAC, model.MAC{}, d.mac()), Prefix: d.prefix(six)})
	}
	switch k := d.IntN(20); {
	case k < 11:
		for range 1 + d.IntN(3) {
			p.SecurityGroups = append(p.SecurityGroups, fmt.Sprint("sg", d.IntN(4)))
		}
		if d.chance(5) {
			p.SecurityGroups = append(p.SecurityGroups, "sg-unknown")
		}
	case k < 15:
		for range 1 + d.IntN(2) {
			p.SecurityGroups = append(p.SecurityGroups, fmt.Sprint("sg", 4+d.IntN(2)))
		}
	case k < 17: // no group
	case k < 19:
		p.PortSecurity, p.AddressPairs = false, nil
	default:
		p.DeviceOwner = pick(d, model.OwnerDHCP, model.OwnerRouterInterface)
	}
	slices.Sort(p.SecurityGroups)
	p.SecurityGroups = slices.Compact(p.SecurityGroups)
}

// memberships makes a port a member of its groups.
func (w *world) memberships(p *model.Port) {
	for _, g := range p.SecurityGroups {
		w.Members[view.MemberID{Group: g, Port: p.ID}] = view.MemberOf(p, g)
	}
}

// rule is one that the API would take.
func (d dice) rule() model.RuleMatch {
	six := d.chance(40)
	m := model.RuleMatch{Direction: pick(d, "ingress", "egress"), Ethertype: "IPv4"}
	if six {
		m.Ethertype = "IPv6"
	}
	m.Protocol = pick(d, "", "", "tcp", "tcp", "tcp", "6", "udp", "udp", "sctp", "icmp", "icmp", "vrrp", "47", "dccp", "udplite")
	number := func(n int) *int64 { v := int64(n); return &v }
	switch {
	case m.Protocol == "icmp" && d.chance(70):
		if six {
			m.PortMin = number(pick(d, 1, 128, 129, 137, 143))
		} else {
			m.PortMin = number(pick(d, 0, 3, 8, 11))
		}
		if d.chance(50) {
			m.PortMax = number(d.IntN(3))
		}
	case slices.Contains([]string{"tcp", "6", "udp", "sctp", "dccp", "udplite"}, m.Protocol) && d.chance(75):
		from := pick(d, 1, 22, 67, 68, 546, 1000, 1024, 1+d.IntN(65535))
		to := pick(d, from, from, min(from+d.IntN(20), 65535), from+d.IntN(65536-from), 65535)
		m.PortMin, m.PortMax = number(from), number(to)
	}
	switch k := d.IntN(10); {
	case k < 3:
		m.RemotePrefix = d.prefix(six)
	case k < 6:
		m.RemoteGroup = fmt.Sprint("sg", d.IntN(7)) // sg6 has no members
	case k < 7:
		m.RemoteAddressGroup = fmt.Sprint("ag", d.IntN(4)) // ag3 is not known
	}
	return m
}

// guarded is what the filter of an attached port depends on, straight from the cloud.
func (w *world) guarded(p *model.Port) firewall.Guarded {
	g := firewall.Guarded{Port: p, Members: map[string][]*view.Member{}, AddressGroups: w.AddressGroups}
	for _, id := range p.SecurityGroups {
		if w.Groups[id] != nil {
			g.Groups = append(g.Groups, w.Groups[id])
		}
	}
	for i := range oraclePorts + farPorts {
		for _, group := range w.Ports[oracleID(i)].SecurityGroups {
			g.Members[group] = append(g.Members[group], w.Members[view.MemberID{Group: group, Port: oracleID(i)}])
		}
	}
	return g
}

// explain describes what matters of a world for a port.
func explain(g firewall.Guarded) string {
	var b strings.Builder
	fmt.Fprintf(&b, "port %s %s security=%v owner=%q ips=%v pairs=%v groups=%v\n", g.ID[:8], g.MAC, g.PortSecurity, g.DeviceOwner, g.FixedIPs, g.AddressPairs, g.SecurityGroups)
	for _, s := range g.Groups {
		fmt.Fprintf(&b, "  group %s stateless=%v\n", s.ID, s.Stateless)
		for _, r := range s.Rules {
			fmt.Fprintf(&b, "    %s %s %s %q", r.ID, r.Direction, r.Ethertype, r.Protocol)
			if r.PortMin != nil {
				fmt.Fprintf(&b, " %d", *r.PortMin)
			}
			if r.PortMax != nil {
				fmt.Fprintf(&b, "..%d", *r.PortMax)
			}
			fmt.Fprintf(&b, " prefix=%v", r.RemotePrefix)
			for _, m := range g.Members[r.RemoteGroup] {
				fmt.Fprintf(&b, " %s:%s=%v", r.RemoteGroup, m.Port[:8], m.Sources)
			}
			if a := g.AddressGroups[r.RemoteAddressGroup]; a != nil {
				fmt.Fprintf(&b, " %s=%v", a.ID, a.Addresses)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
