package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/capture"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/trace"
)

// wire is a device whose packets the test sends.
type wire struct {
	packets chan []byte
	once    sync.Once
	closed  chan struct{}
}

func newWire() *wire { return &wire{packets: make(chan []byte), closed: make(chan struct{})} }

func (w *wire) Read(buf []byte) (capture.Packet, error) {
	select {
	case p := <-w.packets:
		return capture.Packet{At: time.Now(), Len: len(p), Data: buf[:copy(buf, p)]}, nil
	case <-w.closed:
		return capture.Packet{}, io.ErrClosedPipe
	}
}

func (w *wire) Dropped() uint64 { return 7 }
func (w *wire) Close() error    { w.once.Do(func() { close(w.closed) }); return nil }

// wired is a machine with a device at a time, or with none.
type wired struct {
	*fakeMachine
	wires chan *wire
}

func (m wired) Packets(model.PortID, string, capture.Program) (host.Packets, error) {
	select {
	case w := <-m.wires:
		return host.Packets{Reader: w, Device: "tap0"}, nil
	default:
		return host.Packets{}, errors.New("there is no device")
	}
}

type capturer struct {
	t     *testing.T
	a     *Agent
	wires chan *wire
}

func (c capturer) ask(q trace.CaptureQuery) trace.Captured {
	c.t.Helper()
	query, _ := json.Marshal(trace.Query{PortID: "p", Capture: &q})
	body, err := c.a.answer(c.t.Context(), query)
	var got trace.Captured
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func newCapturer(t *testing.T) (capturer, *wire) {
	w := newWorld(t)
	m := wired{newMachine(), make(chan *wire, 1)}
	first := newWire()
	m.wires <- first
	a, err := New(w.options(m, &logs{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.captures.close)
	return capturer{t, a, m.wires}, first
}

// A question that is asked twice answers the same; packets that have arrived are forgotten.
func TestCaptureQuestions(t *testing.T) {
	c, w := newCapturer(t)
	if got := c.ask(trace.CaptureQuery{ID: "x", Wait: time.Minute}); got.End == "" {
		t.Errorf("of a capture that nobody began: %+v", got)
	}
	if got := c.ask(trace.CaptureQuery{ID: "x", Begin: true}); got.Device != "tap0" || len(got.Packets) != 0 || got.End != "" {
		t.Errorf("at the beginning: %+v", got)
	}
	for i := range 5 {
		w.packets <- fmt.Appendf(nil, "packet %d", i)
	}
	var got trace.Captured
	for len(got.Packets) < 5 {
		got = c.ask(trace.CaptureQuery{ID: "x", Wait: time.Minute})
	}
	if got.First != 1 || string(got.Packets[4].Data) != "packet 4" || got.Dropped != 7 || !got.Packets[0].FromPort {
		t.Errorf("%+v", got)
	}
	again := c.ask(trace.CaptureQuery{ID: "x", After: 3, Wait: time.Minute})
	if again.First != 4 || len(again.Packets) != 2 || string(again.Packets[0].Data) != "packet 3" {
		t.Errorf("after three: %+v", again)
	}
	// One that waits is told at once that it is over.
	waiting := make(chan trace.Captured)
	go func() { waiting <- c.ask(trace.CaptureQuery{ID: "x", After: 5, Wait: time.Minute}) }()
	c.ask(trace.CaptureQuery{ID: "x", Stop: true})
	if got := <-waiting; got.End == "" || len(got.Packets) != 0 {
		t.Errorf("at the end: %+v", got)
	}
	<-w.closed
}

// A capture goes on with the next device of its port, and says so; without one it waits, and can be ended.
func TestCaptureOutlivesDevices(t *testing.T) {
	c, w := newCapturer(t)
	c.ask(trace.CaptureQuery{ID: "x", Begin: true})
	for i := range 3 {
		w.packets <- fmt.Appendf(nil, "packet %d", i)
		got := c.ask(trace.CaptureQuery{ID: "x", After: uint64(i), Wait: time.Minute})
		if len(got.Packets) != 1 || got.First != uint64(i+1) || string(got.Packets[0].Data) != fmt.Sprintf("packet %d", i) || got.Devices != i+1 || got.Away || got.Dropped != uint64(7*(i+1)) {
			t.Fatalf("of device %d: %+v", i+1, got)
		}
		w.Close()
		if got = c.ask(trace.CaptureQuery{ID: "x", After: uint64(i + 1), Wait: time.Minute}); !got.Away || got.End != "" || len(got.Packets) > 0 {
			t.Fatalf("without a device: %+v", got)
		}
		if i == 2 {
			break
		}
		w = newWire()
		c.wires <- w
		if got = c.ask(trace.CaptureQuery{ID: "x", After: uint64(i + 1), Wait: time.Minute}); got.Away || got.Devices != i+2 || len(got.Packets) > 0 {
			t.Fatalf("with another device: %+v", got)
		}
	}
	c.ask(trace.CaptureQuery{ID: "x", Stop: true})
	if got := c.ask(trace.CaptureQuery{ID: "x", After: 3}); got.End == "" {
		t.Errorf("at the end: %+v", got)
	}
}

// What nobody fetches is bounded, and counted.
func TestCaptureBounds(t *testing.T) {
	c, w := newCapturer(t)
	c.ask(trace.CaptureQuery{ID: "x", Begin: true})
	const sent = captureKeeps/50000 + 20
	for range sent {
		w.packets <- make([]byte, 50000)
	}
	n, after := 0, uint64(0)
	var got trace.Captured
	var full time.Time // when that was asked to which a full answer came
	for begin := time.Now(); ; {
		asked := time.Now()
		got = c.ask(trace.CaptureQuery{ID: "x", After: after, Wait: time.Millisecond})
		size := 0
		for _, p := range got.Packets {
			size += len(p.Data)
		}
		if size > captureAnswers {
			t.Errorf("an answer of %d bytes", size)
		}
		if now := time.Now(); size > 0 && now.Sub(full) < captureRests {
			t.Errorf("%d bytes come %s after a full answer was asked for", size, now.Sub(full))
		}
		if size > captureAnswers-50000-packetCosts {
			full = asked
		}
		if len(got.Packets) == 0 && time.Since(begin) > captureRests {
			if n+int(got.Dropped)-7 == sent {
				break
			}
			if time.Since(begin) > time.Minute {
				t.Fatalf("%d packets, and %d dropped, of %d", n, got.Dropped, sent)
			}
		}
		n += len(got.Packets)
		if len(got.Packets) > 0 {
			after = got.First + uint64(len(got.Packets)) - 1
		}
	}
	if got.Dropped < 7+10 || n < captureKeeps/50000-2 {
		t.Errorf("%d packets, %d dropped", n, got.Dropped)
	}
	for i := range maxCaptures - 1 {
		c.wires <- newWire()
		c.ask(trace.CaptureQuery{ID: fmt.Sprint(i), Begin: true})
	}
	query, _ := json.Marshal(trace.Query{PortID: "p", Capture: &trace.CaptureQuery{ID: "more", Begin: true}})
	if _, err := c.a.answer(t.Context(), query); err == nil || !strings.Contains(err.Error(), "no more may") {
		t.Errorf("one more: %v", err)
	}
}

// Events are kept for each port, the last; those that were lost are counted.
func TestEvents(t *testing.T) {
	var e events
	add := func(id model.PortID, n int) {
		for i := range n {
			e.add(id, time.Unix(int64(i), 0), trace.EventHost, "event %d", i)
		}
	}
	_, _, _, news := e.since("a", 0)
	add("b", 3)
	<-news
	add("a", 5)
	list, last, lost, news := e.since("a", 0)
	if len(list) != 5 || lost != 0 || list[4].Text != "event 4" {
		t.Errorf("%v, %d lost", list, lost)
	}
	if list, same, _, _ := e.since("a", last); len(list) != 0 || same != last {
		t.Errorf("nothing new, and yet %v", list)
	}
	add("a", eventsKept+4)
	<-news
	if list, _, lost, _ := e.since("a", last); len(list) != eventsKept || lost != 4 || list[0].Text != "event 4" {
		t.Errorf("%d events, %d lost", len(list), lost)
	}
	if list, _, lost, _ := e.since("a", 0); len(list) != eventsKept || lost != 0 {
		t.Errorf("of all: %d events, %d lost", len(list), lost)
	}
	for i := range portsKept {
		e.add(model.PortID(fmt.Sprint(i)), time.Unix(1000, 0), trace.EventHost, "x")
	}
	if len(e.ports) != portsKept {
		t.Errorf("%d ports", len(e.ports))
	}
	add("a", 1)
	if list, _, _, _ := e.since("a", last+eventsKept+4); len(list) != 1 {
		t.Errorf("a port that was forgotten: %v", list)
	}
}
