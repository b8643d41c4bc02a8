package control

import (
	"errors"
	"fmt"

	"weft/internal/model"
	"weft/internal/store"
)

// counted says how to count what a project has of each resource that has a quota.
var counted = map[string]func(r store.Reader, p model.ProjectID) int{
	"network": func(r store.Reader, p model.ProjectID) int { return r.NetworkCountOfProject(p) },
	"subnet":  func(r store.Reader, p model.ProjectID) int { return r.SubnetCountOfProject(p) },
	"port":    func(r store.Reader, p model.ProjectID) int { return r.PortCountOfProject(p) },
}

// count refuses more objects of a resource than the project's quota has room for, and
// holds the room until the reservation ends. It is exact among the requests of one server.
func (w *work) count(resource string, p model.ProjectID, more int) error {
	used := counted[resource]
	if used == nil || p == "" {
		return nil
	}
	limit := w.c.limit(w.r, p, resource)
	if limit < 0 {
		return nil
	}
	had := used(w.r, p)
	if err := w.res.Room(resource+"/"+string(p), had, more, limit); err != nil {
		f := model.Faultf(model.OverQuota, "Quota exceeded for resources: ['%s'].", resource)
		f.Detail = fmt.Sprintf("project %s has %d of %d", p, had, limit)
		if errors.Is(err, store.ErrExhausted) {
			return f
		}
		return err
	}
	return nil
}

// countEach counts each of several requests against its project.
func countEach[R any](w *work, resource string, reqs []R, project func(R) model.ProjectID) error {
	for _, r := range reqs {
		if err := w.count(resource, project(r), 1); err != nil {
			return err
		}
	}
	return nil
}

// limit is a project's quota of a resource; below 0 is no limit.
func (c *Control) limit(r store.Reader, p model.ProjectID, resource string) int {
	if e := store.Quotas.Get(r, string(p)); e != nil {
		if n, ok := e.Value.Limits[resource]; ok {
			return n
		}
	}
	if n, ok := c.cfg.Quotas[resource]; ok {
		return n
	}
	return -1
}
