package dhcp

import (
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// wanted is a set of option codes.
type wanted [4]uint64

func (w *wanted) has(c uint8) bool { return w[c>>6]&(1<<(c&63)) != 0 }

// requested reads the parameter request list. A client without one gets everything.
func requested(req *dhcpv4.DHCPv4) (w wanted, list bool) {
	prl, ok := req.Options[55]
	if !ok {
		return wanted{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}, false
	}
	for _, c := range prl {
		w[c>>6] |= 1 << (c & 63)
	}
	return w, true
}

// fill adds what the client asked for, in the manner of dnsmasq as Neutron runs it:
// mask, broadcast address and MTU come always (the last because of
// --dhcp-option-force), the rest if it is in the parameter request list, and what a port
// says itself (extra_dhcp_opts) replaces what its subnet says.
func (q *query) fill(m *dhcpv4.DHCPv4, e *entry) {
	want, list := requested(q.req)
	s := e.subnet
	set := func(code uint8, v []byte, forced bool) {
		if v != nil && (forced || want.has(code)) {
			m.Options[code] = v
		}
	}
	set(1, s.mask, true)
	set(28, s.broadcast, true)
	set(26, s.mtu, true)
	set(3, s.router, false)
	set(6, s.dns, false)
	set(12, e.hostname, false)
	set(15, s.domain, false)
	set(121, s.routes, false)
	set(249, s.routes, false)
	if fqdn := q.req.Options[81]; len(fqdn) >= 3 {
		m.Options[81] = answerFQDN(fqdn, e)
	}
	q.extra(m, e, &want, list)
}

// extra applies the port's own options. One with a tag that holds comes before one without.
func (q *query) extra(m *dhcpv4.DHCPv4, e *entry, want *wanted, list bool) {
	var tagged wanted
	for pass := range 2 {
		for i := range e.extra {
			x := &e.extra[i]
			if (x.tag != "") == (pass == 1) || tagged.has(x.code) {
				continue
			}
			if x.tag != "" {
				if q.holds(x.tag) == x.negate {
					continue
				}
				tagged[x.code>>6] |= 1 << (x.code & 63)
			}
			place(m, x, want, list)
		}
	}
}

// place puts one of the port's options where the client looks for it.
func place(m *dhcpv4.DHCPv4, x *extraOption, want *wanted, list bool) {
	// A client that does not ask for 66 and 67 looks for them in the header.
	inHeader := !list || !want.has(x.code)
	switch {
	case x.code == codeSiaddr:
		m.ServerIPAddr = x.value
	case x.code == 66 && inHeader && len(x.value) < offFile-offSname:
		m.ServerHostName = string(x.value)
	case x.code == 67 && inHeader && len(x.value) < offCookie-offFile:
		m.BootFileName = string(x.value)
	case len(x.value) == 0 && defaulted(x.code):
		// An empty value takes away what the client would get otherwise.
		delete(m.Options, x.code)
	case want.has(x.code) || defaulted(x.code) && m.Options[x.code] != nil || x.code == 58 || x.code == 59:
		// T1 and T2 go with a lease only.
		if _, leased := m.Options[51]; leased || x.code != 58 && x.code != 59 {
			m.Options[x.code] = x.value
		}
	}
}

// defaulted reports whether an option has a value without the port's doing.
func defaulted(code uint8) bool {
	switch code {
	case 1, 3, 6, 12, 15, 26, 28, 121, 249:
		return true
	}
	return false
}

// holds reports whether a tag of Neutron's dnsmasq command line is set for this client.
func (q *query) holds(tag string) bool {
	switch tag {
	case "ipxe":
		_, ok := q.req.Options[175]
		return ok
	case "ipxe6":
		return userClass(q.req.Options[77], "iPXE")
	}
	return false
}

// answerFQDN answers a client that wants its name in DNS (RFC 4702). As dnsmasq does, we
// say that the server sees to it (S, and O if the client did not want that), and which
// the name is; the form (E) is the client's.
func answerFQDN(opt []byte, e *entry) []byte {
	const s, o, enc, n = 1, 2, 4, 8
	flags := opt[0]
	if flags&s == 0 {
		flags |= s | o
	}
	flags &^= n
	out := []byte{flags & 0x0f, 255, 255}
	name := string(e.hostname)
	if e.subnet.Domain != "" {
		name += "." + e.subnet.Domain
	}
	if flags&enc != 0 {
		if full, err := encodeNames(out, name); err == nil {
			return full
		}
	}
	return append(out, name...)
}
