package ovs

import (
	"context"
	"time"

	"weft/internal/metrics"
)

// counts are what is programmed into the switch, by bridge.
type counts struct {
	bundles, changes, refused, repaired metrics.Counter
	took                                metrics.Duration
}

// count declares what is counted.
func (s *Switch) count(m *metrics.Registry) {
	s.counts = counts{
		bundles:  m.Counter("weft_flow_bundles_total", "Bundles of flow changes sent to a bridge; each is taken whole or not at all.", "bridge"),
		changes:  m.Counter("weft_flow_changes_total", "Flows that a bridge has added, changed or removed as asked.", "bridge", "operation"),
		refused:  m.Counter("weft_flow_errors_total", "Flows that a bridge refused, and bundles or dumps that failed.", "bridge"),
		repaired: m.Counter("weft_flow_repairs_total", "Flows that were not as they had been left when they were compared, and were put right.", "bridge"),
		took:     m.Duration("weft_flow_sync_duration_seconds", "Bringing the flows of a bridge to what they must be, until it acknowledged them; comparing included, where nothing was to be done not counted.", "bridge"),
	}
	transactions := m.Count("weft_ovsdb_transactions_total", "Transactions sent to Open vSwitch's database.")
	dumps := m.Count("weft_flow_dumps_total", "Readings of all flows of a bridge.")
	connections := m.Count("weft_openflow_connections_total", "Connections that bridges made to this controller.")
	m.OnRead(func(_ context.Context, now *metrics.Reading) {
		st := s.Stats()
		now.Set(transactions, float64(st.Transactions))
		now.Set(dumps, float64(st.Dumps))
		now.Set(connections, float64(st.Connections))
	})
}

// sync counts what bringing a bridge's flows to what they must be has done.
func (c *counts) sync(bridge string, o outcome, faults int, took time.Duration) {
	c.refused.Add(faults, bridge)
	c.repaired.Add(0, bridge) // the series must be there before it increases
	if o.bundles == 0 && faults == 0 {
		return
	}
	c.took.Observe(took, bridge)
	c.bundles.Add(o.bundles, bridge)
	c.changes.Add(o.added, bridge, "add")
	c.changes.Add(o.changed, bridge, "change")
	c.changes.Add(o.removed, bridge, "remove")
	c.refused.Add(faults, bridge)
}
