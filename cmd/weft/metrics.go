package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"weft/internal/metrics"
)

// listenMetrics opens metrics_listen, if it is set, and returns what serves the metrics there
// until ctx ends.
func listenMetrics(c Config, m *metrics.Registry, log *slog.Logger) (serve func(ctx context.Context) error, err error) {
	if c.MetricsListen == "" {
		return func(context.Context) error { return nil }, nil
	}
	l, err := net.Listen("tcp", c.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	return func(ctx context.Context) error { return serveHTTP(ctx, l, mux, log) }, nil
}
