package neutron

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
		{name: "name", kind: "string(255)", def: "", use: post | put | filter | order,
			take: takeText(func(r *subnetRequest) *control.Opt[string] { return &r.Name }, maxName),
			text: func(s *model.Subnet) string { return s.Name }},
		{name: "ip_version", kind: "4 or 6", use: post | need | filter | order, take: takeIPVersion,
			number: (*model.Subnet).Version},
		{name: "network_id", kind: "UUID", use: post | need | filter | order,
			take: func(r *subnetRequest, name string, v any) error {
				id, reason := toUUID(v)
				if reason != "" {
					return invalidFor(name, reason)
				}
				r.NetworkID = model.NetworkID(id)
				return nil
			},
			text: func(s *model.Subnet) string { return string(s.NetworkID) }},
		{name: "subnetpool_id", kind: "UUID or null", use: post | filter | order, take: takeSubnetPool,
			wire:    func(b []byte, s *model.Subnet, _ *aside) []byte { return appendTextOrNull(b, s.PoolID) },
			match:   matchText(func(s *model.Subnet) string { return s.PoolID }),
			compare: func(x, y *model.Subnet) int { return cmp.Compare(x.PoolID, y.PoolID) }},
		{name: "use_default_subnetpool", kind: "boolean", def: false, use: post, take: func(r *subnetRequest, _ string, v any) (err error) {
			r.DefaultPool, err = toBool(v)
			return err
		}},
		{name: "prefixlen", kind: "integer", use: post, take: func(r *subnetRequest, name string, v any) error {
			n, err := toCount(name, v)
			if err == nil {
				r.PrefixLen = control.Some(n)
			}
			return err
		}},
		{name: "cidr", kind: "CIDR", use: post | filter | order, take: takeCIDR,
			text: func(s *model.Subnet) string { return s.CIDR.String() }},
		{name: "gateway_ip", kind: "IP address or null", use: post | put | filter | order, take: takeGateway,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte {
				return appendTextOrNull(b, gatewayText(s))
			},
			match:   matchText(gatewayText),
			compare: func(x, y *model.Subnet) int { return x.Gateway.Compare(y.Gateway) }},
		{name: "allocation_pools", kind: "list of {start, end}", use: post | put, take: takePools,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte { return appendList(b, s.Pools, appendPool) }},
		{name: "dns_nameservers", kind: "list of IP addresses", use: post | put, take: takeNameservers,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte {
				return appendList(b, s.DNSNameservers, func(b []byte, a netip.Addr) []byte { return appendText(b, a) })
			}},
		{name: "host_routes", kind: "list of {destination, nexthop}", use: post | put, take: takeHostRoutes,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte { return appendList(b, s.HostRoutes, appendRoute) }},
		{name: "tenant_id", use: post | filter | order,
			take: takeProject(func(r *subnetRequest) *model.ProjectID { return &r.Project }),
			text: func(s *model.Subnet) string { return string(s.Project) }},
		{name: "enable_dhcp", def: true, use: post | put | filter | order,
			take: takeFlag(func(r *subnetRequest) *control.Opt[bool] { return &r.EnableDHCP }),
			flag: func(s *model.Subnet) bool { return s.EnableDHCP }},
		ipv6Mode("ipv6_ra_mode", func(r *subnetRequest) *model.IPv6Mode { return &r.RAMode },
			func(s *model.Subnet) string { return string(s.RAMode) }),
		ipv6Mode("ipv6_address_mode", func(r *subnetRequest) *model.IPv6Mode { return &r.AddressMode },
			func(s *model.Subnet) string { return string(s.AddressMode) }),
		// The subnets of a shared network are shared; it is a filter and does not show.
		{name: "shared", kind: "boolean", use: filter, match: matchSharedNetwork},
		{name: "service_types", kind: "list of strings", use: post | put, take: takeServiceTypes,
			wire: func(b []byte, s *model.Subnet, _ *aside) []byte {
				return appendList(b, s.ServiceTypes, appendString)
			}},
		{name: "dns_publish_fixed_ip", def: false, use: post | put | filter | order,
			take: takeFlag(func(r *subnetRequest) *control.Opt[bool] { return &r.DNSPublish }),
			flag: func(s *model.Subnet) bool { return s.DNSPublishFixedIP }},
		// The extension is not advertised: a subnet without a segment shows nothing of it.
		{name: "segment_id", use: post | put | filter | order, kind: "UUID or null",
			when: func(s *model.Subnet, _ *aside) bool { return s.SegmentID != "" },
			take: takeUUIDOrNull(func(r *subnetRequest, id string) { r.SegmentID = control.Some(id) }),
			text: func(s *model.Subnet) string { return s.SegmentID }},
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
		draft: func(r *subnetRequest) *model.Subnet {
			return &model.Subnet{Project: r.Project, NetworkID: r.NetworkID}
		},
		owner: func(s *model.Subnet) model.ProjectID { return s.Project },
		related: func(rd store.Reader, s *model.Subnet, object, attribute string) (string, bool) {
			return ofNetwork(rd, s.NetworkID, object, attribute)
		},
	})
}

func gatewayText(s *model.Subnet) string {
	if !s.Gateway.IsValid() {
		return ""
	}
	return s.Gateway.String()
}

func takeIPVersion(r *subnetRequest, name string, v any) (err error) {
	r.IPVersion, err = toVersion(name, v)
	return err
}

// toVersion reads an IP version.
func toVersion(name string, v any) (int64, error) {
	n, err := toInt(v)
	if err == nil && n != 4 && n != 6 {
		err = invalidFor(name, fmt.Sprintf("%d is not in [4, 6]", n))
	}
	return n, err
}

func takeSubnetPool(r *subnetRequest, name string, v any) error {
	if v == nil {
		return nil
	}
	id, reason := toUUID(v)
	if reason != "" {
		return invalidFor(name, reason)
	}
	r.PoolID = id
	return nil
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
	routes, err := toRoutes(name, v)
	r.HostRoutes = control.Some(routes)
	return err
}

// toRoutes reads a list of destinations and next hops; null is none.
func toRoutes(name string, v any) ([]model.Route, error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, invalidFor(name, fmt.Sprintf("Invalid data format for hostroute: '%s'", pyStr(v)))
	}
	routes := make([]model.Route, 0, len(list))
	seen := map[model.Route]bool{}
	for _, e := range list {
		d, reason := toDict(e, "destination", "nexthop")
		if reason != "" {
			return nil, invalidFor(name, reason)
		}
		dst, reason := toSubnet(d["destination"])
		if reason != "" {
			return nil, invalidFor(name, reason)
		}
		hop, reason := toAddr(d["nexthop"])
		if reason != "" {
			return nil, invalidFor(name, reason)
		}
		route := model.Route{Destination: dst, NextHop: hop}
		if seen[route] {
			return nil, invalidFor(name, fmt.Sprintf("Duplicate hostroute '%s'", pyStr(e)))
		}
		seen[route] = true
		routes = append(routes, route)
	}
	return routes, nil
}

// takeServiceTypes accepts device owners of the cloud's own ports and of instances.
func takeServiceTypes(r *subnetRequest, _ string, v any) error {
	list, ok := v.([]any)
	if !ok && v != nil {
		return badRequest("Subnet service types must be a list.")
	}
	types := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return fault{Status: 400, Type: "InvalidInputSubnetServiceType",
				Message: fmt.Sprintf("Subnet service type %s is not a string.", pyStr(e))}
		}
		if !strings.HasPrefix(s, model.OwnerNetworkPrefix) && !strings.HasPrefix(s, "neutron:") && !strings.HasPrefix(s, model.OwnerComputePrefix) {
			return fault{Status: 400, Type: "InvalidSubnetServiceType",
				Message: fmt.Sprintf("Subnet service type %s does not correspond to a valid device owner.", s)}
		}
		if !slices.Contains(types, s) {
			types = append(types, s)
		}
	}
	r.ServiceTypes = control.Some(types)
	return nil
}

// ipv6Mode is a row of one of the IPv6 modes; none is null.
func ipv6Mode(name string, field func(*subnetRequest) *model.IPv6Mode, get func(*model.Subnet) string) subnetAttribute {
	return subnetAttribute{name: name, kind: "slaac, dhcpv6-stateful, dhcpv6-stateless or null", use: post | filter | order,
		take: func(r *subnetRequest, name string, v any) error {
			if v == nil {
				return nil
			}
			mode, reason := oneOf(v, []string{string(model.DHCPv6Stateful), string(model.DHCPv6Stateless), string(model.SLAAC)})
			if reason != "" {
				return invalidFor(name, reason)
			}
			*field(r) = model.IPv6Mode(mode)
			return nil
		},
		wire:    func(b []byte, s *model.Subnet, _ *aside) []byte { return appendTextOrNull(b, get(s)) },
		match:   matchText(get),
		compare: func(x, y *model.Subnet) int { return cmp.Compare(get(x), get(y)) }}
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
