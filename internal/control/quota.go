package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

// counted says how to count what a project has of each resource that has a quota.
var counted = map[string]func(r store.Reader, p model.ProjectID) int{
	"network": func(r store.Reader, p model.ProjectID) int { return r.NetworkCountOfProject(p) },
	"subnet":  func(r store.Reader, p model.ProjectID) int { return r.SubnetCountOfProject(p) },
	"rbac_policy": func(r store.Reader, p model.ProjectID) int {
		return store.RBACPolicies.CountBy(r, "project", string(p))
	},
	"router": func(r store.Reader, p model.ProjectID) int { return store.Routers.CountBy(r, "project", string(p)) },
	"floatingip": func(r store.Reader, p model.ProjectID) int {
		return store.FloatingIPs.CountBy(r, "project", string(p))
	},
	"port": func(r store.Reader, p model.ProjectID) int { return r.PortCountOfProject(p) },
	"security_group": func(r store.Reader, p model.ProjectID) int {
		return store.SecurityGroups.CountBy(r, "project", string(p))
	},
	"security_group_rule": func(r store.Reader, p model.ProjectID) int {
		return store.SecurityGroupRules.CountBy(r, "project", string(p))
	},
	"trunk": func(r store.Reader, p model.ProjectID) int {
		return store.Trunks.CountBy(r, "project", string(p))
	},
	"subnetpool": func(r store.Reader, p model.ProjectID) int {
		return store.SubnetPools.CountBy(r, "project", string(p))
	},
}

// count refuses more objects of a resource than the project's quota has room for, and
// holds the room until the reservation ends. It is exact among the requests of one server.
func (w *work) count(resource string, p model.ProjectID, more int) error {
	used := counted[resource]
	if used == nil || p == "" {
		return nil
	}
	limit := w.c.limit(w.r, p, resource)
	if limit < 0 {
		return nil
	}
	had := used(w.r, p)
	if err := w.res.Room(resource+"/"+string(p), had, more, limit); err != nil {
		f := model.Faultf(model.OverQuota, "Quota exceeded for resources: ['%s'].", resource)
		f.Detail = fmt.Sprintf("project %s has %d of %d", p, had, limit)
		if errors.Is(err, store.ErrExhausted) {
			return f
		}
		return err
	}
	return nil
}

// countEach counts each of several requests against its project.
func countEach[R any](w *work, resource string, reqs []R, project func(R) model.ProjectID) error {
	for _, r := range reqs {
		if err := w.count(resource, project(r), 1); err != nil {
			return err
		}
	}
	return nil
}

// limit is a project's quota of a resource; below 0 is no limit.
func (c *Control) limit(r store.Reader, p model.ProjectID, resource string) int {
	if e := store.Quotas.Get(r, string(p)); e != nil {
		if n, ok := e.Value.Limits[resource]; ok {
			return n
		}
	}
	if n, ok := c.cfg.Quotas[resource]; ok {
		return n
	}
	return -1
}

// quotaOrder is the order in which quotas are listed.
var quotaOrder = []string{"network", "subnet", "subnetpool", "port", "router", "floatingip", "rbac_policy",
	"security_group", "security_group_rule", "trunk"}

// QuotaUse is the limit of a resource for a project, and what it has used of it.
type QuotaUse struct {
	Resource    string
	Limit, Used int
}

// QuotaResources returns the resources that have quotas, in order.
func QuotaResources() []string {
	return slices.DeleteFunc(slices.Clone(quotaOrder), func(r string) bool { return counted[r] == nil })
}

// Quotas returns the quotas in force for a project, and their use.
func (c *Control) Quotas(r store.Reader, p model.ProjectID) []QuotaUse {
	var all []QuotaUse
	for _, name := range QuotaResources() {
		all = append(all, QuotaUse{name, c.limit(r, p, name), counted[name](r, p)})
	}
	return all
}

// DefaultQuotas returns the limits of a project that has none of its own.
func (c *Control) DefaultQuotas() []QuotaUse {
	var all []QuotaUse
	for _, name := range QuotaResources() {
		limit, ok := c.cfg.Quotas[name]
		if !ok {
			limit = -1
		}
		all = append(all, QuotaUse{Resource: name, Limit: limit})
	}
	return all
}

// SetQuotas gives a project limits of its own, leaving those that are not named. With
// check a limit below what is used already is refused.
func (c *Control) SetQuotas(ctx context.Context, p model.ProjectID, limits map[string]int, check bool) error {
	return c.transact(ctx, func(w *work) error {
		q := &model.Quota{Project: p, Limits: maps.Clone(limits)}
		var under []string
		for name, n := range limits {
			if check && n >= 0 && counted[name](w.r, p) > n {
				under = append(under, name)
			}
		}
		if under != nil {
			slices.Sort(under)
			return model.Faultf(model.InvalidQuota,
				"Change would make usage less than 0 for the following resources: ['%s'].", strings.Join(under, "', '"))
		}
		old := store.Quotas.Get(w.r, string(p))
		if old == nil {
			store.Quotas.Create(w.txn, q)
			return nil
		}
		for name, n := range old.Value.Limits {
			if _, named := limits[name]; !named {
				q.Limits[name] = n
			}
		}
		store.Quotas.Update(w.txn, old, q)
		return nil
	})
}

// ResetQuotas gives a project the default limits again.
func (c *Control) ResetQuotas(ctx context.Context, p model.ProjectID) error {
	return c.transact(ctx, func(w *work) error {
		old := store.Quotas.Get(w.r, string(p))
		if old == nil {
			return model.NotFound{Kind: model.KindQuota, ID: string(p)}
		}
		store.Quotas.Delete(w.txn, old, w.r.Revision())
		return nil
	})
}
