package control_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/metrics"
	"weft/internal/store/storetest"
)

// TestCounts: what is exhausted counts once for each request that was refused for it, whoever asked.
func TestCounts(t *testing.T) {
	m, cfg := metrics.New("test"), control.DefaultConfig()
	cfg.Quotas = map[string]int{"network": 1}
	c := control.New(control.Options{Store: storetest.New(t), Config: cfg, Metrics: m})
	n, err := c.CreateNetwork(t.Context(), control.NetworkRequest{Project: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateNetwork(t.Context(), control.NetworkRequest{Project: "p"}); err == nil {
		t.Error("a second network")
	}
	if _, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.Value.ID, CIDR: netip.MustParsePrefix("10.0.0.0/30")}); err != nil {
		t.Fatal(err)
	}
	req := control.PortRequest{NetworkID: n.Value.ID}
	if _, err := c.CreatePort(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.CreatePort(t.Context(), req); err == nil {
			t.Error("a port without an address")
		}
	}
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`weft_exhausted_total{what="address"} 2`, `weft_exhausted_total{what="quota"} 1`, `weft_exhausted_total{what="mac"} 0`,
		"weft_ports_created_total 1", "weft_port_create_duration_seconds_count 1", `weft_request_retries_total{reason="conflict"} 0`,
		`weft_cloud_objects{kind="port"} 1`, `weft_cloud_ports{status="DOWN",vif_type="unbound"} 1`} {
		if !strings.Contains(rec.Body.String(), "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, rec.Body)
		}
	}
}
