package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// LivePath is where ports are watched: GET LivePath?q=Q answers with server-sent events, of the
// type report with a trace.Report at the beginning and whenever it has changed, and of the type
// problem with {"error": "..."} while there is none. The stream ends when what the caller may
// see has changed, such as by the end of his token: who asks again learns the reason.
const LivePath = Path + "/live"

const (
	// maxStreams bounds those who watch at one server.
	maxStreams = 256
	// heartbeat keeps proxies from ending a stream that is only quiet.
	heartbeat = 15 * time.Second
	// recheck is how often it is asked again what a watcher may see.
	recheck = 30 * time.Second
	// slowReader is how long a watcher may take to read what is sent.
	slowReader = 20 * time.Second
)

// live are the watches that somebody looks at.
type live struct {
	heartbeat, recheck time.Duration

	mu      sync.Mutex
	streams int
	watches map[string]*watch
}

func newLive() *live {
	return &live{heartbeat: heartbeat, recheck: recheck, watches: map[string]*watch{}}
}

// watch is one question, evaluated each second for all who ask it and may see the same.
type watch struct {
	lookers int
	stop    context.CancelFunc

	mu sync.Mutex
	// event is the newest; changed is closed when there is a newer one.
	event   []byte
	changed chan struct{}
}

func (w *watch) newest() ([]byte, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.event, w.changed
}

func (w *watch) publish(event []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event = event
	close(w.changed)
	w.changed = make(chan struct{})
}

// pinned is what somebody may see of the ports that a question means, as it was when asked.
type pinned struct {
	ports    map[model.PortID][2]bool
	projects map[model.ProjectID]bool
}

func (p pinned) Port(id model.PortID) (port, hosts bool) { return p.ports[id][0], p.ports[id][1] }
func (p pinned) Project(id model.ProjectID) bool         { return p.projects[id] }

// pin resolves a question once. Two with the same key are shown the same.
func (in *Inspector) pin(q string, see Sight) (key string, fixed Sight, err error) {
	var ports []*model.Port
	in.o.Cloud.Read(func(r store.Reader) { ports, err = candidates(r, q) })
	if err != nil {
		return "", nil, err
	}
	sortPorts(ports)
	p := pinned{map[model.PortID][2]bool{}, map[model.ProjectID]bool{}}
	var b strings.Builder
	for _, port := range ports {
		seen, hosts := see.Port(port.ID)
		p.ports[port.ID] = [2]bool{seen, hosts}
		fmt.Fprintf(&b, " %s:%t:%t", port.ID, seen, hosts)
	}
	if len(ports) == 0 && in.o.Refused != nil {
		for _, f := range in.o.Refused(q) {
			p.projects[f.Project] = see.Project(f.Project)
		}
		for _, id := range slices.Sorted(maps.Keys(p.projects)) {
			fmt.Fprintf(&b, " %s:%t", id, p.projects[id])
		}
	}
	return q + b.String(), p, nil
}

// join looks at a watch, which begins with the first who does.
func (in *Inspector) join(ctx context.Context, key, q string, see Sight) *watch {
	l := in.live
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.watches[key]
	if w == nil {
		w = &watch{changed: make(chan struct{})}
		// It outlives who asked first.
		ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
		l.watches[key] = w
		go in.follow(ctx, w, q, see)
	}
	w.lookers++
	return w
}

// leave ends a watch with the last who looks at it.
func (in *Inspector) leave(key string, w *watch) {
	l := in.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.lookers--; w.lookers == 0 {
		w.stop()
		delete(l.watches, key)
	}
}

// follow evaluates a watch each second until ctx ends.
func (in *Inspector) follow(ctx context.Context, w *watch, q string, see Sight) {
	var before []byte
	for {
		rep, err := in.Report(ctx, q, see)
		if ctx.Err() != nil {
			return
		}
		event, same := liveEvent(rep, err)
		if !bytes.Equal(same, before) {
			w.publish(event)
			before = same
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(in.o.Every):
		}
	}
}

// ages change each second and tell nothing new: who shows them counts by himself.
var ages = regexp.MustCompile(`[0-9][0-9a-zµ.]* ago`)

// liveEvent is an event as sent, and what of it makes it worth sending.
func liveEvent(rep trace.Report, err error) (event, same []byte) {
	if err != nil {
		body, _ := json.Marshal(problem{problemText(err)}) // a text cannot fail
		event = fmt.Appendf(nil, "event: problem\ndata: %s\n\n", body)
		return event, event
	}
	body, err := json.Marshal(rep)
	if err != nil {
		return liveEvent(rep, err)
	}
	event = fmt.Appendf(nil, "event: report\ndata: %s\n\n", body)
	rep.Chains = slices.Clone(rep.Chains)
	for i := range rep.Chains {
		rep.Chains[i].At = time.Time{}
	}
	same, _ = json.Marshal(rep) // as it just could be
	return event, ages.ReplaceAll(same, nil)
}

func problemText(err error) string {
	if missing := (model.NotFound{}); errors.As(err, &missing) {
		return fmt.Sprintf("no port has the ID, name, MAC, address, tap or VM %q", missing.ID)
	}
	return err.Error()
}

// enter counts a stream, unless there are too many.
func (in *Inspector) enter() bool {
	in.live.mu.Lock()
	defer in.live.mu.Unlock()
	if in.live.streams >= maxStreams {
		return false
	}
	in.live.streams++
	return true
}

func (in *Inspector) exit() {
	in.live.mu.Lock()
	defer in.live.mu.Unlock()
	in.live.streams--
}

// serveLive answers a GET of LivePath.
func (in *Inspector) serveLive(w http.ResponseWriter, r *http.Request) {
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	sight := func() Sight {
		if in.o.Sight == nil {
			return everything{}
		}
		return in.o.Sight(r)
	}
	key, see, err := in.pin(q, sight())
	if err != nil {
		in.reply(w, http.StatusBadRequest, problem{problemText(err)})
		return
	}
	if !in.enter() {
		w.Header().Set("Retry-After", "10")
		in.reply(w, http.StatusServiceUnavailable, problem{fmt.Sprintf("%d watch already at this server", maxStreams)})
		return
	}
	defer in.exit()
	rc := http.NewResponseController(w)
	// The server's own limits are for requests that end. Without any the stream still ends
	// with the connection, the sight, or the server.
	_ = rc.SetReadDeadline(time.Time{})
	watch := in.join(r.Context(), key, q, see)
	defer in.leave(key, watch)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	w.WriteHeader(http.StatusOK)
	send := func(event []byte) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(slowReader))
		_, err := w.Write(event)
		return err == nil && rc.Flush() == nil
	}
	again, beat := time.NewTicker(in.live.recheck), time.NewTicker(in.live.heartbeat)
	defer again.Stop()
	defer beat.Stop()
	for ok := true; ok; {
		event, changed := watch.newest()
		if len(event) > 0 && !send(event) {
			return
		}
		for waiting := true; waiting && ok; {
			select {
			case <-changed:
				waiting = false
			case <-beat.C:
				ok = send([]byte(": still here\n\n"))
			case <-again.C:
				now, _, err := in.pin(q, sight())
				ok = err == nil && now == key
			case <-in.o.Stopping:
				ok = false
			case <-r.Context().Done():
				ok = false
			}
		}
	}
}
