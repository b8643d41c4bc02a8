package neutron

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type (
	routerRequest   = control.RouterRequest
	routerAttribute = attribute[model.Router, control.RouterRequest]
)

// routers is the table of /v2.0/routers.
func routers() *table[model.Router, routerRequest] {
	meta := func(m *model.Router) *model.Meta { return &m.Meta }
	project := func(m *model.Router) string { return string(m.Project) }
	takeOwner := takeProject(func(r *routerRequest) *model.ProjectID { return &r.Project })
	attributes := []routerAttribute{
		{name: "id", use: filter | order, kind: "UUID", text: func(m *model.Router) string { return string(m.ID) }},
		{name: "name", def: "", use: post | put | filter | order, kind: "string(255)",
			take: takeText(func(r *routerRequest) *control.Opt[string] { return &r.Name }, maxName),
			text: func(m *model.Router) string { return m.Name }},
		{name: "admin_state_up", def: true, use: post | put | filter | order, kind: "boolean",
			take: takeFlag(func(r *routerRequest) *control.Opt[bool] { return &r.AdminStateUp }),
			flag: func(m *model.Router) bool { return m.AdminStateUp }},
		// A router is a record that is whole as soon as it is stored, as in Neutron.
		{name: "status", use: order, kind: "ACTIVE", text: func(*model.Router) string { return "ACTIVE" }},
		{name: "tenant_id", use: post | filter | order, kind: "project", take: takeOwner, text: project},
		{name: "external_gateway_info", use: post | put, kind: "object of network_id, enable_snat, external_fixed_ips", take: takeGatewayInfo, wire: appendGatewayInfo},
		{name: "distributed", use: post | put, kind: "boolean", take: takeFlagOrNull(func(r *routerRequest) *control.Opt[bool] { return &r.Distributed }),
			flag: func(m *model.Router) bool { return m.Distributed }},
		{name: "ha", use: post | put, kind: "boolean", take: takeFlagOrNull(func(r *routerRequest) *control.Opt[bool] { return &r.HA }),
			flag: func(m *model.Router) bool { return m.HA }},
		{name: "availability_zone_hints", def: []any{}, use: post, kind: "list of strings", take: func(r *routerRequest, name string, v any) error {
			hints, err := toZoneHints(name, v)
			r.AZHints = control.Some(hints)
			return err
		},
			wire: func(b []byte, m *model.Router, _ *aside) []byte {
				return appendList(b, m.AvailabilityZoneHints, appendString)
			}},
		// A router is in a zone when an L3 agent there serves it, and there is none yet.
		{name: "availability_zones", kind: "list of strings", wire: func(b []byte, _ *model.Router, _ *aside) []byte { return append(b, "[]"...) }},
		{name: "routes", use: put, kind: "list of destination, nexthop", take: func(r *routerRequest, name string, v any) error {
			routes, err := toRoutes(name, v)
			r.Routes = control.Some(routes)
			return err
		},
			wire: func(b []byte, m *model.Router, _ *aside) []byte { return appendList(b, m.Routes, appendRoute) }},
		{name: "flavor_id", kind: "null", wire: func(b []byte, _ *model.Router, _ *aside) []byte { return append(b, "null"...) }},
	}
	attributes = append(attributes, standardAttributes(meta, func(r *routerRequest) *control.Opt[string] { return &r.Description })...)
	attributes = append(attributes, routerAttribute{name: "project_id", use: post | filter | order, kind: "project", text: project})
	return newTable(table[model.Router, routerRequest]{
		kind: model.KindRouter, singular: "router", plural: "routers", attributes: attributes,
		meta:     meta,
		project:  func(r *routerRequest) *model.ProjectID { return &r.Project },
		revision: func(r *routerRequest) *control.Opt[int] { return &r.IfRevision },
		draft:    func(r *routerRequest) *model.Router { return &model.Router{Project: r.Project} },
		owner:    func(m *model.Router) model.ProjectID { return m.Project },
	})
}

// takeFlagOrNull makes the taker of a boolean for which null is not to say.
func takeFlagOrNull[R any](field func(*R) *control.Opt[bool]) func(*R, string, any) error {
	take := takeFlag(field)
	return func(r *R, name string, v any) error {
		if v == nil {
			return nil
		}
		return take(r, name, v)
	}
}

// toZoneHints reads a list of availability zones.
func toZoneHints(name string, v any) ([]string, error) {
	hints, reason := toStrings(v)
	if reason != "" {
		return nil, invalidFor(name, reason)
	}
	for _, h := range hints {
		if h != theZone {
			return nil, model.NotFound{Kind: kindZone, ID: h}
		}
	}
	return hints, nil
}

// takeGatewayInfo accepts an object; null and an empty one are no gateway.
func takeGatewayInfo(r *routerRequest, name string, v any) error {
	d, ok := v.(map[string]any)
	if !ok && v != nil {
		return invalidFor(name, fmt.Sprintf("'%s' is not a dictionary", pyStr(v)))
	}
	if len(d) == 0 {
		r.Gateway = control.Some[*control.GatewayRequest](nil)
		return nil
	}
	if _, has := d["network_id"]; !has {
		_, reason := toDict(v, "network_id")
		return invalidFor(name, reason)
	}
	var g control.GatewayRequest
	for _, key := range sortedKeys(d) {
		switch key {
		case "network_id":
			id, reason := toUUID(d[key])
			if reason != "" {
				return invalidFor(name, reason)
			}
			g.NetworkID = model.NetworkID(id)
		case "enable_snat":
			b, err := toBool(d[key])
			if err != nil {
				return invalidFor(name, fmt.Sprintf("'%s' is not a valid boolean value", pyStr(d[key])))
			}
			g.SNAT = control.Some(b)
		case "external_fixed_ips":
			ips, err := toFixedIPs(name, d[key])
			if err != nil {
				return err
			}
			g.FixedIPs = ips
		default:
			return invalidFor(name, "Unexpected keys supplied: "+key)
		}
	}
	r.Gateway = control.Some(&g)
	return nil
}

func appendGatewayInfo(b []byte, m *model.Router, x *aside) []byte {
	if m.Gateway == nil {
		return append(b, "null"...)
	}
	b = append(b, `{"network_id":`...)
	b = appendString(b, string(m.Gateway.NetworkID))
	b = append(b, `,"external_fixed_ips":`...)
	var ips []model.FixedIP
	if x.port != nil {
		ips = x.port.FixedIPs
	}
	b = appendList(b, ips, appendFixedIP)
	b = append(b, `,"enable_snat":`...)
	return append(appendBool(b, m.Gateway.SNAT), '}')
}

// routerCollection joins the table of routers to the verbs.
func routerCollection(c *control.Control) *collection[model.Router, routerRequest] {
	update := func(ctx context.Context, id string, r routerRequest) (*store.Entry[model.Router], error) {
		return c.UpdateRouter(ctx, model.RouterID(id), r)
	}
	return &collection[model.Router, routerRequest]{
		table: routers(),
		id:    func(m *model.Router) string { return string(m.ID) },
		find:  store.Routers.Get,
		list: func(r store.Reader, q *query[model.Router, routerRequest]) iter.Seq[*store.Entry[model.Router]] {
			return indexed(r, store.Routers, q, "name")
		},
		// The gateway's addresses are the port's, which can change alone.
		fresh: true,
		around: func(r store.Reader, m *model.Router) aside {
			if m.Gateway == nil {
				return aside{}
			}
			return aside{port: portAt(r, m.Gateway.PortID)}
		},
		create: c.CreateRouters,
		update: update,
		remove: func(ctx context.Context, id string, ifRevision control.Opt[int]) error {
			return c.DeleteRouter(ctx, model.RouterID(id), ifRevision)
		},
		actions: []action{
			interfaceAction("add_router_interface", c.AddInterface),
			interfaceAction("remove_router_interface", c.RemoveInterface),
			routesAction(c, "add_extraroutes", func(r *routerRequest, routes []model.Route) { r.AddRoutes = routes }),
			routesAction(c, "remove_extraroutes", func(r *routerRequest, routes []model.Route) { r.RemoveRoutes = routes }),
			// No host serves routers yet.
			{name: "l3-agents", method: http.MethodGet, rule: "get_l3-agents", serve: func(context.Context, string, map[string]any) (any, error) {
				return map[string]any{"agents": []any{}}, nil
			}},
		},
		aliases: []string{"router", "ext-gw-mode", "extraroute", "extraroute-atomic", "router_availability_zone", "dvr", "l3-ha",
			"router-admin-state-down-before-update", "l3-port-ip-change-not-allowed"},
	}
}

// registerL3 adds routers and floating IPs, and what belongs to them.
func (s *Server) registerL3() {
	register(s, routerCollection(s.control))
	register(s, floatingCollection(s.control))
	forwardings := portForwardings()
	registerNested(s, "/v2.0/floatingips/{parent}/port_forwardings", forwardings, forwardingCollection(s.control, forwardings))
	// Its reference and its clients do not agree on the name.
	s.handle("/v2.0/floatingip_pools", s.servePools)
	s.handle("/v2.0/floatingip-pools", s.servePools)
	s.honour("floating-ip-port-forwarding", "floating-ip-port-forwarding-description", "floating-ip-port-forwarding-detail",
		"floating-ip-port-forwarding-port-ranges", "expose-port-forwarding-in-fip", "floatingip-pools")
}

// portAt returns the port with this ID, or nil.
func portAt(r store.Reader, id model.PortID) *model.Port {
	if e := r.Port(id); e != nil {
		return e.Value
	}
	return nil
}

// indexed yields the objects of a kind by the narrowest index that a query names, of
// those given and the project, or all.
func indexed[M, R any](r store.Reader, k *store.Kind[M], q *query[M, R], indexes ...string) iter.Seq[*store.Entry[M]] {
	if some := filtered(r, k, q, indexes...); some != nil {
		return some
	}
	if q.project != "" {
		return k.By(r, "project", string(q.project))
	}
	return k.All(r)
}

// filtered yields the objects of a kind by the narrowest index that a filter names, nil
// when none does.
func filtered[M, R any](r store.Reader, k *store.Kind[M], q *query[M, R], indexes ...string) iter.Seq[*store.Entry[M]] {
	if ids, ok := q.wanted("id"); ok {
		return found(ids, func(id string) *store.Entry[M] { return k.Get(r, id) })
	}
	for _, index := range indexes {
		if values, ok := q.wanted(index); ok {
			return each(values, func(v string) iter.Seq[*store.Entry[M]] { return k.By(r, index, v) })
		}
	}
	if ids, ok := q.wanted("project_id", "tenant_id"); ok {
		return each(ids, func(id string) iter.Seq[*store.Entry[M]] { return k.By(r, "project", id) })
	}
	return nil
}

// interfaceAction adds or removes an interface; the body is an object without a name.
func interfaceAction(name string, do func(context.Context, model.RouterID, control.InterfaceRequest) (control.InterfaceAnswer, error)) action {
	return action{name: name, rule: name, serve: func(ctx context.Context, id string, body map[string]any) (any, error) {
		var req control.InterfaceRequest
		for key, into := range map[string]func(string){
			"port_id":   func(id string) { req.PortID = model.PortID(id) },
			"subnet_id": func(id string) { req.SubnetID = model.SubnetID(id) },
		} {
			v, has := body[key]
			if !has {
				continue
			}
			id, reason := toUUID(v)
			if reason != "" {
				return nil, badResource("router", reason)
			}
			into(id)
		}
		a, err := do(ctx, model.RouterID(id), req)
		if err != nil {
			return nil, err
		}
		return map[string]any{"id": id, "tenant_id": a.Project, "port_id": a.PortID, "network_id": a.NetworkID,
			"subnet_id": a.Subnets[len(a.Subnets)-1], "subnet_ids": a.Subnets}, nil
	}}
}

// routesAction adds or removes extra routes. Its answer is the router.
func routesAction(c *control.Control, name string, into func(*routerRequest, []model.Route)) action {
	return action{name: name, rule: name, serve: func(ctx context.Context, id string, body map[string]any) (any, error) {
		d, _ := body["router"].(map[string]any)
		v, has := d["routes"]
		if !has || len(d) > 1 {
			return nil, badRequest("Invalid input for operation: the body must be a router with its routes and nothing else")
		}
		routes, err := toRoutes("routes", v)
		if err != nil {
			return nil, err
		}
		var req routerRequest
		into(&req, routes)
		e, err := c.UpdateRouter(ctx, model.RouterID(id), req)
		if err != nil {
			return nil, err
		}
		return map[string]any{"router": map[string]any{"id": id, "name": e.Value.Name, "routes": routeList(e.Value.Routes)}}, nil
	}}
}

func routeList(routes []model.Route) []map[string]any {
	list := make([]map[string]any, len(routes))
	for i, r := range routes {
		list[i] = map[string]any{"destination": r.Destination, "nexthop": r.NextHop}
	}
	return list
}
