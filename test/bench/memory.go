package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// benchMemory measures the memory of the whole of weft (store, API, agent, DHCP) with
// one network, and what each further one adds.
func benchMemory(_ context.Context, c *cloud, t *table) error {
	const more = 100
	if _, err := c.network("first", "10.0.0.0/24"); err != nil {
		return err
	}
	one, err := c.settledPSS(1)
	if err != nil {
		return err
	}
	t.add("memory, 1 network", "2,036 MB PSS", "<= 120 MB", fmt.Sprintf("%.1f MB PSS", one/1024), "one process; Open vSwitch not counted on either side")
	for i := range more {
		if _, err := c.network(fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.%d.0/24", i+1)); err != nil {
			return err
		}
	}
	all, err := c.settledPSS(1 + more)
	if err != nil {
		return err
	}
	t.add("memory, each further network", "5.5 MB", "<= 100 KB", fmt.Sprintf("%.0f KB", (all-one)/more), fmt.Sprintf("%d networks, each with DHCP", more))
	return nil
}

// settledPSS waits until DHCP is served in n namespaces, gives the collector of garbage
// time to return what a burst took, and reads the PSS in KB.
func (c *cloud) settledPSS(n int) (float64, error) {
	deadline := time.Now().Add(60 * time.Second)
	for {
		names, err := os.ReadDir("/run/netns")
		if err == nil && len(names) >= n {
			break
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%d of %d namespaces", len(names), n)
		}
		time.Sleep(50 * time.Millisecond)
	}
	// The runtime gives memory back by and by; the lowest value within a minute is taken.
	least := 0.0
	for range 12 {
		v, err := pss(c.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		if least == 0 || v < least {
			least = v
		}
		time.Sleep(5 * time.Second)
	}
	return least, nil
}

// pss reads a process's proportional set size in KB.
func pss(pid int) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("no Pss in smaps_rollup of %d", pid)
}
