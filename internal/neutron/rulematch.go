package neutron

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/model"
)

// matchAttributes are the rows of what a rule matches, in any table of rules.
func matchAttributes[M any](at func(*M) *model.RuleMatch) []attribute[M, change[M]] {
	text := func(name string, get func(*model.RuleMatch) *string) attribute[M, change[M]] {
		of := func(m *M) string { return *get(at(m)) }
		return attribute[M, change[M]]{name: name, use: post | filter | order,
			wire:    func(b []byte, m *M, _ *aside) []byte { return appendTextOrNull(b, of(m)) },
			match:   matchText(of),
			compare: func(x, y *M) int { return cmp.Compare(of(x), of(y)) }}
	}
	remote := func(name string, get func(*model.RuleMatch) *string) attribute[M, change[M]] {
		a := text(name, get)
		a.kind = "UUID or null"
		a.take = func(ch *change[M], name string, v any) error {
			s, reason := "", ""
			if v != nil {
				if s, reason = toString(v, maxName); reason != "" {
					return invalidFor(name, reason)
				}
			}
			ch.Set(name, func(m *M) { *get(at(m)) = s })
			return nil
		}
		return a
	}
	protocol := text("protocol", func(m *model.RuleMatch) *string { return &m.Protocol })
	protocol.kind = "any, null, a name, or 0..255"
	protocol.take = func(ch *change[M], name string, v any) error {
		s, err := toProtocol(v)
		if err != nil {
			return err
		}
		ch.Set(name, func(m *M) { at(m).Protocol = s })
		return nil
	}
	ethertype := choiceAt("ethertype", post|filter|order, "IPv4", ethertypes, func(m *M) *string { return &at(m).Ethertype })
	ethertype.take = func(ch *change[M], name string, v any) error {
		s, _ := v.(string)
		for _, e := range ethertypes {
			if strings.EqualFold(s, e) {
				ch.Set(name, func(m *M) { at(m).Ethertype = e })
				return nil
			}
		}
		return fault{Status: http.StatusBadRequest, Type: "SecurityGroupRuleInvalidEtherType", Message: fmt.Sprintf(
			"Security group rule for ethertype '%s' not supported. Allowed values are %s.", pyStr(v), pyRepr(ethertypes))}
	}
	return []attribute[M, change[M]]{
		remote("remote_group_id", func(m *model.RuleMatch) *string { return &m.RemoteGroup }),
		choiceAt("direction", post|need|filter|order, nil, directions, func(m *M) *string { return &at(m).Direction }),
		protocol,
		portBound("port_range_min", func(m *M) **int64 { return &at(m).PortMin }),
		portBound("port_range_max", func(m *M) **int64 { return &at(m).PortMax }),
		ethertype,
		remotePrefix(func(m *M) *netip.Prefix { return &at(m).RemotePrefix }),
		remote("remote_address_group_id", func(m *model.RuleMatch) *string { return &m.RemoteAddressGroup }),
	}
}

// portBound is a row of a port, or of a type or code of ICMP.
func portBound[M any](name string, at func(*M) **int64) attribute[M, change[M]] {
	text := func(m *M) string {
		if n := *at(m); n != nil {
			return strconv.FormatInt(*n, 10)
		}
		return ""
	}
	return attribute[M, change[M]]{name: name, use: post | filter | order, kind: "integer 0..65535 or null",
		take: func(ch *change[M], name string, v any) error {
			if v == nil {
				return nil
			}
			n, err := toInt(v)
			if err != nil || n < 0 || n > 65535 {
				return fault{Status: http.StatusBadRequest, Type: "SecurityGroupInvalidPortValue",
					Message: fmt.Sprintf("Invalid value for port %s", pyStr(v))}
			}
			ch.Set(name, func(m *M) { *at(m) = &n })
			return nil
		},
		wire: func(b []byte, m *M, _ *aside) []byte {
			if n := *at(m); n != nil {
				return appendInt(b, *n)
			}
			return append(b, "null"...)
		},
		match: matchText(text),
		compare: func(x, y *M) int {
			a, b := *at(x), *at(y)
			if a == nil || b == nil {
				return cmp.Compare(rank(a != nil), rank(b != nil))
			}
			return cmp.Compare(*a, *b)
		}}
}

// remotePrefix is a row of a prefix; an address is one of full length.
func remotePrefix[M any](at func(*M) *netip.Prefix) attribute[M, change[M]] {
	text := func(m *M) string {
		if p := *at(m); p.IsValid() {
			return p.String()
		}
		return ""
	}
	return attribute[M, change[M]]{name: "remote_ip_prefix", use: post | filter | order, kind: "CIDR or null",
		take: func(ch *change[M], name string, v any) error {
			if v == nil || v == "" {
				return nil
			}
			s, _ := v.(string)
			p, err := netip.ParsePrefix(s)
			if a, reason := toAddr(v); reason == "" {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			if err != nil {
				return fault{Status: http.StatusBadRequest, Type: "InvalidCIDR",
					Message: fmt.Sprintf("Invalid CIDR %s given as IP prefix.", pyStr(v))}
			}
			ch.Set(name, func(m *M) { *at(m) = p })
			return nil
		},
		wire:    func(b []byte, m *M, _ *aside) []byte { return appendTextOrNull(b, text(m)) },
		match:   matchText(text),
		compare: func(x, y *M) int { return cmp.Compare(text(x), text(y)) }}
}
