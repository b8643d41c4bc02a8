package control

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// RouterRequest asks to create or change a router.
type RouterRequest struct {
	Project      model.ProjectID // create only
	Name         Opt[string]
	Description  Opt[string]
	AdminStateUp Opt[bool]
	Distributed  Opt[bool]
	HA           Opt[bool]
	AZHints      Opt[[]string]
	// Gateway is external_gateway_info; nil means none.
	Gateway Opt[*GatewayRequest]
	// Routes are all the extra routes; AddRoutes and RemoveRoutes change those there are.
	Routes                  Opt[[]model.Route]
	AddRoutes, RemoveRoutes []model.Route
	IfRevision              Opt[int]
}

// CreateRouters makes all routers or none.
func (c *Control) CreateRouters(ctx context.Context, reqs []RouterRequest) ([]*store.Entry[model.Router], error) {
	if err := checkTogether(len(reqs)); err != nil {
		return nil, err
	}
	var made []*store.Entry[model.Router]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		routers := make([]*model.Router, len(reqs))
		moves := make([]*gatewayMove, len(reqs))
		err := c.within(ctx, txn, res, func(w *work) error {
			if err := countEach(w, "router", reqs, func(r RouterRequest) model.ProjectID { return r.Project }); err != nil {
				return err
			}
			for i, req := range reqs {
				now := c.stamp()
				m := &model.Router{ID: model.RouterID(uuid.NewString()), Project: req.Project, AdminStateUp: true,
					Meta: model.Meta{CreatedAt: now, UpdatedAt: now, Revision: 1}}
				setRouter(m, req)
				routers[i] = m
				var err error
				if moves[i], err = w.judgeGateway(m, req.Gateway.Value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, m := range routers {
			if err := moves[i].carryOut(c, txn, res, m); err != nil {
				return err
			}
			store.Routers.Create(txn, m)
		}
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, routers, rev, findRouter)
		return nil
	})
	return made, err
}

func findRouter(r store.Reader, m *model.Router) *store.Entry[model.Router] {
	return store.Routers.Get(r, string(m.ID))
}

// setRouter gives a router what a request says of it alone.
func setRouter(m *model.Router, req RouterRequest) {
	set(&m.Name, req.Name)
	set(&m.Description, req.Description)
	set(&m.AdminStateUp, req.AdminStateUp)
	set(&m.Distributed, req.Distributed)
	set(&m.HA, req.HA)
	setList(&m.AvailabilityZoneHints, req.AZHints)
}

// UpdateRouter changes a router. Asking for what is already so changes nothing.
func (c *Control) UpdateRouter(ctx context.Context, id model.RouterID, req RouterRequest) (*store.Entry[model.Router], error) {
	var made *store.Entry[model.Router]
	err := c.attempt(ctx, func(res *store.Reservation) error {
		txn := c.store.Txn()
		var old *store.Entry[model.Router]
		var m model.Router
		var move *gatewayMove
		err := c.within(ctx, txn, res, func(w *work) error {
			if old = store.Routers.Get(w.r, string(id)); old == nil {
				return model.NotFound{Kind: model.KindRouter, ID: string(id)}
			}
			if err := checkRevision(req.IfRevision, old.Value.Meta); err != nil {
				return err
			}
			m = *old.Value
			setRouter(&m, req)
			return w.judgeRouter(old.Value, &m, req, &move)
		})
		if err != nil {
			return err
		}
		if err := move.carryOut(c, txn, res, &m); err != nil {
			return err
		}
		if reflect.DeepEqual(&m, old.Value) && !move.changes() {
			made = old
			return errUnchanged
		}
		c.touch(&m.Meta)
		store.Routers.Update(txn, old, &m)
		rev, err := txn.Commit(ctx)
		if err != nil {
			return err
		}
		made = entries(c, []*model.Router{&m}, rev, findRouter)[0]
		return nil
	})
	return made, err
}

// judgeRouter judges a change of old to m, and gives m its routes.
func (w *work) judgeRouter(old, m *model.Router, req RouterRequest, move **gatewayMove) (err error) {
	if old.AdminStateUp && m.AdminStateUp {
		switch {
		case m.Distributed != old.Distributed:
			return badRequest("router", "Cannot change the 'distributed' attribute of active routers. Please set router admin_state_up to False prior to upgrade")
		case m.HA != old.HA:
			return badRequest("router", "Cannot change HA attribute of active routers. Please set router admin_state_up to False prior to upgrade")
		}
	}
	if req.Gateway.Set {
		if *move, err = w.judgeGateway(m, req.Gateway.Value); err != nil {
			return err
		}
	}
	routesChange := req.Routes.Set || len(req.AddRoutes)+len(req.RemoveRoutes) > 0
	if routesChange {
		setList(&m.Routes, req.Routes)
		m.Routes = mergeRoutes(m.Routes, req.AddRoutes, req.RemoveRoutes)
	}
	if routesChange || req.Gateway.Set {
		return w.checkRoutes(m, *move)
	}
	return nil
}

// badRequest is Neutron's BadRequest, which frames its reason.
func badRequest(resource, format string, args ...any) error {
	return model.Faultf(model.BadRequest, "Bad "+resource+" request: "+format+".", args...)
}

// DeleteRouter removes a router and its gateway port, unless it has interfaces.
func (c *Control) DeleteRouter(ctx context.Context, id model.RouterID, ifRevision Opt[int]) error {
	return c.transact(ctx, func(w *work) error {
		old := store.Routers.Get(w.r, string(id))
		if old == nil {
			return model.NotFound{Kind: model.KindRouter, ID: string(id)}
		}
		m := old.Value
		if err := checkRevision(ifRevision, m.Meta); err != nil {
			return err
		}
		if len(m.Interfaces) > 0 {
			ids := make([]string, len(m.Interfaces))
			for i, f := range m.Interfaces {
				ids[i] = string(f.PortID)
			}
			slices.Sort(ids)
			return model.Faultf(model.RouterInUse, "Router %s has ports still attached: %s", id, strings.Join(ids, ", "))
		}
		if err := w.gatewayFree(m); err != nil {
			return err
		}
		if m.Gateway != nil {
			if err := w.removePort(m.Gateway.PortID); err != nil {
				return err
			}
		}
		store.Routers.Delete(w.txn, old, w.r.Revision())
		return nil
	})
}
