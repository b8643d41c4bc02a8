package store

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"

	"weft/internal/model"
)

// Ref names an object.
type Ref struct {
	Kind model.Kind
	ID   string
}

// definition says how objects of type T are kept. From it follow their keys, what may be
// looked up, what may be there only once, and what must be there as long as they are.
type definition[T any] struct {
	// kind is also the first element of the key.
	kind model.Kind
	id   func(*T) string
	// indexes give, by the index's name, the values under which an object is found.
	indexes map[string]func(*T) []string
	// unique gives names that only one object of the kind may have at a time.
	unique func(*T) []string
	// refs gives the objects that must exist as long as this one does.
	refs func(*T) []Ref
	// tells gives what subscribers are told when the object is made, changed or removed;
	// nil tells them nothing.
	tells func(*T) Change
	// changed is told of a new value in the mirror and of the one before, which is nil
	// when the object is new.
	changed func(m *mirror, old, v *T)
}

// Kind is a kind of object: the way to read and write objects of type T.
type Kind[T any] struct{ definition[T] }

func define[T any](d definition[T]) *Kind[T] { return &Kind[T]{d} }

// anyKind is what the store does with a kind without knowing its type.
type anyKind interface {
	dir() string
	newRows() anyRows
	decode(value []byte) (any, error)
	// names returns ID, unique names and references of an object of the kind.
	names(obj any) (id string, unique []string, refs []Ref)
	// projectOf returns the owner of an object of the kind, "" for none.
	projectOf(r Reader, id string) model.ProjectID
}

// anyRows is what the mirror does with the objects of one kind.
type anyRows interface {
	set(m *mirror, id string, obj any, rev int64)
	modRev(id string) int64
	ids() iter.Seq[string]
}

func (k *Kind[T]) dir() string { return string(k.kind) }

func (k *Kind[T]) decode(value []byte) (any, error) { return decodeInto(value, new(T)) }

func (k *Kind[T]) names(obj any) (id string, unique []string, refs []Ref) {
	v, ok := obj.(*T)
	if !ok {
		return "", nil, nil
	}
	return k.id(v), k.uniqueOf(v), k.refsOf(v)
}

func (k *Kind[T]) projectOf(r Reader, id string) model.ProjectID {
	e, of := k.Get(r, id), k.indexes["project"]
	if e == nil || of == nil {
		return ""
	}
	for _, p := range of(e.Value) {
		return model.ProjectID(p)
	}
	return ""
}

func (k *Kind[T]) uniqueOf(v *T) []string {
	if k.unique == nil {
		return nil
	}
	return k.unique(v)
}

func (k *Kind[T]) refsOf(v *T) []Ref {
	if k.refs == nil {
		return nil
	}
	return k.refs(v)
}

// rows are the objects of one kind in the mirror, and their indexes.
type rows[T any] struct {
	k     *Kind[T]
	byID  map[string]*Entry[T]
	index map[string]map[string]map[string]*Entry[T] // index name, value, ID
}

func (k *Kind[T]) newRows() anyRows {
	r := &rows[T]{k: k, byID: map[string]*Entry[T]{}, index: map[string]map[string]map[string]*Entry[T]{}}
	for name := range k.indexes {
		r.index[name] = map[string]map[string]*Entry[T]{}
	}
	return r
}

func (r *rows[T]) set(m *mirror, id string, obj any, rev int64) {
	self := Ref{r.k.kind, id}
	var before *T
	if old := r.byID[id]; old != nil {
		before = old.Value
		for name, values := range r.k.indexes {
			for _, v := range values(old.Value) {
				delete(r.index[name][v], id)
				if len(r.index[name][v]) == 0 {
					delete(r.index[name], v)
				}
			}
		}
		m.unrefer(self, r.k.refsOf(old.Value))
		delete(r.byID, id)
		r.tell(m, old.Value)
	}
	v, ok := obj.(*T)
	if !ok {
		return
	}
	e := &Entry[T]{Value: v, ModRev: rev}
	r.byID[id] = e
	for name, values := range r.k.indexes {
		for _, v := range values(v) {
			if r.index[name][v] == nil {
				r.index[name][v] = map[string]*Entry[T]{}
			}
			r.index[name][v][id] = e
		}
	}
	m.refer(self, r.k.refsOf(v))
	r.tell(m, v)
	if r.k.changed != nil {
		r.k.changed(m, before, v)
	}
}

func (r *rows[T]) tell(m *mirror, v *T) {
	if r.k.tells != nil {
		m.tell(r.k.tells(v))
	}
}

func (r *rows[T]) modRev(id string) int64 {
	if e := r.byID[id]; e != nil {
		return e.ModRev
	}
	return 0
}

func (r *rows[T]) ids() iter.Seq[string] { return maps.Keys(r.byID) }

func (k *Kind[T]) rows(r Reader) *rows[T] {
	// newMirror made them, of this type.
	rows, _ := r.m.rows[string(k.kind)].(*rows[T])
	return rows
}

// Get returns the object with this ID, or nil.
func (k *Kind[T]) Get(r Reader, id string) *Entry[T] { return k.rows(r).byID[id] }

// All yields all objects of the kind, in no particular order.
func (k *Kind[T]) All(r Reader) iter.Seq[*Entry[T]] { return maps.Values(k.rows(r).byID) }

// Count returns how many objects of the kind there are.
func (k *Kind[T]) Count(r Reader) int { return len(k.rows(r).byID) }

// By yields the objects that an index of the kind has under a value.
func (k *Kind[T]) By(r Reader, index, value string) iter.Seq[*Entry[T]] {
	return maps.Values(k.rows(r).index[index][value])
}

// CountBy returns how many objects an index of the kind has under a value.
func (k *Kind[T]) CountBy(r Reader, index, value string) int {
	return len(k.rows(r).index[index][value])
}

// Create writes a new object with its unique names, which must be absent, and requires
// the objects that it refers to.
func (k *Kind[T]) Create(t *Txn, v *T) {
	id := k.id(v)
	key := t.s.keys.object(k.dir(), id)
	t.absent(key)
	t.putObject(key, k.dir(), id, v)
	for _, u := range k.uniqueOf(v) {
		t.createUnique(t.s.keys.unique(k.dir(), u), id)
	}
	t.moveRefs(Ref{k.kind, id}, nil, k.refsOf(v))
}

// Update replaces an object that must not have changed since old was read.
func (k *Kind[T]) Update(t *Txn, old *Entry[T], v *T) {
	id := k.id(v)
	key := t.s.keys.object(k.dir(), id)
	t.unchanged(key, old.ModRev)
	t.putObject(key, k.dir(), id, v)
	had, has := k.uniqueOf(old.Value), k.uniqueOf(v)
	for _, u := range without(had, has) {
		t.del(t.s.keys.unique(k.dir(), u), "", "")
	}
	for _, u := range without(has, had) {
		t.createUnique(t.s.keys.unique(k.dir(), u), id)
	}
	t.moveRefs(Ref{k.kind, id}, k.refsOf(old.Value), k.refsOf(v))
}

// Delete removes an object unchanged since old was read at the mirror's revision at, and
// requires that nothing began to refer to it since. What refers to it already, the
// caller has looked at: Reader.Referrers.
func (k *Kind[T]) Delete(t *Txn, old *Entry[T], at int64) {
	id := k.id(old.Value)
	key := t.s.keys.object(k.dir(), id)
	t.unchanged(key, old.ModRev)
	t.noneSince(t.s.keys.refsTo(Ref{k.kind, id}), at)
	t.del(key, k.dir(), id)
	for _, u := range k.uniqueOf(old.Value) {
		t.del(t.s.keys.unique(k.dir(), u), "", "")
	}
	t.moveRefs(Ref{k.kind, id}, k.refsOf(old.Value), nil)
}

// Replace is Update for an object of any kind.
func Replace[T any](t *Txn, old *Entry[T], v *T) {
	switch v := any(v).(type) {
	case *model.Network:
		t.UpdateNetwork(any(old).(*Entry[model.Network]), v)
	case *model.Subnet:
		t.UpdateSubnet(any(old).(*Entry[model.Subnet]), v)
	case *model.Port:
		t.UpdatePort(any(old).(*Entry[model.Port]), v)
	}
	for _, k := range kinds() {
		if k, ok := k.(*Kind[T]); ok {
			k.Update(t, old, v)
		}
	}
}

// Unchanged requires that the object did not change.
func (k *Kind[T]) Unchanged(t *Txn, e *Entry[T]) {
	t.unchanged(t.s.keys.object(k.dir(), k.id(e.Value)), e.ModRev)
}

// Absent requires that there is no object with this ID.
func (k *Kind[T]) Absent(t *Txn, id string) { t.absent(t.s.keys.object(k.dir(), id)) }

// moveRefs makes the keys of what an object refers to follow its change, and requires
// that what it newly refers to exists.
func (t *Txn) moveRefs(self Ref, had, has []Ref) {
	for _, to := range without(had, has) {
		t.del(t.s.keys.ref(to, self), "", "")
	}
	for _, to := range without(has, had) {
		t.exists(t.s.keys.object(string(to.Kind), to.ID))
		t.put(write{key: t.s.keys.ref(to, self), value: []byte{}})
	}
}

// without returns the different elements of a that are not in b.
func without[E comparable](a, b []E) []E {
	var out []E
	seen := map[E]bool{}
	for _, e := range b {
		seen[e] = true
	}
	for _, e := range a {
		if !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	return out
}

func (m *mirror) refer(from Ref, to []Ref) {
	for _, r := range to {
		if m.referrers[r] == nil {
			m.referrers[r] = map[Ref]struct{}{}
		}
		m.referrers[r][from] = struct{}{}
	}
}

func (m *mirror) unrefer(from Ref, to []Ref) {
	for _, r := range to {
		delete(m.referrers[r], from)
		if len(m.referrers[r]) == 0 {
			delete(m.referrers, r)
		}
	}
}

// Referrers yields the objects that refer to one, in no particular order.
func (r Reader) Referrers(kind model.Kind, id string) iter.Seq[Ref] {
	return maps.Keys(r.m.referrers[Ref{kind, id}])
}

// ProjectOf returns the project that an object belongs to, "" when it is nobody's or not there.
func (r Reader) ProjectOf(o Ref) model.ProjectID {
	switch o.Kind {
	case model.KindNetwork:
		if e := r.Network(model.NetworkID(o.ID)); e != nil {
			return e.Value.Project
		}
	case model.KindSubnet:
		if e := r.Subnet(model.SubnetID(o.ID)); e != nil {
			return e.Value.Project
		}
	case model.KindPort:
		if e := r.Port(model.PortID(o.ID)); e != nil {
			return e.Value.Project
		}
	}
	if k := kindOf[string(o.Kind)]; k != nil {
		return k.projectOf(r, o.ID)
	}
	return ""
}

// ProjectsReferring yields the owners of what refers to an object, other than policies about it.
func (r Reader) ProjectsReferring(kind model.Kind, id string) iter.Seq[model.ProjectID] {
	return func(yield func(model.ProjectID) bool) {
		for o := range r.Referrers(kind, id) {
			if o.Kind != model.KindRBAC && !yield(r.ProjectOf(o)) {
				return
			}
		}
	}
}

// schemaMark begins every stored object: the version of its form. A value without it is of version 1.
var schemaMark = fmt.Sprintf(`{"v":%d,`, schemaVersion)

// encodeValue is the stored form of an object.
func encodeValue(obj any) ([]byte, error) {
	b, err := json.Marshal(obj)
	if err != nil || len(b) < 2 {
		return b, err
	}
	if b[1] == '}' {
		return []byte(schemaMark[:len(schemaMark)-1] + "}"), nil
	}
	out := make([]byte, 0, len(schemaMark)+len(b)-1)
	return append(append(out, schemaMark...), b[1:]...), nil
}
