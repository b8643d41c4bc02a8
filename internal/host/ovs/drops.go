package ovs

import (
	"cmp"
	"context"
	"slices"

	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// Drop is how many packets the flows of one cookie have dropped: those of one object, for
// one reason.
type Drop struct {
	Cookie, Packets uint64
}

// Drops reads the counters of those flows of a bridge whose cookie has a drop reason, summed
// by cookie and sorted by it. No other flow is read.
func (s *Switch) Drops(ctx context.Context, bridge string) ([]Drop, error) {
	stats, err := ask(ctx, s, bridge, func(ctx context.Context, c *conn) ([]openflow.FlowStats, error) {
		return c.dump(ctx, withReason()...)
	})
	if err != nil {
		return nil, err
	}
	sum := map[uint64]uint64{}
	for i := range stats {
		sum[stats[i].Cookie] += stats[i].Packets
	}
	out := make([]Drop, 0, len(sum))
	for cookie, n := range sum {
		out = append(out, Drop{cookie, n})
	}
	slices.SortFunc(out, func(a, b Drop) int { return cmp.Compare(a.Cookie, b.Cookie) })
	return out, nil
}

// withReason asks for all flows whose cookie has a reason. A mask cannot say "not 0", but
// it can say which is the lowest bit that is set: one request for each.
func withReason() []openflow.Message {
	var all []openflow.Message
	for lowest := uint8(1); lowest <= vswitch.MaxReason; lowest <<= 1 {
		r := openflow.AllFlows()
		r.Cookie, r.CookieMask = vswitch.WithReason(0, lowest), vswitch.WithReason(0, lowest|(lowest-1))
		all = append(all, r)
	}
	return all
}
