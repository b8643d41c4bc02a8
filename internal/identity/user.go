package identity

import (
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

func (c *call) userBody(u *model.User) object {
	o := object{"id": u.ID, "name": u.Name, "domain_id": u.DomainID, "enabled": u.Enabled, "password_expires_at": nil,
		"options": object{}, "links": c.link("users", string(u.ID))}
	for name, v := range map[string]string{"description": u.Description, "email": u.Email, "default_project_id": string(u.DefaultProject)} {
		if v != "" {
			o[name] = v
		}
	}
	return o
}

func (c *call) listUsers() error {
	var out []object
	c.view(func(r store.Reader) {
		for e := range store.Users.All(r) {
			u := e.Value
			if c.wants(map[string]string{"name": u.Name, "id": string(u.ID), "domain_id": string(u.DomainID)}) && c.wantsEnabled(u.Enabled) {
				out = append(out, c.userBody(u))
			}
		}
	})
	return c.sendList("users", byName(out))
}

// user returns the user of the path.
func (c *call) user(r store.Reader) (*store.Entry[model.User], error) {
	id := c.r.PathValue("user")
	if e := store.Users.Get(r, id); e != nil {
		return e, nil
	}
	return nil, notFound("user", id)
}

func (c *call) showUser() error {
	var e *store.Entry[model.User]
	var err error
	c.view(func(r store.Reader) { e, err = c.user(r) })
	if err != nil {
		return err
	}
	return c.sendObject("user", c.userBody(e.Value))
}

func (c *call) createUser() error {
	in, err := c.input("user")
	if err != nil {
		return err
	}
	u := &model.User{ID: model.UserID(newID()), DomainID: c.ownDomain(), Enabled: true}
	if err := first(in.user(u), in.text("domain_id", (*string)(&u.DomainID))); err != nil {
		return err
	}
	if u.PasswordHash, err = c.newHash(in); err != nil {
		return err
	}
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		if store.Domains.Get(r, string(u.DomainID)) == nil {
			return notFound("domain", string(u.DomainID))
		}
		if err := c.userNameFree(r, u); err != nil {
			return err
		}
		store.Users.Create(t, u)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNew("user", c.userBody(u))
}

func (in input) user(u *model.User) error {
	return first(in.name(&u.Name, longestUser), in.text("description", &u.Description), in.text("email", &u.Email),
		in.flag("enabled", &u.Enabled), in.text("default_project_id", (*string)(&u.DefaultProject)))
}

// newHash is the hash of the password in a body, empty if there is none.
func (c *call) newHash(in input) (string, error) {
	var password string
	if err := in.text("password", &password); err != nil || password == "" {
		return "", err
	}
	return c.hasher.hash(c.r.Context(), password)
}

func (c *call) userNameFree(r store.Reader, u *model.User) error {
	other := findUser(r, &userRef{Name: u.Name, Domain: &domainRef{ID: string(u.DomainID)}})
	if other != nil && other.ID != u.ID {
		return duplicate("user", u.Name, string(u.DomainID))
	}
	return nil
}

// updateUser changes a user. A new password, or being disabled, voids the user's tokens.
func (c *call) updateUser() error {
	in, err := c.input("user")
	if err != nil {
		return err
	}
	hash, err := c.newHash(in)
	if err != nil {
		return err
	}
	var u model.User
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		old, err := c.user(r)
		if err != nil {
			return err
		}
		u = *old.Value
		if err := first(in.fixed("domain_id", string(u.DomainID)), in.user(&u)); err != nil {
			return err
		}
		if in.has("password") {
			u.PasswordHash = hash
		}
		if in.has("password") || old.Value.Enabled && !u.Enabled {
			u.TokensSince = c.voidTokens()
		}
		if err := c.userNameFree(r, &u); err != nil {
			return err
		}
		store.Users.Update(t, old, &u)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendObject("user", c.userBody(&u))
}

// voidTokens is the time since which tokens count, when those issued until now do not.
func (c *call) voidTokens() time.Time { return c.now().Add(time.Microsecond) }

// changePassword answers POST /v3/users/{user}/password: whoever knows the old one may.
func (c *call) changePassword() error {
	in, err := c.input("user")
	if err != nil {
		return err
	}
	var password, original string
	if err := first(in.text("password", &password), in.text("original_password", &original)); err != nil {
		return err
	}
	if password == "" || original == "" {
		return lacks("password and original_password", "user")
	}
	var old *store.Entry[model.User]
	c.view(func(r store.Reader) { old = store.Users.Get(r, c.r.PathValue("user")) })
	had := ""
	if old != nil && old.Value.Enabled {
		had = old.Value.PasswordHash
	}
	ok, err := c.hasher.matches(c.r.Context(), had, original)
	switch {
	case err != nil:
		return err
	case !ok:
		return refusal{"wrong original password", c.r.PathValue("user")}
	case password == original:
		return invalid("The new password must not be the old one.")
	}
	hash, err := c.hasher.hash(c.r.Context(), password)
	if err != nil {
		return err
	}
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		e, err := c.user(r)
		switch {
		case err != nil:
			return err
		case e.Value.PasswordHash != had:
			return refusal{"the password was changed meanwhile", string(e.Value.ID)}
		}
		u := *e.Value
		u.PasswordHash, u.TokensSince = hash, c.voidTokens()
		store.Users.Update(t, e, &u)
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNothing()
}

// deleteUser removes a user with its roles and application credentials.
func (c *call) deleteUser() error {
	return c.remove(func(r store.Reader, g *garbage) error {
		e, err := c.user(r)
		if err == nil {
			g.user(r, e)
		}
		return err
	})
}

// userGroups answers GET /v3/users/{user}/groups: there are none.
func (c *call) userGroups() error { return c.sendList("groups", nil) }

func (c *call) credBody(r store.Reader, a *model.AppCred) object {
	roles := []object{}
	for _, id := range a.Roles {
		if e := store.Roles.Get(r, string(id)); e != nil {
			role := c.roleBody(e.Value)
			delete(role, "links")
			roles = append(roles, role)
		}
	}
	return object{"id": a.ID, "name": a.Name, "description": orNull(a.Description), "user_id": a.UserID, "project_id": a.Project, "system": nil,
		"roles": roles, "expires_at": credExpiry(a), "unrestricted": a.Unrestricted,
		"links": c.link("users/"+string(a.UserID)+"/application_credentials", a.ID)}
}

// credExpiry is without a zone, as Keystone writes this one.
func credExpiry(a *model.AppCred) any {
	if a.ExpiresAt.IsZero() {
		return nil
	}
	return a.ExpiresAt.Format("2006-01-02T15:04:05.000000")
}

func (c *call) listAppCreds() error {
	var out []object
	c.view(func(r store.Reader) {
		for e := range store.AppCreds.By(r, "user", c.r.PathValue("user")) {
			if c.wants(map[string]string{"name": e.Value.Name}) {
				out = append(out, c.credBody(r, e.Value))
			}
		}
	})
	return c.sendList("application_credentials", byName(out))
}

// cred returns the application credential of the path.
func (c *call) cred(r store.Reader) (*store.Entry[model.AppCred], error) {
	id := c.r.PathValue("id")
	e := store.AppCreds.Get(r, id)
	if e == nil || string(e.Value.UserID) != c.r.PathValue("user") {
		return nil, notFound("Application Credential", id)
	}
	return e, nil
}

func (c *call) showAppCred() error {
	var o object
	var err error
	c.view(func(r store.Reader) {
		var e *store.Entry[model.AppCred]
		if e, err = c.cred(r); err == nil {
			o = c.credBody(r, e.Value)
		}
	})
	if err != nil {
		return err
	}
	return c.sendObject("application_credential", o)
}

// restricted reports whether the caller is an application credential that may not deal
// with others of its kind.
func (c *call) restricted() bool { return c.me.cred != nil && !c.me.cred.Unrestricted }

// createAppCred gives the caller's user a credential for the project of its token, with
// all roles that it has there or some of them. The secret is told this once.
func (c *call) createAppCred() error {
	in, err := c.input("application_credential")
	if err != nil {
		return err
	}
	switch {
	case c.restricted():
		return forbidden("identity:create_application_credential")
	case c.me.project == nil:
		return invalid("An application credential is for the project of the token, which this one has not.")
	}
	a := &model.AppCred{ID: newID(), UserID: c.me.user.ID, Project: c.me.project.ID}
	var secret string
	err = first(in.name(&a.Name, longestUser), in.text("description", &a.Description), in.text("secret", &secret),
		in.flag("unrestricted", &a.Unrestricted), in.time("expires_at", &a.ExpiresAt))
	switch {
	case err != nil:
		return err
	case credExpired(a, c.now()):
		return invalid("Invalid application credential: it would have expired already.")
	case in.has("access_rules") && string(in["access_rules"]) != "[]":
		return invalid("The built-in identity of weft has no access rules.")
	}
	if secret == "" {
		secret = NewPassword()
	}
	if a.Roles, err = c.credRoles(in); err != nil {
		return err
	}
	if a.SecretHash, err = c.hasher.hash(c.r.Context(), secret); err != nil {
		return err
	}
	var body object
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		if e := findCred(r, &credRef{Name: a.Name, User: &userRef{ID: string(a.UserID)}}); e != nil {
			return duplicate("application_credential", a.Name, "")
		}
		store.AppCreds.Create(t, a)
		body = c.credBody(r, a)
		return nil
	})
	if err != nil {
		return err
	}
	body["secret"] = secret
	return c.sendNew("application_credential", body)
}

// deleteAppCred removes an application credential, and so the tokens got by it.
func (c *call) deleteAppCred() error {
	if c.restricted() {
		return forbidden("identity:delete_application_credential")
	}
	return c.remove(func(r store.Reader, g *garbage) error {
		e, err := c.cred(r)
		if err == nil {
			g.creds[e.Value.ID] = e
		}
		return err
	})
}
