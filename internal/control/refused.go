package control

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"

	"weft/internal/model"
)

// refusedSize is how many refusals are remembered.
const refusedSize = 1000

// refusals remembers the ports that were lately refused, for weft trace: who looks for the port of
// a VM that never got one then learns why. It is this server's memory only.
type refusals struct {
	mu   sync.Mutex
	ring []model.Refusal
	next int
}

func (f *refusals) add(r model.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ring) < refusedSize {
		f.ring = append(f.ring, r)
		return
	}
	f.ring[f.next] = r
	f.next = (f.next + 1) % refusedSize
}

// Refused returns the ports lately refused by this server that q would mean, by VM, name, MAC
// or address, newest first.
func (c *Control) Refused(q string) []model.Refusal {
	c.refused.mu.Lock()
	defer c.refused.mu.Unlock()
	var out []model.Refusal
	for _, r := range c.refused.ring {
		if q != "" && (r.DeviceID == q || r.Name == q || strings.EqualFold(r.MAC, q) || slices.Contains(r.Addrs, q)) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b model.Refusal) int { return b.At.Compare(a.At) })
	return out
}

// noteRefused remembers why ports were not made. What is wrong with the request itself is not
// worth it: its sender has read that.
func (c *Control) noteRefused(reqs []PortRequest, err error) {
	var f model.Fault
	if !errors.As(err, &f) || f.Kind == model.InvalidInput {
		return
	}
	for _, q := range reqs {
		r := model.Refusal{At: c.now().UTC(), Project: q.Project, NetworkID: q.NetworkID, DeviceID: q.DeviceID.Value, Name: q.Name.Value, Message: f.Error()}
		if !q.MAC.Value.IsZero() {
			r.MAC = q.MAC.Value.String()
		}
		for _, a := range q.FixedIPs.Value {
			if a.Addr.IsValid() {
				r.Addrs = append(r.Addrs, a.Addr.String())
			}
		}
		if cmp.Or(r.DeviceID, r.Name, r.MAC) != "" || len(r.Addrs) > 0 {
			c.refused.add(r)
		}
	}
}

// noteAsked writes down which of the port's MAC and addresses were asked for, rather than
// chosen. What the port was before, old, had already keeps its word.
func noteAsked(p, old *model.Port, req PortRequest) {
	asked := slices.Clone(old.Asked)
	if m := req.MAC.Value; !m.IsZero() && m != old.MAC {
		asked = append(asked, m.String())
	}
	has := func(p *model.Port, addr string) bool {
		return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.Addr.String() == addr })
	}
	for _, a := range req.FixedIPs.Value {
		if s := a.Addr.String(); a.Addr.IsValid() && !has(old, s) {
			asked = append(asked, s)
		}
	}
	p.Asked = nil
	for _, a := range asked {
		if (a == p.MAC.String() || has(p, a)) && !slices.Contains(p.Asked, a) {
			p.Asked = append(p.Asked, a)
		}
	}
}
