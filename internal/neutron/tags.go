package neutron

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// Bounds of tags, as in Neutron.
const (
	maxTags   = 50
	maxTagLen = 255
)

// taggables are the plurals of the resources that have tags.
var taggables = []string{"networks", "subnets", "ports", "subnetpools", "routers", "floatingips", "security_groups",
	"policies", "trunks", "network_segment_ranges"}

// tagNames are the names of the attribute and of the filters that only those have.
var tagNames = []string{"tags", "tags-any", "not-tags", "not-tags-any"}

func (t *table[M, R]) taggable() bool { return t.meta != nil && slices.Contains(taggables, t.plural) }

// tagAttributes are the tags of an object, and four ways to find objects by them. They
// are changed by a resource of their own.
func tagAttributes[M, R any](meta func(*M) *model.Meta) []attribute[M, R] {
	by := func(holds func(has func(string) bool, tags []string) bool) func([]string) (predicate[M], error) {
		return func(values []string) (predicate[M], error) {
			tags := strings.Split(strings.Join(values, ","), ",")
			return func(m *M, _ *aside) bool {
				return holds(func(tag string) bool { return slices.Contains(meta(m).Tags, tag) }, tags)
			}, nil
		}
	}
	some := func(has func(string) bool, tags []string) bool { return slices.ContainsFunc(tags, has) }
	all := func(has func(string) bool, tags []string) bool {
		return !slices.ContainsFunc(tags, func(tag string) bool { return !has(tag) })
	}
	not := func(f func(func(string) bool, []string) bool) func(func(string) bool, []string) bool {
		return func(has func(string) bool, tags []string) bool { return !f(has, tags) }
	}
	return []attribute[M, R]{
		{name: "tags", use: filter, kind: "list of strings", match: by(all),
			wire: func(b []byte, m *M, _ *aside) []byte { return appendList(b, meta(m).Tags, appendString) }},
		{name: "tags-any", kind: "comma-separated list", use: filter, match: by(some)},
		{name: "not-tags", kind: "comma-separated list", use: filter, match: by(not(all))},
		{name: "not-tags-any", kind: "comma-separated list", use: filter, match: by(not(some))},
	}
}

// takeTags lets the tags be given when an object is made.
func takeTags[M, R any](rows []attribute[M, R], field func(*R) *control.Opt[[]string]) {
	row := &rows[slices.IndexFunc(rows, func(a attribute[M, R]) bool { return a.name == "tags" })]
	row.use |= post
	row.def = []any{}
	row.take = func(r *R, name string, v any) error {
		tags, reason := toStrings(v)
		if reason == "" && len(tags) > maxTags {
			reason = fmt.Sprintf(textTooManyTags, maxTags)
		}
		if reason != "" {
			return invalidFor(name, reason)
		}
		*field(r) = control.Some(tags)
		return nil
	}
}

const textTooManyTags = "The number of tags exceed the per-resource limit of %d"

// serveTags serves /v2.0/<collection>/{id}/tags.
func (c *collection[M, R]) serveTags(s *Server, w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodGet:
		tags, err := c.tags(s, r)
		if err != nil {
			return err
		}
		return writeJSON(w, map[string]any{"tags": append([]string{}, tags...)})
	case http.MethodPut, http.MethodPost:
		given, err := givenTags(r)
		if err != nil {
			return err
		}
		verb := "update"
		if r.Method == http.MethodPost {
			verb = "create"
		}
		err = c.retag(s, r, verb, func(had []string) ([]string, error) {
			if verb == "update" {
				had = nil
			}
			return c.limited(append(had, given...))
		})
		if err != nil {
			return err
		}
		return writeJSON(w, map[string]any{"tags": given})
	case http.MethodDelete:
		err := c.retag(s, r, "delete", func([]string) ([]string, error) { return nil, nil })
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return faultMethod
}

// serveTag serves /v2.0/<collection>/{id}/tags/{tag}. Bodies mean nothing here.
func (c *collection[M, R]) serveTag(s *Server, w http.ResponseWriter, r *http.Request) error {
	tag, reason := toString(r.PathValue("tag"), maxTagLen)
	if reason != "" {
		return invalidInput("%s", reason)
	}
	missing := model.NotFound{Kind: kindTag, ID: tag}
	switch r.Method {
	case http.MethodGet:
		tags, err := c.tags(s, r)
		if err != nil {
			return err
		}
		if !slices.Contains(tags, tag) {
			return missing
		}
	case http.MethodPut:
		err := c.retag(s, r, "update", func(had []string) ([]string, error) { return c.limited(append(had, tag)) })
		if err != nil {
			return err
		}
		write(w, http.StatusCreated, []byte("null"))
		return nil
	case http.MethodDelete:
		err := c.retag(s, r, "delete", func(had []string) ([]string, error) {
			i := slices.Index(had, tag)
			if i < 0 {
				return nil, missing
			}
			return slices.Delete(had, i, i+1), nil
		})
		if err != nil {
			return err
		}
	default:
		return faultMethod
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// tags returns the tags of the object in the path.
func (c *collection[M, R]) tags(s *Server, r *http.Request) (tags []string, err error) {
	id := r.PathValue("id")
	if err := c.mayTag(s, r, "get"); err != nil {
		return nil, err
	}
	found := false
	s.control.Read(func(rd store.Reader) {
		if e := c.find(rd, id); e != nil {
			tags, found = c.meta(e.Value).Tags, true
		}
	})
	if !found {
		return nil, c.notTagged(id)
	}
	return tags, nil
}

// retag changes the tags of the object in the path.
func (c *collection[M, R]) retag(s *Server, r *http.Request, verb string, change func([]string) ([]string, error)) error {
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	if err := c.mayTag(s, r, verb); err != nil {
		return err
	}
	of := control.Tagged[M]{Kind: c.kind, Find: c.find, Meta: c.meta}
	id := r.PathValue("id")
	return c.namedTagged(id, control.Retag(r.Context(), s.control, of, id, revision, change))
}

// mayTag judges what a caller wants with the tags of the object in the path.
func (c *collection[M, R]) mayTag(s *Server, r *http.Request, verb string) error {
	id := r.PathValue("id")
	return c.namedTagged(id, c.mayChange(s, r, id, verb+"_"+c.ruleName()+":tags", nil))
}

// namedTagged gives the fault of a missing object the name that it has where tags are concerned.
func (c *collection[M, R]) namedTagged(id string, err error) error {
	if errors.Is(err, model.NotFound{Kind: c.kind, ID: id}) {
		return c.notTagged(id)
	}
	return err
}

func (c *collection[M, R]) notTagged(id string) error {
	return fault{Status: http.StatusNotFound, Type: "TagResourceNotFound",
		Message: fmt.Sprintf("Resource %s %s could not be found.", c.plural, id)}
}

// limited refuses more tags than an object may have.
func (c *collection[M, R]) limited(tags []string) ([]string, error) {
	slices.Sort(tags)
	if tags = slices.Compact(tags); len(tags) > maxTags {
		return nil, badResource(c.plural, fmt.Sprintf(textTooManyTags, maxTags))
	}
	return tags, nil
}

// givenTags reads the tags of a body.
func givenTags(r *http.Request) ([]string, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	v, has := body["tags"]
	if !has {
		return nil, invalidInput("Invalid tags body")
	}
	tags, reason := toStrings(v)
	if reason != "" {
		return nil, invalidInput("%s", reason)
	}
	return tags, nil
}
