package neutron

import (
	"context"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type (
	floatingRequest   = control.FloatingIPRequest
	floatingAttribute = attribute[model.FloatingIP, control.FloatingIPRequest]
)

// floatingIPs is the table of /v2.0/floatingips.
func floatingIPs() *table[model.FloatingIP, floatingRequest] {
	meta := func(m *model.FloatingIP) *model.Meta { return &m.Meta }
	project := func(m *model.FloatingIP) string { return string(m.Project) }
	attributes := []floatingAttribute{
		{name: "id", use: filter | order, kind: "UUID", text: func(m *model.FloatingIP) string { return string(m.ID) }},
		{name: "tenant_id", use: post | filter | order, kind: "project", text: project,
			take: takeProject(func(r *floatingRequest) *model.ProjectID { return &r.Project })},
		addressOrNull("floating_ip_address", post|filter|order, func(m *model.FloatingIP) netip.Addr { return m.Addr },
			func(r *floatingRequest, a netip.Addr) { r.Addr = a }),
		{name: "subnet_id", use: post, kind: "UUID", take: takeUUIDOrNull(func(r *floatingRequest, id string) { r.SubnetID = model.SubnetID(id) })},
		{name: "floating_network_id", use: post | need | filter | order, kind: "UUID", text: func(m *model.FloatingIP) string { return string(m.NetworkID) },
			take: func(r *floatingRequest, name string, v any) error {
				id, reason := toUUID(v)
				if reason != "" {
					return invalidFor(name, reason)
				}
				r.NetworkID = model.NetworkID(id)
				return nil
			}},
		textOrNull("router_id", filter|order, func(m *model.FloatingIP) string { return string(m.Router) }),
		textOrNull("port_id", post|put|filter, func(m *model.FloatingIP) string { return string(m.FixedPort) }),
		addressOrNull("fixed_ip_address", post|put|filter|order, func(m *model.FloatingIP) netip.Addr { return m.FixedAddr },
			func(r *floatingRequest, a netip.Addr) { r.FixedAddr = control.Some(a) }),
		// No host translates addresses yet.
		{name: "status", use: filter | order, kind: "DOWN", text: func(*model.FloatingIP) string { return "DOWN" }},
		{name: "project_id", use: post | filter | order, kind: "project", text: project},
		{name: "dns_name", def: "", use: post, kind: "host name", text: func(m *model.FloatingIP) string { return m.DNSName },
			take: takeDNS(func(r *floatingRequest) *control.Opt[string] { return &r.DNSName }, dnsNameReason)},
		{name: "dns_domain", def: "", use: post, kind: "domain name", text: func(m *model.FloatingIP) string { return m.DNSDomain },
			take: takeDNS(func(r *floatingRequest) *control.Opt[string] { return &r.DNSDomain }, dnsDomainReason)},
		{name: "port_details", kind: "object", wire: appendPortDetails},
		{name: "port_forwardings", kind: "list of objects", wire: func(b []byte, _ *model.FloatingIP, x *aside) []byte {
			return appendList(b, x.forwardings, appendForwarding)
		}},
	}
	attributes[6].take = takeUUIDOrNull(func(r *floatingRequest, id string) { r.FixedPort = control.Some(model.PortID(id)) })
	attributes = append(attributes, standardAttributes(meta, func(r *floatingRequest) *control.Opt[string] { return &r.Description })...)
	return newTable(table[model.FloatingIP, floatingRequest]{
		kind: model.KindFloatingIP, singular: "floatingip", plural: "floatingips", attributes: attributes,
		meta:     meta,
		project:  func(r *floatingRequest) *model.ProjectID { return &r.Project },
		revision: func(r *floatingRequest) *control.Opt[int] { return &r.IfRevision },
		draft:    func(r *floatingRequest) *model.FloatingIP { return &model.FloatingIP{Project: r.Project} },
		owner:    func(m *model.FloatingIP) model.ProjectID { return m.Project },
	})
}

// textOrNull is a row of a text that is null when empty.
func textOrNull(name string, u use, get func(*model.FloatingIP) string) floatingAttribute {
	return floatingAttribute{name: name, use: u, kind: "UUID or null",
		wire:    func(b []byte, m *model.FloatingIP, _ *aside) []byte { return appendTextOrNull(b, get(m)) },
		match:   matchText(get),
		compare: func(x, y *model.FloatingIP) int { return strings.Compare(get(x), get(y)) }}
}

// addressOrNull is a row of an IP address that may be null.
func addressOrNull(name string, u use, get func(*model.FloatingIP) netip.Addr, set func(*floatingRequest, netip.Addr)) floatingAttribute {
	row := textOrNull(name, u, func(m *model.FloatingIP) string {
		if a := get(m); a.IsValid() {
			return a.String()
		}
		return ""
	})
	row.kind = "IP address or null"
	row.compare = func(x, y *model.FloatingIP) int { return get(x).Compare(get(y)) }
	row.take = func(r *floatingRequest, name string, v any) error {
		if v == nil {
			set(r, netip.Addr{})
			return nil
		}
		a, reason := toAddr(v)
		if reason != "" {
			return invalidFor(name, reason)
		}
		set(r, a)
		return nil
	}
	return row
}

// takeUUIDOrNull makes the taker of a UUID; null is "".
func takeUUIDOrNull[R any](set func(*R, string)) func(*R, string, any) error {
	return func(r *R, name string, v any) error {
		if v == nil {
			set(r, "")
			return nil
		}
		id, reason := toUUID(v)
		if reason != "" {
			return invalidFor(name, reason)
		}
		set(r, id)
		return nil
	}
}

// appendPortDetails tells of the port that the address stands for.
func appendPortDetails(b []byte, _ *model.FloatingIP, x *aside) []byte {
	if x.port == nil {
		return append(b, "null"...)
	}
	p := x.port
	return appendJSON(b, map[string]any{"name": p.Name, "network_id": p.NetworkID, "mac_address": p.MAC, "admin_state_up": p.AdminStateUp,
		"status": p.Status, "device_id": p.DeviceID, "device_owner": p.DeviceOwner})
}

// floatingCollection joins the table of floating IPs to the verbs.
func floatingCollection(c *control.Control) *collection[model.FloatingIP, floatingRequest] {
	return &collection[model.FloatingIP, floatingRequest]{
		table: floatingIPs(),
		id:    func(m *model.FloatingIP) string { return string(m.ID) },
		find:  store.FloatingIPs.Get,
		list:  listFloatingIPs,
		// The details of ports and the port forwardings change alone.
		fresh: true,
		around: func(r store.Reader, m *model.FloatingIP) (x aside) {
			if m.FixedPort != "" {
				x.port = portAt(r, m.FixedPort)
			}
			for e := range store.PortForwardings.By(r, "floatingip", string(m.ID)) {
				x.forwardings = append(x.forwardings, e.Value)
			}
			slices.SortFunc(x.forwardings, func(a, b *model.PortForwarding) int {
				if n := a.CreatedAt.Compare(b.CreatedAt); n != 0 {
					return n
				}
				return strings.Compare(a.ID, b.ID)
			})
			return x
		},
		create: c.CreateFloatingIPs,
		update: func(ctx context.Context, id string, r floatingRequest) (*store.Entry[model.FloatingIP], error) {
			return c.UpdateFloatingIP(ctx, model.FloatingIPID(id), r)
		},
		remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
			return c.DeleteFloatingIP(ctx, model.FloatingIPID(id), ifRevision)
		},
		aliases: []string{"fip-port-details"},
	}
}

// listFloatingIPs starts from the narrowest index that a filter names.
func listFloatingIPs(r store.Reader, q *query[model.FloatingIP, floatingRequest]) iter.Seq[*store.Entry[model.FloatingIP]] {
	for name, index := range map[string]string{"floating_ip_address": "address", "port_id": "port"} {
		if values, ok := q.wanted(name); ok {
			return each(values, func(v string) iter.Seq[*store.Entry[model.FloatingIP]] { return store.FloatingIPs.By(r, index, v) })
		}
	}
	for name, index := range map[string]string{"router_id": "router", "floating_network_id": "network"} {
		if values, ok := q.wanted(name); ok {
			return each(values, func(v string) iter.Seq[*store.Entry[model.FloatingIP]] { return store.FloatingIPs.By(r, index, v) })
		}
	}
	return indexed(r, store.FloatingIPs, q)
}

// servePools answers with the IPv4 subnets of the external networks, from which floating
// IPs can come.
func (s *Server) servePools(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return faultMethod
	}
	caller := control.CallerOf(r.Context())
	pools := []map[string]any{}
	s.control.Read(func(rd store.Reader) {
		for n := range rd.Networks() {
			if _, err := s.control.VisibleNetwork(rd, caller, n.Value.ID); err != nil || !n.Value.External {
				continue
			}
			for _, e := range rd.SubnetsOf(n.Value.ID) {
				if sub := e.Value; sub.CIDR.Addr().Is4() {
					pools = append(pools, map[string]any{"subnet_id": sub.ID, "subnet_name": sub.Name, "network_id": sub.NetworkID,
						"cidr": sub.CIDR, "project_id": caller.ProjectID, "tenant_id": caller.ProjectID})
				}
			}
		}
	})
	slices.SortFunc(pools, func(a, b map[string]any) int {
		return strings.Compare(string(a["subnet_id"].(model.SubnetID)), string(b["subnet_id"].(model.SubnetID)))
	})
	return writeJSON(w, map[string]any{"floatingip_pools": pools})
}
