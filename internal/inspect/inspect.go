// Package inspect answers, on a server, what is the matter with one port: it finds the
// port that a person means, asks the port's host for evidence and has trace judge it.
//
// It serves GET /weft/v1/chain?q=Q, where Q is a port's ID, name, MAC, address, or the
// name of its tap. The answer is a trace.Chain in JSON. GET /weft/v1/allows answers whether
// the port's filter lets a packet pass. Neither is part of the Neutron API; both read only.
package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/plan/firewall"
	"weft/internal/store"
	"weft/internal/trace"
)

// Path is where the handler belongs.
const Path = "/weft/v1/chain"

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
	// Timeout is how long a host may take to answer; 0 means 5 s.
	Timeout time.Duration
	// Now tells the time; time.Now when nil.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
}

// Inspector explains ports. It is safe for concurrent use.
type Inspector struct{ o Options }

// New makes an Inspector.
func New(o Options) *Inspector {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Inspector{o}
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
		fmt.Fprintf(&b, "\n  %s %s network %s", p.ID, p.MAC, p.NetworkID)
		if p.Name != "" {
			fmt.Fprintf(&b, " %q", p.Name)
		}
	}
	return b.String()
}

// Chain explains the port that q means.
func (in *Inspector) Chain(ctx context.Context, q string) (trace.Chain, error) {
	now := in.o.Now()
	r, err := in.record(q, now)
	if err != nil {
		return trace.Chain{}, err
	}
	ev, silence := in.evidence(ctx, r.Port, nil)
	return trace.Explain(r, ev, silence, now), nil
}

// record gathers what the records say, at one revision.
func (in *Inspector) record(q string, now time.Time) (rec trace.Record, err error) {
	in.o.Cloud.Read(func(r store.Reader) {
		var p *model.Port
		if p, err = find(r, strings.TrimSpace(q)); err != nil {
			return
		}
		rec.Port = p
		if e := r.Network(p.NetworkID); e != nil {
			rec.Network = e.Value
		}
		_, rec.GroupNames = guarded(r, p)
		for _, e := range r.SubnetsOf(p.NetworkID) {
			rec.Subnets = append(rec.Subnets, e.Value)
		}
		for e := range r.PortsOf(p.NetworkID) {
			if e.Value.DeviceOwner == model.OwnerDHCP {
				rec.DHCPPorts = append(rec.DHCPPorts, e.Value)
			}
		}
		if h := p.Binding.Host; h != "" {
			if e := r.Host(h); e != nil {
				rec.Host = e.Value
			}
		}
	})
	if err != nil {
		return rec, err
	}
	sortPorts(rec.DHCPPorts)
	rec.HostAlive = rec.Host != nil && in.o.Cloud.HostAlive(rec.Host, now)
	return rec, nil
}

// find returns the one port that q means.
func find(r store.Reader, q string) (*model.Port, error) {
	if q == "" {
		return nil, model.Faultf(model.InvalidInput, "q is empty: give a port's ID, name, MAC, address or tap name")
	}
	if e := r.Port(model.PortID(strings.ToLower(q))); e != nil {
		return e.Value, nil
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
	if a, err := netip.ParseAddr(q); err == nil {
		add(r.PortsWithAddr(a.Unmap()))
	}
	if prefix, ok := strings.CutPrefix(strings.ToLower(q), "tap"); ok && len(prefix) >= 8 && len(found) == 0 {
		for e := range r.Ports() {
			if strings.HasPrefix(string(e.Value.ID), prefix) {
				found = append(found, e.Value)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, model.NotFound{Kind: model.KindPort, ID: q}
	case 1:
		return found[0], nil
	}
	sortPorts(found)
	return nil, Ambiguous{Query: q, Ports: found}
}

func sortPorts(ps []*model.Port) {
	slices.SortFunc(ps, func(a, b *model.Port) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// evidence asks the port's host, also what becomes of a packet if there is one; when there is
// no host, silence says why.
func (in *Inspector) evidence(ctx context.Context, p *model.Port, packet *firewall.Packet) (ev *trace.Evidence, silence string) {
	host := p.Binding.Host
	if host == "" {
		return nil, "the port is bound to no host"
	}
	query, err := json.Marshal(trace.Query{PortID: p.ID, NetworkID: p.NetworkID, Packet: packet})
	if err != nil {
		return nil, err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, in.o.Timeout)
	defer cancel()
	body, err := in.o.Hosts.Evidence(ctx, host, query)
	switch {
	case errors.Is(err, feed.ErrNotConnected):
		return nil, fmt.Sprintf("host %s is not connected to any server", host)
	case err != nil:
		return nil, err.Error()
	}
	ev = new(trace.Evidence)
	if err := json.Unmarshal(body, ev); err != nil {
		return nil, fmt.Sprintf("evidence of host %s cannot be read: %v", host, err)
	}
	return ev, ""
}

// ServeHTTP answers a GET of Path with a Chain and one of AllowsPath with an Answer, or
// {"error": "..."} with 400, 404 or, for several ports, 409.
func (in *Inspector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		in.reply(w, http.StatusMethodNotAllowed, problem{"only GET"})
		return
	}
	var answer any
	var err error
	if r.URL.Path == AllowsPath {
		answer, err = in.Allows(r.Context(), r.URL.Query())
	} else {
		answer, err = in.Chain(r.Context(), r.URL.Query().Get("q"))
	}
	var missing model.NotFound
	var many Ambiguous
	switch {
	case err == nil:
		in.reply(w, http.StatusOK, answer)
	case errors.As(err, &missing):
		in.reply(w, http.StatusNotFound, problem{fmt.Sprintf("no port has the ID, name, MAC, address or tap %q", missing.ID)})
	case errors.As(err, &many):
		in.reply(w, http.StatusConflict, problem{many.Error()})
	default:
		in.reply(w, http.StatusBadRequest, problem{err.Error()})
	}
}

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
