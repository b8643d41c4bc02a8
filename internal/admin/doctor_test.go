package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/doctor"
	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
	"weft/internal/trace"
)

// agents are the hosts, as far as a test needs them: they say what is left over, and remove it.
type agents struct {
	self    Self
	left    map[model.HostName][]doctor.Leftover
	removed []doctor.Leftover
}

func (a *agents) Evidence(ctx context.Context, host model.HostName, query []byte) ([]byte, error) {
	var q trace.Query
	if err := json.Unmarshal(query, &q); err != nil {
		return nil, err
	}
	left, here := a.left[host]
	if !here {
		return nil, feed.ErrNotConnected
	}
	if q.Doctor {
		return json.Marshal(doctor.HostFacts{At: time.Now(), Feed: trace.Feed{InSync: true}, Machine: doctor.Machine{Leftovers: left}})
	}
	var list []doctor.Leftover
	if err := json.Unmarshal(q.Remove, &list); err != nil {
		return nil, err
	}
	a.removed = append(a.removed, list...)
	var out []doctor.Removal
	for _, l := range list {
		out = append(out, doctor.Removal{Leftover: l})
	}
	return json.Marshal(out)
}

func (a *agents) AskServers(ctx context.Context, q []byte) map[string]feed.Word {
	w := feed.Word{Sent: time.Now()}
	w.Body, w.Err = a.self.Answer(ctx, q)
	w.Received = time.Now()
	return map[string]feed.Word{"own": w, "away": {Err: context.DeadlineExceeded}}
}

// world is a server with hosts h1, which answers, and h2, which does not.
type world struct {
	*testing.T
	control *control.Control
	agents  *agents
	handler http.Handler
}

func newWorld(t *testing.T) *world {
	etcd := storetest.Etcd(t)
	st := storetest.Open(t, etcd)
	c := control.New(control.Options{Store: st, Config: control.DefaultConfig()})
	for i, name := range []model.HostName{"h1", "h2"} {
		if _, err := c.RegisterHost(t.Context(), model.Host{Name: name, AgentID: string(name), Roles: model.AllRoles(), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}); err != nil {
			t.Fatal(err)
		}
	}
	self := Self{Etcd: etcd, Prefix: store.DefaultPrefix, Embedded: true, StateDir: t.TempDir(), Certificates: t.TempDir(), Version: "1"}
	if ca, err := feed.EnsureCA(self.Certificates); err != nil || ca.IssueServer() != nil {
		t.Fatal(err)
	}
	a := &agents{self: self, left: map[model.HostName][]doctor.Leftover{"h1": {}}}
	return &world{t, c, a, New(Options{Control: c, Feed: a, Self: self})}
}

// ask does a request, which must be answered with 200.
func (w *world) ask(method, path, body string, into any) {
	w.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, httptest.NewRequestWithContext(w.Context(), method, path, strings.NewReader(body)))
	if rec.Code != http.StatusOK {
		w.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		w.Fatal(err)
	}
}

// TestDoctor: a real etcd, a disk and certificates are well; who does not answer is a finding.
func TestDoctor(t *testing.T) {
	w := newWorld(t)
	var r doctor.Report
	w.ask("GET", DoctorPath, "", &r)
	check := func(group, name string) (v trace.Verdict) {
		for _, g := range r.Groups {
			for _, k := range g.Checks {
				if strings.TrimSpace(g.Kind+" "+g.Name) == group && k.Name == name {
					v = v.Worse(k.Verdict)
				}
			}
		}
		return v
	}
	for _, x := range []struct {
		group, name string
		want        trace.Verdict
	}{
		{"cloud", "store", trace.OK}, {"cloud", "tunnel-addresses", trace.OK},
		{"server own", "answer", trace.OK}, {"server own", "clock", trace.OK}, {"server own", "etcd", trace.OK}, {"server own", "etcd size", trace.OK},
		{"server own", "etcd members", trace.OK}, {"server own", "certificate of the server", trace.OK}, {"server own", "certificate of the authority", trace.OK},
		{"server away", "answer", trace.Unknown}, {"host h1", "feed", trace.OK}, {"host h1", "leftovers", trace.OK}, {"host h2", "answer", trace.Unknown},
	} {
		if got := check(x.group, x.name); got != x.want {
			t.Errorf("%s: %s is %q, want %q", x.group, x.name, got, x.want)
		}
	}
	w.ask("GET", DoctorPath+"?host=h1", "", &r)
	if len(r.Groups) != 1 {
		t.Errorf("asked for one host: %+v", r.Groups)
	}
}

// TestGarbage: what is for anything in the store is not left over, and only what is left over now is removed.
func TestGarbage(t *testing.T) {
	w := newWorld(t)
	n, err := w.control.CreateNetwork(t.Context(), control.NetworkRequest{Project: "p"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.control.CreatePort(t.Context(), control.PortRequest{Project: "p", NetworkID: n.Value.ID})
	if err != nil {
		t.Fatal(err)
	}
	const none = "11111111-2222-4333-8444-555555555555"
	thing := func(kind, object string) doctor.Leftover {
		return doctor.Leftover{Kind: kind, Name: kind + "-" + object, Object: object, Mark: "1"}
	}
	lost := []doctor.Leftover{thing(doctor.KindNamespace, none), thing(doctor.KindPort, none), thing(doctor.KindTap, none[:11])}
	kept := []doctor.Leftover{thing(doctor.KindNamespace, string(n.Value.ID)), thing(doctor.KindPort, string(p.Value.ID)),
		thing(doctor.KindTap, string(p.Value.ID)[:11]), thing("of a newer version", none)}
	w.agents.left["h1"] = slices.Concat(lost, kept)
	var g Garbage
	w.ask("GET", GCPath, "", &g)
	if len(g.Hosts) != 2 || !slices.Equal(g.Hosts[0].Leftovers, lost) || g.Hosts[1].Silence == "" || len(g.Hosts[1].Leftovers) > 0 {
		t.Fatalf("%+v", g)
	}
	// One is removed of three that are left over; what is wanted, what is another by now, and what is on a silent host stay.
	another := lost[1]
	another.Mark = "2"
	asked, err := json.Marshal(Garbage{Hosts: []HostGarbage{{Name: "h2", Leftovers: lost[:1]}, {Name: "h1", Leftovers: slices.Concat(lost[:1], kept, []doctor.Leftover{another})}}})
	if err != nil {
		t.Fatal(err)
	}
	w.ask("POST", GCPath, string(asked), &g)
	if !slices.Equal(w.agents.removed, lost[:1]) {
		t.Errorf("removed: %+v", w.agents.removed)
	}
	done := 0
	for _, h := range g.Hosts {
		for _, r := range h.Removals {
			if r.Error == "" {
				done++
			}
		}
	}
	if done != 1 || len(g.Hosts[0].Removals) != 1 || len(g.Hosts[1].Removals) != 1+len(kept)+1 {
		t.Errorf("%+v", g)
	}
}

// TestUnknownHost: who misspells a host is told which there are, and who names a server, that it is one.
func TestUnknownHost(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { _ = w.control.ServeAs(ctx, model.Server{Name: "controller"}) })
	t.Cleanup(func() { cancel(); serving.Wait() })
	for there := 0; there == 0; time.Sleep(time.Millisecond) {
		w.control.Read(func(r store.Reader) { there = len(w.control.Servers(r)) })
	}
	for query, want := range map[string]string{
		"?host=controller": "404 host controller could not be found: it is a server",
		"?host=h3":         "404 host h3 could not be found: there are h1, h2",
		"?host=h1&host=":   "400 the name of a host is empty",
		"?host=h1&host=h0": "404 host h0 could not be found",
	} {
		for _, path := range []string{DoctorPath, GCPath} {
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+query, nil))
			var got struct{ Error string }
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if text := fmt.Sprint(rec.Code, " ", got.Error); !strings.HasPrefix(text, want) {
				t.Errorf("%s%s: %s", path, query, text)
			}
		}
	}
}
