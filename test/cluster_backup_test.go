package test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/lab/labtest"
)

// TestBackupRestore: a backup made while ports are written is of one moment; it makes a new
// server that may grow again; and a file that is cut short or altered makes nothing.
func TestBackupRestore(t *testing.T) {
	c := newCluster(t)
	old := c.member()
	old.start()
	old.awaitHealth()
	network := old.network("10.60.0.0/16")
	w := c.write(network, 4, old)
	time.Sleep(300 * time.Millisecond)
	before, err := old.portNames(network)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.dir, "backup")
	t.Log(old.mustWeft("backup", file))
	w.stop("writing during a backup", old)
	after, err := old.portNames(network)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(file); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", i.Mode(), err)
	}
	if _, err := old.weft("backup", file); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a backup over another: %v", err)
	}
	old.kill()

	fresh := c.member()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(c.dir, "bad")
	for i := range 24 {
		altered := bytes.Clone(whole)
		if at := len(whole) * i / 24; i%2 == 0 {
			altered = altered[:at]
		} else {
			altered[at] ^= 1 << (i % 8)
		}
		if err := os.WriteFile(bad, altered, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := fresh.weft("restore", bad); err == nil {
			t.Errorf("alteration %d is not noticed", i)
		}
		if _, err := os.Stat(fresh.dir); err == nil {
			t.Fatalf("alteration %d leaves something behind", i)
		}
	}

	t.Log(fresh.mustWeft("restore", file))
	if _, err := fresh.weft("restore", file); err == nil || !strings.Contains(err.Error(), "has a store already") {
		t.Errorf("restored twice: %v", err)
	}
	fresh.fsck()
	fresh.start()
	fresh.awaitHealth()
	got, err := fresh.portNames(network)
	if err != nil {
		t.Fatal(err)
	}
	for name := range before {
		if !got[name] {
			t.Errorf("%s is lost", name)
		}
	}
	for name := range got {
		if !after[name] {
			t.Errorf("%s was never", name)
		}
	}
	t.Logf("%d ports before the backup, %d restored, %d in the end", len(before), len(got), len(after))
	for _, f := range []string{"ca.crt", "ca.key"} {
		a, _ := os.ReadFile(filepath.Join(old.dir, "tls", f))
		b, err := os.ReadFile(filepath.Join(fresh.dir, "tls", f))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", f, err)
		}
	}
	if entries, _ := filepath.Glob(filepath.Join(fresh.dir, "restore-*")); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	os.RemoveAll(old.dir)
	old.join(fresh) // the machine of the old server
	old.start()
	old.awaitHealth()
	c.awaitRoles(2)
	if again, err := old.portNames(network); err != nil || len(again) != len(got) {
		t.Errorf("%d ports at the second server, %v", len(again), err)
	}
	old.fsck()
}

// TestHostsAfterRestore: the server is lost and made anew of a backup; the host is believed,
// as before, and the port that the backup knows is ACTIVE again. One made after it is unplugged.
func TestHostsAfterRestore(t *testing.T) {
	labtest.Require(t, "busybox", "ping")
	h := newHost(t)
	server := h.start("server")
	h.await("the API", 15*time.Second, func() error { return h.call("GET", "/", nil, nil) })
	agent := h.start("agent")
	h.await("the agent", 20*time.Second, func() error { return h.agentAlive(agent) })
	network := h.network("net", "10.20.0.0/24")
	a, b := h.pair(network)
	h.awaitStatus(a.ID, "ACTIVE")
	h.awaitStatus(b.ID, "ACTIVE")
	file := filepath.Join(h.dir, "backup")
	t.Log(h.mustWeft("backup", file))
	late := h.newPort(network, "late", m{"binding:host_id": hostName})
	ping := h.ping(a, b.ip())
	server.kill()
	fresh := filepath.Join(h.dir, "fresh")
	h.mustWeft("restore", file, "--state-dir", fresh)
	h.args = slices.Clone(h.args)
	for i, arg := range h.args {
		if arg == filepath.Join(h.dir, "state") {
			h.args[i] = fresh
		}
	}
	began := time.Now()
	h.start("server")
	h.await("the agent to be back", 30*time.Second, func() error { return h.agentAlive(agent) })
	h.awaitStatus(a.ID, "ACTIVE")
	t.Logf("the agent is back %s after the start", time.Since(began).Round(time.Millisecond))
	if err := h.call("GET", "/v2.0/ports/"+late.ID, nil, nil); err == nil {
		t.Error("a port made after the backup is there")
	}
	if sent, lost := ping.stop(h); lost > 0 || sent < 20 {
		t.Errorf("%d of %d pings lost", lost, sent)
	}
	if out, err := h.weft("fsck", "--state-dir", fresh); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
