package store_test

import (
	"slices"
	"testing"

	"weft/internal/store"
	"weft/internal/store/storetest"
)

// TestHealth: a lone etcd is well, and to ask it changes nothing.
func TestHealth(t *testing.T) {
	c := storetest.Etcd(t)
	before, err := c.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	h := store.CheckHealth(t.Context(), c, store.DefaultPrefix)
	if h.Err != nil || h.Leader == 0 || len(h.Alarms) > 0 || len(h.Members) != 1 || h.Members[0].ID != h.Leader {
		t.Errorf("%+v", h)
	}
	if len(h.Commits) == 0 || !slices.IsSorted(h.Commits) {
		t.Errorf("commits took %v", h.Commits)
	}
	if len(h.Endpoints) != 1 {
		t.Fatalf("%+v", h.Endpoints)
	}
	if e := h.Endpoints[0]; e.Err != nil || e.Version == "" || e.Leader == 0 || e.Learner || e.Size == 0 || e.Quota == 0 {
		t.Errorf("%+v", e)
	}
	after, err := c.Get(t.Context(), "x")
	if err != nil || after.Header.Revision != before.Header.Revision {
		t.Errorf("revision %d became %d: %v", before.Header.Revision, after.Header.Revision, err)
	}
}
