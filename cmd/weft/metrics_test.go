package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/agent"
	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/host/dhcpd"
	"weft/internal/host/ovs"
	"weft/internal/inspect"
	"weft/internal/metrics"
	"weft/internal/plan/dhcp"
	"weft/internal/plan/firewall"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

const metricsDoc = "../../docs/metrics.md"

var noTLS = &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Unix(1.8e9, 0)}}, nil
}}

// serverMetrics and agentMetrics have what a server and an agent declare.
func serverMetrics(t *testing.T) *metrics.Registry {
	m := metrics.New("test")
	m.Etcd()
	m.Requests()
	countCertificate(m, "server", noTLS)
	st, err := store.Open(t.Context(), storetest.Etcd(t), store.Options{Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	control.New(control.Options{Store: st, Metrics: m})
	feed.NewServer(feed.ServerOptions{Store: st, Metrics: m})
	inspect.New(inspect.Options{Metrics: m})
	return m
}

func agentMetrics(t *testing.T) *metrics.Registry {
	m := metrics.New("test")
	sw, err := ovs.Dial(t.Context(), ovs.Options{OVSDB: "unix:" + t.TempDir() + "/db.sock", ListenOpenFlow: "127.0.0.1:0", Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sw.Close)
	countCertificate(m, "agent", noTLS)
	d := dhcpd.New(dhcpd.Options{Metrics: m})
	_, err = agent.New(agent.Options{Feed: feed.ClientOptions{Name: "h"}, Machine: host.New(host.Parts{Switch: sw, DHCP: d}), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// familyTable is families as docs/metrics.md has them.
func familyTable(m *metrics.Registry) string {
	var b strings.Builder
	b.WriteString("| metric | type | what it says |\n|---|---|---|\n")
	for _, f := range m.Families() {
		labels := ""
		if len(f.Labels) > 0 {
			labels = "{" + strings.Join(f.Labels, ",") + "}"
		}
		fmt.Fprintf(&b, "| `%s%s` | %s | %s |\n", f.Name, labels, f.Type, f.Help)
	}
	return b.String()
}

// TestMetricsDocument: docs/metrics.md has every metric, its labels, type and help, and every reason.
func TestMetricsDocument(t *testing.T) {
	doc, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	want := doc
	for name, m := range map[string]*metrics.Registry{"server": serverMetrics(t), "agent": agentMetrics(t)} {
		begin, end := fmt.Sprintf("<!-- %s: made by make golden -->\n", name), "<!-- end -->\n"
		i := bytes.Index(want, []byte(begin))
		if i < 0 {
			t.Fatalf("no %s", begin)
		}
		i += len(begin)
		n := bytes.Index(want[i:], []byte(end))
		want = slices.Concat(want[:i], []byte(familyTable(m)), want[i+n:])
	}
	if *update {
		if err := os.WriteFile(metricsDoc, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(doc, want) {
		t.Error("docs/metrics.md is not what is served; run make golden")
	}
	for r := firewall.SpoofedMAC; r.String() != "unknown"; r++ {
		if !bytes.Contains(want, []byte("`"+r.String()+"`")) {
			t.Errorf("docs/metrics.md says nothing of the reason %s", r)
		}
	}
	for r := range dhcp.ReasonCount {
		if !bytes.Contains(want, []byte("`"+r.String()+"`")) {
			t.Errorf("docs/metrics.md says nothing of the reason %s", r)
		}
	}
}

var served = regexp.MustCompile(`(?m)^# (HELP|TYPE) (\S+) (.*)$`)

// TestMetricsServed: what is served is well-formed, and has the types and the help that were declared.
func TestMetricsServed(t *testing.T) {
	for name, m := range map[string]*metrics.Registry{"server": serverMetrics(t), "agent": agentMetrics(t)} {
		rec := httptest.NewRecorder()
		m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, rec.Code, rec.Body)
		}
		declared := map[string]metrics.Family{}
		for _, f := range m.Families() {
			declared[f.Name] = f
		}
		found := 0
		for _, g := range served.FindAllStringSubmatch(rec.Body.String(), -1) {
			f, ok := declared[g[2]]
			switch {
			case !ok && strings.HasPrefix(g[2], "weft_"):
				t.Errorf("%s: %s is not declared", name, g[2])
			case !ok:
			case g[1] == "HELP" && g[3] != f.Help, g[1] == "TYPE" && g[3] != f.Type:
				t.Errorf("%s: %s, want %+v", name, g[0], f)
			default:
				found++
			}
		}
		if found < 12 {
			t.Errorf("%s: only %d families in\n%s", name, found/2, rec.Body)
		}
	}
}

// TestMetricsAddressTaken: who starts a server and an agent with one weft.yaml is told what to do.
func TestMetricsAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = listenMetrics(Config{MetricsListen: taken.Addr().String()}, metrics.New("test"), nil)
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "--metrics-listen or WEFT_METRICS_LISTEN") {
		t.Error(err)
	}
	if _, err = listenMetrics(Config{MetricsListen: "192.0.2.1:9480"}, metrics.New("test"), nil); err == nil || strings.Contains(err.Error(), "WEFT_METRICS_LISTEN") {
		t.Errorf("an address that this machine has not: %v", err)
	}
}
