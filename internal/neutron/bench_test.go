package neutron

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/store"
	"weft/internal/store/storetest"
)

// The benchmarks run as in production: etcd with fsync, HTTP over loopback.

func benchAPI(b *testing.B) *api {
	b.Helper()
	return serveAPI(b, storetest.Open(b, storetest.EtcdIn(b, store.EmbeddedConfig{Dir: b.TempDir()})))
}

// fill makes n ports in bulks of 100.
func (a *api) fill(network string, n int) (last string) {
	a.t.Helper()
	for made := 0; made < n; made += 100 {
		list := a.do("POST", "/v2.0/ports", bulk(network, min(100, n-made))).list()
		if len(list) == 0 {
			a.t.Fatal("bulk create failed")
		}
		last = id(list[0])
	}
	return last
}

func bulk(network string, n int) string {
	one := `{"network_id":"` + network + `","name":"web","device_owner":"compute:nova"}`
	return `{"ports":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`
}

// raw sends a request and drops the answer.
func (a *api) raw(method, path, body string, want int) error {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, a.url+path, rd)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// timed runs f b.N times and reports the median beside the mean.
func timed(b *testing.B, f func() error) {
	b.Helper()
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	b.StopTimer()
	b.ReportMetric(float64(percentile(took, 50).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(percentile(took, 99).Microseconds())/1000, "p99-ms")
}

func BenchmarkListPorts1000(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/16")
	a.fill(network, 1000)
	r := a.do("GET", "/v2.0/ports", nil)
	if n := len(r.list()); n != 1000 {
		b.Fatalf("%d ports listed", n)
	}
	timed(b, func() error { return a.raw("GET", "/v2.0/ports", "", 200) })
	b.ReportMetric(float64(len(r.text)), "bytes")
}

func BenchmarkListPorts1000Fields(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/16")
	a.fill(network, 1000)
	timed(b, func() error {
		return a.raw("GET", "/v2.0/ports?fields=id&fields=fixed_ips&sort_key=name&sort_dir=asc", "", 200)
	})
}

func BenchmarkListPortsOfDevice(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/16")
	a.fill(network, 1000)
	a.must(201, "POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`","device_id":"vm"}}`)
	timed(b, func() error { return a.raw("GET", "/v2.0/ports?device_id=vm", "", 200) })
}

func BenchmarkGetPort(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/16")
	port := a.fill(network, 1000)
	timed(b, func() error { return a.raw("GET", "/v2.0/ports/"+port, "", 200) })
}

func BenchmarkCreatePort(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/8")
	body := `{"port":{"network_id":"` + network + `","name":"web"}}`
	timed(b, func() error { return a.raw("POST", "/v2.0/ports", body, 201) })
}

func BenchmarkCreatePort64(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/8")
	body := `{"port":{"network_id":"` + network + `","name":"web"}}`
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for range 64 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := a.raw("POST", "/v2.0/ports", body, 201); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "ports/s")
}

func BenchmarkCreatePortsBulk100(b *testing.B) {
	a := benchAPI(b)
	network, _ := a.network("n", "10.0.0.0/8")
	body := bulk(network, 100)
	timed(b, func() error { return a.raw("POST", "/v2.0/ports", body, 201) })
}
