package dhcp

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

// Table is a Server made ready to answer: options encoded, leases indexed. It is never
// changed once made, so any number of goroutines may use it.
type Table struct {
	server  Server
	entries []entry
	byMAC   map[model.MAC]span
	// byClientID finds those ports that name a client identifier in their extra_dhcp_opts.
	byClientID map[string]span
}

// span is a range of a table's entries: all leases of one port.
type span struct{ first, end uint32 }

// entry is one lease with its options encoded.
type entry struct {
	lease    *Lease
	subnet   *encoded
	hostname []byte
	extra    []extraOption
}

// encoded are the options of a subnet in the form in which they are sent; those that are
// not to be sent are nil. Replies share these slices.
type encoded struct {
	*Options
	server, leaseTime, t1, t2                         []byte
	mask, broadcast, router, dns, domain, mtu, routes []byte
}

// NewTable makes the table of s. Extra options that cannot be sent are left out of it
// and returned; the rest of the port's options, and its lease, are not affected.
func NewTable(s Server) (*Table, []OptionFault) {
	t := &Table{
		server:  s,
		entries: make([]entry, len(s.Leases)),
		byMAC:   make(map[model.MAC]span, len(s.Leases)),
	}
	subnets := make(map[*Options]*encoded, len(s.Subnets))
	var faults []OptionFault
	for i := range s.Leases {
		l := &s.Leases[i]
		sub := subnets[l.Subnet]
		if sub == nil {
			sub = encode(l.Subnet)
			subnets[l.Subnet] = sub
		}
		e := entry{lease: l, subnet: sub, hostname: []byte(l.Hostname)}
		sp, known := t.byMAC[l.MAC]
		if !known {
			sp.first = uint32(i)
		}
		sp.end = uint32(i) + 1
		t.byMAC[l.MAC] = sp
		for _, o := range l.Extra {
			if isClientID(o.Name) {
				continue
			}
			x, err := encodeOption(o, l.Subnet.Server)
			switch {
			case err == nil:
				e.extra = append(e.extra, x)
			case !known: // once per port, not per address
				faults = append(faults, OptionFault{PortID: l.PortID, Name: o.Name, Value: o.Value, Err: err})
			}
		}
		t.entries[i] = e
	}
	t.indexClientIDs()
	return t, faults
}

func (t *Table) indexClientIDs() {
	for i := range t.entries {
		l := t.entries[i].lease
		for _, o := range l.Extra {
			if !isClientID(o.Name) || o.Value == "" {
				continue
			}
			if t.byClientID == nil {
				t.byClientID = make(map[string]span)
			}
			id := string(clientID(o.Value))
			// Two ports may claim the same identifier; the lower MAC keeps it, always the same one.
			if _, taken := t.byClientID[id]; !taken {
				t.byClientID[id] = t.byMAC[l.MAC]
			}
		}
	}
}

// Server returns what the table was made from. It must not be changed.
func (t *Table) Server() *Server { return &t.server }

// Knows reports whether the table has a lease for the port.
func (t *Table) Knows(mac model.MAC, id model.PortID) bool {
	sp, ok := t.byMAC[mac]
	return ok && t.entries[sp.first].lease.PortID == id
}

func encode(o *Options) *encoded {
	e := &encoded{
		Options:   o,
		server:    o.Server.AsSlice(),
		leaseTime: be32(o.LeaseTime),
		// RFC 2131 4.4.5: half and seven eighths of the lease.
		t1:     be32(o.LeaseTime / 2),
		t2:     be32(uint32(uint64(o.LeaseTime) * 7 / 8)),
		mask:   be32(maskBits(o.Prefix.Bits())),
		routes: encodeRoutes(o.Routes),
	}
	// A /31 or /32 has no broadcast address (RFC 3021).
	if o.Prefix.Bits() < 31 {
		a := o.Prefix.Masked().Addr().As4()
		e.broadcast = be32(binary.BigEndian.Uint32(a[:]) | ^maskBits(o.Prefix.Bits()))
	}
	if o.Gateway.Is4() {
		e.router = o.Gateway.AsSlice()
	}
	for _, a := range o.DNS {
		e.dns = append(e.dns, a.AsSlice()...)
	}
	if o.Domain != "" {
		e.domain = []byte(o.Domain)
	}
	if o.MTU > 0 {
		e.mtu = binary.BigEndian.AppendUint16(nil, uint16(min(o.MTU, 65535)))
	}
	return e
}

func maskBits(bits int) uint32 { return uint32(uint64(0xffffffff) << (32 - bits)) }

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// find returns the leases of a client: by the client identifier that a port names, else
// by its MAC.
func (t *Table) find(mac model.MAC, id []byte) []entry {
	if t.byClientID != nil && len(id) > 0 {
		sp, ok := t.byClientID[string(id)]
		// Some clients put a type octet of 0 before an identifier that is plain text.
		if !ok && id[0] == 0 {
			sp, ok = t.byClientID[string(id[1:])]
		}
		if ok {
			return t.entries[sp.first:sp.end]
		}
	}
	sp := t.byMAC[mac]
	return t.entries[sp.first:sp.end]
}

// isServer reports whether a is this server, on any of its subnets.
func (t *Table) isServer(a netip.Addr) bool {
	for _, o := range t.server.Subnets {
		if o.Server == a {
			return true
		}
	}
	return false
}
