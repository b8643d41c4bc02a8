package inspect

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// seekTimeout bounds the search on all hosts: one that is slow to answer is no reason to wait.
const seekTimeout = time.Second

// elsewhere looks on all other hosts for the interface of a port that is not where the port is
// bound, as host says, or of one that is bound nowhere.
func (in *Inspector) elsewhere(ctx context.Context, rec trace.Record, host trace.Said) []trace.Evidence {
	p := rec.Port
	bound := p.Binding.Host != ""
	if model.TrustedOwner(p.DeviceOwner) || bound && (host.Evidence == nil || host.Evidence.Interface != nil) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, seekTimeout)
	defer cancel()
	var found []trace.Evidence
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, h := range in.otherHosts(p.Binding.Host) {
		wg.Go(func() {
			ev, _ := in.evidence(ctx, h, trace.Query{PortID: p.ID, MAC: p.MAC.String(), Seek: true})
			if ev == nil || ev.Interface == nil && len(ev.LookAlikes) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, *ev)
		})
	}
	wg.Wait()
	slices.SortFunc(found, func(a, b trace.Evidence) int { return cmp.Compare(a.Host, b.Host) })
	return found
}

// otherHosts are those that live, but one.
func (in *Inspector) otherHosts(but model.HostName) (names []model.HostName) {
	now := in.o.Now()
	in.o.Cloud.Read(func(r store.Reader) {
		for _, e := range r.Hosts() {
			if e.Value.Name != but && in.o.Cloud.HostAlive(e.Value, now) {
				names = append(names, e.Value.Name)
			}
		}
	})
	return names
}
