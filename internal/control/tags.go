package control

import (
	"context"
	"slices"

	"weft/internal/model"
	"weft/internal/store"
)

// Tagged says how to find objects of a kind and their standard attributes.
type Tagged[M any] struct {
	Kind model.Kind
	Find func(r store.Reader, id string) *store.Entry[M]
	Meta func(*M) *model.Meta
}

// Retag changes the tags of an object, which counts as a change of the object itself:
// change is given the present ones and returns those to be.
func Retag[M any](ctx context.Context, c *Control, of Tagged[M], id string, ifRevision Opt[int], change func([]string) ([]string, error)) error {
	return c.attempt(ctx, func(*store.Reservation) error {
		var old *store.Entry[M]
		if c.Read(func(r store.Reader) { old = of.Find(r, id) }); old == nil {
			return model.NotFound{Kind: of.Kind, ID: id}
		}
		had := of.Meta(old.Value)
		if err := checkRevision(ifRevision, *had); err != nil {
			return err
		}
		tags, err := change(slices.Clone(had.Tags))
		if err != nil {
			return err
		}
		if tags = sortedTags(tags); slices.Equal(tags, had.Tags) {
			return errUnchanged
		}
		m := new(M)
		*m = *old.Value
		of.Meta(m).Tags = tags
		c.touch(of.Meta(m))
		txn := c.store.Txn()
		store.Replace(txn, old, m)
		_, err = txn.Commit(ctx)
		return err
	})
}

// sortedTags is the form in which tags are kept: each once, sorted, nil when there are none.
func sortedTags(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	if tags = slices.Compact(tags); len(tags) == 0 {
		return nil
	}
	return tags
}
