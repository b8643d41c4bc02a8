package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weft/internal/host/repairs"
	"weft/internal/plan/vswitch"
)

// Repairs returns those of the last ten minutes, oldest first.
func (s *Switch) Repairs() []repairs.Repair { return s.repairs.List(time.Now()) }

// keptRow is a row of the database that was as wanted after the last Apply.
type keptRow struct{ uuid, want string }

// repaired are the changes that put back what was as wanted after the last Apply and is still
// wanted so. A row that is new, or of which something else is wanted now, is none.
func (s *Switch) repaired(at *snapshot, want *vswitch.Switch, list []change) []repairs.Repair {
	doing := make(map[string]bool, len(list))
	for _, c := range list {
		doing[c.object] = true
	}
	var out []repairs.Repair
	each(want, func(object, text string, r repairs.Repair, found func(*snapshot) (uuid, found, set string)) {
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
	each(want, func(object, text string, _ repairs.Repair, found func(*snapshot) (uuid, found, set string)) {
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
func each(want *vswitch.Switch, f func(object, text string, r repairs.Repair, found func(*snapshot) (uuid, found, set string))) {
	for i := range want.Bridges {
		b := &want.Bridges[i]
		f("bridge "+b.Name, fmt.Sprint(b.FailMode, b.DatapathType, b.Controller, b.Protocols), repairs.Repair{Kind: "bridge", Bridge: b.Name},
			func(s *snapshot) (string, string, string) { return bridgeIs(s, b) })
		for j := range b.Ports {
			p := &b.Ports[j]
			f("port "+p.Name, fmt.Sprint(p.Type, p.Tag, p.Options, p.OFPort, p.MTU, p.ExternalIDs, p.OtherConfig), repairs.Repair{Kind: "port", Bridge: b.Name, Name: p.Name},
				func(s *snapshot) (string, string, string) { return portIs(s, b.Name, p) })
		}
		for _, t := range b.Tags {
			f("port "+t.Name, fmt.Sprint(t.Tag, t.OtherConfig), repairs.Repair{Kind: "port", Bridge: b.Name, Name: t.Name},
				func(s *snapshot) (string, string, string) { return tagIs(s, t) })
		}
	}
}

func bridgeIs(s *snapshot, b *vswitch.Bridge) (uuid, found, set string) {
	r := s.bridges[b.Name]
	if r == nil {
		return "", repairs.Gone, repairs.Again
	}
	var d repairs.Differences
	if b.FailMode != "" {
		d.Add("fail_mode", or(r.FailMode), b.FailMode)
	}
	if b.DatapathType != "" {
		d.Add("datapath_type", datapathType(r.DatapathType), datapathType(b.DatapathType))
	}
	if b.Controller != "" {
		var all []string
		for _, id := range r.Controller {
			if c := s.controllers[id]; c != nil {
				all = append(all, c.Target)
			}
		}
		slices.Sort(all)
		d.Add("controller", strings.Join(all, " and "), b.Controller)
	}
	if len(b.Protocols) > 0 && !sameSet(r.Protocols, b.Protocols) {
		d.Add("protocols", strings.Join(r.Protocols, " "), strings.Join(b.Protocols, " "))
	}
	found, set = d.Texts()
	return r.UUID, found, set
}

func portIs(s *snapshot, bridge string, p *vswitch.Port) (uuid, found, set string) {
	r, i := s.ports[p.Name], s.interfaces[p.Name]
	if r == nil || i == nil {
		return "", repairs.Gone, repairs.Again
	}
	var d repairs.Differences
	d.Add("bridge", s.bridgeOf[r.UUID], bridge)
	d.Add("type", i.Type, p.Type)
	d.Add("tag", fmt.Sprint(or(r.Tag)), fmt.Sprint(p.Tag))
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
		d.Add(k, options[k], p.Options[k])
	}
	found, set = d.Texts()
	return r.UUID, found, set
}

func tagIs(s *snapshot, t vswitch.PortTag) (uuid, found, set string) {
	r := s.ports[t.Name]
	if r == nil {
		return "", repairs.Gone, repairs.Again
	}
	var d repairs.Differences
	d.Add("tag", fmt.Sprint(or(r.Tag)), fmt.Sprint(t.Tag))
	for _, k := range slices.Sorted(maps.Keys(t.OtherConfig)) {
		d.Add("other_config:"+k, r.OtherConfig[k], t.OtherConfig[k])
	}
	found, set = d.Texts()
	return r.UUID, found, set
}

// maxForeign bounds the flows of others that one look remembers.
const maxForeign = 10

// repaired are what a look at a bridge, whose flows had all been acknowledged, has put back.
func (b *flows) repaired(d *delta) []repairs.Repair {
	var out []repairs.Repair
	count := map[*part]int{}
	for _, p := range d.put {
		count[p.part]++
	}
	for _, p := range d.put {
		if n := count[p.part]; n > 0 {
			out = append(out, repairs.Repair{Kind: "flows", Bridge: b.bridge, Cookie: p.part.Cookie, Set: "there again",
				Found: fmt.Sprintf("%d missing or altered, such as %s", n, flowText(p.encodedFlow))})
			count[p.part] = 0
		}
	}
	for _, f := range d.drop[:min(len(d.drop), maxForeign)] {
		text := flowText(f)
		out = append(out, repairs.Repair{Kind: "flows", Bridge: b.bridge, Name: text, Found: "the flow " + text, Set: "removed"})
	}
	return out
}
