package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"weft/internal/capture"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/trace"
)

// The limits of captures: what they cost a host is bounded, whatever its guests send.
const (
	// maxCaptures is how many may run at a time.
	maxCaptures = 4
	// maxSnap is the most that is kept of a packet.
	maxSnap = 1 << 16
	// captureKeeps is how many bytes of packets wait to be fetched; what comes then is dropped and counted.
	captureKeeps = 4 << 20
	// captureAnswers bounds the bytes of packets in an answer, and captureRests is how long after a full one
	// the next is: 5 MB a second.
	captureAnswers = 256 << 10
	captureRests   = 50 * time.Millisecond
	// captureLease is how long after the last question a capture ends, and captureWaits how long a question may wait.
	captureLease = 15 * time.Second
	captureWaits = 20 * time.Second
	// deviceFirst and deviceLast are how often a device is looked for that has gone: less and less often.
	deviceFirst = 100 * time.Millisecond
	deviceLast  = time.Second
	// packetCosts is what a packet takes beside its bytes.
	packetCosts = 64
)

// captures are those that run on this host.
type captures struct {
	mu  sync.Mutex
	all map[string]*capturing
	// ended: the agent stops.
	ended bool
}

// capturing is one capture: a goroutine reads packets into a queue that questions empty. When the device goes, as with a
// machine that is rebooted, it goes on with the next that the port has.
type capturing struct {
	open  func() (host.Packets, error)
	log   *slog.Logger
	began time.Time
	lease *time.Timer
	// over is closed at the end.
	over chan struct{}

	mu sync.Mutex
	// packets are those of the device, which is the devices-th; away: it is gone.
	packets host.Packets
	devices int
	away    bool
	// moved: a device has gone or come, and no answer has said so yet.
	moved bool
	// queue holds the packets that were not fetched yet, size their bytes; first is the number of the first.
	queue []trace.CapturedPacket
	size  int
	first uint64
	// full is when the last answer was full.
	full time.Time
	// dropped counts those that found no room in the queue.
	dropped uint64
	end     string
	// news is closed when there is something new, and made anew.
	news chan struct{}
}

func (c *captures) answer(ctx context.Context, a *Agent, q trace.Query) ([]byte, error) {
	if q.Capture.Stop {
		c.stop(q.Capture.ID, "the asker has left")
		return json.Marshal(trace.Captured{End: "stopped"})
	}
	s, err := c.find(a, q)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return json.Marshal(trace.Captured{End: "the host was not asked for the packets in time, or its agent has begun anew"})
	}
	return json.Marshal(s.fetch(ctx, q.Capture))
}

// find returns the capture that a question is about, and begins it if it is to; nil if there is none.
func (c *captures) find(a *Agent, q trace.Query) (*capturing, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.all[q.Capture.ID]; s != nil {
		s.lease.Reset(captureLease + q.Capture.Wait)
		return s, nil
	}
	switch {
	case !q.Capture.Begin:
		return nil, nil
	case c.ended:
		return nil, errors.New("the agent stops")
	case len(c.all) >= maxCaptures:
		return nil, fmt.Errorf("%d captures run on this host, and no more may", maxCaptures)
	}
	snap := q.Capture.Snap
	if snap == 0 || snap > maxSnap {
		snap = maxSnap
	}
	filter, err := capture.Compile(q.Capture.Filter, snap)
	if err != nil {
		return nil, err
	}
	open := func() (host.Packets, error) { return a.o.Machine.Packets(q.PortID, a.namespaceOf(q.PortID), filter) }
	p, err := open()
	if err != nil {
		return nil, err
	}
	log := a.log.With("port", q.PortID, "device", p.Device, "capture", q.Capture.ID)
	s := &capturing{open: open, packets: p, devices: 1, log: log, began: time.Now(), first: 1, news: make(chan struct{}), over: make(chan struct{})}
	s.lease = time.AfterFunc(captureLease+q.Capture.Wait, func() { c.stop(q.Capture.ID, "nobody fetches the packets any more") })
	if c.all == nil {
		c.all = map[string]*capturing{}
	}
	c.all[q.Capture.ID] = s
	log.Info("capture begins", "who", q.Capture.Who, "filter", q.Capture.Filter, "snap", snap)
	go s.read(int(snap))
	return s, nil
}

// namespaceOf is where the device of a DHCP service is; empty for all other ports, whose devices may be anywhere.
func (a *Agent) namespaceOf(id model.PortID) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.now.view.Networks {
		if n.DHCPPort != nil && n.DHCPPort.ID == id {
			return vif.DHCPNamespace(n.ID)
		}
	}
	return ""
}

func (c *captures) stop(id, why string) {
	c.mu.Lock()
	s := c.all[id]
	delete(c.all, id)
	c.mu.Unlock()
	if s != nil {
		s.finish(why)
	}
}

// close ends all captures; no more begin.
func (c *captures) close() {
	c.mu.Lock()
	all := c.all
	c.all, c.ended = nil, true
	c.mu.Unlock()
	for _, s := range all {
		s.finish("the agent stops")
	}
}

// finish ends a capture; it may be called again.
func (s *capturing) finish(why string) {
	s.lease.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != "" {
		return
	}
	s.end = why
	s.leave()
	close(s.over)
	s.tell()
	s.log.Info("capture ends", "reason", why, "packets", s.first-1+uint64(len(s.queue)), "dropped", s.dropped,
		"after", time.Since(s.began).Round(time.Millisecond))
}

// leave listens to the device no more; called with the lock.
func (s *capturing) leave() {
	if !s.away {
		s.dropped += s.packets.Reader.Dropped()
		s.packets.Reader.Close() // nothing is lost: it only reads
	}
	s.away = true
}

// tell wakes questions that wait; called with the lock.
func (s *capturing) tell() {
	close(s.news)
	s.news = make(chan struct{})
}

// read queues packets until the reader is closed.
func (s *capturing) read(snap int) {
	buf := make([]byte, snap)
	for at := s.packets; ; {
		p, err := at.Reader.Read(buf)
		if err != nil {
			var ok bool
			if at, ok = s.next(err); !ok {
				return
			}
			continue
		}
		s.mu.Lock()
		if s.size+len(p.Data)+packetCosts > captureKeeps {
			s.dropped++
			s.mu.Unlock()
			continue
		}
		s.size += len(p.Data) + packetCosts
		s.queue = append(s.queue, trace.CapturedPacket{At: p.At.UTC(), Len: p.Len, Data: append([]byte(nil), p.Data...), FromPort: p.Out == at.Internal})
		if len(s.queue) == 1 {
			s.tell()
		}
		s.mu.Unlock()
	}
}

// next waits for the port to have a device again; !ok is the end of the capture.
func (s *capturing) next(why error) (at host.Packets, ok bool) {
	s.mu.Lock()
	if s.end == "" {
		s.log.Info("capture waits for a device", "reason", why)
		s.leave()
		s.moved = true
		s.tell()
	}
	s.mu.Unlock()
	for wait := deviceFirst; ; wait = min(2*wait, deviceLast) {
		select {
		case <-s.over:
			return at, false
		case <-time.After(wait):
		}
		p, err := s.open()
		if err != nil {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.end != "" {
			p.Reader.Close()
			return at, false
		}
		s.log.Info("capture goes on", "with", p.Device)
		s.packets, s.away, s.moved = p, false, true
		s.devices++
		s.tell()
		return p, true
	}
}

// fetch forgets what has arrived and returns what follows, when there is something or the wait is over.
func (s *capturing) fetch(ctx context.Context, q *trace.CaptureQuery) trace.Captured {
	wait := time.NewTimer(min(q.Wait, captureWaits))
	defer wait.Stop()
	s.mu.Lock()
	rest := time.Until(s.full.Add(captureRests))
	s.forget(q.After)
	for over := false; !over && (rest > 0 || len(s.queue) == 0 && s.end == "" && !s.moved); {
		news, rested := s.news, (<-chan time.Time)(nil)
		if rest > 0 {
			news, rested = nil, time.After(rest)
		}
		s.mu.Unlock()
		select {
		case <-news:
		case <-rested:
			rest = 0
		case <-wait.C:
			over = true
		case <-ctx.Done():
			over = true
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.take(rest > 0)
}

// take makes an answer of the first packets of the queue, or while it rests of none; called with the lock.
func (s *capturing) take(rests bool) trace.Captured {
	c := trace.Captured{Device: s.packets.Device, Namespace: s.packets.Namespace, First: s.first, Dropped: s.dropped,
		Devices: s.devices, Away: s.away && s.end == ""}
	s.moved = false
	if !s.away {
		c.Dropped += s.packets.Reader.Dropped()
	}
	size, n := 0, 0
	for ; n < len(s.queue) && !rests; n++ {
		if size += len(s.queue[n].Data) + packetCosts; size > captureAnswers && n > 0 {
			s.full = time.Now()
			break
		}
	}
	c.Packets = append(c.Packets, s.queue[:n]...)
	if n == len(s.queue) {
		c.End = s.end
	}
	return c
}

// forget drops from the queue what has arrived; called with the lock.
func (s *capturing) forget(after uint64) {
	n := 0
	for ; n < len(s.queue) && s.first <= after; n++ {
		s.size -= len(s.queue[n].Data) + packetCosts
		s.first++
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil // and with it the memory
	}
}
