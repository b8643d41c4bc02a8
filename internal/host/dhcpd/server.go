// Package dhcpd answers DHCP on sockets inside namespaces.
//
// In go the servers of a plan, each with a namespace and the device in it; what a
// message is answered with is package dhcp's business. New leases are taken over by
// swapping a table: nothing is restarted, no packet is lost. One process serves all
// networks; a network costs two sockets and one goroutine that sleeps in the poller.
package dhcpd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/plan/dhcp"
)

// Fault says what could not be done for which network or port.
type Fault struct {
	// Object is a namespace/device.
	Object    string
	NetworkID model.NetworkID
	Op        string
	Err       error
}

func (f Fault) Error() string { return fmt.Sprintf("%s %s: %v", f.Op, f.Object, f.Err) }

// Unwrap gives the cause.
func (f Fault) Unwrap() error { return f.Err }

// Completion says that from now on the named ports are answered as planned.
type Completion struct {
	NetworkID model.NetworkID
	// Ports are those that are new or are told something else than before.
	Ports []model.PortID
	// Elapsed is the time from the first Apply with this change.
	Elapsed time.Duration
}

// Options are what a Server needs.
type Options struct {
	// Log may be nil.
	Log *slog.Logger
	// Completed is called, if set, once per network and change, from within Apply; otherwise
	// completion is logged.
	Completed func(Completion)
	// Metrics counts messages; nil counts for nobody.
	Metrics *metrics.Registry
}

// Server answers DHCP for all networks of this host.
type Server struct {
	log       *slog.Logger
	completed func(Completion)
	changed   chan struct{}
	pool      sync.Pool
	totals    totals

	// heard is closed at the next message, if somebody waits for it.
	heard heard

	mu       sync.RWMutex
	services map[model.NetworkID]*service
}

// New makes a Server that serves nothing yet.
func New(o Options) *Server {
	s := &Server{
		log: o.Log, completed: o.Completed, changed: make(chan struct{}, 1),
		services: map[model.NetworkID]*service{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.completed == nil {
		s.completed = s.logCompleted
	}
	s.pool.New = func() any { return newBatch() }
	s.count(o.Metrics)
	return s
}

// Changed tells that a device was lost or is down: somebody should see to it that it is made anew, or set up.
func (s *Server) Changed() <-chan struct{} { return s.changed }

func (s *Server) lost() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Server) logCompleted(c Completion) {
	what := fmt.Sprintf("%d ports", len(c.Ports))
	if len(c.Ports) == 1 {
		what = "port " + string(c.Ports[0])
	}
	s.log.Info("DHCP configuration for "+what+" is completed", "network", c.NetworkID, "elapsed_ms", float64(c.Elapsed.Microseconds())/1000)
}

// Apply makes the networks served those wanted. A network whose device is not there yet
// is a Fault; it is tried again by the next Apply, and meanwhile by itself.
func (s *Server) Apply(ctx context.Context, want []dhcp.Server) []Fault {
	start := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []Fault
	wanted := make(map[model.NetworkID]bool, len(want))
	for i := range want {
		w := &want[i]
		wanted[w.NetworkID] = true
		if err := ctx.Err(); err != nil {
			faults = append(faults, fault(w, err))
			continue
		}
		v := s.services[w.NetworkID]
		if v != nil && !v.at(w) {
			// The history goes along: the ports are the same.
			old := v
			old.stop()
			v = s.newService(w)
			v.history = old.history
			s.services[w.NetworkID] = v
		}
		if v == nil {
			v = s.newService(w)
			s.services[w.NetworkID] = v
		}
		v.take(*w, start)
		if err := v.ready(); err != nil {
			faults = append(faults, fault(w, err))
			continue
		}
		if len(v.pending) > 0 {
			s.completed(Completion{NetworkID: w.NetworkID, Ports: v.pending, Elapsed: time.Since(v.since)})
			v.pending = nil
		}
	}
	for id, v := range s.services {
		if !wanted[id] {
			v.stop()
			delete(s.services, id)
		}
	}
	return faults
}

func fault(w *dhcp.Server, err error) Fault {
	return Fault{Object: w.Namespace + "/" + w.Device, NetworkID: w.NetworkID, Op: "serve DHCP", Err: err}
}

// Close stops serving.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, v := range s.services {
		v.stop()
		delete(s.services, id)
	}
}

// Serving reports whether the network's messages are being answered now.
func (s *Server) Serving(id model.NetworkID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.services[id]
	return v != nil && v.serving()
}

// Serves reports whether DHCP messages of the port are being answered now.
func (s *Server) Serves(p *model.Port) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.services[p.NetworkID]
	return v != nil && v.serving() && v.table.Load().Knows(p.MAC, p.ID)
}

// Heard returns what is closed at the next message of any port.
func (s *Server) Heard() <-chan struct{} { return s.heard.next() }

// History returns the last messages of a port with what became of them, oldest first.
func (s *Server) History(id model.PortID) []Transaction {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.services {
		if t := v.history.of(id); t != nil {
			return t
		}
	}
	return nil
}

// Stats returns the counters of each network, sorted by network.
func (s *Server) Stats() []Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Stats, 0, len(s.services))
	for _, v := range s.services {
		out = append(out, v.stats())
	}
	slices.SortFunc(out, func(a, b Stats) int { return cmp.Compare(a.NetworkID, b.NetworkID) })
	return out
}
