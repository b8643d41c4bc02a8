package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
)

// mergeRoutes returns routes with some added and some removed. What is there already is
// not added twice, and what is not there need not be removed.
func mergeRoutes(routes, add, remove []model.Route) []model.Route {
	var out []model.Route
	for _, r := range slices.Concat(routes, add) {
		if !slices.Contains(out, r) && !slices.Contains(remove, r) {
			out = append(out, r)
		}
	}
	return out
}

// checkRoutes judges a router's extra routes: each next hop must be on a subnet that the
// router is on, after a move of its gateway, and not be the router itself.
func (w *work) checkRoutes(m *model.Router, move *gatewayMove) error {
	if len(m.Routes) == 0 {
		return nil
	}
	if limit := w.c.cfg.MaxRoutes; len(m.Routes) > limit {
		return model.Faultf(model.RoutesExhausted,
			"Unable to complete operation for %s. The number of routes exceeds the maximum %d.", m.ID, limit)
	}
	var own []netip.Addr
	var connected []netip.Prefix
	on := func(id model.PortID) {
		e := w.r.Port(id)
		if e == nil {
			return
		}
		for _, f := range e.Value.FixedIPs {
			own = append(own, f.Addr)
			if s := w.r.Subnet(f.SubnetID); s != nil {
				connected = append(connected, s.Value.CIDR)
			}
		}
	}
	for _, f := range m.Interfaces {
		on(f.PortID)
	}
	if move == nil && m.Gateway != nil {
		on(m.Gateway.PortID)
	}
	if move != nil {
		for _, s := range move.at.subnets {
			connected = append(connected, s.Value.CIDR)
		}
	}
	for _, r := range m.Routes {
		if !slices.ContainsFunc(connected, func(p netip.Prefix) bool { return p.Contains(r.NextHop) }) {
			return invalidRoutes(m.Routes, "the nexthop is not connected with router")
		}
		if slices.Contains(own, r.NextHop) {
			return invalidRoutes(m.Routes, "the nexthop is used by router")
		}
	}
	return nil
}

func invalidRoutes(routes []model.Route, reason string) error {
	list := make([]string, len(routes))
	for i, r := range routes {
		list[i] = fmt.Sprintf("{'destination': '%s', 'nexthop': '%s'}", r.Destination, r.NextHop)
	}
	return model.Faultf(model.InvalidRoutes, "Invalid format for routes: [%s], %s", strings.Join(list, ", "), reason)
}
