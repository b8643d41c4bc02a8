package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"weft/internal/doctor"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/trace"
)

// sightings remember since when leftovers are there: only what was not wanted for a while may go.
type sightings struct {
	mu    sync.Mutex
	since map[doctor.Leftover]time.Time
}

// note dates the leftovers, and forgets those that are gone.
func (s *sightings) note(found []doctor.Leftover, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := make(map[doctor.Leftover]time.Time, len(found))
	for i := range found {
		key := found[i]
		key.Use, key.Seen, key.Device = "", time.Time{}, false
		at, known := s.since[key]
		if !known {
			at = now
		}
		since[key] = at
		found[i].Seen = at
	}
	s.since = since
}

// lookEvery is how often the agent looks for what is left over.
const lookEvery = 20 * time.Second

// lookAround dates what is left over.
func (a *Agent) lookAround(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if st := a.feed.State(); st.InSync && !st.FromDisk {
			if _, err := a.leftovers(); err != nil {
				a.log.Debug("cannot look for what is left over", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Agent) leftovers() ([]doctor.Leftover, error) {
	found, err := a.o.Machine.Leftovers(a.surveyQuery())
	if err != nil {
		return nil, err
	}
	a.left.note(found, time.Now())
	return found, nil
}

// surveyQuery is what the cloud wants here, as far as it bears on what is left over.
func (a *Agent) surveyQuery() host.SurveyQuery {
	a.mu.Lock()
	now := a.now
	a.mu.Unlock()
	cloud := a.feed.State().Cloud
	q := host.SurveyQuery{Namespaces: map[string]bool{}, Ports: map[model.PortID]bool{}, Taps: map[string]bool{}}
	for _, n := range now.plan.Namespaces {
		q.Namespaces[n.Name] = true
	}
	for id := range cloud.Networks {
		q.Namespaces[vif.DHCPNamespace(id)] = true
	}
	for id := range cloud.Ports {
		q.Ports[id] = true
		q.Taps[vif.TapName(id)] = true
	}
	q.VTEP, q.Peers = a.o.Settings.VTEP, now.view.VTEPs(a.o.Settings.VTEP)
	return q
}

// doctorFacts are how the host is.
func (a *Agent) doctorFacts(ctx context.Context) doctor.HostFacts {
	a.mu.Lock()
	now := a.now
	a.mu.Unlock()
	st := a.feed.State()
	f := doctor.HostFacts{Feed: trace.Feed{InSync: st.InSync, FromDisk: st.FromDisk, Revision: st.Revision, Since: st.Since, Error: st.Err},
		Manager: a.o.Settings.Manager, Machine: a.o.Machine.Survey(ctx, a.surveyQuery())}
	if v := a.o.Settings.VTEP; v.IsValid() {
		f.VTEP = v.String()
	}
	a.left.note(f.Leftovers, time.Now())
	for _, b := range now.plan.Switch.Bridges {
		w := doctor.Bridge{Name: b.Name, Datapath: b.DatapathType, FailMode: b.FailMode}
		if b.Controller != "" {
			w.Controllers = []doctor.Target{{Target: b.Controller}}
		}
		f.Wanted = append(f.Wanted, w)
	}
	f.NeedMTU, f.Overhead = needMTU(now.view, a.o.Settings.VTEP.Is6())
	for _, n := range now.view.Networks {
		if n.LocalVLAN != 0 && n.Segment.Type == model.SegmentVXLAN && len(n.Peers) > 0 {
			f.Shared++
		}
	}
	for _, t := range now.faults {
		if t.Part == host.PartUnderlay {
			continue // said of the underlay itself
		}
		f.Faults = append(f.Faults, trace.Fault{Object: t.Object, Op: t.Op, Error: t.Err.Error(), Since: t.since, Tries: t.tries})
	}
	// As late as can be: the clock is judged by it.
	f.At = time.Now().UTC()
	return f
}

// needMTU is what the underlay must carry for the tunnelled networks of this host; 0 for none.
func needMTU(v view.View, ipv6 bool) (need, overhead int) {
	overhead = overheadIPv4
	if ipv6 {
		overhead = overheadIPv6
	}
	for _, n := range v.Networks {
		if n.LocalVLAN != 0 && n.Segment.Type == model.SegmentVXLAN {
			need = max(need, n.MTU+overhead)
		}
	}
	return need, overhead
}

// remove takes away those of the leftovers asked for that are still there and still left over: the server
// has found nothing in the store that they are for, and here all is looked at again.
func (a *Agent) remove(ctx context.Context, asked json.RawMessage) ([]byte, error) {
	var list []doctor.Leftover
	if err := json.Unmarshal(asked, &list); err != nil {
		return nil, fmt.Errorf("read the query: %w", err)
	}
	out := make([]doctor.Removal, 0, len(list))
	// Ports before namespaces, so that the switch misses no device.
	slices.SortStableFunc(list, func(x, y doctor.Leftover) int { return order(x) - order(y) })
	for _, l := range list {
		r := doctor.Removal{Leftover: l}
		if err := a.removeOne(ctx, l); err != nil {
			r.Error = err.Error()
			a.log.Warn("what is left over stays", "what", l.Title(), "of", l.Object, "err", err)
		} else {
			a.log.Info("removed what was left over", "what", l.Title(), "of", l.Object)
		}
		out = append(out, r)
	}
	return json.Marshal(out)
}

func order(l doctor.Leftover) int {
	return slices.Index([]string{doctor.KindPort, doctor.KindTap, doctor.KindNamespace}, l.Kind)
}

func (a *Agent) removeOne(ctx context.Context, l doctor.Leftover) error {
	if st := a.feed.State(); !st.InSync || st.FromDisk {
		return fmt.Errorf("the agent is not in step with the servers: %s", st.Err)
	}
	found, err := a.leftovers()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(found, l.Same)
	switch {
	case i < 0:
		return fmt.Errorf("it is not there any more, or is another one, or is wanted")
	case found[i].Use != "":
		return fmt.Errorf("it is in use: %s", found[i].Use)
	case time.Since(found[i].Seen) < doctor.MinAge:
		return fmt.Errorf("it was first seen %s ago: what is younger than %s may still be wanted", time.Since(found[i].Seen).Round(time.Second), doctor.MinAge)
	}
	return a.o.Machine.Remove(ctx, found[i])
}
