package identity

import (
	"net/http"

	"weft/internal/model"
	"weft/internal/store"
)

// longestName is how long the name of a domain or project may be; longestUser that of a
// user or role.
const (
	longestName = 64
	longestUser = 255
)

func (c *call) domainBody(d *model.Domain) object {
	return object{"id": d.ID, "name": d.Name, "description": d.Description, "enabled": d.Enabled,
		"tags": list(d.Tags), "options": object{}, "links": c.link("domains", string(d.ID))}
}

func (c *call) projectBody(p *model.Project) object {
	return object{"id": p.ID, "name": p.Name, "domain_id": p.DomainID, "description": p.Description, "enabled": p.Enabled,
		"parent_id": p.DomainID, "is_domain": false, "tags": list(p.Tags), "options": object{},
		"links": c.link("projects", string(p.ID))}
}

// list is a list that JSON does not turn into null.
func list(words []string) []string {
	if words == nil {
		return []string{}
	}
	return words
}

func (c *call) listDomains() error {
	var out []object
	c.view(func(r store.Reader) {
		for e := range store.Domains.All(r) {
			if d := e.Value; c.wants(map[string]string{"name": d.Name, "id": string(d.ID)}) && c.wantsEnabled(d.Enabled) {
				out = append(out, c.domainBody(d))
			}
		}
	})
	return c.sendList("domains", byName(out))
}

// authDomains answers GET /v3/auth/domains: those that the caller has a role on.
func (c *call) authDomains() error {
	var out []object
	c.view(func(r store.Reader) {
		seen := map[model.DomainID]bool{"": true}
		for e := range store.Assignments.By(r, "user", string(c.me.user.ID)) {
			id := e.Value.Target.Domain
			if d := enabledDomain(r, id); !seen[id] && d != nil {
				out = append(out, c.domainBody(d))
			}
			seen[id] = true
		}
	})
	return c.sendList("domains", byName(out))
}

func (c *call) createDomain() error {
	in, err := c.input("domain")
	if err != nil {
		return err
	}
	d := &model.Domain{ID: model.DomainID(newID()), Enabled: true}
	if err := in.domain(d); err != nil {
		return err
	}
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		if err := c.domainNameFree(r, d); err != nil {
			return err
		}
		store.Domains.Create(t, d)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNew("domain", c.domainBody(d))
}

func (in input) domain(d *model.Domain) error {
	return first(in.name(&d.Name, longestName), in.text("description", &d.Description), in.flag("enabled", &d.Enabled), in.words("tags", &d.Tags))
}

func (c *call) domainNameFree(r store.Reader, d *model.Domain) error {
	if other := findDomain(r, &domainRef{Name: d.Name}); other != nil && other.ID != d.ID {
		return duplicate("domain", d.Name, "")
	}
	return nil
}

// domain returns the domain of the path.
func (c *call) domain(r store.Reader) (*store.Entry[model.Domain], error) {
	id := c.r.PathValue("domain")
	if e := store.Domains.Get(r, id); e != nil {
		return e, nil
	}
	return nil, notFound("domain", id)
}

func (c *call) showDomain() error {
	var e *store.Entry[model.Domain]
	var err error
	c.view(func(r store.Reader) { e, err = c.domain(r) })
	if err != nil {
		return err
	}
	return c.sendObject("domain", c.domainBody(e.Value))
}

func (c *call) updateDomain() error {
	in, err := c.input("domain")
	if err != nil {
		return err
	}
	var d model.Domain
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		old, err := c.domain(r)
		if err != nil {
			return err
		}
		d = *old.Value
		if err := in.domain(&d); err != nil {
			return err
		}
		if err := c.domainNameFree(r, &d); err != nil {
			return err
		}
		store.Domains.Update(t, old, &d)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendObject("domain", c.domainBody(&d))
}

// deleteDomain removes a domain with all that lies in it.
func (c *call) deleteDomain() error {
	return c.remove(func(r store.Reader, g *garbage) error {
		e, err := c.domain(r)
		switch {
		case err != nil:
			return err
		case e.Value.Enabled:
			return fault{http.StatusForbidden, "Cannot delete a domain that is enabled, please disable it first."}
		case e.Value.ID == model.DefaultDomain:
			return fault{http.StatusForbidden, "The default domain cannot be deleted."}
		}
		g.domain(r, e)
		return nil
	})
}

func (c *call) listProjects() error {
	var out []object
	c.view(func(r store.Reader) {
		for e := range store.Projects.All(r) {
			if c.wantsProject(e.Value) {
				out = append(out, c.projectBody(e.Value))
			}
		}
	})
	return c.sendList("projects", byName(out))
}

func (c *call) wantsProject(p *model.Project) bool {
	return c.wants(map[string]string{"name": p.Name, "id": string(p.ID), "domain_id": string(p.DomainID),
		"parent_id": string(p.DomainID)}) && c.wantsEnabled(p.Enabled) && !c.isSet("is_domain")
}

// projectsOf lists the projects that a user has a role on.
func projectsOf(r store.Reader, u model.UserID) []*model.Project {
	var out []*model.Project
	seen := map[model.ProjectID]bool{}
	for e := range store.Assignments.By(r, "user", string(u)) {
		id := e.Value.Target.Project
		if p := store.Projects.Get(r, string(id)); p != nil && !seen[id] {
			out = append(out, p.Value)
		}
		seen[id] = true
	}
	return out
}

func (c *call) userProjects() error {
	var out []object
	var err error
	c.view(func(r store.Reader) {
		var u *store.Entry[model.User]
		if u, err = c.user(r); err != nil {
			return
		}
		for _, p := range projectsOf(r, u.Value.ID) {
			if c.wantsProject(p) {
				out = append(out, c.projectBody(p))
			}
		}
	})
	if err != nil {
		return err
	}
	return c.sendList("projects", byName(out))
}

// authProjects answers GET /v3/auth/projects: those that the caller can get a token for.
func (c *call) authProjects() error {
	var out []object
	c.view(func(r store.Reader) {
		for _, p := range projectsOf(r, c.me.user.ID) {
			if p.Enabled && enabledDomain(r, p.DomainID) != nil {
				out = append(out, c.projectBody(p))
			}
		}
	})
	return c.sendList("projects", byName(out))
}

func (c *call) createProject() error {
	in, err := c.input("project")
	if err != nil {
		return err
	}
	p := &model.Project{ID: model.ProjectID(newID()), DomainID: c.ownDomain(), Enabled: true}
	var isDomain bool
	if err := first(in.project(p), in.text("domain_id", (*string)(&p.DomainID)), in.flag("is_domain", &isDomain)); err != nil {
		return err
	}
	parent := string(p.DomainID)
	if err := in.text("parent_id", &parent); err != nil {
		return err
	}
	if isDomain || parent != "" && parent != string(p.DomainID) {
		return invalid("The built-in identity of weft has no projects that are domains, nor projects below projects.")
	}
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		if store.Domains.Get(r, string(p.DomainID)) == nil {
			return notFound("domain", string(p.DomainID))
		}
		if err := c.projectNameFree(r, p); err != nil {
			return err
		}
		store.Projects.Create(t, p)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNew("project", c.projectBody(p))
}

// ownDomain is the domain that a new object lies in when none is named: the token's.
func (c *call) ownDomain() model.DomainID {
	if c.me.domain != nil {
		return c.me.domain.ID
	}
	return c.me.user.DomainID
}

func (in input) project(p *model.Project) error {
	return first(in.name(&p.Name, longestName), in.text("description", &p.Description), in.flag("enabled", &p.Enabled), in.words("tags", &p.Tags))
}

func (c *call) projectNameFree(r store.Reader, p *model.Project) error {
	if id := projectNamed(r, p.DomainID, p.Name); id != "" && id != p.ID {
		return duplicate("project", p.Name, string(p.DomainID))
	}
	return nil
}

// project returns the project of the path.
func (c *call) project(r store.Reader) (*store.Entry[model.Project], error) {
	id := c.r.PathValue("project")
	if e := store.Projects.Get(r, id); e != nil {
		return e, nil
	}
	return nil, notFound("project", id)
}

func (c *call) showProject() error {
	var e *store.Entry[model.Project]
	var err error
	c.view(func(r store.Reader) { e, err = c.project(r) })
	if err != nil {
		return err
	}
	return c.sendObject("project", c.projectBody(e.Value))
}

func (c *call) updateProject() error {
	in, err := c.input("project")
	if err != nil {
		return err
	}
	var p model.Project
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		old, err := c.project(r)
		if err != nil {
			return err
		}
		p = *old.Value
		if err := first(in.fixed("domain_id", string(p.DomainID)), in.fixed("parent_id", string(p.DomainID)), in.project(&p)); err != nil {
			return err
		}
		if err := c.projectNameFree(r, &p); err != nil {
			return err
		}
		store.Projects.Update(t, old, &p)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendObject("project", c.projectBody(&p))
}

// deleteProject removes a project with the roles and credentials that were for it.
func (c *call) deleteProject() error {
	return c.remove(func(r store.Reader, g *garbage) error {
		e, err := c.project(r)
		if err == nil {
			g.project(r, e)
		}
		return err
	})
}
