package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

const (
	// keyAge is how old a key becomes before another one signs.
	keyAge = 24 * time.Hour
	// tidyEvery is how often keys are looked at, and revocations of expired tokens removed.
	tidyEvery = 10 * time.Minute
	// tidyMost is how many objects one transaction of tidying removes at most.
	tidyMost = 50
)

// adminName is the user, and the project, that Bootstrap makes.
const adminName = "admin"

// Bootstrap makes sure that there is a key to sign tokens with and, when there is no user
// at all, makes the first ones: the default domain, the projects admin and service, the
// five roles, and the user admin with the password that choose returns. It reports
// whether it made them; choose may have been called in vain when another server did.
func (l *Local) Bootstrap(ctx context.Context, choose func() (string, error)) (made bool, err error) {
	if err := l.store.Sync(ctx); err != nil {
		return false, err
	}
	empty := false
	l.store.View(func(r store.Reader) { empty = store.Users.Count(r) == 0 })
	hash := ""
	if empty {
		password, err := choose()
		if err != nil {
			return false, err
		}
		if hash, err = l.hasher.hash(ctx, password); err != nil {
			return false, err
		}
	}
	err = l.change(ctx, func(r store.Reader, t *store.Txn) error {
		if newestKey(r) == nil {
			store.TokenKeys.Create(t, newKey(l.now()))
		}
		made = hash != "" && store.Users.Count(r) == 0
		if made {
			firstIdentities(r, t, hash)
		}
		return nil
	})
	return made, err
}

// firstIdentities makes what a cloud without users lacks. What was left there stays.
func firstIdentities(r store.Reader, t *store.Txn, hash string) {
	if store.Domains.Get(r, string(model.DefaultDomain)) == nil {
		store.Domains.Create(t, &model.Domain{ID: model.DefaultDomain, Name: "Default", Description: "The default domain", Enabled: true})
	}
	var project model.ProjectID
	for _, name := range []string{"service", adminName} {
		if project = projectNamed(r, model.DefaultDomain, name); project == "" {
			project = model.ProjectID(newID())
			store.Projects.Create(t, &model.Project{ID: project, DomainID: model.DefaultDomain, Name: name, Enabled: true})
		}
	}
	var role model.RoleID
	for _, name := range []string{"service", "reader", "member", "manager", adminName} {
		if v := roleNamed(r, name); v != nil {
			role = v.ID
			continue
		}
		role = model.RoleID(newID())
		store.Roles.Create(t, &model.Role{ID: role, Name: name})
	}
	user := &model.User{ID: model.UserID(newID()), DomainID: model.DefaultDomain, Name: adminName, Enabled: true, PasswordHash: hash}
	store.Users.Create(t, user)
	for _, on := range []model.Target{{Project: project}, {System: true}} {
		store.Assignments.Create(t, &model.Assignment{ID: model.AssignmentID(user.ID, role, on), UserID: user.ID, RoleID: role, Target: on})
	}
}

// NewPassword makes up a password: 24 random bytes as text that a shell takes as it is.
func NewPassword() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // it never fails
	return strings.TrimLeft(base64.RawURLEncoding.EncodeToString(b[:]), "-")
}

// newestKey is the key that signs, or nil.
func newestKey(r store.Reader) *model.TokenKey {
	var newest *model.TokenKey
	for e := range store.TokenKeys.All(r) {
		if k := e.Value; newest == nil || k.CreatedAt.After(newest.CreatedAt) ||
			k.CreatedAt.Equal(newest.CreatedAt) && k.ID > newest.ID {
			newest = k
		}
	}
	return newest
}

// Run changes the key from time to time and forgets what has expired, until ctx ends.
func (l *Local) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		if err := l.tidy(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("token keys and revocations not tidied; tried again later", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// tidy makes a new key when the newest is old, and removes keys of which no token can be
// valid any more, and revocations of tokens that have expired.
func (l *Local) tidy(ctx context.Context) error {
	now := l.now()
	for more := true; more; {
		err := l.change(ctx, func(r store.Reader, t *store.Txn) error {
			n := 0
			newest := newestKey(r)
			if newest == nil || now.Sub(newest.CreatedAt) >= keyAge {
				store.TokenKeys.Create(t, newKey(now))
				n++
			}
			for e := range store.TokenKeys.All(r) {
				// The slack is for servers whose clocks differ, or that still sign with it.
				if e.Value != newest && now.Sub(e.Value.CreatedAt) > 2*keyAge+l.o.Lifetime {
					store.TokenKeys.Delete(t, e, r.Revision())
					n++
				}
			}
			for e := range store.Revocations.All(r) {
				if n < tidyMost && now.After(e.Value.ExpiresAt) {
					store.Revocations.Delete(t, e, r.Revision())
					n++
				}
			}
			more = n >= tidyMost
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
