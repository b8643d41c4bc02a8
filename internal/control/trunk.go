package control

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

// Trunks are records: no host wires subports yet, so their status stays DOWN.

// CreateTrunks makes all trunks or none.
func (c *Control) CreateTrunks(ctx context.Context, changes []Change[model.Trunk]) ([]*store.Entry[model.Trunk], error) {
	seen := map[model.PortID]bool{}
	for _, ch := range changes {
		var t model.Trunk
		ch.Apply(&t)
		for _, s := range append([]model.SubPort{{PortID: t.PortID}}, t.SubPorts...) {
			if seen[s.PortID] {
				return nil, model.Faultf(model.ParentPortInUse, textParentInUse, s.PortID)
			}
			seen[s.PortID] = true
		}
	}
	return createNouns(ctx, c, c.trunks(), changes)
}

// UpdateTrunk changes a trunk, but for its ports.
func (c *Control) UpdateTrunk(ctx context.Context, id string, ch Change[model.Trunk]) (*store.Entry[model.Trunk], error) {
	return updateNoun(ctx, c, c.trunks(), id, ch)
}

// DeleteTrunk removes a trunk; its ports are ordinary ones again.
func (c *Control) DeleteTrunk(ctx context.Context, id string, ifRevision Opt[int]) error {
	return removeNoun(ctx, c, c.trunks(), id, ifRevision)
}

func (c *Control) trunks() noun[model.Trunk] {
	return noun[model.Trunk]{
		kind: store.Trunks, name: model.KindTrunk, quota: "trunk",
		id:    func(t *model.Trunk) *string { return &t.ID },
		owner: func(t *model.Trunk) *model.ProjectID { return &t.Project },
		meta:  func(t *model.Trunk) *model.Meta { return &t.Meta },
		judge: func(w *work, old, t *model.Trunk, _ func(string) bool) error {
			if old != nil {
				return nil
			}
			t.Status, t.Revision = model.TrunkDown, 1
			parent, err := w.parentPort(t.PortID)
			if err != nil {
				return err
			}
			given := t.SubPorts
			t.SubPorts = nil
			if err := w.addSubPorts(t, given); err != nil {
				return err
			}
			rewrite(w.txn, parent)
			return nil
		},
		remove: func(w *work, t *model.Trunk) error {
			if err := managed(t); err != nil {
				return err
			}
			parent := w.r.Port(t.PortID)
			if parent == nil {
				return nil
			}
			if parent.Value.Binding.Host != "" {
				return model.Faultf(model.TrunkInUse, "Trunk %s is currently in use.", t.ID)
			}
			rewrite(w.txn, parent)
			return nil
		},
	}
}

const (
	textParentInUse    = "Port %s is currently in use and is not eligible for use as a parent port."
	textTrunkPortInUse = "Port %s is in use by another trunk."
)

// parentPort finds a port and checks that a trunk may be made of it: it is in no trunk,
// on no host, and none of the cloud's own.
func (w *work) parentPort(id model.PortID) (*store.Entry[model.Port], error) {
	e, err := w.portForTrunk(id)
	if err != nil {
		return nil, err
	}
	if e.Value.Binding.Host != "" || strings.HasPrefix(e.Value.DeviceOwner, model.OwnerNetworkPrefix) {
		return nil, model.Faultf(model.ParentPortInUse, textParentInUse, id)
	}
	return e, nil
}

// portForTrunk finds a port that the caller may see and that is in no trunk.
func (w *work) portForTrunk(id model.PortID) (*store.Entry[model.Port], error) {
	switch e := w.r.Port(id); {
	case e == nil || !w.seesPort(e.Value):
		return nil, model.NotFound{Kind: model.KindPort, ID: string(id)}
	case w.r.TrunkOfSubPort(id) != nil:
		return nil, model.Faultf(model.TrunkPortInUse, textTrunkPortInUse, id)
	case w.r.TrunkOfParent(id) != nil:
		return nil, model.Faultf(model.ParentPortInUse, textParentInUse, id)
	default:
		return e, nil
	}
}

// seesPort reports whether the caller may know of a port: it or its network is the
// caller's, or the caller is an administrator.
func (w *work) seesPort(p *model.Port) bool {
	project := CallerOf(w.ctx).ProjectID
	if w.c.admin(w.ctx) || p.Project == project {
		return true
	}
	n := w.r.Network(p.NetworkID)
	return n != nil && n.Value.Project == project
}

// rewrite writes a port as it is: a trunk's parent for what it shows of the trunk, and a
// subport so that its MAC, which shows there, cannot change at the same time.
func rewrite(txn *store.Txn, e *store.Entry[model.Port]) {
	p := *e.Value
	txn.UpdatePort(e, &p)
}

// showMAC writes the parent of a subport whose MAC changes, which shows it.
func showMAC(txn *store.Txn, r store.Reader, id model.PortID) {
	if t := r.TrunkOfSubPort(id); t != nil {
		if parent := r.Port(t.Value.PortID); parent != nil {
			rewrite(txn, parent)
		}
	}
}

// AddSubPorts adds subports to a trunk.
func (c *Control) AddSubPorts(ctx context.Context, id string, subs []model.SubPort) (*store.Entry[model.Trunk], error) {
	return c.changeSubPorts(ctx, id, func(w *work, t *model.Trunk) error { return w.addSubPorts(t, subs) })
}

// RemoveSubPorts takes subports out of a trunk.
func (c *Control) RemoveSubPorts(ctx context.Context, id string, ports []model.PortID) (*store.Entry[model.Trunk], error) {
	return c.changeSubPorts(ctx, id, func(_ *work, t *model.Trunk) error {
		for _, p := range ports {
			i := slices.IndexFunc(t.SubPorts, func(s model.SubPort) bool { return s.PortID == p })
			if i < 0 {
				return model.Faultf(model.SubPortNotFound, "SubPort %s on trunk %s could not be found.", p, t.ID)
			}
			t.SubPorts = slices.Delete(t.SubPorts, i, i+1)
		}
		if len(t.SubPorts) == 0 {
			t.SubPorts = nil
		}
		return nil
	})
}

// changeSubPorts changes the subports of a trunk, and writes its parent anew.
func (c *Control) changeSubPorts(ctx context.Context, id string, change func(*work, *model.Trunk) error) (*store.Entry[model.Trunk], error) {
	var made *store.Entry[model.Trunk]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var t model.Trunk
		err := c.within(ctx, txn, res, func(w *work) error {
			old := store.Trunks.Get(w.r, id)
			if old == nil {
				return model.NotFound{Kind: model.KindTrunk, ID: id}
			}
			t = *old.Value
			t.SubPorts = slices.Clone(t.SubPorts)
			if err := managed(&t); err != nil {
				return err
			}
			if err := change(w, &t); err != nil {
				return err
			}
			if reflect.DeepEqual(&t, old.Value) {
				made = old
				return errUnchanged
			}
			if parent := w.r.Port(t.PortID); parent != nil {
				rewrite(w.txn, parent)
			}
			c.touch(&t.Meta)
			store.Trunks.Update(txn, old, &t)
			return nil
		})
		if err != nil {
			return err
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.Trunk{&t}, rev, func(r store.Reader, t *model.Trunk) *store.Entry[model.Trunk] { return store.Trunks.Get(r, id) })[0]
		return nil
	})
	return made, err
}

// managed refuses a trunk that is administratively down.
func managed(t *model.Trunk) error {
	if !t.AdminStateUp {
		return model.Faultf(model.TrunkDisabled, "Trunk %s is currently disabled.", t.ID)
	}
	return nil
}

// addSubPorts checks subports and adds them to the trunk.
func (w *work) addSubPorts(t *model.Trunk, subs []model.SubPort) error {
	most := 0
	if e := w.r.Port(t.PortID); e != nil {
		most = w.mtu(e.Value)
	}
	for _, s := range subs {
		if s.PortID == t.PortID {
			return model.Faultf(model.ParentPortInUse, textParentInUse, s.PortID)
		}
		e, err := w.portForTrunk(s.PortID)
		if err != nil {
			return err
		}
		if mtu := w.mtu(e.Value); mtu > most {
			return model.Faultf(model.SubPortMTU, "MTU %d of subport %s cannot be greater than MTU %d of trunk %s.", mtu, s.PortID, most, t.PortID)
		}
		if s.Type == model.SegmentationInherit {
			s.Type, s.ID = "", 0
			if n := w.r.Network(e.Value.NetworkID); n != nil {
				s.Type, s.ID = string(n.Value.Segment.Type), int(n.Value.Segment.ID)
			}
		}
		switch {
		case s.Type != string(model.SegmentVLAN):
			return invalid("Unknown segmentation_type '%s'", s.Type)
		case s.ID < minVLAN || s.ID > maxVLAN:
			return invalid("Segmentation ID '%d' is not in range", s.ID)
		case e.Value.DeviceID != "" || automatic(e.Value): // the cloud may remove its own ports
			return model.Faultf(model.PortInUse, "Unable to complete operation on port %s for network %s. Port already has an attached device %s.",
				s.PortID, e.Value.NetworkID, e.Value.DeviceID)
		}
		for _, o := range t.SubPorts {
			if o.PortID == s.PortID {
				return model.Faultf(model.TrunkPortInUse, textTrunkPortInUse, s.PortID)
			}
			if o.Type == s.Type && o.ID == s.ID {
				f := model.Faultf(model.DuplicateSubPort, "segmentation_type %s and segmentation_id %d already in use on trunk %s.", s.Type, s.ID, t.ID)
				f.Detail = fmt.Sprintf("subport %s has it", o.PortID)
				return f
			}
		}
		t.SubPorts = append(t.SubPorts, s)
		rewrite(w.txn, e)
	}
	return nil
}

// mtu is the MTU of a port's network.
func (w *work) mtu(p *model.Port) int {
	if n := w.r.Network(p.NetworkID); n != nil {
		return n.Value.MTU
	}
	return 0
}

// inTrunk refuses to remove a port that is part of a trunk, or to make it a router's.
func inTrunk(r store.Reader, id model.PortID) error {
	if e := r.TrunkOfSubPort(id); e != nil {
		return model.Faultf(model.PortInUseAsSubPort, "Port %s is currently a subport for trunk %s.", id, e.Value.ID)
	}
	if e := r.TrunkOfParent(id); e != nil {
		return model.Faultf(model.PortInUseAsParent, "Port %s is currently a parent port for trunk %s.", id, e.Value.ID)
	}
	return nil
}
