package agent

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"weft/internal/model"
)

// passBounds are the upper bounds of the classes in which passes are counted, in seconds.
var passBounds = [...]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}

// histogram counts durations in classes.
type histogram struct {
	classes [len(passBounds) + 1]uint64
	sum     time.Duration
}

func (h *histogram) observe(d time.Duration) {
	i, _ := slices.BinarySearch(passBounds[:], d.Seconds())
	h.classes[i]++
	h.sum += d
}

// Metrics serves what the agent counts, as text that Prometheus reads.
func (a *Agent) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(a.metrics(r.Context())) // who left wants no more
	})
}

// metrics is the text. Names and numbers in it need no escaping: IDs, reasons, and bridges as OVS knows them.
func (a *Agent) metrics(ctx context.Context) []byte {
	a.mu.Lock()
	now, passes := a.now, a.passes
	a.mu.Unlock()
	var b bytes.Buffer
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind) }

	head("weft_ports", "gauge", "Ports on this host: wired, or closed because their flows are not in the switch, or strangers that the cloud does not know.")
	wired := 0
	for i := range now.view.Local {
		if now.reported[now.view.Local[i].ID].Wired {
			wired++
		}
	}
	for _, s := range []struct {
		state string
		n     int
	}{{"closed", len(now.view.Local) - wired}, {"stranger", len(now.view.Strangers)}, {"wired", wired}} {
		fmt.Fprintf(&b, "weft_ports{state=%q} %d\n", s.state, s.n)
	}
	head("weft_flows", "gauge", "Flows that a bridge is to hold.")
	for _, bridge := range slices.Sorted(maps.Keys(now.plan.Switch.Flows)) {
		n := 0
		for _, part := range now.plan.Switch.Flows[bridge] {
			n += len(part.List)
		}
		fmt.Fprintf(&b, "weft_flows{bridge=%q} %d\n", bridge, n)
	}
	head("weft_faults", "gauge", "Things that the agent could not do and tries again.")
	fmt.Fprintf(&b, "weft_faults %d\n", len(now.faults))
	head("weft_pass_duration_seconds", "histogram", "How long it took to work out and apply everything once.")
	sum := uint64(0)
	for i, n := range passes.classes {
		sum += n
		bound := "+Inf"
		if i < len(passBounds) {
			bound = fmt.Sprint(passBounds[i])
		}
		fmt.Fprintf(&b, "weft_pass_duration_seconds_bucket{le=%q} %d\n", bound, sum)
	}
	fmt.Fprintf(&b, "weft_pass_duration_seconds_sum %g\nweft_pass_duration_seconds_count %d\n", passes.sum.Seconds(), sum)
	a.dropMetrics(ctx, &b, head)
	return b.Bytes()
}

func (a *Agent) dropMetrics(ctx context.Context, b *bytes.Buffer, head func(name, kind, help string)) {
	dropped, err := a.dropped(ctx)
	if err != nil {
		// Nothing rather than what is old: the series go on when the switch can be read again.
		a.log.Debug("dropped packets cannot be read", "err", err)
		return
	}
	head("weft_dropped_packets_total", "counter", "Packets dropped by flows that all ports share, by reason.")
	for _, reason := range slices.Sorted(maps.Keys(dropped[""])) {
		fmt.Fprintf(b, "weft_dropped_packets_total{reason=%q} %d\n", reason, dropped[""][reason])
	}
	delete(dropped, "")
	head("weft_port_dropped_packets_total", "counter", "Packets that the filter of a port has dropped, by reason.")
	for _, id := range slices.SortedFunc(maps.Keys(dropped), func(x, y model.PortID) int { return cmp.Compare(x, y) }) {
		for _, reason := range slices.Sorted(maps.Keys(dropped[id])) {
			fmt.Fprintf(b, "weft_port_dropped_packets_total{port=%q,reason=%q} %d\n", id, reason, dropped[id][reason])
		}
	}
}
