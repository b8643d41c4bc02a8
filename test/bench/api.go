package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// benchAPI measures the API against an empty cloud.
func benchAPI(_ context.Context, c *cloud, t *table) error {
	network, err := c.network("one", "10.100.0.0/16")
	if err != nil {
		return err
	}
	times, total, err := c.createPorts(network, 1, 1000)
	if err != nil {
		return err
	}
	t.add("POST /ports, 1 client", "2-4/s, p50 235-440 ms", "p50 <= 1 ms, >= 1,000/s",
		fmt.Sprintf("%.0f/s, p50 %s", 1000/total.Seconds(), ms(times.at(50))), "p99 "+ms(times.at(99)))

	// The 1,000 ports of above, and the DHCP port.
	times, err = repeat(100, func() error { return c.call("GET", "/v2.0/ports", nil, nil) })
	if err != nil {
		return err
	}
	t.add("GET /ports with 1,000 ports", "460-614 ms", "<= 3 ms", "p50 "+ms(times.at(50)), "p99 "+ms(times.at(99)))
	p, err := c.port(network, nil)
	if err != nil {
		return err
	}
	times, err = repeat(2000, func() error { return c.call("GET", "/v2.0/ports/"+p.ID, nil, nil) })
	if err != nil {
		return err
	}
	t.add("GET one port", "15 ms", "<= 0.3 ms", "p50 "+ms(times.at(50)), "p99 "+ms(times.at(99)))

	var bulk []m
	for range 100 {
		bulk = append(bulk, m{"network_id": network})
	}
	times, err = repeat(20, func() error { return c.call("POST", "/v2.0/ports", m{"ports": bulk}, nil) })
	if err != nil {
		return err
	}
	t.add("bulk of 100 ports", "21 s", "<= 50 ms", "p50 "+ms(times.at(50)), "p99 "+ms(times.at(99)))

	second, err := c.network("two", "10.101.0.0/16")
	if err != nil {
		return err
	}
	const many = 20000
	times, total, err = c.createPorts(second, 64, many)
	if err != nil {
		return err
	}
	t.add("POST /ports, 64 clients", "2-4/s", ">= 4,000/s", fmt.Sprintf("%.0f/s", many/total.Seconds()),
		fmt.Sprintf("p50 %s, p99 %s; the clients share the cores", ms(times.at(50)), ms(times.at(99))))
	return nil
}

// createPorts makes n ports by several clients at once.
func (c *cloud) createPorts(network string, clients, n int) (durations, time.Duration, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var all durations
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			var mine durations
			for next.Add(1) <= int64(n) {
				at := time.Now()
				_, err := c.port(network, nil)
				mine = append(mine, time.Since(at))
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	return all, time.Since(began), failed
}

func repeat(n int, f func() error) (durations, error) {
	var d durations
	for range n {
		at := time.Now()
		if err := f(); err != nil {
			return nil, err
		}
		d = append(d, time.Since(at))
	}
	return d, nil
}
