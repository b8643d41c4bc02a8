package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
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

// What a tunnel adds to a packet: Ethernet, IP, UDP and VXLAN.
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// underlayFaults are what keeps the vxlan networks of a view from reaching their other hosts, or big
// packets from getting there. It is for the operator to put right.
func underlayFaults(v view.View, s plan.Settings, u *host.Underlay) (faults []host.Fault) {
	add := func(network model.NetworkID, op string, err error) {
		object := "network " + string(network)
		if network == "" {
			object = "tunnel address " + s.VTEP.String()
		}
		faults = append(faults, host.Fault{Object: object, Op: op, Err: err, Part: host.PartUnderlay, Network: network, Local: true})
	}
	if s.TunnelBridge == "" {
		return nil
	}
	if s.VTEP.IsValid() && u != nil && u.Device == "" {
		add("", "find", errors.New("no device of this host has it: tunnels to other hosts carry nothing"))
	}
	if s.VTEP.IsValid() && u != nil && u.Down {
		add("", "use", fmt.Errorf("%s, which has it, is down or has no carrier: tunnels to other hosts carry nothing", u.Device))
	}
	for _, n := range v.Networks {
		if n.LocalVLAN == 0 || n.Segment.Type != model.SegmentVXLAN {
			continue
		}
		if err := unreached(n, s.VTEP); err != nil {
			add(n.ID, "reach other hosts", err)
		}
		overhead := overheadIPv4
		if s.VTEP.Is6() {
			overhead = overheadIPv6
		}
		if need := n.MTU + overhead; s.VTEP.IsValid() && u != nil && u.Device != "" && u.MTU < need {
			add(n.ID, "carry packets of its MTU", fmt.Errorf("MTU %d and %d bytes of tunnel need an MTU of %d; that of %s, which has the tunnel address %s, is %d",
				n.MTU, overhead, need, u.Device, s.VTEP, u.MTU))
		}
	}
	return faults
}

// unreached says which other hosts of a network there can be no tunnel to, and why.
func unreached(n *view.Network, from netip.Addr) error {
	var without, other []string
	for _, p := range n.Peers {
		switch {
		case !p.VTEP.IsValid():
			without = append(without, string(p.Host))
		case from.IsValid() && p.VTEP.BitLen() != from.BitLen():
			other = append(other, fmt.Sprintf("%s (%s)", p.Host, p.VTEP))
		}
	}
	var errs []error
	switch {
	case len(n.Peers) == 0:
	case !from.IsValid():
		errs = append(errs, fmt.Errorf("this host has no tunnel_ip, and the network is also on %d others", len(n.Peers)))
	case len(without) > 0:
		errs = append(errs, fmt.Errorf("without a tunnel_ip: %s", few(without)))
	}
	if len(other) > 0 {
		errs = append(errs, fmt.Errorf("not of the IP version of %s: %s", from, few(other)))
	}
	return errors.Join(errs...)
}

// few lists the first of many.
func few(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
