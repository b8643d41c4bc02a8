package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// Servers and their presences are by name. Who follows changes is told that a server has
// changed when it comes or goes, too.
var (
	Servers = define(definition[model.Server]{
		kind:  model.KindServer,
		id:    func(s *model.Server) string { return s.Name },
		tells: func(s *model.Server) Change { return Change{Kind: model.KindServer, ID: s.Name} },
	})

	ServerPresences = define(definition[model.ServerPresence]{
		kind:  model.KindServerPresence,
		id:    func(p *model.ServerPresence) string { return p.Name },
		tells: func(p *model.ServerPresence) Change { return Change{Kind: model.KindServer, ID: p.Name} },
	})
)

// presenceTTL is how long after its last word etcd takes a server for gone; etcd judges by
// its own clock, and gives all a new term when it was itself away.
const presenceTTL = 5 * time.Second

// holdRetry is how long Hold waits after etcd has failed.
const holdRetry = 500 * time.Millisecond

// Hold keeps a server's presence in the store until ctx ends; then it is gone at once.
func (s *Store) Hold(ctx context.Context, p model.ServerPresence) error {
	value, err := encodeValue(p)
	if err != nil {
		return err
	}
	key := s.keys.object(ServerPresences.dir(), p.Name)
	failing := false
	for {
		err := s.hold(ctx, key, string(value))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			s.log.Warn("the other servers may take this one for dead; trying on", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(holdRetry):
		}
	}
}

// hold writes a key under a lease and keeps it until the lease is lost, which is no error, or ctx ends.
func (s *Store) hold(ctx context.Context, key, value string) error {
	brief, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	lease, err := s.client.Grant(brief, int64(presenceTTL/time.Second))
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = s.client.Revoke(last, lease.ID) // else it ends by itself
	}()
	if _, err := s.client.Put(brief, key, value, clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	alive, err := s.client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	for range alive {
		continue
	}
	return nil
}
