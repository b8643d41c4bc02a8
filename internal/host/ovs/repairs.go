package ovs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/internal/plan/vswitch"
)

// Repair is something that was as wanted, was found changed, and was put back: so somebody
// else changes it. Without a memory of it nobody could tell, a moment later.
type Repair struct {
	// Kind is "bridge", "port" or "flows".
	Kind string
	// Bridge is where it is; Name is the port, or the flow that did not belong there.
	Bridge, Name string
	// Cookie is that of the flows, if they are of one object.
	Cookie uint64
	// Found is what it was changed to, Set what it is again.
	Found, Set string
	// At is when it was put back the last time, and Times how often since it was first, Lately
	// in the last minute (a number beyond a few is not exact).
	At            time.Time
	Times, Lately int
}

const (
	// repairsKept is how long a repair is remembered, repairsMost how many, and lately what
	// Repair.Lately counts.
	repairsKept = 10 * time.Minute
	repairsMost = 256
	lately      = time.Minute
	latelyMost  = 8
)

type repairKey struct {
	kind, bridge, name string
	cookie             uint64
}

type keptRepair struct {
	Repair
	last []time.Time
}

// repairs remembers those of the last minutes.
type repairs struct {
	mu  sync.Mutex
	all map[repairKey]*keptRepair
}

// note takes in repairs that were made now.
func (m *repairs) note(now time.Time, list []Repair) {
	if len(list) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[repairKey]*keptRepair{}
	}
	for _, r := range list {
		k := repairKey{r.Kind, r.Bridge, r.Name, r.Cookie}
		had := m.all[k]
		if had == nil {
			had = &keptRepair{}
			m.all[k] = had
		}
		r.At, r.Times = now, had.Times+1
		had.Repair = r
		had.last = append(had.last[max(0, len(had.last)-latelyMost+1):], now)
	}
	m.forget(now)
}

// forget drops what is old, and the oldest of too many. The caller holds mu.
func (m *repairs) forget(now time.Time) {
	maps.DeleteFunc(m.all, func(_ repairKey, r *keptRepair) bool { return now.Sub(r.At) > repairsKept })
	for len(m.all) > repairsMost {
		var oldest repairKey
		for k, r := range m.all {
			if o := m.all[oldest]; o == nil || r.At.Before(o.At) {
				oldest = k
			}
		}
		delete(m.all, oldest)
	}
}

// Repairs returns those of the last ten minutes, oldest first.
func (s *Switch) Repairs() []Repair {
	now := time.Now()
	m := &s.repairs
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	out := make([]Repair, 0, len(m.all))
	for _, r := range m.all {
		r.Lately = 0
		for _, at := range r.last {
			if now.Sub(at) <= lately {
				r.Lately++
			}
		}
		out = append(out, r.Repair)
	}
	slices.SortFunc(out, func(a, b Repair) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Cookie, b.Cookie))
	})
	return out
}

// keptRow is a row of the database that was as wanted after the last Apply.
type keptRow struct{ uuid, want string }

// repaired are the changes that put back what was as wanted after the last Apply and is still
// wanted so. A row that is new, or of which something else is wanted now, is none.
func (s *Switch) repaired(at *snapshot, want *vswitch.Switch, list []change) []Repair {
	doing := make(map[string]bool, len(list))
	for _, c := range list {
		doing[c.object] = true
	}
	var out []Repair
	each(want, func(object, text string, r Repair, found func(*snapshot) (uuid, found, set string)) {
		was, kept := s.kept[object]
		if !kept || !doing[object] || was.want != text {
			return
		}
		id, is, set := found(at)
		if id != "" && id != was.uuid {
			return // somebody's new port of the same name
		}
		r.Found, r.Set = is, set
		out = append(out, r)
	})
	return out
}

// keep remembers what is as wanted after an Apply with these faults.
func (s *Switch) keep(at *snapshot, want *vswitch.Switch, faults []Fault) {
	s.kept = map[string]keptRow{}
	each(want, func(object, text string, _ Repair, found func(*snapshot) (uuid, found, set string)) {
		if id, _, _ := found(at); id != "" {
			s.kept[object] = keptRow{id, text}
		}
	})
	for _, f := range faults {
		delete(s.kept, f.Object)
	}
}

// each goes through all that a plan wants of the database: its object as changes calls it, what
// is wanted as a text, and a function that looks how it is.
func each(want *vswitch.Switch, f func(object, text string, r Repair, found func(*snapshot) (uuid, found, set string))) {
	for i := range want.Bridges {
		b := &want.Bridges[i]
		f("bridge "+b.Name, fmt.Sprint(b.FailMode, b.DatapathType, b.Controller, b.Protocols), Repair{Kind: "bridge", Bridge: b.Name},
			func(s *snapshot) (string, string, string) { return bridgeIs(s, b) })
		for j := range b.Ports {
			p := &b.Ports[j]
			f("port "+p.Name, fmt.Sprint(p.Type, p.Tag, p.Options, p.OFPort, p.MTU, p.ExternalIDs, p.OtherConfig), Repair{Kind: "port", Bridge: b.Name, Name: p.Name},
				func(s *snapshot) (string, string, string) { return portIs(s, b.Name, p) })
		}
		for _, t := range b.Tags {
			f("port "+t.Name, fmt.Sprint(t.Tag, t.OtherConfig), Repair{Kind: "port", Bridge: b.Name, Name: t.Name},
				func(s *snapshot) (string, string, string) { return tagIs(s, t) })
		}
	}
}

// differences collects in which properties something is not as wanted.
type differences struct{ found, set []string }

func (d *differences) add(what, is, want string) {
	if is == want {
		return
	}
	for _, side := range []struct {
		to *[]string
		is string
	}{{&d.found, is}, {&d.set, want}} {
		if side.is == "" || side.is == "0" {
			*side.to = append(*side.to, "no "+what)
		} else {
			*side.to = append(*side.to, what+" "+side.is)
		}
	}
}

func (d *differences) texts() (found, set string) {
	if len(d.found) == 0 {
		return "other settings", "weft's"
	}
	return strings.Join(d.found, ", "), strings.Join(d.set, ", ")
}

const gone, again = "gone", "made again"

func bridgeIs(s *snapshot, b *vswitch.Bridge) (uuid, found, set string) {
	r := s.bridges[b.Name]
	if r == nil {
		return "", gone, again
	}
	var d differences
	if b.FailMode != "" {
		d.add("fail_mode", or(r.FailMode), b.FailMode)
	}
	if b.DatapathType != "" {
		d.add("datapath_type", datapathType(r.DatapathType), datapathType(b.DatapathType))
	}
	if b.Controller != "" {
		var all []string
		for _, id := range r.Controller {
			if c := s.controllers[id]; c != nil {
				all = append(all, c.Target)
			}
		}
		slices.Sort(all)
		d.add("controller", strings.Join(all, " and "), b.Controller)
	}
	if len(b.Protocols) > 0 && !sameSet(r.Protocols, b.Protocols) {
		d.add("protocols", strings.Join(r.Protocols, " "), strings.Join(b.Protocols, " "))
	}
	found, set = d.texts()
	return r.UUID, found, set
}

func portIs(s *snapshot, bridge string, p *vswitch.Port) (uuid, found, set string) {
	r, i := s.ports[p.Name], s.interfaces[p.Name]
	if r == nil || i == nil {
		return "", gone, again
	}
	var d differences
	d.add("bridge", s.bridgeOf[r.UUID], bridge)
	d.add("type", i.Type, p.Type)
	d.add("tag", fmt.Sprint(or(r.Tag)), fmt.Sprint(p.Tag))
	options := maps.Clone(i.Options)
	if options == nil {
		options = map[string]string{}
	}
	for k := range p.Options {
		if _, has := options[k]; !has {
			options[k] = ""
		}
	}
	for _, k := range slices.Sorted(maps.Keys(options)) {
		d.add(k, options[k], p.Options[k])
	}
	found, set = d.texts()
	return r.UUID, found, set
}

func tagIs(s *snapshot, t vswitch.PortTag) (uuid, found, set string) {
	r := s.ports[t.Name]
	if r == nil {
		return "", gone, again
	}
	var d differences
	d.add("tag", fmt.Sprint(or(r.Tag)), fmt.Sprint(t.Tag))
	for _, k := range slices.Sorted(maps.Keys(t.OtherConfig)) {
		d.add("other_config:"+k, r.OtherConfig[k], t.OtherConfig[k])
	}
	found, set = d.texts()
	return r.UUID, found, set
}

// maxForeign bounds the flows of others that one look remembers.
const maxForeign = 10

// repairs are what a look at a bridge, whose flows had all been acknowledged, has put back.
func (b *flows) repairs(d *delta) []Repair {
	var out []Repair
	count := map[*part]int{}
	for _, p := range d.put {
		count[p.part]++
	}
	for _, p := range d.put {
		if n := count[p.part]; n > 0 {
			out = append(out, Repair{Kind: "flows", Bridge: b.bridge, Cookie: p.part.Cookie, Set: "there again",
				Found: fmt.Sprintf("%d missing or altered, such as %s", n, flowText(p.encodedFlow))})
			count[p.part] = 0
		}
	}
	for _, f := range d.drop[:min(len(d.drop), maxForeign)] {
		text := flowText(f)
		out = append(out, Repair{Kind: "flows", Bridge: b.bridge, Name: text, Found: "the flow " + text, Set: "removed"})
	}
	return out
}
