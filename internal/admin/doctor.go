package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/internal/control"
	"weft/internal/doctor"
	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// DoctorPath is where the doctor is asked.
const DoctorPath = "/weft/v1/doctor"

// Feed asks the servers and the agents of hosts.
type Feed interface {
	Evidence(ctx context.Context, host model.HostName, query []byte) ([]byte, error)
	AskServers(ctx context.Context, query []byte) map[string]feed.Word
}

// How long who is asked may take. Whoever is silent is a finding.
const (
	hostPatience   = 5 * time.Second
	removePatience = 30 * time.Second
	serverPatience = 8 * time.Second
	storePatience  = 10 * time.Second
)

// asking bounds how many hosts are asked at a time, and so how late the clock of a host may be read.
const asking = 64

func (h handler) doctor(r *http.Request) (any, error) {
	names := r.URL.Query()["host"]
	hosts, err := h.infos(r.Context(), names)
	if err != nil {
		return nil, err
	}
	f := doctor.Facts{Version: h.Self.Version, PhysicalMTU: h.Self.PhysicalMTU}
	var wg sync.WaitGroup
	wg.Go(func() { f.Hosts = h.askHosts(r.Context(), hosts) })
	if len(names) == 0 {
		wg.Go(func() { f.Servers = h.askServers(r.Context()) })
		wg.Go(func() { f.Store = h.checkStore(r.Context()) })
		wg.Go(func() { f.Tunnels = h.tryTunnels(r.Context()) })
	}
	wg.Wait()
	if err := h.sift(r.Context(), f.Hosts); err != nil {
		for i := range f.Hosts {
			f.Hosts[i].Gaps = append(f.Hosts[i].Gaps, "what is left over: the store does not say what there is: "+err.Error())
		}
	}
	f.Now = time.Now()
	return doctor.Examine(f), nil
}

// infos are the hosts of these names, or all that were not removed.
func (h handler) infos(ctx context.Context, names []string) (hosts []control.HostInfo, err error) {
	h.Control.Read(func(rd store.Reader) {
		if len(names) == 0 {
			hosts = slices.DeleteFunc(h.Control.HostInfos(rd), func(i control.HostInfo) bool { return i.State == control.HostRemoved })
			return
		}
		for _, name := range names {
			if name == "" {
				err = model.Faultf(model.InvalidInput, "the name of a host is empty")
				return
			}
			i, e := h.Control.HostInfo(rd, model.HostName(name))
			if e != nil {
				err = fmt.Errorf("%w: %s", e, h.instead(rd, name))
				return
			}
			hosts = append(hosts, i)
		}
	})
	return hosts, err
}

// instead says what there is in place of a host that is not there.
func (h handler) instead(rd store.Reader, name string) string {
	if store.Servers.Get(rd, name) != nil {
		return "it is a server, and weft doctor looks at servers when no host is named"
	}
	const most = 8
	var names []string
	for _, i := range h.Control.HostInfos(rd) {
		if i.State != control.HostRemoved {
			names = append(names, string(i.Name))
		}
	}
	switch {
	case len(names) == 0:
		return "no host has joined yet"
	case len(names) > most:
		return fmt.Sprintf("weft host list shows the %d that there are", len(names))
	}
	return "there are " + strings.Join(names, ", ")
}

// askHosts asks all hosts, many at a time.
func (h handler) askHosts(ctx context.Context, infos []control.HostInfo) []doctor.Host {
	query, _ := json.Marshal(trace.Query{Doctor: true}) // which can be encoded
	hosts := make([]doctor.Host, len(infos))
	turns := make(chan struct{}, asking)
	var wg sync.WaitGroup
	for i, info := range infos {
		hosts[i] = doctor.Host{Name: info.Name, Record: info.Host, State: string(info.State)}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, hostPatience)
			defer cancel()
			o := &hosts[i]
			o.Sent = time.Now()
			body, err := h.Feed.Evidence(ctx, o.Name, query)
			o.Received = time.Now()
			switch {
			case errors.Is(err, feed.ErrNotConnected):
				o.Silence = "it is not connected to any server"
			case ctx.Err() != nil:
				o.Silence = fmt.Sprintf("it is connected and said nothing for %s", hostPatience)
			case err != nil:
				o.Silence = err.Error()
			default:
				if err := json.Unmarshal(body, &o.HostFacts); err != nil {
					o.Silence = "its answer cannot be read: " + err.Error()
				}
			}
		})
	}
	wg.Wait()
	return hosts
}

func (h handler) askServers(ctx context.Context) []doctor.Server {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	query, _ := json.Marshal(trace.Query{Doctor: true})
	var all []doctor.Server
	for name, w := range h.Feed.AskServers(ctx, query) {
		s := doctor.Server{Name: name, Answer: doctor.Answer{Sent: w.Sent, Received: w.Received}}
		if w.Err == nil {
			w.Err = json.Unmarshal(w.Body, &s.ServerFacts)
		}
		if w.Err != nil {
			s.Silence = w.Err.Error()
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b doctor.Server) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// checkStore holds the store's invariants against all that is in it.
func (h handler) checkStore(ctx context.Context) *doctor.Store {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	problems, err := control.FsckAt(ctx, h.Self.Etcd, h.Self.Prefix)
	if err != nil {
		return &doctor.Store{Unchecked: err.Error()}
	}
	s := new(doctor.Store)
	for _, p := range problems {
		s.Broken = append(s.Broken, p.String())
	}
	return s
}

// sift leaves only what belongs to nothing in the store among the leftovers of hosts.
func (h handler) sift(ctx context.Context, hosts []doctor.Host) error {
	if !slices.ContainsFunc(hosts, func(o doctor.Host) bool { return len(o.Leftovers) > 0 }) {
		return nil
	}
	brief, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	// What came into the store before the hosts were asked counts.
	if err := h.Control.Sync(brief); err != nil {
		for i := range hosts {
			hosts[i].Leftovers = nil
		}
		return err
	}
	h.Control.Read(func(rd store.Reader) {
		taps := map[string]bool{}
		for e := range rd.Ports() {
			id := string(e.Value.ID)
			taps[id[:min(len(id), tapPrefix)]] = true
		}
		for i := range hosts {
			hosts[i].Leftovers = slices.DeleteFunc(hosts[i].Leftovers, func(l doctor.Leftover) bool { return belongs(rd, taps, l) })
		}
	})
	return nil
}

// tapPrefix is how much of a port's ID is in the name of its tap.
const tapPrefix = 11

// belongs reports whether a thing is for something that is in the store.
func belongs(rd store.Reader, taps map[string]bool, l doctor.Leftover) bool {
	switch l.Kind {
	case doctor.KindPort:
		return rd.Port(model.PortID(l.Object)) != nil
	case doctor.KindTap:
		return taps[l.Object]
	case doctor.KindNamespace:
		return rd.Network(model.NetworkID(l.Object)) != nil || store.Routers.Get(rd, l.Object) != nil
	}
	return true
}
