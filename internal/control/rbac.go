package control

import (
	"context"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

// rbacNoun are the policies by which projects let others use what they own.
var rbacNoun = noun[model.RBACPolicy]{
	kind: store.RBACPolicies, name: model.KindRBAC, quota: "rbac_policy",
	id:     func(p *model.RBACPolicy) *string { return &p.ID },
	owner:  func(p *model.RBACPolicy) *model.ProjectID { return &p.Project },
	meta:   func(p *model.RBACPolicy) *model.Meta { return &p.Meta },
	judge:  judgePolicy,
	remove: removePolicy,
}

// CreateRBACPolicies makes all policies or none.
func (c *Control) CreateRBACPolicies(ctx context.Context, changes []Change[model.RBACPolicy]) ([]*store.Entry[model.RBACPolicy], error) {
	return createNouns(ctx, c, rbacNoun, changes)
}

// UpdateRBACPolicy gives a policy another target.
func (c *Control) UpdateRBACPolicy(ctx context.Context, id string, ch Change[model.RBACPolicy]) (*store.Entry[model.RBACPolicy], error) {
	return updateNoun(ctx, c, rbacNoun, id, ch)
}

// DeleteRBACPolicy removes a policy on which nobody depends.
func (c *Control) DeleteRBACPolicy(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, rbacNoun, id, ifRevision)
}

func judgePolicy(w *work, old, p *model.RBACPolicy, _ func(string) bool) error {
	s, ok := shareable(p.ObjectType)
	switch {
	case !ok:
		return invalid("'%s' is not a valid RBAC object type", p.ObjectType)
	case !slices.Contains(s.actions, p.Action):
		return invalid("Invalid action '%s' for object type '%s'. Valid actions: %s", p.Action, p.ObjectType, tuple(s.actions))
	}
	owner, there := s.owner(w.r, p.ObjectID)
	caller := CallerOf(w.ctx)
	switch {
	case there && owner == caller.ProjectID, there && w.c.admin(w.ctx):
	case !there || s.kind == model.KindNetwork && !w.c.seesNetwork(w.r, caller, w.r.Network(model.NetworkID(p.ObjectID)).Value):
		return invalid("%s %s could not be found", s.kind, p.ObjectID)
	default:
		return invalid("Only admins can manipulate policies on objects they do not own")
	}
	if old != nil && old.Target == p.Target {
		return nil
	}
	key := p.ObjectID + " " + p.Action + " " + string(p.Target)
	for _, e := range policiesOf(w.r, p.ObjectID, p.Action) {
		if e.Value.Target == p.Target {
			return errDuplicatePolicy
		}
	}
	if w.granted[key] {
		return errDuplicatePolicy
	}
	if old != nil && p.Target != model.AllProjects {
		if err := w.lose(s.kind, p.ObjectID, owner, p.Action, old.Target, p.Target); err != nil {
			return err
		}
	}
	if w.granted == nil {
		w.granted = map[string]bool{}
	}
	w.granted[key] = true
	var m mark
	switch {
	case p.Action == model.AccessAsExternal:
		m.external = Some(true)
	case p.Target == model.AllProjects:
		m.shared = Some(true)
	case old != nil && old.Target == model.AllProjects:
		m.shared = Some(false)
	}
	w.mark(s, p.ObjectID, m)
	return nil
}

// tuple writes strings as Neutron's language does.
func tuple(s []string) string {
	if len(s) == 1 {
		return "('" + s[0] + "',)"
	}
	return "('" + strings.Join(s, "', '") + "')"
}

var errDuplicatePolicy = model.Faultf(model.DuplicateRBACPolicy, "An RBAC policy already exists with those values.")

func removePolicy(w *work, p *model.RBACPolicy) error {
	s, known := shareable(p.ObjectType)
	if !known {
		return nil
	}
	owner, _ := s.owner(w.r, p.ObjectID) // a policy's object is there as long as the policy
	if err := w.lose(s.kind, p.ObjectID, owner, p.Action, p.Target); err != nil {
		return err
	}
	var m mark
	switch {
	case p.Action == model.AccessAsExternal:
		if len(policiesOf(w.r, p.ObjectID, p.Action)) == 1 {
			m.external = Some(false)
			if err := w.notGateway(model.NetworkID(p.ObjectID)); err != nil {
				return err
			}
		}
	case p.Target == model.AllProjects:
		m.shared = Some(false)
	}
	w.mark(s, p.ObjectID, m)
	return nil
}
