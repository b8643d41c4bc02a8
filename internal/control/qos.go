package control

import (
	"context"
	"reflect"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// qosNoun are the QoS policies. Their rules are in them.
var qosNoun = noun[model.QoSPolicy]{
	kind: store.QoSPolicies, name: model.KindQoS,
	id:     func(p *model.QoSPolicy) *string { return &p.ID },
	owner:  func(p *model.QoSPolicy) *model.ProjectID { return &p.Project },
	meta:   func(p *model.QoSPolicy) *model.Meta { return &p.Meta },
	judge:  judgeQoSPolicy,
	remove: removeQoSPolicy,
}

// CreateQoSPolicies makes all policies or none.
func (c *Control) CreateQoSPolicies(ctx context.Context, changes []Change[model.QoSPolicy]) ([]*store.Entry[model.QoSPolicy], error) {
	return createNouns(ctx, c, qosNoun, changes)
}

// UpdateQoSPolicy changes a policy, but not its rules.
func (c *Control) UpdateQoSPolicy(ctx context.Context, id string, ch Change[model.QoSPolicy]) (*store.Entry[model.QoSPolicy], error) {
	return updateNoun(ctx, c, qosNoun, id, ch)
}

// DeleteQoSPolicy removes a policy that nothing is under, with its rules.
func (c *Control) DeleteQoSPolicy(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, qosNoun, id, ifRevision)
}

func judgeQoSPolicy(w *work, old, p *model.QoSPolicy, _ func(string) bool) error {
	was := model.QoSPolicy{}
	if old != nil {
		was = *old
	}
	if p.IsDefault && !was.IsDefault {
		second := func(o any) bool {
			q, is := o.(*model.QoSPolicy)
			return is && q.IsDefault && q.Project == p.Project
		}
		if defaultQoS(w.r, p.Project) != "" || slices.ContainsFunc(w.batch, second) {
			return model.Faultf(model.QoSDefaultExists, "A default QoS policy exists for project %s.", p.Project)
		}
	}
	return w.share(model.KindQoS, p.ID, p.Project, was.Shared, p.Shared)
}

// qosUsers are the kinds that policies are for, as QosPolicyInUse calls them, in the order in which they are looked for.
var qosUsers = []struct {
	kind model.Kind
	name string
}{{model.KindPort, "port"}, {model.KindNetwork, "network"}}

func removeQoSPolicy(w *work, p *model.QoSPolicy) error {
	users := map[model.Kind][]string{}
	for u := range w.r.Referrers(model.KindQoS, p.ID) {
		users[u.Kind] = append(users[u.Kind], u.ID)
	}
	for _, u := range qosUsers {
		if ids := users[u.kind]; len(ids) > 0 {
			f := model.Faultf(model.QoSPolicyInUse, "QoS Policy %s is used by %s %s.", p.ID, u.name, slices.Min(ids))
			f.Detail = u.name + "s under it: " + strconv.Itoa(len(ids))
			return f
		}
	}
	w.unshare(p.ID)
	return nil
}

// defaultQoS returns the ID of the policy of new networks of a project, "" when there is none.
func defaultQoS(r store.Reader, p model.ProjectID) string {
	for e := range store.QoSPolicies.By(r, "default", string(p)) {
		return e.Value.ID
	}
	return ""
}

// SeesQoSPolicy reports whether a caller may know of a policy and put things under it.
func (c *Control) SeesQoSPolicy(r store.Reader, caller access.Caller, p *model.QoSPolicy) bool {
	return caller.ProjectID != "" && p.Project == caller.ProjectID || p.Shared || c.everywhere(caller) ||
		SharedWith(r, p.ID, caller.ProjectID)
}

// underQoS judges whether the caller may move something from one policy to another; ""
// is none.
func (w *work) underQoS(from, to string) error {
	if from == to {
		return nil
	}
	caller := CallerOf(w.ctx)
	if e := store.QoSPolicies.Get(w.r, from); e != nil && !w.c.SeesQoSPolicy(w.r, caller, e.Value) {
		return model.Faultf(model.QoSPolicyFixed,
			"Failed to remove provided policy %s because you are not authorized.", from)
	}
	if to == "" {
		return nil
	}
	if e := store.QoSPolicies.Get(w.r, to); e == nil || !w.c.SeesQoSPolicy(w.r, caller, e.Value) {
		return model.NotFound{Kind: model.KindQoS, ID: to}
	}
	return nil
}

// QoSRuleNotFound is the fault of a rule that is not in a policy; policy is "" when only
// the rule was named.
func QoSRuleNotFound(policy, rule string) error {
	return model.Faultf(model.QoSRuleNotFound, "QoS rule %s for policy %s could not be found.", rule, policy)
}

// QoSPolicyOfRule returns the policy that has a rule of a type; nil if there is none.
func QoSPolicyOfRule(r store.Reader, ruleType, id string) *store.Entry[model.QoSPolicy] {
	for e := range store.QoSPolicies.By(r, "rule", id) {
		if e.Value.Rule(ruleType, id) != nil {
			return e
		}
	}
	return nil
}

// changeRules changes a policy by its rules. A rule is part of its policy: a change of
// one is a change of the other, and If-Match is about the policy.
func (c *Control) changeRules(ctx context.Context, policy string, ifRevision Opt[int], change func(p *model.QoSPolicy) error) error {
	return c.transact(ctx, func(w *work) error {
		old := store.QoSPolicies.Get(w.r, policy)
		if old == nil {
			return model.NotFound{Kind: model.KindQoS, ID: policy}
		}
		if err := checkRevision(ifRevision, old.Value.Meta); err != nil {
			return err
		}
		p := *old.Value
		p.Rules = slices.Clone(p.Rules)
		if err := change(&p); err != nil {
			return err
		}
		if reflect.DeepEqual(&p, old.Value) {
			return errUnchanged
		}
		c.touch(&p.Meta)
		store.QoSPolicies.Update(w.txn, old, &p)
		return nil
	})
}

// CreateQoSRules adds rules of one type to a policy, all or none.
func (c *Control) CreateQoSRules(ctx context.Context, policy, ruleType string, changes []Change[model.QoSRule]) ([]*store.Entry[model.QoSRule], error) {
	var made []*store.Entry[model.QoSRule]
	err := c.changeRules(ctx, policy, Opt[int]{}, func(p *model.QoSPolicy) error {
		made = nil
		for _, ch := range changes {
			r := &model.QoSRule{ID: uuid.NewString(), Type: ruleType}
			ch.Apply(r)
			if err := judgeRule(p, r); err != nil {
				return err
			}
			p.Rules = append(p.Rules, *r)
			made = append(made, &store.Entry[model.QoSRule]{Value: r})
		}
		return nil
	})
	return made, err
}

// UpdateQoSRule changes a rule of a policy.
func (c *Control) UpdateQoSRule(ctx context.Context, policy, ruleType, id string, ch Change[model.QoSRule]) (*store.Entry[model.QoSRule], error) {
	var made *store.Entry[model.QoSRule]
	err := c.changeRules(ctx, policy, ch.IfRevision, func(p *model.QoSPolicy) error {
		r := p.Rule(ruleType, id)
		if r == nil {
			return QoSRuleNotFound(policy, id)
		}
		ch.Apply(r)
		changed := *r
		made = &store.Entry[model.QoSRule]{Value: &changed}
		return judgeRule(p, r)
	})
	return made, err
}

// DeleteQoSRule takes a rule out of a policy.
func (c *Control) DeleteQoSRule(ctx context.Context, policy, ruleType, id string, ifRevision Opt[int]) error {
	return c.changeRules(ctx, policy, ifRevision, func(p *model.QoSPolicy) error {
		if p.Rule(ruleType, id) == nil {
			return QoSRuleNotFound(policy, id)
		}
		p.Rules = slices.DeleteFunc(p.Rules, func(r model.QoSRule) bool { return r.ID == id })
		if len(p.Rules) == 0 {
			p.Rules = nil
		}
		return nil
	})
}

// judgeRule refuses a rule that cannot hold together with the others of the policy.
func judgeRule(p *model.QoSPolicy, r *model.QoSRule) error {
	for i := range p.Rules {
		o := &p.Rules[i]
		if o.ID == r.ID {
			continue
		}
		least, most := o, r
		if r.Type == model.QoSMinimumBandwidth {
			least, most = r, o
		}
		switch {
		case least.Type == model.QoSMinimumBandwidth && most.Type == model.QoSBandwidthLimit &&
			least.Direction == most.Direction && least.Value > most.Value:
			return ruleValueConflict(p, o, r.Value, o.Value)
		case o.Type != r.Type:
		case r.Type == model.QoSMinimumPacketRate && o.Direction != r.Direction &&
			(o.Direction == model.QoSAny || r.Direction == model.QoSAny):
			return ruleValueConflict(p, o, r.Direction, o.Direction)
		case o.Direction == r.Direction:
			return model.Faultf(model.QoSRulesConflict,
				"Rule %s conflicts with rule %s which already exists in QoS Policy %s.", r.Type, o.ID, p.ID)
		}
	}
	return nil
}

func ruleValueConflict(p *model.QoSPolicy, o *model.QoSRule, value, existing any) error {
	return model.Faultf(model.QoSRuleParameterConflict,
		"Unable to add the rule with value %v to the policy %s as the existing rule of type %s has value %v.",
		value, p.ID, o.Type, existing)
}
