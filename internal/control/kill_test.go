package control_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// killDir names the state directory to the process that TestKill starts.
const killDir = "WEFT_TEST_KILL_DIR"

// TestKillChild is the process that TestKill kills: it makes ports as fast as it can and
// prints each one that was acknowledged.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		return // only a part of TestKill
	}
	c := cloudOn(t, storetest.EtcdIn(t, store.EmbeddedConfig{Dir: dir}), nil)
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/16")
	var out sync.Mutex
	for range 32 {
		go func() {
			for {
				e, err := c.CreatePort(context.Background(), control.PortRequest{NetworkID: n.ID})
				if err != nil {
					return
				}
				out.Lock()
				fmt.Printf("made %s %s %s\n", e.Value.ID, e.Value.MAC, e.Value.FixedIPs[0].Addr)
				out.Unlock()
			}
		}()
	}
	select {}
}

// TestKill kills a server in the middle of 1000 concurrent creates, with the kernel's
// strongest signal: after reopening, every acknowledged port is there and the store is sound.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$", "-test.v")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "made "); ok {
			acknowledged = append(acknowledged, line)
		}
		if len(acknowledged) == 500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(acknowledged) < 500 {
		t.Fatalf("only %d ports were acknowledged", len(acknowledged))
	}
	c := cloudOn(t, storetest.EtcdIn(t, store.EmbeddedConfig{Dir: dir, Testing: true}), nil)
	for _, line := range acknowledged {
		f := strings.Fields(line)
		e, err := c.Port(t.Context(), model.PortID(f[0]))
		if err != nil || e.Value.MAC.String() != f[1] || e.Value.FixedIPs[0].Addr.String() != f[2] {
			t.Errorf("acknowledged %s: %v", line, err)
		}
	}
	c.sound()
	var stored int
	c.Read(func(r store.Reader) { stored = r.PortCount() })
	t.Logf("%d acknowledged before the kill, %d stored", len(acknowledged), stored)
}
