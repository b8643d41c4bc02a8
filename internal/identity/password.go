package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"runtime"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	// hashCost is bcrypt's: 2^10 rounds, some 50 ms, OWASP's least.
	hashCost = 10
	// hashWait is how long a request may wait for its turn to compute a hash.
	hashWait = 10 * time.Second
)

// hasher computes and compares password hashes, a bounded number at a time, so that
// logins, right or wrong, leave processors to the rest of the program.
type hasher struct {
	cost  int
	turns chan struct{}
	// decoy is compared with when there is no hash, so that it costs as much.
	decoy []byte
}

func newHasher(cost int) (*hasher, error) {
	decoy, err := bcrypt.GenerateFromPassword([]byte("no password has this hash"), cost)
	if err != nil {
		return nil, err
	}
	return &hasher{cost: cost, turns: make(chan struct{}, max(1, runtime.NumCPU()/2)), decoy: decoy}, nil
}

// digest is what bcrypt is given: bcrypt itself takes 72 bytes only, and stops at a zero.
func digest(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

// turn waits for leave to compute; the caller gives it back.
func (h *hasher) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	select {
	case h.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return faultBusy
	}
}

// hash returns the hash of a password for storing.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.turn(ctx); err != nil {
		return "", err
	}
	defer func() { <-h.turns }()
	b, err := bcrypt.GenerateFromPassword(digest(password), h.cost)
	return string(b), err
}

// matches reports whether the password has the hash. No hash matches none, and takes as
// long to say so.
func (h *hasher) matches(ctx context.Context, hash, password string) (bool, error) {
	if err := h.turn(ctx); err != nil {
		return false, err
	}
	defer func() { <-h.turns }()
	if hash == "" {
		_ = bcrypt.CompareHashAndPassword(h.decoy, digest(password))
		return false, nil
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), digest(password)) == nil, nil
}
