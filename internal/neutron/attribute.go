package neutron

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// use says what a client may do with an attribute.
type use uint8

const (
	post   use = 1 << iota // may be given when creating
	put                    // may be given when updating
	need                   // must be given when creating
	filter                 // may be a query filter
	order                  // may be a sort key
)

// aside is what the wire form of an object takes from outside the object.
type aside struct {
	// subnets of a network, oldest first.
	subnets []*model.Subnet
	// scopes of a network: the IDs of its address scopes by IP version.
	scopes map[int64]string
	// network of a subnet; nil when it is gone.
	network *model.Network
	// trunk that a port is the parent of; nil when there is none.
	trunk *trunkOf
	// domain is the DNS domain of the cloud, for a port.
	domain string
	// rules gives the rules of a security group.
	rules func() []*model.SecurityGroupRule
	// port of a router's gateway or of what a floating IP stands for; nil when there is none.
	port *model.Port
	// forwardings of a floating IP, oldest first.
	forwardings []*model.PortForwarding
	// shared says that the object is shared with the caller's project in particular.
	shared bool
	// serving says that an agent is shown as one that serves something.
	serving bool
	// created is set in the answer to a POST, which says less of a binding than a GET.
	created bool
}

// attribute is one row of a resource's table: its name on the wire, what clients may do
// with it, how a given value enters the request R, and how it reads from the model M.
// Exactly one of text, flag, number and wire is set; the first three also give the
// filter and the sort order, wire needs match and compare of its own for these.
type attribute[M, R any] struct {
	name string
	use  use
	// kind says in words what values there are, for docs/api.md.
	kind string
	// def is the default as a client would give it; nil is none. In tables whose requests
	// are a control.Change it is taken for what is not given; elsewhere control knows it.
	def any
	// take checks and converts a value and puts it into the request; nil for what cannot be given.
	take   func(r *R, name string, v any) error
	text   func(m *M) string
	flag   func(m *M) bool
	number func(m *M) int64
	wire   func(b []byte, m *M, x *aside) []byte
	// when says whether the attribute shows in this answer; nil is always.
	when func(m *M, x *aside) bool
	// match makes a predicate of the values given for a filter; they are joined by or.
	match   func(values []string) (predicate[M], error)
	compare func(a, b *M) int
}

// predicate says whether an object passes a filter.
type predicate[M any] func(m *M, x *aside) bool

// table is a resource of the API: its names and its attributes in Neutron's order, which
// decides which of several faults a client is told of.
type table[M, R any] struct {
	kind       model.Kind
	singular   string
	plural     string
	attributes []attribute[M, R]
	index      map[string]int
	// project and revision find these two in a request.
	project  func(r *R) *model.ProjectID
	revision func(r *R) *control.Opt[int]
	// meta finds the standard attributes in the model; nil when it has none.
	meta func(m *M) *model.Meta
	// path is the last part of the collection's path, when it is not the plural.
	path string
	// rules is the name of the resource in policy rules, when it is not the singular.
	rules string
	// draft is the object that a request to create would make, as far as rules ask for it.
	draft func(r *R) *M
	// owner is the project that an object belongs to; nil when nobody owns it.
	owner func(m *M) model.ProjectID
	// related answers for an attribute of an object that m belongs to: "network" and "project_id".
	related func(rd store.Reader, m *M, object, attribute string) (string, bool)
	// defaults says that values that are not given are taken from the table.
	defaults bool
	// check judges what one attribute alone cannot; given is the object as decoded.
	check func(r *R, given map[string]any, created bool) error
}

// newTable indexes the attributes.
func newTable[M, R any](t table[M, R]) *table[M, R] {
	if !t.taggable() {
		t.attributes = slices.DeleteFunc(t.attributes, func(a attribute[M, R]) bool { return slices.Contains(tagNames, a.name) })
	}
	t.index = make(map[string]int, len(t.attributes))
	for i := range t.attributes {
		t.index[t.attributes[i].name] = i
	}
	return &t
}

// lookup finds an attribute by name; nil if there is none.
func (t *table[M, R]) lookup(name string) *attribute[M, R] {
	if i, ok := t.index[name]; ok {
		return &t.attributes[i]
	}
	return nil
}

// create turns the attributes given in a POST into a request.
func (t *table[M, R]) create(given map[string]any, project model.ProjectID) (R, error) {
	var r R
	*t.project(&r) = project
	if err := t.verify(given); err != nil {
		return r, err
	}
	for i := range t.attributes {
		a := &t.attributes[i]
		_, has := given[a.name]
		switch {
		case has && a.use&post == 0:
			return r, badRequest("Attribute '%s' not allowed in POST", a.name)
		case !has && a.use&need != 0:
			return r, badRequest("Failed to parse request. Required attribute '%s' not specified", a.name)
		}
	}
	return r, t.fill(&r, given, true)
}

// update turns the attributes given in a PUT into a request.
func (t *table[M, R]) update(given map[string]any) (R, error) {
	var r R
	if err := t.verify(given); err != nil {
		return r, err
	}
	for i := range t.attributes {
		a := &t.attributes[i]
		if _, has := given[a.name]; has && a.use&put == 0 {
			return r, badRequest("Cannot update read-only attribute %s", a.name)
		}
	}
	return r, t.fill(&r, given, false)
}

// verify makes the owner known by both of its names and refuses unknown attributes.
func (t *table[M, R]) verify(given map[string]any) error {
	old, hasOld := given["tenant_id"]
	owner, hasOwner := given["project_id"]
	switch {
	case hasOld && !hasOwner:
		given["project_id"] = old
	case hasOwner && !hasOld:
		given["tenant_id"] = owner
	case hasOld && pyRepr(old) != pyRepr(owner):
		return badRequest("'project_id' and 'tenant_id' do not match")
	}
	var unknown []string
	for name := range given {
		if _, ok := t.index[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		slices.Sort(unknown)
		return badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return nil
}

func (t *table[M, R]) fill(r *R, given map[string]any, created bool) error {
	for i := range t.attributes {
		a := &t.attributes[i]
		v, has := given[a.name]
		if !has && created && t.defaults && a.use&post != 0 {
			v, has = a.def, a.def != nil
		}
		if has && a.take != nil {
			if err := a.take(r, a.name, v); err != nil {
				return err
			}
		}
	}
	if t.check != nil {
		return t.check(r, given, created)
	}
	return nil
}

// encode appends the wire form of m: of the attributes asked for (nil means all) those
// that the view shows.
func (t *table[M, R]) encode(b []byte, m *M, x *aside, view uint64, fields []*attribute[M, R]) []byte {
	b = append(b, '{')
	for i := range t.attributes {
		a := &t.attributes[i]
		if view&(1<<i) != 0 && (fields == nil || slices.Contains(fields, a)) {
			b = a.encode(b, m, x)
		}
	}
	return append(b, '}')
}

// value is an attribute as policy rules see it; booleans are True and False.
func (a *attribute[M, R]) value(m *M) (string, bool) {
	switch {
	case a.text != nil:
		return a.text(m), true
	case a.flag != nil:
		return pyRepr(a.flag(m)), true
	case a.number != nil:
		return strconv.FormatInt(a.number(m), 10), true
	}
	return "", false
}

func (a *attribute[M, R]) encode(b []byte, m *M, x *aside) []byte {
	if a.hidden() || a.when != nil && !a.when(m, x) {
		return b
	}
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, a.name...) // names in tables need no escaping
	b = append(b, '"', ':')
	switch {
	case a.text != nil:
		return appendString(b, a.text(m))
	case a.flag != nil:
		return appendBool(b, a.flag(m) || a.name == "shared" && x.shared)
	case a.number != nil:
		return appendInt(b, a.number(m))
	}
	return a.wire(b, m, x)
}

// hidden attributes can be given or filtered by, and never show.
func (a *attribute[M, R]) hidden() bool {
	return a.text == nil && a.flag == nil && a.number == nil && a.wire == nil
}

// predicate makes the filter a=v1 or a=v2 ....
func (a *attribute[M, R]) predicate(values []string) (predicate[M], error) {
	switch {
	case a.match != nil:
		return a.match(values)
	case a.text != nil:
		return matchText(a.text)(values)
	case a.flag != nil:
		return matchFlag(a.name, a.flag)(values)
	}
	return matchNumber(a.number)(values)
}

// sorter gives the order of objects by this attribute.
func (a *attribute[M, R]) sorter() func(x, y *M) int {
	switch {
	case a.compare != nil:
		return a.compare
	case a.text != nil:
		return func(x, y *M) int { return cmp.Compare(a.text(x), a.text(y)) }
	case a.flag != nil:
		return func(x, y *M) int { return cmp.Compare(rank(a.flag(x)), rank(a.flag(y))) }
	}
	return func(x, y *M) int { return cmp.Compare(a.number(x), a.number(y)) }
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func matchText[M any](get func(*M) string) func([]string) (predicate[M], error) {
	return func(values []string) (predicate[M], error) {
		if len(values) == 1 {
			want := values[0]
			return func(m *M, _ *aside) bool { return get(m) == want }, nil
		}
		wanted := make(map[string]bool, len(values))
		for _, v := range values {
			wanted[v] = true
		}
		return func(m *M, _ *aside) bool { return wanted[get(m)] }, nil
	}
}

func matchFlag[M any](name string, get func(*M) bool) func([]string) (predicate[M], error) {
	return func(values []string) (predicate[M], error) {
		yes, no, err := boolValues(values)
		if err != nil {
			return nil, err
		}
		return func(m *M, x *aside) bool {
			if get(m) || name == "shared" && x.shared {
				return yes
			}
			return no
		}, nil
	}
}

// boolValues says which of true and false the values of a filter ask for.
func boolValues(values []string) (yes, no bool, err error) {
	for _, v := range values {
		b, err := toBool(v)
		if err != nil {
			return false, false, err
		}
		yes, no = yes || b, no || !b
	}
	return yes, no, nil
}

func matchNumber[M any](get func(*M) int64) func([]string) (predicate[M], error) {
	return func(values []string) (predicate[M], error) {
		wanted := make([]int64, 0, len(values))
		for _, v := range values {
			n, err := toInt(v)
			if err != nil {
				return nil, err
			}
			wanted = append(wanted, n)
		}
		return func(m *M, _ *aside) bool { return slices.Contains(wanted, get(m)) }, nil
	}
}

// takeText makes the taker of a string of at most limit characters.
func takeText[R any](field func(*R) *control.Opt[string], limit int) func(*R, string, any) error {
	return func(r *R, name string, v any) error {
		s, reason := toString(v, limit)
		if reason != "" {
			return invalidFor(name, reason)
		}
		*field(r) = control.Some(s)
		return nil
	}
}

// takeFlag makes the taker of a boolean.
func takeFlag[R any](field func(*R) *control.Opt[bool]) func(*R, string, any) error {
	return func(r *R, _ string, v any) error {
		b, err := toBool(v)
		if err != nil {
			return err
		}
		*field(r) = control.Some(b)
		return nil
	}
}

// takeProject makes the taker of the owner, which is not optional in requests.
func takeProject[R any](field func(*R) *model.ProjectID) func(*R, string, any) error {
	return func(r *R, name string, v any) error {
		s, reason := toString(v, maxProject)
		if reason != "" {
			return invalidFor(name, reason)
		}
		*field(r) = model.ProjectID(s)
		return nil
	}
}
