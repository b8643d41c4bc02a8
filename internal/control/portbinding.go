package control

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

// BindingRequest asks for a binding of a port to a further host, or to change one.
type BindingRequest struct {
	Project    model.ProjectID // not kept: a binding is its port's
	Host       Opt[string]
	VNICType   Opt[string]
	Profile    Opt[map[string]any]
	IfRevision Opt[int]
}

// AddBinding binds a port to a further host, where nothing is wired until the binding is
// activated. A host that could not realise the port is refused, so that a migration to it
// does not begin.
func (c *Control) AddBinding(ctx context.Context, id model.PortID, req BindingRequest) (*store.Entry[model.Port], error) {
	return c.changeBindings(ctx, id, req.IfRevision, func(r store.Reader, p *model.Port, n *model.Network) error {
		host := model.HostName(req.Host.Value)
		if BindingOf(p, host) != nil {
			return model.Faultf(model.PortBindingExists, "Binding for port %s on host %s already exists.", p.ID, host)
		}
		b := model.Binding{Host: host, VNICType: req.VNICType.Or(defaultVNIC)}
		setProfile(&b, req.Profile)
		if err := c.bindOn(r, p.ID, &b, n); err != nil {
			return err
		}
		p.Inactive = append(p.Inactive, b)
		return nil
	})
}

// ChangeBinding changes the binding of a port to a host.
func (c *Control) ChangeBinding(ctx context.Context, id model.PortID, host model.HostName, req BindingRequest) (*store.Entry[model.Port], error) {
	return c.changeBindings(ctx, id, req.IfRevision, func(r store.Reader, p *model.Port, n *model.Network) error {
		b := BindingOf(p, host)
		if b == nil {
			return noBinding(p.ID, host)
		}
		to := model.HostName(req.Host.Or(string(host)))
		if to != host && BindingOf(p, to) != nil {
			return model.Faultf(model.PortBindingExists, "Binding for port %s on host %s already exists.", p.ID, to)
		}
		old := *b
		b.Host = to
		set(&b.VNICType, req.VNICType)
		setProfile(b, req.Profile)
		if reflect.DeepEqual(*b, old) {
			return nil
		}
		if b == &p.Binding {
			p.Status = model.PortDown // until the host says otherwise
		}
		return c.bindOn(r, p.ID, b, n)
	})
}

// RemoveBinding takes the binding to a host away; without its active one a port is unbound.
func (c *Control) RemoveBinding(ctx context.Context, id model.PortID, host model.HostName) error {
	_, err := c.changeBindings(ctx, id, Opt[int]{}, func(_ store.Reader, p *model.Port, _ *model.Network) error {
		b := BindingOf(p, host)
		switch {
		case b == nil:
			return noBinding(p.ID, host)
		case b == &p.Binding:
			p.Binding = model.Binding{VNICType: defaultVNIC, VIFType: model.VIFUnbound}
			p.Status = model.PortDown
		default:
			dropInactive(p, host)
		}
		return nil
	})
	return err
}

// ActivateBinding moves a port to a host to which it has an inactive binding. The binding
// that was active stays, inactive and not realised.
func (c *Control) ActivateBinding(ctx context.Context, id model.PortID, host model.HostName) (*store.Entry[model.Port], error) {
	return c.changeBindings(ctx, id, Opt[int]{}, func(_ store.Reader, p *model.Port, _ *model.Network) error {
		b := BindingOf(p, host)
		switch {
		case b == nil:
			return noBinding(p.ID, host)
		case b == &p.Binding:
			return model.Faultf(model.PortBindingActive, "Binding for port %s on host %s is already active.", p.ID, host)
		}
		was := p.Binding
		p.Binding = *b
		p.Status = model.PortDown
		if was.Host == "" { // the port was bound to nowhere: nothing stays
			dropInactive(p, host)
			return nil
		}
		was.VIFType, was.BridgeName, was.DatapathType, was.Reason = model.VIFUnbound, "", "", ""
		*b = was
		return nil
	})
}

// BindingOf returns the binding of a port to a host, nil when there is none.
func BindingOf(p *model.Port, host model.HostName) *model.Binding {
	if p.Binding.Host == host {
		return &p.Binding
	}
	for i := range p.Inactive {
		if p.Inactive[i].Host == host {
			return &p.Inactive[i]
		}
	}
	return nil
}

func noBinding(id model.PortID, host model.HostName) error {
	return model.Faultf(model.PortBindingMissing, "Binding for port %s for host %s could not be found.", id, host)
}

// dropInactive forgets the inactive binding to a host.
func dropInactive(p *model.Port, host model.HostName) {
	p.Inactive = slices.DeleteFunc(slices.Clone(p.Inactive), func(b model.Binding) bool { return b.Host == host })
	if len(p.Inactive) == 0 {
		p.Inactive = nil
	}
}

// bindOn realises a binding on its host, or says why it cannot be.
func (c *Control) bindOn(r store.Reader, id model.PortID, b *model.Binding, n *model.Network) error {
	p := model.Port{Binding: *b}
	c.bindIn(r, &p, n)
	if *b = p.Binding; b.VIFType != model.VIFBindingFailed {
		return nil
	}
	f := model.Faultf(model.PortBindingImpossible, "Binding for port %s on host %s could not be created or updated.", id, b.Host)
	f.Detail = b.Reason
	return f
}

// SeveralBindings refuses a port that is not one of a machine: only those can move.
func SeveralBindings(p *model.Port) error {
	if strings.HasPrefix(p.DeviceOwner, model.OwnerComputePrefix) {
		return nil
	}
	return model.Faultf(model.BadPortRequest,
		"Bad port request: Invalid port %s. Operation only valid on compute and shared filesystem ports.", p.ID)
}

// changeBindings changes a port by its bindings.
func (c *Control) changeBindings(ctx context.Context, id model.PortID, ifRevision Opt[int], change func(store.Reader, *model.Port, *model.Network) error) (*store.Entry[model.Port], error) {
	var made *store.Entry[model.Port]
	err := c.attempt(ctx, func(*store.Reservation) error {
		var old *store.Entry[model.Port]
		var p model.Port
		var err error
		c.Read(func(r store.Reader) {
			if old = r.Port(id); old == nil {
				err = model.NotFound{Kind: model.KindPort, ID: string(id)}
				return
			}
			p = *old.Value
			p.Inactive = slices.Clone(p.Inactive)
			n := r.Network(p.NetworkID)
			switch {
			case n == nil:
				err = model.NotFound{Kind: model.KindPort, ID: string(id)}
			default:
				if err = cmp.Or(SeveralBindings(&p), checkRevision(ifRevision, p.Meta)); err == nil {
					err = change(r, &p, n.Value)
				}
			}
		})
		if err != nil {
			return err
		}
		if reflect.DeepEqual(&p, old.Value) {
			made = old
			return errUnchanged
		}
		c.touch(&p.Meta)
		txn := c.store.Txn()
		txn.UpdatePort(old, &p)
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.Port{&p}, rev, func(r store.Reader, p *model.Port) *store.Entry[model.Port] { return r.Port(p.ID) })[0]
		return nil
	})
	return made, err
}
