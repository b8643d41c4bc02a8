package neutron

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// recordedRequests are the seeds: every request of testdata/zed.
func recordedRequests(f *testing.F) []recording {
	f.Helper()
	files, err := filepath.Glob("testdata/zed/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no recordings", err)
	}
	var out []recording
	for _, file := range files {
		out = append(out, load(f, strings.TrimSuffix(filepath.Base(file), ".json")))
	}
	return out
}

// clean fails when an error would be a 500 or would not be JSON.
func clean(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	f, known := faultOf(err)
	if !known || f.Status < 400 || f.Status >= 500 {
		t.Fatalf("%d %v", f.Status, err)
	}
	w := httptest.NewRecorder()
	writeFault(w, f)
	if !json.Valid(w.Body.Bytes()) {
		t.Fatalf("not JSON: %s", w.Body)
	}
}

// tried is a table of whatever type, as the fuzz targets see it.
type tried interface {
	tryBody(t *testing.T, text []byte)
	tryQuery(t *testing.T, rd store.Reader, text string)
}

// everyTable is the tables of all collections that are served, in the order of their paths.
func everyTable(f *testing.F, s *Server) []tried {
	f.Helper()
	var all []tried
	for _, path := range slices.Sorted(maps.Keys(s.collections)) {
		t, ok := s.collections[path].(tried)
		if !ok {
			f.Fatalf("%s cannot be tried", path)
		}
		all = append(all, t)
	}
	return all
}

// tryBody decodes as a create and as an update, and encodes the refusal.
func (table *table[M, R]) tryBody(t *testing.T, text []byte) {
	t.Helper()
	for _, method := range []string{"POST", "PUT"} {
		body, err := decodeBody(text)
		if err != nil {
			clean(t, err)
			return
		}
		given, _, err := table.given(body)
		clean(t, err)
		for _, g := range given {
			if method == "POST" {
				_, err = table.create(g, "p")
			} else {
				_, err = table.update(g)
			}
			clean(t, err)
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, r := range recordedRequests(f) {
		if r.Request.Body != nil {
			f.Add([]byte(r.Request.Body))
		}
	}
	for _, s := range []string{`{"port":{"network_id":"` + someUUID + `","fixed_ips":[{"ip_address":"fe80::1%eth0"}],"extra_dhcp_opts":[{"opt_name":"a","opt_value":null}],` +
		`"allowed_address_pairs":[{"ip_address":"10.0.0.0/8"}],"binding:profile":{"a":[1e400]}}}`,
		`{"networks":[{"network":{}},{}]}`, `{"subnet":{"ip_version":1e3,"cidr":"/","allocation_pools":[[]]}}`, "\xff\x00", `{"network":{"\ud800":"\ud800"}}`} {
		f.Add([]byte(s))
	}
	all := everyTable(f, startAPI(f).handler)
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, table := range all {
			table.tryBody(t, text)
		}
	})
}

// tryQuery reads a query; what it accepts must filter, encode and link without harm.
func (c *collection[M, R]) tryQuery(t *testing.T, rd store.Reader, text string) {
	t.Helper()
	m := new(M)
	switch m := any(m).(type) {
	case *model.Port:
		m.FixedIPs = []model.FixedIP{{SubnetID: "s", Addr: netip.MustParseAddr("10.10.0.121")}}
	case *agent:
		m.Agent = control.Agent{Host: &model.Host{}}
	case *availability:
		m.network = &model.Network{}
	}
	q, err := c.query(text)
	if err != nil {
		clean(t, err)
		return
	}
	x := c.aside(rd, m)
	q.passes(m, &x)
	for _, s := range q.sorts {
		if s.compare(m, m) != 0 {
			t.Fatal("an object does not equal itself")
		}
	}
	b := c.encode(nil, m, &x, store.WholeView, q.fields)
	b = append(b[:len(b)-1], `,"x":0`...)
	b = append(q.appendLinks(b, c.plural, "http://h/v2.0/x", []string{"a"}), '}')
	if s := strings.Replace(string(b), "{,", "{", 1); !json.Valid([]byte(s)) {
		t.Fatalf("not JSON: %s", s)
	}
}

func FuzzQuery(f *testing.F) {
	for _, r := range recordedRequests(f) {
		if _, q, ok := strings.Cut(r.Request.Path, "?"); ok {
			f.Add(q)
		}
	}
	for _, s := range []string{"", "&", "=&=", "%zz=%", "name=&name", "fields=id&fields=name&fields=", "limit=1&marker=a&page_reverse=True",
		"fixed_ips=ip_address%3D10.10.0.121&fixed_ips=subnet_id%3Ds", "fixed_ips==", "sort_key=created_at&sort_dir=desc", "shared=1&mtu=7", "limit=99999999999999999999"} {
		f.Add(s)
	}
	a := startAPI(f)
	all := everyTable(f, a.handler)
	f.Fuzz(func(t *testing.T, text string) {
		a.control.Read(func(rd store.Reader) {
			for _, table := range all {
				table.tryQuery(t, rd, text)
			}
		})
	})
}

// FuzzRequest sends whole requests to a server with a network, a subnet and a port. It
// must always answer, in JSON, and never with a 500.
func FuzzRequest(f *testing.F) {
	a := startAPI(f)
	a.host("node-1")
	network, subnet := a.network("n", "10.77.0.0/24")
	port := id(a.must(201, "POST", "/v2.0/ports", `{"port":{"network_id":"`+network+`"}}`))
	names := strings.NewReplacer("7ac9e862-c147-4691-b95e-a6289d3deed4", network, "920d10ec-f7b4-44a3-8e77-9658a82880b4", network,
		"fb39a3bc-5147-44fb-8989-1aba1143fc69", subnet, "4db0d01d-d8f1-452c-be80-6fee748f7e35", port)
	for _, r := range recordedRequests(f) {
		f.Add(r.Request.Method, r.Request.Path, []byte(r.Request.Body))
	}
	// Seeds speak of the recorded IDs, because each worker has a server and IDs of its own.
	f.Add("PUT", "/v2.0/subnets/fb39a3bc-5147-44fb-8989-1aba1143fc69", []byte(`{"subnet":{"gateway_ip":null,"allocation_pools":[{"start":"10.77.0.9","end":"10.77.0.8"}]}}`))
	f.Add("PUT", "/v2.0/ports/4db0d01d-d8f1-452c-be80-6fee748f7e35", []byte(`{"port":{"fixed_ips":[],"binding:host_id":"node-1","mac_address":"fa:16:3e:00:00:01"}}`))
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		path = names.Replace(path)
		r, err := http.NewRequestWithContext(t.Context(), method, "http://h", strings.NewReader(names.Replace(string(body))))
		if err != nil {
			return
		}
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Fatalf("%s %q %q: %d %s", method, path, body, w.Code, w.Body)
		}
		if b := w.Body.Bytes(); len(b) > 0 && w.Header().Get("Content-Type") == "application/json" && !json.Valid(b) {
			t.Fatalf("%s %q: not JSON: %s", method, path, b)
		}
	})
}

// TestPanicBecomes500 makes sure that a mistake of ours is an answer, not a lost connection.
func TestPanicBecomes500(t *testing.T) {
	s := New(Options{})
	s.handle("/boom", func(http.ResponseWriter, *http.Request) error { panic(os.ErrInvalid) })
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/boom", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), "Request Failed: internal server error while processing your request.") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
