package neutron

import (
	"iter"
	"math"
	"slices"
	"strings"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

type segmentRow = attribute[model.NetworkSegment, change[model.NetworkSegment]]

// segments is the table of /v2.0/segments.
func segments() *table[model.NetworkSegment, change[model.NetworkSegment]] {
	name := textAt("name", post|put|filter|order, maxName, func(s *model.NetworkSegment) *string { return &s.Name })
	name.text, name.def = nil, nil
	name.wire = func(b []byte, s *model.NetworkSegment, _ *aside) []byte { return appendTextOrNull(b, s.Name) }
	name.match = matchText(func(s *model.NetworkSegment) string { return s.Name })
	name.compare = func(x, y *model.NetworkSegment) int { return strings.Compare(x.Name, y.Name) }
	text := name.take
	name.take = func(ch *change[model.NetworkSegment], name string, v any) error {
		if v == nil {
			v = ""
		}
		return text(ch, name, v)
	}
	t := simple(table[model.NetworkSegment, change[model.NetworkSegment]]{
		kind: model.KindSegment, singular: "segment", plural: "segments",
		attributes: []segmentRow{
			idOf(func(s *model.NetworkSegment) *string { return &s.ID }),
			refAt("network_id", post|need|filter|order, func(s *model.NetworkSegment) *string { return (*string)(&s.NetworkID) }),
			{name: "physical_network", use: post | filter | order, kind: "string(64)", take: takePhysical,
				wire: func(b []byte, s *model.NetworkSegment, _ *aside) []byte {
					return appendTextOrNull(b, s.Segment.Physical)
				},
				match: matchText(func(s *model.NetworkSegment) string { return s.Segment.Physical }),
				compare: func(x, y *model.NetworkSegment) int {
					return strings.Compare(x.Segment.Physical, y.Segment.Physical)
				}},
			needed(textAt("network_type", post|filter|order, maxProvider,
				func(s *model.NetworkSegment) *string { return (*string)(&s.Segment.Type) })),
			{name: "segmentation_id", use: post | order, kind: "integer", take: takeSegmentationID,
				wire: func(b []byte, s *model.NetworkSegment, _ *aside) []byte {
					return appendSegmentationID(b, s.Segment)
				},
				compare: func(x, y *model.NetworkSegment) int { return int(x.Segment.ID) - int(y.Segment.ID) }},
			name,
		},
	}, func(s *model.NetworkSegment) *model.Meta { return &s.Meta }, nil)
	return t
}

func takePhysical(ch *change[model.NetworkSegment], name string, v any) error {
	if v == nil {
		return nil
	}
	text, reason := toString(v, maxProvider)
	if reason != "" {
		return invalidFor(name, reason)
	}
	ch.Set(name, func(s *model.NetworkSegment) { s.Segment.Physical = text })
	return nil
}

func takeSegmentationID(ch *change[model.NetworkSegment], name string, v any) error {
	if v == nil {
		return nil
	}
	n, err := toInt(v)
	if err != nil {
		return err
	}
	if n < 0 || n > math.MaxInt32 {
		n = math.MaxInt32 // out of range for every type, which is what the answer says
	}
	ch.Set(name, func(s *model.NetworkSegment) { s.Segment.ID = uint32(n) })
	return nil
}

func appendSegmentationID(b []byte, g model.Segment) []byte {
	if g.ID == 0 {
		return append(b, "null"...)
	}
	return appendInt(b, int64(g.ID))
}

func segmentCollection(c *control.Control) *collection[model.NetworkSegment, change[model.NetworkSegment]] {
	return &collection[model.NetworkSegment, change[model.NetworkSegment]]{
		table: segments(),
		id:    func(s *model.NetworkSegment) string { return s.ID },
		find: func(r store.Reader, id string) *store.Entry[model.NetworkSegment] {
			e, s := control.FindSegment(r, id)
			if e == nil {
				return nil
			}
			return &store.Entry[model.NetworkSegment]{Value: s, ModRev: e.ModRev}
		},
		list: func(r store.Reader, q *query[model.NetworkSegment, change[model.NetworkSegment]]) iter.Seq[*store.Entry[model.NetworkSegment]] {
			networks := r.Networks()
			if ids, ok := q.wanted("network_id"); ok {
				networks = found(ids, func(id string) *store.Entry[model.Network] { return r.Network(model.NetworkID(id)) })
			}
			return func(yield func(*store.Entry[model.NetworkSegment]) bool) {
				for e := range networks {
					for _, s := range control.SegmentsOf(e.Value) {
						if !yield(&store.Entry[model.NetworkSegment]{Value: &s, ModRev: e.ModRev}) {
							return
						}
					}
				}
			}
		},
		create: c.CreateSegments,
		update: c.UpdateSegment,
		remove: c.DeleteSegment,
	}
}

// segmentsAttribute is the list of segments of a network that has several; such a network
// does not show the provider attributes.
func segmentsAttribute() networkAttribute {
	return networkAttribute{name: "segments", use: post | put, kind: "list of objects",
		when: func(n *model.Network, _ *aside) bool { return len(n.Segments) > 1 },
		take: func(r *networkRequest, name string, v any) error {
			list, ok := v.([]any)
			if !ok && v != nil {
				return invalidFor(name, "'"+pyStr(v)+"' is not a list")
			}
			for _, e := range list {
				s, err := toSegment(e)
				if err != nil {
					return err
				}
				r.Segments = append(r.Segments, s)
			}
			return nil
		},
		wire: func(b []byte, n *model.Network, _ *aside) []byte {
			return appendList(b, n.Segments, func(b []byte, s model.NetworkSegment) []byte {
				b = append(b, `{"provider:network_type":`...)
				b = appendString(b, string(s.Segment.Type))
				b = append(b, `,"provider:physical_network":`...)
				b = appendTextOrNull(b, s.Segment.Physical)
				b = append(b, `,"provider:segmentation_id":`...)
				return append(appendSegmentationID(b, s.Segment), '}')
			})
		}}
}

// toSegment reads one element of segments.
func toSegment(v any) (s control.SegmentRequest, err error) {
	given, ok := v.(map[string]any)
	if !ok {
		return s, invalidFor("segments", "'"+pyStr(v)+"' is not a dictionary")
	}
	var r networkRequest
	var unknown []string
	for key, v := range given {
		a := providerAttribute(key)
		if a == nil {
			unknown = append(unknown, key)
			continue
		}
		if err := a.take(&r, key, v); err != nil {
			return s, err
		}
	}
	if unknown != nil {
		slices.Sort(unknown)
		return s, badRequest("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return control.SegmentRequest{NetworkType: r.NetworkType, Physical: r.Physical, SegmentationID: r.SegmentationID}, nil
}

func providerAttribute(name string) *networkAttribute {
	for _, a := range providerAttributes() {
		if a.name == name {
			return &a
		}
	}
	return nil
}
