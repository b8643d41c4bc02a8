package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/identity"
	"weft/internal/metrics"
	"weft/internal/neutron"
	"weft/internal/store"
)

// identityParts is what a server has of the identity that its settings name.
type identityParts struct {
	c        Config
	api      net.Addr
	listener net.Listener // of the builtin identity
	// auth knows whose a token is; nil where nobody authenticates.
	auth neutron.Authenticator
	// tokens is that identity's /auth/tokens, for the page; nil where nobody authenticates.
	tokens http.Handler
	// shared says whether other servers write too.
	shared func() bool
}

// listenIdentity opens what the identity needs to be open before anything runs, and
// refuses an API without authentication for all the world.
func listenIdentity(c Config, api net.Addr) (*identityParts, error) {
	p := &identityParts{c: c, api: api}
	switch c.Identity {
	case "builtin":
		l, err := c.listen(c.IdentityListen)
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		p.listener = l
	case "none":
		if a, ok := api.(*net.TCPAddr); ok && !a.IP.IsLoopback() && !c.InsecureNoAuth {
			return nil, fmt.Errorf("api_listen: others than this host can reach %s, and identity is none, which makes everybody an administrator: "+
				"set identity, or insecure_no_auth if something else keeps them away", a)
		}
	}
	return p, nil
}

func (p *identityParts) close() {
	if p.listener != nil {
		p.listener.Close()
	}
}

// start makes the identity ready and runs it with the other tasks.
func (p *identityParts) start(ctx context.Context, tasks *errgroup.Group, st *store.Store, q *metrics.Requests, log *slog.Logger) error {
	switch p.c.Identity {
	case "builtin":
		return p.startLocal(ctx, tasks, st, q, log)
	case "keystone":
		t, err := clientTLS(p.c.KeystoneCA)
		if err != nil {
			return fmt.Errorf("keystone_ca: %w", err)
		}
		if p.tokens, err = remoteTokens(p.c.KeystoneURL, t); err != nil {
			return fmt.Errorf("keystone_url: %w", err)
		}
		p.auth = identity.NewRemote(identity.RemoteOptions{
			URL: p.c.KeystoneURL, Username: p.c.KeystoneUsername, Password: p.c.KeystonePassword, UserDomain: p.c.KeystoneUserDomain,
			Project: p.c.KeystoneProject, ProjectDomain: p.c.KeystoneProjectDomain, CacheTime: p.c.KeystoneCacheTime, TLS: t, Log: log,
		})
	}
	return nil
}

// remoteTokens is /auth/tokens of an outside Keystone.
func remoteTokens(keystone string, t *tls.Config) (http.Handler, error) {
	u, err := url.Parse(strings.TrimSuffix(keystone, "/") + "/auth/tokens")
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = t
	return &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL, r.Out.Host = u, ""
		r.SetXForwarded()
	}}, nil
}

// clientTLS trusts the authorities of a file, or with none those of the system.
func clientTLS(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// startLocal makes the first user, if there is none, and serves the built-in identity.
func (p *identityParts) startLocal(ctx context.Context, tasks *errgroup.Group, st *store.Store, q *metrics.Requests, log *slog.Logger) error {
	local, err := identity.New(identity.Options{
		Store: st, Log: log, Region: p.c.Region, NetworkURL: p.networkURL(), IdentityURL: p.c.IdentityURL,
		Lifetime: p.c.TokenLifetime, Shared: p.shared,
	})
	if err != nil {
		return err
	}
	chosen := false
	made, err := local.Bootstrap(ctx, func() (string, error) { chosen = true; return p.firstPassword() })
	switch {
	case err != nil:
	case made:
		err = p.announce()
	case chosen:
		err = os.Remove(p.passwordFile()) // another server was faster
	}
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	p.auth = local
	p.tokens = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL = &url.URL{Path: "/v3/auth/tokens"}
		local.ServeHTTP(w, r)
	})
	tasks.Go(func() error { return local.Run(ctx) })
	tasks.Go(func() error { return serveHTTP(ctx, p.listener, q.Measure(local), log) })
	log.Info("identity serves", "identity", p.listener.Addr())
	return nil
}

// networkURL is the API in the catalog. A listener on all addresses has no host in it.
func (p *identityParts) networkURL() string {
	if p.c.NetworkURL != "" {
		return p.c.NetworkURL
	}
	if a, ok := p.api.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return fmt.Sprintf("%s://:%d", p.c.scheme(), a.Port)
	}
	return p.c.scheme() + "://" + p.api.String()
}

// authURL is where clients get their tokens.
func (p *identityParts) authURL() string {
	switch {
	case p.c.Identity == "keystone":
		return p.c.KeystoneURL
	case p.listener == nil:
		return ""
	case p.c.IdentityURL != "":
		return strings.TrimSuffix(p.c.IdentityURL, "/") + "/v3"
	}
	return p.c.scheme() + "://" + dialable(p.listener.Addr()) + "/v3"
}

// passwordFile and cloudsFile are what the first start leaves in the state directory.
func (p *identityParts) passwordFile() string { return filepath.Join(p.c.StateDir, "admin-password") }
func (p *identityParts) cloudsFile() string   { return filepath.Join(p.c.StateDir, "clouds.yaml") }

// firstPassword makes up the password of the first user and keeps it before anything
// rests on it. One that is there already is from a start that did not get far.
func (p *identityParts) firstPassword() (string, error) {
	b, err := os.ReadFile(p.passwordFile())
	if password := strings.TrimSpace(string(b)); err == nil && password != "" {
		return password, nil
	}
	password := identity.NewPassword()
	return password, os.WriteFile(p.passwordFile(), []byte(password+"\n"), 0o600)
}

// announce tells the password of the first user, this once, and writes down how the
// openstack command and others log in with it.
func (p *identityParts) announce() error {
	password, err := p.firstPassword()
	if err != nil {
		return err
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) } // JSON's strings are YAML's
	clouds := fmt.Sprintf(`clouds:
  weft:
    auth:
      auth_url: %s
      username: admin
      password: %s
      project_name: admin
      user_domain_id: default
      project_domain_id: default
    region_name: %s
    identity_api_version: 3
`, quote(p.authURL()), quote(password), quote(p.c.Region))
	if err := os.WriteFile(p.cloudsFile(), []byte(clouds), 0o600); err != nil {
		return err
	}
	how := "openstack --os-cloud weft network list"
	if !p.linkClouds() {
		how = "OS_CLIENT_CONFIG_FILE=" + p.cloudsFile() + " " + how
	}
	_, err = fmt.Printf("The user admin has been made, with the password %s\n(also in %s).\nTry: %s\nor, in a browser: %s://%s/\n",
		password, p.passwordFile(), how, p.c.scheme(), dialable(p.api))
	return err
}

// linkClouds makes the clouds.yaml one that clients find by themselves: it links it into
// the home directory, if the state directory is the usual one and none is there already.
func (p *identityParts) linkClouds() bool {
	config, err := os.UserConfigDir()
	if err != nil || p.c.StateDir != defaults().StateDir {
		return false
	}
	link := filepath.Join(config, "openstack", "clouds.yaml")
	if to, err := os.Readlink(link); err == nil {
		return to == p.cloudsFile()
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return os.MkdirAll(filepath.Dir(link), 0o700) == nil && os.Symlink(p.cloudsFile(), link) == nil
}

// adminsOnly lets only administrators through, where callers authenticate.
func (p *identityParts) adminsOnly(h http.Handler) http.Handler {
	return p.guard(h, func(c access.Caller) bool { return c.Has("admin") })
}

// known lets everybody through who authenticates, where callers do.
func (p *identityParts) known(h http.Handler) http.Handler {
	return p.guard(h, func(access.Caller) bool { return true })
}

// caller names who makes a request that was let through.
func (p *identityParts) caller(r *http.Request) string {
	if p.auth == nil {
		return "anybody"
	}
	c, err := p.auth.Authenticate(r.Context(), r.Header.Get("X-Auth-Token"))
	if err != nil {
		return "somebody whose token has just expired"
	}
	return c.UserName + " (" + c.UserID + ")"
}

func (p *identityParts) guard(h http.Handler, may func(access.Caller) bool) http.Handler {
	if p.auth == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := p.auth.Authenticate(r.Context(), r.Header.Get("X-Auth-Token"))
		status, why := http.StatusForbidden, "only an administrator of the cloud may ask this (a user with the role admin)"
		switch {
		case errors.Is(err, access.ErrUnauthorized):
			status, why = http.StatusUnauthorized, "a valid token is needed"
		case err != nil:
			status, why = http.StatusServiceUnavailable, "the token cannot be checked now"
		case may(caller):
			h.ServeHTTP(w, r.WithContext(control.WithCaller(r.Context(), caller)))
			return
		}
		b, _ := json.Marshal(map[string]string{"error": why}) // a map of texts cannot fail
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(b)
	})
}
