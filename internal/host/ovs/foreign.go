package ovs

import (
	"context"
	"fmt"
	"slices"

	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// Foreign is a flow that is not of the plan.
type Foreign struct {
	// Flow has of its match and of its actions what a plan has words for; Partly: there is more.
	vswitch.Flow
	Partly bool
	// Drops: it does nothing with what it matches.
	Drops   bool
	Packets uint64
}

// held are the flows of the plan that a bridge holds, as it acknowledged on conn.
type held struct {
	conn    *conn
	parts   []*part
	flows   int
	learned map[learnedKey]bool
	// tables are those of the plan: nothing comes to another.
	tables [256]bool
}

// hold notes what the bridge holds, if a sync has changed it or the bridge has connected anew.
func (b *flows) hold() {
	last := b.held.Load()
	switch {
	case !b.known:
		b.held.Store(nil)
	case last == nil || last.conn != b.conn:
		h := &held{conn: b.conn, parts: b.in, learned: b.target.learned, tables: b.target.tables}
		for _, p := range b.in {
			h.flows += len(p.flows)
		}
		b.held.Store(h)
	}
}

// Foreign reads the flows of a bridge that have the cookie of another owner, and those that have ours and that no sync has put
// in, sorted. Of parts, named by their cookies, it is made sure that they are as they were put in. If they are, and there are as
// many flows in the plan's tables as there should be, no other is read: for most questions a switch goes through all its flows. While a sync
// is changing the bridge nobody knows which of ours do not belong there, and none of them is returned.
func (s *Switch) Foreign(ctx context.Context, bridge string, owner uint16, parts []uint64) ([]Foreign, error) {
	b := s.flowsOf(bridge)
	stats, err := ask(ctx, s, bridge, func(ctx context.Context, c *conn) ([]openflow.FlowStats, error) {
		h := b.held.Load()
		if h == nil || h.conn != c {
			return c.others(ctx, owner)
		}
		l, err := h.look(ctx, c, parts)
		if err != nil || l.sound {
			return nil, err
		}
		others, err := c.others(ctx, owner)
		if err != nil {
			return nil, err
		}
		others = slices.DeleteFunc(others, func(f openflow.FlowStats) bool { return !h.tables[f.Table] })
		if l.flows-len(others)-l.wanted > len(l.strays) {
			// A call that is given up costs the connection, and this one may take long.
			long, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			all, err := c.dump(long, ofOwner(owner))
			if err != nil {
				return nil, err
			}
			l.strays, _ = h.compare(all, h.parts)
		}
		if b.held.Load() != h {
			return others, nil
		}
		return append(others, l.strays...), nil
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

// look is what can be seen of a bridge at little cost.
type look struct {
	// flows is how many there are in tables of the plan, wanted how many there should be.
	flows, wanted int
	// strays are those with the cookies of some parts that are not theirs.
	strays []openflow.FlowStats
	// sound: nothing is wrong as far as that tells.
	sound bool
}

// look counts all flows, and reads those with the cookies of some parts. A switch finds flows by their whole cookie at once.
func (h *held) look(ctx context.Context, c *conn, cookies []uint64) (l look, err error) {
	var parts []*part
	var ask []openflow.Message
	asked := map[uint64]bool{}
	for _, p := range h.parts {
		if !slices.Contains(cookies, p.Cookie) {
			continue
		}
		parts = append(parts, p)
		for _, f := range p.flows {
			if cookie := cookieOf(f.body); !asked[cookie] {
				asked[cookie] = true
				ask = append(ask, ofCookie(cookie))
			}
		}
	}
	for k := range h.learned {
		r := ofCookie(k.cookie)
		r.Table = k.table
		ask = append(ask, (*openflow.AggregateRequest)(r))
	}
	ask = append(ask, &openflow.TableStatsRequest{})
	a, err := c.call(ctx, 0, 64*len(ask), func(i int, _ uint32) openflow.Message { return ask[i] }, len(ask))
	if err != nil {
		return l, fmt.Errorf("look at flows: %w", err)
	}
	for _, e := range a.errs {
		return l, fmt.Errorf("look at flows: %w", e)
	}
	for _, t := range a.tables {
		if h.tables[t.Table] {
			l.flows += int(t.Flows)
		}
	}
	l.wanted = h.flows
	for _, learned := range a.counts {
		l.wanted += int(learned)
	}
	strays, missing := h.compare(a.flows, parts)
	l.strays, l.sound = strays, l.flows == l.wanted && missing == 0 && len(strays) == 0
	return l, nil
}

// compare returns which flows are neither of the parts nor learned, and how many of the parts are not among them.
func (h *held) compare(flows []openflow.FlowStats, parts []*part) (strays []openflow.FlowStats, missing int) {
	at := make(map[encodedFlow]bool, len(flows))
	keys := make([]encodedFlow, len(flows))
	var buf []byte
	for i := range flows {
		f := &flows[i].Flow
		f.Canonicalize()
		keys[i], buf = encode(f, buf)
		at[keys[i]] = true
	}
	for _, p := range parts {
		for _, f := range p.flows {
			if !at[f] {
				missing++
			}
			delete(at, f)
		}
	}
	for i, k := range keys {
		if at[k] && !h.learned[learnedKey{flows[i].Table, flows[i].Cookie}] {
			strays = append(strays, flows[i])
		}
	}
	return strays, missing
}

// others reads the flows of other owners, if there are any.
func (c *conn) others(ctx context.Context, owner uint16) ([]openflow.FlowStats, error) {
	n, err := c.count(ctx, openflow.AllFlows(), ofOwner(owner))
	if err != nil || n[0] == n[1] {
		return nil, err
	}
	return c.dump(ctx, ofOthers(owner)...)
}

func ofOwner(owner uint16) *openflow.FlowStatsRequest {
	r := openflow.AllFlows()
	r.Cookie, r.CookieMask = vswitch.Cookie(owner, 0, 0), vswitch.Cookie(1<<16-1, 0, 0)
	return r
}

func ofCookie(cookie uint64) *openflow.FlowStatsRequest {
	r := openflow.AllFlows()
	r.Cookie, r.CookieMask = cookie, 1<<64-1
	return r
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
