package neutron

import (
	"cmp"
	"context"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// collection serves one resource: its table, and how to find, list and change its objects.
// A nil verb is a method that is not allowed.
type collection[M, R any] struct {
	*table[M, R]
	id func(m *M) string
	// find returns nil when there is no such object.
	find func(r store.Reader, id string) *store.Entry[M]
	// list yields at least the objects that the query can want, each once.
	list func(r store.Reader, q *query[M, R]) iter.Seq[*store.Entry[M]]
	// ordered yields the objects that list would, if it would have to look at all of them,
	// in the order of their IDs from one on, or back from it; nil if it cannot.
	ordered func(r store.Reader, q *query[M, R], from string, back bool) iter.Seq[*store.Entry[M]]
	// before makes what a list must show and what is only made when somebody looks; nil is nothing.
	before func(ctx context.Context, q *query[M, R]) error
	// around fills what the wire form needs from elsewhere; nil when it needs nothing.
	around func(r store.Reader, m *M) aside
	// inside judges the object in whose path the collection lies; nil when there is none.
	inside func(r store.Reader, caller access.Caller) error
	// missing is the fault of an object that is not there, where the ID does not say all.
	missing func(id string) error
	// shared says whether an object is shared with a project in particular; nil is never.
	shared func(r store.Reader, m *M, p model.ProjectID) bool
	// external says whether an object is external for a project; nil is as the attribute says.
	external func(r store.Reader, m *M, p model.ProjectID) bool
	// parent gives the fault of a draft that belongs to what is not there for the caller;
	// nil for objects that belong to a project alone.
	parent func(r store.Reader, caller access.Caller, draft *M) error
	// fresh says that the wire form takes from elsewhere what can change alone, so that it
	// is not kept with the object.
	fresh  bool
	create func(ctx context.Context, many []R) ([]*store.Entry[M], error)
	update func(ctx context.Context, id string, r R) (*store.Entry[M], error)
	remove func(ctx context.Context, id string, ifRevision control.Opt[int]) error
	// actions are what can be done to one object besides.
	actions []action
	// aliases are the extensions that clients see by this collection being there.
	aliases []string

	guards guards
}

// action is PUT (unless method says otherwise) /v2.0/<collection>/{id}/<name>.
type action struct {
	name, method string
	// rule is the policy rule; it looks at the object.
	rule string
	// serve does it and returns the body of the answer.
	serve func(ctx context.Context, id string, body map[string]any) (any, error)
}

// register adds the routes of a collection.
func register[M, R any](s *Server, c *collection[M, R]) {
	c.guards = c.guardsBy(s.policy)
	s.honour(c.aliases...)
	s.collections["/v2.0/"+c.where()] = c
	s.route("/v2.0/"+c.where(), func(string) served { return c })
	if !c.taggable() {
		return
	}
	s.handle("/v2.0/"+c.where()+"/{id}/tags/{tag}", func(w http.ResponseWriter, r *http.Request) error {
		return c.serveTag(s, w, r)
	})
	if c.where() != c.plural {
		// Neutron knows the tags of QoS policies by this path only.
		s.handle("/v2.0/"+c.plural+"/{id}/tags/{tag}", func(w http.ResponseWriter, r *http.Request) error {
			return c.serveTag(s, w, r)
		})
		s.handle("/v2.0/"+c.plural+"/{id}/tags", func(w http.ResponseWriter, r *http.Request) error {
			return c.serveTags(s, w, r)
		})
	}
}

// where is the path of the collection below /v2.0/.
func (t *table[M, R]) where() string {
	if t.path != "" {
		return t.path
	}
	return t.plural
}

// registerNested adds the routes of a collection that lies in an object of another one:
// path has {parent} where the ID of that object is, and within makes the collection for it.
func registerNested[M, R any](s *Server, path string, t *table[M, R], within func(parent string) *collection[M, R]) {
	g := t.guardsBy(s.policy)
	s.collections[path] = within("")
	s.route(path, func(parent string) served {
		c := within(parent)
		c.guards = g
		return c
	})
}

// served is a collection of whatever type, as routes see it.
type served interface {
	serveAll(s *Server, w http.ResponseWriter, r *http.Request) error
	serveOne(s *Server, w http.ResponseWriter, r *http.Request) error
	serveAction(s *Server, w http.ResponseWriter, r *http.Request) error
}

// route binds a path to a collection, which may depend on the parent in the path.
func (s *Server) route(path string, of func(parent string) served) {
	s.handle(path, func(w http.ResponseWriter, r *http.Request) error {
		return of(r.PathValue("parent")).serveAll(s, w, r)
	})
	s.handle(path+"/{id}", func(w http.ResponseWriter, r *http.Request) error {
		return of(r.PathValue("parent")).serveOne(s, w, r)
	})
	s.handle(path+"/{id}/{action}", func(w http.ResponseWriter, r *http.Request) error {
		return of(r.PathValue("parent")).serveAction(s, w, r)
	})
}

// entered judges the object in whose path the collection lies.
func (c *collection[M, R]) entered(s *Server, r *http.Request) error {
	if c.inside == nil {
		return nil
	}
	var outside error
	s.control.Read(func(rd store.Reader) { outside = c.inside(rd, control.CallerOf(r.Context())) })
	return outside
}

func (c *collection[M, R]) serveAll(s *Server, w http.ResponseWriter, r *http.Request) error {
	if err := c.entered(s, r); err != nil {
		return err
	}
	switch {
	case r.Method == http.MethodGet:
		return c.serveList(s, w, r)
	case r.Method == http.MethodPost && c.create != nil:
		return c.serveCreate(s, w, r)
	}
	return faultMethod
}

func (c *collection[M, R]) serveOne(s *Server, w http.ResponseWriter, r *http.Request) error {
	if err := c.entered(s, r); err != nil {
		return err
	}
	switch {
	case r.Method == http.MethodGet:
		return c.serveShow(s, w, r)
	case r.Method == http.MethodPut && c.update != nil:
		return c.serveUpdate(s, w, r)
	case r.Method == http.MethodDelete && c.remove != nil:
		return c.serveDelete(s, w, r)
	}
	return faultMethod
}

func (c *collection[M, R]) serveAction(s *Server, w http.ResponseWriter, r *http.Request) error {
	if err := c.entered(s, r); err != nil {
		return err
	}
	if r.PathValue("action") == "tags" && c.taggable() {
		return c.serveTags(s, w, r)
	}
	i := slices.IndexFunc(c.actions, func(a action) bool { return a.name == r.PathValue("action") })
	if i < 0 {
		return faultNoRoute
	}
	a := c.actions[i]
	if r.Method != cmp.Or(a.method, http.MethodPut) {
		return faultMethod
	}
	var body map[string]any
	if r.Method != http.MethodGet {
		var err error
		if body, err = readBody(r); err != nil {
			return err
		}
	}
	id := r.PathValue("id")
	if err := c.mayChange(s, r, id, a.rule, nil); err != nil {
		return err
	}
	answer, err := a.serve(r.Context(), id, body)
	if err != nil {
		return err
	}
	return writeJSON(w, answer)
}

// object appends one object as a caller sees it, with the fields asked for. All of them
// come from the entry's slot when they are there.
func (c *collection[M, R]) object(b []byte, v *viewer[M, R], e *store.Entry[M], fields []*attribute[M, R]) []byte {
	view, shared := v.view(e.Value)
	encode := func(b []byte, m *M) []byte {
		x := c.aside(v.rd, m)
		x.shared = shared
		return c.encode(b, m, &x, view, fields)
	}
	if fields != nil || c.fresh {
		return encode(b, e.Value)
	}
	if shared {
		view ^= sharedBit
	}
	return append(b, e.Encoded(view, func(m *M) []byte { return encode(make([]byte, 0, 1024), m) })...)
}

// notFound is the fault of an object that is not there, or not for the caller to see.
func (c *collection[M, R]) notFound(id string) error {
	if c.missing != nil {
		return c.missing(id)
	}
	return model.NotFound{Kind: c.kind, ID: id}
}

func (c *collection[M, R]) aside(r store.Reader, m *M) aside {
	if c.around == nil {
		return aside{}
	}
	return c.around(r, m)
}

func (c *collection[M, R]) serveShow(s *Server, w http.ResponseWriter, r *http.Request) error {
	q, err := c.query(r.URL.RawQuery)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	buf := s.buffer()
	defer s.release(buf)
	found := false
	s.control.Read(func(rd store.Reader) {
		v := c.viewer(s, rd, r)
		e := c.find(rd, id)
		if e == nil || !v.sees(e.Value) {
			return
		}
		found = true
		*buf = c.wrapped(*buf, func(b []byte) []byte { return c.object(b, v, e, q.fields) })
	})
	if !found {
		return c.notFound(id)
	}
	write(w, http.StatusOK, *buf)
	return nil
}

// wrapped puts one object under its singular name.
func (c *collection[M, R]) wrapped(b []byte, object func([]byte) []byte) []byte {
	b = append(b, `{"`...)
	b = append(b, c.singular...)
	b = append(b, `":`...)
	return append(object(b), '}')
}

func (c *collection[M, R]) serveList(s *Server, w http.ResponseWriter, r *http.Request) error {
	q, err := c.query(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if c.before != nil {
		if err := c.before(r.Context(), q); err != nil {
			return err
		}
	}
	buf := s.buffer()
	defer s.release(buf)
	s.control.Read(func(rd store.Reader) {
		v := c.viewer(s, rd, r)
		if !v.all {
			q.project = v.caller.ProjectID
		}
		entries := c.selected(v, q)
		b := append(*buf, `{"`...)
		b = append(b, c.plural...)
		b = append(b, `":[`...)
		for i, e := range entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = c.object(b, v, e, q.fields)
		}
		b = append(b, ']')
		if q.limit > 0 {
			ids := make([]string, len(entries))
			for i, e := range entries {
				ids[i] = c.id(e.Value)
			}
			b = q.appendLinks(b, c.plural, baseURL(r)+r.URL.Path, ids)
		}
		*buf = append(b, '}')
	})
	write(w, http.StatusOK, *buf)
	return nil
}

// wants reports whether an object passes the filters and the caller may see it.
func (v *viewer[M, R]) wants(q *query[M, R], m *M) bool {
	if len(q.tests) > 0 {
		x := v.c.aside(v.rd, m)
		x.shared = v.shared(m)
		if !q.passes(m, &x) {
			return false
		}
	}
	return v.sees(m)
}

// pageInOrder is selected for a page in the order of IDs, at the cost of the page; ok is
// false when the collection or the query is not for that.
func (c *collection[M, R]) pageInOrder(v *viewer[M, R], q *query[M, R]) (entries []*store.Entry[M], ok bool) {
	if c.ordered == nil || q.limit == 0 || len(q.sorts) > 0 {
		return nil, false
	}
	seq := c.ordered(v.rd, q, q.marker, q.reverse)
	if seq == nil {
		return nil, false
	}
	if q.marker != "" {
		if e := c.find(v.rd, q.marker); e == nil || !v.wants(q, e.Value) {
			return nil, true
		}
	}
	for e := range seq {
		if !v.wants(q, e.Value) {
			continue
		}
		if entries = append(entries, e); len(entries) == q.limit {
			break
		}
	}
	if q.reverse {
		slices.Reverse(entries)
	}
	return entries, true
}

// selected returns the page of sorted objects that a query wants. Without sort keys the
// order is that of the IDs, which also decides between equals.
func (c *collection[M, R]) selected(v *viewer[M, R], q *query[M, R]) []*store.Entry[M] {
	if entries, ok := c.pageInOrder(v, q); ok {
		return entries
	}
	var entries []*store.Entry[M]
	for e := range c.list(v.rd, q) {
		if v.wants(q, e.Value) {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(x, y *store.Entry[M]) int {
		for _, by := range q.sorts {
			if n := by.compare(x.Value, y.Value); n != 0 {
				if by.desc {
					return -n
				}
				return n
			}
		}
		return strings.Compare(c.id(x.Value), c.id(y.Value))
	})
	return page(entries, func(e *store.Entry[M]) string { return c.id(e.Value) }, q.limit, q.marker, q.reverse)
}

func (c *collection[M, R]) serveCreate(s *Server, w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	given, bulk, err := c.given(body)
	if err != nil {
		return err
	}
	caller := control.CallerOf(r.Context())
	requests := make([]R, len(given))
	for i, g := range given {
		if requests[i], err = c.table.create(g, caller.ProjectID); err != nil {
			return err
		}
	}
	if err := c.mayCreate(s, r, requests, given); err != nil {
		return err
	}
	entries, err := c.create(r.Context(), requests)
	if err != nil {
		return err
	}
	buf := s.buffer()
	defer s.release(buf)
	s.control.Read(func(rd store.Reader) {
		v := c.viewer(s, rd, r)
		one := func(b []byte, e *store.Entry[M]) []byte {
			x := c.aside(rd, e.Value)
			x.created = true
			view, shared := v.view(e.Value)
			x.shared = shared
			return c.encode(b, e.Value, &x, view, nil)
		}
		if !bulk {
			*buf = c.wrapped(*buf, func(b []byte) []byte { return one(b, entries[0]) })
			return
		}
		b := append(*buf, `{"`...)
		b = append(b, c.plural...)
		b = append(b, `":`...)
		*buf = append(appendList(b, entries, one), '}')
	})
	write(w, http.StatusCreated, *buf)
	return nil
}

func (c *collection[M, R]) serveUpdate(s *Server, w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	given, bulk, err := c.given(body)
	if err != nil {
		return err
	}
	if bulk {
		return badRequest("Bulk operation not supported")
	}
	request, err := c.table.update(given[0])
	if err != nil {
		return err
	}
	if *c.revision(&request), err = ifMatch(r); err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := c.mayChange(s, r, id, "update_"+c.ruleName(), given[0]); err != nil {
		return err
	}
	e, err := c.update(r.Context(), id, request)
	if err != nil {
		return err
	}
	buf := s.buffer()
	defer s.release(buf)
	s.control.Read(func(rd store.Reader) {
		v := c.viewer(s, rd, r)
		*buf = c.wrapped(*buf, func(b []byte) []byte { return c.object(b, v, e, nil) })
	})
	write(w, http.StatusOK, *buf)
	return nil
}

func (c *collection[M, R]) serveDelete(s *Server, w http.ResponseWriter, r *http.Request) error {
	if n, err := io.CopyN(io.Discard, r.Body, 1); n > 0 {
		return badRequest("Request body is not supported in DELETE.")
	} else if err != io.EOF {
		return unreadable(err)
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := c.mayChange(s, r, id, "delete_"+c.ruleName(), nil); err != nil {
		return err
	}
	if err := c.remove(r.Context(), id, revision); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ifMatch reads the header If-Match: revision_number=N. The forms of If-Match that
// concern entity tags mean nothing here.
func ifMatch(r *http.Request) (control.Opt[int], error) {
	h := strings.Trim(strings.TrimSpace(r.Header.Get("If-Match")), `"`)
	if h == "" || h == "*" {
		return control.Opt[int]{}, nil
	}
	text, ok := strings.CutPrefix(h, "revision_number=")
	n, err := strconv.Atoi(text)
	if !ok || err != nil {
		return control.Opt[int]{}, badRequest("Invalid If-Match header: expected revision_number=N and not '%s'", h)
	}
	return control.Some(n), nil
}
