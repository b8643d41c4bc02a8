package admin

import (
	"context"
	"slices"
	"sync"

	"weft/internal/control"
	"weft/internal/doctor"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/trace"
)

// tunnelPeers is through how many tunnels of a network the doctor sends from each host: not all pairs of a big
// cloud can be tried.
const tunnelPeers = 4

// tryTunnels tries tunnels between hosts that share networks, all at the same time.
func (h handler) tryTunnels(ctx context.Context) (all []doctor.Tunnel) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for mtu, pairs := range h.tunnelled() {
		wg.Go(func() {
			said := h.TryTunnels(ctx, &model.Network{MTU: mtu}, pairs)
			mu.Lock()
			defer mu.Unlock()
			for _, pair := range pairs {
				var ends [2]trace.TunnelEnd
				for i, p := range pair {
					ends[i] = trace.TunnelEnd{TunnelPeer: p, Said: said[p.Host].Tunnels, Silence: said[p.Host].TunnelsSilence}
				}
				all = append(all, doctor.Tunnel{A: ends[0], B: ends[1], MTU: mtu})
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, doctor.Tunnel.Compare)
	return all
}

// tunnelled are pairs of live hosts that share a vxlan network, each once, by the biggest MTU of such a network.
func (h handler) tunnelled() map[int][][2]trace.TunnelPeer {
	most := map[[2]trace.TunnelPeer]int{}
	h.Control.Read(func(rd store.Reader) {
		hosts := map[model.NetworkID][]model.HostName{}
		for e := range rd.Ports() {
			n, host := e.Value.NetworkID, e.Value.Binding.Host
			if e.Value.Binding.VIFType == model.VIFOVS && !slices.Contains(hosts[n], host) {
				hosts[n] = append(hosts[n], host)
			}
		}
		alive := map[model.HostName]trace.TunnelPeer{}
		for _, i := range h.Control.HostInfos(rd) {
			if (i.State == control.HostUp || i.State == control.HostDrained) && i.Host.VTEP.IsValid() {
				alive[i.Name] = trace.TunnelPeer{Host: i.Name, Address: i.Host.VTEP}
			}
		}
		for id, names := range hosts {
			n := rd.Network(id)
			if n == nil || n.Value.Segment.Type != model.SegmentVXLAN {
				continue
			}
			names = slices.DeleteFunc(names, func(name model.HostName) bool { return !alive[name].Address.IsValid() })
			slices.Sort(names)
			for i, name := range names {
				for k := 1; k <= min(tunnelPeers, len(names)-1); k++ {
					a, b := alive[name], alive[names[(i+k)%len(names)]]
					if b.Host < a.Host {
						a, b = b, a
					}
					pair := [2]trace.TunnelPeer{a, b}
					most[pair] = max(most[pair], n.Value.MTU)
				}
			}
		}
	})
	out := map[int][][2]trace.TunnelPeer{}
	for pair, mtu := range most {
		out[mtu] = append(out[mtu], pair)
	}
	return out
}
