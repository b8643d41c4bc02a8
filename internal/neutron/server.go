// Package neutron speaks the Neutron v2.0 API over HTTP and knows its wire shapes,
// filters and faults.
//
// In go HTTP requests; out come Neutron's bodies, statuses and error types. What a
// request means is decided by package control; this package judges the form only. Each
// resource is one table of attributes (networks, subnets, ports, agents), from which
// decoding, encoding, filters and sorting follow. There is no authentication here:
// every caller is admin, as with Neutron's auth_strategy noauth.
package neutron

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"weft/internal/access"
	"weft/internal/control"
)

// DefaultMaxBody is the largest request body taken when Options do not say.
const DefaultMaxBody = 4 << 20

// keepBuffer is the largest response buffer that is kept for the next response.
const keepBuffer = 4 << 20

// Options is what the API needs.
type Options struct {
	// Control does what requests ask for. Required.
	Control *control.Control
	// Log hears of requests (debug) and of failures that clients are not told (error); nil discards.
	Log *slog.Logger
	// MaxBody is the largest request body in bytes; 0 means DefaultMaxBody.
	MaxBody int64
	// Shared says whether other servers write to the same etcd now: then every request first
	// asks how far they have come. nil means never.
	Shared func() bool
	// Policy says who may do what; Neutron's defaults when nil.
	Policy *access.Policy
	// Authenticator says who sends a request by its token; nil makes everybody an administrator.
	Authenticator Authenticator
	// AuthURL is where clients get tokens; 401 answers name it.
	AuthURL string
	// Origins are those of web pages that browsers let use the API (CORS), such as
	// https://dashboard.example; "*" is any. Empty is none.
	Origins []string
	// Now is the clock by which agents are alive; nil means time.Now.
	Now func() time.Time
}

// Server is the API as an http.Handler.
type Server struct {
	control    *control.Control
	log        *slog.Logger
	maxBody    int64
	shared     func() bool
	now        func() time.Time
	mux        *http.ServeMux
	policy     *access.Policy
	auth       Authenticator
	authURL    string
	origins    []string
	extensions []extension
	// collections are what is served, by path; docs/api.md is made from them.
	collections map[string]served
	buffers     sync.Pool
}

// New makes the API.
func New(o Options) *Server {
	s := &Server{
		control: o.Control, log: o.Log, maxBody: o.MaxBody, shared: o.Shared, now: o.Now,
		policy: o.Policy, auth: o.Authenticator, authURL: o.AuthURL, origins: o.Origins,
		mux:         http.NewServeMux(),
		collections: map[string]served{},
		buffers:     sync.Pool{New: func() any { return new([]byte) }},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.maxBody == 0 {
		s.maxBody = DefaultMaxBody
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.shared == nil {
		s.shared = func() bool { return false }
	}
	if s.policy == nil {
		s.policy = access.Default()
	}
	s.honour(always...)
	s.handle("/", func(http.ResponseWriter, *http.Request) error { return faultNoRoute })
	// Without the slash there is nothing, and no redirect either.
	s.handle("/v2.0", func(http.ResponseWriter, *http.Request) error { return faultNoRoute })
	s.handleOpen("/{$}", serveVersions)
	s.handleOpen("/healthcheck", s.serveHealth)
	s.handle("/v2.0/{$}", serveResources)
	s.handle("/v2.0/extensions", s.serveExtensions)
	s.handle("/v2.0/extensions/{alias}", s.serveExtension)
	s.registerQuotas()
	s.registerL3()
	networks := networkCollection(s.control)
	register(s, networks)
	register(s, subnetCollection(s.control))
	register(s, subnetPoolCollection(s.control))
	register(s, addressScopeCollection(s.control))
	register(s, availabilityCollection())
	register(s, portCollection(s.control))
	s.registerQoS()
	bindings := portBindings()
	registerNested(s, "/v2.0/ports/{parent}/bindings", bindings, portBindingCollection(s.control, bindings))
	register(s, trunkCollection(s.control))
	register(s, rbacCollection(s.control))
	register(s, segmentCollection(s.control))
	agents := agentCollection(s.control, s.now)
	register(s, agents)
	s.registerSchedules(networks, agents)
	s.registerZones()
	s.registerProviders()
	s.registerFlavors()
	s.registerAutoTopology()
	register(s, securityGroupCollection(s.control))
	register(s, securityGroupRuleCollection(s.control))
	register(s, ruleTemplateCollection(s.control))
	register(s, addressGroupCollection(s.control))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would redirect what it takes for an unclean path; Neutron does not.
	if strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/./") || strings.Contains(r.URL.Path, "/../") {
		s.answer(w, r, func(http.ResponseWriter, *http.Request) error { return faultNoRoute })
		return
	}
	s.mux.ServeHTTP(w, r)
}

// handle serves a pattern to those who say who they are.
func (s *Server) handle(pattern string, serve func(http.ResponseWriter, *http.Request) error) {
	serve = s.authenticated(serve)
	s.handleOpen(pattern, func(w http.ResponseWriter, r *http.Request) error {
		// What a client did at any server before is known here when it asks, also who may ask.
		if s.shared() {
			if err := s.control.Sync(r.Context()); err != nil {
				return err
			}
		}
		return serve(w, r)
	})
}

// handleOpen serves a pattern to everybody.
func (s *Server) handleOpen(pattern string, serve func(http.ResponseWriter, *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, serve) })
}

// answer runs a handler between what every request has: an ID, a body of bounded size,
// and faults in Neutron's form whatever goes wrong.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request) error) {
	id := "req-" + uuid.NewString()
	w.Header().Set("X-Openstack-Request-Id", id)
	if s.cors(w, r) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.maxBody)
	if takesGzip(r) {
		w = gzipped{w}
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("request panicked", "request", id, "method", r.Method, "path", r.URL.Path,
				"panic", p, "stack", string(debug.Stack()))
			writeFault(w, faultInternal)
		}
	}()
	err := serve(w, r)
	if err == nil {
		return
	}
	f, known := faultOf(err)
	if !known {
		s.log.Error("request failed", "request", id, "method", r.Method, "path", r.URL.Path, "err", err)
	} else {
		s.log.Debug("request refused", "request", id, "method", r.Method, "path", r.URL.Path,
			"status", f.Status, "type", f.Type, "message", f.Message)
	}
	writeFault(w, f)
}

// buffer lends a byte slice to build a response in; release takes it back.
func (s *Server) buffer() *[]byte {
	b, ok := s.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = (*b)[:0]
	return b
}

func (s *Server) release(b *[]byte) {
	if cap(*b) <= keepBuffer {
		s.buffers.Put(b)
	}
}

// writeFault sends a fault in Neutron's form.
func writeFault(w http.ResponseWriter, f fault) {
	b := append([]byte(nil), `{"NeutronError":{"type":`...)
	b = appendString(b, f.Type)
	b = append(b, `,"message":`...)
	b = appendString(b, f.Message)
	b = append(b, `,"detail":`...)
	b = appendString(b, f.Detail)
	b = append(b, '}', '}')
	write(w, f.Status, b)
}

// writeJSON sends what is too rare to be encoded by hand.
func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errors.Join(errors.New("encode response"), err)
	}
	write(w, http.StatusOK, b)
	return nil
}

// baseURL is scheme and host by which the client came, also through a proxy that says so.
func baseURL(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if p := r.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
		scheme = p
	}
	if h := r.Header.Get("X-Forwarded-Host"); h != "" {
		host = h
	}
	return scheme + "://" + host + strings.TrimSuffix(r.Header.Get("X-Forwarded-Prefix"), "/")
}
