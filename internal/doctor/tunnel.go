package doctor

import (
	"cmp"
	"fmt"

	"weft/internal/trace"
)

// Tunnel is one between two hosts that share a network of that MTU, as both found it.
type Tunnel struct {
	A, B trace.TunnelEnd
	MTU  int
}

// Compare orders tunnels by their hosts.
func (t Tunnel) Compare(o Tunnel) int {
	return cmp.Or(cmp.Compare(t.A.Host, o.A.Host), cmp.Compare(t.B.Host, o.B.Host))
}

// tunnels judges those that were tried. What is wrong at one end is said once, and what the hosts' own checks
// say is left to them: that one is silent, or that a device promises less than passes all the same.
func tunnels(g *Group, f Facts) {
	pass, said := 0, map[string]bool{}
	for _, t := range f.Tunnels {
		if t.A.Said == nil || t.B.Said == nil {
			continue
		}
		worst := trace.Item{Verdict: trace.Warning}
		for _, it := range trace.JudgeTunnel(t.A, t.B, t.MTU).Items {
			if it.Verdict.Worse(worst.Verdict) != worst.Verdict {
				worst = it
			}
		}
		switch {
		case worst.Verdict == trace.Warning:
			pass++
		case !said[worst.Text]:
			said[worst.Text] = true
			g.add(worst.Verdict, fmt.Sprintf("tunnel %s-%s", t.A.Host, t.B.Host), worst.Do, "%s", worst.Text)
		}
	}
	if pass > 0 {
		g.ok("tunnels", "Small packets and big ones pass %s, both ways.", count(pass, "tunnel"))
	}
}
