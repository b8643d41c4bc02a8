package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"syscall"

	"weft/internal/metrics"
)

// countCertificate shows how long the certificate lasts by which a process is known to others. A
// renewed one is read anew.
func countCertificate(m *metrics.Registry, process string, c *tls.Config) {
	until := m.Gauge("weft_"+process+"_certificate_expiry_timestamp_seconds",
		"When the certificate of the "+process+" runs out, in seconds since 1970. It is renewed when a third of its time is left.")
	m.OnRead(func(_ context.Context, now *metrics.Reading) {
		cert, err := c.GetClientCertificate(&tls.CertificateRequestInfo{})
		if err == nil && cert.Leaf != nil {
			now.Set(until, float64(cert.Leaf.NotAfter.Unix()))
		}
	})
}

// listenMetrics opens metrics_listen, if it is set, and returns what serves the metrics there
// until ctx ends.
func listenMetrics(c Config, m *metrics.Registry, log *slog.Logger) (serve func(ctx context.Context) error, err error) {
	if c.MetricsListen == "" {
		return func(context.Context) error { return nil }, nil
	}
	l, err := listenTCP(c.MetricsListen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("metrics_listen: %w\nA server and an agent on one host need an address each: where they share a weft.yaml, give one of them another by --metrics-listen or WEFT_METRICS_LISTEN", err)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics_listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	return func(ctx context.Context) error { return serveHTTP(ctx, l, mux, log) }, nil
}
