package store

import (
	"errors"
	"net/netip"
	"sync"

	"weft/internal/ipam"
	"weft/internal/model"
)

// ErrTaken says that a name asked for is held by a stored object.
var ErrTaken = errors.New("taken")

// ErrExhausted says that nothing is left to choose from.
var ErrExhausted = errors.New("exhausted")

// Pending says that the answer depends on a request in flight in this process: the name
// asked for, or the last ones left, are reserved but not yet stored. Wait, and ask again.
type Pending struct {
	// Changed closes when a reservation has ended.
	Changed <-chan struct{}
}

func (Pending) Error() string { return "reserved by a request in flight" }

// allocator knows which addresses are taken or about to be, and which MACs and segments
// are about to be. Its lock is taken inside the mirror's, never around it.
type allocator struct {
	mu       sync.Mutex
	subnets  map[model.SubnetID]*addresses
	macs     map[macKey]struct{}
	segments map[model.Segment]struct{}
	rooms    map[string]int // objects about to be stored, by what they count against
	changed  chan struct{}
}

type macKey struct {
	network model.NetworkID
	mac     model.MAC
}

// addresses of one subnet: what stored ports hold, and that and the reserved ones.
type addresses struct {
	stored, busy *ipam.Set
}

func newAllocator() *allocator {
	return &allocator{
		subnets:  map[model.SubnetID]*addresses{},
		macs:     map[macKey]struct{}{},
		segments: map[model.Segment]struct{}{},
		rooms:    map[string]int{},
		changed:  make(chan struct{}),
	}
}

func (a *allocator) addSubnet(id model.SubnetID, cidr netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.subnets[id] = &addresses{stored: ipam.NewSet(cidr), busy: ipam.NewSet(cidr)}
}

func (a *allocator) dropSubnet(id model.SubnetID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.subnets, id)
}

func (a *allocator) take(id model.SubnetID, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.subnets[id]; s != nil {
		s.stored.Add(addr)
		s.busy.Add(addr)
	}
}

// free is for an address a port held. If a request reserved it meanwhile (it cannot
// while it is stored), the reservation's end would clear it; so clear both.
func (a *allocator) free(id model.SubnetID, addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.subnets[id]; s != nil {
		s.stored.Remove(addr)
		s.busy.Remove(addr)
	}
}

func (a *allocator) pending() error { return Pending{Changed: a.changed} }

// Reservation holds names for one request until Release, which must follow the Commit.
// It keeps other requests of this process away from them. Not safe for concurrent use.
type Reservation struct {
	s         *Store
	addresses []model.FixedIP
	macs      []macKey
	segments  []model.Segment
	rooms     map[string]int
}

// Reserve starts an empty reservation.
func (s *Store) Reserve() *Reservation { return &Reservation{s: s} }

// Release gives up all names held and wakes who waits for them.
func (r *Reservation) Release() {
	if len(r.addresses)+len(r.macs)+len(r.segments)+len(r.rooms) == 0 {
		return
	}
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range r.addresses {
		if s := a.subnets[f.SubnetID]; s != nil && !s.stored.Has(f.Addr) {
			s.busy.Remove(f.Addr)
		}
	}
	for _, m := range r.macs {
		delete(a.macs, m)
	}
	for _, g := range r.segments {
		delete(a.segments, g)
	}
	for name, n := range r.rooms {
		if a.rooms[name] -= n; a.rooms[name] == 0 {
			delete(a.rooms, name)
		}
	}
	r.addresses, r.macs, r.segments, r.rooms = nil, nil, nil, nil
	close(a.changed)
	a.changed = make(chan struct{})
}

// ChooseAddress reserves the address that choose picks, given all taken and reserved
// ones of the subnet. When choose finds none it returns ErrExhausted, or Pending while
// some are only reserved.
func (r *Reservation) ChooseAddress(id model.SubnetID, choose func(*ipam.Set) (netip.Addr, bool)) (netip.Addr, error) {
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.subnets[id]
	if s == nil {
		return netip.Addr{}, ErrExhausted
	}
	addr, ok := choose(s.busy)
	if !ok {
		if s.busy.Len()-r.unstored(id, s) > s.stored.Len() {
			return addr, a.pending()
		}
		return addr, ErrExhausted
	}
	s.busy.Add(addr)
	r.addresses = append(r.addresses, model.FixedIP{SubnetID: id, Addr: addr})
	return addr, nil
}

// unstored counts this reservation's own addresses of a subnet that no port holds: to
// wait for oneself would be to wait for ever.
func (r *Reservation) unstored(id model.SubnetID, s *addresses) int {
	n := 0
	for _, f := range r.addresses {
		if f.SubnetID == id && !s.stored.Has(f.Addr) {
			n++
		}
	}
	return n
}

// Address reserves one address by name: nil, ErrTaken, or Pending.
func (r *Reservation) Address(id model.SubnetID, addr netip.Addr) error {
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.subnets[id]
	switch {
	case s == nil || s.stored.Has(addr):
		return ErrTaken
	case s.busy.Has(addr):
		for _, f := range r.addresses {
			if f.SubnetID == id && f.Addr == addr {
				return ErrTaken // twice in one request
			}
		}
		return a.pending()
	}
	s.busy.Add(addr)
	r.addresses = append(r.addresses, model.FixedIP{SubnetID: id, Addr: addr})
	return nil
}

// ChooseMAC reserves the MAC that choose picks, given which are taken or reserved on the network.
func (r *Reservation) ChooseMAC(id model.NetworkID, choose func(taken func(model.MAC) bool) (model.MAC, bool)) (model.MAC, error) {
	r.s.mirror.mu.RLock()
	defer r.s.mirror.mu.RUnlock()
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	mac, ok := choose(func(m model.MAC) bool {
		_, reserved := a.macs[macKey{id, m}]
		return reserved || Reader{r.s.mirror}.PortByMAC(id, m) != nil
	})
	if !ok {
		return mac, ErrExhausted
	}
	a.macs[macKey{id, mac}] = struct{}{}
	r.macs = append(r.macs, macKey{id, mac})
	return mac, nil
}

// MAC reserves one MAC by name: nil, ErrTaken, or Pending.
func (r *Reservation) MAC(id model.NetworkID, mac model.MAC) error {
	r.s.mirror.mu.RLock()
	defer r.s.mirror.mu.RUnlock()
	if (Reader{r.s.mirror}).PortByMAC(id, mac) != nil {
		return ErrTaken
	}
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	k := macKey{id, mac}
	if _, reserved := a.macs[k]; reserved {
		for _, own := range r.macs {
			if own == k {
				return ErrTaken
			}
		}
		return a.pending()
	}
	a.macs[k] = struct{}{}
	r.macs = append(r.macs, k)
	return nil
}

// ChooseSegment reserves the segment that choose picks, given which are taken or reserved.
func (r *Reservation) ChooseSegment(choose func(taken func(model.Segment) bool) (model.Segment, bool)) (model.Segment, error) {
	r.s.mirror.mu.RLock()
	defer r.s.mirror.mu.RUnlock()
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := false
	g, ok := choose(func(g model.Segment) bool {
		if _, reserved := a.segments[g]; reserved {
			waiting = true
			return true
		}
		_, stored := r.s.mirror.segments[g]
		return stored
	})
	if !ok {
		if waiting && len(r.segments) == 0 {
			return g, a.pending()
		}
		return g, ErrExhausted
	}
	a.segments[g] = struct{}{}
	r.segments = append(r.segments, g)
	return g, nil
}

// Segment reserves one segment by name: nil, ErrTaken, or Pending.
func (r *Reservation) Segment(g model.Segment) error {
	_, err := r.ChooseSegment(func(taken func(model.Segment) bool) (model.Segment, bool) { return g, !taken(g) })
	if errors.Is(err, ErrExhausted) {
		return ErrTaken
	}
	return err
}

// Room reserves room for more objects where there are had in the store and may be limit:
// nil, ErrExhausted, or Pending while requests in flight take the room that is left.
func (r *Reservation) Room(name string, had, more, limit int) error {
	a := r.s.alloc
	a.mu.Lock()
	defer a.mu.Unlock()
	own, all := r.rooms[name], a.rooms[name]
	switch {
	case had+own+more > limit:
		return ErrExhausted
	case had+all+more > limit:
		return a.pending()
	}
	a.rooms[name] += more
	if r.rooms == nil {
		r.rooms = map[string]int{}
	}
	r.rooms[name] += more
	return nil
}
