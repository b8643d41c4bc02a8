package agent

import (
	"context"
	"sync"
	"time"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/plan/vswitch"
)

// dropCounts adds up what the switch says of dropped packets. A flow that is made anew
// counts from 0 again; what it had counted when it was last read stays in the sum.
type dropCounts struct {
	mu sync.Mutex
	// counts are by cookie, which names port and reason.
	counts map[uint64]dropCount
	// at is when what was last read had been read.
	at time.Time
}

type dropCount struct{ before, now uint64 }

// note takes what the switch said of a cookie in answer to a question asked at began. Less than before means that
// the flow was made anew; unless the answer may be older than what is known already.
func (d *dropCounts) note(cookie, n uint64, began time.Time) {
	c := d.counts[cookie]
	if n < c.now {
		if began.Before(d.at) {
			return
		}
		c.before += c.now
	}
	c.now = n
	d.counts[cookie] = c
}

// update takes what the switch said of all flows, and returns the sums by port and reason; of flows
// that all ports share, under "". Counts of ports that are no more are forgotten.
func (d *dropCounts) update(owner uint16, read map[uint64]uint64, ports map[uint32]model.PortID, began time.Time) map[model.PortID]map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = map[uint64]dropCount{}
	}
	for cookie := range d.counts {
		d.note(cookie, read[cookie], began)
	}
	for cookie, n := range read {
		d.note(cookie, n, began)
	}
	d.at = time.Now()
	out := map[model.PortID]map[string]uint64{}
	for cookie, c := range d.counts {
		of, kind, object := vswitch.SplitCookie(cookie)
		id, known := ports[object]
		known = known && kind == vswitch.KindPort || kind == vswitch.KindBase
		if of != owner || !known {
			delete(d.counts, cookie)
			continue
		}
		if out[id] == nil {
			out[id] = map[string]uint64{}
		}
		out[id][firewall.Reason(vswitch.ReasonOf(cookie)).String()] = c.before + c.now
	}
	return out
}

// port takes what the switch said of the flows of one port, and returns their sums by reason: it takes the switch much
// longer to tell those of all ports. Of a port that has no flows nothing is said.
func (d *dropCounts) port(owner uint16, id model.PortID, flows []host.FlowCount, began time.Time) map[string]uint64 {
	if len(flows) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = map[uint64]dropCount{}
	}
	mine := vswitch.Cookie(owner, vswitch.KindPort, vswitch.CookieObject(string(id)))
	read := map[uint64]uint64{}
	for _, f := range flows {
		if vswitch.WithReason(f.Cookie, 0) == mine && vswitch.ReasonOf(f.Cookie) != 0 {
			read[f.Cookie] += f.Packets
		}
	}
	out := map[string]uint64{}
	for r := firewall.SpoofedMAC; r.String() != "unknown"; r++ {
		cookie := vswitch.WithReason(mine, uint8(r))
		n, is := read[cookie]
		if _, was := d.counts[cookie]; !is && !was {
			continue
		}
		d.note(cookie, n, began)
		out[r.String()] = d.counts[cookie].before + d.counts[cookie].now
	}
	d.at = time.Now()
	return out
}

// dropped counts the packets that the filters of this host's ports have dropped, by port and reason.
func (a *Agent) dropped(ctx context.Context) (map[model.PortID]map[string]uint64, error) {
	began := time.Now()
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
	return a.drops.update(a.o.Settings.CookieOwner, drops, ports, began), nil
}
