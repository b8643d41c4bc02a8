package neutron

import (
	"fmt"
	"math"

	"weft/internal/control"
	"weft/internal/model"
)

type (
	networkRequest   = control.NetworkRequest
	networkAttribute = attribute[model.Network, control.NetworkRequest]
)

// networks is the table of /v2.0/networks.
func networks() *table[model.Network, networkRequest] {
	attributes := []networkAttribute{
		{name: "id", use: filter | order, text: func(n *model.Network) string { return string(n.ID) }},
		{name: "name", kind: "string(255)", def: "", use: post | put | filter | order,
			take: takeText(func(r *networkRequest) *control.Opt[string] { return &r.Name }, maxName),
			text: func(n *model.Network) string { return n.Name }},
		{name: "subnets", kind: "list of UUIDs", wire: func(b []byte, _ *model.Network, x *aside) []byte {
			return appendList(b, x.subnets, func(b []byte, s *model.Subnet) []byte { return appendString(b, string(s.ID)) })
		}},
		{name: "admin_state_up", def: true, use: post | put | filter | order,
			take: takeFlag(func(r *networkRequest) *control.Opt[bool] { return &r.AdminStateUp }),
			flag: func(n *model.Network) bool { return n.AdminStateUp }},
		// A network has nothing that could be down: Neutron too says ACTIVE from the start.
		{name: "status", use: filter | order, text: func(*model.Network) string { return "ACTIVE" }},
		{name: "tenant_id", use: post | filter | order,
			take: takeProject(func(r *networkRequest) *model.ProjectID { return &r.Project }),
			text: func(n *model.Network) string { return string(n.Project) }},
		{name: "shared", def: false, use: post | put | filter,
			take: takeFlag(func(r *networkRequest) *control.Opt[bool] { return &r.Shared }),
			flag: func(n *model.Network) bool { return n.Shared }},
		{name: "router:external", def: false, use: post | put | filter,
			take: takeFlag(func(r *networkRequest) *control.Opt[bool] { return &r.External }),
			flag: func(n *model.Network) bool { return n.External }},
		{name: "port_security_enabled", use: post | put,
			take: takeFlag(func(r *networkRequest) *control.Opt[bool] { return &r.PortSecurity }),
			flag: func(n *model.Network) bool { return n.PortSecurity }},
		{name: "mtu", use: post | put | filter | order, take: takeMTU,
			number: func(n *model.Network) int64 { return int64(n.MTU) }},
		// Which external network is the default; Neutron shows it of these, and after a create.
		{name: "is_default", def: false, use: post | put | filter,
			when: func(n *model.Network, x *aside) bool { return n.External || x.created },
			take: takeFlag(func(r *networkRequest) *control.Opt[bool] { return &r.IsDefault }),
			flag: func(n *model.Network) bool { return n.IsDefault }},
	}
	attributes = append(attributes, networkAttribute{name: "dns_domain", def: "", use: post | put, kind: "DNS name with a final dot",
		take: takeDNS(func(r *networkRequest) *control.Opt[string] { return &r.DNSDomain }, dnsDomainReason),
		text: func(n *model.Network) string { return n.DNSDomain }})
	attributes = append(attributes, qosAttribute(func(r *networkRequest, id string) { r.QoSPolicy = control.Some(id) },
		func(n *model.Network) string { return n.QoSPolicy }))
	for _, a := range providerAttributes() {
		a.when = func(n *model.Network, _ *aside) bool { return len(n.Segments) <= 1 }
		attributes = append(attributes, a)
	}
	attributes = append(attributes, segmentsAttribute())
	attributes = append(attributes, zoneAttributes()...)
	attributes = append(attributes, standardAttributes(func(n *model.Network) *model.Meta { return &n.Meta },
		func(r *networkRequest) *control.Opt[string] { return &r.Description })...)
	attributes = append(attributes, networkAttribute{name: "project_id", use: post | filter | order,
		text: func(n *model.Network) string { return string(n.Project) }})
	return newTable(table[model.Network, networkRequest]{
		kind: model.KindNetwork, singular: "network", plural: "networks", attributes: attributes,
		meta:     func(n *model.Network) *model.Meta { return &n.Meta },
		project:  func(r *networkRequest) *model.ProjectID { return &r.Project },
		revision: func(r *networkRequest) *control.Opt[int] { return &r.IfRevision },
		draft: func(r *networkRequest) *model.Network {
			return &model.Network{Project: r.Project, Shared: r.Shared.Value, External: r.External.Value}
		},
		owner: func(n *model.Network) model.ProjectID { return n.Project },
	})
}

// providerAttributes say how a network is realised. null is as good as absent, as in Neutron.
func providerAttributes() []networkAttribute {
	take := func(field func(*networkRequest) *control.Opt[string]) func(*networkRequest, string, any) error {
		text := takeText(field, maxProvider)
		return func(r *networkRequest, name string, v any) error {
			if v == nil {
				return nil
			}
			return text(r, name, v)
		}
	}
	segment := func(n *model.Network) int64 { return int64(n.Segment.ID) }
	return []networkAttribute{
		{name: "provider:network_type", kind: "flat, vlan or vxlan", use: post | put | filter,
			take: take(func(r *networkRequest) *control.Opt[string] { return &r.NetworkType }),
			text: func(n *model.Network) string { return string(n.Segment.Type) }},
		{name: "provider:physical_network", kind: "string(64) or null", use: post | put | filter,
			take: take(func(r *networkRequest) *control.Opt[string] { return &r.Physical }),
			wire: func(b []byte, n *model.Network, _ *aside) []byte {
				return appendTextOrNull(b, n.Segment.Physical)
			},
			match: matchText(func(n *model.Network) string { return n.Segment.Physical })},
		{name: "provider:segmentation_id", kind: "integer or null", use: post | put | filter,
			take: func(r *networkRequest, _ string, v any) error {
				if v == nil {
					return nil
				}
				id, err := toInt(v)
				if err != nil {
					return err
				}
				r.SegmentationID = control.Some(id)
				return nil
			},
			wire: func(b []byte, n *model.Network, _ *aside) []byte {
				return appendSegmentationID(b, n.Segment)
			},
			match: matchNumber(segment)},
	}
}

// theZone is the only availability zone, by Neutron's default name.
const theZone = "nova"

// zoneAttributes are availability zones and address scopes. There is one zone, and a
// network is in it when DHCP serves it there. The address scope of a network is that of
// its subnets' pool.
func zoneAttributes() []networkAttribute {
	return []networkAttribute{
		{name: "availability_zone_hints", kind: "list of strings", use: post,
			take: func(r *networkRequest, name string, v any) error {
				hints, err := toZoneHints(name, v)
				r.AZHints = control.Some(hints)
				return err
			},
			wire: func(b []byte, n *model.Network, _ *aside) []byte {
				return appendList(b, n.AvailabilityZoneHints, appendString)
			}},
		{name: "availability_zones", kind: "list of strings", wire: func(b []byte, n *model.Network, x *aside) []byte {
			for _, s := range x.subnets {
				if s.EnableDHCP && !n.DHCPAway {
					return appendList(b, []string{theZone}, appendString)
				}
			}
			return append(b, "[]"...)
		}},
		{name: "ipv4_address_scope", kind: "UUID or null", wire: func(b []byte, _ *model.Network, x *aside) []byte { return appendTextOrNull(b, x.scopes[4]) }},
		{name: "ipv6_address_scope", kind: "UUID or null", wire: func(b []byte, _ *model.Network, x *aside) []byte { return appendTextOrNull(b, x.scopes[6]) }},
	}
}

// takeMTU takes a non-negative number; 0 asks for the largest that fits.
func takeMTU(r *networkRequest, name string, v any) error {
	n, err := toInt(v)
	if err != nil {
		return err
	}
	switch {
	case n < 0:
		return invalidFor(name, fmt.Sprintf("'%d' should be non-negative", n))
	case n > math.MaxInt32:
		return invalidFor(name, fmt.Sprintf("'%d' is too large - must be no larger than '%d'", n, math.MaxInt32))
	}
	r.MTU = control.Some(int(n))
	return nil
}

// toStrings reads a list of different strings.
func toStrings(v any) ([]string, string) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Sprintf("'%s' is not a list", pyStr(v))
	}
	out := make([]string, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, e := range list {
		s, reason := toString(e, maxName)
		if reason != "" {
			return nil, reason
		}
		if seen[s] {
			return nil, fmt.Sprintf("Duplicate items in the list: '%s'", s)
		}
		seen[s] = true
		out = append(out, s)
	}
	return out, ""
}
