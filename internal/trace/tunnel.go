package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/plan/vif"
)

// TunnelQuery asks a host to try its tunnels to others.
type TunnelQuery struct {
	// Run names the trial. All hosts that take part are told the same: then each can say which
	// probes of the others it has heard.
	Run uint64 `json:"run"`
	// MTU is the network's: the big probe is as long as that allows.
	MTU int `json:"mtu"`
	// NetworkID is the network's whose flows of the tunnel bridge are counted as well; empty for none.
	NetworkID model.NetworkID `json:"network_id,omitempty"`
	To        []TunnelPeer    `json:"to"`
}

// TunnelPeer is a host and where its tunnels end.
type TunnelPeer struct {
	Host    model.HostName `json:"host"`
	Address netip.Addr     `json:"address,omitzero"`
}

// Tunnels is what a host found of its tunnels.
type Tunnels struct {
	Host model.HostName `json:"host"`
	// Bridge is the tunnel bridge, Address where the host's own tunnels end by its settings.
	Bridge  string     `json:"bridge"`
	Address netip.Addr `json:"address,omitzero"`
	// Underlay is the device that has Address; nil if that is not known.
	Underlay *Underlay `json:"underlay,omitempty"`
	// Flows are those of the tunnel bridge that are not of a port; nil if they could not be read.
	Flows   *Flows   `json:"flows,omitempty"`
	Tunnels []Tunnel `json:"tunnels,omitempty"`
	Gaps    []string `json:"gaps,omitempty"`
}

// Underlay is the device under the tunnels; Device is empty if none has the tunnel address.
type Underlay struct {
	Device string `json:"device"`
	MTU    int    `json:"mtu"`
	// Down: the device is down or has no carrier.
	Down bool `json:"down,omitempty"`
}

// Tunnel is a host's end of a tunnel.
type Tunnel struct {
	To TunnelPeer `json:"to"`
	// Port is nil if the tunnel bridge has none for it.
	Port *TunnelPort `json:"port,omitempty"`
	// Probes are the small ones, and then the big ones.
	Probes []Probes `json:"probes,omitempty"`
}

// TunnelPort is a port of the tunnel bridge, with what it has counted.
type TunnelPort struct {
	Name   string `json:"name"`
	OFPort int    `json:"ofport"`
	Remote string `json:"remote_ip"`
	Local  string `json:"local_ip"`
	Error  string `json:"error,omitempty"`
	// Rx came from the other host.
	RxPackets uint64 `json:"rx_packets"`
	TxPackets uint64 `json:"tx_packets"`
	Dropped   uint64 `json:"dropped,omitempty"`
	Errors    uint64 `json:"errors,omitempty"`
}

// Probes is what became of the probes of one size.
type Probes struct {
	// Size is that of the frames.
	Size int `json:"size"`
	Sent int `json:"sent"`
	// AnsweredBy is the host that sent one back, as far as its name had room.
	AnsweredBy string        `json:"answered_by,omitempty"`
	Took       time.Duration `json:"took_ns,omitempty"`
	// Heard counts those that the other side has sent and that came out here.
	Heard int `json:"heard"`
}

// Tunnelled are the pairs of hosts between which a port's DHCP messages need a tunnel, the port's own first.
func Tunnelled(r Record) [][2]TunnelPeer {
	if r.Port == nil || r.Network == nil || r.Network.Segment.Type != model.SegmentVXLAN || r.Port.Binding.Host == "" {
		return nil
	}
	e := explainer{r: r, p: r.Port}
	if e.servedAddrs() == nil {
		return nil
	}
	peer := func(h model.HostName) TunnelPeer {
		p := TunnelPeer{Host: h}
		if known := r.Hosts[h].Host; known != nil {
			p.Address = known.VTEP
		}
		return p
	}
	var pairs [][2]TunnelPeer
	for _, dp := range r.DHCPPorts {
		if h := e.dhcpHost(dp); h != "" && h != r.Port.Binding.Host {
			pairs = append(pairs, [2]TunnelPeer{peer(r.Port.Binding.Host), peer(h)})
		}
	}
	return pairs
}

// tunnels judges the way between the port's host and each other host that serves it DHCP. One that
// works will do: what is broken to others is a warning then.
func (e *explainer) tunnels() []Step {
	var all []Step
	pairs := Tunnelled(e.r)
	works := slices.ContainsFunc(e.r.DHCPPorts, func(dp *model.Port) bool { return e.dhcpHost(dp) == e.p.Binding.Host })
	for _, pair := range pairs {
		a, b := e.end(pair[0]), e.end(pair[1])
		if !a.asked() && !b.asked() {
			continue
		}
		// What somebody has changed comes first: it is why nothing passes.
		changed := Step{Name: StepTunnel}
		e.changedTunnel(&changed, a, b)
		e.changedTunnel(&changed, b, a)
		s := JudgeTunnel(a, b, e.r.Network.MTU)
		s.Items = append(changed.Items, s.Items...)
		if !slices.ContainsFunc(s.Items, func(it Item) bool { return severity[it.Verdict] > severity[Warning] }) {
			works = true
		}
		all = append(all, s)
	}
	for i := range all {
		for j := range all[i].Items {
			if it := &all[i].Items[j]; works && severity[it.Verdict] > severity[Warning] {
				it.Verdict = Warning
			}
		}
	}
	return all
}

// changedTunnel shows what somebody has changed of a host's tunnel to another.
func (e *explainer) changedTunnel(s *Step, from, to TunnelEnd) {
	if ev, _ := e.at(from.Host); ev != nil && to.Address.IsValid() {
		name := vif.Tunnel(model.SegmentVXLAN, to.Address)
		e.repaired(s, ev, func(r Repair) bool { return isTunnel(r) && r.Name == name })
		e.settings(s, ev, func(set Setting) bool { return set.Port == name })
	}
}

func isTunnel(r Repair) bool {
	return r.Kind == repairPort && tunnelName(r.Name)
}

func tunnelName(name string) bool { return strings.HasPrefix(name, string(model.SegmentVXLAN)+"-") }

func (e *explainer) end(p TunnelPeer) TunnelEnd {
	s := e.said[p.Host]
	return TunnelEnd{TunnelPeer: p, Said: s.Tunnels, Silence: s.TunnelsSilence}
}

// TunnelEnd is one of two hosts that share a network: what the records say of it, and what it said itself.
type TunnelEnd struct {
	TunnelPeer
	Said *Tunnels
	// Silence says why Said is nil.
	Silence string
}

func (t TunnelEnd) asked() bool { return t.Said != nil || t.Silence != "" }

func (t TunnelEnd) String() string { return fmt.Sprintf("%s (%s)", t.Host, t.Address) }

// to is this end of the tunnel to another; nil if it said nothing of it.
func (t TunnelEnd) to(o TunnelEnd) *Tunnel {
	if t.Said == nil {
		return nil
	}
	for i := range t.Said.Tunnels {
		if t.Said.Tunnels[i].To.Host == o.Host {
			return &t.Said.Tunnels[i]
		}
	}
	return nil
}

// probes are those of the first or second size to another host; nil if none were sent.
func (t TunnelEnd) probes(o TunnelEnd, size int) *Probes {
	tun := t.to(o)
	if tun == nil || size >= len(tun.Probes) || tun.Probes[size].Sent == 0 {
		return nil
	}
	return &tun.Probes[size]
}

// JudgeTunnel judges the tunnel between two hosts that share a network of that MTU, by what both
// found of it.
func JudgeTunnel(a, b TunnelEnd, mtu int) Step {
	s := Step{Name: StepTunnel, Host: b.Host}
	if a.Said == nil && b.Said == nil {
		s.unlooked("tunnel from "+string(a.Host)+" to "+string(b.Host), "packets pass", cmp.Or(a.Silence, b.Silence, "nobody said"))
		return s
	}
	s.tunnelAddress(a)
	s.tunnelAddress(b)
	switch {
	case !a.Address.IsValid() || !b.Address.IsValid():
		return s
	case a.Address == b.Address:
		s.find(Broken, "addresses", "two", a.Address.String(), CauseTunnelWrongAddress, fmt.Sprintf("Hosts %s and %s have one tunnel address, %s.", a.Host, b.Host, a.Address))
		return s
	case a.Address.BitLen() != b.Address.BitLen():
		s.find(Broken, "addresses", "of one IP version", a.Address.String()+" and "+b.Address.String(), CauseNoTunnelAddress,
			fmt.Sprintf("The tunnel addresses of %s and %s are not of one IP version, so there is no tunnel between them.", a, b))
		return s
	}
	s.tunnelPort(a, b)
	s.tunnelPort(b, a)
	s.tunnelFlows(a)
	s.tunnelFlows(b)
	sound := !slices.ContainsFunc(s.Items, func(it Item) bool { return it.Verdict == Broken })
	s.small(a, b, sound)
	s.big(a, b, mtu)
	s.big(b, a, mtu)
	s.underlay(a, b, mtu)
	s.underlay(b, a, mtu)
	return s
}

// tunnelAddress judges where the tunnels of a host end.
func (s *Step) tunnelAddress(t TunnelEnd) {
	what := "address of " + string(t.Host)
	switch {
	case !t.Address.IsValid():
		s.find(Broken, what, "a tunnel_ip", none, CauseNoTunnelAddress, fmt.Sprintf("Host %s has no tunnel address, so no tunnel leads to it or from it.", t.Host))
		return
	case t.Said == nil:
		s.unlooked(what, t.Address.String(), t.Silence)
		return
	}
	observed, u := t.Said.Address.String(), t.Said.Underlay
	if t.Said.Address != t.Address {
		s.find(Broken, what, t.Address.String(), observed, CauseTunnelWrongAddress,
			fmt.Sprintf("Tunnels of host %s end at %s by its own settings, and at %s by the records, which other hosts follow.", t.Host, observed, t.Address))
		return
	}
	if u != nil && u.Device == "" {
		s.find(Broken, what, t.Address.String(), observed+" on no device", CauseTunnelAddressMissing,
			fmt.Sprintf("No device of host %s has its tunnel address %s, so its tunnels carry nothing.", t.Host, t.Address))
		return
	}
	if u != nil && u.Down {
		s.find(Broken, what, t.Address.String(), observed+" on "+u.Device+", which is down", CauseUnderlayDown,
			fmt.Sprintf("%s, which has the tunnel address %s of host %s, is down or has no carrier, so its tunnels carry nothing.", u.Device, t.Address, t.Host))
		return
	}
	if u != nil {
		observed += fmt.Sprintf(" on %s, MTU %d", u.Device, u.MTU)
	}
	s.judge(what, t.Address.String(), observed, true, "", "")
}

// tunnelPort judges the port of a host's tunnel bridge that leads to another host.
func (s *Step) tunnelPort(from, to TunnelEnd) {
	what, want := fmt.Sprintf("port of %s", from.Host), fmt.Sprintf("to %s from %s", to.Address, from.Address)
	t := from.to(to)
	switch {
	case from.Said == nil: // said already
	case t == nil:
		s.unlooked(what, want, fmt.Sprintf("host %s said nothing of it", from.Host))
	case t.Port == nil:
		s.find(Broken, what, want, none, CauseNoTunnelPort, fmt.Sprintf("Bridge %s of host %s has no tunnel to %s.", from.Said.Bridge, from.Host, to))
	case t.Port.OFPort == 0 || t.Port.Error != "":
		s.find(Broken, what, want, cmp.Or(t.Port.Error, "no ofport"), CauseTunnelPortError,
			fmt.Sprintf("Open vSwitch on host %s could not make the tunnel %s to %s: %s.", from.Host, t.Port.Name, to, cmp.Or(t.Port.Error, "it has no ofport")))
	default:
		got := fmt.Sprintf("to %s from %s", t.Port.Remote, t.Port.Local)
		s.want(what, want, got, CauseTunnelWrongAddress, fmt.Sprintf("The tunnel %s of host %s leads %s, and should lead %s.", t.Port.Name, from.Host, got, want))
		s.show("counters of "+string(from.Host), fmt.Sprintf("%d packets to %s, %d from it, %d dropped, %d errors", t.Port.TxPackets, to.Host, t.Port.RxPackets, t.Port.Dropped, t.Port.Errors))
	}
}

// tunnelFlows judges the flows of a host's tunnel bridge.
func (s *Step) tunnelFlows(t TunnelEnd) {
	if t.Said == nil || t.Said.Flows == nil {
		return
	}
	f := t.Said.Flows
	s.judge("flows of "+string(t.Host), fmt.Sprintf("%d planned", f.Wanted), fmt.Sprintf("%d present", f.Present), f.Present == f.Wanted, CauseTunnelFlows,
		fmt.Sprintf("%d of the %d flows of %s on host %s, through which its tunnels pass, are missing in the switch.", f.Wanted-f.Present, f.Wanted, t.Said.Bridge, t.Host))
	for _, m := range f.Missing {
		s.find(Broken, "missing flow of "+string(t.Host), m, none, CauseTunnelFlows, "The flow "+m+" is missing.")
	}
}

// passage is whether probes of one size pass in one direction.
type passage int

const (
	untold passage = iota
	passes
	lost
)

// passage works out whether probes of a size pass from one host to another: one that has come back has, one
// that the other has heard, and an answer that the other got.
func (t TunnelEnd) passage(o TunnelEnd, size int) passage {
	sent, theirs := t.probes(o, size), o.probes(t, size)
	switch {
	case sent != nil && sent.AnsweredBy != "", theirs != nil && (theirs.AnsweredBy != "" || theirs.Heard > 0):
		return passes
	case sent != nil && theirs != nil:
		return lost
	}
	return untold
}

// small judges the small probes, in both directions. If the tunnel is not sound for a reason that was
// said, that they were not sent is no news.
func (s *Step) small(a, b TunnelEnd, sound bool) {
	there, back := a.passage(b, 0), b.passage(a, 0)
	for _, d := range []struct {
		from, to TunnelEnd
		is       passage
		other    passage
	}{{a, b, there, back}, {b, a, back, there}} {
		what, p := fmt.Sprintf("small packets %s to %s", d.from.Host, d.to.Host), d.from.probes(d.to, 0)
		switch {
		case p != nil && p.AnsweredBy != "" && !strings.HasPrefix(string(d.to.Host), p.AnsweredBy):
			s.find(Broken, what, "answered by "+string(d.to.Host), "answered by "+p.AnsweredBy, CauseTunnelWrongHost,
				fmt.Sprintf("The tunnel from %s to %s ends at host %s.", d.from, d.to, p.AnsweredBy))
		case d.is == passes:
			s.judge(what, "pass", passedText(p), true, "", "")
		case d.is == untold && sound:
			s.unlooked(what, "pass", untoldWhy(d.from, d.to))
		case d.is == lost && d.other == lost:
			s.find(Broken, what, "pass", lostText(p), CauseTunnelBlocked, fmt.Sprintf("Nothing passes the tunnel between %s and %s: %d probes were sent each way, and none arrived.", a, b, p.Sent))
		case d.is == lost:
			s.find(Broken, what, "pass", lostText(p), CauseTunnelOneWay, fmt.Sprintf("Nothing that %s sends through the tunnel arrives at %s: %d of %d probes were lost; the other way they pass.", d.from, d.to, p.Sent, p.Sent))
		}
	}
}

// big judges the probes as long as the MTU allows, if small ones pass.
func (s *Step) big(from, to TunnelEnd, mtu int) {
	if from.passage(to, 0) != passes {
		return
	}
	what, p := fmt.Sprintf("packets of %d bytes %s to %s", mtu, from.Host, to.Host), from.probes(to, 1)
	switch from.passage(to, 1) {
	case passes:
		s.judge(what, "pass", passedText(p), true, "", "")
	case lost:
		s.find(Broken, what, "pass", lostText(p), CauseTunnelMTU, fmt.Sprintf("Packets of %d bytes, the network's MTU, are lost in the tunnel from %s to %s (%d of %d), and small ones pass: %s.",
			mtu, from, to, p.Sent, p.Sent, narrow(from, to, mtu)))
	}
}

// carried is the MTU that the underlay needs for a network's.
func (t TunnelEnd) carried(mtu int) int {
	if t.Address.Is6() {
		return mtu + 70
	}
	return mtu + 50
}

// narrow says where the underlay is too narrow.
func narrow(from, to TunnelEnd, mtu int) string {
	need := from.carried(mtu)
	for _, t := range []TunnelEnd{from, to} {
		if t.Said != nil && t.Said.Underlay != nil && t.Said.Underlay.MTU < need {
			return fmt.Sprintf("with the tunnel's header they have %d bytes, and the MTU of %s on %s is %d", need, t.Said.Underlay.Device, t.Host, t.Said.Underlay.MTU)
		}
	}
	return fmt.Sprintf("with the tunnel's header they have %d bytes, and the underlay between the hosts carries less", need)
}

// underlay warns of a device under the tunnels that is too narrow by its own MTU, where the probes have not shown
// that already.
func (s *Step) underlay(t, o TunnelEnd, mtu int) {
	if t.Said == nil || t.Said.Underlay == nil || t.Said.Underlay.Device == "" {
		return
	}
	u, need := t.Said.Underlay, t.carried(mtu)
	if u.MTU >= need || t.passage(o, 1) == lost || o.passage(t, 1) == lost {
		return
	}
	s.find(Warning, "underlay of "+string(t.Host), fmt.Sprintf("MTU %d", need), fmt.Sprintf("MTU %d", u.MTU), CauseTunnelMTU,
		fmt.Sprintf("Packets of %d bytes, the network's MTU, have %d with the tunnel's header, and the MTU of %s on %s is %d.", mtu, need, u.Device, t.Host, u.MTU))
}

func passedText(p *Probes) string {
	if p != nil && p.AnsweredBy != "" {
		return fmt.Sprintf("answered after %.3f ms", float64(p.Took)/1e6)
	}
	return "heard at the other end"
}

func lostText(p *Probes) string { return fmt.Sprintf("%d of %d lost", p.Sent, p.Sent) }

func untoldWhy(from, to TunnelEnd) string {
	for _, t := range []TunnelEnd{from, to} {
		switch {
		case t.Said == nil:
			return t.Silence
		case len(t.Said.Gaps) > 0:
			return fmt.Sprintf("host %s: %s", t.Host, t.Said.Gaps[0])
		}
	}
	return "no probe was sent"
}
