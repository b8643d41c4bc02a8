package ovs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"weft/internal/host/openflow"
	"weft/internal/model"
)

// Trial says which tunnels to try, and how.
type Trial struct {
	// Run names the trial. Hosts that try each other at the same time use the same.
	Run uint64
	// Ports are OpenFlow numbers of tunnels of Bridge.
	Bridge string
	Ports  []uint32
	// Sizes are lengths of frames, at least MinProbe.
	Sizes []int
	// A probe without an answer is sent Again once after that time, and given up after GiveUp.
	Again, GiveUp time.Duration
}

// Tried is what became of the probes of one size through one tunnel.
type Tried struct {
	Size int
	// Sent is how many were sent. One that By has answered, after Took, was the last.
	Sent int
	By   string
	Took time.Duration
	// Heard counts probes of the same trial and size that came out of the tunnel.
	Heard int
}

// Answered reports whether a probe has come back.
func (t Tried) Answered() bool { return t.By != "" }

// A probe is a frame of model.ProbeEthType, on model.ProbeVNI:
//
//	0            12      14      18     19       20     22    30
//	+------------+-------+-------+------+--------+------+-----+---------------+
//	| addresses  | type  | magic | kind | length | size | run | name, zeroes  |
//	+------------+-------+-------+------+--------+------+-----+---------------+
//
// name, of that length, is the host that sends it; size is that of the whole frame.
type probe struct {
	kind uint8
	run  uint64
	size int
	name string
}

const (
	probeAsks, probeAnswers = 1, 2

	probeHeader = 30
	// MinProbe is the length of the smallest probe: a minimal Ethernet frame.
	MinProbe = 60
	// MaxProbe is that of the biggest, which has to fit in a message.
	MaxProbe = 60000
)

var (
	probeMAC   = [6]byte{0x02, 'w', 'e', 'f', 't', 0}
	probeMagic = [4]byte{'w', 'e', 'f', 't'}
)

func (p probe) frame() []byte {
	b := make([]byte, probeHeader, p.size)
	copy(b, probeMAC[:])
	copy(b[6:], probeMAC[:])
	binary.BigEndian.PutUint16(b[12:], model.ProbeEthType)
	copy(b[14:], probeMagic[:])
	name := p.name[:min(len(p.name), p.size-probeHeader, 255)]
	b[18], b[19] = p.kind, uint8(len(name))
	binary.BigEndian.PutUint16(b[20:], uint16(p.size))
	binary.BigEndian.PutUint64(b[22:], p.run)
	return append(b, name...)[:p.size]
}

// parseProbe reads a whole frame.
func parseProbe(b []byte) (p probe, ok bool) {
	if len(b) < MinProbe || binary.BigEndian.Uint16(b[12:]) != model.ProbeEthType || [4]byte(b[14:]) != probeMagic {
		return p, false
	}
	n := int(b[19])
	p = probe{kind: b[18], size: int(binary.BigEndian.Uint16(b[20:])), run: binary.BigEndian.Uint64(b[22:])}
	if p.size != len(b) || n == 0 || probeHeader+n > len(b) {
		return p, false
	}
	p.name = string(b[probeHeader : probeHeader+n])
	return p, true
}

// probes are the trials under way, and what has been heard of those of other hosts.
type probes struct {
	host string

	mu     sync.Mutex
	trials map[uint64]*trial
	heard  map[heardKey]*heard
}

type trial struct {
	sent    map[probeKey]time.Time // the last
	results map[probeKey]*Tried
	left    int
	done    chan struct{} // closed when all are answered
}

type probeKey struct {
	port uint32
	size int
}

type heardKey struct {
	run  uint64
	dpid uint64
	probeKey
}

type heard struct {
	n    int
	last time.Time
}

const (
	// heardFor is how long is remembered what was heard; maxHeard bounds how much.
	heardFor = 10 * time.Second
	maxHeard = 1 << 12
)

// take takes a packet that a bridge has sent to the controller: who asks is answered, through the tunnel
// that it came out of.
func (p *probes) take(c *conn, in *openflow.PacketIn) {
	got, ok := parseProbe(in.Data)
	var port uint32
	var vni uint64
	for _, m := range in.Match {
		switch m.Field {
		case openflow.InPort:
			port = uint32(m.Value.Lo)
		case openflow.TunID:
			vni = m.Value.Lo
		}
	}
	if !ok || vni != model.ProbeVNI {
		return
	}
	key := probeKey{port, got.size}
	switch got.kind {
	case probeAsks:
		p.note(heardKey{got.run, c.dpid, key})
		got.kind, got.name = probeAnswers, p.host
		_ = c.send(openflow.Encode(nil, 0, got.through(port))) // else it counts as lost
	case probeAnswers:
		p.answered(got, key)
	}
}

// note counts a probe that was heard.
func (p *probes) note(k heardKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	h := p.heard[k]
	if h == nil {
		maps.DeleteFunc(p.heard, func(_ heardKey, h *heard) bool { return now.Sub(h.last) > heardFor })
		if len(p.heard) >= maxHeard {
			return
		}
		h = &heard{}
		if p.heard == nil {
			p.heard = map[heardKey]*heard{}
		}
		p.heard[k] = h
	}
	h.n, h.last = h.n+1, now
}

// answered notes the first answer to a probe.
func (p *probes) answered(got probe, k probeKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.trials[got.run]
	if t == nil || t.results[k] == nil || t.results[k].Answered() {
		return
	}
	t.results[k].By, t.results[k].Took = got.name, time.Since(t.sent[k])
	if t.left--; t.left == 0 {
		close(t.done)
	}
}

// through is the message that sends a probe through a tunnel.
func (p probe) through(port uint32) *openflow.PacketOut {
	return &openflow.PacketOut{BufferID: openflow.NoBuffer, InPort: openflow.PortController, Data: p.frame(),
		Actions: []openflow.Action{openflow.SetField{Field: openflow.TunID, Value: openflow.Value{Lo: model.ProbeVNI}}, openflow.Output{Port: port}}}
}

// begin opens a trial.
func (p *probes) begin(t Trial) (*trial, error) {
	tr := &trial{sent: map[probeKey]time.Time{}, results: map[probeKey]*Tried{}, done: make(chan struct{})}
	for _, port := range t.Ports {
		for _, size := range t.Sizes {
			if size < MinProbe || size > MaxProbe {
				return nil, fmt.Errorf("no probe has %d bytes", size)
			}
			tr.results[probeKey{port, size}] = &Tried{Size: size}
		}
	}
	if tr.left = len(tr.results); tr.left == 0 {
		close(tr.done)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trials[t.Run] != nil {
		return nil, fmt.Errorf("trial %d is under way", t.Run)
	}
	if p.trials == nil {
		p.trials = map[uint64]*trial{}
	}
	p.trials[t.Run] = tr
	return tr, nil
}

// send sends the probes that have no answer yet, and returns when the switch has done it: it may be busy with
// other things for a second, and what it has not sent nobody can answer.
func (p *probes) send(ctx context.Context, c *conn, t Trial, tr *trial) error {
	var out []openflow.Message
	size := 0
	p.mu.Lock()
	for k, r := range tr.results {
		if !r.Answered() {
			r.Sent++
			tr.sent[k] = time.Now()
			out = append(out, probe{kind: probeAsks, run: t.Run, size: k.size, name: p.host}.through(k.port))
			size += k.size + 100
		}
	}
	p.mu.Unlock()
	a, err := c.call(ctx, 0, size, func(i int, _ uint32) openflow.Message { return out[i] }, len(out))
	if err != nil {
		return err
	}
	for _, e := range a.errs {
		return e
	}
	return nil
}

// end closes a trial and returns what came of it, by port and in the order of sizes.
func (p *probes) end(c *conn, t Trial, tr *trial) map[uint32][]Tried {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.trials, t.Run)
	out := make(map[uint32][]Tried, len(t.Ports))
	for _, port := range t.Ports {
		for _, size := range t.Sizes {
			k := probeKey{port, size}
			r := *tr.results[k]
			if h := p.heard[heardKey{t.Run, c.dpid, k}]; h != nil {
				r.Heard = h.n
			}
			out[port] = append(out[port], r)
		}
	}
	return out
}

// TryTunnels sends probes through tunnels and waits until the other sides have answered, or the trial gives up.
// It returns what became of them, and the counters of all ports of the bridge, both by port.
func (s *Switch) TryTunnels(ctx context.Context, t Trial) (map[uint32][]Tried, map[uint32]Counters, error) {
	c := s.connOf(t.Bridge)
	if c == nil {
		return nil, nil, fmt.Errorf("bridge %s: %w", t.Bridge, ErrNotConnected)
	}
	tr, err := s.probes.begin(t)
	if err != nil {
		return nil, nil, err
	}
	// A call that is given up costs the connection, which an asker that has gone is not worth.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err = s.probes.send(call, c, t, tr); err == nil {
		err = s.probes.await(ctx, call, c, t, tr)
	}
	// Read before the trial ends: what a busy switch has kept back comes before the answer.
	counters, cerr := c.counters(call)
	return s.probes.end(c, t, tr), counters, errors.Join(err, cerr)
}

// await waits until all probes are answered, or given up.
func (p *probes) await(ctx, call context.Context, c *conn, t Trial, tr *trial) error {
	again, giveUp := time.NewTimer(t.Again), time.NewTimer(t.GiveUp)
	defer again.Stop()
	defer giveUp.Stop()
	for {
		select {
		case <-again.C:
			if err := p.send(call, c, t, tr); err != nil {
				return err
			}
		case <-tr.done:
			return nil
		case <-giveUp.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Counters are those of a port of a bridge, as the bridge counts: Rx is what came in by it.
type Counters struct{ RxPackets, TxPackets, RxDropped, TxDropped, RxErrors, TxErrors uint64 }

// counters reads the counters of all ports, by number.
func (c *conn) counters(ctx context.Context) (map[uint32]Counters, error) {
	a, err := c.call(ctx, 0, 64, func(int, uint32) openflow.Message { return &openflow.PortStatsRequest{Port: openflow.PortAny} }, 1)
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	for _, e := range a.errs {
		return nil, fmt.Errorf("read counters: %w", e)
	}
	counted := func(n uint64) uint64 {
		if n == 1<<64-1 { // what the port does not count
			return 0
		}
		return n
	}
	out := make(map[uint32]Counters, len(a.counters))
	for _, p := range a.counters {
		out[p.Number] = Counters{RxPackets: counted(p.RxPackets), TxPackets: counted(p.TxPackets), RxDropped: counted(p.RxDropped),
			TxDropped: counted(p.TxDropped), RxErrors: counted(p.RxErrors), TxErrors: counted(p.TxErrors)}
	}
	return out, nil
}
