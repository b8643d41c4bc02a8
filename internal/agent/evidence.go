package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan/dhcp"
	"weft/internal/plan/firewall"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
	"weft/internal/trace"
)

// maxMissing bounds the missing flows that evidence lists.
const maxMissing = 20

// probeTimeout bounds the look at the machine: what does not answer by then is a gap in an answer
// that the server still waits for.
const probeTimeout = 3 * time.Second

// answer is the feed's hook: a trace.Query in, Evidence out, or what else was asked for.
func (a *Agent) answer(ctx context.Context, query []byte) ([]byte, error) {
	var q trace.Query
	if err := json.Unmarshal(query, &q); err != nil {
		return nil, fmt.Errorf("read the query: %w", err)
	}
	if q.Seek {
		return json.Marshal(a.seek(q))
	}
	if q.Tunnels != nil {
		return json.Marshal(a.tryTunnels(ctx, *q.Tunnels))
	}
	if q.Follow != nil {
		return json.Marshal(a.follow(ctx, q))
	}
	if q.Capture != nil {
		return a.captures.answer(ctx, a, q)
	}
	switch {
	case q.Doctor:
		return json.Marshal(a.doctorFacts(ctx))
	case q.Remove != nil:
		return a.remove(ctx, q.Remove)
	}
	ev := a.Evidence(ctx, q)
	return json.Marshal(ev)
}

// Evidence looks at everything about one port, known or not. It runs beside the loop and
// reads what the loop last published, and the machine itself.
func (a *Agent) Evidence(ctx context.Context, q trace.Query) trace.Evidence {
	a.mu.Lock()
	now := a.now
	a.mu.Unlock()
	st, obs := a.feed.State(), a.o.Machine.Observe()
	ev := trace.Evidence{PortID: q.PortID, Host: a.o.Feed.Name, At: time.Now().UTC(),
		Feed:   trace.Feed{InSync: st.InSync, FromDisk: st.FromDisk, Revision: st.Revision, Since: st.Since, Error: st.Err},
		Switch: trace.Switch{Connected: obs.Connected, Bridge: a.o.Settings.IntegrationBridge, Version: obs.OVSVersion}}
	if obs.Err != nil {
		ev.Switch.Error, ev.Switch.Trouble = obs.Err.Error(), string(obs.Trouble)
	}
	if p := st.Cloud.Ports[q.PortID]; p != nil {
		ev.Known, ev.Revision, q.NetworkID, q.MAC = true, p.Revision, p.NetworkID, p.MAC.String()
	}
	hq := a.hostQuery(q)
	if p := st.Cloud.Ports[q.PortID]; p != nil {
		for _, f := range p.FixedIPs {
			hq.Addrs = append(hq.Addrs, f.Addr)
		}
	}
	net := networkOf(now.view, q.NetworkID)
	var service *dhcp.Server
	if net != nil {
		ev.LocalVLAN = uint16(net.LocalVLAN)
		if net.DHCPPort != nil {
			hq.Namespace, hq.DHCPDevice, hq.DHCPPort = vif.DHCPNamespace(q.NetworkID), vif.TapName(net.DHCPPort.ID), net.DHCPPort.ID
			service = serverOf(now.plan.DHCP, q.NetworkID)
		}
	}
	local := localOf(now.view, q.PortID)
	at, ok := a.place(now, local, q)
	switch {
	case ok:
		hq.Packet, hq.CTNext = at.WalkOf(*q.Packet)
	case q.Packet != nil && local != nil:
		ev.Gaps = append(ev.Gaps, fmt.Sprintf("port %s, from which the packet comes, is not plugged here", q.From))
	}
	probed := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	ways := a.ways(now, net, q.Walks)
	for _, y := range ways {
		hq.Walks = append(hq.Walks, host.Walk{Bridge: y.In, Packet: y.Asked()})
	}
	spots := a.spots(now, net, local, q.Walks)
	if len(spots) > 0 {
		hq.Owner, hq.In = a.o.Settings.CookieOwner, spots[0].Bridges()
		hq.Parts = sharedCookies(hq.Owner, q.NetworkID)
		for _, id := range []model.PortID{q.PortID, spots[len(spots)-1].Port.ID} {
			hq.Parts = append(hq.Parts, vswitch.Cookie(hq.Owner, vswitch.KindPort, vswitch.CookieObject(string(id))))
		}
	}
	found := a.o.Machine.Probe(ctx, hq)
	ev.Shadows = shadows(spots, now.plan, foreignFlows(found, hq.Owner))
	for i, text := range found.Walks {
		if text != "" {
			answer := ways[i].Answer(text)
			answer.Disown(answer.Bridge, ev.Shadows)
			ev.Walks = append(ev.Walks, answer)
		}
	}
	ev.Gaps = append(ev.Gaps, found.Gaps...)
	daemons(&ev.Switch, found)
	ev.Device = evidenceDevice(found)
	a.interfaces(&ev, found)
	ev.Sources, ev.Rivals = evidenceSources(found, now.view, net)
	for _, r := range found.Repairs {
		ev.Repairs = append(ev.Repairs, trace.Repair(r))
	}
	for _, set := range found.Settings {
		ev.Settings = append(ev.Settings, trace.Setting{Bridge: set.Bridge, Port: set.Port, Name: string(set.Name), Value: set.Value})
	}
	ev.Flows = compareFlows(now.plan.Switch.Flows[hq.Bridge], found, q.PortID, local)
	if found.Walk != "" {
		ev.Walked = at.Walked(found.Walk, hq.Packet, q.Packet.Egress)
		ev.Walked.Disown(hq.Bridge, ev.Shadows)
	}
	ev.Dropped = a.drops.port(a.o.Settings.CookieOwner, q.PortID, found.Flows, probed)
	ev.DHCP = evidenceDHCP(found, hq, service, q.PortID)
	ev.Transactions = evidenceTransactions(found.Transactions)
	if r, ok := now.reported[q.PortID]; ok {
		ev.Reported = &trace.Facts{Wired: r.Wired, DHCP: r.DHCP, At: r.at}
	}
	ev.Faults, ev.Past = evidenceFaults(now, q)
	return ev
}

// sharedCookies are those of the flows that all ports, or all of a network, rely on.
func sharedCookies(owner uint16, n model.NetworkID) []uint64 {
	return []uint64{vswitch.Cookie(owner, vswitch.KindBase, 0), vswitch.Cookie(owner, vswitch.KindNetwork, vswitch.CookieObject(string(n)))}
}

// concerns: faults of other ports and networks explain nothing about this one.
func concerns(f trackedFault, q trace.Query) bool {
	return (f.Port == "" || f.Port == q.PortID) && (f.Network == "" || f.Network == q.NetworkID)
}

func evidenceFaults(now published, q trace.Query) (faults, past []trace.Fault) {
	for _, f := range now.faults {
		if concerns(f, q) {
			faults = append(faults, evidenceFault(f))
		}
	}
	for _, f := range now.past {
		if concerns(f.trackedFault, q) {
			was := evidenceFault(f.trackedFault)
			was.Until = f.until
			past = append(past, was)
		}
	}
	return faults, past
}

func evidenceFault(f trackedFault) trace.Fault {
	return trace.Fault{Object: f.Object, Op: f.Op, Error: f.Err.Error(), Since: f.since, Tries: f.tries,
		Closes: f.Part == host.PartSwitch && !f.Local && (f.Port != "" || f.Network == ""), Rules: f.Rules, Underlay: f.Part == host.PartUnderlay}
}

// daemons judges whether those of Open vSwitch live. One that is stopped keeps its connections; and of an
// ovs-vswitchd whose control socket is elsewhere nothing is known, as long as its bridges are connected.
func daemons(sw *trace.Switch, f host.Found) {
	trouble := func(t host.Trouble, err error) {
		if sw.Connected {
			sw.Connected, sw.Error = false, err.Error()
		}
		sw.Trouble = string(t)
	}
	if f.Vswitchd != nil && (!sw.Connected || errors.Is(f.Vswitchd, context.DeadlineExceeded)) {
		sw.Vswitchd = f.Vswitchd.Error()
		if t := host.Trouble(sw.Trouble); t != host.NoDatabase && t != host.EmptyDatabase {
			trouble(host.NoVswitchd, f.Vswitchd)
		}
	}
	if f.Database != nil {
		trouble(host.NoDatabase, f.Database)
	}
}

func networkOf(v view.View, id model.NetworkID) *view.Network {
	for _, n := range v.Networks {
		if n.ID == id {
			return n
		}
	}
	return nil
}

func localOf(v view.View, id model.PortID) *view.LocalPort {
	for i := range v.Local {
		if v.Local[i].ID == id {
			return &v.Local[i]
		}
	}
	return nil
}

func serverOf(all []dhcp.Server, id model.NetworkID) *dhcp.Server {
	for i := range all {
		if all[i].NetworkID == id {
			return &all[i]
		}
	}
	return nil
}

func (a *Agent) hostQuery(q trace.Query) host.Query {
	mac, err := model.ParseMAC(q.MAC)
	if err != nil {
		mac = model.MAC{} // then nothing is found by it
	}
	return host.Query{PortID: q.PortID, NetworkID: q.NetworkID, MAC: mac, Bridge: a.o.Settings.IntegrationBridge, Device: vif.TapName(q.PortID)}
}

// seek answers where the interface of a port is that need not be bound here.
func (a *Agent) seek(q trace.Query) trace.Evidence {
	ev := trace.Evidence{PortID: q.PortID, Host: a.o.Feed.Name, At: time.Now().UTC()}
	a.interfaces(&ev, a.o.Machine.Seek(a.hostQuery(q)))
	return ev
}

// interfaces puts what was found of the port's interface, and of those like it, into evidence.
func (a *Agent) interfaces(ev *trace.Evidence, f host.Found) {
	if f.Interface != nil {
		i := trace.Interface(*f.Interface)
		ev.Interface = &i
	}
	for _, i := range f.Twins {
		ev.Twins = append(ev.Twins, trace.Interface(i))
	}
	ports := a.feed.State().Cloud.Ports
	for _, l := range f.LookAlikes {
		// The right interface of another port may have the same MAC, on another network.
		other := model.PortID(strings.ToLower(l.ExternalIDs["iface-id"]))
		if p := ports[other]; p != nil && p.Binding.Host == a.o.Feed.Name && l.Name == vif.TapName(other) {
			continue
		}
		ev.LookAlikes = append(ev.LookAlikes, trace.LookAlike{Interface: trace.Interface(l.Interface), Why: l.Why})
	}
}

func evidenceDevice(f host.Found) *trace.Device {
	d := f.Device
	if d == nil {
		return nil
	}
	out := &trace.Device{Name: d.Name, Kind: d.Type, MAC: d.MAC.String(), MTU: d.MTU, Up: d.Up, Carrier: d.Carrier,
		RxPackets: d.RxPackets, TxPackets: d.TxPackets, RxDropped: d.RxDropped, TxDropped: d.TxDropped}
	if f.Holder != nil {
		h := trace.Holder(*f.Holder)
		out.Holder = &h
	}
	return out
}

func evidenceTransactions(of []host.Transaction) (all []trace.Transaction) {
	for _, t := range of {
		tt := trace.Transaction{At: t.At, Message: t.Message, Reply: t.Reply, Reason: t.Reason, Elapsed: t.Elapsed, XID: t.XID}
		if t.Addr.IsValid() && !t.Addr.IsUnspecified() {
			tt.Addr = t.Addr.String()
		}
		if t.Server.IsValid() {
			tt.Server = t.Server.String()
		}
		all = append(all, tt)
	}
	return all
}

// evidenceDHCP is nil when this host neither is to serve the network nor has its namespace.
func evidenceDHCP(f host.Found, q host.Query, s *dhcp.Server, id model.PortID) *trace.DHCP {
	if q.Namespace == "" {
		return nil
	}
	d := &trace.DHCP{Wanted: s != nil, Namespace: q.Namespace}
	if s != nil {
		for i := range s.Leases {
			if s.Leases[i].PortID == id {
				d.Leases = append(d.Leases, s.Leases[i].Addr.String())
			}
		}
	}
	if f.DHCP == nil {
		return d
	}
	d.Exists, d.Listening, d.Heard, d.Unheard = f.DHCP.Exists, f.DHCP.Listening, f.DHCP.Heard, f.DHCP.Unheard
	seen := f.DHCP.Seen
	d.Since = seen.Since
	for _, s := range seen.Strangers {
		d.Strangers = append(d.Strangers, trace.Stranger{MAC: s.MAC, Count: s.Count, Last: s.Last})
	}
	for _, o := range seen.Others {
		d.Others = append(d.Others, trace.OtherServer{Server: o.Server, MAC: o.MAC, Count: o.Count, Last: o.Last})
	}
	for id, s := range seen.Elsewhere {
		d.Elsewhere = append(d.Elsewhere, trace.Stranger{NetworkID: id, MAC: s.MAC, Count: s.Count, Last: s.Last})
	}
	if l := f.DHCP.Device; l != nil {
		d.Device, d.MAC, d.MTU, d.Down = l.Name, l.MAC.String(), l.MTU, !l.Up
		for _, a := range l.Addrs {
			d.Addresses = append(d.Addresses, a.String())
		}
	}
	return d
}

// compareFlows counts the planned flows of one port in the switch. A flow is the port's by its cookie.
func compareFlows(parts vswitch.Flows, f host.Found, id model.PortID, l *view.LocalPort) *trace.Flows {
	if l == nil {
		return nil
	}
	return compare(flowsOf(parts, id), f.Flows)
}

// compare counts wanted flows in those that the switch has.
func compare(wanted []vswitch.Flow, found []host.FlowCount) *trace.Flows {
	have := make(map[string]host.FlowCount, len(found))
	for _, fc := range found {
		have[flowText(fc.Flow)] = fc
	}
	out := &trace.Flows{}
	for _, w := range wanted {
		out.Wanted++
		text := flowText(w)
		fc, ok := have[text]
		if ok {
			out.Present++
			out.Packets += fc.Packets
			out.Age = max(out.Age, fc.Age)
			if from := sourceOf(w); from.IsValid() && fc.Packets > 0 {
				if out.Sent == nil {
					out.Sent = map[string]uint64{}
				}
				out.Sent[from.String()] += fc.Packets
			}
			switch reason := vswitch.ReasonOf(w.Cookie); {
			case w.Table == firewall.MACSpoof && reason == 0:
				out.FromMAC += fc.Packets
			case reason == uint8(firewall.SpoofedMAC):
				out.OtherMAC += fc.Packets
			}
		} else if len(out.Missing) < maxMissing {
			out.Missing = append(out.Missing, text)
		}
	}
	slices.Sort(out.Missing)
	return out
}

// sourceOf is the address that a flow of the spoof guard lets its port send from, if it is one.
func sourceOf(f vswitch.Flow) netip.Addr {
	if f.Table != firewall.ARPSpoof && f.Table != firewall.BaseEgress {
		return netip.Addr{}
	}
	for _, m := range f.Match {
		isSource := m.Field == vswitch.IPv4Src || m.Field == vswitch.IPv6Src || m.Field == vswitch.ARPSPA
		if a := m.Value.Addr(m.Field.Width()); isSource && m.Mask == m.Field.AllOnes() && !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}

// flowText is a flow in one form, wherever it comes from.
func flowText(f vswitch.Flow) string { return f.Normalize().String() }

// flowsOf are the flows that were made for a port.
func flowsOf(parts vswitch.Flows, id model.PortID) (list []vswitch.Flow) {
	for _, p := range parts {
		if _, kind, object := vswitch.SplitCookie(p.Cookie); kind == vswitch.KindPort && object == vswitch.CookieObject(string(id)) {
			list = append(list, p.List...)
		}
	}
	return list
}
