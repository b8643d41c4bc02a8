package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"weft/internal/access"
	"weft/internal/model"
	"weft/internal/store"
)

// maxBody is the largest request body in bytes, as Keystone's.
const maxBody = 114688

// maxConflicts is how often a change is tried.
const maxConflicts = 50

// call is one request under way.
type call struct {
	*Local
	w http.ResponseWriter
	r *http.Request
	// me bears the request's token; nil where none is needed.
	me *bearer
}

// rule says whether a call is allowed; its caller has authenticated.
type rule func(c *call) bool

// The rules, which are Keystone's defaults, simplified: domains have no administrators
// of their own.
var (
	// open needs not even a token.
	open rule
	// anyone has authenticated.
	anyone rule = func(*call) bool { return true }
	admin  rule = func(c *call) bool { return c.me.has("admin") }
	// reader is admin, or reader of the whole system.
	reader rule = func(c *call) bool { return admin(c) || c.me.Target.System && c.me.has("reader") }
	// self is the user of the path, or a reader.
	self rule = func(c *call) bool { return reader(c) || c.isUser() }
	// onlySelf is the user of the path: not even an admin acts in the user's place.
	onlySelf rule = func(c *call) bool { return c.isUser() }
	// selfOrAdmin is the user of the path, or an admin.
	selfOrAdmin rule = func(c *call) bool { return admin(c) || c.isUser() }
	// ofProject has a token for the project of the path, or is a reader.
	ofProject rule = func(c *call) bool {
		return reader(c) || c.me.project != nil && string(c.me.project.ID) == c.r.PathValue("project")
	}
	// ofDomain has a token for the domain of the path or a project in it, or is a reader.
	ofDomain rule = func(c *call) bool {
		return reader(c) || c.me.domain != nil && string(c.me.domain.ID) == c.r.PathValue("domain")
	}
	// ofQuery asks for its own assignments, or is a reader.
	ofQuery rule = func(c *call) bool {
		return reader(c) || c.r.URL.Query().Get("user.id") == string(c.me.user.ID)
	}
)

func (b *bearer) has(role string) bool {
	return slices.ContainsFunc(b.roles, func(r *model.Role) bool { return strings.EqualFold(r.Name, role) })
}

func (c *call) isUser() bool { return c.r.PathValue("user") == string(c.me.user.ID) }

// route is one thing that the API can do.
type route struct {
	method, path string
	action       string
	rule         rule
	serve        func(*call) error
}

// routes is the whole API.
func routes() []route {
	all := []route{
		{"GET", "/{$}", "", open, (*call).versions},
		{"GET", "/v3", "", open, (*call).version},
		{"GET", "/v3/{$}", "", open, (*call).version},

		{"POST", "/v3/auth/tokens", "", open, (*call).issueToken},
		{"GET", "/v3/auth/tokens", "validate_token", anyone, (*call).validateToken},
		{"DELETE", "/v3/auth/tokens", "revoke_token", anyone, (*call).revokeToken},
		{"GET", "/v3/auth/catalog", "get_auth_catalog", anyone, (*call).authCatalog},
		{"GET", "/v3/auth/projects", "get_auth_projects", anyone, (*call).authProjects},
		{"GET", "/v3/auth/domains", "get_auth_domains", anyone, (*call).authDomains},
		{"GET", "/v3/auth/system", "get_auth_system", anyone, (*call).authSystem},

		{"GET", "/v3/domains", "list_domains", reader, (*call).listDomains},
		{"POST", "/v3/domains", "create_domain", admin, (*call).createDomain},
		{"GET", "/v3/domains/{domain}", "get_domain", ofDomain, (*call).showDomain},
		{"PATCH", "/v3/domains/{domain}", "update_domain", admin, (*call).updateDomain},
		{"DELETE", "/v3/domains/{domain}", "delete_domain", admin, (*call).deleteDomain},

		{"GET", "/v3/projects", "list_projects", reader, (*call).listProjects},
		{"POST", "/v3/projects", "create_project", admin, (*call).createProject},
		{"GET", "/v3/projects/{project}", "get_project", ofProject, (*call).showProject},
		{"PATCH", "/v3/projects/{project}", "update_project", admin, (*call).updateProject},
		{"DELETE", "/v3/projects/{project}", "delete_project", admin, (*call).deleteProject},

		{"GET", "/v3/users", "list_users", reader, (*call).listUsers},
		{"POST", "/v3/users", "create_user", admin, (*call).createUser},
		{"GET", "/v3/users/{user}", "get_user", self, (*call).showUser},
		{"PATCH", "/v3/users/{user}", "update_user", admin, (*call).updateUser},
		{"DELETE", "/v3/users/{user}", "delete_user", admin, (*call).deleteUser},
		{"POST", "/v3/users/{user}/password", "", open, (*call).changePassword},
		{"GET", "/v3/users/{user}/projects", "list_user_projects", self, (*call).userProjects},
		{"GET", "/v3/users/{user}/groups", "list_groups_for_user", self, (*call).userGroups},

		{"GET", "/v3/users/{user}/application_credentials", "list_application_credentials", self, (*call).listAppCreds},
		{"POST", "/v3/users/{user}/application_credentials", "create_application_credential", onlySelf, (*call).createAppCred},
		{"GET", "/v3/users/{user}/application_credentials/{id}", "get_application_credential", self, (*call).showAppCred},
		{"DELETE", "/v3/users/{user}/application_credentials/{id}", "delete_application_credential", selfOrAdmin, (*call).deleteAppCred},

		{"GET", "/v3/roles", "list_roles", reader, (*call).listRoles},
		{"POST", "/v3/roles", "create_role", admin, (*call).createRole},
		{"GET", "/v3/roles/{role}", "get_role", reader, (*call).showRole},
		{"PATCH", "/v3/roles/{role}", "update_role", admin, (*call).updateRole},
		{"DELETE", "/v3/roles/{role}", "delete_role", admin, (*call).deleteRole},
		{"GET", "/v3/roles/{role}/implies", "list_implied_roles", reader, (*call).roleImplies},
		{"GET", "/v3/role_inferences", "list_role_inference_rules", reader, (*call).roleInferences},
		{"GET", "/v3/role_assignments", "list_role_assignments", ofQuery, (*call).listAssignments},

		{"GET", "/v3/regions", "list_regions", anyone, (*call).listRegions},
		{"GET", "/v3/regions/{id}", "get_region", anyone, (*call).showRegion},
		{"GET", "/v3/services", "list_services", reader, (*call).listServices},
		{"GET", "/v3/services/{id}", "get_service", reader, (*call).showService},
		{"GET", "/v3/endpoints", "list_endpoints", reader, (*call).listEndpoints},
		{"GET", "/v3/endpoints/{id}", "get_endpoint", reader, (*call).showEndpoint},
	}
	for _, on := range []string{"/v3/projects/{project}", "/v3/domains/{domain}", "/v3/system"} {
		all = append(all,
			route{"GET", on + "/users/{user}/roles", "list_grants", reader, (*call).listGrants},
			route{"GET", on + "/users/{user}/roles/{role}", "check_grant", reader, (*call).checkGrant},
			route{"PUT", on + "/users/{user}/roles/{role}", "create_grant", admin, (*call).createGrant},
			route{"DELETE", on + "/users/{user}/roles/{role}", "revoke_grant", admin, (*call).deleteGrant})
	}
	return all
}

// register makes the routes known; a HEAD is a GET without its body.
func (l *Local) register() {
	byPath := map[string]map[string]route{}
	for _, r := range routes() {
		if byPath[r.path] == nil {
			byPath[r.path] = map[string]route{}
		}
		byPath[r.path][r.method] = r
		if r.method == http.MethodGet {
			byPath[r.path][http.MethodHead] = r
		}
	}
	for path, methods := range byPath {
		l.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			route, ok := methods[r.Method]
			if !ok {
				route = refuse(faultMethod)
			}
			l.answer(w, r, route)
		})
	}
	for path, f := range map[string]fault{"/": faultNoRoute, "/v3/groups": faultNoGroups, "/v3/groups/": faultNoGroups} {
		l.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { l.answer(w, r, refuse(f)) })
	}
}

// refuse is the route of what there is not.
func refuse(f fault) route { return route{rule: open, serve: func(*call) error { return f }} }

// ServeHTTP answers one request.
func (l *Local) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.mux.ServeHTTP(w, r) }

// answer runs a route between what every request has: an ID, a bounded body, the caller
// and its rights, and faults in Keystone's form whatever goes wrong.
func (l *Local) answer(w http.ResponseWriter, r *http.Request, do route) {
	id := "req-" + uuid.NewString()
	w.Header().Set("X-Openstack-Request-Id", id)
	w.Header().Set("Vary", "X-Auth-Token")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	c := &call{Local: l, w: w, r: r}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			l.log.Error("identity request panicked", "request", id, "method", r.Method, "path", r.URL.Path,
				"panic", p, "stack", string(debug.Stack()))
			writeFault(w, faultInternal)
		}
	}()
	err := c.allow(do)
	if err == nil {
		err = do.serve(c)
	}
	if err == nil {
		return
	}
	if why := (refusal{}); errors.As(err, &why) {
		l.log.Info("login refused", "why", why.why, "user", why.user, "from", r.RemoteAddr)
	}
	f, known := faultOf(err)
	if !known && r.Context().Err() == nil {
		l.log.Error("identity request failed", "request", id, "method", r.Method, "path", r.URL.Path, "err", err)
	} else {
		l.log.Debug("identity request refused", "request", id, "method", r.Method, "path", r.URL.Path,
			"status", f.Status, "message", f.Message)
	}
	if f.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.base()+`/v3"`)
	}
	writeFault(w, f)
}

// allow finds out who calls and whether that is enough.
func (c *call) allow(do route) error {
	if c.o.Shared() {
		if err := c.store.Sync(c.r.Context()); err != nil {
			return err
		}
	}
	if do.rule == nil {
		return nil
	}
	me, err := c.bearer(c.r.Context(), c.r.Header.Get("X-Auth-Token"))
	if errors.Is(err, access.ErrUnauthorized) {
		return faultUnauthorized
	}
	if err != nil {
		return err
	}
	c.me = me
	if !do.rule(c) {
		return forbidden("identity:" + do.action)
	}
	return nil
}

// base is the URL of this API without /v3.
func (c *call) base() string {
	if c.o.IdentityURL != "" {
		return strings.TrimSuffix(c.o.IdentityURL, "/")
	}
	return c.scheme() + "://" + c.host()
}

// host is that by which the client came, also through a proxy that says so.
func (c *call) host() string {
	if h := c.r.Header.Get("X-Forwarded-Host"); h != "" {
		return h
	}
	return c.r.Host
}

func (c *call) scheme() string {
	if p := c.r.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
		return p
	}
	if c.r.TLS != nil {
		return "https"
	}
	return "http"
}

// view reads the mirror.
func (c *call) view(f func(store.Reader)) { c.store.View(f) }

// change carries out what f puts into a transaction, again and again while others change
// meanwhile what f has read.
func (l *Local) change(ctx context.Context, f func(store.Reader, *store.Txn) error) error {
	for range maxConflicts {
		txn := l.store.Txn()
		var err error
		l.store.View(func(r store.Reader) { err = f(r, txn) })
		if err != nil {
			return err
		}
		_, err = txn.Commit(ctx)
		var changed store.Conflict
		if !errors.As(err, &changed) {
			return err
		}
	}
	return faultConflicts
}

// object is a JSON object to send.
type object map[string]any

// send answers with a JSON body.
func (c *call) send(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errors.Join(errors.New("encode response"), err)
	}
	write(c.w, status, b)
	return nil
}

// sendList answers with a collection.
func (c *call) sendList(noun string, list []object) error {
	if list == nil {
		list = []object{}
	}
	return c.send(http.StatusOK, object{noun: list,
		"links": object{"self": c.base() + c.r.URL.RequestURI(), "previous": nil, "next": nil}})
}

func (c *call) sendNothing() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is nobody's concern
}

// link is the links attribute of an object.
func (c *call) link(collection, id string) object {
	return object{"self": c.base() + "/v3/" + collection + "/" + id}
}

// stamp is a time as Keystone writes it; none is null.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// newID is a fresh ID in Keystone's form.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
