package control

import (
	"context"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/store"
)

// What a port may send and receive: port security, security groups, allowed address pairs.

// ensureDefaultGroups makes the default groups of the projects that ports are made for.
func (c *Control) ensureDefaultGroups(ctx context.Context, reqs []PortRequest) error {
	for i, req := range reqs {
		if i > 0 && req.Project == reqs[i-1].Project {
			continue
		}
		if err := c.EnsureDefaultGroup(ctx, req.Project); err != nil {
			return err
		}
	}
	return nil
}

// guardNew completes the request for a new port by its security groups: those given,
// else the project's default group, and none without port security.
func (c *Control) guardNew(ctx context.Context, req PortRequest, n *model.Network) (PortRequest, error) {
	if !req.PortSecurity.Or(n.PortSecurity) || model.TrustedOwner(req.DeviceOwner.Value) {
		switch {
		case len(req.AddressPairs.Value) > 0:
			return req, errPairsNeedSecurity
		case len(req.SecurityGroups.Value) > 0:
			return req, errGroupsNeedSecurity
		}
		return req, nil
	}
	var err error
	c.Read(func(r store.Reader) {
		if req.SecurityGroups.Set {
			err = c.checkGroups(ctx, r, req.SecurityGroups.Value, Some(req.Project))
		} else if e := defaultGroup(r, req.Project); e != nil {
			req.SecurityGroups = Some([]string{e.Value.ID})
		}
	})
	return req, err
}

// guardChange judges what a change of a port means for its protection.
func (c *Control) guardChange(ctx context.Context, req PortRequest, p *model.Port) error {
	if !req.PortSecurity.Or(p.PortSecurity) {
		switch {
		case len(req.AddressPairs.Value) > 0, !req.AddressPairs.Set && len(p.AddressPairs) > 0:
			return errPairsNeedSecurity
		case len(req.SecurityGroups.Value) > 0:
			return errGroupsNeedSecurity
		case !req.SecurityGroups.Set && len(p.SecurityGroups) > 0:
			return model.Faultf(model.PortHasGroups,
				"Port has security group associated. Cannot disable port security or IP address until security group is removed.")
		}
		return nil
	}
	if !req.SecurityGroups.Set || slices.Equal(req.SecurityGroups.Value, p.SecurityGroups) {
		return nil
	}
	var err error
	c.Read(func(r store.Reader) { err = c.checkGroups(ctx, r, req.SecurityGroups.Value, Opt[model.ProjectID]{}) })
	return err
}

var errGroupsNeedSecurity = model.Faultf(model.GroupsNeedPortSecurity,
	"Port security must be enabled and port must have an IP address in order to use security groups.")

// checkGroups requires that groups exist and that the caller, and the project that a new
// port is for, may use them.
func (c *Control) checkGroups(ctx context.Context, r store.Reader, ids []string, owner Opt[model.ProjectID]) error {
	var missing []string
	stateful, stateless := false, false
	for _, id := range ids {
		g, err := c.VisibleGroup(r, CallerOf(ctx), id)
		if err != nil || owner.Set && !c.admin(ctx) && !usableBy(r, g.Value, owner.Value) {
			missing = append(missing, id)
			continue
		}
		stateful, stateless = stateful || !g.Value.Stateless, stateless || g.Value.Stateless
	}
	switch {
	case missing != nil:
		return model.NotFound{Kind: model.KindSecurityGroup, ID: strings.Join(missing, ", ")}
	case stateful && stateless:
		return model.Faultf(model.GroupConflict, "Error Cannot apply both stateful and stateless security groups "+
			"on the same port at the same time while attempting the operation.")
	}
	return nil
}
