package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stateDir is a state directory that this process has for itself.
type stateDir struct{ lock *os.File }

// openStateDir makes the directory if need be and locks it for one role ("server" or
// "agent"): a second process of that role is told who is there. The lock goes with the
// process, however it ends.
func openStateDir(dir, role string) (*stateDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	name := filepath.Join(dir, role+".lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		who := make([]byte, 32)
		n, _ := f.ReadAt(who, 0)
		return nil, fmt.Errorf("another weft %s (process %s) already uses %s; stop it, or choose another --state-dir",
			role, strings.TrimSpace(string(who[:n])), dir)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return &stateDir{lock: f}, nil
}

// Close gives the directory free.
func (s *stateDir) Close() error { return s.lock.Close() }
