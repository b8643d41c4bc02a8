package neutron

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// sharedBit tells the wire form for those with whom an object is shared in particular
// from the one for others. No table has that many attributes.
const sharedBit = 1 << 63

// guards are the policy rules that the attributes of a table have for reading: by
// attribute, empty for none.
type guards struct {
	policy *access.Policy
	read   []string
}

// guardsBy looks up which attributes the policy guards.
func (t *table[M, R]) guardsBy(p *access.Policy) guards {
	g := guards{policy: p, read: make([]string, len(t.attributes))}
	for i := range t.attributes {
		if rule := "get_" + t.ruleName() + ":" + t.attributes[i].name; p.Defined(rule) {
			g.read[i] = rule
		}
	}
	return g
}

// ruleName is how policy rules call the resource.
func (t *table[M, R]) ruleName() string {
	if t.rules != "" {
		return t.rules
	}
	return t.singular
}

// viewer is one caller's sight of a collection.
type viewer[M, R any] struct {
	c      *collection[M, R]
	rd     store.Reader
	caller access.Caller
	// all says that the caller sees every object.
	all bool
	// sure are the attributes that show whatever the object; depends are those whose
	// rules look at it.
	sure    uint64
	depends []int
}

func (c *collection[M, R]) viewer(s *Server, rd store.Reader, r *http.Request) *viewer[M, R] {
	v := &viewer[M, R]{c: c, rd: rd, caller: control.CallerOf(r.Context())}
	allowed, known := s.policy.Constant("get_"+c.ruleName(), v.caller)
	v.all = allowed && known
	v.sure = store.WholeView
	for i, rule := range c.guards.read {
		if rule == "" {
			continue
		}
		if allowed, known := s.policy.Constant(rule, v.caller); !known {
			v.depends = append(v.depends, i)
		} else if !allowed {
			v.sure &^= 1 << i
		}
	}
	return v
}

// sees reports whether the caller may know of an object.
func (v *viewer[M, R]) sees(m *M) bool {
	return v.all || v.c.guards.policy.Allows("get_"+v.c.ruleName(), v.caller, v.c.target(v.rd, v.caller.ProjectID, m))
}

// shared reports whether an object is shared with the caller in particular.
func (v *viewer[M, R]) shared(m *M) bool {
	return v.c.shared != nil && v.c.shared(v.rd, m, v.caller.ProjectID)
}

// view says which attributes of an object the caller may read, and whether it is shared
// with it in particular.
func (v *viewer[M, R]) view(m *M) (view uint64, shared bool) {
	view, shared = v.sure, v.shared(m)
	if len(v.depends) == 0 {
		return view, shared
	}
	t := v.c.target(v.rd, v.caller.ProjectID, m)
	for _, i := range v.depends {
		if !v.c.guards.policy.Allows(v.c.guards.read[i], v.caller, t) {
			view &^= 1 << i
		}
	}
	return view, shared
}

// target lets policy rules look at an object.
func (c *collection[M, R]) target(rd store.Reader, p model.ProjectID, m *M) access.Target {
	return func(name string) (string, bool) {
		switch {
		case name == "project_id" || name == "tenant_id":
			if c.owner == nil {
				return "", false
			}
			return string(c.owner(m)), true
		case name == "shared" && c.shared != nil && c.shared(rd, m, p):
			return "True", true
		case name == "router:external" && c.external != nil:
			return pyRepr(c.external(rd, m, p)), true
		case name == "target_project":
			name = "target_tenant" // as the API calls it
		}
		if a := c.lookup(name); a != nil {
			return a.value(m)
		}
		object, attribute, ok := strings.Cut(name, ":")
		if !ok || c.related == nil {
			return "", false
		}
		return c.related(rd, m, object, attribute)
	}
}

// mayCreate judges a request to create by the rule of the resource and those of the
// attributes that are given with a value other than their default.
func (c *collection[M, R]) mayCreate(s *Server, r *http.Request, requests []R, given []map[string]any) error {
	caller := control.CallerOf(r.Context())
	if caller.Admin {
		return nil
	}
	var err error
	s.control.Read(func(rd store.Reader) {
		for i := range requests {
			if c.project != nil {
				if p := *c.project(&requests[i]); p != caller.ProjectID && !s.policy.IsAdmin(caller) && !caller.Has("service") {
					err = badRequest("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges")
					return
				}
			}
			var t access.Target
			if c.draft != nil {
				draft := c.draft(&requests[i])
				t = c.target(rd, caller.ProjectID, draft)
				if c.parent != nil {
					if err = c.parent(rd, caller, draft); err != nil {
						return
					}
				}
			}
			rules := c.rulesFor(s.policy, "create_"+c.ruleName(), given[i], true)
			if err = allowed(s.policy, rules, caller, t); err != nil {
				return
			}
		}
	})
	return err
}

// mayChange judges a request to change, remove or act upon an object. One that the
// caller may not even see does not exist.
func (c *collection[M, R]) mayChange(s *Server, r *http.Request, id, rule string, given map[string]any) error {
	caller := control.CallerOf(r.Context())
	if caller.Admin {
		return nil
	}
	var err error
	s.control.Read(func(rd store.Reader) {
		found := c.find(rd, id)
		if found == nil {
			err = c.notFound(id)
			return
		}
		t := c.target(rd, caller.ProjectID, found.Value)
		if err = allowed(s.policy, c.rulesFor(s.policy, rule, given, false), caller, over(t, given)); err == nil {
			return
		}
		if !s.policy.Allows("get_"+c.ruleName(), caller, t) {
			err = c.notFound(id)
		}
	})
	return err
}

// over lets policy rules look at an object as a change would make it.
func over(t access.Target, given map[string]any) access.Target {
	return func(name string) (string, bool) {
		if name == "target_project" {
			name = "target_tenant"
		}
		switch v := given[name].(type) {
		case string:
			return v, true
		case bool:
			return pyRepr(v), true
		}
		return t(name)
	}
}

// rulesFor lists the rules that concern an action: its own and those of the attributes
// given, and of the keys of those that are objects or lists of objects.
func (c *collection[M, R]) rulesFor(p *access.Policy, rule string, given map[string]any, created bool) []string {
	rules := []string{rule}
	for i := range c.attributes {
		a := &c.attributes[i]
		v, has := given[a.name]
		if !has || created && a.isDefault(v) {
			continue
		}
		of := rule + ":" + a.name
		if p.Defined(of) {
			rules = append(rules, of)
		}
		var inner []string
		for _, o := range append(asList(v), v) {
			o, _ := o.(map[string]any)
			for key := range o {
				if p.Defined(of + ":" + key) {
					inner = append(inner, of+":"+key)
				}
			}
		}
		slices.Sort(inner)
		rules = append(rules, slices.Compact(inner)...)
	}
	return rules
}

func asList(v any) []any {
	list, _ := v.([]any)
	return slices.Clone(list)
}

// isDefault reports whether a value is what the attribute has when it is not given.
func (a *attribute[M, R]) isDefault(v any) bool {
	if b, ok := a.def.(bool); ok {
		got, err := toBool(v)
		return err == nil && got == b
	}
	return v == nil && a.def == nil || a.def != nil && reflect.DeepEqual(v, a.def)
}

// allowed gives the fault of a caller whom one of the rules refuses.
func allowed(p *access.Policy, rules []string, caller access.Caller, t access.Target) error {
	for _, rule := range rules {
		if p.Allows(rule, caller, t) {
			continue
		}
		text := "rule:" + rules[0]
		for _, r := range rules[1:] {
			text = fmt.Sprintf("(%s and rule:%s)", text, r)
		}
		return fault{Status: http.StatusForbidden, Type: "PolicyNotAuthorized", Message: text + " is disallowed by policy"}
	}
	return nil
}

// ofNetwork answers for an attribute of the network that something is on.
func ofNetwork(rd store.Reader, id model.NetworkID, object, attribute string) (string, bool) {
	e := rd.Network(id)
	if object != "network" || e == nil {
		return "", false
	}
	switch attribute {
	case "project_id", "tenant_id":
		return string(e.Value.Project), true
	case "shared":
		return pyRepr(e.Value.Shared), true
	case "router:external":
		return pyRepr(e.Value.External), true
	}
	return "", false
}
