package test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestServersFaults: servers die, alone, leading and all at once, and one has its disk full,
// while all write. The others go on, no acknowledged port is lost and no address given twice.
func TestServersFaults(t *testing.T) {
	c := newCluster(t)
	small := filepath.Join(c.dir, "s3")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=400m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	all := c.three()
	network := all[0].network("10.60.0.0/16")
	others := func(m *member) (out []*member) {
		for _, o := range all {
			if o != m {
				out = append(out, o)
			}
		}
		return out
	}
	back := func(m *member) {
		m.start()
		m.awaitHealth()
	}
	settle := func(what string, w *writers) {
		t.Helper()
		w.stop(what, all...)
		all[2].fsck()
	}

	leader := c.awaitRoles(3)
	follower := others(leader)[0]
	w := c.write(network, 2, all...)
	w.goOn(others(follower)...)
	follower.kill()
	w.goOn(others(follower)...)
	back(follower)
	w.goOn(all...)
	settle("a follower killed", w)

	leader = c.awaitRoles(3)
	w = c.write(network, 2, all...)
	w.goOn(all...)
	leader.kill()
	w.goOn(others(leader)...)
	back(leader)
	w.goOn(all...)
	settle("the leader killed", w)

	w = c.write(network, 2, all...)
	w.goOn(all...)
	for _, m := range all {
		m.kill()
	}
	for _, m := range all {
		m.start()
	}
	for _, m := range all {
		m.awaitHealth()
	}
	w.goOn(all...)
	settle("all killed", w)

	full := all[2]
	filler := filepath.Join(small, "filler")
	w = c.write(network, 2, all...)
	w.goOn(all...)
	fill(t, filler)
	select {
	case <-full.done:
	case <-time.After(2 * time.Minute):
		t.Error("a server with a full disk pretends to run")
	}
	w.goOn(others(full)...)
	os.Remove(filler)
	back(full)
	w.goOn(all...)
	settle("a disk full", w)

	// With one server left there is no majority: it says so in time, and recovers by itself.
	lone, away := all[0], others(all[0])
	for _, m := range away {
		m.kill()
	}
	for _, q := range [][2]string{{"GET", "/v2.0/networks"}, {"POST", "/v2.0/networks"}, {"GET", "/healthcheck"}} {
		began := time.Now()
		err := lone.call(q[0], q[1], m{"network": m{"name": "x"}}, nil)
		if s, is := err.(statusError); !is || s.Code != 503 {
			t.Errorf("%s %s without a majority: %v", q[0], q[1], err)
		}
		t.Logf("%s %s without a majority: 503 after %s", q[0], q[1], time.Since(began).Round(time.Millisecond))
	}
	for _, m := range away {
		m.start()
	}
	lone.awaitHealth()
	lone.mustCall("GET", "/v2.0/networks", nil, nil)
}

// goOn waits until the servers have acknowledged something anew.
func (w *writers) goOn(at ...*member) {
	w.c.t.Helper()
	for _, m := range at {
		before := w.count(m)
		w.c.await(fmt.Sprintf("%s to go on", m.name), 30*time.Second, func() error {
			if now := w.count(m); now < before+20 {
				return fmt.Errorf("%d ports acknowledged since", now-before)
			}
			return nil
		})
	}
}

func (w *writers) count(m *member) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.by[m.name]
}

// fill makes a file as large as the disk lets it be.
func fill(t *testing.T, name string) {
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}
