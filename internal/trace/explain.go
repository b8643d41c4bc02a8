package trace

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/ipam"
	"weft/internal/model"
)

// Explain judges a port. said is what each host that was asked answered.
func Explain(r Record, said map[model.HostName]Said, now time.Time) Chain {
	c := Chain{At: now}
	if r.Port == nil {
		s := Step{Name: StepRecord}
		s.judge("port", present, none, false, CauseNoPort, "There is no such port.")
		c.finish(s)
		c.conclude("")
		return c
	}
	e := explainer{r: r, p: r.Port, said: said, now: now}
	e.ev, e.silence = e.at(r.Port.Binding.Host)
	c.PortID, c.Name, c.NetworkID, c.DeviceID, c.Host = r.Port.ID, r.Port.Name, r.Port.NetworkID, r.Port.DeviceID, r.Port.Binding.Host
	c.MAC = r.Port.MAC.String()
	for _, f := range r.Port.FixedIPs {
		c.Addresses = append(c.Addresses, f.Addr.String())
	}
	c.finish(e.record(), e.allocation(), e.binding())
	if r.Port.Binding.Host != "" {
		c.finish(e.host(), e.iface())
		if r.Port.DeviceOwner != model.OwnerDHCP {
			c.finish(e.device())
		}
		exchange, works := e.exchange()
		c.finish(e.filter())
		c.finish(e.flows(works)...)
		c.finish(e.guest())
		c.finish(exchange...)
		c.finish(e.tunnels()...)
		if r.Port.DeviceOwner == model.OwnerDHCP || !model.TrustedOwner(r.Port.DeviceOwner) {
			c.finish(e.dhcp()...)
		}
		if e.servedAddrs() != nil {
			c.finish(e.lease())
			c.Conversation, _, _ = e.conversation()
		}
	}
	c.finish(e.status())
	c.finish(e.faults()...)
	c.conclude(e.healthy())
	return c
}

type explainer struct {
	r    Record
	p    *model.Port
	said map[model.HostName]Said
	// ev and silence are what the port's own host said.
	ev      *Evidence
	silence string
	now     time.Time
}

// at is what a host said; without evidence, silence says why.
func (e *explainer) at(host model.HostName) (ev *Evidence, silence string) {
	s := e.said[host]
	if s.Evidence == nil {
		s.Silence = cmp.Or(s.Silence, "the host sent no evidence")
	}
	return s.Evidence, s.Silence
}

// hosts are those that were asked, the port's own first.
func (e *explainer) hosts() []model.HostName {
	return slices.SortedFunc(maps.Keys(e.said), func(a, b model.HostName) int {
		return cmp.Or(boolCmp(b == e.p.Binding.Host, a == e.p.Binding.Host), cmp.Compare(a, b))
	})
}

func boolCmp(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func onHost(h model.HostName) string { return " on host " + string(h) }

// healthy is the sentence for a port with which all is well.
func (e *explainer) healthy() string {
	text := "All is well: the port is ACTIVE" + onHost(e.p.Binding.Host)
	var addrs []string
	for _, f := range e.p.FixedIPs {
		addrs = append(addrs, f.Addr.String())
	}
	if len(addrs) > 0 {
		text += " with " + strings.Join(addrs, ", ")
	}
	return text + "."
}

func (e *explainer) record() Step {
	s := Step{Name: StepRecord}
	s.show("port", string(e.p.ID))
	s.show("name", e.p.Name)
	if e.r.Network == nil {
		s.judge("network", string(e.p.NetworkID), none, false, CauseNoNetwork, fmt.Sprintf("The port's network %s does not exist.", e.p.NetworkID))
	} else {
		s.show("network", strings.TrimSpace(string(e.r.Network.ID)+" "+e.r.Network.Name))
		s.show("segment", segment(e.r.Network.Segment))
		s.want("network admin state", "up", upDown(e.r.Network.AdminStateUp), CauseNetworkDown, "The admin state of the network is down, so nothing passes on it.")
	}
	s.want("admin state", "up", upDown(e.p.AdminStateUp), CausePortDown, "The admin state of the port is down, so nothing passes it.")
	s.show("device", strings.TrimSpace(e.p.DeviceOwner+" "+e.p.DeviceID))
	return s
}

// allocation says why the port has this MAC and these addresses.
func (e *explainer) allocation() Step {
	s := Step{Name: StepAllocation}
	how := "chosen, as the first free one drawn under base_mac"
	if slices.Contains(e.p.Asked, e.p.MAC.String()) {
		how = "asked for"
	}
	s.judge("mac", present, e.p.MAC.String()+" ("+how+")", !e.p.MAC.IsZero(), CauseNoMAC, "The port has no MAC address.")
	for _, f := range e.p.FixedIPs {
		sub := e.subnet(f.SubnetID)
		if sub == nil {
			s.judge("address", "on subnet "+string(f.SubnetID), f.Addr.String(), false, CauseNoSubnet, fmt.Sprintf("Address %s is of subnet %s, which does not exist.", f.Addr, f.SubnetID))
			continue
		}
		s.judge("address", "in "+sub.CIDR.String(), f.Addr.String()+" ("+e.howChosen(f.Addr, sub)+")", sub.CIDR.Contains(f.Addr), CauseOutsideSubnet, fmt.Sprintf("Address %s is not in its subnet, %s.", f.Addr, sub.CIDR))
	}
	if len(e.p.FixedIPs) == 0 {
		s.show("address", none)
	}
	return s
}

// howChosen says how the port came by an address.
func (e *explainer) howChosen(a netip.Addr, sub *model.Subnet) string {
	switch {
	case slices.Contains(e.p.Asked, a.String()):
		return "asked for"
	case sub.Auto():
		return "made from the MAC, EUI-64"
	}
	for _, p := range sub.Pools {
		if !a.Less(p.First) && !p.Last.Less(a) {
			return fmt.Sprintf("chosen from pool %s-%s, one of its first %d free", p.First, p.Last, ipam.Window(1))
		}
	}
	return "chosen from a pool that the subnet no longer has"
}

func (e *explainer) binding() Step {
	s := Step{Name: StepBinding}
	b := e.p.Binding
	observed := string(b.VIFType)
	if b.Reason != "" {
		observed += ": " + b.Reason
	}
	if e.p.Distributed() {
		s.show("host", "every one with ports of the network")
		s.show("vif type", observed)
	} else {
		s.judge("host", "a host", orNone(string(b.Host)), b.Host != "", CauseUnbound, e.unbound())
		public := ""
		if b.Host == "" {
			public = unboundText
		}
		s.onlyAdmins(public)
		if b.Host == "" {
			s.show("vif type", observed)
		} else {
			s.judge("vif type", string(model.VIFOVS), observed, b.VIFType == model.VIFOVS, CauseBindingFailed, fmt.Sprintf("The port could not be bound to host %s: %s.", b.Host, cmp.Or(b.Reason, string(b.VIFType))))
		}
	}
	if b.VIFType == model.VIFBindingFailed {
		s.onlyAdmins("The port could not be bound to its host.")
	}
	s.show("vnic type", b.VNICType)
	return s
}

func (e *explainer) unbound() string {
	for _, there := range e.r.Elsewhere {
		if there.Interface != nil {
			return fmt.Sprintf("The port is bound to no host, but is plugged on host %s (interface %s).", there.Host, there.Interface.Name)
		}
	}
	return unboundText
}

const unboundText = "The port is bound to no host: nobody has said yet where its VM runs."

// lastHeard says when a host was last heard of.
func (e *explainer) lastHeard(host model.HostName) string {
	h, ok := e.r.Hosts[host]
	if !ok {
		return "it has never joined"
	}
	return "last heard of " + ago(e.now, h.HeartbeatAt)
}

func (e *explainer) subnet(id model.SubnetID) *model.Subnet {
	for _, s := range e.r.Subnets {
		if s != nil && s.ID == id {
			return s
		}
	}
	return nil
}
