package identity

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// authRequest is the body of POST /v3/auth/tokens.
type authRequest struct {
	Auth *struct {
		Identity *struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User *userRef `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
			AppCred *credRef `json:"application_credential"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

// domainRef names a domain by its ID or name.
type domainRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// userRef names a user by its ID, or by its name and domain.
type userRef struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Domain   *domainRef `json:"domain"`
	Password string     `json:"password"`
}

// credRef names an application credential by its ID, or by its name and user.
type credRef struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Secret string   `json:"secret"`
	User   *userRef `json:"user"`
}

// scopeRequest is what a token is asked for; at most one field is set.
type scopeRequest struct {
	Project *struct {
		ID     string     `json:"id"`
		Name   string     `json:"name"`
		Domain *domainRef `json:"domain"`
	} `json:"project"`
	Domain *domainRef `json:"domain"`
	System *struct {
		All bool `json:"all"`
	} `json:"system"`
	Unscoped *struct{}       `json:"unscoped"`
	Trust    json.RawMessage `json:"OS-TRUST:trust"`
}

// issueToken answers POST /v3/auth/tokens.
func (c *call) issueToken() error {
	var req authRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	switch {
	case req.Auth == nil:
		return lacks("auth", "request body")
	case req.Auth.Identity == nil:
		return lacks("identity", "auth")
	case len(req.Auth.Identity.Methods) == 0:
		return lacks("methods", "identity")
	}
	scope, err := parseScope(req.Auth.Scope)
	if err != nil {
		return err
	}
	who, err := c.authenticate(&req)
	if err != nil {
		return err
	}
	if who.AppCred != "" && scope != nil {
		return refusal{"an application credential has its scope already", string(who.User)}
	}
	var b *bearer
	var token string
	c.view(func(r store.Reader) {
		if b, err = c.scoped(r, who, scope); err == nil {
			token, err = b.sign(newestKey(r))
		}
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("X-Subject-Token", token)
	return c.send(http.StatusCreated, object{"token": c.tokenBody(b)})
}

// decode reads a JSON body.
func (c *call) decode(v any) error {
	err := json.NewDecoder(c.r.Body).Decode(v)
	var large *http.MaxBytesError
	if err == nil || errors.As(err, &large) {
		return err
	}
	return invalid("The request body is not the JSON that is expected: %v", err)
}

// authenticate judges what the request offers by each method, which must all be of one
// user, and returns claims that have no scope yet, unless the method brings one.
func (c *call) authenticate(req *authRequest) (claims, error) {
	now := c.now()
	who := claims{Issued: now, Expires: now.Add(c.o.Lifetime), Audit: newAuditID()}
	who.Chain = who.Audit
	id := req.Auth.Identity
	for _, name := range id.Methods {
		var user model.UserID
		var err error
		switch {
		case name == "password" && id.Password != nil && id.Password.User != nil:
			who.Methods |= byPassword
			user, err = c.byPassword(id.Password.User)
		case name == "token" && id.Token != nil:
			who.Methods |= byToken
			user, err = c.byToken(id.Token.ID, &who)
		case name == "application_credential" && id.AppCred != nil:
			who.Methods |= byAppCred
			user, err = c.byAppCred(id.AppCred, &who)
		case slices.Contains([]string{"password", "token", "application_credential"}, name):
			return who, lacks(name, "identity")
		default:
			return who, refusal{"no such method: " + name, ""}
		}
		if err != nil {
			return who, err
		}
		if who.User != "" && who.User != user {
			return who, refusal{"methods of different users", string(user)}
		}
		who.User = user
	}
	return who, nil
}

// byPassword finds the user whose password this is. An unknown user costs as much time as
// a wrong password.
func (c *call) byPassword(u *userRef) (model.UserID, error) {
	if u.ID == "" && (u.Name == "" || u.Domain == nil) {
		return "", lacks("id, or name and domain,", "user")
	}
	var user *model.User
	c.view(func(r store.Reader) { user = findUser(r, u) })
	hash := ""
	if user != nil {
		hash = user.PasswordHash
	}
	ok, err := c.hasher.matches(c.r.Context(), hash, u.Password)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", refusal{"wrong user or password", u.ID + u.Name}
	}
	return user.ID, nil
}

// byToken takes a token for another; the new one expires with the old one.
func (c *call) byToken(token string, who *claims) (model.UserID, error) {
	b, err := c.bearer(c.r.Context(), token)
	switch {
	case errors.Is(err, access.ErrUnauthorized):
		return "", refusal{"a token that is not valid", ""}
	case err != nil:
		return "", err
	case b.cred != nil:
		return "", refusal{"a token of an application credential gets no other", string(b.user.ID)}
	}
	who.Methods |= b.Methods
	who.Expires, who.Chain = b.Expires, b.Chain
	return b.user.ID, nil
}

// byAppCred finds the application credential whose secret this is.
func (c *call) byAppCred(ref *credRef, who *claims) (model.UserID, error) {
	if ref.ID == "" && (ref.Name == "" || ref.User == nil) {
		return "", lacks("id, or name and user,", "application_credential")
	}
	var cred *model.AppCred
	c.view(func(r store.Reader) { cred = findCred(r, ref) })
	hash := ""
	if cred != nil {
		hash = cred.SecretHash
	}
	ok, err := c.hasher.matches(c.r.Context(), hash, ref.Secret)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", refusal{"wrong application credential or secret", ref.ID + ref.Name}
	}
	who.AppCred, who.Target = cred.ID, model.Target{Project: cred.Project}
	if !cred.ExpiresAt.IsZero() && cred.ExpiresAt.Before(who.Expires) {
		who.Expires = cred.ExpiresAt
	}
	return cred.UserID, nil
}

func findUser(r store.Reader, u *userRef) *model.User {
	if u.ID != "" {
		if e := store.Users.Get(r, u.ID); e != nil {
			return e.Value
		}
		return nil
	}
	domain := findDomain(r, u.Domain)
	for e := range store.Users.By(r, "name", u.Name) {
		if domain != nil && e.Value.DomainID == domain.ID {
			return e.Value
		}
	}
	return nil
}

func findDomain(r store.Reader, d *domainRef) *model.Domain {
	if d == nil {
		return nil
	}
	if d.ID != "" {
		if e := store.Domains.Get(r, d.ID); e != nil {
			return e.Value
		}
		return nil
	}
	for e := range store.Domains.By(r, "name", d.Name) {
		return e.Value
	}
	return nil
}

func findCred(r store.Reader, ref *credRef) *model.AppCred {
	if ref.ID != "" {
		if e := store.AppCreds.Get(r, ref.ID); e != nil {
			return e.Value
		}
		return nil
	}
	user := findUser(r, ref.User)
	if user == nil {
		return nil
	}
	for e := range store.AppCreds.By(r, "user", string(user.ID)) {
		if e.Value.Name == ref.Name {
			return e.Value
		}
	}
	return nil
}

// parseScope reads the scope of a request; nil means that it names none.
func parseScope(raw json.RawMessage) (*scopeRequest, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var s scopeRequest
	if string(raw) == `"unscoped"` {
		s.Unscoped = &struct{}{}
		return &s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, invalidField("scope", err.Error())
	}
	n := 0
	for _, set := range []bool{s.Project != nil, s.Domain != nil, s.System != nil, s.Unscoped != nil} {
		if set {
			n++
		}
	}
	switch {
	case s.Trust != nil:
		return nil, invalid("The built-in identity of weft has no trusts.")
	case n != 1:
		return nil, invalidField("scope", "want one of project, domain, system and unscoped")
	case s.Project != nil && s.Project.ID == "" && (s.Project.Name == "" || s.Project.Domain == nil):
		return nil, lacks("id, or name and domain,", "project")
	case s.System != nil && !s.System.All:
		return nil, invalidField("scope", "the only system scope is all")
	}
	return &s, nil
}

// scoped gives the claims their scope and resolves them.
func (c *call) scoped(r store.Reader, who claims, s *scopeRequest) (*bearer, error) {
	switch {
	case who.AppCred != "":
	case s == nil:
		// The default project, if the user has one and may use it.
		if u := store.Users.Get(r, string(who.User)); u != nil && u.Value.DefaultProject != "" {
			who.Target = model.Target{Project: u.Value.DefaultProject}
			if b := resolve(r, who, c.now()); b != nil {
				return b, nil
			}
			who.Target = model.Target{}
		}
	case s.Unscoped != nil:
	case s.System != nil:
		who.Target.System = true
	case s.Domain != nil:
		d := findDomain(r, s.Domain)
		if d == nil {
			return nil, refusal{"no such domain: " + s.Domain.ID + s.Domain.Name, string(who.User)}
		}
		who.Target.Domain = d.ID
	default:
		id := model.ProjectID(s.Project.ID)
		if d := findDomain(r, s.Project.Domain); id == "" && d != nil {
			id = projectNamed(r, d.ID, s.Project.Name)
		}
		if id == "" {
			return nil, refusal{"no such project: " + s.Project.Name, string(who.User)}
		}
		who.Target.Project = id
	}
	b := resolve(r, who, c.now())
	if b == nil {
		return nil, refusal{"user or scope is disabled, or the user has no role there", string(who.User)}
	}
	return b, nil
}

func projectNamed(r store.Reader, d model.DomainID, name string) model.ProjectID {
	for e := range store.Projects.By(r, "name", name) {
		if e.Value.DomainID == d {
			return e.Value.ID
		}
	}
	return ""
}

// tokenBody is a token as clients see it.
func (c *call) tokenBody(b *bearer) object {
	audits := []string{b.Audit.String()}
	if b.Chain != b.Audit {
		audits = append(audits, b.Chain.String())
	}
	t := object{
		"methods": b.Methods.names(), "audit_ids": audits, "issued_at": stamp(b.Issued), "expires_at": stamp(b.Expires),
		"user": object{"id": b.user.ID, "name": b.user.Name, "domain": named(b.userDomain), "password_expires_at": nil},
	}
	switch {
	case b.project != nil:
		t["project"] = object{"id": b.project.ID, "name": b.project.Name, "domain": named(b.domain)}
		t["is_domain"] = false
	case b.domain != nil:
		t["domain"] = named(b.domain)
	case b.Target.System:
		t["system"] = object{"all": true}
	default:
		return t
	}
	roles := make([]object, len(b.roles))
	for i, r := range b.roles {
		roles[i] = object{"id": r.ID, "name": r.Name}
	}
	t["roles"] = roles
	if b.cred != nil {
		t["application_credential"] = object{"id": b.cred.ID, "name": b.cred.Name, "restricted": !b.cred.Unrestricted}
	}
	if !c.r.URL.Query().Has("nocatalog") {
		t["catalog"] = c.catalog()
	}
	return t
}

func named(d *model.Domain) object { return object{"id": d.ID, "name": d.Name} }

// validateToken answers GET and HEAD /v3/auth/tokens: of one's own token, and of any for
// admins, services and readers of the system.
func (c *call) validateToken() error {
	b, err := c.subject()
	if err != nil {
		return err
	}
	if b.user.ID != c.me.user.ID && !reader(c) && !c.me.has("service") {
		return forbidden("identity:validate_token")
	}
	c.w.Header().Set("X-Subject-Token", c.r.Header.Get("X-Subject-Token"))
	return c.send(http.StatusOK, object{"token": c.tokenBody(b)})
}

// subject is who bears the token that the request asks about.
func (c *call) subject() (*bearer, error) {
	token := c.r.Header.Get("X-Subject-Token")
	b, err := c.bearer(c.r.Context(), token)
	if errors.Is(err, access.ErrUnauthorized) {
		// The token itself is a secret, even if it is void.
		return nil, fault{http.StatusNotFound, "Could not find token."}
	}
	return b, err
}

// revokeToken answers DELETE /v3/auth/tokens.
func (c *call) revokeToken() error {
	b, err := c.subject()
	if err != nil {
		return err
	}
	if b.user.ID != c.me.user.ID && !admin(c) {
		return forbidden("identity:revoke_token")
	}
	err = c.change(c.r.Context(), func(r store.Reader, t *store.Txn) error {
		if store.Revocations.Get(r, b.Audit.String()) == nil {
			store.Revocations.Create(t, &model.Revocation{ID: b.Audit.String(), ExpiresAt: b.Expires})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.sendNothing()
}

// authCatalog answers GET /v3/auth/catalog.
func (c *call) authCatalog() error {
	if c.me.project == nil {
		return fault{http.StatusForbidden, "A project-scoped token is required to produce a service catalog."}
	}
	return c.send(http.StatusOK, object{"catalog": c.catalog(), "links": object{"self": c.base() + "/v3/auth/catalog"}})
}

// authSystem answers GET /v3/auth/system.
func (c *call) authSystem() error {
	systems := []object{}
	c.view(func(r store.Reader) {
		if len(rolesOn(r, c.me.user.ID, model.Target{System: true})) > 0 {
			systems = append(systems, object{"all": true})
		}
	})
	return c.send(http.StatusOK, object{"system": systems, "links": object{"self": c.base() + "/v3/auth/system"}})
}
