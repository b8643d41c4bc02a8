package ovs

import (
	"context"
	"slices"

	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// Foreign is a flow without our cookie.
type Foreign struct {
	// Flow has of its match and of its actions what a plan has words for; Partly: there is more.
	vswitch.Flow
	Partly bool
	// Drops: it does nothing with what it matches.
	Drops   bool
	Packets uint64
}

// Foreign reads the flows of a bridge whose cookie has another owner, sorted. No other flow is read.
func (s *Switch) Foreign(ctx context.Context, bridge string, owner uint16) ([]Foreign, error) {
	stats, err := s.readFlows(ctx, bridge, func(ctx context.Context, c *conn) ([]openflow.FlowStats, error) {
		// Each question is a way through all flows for the switch. Two tell whether there is anything to ask for.
		ours := openflow.AllFlows()
		ours.Cookie, ours.CookieMask = vswitch.Cookie(owner, 0, 0), vswitch.Cookie(1<<16-1, 0, 0)
		n, err := c.count(ctx, openflow.AllFlows(), ours)
		if err != nil || n[0] == n[1] {
			return nil, err
		}
		return c.dump(ctx, ofOthers(owner)...)
	})
	if err != nil {
		return nil, err
	}
	var all []Foreign
	for i := range stats {
		all = append(all, foreign(&stats[i]))
	}
	slices.SortFunc(all, func(a, b Foreign) int { return vswitch.Compare(a.Flow, b.Flow) })
	return all, nil
}

// ofOthers asks for all flows of other owners. A mask cannot say "not this", but it can say which is the lowest bit that
// differs: one request for each.
func ofOthers(owner uint16) []openflow.Message {
	var all []openflow.Message
	for bit := uint16(1); bit != 0; bit <<= 1 {
		r := openflow.AllFlows()
		mask := bit | (bit - 1)
		r.Cookie, r.CookieMask = vswitch.Cookie((owner^bit)&mask, 0, 0), vswitch.Cookie(mask, 0, 0)
		all = append(all, r)
	}
	return all
}

func foreign(st *openflow.FlowStats) Foreign {
	w := st.Flow
	f := Foreign{Drops: len(w.Instructions) == 0, Packets: st.Packets}
	if known, err := fromWire(w); err == nil {
		f.Flow = known
		return f
	}
	// Without what there are no words for it.
	f.Partly = true
	w.Match = slices.DeleteFunc(slices.Clone(w.Match), func(m openflow.MatchField) bool {
		return m.Raw != nil || fromWireField[m.Field] == vswitch.FieldNone
	})
	known, err := fromWire(w)
	if err != nil {
		w.Instructions = nil
		known, err = fromWire(w)
	}
	if err != nil {
		known = vswitch.Flow{Table: w.Table, Priority: w.Priority, Cookie: w.Cookie}
	}
	f.Flow = known
	return f
}
