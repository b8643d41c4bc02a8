package neutron

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type (
	forwardingRequest   = change[model.PortForwarding]
	forwardingAttribute = attribute[model.PortForwarding, forwardingRequest]
)

// forwardingProtocols are those that can be forwarded.
var forwardingProtocols = []string{"dccp", "icmp", "ipv6-icmp", "sctp", "tcp", "udp"}

// portForwardings is the table of /v2.0/floatingips/{id}/port_forwardings.
func portForwardings() *table[model.PortForwarding, forwardingRequest] {
	type pf = model.PortForwarding
	external := func(m *pf) *model.PortRange { return &m.External }
	internal := func(m *pf) *model.PortRange { return &m.Internal }
	address := func(m *pf) string { return m.Addr.String() }
	return simple(table[pf, forwardingRequest]{
		kind: model.KindPortForwarding, singular: "port_forwarding", plural: "port_forwardings",
		rules: "floatingip_port_forwarding",
		attributes: []forwardingAttribute{
			idOf(func(m *pf) *string { return &m.ID }),
			forwardedPort("external_port", filter|order, external),
			forwardedRange("external_port_range", external),
			forwardedPort("internal_port", 0, internal),
			forwardedRange("internal_port_range", internal),
			{name: "internal_ip_address", use: post | put | need, kind: "IPv4 address", text: address, take: takeInternalAddress},
			choiceAt("protocol", post|put|need|filter|order, nil, forwardingProtocols, func(m *pf) *string { return &m.Protocol }),
			refAt("internal_port_id", post|put|need|filter|order, func(m *pf) *string { return (*string)(&m.PortID) }),
			textAt("description", post|put|filter|order, maxDescription, func(m *pf) *string { return &m.Description }),
		},
		check: func(_ *forwardingRequest, given map[string]any, created bool) error {
			for _, name := range []string{"external_port", "internal_port"} {
				if created && given[name] == nil && given[name+"_range"] == nil {
					return badRequest("Failed to parse request. Required attribute '%s' not specified", name)
				}
			}
			return nil
		},
		related: func(rd store.Reader, m *pf, object, attribute string) (string, bool) {
			e := store.FloatingIPs.Get(rd, string(m.FloatingIP))
			if object != "ext_parent" || attribute != "project_id" || e == nil {
				return "", false
			}
			return string(e.Value.Project), true
		},
	}, nil, nil)
}

func takeInternalAddress(ch *forwardingRequest, name string, v any) error {
	a, reason := toAddr(v)
	if reason != "" {
		return invalidFor(name, reason)
	}
	ch.Set(name, func(m *model.PortForwarding) { m.Addr = a })
	return nil
}

// forwardedPort is a row of one port, which shows unless a range of more is forwarded.
func forwardedPort(name string, u use, at func(*model.PortForwarding) *model.PortRange) forwardingAttribute {
	return forwardingAttribute{name: name, use: post | put | u, kind: "integer 1..65535",
		take: func(ch *forwardingRequest, name string, v any) error {
			if v == nil {
				return nil
			}
			n, err := toInt(v)
			if err != nil {
				return err
			}
			switch {
			case n < 1:
				return invalidFor(name, fmt.Sprintf("'%d' is too small - must be at least '1'", n))
			case n > 65535:
				return invalidFor(name, fmt.Sprintf("'%d' is too large - must be no larger than '65535'", n))
			}
			ch.Set(name, func(m *model.PortForwarding) { *at(m) = model.PortRange{First: uint16(n), Last: uint16(n)} })
			return nil
		},
		when: func(m *model.PortForwarding, _ *aside) bool { return at(m).First == at(m).Last },
		wire: func(b []byte, m *model.PortForwarding, _ *aside) []byte { return appendInt(b, int64(at(m).First)) },
		match: func(values []string) (predicate[model.PortForwarding], error) {
			return matchNumber(func(m *model.PortForwarding) int64 { return int64(at(m).First) })(values)
		},
		compare: func(x, y *model.PortForwarding) int { return cmp.Compare(at(x).First, at(y).First) }}
}

// forwardedRange is a row of a range of ports, FIRST:LAST.
func forwardedRange(name string, at func(*model.PortForwarding) *model.PortRange) forwardingAttribute {
	return forwardingAttribute{name: name, use: post | put, kind: "FIRST:LAST",
		take: func(ch *forwardingRequest, name string, v any) error {
			if v == nil {
				return nil
			}
			r, reason := toPortRange(v)
			if reason != "" {
				return invalidFor(name, reason)
			}
			ch.Set(name, func(m *model.PortForwarding) { *at(m) = r })
			return nil
		},
		wire: func(b []byte, m *model.PortForwarding, _ *aside) []byte {
			return appendString(b, fmt.Sprintf("%d:%d", at(m).First, at(m).Last))
		}}
}

// toPortRange reads FIRST:LAST, or one port.
func toPortRange(v any) (r model.PortRange, reason string) {
	first, last, two := strings.Cut(pyStr(v), ":")
	if !two {
		last = first
	}
	var ports [2]uint64
	for i, text := range []string{first, last} {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return r, fmt.Sprintf("Invalid port: %s", text)
		}
		ports[i] = n
	}
	if ports[0] > ports[1] {
		return r, fmt.Sprintf("First port in a port range must be lower than the second port: %s", pyStr(v))
	}
	return model.PortRange{First: uint16(ports[0]), Last: uint16(ports[1])}, ""
}

// appendForwarding writes a port forwarding as its floating IP shows it.
func appendForwarding(b []byte, m *model.PortForwarding) []byte {
	shown := map[string]any{"id": m.ID, "protocol": m.Protocol, "internal_ip_address": m.Addr, "internal_port_id": m.PortID}
	if m.Internal.First == m.Internal.Last {
		shown["internal_port"] = m.Internal.First
	}
	if m.External.First == m.External.Last {
		shown["external_port"] = m.External.First
	}
	return appendJSON(b, shown)
}

// forwardingCollection makes the collection of one floating IP.
func forwardingCollection(c *control.Control, t *table[model.PortForwarding, forwardingRequest]) func(string) *collection[model.PortForwarding, forwardingRequest] {
	return func(parent string) *collection[model.PortForwarding, forwardingRequest] {
		own := *t
		own.draft = func(ch *forwardingRequest) *model.PortForwarding {
			m := t.draft(ch)
			m.FloatingIP = model.FloatingIPID(parent)
			return m
		}
		floating := model.FloatingIPID(parent)
		return &collection[model.PortForwarding, forwardingRequest]{
			table: &own,
			id:    func(m *model.PortForwarding) string { return m.ID },
			inside: func(r store.Reader, _ access.Caller) error {
				if store.FloatingIPs.Get(r, parent) == nil {
					return model.NotFound{Kind: model.KindFloatingIP, ID: parent}
				}
				return nil
			},
			find: func(r store.Reader, id string) *store.Entry[model.PortForwarding] {
				if e := store.PortForwardings.Get(r, id); e != nil && e.Value.FloatingIP == floating {
					return e
				}
				return nil
			},
			list: func(r store.Reader, _ *query[model.PortForwarding, forwardingRequest]) iter.Seq[*store.Entry[model.PortForwarding]] {
				return store.PortForwardings.By(r, "floatingip", parent)
			},
			create: func(ctx context.Context, many []forwardingRequest) ([]*store.Entry[model.PortForwarding], error) {
				return c.CreateForwardings(ctx, floating, many)
			},
			update: func(ctx context.Context, id string, r forwardingRequest) (*store.Entry[model.PortForwarding], error) {
				return c.UpdateForwarding(ctx, floating, id, r)
			},
			remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
				return c.DeleteForwarding(ctx, floating, id, ifRevision)
			},
		}
	}
}
