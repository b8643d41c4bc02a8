package control

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// Agent is one of the agents as which a host shows itself: those that a Neutron host doing
// the same work would run.
type Agent struct {
	ID, Type string
	Alive    bool
	Host     *model.Host
}

// Agents returns the agents of all hosts, those of a host together. An agent that was
// removed is there again when its host is.
func (c *Control) Agents(r store.Reader, now time.Time) []Agent {
	var all []Agent
	for _, e := range r.Hosts() {
		alive := c.HostAlive(e.Value, now)
		for _, kind := range c.agentTypes(r, e.Value) {
			if alive || !e.Value.Agents[kind].Removed {
				all = append(all, Agent{agentID(e.Value, kind), kind, alive, e.Value})
			}
		}
	}
	return all
}

func (c *Control) agentTypes(r store.Reader, h *model.Host) []string {
	types := []string{model.AgentSwitch}
	if h.Has(model.RoleNetwork) || c.DHCPSetting(r).Mode == model.DHCPDistributed {
		types = append(types, model.AgentDHCP)
	}
	if h.Has(model.RoleNetwork) {
		types = append(types, model.AgentL3)
	}
	return types
}

// agentID is stable for a host and a type. Hosts whose own ID is no UUID go by their name.
func agentID(h *model.Host, kind string) string {
	space, err := uuid.Parse(h.AgentID)
	if err != nil {
		space = uuid.NewSHA1(uuid.NameSpaceDNS, []byte(h.Name))
	}
	return uuid.NewSHA1(space, []byte(kind)).String()
}

// Agent returns the agent with this ID, or model.NotFound.
func (c *Control) Agent(r store.Reader, id string) (Agent, error) {
	for _, a := range c.Agents(r, c.now()) {
		if a.ID == id {
			return a, nil
		}
	}
	return Agent{}, model.NotFound{Kind: model.KindAgent, ID: id}
}

// UpdateAgent changes what is said of an agent. A disabled switch takes no further ports,
// a disabled DHCP agent loses its networks to others, as far as there are any.
func (c *Control) UpdateAgent(ctx context.Context, id string, ch Change[model.AgentSetting]) error {
	var a Agent
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		err := c.within(ctx, txn, res, func(w *work) (err error) {
			if a, err = c.Agent(w.r, id); err != nil {
				return err
			}
			old := a.Host.Agents[a.Type]
			s := old
			if ch.Apply(&s); s == old {
				return errUnchanged
			}
			return w.setAgent(a, s)
		})
		if err != nil {
			return err
		}
		_, err = txn.Commit(ctx)
		return err
	})
	if err != nil {
		return err
	}
	c.retryBindings(ctx, a.Host.Name)
	c.ensureAllDHCP(ctx, false)
	return nil
}

// setAgent writes what is said of an agent; nothing is said of one with the zero setting.
func (w *work) setAgent(a Agent, s model.AgentSetting) error {
	h := *a.Host
	h.Agents = map[string]model.AgentSetting{a.Type: s}
	for kind, other := range a.Host.Agents {
		if kind != a.Type {
			h.Agents[kind] = other
		}
	}
	if s == (model.AgentSetting{}) {
		delete(h.Agents, a.Type)
	}
	w.txn.PutHost(w.r.Host(h.Name), &h)
	return nil
}

// DeleteAgent removes an agent of a dead host, and the host with the last of them.
func (c *Control) DeleteAgent(ctx context.Context, id string) error {
	return c.transact(ctx, func(w *work) error {
		a, err := c.Agent(w.r, id)
		if err != nil {
			return err
		}
		if a.Alive {
			f := model.Faultf(model.AgentAlive, "The resource is in use.")
			f.Detail = "the agent is alive and would come back; stop it first"
			return f
		}
		left := 0
		for _, o := range c.Agents(w.r, c.now()) {
			if o.Host == a.Host {
				left++
			}
		}
		if left == 1 {
			w.txn.DeleteHost(w.r.Host(a.Host.Name))
			return nil
		}
		s := a.Host.Agents[a.Type]
		s.Removed = true
		return w.setAgent(a, s)
	})
}

// settingsKept are the settings that outlive a new start of the host.
func settingsKept(old map[string]model.AgentSetting) map[string]model.AgentSetting {
	var kept map[string]model.AgentSetting
	for kind, s := range old {
		if s.Removed = false; s != (model.AgentSetting{}) {
			if kept == nil {
				kept = map[string]model.AgentSetting{}
			}
			kept[kind] = s
		}
	}
	return kept
}

// DHCPHosts returns the hosts that serve DHCP on a network, sorted: where its DHCP ports are,
// or are to be as soon as there is something to serve.
func DHCPHosts(r store.Reader, n *model.Network) []model.HostName {
	var hosts []model.HostName
	for _, e := range dhcpPorts(r, n.ID) {
		if e.Value.Distributed() {
			return r.HostsOf(n.ID)
		}
		hosts = append(hosts, e.Value.Binding.Host)
	}
	if len(hosts) == 0 {
		return n.DHCPHosts
	}
	slices.Sort(hosts)
	return hosts
}

// DHCPPortsOn returns the DHCP ports by which a host serves networks.
func DHCPPortsOn(r store.Reader, host model.HostName) []*model.Port {
	var ports []*model.Port
	seen := map[model.NetworkID]bool{}
	for e := range r.PortsOnHost(host) {
		if e.Value.DeviceOwner == model.OwnerDHCP {
			ports = append(ports, e.Value)
		}
		if id := e.Value.NetworkID; !seen[id] {
			seen[id] = true
			for _, d := range r.DHCPPortsOf(id) {
				if d.Value.Distributed() {
					ports = append(ports, d.Value)
				}
			}
		}
	}
	return ports
}

// notPlaced is the fault of a wish for a place where DHCP has none.
func notPlaced(id model.NetworkID) error {
	return invalid("DHCP is distributed: network %s is served by every host that has ports of it", id)
}

// PutDHCP lets a DHCP agent serve a network beside those that do. From then on the network
// is served where administrators have said, each host as long as it can.
func (c *Control) PutDHCP(ctx context.Context, agent string, id model.NetworkID) error {
	return c.scheduleDHCP(ctx, id, func(w *work, n *model.Network) error {
		a, err := c.Agent(w.r, agent)
		if err != nil {
			return err
		}
		if a.Type != model.AgentDHCP || a.Host.Agents[a.Type].Disabled {
			return model.Faultf(model.InvalidDHCPAgent, "Agent %s is not a valid DHCP Agent or has been disabled.", agent)
		}
		on := DHCPHosts(w.r, n)
		if slices.Contains(on, a.Host.Name) {
			return model.Faultf(model.DHCPHosted, "The network %s has been already hosted by the DHCP Agent %s.", id, agent)
		}
		if c.DHCPSetting(w.r).Mode == model.DHCPDistributed {
			if !n.DHCPAway {
				return notPlaced(id)
			}
			n.DHCPAway = false // taken away when DHCP had places; nobody else can undo that
			return nil
		}
		n.DHCPHosts, n.DHCPAway = append(slices.Clone(on), a.Host.Name), false
		slices.Sort(n.DHCPHosts)
		return nil
	})
}

// TakeDHCP takes a network from a DHCP agent. Without the last of them it has no DHCP, until
// it is given to one.
func (c *Control) TakeDHCP(ctx context.Context, agent string, id model.NetworkID) error {
	return c.scheduleDHCP(ctx, id, func(w *work, n *model.Network) error {
		a, err := c.Agent(w.r, agent)
		if err != nil {
			return err
		}
		on := DHCPHosts(w.r, n)
		if a.Type != model.AgentDHCP || !slices.Contains(on, a.Host.Name) {
			return model.Faultf(model.DHCPNotHosted, "The network %s is not hosted by the DHCP Agent %s.", id, agent)
		}
		if c.DHCPSetting(w.r).Mode == model.DHCPDistributed {
			return notPlaced(id)
		}
		n.DHCPHosts = slices.DeleteFunc(slices.Clone(on), func(h model.HostName) bool { return h == a.Host.Name })
		if len(n.DHCPHosts) == 0 {
			n.DHCPHosts, n.DHCPAway = nil, true
		}
		return nil
	})
}

// scheduleDHCP changes where DHCP on a network is to be, and makes it so. The network's
// revision stays: to its users it is the same.
func (c *Control) scheduleDHCP(ctx context.Context, id model.NetworkID, decide func(*work, *model.Network) error) error {
	err := c.transact(ctx, func(w *work) error {
		old := w.r.Network(id)
		if old == nil {
			return model.NotFound{Kind: model.KindNetwork, ID: string(id)}
		}
		n := *old.Value
		if err := decide(w, &n); err != nil {
			return err
		}
		if reflect.DeepEqual(&n, old.Value) {
			return errUnchanged
		}
		w.txn.UpdateNetwork(old, &n)
		return nil
	})
	if err != nil {
		return err
	}
	c.ensureDHCP(ctx, id)
	return nil
}
