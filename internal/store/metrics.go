package store

import (
	"context"
	"time"

	"weft/internal/metrics"
)

// counts are what the store counts.
type counts struct {
	took    metrics.Duration
	carried metrics.Counter
}

func newCounts(m *metrics.Registry) counts {
	return counts{
		took:    m.Duration("weft_etcd_request_duration_seconds", "Requests to etcd until they were answered: commit writes, sync asks for the newest revision.", "operation", "result"),
		carried: m.Counter("weft_etcd_transactions_total", "Transactions sent to etcd; several may travel in one commit."),
	}
}

// asked counts a request to etcd that began then and has ended now.
func (c *counts) asked(operation string, began time.Time, err *error) {
	result := "ok"
	if *err != nil {
		result = "error"
	}
	c.took.Observe(time.Since(began), operation, result)
}

// count shows what is known when somebody reads.
func (s *Store) count(m *metrics.Registry) {
	revision := m.Gauge("weft_store_revision", "Revision of etcd that this server has reached.")
	m.OnRead(func(_ context.Context, now *metrics.Reading) { now.Set(revision, float64(s.Revision())) })
}
