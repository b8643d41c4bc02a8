package control

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// RegisterHost records what a host's agent says of itself when it joins, and counts as a
// heartbeat. AgentID and CreatedAt are kept from the first time; StartedAt is now unless
// given. Ports that could not be bound to the host before are tried again, and when the
// host serves DHCP, networks without a living DHCP port get one.
func (c *Control) RegisterHost(ctx context.Context, h model.Host) (*model.Host, error) {
	var made *model.Host
	same := false // it is the host that was there, alive, a moment ago
	err := c.attempt(ctx, func(*store.Reservation) error {
		var old *store.Entry[model.Host]
		var identity *store.Entry[model.HostIdentity]
		var err error
		c.Read(func(r store.Reader) {
			old, identity = r.Host(h.Name), store.HostIdentities.Get(r, string(h.Name))
			if identity != nil {
				err = Welcome(r, h.Name, identity.Value.Generation)
			}
		})
		if err != nil {
			return err
		}
		n := h
		now := c.stamp()
		n.CreatedAt, n.HeartbeatAt, n.HeardAt = now, now, c.now()
		n.Agents = nil // not for the host to say
		if identity != nil && len(identity.Value.Roles) > 0 {
			n.Roles = slices.DeleteFunc(slices.Clone(n.Roles), func(r model.HostRole) bool { return !slices.Contains(identity.Value.Roles, r) })
		}
		if n.StartedAt.IsZero() {
			n.StartedAt = now
		}
		if old != nil {
			n.AgentID, n.CreatedAt = old.Value.AgentID, old.Value.CreatedAt
			n.Agents = settingsKept(old.Value.Agents)
			if n.ConnectedAt.Equal(old.Value.ConnectedAt) {
				n.CertificateUntil = old.Value.CertificateUntil // it may have been renewed since
			}
		}
		if n.AgentID == "" {
			n.AgentID = uuid.NewString()
		}
		same = old != nil && c.HostAlive(old.Value, c.now()) && dhcpHost(&n) == dhcpHost(old.Value)
		txn := c.store.Txn()
		txn.PutHost(old, &n)
		txn.PutHeartbeat(n.Name, now)
		if identity == nil {
			store.HostIdentities.Absent(txn, string(n.Name))
		} else {
			store.HostIdentities.Unchanged(txn, identity)
		}
		if _, err := txn.Commit(ctx); err != nil {
			return err
		}
		made = &n
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.retryBindings(ctx, h.Name)
	if made.Has(model.RoleNetwork) && !same {
		c.ensureAllDHCP(ctx, false)
	}
	return made, nil
}

// Heartbeat records that a host lives now: one small key, and nobody is woken. When the
// host had been taken for dead, what was refused to it meanwhile is tried again. A host that never
// joined is model.NotFound.
func (c *Control) Heartbeat(ctx context.Context, host model.HostName) error {
	var old *store.Entry[model.Host]
	err := c.attempt(ctx, func(*store.Reservation) error {
		if c.Read(func(r store.Reader) { old = r.Host(host) }); old == nil {
			return model.NotFound{Kind: model.KindHost, ID: string(host)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	wasAlive := c.HostAlive(old.Value, c.now())
	txn := c.store.Txn()
	txn.PutHeartbeat(host, c.stamp())
	if _, err := txn.Commit(ctx); err != nil {
		return err
	}
	if !wasAlive {
		c.retryBindings(ctx, host)
		if old.Value.Has(model.RoleNetwork) {
			c.ensureAllDHCP(ctx, false)
		}
	}
	return nil
}

// retryBindings binds the ports of a host whose binding failed while it was away.
func (c *Control) retryBindings(ctx context.Context, host model.HostName) {
	var failed []model.PortID
	c.Read(func(r store.Reader) {
		for e := range r.PortsOnHost(host) {
			if e.Value.Binding.VIFType == model.VIFBindingFailed {
				failed = append(failed, e.Value.ID)
			}
		}
	})
	for _, id := range failed {
		err := c.changePorts(ctx, []model.PortID{id}, func(r store.Reader, p *model.Port) {
			if n := r.Network(p.NetworkID); n != nil && p.Binding.VIFType == model.VIFBindingFailed {
				c.bindIn(r, p, n.Value)
			}
		})
		if err != nil {
			c.log.Warn("binding not tried again", "port", id, "err", err)
		}
	}
}

// changePorts applies change to copies of ports and stores those that differ, in one
// transaction. Ports that are gone are skipped.
func (c *Control) changePorts(ctx context.Context, ids []model.PortID, change func(store.Reader, *model.Port)) error {
	return c.attempt(ctx, func(*store.Reservation) error {
		txn := c.store.Txn()
		some := false
		c.Read(func(r store.Reader) {
			for _, id := range ids {
				old := r.Port(id)
				if old == nil {
					continue
				}
				p := *old.Value
				if change(r, &p); reflect.DeepEqual(&p, old.Value) {
					continue
				}
				c.touch(&p.Meta)
				txn.UpdatePort(old, &p)
				some = true
			}
		})
		if !some {
			return nil
		}
		_, err := txn.Commit(ctx)
		return err
	})
}

// PortFact is what a host reports of one port.
type PortFact struct {
	PortID model.PortID `json:"port_id"`
	// Wired says that the interface is in OVSDB and its flows are acknowledged.
	Wired bool `json:"wired"`
	// DHCP says that the DHCP server of the port's network has the port's addresses.
	DHCP bool `json:"dhcp"`
}

// reportChunk is how many ports one transaction of ReportPorts changes: few enough to
// travel together with other transactions.
const reportChunk = 20

// ReportPorts derives the status of ports from facts reported by a host and stores what
// changed: a port is ACTIVE while it is administratively up, bound to this host, wired,
// and served by DHCP or in no need of it; else it is DOWN. Facts about ports bound
// elsewhere, or to nowhere, change nothing.
func (c *Control) ReportPorts(ctx context.Context, host model.HostName, facts []PortFact) error {
	var ids []model.PortID
	known := make(map[model.PortID]PortFact, len(facts))
	for _, f := range facts {
		known[f.PortID] = f
	}
	derive := func(r store.Reader, p *model.Port) {
		if p.Binding.Host == host {
			p.Status = status(r, p, known[p.ID])
		}
	}
	c.Read(func(r store.Reader) {
		for id, f := range known {
			c.facts.put(r, host, f)
			if e := r.Port(id); e != nil {
				p := *e.Value
				if derive(r, &p); p.Status != e.Value.Status {
					ids = append(ids, id)
				}
			}
		}
	})
	for chunk := range slices.Chunk(ids, reportChunk) {
		if err := c.changePorts(ctx, chunk, derive); err != nil {
			return err
		}
	}
	return nil
}

func status(r store.Reader, p *model.Port, f PortFact) model.PortStatus {
	here := p.Binding.VIFType == model.VIFOVS && f.Wired && (f.DHCP || !needsDHCP(r, p))
	if p.AdminStateUp && (here || p.Distributed()) {
		return model.PortActive
	}
	return model.PortDown
}

// needsDHCP reports whether a port is to be served by DHCP before it counts as usable:
// not the cloud's own ports, and not ports without an address on an IPv4 subnet with DHCP. On
// a network that is administratively down, or from which DHCP was taken away, DHCP is not
// served, and that is as asked for: as in Neutron its ports keep their status.
func needsDHCP(r store.Reader, p *model.Port) bool {
	if strings.HasPrefix(p.DeviceOwner, model.OwnerNetworkPrefix) {
		return false
	}
	if n := r.Network(p.NetworkID); n == nil || !n.Value.AdminStateUp || n.Value.DHCPAway {
		return false
	}
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool {
		s := r.Subnet(f.SubnetID)
		return s != nil && s.Value.DHCPv4()
	})
}

// facts remembers what hosts said last, so that a port that is administratively raised
// again gets its status without waiting for a host that has nothing new to say. It is
// memory only: hosts report everything when they connect.
type facts struct {
	mu     sync.Mutex
	byPort map[model.PortID]hostFact
	// sweepAt is how many facts there may be before those of ports that are gone are
	// dropped: ports go in many ways, also by other servers' doing.
	sweepAt int
}

type hostFact struct {
	host model.HostName
	PortFact
}

// sweepLeast is the least number of facts that is worth a sweep.
const sweepLeast = 64

func (f *facts) put(r store.Reader, host model.HostName, fact PortFact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !fact.Wired || r.Port(fact.PortID) == nil {
		delete(f.byPort, fact.PortID)
		return
	}
	if f.byPort == nil {
		f.byPort, f.sweepAt = map[model.PortID]hostFact{}, sweepLeast
	}
	f.byPort[fact.PortID] = hostFact{host, fact}
	if len(f.byPort) > f.sweepAt {
		maps.DeleteFunc(f.byPort, func(id model.PortID, _ hostFact) bool { return r.Port(id) == nil })
		f.sweepAt = max(2*len(f.byPort), sweepLeast)
	}
}

// of returns the last fact about a port from the host it is bound to.
func (f *facts) of(p *model.Port) PortFact {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.byPort[p.ID]; ok && v.host == p.Binding.Host {
		return v.PortFact
	}
	return PortFact{PortID: p.ID}
}

func (f *facts) forget(id model.PortID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byPort, id)
}
