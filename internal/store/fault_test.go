package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// TestEtcdGoesAway: writes fail with a fault instead of hanging, reads go on.
func TestEtcdGoesAway(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	seed(t, s, 3)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	x := s.Txn()
	x.CreatePort(port(9))
	var f model.Fault
	if _, err := x.Commit(ctx); !errors.As(err, &f) || f.Kind != model.Unavailable {
		t.Errorf("write: %v", err)
	}
	if err := s.Sync(ctx); !errors.As(err, &f) || f.Kind != model.Unavailable {
		t.Errorf("sync: %v", err)
	}
	if s.entryOf("p3") == nil {
		t.Error("reads stopped")
	}
}

// TestNoteAnswer: the log hears once that etcd takes no writes, and once that it does again.
func TestNoteAnswer(t *testing.T) {
	var out bytes.Buffer
	s := &Store{log: slog.New(slog.NewTextHandler(&out, nil))}
	away := errors.New("no leader")
	for _, err := range []error{nil, rpctypes.ErrTooManyOps, away, away, rpctypes.ErrTooManyOps, away, nil, nil} {
		s.noteAnswer(t.Context(), err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	s.noteAnswer(stopped, away)
	if text := out.String(); strings.Count(text, "no leader") != 1 || strings.Count(text, "takes writes again") != 1 || strings.Count(text, "\n") != 2 {
		t.Errorf("logged:\n%s", text)
	}
}

// TestEtcdRestarts: a store on an etcd of its own process loses it and goes on when it is back.
func TestEtcdRestarts(t *testing.T) {
	dir := t.TempDir()
	e := testEtcd(t, dir)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	s, stop := run(t, client)
	defer stop()
	seed(t, s, 3)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = testEtcd(t, dir)
	other, _ := run(t, e.Client)
	put(t, other, func(x *Txn) { x.CreatePort(port(7)) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for s.Sync(ctx) != nil && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if s.entryOf("p7") == nil {
		t.Error("what happened meanwhile is missing")
	}
	put(t, s, func(x *Txn) { x.CreatePort(port(8)) })
	if err := other.Sync(ctx); err != nil || other.entryOf("p8") == nil {
		t.Errorf("the other server does not see it: %v", err)
	}
}

// TestContextEnds: a caller that gives up is let go.
func TestContextEnds(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, err := Open(t.Context(), e.Client, Options{}) // nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	x := s.Txn()
	x.CreatePort(port(1))
	if _, err := x.Commit(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestSyncIsBounded: who asks while etcd is away is told so, also without a deadline.
func TestSyncIsBounded(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}, DialTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	s, stop := run(t, client)
	defer stop()
	seed(t, s, 1)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	s.patience = 200 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- s.Sync(context.Background()) }()
	select {
	case err := <-done:
		if f := (model.Fault{}); !errors.As(err, &f) || f.Kind != model.Unavailable {
			t.Error(err)
		}
	case <-time.After(syncTimeout):
		t.Error("still waiting")
	}
}

// hasty is a watcher of an etcd older than 3.4.25 or 3.5.8: it says how far it is before
// it brings the events up to there.
type hasty struct{ clientv3.Watcher }

func (h hasty) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	out := make(chan clientv3.WatchResponse)
	in := h.Watcher.Watch(ctx, key, opts...)
	go func() {
		defer close(out)
		for resp := range in {
			if len(resp.Events) > 0 {
				out <- clientv3.WatchResponse{Header: resp.Header}
			}
			out <- resp
		}
	}()
	return out
}

// TestProgressOvertakesEvents: nothing is lost when a progress notification comes early.
func TestProgressOvertakesEvents(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	writer, _ := run(t, e.Client)
	client := clientv3.NewCtxClient(t.Context())
	client.KV, client.Watcher = e.Client.KV, hasty{e.Client.Watcher}
	s, _ := run(t, client)
	seed(t, writer, 3)
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.entryOf("p3") == nil {
		t.Error("a write of another server is missing")
	}
}
