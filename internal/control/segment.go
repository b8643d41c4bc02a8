package control

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// SegmentsOf returns the segments of a network, the one that hosts use first. A network
// of one segment of which nothing is said does not store it apart: it has the ID that
// follows from the network's.
func SegmentsOf(n *model.Network) []model.NetworkSegment {
	if len(n.Segments) > 0 {
		return n.Segments
	}
	return []model.NetworkSegment{{
		ID:        uuid.NewSHA1(uuid.NameSpaceDNS, []byte("segment."+string(n.ID))).String(),
		NetworkID: n.ID, Segment: n.Segment,
		Meta: model.Meta{CreatedAt: n.CreatedAt, UpdatedAt: n.CreatedAt},
	}}
}

// FindSegment returns the segment with this ID and the network that it is of, or nil.
func FindSegment(r store.Reader, id string) (*store.Entry[model.Network], *model.NetworkSegment) {
	for e := range r.Networks() {
		for _, s := range SegmentsOf(e.Value) {
			if s.ID == id {
				return e, &s
			}
		}
	}
	return nil, nil
}

// SegmentRequest asks for a segment of a network: the provider attributes.
type SegmentRequest struct {
	NetworkType    Opt[string]
	Physical       Opt[string]
	SegmentationID Opt[int64]
}

// segments reserves the segments that a new network is to have, the first one first.
func (c *Control) segments(req NetworkRequest, res *store.Reservation) ([]model.Segment, error) {
	asked := req.Segments
	if len(asked) == 0 {
		asked = []SegmentRequest{{req.NetworkType, req.Physical, req.SegmentationID}}
	} else if req.NetworkType.Set || req.Physical.Set || req.SegmentationID.Set {
		return nil, model.Faultf(model.SegmentsAndProvider, "Segments and provider values cannot both be set.")
	}
	all := make([]model.Segment, len(asked))
	for i, a := range asked {
		if len(asked) > 1 && !a.NetworkType.Set {
			return nil, invalid("network_type required")
		}
		if slices.Contains(asked[:i], a) && a.SegmentationID.Set {
			return nil, model.Faultf(model.DuplicateSegment, "Duplicate segment entry in request.")
		}
		g, err := c.segment(a, res)
		if err != nil {
			return nil, err
		}
		all[i] = g
	}
	return all, nil
}

// setSegments gives a new network its segments.
func setSegments(n *model.Network, all []model.Segment) {
	n.Segment = all[0]
	if len(all) == 1 {
		return
	}
	for _, g := range all {
		n.Segments = append(n.Segments, model.NetworkSegment{ID: uuid.NewString(), NetworkID: n.ID, Segment: g,
			Meta: model.Meta{CreatedAt: n.CreatedAt, UpdatedAt: n.CreatedAt}})
	}
}

// CreateSegments adds segments to networks. Hosts go on using the first one of each.
func (c *Control) CreateSegments(ctx context.Context, changes []Change[model.NetworkSegment]) ([]*store.Entry[model.NetworkSegment], error) {
	if err := checkTogether(len(changes)); err != nil {
		return nil, err
	}
	var made []*store.Entry[model.NetworkSegment]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn, now := c.store.Txn(), c.stamp()
		made = nil
		for _, ch := range changes {
			s := &model.NetworkSegment{ID: uuid.NewString(), Meta: model.Meta{CreatedAt: now, UpdatedAt: now, Revision: 1}}
			ch.Apply(s)
			req := SegmentRequest{NetworkType: Some(string(s.Segment.Type))}
			if ch.Has("physical_network") {
				req.Physical = Some(s.Segment.Physical)
			}
			if ch.Has("segmentation_id") {
				req.SegmentationID = Some(int64(s.Segment.ID))
			}
			g, err := c.segment(req, res)
			if err != nil {
				return err
			}
			s.Segment = g
			made = append(made, &store.Entry[model.NetworkSegment]{Value: s})
		}
		err := c.within(ctx, txn, res, func(w *work) error {
			changed := map[model.NetworkID]*model.Network{}
			for _, e := range made {
				id := e.Value.NetworkID
				old := w.r.Network(id)
				if old == nil {
					return model.NotFound{Kind: model.KindNetwork, ID: string(id)}
				}
				if changed[id] == nil {
					changed[id] = c.touchedNetwork(old)
				}
				changed[id].Segments = append(slices.Clone(SegmentsOf(changed[id])), *e.Value)
			}
			for id, n := range changed {
				txn.UpdateNetwork(w.r.Network(id), n)
			}
			return nil
		})
		if err != nil {
			return err
		}
		_, err = txn.Commit(ctx)
		return err
	})
	return made, err
}

// UpdateSegment changes what is said of a segment.
func (c *Control) UpdateSegment(ctx context.Context, id string, ch Change[model.NetworkSegment]) (*store.Entry[model.NetworkSegment], error) {
	var made *store.Entry[model.NetworkSegment]
	err := c.changeSegments(ctx, id, ch.IfRevision, func(_ *work, n *model.Network, i int) error {
		s := n.Segments[i]
		if ch.Apply(&s); !reflect.DeepEqual(s, n.Segments[i]) {
			c.touch(&s.Meta)
		}
		n.Segments[i] = s
		made = &store.Entry[model.NetworkSegment]{Value: &s}
		return nil
	})
	return made, err
}

// DeleteSegment takes a segment from its network: not the only one, and not the one
// that hosts use while there are ports.
func (c *Control) DeleteSegment(ctx context.Context, id string, ifRevision Opt[int]) error {
	return c.changeSegments(ctx, id, ifRevision, func(w *work, n *model.Network, i int) error {
		reason := ""
		var associated []string
		for _, e := range w.r.SubnetsOf(n.ID) {
			if e.Value.SegmentID == id {
				associated = append(associated, string(e.Value.ID))
			}
		}
		switch {
		case len(associated) > 0:
			reason = "The segment is still associated with subnet(s) " + strings.Join(associated, ", ")
		case len(n.Segments) == 1:
			reason = "The network has no other segment"
		case i == 0 && w.r.PortCountOf(n.ID) > 0:
			reason = "The segment carries the ports of the network"
		}
		if reason != "" {
			return model.Faultf(model.SegmentInUse, "Segment '%s' cannot be deleted: %s.", id, reason)
		}
		w.txn.NoNewPorts(n.ID, w.r.Revision())
		n.Segments = slices.Delete(n.Segments, i, i+1)
		n.Segment = n.Segments[0].Segment
		return nil
	})
}

// changeSegments changes the segments of the network that has the one with this ID, at i.
func (c *Control) changeSegments(ctx context.Context, id string, ifRevision Opt[int], change func(w *work, n *model.Network, i int) error) error {
	return c.transact(ctx, func(w *work) error {
		old, s := FindSegment(w.r, id)
		if old == nil {
			return model.NotFound{Kind: model.KindSegment, ID: id}
		}
		if err := checkRevision(ifRevision, s.Meta); err != nil {
			return err
		}
		n := *old.Value
		n.Segments = slices.Clone(SegmentsOf(&n))
		i := slices.IndexFunc(n.Segments, func(o model.NetworkSegment) bool { return o.ID == id })
		if err := change(w, &n, i); err != nil {
			return err
		}
		if reflect.DeepEqual(n.Segments, SegmentsOf(old.Value)) {
			return errUnchanged
		}
		c.touch(&n.Meta)
		w.txn.UpdateNetwork(old, &n)
		return nil
	})
}
