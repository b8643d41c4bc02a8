package identity

import (
	"weft/internal/model"
	"weft/internal/store"
)

// garbage collects what one deletion takes away: an object, and all that cannot be
// without it, each once.
type garbage struct {
	domains     map[string]*store.Entry[model.Domain]
	projects    map[string]*store.Entry[model.Project]
	users       map[string]*store.Entry[model.User]
	roles       map[string]*store.Entry[model.Role]
	assignments map[string]*store.Entry[model.Assignment]
	creds       map[string]*store.Entry[model.AppCred]
}

func (g *garbage) domain(r store.Reader, e *store.Entry[model.Domain]) {
	id := string(e.Value.ID)
	g.domains[id] = e
	for p := range store.Projects.By(r, "domain", id) {
		g.project(r, p)
	}
	for u := range store.Users.By(r, "domain", id) {
		g.user(r, u)
	}
	g.parts(r, "domain", id)
}

func (g *garbage) project(r store.Reader, e *store.Entry[model.Project]) {
	g.projects[string(e.Value.ID)] = e
	g.parts(r, "project", string(e.Value.ID))
}

func (g *garbage) user(r store.Reader, e *store.Entry[model.User]) {
	g.users[string(e.Value.ID)] = e
	g.parts(r, "user", string(e.Value.ID))
}

func (g *garbage) role(r store.Reader, e *store.Entry[model.Role]) {
	g.roles[string(e.Value.ID)] = e
	g.parts(r, "role", string(e.Value.ID))
}

// parts collects the assignments and application credentials of an object.
func (g *garbage) parts(r store.Reader, index, id string) {
	for e := range store.Assignments.By(r, index, id) {
		g.assignments[e.Value.ID] = e
	}
	for e := range store.AppCreds.By(r, index, id) {
		g.creds[e.Value.ID] = e
	}
}

// delete removes all, unless something came to refer to one of them since at.
func (g *garbage) delete(t *store.Txn, at int64) {
	deleteAll(t, store.AppCreds, g.creds, at)
	deleteAll(t, store.Assignments, g.assignments, at)
	deleteAll(t, store.Roles, g.roles, at)
	deleteAll(t, store.Users, g.users, at)
	deleteAll(t, store.Projects, g.projects, at)
	deleteAll(t, store.Domains, g.domains, at)
}

func deleteAll[T any](t *store.Txn, k *store.Kind[T], all map[string]*store.Entry[T], at int64) {
	for _, e := range all {
		k.Delete(t, e, at)
	}
}

// remove deletes what f collects, and answers.
func (c *call) remove(f func(store.Reader, *garbage) error) error {
	err := c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		g := &garbage{
			domains: map[string]*store.Entry[model.Domain]{}, projects: map[string]*store.Entry[model.Project]{},
			users: map[string]*store.Entry[model.User]{}, roles: map[string]*store.Entry[model.Role]{},
			assignments: map[string]*store.Entry[model.Assignment]{}, creds: map[string]*store.Entry[model.AppCred]{},
		}
		if err := f(r, g); err != nil {
			return err
		}
		g.delete(t, r.Revision())
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNothing()
}
