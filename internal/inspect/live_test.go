package inspect

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/trace"
)

// liveWorld serves the inspector as weft does, with limits on requests that a stream outlives.
func liveWorld(t *testing.T) (*world, *httptest.Server) {
	w := newWorld(t)
	w.in.o.Every = 10 * time.Millisecond
	srv := httptest.NewUnstartedServer(w.in)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = requestLimit, requestLimit
	srv.Start()
	t.Cleanup(srv.Close)
	return w, srv
}

// listener reads a stream.
type listener struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Reader
}

func (w *world) listen(srv *httptest.Server, q string) *listener {
	w.t.Helper()
	resp, err := http.Get(srv.URL + LivePath + "?q=" + url.QueryEscape(q))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	return &listener{w.t, resp, bufio.NewReader(resp.Body)}
}

// next is the next event; heartbeats are of the type "".
func (l *listener) next() (kind, data string) {
	l.t.Helper()
	for {
		line, err := l.in.ReadString('\n')
		switch line = strings.TrimSuffix(line, "\n"); {
		case err != nil:
			return "end", err.Error()
		case line == "":
			return kind, data
		case strings.HasPrefix(line, "event: "):
			kind = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		}
	}
}

func (l *listener) report() trace.Report {
	l.t.Helper()
	kind, data := l.next()
	var rep trace.Report
	if kind != "report" || json.Unmarshal([]byte(data), &rep) != nil || len(rep.Chains) != 1 {
		l.t.Fatalf("not a report: %s %s", kind, data)
	}
	return rep
}

func (w *world) awaitLive(what string, ok func(*live) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		w.in.live.mu.Lock()
		now := ok(w.in.live)
		w.in.live.mu.Unlock()
		if now {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited for %s", what)
		}
	}
}

// Who watches hears at once, then of changes only; those who ask the same share the work, which
// ends with the last of them.
func TestLive(t *testing.T) {
	w, srv := liveWorld(t)
	var asked atomic.Int64
	began := time.Now()
	w.ask = func(h model.HostName, q trace.Query) ([]byte, error) {
		asked.Add(1)
		// The last message of the guest is older each time; that is no change.
		return json.Marshal(trace.Evidence{PortID: q.PortID, Host: h, Known: true, Transactions: []trace.Transaction{{At: began, Message: "DISCOVER", Reply: "OFFER", Addr: "10.10.0.9"}}})
	}
	one := w.listen(srv, "web")
	if got := one.resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type: %s", got)
	}
	if rep := one.report(); rep.Chains[0].Name != "web" || len(rep.Chains[0].Conversation) != 1 {
		t.Errorf("%+v", rep.Chains[0])
	}
	two := w.listen(srv, "web")
	two.report()
	w.awaitLive("one watch for both", func(l *live) bool { return len(l.watches) == 1 && l.streams == 2 })
	time.Sleep(requestLimit + 300*time.Millisecond) // longer than the server lets a request be read or written
	if _, err := w.c.UpdatePort(t.Context(), w.a.ID, control.PortRequest{Description: control.Some("no name"), Name: control.Some("other")}); err != nil {
		t.Fatal(err)
	}
	// "web" means no port now: both hear that, and nothing before it.
	for _, l := range []*listener{one, two} {
		if kind, data := l.next(); kind != "problem" || !strings.Contains(data, "no port has") {
			t.Errorf("%s %s", kind, data)
		}
	}
	one.resp.Body.Close()
	two.resp.Body.Close()
	w.awaitLive("nobody to watch", func(l *live) bool { return len(l.watches) == 0 && l.streams == 0 })
	before := asked.Load()
	time.Sleep(50 * time.Millisecond)
	if now := asked.Load(); now > before+1 {
		t.Errorf("hosts are asked %d times while nobody looks", now-before)
	}
}

func TestLiveHeartbeat(t *testing.T) {
	w, srv := liveWorld(t)
	w.in.live.heartbeat = 20 * time.Millisecond
	l := w.listen(srv, string(w.a.ID))
	l.report()
	if kind, _ := l.next(); kind != "" {
		t.Errorf("%q instead of a heartbeat", kind)
	}
}

type tokenSight struct {
	revoked *atomic.Bool
	admin   bool
}

func (s tokenSight) Port(model.PortID) (port, hosts bool) { return !s.revoked.Load(), s.admin }
func (s tokenSight) Project(model.ProjectID) bool         { return s.admin }

// A stream ends when its caller may see less or more than before, and two who may see different
// things do not share.
func TestLiveSight(t *testing.T) {
	w, srv := liveWorld(t)
	w.in.live.recheck = 20 * time.Millisecond
	var revoked atomic.Bool
	w.in.o.Sight = func(r *http.Request) Sight {
		return tokenSight{&revoked, r.Header.Get("X-Auth-Token") == ""}
	}
	admin := w.listen(srv, string(w.a.ID))
	if rep := admin.report(); rep.Chains[0].Host != "h1" {
		t.Errorf("an administrator is shown the host %q", rep.Chains[0].Host)
	}
	req, err := http.NewRequest(http.MethodGet, srv.URL+LivePath+"?q="+string(w.a.ID), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", "member")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	member := &listener{t, resp, bufio.NewReader(resp.Body)}
	if rep := member.report(); rep.Chains[0].Host != "" {
		t.Errorf("a member is shown the host %q", rep.Chains[0].Host)
	}
	w.awaitLive("two watches", func(l *live) bool { return len(l.watches) == 2 })
	revoked.Store(true)
	for _, l := range []*listener{admin, member} {
		if kind, data := l.next(); kind != "end" {
			t.Errorf("%s %s", kind, data)
		}
	}
}

func TestLiveBounds(t *testing.T) {
	w, srv := liveWorld(t)
	stop := make(chan struct{})
	w.in.o.Stopping = stop
	l := w.listen(srv, string(w.a.ID))
	l.report()
	w.in.live.mu.Lock()
	w.in.live.streams += maxStreams - 1
	w.in.live.mu.Unlock()
	if r := w.listen(srv, string(w.a.ID)); r.resp.StatusCode != http.StatusServiceUnavailable || r.resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", r.resp.Status)
	}
	if r := w.listen(srv, ""); r.resp.StatusCode != http.StatusBadRequest {
		t.Errorf("no question: %s", r.resp.Status)
	}
	close(stop)
	if kind, data := l.next(); kind != "end" {
		t.Errorf("after the server's end: %s %s", kind, data)
	}
}
