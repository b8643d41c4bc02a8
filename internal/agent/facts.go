package agent

import (
	"maps"
	"slices"
	"time"

	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/view"
)

// plan makes the plan of what is known now, with these local VLANs.
func (a *Agent) plan(st feed.State, obs host.Observed, vlans map[model.NetworkID]view.LocalVLAN) (view.View, plan.Plan) {
	v := view.Of(st.Cloud, obs.Attachments, a.o.Feed.Name, vlans)
	v.Tunnels = a.tunnels.number(v.VTEPs(a.o.Settings.VTEP), obs.TunnelPorts)
	return v, a.memory.Make(v, a.o.Settings)
}

// facts are those of all ports bound to this host, attached or not.
func (a *Agent) facts(c view.Cloud, v view.View, p plan.Plan, faults []host.Fault, now time.Time) map[model.PortID]feed.PortFact {
	broken := brokenBy(faults)
	grace := a.faults.switchDownFor(now) < a.o.Grace
	facts := make(map[model.PortID]feed.PortFact, len(v.Local))
	for id, port := range c.Ports {
		if port.Binding.Host == a.o.Feed.Name {
			facts[id] = feed.PortFact{PortID: id}
		}
	}
	for _, l := range v.Local {
		f, ok := facts[l.ID]
		if !ok || l.Network.LocalVLAN == 0 || broken.ports[l.ID] || broken.networks[l.NetworkID] || broken.rules && len(l.Groups) > 0 {
			continue
		}
		f.Wired = !broken.switchDown || grace && a.plugged[l.ID].wired
		facts[l.ID] = f
	}
	for i := range p.DHCP {
		s := &p.DHCP[i]
		down := broken.services[s.NetworkID]
		if down && a.faults.serviceDownFor(s.NetworkID, now) >= a.o.Grace {
			continue
		}
		for j := range s.Leases {
			id := s.Leases[j].PortID
			if f, ok := facts[id]; ok && (!down || a.reports.sent[id].DHCP) {
				f.DHCP = true
				facts[id] = f
			}
		}
	}
	for _, n := range v.Networks {
		if n.DHCPPort != nil {
			continue
		}
		elsewhere := servedElsewhere(n)
		for _, port := range n.Ports {
			// A guest that has its address loses nothing while DHCP moves to another host.
			if f, ok := facts[port.ID]; ok && (elsewhere || port.Status == model.PortActive) {
				f.DHCP = true
				facts[port.ID] = f
			}
		}
	}
	return facts
}

// servedElsewhere: another host's DHCP port of the network is up, and so the host lives. It answers from
// the same records; whether it has read the newest is not known here.
func servedElsewhere(n *view.Network) bool {
	return slices.ContainsFunc(n.Ports, func(p *model.Port) bool {
		return p.DeviceOwner == model.OwnerDHCP && p.Status == model.PortActive
	})
}

// broken is what faults keep from working.
type broken struct {
	// switchDown: a fault that concerns every port, such as a bridge without its controller.
	switchDown bool
	// rules: those of security groups are missing.
	rules bool
	// ports and networks are not wired, services not served.
	ports    map[model.PortID]bool
	networks map[model.NetworkID]bool
	services map[model.NetworkID]bool
}

func brokenBy(faults []host.Fault) broken {
	b := broken{ports: map[model.PortID]bool{}, networks: map[model.NetworkID]bool{}, services: map[model.NetworkID]bool{}}
	for _, f := range faults {
		switch {
		case f.Part == host.PartUnderlay:
		case f.Part != host.PartSwitch:
			b.services[f.Network] = true
		case f.Port == "" && f.Network == "":
			b.switchDown = b.switchDown || !f.Local
			b.rules = b.rules || f.Rules
		default:
			b.ports[f.Port] = true
			// Without its own switch port a DHCP service is deaf; other ports do not mind.
			b.services[f.Network] = true
			if !f.Local {
				b.networks[f.Network] = true
			}
		}
	}
	return b
}

// sent is what the server was last told of a port, and of which revision of it.
type sent struct {
	feed.PortFact
	revision int
	at       time.Time
}

// reporter tells the server what has changed, and everything to a new session.
type reporter struct {
	session int
	// revision is what the server was last told to be applied.
	revision int64
	sent     map[model.PortID]sent
}

func (r *reporter) report(c *feed.Client, st feed.State, facts map[model.PortID]feed.PortFact, now time.Time) (news []feed.PortFact) {
	if !st.InSync {
		// Nobody to tell. The next session is told everything.
		r.session = 0
		return nil
	}
	full := r.session != st.Session
	if full {
		r.session, r.sent = st.Session, map[model.PortID]sent{}
	}
	for id, f := range facts {
		port := st.Cloud.Ports[id]
		old, told := r.sent[id]
		if told && old.PortFact == f && !(old.revision != port.Revision && disagrees(port, f)) {
			continue
		}
		at := now
		if told && old.PortFact == f {
			at = old.at
		}
		r.sent[id] = sent{f, port.Revision, at}
		news = append(news, f)
	}
	maps.DeleteFunc(r.sent, func(id model.PortID, _ sent) bool { _, ok := facts[id]; return !ok })
	if full || len(news) > 0 || st.Revision > r.revision {
		r.revision = st.Revision
		c.Report(st.Session, st.Revision, full, news)
	}
	return news
}

// disagrees: the record's status is not what the fact allows. Then it is told again after
// each change of the record, so that no lost or overtaken report leaves a port stuck.
func disagrees(p *model.Port, f feed.PortFact) bool {
	return (p.Status == model.PortActive) != (f.Wired && p.AdminStateUp)
}
