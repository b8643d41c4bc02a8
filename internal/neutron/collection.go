package neutron

import (
	"context"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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
	// around fills what the wire form needs from elsewhere; nil when it needs nothing.
	around func(r store.Reader, m *M) aside
	create func(ctx context.Context, many []R) ([]*store.Entry[M], error)
	update func(ctx context.Context, id string, r R) (*store.Entry[M], error)
	remove func(ctx context.Context, id string, ifRevision control.Opt[int]) error
}

// register adds the routes of a collection.
func register[M, R any](s *Server, c *collection[M, R]) {
	s.handle("/v2.0/"+c.plural, func(w http.ResponseWriter, r *http.Request) error {
		switch {
		case r.Method == http.MethodGet:
			return c.serveList(s, w, r)
		case r.Method == http.MethodPost && c.create != nil:
			return c.serveCreate(s, w, r)
		}
		return faultMethod
	})
	s.handle("/v2.0/"+c.plural+"/{id}", func(w http.ResponseWriter, r *http.Request) error {
		switch {
		case r.Method == http.MethodGet:
			return c.serveShow(s, w, r)
		case r.Method == http.MethodPut && c.update != nil:
			return c.serveUpdate(s, w, r)
		case r.Method == http.MethodDelete && c.remove != nil:
			return c.serveDelete(w, r)
		}
		return faultMethod
	})
}

// whole appends the wire form with all attributes, from the entry's slot when it is there.
func (c *collection[M, R]) whole(b []byte, r store.Reader, e *store.Entry[M]) []byte {
	return append(b, e.Encoded(store.WholeView, func(m *M) []byte {
		x := c.aside(r, m)
		return c.encode(make([]byte, 0, 1024), m, &x, nil)
	})...)
}

func (c *collection[M, R]) aside(r store.Reader, m *M) aside {
	if c.around == nil {
		return aside{}
	}
	return c.around(r, m)
}

// object appends one object with the fields asked for.
func (c *collection[M, R]) object(b []byte, r store.Reader, e *store.Entry[M], fields []*attribute[M, R]) []byte {
	if fields == nil {
		return c.whole(b, r, e)
	}
	x := c.aside(r, e.Value)
	return c.encode(b, e.Value, &x, fields)
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
	err = s.read(r.Context(), func(rd store.Reader) {
		e := c.find(rd, id)
		if e == nil {
			return
		}
		found = true
		*buf = c.wrapped(*buf, func(b []byte) []byte { return c.object(b, rd, e, q.fields) })
	})
	if err != nil {
		return err
	}
	if !found {
		return model.NotFound{Kind: c.kind, ID: id}
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
	buf := s.buffer()
	defer s.release(buf)
	err = s.read(r.Context(), func(rd store.Reader) {
		entries := c.selected(rd, q)
		b := append(*buf, `{"`...)
		b = append(b, c.plural...)
		b = append(b, `":[`...)
		for i, e := range entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = c.object(b, rd, e, q.fields)
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
	if err != nil {
		return err
	}
	write(w, http.StatusOK, *buf)
	return nil
}

// selected returns the page of sorted objects that a query wants. Without sort keys the
// order is that of the IDs, which also decides between equals.
func (c *collection[M, R]) selected(rd store.Reader, q *query[M, R]) []*store.Entry[M] {
	var entries []*store.Entry[M]
	for e := range c.list(rd, q) {
		if len(q.tests) > 0 {
			x := c.aside(rd, e.Value)
			if !q.passes(e.Value, &x) {
				continue
			}
		}
		entries = append(entries, e)
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
	project, err := projectOf(r)
	if err != nil {
		return err
	}
	requests := make([]R, len(given))
	for i, g := range given {
		if requests[i], err = c.table.create(g, project); err != nil {
			return err
		}
	}
	entries, err := c.create(r.Context(), requests)
	if err != nil {
		return err
	}
	buf := s.buffer()
	defer s.release(buf)
	s.control.Read(func(rd store.Reader) {
		one := func(b []byte, e *store.Entry[M]) []byte {
			x := c.aside(rd, e.Value)
			x.created = true
			return c.encode(b, e.Value, &x, nil)
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
	e, err := c.update(r.Context(), r.PathValue("id"), request)
	if err != nil {
		return err
	}
	buf := s.buffer()
	defer s.release(buf)
	s.control.Read(func(rd store.Reader) {
		*buf = c.wrapped(*buf, func(b []byte) []byte { return c.whole(b, rd, e) })
	})
	write(w, http.StatusOK, *buf)
	return nil
}

func (c *collection[M, R]) serveDelete(w http.ResponseWriter, r *http.Request) error {
	if n, err := io.CopyN(io.Discard, r.Body, 1); n > 0 {
		return badRequest("Request body is not supported in DELETE.")
	} else if err != io.EOF {
		return unreadable(err)
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	if err := c.remove(r.Context(), r.PathValue("id"), revision); err != nil {
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

// projectOf is the owner of what a request creates, unless its body names one. Without a
// header there is Neutron's placeholder: nobody is authenticated, and everybody is admin.
func projectOf(r *http.Request) (model.ProjectID, error) {
	p := r.Header.Get("X-Project-Id")
	switch {
	case p == "":
		return "fake_project_id", nil
	case len(p) > maxProject || !utf8.ValidString(p):
		return "", badRequest("Invalid X-Project-Id header: expected at most %d characters of UTF-8", maxProject)
	}
	return model.ProjectID(p), nil
}
