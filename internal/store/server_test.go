package store

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// TestHold: a presence lasts as long as its holder, outlives the loss of its lease, and is
// gone soon after the holder has fallen silent.
func TestHold(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	lease := func() (id clientv3.LeaseID) {
		resp, err := e.Client.Get(t.Context(), s.keys.object(ServerPresences.dir(), "a"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			id = clientv3.LeaseID(kv.Lease)
		}
		return id
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	there := func() (there bool) {
		s.View(func(r Reader) { there = ServerPresences.Get(r, "a") != nil })
		return there
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Hold(ctx, model.ServerPresence{Name: "a"}) }()
	wait("it is not there", there)
	first := lease()
	if _, err := e.Client.Revoke(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	wait("it does not come again", func() bool { id := lease(); return id != 0 && id != first && there() })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wait("it is still there", func() bool { return !there() })

	// A holder that dies says nothing any more.
	granted, err := e.Client.Grant(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client.Put(t.Context(), s.keys.object(ServerPresences.dir(), "a"), `{"name":"a"}`, clientv3.WithLease(granted.ID)); err != nil {
		t.Fatal(err)
	}
	wait("it is not there", there)
	wait("it outlives its holder", func() bool { return !there() })
}
