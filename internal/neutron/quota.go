package neutron

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// Quotas are no collection like others: a project always has them, by default or by its own.

func (s *Server) registerQuotas() {
	s.honour("quotas", "quota_details", "quota-check-limit")
	s.handle("/v2.0/quotas", s.serveQuotaList)
	s.handle("/v2.0/quotas/{project}", s.serveQuota)
	s.handle("/v2.0/quotas/{project}/{view}", s.serveQuotaView)
}

// mayQuota judges by a rule who may read or set the quotas of a project.
func (s *Server) mayQuota(ctx context.Context, rule string, p model.ProjectID) error {
	caller := control.CallerOf(ctx)
	owner := func(name string) (string, bool) { return string(p), name == "project_id" }
	if s.policy.Allows(rule, caller, owner) || rule == "get_quota" && p != "" && p == caller.ProjectID {
		return nil
	}
	return fault{Status: http.StatusForbidden, Type: "AdminRequired",
		Message: "User does not have admin privileges: Only admin is authorized to access quotas for another tenant."}
}

// serveQuotaList answers with the projects whose quotas are not the default.
func (s *Server) serveQuotaList(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return faultMethod
	}
	if err := s.mayQuota(r.Context(), "get_quota", ""); err != nil {
		return err
	}
	list := []map[string]any{}
	s.control.Read(func(rd store.Reader) {
		for e := range store.Quotas.All(rd) {
			row := limits(s.control.Quotas(rd, e.Value.Project))
			row["project_id"], row["tenant_id"] = e.Value.Project, e.Value.Project
			list = append(list, row)
		}
	})
	slices.SortFunc(list, func(a, b map[string]any) int {
		return strings.Compare(fmt.Sprint(a["project_id"]), fmt.Sprint(b["project_id"]))
	})
	return writeJSON(w, map[string]any{"quotas": list})
}

func limits(all []control.QuotaUse) map[string]any {
	m := map[string]any{}
	for _, q := range all {
		m[q.Resource] = q.Limit
	}
	return m
}

func (s *Server) serveQuota(w http.ResponseWriter, r *http.Request) error {
	p := model.ProjectID(r.PathValue("project"))
	if r.Method == http.MethodGet && (p == "tenant" || p == "project") {
		own := control.CallerOf(r.Context()).ProjectID
		return writeJSON(w, map[string]any{string(p): map[string]any{string(p) + "_id": own}})
	}
	switch r.Method {
	case http.MethodGet:
		return s.answerQuota(w, r, p, limits)
	case http.MethodPut:
		if err := s.mayQuota(r.Context(), "update_quota", p); err != nil {
			return err
		}
		body, err := readBody(r)
		if err != nil {
			return err
		}
		given, check, err := quotaGiven(body)
		if err != nil {
			return err
		}
		if err := s.control.SetQuotas(r.Context(), p, given, check); err != nil {
			return err
		}
		return s.answerQuota(w, r, p, limits)
	case http.MethodDelete:
		if err := s.mayQuota(r.Context(), "delete_quota", p); err != nil {
			return err
		}
		if err := s.control.ResetQuotas(r.Context(), p); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return faultMethod
}

// answerQuota answers with a project's quotas in some form.
func (s *Server) answerQuota(w http.ResponseWriter, r *http.Request, p model.ProjectID, form func([]control.QuotaUse) map[string]any) error {
	if err := s.mayQuota(r.Context(), "get_quota", p); err != nil {
		return err
	}
	var m map[string]any
	s.control.Read(func(rd store.Reader) { m = form(s.control.Quotas(rd, p)) })
	return writeJSON(w, map[string]any{"quota": m})
}

// serveQuotaView answers with the default quotas, or with what is used.
func (s *Server) serveQuotaView(w http.ResponseWriter, r *http.Request) error {
	p := model.ProjectID(r.PathValue("project"))
	var form func([]control.QuotaUse) map[string]any
	switch r.PathValue("view") {
	case "default":
		form = func([]control.QuotaUse) map[string]any { return limits(s.control.DefaultQuotas()) }
	case "details", "details.json":
		form = func(all []control.QuotaUse) map[string]any {
			m := map[string]any{}
			for _, q := range all {
				m[q.Resource] = map[string]any{"limit": q.Limit, "used": q.Used, "reserved": 0}
			}
			return m
		}
	default:
		return faultNoRoute
	}
	if r.Method != http.MethodGet {
		return faultMethod
	}
	return s.answerQuota(w, r, p, form)
}

// quotaGiven reads the limits of a body, and whether they are to be checked against what is used.
func quotaGiven(body map[string]any) (given map[string]int, check bool, err error) {
	q, ok := body["quota"].(map[string]any)
	if !ok {
		return nil, false, badRequest("Unable to find 'quota' in request body")
	}
	given = map[string]int{}
	known := control.QuotaResources()
	var unknown []string
	for name, v := range q {
		switch {
		case name == "check_limit":
			if check, err = toBool(v); err != nil {
				return nil, false, err
			}
		case name == "tenant_id" || name == "project_id": // clients send them along
		case !slices.Contains(known, name):
			unknown = append(unknown, name)
		default:
			n, err := toInt(v)
			if err != nil {
				return nil, false, err
			}
			if n < -1 {
				return nil, false, invalidFor(name, fmt.Sprintf("'%d' is too small - must be at least '-1'", n))
			}
			if n > math.MaxInt32 {
				return nil, false, invalidFor(name, fmt.Sprintf("'%d' is too large - must be no larger than '%d'", n, math.MaxInt32))
			}
			given[name] = int(n)
		}
	}
	if unknown != nil {
		slices.Sort(unknown)
		return nil, false, badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return given, check, nil
}
