package neutron

import (
	"fmt"
	"net/netip"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type (
	subnetRequest   = control.SubnetRequest
	subnetAttribute = attribute[model.Subnet, control.SubnetRequest]
)

// subnets is the table of /v2.0/subnets.
func subnets() *table[model.Subnet, subnetRequest] {
	attributes := []subnetAttribute{
		{name: "id", use: filter | order, text: func(s *model.Subnet) string { return string(s.ID) }},
		{name: "name", def: "", use: post | put | filter | order,
			take: takeText(func(r *subnetRequest) *control.Opt[string] { return &r.Name }, maxName),
			text: func(s *model.Subnet) string { return s.Name }},
		{name: "ip_version", use: post | need | filter | order, take: takeIPVersion,
			number: func(s *model.Subnet) int64 { return ipVersion(s.CIDR.Addr()) }},
		{name: "network_id", use: post | need | filter | order,
			take: func(r *subnetRequest, name string, v any) error {
				id, reason := toUUID(v)
				if reason != "" {
					return invalidFor(name, reason)
				}
				r.NetworkID = model.NetworkID(id)
				return nil
			},
			text: func(s *model.Subnet) string { return string(s.NetworkID) }},
		{name: "subnetpool_id", use: post | filter | order, take: takeSubnetPool,
			wire:    func(b []byte, _ *model.Subnet, _ *aside) []byte { return append(b, "null"...) },
			match:   matchText(func(*model.Subnet) string { return "" }),
			compare: func(_, _ *model.Subnet) int { return 0 }},
		{name: "prefixlen", use: post, take: func(_ *subnetRequest, _ string, v any) error {
			_, err := toInt(v)
			return err
		}},
		{name: "cidr", use: post | filter | order, take: takeCIDR,
			text: func(s *model.Subnet) string { return s.CIDR.String() }},
		{name: "gateway_ip", use: post | put | filter | order, take: takeGateway,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte {
				return appendTextOrNull(b, gatewayText(s))
			},
			match:   matchText(gatewayText),
			compare: func(x, y *model.Subnet) int { return x.Gateway.Compare(y.Gateway) }},
		{name: "allocation_pools", use: post | put, take: takePools,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte { return appendList(b, s.Pools, appendPool) }},
		{name: "dns_nameservers", use: post | put, take: takeNameservers,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte {
				return appendList(b, s.DNSNameservers, func(b []byte, a netip.Addr) []byte { return appendText(b, a) })
			}},
		{name: "host_routes", use: post | put, take: takeHostRoutes,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte { return appendList(b, s.HostRoutes, appendRoute) }},
		{name: "tenant_id", use: post | filter | order,
			take: takeProject(func(r *subnetRequest) *model.ProjectID { return &r.Project }),
			text: func(s *model.Subnet) string { return string(s.Project) }},
		{name: "enable_dhcp", def: true, use: post | put | filter | order,
			take: takeFlag(func(r *subnetRequest) *control.Opt[bool] { return &r.EnableDHCP }),
			flag: func(s *model.Subnet) bool { return s.EnableDHCP }},
		ipv6Mode("ipv6_ra_mode"), ipv6Mode("ipv6_address_mode"),
		// The subnets of a shared network are shared; it is a filter and does not show.
		{name: "shared", use: filter, match: matchSharedNetwork},
		{name: "service_types", use: post | put, take: takeServiceTypes,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte {
				return appendList(b, s.ServiceTypes, appendString)
			}},
	}
	attributes = append(attributes, standardAttributes(func(s *model.Subnet) *model.Meta { return &s.Meta },
		func(r *subnetRequest) *control.Opt[string] { return &r.Description })...)
	attributes = append(attributes, subnetAttribute{name: "project_id", use: post | filter | order,
		text: func(s *model.Subnet) string { return string(s.Project) }})
	return newTable(table[model.Subnet, subnetRequest]{
		kind: model.KindSubnet, singular: "subnet", plural: "subnets", attributes: attributes,
		meta:     func(s *model.Subnet) *model.Meta { return &s.Meta },
		project:  func(r *subnetRequest) *model.ProjectID { return &r.Project },
		revision: func(r *subnetRequest) *control.Opt[int] { return &r.IfRevision },
		check:    checkSubnet,
		draft: func(r *subnetRequest) *model.Subnet {
			return &model.Subnet{Project: r.Project, NetworkID: r.NetworkID}
		},
		owner: func(s *model.Subnet) model.ProjectID { return s.Project },
		related: func(rd store.Reader, s *model.Subnet, object, attribute string) (string, bool) {
			return ofNetwork(rd, s.NetworkID, object, attribute)
		},
	})
}

func ipVersion(a netip.Addr) int64 {
	if a.Is4() {
		return 4
	}
	return 6
}

func gatewayText(s *model.Subnet) string {
	if !s.Gateway.IsValid() {
		return ""
	}
	return s.Gateway.String()
}

func takeIPVersion(_ *subnetRequest, name string, v any) error {
	n, err := toInt(v)
	if err != nil {
		return err
	}
	if n != 4 && n != 6 {
		return invalidFor(name, fmt.Sprintf("%d is not in [4, 6]", n))
	}
	return nil
}

func takeSubnetPool(_ *subnetRequest, name string, v any) error {
	if v == nil {
		return nil
	}
	id, reason := toUUID(v)
	if reason != "" {
		return invalidFor(name, reason)
	}
	return model.NotFound{Kind: kindSubnetPool, ID: id}
}

func takeCIDR(r *subnetRequest, _ string, v any) error {
	if v == nil {
		return nil
	}
	cidr, err := toCIDR(v)
	if err != nil {
		return err
	}
	r.CIDR = cidr
	return nil
}

func takeGateway(r *subnetRequest, name string, v any) error {
	if v == nil {
		r.Gateway = control.Some(netip.Addr{})
		return nil
	}
	a, reason := toAddr(v)
	if reason != "" {
		return invalidFor(name, reason)
	}
	r.Gateway = control.Some(a)
	return nil
}

func takePools(r *subnetRequest, name string, v any) error {
	list, ok := v.([]any)
	if !ok {
		return invalidFor(name, fmt.Sprintf("Invalid data format for IP pool: '%s'", pyStr(v)))
	}
	pools := make([]model.Pool, 0, len(list))
	for _, e := range list {
		d, reason := toDict(e, "start", "end")
		if reason != "" {
			return invalidFor(name, reason)
		}
		first, reason := toAddr(d["start"])
		if reason != "" {
			return invalidFor(name, reason)
		}
		last, reason := toAddr(d["end"])
		if reason != "" {
			return invalidFor(name, reason)
		}
		pools = append(pools, model.Pool{First: first, Last: last})
	}
	r.Pools = control.Some(pools)
	return nil
}

func takeNameservers(r *subnetRequest, name string, v any) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		return invalidFor(name, fmt.Sprintf("Invalid data format for nameserver: '%s'", pyStr(v)))
	}
	servers := make([]netip.Addr, 0, len(list))
	seen := map[netip.Addr]bool{}
	for _, e := range list {
		a, reason := toAddr(e)
		if reason != "" {
			return invalidFor(name, fmt.Sprintf("'%s' is not a valid nameserver. %s", pyStr(e), reason))
		}
		if seen[a] {
			return invalidFor(name, fmt.Sprintf("Duplicate nameserver '%s'", pyStr(e)))
		}
		seen[a] = true
		servers = append(servers, a)
	}
	r.DNS = control.Some(servers)
	return nil
}

func takeHostRoutes(r *subnetRequest, name string, v any) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		return invalidFor(name, fmt.Sprintf("Invalid data format for hostroute: '%s'", pyStr(v)))
	}
	routes := make([]model.Route, 0, len(list))
	seen := map[model.Route]bool{}
	for _, e := range list {
		d, reason := toDict(e, "destination", "nexthop")
		if reason != "" {
			return invalidFor(name, reason)
		}
		dst, reason := toSubnet(d["destination"])
		if reason != "" {
			return invalidFor(name, reason)
		}
		hop, reason := toAddr(d["nexthop"])
		if reason != "" {
			return invalidFor(name, reason)
		}
		route := model.Route{Destination: dst, NextHop: hop}
		if seen[route] {
			return invalidFor(name, fmt.Sprintf("Duplicate hostroute '%s'", pyStr(e)))
		}
		seen[route] = true
		routes = append(routes, route)
	}
	r.HostRoutes = control.Some(routes)
	return nil
}

// takeServiceTypes accepts none: addresses are not chosen by them yet, and a subnet that
// should be closed to some ports must not be open to them in silence.
func takeServiceTypes(r *subnetRequest, name string, v any) error {
	list, reason := toStrings(v)
	if reason != "" {
		return invalidFor(name, reason)
	}
	if len(list) > 0 {
		return invalidInput("service_types are not offered by this release")
	}
	r.ServiceTypes = control.Some(list)
	return nil
}

// ipv6Mode is an attribute that must be absent or null, because subnets here are IPv4.
func ipv6Mode(name string) subnetAttribute {
	return subnetAttribute{name: name, use: post | filter | order,
		take: func(_ *subnetRequest, name string, v any) error {
			if v == nil {
				return nil
			}
			if _, reason := oneOf(v, []string{"dhcpv6-stateful", "dhcpv6-stateless", "slaac"}); reason != "" {
				return invalidFor(name, reason)
			}
			return invalidInput("%s is not valid when ip_version is 4", name)
		},
		wire:    func(b []byte, _ *model.Subnet, _ *aside) []byte { return append(b, "null"...) },
		match:   matchText(func(*model.Subnet) string { return "" }),
		compare: func(_, _ *model.Subnet) int { return 0 }}
}

func matchSharedNetwork(values []string) (predicate[model.Subnet], error) {
	yes, no, err := boolValues(values)
	if err != nil {
		return nil, err
	}
	return func(_ *model.Subnet, x *aside) bool {
		if x.shared || x.network != nil && x.network.Shared {
			return yes
		}
		return no
	}, nil
}

// checkSubnet judges what concerns several attributes but no other object: the address
// family. Only IPv4 is offered so far, and the refusal says so.
func checkSubnet(r *subnetRequest, given map[string]any, created bool) error {
	if created {
		if n, _ := toInt(given["ip_version"]); n == 6 {
			return invalidInput("ip_version 6 is not offered by this release")
		}
		if !r.CIDR.IsValid() {
			return badResource("subnets", "a subnetpool must be specified in the absence of a cidr")
		}
		if _, has := given["prefixlen"]; has {
			return badResource("subnets", "cidr and prefixlen must not be supplied together")
		}
		if !r.CIDR.Addr().Is4() {
			return wrongFamily("cidr", r.CIDR)
		}
	}
	if r.Gateway.Set && r.Gateway.Value.Is6() {
		return wrongFamily("gateway_ip", r.Gateway.Value)
	}
	for _, p := range r.Pools.Value {
		if !p.First.Is4() || !p.Last.Is4() {
			return model.Faultf(model.InvalidAllocationPool, "The allocation pool {'start': '%s', 'end': '%s'} is not valid.", p.First, p.Last)
		}
	}
	for _, a := range r.DNS.Value {
		if !a.Is4() {
			return wrongFamily("dns_nameserver", a)
		}
	}
	for _, route := range r.HostRoutes.Value {
		if !route.Destination.Addr().Is4() {
			return wrongFamily("destination", route.Destination)
		}
		if !route.NextHop.Is4() {
			return wrongFamily("nexthop", route.NextHop)
		}
	}
	return nil
}

func wrongFamily(name string, value fmt.Stringer) error {
	return invalidInput("%s '%s' does not match the ip_version '4'", name, value)
}

func appendPool(b []byte, p model.Pool) []byte {
	b = append(b, `{"start":`...)
	b = appendText(b, p.First)
	b = append(b, `,"end":`...)
	b = appendText(b, p.Last)
	return append(b, '}')
}

func appendRoute(b []byte, r model.Route) []byte {
	b = append(b, `{"destination":`...)
	b = appendText(b, r.Destination)
	b = append(b, `,"nexthop":`...)
	b = appendText(b, r.NextHop)
	return append(b, '}')
}
