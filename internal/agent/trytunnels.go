package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"weft/internal/host"
	"weft/internal/plan/pipeline"
	"weft/internal/plan/vswitch"
	"weft/internal/trace"
)

// A probe through a tunnel that is not answered is sent again after probeAgain, and is lost after probeLost.
const (
	probeAgain = 350 * time.Millisecond
	probeLost  = 700 * time.Millisecond
)

// tryTunnels sends probes through the tunnels to other hosts, and says what is known of them.
func (a *Agent) tryTunnels(ctx context.Context, q trace.TunnelQuery) trace.Tunnels {
	s := a.o.Settings
	out := trace.Tunnels{Host: a.o.Feed.Name, Bridge: s.TunnelBridge, Address: s.VTEP}
	if u := a.o.Machine.Observe().Underlay; u != nil {
		out.Underlay = &trace.Underlay{Device: u.Device, MTU: u.MTU, Down: u.Down}
	}
	trial := host.TunnelTrial{Run: q.Run, MTU: q.MTU, Again: probeAgain, GiveUp: probeLost, To: make([]netip.Addr, len(q.To))}
	matter := sharedCookies(s.CookieOwner, q.NetworkID)
	for i, p := range q.To {
		trial.To[i] = p.Address
		matter = append(matter, pipeline.TunnelCookie(s.CookieOwner, p.Address))
	}
	a.mu.Lock()
	parts := a.now.plan.Switch.Flows[s.TunnelBridge]
	a.mu.Unlock()
	var wanted []vswitch.Flow
	for _, p := range parts {
		if slices.Contains(matter, p.Cookie) {
			wanted, trial.Flows = append(wanted, p.List...), append(trial.Flows, p.Cookie)
		}
	}
	found := a.o.Machine.TryTunnels(ctx, trial)
	if found.Flows != nil {
		out.Flows = compare(wanted, found.Flows)
	}
	out.Gaps = found.Gaps
	for i, f := range found.Tunnels {
		t := trace.Tunnel{To: q.To[i]}
		if p := f.Port; p != nil {
			t.Port = &trace.TunnelPort{Name: p.Name, OFPort: int(p.OFPort), Remote: p.Options["remote_ip"], Local: p.Options["local_ip"], Error: p.Error,
				RxPackets: f.Counters.RxPackets, TxPackets: f.Counters.TxPackets, Dropped: f.Counters.RxDropped + f.Counters.TxDropped,
				Errors: f.Counters.RxErrors + f.Counters.TxErrors}
		}
		for _, tr := range f.Tried {
			t.Probes = append(t.Probes, trace.Probes{Size: tr.Size, Sent: tr.Sent, AnsweredBy: tr.By, Took: tr.Took, Heard: tr.Heard})
		}
		out.Tunnels = append(out.Tunnels, t)
	}
	return out
}
