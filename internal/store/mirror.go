package store

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"weft/internal/model"
)

// mirror holds all objects at one revision, and indexes of them.
type mirror struct {
	alloc *allocator

	mu       sync.RWMutex
	rev      int64
	changed  chan struct{} // closed and replaced when rev grows
	networks map[model.NetworkID]*Entry[model.Network]
	subnets  map[model.SubnetID]*Entry[model.Subnet]
	ports    map[model.PortID]*Entry[model.Port]
	hosts    map[model.HostName]*Entry[model.Host]
	beats    map[model.HostName]beat
	now      func() time.Time // the clock by which heartbeats are heard

	segments   map[model.Segment]model.NetworkID
	perNetwork map[model.NetworkID]*networkParts
	perSubnet  map[model.SubnetID]*subnetParts
	byHost     map[model.HostName]map[model.PortID]*Entry[model.Port]
	dhcpOn     map[model.HostName]int // DHCP ports
	byDevice   map[string][]*Entry[model.Port]
	byMAC      map[model.MAC][]*Entry[model.Port]
	byAddr     map[netip.Addr][]*Entry[model.Port]
	portNames  map[string][]*Entry[model.Port]

	networksOf map[model.ProjectID]map[model.NetworkID]*Entry[model.Network]
	subnetsOf  map[model.ProjectID]map[model.SubnetID]*Entry[model.Subnet]
	portsOf    map[model.ProjectID]map[model.PortID]*Entry[model.Port]

	portOrder *byID

	rows      map[string]anyRows // by directory
	referrers map[Ref]map[Ref]struct{}

	subs map[*Subscription]struct{}
}

type networkParts struct {
	subnets map[model.SubnetID]*Entry[model.Subnet]
	ports   map[model.PortID]*Entry[model.Port]
	// bound counts the ports by the host that they are bound to; hosts are these hosts,
	// sorted: another slice when one comes or goes.
	bound map[model.HostName]int
	hosts []model.HostName
	dhcp  map[model.PortID]*Entry[model.Port] // those of ports; nil for none
}

type subnetParts struct {
	ports     map[model.PortID]*Entry[model.Port]
	addresses int
}

func newMirror(alloc *allocator, now func() time.Time) *mirror {
	m := &mirror{
		alloc:   alloc,
		now:     now,
		changed: make(chan struct{}),
		subs:    map[*Subscription]struct{}{},
	}
	m.clear()
	return m
}

func (m *mirror) clear() {
	m.networks = map[model.NetworkID]*Entry[model.Network]{}
	m.subnets = map[model.SubnetID]*Entry[model.Subnet]{}
	m.ports = map[model.PortID]*Entry[model.Port]{}
	m.hosts = map[model.HostName]*Entry[model.Host]{}
	m.beats = map[model.HostName]beat{}
	m.segments = map[model.Segment]model.NetworkID{}
	m.perNetwork = map[model.NetworkID]*networkParts{}
	m.perSubnet = map[model.SubnetID]*subnetParts{}
	m.byHost = map[model.HostName]map[model.PortID]*Entry[model.Port]{}
	m.dhcpOn = map[model.HostName]int{}
	m.byDevice = map[string][]*Entry[model.Port]{}
	m.byMAC = map[model.MAC][]*Entry[model.Port]{}
	m.byAddr = map[netip.Addr][]*Entry[model.Port]{}
	m.portNames = map[string][]*Entry[model.Port]{}
	m.networksOf = map[model.ProjectID]map[model.NetworkID]*Entry[model.Network]{}
	m.subnetsOf = map[model.ProjectID]map[model.SubnetID]*Entry[model.Subnet]{}
	m.portsOf = map[model.ProjectID]map[model.PortID]*Entry[model.Port]{}
	m.portOrder = new(byID)
	m.rows = map[string]anyRows{}
	for _, k := range kinds() {
		m.rows[k.dir()] = k.newRows()
	}
	m.referrers = map[Ref]map[Ref]struct{}{}
}

// write is one put or delete of a key, with the decoded object. Exactly one of the
// object fields is set for a put; for a delete only the ID fields of key are used.
type write struct {
	key   string
	value []byte // nil means delete
	dir   string
	id    string
	obj   any // *model.Network, ... , time.Time for a heartbeat; nil for unique keys and deletes
}

// batch is the writes of one revision.
type batch struct {
	rev    int64
	writes []write
}

// reached reports whether the mirror is at rev or later; if not, the channel closes when it moves.
func (m *mirror) reached(rev int64) (<-chan struct{}, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.changed, m.rev >= rev
}

// applyNext applies the batch only if it is the very next revision, and reports whether
// the mirror has reached it. So a writer may apply its own write without waiting for the
// watch, and never out of order.
func (m *mirror) applyNext(b batch) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rev+1 == b.rev {
		m.apply(b)
		m.advance(b.rev)
	}
	return m.rev >= b.rev
}

// applyAll applies what the watch brought, skipping what is known already.
func (m *mirror) applyAll(batches []batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range batches {
		if b.rev > m.rev {
			m.apply(b)
			m.advance(b.rev)
		}
	}
}

func (m *mirror) advance(rev int64) {
	m.rev = rev
	close(m.changed)
	m.changed = make(chan struct{})
	for s := range m.subs {
		s.reach(rev)
	}
}

// order puts parents before children, so that indexes of parents exist first.
var order = func() []string {
	dirs := []string{dirHost, dirHeartbeat, dirNetwork, dirSubnet, dirPort}
	for _, k := range kinds() {
		dirs = append(dirs, k.dir())
	}
	return dirs
}()

// setIn gives a map of maps a value.
func setIn[K, I comparable, V any](outer map[K]map[I]V, key K, id I, v V) {
	if outer[key] == nil {
		outer[key] = map[I]V{}
	}
	outer[key][id] = v
}

// dropFrom takes a value out of a map of maps, and the inner map with its last value.
func dropFrom[K, I comparable, V any](outer map[K]map[I]V, key K, id I) {
	delete(outer[key], id)
	if len(outer[key]) == 0 {
		delete(outer, key)
	}
}

// apply makes the mirror reflect b: puts of parents first, deletes of parents last.
func (m *mirror) apply(b batch) {
	if len(b.writes) <= 4 { // the usual: one object and its unique keys
		for _, w := range b.writes {
			m.applyOne(w, b.rev)
		}
		return
	}
	for _, dir := range order {
		for _, w := range b.writes {
			if w.dir == dir && w.obj != nil {
				m.applyOne(w, b.rev)
			}
		}
	}
	for _, dir := range slices.Backward(order) {
		for _, w := range b.writes {
			if w.dir == dir && w.obj == nil {
				m.applyOne(w, b.rev)
			}
		}
	}
}

func (m *mirror) applyOne(w write, rev int64) {
	switch w.dir {
	case dirNetwork:
		var e *Entry[model.Network]
		if v, ok := w.obj.(*model.Network); ok {
			e = &Entry[model.Network]{Value: v, ModRev: rev}
		}
		m.setNetwork(model.NetworkID(w.id), e)
	case dirSubnet:
		var e *Entry[model.Subnet]
		if v, ok := w.obj.(*model.Subnet); ok {
			e = &Entry[model.Subnet]{Value: v, ModRev: rev}
		}
		m.setSubnet(model.SubnetID(w.id), e)
	case dirPort:
		var e *Entry[model.Port]
		if v, ok := w.obj.(*model.Port); ok {
			e = &Entry[model.Port]{Value: v, ModRev: rev}
		}
		m.setPort(model.PortID(w.id), e)
	case dirHost:
		var e *Entry[model.Host]
		if v, ok := w.obj.(*model.Host); ok {
			e = &Entry[model.Host]{Value: v, ModRev: rev}
		}
		m.setHost(model.HostName(w.id), e)
	case dirHeartbeat:
		at, _ := w.obj.(time.Time)
		m.setHeartbeat(model.HostName(w.id), beat{at: at, rev: rev, heard: m.now()})
	default:
		if rows := m.rows[w.dir]; rows != nil {
			rows.set(m, w.id, w.obj, rev)
		}
	}
}

func (m *mirror) setNetwork(id model.NetworkID, e *Entry[model.Network]) {
	if old := m.networks[id]; old != nil {
		for _, g := range old.Value.AllSegments() {
			if m.segments[g] == id {
				delete(m.segments, g)
			}
		}
		dropFrom(m.networksOf, old.Value.Project, id)
		m.unrefer(Ref{model.KindNetwork, string(id)}, networkRefs(old.Value))
	}
	if e == nil {
		delete(m.networks, id)
		m.dropNetworkParts(id)
	} else {
		m.networks[id] = e
		for _, g := range e.Value.AllSegments() {
			m.segments[g] = id
		}
		setIn(m.networksOf, e.Value.Project, id, e)
		m.refer(Ref{model.KindNetwork, string(id)}, networkRefs(e.Value))
	}
	m.tell(Change{Kind: model.KindNetwork, ID: string(id), Network: id})
}

func (m *mirror) partsOf(id model.NetworkID) *networkParts {
	n := m.perNetwork[id]
	if n == nil {
		n = &networkParts{
			subnets: map[model.SubnetID]*Entry[model.Subnet]{},
			ports:   map[model.PortID]*Entry[model.Port]{},
			bound:   map[model.HostName]int{},
		}
		m.perNetwork[id] = n
	}
	return n
}

func (m *mirror) dropNetworkParts(id model.NetworkID) {
	n := m.perNetwork[id]
	if n != nil && len(n.subnets) == 0 && len(n.ports) == 0 && len(n.bound) == 0 && m.networks[id] == nil {
		delete(m.perNetwork, id)
	}
}

func (m *mirror) setSubnet(id model.SubnetID, e *Entry[model.Subnet]) {
	old := m.subnets[id]
	var network model.NetworkID
	if old != nil {
		network = old.Value.NetworkID
		delete(m.partsOf(network).subnets, id)
		m.dropNetworkParts(network)
		dropFrom(m.subnetsOf, old.Value.Project, id)
		m.unrefer(Ref{model.KindSubnet, string(id)}, subnetRefs(old.Value))
	}
	if e == nil {
		delete(m.subnets, id)
		m.alloc.dropSubnet(id)
	} else {
		network = e.Value.NetworkID
		m.subnets[id] = e
		m.partsOf(network).subnets[id] = e
		setIn(m.subnetsOf, e.Value.Project, id, e)
		m.refer(Ref{model.KindSubnet, string(id)}, subnetRefs(e.Value))
		if old == nil {
			m.alloc.addSubnet(id, e.Value.CIDR)
		}
	}
	m.tell(Change{Kind: model.KindSubnet, ID: string(id), Network: network})
}

func (m *mirror) setPort(id model.PortID, e *Entry[model.Port]) {
	ch := Change{Kind: model.KindPort, ID: string(id)}
	var before, after *model.Port
	if old := m.ports[id]; old != nil {
		before, ch.Network = old.Value, old.Value.NetworkID
		m.unindex(old)
		delete(m.ports, id)
		if e == nil {
			m.portOrder.remove(string(id))
		}
	}
	if e != nil {
		after, ch.Network = e.Value, e.Value.NetworkID
		m.ports[id] = e
		m.portOrder.insert(e)
		m.index(e)
	}
	m.rebind(before, after)
	ch.Groups = membership(before, after)
	m.tell(ch)
}

func (m *mirror) index(e *Entry[model.Port]) {
	p := e.Value
	parts := m.partsOf(p.NetworkID)
	parts.ports[p.ID] = e
	if p.DeviceOwner == model.OwnerDHCP {
		if parts.dhcp == nil {
			parts.dhcp = map[model.PortID]*Entry[model.Port]{}
		}
		parts.dhcp[p.ID] = e
		m.dhcpOn[p.Binding.Host]++
	}
	setIn(m.portsOf, p.Project, p.ID, e)
	m.refer(Ref{model.KindPort, string(p.ID)}, portRefs(p))
	m.byMAC[p.MAC] = append(m.byMAC[p.MAC], e)
	for _, f := range p.FixedIPs {
		m.byAddr[f.Addr] = append(m.byAddr[f.Addr], e)
		n := m.perSubnet[f.SubnetID]
		if n == nil {
			n = &subnetParts{ports: map[model.PortID]*Entry[model.Port]{}}
			m.perSubnet[f.SubnetID] = n
		}
		n.ports[p.ID] = e
		n.addresses++
		m.alloc.take(f.SubnetID, f.Addr)
	}
	if p.Name != "" {
		m.portNames[p.Name] = append(m.portNames[p.Name], e)
	}
	if p.DeviceID != "" {
		m.byDevice[p.DeviceID] = append(m.byDevice[p.DeviceID], e)
	}
	if h := p.Binding.Host; h != "" {
		if m.byHost[h] == nil {
			m.byHost[h] = map[model.PortID]*Entry[model.Port]{}
		}
		m.byHost[h][p.ID] = e
	}
}

func (m *mirror) unindex(e *Entry[model.Port]) {
	p := e.Value
	parts := m.partsOf(p.NetworkID)
	delete(parts.ports, p.ID)
	if p.DeviceOwner == model.OwnerDHCP {
		delete(parts.dhcp, p.ID)
		if m.dhcpOn[p.Binding.Host]--; m.dhcpOn[p.Binding.Host] == 0 {
			delete(m.dhcpOn, p.Binding.Host)
		}
	}
	m.dropNetworkParts(p.NetworkID)
	dropFrom(m.portsOf, p.Project, p.ID)
	m.unrefer(Ref{model.KindPort, string(p.ID)}, portRefs(p))
	remove(m.byMAC, p.MAC, e)
	for _, f := range p.FixedIPs {
		remove(m.byAddr, f.Addr, e)
		if n := m.perSubnet[f.SubnetID]; n != nil {
			delete(n.ports, p.ID)
			if n.addresses--; n.addresses == 0 {
				delete(m.perSubnet, f.SubnetID)
			}
		}
		// After a lost watch, another port may have been seen to hold it already.
		if (Reader{m}).PortByAddr(f.SubnetID, f.Addr) == nil {
			m.alloc.free(f.SubnetID, f.Addr)
		}
	}
	remove(m.portNames, p.Name, e)
	remove(m.byDevice, p.DeviceID, e)
	if h := p.Binding.Host; h != "" {
		delete(m.byHost[h], p.ID)
		if len(m.byHost[h]) == 0 {
			delete(m.byHost, h)
		}
	}
}

// remove takes e out of the list of key, and the key out of the index when the list is empty.
func remove[K comparable](index map[K][]*Entry[model.Port], key K, e *Entry[model.Port]) {
	list := index[key]
	i := slices.Index(list, e)
	if i < 0 {
		return
	}
	if len(list) == 1 {
		delete(index, key)
		return
	}
	list[i] = list[len(list)-1]
	list[len(list)-1] = nil
	index[key] = list[:len(list)-1]
}

func (m *mirror) setHost(name model.HostName, e *Entry[model.Host]) {
	if e == nil {
		delete(m.hosts, name)
	} else {
		m.hosts[name] = withHeartbeat(e, m.beats[name])
	}
	m.tell(Change{Kind: model.KindHost, ID: string(name)})
}

// beat is the last heartbeat of a host.
type beat struct {
	at    time.Time // as stored: by the clock of whichever server it came to
	rev   int64
	heard time.Time // when the key was seen to change, by this machine's clock
}

// setHeartbeat tells no subscriber: that a host lives is not a change of the cloud.
func (m *mirror) setHeartbeat(name model.HostName, b beat) {
	if b.at.IsZero() {
		delete(m.beats, name)
		return
	}
	if m.beats[name].rev == b.rev {
		return // seen again in a listing
	}
	m.beats[name] = b
	if e := m.hosts[name]; e != nil {
		m.hosts[name] = withHeartbeat(e, b)
	}
}

func withHeartbeat(e *Entry[model.Host], b beat) *Entry[model.Host] {
	if b.rev == 0 {
		return e
	}
	h := *e.Value
	h.HeartbeatAt, h.HeardAt = b.at, b.heard
	return &Entry[model.Host]{Value: &h, ModRev: e.ModRev}
}

// tell is called with the mirror locked, for each change of an object.
func (m *mirror) tell(c Change) {
	for s := range m.subs {
		s.add(c)
	}
}
