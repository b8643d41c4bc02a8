package access

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

const (
	contextIsAdmin = "context_is_admin"
	fallback       = "default" // decides for a rule that is not defined
)

// Rule is a rule of a policy.
type Rule struct {
	Name       string
	Expression string // in force
	Default    string // Neutron's; "" if it has none
}

// Policy is a set of rules. It does not change.
type Policy struct {
	rules    []Rule // sorted
	compiled map[string]*node
}

// New returns Neutron's default rules with overrides put over them or added. An error names
// each rule that cannot be understood, refers to a rule that is not defined, or to itself.
func New(overrides map[string]string) (*Policy, error) {
	all := map[string]Rule{}
	for _, table := range defaults {
		for _, d := range table {
			all[d.name] = Rule{Name: d.name, Expression: d.expr, Default: d.expr}
		}
	}
	for name, expr := range overrides {
		r := all[name]
		r.Name, r.Expression = name, expr
		all[name] = r
	}
	p := &Policy{compiled: make(map[string]*node, len(all))}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		n, err := parse(r.Expression)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy rule %q: %w", name, err))
		}
		p.rules = append(p.rules, r)
		p.compiled[name] = n
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, r := range p.rules {
		if err := p.link(p.compiled[r.Name]); err != nil {
			errs = append(errs, fmt.Errorf("policy rule %q: %w", r.Name, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := p.acyclic(); err != nil {
		return nil, err
	}
	return p, nil
}

// Default returns the policy without overrides.
func Default() *Policy {
	p, err := New(nil)
	if err != nil {
		panic(err) // a test holds that the defaults compile
	}
	return p
}

// link points references to rules at the expressions in force.
func (p *Policy) link(n *node) error {
	if n.op == opRule {
		n.to = p.compiled[n.rule]
		if n.to == nil {
			return fmt.Errorf("there is no rule %q", n.rule)
		}
	}
	for _, k := range n.kids {
		if err := p.link(k); err != nil {
			return err
		}
	}
	return nil
}

// acyclic refuses rules that refer to themselves, which would never come to an end.
func (p *Policy) acyclic() error {
	const open, done = 1, 2
	state := map[*node]int{}
	var visit func(n *node) bool
	visit = func(n *node) bool {
		switch state[n] {
		case open:
			return false
		case done:
			return true
		}
		state[n] = open
		if n.to != nil && !visit(n.to) {
			return false
		}
		for _, k := range n.kids {
			if !visit(k) {
				return false
			}
		}
		state[n] = done
		return true
	}
	for _, r := range p.rules {
		if !visit(p.compiled[r.Name]) {
			return fmt.Errorf("policy rule %q: refers to itself, perhaps through others", r.Name)
		}
	}
	return nil
}

// rule returns the expression that decides for a rule.
func (p *Policy) rule(name string) *node {
	if n := p.compiled[name]; n != nil {
		return n
	}
	return p.compiled[fallback]
}

// Allows decides. A rule that is not defined is the rule default; no target (nil) is one
// without attributes.
func (p *Policy) Allows(rule string, c Caller, t Target) bool {
	if t == nil {
		t = nothing
	}
	return c.Admin || p.rule(rule).eval(&c, t) == yes
}

// Constant decides without a target, as far as possible: known is true only if the answer
// is the same for each target.
func (p *Policy) Constant(rule string, c Caller) (allowed, known bool) {
	if c.Admin {
		return true, true
	}
	v := p.rule(rule).eval(&c, nil)
	return v == yes, v != unknown
}

// IsAdmin reports whether the caller is an administrator of the cloud.
func (p *Policy) IsAdmin(c Caller) bool { return p.Allows(contextIsAdmin, c, nil) }

// Defined reports whether there is such a rule, so that default does not decide for it.
func (p *Policy) Defined(rule string) bool { return p.compiled[rule] != nil }

// Rules returns all rules, sorted by name.
func (p *Policy) Rules() []Rule { return slices.Clone(p.rules) }
