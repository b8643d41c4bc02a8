package neutron

import (
	"fmt"
	"net/http"
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

// serveHealth answers that the process is there, for load balancers.
func serveHealth(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return faultMethod
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, err := fmt.Fprint(w, "OK")
	return err
}

// extension tells clients that something beyond the core is there. Clients change what
// they do by the alias, so an alias is listed only when it is honoured. One is not wholly:
// agents can be listed and shown, and not be changed.
type extension struct {
	Name        string `json:"name"`
	Alias       string `json:"alias"`
	Description string `json:"description"`
	Updated     string `json:"updated"`
	Links       []link `json:"links"`
}

// honoured lists the extensions, in the order of their aliases.
func honoured() []extension {
	none := []link{}
	return []extension{
		{"agent", "agent", "Hosts seen as the agents that serve them.", "2013-02-03T10:00:00-00:00", none},
		{"Port Binding", "binding", "Where and how a port is realised.", "2014-02-03T10:00:00-00:00", none},
		{"Empty String Filtering Extension", "empty-string-filtering", "An empty filter value finds empty attributes.", "2018-05-01T10:00:00-00:00", none},
		{"Neutron Extra DHCP options", "extra_dhcp_opt", "DHCP options of one port.", "2013-03-17T12:00:00-00:00", none},
		{"Filter parameters validation", "filter-validation", "Unknown filters are refused.", "2018-07-04T10:00:00-00:00", none},
		{"IP address substring filtering", "ip-substring-filtering", "Ports are found by a part of their addresses.", "2017-11-28T09:00:00-00:00", none},
		{"Network MTU", "net-mtu", "The MTU of a network.", "2015-03-25T10:00:00-00:00", none},
		{"Network MTU (writable)", "net-mtu-writable", "The MTU of a network can be chosen.", "2017-07-12T00:00:00-00:00", none},
		{"Pagination support", "pagination", "Lists come in pages.", "2016-06-12T00:00:00-00:00", none},
		{"project_id field enabled", "project-id", "Owners are called project_id too.", "2016-09-09T09:09:09-09:09", none},
		{"Provider Network", "provider", "How a network is realised outside hosts.", "2012-09-07T10:00:00-00:00", none},
		{"If-Match constraints based on revision_number", "revision-if-match", "Changes can be bound to a revision.", "2016-12-11T00:00:00-00:00", none},
		{"Sort keys validation", "sort-key-validation", "Unknown sort keys are refused.", "2018-07-04T10:00:00-00:00", none},
		{"Sorting support", "sorting", "Lists can be sorted.", "2016-06-12T00:00:00-00:00", none},
		{"standard-attr-description", "standard-attr-description", "Resources have a description.", "2016-02-10T10:00:00-00:00", none},
		{"Resource revision numbers", "standard-attr-revisions", "Resources count their changes.", "2016-04-11T10:00:00-00:00", none},
		{"Resource timestamps", "standard-attr-timestamp", "Resources know when they were made and changed.", "2016-09-12T10:00:00-00:00", none},
	}
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
