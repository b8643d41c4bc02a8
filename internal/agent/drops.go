package agent

import (
	"context"
	"sync"

	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// dropCounts adds up what the switch says of dropped packets. A flow that is made anew
// counts from 0 again; what it had counted when it was last read stays in the sum.
type dropCounts struct {
	// mu is held from reading the switch to adding up, or an older reading would look like a
	// counter that went back.
	mu sync.Mutex
	// counts are by cookie, which names port and reason.
	counts map[uint64]dropCount
}

type dropCount struct{ before, now uint64 }

// update takes what the switch says now, and returns the sums by port and reason; of flows
// that all ports share, under "". Counts of ports that are no more are forgotten. The caller holds mu.
func (d *dropCounts) update(owner uint16, read map[uint64]uint64, ports map[uint32]model.PortID) map[model.PortID]map[string]uint64 {
	next := make(map[uint64]dropCount, len(read))
	for cookie, c := range d.counts {
		if read[cookie] < c.now {
			c.before += c.now
		}
		next[cookie] = dropCount{c.before, read[cookie]}
	}
	for cookie, n := range read {
		if _, known := next[cookie]; !known {
			next[cookie] = dropCount{0, n}
		}
	}
	out := map[model.PortID]map[string]uint64{}
	for cookie, c := range next {
		of, kind, object := vswitch.SplitCookie(cookie)
		id, known := ports[object]
		known = known && kind == vswitch.KindPort || kind == vswitch.KindBase
		if of != owner || !known {
			delete(next, cookie)
			continue
		}
		if out[id] == nil {
			out[id] = map[string]uint64{}
		}
		out[id][firewall.Reason(vswitch.ReasonOf(cookie)).String()] = c.before + c.now
	}
	d.counts = next
	return out
}

// dropped counts the packets that the filters of this host's ports have dropped, by port and reason.
func (a *Agent) dropped(ctx context.Context) (map[model.PortID]map[string]uint64, error) {
	a.drops.mu.Lock()
	defer a.drops.mu.Unlock()
	drops, err := a.o.Machine.Drops(ctx)
	if err != nil {
		return nil, err
	}
	ports := map[uint32]model.PortID{}
	for id, p := range a.feed.State().Cloud.Ports {
		if p.Binding.Host == a.o.Feed.Name {
			ports[vswitch.CookieObject(string(id))] = id
		}
	}
	return a.drops.update(a.o.Settings.CookieOwner, drops, ports), nil
}
