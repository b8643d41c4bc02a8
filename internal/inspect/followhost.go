package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/trace"
)

const (
	// clockTolerance is how wrong a host's clock may be before its times are put right.
	clockTolerance = 100 * time.Millisecond
	// followRetries is how long a host that does not answer is left alone.
	followRetries = 500 * time.Millisecond
	// repairsTold is how many repairs of a host are remembered, to be told once.
	repairsTold = 64
)

// heardOf is what a host has answered when it was asked about a port.
type heardOf struct {
	port            *followed
	host            model.HostName
	asked, answered time.Time
	got             trace.Followed
	err             error
}

// hostSaid is what is known of a host, whichever port it was asked about.
type hostSaid struct {
	// silent is why it does not answer, empty if it does; answered is when it last did.
	silent   string
	answered time.Time
	clock    clock
	epoch    int64
	repairs  []trace.Event
}

// ask asks a host about a port again and again, until ctx ends.
func (f *following) ask(ctx context.Context, p *followed, host model.HostName) {
	var q trace.FollowQuery
	for {
		q.Wait = streamSilence
		if q.Epoch == 0 {
			q.Wait = 0 // it shows at once whether the host is there
		}
		h := heardOf{port: p, host: host, asked: f.in.o.Now()}
		h.err = f.in.question(ctx, host, trace.Query{PortID: p.id, NetworkID: p.network, Follow: &q}, q.Wait, &h.got)
		h.answered = f.in.o.Now()
		if ctx.Err() != nil {
			return
		}
		select {
		case f.heard <- h:
		case <-ctx.Done():
			return
		}
		if h.err == nil {
			q.Epoch, q.After, q.Heard, q.Mended = h.got.Epoch, h.got.Last, h.got.Heard, h.got.Mended
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(followRetries):
		}
	}
}

// hear takes what a host has answered.
func (f *following) hear(h heardOf) {
	p := h.port
	if p.asked[h.host] == nil {
		return // it is of no interest any more
	}
	s := f.said[h.host]
	if s == nil {
		s = &hostSaid{}
		f.said[h.host] = s
	}
	// What is of the host is said once, not once for each port.
	note := func(text string) {
		f.add(p.hosts, trace.Event{At: f.in.o.Now(), Host: h.host, Kind: trace.EventNote, Text: text})
	}
	if h.err != nil {
		if why := silence(h.err); why != s.silent && !h.asked.Before(s.answered) {
			s.silent = why
			note("nothing is heard of the host: " + why)
		}
		return
	}
	s.answered = h.answered
	if s.silent != "" {
		s.silent = ""
		note("the host is heard again")
	}
	if text := s.clock.look(h.asked, h.got.Now, h.answered); text != "" {
		note(text)
	}
	if s.epoch != 0 && s.epoch != h.got.Epoch {
		note("the agent has begun anew; what it knew from before is lost")
	}
	s.epoch = h.got.Epoch
	if h.got.Lost > 0 {
		f.add(p.hosts, f.of(p, trace.Event{At: f.in.o.Now(), Host: h.host, Kind: trace.EventNote,
			Text: fmt.Sprintf("%d events were more than the host keeps, and are lost", h.got.Lost)}))
	}
	for _, e := range h.got.Events {
		e.Host, e.At = h.host, e.At.Add(-s.clock.wrong)
		if e.Kind != trace.EventRepair || !f.repaired(s, e) {
			f.add(p.hosts, f.of(p, e))
		}
	}
}

// repaired reports whether a repair is known already, by an answer about another port: then it is no port's alone.
func (f *following) repaired(s *hostSaid, e trace.Event) bool {
	same := func(o trace.Event) bool {
		return o.Kind == e.Kind && o.Host == e.Host && o.Text == e.Text && o.At.Sub(e.At).Abs() < clockTolerance
	}
	if !slices.ContainsFunc(s.repairs, same) {
		s.repairs = append(s.repairs[max(0, len(s.repairs)+1-repairsTold):], e)
		return false
	}
	for i := range f.pending {
		if same(f.pending[i].Event) {
			f.pending[i].PortID = ""
		}
	}
	return true
}

func silence(err error) string {
	if errors.Is(err, feed.ErrNotConnected) {
		return "its agent is not connected"
	}
	return err.Error()
}

// clock is what is known of a host's clock.
type clock struct {
	// wrong is by how much it goes before the server's, if that is worth to be put right.
	wrong time.Duration
	// least and most are between what it is ahead: a host looked at it after it was asked and before
	// its answer came.
	least, most time.Duration
	measured    bool
}

// look takes a reading of the host's clock, and returns what is to be said of it.
func (c *clock) look(asked, theirs, answered time.Time) string {
	least, most := theirs.Sub(answered), theirs.Sub(asked)
	if c.measured && least <= c.most && most >= c.least {
		least, most = max(least, c.least), min(most, c.most)
	} // or it was set meanwhile
	c.least, c.most, c.measured = least, most, true
	wrong := time.Duration(0)
	if least > clockTolerance || most < -clockTolerance {
		wrong = (least + most) / 2
	}
	if (wrong - c.wrong).Abs() < clockTolerance {
		return ""
	}
	c.wrong = wrong
	switch {
	case wrong > 0:
		return fmt.Sprintf("the host's clock is %s ahead of the server's; its times are put right by that", wrong.Round(time.Millisecond))
	case wrong < 0:
		return fmt.Sprintf("the host's clock is %s behind the server's; its times are put right by that", (-wrong).Round(time.Millisecond))
	}
	return "the host's clock is right"
}
