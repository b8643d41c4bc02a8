package ovs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"weft/internal/host/diff"
	"weft/internal/host/openflow"
	"weft/internal/plan/vswitch"
)

// callTimeout bounds one bundle or dump.
const callTimeout = 15 * time.Second

// table is flows by key, each with its body (openflow.Flow.AppendKey, AppendBody).
type table map[string]string

// target is what the flows of one bridge must be, and what may be removed for it.
type target struct {
	wanted table
	// tables are those that the plan uses or names: a flow there that is not wanted
	// could undo what the plan is for, whoever made it.
	tables [256]bool
	// owners are the owner numbers of wanted cookies.
	owners map[uint16]bool
	// learned are the tables and cookies that wanted learn actions write with.
	learned map[learnedKey]bool
	// source is what the target was compiled from, and encoded the outcome of each flow:
	// the next plan is mostly the same one.
	source  []vswitch.Flow
	encoded []encodedFlow
	// faulty: some of source has no form on the wire.
	faulty bool
}

// encodedFlow is a flow as key and body; the key is empty if it has no form on the wire.
type encodedFlow struct{ key, body string }

type learnedKey struct {
	table  uint8
	cookie uint64
}

// compile makes the target of a bridge. What an earlier target, which may be nil, has
// encoded already is taken from there; flows should be sorted for that.
func compile(bridge string, flows []vswitch.Flow, names map[uint8]string, last *target) (*target, []Fault) {
	t := &target{wanted: make(table, len(flows)), owners: map[uint16]bool{}, learned: map[learnedKey]bool{},
		source: flows, encoded: make([]encodedFlow, len(flows))}
	if last == nil {
		last = &target{}
	}
	var faults []Fault
	var buf []byte
	at := 0
	for i := range flows {
		f := &flows[i]
		for at < len(last.source) && vswitch.Compare(last.source[at], *f) < 0 {
			at++
		}
		var e encodedFlow
		if at < len(last.source) && last.source[at].Equal(*f) {
			e = last.encoded[at]
		}
		if e.key == "" {
			w, err := toWire(f)
			if err != nil {
				faults = append(faults, Fault{Object: "flow " + f.String() + " of bridge " + bridge, Op: "encode", Err: err, Cookie: f.Cookie})
				continue
			}
			e, buf = encode(&w, buf)
		}
		t.encoded[i] = e
		t.add(f, e)
	}
	for n := range names {
		t.tables[n] = true
	}
	t.faulty = len(faults) > 0
	return t, faults
}

// encode uses buf, and returns it for the next.
func encode(w *openflow.Flow, buf []byte) (encodedFlow, []byte) {
	buf = w.AppendKey(buf[:0])
	n := len(buf)
	buf = w.AppendBody(buf)
	both := string(buf)
	return encodedFlow{both[:n], both[n:]}, buf
}

func (t *target) add(f *vswitch.Flow, e encodedFlow) {
	t.wanted[e.key] = e.body
	t.tables[f.Table] = true
	owner, _, _ := vswitch.SplitCookie(f.Cookie)
	t.owners[owner] = true
	for _, a := range f.Actions {
		if l, ok := a.(vswitch.Learn); ok {
			t.learned[learnedKey{l.Table, l.Cookie}] = true
		}
	}
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

// flows is what is known of the flows of one bridge.
type flows struct {
	bridge string

	mu     sync.Mutex
	target *target // nil before the first Apply: then nothing is touched
	// have is what the bridge acknowledged on conn; nil if that is not known.
	have table
	conn *conn
	// done is the target that the bridge has acknowledged in full.
	done *target
}

// outcome is what a sync did.
type outcome struct {
	dumped             bool
	added, removed     int
	changed, unchanged int
	bundles            int
}

// set makes these flows the target. The next sync works towards it.
func (b *flows) set(list []vswitch.Flow, names map[uint8]string) []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, faults := compile(b.bridge, list, names, b.target)
	b.target = t
	return faults
}

// isSet reports whether there is a target.
func (b *flows) isSet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.target != nil
}

// sync makes the flows of the bridge those of the target, in one bundle that holds the
// difference only. It compares with what was acknowledged; with the bridge itself on a
// new connection, after an error, or when verify says so.
func (b *flows) sync(ctx context.Context, c *conn, how syncMode) (outcome, []Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var o outcome
	if b.target == nil {
		return o, nil
	}
	fail := func(op string, err error) (outcome, []Fault) {
		b.have, b.done = nil, nil
		return o, []Fault{{Object: "bridge " + b.bridge, Op: op, Err: err}}
	}
	if b.conn != c || b.have == nil || how == verify {
		have, err := b.dump(ctx, c)
		if err != nil {
			return fail("dump flows", err)
		}
		o.dumped = true
		b.conn, b.have = c, have
	}
	ch := diff.OfComparable(b.target.wanted, b.have)
	put := slices.Concat(ch.Add, ch.Change)
	drop := slices.DeleteFunc(ch.Remove, func(k string) bool { return !b.target.ours(k, b.have[k]) })
	o.added, o.changed, o.removed, o.unchanged = len(ch.Add), len(ch.Change), len(drop), len(b.target.wanted)-len(put)
	refused, err := b.change(ctx, &o, put, drop)
	if err != nil {
		return fail("change flows", err)
	}
	b.done = nil
	if len(refused) == 0 && !b.target.faulty {
		b.done = b.target
	}
	return o, refused
}

// syncMode says what sync compares with.
type syncMode int

const (
	remembered syncMode = iota // what the bridge has acknowledged
	verify                     // what the bridge holds now
)

// dump reads the flows of the bridge, without those that it learned.
func (b *flows) dump(ctx context.Context, c *conn) (table, error) {
	stats, err := c.dump(ctx, openflow.AllFlows())
	if err != nil {
		return nil, err
	}
	have := make(table, len(stats))
	var buf []byte
	for i := range stats {
		f := &stats[i].Flow
		f.Canonicalize()
		var e encodedFlow
		e, buf = encode(f, buf)
		if !b.target.isLearned(e.key, e.body) {
			have[e.key] = e.body
		}
	}
	return have, nil
}

// maxAttempts bounds how often a bundle is sent again without the flows that were refused.
const maxAttempts = 32

// change sends the bundle. A flow that the bridge refuses is left out, and the rest
// sent again: one bad flow must not keep every port of the host from being wired.
func (b *flows) change(ctx context.Context, o *outcome, put, drop []string) ([]Fault, error) {
	var faults []Fault
	for range maxAttempts {
		if len(put)+len(drop) == 0 {
			return faults, nil
		}
		mods := make([]openflow.Message, 0, len(put)+len(drop))
		for _, k := range put {
			mods = append(mods, &openflow.EncodedFlowMod{Command: openflow.Add, Key: k, Body: b.target.wanted[k]})
		}
		for _, k := range drop {
			mods = append(mods, &openflow.EncodedFlowMod{Command: openflow.DeleteStrict, Key: k, Body: b.have[k]})
		}
		o.bundles++
		refused, err := b.conn.bundle(ctx, mods)
		if err != nil {
			return faults, err
		}
		if len(refused) == 0 {
			for _, k := range put {
				b.have[k] = b.target.wanted[k]
			}
			for _, k := range drop {
				delete(b.have, k)
			}
			return faults, nil
		}
		all := slices.Concat(put, drop)
		for i, e := range refused {
			faults = append(faults, b.refusal(all[i], e))
		}
		keep := func(keys []string, from int) (kept []string) {
			for i, k := range keys {
				if refused[from+i] == nil {
					kept = append(kept, k)
				}
			}
			return kept
		}
		put, drop = keep(put, 0), keep(drop, len(put))
	}
	return faults, fmt.Errorf("the bridge refused flows in %d bundles running", maxAttempts)
}

func (b *flows) refusal(key string, err error) Fault {
	body, ok := b.target.wanted[key]
	if !ok {
		body = b.have[key]
	}
	f := Fault{Object: "flow of bridge " + b.bridge, Op: "add", Err: err, Cookie: cookieOf(body)}
	if w, err := openflow.FlowOf(key, body); err == nil {
		if p, err := fromWire(w); err == nil {
			f.Object = "flow " + p.String() + " of bridge " + b.bridge
		}
	}
	return f
}

// DumpFlows reads the flows of a bridge with their counters, sorted. A flow that weft could not
// have made is left out and counted in foreign.
func (s *Switch) DumpFlows(ctx context.Context, bridge string) (list []vswitch.Counted, foreign int, err error) {
	c := s.connOf(bridge)
	if c == nil {
		return nil, 0, fmt.Errorf("bridge %s: %w", bridge, ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stats, err := c.dump(ctx, openflow.AllFlows())
	if err != nil {
		return nil, 0, fmt.Errorf("bridge %s: %w", bridge, err)
	}
	for i := range stats {
		f, err := fromWire(stats[i].Flow)
		if err != nil {
			foreign++
			continue
		}
		age := time.Duration(stats[i].DurationSec)*time.Second + time.Duration(stats[i].DurationNsec)
		list = append(list, vswitch.Counted{Flow: f, Packets: stats[i].Packets, Bytes: stats[i].Bytes, Age: age})
	}
	slices.SortStableFunc(list, func(a, b vswitch.Counted) int { return vswitch.Compare(a.Flow, b.Flow) })
	return list, foreign, nil
}

// ErrNotConnected is the fault of a bridge that has no OpenFlow connection to this process.
var ErrNotConnected = errors.New("the bridge is not connected to the controller")
