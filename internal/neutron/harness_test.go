package neutron

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// api is a real server on a real etcd, spoken to over HTTP.
type api struct {
	t       testing.TB
	url     string
	control *control.Control
	handler *Server
	http    *http.Client
	// client reads the etcd under the API; nil under those of serveAPI.
	client *store.Client
}

// startAPI starts an etcd without fsync and the API on it.
func startAPI(t testing.TB) *api {
	client := storetest.Etcd(t)
	a := serveAPI(t, storetest.Open(t, client))
	a.client = client
	return a
}

func serveAPI(t testing.TB, s *store.Store) *api {
	t.Helper()
	cfg := control.DefaultConfig()
	cfg.Quotas = nil
	cfg.FlatNetworks = []string{"physnet1"}
	cfg.VLANRanges = map[string][2]int{"physnet1": {100, 199}}
	c := control.New(control.Options{Store: s, Config: cfg})
	h := New(Options{Control: c})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: 128}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{t: t, url: srv.URL, control: c, handler: h, http: &http.Client{Transport: transport}}
}

// host registers a host that serves DHCP.
func (a *api) host(name model.HostName) {
	a.t.Helper()
	_, err := a.control.RegisterHost(a.t.Context(), model.Host{
		Name: name, AgentID: "28ed2da2-49bd-4db2-b2d8-85ba5c47efb3", IntegrationBridge: "br-int", TunnelBridge: "br-tun",
		DatapathType: "netdev", BridgeMappings: map[string]string{"physnet1": "br-ex"}, TunnelTypes: []string{"vxlan"},
		VTEP: netip.MustParseAddr("192.0.2.1"), InterfaceTypes: []string{"internal", "tap"}, Roles: model.AllRoles(),
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

// answer is a response with its body decoded.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// object returns the object under the only key of the body.
func (r answer) object() map[string]any {
	for k, v := range r.body {
		if m, ok := v.(map[string]any); ok && !strings.HasSuffix(k, "_links") {
			return m
		}
	}
	return nil
}

// list returns the list in the body.
func (r answer) list() []map[string]any {
	var out []map[string]any
	for k, v := range r.body {
		if l, ok := v.([]any); ok && !strings.HasSuffix(k, "_links") {
			for _, e := range l {
				m, _ := e.(map[string]any)
				out = append(out, m)
			}
		}
	}
	return out
}

// fault returns "status Type: message".
func (r answer) fault() string {
	e, _ := r.body["NeutronError"].(map[string]any)
	return fmt.Sprintf("%d %v: %v", r.status, e["type"], e["message"])
}

// do sends a request; body is text, nil, or something to encode. headers are key, value, ....
func (a *api) do(method, path string, body any, headers ...string) answer {
	a.t.Helper()
	r, err := a.try(method, path, body, headers...)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

func (a *api) try(method, path string, body any, headers ...string) (answer, error) {
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		rd = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		rd = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, a.url+path, rd)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	r := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if len(text) > 0 && resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(text, &r.body); err != nil {
			return r, fmt.Errorf("%s %s: %w: %s", method, path, err, text)
		}
	}
	return r, nil
}

// must sends a request that has to give this status, and returns the object.
func (a *api) must(status int, method, path string, body any, headers ...string) map[string]any {
	a.t.Helper()
	r := a.do(method, path, body, headers...)
	if r.status != status {
		a.t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.status, status, r.text)
	}
	return r.object()
}

// id is the id of an object.
func id(o map[string]any) string {
	s, _ := o["id"].(string)
	return s
}

// network makes a network, and a subnet on it when cidr is not empty.
func (a *api) network(name, cidr string) (network, subnet string) {
	a.t.Helper()
	network = id(a.must(201, "POST", "/v2.0/networks", map[string]any{"network": map[string]any{"name": name}}))
	if cidr != "" {
		subnet = id(a.must(201, "POST", "/v2.0/subnets", map[string]any{"subnet": map[string]any{
			"network_id": network, "cidr": cidr, "ip_version": 4, "enable_dhcp": false}}))
	}
	return network, subnet
}

// percentile sorts d in place.
func percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*p/100)]
}
