package ovs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/host/openflow"
	"weft/internal/host/repairs"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// callTimeout bounds one bundle or dump.
const callTimeout = 15 * time.Second

// flows is what is known of the flows of one bridge.
type flows struct {
	bridge string

	mu     sync.Mutex
	target *target // nil before the first Apply: then nothing is touched
	// ports are those that the target was planned for, with their numbers; own are those that the
	// plan makes itself, such as tunnels.
	ports []view.Attachment
	own   []vswitch.Port
	conn  *conn
	// known: in are the parts, and foreign the flows of others, that the bridge holds, as
	// it acknowledged on conn.
	known   bool
	in      []*part
	foreign table
	// done is the target that the bridge has acknowledged in full.
	done *target
	// held is for who reads the bridge beside a sync; nil while something is being changed, or nothing is known.
	held atomic.Pointer[held]
}

// outcome is what a sync did.
type outcome struct {
	dumped             bool
	added, removed     int
	changed, unchanged int
	bundles            int
	repairs            []repairs.Repair
}

// set makes these flows the target. The next sync works towards it.
func (b *flows) set(list vswitch.Flows, names map[uint8]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.target = compile(list, names, b.target)
}

// planned notes which ports the target was planned for.
func (b *flows) planned(ports []view.Attachment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ports = ports
}

// plannedOwn notes the bridge's ports of the plan.
func (b *flows) plannedOwn(ports []vswitch.Port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own = ports
}

// errMoved is why flows are not put in over a new connection.
var errMoved = errors.New("the ports of the bridge are not those that its flows were planned for")

// maxPortName is the longest name of a port that OpenFlow tells.
const maxPortName = 15

// moved is an error if a port has not the number by which the target knows it. An ovs-vswitchd
// that has been restarted numbers its ports anew: one would get the flows of another. As long
// as it runs it does not give a number away.
func (b *flows) moved(ctx context.Context, c *conn) error {
	if len(b.ports)+len(b.own) == 0 {
		return nil
	}
	numbers, err := c.ports(ctx)
	if err != nil {
		return err
	}
	for _, p := range b.ports {
		if len(p.Device) <= maxPortName && numbers[p.Device] != uint32(p.OFPort) {
			return fmt.Errorf("%w: %s was port %d", errMoved, p.Device, p.OFPort)
		}
	}
	if len(b.own) == 0 {
		return nil
	}
	holder := make(map[uint32]string, len(numbers))
	for name, n := range numbers {
		holder[n] = name
	}
	for _, p := range b.own {
		// One that is missing harms nobody, as long as no other port has its number.
		if h := holder[p.OFPort]; p.OFPort != 0 && len(p.Name) <= maxPortName && h != "" && h != p.Name {
			return fmt.Errorf("%w: port %d should be %s and is %s", errMoved, p.OFPort, p.Name, h)
		}
	}
	return nil
}

// isSet reports whether there is a target.
func (b *flows) isSet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.target != nil
}

// syncMode says what sync compares with.
type syncMode int

const (
	remembered syncMode = iota // what the bridge has acknowledged
	verify                     // what the bridge holds now
)

// sync makes the flows of the bridge those of the target, in one bundle that holds the
// difference only. It compares with what was acknowledged; with the bridge itself on a
// new connection, after an error, or when verify says so.
//
// A part of which the bridge refuses a flow is withheld whole, and what was there of its
// former form goes: half of a filter could let through what the whole would not. The rest
// is put in all the same, so that one bad flow does not keep every port of the host
// from being wired; but without a base, nothing is. The next sync tries all of it again.
func (b *flows) sync(ctx context.Context, c *conn, how syncMode) (outcome, []Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var o outcome
	// Nothing was left to do: what differs now, somebody else has done.
	steady := how == verify && b.known && b.conn == c && b.done == b.target
	if b.target == nil {
		return o, nil
	}
	fail := func(op string, err error) (outcome, []Fault) {
		b.known, b.done = false, nil
		b.held.Store(nil)
		return o, []Fault{{Object: "bridge " + b.bridge, Op: op, Err: err}}
	}
	if b.conn != c {
		if err := b.moved(ctx, c); err != nil {
			return fail("change flows", err)
		}
	}
	var have table
	if b.conn != c || !b.known || how == verify {
		var err error
		if have, err = b.dump(ctx, c); err != nil {
			return fail("dump flows", err)
		}
		o.dumped, b.conn = true, c
	}
	b.done = nil
	r := refusals{bridge: b.bridge, withheld: map[*part]bool{}, stuck: map[string]bool{}}
	for _, p := range b.target.parts {
		if p.err != nil {
			r.withhold(p, p.List[p.bad].String(), "encode", p.err)
		}
	}
	for {
		want := b.target.without(r.withheld)
		var d delta
		if have != nil {
			d = b.target.fromFlows(have, want)
		} else {
			d = b.target.fromParts(b.in, want, b.foreign)
		}
		d.drop = slices.DeleteFunc(d.drop, func(f encodedFlow) bool { return r.stuck[f.key] })
		refused, err := b.send(ctx, &o, &d)
		if err != nil {
			return fail("change flows", err)
		}
		if len(refused) > 0 {
			r.note(&d, refused)
			continue
		}
		b.known, b.in, b.foreign = len(r.stuck) == 0, want, d.foreign
		b.hold()
		o.count(want, &d)
		if steady {
			o.repairs = b.repaired(&d)
		}
		if len(r.faults) == 0 {
			b.done = b.target
		}
		return o, r.faults
	}
}

func (o *outcome) count(want []*part, d *delta) {
	o.added, o.changed, o.removed, o.unchanged = len(d.put)-d.changed, d.changed, len(d.drop), -len(d.put)
	for _, p := range want {
		o.unchanged += len(p.flows)
	}
}

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

// send sends the difference in one bundle. If some of it is refused, by index, nothing has changed.
func (b *flows) send(ctx context.Context, o *outcome, d *delta) (refused map[int]*openflow.Error, err error) {
	n := len(d.put) + len(d.drop)
	if n == 0 {
		return nil, nil
	}
	b.held.Store(nil)
	mods := make([]openflow.Message, 0, n)
	for i := range d.put {
		mods = append(mods, &openflow.EncodedFlowMod{Command: openflow.Add, Key: d.put[i].key, Body: d.put[i].body})
	}
	for _, f := range d.drop {
		mods = append(mods, &openflow.EncodedFlowMod{Command: openflow.DeleteStrict, Key: f.key, Body: f.body})
	}
	o.bundles++
	return b.conn.bundle(ctx, mods)
}

// refusals are what a sync goes on without.
type refusals struct {
	bridge   string
	withheld map[*part]bool
	// stuck are flows that cannot be removed, by key.
	stuck  map[string]bool
	faults []Fault
}

// note takes in what the bridge refused of d. Each time there is something new in it, so
// that a sync comes to an end.
func (r *refusals) note(d *delta, refused map[int]*openflow.Error) {
	for i := range len(d.put) + len(d.drop) {
		e := refused[i]
		switch {
		case e == nil:
		case i < len(d.put):
			if p := d.put[i]; !r.withheld[p.part] {
				r.withhold(p.part, flowText(p.encodedFlow), "add", e)
			}
		default:
			f := d.drop[i-len(d.put)]
			r.stuck[f.key] = true
			r.faults = append(r.faults, Fault{Object: r.object(flowText(f)), Op: "remove", Err: e, Cookie: cookieOf(f.body)})
		}
	}
}

// withhold makes a fault of a part. One of a base has no cookie: it concerns everything.
func (r *refusals) withhold(p *part, flow, op string, err error) {
	r.withheld[p] = true
	f := Fault{Object: r.object(flow), Op: op, Err: err, Cookie: p.Cookie}
	if p.Base {
		f.Cookie = 0
	}
	r.faults = append(r.faults, f)
}

// maxFlowText keeps a flow with thousands of outputs readable in a log.
const maxFlowText = 400

func (r *refusals) object(flow string) string {
	if len(flow) > maxFlowText {
		flow = flow[:maxFlowText] + "..."
	}
	return "flow " + flow + " of bridge " + r.bridge
}

// flowText is a flow in the words of a plan, if it has any there.
func flowText(e encodedFlow) string {
	w, err := openflow.FlowOf(e.key, e.body)
	if err != nil {
		return "?"
	}
	f, err := fromWire(w)
	if err != nil {
		return "?"
	}
	return f.String()
}

// ask asks a bridge something that changes nothing. As in applyBridge, a connection that was replaced in the
// middle is no failure: the new one is asked.
func ask[T any](ctx context.Context, s *Switch, bridge string, question func(context.Context, *conn) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		c := s.connOf(bridge)
		if c == nil {
			return answer, fmt.Errorf("bridge %s: %w", bridge, ErrNotConnected)
		}
		answer, err = question(ctx, c)
		if err == nil {
			return answer, nil
		}
		if !errors.Is(err, errReplaced) || ctx.Err() != nil {
			return answer, fmt.Errorf("bridge %s: %w", bridge, err)
		}
	}
}

// DumpFlows reads the flows of a bridge whose cookie is cookie in the bits of mask, with
// their counters, sorted. A flow that weft could not have made is left out and counted in foreign.
func (s *Switch) DumpFlows(ctx context.Context, bridge string, cookie, mask uint64) (list []vswitch.Counted, foreign int, err error) {
	request := openflow.AllFlows()
	request.Cookie, request.CookieMask = cookie, mask
	stats, err := ask(ctx, s, bridge, func(ctx context.Context, c *conn) ([]openflow.FlowStats, error) {
		return c.dump(ctx, request)
	})
	if err != nil {
		return nil, 0, err
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
