package store_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/store"
)

// A server whose first start as a member of a cluster failed has a directory of etcd's and is no member: it asks again,
// and never begins a cluster of its own.
func TestFailedFirstStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etcd", "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	e, err := store.Embedded(ctx, store.EmbeddedConfig{Dir: dir, Name: "b", Testing: true, Peers: &store.PeerConfig{
		Listen: "127.0.0.1:0", Advertise: "127.0.0.1:1", Join: []string{"https://127.0.0.1:2"}}})
	if err == nil {
		_ = e.Close()
		t.Fatal("it begins a cluster of its own")
	}
	if !strings.Contains(err.Error(), "no server of the cluster answers") {
		t.Errorf("it asks nobody: %v", err)
	}
}
