package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/control"
	"weft/internal/neutron"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// slots are the addresses that the clients of a history quarrel about.
const slots = 4

// held is the state of the model: the name of the port that holds each address, or "". Names
// are of the clients' choosing and never used twice.
type held [slots]string

// asked is what a client asks, heard is what it hears of it.
type (
	asked struct {
		verb string // create, delete, get or list
		slot int
		name string
	}
	heard struct {
		outcome string // ok, no, or unknown: it happened, will yet, or never will
		list    held
	}
)

// linear says of a step whether it may have ended so in a state, and which state comes of it. A
// step whose end is unknown may take effect at any time after it was asked, also never: then
// it is the last of the history.
var linear = porcupine.Model{
	Init: func() any { return held{} },
	Step: func(state, in, out any) (bool, any) {
		s, q, a := state.(held), in.(asked), out.(heard)
		switch q.verb {
		case "list":
			return s == a.list, s
		case "get":
			return (s[q.slot] == q.name) == (a.outcome == "ok"), s
		case "create":
			if can := s[q.slot] == ""; a.outcome != "unknown" && can != (a.outcome == "ok") {
				return false, s
			} else if can {
				s[q.slot] = q.name
			}
		case "delete":
			if can := s[q.slot] == q.name; a.outcome != "unknown" && can != (a.outcome == "ok") {
				return false, s
			} else if can {
				s[q.slot] = ""
			}
		}
		return true, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, " ", out) },
}

// quarrel is a history in the making: clients create, delete, get and list ports at servers,
// each request at any of them.
type quarrel struct {
	t       testing.TB
	servers []string // URLs
	network string
	http    *http.Client
	began   time.Time
	stopped chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	history []porcupine.Operation
	ids     map[string]string // of ports seen, by name
	slot    map[string]int
	unsure  int
}

// newQuarrel makes the network whose addresses are quarrelled about.
func newQuarrel(t testing.TB, servers ...string) *quarrel {
	q := &quarrel{t: t, servers: servers, began: time.Now(), stopped: make(chan struct{}), ids: map[string]string{}, slot: map[string]int{},
		// On a connection of its own no request is sent twice without our knowing.
		http: &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	var n struct{ Network struct{ ID string } }
	q.must("POST", "/v2.0/networks", m{"network": m{"name": "quarrel"}}, &n)
	q.network = n.Network.ID
	q.must("POST", "/v2.0/subnets", m{"subnet": m{"network_id": q.network, "ip_version": 4, "cidr": "10.70.0.0/24", "enable_dhcp": false}}, nil)
	return q
}

func (q *quarrel) must(method, path string, in, out any) {
	q.t.Helper()
	if code, err := q.ask(q.servers[0], method, path, in, out); err != nil || code >= 300 {
		q.t.Fatalf("%s %s: %d, %v", method, path, code, err)
	}
}

func (q *quarrel) ask(server, method, path string, in, out any) (int, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, server+path, body)
	if err != nil {
		return 0, err
	}
	resp, err := q.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && out != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(b, out)
	}
	return resp.StatusCode, err
}

// run starts clients; end stops them and judges.
func (q *quarrel) run(clients int) {
	for c := range clients {
		q.wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), uint64(q.began.UnixNano())))
			for n := 0; ; n++ {
				select {
				case <-q.stopped:
					return
				default:
					q.one(c, n, rng)
				}
			}
		})
	}
}

// one is one request of a client.
func (q *quarrel) one(client, n int, rng *rand.Rand) {
	server := q.servers[rng.IntN(len(q.servers))]
	s := asked{verb: "create", slot: rng.IntN(slots), name: fmt.Sprintf("c%d-%d", client, n)}
	id := ""
	switch r := rng.IntN(10); {
	case r < 3:
	case r < 7:
		s = asked{verb: "list"}
	default:
		q.mu.Lock()
		for name, known := range q.ids { // any: the order of a map is random
			s, id = asked{verb: "delete", slot: q.slot[name], name: name}, known
			break
		}
		q.mu.Unlock()
		if id != "" && r == 9 {
			s.verb = "get"
		}
	}
	call := time.Since(q.began).Nanoseconds()
	d, known := q.do(server, s, id)
	end := time.Since(q.began).Nanoseconds()
	if !known {
		time.Sleep(10 * time.Millisecond) // it has not happened, or there is nothing to learn from it
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.verb == "delete" && d.outcome != "unknown" {
		delete(q.ids, s.name)
	}
	if d.outcome == "unknown" {
		q.unsure++
		end = 1 << 62
		// It stays under way for ever, and the client is one that asks no more.
		client = 1000 + q.unsure
	}
	q.history = append(q.history, porcupine.Operation{ClientId: client, Input: s, Call: call, Output: d, Return: end})
}

// do asks, and says what came of it. What was not heard of by any server is not known, nor
// what a read without an answer would have said.
func (q *quarrel) do(server string, s asked, id string) (d heard, known bool) {
	type port struct {
		ID, Name string
		FixedIPs []struct {
			Addr string `json:"ip_address"`
		} `json:"fixed_ips"`
	}
	var one struct{ Port port }
	var list struct{ Ports []port }
	code, err := 0, error(nil)
	wrote := s.verb == "create" || s.verb == "delete"
	switch s.verb {
	case "create":
		code, err = q.ask(server, "POST", "/v2.0/ports", m{"port": m{"network_id": q.network, "name": s.name,
			"fixed_ips": []m{{"ip_address": fmt.Sprintf("10.70.0.%d", 10+s.slot)}}}}, &one)
	case "delete":
		code, err = q.ask(server, "DELETE", "/v2.0/ports/"+id, nil, nil)
	case "get":
		code, err = q.ask(server, "GET", "/v2.0/ports/"+id, nil, nil)
	case "list":
		code, err = q.ask(server, "GET", "/v2.0/ports?network_id="+q.network, nil, &list)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return d, false
	case err != nil || code >= 500:
		return heard{outcome: "unknown"}, wrote
	case code == 404 || code == 409:
		return heard{outcome: "no"}, true
	case code >= 300:
		q.t.Errorf("%v: status %d", s, code)
		return d, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.verb == "create" {
		q.ids[s.name], q.slot[s.name] = one.Port.ID, s.slot
	}
	for _, p := range list.Ports {
		at := 0
		if _, err := fmt.Sscanf(p.FixedIPs[0].Addr, "10.70.0.%d", &at); err != nil || at-10 >= slots || d.list[at-10] != "" {
			q.t.Errorf("a list with %+v", list.Ports)
			return d, false
		}
		d.list[at-10] = p.Name
		q.ids[p.Name], q.slot[p.Name] = p.ID, at-10
	}
	d.outcome = "ok"
	return d, true
}

// end stops the clients and says whether one order of all requests explains what they heard.
func (q *quarrel) end() porcupine.CheckResult {
	close(q.stopped)
	q.wg.Wait()
	result, info := porcupine.CheckOperationsVerbose(linear, q.history, time.Minute)
	kinds := map[string]int{}
	for _, o := range q.history {
		kinds[o.Input.(asked).verb+" "+o.Output.(heard).outcome]++
	}
	q.t.Logf("%d requests in %s are %v: %v", len(q.history), time.Since(q.began).Round(time.Millisecond), result, kinds)
	if dir := os.Getenv("WEFT_HISTORIES"); dir != "" {
		if f, err := os.CreateTemp(dir, "history-*.html"); err == nil {
			_ = porcupine.Visualize(linear, info, f) // for a person to look at
			f.Close()
		}
	}
	return result
}

// hearsLate is a client of the same etcd that hears of every change 50 ms late.
func hearsLate(t *testing.T, c *store.Client) *store.Client {
	late := clientv3.NewCtxClient(t.Context())
	late.KV, late.Lease, late.Watcher = c.KV, c.Lease, lateWatcher{c.Watcher}
	return late
}

type lateWatcher struct{ clientv3.Watcher }

func (w lateWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	in, out := w.Watcher.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		for r := range in {
			time.Sleep(50 * time.Millisecond)
			select {
			case out <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// TestCheckerNoticesStaleReads: two servers on one etcd that do not ask how far the other has
// come are found out, and two that do are not accused.
func TestCheckerNoticesStaleReads(t *testing.T) {
	for _, asks := range []bool{false, true} {
		client := storetest.Etcd(t)
		var urls []string
		for _, client := range []*store.Client{client, hearsLate(t, client)} {
			c := control.New(control.Options{Store: storetest.Open(t, client), Config: control.DefaultConfig()})
			srv := httptest.NewServer(neutron.New(neutron.Options{Control: c, Shared: func() bool { return asks }}))
			t.Cleanup(srv.Close)
			urls = append(urls, srv.URL)
		}
		want := map[bool]porcupine.CheckResult{false: porcupine.Illegal, true: porcupine.Ok}[asks]
		got := porcupine.Ok
		// Clients may be lucky, but not for long.
		for try := 0; try < 5 && (try == 0 || !asks) && got == porcupine.Ok; try++ {
			q := newQuarrel(t, urls...)
			q.run(4)
			time.Sleep(time.Second)
			got = q.end()
		}
		if got != want {
			t.Errorf("servers that ask: %v; the history is %v, want %v", asks, got, want)
		}
	}
}

// TestCheckerModel: histories made by hand, each with one thing that cannot be.
func TestCheckerModel(t *testing.T) {
	type op = porcupine.Operation
	at := func(from, to int64, s asked, d heard) op { return op{Input: s, Output: d, Call: from, Return: to} }
	ok, no := heard{outcome: "ok"}, heard{outcome: "no"}
	list := func(names ...string) (d heard) { copy(d.list[:], names); d.outcome = "ok"; return d }
	made := at(0, 1, asked{"create", 0, "a"}, ok)
	for name, x := range map[string]struct {
		want porcupine.CheckResult
		ops  []op
	}{
		"seen":                         {porcupine.Ok, []op{made, at(2, 3, asked{verb: "list"}, list("a"))}},
		"stale":                        {porcupine.Illegal, []op{made, at(2, 3, asked{verb: "list"}, list())}},
		"at the same time":             {porcupine.Ok, []op{at(0, 5, asked{"create", 0, "a"}, ok), at(2, 3, asked{verb: "list"}, list())}},
		"back in time":                 {porcupine.Illegal, []op{at(0, 9, asked{"create", 0, "a"}, ok), at(2, 3, asked{verb: "list"}, list("a")), at(4, 5, asked{verb: "list"}, list())}},
		"address twice":                {porcupine.Illegal, []op{made, at(2, 3, asked{"create", 0, "b"}, ok)}},
		"refused for nothing":          {porcupine.Illegal, []op{at(2, 3, asked{"create", 0, "b"}, no)}},
		"lost":                         {porcupine.Illegal, []op{made, at(2, 3, asked{"delete", 0, "a"}, no)}},
		"unknown, and then there":      {porcupine.Ok, []op{at(0, 99, asked{"create", 0, "a"}, heard{outcome: "unknown"}), at(2, 3, asked{verb: "list"}, list()), at(4, 5, asked{verb: "list"}, list("a"))}},
		"unknown, and never there":     {porcupine.Ok, []op{at(0, 99, asked{"create", 0, "a"}, heard{outcome: "unknown"}), at(4, 5, asked{verb: "list"}, list())}},
		"unknown, there and not there": {porcupine.Illegal, []op{at(0, 99, asked{"create", 0, "a"}, heard{outcome: "unknown"}), at(2, 3, asked{verb: "list"}, list("a")), at(4, 5, asked{verb: "list"}, list())}},
	} {
		if got, _ := porcupine.CheckOperationsVerbose(linear, x.ops, time.Minute); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

// TestServersLinearizable: whatever happens to three servers, what clients hear of ports is as if
// there were one that does one thing after the other. WEFT_SOAK_SERVERS makes it as long as it says.
func TestServersLinearizable(t *testing.T) {
	length := 3 * time.Second
	if text := os.Getenv("WEFT_SOAK_SERVERS"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	c := newCluster(t)
	all := c.three()
	seed := time.Now().UnixNano()
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	t.Logf("seed %d", seed)
	for until := time.Now().Add(length); time.Now().Before(until); {
		// A history of its own for every few faults: what is unknown makes judging it expensive.
		q := newQuarrel(t, urlsOf(all)...)
		q.run(6)
		var faults []string
		for range 3 {
			time.Sleep(300 * time.Millisecond)
			faults = append(faults, c.harm(rng))
		}
		time.Sleep(300 * time.Millisecond)
		if result := q.end(); result != porcupine.Ok {
			t.Fatalf("after %s the history is %v (seed %d)", strings.Join(faults, ", "), result, seed)
		}
		t.Log(strings.Join(faults, ", "))
	}
	all[0].fsck()
}

func urlsOf(ms []*member) (urls []string) {
	for _, m := range ms {
		urls = append(urls, "http://"+m.addr+":9696")
	}
	return urls
}

// harm does one thing to the servers, and waits until all serve again.
func (c *cluster) harm(rng *rand.Rand) string {
	victim := c.all[rng.IntN(len(c.all))]
	who := victim.name
	if rng.IntN(2) == 0 {
		roles, _ := victim.roles()
		for name, role := range roles {
			if role == "leader" {
				victim, who = c.named(name), name+", which leads,"
			}
		}
	}
	pause := time.Duration(500+rng.IntN(1000)) * time.Millisecond
	what := ""
	switch rng.IntN(3) {
	case 0:
		victim.kill()
		time.Sleep(pause)
		victim.start()
		what = who + " killed"
	case 1:
		victim.signal(syscall.SIGSTOP)
		time.Sleep(pause)
		victim.signal(syscall.SIGCONT)
		what = who + " paused for " + pause.String()
	case 2:
		other := c.all[(slices.Index(c.all, victim)+1)%len(c.all)]
		victim.kill()
		other.signal(syscall.SIGSTOP)
		time.Sleep(pause)
		other.signal(syscall.SIGCONT)
		victim.start()
		what = who + " killed while " + other.name + " was paused"
	}
	for _, m := range c.all {
		m.awaitHealth()
	}
	return what
}
