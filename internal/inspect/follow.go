package inspect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// FollowPath is where the life of a port is asked for, as it goes on: GET with q. It answers
// trace.Event by line; an empty line now and then says that nothing has happened.
const FollowPath = "/weft/v1/trace/follow"

const (
	// maxFollows is how many may follow a port through a server at a time.
	maxFollows = 64
	// followOrders is how long an event waits for those before it, of other hosts.
	followOrders = 200 * time.Millisecond
	// maxPending bounds the events that wait.
	maxPending = 4096
	// clockTolerance is how wrong a host's clock may be before its times are put right.
	clockTolerance = 100 * time.Millisecond
	// followRetries is how long a host that does not answer is left alone.
	followRetries = 500 * time.Millisecond
)

// serveFollow answers a GET of FollowPath.
func (in *Inspector) serveFollow(w http.ResponseWriter, r *http.Request) {
	see := Sight(everything{})
	if in.o.Sight != nil {
		see = in.o.Sight(r)
	}
	var port *model.Port
	var err error
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	if ports, e := in.seen(q, see); e != nil {
		err = e
	} else if len(ports) > 1 {
		err = Ambiguous{Query: q, Ports: ports}
	} else {
		port = ports[0]
	}
	if err == nil && in.o.Changes == nil {
		err = unable{http.StatusNotImplemented, "this server tells of no changes"}
	}
	if err != nil {
		in.refuse(w, err)
		return
	}
	select {
	case in.following <- struct{}{}:
		defer func() { <-in.following }()
	default:
		in.refuse(w, unable{http.StatusServiceUnavailable, fmt.Sprintf("%d follow ports through this server, and no more may", maxFollows)})
		return
	}
	ctx, cancel, out := in.newStream(w, r, "application/x-ndjson")
	defer cancel()
	_, hosts := see.Port(port.ID)
	f := &following{in: in, id: port.ID, network: port.NetworkID, out: out, see: see, hosts: hosts,
		asked: map[model.HostName]context.CancelFunc{}, heard: make(chan heardOf, 16)}
	log := in.o.Log.With("who", in.who(r), "port", port.ID)
	log.Info("port is followed")
	begin := time.Now()
	err = f.run(ctx)
	log.Info("port is followed no more", "after", time.Since(begin).Round(time.Millisecond), "reason", err)
}

// following is one client who follows a port.
type following struct {
	in      *Inspector
	id      model.PortID
	network model.NetworkID
	out     *stream
	see     Sight
	// hosts: the client may see what happens inside hosts.
	hosts bool
	// last is the record as it was last seen; nil before.
	last *model.Port
	// asked are the hosts that are asked, each by a goroutine, with what ends it.
	asked map[model.HostName]context.CancelFunc
	heard chan heardOf

	pending []arrived
	// lost counts events for which there was no room.
	lost uint64
}

// heardOf is what a host has answered.
type heardOf []trace.Event

// arrived is an event that waits for its turn.
type arrived struct {
	trace.Event
	at time.Time
}

var errPortGone = errors.New("the port is deleted, or not the client's to see any more")

// run sends events until ctx ends or the port is gone.
func (f *following) run(ctx context.Context) error {
	changes := f.in.o.Changes(ctx)
	silence := time.NewTicker(streamSilence)
	defer silence.Stop()
	gone := f.look(ctx)
	var turn <-chan time.Time // when what waits is looked at
	for {
		if turn == nil && (len(f.pending) > 0 || gone) {
			turn = time.After(followOrders)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes.C():
			list, _ := changes.Changes()
			if slices.ContainsFunc(list, f.concerns) {
				gone = f.look(ctx)
			}
		case h := <-f.heard:
			for _, e := range h {
				f.add(e)
			}
		case <-turn:
			turn = nil
			if err := f.flush(gone); err != nil {
				return err
			}
			if gone {
				return errPortGone
			}
		case <-silence.C:
			if err := f.out.send([]byte("\n")); err != nil {
				return err
			}
		}
	}
}

// concerns: the change may be one of the port, or of where DHCP of its network is served.
func (f *following) concerns(c store.Change) bool {
	return c.Kind == model.KindPort && (c.ID == string(f.id) || c.Network == f.network)
}

// look compares the record with what it was, and sees to it that its hosts are asked. gone: there is none.
func (f *following) look(ctx context.Context) (gone bool) {
	now := f.in.o.Now()
	var rec trace.Record
	f.in.o.Cloud.Read(func(r store.Reader) {
		if e := r.Port(f.id); e != nil {
			rec = f.in.record(r, e.Value, now)
		}
	})
	if rec.Port == nil {
		f.note(trace.EventEnd, now, "the port is deleted")
		return true
	}
	if f.last == nil || f.last.Revision != rec.Port.Revision {
		if ok, _ := f.see.Port(f.id); !ok {
			f.note(trace.EventEnd, now, "the port is not yours to see any more")
			return true
		}
	}
	for _, text := range recordChanges(f.last, rec.Port, f.hosts) {
		f.note(trace.EventRecord, now, text)
	}
	f.last = rec.Port
	want := map[model.HostName]bool{}
	for _, p := range append([]*model.Port{rec.Port}, rec.DHCPPorts...) {
		if p.Binding.Host != "" {
			want[p.Binding.Host] = true
		}
	}
	for h := range want {
		if f.asked[h] == nil {
			hctx, cancel := context.WithCancel(ctx)
			f.asked[h] = cancel
			go f.ask(hctx, h)
		}
	}
	for h, cancel := range f.asked {
		if !want[h] {
			cancel()
			delete(f.asked, h)
		}
	}
	return false
}

// recordChanges says in what two records of a port differ; before may be nil.
func recordChanges(before, p *model.Port, hosts bool) (texts []string) {
	if before == nil {
		text := fmt.Sprintf("%s, admin state %s, %s, %s", p.Status, upDown(p.AdminStateUp), p.MAC, addresses(p))
		if hosts {
			text += ", " + boundTo(p)
		}
		return []string{"is " + text}
	}
	add := func(changed bool, format string, args ...any) {
		if changed {
			texts = append(texts, fmt.Sprintf(format, args...))
		}
	}
	add(hosts && (before.Binding.Host != p.Binding.Host || before.Binding.VIFType != p.Binding.VIFType), "%s", boundTo(p))
	add(before.AdminStateUp != p.AdminStateUp, "admin state %s", upDown(p.AdminStateUp))
	add(before.MAC != p.MAC, "MAC %s becomes %s", before.MAC, p.MAC)
	add(addresses(before) != addresses(p), "addresses become %s", addresses(p))
	add(before.DeviceID != p.DeviceID || before.DeviceOwner != p.DeviceOwner, "device %q of %q", p.DeviceID, p.DeviceOwner)
	add(!slices.Equal(before.SecurityGroups, p.SecurityGroups), "security groups become %s", strings.Join(p.SecurityGroups, ", "))
	add(before.Status != p.Status, "status %s becomes %s", before.Status, p.Status)
	return texts
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func boundTo(p *model.Port) string {
	if p.Binding.Host == "" {
		return "bound to no host"
	}
	return fmt.Sprintf("bound to host %s (%s)", p.Binding.Host, p.Binding.VIFType)
}

func addresses(p *model.Port) string {
	if len(p.FixedIPs) == 0 {
		return "no address"
	}
	list := make([]string, len(p.FixedIPs))
	for i := range p.FixedIPs {
		list[i] = p.FixedIPs[i].Addr.String()
	}
	return strings.Join(list, ", ")
}

// ask asks a host again and again, until ctx ends.
func (f *following) ask(ctx context.Context, host model.HostName) {
	var q trace.FollowQuery
	var clock clock
	silent := ""
	tell := func(events ...trace.Event) bool {
		for i := range events {
			events[i].Host = host
		}
		select {
		case f.heard <- events:
			return true
		case <-ctx.Done():
			return false
		}
	}
	note := func(text string) bool { return tell(trace.Event{At: f.in.o.Now(), Kind: trace.EventNote, Text: text}) }
	for ctx.Err() == nil {
		q.Wait = streamSilence
		if q.Epoch == 0 {
			q.Wait = 0 // it shows at once whether the host is there
		}
		var got trace.Followed
		asked := f.in.o.Now()
		err := f.in.question(ctx, host, trace.Query{PortID: f.id, NetworkID: f.network, Follow: &q}, q.Wait, &got)
		if err != nil {
			if why := silence(err); why != silent && ctx.Err() == nil {
				silent = why
				note("nothing is heard of the host: " + why)
			}
			select {
			case <-ctx.Done():
			case <-time.After(followRetries):
			}
			continue
		}
		if silent != "" {
			silent = ""
			note("the host is heard again")
		}
		if text := clock.look(asked, got.Now, f.in.o.Now()); text != "" {
			note(text)
		}
		if q.Epoch != 0 && q.Epoch != got.Epoch {
			note("the agent has begun anew; what it knew from before is lost")
		}
		if got.Lost > 0 {
			note(fmt.Sprintf("%d events were more than the host keeps, and are lost", got.Lost))
		}
		for i := range got.Events {
			got.Events[i].At = got.Events[i].At.Add(-clock.wrong)
		}
		if len(got.Events) > 0 && !tell(got.Events...) {
			return
		}
		q.Epoch, q.After, q.Heard, q.Mended = got.Epoch, got.Last, got.Heard, got.Mended
	}
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

func (f *following) note(kind trace.EventKind, at time.Time, text string) {
	f.add(trace.Event{At: at.UTC(), Kind: kind, Text: text})
}

// add takes an event that is to be sent.
func (f *following) add(e trace.Event) {
	if !f.hosts {
		if !e.Kind.Public() {
			return
		}
		e.Host = ""
	}
	if len(f.pending) >= maxPending {
		f.lost++
		return
	}
	f.pending = append(f.pending, arrived{e, f.in.o.Now()})
}

// flush sends what has waited long enough, in the order of time.
func (f *following) flush(all bool) error {
	due := f.in.o.Now().Add(-followOrders)
	var now, later []arrived
	for _, a := range f.pending {
		if all || a.at.Before(due) || a.At.Before(due) {
			now = append(now, a)
		} else {
			later = append(later, a)
		}
	}
	slices.SortStableFunc(now, func(a, b arrived) int { return a.At.Compare(b.At) })
	if f.lost > 0 {
		now = append(now, arrived{Event: trace.Event{At: f.in.o.Now().UTC(), Kind: trace.EventNote, Text: fmt.Sprintf("%d events came faster than they could be sent, and are lost", f.lost)}})
		f.lost = 0
	}
	f.pending = later
	if len(now) == 0 {
		return nil
	}
	var b []byte
	for _, a := range now {
		b = append(b, line(a.Event)...)
	}
	return f.out.send(b)
}
