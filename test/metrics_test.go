package test

import (
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weft/internal/lab/labtest"
)

// metrics is what the host's weft serves to Prometheus.
func (h *host) metrics() string {
	h.t.Helper()
	resp, err := h.http.Get("http://" + metricsAddr + "/metrics")
	h.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	h.must(err)
	return string(text)
}

// metric is the value of one series, as it is written; -1 if it is not there.
func metric(text, series string) float64 {
	line := regexp.MustCompile("(?m)^" + regexp.QuoteMeta(series) + " (.*)$").FindStringSubmatch(text)
	if line == nil {
		return -1
	}
	v, err := strconv.ParseFloat(line[1], 64)
	if err != nil {
		return -1
	}
	return v
}

// weft up serves the metrics of server and agent at one address. What a story does is found in them,
// and promtool has nothing to say of the text.
func TestMetrics(t *testing.T) {
	labtest.Require(t, "udhcpc", "promtool")
	h := newHost(t, "--metrics-listen", metricsAddr)
	h.up()
	var n struct{ Network struct{ ID string } }
	h.must(h.call("POST", "/v2.0/networks", m{"network": m{"name": "small"}}, &n))
	h.must(h.call("POST", "/v2.0/subnets", m{"subnet": m{"network_id": n.Network.ID, "ip_version": 4, "cidr": "10.30.0.0/29"}}, nil))
	p := h.newPort(n.Network.ID, "vm", nil)
	h.namespace("vm")
	h.mustWeft("plug", p.ID, "--netns", "vm")
	if got, err := h.udhcpc("vm"); err != nil || got != p.ip() {
		t.Fatalf("DHCP gave %q: %v", got, err)
	}
	for made := 1; ; made++ {
		if err := h.call("POST", "/v2.0/ports", m{"port": m{"network_id": n.Network.ID}}, nil); err != nil {
			break
		} else if made > 8 {
			t.Fatal("more ports than the subnet has addresses")
		}
	}
	if h.call("GET", "/v2.0/ports/"+n.Network.ID, nil, nil) == nil {
		t.Fatal("a port that is not there")
	}

	least := map[string]float64{
		`weft_cloud_objects{kind="network"}`:                                                          1,
		`weft_cloud_ports{status="ACTIVE",vif_type="ovs"}`:                                            2, // with the DHCP port
		`weft_cloud_hosts{state="alive"}`:                                                             1,
		`weft_ports{state="wired"}`:                                                                   2,
		`weft_flows{bridge="br-int"}`:                                                                 20,
		`weft_flow_changes_total{bridge="br-int",operation="add"}`:                                    20,
		`weft_flow_sync_duration_seconds_count{bridge="br-int"}`:                                      1,
		`weft_ovsdb_transactions_total`:                                                               1,
		`weft_openflow_connections_total`:                                                             1,
		`weft_dhcp_messages_total{message="DISCOVER",reason="offered",reply="OFFER"}`:                 1,
		`weft_dhcp_messages_total{message="REQUEST",reason="selected",reply="ACK"}`:                   1,
		`weft_dhcp_networks{state="serving"}`:                                                         1,
		`weft_dhcp_leases`:                                                                            1,
		`weft_exhausted_total{what="address"}`:                                                        1,
		`weft_ports_created_total`:                                                                    4,
		`weft_api_request_duration_seconds_count{method="POST",route="/v2.0/ports",status="201"}`:     4,
		`weft_api_request_duration_seconds_count{method="POST",route="/v2.0/ports",status="409"}`:     1,
		`weft_api_request_duration_seconds_count{method="GET",route="/v2.0/ports/{id}",status="404"}`: 1,
		`weft_etcd_request_duration_seconds_count{operation="commit",result="ok"}`:                    5,
		`weft_feed_objects_total{in="changes"}`:                                                       3,
		`weft_feed_apply_duration_seconds_count`:                                                      2,
		`weft_agent_certificate_expiry_timestamp_seconds`:                                             1.7e9,
		`weft_server_certificate_expiry_timestamp_seconds`:                                            1.7e9,
		`etcd_server_has_leader`:                                                                      1,
		`etcd_mvcc_db_total_size_in_bytes`:                                                            1000,
	}
	exactly := map[string]float64{
		`weft_feed_hosts`: 1, `weft_agent_in_sync`: 1, `weft_switch_connected`: 1, `weft_ports{state="closed"}`: 0, `weft_ports{state="stranger"}`: 0,
		`weft_faults{part="switch"}`: 0, `weft_faults{part="kernel"}`: 0, `weft_dhcp_networks{state="waiting"}`: 0, `weft_dhcp_dropped_total`: 0, `weft_dhcp_unsent_total`: 0,
		fmt.Sprintf(`weft_feed_lag_seconds{host=%q}`, hostName):                        0,
		`weft_flow_errors_total{bridge="br-int"}`:                                      0,
		`weft_api_request_duration_seconds_count{method="GET",route="/",status="404"}`: -1,
	}
	h.await("the metrics to say so", comes, func() error {
		text := h.metrics()
		for series, want := range least {
			if got := metric(text, series); got < want {
				return fmt.Errorf("%s is %g, want at least %g", series, got, want)
			}
		}
		for series, want := range exactly {
			if got := metric(text, series); got != want {
				return fmt.Errorf("%s is %g, want %g", series, got, want)
			}
		}
		return nil
	})

	var own strings.Builder // etcd's own names are etcd's business
	text := h.metrics()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "etcd_") && !strings.HasPrefix(line, "# HELP etcd_") && !strings.HasPrefix(line, "# TYPE etcd_") {
			own.WriteString(line)
		}
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(own.String())
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if strings.Contains(text, `route="/v2.0/ports/`+n.Network.ID) || strings.Count(text, "\n") > 1500 {
		t.Errorf("an ID is a route, or there are too many lines: %d", strings.Count(text, "\n"))
	}
	t.Logf("%d lines", strings.Count(text, "\n"))
}
