package control

import "weft/internal/model"

// Change asks to create an object of type M, or to change one: the attributes that are
// given, and how they enter the object. The API fills it from a body by the resource's
// table; a verb applies it to a copy of the object that it read, as often as it must try.
type Change[M any] struct {
	// Project owns what is created.
	Project model.ProjectID
	// IfRevision is If-Match: revision_number=N on updates.
	IfRevision Opt[int]

	given map[string]bool
	steps []func(*M)
}

// Set notes that an attribute is given, and how its value enters the object.
func (ch *Change[M]) Set(attribute string, into func(*M)) {
	if ch.given == nil {
		ch.given = map[string]bool{}
	}
	ch.given[attribute] = true
	ch.Default(into)
}

// Default notes a value for an attribute that is not given. Later ones win.
func (ch *Change[M]) Default(into func(*M)) { ch.steps = append(ch.steps, into) }

// Has reports whether the client gave an attribute.
func (ch Change[M]) Has(attribute string) bool { return ch.given[attribute] }

// Apply makes the change.
func (ch Change[M]) Apply(m *M) {
	for _, into := range ch.steps {
		into(m)
	}
}
