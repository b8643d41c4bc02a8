package inspect

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/store/storetest"
	"weft/internal/trace"
)

// talkative is a host of which every question is answered by the test; questions wait as at a real one.
type talkative struct {
	mu       sync.Mutex
	captures []trace.CaptureQuery
	packets  chan trace.CapturedPacket
	stopped  chan struct{}
	follow   func(trace.FollowQuery) (trace.Followed, error)
}

func (h *talkative) Evidence(ctx context.Context, _ model.HostName, query []byte) ([]byte, error) {
	var q trace.Query
	if err := json.Unmarshal(query, &q); err != nil {
		return nil, err
	}
	if q.Follow != nil {
		f, err := h.follow(*q.Follow)
		if err == nil && len(f.Events) == 0 && q.Follow.Wait > 0 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		b, _ := json.Marshal(f)
		return b, err
	}
	h.mu.Lock()
	h.captures = append(h.captures, *q.Capture)
	h.mu.Unlock()
	if q.Capture.Stop {
		close(h.stopped)
	}
	c := trace.Captured{Device: "tap0"}
	if q.Capture.Wait > 0 {
		select {
		case p := <-h.packets:
			c.First, c.Packets = q.Capture.After+1, []trace.CapturedPacket{p}
			c.Dropped = 5
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return json.Marshal(c)
}

// requestLimit is what the servers of these tests give a request. It is long enough for a busy machine.
const requestLimit = 2 * time.Second

// streamWorld serves an Inspector with a short limit of time for requests.
func streamWorld(t *testing.T, see func(*http.Request) Sight) (*control.Control, *talkative, *httptest.Server, *model.Port) {
	st := storetest.New(t)
	c := control.New(control.Options{Store: st, Config: control.DefaultConfig()})
	h := &talkative{packets: make(chan trace.CapturedPacket), stopped: make(chan struct{}),
		follow: func(trace.FollowQuery) (trace.Followed, error) { return trace.Followed{}, feed.ErrNotConnected }}
	stopping := make(chan struct{})
	srv := httptest.NewUnstartedServer(New(Options{Cloud: c, Hosts: h, Changes: st.Subscribe, Sight: see, Stopping: stopping}))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = requestLimit, requestLimit
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(stopping) })
	if _, err := c.RegisterHost(t.Context(), model.Host{Name: "h1", IntegrationBridge: "br-int", TunnelTypes: []string{"vxlan"}, Roles: model.AllRoles()}); err != nil {
		t.Fatal(err)
	}
	n, err := c.CreateNetwork(t.Context(), control.NetworkRequest{Name: control.Some("demo")})
	if err == nil {
		_, err = c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.Value.ID, CIDR: netip.MustParsePrefix("10.10.0.0/24")})
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.Value.ID, Name: control.Some("web"), HostID: control.Some("h1")})
	if err != nil {
		t.Fatal(err)
	}
	return c, h, srv, p.Value
}

// open begins a stream; lines gives its lines that are not empty, and closes at its end.
func open(t *testing.T, url string) (lines <-chan string, leave func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%d %s", resp.StatusCode, b)
	}
	c := make(chan string)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if s.Text() != "" {
				select {
				case c <- s.Text():
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return c, cancel
}

// A capture outlives the server's limits for requests, and the host hears at once that the client has left.
func TestCaptureStream(t *testing.T) {
	_, h, srv, p := streamWorld(t, nil)
	lines, leave := open(t, srv.URL+CapturePath+"?q=web&filter=arp&snap=99")
	if l := <-lines; !strings.Contains(l, `"begin":{"port_id":"`+string(p.ID)) || !strings.Contains(l, `"snap":99`) {
		t.Errorf("begins with %s", l)
	}
	for i, wait := range []time.Duration{0, requestLimit + 300*time.Millisecond, 0} {
		time.Sleep(wait) // past the limits: the stream must live on
		h.packets <- trace.CapturedPacket{At: time.Now(), Len: i, Data: []byte("x")}
		if i == 0 {
			if l := <-lines; l != `{"dropped":5}` {
				t.Errorf("of what is dropped: %s", l)
			}
		}
		var l trace.CaptureLine
		if text := <-lines; json.Unmarshal([]byte(text), &l) != nil || l.Packet == nil || l.Packet.Len != i {
			t.Errorf("packet %d: %s", i, text)
		}
	}
	leave()
	<-h.stopped
	h.mu.Lock()
	defer h.mu.Unlock()
	first, last := h.captures[0], h.captures[len(h.captures)-1]
	if !first.Begin || first.Filter != "arp" || first.Snap != 99 || first.Who == "" || h.captures[1].Begin || last.After != 3 || last.ID != first.ID {
		t.Errorf("asked %+v ... %+v", first, last)
	}
}

// What cannot be captured is refused in clear words.
func TestCaptureRefused(t *testing.T) {
	c, _, srv, p := streamWorld(t, nil)
	if _, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: p.NetworkID, Name: control.Some("loose")}); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"?q=nobody": "404 no port has", "?q=": "400 q is empty", "?q=web&filter=prot": `400 filter: host wants an address, not "prot"`,
		"?q=web&count=0": "400 count:", "?q=web&snap=5": "400 snap:", "?q=web&for=2h": "400 for:", "?q=web&format=x": "400 format:",
		"?q=loose": "409 port", "?q=web&count=-1": "400 count:",
	} {
		resp, err := http.Get(srv.URL + CapturePath + query)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var p problem
		_ = json.Unmarshal(b, &p)
		if code, text, _ := strings.Cut(want, " "); !strings.HasPrefix(resp.Status, code) || !strings.HasPrefix(p.Error, text) {
			t.Errorf("%s: %s %q, want %s", query, resp.Status, p.Error, want)
		}
	}
}

// memberSight shows ports without hosts.
type memberSight struct{}

func (memberSight) Port(model.PortID) (port, hosts bool) { return true, false }
func (memberSight) Project(model.ProjectID) bool         { return true }

// Members see of a timeline the record and DHCP, without hosts.
func TestFollowOfMembers(t *testing.T) {
	c, h, srv, p := streamWorld(t, func(*http.Request) Sight { return memberSight{} })
	h.follow = func(q trace.FollowQuery) (trace.Followed, error) {
		if q.Epoch != 0 {
			return trace.Followed{}, nil
		}
		return trace.Followed{Epoch: 1, Now: time.Now(), Events: []trace.Event{
			{At: time.Now(), Kind: trace.EventFlows, Text: "secret"}, {At: time.Now(), Kind: trace.EventDHCP, Text: "DISCOVER"}}}, nil
	}
	lines, _ := open(t, srv.URL+FollowPath+"?q=web")
	var all strings.Builder
	for !strings.Contains(all.String(), "DISCOVER") {
		all.WriteString(<-lines)
	}
	if err := c.DeletePort(t.Context(), p.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	for l := range lines {
		all.WriteString(l)
	}
	if s := all.String(); strings.Contains(s, "h1") || strings.Contains(s, "secret") || !strings.HasSuffix(s, `"kind":"end","text":"the port is deleted"}`) {
		t.Error(s)
	}
}

// Hosts whose clocks are wrong, and those that do not answer, are told of; times are put right.
func TestFollowOfWrongClocks(t *testing.T) {
	_, h, srv, _ := streamWorld(t, nil)
	var mu sync.Mutex
	asked := 0
	began := time.Now()
	h.follow = func(q trace.FollowQuery) (trace.Followed, error) {
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == 1 {
			return trace.Followed{}, feed.ErrNotConnected
		}
		if q.Epoch != 0 {
			return trace.Followed{}, nil
		}
		return trace.Followed{Epoch: 1, Now: time.Now().Add(time.Hour), Lost: 3,
			Events: []trace.Event{{At: time.Now().Add(time.Hour), Kind: trace.EventFlows, Text: "flows"}}}, nil
	}
	lines, _ := open(t, srv.URL+FollowPath+"?q=web")
	missing := []string{"is DOWN", "nothing is heard of the host: its agent is not connected", "the host is heard again", "ahead of the server's; its times are put right by that", "3 events were more", "flows"}
	for l := range lines {
		var e trace.Event
		if json.Unmarshal([]byte(l), &e) != nil || e.At.Before(began.Add(-time.Second)) || e.At.After(time.Now().Add(time.Second)) {
			t.Errorf("%s", l)
		}
		missing = slices.DeleteFunc(missing, func(m string) bool { return strings.Contains(e.Text, m) })
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("no %q", missing)
}

// A clock is wrong only if it must be, however long an answer was under way.
func TestClock(t *testing.T) {
	base := time.Unix(1_800_000_000, 0)
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		what                   string
		asked, theirs, answers int
		want                   string
	}{
		{"right", 0, 5, 10, ""},
		{"right, and the answer was slow", 0, 5, 3000, ""},
		{"right, after a long wait", 0, 9990, 10000, ""},
		{"ahead", 0, 2005, 10, "2s ahead"},
		{"behind", 0, -1995, 10, "2s behind"},
		{"behind by less than it took", 0, -50, 10, ""},
	} {
		var k clock
		if got := k.look(at(c.asked), at(c.theirs), at(c.answers)); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	var k clock
	k.look(at(0), at(2005), at(10))
	if got := k.look(at(100), at(2110), at(5000)); got != "" || k.wrong != 2*time.Second {
		t.Errorf("a worse reading: %q, %s", got, k.wrong)
	}
	if got := k.look(at(6000), at(6005), at(6010)); got != "the host's clock is right" {
		t.Errorf("it was set: %q", got)
	}
}
