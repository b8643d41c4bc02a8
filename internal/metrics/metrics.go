// Package metrics counts and measures what a process does, and serves it to Prometheus.
//
// A Registry is made once by main and handed to whoever counts; a nil Registry counts for
// nobody. What happens is counted when it happens (Counter, Duration); what is anyhow known
// is looked at when somebody reads (Value, OnRead). Every family is declared at
// construction, so that docs/metrics.md can be held against them. Labels have few values, known
// beforehand, but for those that say what is on this host or connected to this server; no
// value comes from a request. This package alone knows the library.
package metrics

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// readTimeout bounds how long whoever reads waits for what is looked at then.
const readTimeout = 10 * time.Second

// Registry holds the metrics of a process.
type Registry struct {
	reg *prometheus.Registry

	mu       sync.Mutex
	families []Family
	reads    []func(context.Context, *Reading)
	etcd     bool
}

// Family is one metric with all its labels' values.
type Family struct {
	Name, Type, Help string
	Labels           []string
}

// The types of families.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// New makes a Registry that has the process's own: build, Go's runtime, memory, files.
func New(version string) *Registry {
	r := &Registry{reg: prometheus.NewRegistry()}
	r.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := r.Gauge("weft_build_info", "Always 1; the label says what runs.", "version")
	r.OnRead(func(_ context.Context, now *Reading) { now.Set(build, 1, version) })
	return r
}

func (r *Registry) declare(f Family, c prometheus.Collector) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.families = append(r.families, f)
	r.mu.Unlock()
	if c != nil {
		r.reg.MustRegister(c)
	}
}

// Families returns what has been declared, in the order of names.
func (r *Registry) Families() []Family {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(slices.Values(r.families), func(a, b Family) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// Counter counts what happens, by the values of its labels.
type Counter struct{ v *prometheus.CounterVec }

// Counter declares one. Without labels it is there from the start, as 0.
func (r *Registry) Counter(name, help string, labels ...string) Counter {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.declare(Family{name, counter, help, labels}, v)
	if len(labels) == 0 {
		v.WithLabelValues()
	}
	return Counter{v}
}

// Add counts n things.
func (c Counter) Add(n int, values ...string) { c.v.WithLabelValues(values...).Add(float64(n)) }

// Duration counts how long things take, in classes.
type Duration struct{ v *prometheus.HistogramVec }

// bounds are the upper bounds of the classes of a Duration, in seconds.
var bounds = [...]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}

// Duration declares one. Without labels it is there from the start.
func (r *Registry) Duration(name, help string, labels ...string) Duration {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds[:]}, labels)
	r.declare(Family{name, histogram, help, labels}, v)
	if len(labels) == 0 {
		v.WithLabelValues()
	}
	return Duration{v}
}

// Observe counts one thing that took as long.
func (d Duration) Observe(took time.Duration, values ...string) {
	d.v.WithLabelValues(values...).Observe(took.Seconds())
}

// Value is a family whose values are looked at when somebody reads.
type Value struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// Gauge declares what goes up and down.
func (r *Registry) Gauge(name, help string, labels ...string) Value {
	r.declare(Family{name, gauge, help, labels}, nil)
	return Value{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

// Count declares what somebody else counts and only goes up.
func (r *Registry) Count(name, help string, labels ...string) Value {
	r.declare(Family{name, counter, help, labels}, nil)
	return Value{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

// OnRead has f called, with others at a time, whenever somebody reads. What it does not set is not there then.
func (r *Registry) OnRead(f func(ctx context.Context, now *Reading)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads = append(r.reads, f)
}

// Reading takes values while somebody reads.
type Reading struct{ out chan<- prometheus.Metric }

// Set gives a family a value; once for each of the labels' values.
func (r *Reading) Set(v Value, x float64, values ...string) {
	r.out <- prometheus.MustNewConstMetric(v.desc, v.kind, x, values...)
}

// reading is all that is looked at when somebody reads, once.
type reading struct {
	ctx   context.Context
	reads []func(context.Context, *Reading)
}

// Describe tells nothing beforehand: what is there depends on what is found.
func (reading) Describe(chan<- *prometheus.Desc) {}

// Collect looks.
func (r reading) Collect(out chan<- prometheus.Metric) {
	var wg sync.WaitGroup
	for _, f := range r.reads {
		wg.Go(func() { f(r.ctx, &Reading{out}) })
	}
	wg.Wait()
}

// gather is everything as it is now.
func (r *Registry) gather(ctx context.Context) ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.mu.Lock()
	reads, etcd := slices.Clone(r.reads), r.etcd
	r.mu.Unlock()
	once := prometheus.NewRegistry()
	once.MustRegister(reading{ctx, reads})
	all := prometheus.Gatherers{r.reg, once}
	if etcd {
		all = append(all, prometheus.GathererFunc(gatherEtcd))
	}
	return all.Gather()
}

// Handler serves everything in Prometheus's format.
func (r *Registry) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		g := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return r.gather(req.Context()) })
		promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, req)
	})
}
