package neutron

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// verbatim sends a request and lets nobody between uncompress or follow anything.
func (a *api) verbatim(method, path, body string, headers ...string) *http.Response {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestGzip(t *testing.T) {
	a := startAPI(t)
	for i := range 20 {
		a.network(fmt.Sprint("n", i), "")
	}
	plain, err := io.ReadAll(a.verbatim("GET", "/v2.0/networks", "").Body)
	if err != nil {
		t.Fatal(err)
	}
	for accept, want := range map[string]string{
		"gzip": "gzip", "deflate, gzip;q=0.5": "gzip", "*": "gzip", "gzip;q=0": "", "deflate": "", "": "",
	} {
		resp := a.verbatim("GET", "/v2.0/networks", "", "Accept-Encoding", accept)
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q, want %q", accept, got, want)
			continue
		}
		body := io.Reader(resp.Body)
		if want == "gzip" {
			z, err := gzip.NewReader(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		if text, err := io.ReadAll(body); err != nil || string(text) != string(plain) {
			t.Errorf("Accept-Encoding %q: another body (%v)", accept, err)
		}
	}
	if got := a.verbatim("GET", "/v2.0/networks?name=n1&fields=id", "", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"); got != "" {
		t.Errorf("a small body is compressed: %s", got)
	}
}

func TestMediaTypes(t *testing.T) {
	a := startAPI(t)
	for kind, want := range map[string]int{
		"": 201, "application/json": 201, "application/json; charset=UTF-8": 201, "application/x-www-form-urlencoded": 201,
		"application/xml": 415, "multipart/form-data; boundary=x": 415, "nonsense/": 415,
	} {
		r := a.do("POST", "/v2.0/networks", `{"network":{}}`, "Content-Type", kind)
		if r.status != want {
			t.Errorf("Content-Type %q: %d %s, want %d", kind, r.status, r.text, want)
		}
		if want == 415 && !strings.HasPrefix(r.fault(), "415 HTTPUnsupportedMediaType: The request media type "+kind) {
			t.Errorf("Content-Type %q: %s", kind, r.fault())
		}
	}
}

func TestCORS(t *testing.T) {
	a := startAPI(t)
	if h := a.verbatim("GET", "/v2.0/networks", "", "Origin", "https://a.example").Header; h.Get("Access-Control-Allow-Origin") != "" {
		t.Error("without a setting an origin is let in")
	}
	a.handler.origins = []string{"https://a.example"}
	for origin, want := range map[string]string{"https://a.example": "https://a.example", "https://b.example": "", "": ""} {
		resp := a.verbatim("OPTIONS", "/v2.0/networks", "", "Origin", origin, "Access-Control-Request-Method", "POST")
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("origin %q: allowed %q, want %q", origin, got, want)
		}
		if ok := resp.StatusCode == 200; ok != (want != "") {
			t.Errorf("origin %q: preflight answered %d", origin, resp.StatusCode)
		}
	}
	resp := a.verbatim("GET", "/v2.0/networks", "", "Origin", "https://a.example")
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "https://a.example" ||
		!strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "X-OpenStack-Request-ID") {
		t.Errorf("a request of a page: %d %v", resp.StatusCode, resp.Header)
	}
}
