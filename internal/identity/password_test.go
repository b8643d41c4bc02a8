package identity

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestPasswords(t *testing.T) {
	h, err := newHasher(bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 100)
	for _, password := range []string{"a", "with \x00 in it", long} {
		hash, err := h.hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		for other, want := range map[string]bool{password: true, password + "x": false, "": false, long[:72]: false, "with ": false} {
			if ok, err := h.matches(t.Context(), hash, other); err != nil || ok != want {
				t.Errorf("%q for %q: %v, %v", other, password, ok, err)
			}
		}
	}
	if ok, err := h.matches(t.Context(), "", "no password has this hash"); ok || err != nil {
		t.Errorf("no hash: %v, %v", ok, err)
	}
	// Without a hash there is one to compare with that costs as much as a real one.
	if cost, err := bcrypt.Cost(h.decoy); err != nil || cost != h.cost {
		t.Errorf("decoy: %d, %v", cost, err)
	}
}

// TestPasswordTurns: who waits for a turn gives up with its request.
func TestPasswordTurns(t *testing.T) {
	h, err := newHasher(bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for range cap(h.turns) {
		h.turns <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.matches(ctx, "", "x"); !errors.Is(err, faultBusy) {
		t.Error(err)
	}
	<-h.turns
	if _, err := h.matches(t.Context(), "", "x"); err != nil {
		t.Error(err)
	}
}
