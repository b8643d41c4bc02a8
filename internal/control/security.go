package control

import (
	"context"

	"github.com/google/uuid"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// Security groups. Every group's rules are objects of their own, and a change of a rule
// also rewrites its group: its revision counts them, and it shows them.

type (
	// SecurityGroupChange asks to create or change a security group.
	SecurityGroupChange = Change[model.SecurityGroup]
	// SecurityGroupEntry is a stored security group.
	SecurityGroupEntry = *store.Entry[model.SecurityGroup]
)

func securityGroups() noun[model.SecurityGroup] {
	return noun[model.SecurityGroup]{
		kind: store.SecurityGroups, name: model.KindSecurityGroup, quota: "security_group",
		id:    func(g *model.SecurityGroup) *string { return &g.ID },
		owner: func(g *model.SecurityGroup) *model.ProjectID { return &g.Project },
		meta:  func(g *model.SecurityGroup) *model.Meta { return &g.Meta },
		judge: judgeGroup, follow: firstRules, remove: removeGroup,
	}
}

// CreateSecurityGroups makes all groups or none, with the rules that new groups begin with.
func (c *Control) CreateSecurityGroups(ctx context.Context, changes []SecurityGroupChange) ([]SecurityGroupEntry, error) {
	for _, ch := range changes {
		if err := c.EnsureDefaultGroup(ctx, ch.Project); err != nil {
			return nil, err
		}
	}
	return createNouns(ctx, c, securityGroups(), changes)
}

// UpdateSecurityGroup changes a group.
func (c *Control) UpdateSecurityGroup(ctx context.Context, id string, ch SecurityGroupChange) (SecurityGroupEntry, error) {
	return updateNoun(ctx, c, securityGroups(), id, ch)
}

// DeleteSecurityGroup removes a group that no port is in, with its rules and those of
// other groups that name it as the other side.
func (c *Control) DeleteSecurityGroup(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, securityGroups(), id, ifRevision)
}

func judgeGroup(w *work, old, g *model.SecurityGroup, given func(string) bool) error {
	switch {
	case old == nil:
		g.Revision = 1 // as Neutron counts the rules made with it
		n := 0
		for _, t := range Templates(w.r) {
			if t.InOthers {
				n++
			}
		}
		return w.count("security_group_rule", g.Project, n)
	case g.Stateless != old.Stateless && portIn(w.r, g.ID) != "":
		return groupInUse(w.r, g.ID)
	case old.Default && given("name"):
		return model.Faultf(model.GroupNoRenameDefault, "Updating default security group not allowed.")
	}
	return nil
}

// firstRules gives a new group its rules.
func firstRules(w *work, g *model.SecurityGroup) error {
	for _, t := range Templates(w.r) {
		if !(t.InDefault && g.Default || t.InOthers && !g.Default) {
			continue
		}
		rule := &model.SecurityGroupRule{ID: uuid.NewString(), Project: g.Project, Group: g.ID, RuleMatch: t.RuleMatch,
			OfDefault: g.Default, Automatic: true, Meta: model.Meta{CreatedAt: g.CreatedAt, UpdatedAt: g.CreatedAt}}
		if rule.RemoteGroup == model.ParentGroup {
			rule.RemoteGroup = g.ID
		}
		store.SecurityGroupRules.Create(w.txn, rule)
	}
	return nil
}

func removeGroup(w *work, g *model.SecurityGroup) error {
	if portIn(w.r, g.ID) != "" {
		return groupInUse(w.r, g.ID)
	}
	if g.Default && !w.c.admin(w.ctx) {
		return model.Faultf(model.GroupNoRemoveDefault, "Insufficient rights for removing default security group.")
	}
	w.unshare(g.ID)
	at := w.r.Revision()
	losing := map[string]bool{} // other groups that lose a rule
	for ref := range w.r.Referrers(model.KindSecurityGroup, g.ID) {
		if ref.Kind == model.KindRuleTemplate {
			f := groupInUse(w.r, g.ID)
			f.Detail = "a default security group rule refers to it"
			return f
		}
		rule := store.SecurityGroupRules.Get(w.r, ref.ID)
		if ref.Kind != model.KindSecurityGroupRule || rule == nil {
			continue
		}
		store.SecurityGroupRules.Delete(w.txn, rule, at)
		if rule.Value.Group != g.ID {
			losing[rule.Value.Group] = true
		}
	}
	for id := range losing {
		w.touchGroup(id, 1)
	}
	return nil
}

// touchGroup rewrites a group of which rules change.
func (w *work) touchGroup(id string, rules int) {
	old := store.SecurityGroups.Get(w.r, id)
	if old == nil {
		return
	}
	g := *old.Value
	w.c.touch(&g.Meta)
	g.Revision += rules - 1
	store.SecurityGroups.Update(w.txn, old, &g)
}

// portIn returns a port that is in a group, or "".
func portIn(r store.Reader, group string) string {
	for ref := range r.Referrers(model.KindSecurityGroup, group) {
		if ref.Kind == model.KindPort {
			return ref.ID
		}
	}
	return ""
}

func groupInUse(r store.Reader, id string) model.Fault {
	f := model.Faultf(model.GroupInUse, "Security Group %s in use.", id)
	if p := portIn(r, id); p != "" {
		f.Detail = "port " + p + " is in it"
	}
	return f
}

// defaultGroup returns a project's default group, or nil.
func defaultGroup(r store.Reader, p model.ProjectID) SecurityGroupEntry {
	for e := range store.SecurityGroups.By(r, "default", string(p)) {
		return e
	}
	return nil
}

// EnsureDefaultGroup makes the default group of a project when there is none. It counts
// against no quota: ports could not be made otherwise. Whoever may not act for the
// project makes none.
func (c *Control) EnsureDefaultGroup(ctx context.Context, p model.ProjectID) error {
	has := false
	if c.Read(func(r store.Reader) { has = defaultGroup(r, p) != nil }); has || p == "" {
		return nil
	}
	if p != CallerOf(ctx).ProjectID && !c.admin(ctx) {
		return nil
	}
	return c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		has := false
		err := c.within(ctx, txn, res, func(w *work) error {
			if has = defaultGroup(w.r, p) != nil; has {
				return nil
			}
			now := c.stamp()
			g := &model.SecurityGroup{ID: uuid.NewString(), Project: p, Name: "default", Default: true,
				Meta: model.Meta{Description: "Default security group", CreatedAt: now, UpdatedAt: now, Revision: 1}}
			store.SecurityGroups.Create(txn, g)
			return firstRules(w, g)
		})
		if err != nil || has {
			return err
		}
		_, err = txn.Commit(ctx)
		return err
	})
}

// VisibleGroup returns the security group that a caller names, or model.NotFound also
// when it is another project's and not shared with the caller.
func (c *Control) VisibleGroup(r store.Reader, caller access.Caller, id string) (SecurityGroupEntry, error) {
	e := store.SecurityGroups.Get(r, id)
	if e == nil || !c.everywhere(caller) && !usableBy(r, e.Value, caller.ProjectID) {
		return nil, model.NotFound{Kind: model.KindSecurityGroup, ID: id}
	}
	return e, nil
}

// usableBy reports whether a project may use a security group: its own, or one that is shared.
func usableBy(r store.Reader, g *model.SecurityGroup, p model.ProjectID) bool {
	return g.Project == p || g.Shared || SharedWith(r, g.ID, p)
}
