package agent

import (
	"maps"
	"net/netip"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

// tunnels are the OpenFlow numbers that ports of the tunnel bridge have had, by name.
type tunnels struct {
	numbers map[string]view.OFPort
}

// number gives the tunnels to these VTEPs, which are sorted, their numbers.
func (t *tunnels) number(vteps []netip.Addr, bridge map[string]vif.Numbered[view.OFPort]) []view.Tunnel {
	if len(vteps) == 0 {
		return nil
	}
	names := make([]string, len(vteps))
	for i, a := range vteps {
		names[i] = vif.Tunnel(model.SegmentVXLAN, a)
	}
	given := vif.TunnelNumbers(bridge, t.numbers, names)
	if t.numbers == nil {
		t.numbers = map[string]view.OFPort{}
	}
	maps.Copy(t.numbers, given)
	out := make([]view.Tunnel, len(vteps))
	for i, a := range vteps {
		out[i] = view.Tunnel{VTEP: a, OFPort: given[names[i]]}
	}
	return out
}
