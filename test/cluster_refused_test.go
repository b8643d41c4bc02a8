package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestServersRefused: why a VM has no port is told by any server, whichever has refused it, and after it was started again.
func TestServersRefused(t *testing.T) {
	c := newCluster(t)
	all := c.three()
	network := all[0].network("10.60.0.0/30") // it has one address to give
	port := func(vm string) error {
		return all[0].call("POST", "/v2.0/ports", m{"port": m{"network_id": network, "device_id": vm}}, nil)
	}
	if err := port("vm-1"); err != nil {
		t.Fatal(err)
	}
	if s, is := port("vm-2").(statusError); !is || s.Code != 409 {
		t.Fatalf("a port without an address to give: %v", s)
	}
	traced := func(at *member) {
		t.Helper()
		c.await("the refusal to be told at "+at.name, time.Minute, func() error {
			out, err := at.weft("trace", "vm-2")
			for _, want := range []string{"BROKEN: a port without a name on network " + network + " was refused at", "(port_refused): No more IP addresses"} {
				if !strings.Contains(out, want) {
					return fmt.Errorf("no %q in %s %w", want, out, err)
				}
			}
			return nil
		})
	}
	for _, at := range all {
		traced(at)
	}
	all[0].stop()
	all[0].start()
	all[0].awaitHealth()
	traced(all[0])
	all[1].fsck()
}
