package control

import (
	"context"
	"errors"

	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/store"
)

// counts are what verbs count.
type counts struct {
	ports, retries, exhausted metrics.Counter
	took                      metrics.Duration
}

// exhaustible are the faults that say that nothing is left, by what is exhausted.
var exhaustible = map[model.FaultKind]string{
	model.IPExhausted: "address", model.ExternalIPExhausted: "floating_ip", model.MACExhausted: "mac",
	model.NoNetworkAvailable: "segment", model.PoolExhausted: "subnet_pool", model.OverQuota: "quota",
}

// refuse counts a refusal if it was for want of something.
func (c *counts) refuse(err error) {
	var f model.Fault
	if !errors.As(err, &f) {
		return
	}
	if what, is := exhaustible[f.Kind]; is {
		c.exhausted.Add(1, what)
	}
}

// count declares what is counted, and shows what the cloud is when somebody reads.
func (c *Control) count(m *metrics.Registry) {
	c.counts = counts{
		ports:     m.Counter("weft_ports_created_total", "Ports made for clients."),
		retries:   m.Counter("weft_request_retries_total", "Beginnings anew of requests that write: what they had read was changed by others (conflict), or what they needed was held by another request (wait).", "reason"),
		exhausted: m.Counter("weft_exhausted_total", "Requests refused because nothing was left of something: addresses of a network or for floating IPs, MACs, segments, prefixes of a subnet pool, a quota.", "what"),
		took:      m.Duration("weft_port_create_duration_seconds", "Making ports, with their addresses, until they were stored; by request, of one port or several."),
	}
	// A series that begins at 1 has not increased, to Prometheus.
	for _, what := range exhaustible {
		c.counts.exhausted.Add(0, what)
	}
	c.counts.retries.Add(0, "conflict")
	c.counts.retries.Add(0, "wait")
	ports := m.Gauge("weft_cloud_ports", "Ports of the cloud, by status and by what they are bound as.", "status", "vif_type")
	objects := m.Gauge("weft_cloud_objects", "Objects of the cloud, by kind.", "kind")
	hosts := m.Gauge("weft_cloud_hosts", "Hosts that have ever joined and were not removed: heard of lately, or not.", "state")
	m.OnRead(func(_ context.Context, now *metrics.Reading) {
		type key struct {
			status model.PortStatus
			vif    model.VIFType
		}
		status := map[key]int{{model.PortActive, model.VIFOVS}: 0, {model.PortDown, model.VIFOVS}: 0,
			{model.PortDown, model.VIFUnbound}: 0, {model.PortDown, model.VIFBindingFailed}: 0}
		kinds := map[model.Kind]int{}
		state := map[string]int{"alive": 0, "dead": 0}
		c.Read(func(r store.Reader) {
			for e := range r.Ports() {
				status[key{e.Value.Status, e.Value.Binding.VIFType}]++
			}
			kinds[model.KindNetwork], kinds[model.KindSubnet], kinds[model.KindPort] = r.NetworkCount(), r.SubnetCount(), r.PortCount()
			for _, e := range r.Hosts() {
				if c.HostAlive(e.Value, c.now()) {
					state["alive"]++
				} else {
					state["dead"]++
				}
			}
		})
		for k, n := range status {
			now.Set(ports, float64(n), string(k.status), string(k.vif))
		}
		for k, n := range kinds {
			now.Set(objects, float64(n), string(k))
		}
		for s, n := range state {
			now.Set(hosts, float64(n), s)
		}
	})
}
