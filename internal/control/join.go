package control

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

// SecretSize is the length of a token's secret: far too long to be guessed, so a plain hash
// of it is enough in the store.
const SecretSize = 32

// maxTokenLife bounds how long a token may be good.
const maxTokenLife = 7 * 24 * time.Hour

// tokenMemory is how long an expired token is kept, so that who comes late learns why.
const tokenMemory = 24 * time.Hour

// JoinRefused says why somebody could not join, or may not be here any more.
type JoinRefused struct{ Reason string }

func (e JoinRefused) Error() string { return e.Reason }

func refused(format string, args ...any) error { return JoinRefused{fmt.Sprintf(format, args...)} }

// hostNameForm is what a host may be called: its name becomes the name of a directory and of
// a certificate.
var hostNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// reservedNames are those of the servers' own certificates.
var reservedNames = []string{"weft-server", "weft-peer"}

// CheckHostName says why no host may be called so, or nil.
func CheckHostName(name model.HostName) error {
	if !hostNameForm.MatchString(string(name)) {
		return fmt.Errorf("%q is no host name: want letters, digits, dots, dashes and underscores, the first a letter or digit, 64 at most", name)
	}
	for _, r := range reservedNames {
		if strings.EqualFold(string(name), r) {
			return fmt.Errorf("the name %q belongs to the servers; no host may have it", name)
		}
	}
	return nil
}

// NewJoinToken makes a token that is good once within life. A host that joins by it has none
// but these roles; without any it may have all. It returns the secret, which cannot be had again.
func (c *Control) NewJoinToken(ctx context.Context, kind model.JoinKind, life time.Duration, roles ...model.HostRole) (secret [SecretSize]byte, expires time.Time, err error) {
	if kind != model.JoinHost && kind != model.JoinServer {
		return secret, expires, invalid("%q is nothing that one may become by a token", kind)
	}
	if life < time.Second || life > maxTokenLife {
		return secret, expires, invalid("A token cannot be good for %s: want 1s to %s", life, maxTokenLife)
	}
	for _, r := range roles {
		if !slices.Contains(model.AllRoles(), r) || kind != model.JoinHost {
			return secret, expires, invalid("%q is no role of a %s", r, kind)
		}
	}
	_, _ = rand.Read(secret[:]) // never fails
	now := c.stamp()
	t := &model.JoinToken{Hash: hashOf(secret[:]), Kind: kind, Roles: roles, CreatedAt: now, ExpiresAt: now.Add(life)}
	err = c.transact(ctx, func(w *work) error {
		for e := range store.JoinTokens.All(w.r) {
			if now.Sub(e.Value.ExpiresAt) > tokenMemory {
				store.JoinTokens.Delete(w.txn, e, w.r.Revision())
			}
		}
		store.JoinTokens.Create(w.txn, t)
		return nil
	})
	return secret, t.ExpiresAt, err
}

func hashOf(secret []byte) string {
	h := sha256.Sum256(secret)
	return hex.EncodeToString(h[:])
}

// spend adds to the transaction that a token is used up.
func (w *work) spend(kind model.JoinKind, secret []byte) (*model.JoinToken, error) {
	hash := hashOf(secret)
	e := store.JoinTokens.Get(w.r, hash)
	if e == nil {
		for used := range store.HostIdentities.By(w.r, "token", hash) {
			return nil, refused("the token was used already, by host %s at %s", used.Value.Host, used.Value.JoinedAt.Format(time.RFC3339))
		}
		return nil, model.NotFound{Kind: model.KindJoinToken, ID: hash}
	}
	now := w.c.now()
	switch t := e.Value; {
	case t.Kind != kind:
		return nil, refused("the token is for a %s to join, not for a %s", t.Kind, kind)
	case now.After(t.ExpiresAt):
		return nil, refused("the token expired at %s, %s ago", t.ExpiresAt.Format(time.RFC3339), now.Sub(t.ExpiresAt).Round(time.Second))
	}
	store.JoinTokens.Delete(w.txn, e, w.r.Revision())
	return e.Value, nil
}

// unknownToken replaces model.NotFound, which makes attempt look whether another server has
// made the token just now.
func unknownToken(err error) error {
	if missing, ok := err.(model.NotFound); ok && missing.Kind == model.KindJoinToken {
		return refused("the token is unknown: it was used, has expired long ago, or is not of this cloud")
	}
	return err
}

// SpendServerToken uses up a token for a server to join. It fails with JoinRefused if there is
// no such token now.
func (c *Control) SpendServerToken(ctx context.Context, secret []byte) error {
	return unknownToken(c.transact(ctx, func(w *work) error {
		_, err := w.spend(model.JoinServer, secret)
		return err
	}))
}

// JoinHost uses up a token and makes a host by this name welcome, in one transaction. It
// returns the generation that its certificate is to have. The certificates of earlier hosts
// by the name are good no longer.
func (c *Control) JoinHost(ctx context.Context, secret []byte, name model.HostName) (generation int, err error) {
	if err := CheckHostName(name); err != nil {
		return 0, JoinRefused{err.Error()}
	}
	err = c.transact(ctx, func(w *work) error {
		token, err := w.spend(model.JoinHost, secret)
		if err != nil {
			return err
		}
		if h := w.r.Host(name); h != nil && c.HostAlive(h.Value, c.now()) {
			return refused("a host by the name %s is alive; choose another name, or stop its agent and remove it first", name)
		}
		old := store.HostIdentities.Get(w.r, string(name))
		n := &model.HostIdentity{Host: name, Generation: 1, JoinedAt: c.stamp(), Token: token.Hash, Roles: token.Roles}
		if old == nil {
			store.HostIdentities.Create(w.txn, n)
		} else {
			n.Generation = old.Value.Generation + 1
			store.HostIdentities.Update(w.txn, old, n)
		}
		generation = n.Generation
		return nil
	})
	return generation, unknownToken(err)
}

// Welcome says why a certificate of a host of this generation is not good, or nil.
func Welcome(r store.Reader, name model.HostName, generation int) error {
	var id model.HostIdentity
	if e := store.HostIdentities.Get(r, string(name)); e != nil {
		id = *e.Value
	}
	switch {
	case !id.RemovedAt.IsZero():
		return refused("host %s was removed at %s; a new token (weft server token) lets it join again", name, id.RemovedAt.Format(time.RFC3339))
	case generation != id.Generation:
		return refused("the certificate is of an earlier host %s: since then one has joined by that name at %s", name, id.JoinedAt.Format(time.RFC3339))
	}
	return nil
}
