package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"weft/internal/access"
	"weft/internal/model"
)

const (
	// DefaultCacheTime is how long an answer about a token is remembered when RemoteOptions
	// do not say, as keystonemiddleware's token_cache_time.
	DefaultCacheTime = 5 * time.Minute
	// refusedTime is how long it is remembered that a token is void, so that a client that
	// tries again and again does not keep Keystone busy.
	refusedTime = 10 * time.Second
	// cacheMost is how many tokens are remembered.
	cacheMost = 10000
	// askTimeout is how long Keystone may take to answer.
	askTimeout = 15 * time.Second
	// maxReply is how much of an answer is read.
	maxReply = 1 << 20
	// renewBefore is how long before its end the service user's own token is replaced.
	renewBefore = 30 * time.Second
)

// RemoteOptions say which Keystone to ask, and as whom.
type RemoteOptions struct {
	// URL is Keystone's, with or without /v3. Required, like Username and Password.
	URL string
	// Username, Password, UserDomain, Project and ProjectDomain are the service user's, whose
	// roles there must allow it to validate the tokens of others. Domains are names.
	Username, Password, UserDomain string
	Project, ProjectDomain         string
	// CacheTime is how long an answer is remembered; 0 means DefaultCacheTime. So long a
	// token may outlive its revocation.
	CacheTime time.Duration
	// TLS is how to speak to an https URL; nil means with the system's authorities.
	TLS *tls.Config
	// Log hears when Keystone goes away and comes back; nil discards.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Remote checks tokens with an outside Keystone. It is safe for concurrent use.
type Remote struct {
	o    RemoteOptions
	http *http.Client

	mu    sync.Mutex
	away  bool // Keystone did not answer the last time
	known map[[sha256.Size]byte]*lookup

	// own is the service user's token, which one request at a time gets.
	ownMu   sync.Mutex
	own     string
	ownEnds time.Time
}

// lookup is a question about a token, which all who ask at the same time share, and then
// its answer.
type lookup struct {
	ready  chan struct{} // closed when the rest is set
	caller access.Caller
	err    error
	until  time.Time // when to ask again
}

// NewRemote makes a Remote. It asks nothing yet.
func NewRemote(o RemoteOptions) *Remote {
	o.URL = strings.TrimSuffix(strings.TrimSuffix(o.URL, "/"), "/v3") + "/v3"
	if o.CacheTime == 0 {
		o.CacheTime = DefaultCacheTime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Remote{
		o:     o,
		http:  &http.Client{Timeout: askTimeout, Transport: &http.Transport{TLSClientConfig: o.TLS, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}},
		known: map[[sha256.Size]byte]*lookup{},
	}
}

// Authenticate returns who bears a token, or access.ErrUnauthorized. Any other error
// means that Keystone could not be asked.
func (r *Remote) Authenticate(ctx context.Context, token string) (access.Caller, error) {
	key := sha256.Sum256([]byte(token)) // tokens themselves are not kept
	l, fresh := r.lookup(key)
	if fresh {
		// The caller may leave; the others who wait for the answer must get it.
		go r.answer(context.WithoutCancel(ctx), token, key, l)
	}
	select {
	case <-l.ready:
		return l.caller, l.err
	case <-ctx.Done():
		return access.Caller{}, ctx.Err()
	}
}

// lookup returns what is known or being asked of a token, and whether it must be asked.
func (r *Remote) lookup(key [sha256.Size]byte) (l *lookup, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	if l = r.known[key]; l != nil && l.good(now) {
		return l, false
	}
	if len(r.known) >= cacheMost {
		for k, old := range r.known {
			if !old.good(now) || len(r.known) > cacheMost/2 {
				delete(r.known, k)
			}
		}
	}
	l = &lookup{ready: make(chan struct{})}
	r.known[key] = l
	return l, true
}

// good reports whether the answer is still on its way, or counts.
func (l *lookup) good(now time.Time) bool {
	select {
	case <-l.ready:
		return now.Before(l.until)
	default:
		return true
	}
}

// answer asks Keystone and lets all know who wait.
func (r *Remote) answer(ctx context.Context, token string, key [sha256.Size]byte, l *lookup) {
	defer close(l.ready)
	var ends time.Time
	l.caller, ends, l.err = r.validate(ctx, token)
	now := r.o.Now()
	switch {
	case l.err == nil:
		l.until = now.Add(r.o.CacheTime)
		if ends.Before(l.until) {
			l.until = ends
		}
	case errors.Is(l.err, access.ErrUnauthorized):
		l.until = now.Add(min(refusedTime, r.o.CacheTime))
	default:
		// Not known: whoever comes next asks again.
		r.mu.Lock()
		if r.known[key] == l {
			delete(r.known, key)
		}
		r.mu.Unlock()
	}
}

// tokenReply is what is read of a token that Keystone knows.
type tokenReply struct {
	subject string // the token itself, of one that was asked for
	Token   struct {
		ExpiresAt time.Time `json:"expires_at"`
		User      struct {
			ID, Name string
			Domain   struct{ ID string }
		}
		Project *struct {
			ID, Name string
			Domain   struct{ ID string }
		}
		Domain *struct{ ID string }
		System map[string]bool
		Roles  []struct{ Name string }
	}
}

// validate asks Keystone about a token. When it does not know our own any more, a new one
// is got and the question put once more.
func (r *Remote) validate(ctx context.Context, token string) (access.Caller, time.Time, error) {
	for last := false; ; last = true {
		own, err := r.ownToken(ctx, last)
		if err != nil {
			return access.Caller{}, time.Time{}, err
		}
		status, reply, err := r.do(ctx, http.MethodGet, "/auth/tokens?nocatalog", nil, http.Header{"X-Auth-Token": {own}, "X-Subject-Token": {token}})
		switch {
		case err != nil:
			return access.Caller{}, time.Time{}, err
		case status == http.StatusOK:
			if !r.o.Now().Before(reply.Token.ExpiresAt) {
				return access.Caller{}, time.Time{}, access.ErrUnauthorized
			}
			return reply.caller(), reply.Token.ExpiresAt, nil
		case status == http.StatusNotFound:
			return access.Caller{}, time.Time{}, access.ErrUnauthorized
		case status == http.StatusUnauthorized && !last:
			continue
		}
		return access.Caller{}, time.Time{}, fmt.Errorf("keystone answers %d when asked about a token; may user %s validate them?", status, r.o.Username)
	}
}

// ownToken is the service user's token; renew gets another one even if it seems good.
func (r *Remote) ownToken(ctx context.Context, renew bool) (string, error) {
	r.ownMu.Lock()
	defer r.ownMu.Unlock()
	if !renew && r.own != "" && r.o.Now().Add(renewBefore).Before(r.ownEnds) {
		return r.own, nil
	}
	named := func(name string) object { return object{"name": name} }
	body, err := json.Marshal(object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{
			"name": r.o.Username, "password": r.o.Password, "domain": named(r.o.UserDomain)}}},
		"scope": object{"project": object{"name": r.o.Project, "domain": named(r.o.ProjectDomain)}}}})
	if err != nil {
		return "", err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	status, reply, err := r.do(ctx, http.MethodPost, "/auth/tokens?nocatalog", body, header)
	switch {
	case err != nil:
		return "", err
	case status != http.StatusCreated:
		return "", fmt.Errorf("keystone answers %d to the login of user %s", status, r.o.Username)
	}
	r.own, r.ownEnds = reply.subject, reply.Token.ExpiresAt
	return r.own, nil
}

// do sends a request and reads the token that is in the answer, if it is a success.
func (r *Remote) do(ctx context.Context, method, path string, body []byte, header http.Header) (status int, reply tokenReply, err error) {
	req, err := http.NewRequestWithContext(ctx, method, r.o.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, reply, err
	}
	req.Header = header
	resp, err := r.http.Do(req)
	if err == nil && resp.StatusCode >= 500 {
		resp.Body.Close()
		err = fmt.Errorf("keystone answers %s", resp.Status)
	}
	r.noteAnswer(err)
	if err != nil {
		return 0, reply, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil || resp.StatusCode >= 300 {
		return resp.StatusCode, reply, err
	}
	if err := json.Unmarshal(b, &reply); err != nil {
		return 0, reply, fmt.Errorf("keystone's answer: %w", err)
	}
	reply.subject = resp.Header.Get("X-Subject-Token")
	return resp.StatusCode, reply, nil
}

// noteAnswer logs once when Keystone goes away, and once when it is back.
func (r *Remote) noteAnswer(err error) {
	r.mu.Lock()
	was := r.away
	r.away = err != nil
	r.mu.Unlock()
	switch {
	case err != nil && !was:
		r.o.Log.Warn("Keystone does not answer; only tokens seen lately count until it does", "url", r.o.URL, "err", err)
	case err == nil && was:
		r.o.Log.Info("Keystone answers again", "url", r.o.URL)
	}
}

// caller is the bearer as policies know it.
func (t *tokenReply) caller() access.Caller {
	names := make([]string, len(t.Token.Roles))
	for i, role := range t.Token.Roles {
		names[i] = role.Name
	}
	u := t.Token.User
	c := access.Caller{UserID: u.ID, UserName: u.Name, UserDomainID: u.Domain.ID, SystemScope: t.Token.System["all"], Roles: access.Expand(names)}
	if p := t.Token.Project; p != nil {
		c.ProjectID, c.ProjectName, c.ProjectDomainID = model.ProjectID(p.ID), p.Name, p.Domain.ID
	}
	if d := t.Token.Domain; d != nil {
		c.DomainID = d.ID
	}
	return c
}
