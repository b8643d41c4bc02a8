package store

import "weft/internal/model"

// The kinds of identity. An assignment and an application credential are found by the
// objects that they are of: indexes "user", "role", "project", "domain".
var (
	Domains = define(definition[model.Domain]{
		kind:    model.KindDomain,
		id:      func(d *model.Domain) string { return string(d.ID) },
		indexes: map[string]func(*model.Domain) []string{"name": func(d *model.Domain) []string { return []string{d.Name} }},
		unique:  func(d *model.Domain) []string { return []string{d.Name} },
	})

	Projects = define(definition[model.Project]{
		kind: model.KindProject,
		id:   func(p *model.Project) string { return string(p.ID) },
		indexes: map[string]func(*model.Project) []string{
			"name":   func(p *model.Project) []string { return []string{p.Name} },
			"domain": func(p *model.Project) []string { return []string{string(p.DomainID)} },
		},
		unique: func(p *model.Project) []string { return []string{string(p.DomainID) + "/" + p.Name} },
		refs:   func(p *model.Project) []Ref { return []Ref{{model.KindDomain, string(p.DomainID)}} },
	})

	Users = define(definition[model.User]{
		kind: model.KindUser,
		id:   func(u *model.User) string { return string(u.ID) },
		indexes: map[string]func(*model.User) []string{
			"name":   func(u *model.User) []string { return []string{u.Name} },
			"domain": func(u *model.User) []string { return []string{string(u.DomainID)} },
		},
		unique: func(u *model.User) []string { return []string{string(u.DomainID) + "/" + u.Name} },
		refs:   func(u *model.User) []Ref { return []Ref{{model.KindDomain, string(u.DomainID)}} },
	})

	Roles = define(definition[model.Role]{
		kind:    model.KindRole,
		id:      func(r *model.Role) string { return string(r.ID) },
		indexes: map[string]func(*model.Role) []string{"name": func(r *model.Role) []string { return []string{r.Name} }},
		unique:  func(r *model.Role) []string { return []string{r.Name} },
	})

	Assignments = define(definition[model.Assignment]{
		kind: model.KindAssignment,
		id:   func(a *model.Assignment) string { return a.ID },
		indexes: map[string]func(*model.Assignment) []string{
			"user":    func(a *model.Assignment) []string { return []string{string(a.UserID)} },
			"role":    func(a *model.Assignment) []string { return []string{string(a.RoleID)} },
			"project": func(a *model.Assignment) []string { return some(string(a.Target.Project)) },
			"domain":  func(a *model.Assignment) []string { return some(string(a.Target.Domain)) },
		},
		refs: assignmentRefs,
	})

	AppCreds = define(definition[model.AppCred]{
		kind: model.KindAppCred,
		id:   func(c *model.AppCred) string { return c.ID },
		indexes: map[string]func(*model.AppCred) []string{
			"user":    func(c *model.AppCred) []string { return []string{string(c.UserID)} },
			"project": func(c *model.AppCred) []string { return []string{string(c.Project)} },
			"role": func(c *model.AppCred) []string {
				var ids []string
				for _, r := range c.Roles {
					ids = append(ids, string(r))
				}
				return ids
			},
		},
		unique: func(c *model.AppCred) []string { return []string{string(c.UserID) + "/" + c.Name} },
		refs:   appCredRefs,
	})

	TokenKeys = define(definition[model.TokenKey]{
		kind: model.KindTokenKey,
		id:   func(k *model.TokenKey) string { return k.ID },
	})

	Revocations = define(definition[model.Revocation]{
		kind: model.KindRevocation,
		id:   func(v *model.Revocation) string { return v.ID },
	})
)

// some is a list of a value that is not empty.
func some(v string) []string {
	if v == "" {
		return nil
	}
	return []string{v}
}

func assignmentRefs(a *model.Assignment) []Ref {
	refs := []Ref{{model.KindUser, string(a.UserID)}, {model.KindRole, string(a.RoleID)}}
	if a.Target.Project != "" {
		refs = append(refs, Ref{model.KindProject, string(a.Target.Project)})
	}
	if a.Target.Domain != "" {
		refs = append(refs, Ref{model.KindDomain, string(a.Target.Domain)})
	}
	return refs
}

func appCredRefs(c *model.AppCred) []Ref {
	refs := []Ref{{model.KindUser, string(c.UserID)}, {model.KindProject, string(c.Project)}}
	for _, r := range c.Roles {
		refs = append(refs, Ref{model.KindRole, string(r)})
	}
	return refs
}
