package control_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// BenchmarkCreatePort makes ports on an etcd with production settings (fsync on).
func BenchmarkCreatePort(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			c := cloudOn(b, storetest.EtcdIn(b, store.EmbeddedConfig{Dir: b.TempDir()}), nil)
			n := c.network(control.NetworkRequest{})
			c.subnet(n, "10.0.0.0/12")
			took := make([]time.Duration, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						start := time.Now()
						if _, err := c.CreatePort(context.Background(), control.PortRequest{NetworkID: n.ID, Name: control.Some("bench")}); err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(start)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ports/s")
			b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-us")
		})
	}
}

// BenchmarkBulk100 makes 100 ports in one request, fsync on.
func BenchmarkBulk100(b *testing.B) {
	c := cloudOn(b, storetest.EtcdIn(b, store.EmbeddedConfig{Dir: b.TempDir()}), nil)
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/12")
	reqs := make([]control.PortRequest, 100)
	for i := range reqs {
		reqs[i] = control.PortRequest{NetworkID: n.ID}
	}
	for b.Loop() {
		if _, err := c.CreatePorts(context.Background(), reqs); err != nil {
			b.Fatal(err)
		}
	}
}
