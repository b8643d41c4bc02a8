package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

// garbage is how much garbage may gather, in percent of what is in use, before it is
// collected. A collection makes requests wait, the longer the larger the cloud; with 200
// there are half as many as with Go's 100.
const garbage = 200

// smallHeap is up to where a collection costs next to nothing.
const smallHeap = 256 << 20

// returnMemory gives back to the machine, every half minute, what a burst of requests has
// taken. Go by itself keeps it, and for minutes more; on a hypervisor memory is what is
// sold. With a large heap a forced collection costs something, so it waits until there is
// nothing to do: no collection since the last look.
func returnMemory(ctx context.Context) error {
	debug.SetGCPercent(garbage)
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	collections, forced := uint32(0), false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		quiet := m.NumGC == collections
		if m.HeapAlloc < smallHeap || quiet && !forced {
			debug.FreeOSMemory()
			runtime.ReadMemStats(&m)
			quiet = true
		}
		collections, forced = m.NumGC, quiet
	}
}
