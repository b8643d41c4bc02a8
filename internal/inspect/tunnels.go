package inspect

import (
	"context"
	"math/rand/v2"
	"sync"

	"weft/internal/model"
	"weft/internal/trace"
)

// TryTunnels lets pairs of hosts that share a network send probes to each other, all at the
// same time: by trace.JudgeTunnel the answers of two say what passes in each direction. It takes
// milliseconds if all pass, and less than a second if not.
func (in *Inspector) TryTunnels(ctx context.Context, n *model.Network, pairs [][2]trace.TunnelPeer) map[model.HostName]trace.Said {
	queries := map[model.HostName]*trace.TunnelQuery{}
	run := rand.Uint64() // not ours alone to count: another server's trial must have another
	for _, pair := range pairs {
		for i, from := range pair {
			q := queries[from.Host]
			if q == nil {
				q = &trace.TunnelQuery{Run: run, MTU: n.MTU, NetworkID: n.ID}
				queries[from.Host] = q
			}
			if to := pair[1-i]; to.Address.IsValid() {
				q.To = append(q.To, to)
			}
		}
	}
	out := make(map[model.HostName]trace.Said, len(queries))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for host, q := range queries {
		wg.Go(func() {
			t := new(trace.Tunnels)
			silence := in.put(ctx, host, trace.Query{Tunnels: q}, t)
			if silence != "" {
				t = nil
			}
			mu.Lock()
			defer mu.Unlock()
			out[host] = trace.Said{Tunnels: t, TunnelsSilence: silence}
		})
	}
	wg.Wait()
	return out
}
