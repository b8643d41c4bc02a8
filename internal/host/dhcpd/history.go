package dhcpd

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
	"weft/internal/plan/dhcp"
)

const (
	// ringSize is how many messages of a port are remembered: two whole exchanges and more.
	ringSize = 8
	// strangersSize is how many unknown clients of a network are remembered.
	strangersSize = 16
)

// MessageType is a DHCP message type; 0 is none.
type MessageType uint8

// String gives the name in capitals: DISCOVER.
func (t MessageType) String() string {
	if t == 0 {
		return ""
	}
	return dhcpv4.MessageType(t).String()
}

// MarshalText makes a MessageType its name in JSON.
func (t MessageType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// XID is a transaction ID.
type XID [4]byte

// MarshalText makes an XID hexadecimal in JSON.
func (x XID) MarshalText() ([]byte, error) { return []byte("0x" + hex.EncodeToString(x[:])), nil }

// Transaction is one message of a client and what became of it.
type Transaction struct {
	// At is when the message was read; the reply had been handed to the device Took later.
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took"`
	// Message is what the client sent, Reply what it got; none is silence.
	Message MessageType `json:"message"`
	Reply   MessageType `json:"reply,omitempty"`
	XID     XID         `json:"xid"`
	Reason  dhcp.Reason `json:"reason"`
	Asked   netip.Addr  `json:"asked,omitzero"`
	Given   netip.Addr  `json:"given,omitzero"`
	// To is the address that the reply was sent to.
	To netip.Addr `json:"to,omitzero"`
	// Server is the other one that the client has chosen.
	Server netip.Addr `json:"server,omitzero"`
	// Left are options that had no room in the reply.
	Left []uint8 `json:"left,omitempty"`
}

// Stranger is a client that no port of the network belongs to.
type Stranger struct {
	MAC   model.MAC `json:"mac"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// Other is another DHCP server whose offers clients of the network have chosen.
type Other struct {
	Server netip.Addr `json:"server"`
	// MAC is the last client's.
	MAC   model.MAC `json:"mac"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// history remembers the last messages of each port of a network. Its memory grows with
// the ports that have spoken, not with those that exist.
type history struct {
	// since is when it began.
	since time.Time

	mu        sync.Mutex
	rings     map[model.PortID]*ring
	strangers []Stranger
	others    []Other
}

// ring holds up to ringSize transactions; next is where the oldest is once it is full.
type ring struct {
	t    []Transaction
	next int
}

func newHistory() *history { return &history{since: time.Now(), rings: map[model.PortID]*ring{}} }

func (h *history) add(notes []note, at time.Time, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range notes {
		n := &notes[i]
		n.t.At, n.t.Took = at, took
		if n.port == "" {
			if n.t.Reason == dhcp.UnknownClient {
				h.stranger(n.mac, at)
			}
			continue
		}
		if n.t.Server.IsValid() {
			h.other(n.t.Server, n.mac, at)
		}
		r := h.rings[n.port]
		if r == nil {
			r = new(ring)
			h.rings[n.port] = r
		}
		if len(r.t) < ringSize {
			r.t = append(r.t, n.t)
			continue
		}
		r.t[r.next] = n.t
		r.next = (r.next + 1) % ringSize
	}
}

// stranger counts an unknown client, in place of the one not heard of for longest.
func (h *history) stranger(mac model.MAC, at time.Time) {
	s := slot(&h.strangers, func(s *Stranger) bool { return s.MAC == mac }, func(s *Stranger) time.Time { return s.Last })
	*s = Stranger{MAC: mac, Count: s.Count + 1, Last: at}
}

// other counts another server, likewise.
func (h *history) other(server netip.Addr, mac model.MAC, at time.Time) {
	o := slot(&h.others, func(o *Other) bool { return o.Server == server }, func(o *Other) time.Time { return o.Last })
	*o = Other{Server: server, MAC: mac, Count: o.Count + 1, Last: at}
}

// slot finds the entry of a list that is bounded; if there is none, an empty one, in place of the oldest if the list is full.
func slot[T any](list *[]T, is func(*T) bool, last func(*T) time.Time) *T {
	l, oldest := *list, 0
	for i := range l {
		if is(&l[i]) {
			return &l[i]
		}
		if last(&l[i]).Before(last(&l[oldest])) {
			oldest = i
		}
	}
	if len(l) < strangersSize {
		*list = append(l, *new(T))
		return &(*list)[len(l)]
	}
	l[oldest] = *new(T)
	return &l[oldest]
}

// Seen is what was seen around a client.
type Seen struct {
	// Since is when the history of the network begins: with the process, or when the network came to be served here.
	Since time.Time
	// Strangers and Others are those of the network.
	Strangers []Stranger
	Others    []Other
	// Elsewhere are the networks of this host on which the client's MAC was a stranger.
	Elsewhere map[model.NetworkID]Stranger
}

// Seen tells what was seen on a network, and of a client on others. Since is zero when the network is not served here.
func (s *Server) Seen(id model.NetworkID, mac model.MAC) Seen {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out Seen
	for n, v := range s.services {
		h := v.history
		h.mu.Lock()
		if n == id {
			out.Since, out.Strangers, out.Others = h.since, slices.Clone(h.strangers), slices.Clone(h.others)
		} else if i := slices.IndexFunc(h.strangers, func(t Stranger) bool { return t.MAC == mac }); i >= 0 {
			if out.Elsewhere == nil {
				out.Elsewhere = map[model.NetworkID]Stranger{}
			}
			out.Elsewhere[n] = h.strangers[i]
		}
		h.mu.Unlock()
	}
	return out
}

// of returns a port's transactions, oldest first.
func (h *history) of(id model.PortID) []Transaction {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rings[id]
	if r == nil {
		return nil
	}
	return slices.Concat(r.t[r.next:], r.t[:r.next])
}

// keep forgets ports that are no longer served.
func (h *history) keep(s *dhcp.Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.rings) == 0 {
		return
	}
	served := make(map[model.PortID]bool, len(s.Leases))
	for i := range s.Leases {
		served[s.Leases[i].PortID] = true
	}
	for id := range h.rings {
		if !served[id] {
			delete(h.rings, id)
		}
	}
}

// heard wakes those who wait for the next message; when nobody does it costs a look.
type heard struct{ waiting atomic.Pointer[chan struct{}] }

func (h *heard) next() <-chan struct{} {
	c := make(chan struct{})
	for {
		if old := h.waiting.Load(); old != nil {
			return *old
		}
		if h.waiting.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

func (h *heard) tell() {
	if h.waiting.Load() != nil {
		if c := h.waiting.Swap(nil); c != nil {
			close(*c)
		}
	}
}

// counters count what a service did.
type counters struct {
	reasons [dhcp.ReasonCount]atomic.Uint64
	unsent  atomic.Uint64
	// dropped adds up what the kernel said it had no room for; it starts anew at each question.
	dropped atomic.Uint64
}

// Stats are the counters of one network.
type Stats struct {
	NetworkID model.NetworkID `json:"network"`
	Device    string          `json:"device"`
	Serving   bool            `json:"serving"`
	Leases    int             `json:"leases"`
	// Reasons counts messages by what became of them; those that never occurred are absent.
	Reasons map[dhcp.Reason]uint64 `json:"reasons,omitempty"`
	// Unsent are replies that the device did not take.
	Unsent uint64 `json:"unsent,omitempty"`
	// Dropped are requests for which the socket had no room.
	Dropped uint64 `json:"dropped,omitempty"`
	// Strangers are the last clients unknown to this network.
	Strangers []Stranger `json:"strangers,omitempty"`
}

func (v *service) stats() Stats {
	s := Stats{
		NetworkID: v.network, Device: v.device, Serving: v.serving(),
		Leases: len(v.table.Load().Server().Leases), Unsent: v.counters.unsent.Load(), Reasons: map[dhcp.Reason]uint64{},
	}
	v.mu.Lock()
	if v.sockets != nil {
		n := v.sockets.dropped()
		v.counters.dropped.Add(n)
		v.totals.dropped.Add(n)
	}
	v.mu.Unlock()
	s.Dropped = v.counters.dropped.Load()
	for r := range dhcp.ReasonCount {
		if n := v.counters.reasons[r].Load(); n > 0 {
			s.Reasons[r] = n
		}
	}
	v.history.mu.Lock()
	s.Strangers = slices.Clone(v.history.strangers)
	v.history.mu.Unlock()
	return s
}
