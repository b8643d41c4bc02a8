package neutron

import (
	"context"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// networkCollection joins the table of networks to the verbs.
func networkCollection(c *control.Control) *collection[model.Network, networkRequest] {
	return &collection[model.Network, networkRequest]{
		table: networks(),
		id:    func(n *model.Network) string { return string(n.ID) },
		find: func(r store.Reader, id string) *store.Entry[model.Network] {
			return r.Network(model.NetworkID(id))
		},
		list: func(r store.Reader, q *query[model.Network, networkRequest]) iter.Seq[*store.Entry[model.Network]] {
			if ids, ok := q.wanted("id"); ok {
				return found(ids, func(id string) *store.Entry[model.Network] { return r.Network(model.NetworkID(id)) })
			}
			if ids, ok := q.wanted("project_id", "tenant_id"); ok {
				return each(ids, func(id string) iter.Seq[*store.Entry[model.Network]] {
					return r.NetworksOfProject(model.ProjectID(id))
				})
			}
			return r.Networks()
		},
		around: func(r store.Reader, n *model.Network) aside {
			entries := r.SubnetsOf(n.ID)
			x := aside{subnets: make([]*model.Subnet, len(entries))}
			for i, e := range entries {
				x.subnets[i] = e.Value
				if p := store.SubnetPools.Get(r, e.Value.PoolID); p != nil && p.Value.ScopeID != "" {
					if x.scopes == nil {
						x.scopes = map[int64]string{}
					}
					x.scopes[p.Value.IPVersion] = p.Value.ScopeID
				}
			}
			return x
		},
		shared:   sharedBy(func(n *model.Network) string { return string(n.ID) }),
		external: control.ExternalTo,
		create:   c.CreateNetworks,
		update: func(ctx context.Context, id string, r networkRequest) (*store.Entry[model.Network], error) {
			return c.UpdateNetwork(ctx, model.NetworkID(id), r)
		},
		remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
			return c.DeleteNetwork(ctx, model.NetworkID(id), ifRevision)
		},
		aliases: []string{"net-mtu", "net-mtu-writable", "provider", "multi-provider", "external-net"},
	}
}

// subnetCollection joins the table of subnets to the verbs.
func subnetCollection(c *control.Control) *collection[model.Subnet, subnetRequest] {
	return &collection[model.Subnet, subnetRequest]{
		table: subnets(),
		id:    func(s *model.Subnet) string { return string(s.ID) },
		find: func(r store.Reader, id string) *store.Entry[model.Subnet] {
			return r.Subnet(model.SubnetID(id))
		},
		list: func(r store.Reader, q *query[model.Subnet, subnetRequest]) iter.Seq[*store.Entry[model.Subnet]] {
			if ids, ok := q.wanted("id"); ok {
				return found(ids, func(id string) *store.Entry[model.Subnet] { return r.Subnet(model.SubnetID(id)) })
			}
			if ids, ok := q.wanted("network_id"); ok {
				return each(ids, func(id string) iter.Seq[*store.Entry[model.Subnet]] {
					return slices.Values(r.SubnetsOf(model.NetworkID(id)))
				})
			}
			if ids, ok := q.wanted("project_id", "tenant_id"); ok {
				return each(ids, func(id string) iter.Seq[*store.Entry[model.Subnet]] {
					return r.SubnetsOfProject(model.ProjectID(id))
				})
			}
			return r.Subnets()
		},
		around: func(r store.Reader, s *model.Subnet) aside {
			if e := r.Network(s.NetworkID); e != nil {
				return aside{network: e.Value}
			}
			return aside{}
		},
		shared: sharedBy(func(s *model.Subnet) string { return string(s.NetworkID) }),
		parent: func(r store.Reader, caller access.Caller, s *model.Subnet) error {
			_, err := c.VisibleNetwork(r, caller, s.NetworkID)
			return err
		},
		create: c.CreateSubnets,
		update: func(ctx context.Context, id string, r subnetRequest) (*store.Entry[model.Subnet], error) {
			return c.UpdateSubnet(ctx, model.SubnetID(id), r)
		},
		remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
			return c.DeleteSubnet(ctx, model.SubnetID(id), ifRevision)
		},
	}
}

// portCollection joins the table of ports to the verbs.
func portCollection(c *control.Control) *collection[model.Port, portRequest] {
	t := ports()
	t.check = checkDNSName(c)
	return &collection[model.Port, portRequest]{
		table: t,
		id:    func(p *model.Port) string { return string(p.ID) },
		find: func(r store.Reader, id string) *store.Entry[model.Port] {
			return r.Port(model.PortID(id))
		},
		list: listPorts, ordered: portsInOrder,
		around: func(r store.Reader, p *model.Port) aside {
			return aside{domain: c.Config().DNSDomain, trunk: trunkDetails(r, p)}
		},
		shared: sharedBy(func(p *model.Port) string { return string(p.NetworkID) }),
		parent: func(r store.Reader, caller access.Caller, p *model.Port) error {
			_, err := c.VisibleNetwork(r, caller, p.NetworkID)
			return err
		},
		create: c.CreatePorts,
		update: func(ctx context.Context, id string, r portRequest) (*store.Entry[model.Port], error) {
			return c.UpdatePort(ctx, model.PortID(id), r)
		},
		remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
			return c.DeletePort(ctx, model.PortID(id), ifRevision)
		},
		aliases: []string{"binding", "binding-extended", "extra_dhcp_opt", "ip_allocation", "ip-substring-filtering",
			"dns-integration", "dns-domain-ports", "port-mac-address-regenerate", "data-plane-status",
			"port-security", "allowed-address-pairs", "port-security-groups-filtering"},
	}
}

// listPorts yields the ports that a query can want.
func listPorts(r store.Reader, q *query[model.Port, portRequest]) iter.Seq[*store.Entry[model.Port]] {
	if some := somePorts(r, q); some != nil {
		return some
	}
	return r.Ports()
}

// portsInOrder is listPorts for a query that no index can answer.
func portsInOrder(r store.Reader, q *query[model.Port, portRequest], from string, back bool) iter.Seq[*store.Entry[model.Port]] {
	switch {
	case somePorts(r, q) != nil:
		return nil
	case back:
		return r.PortsBefore(from)
	}
	return r.PortsAfter(from)
}

// somePorts starts from the narrowest index that a filter names, nil when there is none;
// each port is in one bucket of each index, so nothing comes twice.
func somePorts(r store.Reader, q *query[model.Port, portRequest]) iter.Seq[*store.Entry[model.Port]] {
	if ids, ok := q.wanted("id"); ok {
		return found(ids, func(id string) *store.Entry[model.Port] { return r.Port(model.PortID(id)) })
	}
	if devices, ok := q.wanted("device_id"); ok {
		return each(devices, func(d string) iter.Seq[*store.Entry[model.Port]] { return slices.Values(r.PortsOfDevice(d)) })
	}
	if a, ok := oneAddress(q.filters["fixed_ips"]); ok {
		return slices.Values(r.PortsWithAddr(a))
	}
	if values := q.filters["mac_address"]; len(values) == 1 {
		if m, err := model.ParseMAC(values[0]); err == nil {
			return slices.Values(r.PortsWithMAC(m))
		}
	}
	if names, ok := q.wanted("name"); ok {
		return each(names, func(n string) iter.Seq[*store.Entry[model.Port]] { return slices.Values(r.PortsNamed(n)) })
	}
	if groups, ok := q.wanted("security_groups"); ok {
		return portsIn(r, groups)
	}
	if hosts, ok := q.wanted("binding:host_id"); ok {
		return each(hosts, func(h string) iter.Seq[*store.Entry[model.Port]] { return r.PortsOnHost(model.HostName(h)) })
	}
	if ids, ok := q.wanted("network_id"); ok {
		return each(ids, func(id string) iter.Seq[*store.Entry[model.Port]] { return r.PortsOf(model.NetworkID(id)) })
	}
	if ids, ok := q.wanted("project_id", "tenant_id"); ok {
		return each(ids, func(id string) iter.Seq[*store.Entry[model.Port]] { return r.PortsOfProject(model.ProjectID(id)) })
	}
	if q.project != "" {
		return portsFor(r, q.project)
	}
	return nil
}

// portsIn yields the ports that are in one of several security groups, each once.
func portsIn(r store.Reader, groups []string) iter.Seq[*store.Entry[model.Port]] {
	ports := map[model.PortID]bool{}
	for _, g := range groups {
		for ref := range r.Referrers(model.KindSecurityGroup, g) {
			if ref.Kind == model.KindPort {
				ports[model.PortID(ref.ID)] = true
			}
		}
	}
	return func(yield func(*store.Entry[model.Port]) bool) {
		for id := range ports {
			if e := r.Port(id); e != nil && !yield(e) {
				return
			}
		}
	}
}

// portsFor yields the ports that a project may see: its own, and those on its networks.
func portsFor(r store.Reader, p model.ProjectID) iter.Seq[*store.Entry[model.Port]] {
	return func(yield func(*store.Entry[model.Port]) bool) {
		for e := range r.PortsOfProject(p) {
			if !yield(e) {
				return
			}
		}
		for n := range r.NetworksOfProject(p) {
			for e := range r.PortsOf(n.Value.ID) {
				if e.Value.Project != p && !yield(e) {
					return
				}
			}
		}
	}
}

// oneAddress returns the address when a fixed_ips filter names exactly one.
func oneAddress(values []string) (a netip.Addr, ok bool) {
	for _, v := range values {
		text, is := strings.CutPrefix(v, "ip_address=")
		if !is {
			continue
		}
		b, err := netip.ParseAddr(text)
		if err != nil || ok && a != b {
			return a, false
		}
		a, ok = b, true
	}
	return a, ok
}

// found yields the objects with these IDs that are there.
func found[M any](ids []string, find func(string) *store.Entry[M]) iter.Seq[*store.Entry[M]] {
	return func(yield func(*store.Entry[M]) bool) {
		for _, id := range ids {
			if e := find(id); e != nil && !yield(e) {
				return
			}
		}
	}
}

// each yields the objects of several buckets of an index.
func each[M any](values []string, bucket func(string) iter.Seq[*store.Entry[M]]) iter.Seq[*store.Entry[M]] {
	return func(yield func(*store.Entry[M]) bool) {
		for _, v := range values {
			for e := range bucket(v) {
				if !yield(e) {
					return
				}
			}
		}
	}
}
