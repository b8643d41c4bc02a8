package control

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

// HostState is in how far a host is there.
type HostState string

// The states of hosts.
const (
	// HostUp: its agent is heard of.
	HostUp HostState = "up"
	// HostDrained: as up, and it takes nothing new.
	HostDrained HostState = "drained"
	// HostDown: its agent is not heard of.
	HostDown HostState = "down"
	// HostAwaited: it has joined, and its agent was never heard of.
	HostAwaited HostState = "awaited"
	// HostRemoved: an administrator has removed it.
	HostRemoved HostState = "removed"
)

// HostInfo is what is known of a host. Host has only a name while the agent was not heard of.
type HostInfo struct {
	*model.Host
	Identity model.HostIdentity
	State    HostState
	Drained  bool
	// Bound are the ports bound to it, by owner and ID.
	Bound []*model.Port
}

// HostInfos are all hosts by name, also those that were removed.
func (c *Control) HostInfos(r store.Reader) []HostInfo {
	known := map[model.HostName]*HostInfo{}
	for _, e := range r.Hosts() {
		known[e.Value.Name] = &HostInfo{Host: e.Value}
	}
	for e := range store.HostIdentities.All(r) {
		h := known[e.Value.Host]
		if h == nil {
			h = &HostInfo{Host: &model.Host{Name: e.Value.Host}}
			known[e.Value.Host] = h
		}
		h.Identity = *e.Value
	}
	all := make([]HostInfo, 0, len(known))
	for _, h := range known {
		c.judgeHost(r, h)
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b HostInfo) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (c *Control) judgeHost(r store.Reader, h *HostInfo) {
	h.Drained = !h.CreatedAt.IsZero()
	for _, kind := range c.agentTypes(r, h.Host) {
		h.Drained = h.Drained && h.Agents[kind].Disabled
	}
	switch {
	case !h.Identity.RemovedAt.IsZero():
		h.State = HostRemoved
	case h.CreatedAt.IsZero():
		h.State = HostAwaited
	case !c.HostAlive(h.Host, c.now()):
		h.State = HostDown
	case h.Drained:
		h.State = HostDrained
	default:
		h.State = HostUp
	}
	for e := range r.PortsOnHost(h.Name) {
		h.Bound = append(h.Bound, e.Value)
	}
	slices.SortFunc(h.Bound, func(a, b *model.Port) int {
		return cmp.Or(strings.Compare(a.DeviceOwner, b.DeviceOwner), cmp.Compare(a.ID, b.ID))
	})
}

// HostInfo is what is known of one host, or model.NotFound.
func (c *Control) HostInfo(r store.Reader, name model.HostName) (HostInfo, error) {
	e, id := r.Host(name), store.HostIdentities.Get(r, string(name))
	if e == nil && id == nil {
		return HostInfo{}, model.NotFound{Kind: model.KindHost, ID: string(name)}
	}
	h := HostInfo{Host: &model.Host{Name: name}}
	if e != nil {
		h.Host = e.Value
	}
	if id != nil {
		h.Identity = *id.Value
	}
	c.judgeHost(r, &h)
	return h, nil
}

// DrainHost lets a host have no further ports and DHCP services; those services that others
// can take go there. What is bound to it stays.
func (c *Control) DrainHost(ctx context.Context, name model.HostName) error {
	return c.setAgents(ctx, name, func(s *model.AgentSetting) { s.Disabled = true })
}

// UndrainHost takes DrainHost back.
func (c *Control) UndrainHost(ctx context.Context, name model.HostName) error {
	return c.setAgents(ctx, name, func(s *model.AgentSetting) { s.Disabled = false })
}

// setAgents changes what is said of all agents of a host.
func (c *Control) setAgents(ctx context.Context, name model.HostName, change func(*model.AgentSetting)) error {
	err := c.transact(ctx, func(w *work) error {
		old := w.r.Host(name)
		if old == nil {
			return model.NotFound{Kind: model.KindHost, ID: string(name)}
		}
		n := *old.Value
		n.Agents = map[string]model.AgentSetting{}
		same := true
		for _, kind := range c.agentTypes(w.r, old.Value) {
			s := old.Value.Agents[kind]
			if change(&s); s != old.Value.Agents[kind] {
				same = false
			}
			if s != (model.AgentSetting{}) {
				n.Agents[kind] = s
			}
		}
		if same {
			return errUnchanged
		}
		w.txn.PutHost(old, &n)
		return nil
	})
	if err != nil {
		return err
	}
	c.retryBindings(ctx, name)
	c.ensureAllDHCP(ctx, false)
	return nil
}

// Removal says how a host is to be removed.
type Removal struct {
	// Force: also while ports are bound to it. They stay, and fail to bind.
	Force bool
}

// RemoveHost makes a host one that never was, except that its certificates stay bad: only a
// new token lets a host by its name in again.
func (c *Control) RemoveHost(ctx context.Context, name model.HostName, how Removal) error {
	err := c.transact(ctx, func(w *work) error {
		h, err := c.HostInfo(w.r, name)
		switch {
		case err != nil:
			return err
		case h.State == HostRemoved:
			return errUnchanged
		case len(h.Bound) > 0 && !how.Force:
			return model.Faultf(model.AgentAlive, "%d ports are bound to host %s. Move them, or remove it by force: then they stay and fail to bind.", len(h.Bound), name)
		}
		if old := w.r.Host(name); old != nil {
			w.txn.DeleteHost(old)
		}
		gone := h.Identity
		gone.Host, gone.RemovedAt = name, c.stamp()
		if old := store.HostIdentities.Get(w.r, string(name)); old != nil {
			store.HostIdentities.Update(w.txn, old, &gone)
		} else {
			store.HostIdentities.Create(w.txn, &gone)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("host removed", "host", name)
	c.ensureAllDHCP(ctx, true)
	return c.unbindFrom(ctx, name)
}

// unbindFrom makes the ports bound to a host that was removed say so. A host that comes by
// that name gets them.
func (c *Control) unbindFrom(ctx context.Context, name model.HostName) error {
	var ids []model.PortID
	c.Read(func(r store.Reader) {
		for e := range r.PortsOnHost(name) {
			ids = append(ids, e.Value.ID)
		}
	})
	for chunk := range slices.Chunk(ids, reportChunk) {
		err := c.changePorts(ctx, chunk, func(r store.Reader, p *model.Port) {
			if p.Binding.Host != name || r.Host(name) != nil {
				return
			}
			p.Status = model.PortDown
			if n := r.Network(p.NetworkID); n != nil && p.DeviceOwner != model.OwnerDHCP {
				c.bindIn(r, p, n.Value)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// NoteCertificate records until when a host's certificate is good.
func (c *Control) NoteCertificate(ctx context.Context, name model.HostName, until time.Time) error {
	return c.transact(ctx, func(w *work) error {
		old := w.r.Host(name)
		if old == nil || old.Value.CertificateUntil.Equal(until) {
			return errUnchanged
		}
		n := *old.Value
		n.CertificateUntil = until
		w.txn.PutHost(old, &n)
		return nil
	})
}
