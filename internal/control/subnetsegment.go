package control

import (
	"slices"

	"weft/internal/model"
)

// serviceRouted marks subnets that lead to a routed network and are on none of its segments.
const serviceRouted = "network:routed"

// onSegment judges the segment of a subnet of network n, which is new when old is nil:
// one of the network's, and all subnets of a network have one or none has. Whoever writes
// a subnet or takes a segment away also writes the network, so that this stays true.
func (w *work) onSegment(old, s *model.Subnet, n *model.Network) error {
	if old != nil && old.SegmentID == s.SegmentID {
		return nil
	}
	others := slices.DeleteFunc(w.neighbours(s), routed)
	mixed := slices.ContainsFunc(others, func(o *model.Subnet) bool { return (o.SegmentID == "") != (s.SegmentID == "") })
	switch {
	case old == nil && mixed && !routed(s), old != nil && len(others) > 0:
		return model.Faultf(model.SegmentNotOfAll,
			"All of the subnets on network '%s' must either all be associated with segments or all not associated with any segment.", n.ID)
	case old != nil && old.SegmentID != "":
		return model.Faultf(model.SegmentChange,
			"A subnet that is already associated with a segment cannot have its segment association changed.")
	case old != nil && len(SegmentsOf(n)) > 1:
		return model.Faultf(model.SegmentsSeveral,
			"The network '%s' has multiple segments, it is only possible to associate an existing subnet with a segment on networks with a single segment.", n.ID)
	case s.SegmentID == "" || hasSegment(n, s.SegmentID):
		return nil
	}
	if other, _ := FindSegment(w.r, s.SegmentID); other == nil {
		return model.NotFound{Kind: model.KindSegment, ID: s.SegmentID}
	}
	return model.Faultf(model.SegmentElsewhere,
		"The subnet's network id, '%s', doesn't match the network_id of segment '%s'", n.ID, s.SegmentID)
}

func hasSegment(n *model.Network, id string) bool {
	return slices.ContainsFunc(SegmentsOf(n), func(s model.NetworkSegment) bool { return s.ID == id })
}

func routed(s *model.Subnet) bool { return slices.Contains(s.ServiceTypes, serviceRouted) }
