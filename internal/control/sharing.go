package control

import (
	"iter"
	"slices"
	"strings"

	"github.com/google/uuid"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// SharedWith reports whether a policy lets a project use an object, alone or among all.
func SharedWith(r store.Reader, object string, p model.ProjectID) bool {
	return allowedTo(r, object, model.AccessAsShared, p)
}

// ExternalTo reports whether a project may use an external network as such. One without
// any policy about that was made before there were policies, and is everybody's.
func ExternalTo(r store.Reader, n *model.Network, p model.ProjectID) bool {
	if !n.External {
		return false
	}
	return allowedTo(r, string(n.ID), model.AccessAsExternal, p) || len(policiesOf(r, string(n.ID), model.AccessAsExternal)) == 0
}

func allowedTo(r store.Reader, object, action string, p model.ProjectID) bool {
	for e := range store.RBACPolicies.By(r, "object", object) {
		if e.Value.Action == action && (e.Value.Target == model.AllProjects || e.Value.Target == p) {
			return true
		}
	}
	return false
}

// policiesOf returns the policies about an object that allow an action.
func policiesOf(r store.Reader, object, action string) []*store.Entry[model.RBACPolicy] {
	var all []*store.Entry[model.RBACPolicy]
	for e := range store.RBACPolicies.By(r, "object", object) {
		if e.Value.Action == action {
			all = append(all, e)
		}
	}
	return all
}

// everywhere reports whether a caller knows of the objects of all projects.
func (c *Control) everywhere(caller access.Caller) bool {
	return c.policy.IsAdmin(caller) || caller.Has("service") || caller.Has("advsvc")
}

// VisibleNetwork returns the network that a caller names, or model.NotFound also when it
// is nothing to the caller: of another project, and neither shared nor external.
func (c *Control) VisibleNetwork(r store.Reader, caller access.Caller, id model.NetworkID) (*store.Entry[model.Network], error) {
	e := r.Network(id)
	if e == nil || !c.seesNetwork(r, caller, e.Value) {
		return nil, model.NotFound{Kind: model.KindNetwork, ID: string(id)}
	}
	return e, nil
}

func (c *Control) seesNetwork(r store.Reader, caller access.Caller, n *model.Network) bool {
	p := caller.ProjectID
	return p != "" && n.Project == p || n.Shared || c.everywhere(caller) ||
		SharedWith(r, string(n.ID), p) || ExternalTo(r, n, p)
}

// sharing is what policies need to know of a kind of object.
type sharing struct {
	kind model.Kind
	// actions are what policies may allow.
	actions []string
	// owner of an object; ok is false when there is no such object.
	owner func(r store.Reader, id string) (p model.ProjectID, ok bool)
	// mark rewrites an object with what its policies now say of it.
	mark func(w *work, id string, m mark)
}

// mark is what an object says itself of its policies.
type mark struct{ shared, external Opt[bool] }

// shareable finds how objects of a type are shared.
func shareable(objectType string) (s sharing, ok bool) {
	switch model.Kind(objectType) {
	case model.KindNetwork:
		return sharedNetworks, true
	case model.KindSecurityGroup:
		return sharedNoun(securityGroups(), func(g *model.SecurityGroup) *bool { return &g.Shared }), true
	case model.KindAddressGroup:
		return sharedNoun(addressGroups(), func(g *model.AddressGroup) *bool { return &g.Shared }), true
	case model.KindSubnetPool:
		return sharedNoun(subnetPools, func(p *model.SubnetPool) *bool { return &p.Shared }), true
	case model.KindAddressScope:
		return sharedNoun(addressScopes, func(s *model.AddressScope) *bool { return &s.Shared }), true
	case model.KindQoS:
		return sharedNoun(qosNoun, func(p *model.QoSPolicy) *bool { return &p.Shared }), true
	}
	return sharing{}, false
}

// sharedNoun is how objects of a noun are shared; shared is where they say so themselves.
func sharedNoun[M any](n noun[M], shared func(*M) *bool) sharing {
	return sharing{
		kind: n.name, actions: []string{model.AccessAsShared},
		owner: func(r store.Reader, id string) (model.ProjectID, bool) {
			if e := n.kind.Get(r, id); e != nil {
				return *n.owner(e.Value), true
			}
			return "", false
		},
		mark: func(w *work, id string, m mark) {
			old := n.kind.Get(w.r, id)
			v := *old.Value
			set(shared(&v), m.shared)
			w.c.touch(n.meta(&v))
			n.kind.Update(w.txn, old, &v)
		},
	}
}

var sharedNetworks = sharing{
	kind: model.KindNetwork, actions: []string{model.AccessAsShared, model.AccessAsExternal},
	owner: func(r store.Reader, id string) (model.ProjectID, bool) {
		if e := r.Network(model.NetworkID(id)); e != nil {
			return e.Value.Project, true
		}
		return "", false
	},
	mark: func(w *work, id string, m mark) {
		old := w.r.Network(model.NetworkID(id))
		n := w.c.touchedNetwork(old)
		set(&n.Shared, m.shared)
		set(&n.External, m.external)
		n.IsDefault = n.IsDefault && n.External
		w.txn.UpdateNetwork(old, n)
	},
}

// mark notes what an object is to say of its policies. Objects are written once, at the
// end of the work: one request may be about several policies of an object.
func (w *work) mark(s sharing, id string, m mark) {
	if w.marks == nil {
		w.marks = map[string]*mark{}
	}
	if had := w.marks[id]; had != nil {
		set(&had.shared.Value, m.shared)
		had.shared.Set = had.shared.Set || m.shared.Set
		set(&had.external.Value, m.external)
		had.external.Set = had.external.Set || m.external.Set
		return
	}
	w.marks[id] = &m
	w.ends = append(w.ends, func() { s.mark(w, id, *w.marks[id]) })
}

// share keeps the policy that shares an object with all in step with what the object
// says itself. A noun with such an attribute calls it from judge.
func (w *work) share(kind model.Kind, id string, owner model.ProjectID, was, is bool) error {
	if was == is {
		return nil
	}
	if is {
		w.grantAll(kind, id, owner, model.AccessAsShared)
		return nil
	}
	if err := w.lose(kind, id, owner, model.AccessAsShared, model.AllProjects); err != nil {
		return err
	}
	w.ungrantAll(id)
	return nil
}

// wildcard is the policy that an object has by an attribute of its own.
func (c *Control) wildcard(kind model.Kind, id string, owner model.ProjectID, action string) *model.RBACPolicy {
	now := c.stamp()
	return &model.RBACPolicy{ID: uuid.NewString(), Project: owner, ObjectType: string(kind), ObjectID: id, Action: action,
		Target: model.AllProjects, Meta: model.Meta{CreatedAt: now, UpdatedAt: now, Revision: 1}}
}

// unshare removes the policies about an object that is removed.
func (w *work) unshare(id string) {
	for e := range store.RBACPolicies.By(w.r, "object", id) {
		store.RBACPolicies.Delete(w.txn, e, w.r.Revision())
	}
}

// lose judges whether a target, a project or all, can go without what a policy allows it,
// when other policies and those gained at the same time stay.
func (w *work) lose(kind model.Kind, id string, owner model.ProjectID, action string, target model.ProjectID, gained ...model.ProjectID) error {
	allowed := append(gained, owner, "")
	for _, e := range policiesOf(w.r, id, action) {
		if t := e.Value.Target; t != target {
			allowed = append(allowed, t)
		}
	}
	if n := w.r.Network(model.NetworkID(id)); action == model.AccessAsExternal && target == model.AllProjects && n.Value.IsDefault {
		return policyInUse(id, "Default external networks must be shared to everyone.")
	}
	if target == owner || slices.Contains(allowed, model.AllProjects) {
		return nil
	}
	users, details := w.users(kind, id, action, target)
	for p := range users {
		if !slices.Contains(allowed, p) && (p == target || target == model.AllProjects) {
			return policyInUse(id, details)
		}
	}
	return nil
}

func policyInUse(object, details string) error {
	return model.Faultf(model.RBACPolicyInUse,
		"RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: %s", object, details)
}

// users yields the projects that make use of an object as a policy allows it, and says
// how Neutron calls that. There must be no new ones when the transaction commits.
func (w *work) users(kind model.Kind, id, action string, target model.ProjectID) (iter.Seq[model.ProjectID], string) {
	network := model.NetworkID(id)
	switch {
	case action == model.AccessAsExternal:
		w.txn.NoNewPorts(network, w.r.Revision())
		return gatewayUsers(w.r, network), "There are routers attached to this network that depend on this policy for access."
	case kind == model.KindNetwork:
		w.txn.NoNewPorts(network, w.r.Revision())
		return portUsers(w.r, network), sharedSettingText(id)
	}
	w.txn.NoNewRefs(store.Ref{Kind: kind, ID: id}, w.r.Revision())
	return w.r.ProjectsReferring(kind, id), "project_id=" + string(target)
}

func sharedSettingText(network string) string {
	return "Unable to reconfigure sharing settings for network " + network + ". Multiple projects are using it."
}

// portUsers yields the projects that have ports on a network.
func portUsers(r store.Reader, id model.NetworkID) iter.Seq[model.ProjectID] {
	return func(yield func(model.ProjectID) bool) {
		for e := range r.PortsOf(id) {
			if !yield(e.Value.Project) {
				return
			}
		}
	}
}

// gatewayUsers yields the projects whose routers have their gateway on a network.
func gatewayUsers(r store.Reader, id model.NetworkID) iter.Seq[model.ProjectID] {
	return func(yield func(model.ProjectID) bool) {
		for e := range r.PortsOf(id) {
			if p := e.Value; p.DeviceOwner == model.OwnerRouterGateway && !yield(r.ProjectOf(store.Ref{Kind: "router", ID: p.DeviceID})) {
				return
			}
		}
	}
}

// notGateway refuses that a network becomes internal as long as routers have their gateway on it.
func (w *work) notGateway(id model.NetworkID) error {
	w.txn.NoNewPorts(id, w.r.Revision())
	for e := range w.r.PortsOf(id) {
		if e.Value.DeviceOwner == model.OwnerRouterGateway {
			return model.Faultf(model.ExternalNetworkInUse,
				"External network %s cannot be updated to be made non-external, since it has existing gateway ports.", id)
		}
	}
	return nil
}

// openNetwork makes the policies of a network follow its attributes shared and external.
func (w *work) openNetwork(old, n *model.Network) error {
	id := string(n.ID)
	if err := w.onlyDefault(n.ID, n.IsDefault && !old.IsDefault); err != nil {
		return err
	}
	switch {
	case n.Shared && !old.Shared:
		w.grantAll(model.KindNetwork, id, n.Project, model.AccessAsShared)
	case old.Shared && !n.Shared:
		if err := w.onlyAllowed(n); err != nil {
			return err
		}
		w.ungrantAll(id)
	}
	switch {
	case n.External && !old.External:
		w.grantAll(model.KindNetwork, id, n.Project, model.AccessAsExternal)
	case old.External && !n.External:
		if err := w.notGateway(n.ID); err != nil {
			return err
		}
		for _, e := range policiesOf(w.r, id, model.AccessAsExternal) {
			store.RBACPolicies.Delete(w.txn, e, w.r.Revision())
		}
	}
	return nil
}

// grantAll makes the policy by which all projects may use an object, unless it is there.
func (w *work) grantAll(kind model.Kind, id string, owner model.ProjectID, action string) {
	if !allowedTo(w.r, id, action, model.AllProjects) {
		store.RBACPolicies.Create(w.txn, w.c.wildcard(kind, id, owner, action))
	}
}

// ungrantAll removes the policy that shares an object with all.
func (w *work) ungrantAll(id string) {
	for _, e := range policiesOf(w.r, id, model.AccessAsShared) {
		if e.Value.Target == model.AllProjects {
			store.RBACPolicies.Delete(w.txn, e, w.r.Revision())
		}
	}
}

// onlyAllowed refuses that a network is no longer shared with all while projects use it
// to which it does not belong and is not shared in particular.
func (w *work) onlyAllowed(n *model.Network) error {
	w.txn.NoNewPorts(n.ID, w.r.Revision())
	var users []model.ProjectID
	for e := range w.r.PortsOf(n.ID) {
		if !strings.HasPrefix(e.Value.DeviceOwner, model.OwnerNetworkPrefix) {
			users = append(users, e.Value.Project)
		}
	}
	for _, e := range w.r.SubnetsOf(n.ID) {
		users = append(users, e.Value.Project)
	}
	allowed := []model.ProjectID{n.Project}
	for _, e := range policiesOf(w.r, string(n.ID), model.AccessAsShared) {
		allowed = append(allowed, e.Value.Target)
	}
	for _, p := range users {
		if !slices.Contains(allowed, p) {
			return model.Faultf(model.InvalidSharedSetting, "%s", sharedSettingText(n.Name))
		}
	}
	return nil
}

// onlyDefault refuses a second default external network besides the one with this ID.
func (w *work) onlyDefault(id model.NetworkID, isDefault bool) error {
	if !isDefault {
		return nil
	}
	for e := range w.r.Networks() {
		if e.Value.IsDefault && e.Value.ID != id {
			return model.Faultf(model.DefaultExternalExists, "A default external network already exists: %s.", e.Value.ID)
		}
	}
	return nil
}
