// Package inspect answers, on a server, what is the matter with a port: it finds the ports
// that a person means, asks the hosts that have to do with them for evidence and has trace
// judge it.
//
// It serves GET /weft/v1/trace?q=Q, where Q is a port's ID, name, MAC, address, the name of its
// tap, or the ID of the VM (device_id) whose ports are meant. The answer is a trace.Report in
// JSON. GET /weft/v1/allows answers whether the port's filter lets a packet pass. GET
// /weft/v1/capture streams a port's packets, GET /weft/v1/trace/follow what happens to it. None is part of the Neutron API; all read only.
package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/internal/feed"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// Path is where the handler belongs.
const Path = "/weft/v1/trace"

// Cloud is what inspect reads of the records; *control.Control is one.
type Cloud interface {
	Read(func(store.Reader))
	HostAlive(h *model.Host, now time.Time) bool
}

// Hosts asks a host's agent; *feed.Server is one.
type Hosts interface {
	Evidence(ctx context.Context, host model.HostName, query []byte) ([]byte, error)
}

// Options are what an Inspector is made of.
type Options struct {
	Cloud Cloud
	Hosts Hosts
	// Sight says what the caller of a request may see; nil lets everybody see everything.
	Sight func(*http.Request) Sight
	// Refused returns the ports lately refused that a question would mean; nil returns none.
	Refused func(q string) []model.Refusal
	// Changes collects the changes of the store until ctx ends; without it nobody can follow a port.
	Changes func(ctx context.Context) *store.Subscription
	// Who names the caller of a request, for the log; nil leaves it at the address.
	Who func(*http.Request) string
	// Stopping, if not nil, is closed when the server stops: streams end.
	Stopping <-chan struct{}
	// Timeout is how long a host may take to answer; 0 means 5 s.
	Timeout time.Duration
	// Every is how often a port is looked at while somebody watches; 0 means 1 s.
	Every time.Duration
	// Now tells the time; time.Now when nil.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
	// Metrics counts; nil counts for nobody.
	Metrics *metrics.Registry
}

// Inspector explains ports. It is safe for concurrent use.
type Inspector struct {
	o Options
	// capturing has room for each capture under way.
	capturing chan struct{}
	live      *live
	// following has room for each who follows a port.
	following chan struct{}
}

// New makes an Inspector.
func New(o Options) *Inspector {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	in := &Inspector{o: o, capturing: make(chan struct{}, maxCaptures), live: newLive(), following: make(chan struct{}, maxFollows)}
	streams := o.Metrics.Gauge("weft_streams", "Answers under way that go on: of ports that are watched (live) or followed (follow), and captures of packets (capture).", "kind")
	o.Metrics.OnRead(func(_ context.Context, now *metrics.Reading) {
		in.live.mu.Lock()
		watching := in.live.streams
		in.live.mu.Unlock()
		now.Set(streams, float64(watching), "live")
		now.Set(streams, float64(len(in.following)), "follow")
		now.Set(streams, float64(len(in.capturing)), "capture")
	})
	return in
}

// Ambiguous says that several ports answer to a query; a person has to choose one.
type Ambiguous struct {
	Query string
	// Ports are those that match, sorted by ID.
	Ports []*model.Port
}

func (e Ambiguous) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d ports answer to %q; give the ID of one:", len(e.Ports), e.Query)
	for i, p := range e.Ports {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Ports)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s %s %s network %s", p.ID, p.MAC, addresses(p), p.NetworkID)
		if p.Name != "" {
			fmt.Fprintf(&b, " %q", p.Name)
		}
	}
	return b.String()
}

// Sight is what somebody may see. It may ask the API, so it is never asked while the records are read.
type Sight interface {
	// Port says of a port whether its records may be seen, and whether the insides of hosts too.
	Port(model.PortID) (port, hosts bool)
	// Project says whether what belongs to a project may be seen.
	Project(model.ProjectID) bool
}

type everything struct{}

func (everything) Port(model.PortID) (port, hosts bool) { return true, true }
func (everything) Project(model.ProjectID) bool         { return true }

// Report explains the ports that q means, as far as they may be seen.
func (in *Inspector) Report(ctx context.Context, q string, see Sight) (trace.Report, error) {
	if see == nil {
		see = everything{}
	}
	now := in.o.Now()
	q = strings.TrimSpace(q)
	rep := trace.Report{Query: q, Verdict: trace.OK, Chains: []trace.Chain{}}
	ports, err := in.seen(q, see)
	if missing := (model.NotFound{}); errors.As(err, &missing) && in.o.Refused != nil {
		rep.Refused = slices.DeleteFunc(in.o.Refused(q), func(f model.Refusal) bool { return !see.Project(f.Project) })
		if len(rep.Refused) > 0 {
			rep.Verdict = trace.Broken
			return rep, nil
		}
	}
	if err != nil {
		return rep, err
	}
	var records []trace.Record
	in.o.Cloud.Read(func(r store.Reader) {
		for _, p := range ports {
			if e := r.Port(p.ID); e != nil {
				p = e.Value
			}
			records = append(records, in.record(r, p, now))
		}
	})
	rep.Chains = make([]trace.Chain, len(records))
	var wg sync.WaitGroup
	for i, rec := range records {
		wg.Go(func() {
			said := in.ask(ctx, rec)
			rec.Elsewhere = in.elsewhere(ctx, rec, said[rec.Port.Binding.Host])
			rep.Chains[i] = trace.Explain(rec, said, now)
			if _, hosts := see.Port(rec.Port.ID); !hosts {
				rep.Chains[i].Redact()
			}
		})
	}
	wg.Wait()
	for _, c := range rep.Chains {
		rep.Verdict = rep.Verdict.Worse(c.Verdict)
	}
	return rep, nil
}

// record gathers what the records say of a port.
func (in *Inspector) record(r store.Reader, p *model.Port, now time.Time) trace.Record {
	rec := trace.Record{Port: p, Hosts: map[model.HostName]trace.HostRecord{}}
	if e := r.Network(p.NetworkID); e != nil {
		rec.Network = e.Value
	}
	_, rec.GroupNames = guarded(r, p)
	for _, e := range r.SubnetsOf(p.NetworkID) {
		rec.Subnets = append(rec.Subnets, e.Value)
	}
	for e := range r.PortsOf(p.NetworkID) {
		rec.Ports = append(rec.Ports, e.Value)
		if e.Value.DeviceOwner == model.OwnerDHCP {
			rec.DHCPPorts = append(rec.DHCPPorts, e.Value)
		}
	}
	sortPorts(rec.DHCPPorts)
	for _, of := range append([]*model.Port{p}, rec.DHCPPorts...) {
		if h := of.Binding.Host; h != "" {
			if e := r.Host(h); e != nil {
				rec.Hosts[h] = trace.HostRecord{Host: e.Value, Alive: in.o.Cloud.HostAlive(e.Value, now)}
			}
		}
	}
	return rec
}

// ask asks every host that has to do with a port, all at once; and they try the tunnels between them meanwhile.
func (in *Inspector) ask(ctx context.Context, rec trace.Record) map[model.HostName]trace.Said {
	said := map[model.HostName]trace.Said{}
	for _, p := range append([]*model.Port{rec.Port}, rec.DHCPPorts...) {
		if h := p.Binding.Host; h != "" {
			said[h] = trace.Said{}
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var tried map[model.HostName]trace.Said
	if pairs := trace.Tunnelled(rec); len(pairs) > 0 {
		wg.Go(func() { tried = in.TryTunnels(ctx, rec.Network, pairs) })
	}
	for _, h := range slices.Collect(maps.Keys(said)) {
		wg.Go(func() {
			one := in.said(ctx, h, trace.Query{PortID: rec.Port.ID, NetworkID: rec.Port.NetworkID, MAC: rec.Port.MAC.String(), Walks: trace.Exchange(rec)})
			mu.Lock()
			defer mu.Unlock()
			said[h] = one
		})
	}
	wg.Wait()
	for h, t := range tried {
		s := said[h]
		s.Tunnels, s.TunnelsSilence = t.Tunnels, t.TunnelsSilence
		said[h] = s
	}
	return said
}

// skew is by how much a clock that showed at, some time between sent and got, must be ahead.
func skew(sent, got, at time.Time) time.Duration {
	switch {
	case at.Before(sent):
		return at.Sub(sent)
	case at.After(got):
		return at.Sub(got)
	}
	return 0
}

// seen returns the ports that q means and the caller may see: one, or all of a VM.
func (in *Inspector) seen(q string, see Sight) (found []*model.Port, err error) {
	in.o.Cloud.Read(func(r store.Reader) { found, err = candidates(r, q) })
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(p *model.Port) bool { ok, _ := see.Port(p.ID); return !ok })
	sortPorts(found)
	switch vm := func(p *model.Port) bool { return p.DeviceID == found[0].DeviceID && isID(p.DeviceID, q) }; {
	case len(found) == 0:
		return nil, model.NotFound{Kind: model.KindPort, ID: q}
	case len(found) > 1 && !slices.ContainsFunc(found, func(p *model.Port) bool { return !vm(p) }):
		return found, nil
	case len(found) > 1:
		return nil, Ambiguous{Query: q, Ports: found}
	}
	return found, nil
}

// find returns the one port that q means.
func find(r store.Reader, q string) (*model.Port, error) {
	found, err := candidates(r, q)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, model.NotFound{Kind: model.KindPort, ID: q}
	case len(found) == 1:
		return found[0], nil
	}
	sortPorts(found)
	return nil, Ambiguous{Query: q, Ports: found}
}

// candidates are all ports that q may mean.
func candidates(r store.Reader, q string) ([]*model.Port, error) {
	if q == "" {
		return nil, model.Faultf(model.InvalidInput, "q is empty, so nothing is asked for: give a port's ID, name, MAC, address or tap name, or a VM's ID")
	}
	if e := r.Port(model.PortID(strings.ToLower(q))); e != nil {
		return []*model.Port{e.Value}, nil
	}
	var found []*model.Port
	add := func(es []*store.Entry[model.Port]) {
		for _, e := range es {
			if !slices.Contains(found, e.Value) {
				found = append(found, e.Value)
			}
		}
	}
	add(r.PortsNamed(q))
	if m, err := model.ParseMAC(q); err == nil {
		if m[0] == 0xfe {
			// The tap's own, as `ip link` shows it: the port's begins with fa unless it was given.
			fa := m
			fa[0] = 0xfa
			add(r.PortsWithMAC(fa))
		}
		add(r.PortsWithMAC(m))
	}
	// As ip addr (10.0.0.9/24) and URLs ([fd00::9]) have it too.
	bare, _, _ := strings.Cut(q, "/")
	if a, err := parseAddr(strings.Trim(bare, "[]")); err == nil {
		add(r.PortsWithAddr(a))
	}
	add(r.PortsOfDevice(q))
	if len(found) > 0 {
		return found, nil
	}
	id, tap := strings.CutPrefix(strings.ToLower(q), "tap")
	for e := range r.Ports() {
		if isID(string(e.Value.ID), id) || !tap && isID(e.Value.DeviceID, id) {
			found = append(found, e.Value)
		}
	}
	return found, nil
}

// shortID is how much of an ID is enough, as in the names of taps, and in lists that have no room for more.
const shortID = 8

// isID reports whether q is an ID, or enough of its beginning.
func isID(id, q string) bool {
	short := len(q) >= shortID && len(q) <= len(id) && strings.Trim(q, "0123456789abcdefABCDEF-") == ""
	return id == q || short && strings.EqualFold(id[:len(q)], q)
}

func sortPorts(ps []*model.Port) {
	slices.SortFunc(ps, func(a, b *model.Port) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// evidence asks a host; when there is no answer, silence says why.
func (in *Inspector) evidence(ctx context.Context, host model.HostName, q trace.Query) (ev *trace.Evidence, silence string) {
	s := in.said(ctx, host, q)
	return s.Evidence, s.Silence
}

// said is what a host answers, and what can be told from how it does.
func (in *Inspector) said(ctx context.Context, host model.HostName, q trace.Query) trace.Said {
	if host == "" {
		return trace.Said{Silence: "the port is bound to no host"}
	}
	sent, ev := time.Now(), new(trace.Evidence)
	if err := in.reach(ctx, host, q, ev); err != nil {
		return trace.Said{Silence: err.Error(), Gone: errors.Is(err, feed.ErrNotConnected)}
	}
	return trace.Said{Evidence: ev, Skew: skew(sent, time.Now(), ev.At)}
}

// put puts a query to a host; the answer goes to into. When there is none, silence says why.
func (in *Inspector) put(ctx context.Context, host model.HostName, q trace.Query, into any) (silence string) {
	if err := in.reach(ctx, host, q, into); err != nil {
		return err.Error()
	}
	return ""
}

// silent is why a host has not answered, in words for people.
type silent struct {
	error
	words string
}

func (e silent) Error() string { return e.words }

func (e silent) Unwrap() error { return e.error }

// reach puts a query to a host; the answer goes to into.
func (in *Inspector) reach(ctx context.Context, host model.HostName, q trace.Query, into any) error {
	query, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, in.o.Timeout)
	defer cancel()
	body, err := in.o.Hosts.Evidence(ctx, host, query)
	switch {
	case errors.Is(err, feed.ErrNotConnected):
		return silent{err, fmt.Sprintf("host %s is not connected to any server", host)}
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return silent{err, fmt.Sprintf("host %s is connected and said nothing for %s", host, in.o.Timeout)}
	case err != nil:
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("evidence of host %s cannot be read: %w", host, err)
	}
	return nil
}

// ServeHTTP answers a GET of Path with a Report and one of AllowsPath with an Answer, or
// {"error": "..."} with 400, 404 or, for several ports, 409.
func (in *Inspector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		in.reply(w, http.StatusMethodNotAllowed, problem{"only GET"})
		return
	}
	stream := r.URL.Path
	if r.Method == http.MethodHead {
		stream = "" // there is no end of it to be known beforehand
	}
	switch stream {
	case CapturePath:
		in.capture(w, r)
		return
	case FollowPath:
		in.serveFollow(w, r)
		return
	case LivePath:
		in.serveLive(w, r)
		return
	}
	var answer any
	var err error
	if r.URL.Path == AllowsPath {
		answer, err = in.Allows(r.Context(), r.URL.Query())
	} else {
		var see Sight
		if in.o.Sight != nil {
			see = in.o.Sight(r)
		}
		answer, err = in.Report(r.Context(), r.URL.Query().Get("q"), see)
	}
	if err != nil {
		in.refuse(w, err)
		return
	}
	in.reply(w, http.StatusOK, answer)
}

// refuse answers with an error.
func (in *Inspector) refuse(w http.ResponseWriter, err error) {
	var missing model.NotFound
	var many Ambiguous
	var not unable
	switch {
	case errors.As(err, &missing):
		in.reply(w, http.StatusNotFound, problem{problemText(err)})
	case errors.As(err, &many):
		in.reply(w, http.StatusConflict, problem{many.Error()})
	case errors.As(err, &not):
		in.reply(w, not.status, problem{not.why})
	default:
		in.reply(w, http.StatusBadRequest, problem{err.Error()})
	}
}

// unable says that something cannot be done now.
type unable struct {
	status int
	why    string
}

func (u unable) Error() string { return u.why }

type problem struct {
	Error string `json:"error"`
}

func (in *Inspector) reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		in.o.Log.Debug("client left before the answer", "err", err)
	}
}
