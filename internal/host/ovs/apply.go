package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"weft/internal/host/repairs"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// portTimeout bounds the wait for ovs-vswitchd to make an interface.
const portTimeout = 5 * time.Second

// renumberTime is how long ovs-vswitchd is given to number an interface as it was asked to.
const renumberTime = 500 * time.Millisecond

// comeBack is how long a bridge that cannot be reached otherwise is given to find a
// controller that has just begun to listen. Meanwhile its flows are what they were.
const comeBack = 4 * time.Second

// Apply makes the Open vSwitch as wanted and returns what could not be made. It
// returns when the bridges have acknowledged their flows. What is wanted stays wanted:
// Run works on it by itself when a bridge comes back; it must not be changed afterwards.
func (s *Switch) Apply(ctx context.Context, want vswitch.Switch) []Fault {
	s.apply.Lock()
	defer s.apply.Unlock()
	s.setTargets(&want)
	db := s.db.Load()
	if !db.connected() {
		// Flows need no database: go on with them.
		faults := []Fault{{Object: "database", Op: "reach", Err: errNoDatabase}}
		return append(faults, s.applyFlows(ctx, &want, flowOptions{})...)
	}
	list, same := s.changes(db, &want)
	var repaired []repairs.Repair
	if len(list) > 0 {
		repaired = s.repaired(db.current(), &want, list)
	}
	faults := s.do(ctx, db, list)
	if len(faults) == 0 {
		s.repairs.Note(time.Now(), repaired)
	}
	if !same {
		s.keep(db.current(), &want, faults)
	}
	fresh := map[string]bool{}
	for _, c := range list {
		fresh[c.object] = true
	}
	missing, misled := s.awaitPorts(ctx, db, &want, fresh)
	return slices.Concat(faults, missing, s.applyFlows(ctx, &want, flowOptions{fresh: fresh, without: misled}))
}

// settled is what was found to need no change of the database: the same need not be looked at again.
type settled struct {
	bridges  []vswitch.Bridge
	manager  string
	in       *snapshot
	observed *observed
}

func (a settled) same(b settled) bool {
	return len(a.bridges) > 0 && len(a.bridges) == len(b.bridges) && &a.bridges[0] == &b.bridges[0] &&
		a.manager == b.manager && a.in == b.in && a.observed == b.observed
}

// changes is what must be done to the database; same, if there was nothing to look at.
func (s *Switch) changes(db *database, want *vswitch.Switch) (list []change, same bool) {
	s.mu.Lock()
	now := settled{want.Bridges, want.Manager, db.current(), s.observed}
	s.mu.Unlock()
	if s.settled.same(now) {
		return nil, true
	}
	s.rememberTags(want)
	var seen map[string]bool
	if now.observed != nil {
		seen = now.observed.seen
	}
	list = changes(now.in, want, s.opt.IntegrationBridge, seen)
	if s.settled = (settled{}); len(list) == 0 {
		s.settled = now
	}
	return list, false
}

// setTargets tells every bridge its flows, before anything is done: a bridge that
// connects in the middle gets them from Run.
func (s *Switch) setTargets(want *vswitch.Switch) {
	named := map[string]map[uint8]string{}
	var ports []view.Attachment
	s.mu.Lock()
	if s.observed != nil {
		ports = s.observed.Attachments
	}
	s.mu.Unlock()
	for i := range want.Bridges {
		named[want.Bridges[i].Name] = want.Bridges[i].TableNames
	}
	for bridge, list := range want.Flows {
		b := s.flowsOf(bridge)
		b.set(list, named[bridge])
		if bridge == s.opt.IntegrationBridge {
			b.planned(ports)
		}
	}
	for i := range want.Bridges {
		if b := &want.Bridges[i]; b.Name != s.opt.IntegrationBridge && want.Flows[b.Name] != nil {
			s.flowsOf(b.Name).plannedOwn(b.Ports)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.flows {
		if _, ok := want.Flows[name]; !ok {
			delete(s.flows, name)
		}
	}
}

func (s *Switch) rememberTags(want *vswitch.Switch) {
	tags := map[string]vswitch.PortTag{}
	for i := range want.Bridges {
		for _, t := range want.Bridges[i].Tags {
			tags[t.Name] = t
		}
		for _, p := range want.Bridges[i].Ports {
			tags[p.Name] = vswitch.PortTag{Name: p.Name, Tag: p.Tag, OtherConfig: p.OtherConfig}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags = tags
}

// do makes all changes in one transaction; if that is refused, each in one of its own,
// so that only the one at fault is missing.
func (s *Switch) do(ctx context.Context, db *database, list []change) []Fault {
	if len(list) == 0 {
		return nil
	}
	var ops []ovsdb.Operation
	for _, c := range list {
		ops = append(ops, c.ops...)
	}
	err := s.transact(ctx, db, ops)
	if err == nil {
		return nil
	}
	if len(list) == 1 || ctx.Err() != nil || !db.connected() {
		return []Fault{{Object: list[0].object, Op: list[0].op, Err: err}}
	}
	var faults []Fault
	for _, c := range list {
		if err := s.transact(ctx, db, c.ops); err != nil {
			faults = append(faults, Fault{Object: c.object, Op: c.op, Err: err})
		}
	}
	return faults
}

func (s *Switch) transact(ctx context.Context, db *database, ops []ovsdb.Operation) error {
	s.transactions.Add(1)
	return db.transact(ctx, ops)
}

// awaitPorts waits for the interfaces of our own ports that were just made or changed,
// so that who comes after finds their devices; of the others it only says which fail. One
// that has another number than it was planned with has not been made yet, or never will: Open
// vSwitch gives another one if that is taken. The flows of its bridge must wait for a plan that
// begins with what is there; misled are such bridges.
func (s *Switch) awaitPorts(ctx context.Context, db *database, want *vswitch.Switch, fresh map[string]bool) (faults []Fault, misled map[string]bool) {
	misled = map[string]bool{}
	there := db.current().interfaces
	// One wait for all of them: what keeps one from being made keeps them all.
	begin := time.Now()
	for i := range want.Bridges {
		for _, p := range want.Bridges[i].Ports {
			if r := there[p.Name]; r != nil && attached(r) && (p.OFPort == 0 || or(r.OFPort) == int(p.OFPort)) {
				continue
			}
			// A port of an earlier attempt may still be in the making; but an
			// ovs-vswitchd that is away must not hold up everything each time.
			wait := 500 * time.Millisecond
			if fresh["port "+p.Name] {
				wait = portTimeout
			}
			if _, err := s.awaitPort(ctx, db, p.Name, view.OFPort(p.OFPort), begin.Add(wait)); err != nil {
				faults = append(faults, Fault{Object: "port " + p.Name, Op: "make", Err: err})
				misled[want.Bridges[i].Name] = misled[want.Bridges[i].Name] || errors.Is(err, errMoved)
			}
		}
	}
	return faults, misled
}

func rowsByName(db *database) map[string]*rowInterface {
	m := map[string]*rowInterface{}
	for _, r := range rows[rowInterface](db, tableInterface) {
		m[r.Name] = r
	}
	return m
}

// awaitPort waits until the interface has an OpenFlow port number: this one, or any if it is 0.
func (s *Switch) awaitPort(ctx context.Context, db *database, name string, number view.OFPort, deadline time.Time) (view.OFPort, error) {
	var wrong time.Time // since when it has another number
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		row := rowsByName(db)[name]
		other := number != 0 && row != nil && attached(row) && or(row.OFPort) != int(number)
		if !other {
			wrong = time.Time{}
		} else if wrong.IsZero() {
			wrong = time.Now()
		}
		switch {
		case row == nil:
			return 0, errors.New("there is no such interface in the database")
		case other && (time.Since(wrong) > renumberTime || time.Now().After(deadline)):
			return 0, fmt.Errorf("%w: ovs-vswitchd has made it as port %d, not as %d", errMoved, or(row.OFPort), number)
		case attached(row) && !other:
			return view.OFPort(or(row.OFPort)), nil
		case or(row.Error) != "":
			return 0, fmt.Errorf("ovs-vswitchd: %s", or(row.Error))
		case time.Now().After(deadline):
			return 0, fmt.Errorf("ovs-vswitchd has not made it in time (ofport: %s)", ofportText(row.OFPort))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// flowOptions say what was done before flows: objects that are new, bridges to leave alone.
type flowOptions struct{ fresh, without map[string]bool }

// applyFlows brings the flows of all bridges to their targets, bridges side by side.
func (s *Switch) applyFlows(ctx context.Context, want *vswitch.Switch, o flowOptions) []Fault {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(want.Flows)), func(b string) bool { return o.without[b] })
	faults := make([][]Fault, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			faults[i] = s.applyBridge(ctx, name, o.fresh["bridge "+name])
		})
	}
	wg.Wait()
	return slices.Concat(faults...)
}

// applyBridge brings the flows of one bridge to their target. A connection that was
// replaced in the middle, because the bridge and this process called each other at
// the same time, is no fault: the new one is used.
func (s *Switch) applyBridge(ctx context.Context, name string, isNew bool) []Fault {
	var faults []Fault
	for range 3 {
		c := s.awaitConn(ctx, name, isNew)
		if c == nil {
			return []Fault{{Object: "bridge " + name, Op: "change flows", Err: ErrNotConnected}}
		}
		_, faults = s.sync(ctx, s.flowsOf(name), c, remembered)
		if !slices.ContainsFunc(faults, func(f Fault) bool { return errors.Is(f.Err, errReplaced) }) {
			break
		}
	}
	return faults
}

// awaitConn is the connection of a bridge. It is waited for when it must come any
// moment: the bridge is new, or this process is, or the bridge has been called.
func (s *Switch) awaitConn(ctx context.Context, bridge string, isNew bool) *conn {
	if s.listen == nil {
		return nil
	}
	wait := time.Until(s.listened.Add(comeBack))
	if isNew {
		wait = max(wait, portTimeout)
	} else if s.connOf(bridge) == nil && s.reach(ctx, bridge) {
		wait = max(wait, time.Second)
	}
	deadline := time.Now().Add(wait)
	for {
		s.mu.Lock()
		up := s.connUp
		s.mu.Unlock()
		if c := s.connOf(bridge); c != nil || time.Now().After(deadline) {
			return c
		}
		select {
		case <-ctx.Done():
			return nil
		case <-up:
		case <-time.After(5 * time.Millisecond): // or the datapath ID has become known
		}
	}
}

// reach opens an OpenFlow connection to the bridge's own management socket, which OVS
// keeps beside that of the database. A bridge that has lost its controller tries to
// find it after one second, then two, four, eight; this process need not wait for it
// to wire what was plugged meanwhile. The controller connection replaces this one.
func (s *Switch) reach(ctx context.Context, bridge string) bool {
	sock, ok := strings.CutPrefix(s.opt.OVSDB, "unix:")
	if !ok {
		return false
	}
	nc, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(filepath.Dir(sock), bridge+".mgmt"))
	if err != nil {
		return false
	}
	select {
	case s.adopt <- nc:
		return true
	case <-ctx.Done():
	case <-time.After(time.Second): // nobody runs Run
	}
	_ = nc.Close()
	return false
}

// AddPort plugs a VIF: it puts a port on the bridge, or writes what is given to the one
// that is there, and waits until it works. One with an iface-id and no tag begins on
// the dead VLAN, so that nothing reaches it before it is wired.
func (s *Switch) AddPort(ctx context.Context, bridge string, p vswitch.Port) (view.OFPort, error) {
	s.apply.Lock()
	defer s.apply.Unlock()
	db := s.db.Load()
	snap := db.snapshot()
	at := snap.bridgeOf
	port, iface := snap.ports[p.Name], snap.interfaces[p.Name]
	var ops []ovsdb.Operation
	switch {
	case snap.bridges[bridge] == nil:
		return 0, fmt.Errorf("add port %s: there is no bridge %s", p.Name, bridge)
	case port == nil || iface == nil:
		if p.Tag == 0 && p.ExternalIDs[keyIfaceID] != "" {
			p.Tag = deadVLAN
		}
		ops = newPort(bridge, &p, nil)
	case at[port.UUID] != bridge:
		return 0, fmt.Errorf("add port %s: it is on bridge %s", p.Name, at[port.UUID])
	case owned(port.ExternalIDs):
		return 0, fmt.Errorf("add port %s: it is a port of the agent's own", p.Name)
	default:
		if row := interfaceDiff(iface, &p); len(row) > 0 {
			ops = []ovsdb.Operation{update(tableInterface, byName(p.Name), row)}
		}
	}
	if len(ops) > 0 {
		if err := s.transact(ctx, db, ops); err != nil {
			return 0, fmt.Errorf("add port %s: %w", p.Name, err)
		}
	}
	of, err := s.awaitPort(ctx, db, p.Name, 0, time.Now().Add(portTimeout))
	if err != nil {
		return 0, fmt.Errorf("add port %s: %w", p.Name, err)
	}
	return of, nil
}

// ForgetPort takes a port of Apply's own off the bridge, and waits until ovs-vswitchd has
// done so, for the next Apply to make it anew. That is the only way to get a device
// that was lost (with its namespace, or deleted by hand): ovs-vswitchd does not notice.
// A bridge that is not connected is left alone: its devices are being made.
func (s *Switch) ForgetPort(ctx context.Context, bridge, name string) error {
	s.apply.Lock()
	defer s.apply.Unlock()
	db := s.db.Load()
	snap := db.snapshot()
	port := snap.ports[name]
	switch {
	case port == nil:
		return nil
	case s.connOf(bridge) == nil:
		return fmt.Errorf("make port %s anew: %w", name, ErrNotConnected)
	case snap.bridgeOf[port.UUID] != bridge || !owned(port.ExternalIDs):
		return fmt.Errorf("make port %s anew: it is not the agent's port on bridge %s", name, bridge)
	}
	delete(s.kept, "port "+name)
	ops := []ovsdb.Operation{
		mutate(tableBridge, byName(bridge), "ports", ovsdb.MutateOperationDelete, set(uuid(port.UUID))),
		// ovs-vswitchd takes one port that goes and one of the same name that comes for a
		// change if it sees them at once.
		mutate(tableRoot, byUUID(snap.root.UUID), "next_cfg", ovsdb.MutateOperationAdd, 1),
	}
	if err := s.transact(ctx, db, ops); err != nil {
		return fmt.Errorf("make port %s anew: %w", name, err)
	}
	next := rootOf(db).NextCfg
	for deadline := time.Now().Add(portTimeout); rootOf(db).CurCfg < next; {
		if time.Now().After(deadline) {
			return fmt.Errorf("make port %s anew: ovs-vswitchd does not answer", name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// DelPort unplugs a VIF. One that is not there is no error; one of Apply's own is.
func (s *Switch) DelPort(ctx context.Context, bridge, name string) error {
	s.apply.Lock()
	defer s.apply.Unlock()
	db := s.db.Load()
	snap := db.snapshot()
	port := snap.ports[name]
	switch {
	case port == nil:
		return nil
	case snap.bridgeOf[port.UUID] != bridge:
		return fmt.Errorf("delete port %s: it is not on bridge %s", name, bridge)
	case owned(port.ExternalIDs) || name == bridge:
		return fmt.Errorf("delete port %s: it is a port of the agent's own", name)
	}
	err := s.transact(ctx, db, []ovsdb.Operation{
		mutate(tableBridge, byName(bridge), "ports", ovsdb.MutateOperationDelete, set(uuid(port.UUID)))})
	if err != nil {
		return fmt.Errorf("delete port %s: %w", name, err)
	}
	return nil
}
