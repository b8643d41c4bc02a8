package control

import (
	"context"
	"reflect"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// noun says what is special about creating, changing and removing objects of one kind
// that is kept by a store.Kind. The verbs below do the rest: they stamp, count, compare,
// commit and try again.
type noun[M any] struct {
	kind  *store.Kind[M]
	name  model.Kind
	id    func(*M) *string
	owner func(*M) *model.ProjectID
	meta  func(*M) *model.Meta
	// quota is the name under which objects are counted against a project; "" is not at all.
	quota string
	// judge completes and checks m, which is new when old is nil; it may add to the
	// transaction. It runs within a View: w.r is valid, and nothing in it may block.
	judge func(w *work, old, m *M, given func(string) bool) error
	// follow adds to the transaction what is created with an object and refers to it.
	follow func(w *work, m *M) error
	// remove checks that an object may go, and adds to the transaction what goes with it.
	remove func(w *work, m *M) error
}

// work is what judge and remove have to work with.
type work struct {
	c   *Control
	ctx context.Context
	r   store.Reader
	txn *store.Txn
	res *store.Reservation

	// ends run when the work is judged: writes that depend on all of it.
	ends []func()
	// marks are the objects to be written because of their policies, by ID.
	marks map[string]*mark
	// granted are the policies that this work makes.
	granted map[string]bool
	// batch are the objects that the request makes, judged so far.
	batch []any
	// written are the parents that the transaction writes for no change of their own.
	written map[store.Ref]bool
}

// once reports whether it is asked for the first time whether the transaction writes an object.
func (w *work) once(kind model.Kind, id string) bool {
	ref := store.Ref{Kind: kind, ID: id}
	if w.written[ref] {
		return false
	}
	if w.written == nil {
		w.written = map[store.Ref]bool{}
	}
	w.written[ref] = true
	return true
}

// createNouns makes all objects or none.
func createNouns[M any](ctx context.Context, c *Control, n noun[M], changes []Change[M]) ([]*store.Entry[M], error) {
	if err := checkTogether(len(changes)); err != nil {
		return nil, err
	}
	var made []*store.Entry[M]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		values := make([]*M, len(changes))
		now := c.stamp()
		err := c.within(ctx, txn, res, func(w *work) error {
			for i, ch := range changes {
				m := new(M)
				*n.id(m) = uuid.NewString()
				if n.owner != nil {
					*n.owner(m) = ch.Project
				}
				*n.meta(m) = model.Meta{CreatedAt: now, UpdatedAt: now}
				ch.Apply(m)
				if err := w.count(n.quota, ch.Project, 1); err != nil {
					return err
				}
				if err := n.judge(w, nil, m, ch.Has); err != nil {
					return err
				}
				n.kind.Create(txn, m)
				w.batch = append(w.batch, m)
				values[i] = m
				if n.follow == nil {
					continue
				}
				if err := n.follow(w, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, values, rev, func(r store.Reader, m *M) *store.Entry[M] { return n.kind.Get(r, *n.id(m)) })
		return nil
	})
	return made, err
}

// transact runs f in a View, as often as it must, and commits what f has put into w.txn.
func (c *Control) transact(ctx context.Context, f func(*work) error) error {
	return c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		if err := c.within(ctx, txn, res, f); err != nil {
			return err
		}
		_, err := txn.Commit(ctx)
		return err
	})
}

// within runs f in a View with what it needs.
func (c *Control) within(ctx context.Context, txn *store.Txn, res *store.Reservation, f func(*work) error) (err error) {
	c.Read(func(r store.Reader) {
		w := &work{c: c, ctx: ctx, r: r, txn: txn, res: res}
		if err = f(w); err == nil {
			for _, end := range w.ends {
				end()
			}
		}
	})
	return err
}

// updateNoun changes one object. Asking for what is already so changes nothing.
func updateNoun[M any](ctx context.Context, c *Control, n noun[M], id string, ch Change[M]) (*store.Entry[M], error) {
	var made *store.Entry[M]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var m *M
		err := c.within(ctx, txn, res, func(w *work) error {
			old := n.kind.Get(w.r, id)
			if old == nil {
				return model.NotFound{Kind: n.name, ID: id}
			}
			if err := checkRevision(ch.IfRevision, *n.meta(old.Value)); err != nil {
				return err
			}
			m = new(M)
			*m = *old.Value
			ch.Apply(m)
			if err := n.judge(w, old.Value, m, ch.Has); err != nil {
				return err
			}
			if reflect.DeepEqual(m, old.Value) {
				made = old
				return errUnchanged
			}
			c.touch(n.meta(m))
			n.kind.Update(txn, old, m)
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*M{m}, rev, func(r store.Reader, m *M) *store.Entry[M] { return n.kind.Get(r, id) })[0]
		return nil
	})
	return made, err
}

// removeNoun removes one object.
func removeNoun[M any](ctx context.Context, c *Control, n noun[M], id string, ifRevision Opt[int]) error {
	return c.transact(ctx, func(w *work) error {
		old := n.kind.Get(w.r, id)
		if old == nil {
			return model.NotFound{Kind: n.name, ID: id}
		}
		if err := checkRevision(ifRevision, *n.meta(old.Value)); err != nil {
			return err
		}
		if n.remove != nil {
			if err := n.remove(w, old.Value); err != nil {
				return err
			}
		}
		n.kind.Delete(w.txn, old, w.r.Revision())
		return nil
	})
}
