package neutron

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/internal/model"
)

// pair is one parameter of a query string; their order is kept, because links repeat it
// and messages list names in it.
type pair struct{ key, value string }

// parsePairs reads a query string leniently: what cannot be unescaped is taken as it is.
func parsePairs(raw string) []pair {
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, pair{unescape(key), unescape(value)})
	}
	return pairs
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// query is what a GET asks for: which objects, which of their attributes, in what order,
// and which page of them.
type query[M, R any] struct {
	pairs   []pair
	filters map[string][]string
	tests   []predicate[M]
	// fields is nil for all attributes.
	fields []*attribute[M, R]
	sorts  []sorting[M]
	// project is the caller's when it does not see the objects of all projects, else empty.
	project model.ProjectID
	limit   int
	marker  string
	reverse bool
}

type sorting[M any] struct {
	compare func(x, y *M) int
	desc    bool
}

// query reads a query string by the table.
func (t *table[M, R]) query(raw string) (*query[M, R], error) {
	q := &query[M, R]{}
	if raw == "" {
		return q, nil
	}
	q.pairs = parsePairs(raw)
	var names, keys, dirs []string
	for _, p := range q.pairs {
		switch p.key {
		case "fields":
			q.field(t, p.value)
		case "sort_key":
			keys = appendNonEmpty(keys, p.value)
		case "sort_dir":
			dirs = appendNonEmpty(dirs, p.value)
		case "limit":
			n, err := strconv.Atoi(strings.TrimSpace(p.value))
			if err != nil || n < 0 {
				return nil, badResource("limit", "Limit must be an integer 0 or greater and not '"+p.value+"'")
			}
			q.limit = n
		case "marker":
			q.marker = p.value
		case "page_reverse":
			q.reverse = strings.EqualFold(p.value, "true")
		default:
			if q.filters == nil {
				q.filters = make(map[string][]string)
			}
			if _, has := q.filters[p.key]; !has {
				names = append(names, p.key)
			}
			q.filters[p.key] = append(q.filters[p.key], p.value)
		}
	}
	if err := q.filter(t, names); err != nil {
		return nil, err
	}
	return q, q.sort(t, keys, dirs)
}

func appendNonEmpty(list []string, s string) []string {
	if s == "" {
		return list
	}
	return append(list, s)
}

// field adds an attribute to show. An unknown one shows nothing, as in Neutron.
func (q *query[M, R]) field(t *table[M, R], name string) {
	if name == "" {
		return
	}
	if q.fields == nil {
		q.fields = []*attribute[M, R]{}
	}
	if a := t.lookup(name); a != nil && !a.hidden() && !slices.Contains(q.fields, a) {
		q.fields = append(q.fields, a)
	}
}

func (q *query[M, R]) filter(t *table[M, R], names []string) error {
	var unknown []string
	for _, name := range names {
		if a := t.lookup(name); a == nil || a.use&filter == 0 {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		return badRequest("%s is invalid attribute for filtering", pyRepr(unknown))
	}
	if slices.Contains(names, "tenant_id") && slices.Contains(names, "project_id") {
		return faultTwoOwners
	}
	for _, name := range names {
		test, err := t.lookup(name).predicate(q.filters[name])
		if err != nil {
			return err
		}
		q.tests = append(q.tests, test)
	}
	return nil
}

func (q *query[M, R]) sort(t *table[M, R], keys, dirs []string) error {
	if len(keys) != len(dirs) {
		return badRequest("The number of sort_keys and sort_dirs must be same")
	}
	var unknown, wrong []string
	for i, key := range keys {
		a := t.lookup(key)
		if a == nil || a.use&order == 0 {
			unknown = append(unknown, key)
			continue
		}
		if dirs[i] != "asc" && dirs[i] != "desc" {
			wrong = append(wrong, dirs[i])
		}
		q.sorts = append(q.sorts, sorting[M]{a.sorter(), dirs[i] == "desc"})
	}
	switch {
	case unknown != nil:
		return badRequest("%s is invalid attribute for sort_keys", pyRepr(unknown))
	case wrong != nil:
		return badRequest("%s is invalid value for sort_dirs, valid value is 'asc' and 'desc'", pyRepr(wrong))
	}
	return nil
}

// passes reports whether m passes all filters.
func (q *query[M, R]) passes(m *M, x *aside) bool {
	for _, test := range q.tests {
		if !test(m, x) {
			return false
		}
	}
	return true
}

// wanted returns the different values of an equality filter without the empty one, and
// whether these are all: then an index can answer.
// With several names the first that is a filter counts.
func (q *query[M, R]) wanted(names ...string) ([]string, bool) {
	var values []string
	for _, name := range names {
		if values = slices.Clone(q.filters[name]); values != nil {
			break
		}
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if len(values) == 0 || values[0] == "" {
		return nil, false
	}
	return values, true
}

// page cuts the page out of the sorted list. An unknown marker gives an empty page.
func page[T any](list []T, id func(T) string, limit int, marker string, reverse bool) []T {
	if limit == 0 {
		return list
	}
	first, last := 0, len(list)
	if marker != "" {
		i := slices.IndexFunc(list, func(e T) bool { return id(e) == marker })
		switch {
		case i < 0:
			return nil
		case reverse:
			last = i
		default:
			first = i + 1
		}
	}
	if last-first > limit {
		if reverse {
			first = last - limit
		} else {
			last = first + limit
		}
	}
	return list[first:last]
}

// appendLinks writes the value of networks_links and the like for a page from first to
// last; nothing when there is no limit or nothing to link to.
func (q *query[M, R]) appendLinks(b []byte, plural, path string, ids []string) []byte {
	full := len(ids) >= q.limit
	if q.limit == 0 {
		return b
	}
	var links []map[string]string
	if full || q.reverse {
		links = append(links, map[string]string{"rel": "next", "href": q.link(path, ids, len(ids)-1, "")})
	}
	if full || !q.reverse {
		links = append(links, map[string]string{"rel": "previous", "href": q.link(path, ids, 0, "True")})
	}
	if links == nil {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, plural...)
	b = append(b, `_links":`...)
	return appendLinkList(b, links)
}

// appendLinkList writes rel before href, as Neutron does.
func appendLinkList(b []byte, links []map[string]string) []byte {
	return appendList(b, links, func(b []byte, l map[string]string) []byte {
		b = append(b, `{"rel":"`...)
		b = append(b, l["rel"]...)
		b = append(b, `","href":`...)
		b = appendJSON(b, l["href"])
		return append(b, '}')
	})
}

// link repeats the query with another marker.
func (q *query[M, R]) link(path string, ids []string, at int, reverse string) string {
	var s strings.Builder
	s.WriteString(path)
	sep := byte('?')
	add := func(key, value string) {
		s.WriteByte(sep)
		s.WriteString(url.QueryEscape(key) + "=" + url.QueryEscape(value))
		sep = '&'
	}
	for _, p := range q.pairs {
		if p.key != "marker" && p.key != "page_reverse" {
			add(p.key, p.value)
		}
	}
	if len(ids) > 0 {
		add("marker", ids[at])
	}
	if reverse != "" {
		add("page_reverse", reverse)
	}
	return s.String()
}
