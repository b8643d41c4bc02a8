package neutron

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type subnetPoolAttribute = attribute[model.SubnetPool, change[model.SubnetPool]]

// subnetPools is the table of /v2.0/subnetpools.
func subnetPools() *table[model.SubnetPool, change[model.SubnetPool]] {
	return simple(table[model.SubnetPool, change[model.SubnetPool]]{
		kind: model.KindSubnetPool, singular: "subnetpool", plural: "subnetpools",
		attributes: []subnetPoolAttribute{
			idOf(func(p *model.SubnetPool) *string { return &p.ID }),
			poolName(),
			{name: "prefixes", use: post | put | need, kind: "list of CIDR", take: takePrefixes,
				wire: func(b []byte, p *model.SubnetPool, _ *aside) []byte {
					return appendList(b, p.Prefixes, func(b []byte, q netip.Prefix) []byte { return appendText(b, q) })
				}},
			poolQuota(),
			{name: "ip_version", use: filter | order, kind: "integer", number: func(p *model.SubnetPool) int64 { return p.IPVersion }},
			prefixLen("default_prefixlen", func(p *model.SubnetPool) *int64 { return &p.DefaultLen }),
			prefixLen("min_prefixlen", func(p *model.SubnetPool) *int64 { return &p.MinLen }),
			prefixLen("max_prefixlen", func(p *model.SubnetPool) *int64 { return &p.MaxLen }),
			flagAt("is_default", post|put|filter|order, false, func(p *model.SubnetPool) *bool { return &p.IsDefault }),
			flagAt("shared", post|filter|order, false, func(p *model.SubnetPool) *bool { return &p.Shared }),
			refAt("address_scope_id", post|put|filter|order, func(p *model.SubnetPool) *string { return &p.ScopeID }),
		},
	}, func(p *model.SubnetPool) *model.Meta { return &p.Meta }, func(p *model.SubnetPool) *model.ProjectID { return &p.Project })
}

// poolName is the name of a subnet pool, which is not blank.
func poolName() subnetPoolAttribute {
	a := textAt("name", post|put|need|filter|order, maxName, func(p *model.SubnetPool) *string { return &p.Name })
	a.def = nil
	take := a.take
	a.take = func(ch *change[model.SubnetPool], name string, v any) error {
		if s, ok := v.(string); ok && strings.TrimSpace(s) == "" {
			return invalidFor(name, fmt.Sprintf("'%s' Blank strings are not permitted", s))
		}
		return take(ch, name, v)
	}
	return a
}

// toCount reads a number that is not negative.
func toCount(name string, v any) (int64, error) {
	n, err := toInt(v)
	if err == nil && n < 0 {
		err = invalidFor(name, fmt.Sprintf("'%d' should be non-negative", n))
	}
	return n, err
}

// prefixLen is a row of a prefix length, which shows as a string.
func prefixLen(name string, at func(*model.SubnetPool) *int64) subnetPoolAttribute {
	return subnetPoolAttribute{name: name, use: post | put | filter | order, kind: "integer",
		take: func(ch *change[model.SubnetPool], name string, v any) error {
			n, err := toCount(name, v)
			if err == nil {
				ch.Set(name, func(p *model.SubnetPool) { *at(p) = n })
			}
			return err
		},
		wire: func(b []byte, p *model.SubnetPool, _ *aside) []byte {
			return appendString(b, strconv.FormatInt(*at(p), 10))
		},
		match:   matchNumber(func(p *model.SubnetPool) int64 { return *at(p) }),
		compare: func(x, y *model.SubnetPool) int { return cmp.Compare(*at(x), *at(y)) }}
}

// poolQuota is how much of a pool each project may take; null is no limit.
func poolQuota() subnetPoolAttribute {
	get := func(p *model.SubnetPool) int64 {
		if p.Quota == nil {
			return -1
		}
		return *p.Quota
	}
	return subnetPoolAttribute{name: "default_quota", use: post | put | filter | order, kind: "integer",
		take: func(ch *change[model.SubnetPool], name string, v any) error {
			n, err := toCount(name, v)
			if err == nil {
				ch.Set(name, func(p *model.SubnetPool) { p.Quota = &n })
			}
			return err
		},
		wire: func(b []byte, p *model.SubnetPool, _ *aside) []byte {
			if p.Quota == nil {
				return append(b, "null"...)
			}
			return appendInt(b, *p.Quota)
		},
		match:   matchNumber(get),
		compare: func(x, y *model.SubnetPool) int { return cmp.Compare(get(x), get(y)) }}
}

func takePrefixes(ch *change[model.SubnetPool], name string, v any) error {
	prefixes, err := toPrefixes(name, v)
	if err != nil {
		return err
	}
	ch.Set(name, func(p *model.SubnetPool) { p.Prefixes = prefixes })
	return nil
}

// subnetPoolCollection joins the table of subnet pools to the verbs.
func subnetPoolCollection(c *control.Control) *collection[model.SubnetPool, change[model.SubnetPool]] {
	return &collection[model.SubnetPool, change[model.SubnetPool]]{
		table: subnetPools(),
		id:    func(p *model.SubnetPool) string { return p.ID },
		find:  store.SubnetPools.Get,
		list: func(r store.Reader, q *query[model.SubnetPool, change[model.SubnetPool]]) iter.Seq[*store.Entry[model.SubnetPool]] {
			return sharable(r, store.SubnetPools, model.KindSubnetPool, q)
		},
		shared: sharedBy(func(p *model.SubnetPool) string { return p.ID }),
		create: c.CreateSubnetPools,
		update: c.UpdateSubnetPool,
		remove: c.DeleteSubnetPool,
		actions: []action{
			{name: "add_prefixes", rule: "add_prefixes", serve: poolPrefixes(c.AddPrefixes)},
			{name: "remove_prefixes", rule: "remove_prefixes", serve: poolPrefixes(c.RemovePrefixes)},
			{name: "onboard_network_subnets", rule: "onboard_network_subnets", serve: onboard(c)},
		},
		aliases: []string{"subnet_allocation", "default-subnetpools", "subnetpool-prefix-ops", "subnet_onboard",
			"subnet-service-types", "subnet-dns-publish-fixed-ip", "rbac-subnetpool"},
	}
}

// poolPrefixes serves an action that adds or removes prefixes and answers with what is there then.
func poolPrefixes(do func(context.Context, string, []netip.Prefix) (*store.Entry[model.SubnetPool], error)) func(context.Context, string, map[string]any) (any, error) {
	return func(ctx context.Context, id string, body map[string]any) (any, error) {
		if list, ok := body["prefixes"].([]any); !ok || len(list) == 0 {
			return nil, badRequest("Request body contains invalid data")
		}
		prefixes, err := toPrefixes("prefixes", body["prefixes"])
		if err != nil {
			return nil, err
		}
		e, err := do(ctx, id, prefixes)
		if err != nil {
			return nil, err
		}
		return map[string]any{"prefixes": append([]netip.Prefix{}, e.Value.Prefixes...)}, nil
	}
}

// onboard serves the action that brings the subnets of a network into a pool, and answers
// with the subnets.
func onboard(c *control.Control) func(context.Context, string, map[string]any) (any, error) {
	return func(ctx context.Context, id string, body map[string]any) (any, error) {
		network, _ := body["network_id"].(string)
		if network == "" {
			return nil, invalidInput("network_id must be specified.")
		}
		subnets, err := c.OnboardSubnets(ctx, id, model.NetworkID(network))
		if err != nil {
			return nil, err
		}
		answer := []map[string]string{}
		for _, s := range subnets {
			answer = append(answer, map[string]string{"id": string(s.ID), "cidr": s.CIDR.String()})
		}
		slices.SortFunc(answer, func(a, b map[string]string) int { return strings.Compare(a["id"], b["id"]) })
		return answer, nil
	}
}
