package identity

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

func (c *call) roleBody(r *model.Role) object {
	return object{"id": r.ID, "name": r.Name, "domain_id": nil, "description": orNull(r.Description), "options": object{},
		"links": c.link("roles", string(r.ID))}
}

// orNull is a text, or null where there is none.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (c *call) listRoles() error {
	var out []object
	c.view(func(r store.Reader) {
		for e := range store.Roles.All(r) {
			if c.wants(map[string]string{"name": e.Value.Name, "id": string(e.Value.ID), "domain_id": ""}) {
				out = append(out, c.roleBody(e.Value))
			}
		}
	})
	return c.sendList("roles", byName(out))
}

// role returns the role of the path.
func (c *call) role(r store.Reader) (*store.Entry[model.Role], error) {
	id := c.r.PathValue("role")
	if e := store.Roles.Get(r, id); e != nil {
		return e, nil
	}
	return nil, notFound("role", id)
}

func (c *call) showRole() error {
	var e *store.Entry[model.Role]
	var err error
	c.view(func(r store.Reader) { e, err = c.role(r) })
	if err != nil {
		return err
	}
	return c.sendObject("role", c.roleBody(e.Value))
}

func (in input) role(v *model.Role) error {
	var domain string
	if err := in.text("domain_id", &domain); err != nil {
		return err
	}
	if domain != "" {
		return invalid("The built-in identity of weft has no roles that belong to a domain.")
	}
	return first(in.name(&v.Name, longestUser), in.text("description", &v.Description))
}

func (c *call) roleNameFree(r store.Reader, v *model.Role) error {
	if other := roleNamed(r, v.Name); other != nil && other.ID != v.ID {
		return duplicate("role", v.Name, "")
	}
	return nil
}

func (c *call) createRole() error {
	in, err := c.input("role")
	if err != nil {
		return err
	}
	v := &model.Role{ID: model.RoleID(newID())}
	if err := in.role(v); err != nil {
		return err
	}
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		if err := c.roleNameFree(r, v); err != nil {
			return err
		}
		store.Roles.Create(t, v)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNew("role", c.roleBody(v))
}

func (c *call) updateRole() error {
	in, err := c.input("role")
	if err != nil {
		return err
	}
	var v model.Role
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		old, err := c.role(r)
		if err != nil {
			return err
		}
		v = *old.Value
		if err := first(in.role(&v), c.roleNameFree(r, &v)); err != nil {
			return err
		}
		store.Roles.Update(t, old, &v)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendObject("role", c.roleBody(&v))
}

// deleteRole removes a role from all who have it, and the application credentials that
// were made with it.
func (c *call) deleteRole() error {
	return c.remove(func(r store.Reader, g *garbage) error {
		e, err := c.role(r)
		if err == nil {
			g.role(r, e)
		}
		return err
	})
}

// implied lists the roles that one implies.
func (c *call) implied(r store.Reader, v *model.Role) []object {
	out := []object{}
	for _, i := range expand(r, []model.RoleID{v.ID}) {
		if i.ID != v.ID {
			out = append(out, object{"id": i.ID, "name": i.Name, "links": c.link("roles", string(i.ID))})
		}
	}
	return out
}

func (c *call) inference(r store.Reader, v *model.Role) object {
	return object{"prior_role": object{"id": v.ID, "name": v.Name, "links": c.link("roles", string(v.ID))}, "implies": c.implied(r, v)}
}

// roleImplies answers GET /v3/roles/{role}/implies.
func (c *call) roleImplies() error {
	var o object
	var err error
	c.view(func(r store.Reader) {
		var e *store.Entry[model.Role]
		if e, err = c.role(r); err == nil {
			o = c.inference(r, e.Value)
		}
	})
	if err != nil {
		return err
	}
	return c.send(http.StatusOK, object{"role_inference": o, "links": object{"self": c.base() + c.r.URL.RequestURI()}})
}

// roleInferences answers GET /v3/role_inferences. What implies what is fixed.
func (c *call) roleInferences() error {
	var out []object
	c.view(func(r store.Reader) {
		var priors []*model.Role
		for e := range store.Roles.All(r) {
			if len(access.Expand([]string{e.Value.Name})) > 1 {
				priors = append(priors, e.Value)
			}
		}
		slices.SortFunc(priors, func(a, b *model.Role) int { return strings.Compare(a.Name, b.Name) })
		for _, v := range priors {
			out = append(out, c.inference(r, v))
		}
	})
	return c.sendList("role_inferences", out)
}

// target is what the path names to hold a role on.
func (c *call) target(r store.Reader) (model.Target, error) {
	if c.r.PathValue("project") != "" {
		e, err := c.project(r)
		if err != nil {
			return model.Target{}, err
		}
		return model.Target{Project: e.Value.ID}, nil
	}
	if c.r.PathValue("domain") != "" {
		e, err := c.domain(r)
		if err != nil {
			return model.Target{}, err
		}
		return model.Target{Domain: e.Value.ID}, nil
	}
	return model.Target{System: true}, nil
}

// grant is the assignment that the path means; all three of its parts exist.
func (c *call) grant(r store.Reader) (*model.Assignment, error) {
	t, err := c.target(r)
	if err != nil {
		return nil, err
	}
	u, err := c.user(r)
	if err != nil {
		return nil, err
	}
	v, err := c.role(r)
	if err != nil {
		return nil, err
	}
	return &model.Assignment{ID: model.AssignmentID(u.Value.ID, v.Value.ID, t), UserID: u.Value.ID, RoleID: v.Value.ID, Target: t}, nil
}

// createGrant gives a user a role; it may have it already.
func (c *call) createGrant() error {
	err := c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		a, err := c.grant(r)
		if err == nil && store.Assignments.Get(r, a.ID) == nil {
			store.Assignments.Create(t, a)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.sendNothing()
}

// granted returns the assignment of the path, which must be there.
func (c *call) granted(r store.Reader) (*store.Entry[model.Assignment], error) {
	a, err := c.grant(r)
	if err != nil {
		return nil, err
	}
	if e := store.Assignments.Get(r, a.ID); e != nil {
		return e, nil
	}
	return nil, noAssignment(a)
}

func (c *call) checkGrant() error {
	var err error
	c.view(func(r store.Reader) { _, err = c.granted(r) })
	if err != nil {
		return err
	}
	return c.sendNothing()
}

// deleteGrant takes a role from a user.
func (c *call) deleteGrant() error {
	return c.remove(func(r store.Reader, g *garbage) error {
		e, err := c.granted(r)
		if err == nil {
			g.assignments[e.Value.ID] = e
		}
		return err
	})
}

// listGrants lists the roles that a user has been given on the target of the path.
func (c *call) listGrants() error {
	var out []object
	var err error
	c.view(func(r store.Reader) {
		var t model.Target
		var u *store.Entry[model.User]
		if t, err = c.target(r); err != nil {
			return
		}
		if u, err = c.user(r); err != nil {
			return
		}
		for _, id := range rolesOn(r, u.Value.ID, t) {
			if e := store.Roles.Get(r, string(id)); e != nil {
				out = append(out, c.roleBody(e.Value))
			}
		}
	})
	if err != nil {
		return err
	}
	return c.sendList("roles", byName(out))
}

// listAssignments answers GET /v3/role_assignments.
func (c *call) listAssignments() error {
	q := c.r.URL.Query()
	n := 0
	for _, p := range []string{"scope.project.id", "scope.domain.id", "scope.system"} {
		if q.Get(p) != "" {
			n++
		}
	}
	if n > 1 {
		return invalid("Specify one of project, domain and system.")
	}
	if q.Get("group.id") != "" || q.Has("scope.OS-INHERIT:inherited_to") {
		return c.sendList("role_assignments", nil)
	}
	var out []object
	c.view(func(r store.Reader) {
		for _, a := range c.assignments(r) {
			out = append(out, c.assignmentBody(r, a))
		}
	})
	return c.sendList("role_assignments", out)
}

// assignments selects by the query, sorted by ID; with effective also what the roles
// imply, each under the ID of the assignment that it follows from.
func (c *call) assignments(r store.Reader) []listed {
	q := c.r.URL.Query()
	all := store.Assignments.All(r)
	if u := q.Get("user.id"); u != "" {
		all = store.Assignments.By(r, "user", u)
	}
	found := map[string]listed{}
	for e := range all {
		a := e.Value
		t := a.Target
		if q.Get("scope.project.id") != "" && q.Get("scope.project.id") != string(t.Project) ||
			q.Get("scope.domain.id") != "" && q.Get("scope.domain.id") != string(t.Domain) ||
			q.Get("scope.system") != "" && !t.System {
			continue
		}
		as := []model.RoleID{a.RoleID}
		if c.isSet("effective") {
			for _, v := range expand(r, as) {
				if v.ID != a.RoleID {
					as = append(as, v.ID)
				}
			}
		}
		for _, id := range as {
			key := model.AssignmentID(a.UserID, id, t)
			// What is given outright counts before what is implied.
			if _, there := found[key]; (!there || id == a.RoleID) && (q.Get("role.id") == "" || q.Get("role.id") == string(id)) {
				found[key] = listed{a, id}
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b listed) int {
		return strings.Compare(a.ID+string(a.role), b.ID+string(b.role))
	})
}

// listed is an assignment in a list, with the role that it amounts to: its own or one implied.
type listed struct {
	*model.Assignment
	role model.RoleID
}

func (c *call) assignmentBody(r store.Reader, a listed) object {
	names := c.isSet("include_names")
	on, scope := "system", object{"system": object{"all": true}}
	switch t := a.Target; {
	case t.Project != "":
		p := object{"id": t.Project}
		if e := store.Projects.Get(r, string(t.Project)); names && e != nil {
			p["name"], p["domain"] = e.Value.Name, c.domainOf(r, e.Value.DomainID)
		}
		on, scope = "projects/"+string(t.Project), object{"project": p}
	case t.Domain != "":
		d := object{"id": t.Domain}
		if names {
			d = c.domainOf(r, t.Domain)
		}
		on, scope = "domains/"+string(t.Domain), object{"domain": d}
	}
	role, user := object{"id": a.role}, object{"id": a.UserID}
	if e := store.Roles.Get(r, string(a.role)); names && e != nil {
		role["name"] = e.Value.Name
	}
	if e := store.Users.Get(r, string(a.UserID)); names && e != nil {
		user["name"], user["domain"] = e.Value.Name, c.domainOf(r, e.Value.DomainID)
	}
	links := object{"assignment": c.base() + "/v3/" + on + "/users/" + string(a.UserID) + "/roles/" + string(a.RoleID)}
	if a.role != a.RoleID {
		links["prior_role"] = c.base() + "/v3/roles/" + string(a.RoleID)
	}
	return object{"role": role, "user": user, "scope": scope, "links": links}
}

func (c *call) domainOf(r store.Reader, id model.DomainID) object {
	o := object{"id": id}
	if e := store.Domains.Get(r, string(id)); e != nil {
		o["name"] = e.Value.Name
	}
	return o
}

// credRoles are the roles that a body asks for an application credential, by ID or name:
// some of those of the token, or all.
func (c *call) credRoles(in input) ([]model.RoleID, error) {
	var asked []struct {
		ID   model.RoleID `json:"id"`
		Name string       `json:"name"`
	}
	if raw, ok := in["roles"]; ok && json.Unmarshal(raw, &asked) != nil {
		return nil, invalidField("roles", string(raw)+" is not a list of roles")
	}
	var ids []model.RoleID
	for _, a := range asked {
		i := slices.IndexFunc(c.me.roles, func(r *model.Role) bool { return r.ID == a.ID || a.ID == "" && r.Name == a.Name })
		if i < 0 {
			return nil, invalid("Invalid application credential: the user has no role %s in project %s.",
				fmt.Sprintf("%s%s", a.ID, a.Name), c.me.project.ID)
		}
		if !slices.Contains(ids, c.me.roles[i].ID) {
			ids = append(ids, c.me.roles[i].ID)
		}
	}
	if len(asked) == 0 {
		for _, r := range c.me.roles {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}
