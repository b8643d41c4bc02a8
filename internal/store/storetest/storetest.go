// Package storetest (test only) starts a real etcd in this process and opens stores on it.
package storetest

import (
	"context"
	"testing"
	"time"

	"weft/internal/store"
)

// Etcd starts an etcd without fsync in a temporary directory; it ends with the test.
func Etcd(t testing.TB) *store.Client {
	t.Helper()
	return EtcdIn(t, store.EmbeddedConfig{Dir: t.TempDir(), Testing: true})
}

// EtcdIn starts an etcd as configured; it ends with the test.
func EtcdIn(t testing.TB, c store.EmbeddedConfig) *store.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	e, err := store.Embedded(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e.Client
}

// Open opens a store on client, runs it until the test ends, and waits until it is ready.
func Open(t testing.TB, client *store.Client) *store.Store {
	t.Helper()
	return OpenWith(t, client, store.Options{})
}

// OpenWith is Open with options.
func OpenWith(t testing.TB, client *store.Client, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), client, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the store did not become ready")
	}
	return s
}

// New starts an etcd and opens a store on it.
func New(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, Etcd(t))
}
