package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"weft/internal/model"
	"weft/internal/store"
)

// Server is a server of the cloud.
type Server struct {
	*model.Server
	// Alive: it runs, as far as etcd knows.
	Alive bool
}

// Servers are all servers that ever ran and were not removed, by name.
func (c *Control) Servers(r store.Reader) []Server {
	var all []Server
	for e := range store.Servers.All(r) {
		all = append(all, Server{e.Value, store.ServerPresences.Get(r, e.Value.Name) != nil})
	}
	slices.SortFunc(all, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// serverRetry is how long ServeAs waits after etcd has failed.
const serverRetry = time.Second

// ServeAs records this server and its presence until ctx ends. What etcd does not take at
// first it is given again: a server without a record works, but nobody is told of it.
func (c *Control) ServeAs(ctx context.Context, s model.Server) error {
	s.StartedAt = c.stamp()
	for {
		err := c.putServer(ctx, &s)
		if err == nil || ctx.Err() != nil {
			break
		}
		c.log.Warn("this server is not recorded; trying on", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(serverRetry):
		}
	}
	return c.store.Hold(ctx, model.ServerPresence{Name: s.Name})
}

func (c *Control) putServer(ctx context.Context, s *model.Server) error {
	return c.transact(ctx, func(w *work) error {
		if old := store.Servers.Get(w.r, s.Name); old != nil {
			store.Servers.Update(w.txn, old, s)
		} else {
			store.Servers.Create(w.txn, s)
		}
		return nil
	})
}

// RemoveServer forgets a server that runs no more. One that runs is a model.Fault.
func (c *Control) RemoveServer(ctx context.Context, name string) error {
	return c.transact(ctx, func(w *work) error {
		old := store.Servers.Get(w.r, name)
		if old == nil {
			return model.NotFound{Kind: model.KindServer, ID: name}
		}
		if store.ServerPresences.Get(w.r, name) != nil {
			return model.Faultf(model.AgentAlive, "Server %s runs; stop it first.", name)
		}
		store.Servers.Delete(w.txn, old, w.r.Revision())
		return nil
	})
}
