package neutron

import (
	"net/http"
	"slices"

	"weft/internal/control"
	"weft/internal/model"
)

// registerAutoTopology serves what projects get without asking for its parts.
func (s *Server) registerAutoTopology() {
	s.honour("auto-allocated-topology")
	s.handle("/v2.0/auto-allocated-topology/{project}", func(w http.ResponseWriter, r *http.Request) error {
		caller := control.CallerOf(r.Context())
		project := model.ProjectID(r.PathValue("project"))
		if project == "None" { // clients that leave it to the token
			project = caller.ProjectID
		}
		rule := map[string]string{http.MethodGet: "get_auto_allocated_topology", http.MethodDelete: "delete_auto_allocated_topology"}[r.Method]
		if rule == "" {
			return faultMethod
		}
		owner := func(name string) (string, bool) { return string(project), name == "project_id" }
		if err := allowed(s.policy, []string{rule}, caller, owner); err != nil {
			return err
		}
		if r.Method == http.MethodDelete {
			if err := s.control.DeleteAutoTopology(r.Context(), project); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return s.serveAutoTopology(w, r, project)
	})
}

// serveAutoTopology answers with the network; with the field dry-run only whether there could be one.
func (s *Server) serveAutoTopology(w http.ResponseWriter, r *http.Request, p model.ProjectID) error {
	fields := r.URL.Query()["fields"]
	id := "dry-run=pass"
	switch {
	case slices.Contains(fields, "dry-run"):
		if err := s.control.CheckAutoTopology(r.Context()); err != nil {
			return err
		}
	case len(fields) > 0:
		return badResource("auto_allocate", "Unrecognized field")
	default:
		network, err := s.control.AutoTopology(r.Context(), p)
		if err != nil {
			return err
		}
		id = string(network)
	}
	return writeJSON(w, map[string]any{"auto_allocated_topology": map[string]any{"id": id, "project_id": p, "tenant_id": p}})
}
