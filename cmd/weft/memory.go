package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

// smallHeap is up to where a collection costs next to nothing.
const smallHeap = 256 << 20

// returnMemory gives back to the machine, every half minute, what a burst of requests has
// taken. Go by itself keeps up to twice the memory in use, and for minutes more; on a
// hypervisor memory is what is sold. With a large heap a forced collection would cost
// more than it is worth.
func returnMemory(ctx context.Context) error {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc < smallHeap {
			debug.FreeOSMemory()
		}
	}
}
