package metrics

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// read is what a Registry serves.
func read(r *Registry) string {
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

func wants(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, "\n"+l+"\n") {
			t.Errorf("no %s in\n%s", l, text)
		}
	}
}

func TestRegistry(t *testing.T) {
	r := New("1.2")
	r.Counter("weft_a_total", "A.")
	c := r.Counter("weft_b_total", "B.", "x")
	c.Add(2, `quoted "\`)
	r.Duration("weft_c_seconds", "C.").Observe(3 * time.Millisecond)
	g, n := r.Gauge("weft_d", "D.", "x"), r.Count("weft_e_total", "E.")
	r.OnRead(func(_ context.Context, now *Reading) {
		now.Set(g, 1, "u")
		now.Set(g, 2, "v")
		now.Set(n, 5)
	})
	text := read(r)
	wants(t, text, "weft_a_total 0", `weft_b_total{x="quoted \"\\"} 2`, `weft_c_seconds_bucket{le="0.002"} 0`, `weft_c_seconds_bucket{le="0.005"} 1`,
		"weft_c_seconds_count 1", `weft_d{x="u"} 1`, `weft_d{x="v"} 2`, "# TYPE weft_e_total counter", "weft_e_total 5", "# HELP weft_d D.")
	if !strings.Contains(text, `weft_build_info{version="1.2"} 1`) || !strings.Contains(text, "\ngo_goroutines ") {
		t.Errorf("nothing of the process in\n%s", text)
	}
	if strings.Contains(text, "etcd_") {
		t.Error("etcd's are served though there is none")
	}
	if f := r.Families(); len(f) != 6 || f[0].Name != "weft_a_total" || f[0].Type != "counter" || f[3].Name != "weft_c_seconds" {
		t.Errorf("families %+v", f)
	}
}

// TestNil: nobody need ask whether somebody counts.
func TestNil(t *testing.T) {
	var r *Registry
	r.Counter("weft_a_total", "A.", "x").Add(1, "y")
	r.Duration("weft_b_seconds", "B.").Observe(time.Second)
	r.Gauge("weft_c", "C.")
	r.OnRead(func(context.Context, *Reading) { t.Error("read") })
}

// TestRequests: requests count by pattern, and no word of a client becomes a label.
func TestRequests(t *testing.T) {
	r := New("")
	q := r.Requests()
	inner := http.NewServeMux()
	inner.HandleFunc("/v2.0/ports/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	inner.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "two")
	})
	outer := http.NewServeMux()
	outer.Handle("/", inner)
	srv := httptest.NewServer(q.Measure(outer))
	defer srv.Close()
	for _, x := range [][2]string{{"GET", "/v2.0/ports/aaaa"}, {"PUT", "/v2.0/ports/bbbb"}, {"EVIL", "/v2.0/ports/cccc"}, {"GET", "/events"}, {"GET", "/nothing/here"}} {
		req, err := http.NewRequestWithContext(t.Context(), x[0], srv.URL+x[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	srv.Close() // a request counts when its handler has returned, which the client may be ahead of
	const name = "weft_api_request_duration_seconds_count"
	text := read(r)
	wants(t, text, name+`{method="GET",route="/v2.0/ports/{id}",status="404"} 1`, name+`{method="PUT",route="/v2.0/ports/{id}",status="404"} 1`,
		name+`{method="other",route="/v2.0/ports/{id}",status="404"} 1`, name+`{method="GET",route="/events",status="200"} 1`, name+`{method="GET",route="other",status="404"} 1`,
		"weft_api_requests_under_way 0")
	if strings.Contains(text, "aaaa") || strings.Contains(text, "EVIL") {
		t.Errorf("a word of a client's in\n%s", text)
	}
}
