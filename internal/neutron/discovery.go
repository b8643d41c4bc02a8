package neutron

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// serveVersions answers GET /: one version, v2.0.
func serveVersions(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return faultMethod
	}
	type version struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Links  []link `json:"links"`
	}
	return writeJSON(w, map[string]any{"versions": []version{{
		ID: "v2.0", Status: "CURRENT", Links: []link{{"self", baseURL(r) + "/v2.0/"}},
	}}})
}

// serveResources answers GET /v2.0/ with the core resources that are there.
func serveResources(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return faultMethod
	}
	type resource struct {
		Name       string `json:"name"`
		Collection string `json:"collection"`
		Links      []link `json:"links"`
	}
	var list []resource
	for _, name := range []string{"network", "subnet", "port"} {
		list = append(list, resource{name, name + "s", []link{{"self", baseURL(r) + "/v2.0/" + name + "s"}}})
	}
	return writeJSON(w, map[string]any{"resources": list})
}

// healthPatience is how long a healthy server may take to learn what others wrote.
const healthPatience = 2 * time.Second

// serveHealth answers, for load balancers, that the server can answer requests: one that is
// cut off from most other servers cannot.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return faultMethod
	}
	if s.shared() {
		ctx, cancel := context.WithTimeout(r.Context(), healthPatience)
		defer cancel()
		if err := s.control.Sync(ctx); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, err := fmt.Fprint(w, "OK")
	return err
}

// extension tells clients that something beyond the core is there. Clients change what
// they do by the alias, so an alias is listed only when it is honoured.
type extension struct {
	Name        string `json:"name"`
	Alias       string `json:"alias"`
	Description string `json:"description"`
	Updated     string `json:"updated"`
	Links       []link `json:"links"`
}

// always are the extensions that no single resource stands for.
var always = []string{
	"empty-string-filtering", "filter-validation", "pagination", "project-id", "revision-if-match",
	"sort-key-validation", "sorting", "standard-attr-description", "standard-attr-revisions", "standard-attr-timestamp",
	"standard-attr-tag", "tag-creation", "tag-ports-during-bulk-creation",
}

// honour adds extensions to those that clients are told of.
func (s *Server) honour(aliases ...string) {
	for _, alias := range aliases {
		e, ok := known[alias]
		if !ok {
			panic("extension " + alias + " is not in the table of known ones")
		}
		if slices.ContainsFunc(s.extensions, func(x extension) bool { return x.Alias == alias }) {
			continue
		}
		e.Alias, e.Links = alias, []link{}
		e.Description = cmp.Or(e.Description, e.Name)
		s.extensions = append(s.extensions, e)
	}
	slices.SortFunc(s.extensions, func(a, b extension) int { return strings.Compare(a.Alias, b.Alias) })
}

func (s *Server) serveExtensions(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return faultNoRoute
	}
	return writeJSON(w, map[string]any{"extensions": s.extensions})
}

func (s *Server) serveExtension(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return faultNoRoute
	}
	alias := r.PathValue("alias")
	for _, e := range s.extensions {
		if e.Alias == alias {
			return writeJSON(w, map[string]any{"extension": e})
		}
	}
	return fault{Status: http.StatusNotFound, Type: "HTTPNotFound",
		Message: fmt.Sprintf("Extension with alias %s does not exist", alias)}
}
