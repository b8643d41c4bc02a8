package ovs

import (
	"encoding/binary"
	"slices"

	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// table is flows by key, each with its body (openflow.Flow.AppendKey, AppendBody).
type table map[string]string

// encodedFlow is a flow as key and body.
type encodedFlow struct{ key, body string }

// learnedKey is where and as whose a learn action writes flows.
type learnedKey struct {
	table  uint8
	cookie uint64
}

// part is a part of a plan in the form in which it goes to the switch. It is not changed
// once it is made.
type part struct {
	*vswitch.Part
	// flows are those of List, in its order.
	flows []encodedFlow
	// err is why the flow bad of List has no form on the wire; then flows is empty, and the
	// part can never be put in.
	err error
	bad int
	// What target gathers from all parts.
	tables  []uint8
	owners  []uint16
	learned []learnedKey
}

// target is what the flows of one bridge must be, and what may be removed for it.
type target struct {
	parts []*part
	// of and like find a part by where it comes from, and by its cookie: the next plan
	// is mostly the same one.
	of   map[*vswitch.Part]*part
	like map[uint64]*part
	// tables are those that the plan uses or names: a flow there that is not wanted
	// could undo what the plan is for, whoever made it.
	tables [256]bool
	// owners are the owner numbers of wanted cookies.
	owners map[uint16]bool
	// learned are the tables and cookies that wanted learn actions write with.
	learned map[learnedKey]bool
}

// compile makes the target of a bridge. What an earlier target, which may be nil, has
// encoded already is taken from there.
func compile(flows vswitch.Flows, names map[uint8]string, last *target) *target {
	t := &target{parts: make([]*part, 0, len(flows)), of: make(map[*vswitch.Part]*part, len(flows)),
		like: make(map[uint64]*part, len(flows)), owners: map[uint16]bool{}, learned: map[learnedKey]bool{}}
	if last == nil {
		last = &target{}
	}
	for _, from := range flows {
		p := last.of[from]
		if p == nil {
			p = encodePart(from, last.like[from.Cookie])
		}
		t.parts = append(t.parts, p)
		t.of[from], t.like[from.Cookie] = p, p
		for _, n := range p.tables {
			t.tables[n] = true
		}
		for _, o := range p.owners {
			t.owners[o] = true
		}
		for _, l := range p.learned {
			t.learned[l] = true
		}
	}
	for n := range names {
		t.tables[n] = true
	}
	return t
}

// encodePart encodes a part. What its former form, which may be nil, has already is taken from there.
func encodePart(from *vswitch.Part, former *part) *part {
	p := &part{Part: from, flows: make([]encodedFlow, len(from.List))}
	if former == nil || former.err != nil {
		former = &part{Part: &vswitch.Part{}}
	}
	var buf []byte
	at := 0
	for i := range from.List {
		f := &from.List[i]
		p.note(f)
		for at < len(former.List) && vswitch.Compare(former.List[at], *f) < 0 {
			at++
		}
		if at < len(former.List) && former.List[at].Equal(*f) {
			p.flows[i] = former.flows[at]
			continue
		}
		w, err := toWire(f)
		if err != nil {
			p.flows, p.err, p.bad = nil, err, i
			return p
		}
		p.flows[i], buf = encode(&w, buf)
	}
	return p
}

func (p *part) note(f *vswitch.Flow) {
	if n := len(p.tables); n == 0 || p.tables[n-1] != f.Table {
		p.tables = append(p.tables, f.Table)
	}
	if owner, _, _ := vswitch.SplitCookie(f.Cookie); !slices.Contains(p.owners, owner) {
		p.owners = append(p.owners, owner)
	}
	for _, a := range f.Actions {
		if l, ok := a.(vswitch.Learn); ok {
			p.learned = append(p.learned, learnedKey{l.Table, l.Cookie})
		}
	}
}

// encode uses buf, and returns it for the next.
func encode(w *openflow.Flow, buf []byte) (encodedFlow, []byte) {
	buf = w.AppendKey(buf[:0])
	n := len(buf)
	buf = w.AppendBody(buf)
	both := string(buf)
	return encodedFlow{both[:n], both[n:]}, buf
}

// without are the parts that are to be put in when some cannot: none at all if one of
// those is a base, for then nothing is as the others take it to be.
func (t *target) without(withheld map[*part]bool) []*part {
	for p := range withheld {
		if p.Base {
			return nil
		}
	}
	return slices.DeleteFunc(slices.Clone(t.parts), func(p *part) bool { return withheld[p] })
}

// ours reports whether a flow that is not wanted is to be removed: one with our
// owner number, or one in a table that we fill. The rest belongs to somebody else.
func (t *target) ours(key, body string) bool {
	owner, _, _ := vswitch.SplitCookie(cookieOf(body))
	return t.owners[owner] || t.tables[key[0]]
}

// isLearned reports whether the switch made the flow itself, by a learn action that is wanted.
func (t *target) isLearned(key, body string) bool {
	return t.learned[learnedKey{key[0], cookieOf(body)}]
}

func cookieOf(body string) uint64 { return binary.BigEndian.Uint64([]byte(body[:8])) }

// delta is what turns the flows of a bridge into those that are wanted.
type delta struct {
	put  []putFlow
	drop []encodedFlow
	// changed are those of put that take the place of a flow.
	changed int
	// foreign are the flows that are neither wanted nor ours.
	foreign table
}

// putFlow is a flow to put in, and of which part it is.
type putFlow struct {
	encodedFlow
	part *part
}

// fromParts is what turns the parts that are in into those that are wanted. Parts that are both
// are not looked into.
func (t *target) fromParts(in, want []*part, foreign table) delta {
	d := delta{foreign: table{}}
	wanted := make(map[*part]bool, len(want))
	for _, p := range want {
		wanted[p] = true
	}
	had, former := make(map[*part]bool, len(in)), map[uint64]*part{}
	for _, p := range in {
		had[p] = true
		if wanted[p] {
			continue
		}
		if other := former[p.Cookie]; other != nil {
			d.between(other, nil)
		}
		former[p.Cookie] = p
	}
	for _, p := range want {
		if !had[p] {
			d.between(former[p.Cookie], p)
			delete(former, p.Cookie)
		}
	}
	for _, p := range former {
		d.between(p, nil)
	}
	for k, body := range foreign {
		if t.ours(k, body) {
			d.drop = append(d.drop, encodedFlow{k, body})
		} else {
			d.foreign[k] = body
		}
	}
	d.settle()
	return d
}

// between adds what turns one form of a part into the next; either may be nil. Both are sorted.
func (d *delta) between(old, now *part) {
	none := &part{Part: &vswitch.Part{}}
	if old == nil {
		old = none
	}
	if now == nil {
		now = none
	}
	for i, j := 0, 0; i < len(old.flows) || j < len(now.flows); {
		order := 0
		switch {
		case i == len(old.flows):
			order = 1
		case j == len(now.flows):
			order = -1
		case old.flows[i] != now.flows[j]:
			order = vswitch.Compare(old.List[i], now.List[j])
			if order == 0 {
				d.put = append(d.put, putFlow{now.flows[j], now})
				d.changed++
			}
		}
		switch {
		case order < 0:
			d.drop = append(d.drop, old.flows[i])
			i++
		case order > 0:
			d.put = append(d.put, putFlow{now.flows[j], now})
			j++
		default:
			i, j = i+1, j+1
		}
	}
}

// settle takes from what is dropped and what is foreign that in whose place something is
// put: a flow may have got another cookie, or moved from one part to another.
func (d *delta) settle() {
	if len(d.put) == 0 || len(d.drop)+len(d.foreign) == 0 {
		return
	}
	put := make(map[string]bool, len(d.put))
	for i := range d.put {
		put[d.put[i].key] = true
		delete(d.foreign, d.put[i].key)
	}
	d.drop = slices.DeleteFunc(d.drop, func(f encodedFlow) bool {
		if put[f.key] {
			d.changed++
		}
		return put[f.key]
	})
}

// fromFlows is what turns the flows that a bridge holds into the parts that are wanted.
func (t *target) fromFlows(have table, want []*part) delta {
	d := delta{foreign: table{}}
	if len(have) == 0 { // a switch that has just begun: nothing to look up
		n := 0
		for _, p := range want {
			n += len(p.flows)
		}
		d.put = make([]putFlow, 0, n)
	}
	wanted := make(map[string]bool, len(have))
	for _, p := range want {
		for _, f := range p.flows {
			if len(have) > 0 {
				wanted[f.key] = true
			}
			body, there := have[f.key]
			if there && body == f.body {
				continue
			}
			if there {
				d.changed++
			}
			d.put = append(d.put, putFlow{f, p})
		}
	}
	for k, body := range have {
		switch {
		case wanted[k]:
		case t.ours(k, body):
			d.drop = append(d.drop, encodedFlow{k, body})
		default:
			d.foreign[k] = body
		}
	}
	return d
}
