// Package identity speaks the Keystone v3 API for built-in users, and checks tokens
// against an outside Keystone.
//
// Local is the built-in one: an http.Handler for /v3 over the users, projects, roles and
// assignments in the store, and an Authenticator of the tokens that it issues. A token
// is signed and says who, for what scope and until when; whether that still holds, and
// with which roles, is looked up in the mirror whenever the token is used, so that a
// disabled user or a role taken away counts at once. Remote asks another Keystone and
// remembers its answers for a while.
//
// Both turn a token into an access.Caller. Of a token that is unknown, expired, revoked or
// without effect they say access.ErrUnauthorized; any other error means that nothing could be
// found out about it.
package identity

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// DefaultLifetime is how long a token is good for when Options do not say, as Keystone's.
const DefaultLifetime = time.Hour

// Options are what a Local is made of.
type Options struct {
	// Store keeps the identities. Required.
	Store *store.Store
	// Log hears of refused logins and of failures; nil discards.
	Log *slog.Logger
	// Region is the one region of the catalog.
	Region string
	// NetworkURL is the Neutron API in the catalog. Without a host, as in http://:9696, the
	// host is that by which the client reached this API.
	NetworkURL string
	// IdentityURL is this API in the catalog, up to but without /v3; empty means the
	// address by which the client reached it.
	IdentityURL string
	// Lifetime is how long a token is good for; 0 means DefaultLifetime.
	Lifetime time.Duration
	// Shared says whether other servers write to the same etcd now: then every request first
	// asks how far they have come. nil means never.
	Shared func() bool
	// HashCost is the cost of new password hashes; 0 means the usual. Tests lower it.
	HashCost int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Local is the built-in identity. It is safe for concurrent use.
type Local struct {
	o      Options
	store  *store.Store
	log    *slog.Logger
	hasher *hasher
	mux    *http.ServeMux
}

// New makes the built-in identity. Bootstrap and Run belong to it.
func New(o Options) (*Local, error) {
	if o.Lifetime == 0 {
		o.Lifetime = DefaultLifetime
	}
	if o.HashCost == 0 {
		o.HashCost = hashCost
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Shared == nil {
		o.Shared = func() bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h, err := newHasher(o.HashCost)
	if err != nil {
		return nil, err
	}
	l := &Local{o: o, store: o.Store, log: o.Log, hasher: h, mux: http.NewServeMux()}
	l.register()
	return l, nil
}

// now is the time in the precision that tokens have.
func (l *Local) now() time.Time { return l.o.Now().UTC().Truncate(time.Microsecond) }

// Authenticate returns who bears a token, or access.ErrUnauthorized.
func (l *Local) Authenticate(ctx context.Context, token string) (access.Caller, error) {
	b, err := l.bearer(ctx, token)
	if err != nil {
		return access.Caller{}, err
	}
	return b.caller(), nil
}

// bearer validates a token.
func (l *Local) bearer(ctx context.Context, token string) (b *bearer, err error) {
	look := func() { l.store.View(func(r store.Reader) { b = l.verify(r, token) }) }
	look()
	if b == nil && l.o.Shared() {
		// What makes it valid may have been written by another server a moment ago.
		if err := l.store.Sync(ctx); err != nil {
			return nil, err
		}
		look()
	}
	if b == nil {
		return nil, access.ErrUnauthorized
	}
	return b, nil
}

func (l *Local) verify(r store.Reader, token string) *bearer {
	c, ok := parse(token, func(id string) *model.TokenKey {
		if e := store.TokenKeys.Get(r, id); e != nil {
			return e.Value
		}
		return nil
	})
	if !ok || !l.now().Before(c.Expires) || store.Revocations.Get(r, c.Audit.String()) != nil {
		return nil
	}
	return resolve(r, c, l.now())
}

// bearer is a token's claims together with what is so now.
type bearer struct {
	claims
	user *model.User
	// userDomain is the user's; domain is that of the scope, or of the scope's project.
	userDomain, domain *model.Domain
	project            *model.Project
	cred               *model.AppCred
	// roles are those on the scope, with what they imply, sorted by name.
	roles []*model.Role
}

// resolve returns nil when the claims do not hold at present.
func resolve(r store.Reader, c claims, now time.Time) *bearer {
	b := &bearer{claims: c}
	u := store.Users.Get(r, string(c.User))
	if u == nil || !u.Value.Enabled || c.Issued.Before(u.Value.TokensSince) {
		return nil
	}
	b.user = u.Value
	if b.userDomain = enabledDomain(r, b.user.DomainID); b.userDomain == nil {
		return nil
	}
	if c.AppCred != "" {
		e := store.AppCreds.Get(r, c.AppCred)
		if e == nil || e.Value.UserID != c.User || e.Value.Project != c.Target.Project || credExpired(e.Value, now) {
			return nil
		}
		b.cred = e.Value
	}
	switch {
	case c.Target.Project != "":
		p := store.Projects.Get(r, string(c.Target.Project))
		if p == nil || !p.Value.Enabled {
			return nil
		}
		b.project = p.Value
		b.domain = enabledDomain(r, p.Value.DomainID)
	case c.Target.Domain != "":
		b.domain = enabledDomain(r, c.Target.Domain)
	case !c.Target.System:
		return b // unscoped
	}
	if b.domain == nil && !c.Target.System {
		return nil
	}
	b.roles = expand(r, rolesOn(r, c.User, c.Target))
	if b.cred != nil {
		given := expand(r, b.cred.Roles)
		b.roles = slices.DeleteFunc(b.roles, func(v *model.Role) bool { return !slices.Contains(given, v) })
	}
	if len(b.roles) == 0 {
		return nil
	}
	return b
}

func enabledDomain(r store.Reader, id model.DomainID) *model.Domain {
	if e := store.Domains.Get(r, string(id)); e != nil && e.Value.Enabled {
		return e.Value
	}
	return nil
}

// rolesOn lists the roles that a user has been given on a target.
func rolesOn(r store.Reader, u model.UserID, t model.Target) []model.RoleID {
	var ids []model.RoleID
	for e := range store.Assignments.By(r, "user", string(u)) {
		if e.Value.Target == t {
			ids = append(ids, e.Value.RoleID)
		}
	}
	return ids
}

// expand returns the roles and those they imply, sorted by name.
func expand(r store.Reader, ids []model.RoleID) []*model.Role {
	var out []*model.Role
	var names []string
	for _, id := range ids {
		if e := store.Roles.Get(r, string(id)); e != nil {
			out = append(out, e.Value)
			names = append(names, e.Value.Name)
		}
	}
	for _, name := range access.Expand(names) {
		if role := roleNamed(r, name); role != nil && !slices.Contains(out, role) {
			out = append(out, role)
		}
	}
	slices.SortFunc(out, func(a, b *model.Role) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func roleNamed(r store.Reader, name string) *model.Role {
	for e := range store.Roles.By(r, "name", name) {
		return e.Value
	}
	return nil
}

// caller is the bearer as policies know it.
func (b *bearer) caller() access.Caller {
	names := make([]string, len(b.roles))
	for i, r := range b.roles {
		names[i] = r.Name
	}
	c := access.Caller{
		UserID: string(b.user.ID), UserName: b.user.Name, UserDomainID: string(b.user.DomainID),
		SystemScope: b.Target.System, DomainID: string(b.Target.Domain), Roles: access.Expand(names),
	}
	if b.project != nil {
		c.ProjectID, c.ProjectName, c.ProjectDomainID = b.project.ID, b.project.Name, string(b.project.DomainID)
	}
	return c
}

func credExpired(c *model.AppCred, now time.Time) bool {
	return !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt)
}
