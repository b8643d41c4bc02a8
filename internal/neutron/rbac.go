package neutron

import (
	"iter"
	"slices"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type rbacAttribute = attribute[model.RBACPolicy, change[model.RBACPolicy]]

// rbacPolicies is the table of /v2.0/rbac-policies.
func rbacPolicies() *table[model.RBACPolicy, change[model.RBACPolicy]] {
	t := table[model.RBACPolicy, change[model.RBACPolicy]]{
		kind: model.KindRBAC, singular: "rbac_policy", plural: "rbac_policies", path: "rbac-policies",
		attributes: []rbacAttribute{
			idOf(func(p *model.RBACPolicy) *string { return &p.ID }),
			needed(textAt("object_type", post|filter|order, maxName, func(p *model.RBACPolicy) *string { return &p.ObjectType })),
			needed(refAt("object_id", post|need|filter|order, func(p *model.RBACPolicy) *string { return &p.ObjectID })),
			needed(textAt("target_tenant", post|put|filter|order, maxProject, func(p *model.RBACPolicy) *string { return (*string)(&p.Target) })),
			needed(textAt("action", post|filter|order, maxDescription, func(p *model.RBACPolicy) *string { return &p.Action })),
		},
	}
	return simple(t, nil, func(p *model.RBACPolicy) *model.ProjectID { return &p.Project })
}

// needed makes a row one that a create must give.
func needed[M any](a attribute[M, change[M]]) attribute[M, change[M]] {
	a.use |= need
	a.def = nil
	return a
}

func rbacCollection(c *control.Control) *collection[model.RBACPolicy, change[model.RBACPolicy]] {
	return &collection[model.RBACPolicy, change[model.RBACPolicy]]{
		table: rbacPolicies(),
		id:    func(p *model.RBACPolicy) string { return p.ID },
		find:  store.RBACPolicies.Get,
		list: func(r store.Reader, q *query[model.RBACPolicy, change[model.RBACPolicy]]) iter.Seq[*store.Entry[model.RBACPolicy]] {
			if ids, ok := q.wanted("object_id"); ok {
				return each(ids, func(id string) iter.Seq[*store.Entry[model.RBACPolicy]] {
					return store.RBACPolicies.By(r, "object", id)
				})
			}
			if ids, ok := q.wanted("project_id", "tenant_id"); ok {
				return each(ids, func(id string) iter.Seq[*store.Entry[model.RBACPolicy]] {
					return store.RBACPolicies.By(r, "project", id)
				})
			}
			if q.project != "" {
				return store.RBACPolicies.By(r, "project", string(q.project))
			}
			return store.RBACPolicies.All(r)
		},
		create:  c.CreateRBACPolicies,
		update:  c.UpdateRBACPolicy,
		remove:  c.DeleteRBACPolicy,
		aliases: []string{"rbac-policies"},
	}
}

// sharable is indexed for objects that may be shared: who sees only some sees those of its
// project, and those that a policy shares with that or with all.
func sharable[M, R any](r store.Reader, k *store.Kind[M], kind model.Kind, q *query[M, R], indexes ...string) iter.Seq[*store.Entry[M]] {
	if some := filtered(r, k, q, indexes...); some != nil {
		return some
	}
	if q.project == "" {
		return k.All(r)
	}
	var shared []string
	for _, target := range []model.ProjectID{model.AllProjects, q.project} {
		for p := range store.RBACPolicies.By(r, "target", string(kind)+"/"+string(target)) {
			id := p.Value.ObjectID
			if r.ProjectOf(store.Ref{Kind: kind, ID: id}) != q.project && !slices.Contains(shared, id) {
				shared = append(shared, id)
			}
		}
	}
	return func(yield func(*store.Entry[M]) bool) {
		for e := range k.By(r, "project", string(q.project)) {
			if !yield(e) {
				return
			}
		}
		found(shared, func(id string) *store.Entry[M] { return k.Get(r, id) })(yield)
	}
}

// sharedBy says for a collection whether a policy shares an object with a project.
func sharedBy[M any](id func(*M) string) func(store.Reader, *M, model.ProjectID) bool {
	return func(r store.Reader, m *M, p model.ProjectID) bool { return control.SharedWith(r, id(m), p) }
}
