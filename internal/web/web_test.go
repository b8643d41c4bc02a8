package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"weft/internal/web"
)

func get(t *testing.T, h http.Handler, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every file that a file names is there, and named as it is: the page needs nothing else.
func TestFilesAreWhole(t *testing.T) {
	h := web.New(web.Options{Identity: "none"})
	names := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "\./([^"]+)"|src: "([^"]+)"`)
	seen := map[string]bool{}
	var walk func(string)
	walk = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		r := get(t, h, "GET", web.Path+name)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", name, r.Status)
			return
		}
		text := body(t, r)
		if strings.Contains(text, "https://") || strings.Contains(strings.ReplaceAll(text, "http://www.w3.org/", ""), "http://") {
			t.Errorf("%s names another origin", name)
		}
		for _, m := range names.FindAllStringSubmatch(text, -1) {
			walk(m[1] + m[2] + m[3])
		}
	}
	walk("")
	for _, want := range []string{"app.js", "style.css", "icon.svg", "picture.js", "port.js"} {
		if !seen[want] {
			t.Errorf("nothing leads to %s", want)
		}
	}
}

func TestHeaders(t *testing.T) {
	h := web.New(web.Options{Identity: "none"})
	r := get(t, h, "GET", "/weft/app.js")
	for name, want := range map[string]string{"Content-Type": "text/javascript; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	csp := r.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; ") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
	if again := get(t, h, "GET", "/weft/app.js", "If-None-Match", r.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("asked again: %s", again.Status)
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/weft/nothing.js", 404}, {"GET", "/weft/static/app.js", 404}, {"GET", "/weft/v1/ui/else", 404}, {"HEAD", "/weft/", 200}, {"POST", "/weft/", 405},
		{"POST", "/weft/v1/ui/auth/tokens", 404},
	} {
		if got := get(t, h, c.method, c.path).StatusCode; got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
}

func TestConfigAndTokens(t *testing.T) {
	if got := strings.TrimSpace(body(t, get(t, web.New(web.Options{Identity: "none"}), "GET", "/weft/v1/ui/config"))); got != `{"identity":"none","login":false}` {
		t.Error(got)
	}
	asked := ""
	h := web.New(web.Options{Identity: "builtin", Tokens: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		asked = r.Method + " " + string(b)
		w.Header().Set("X-Subject-Token", "T")
		w.WriteHeader(http.StatusCreated)
	})})
	if got := strings.TrimSpace(body(t, get(t, h, "GET", "/weft/v1/ui/config"))); got != `{"identity":"builtin","login":true}` {
		t.Error(got)
	}
	r := get(t, h, "POST", "/weft/v1/ui/auth/tokens")
	if r.StatusCode != http.StatusCreated || r.Header.Get("X-Subject-Token") != "T" || asked != "POST {}" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v; asked %q", r.Status, r.Header, asked)
	}
	big := httptest.NewRequest("POST", "/weft/v1/ui/auth/tokens", strings.NewReader(strings.Repeat("x", 1<<20)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, big)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 1 MiB: %d", w.Code)
	}
}

// Browsers are sent from the API's root to the page; what clients of the API get does not change.
func TestFront(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for accept, want := range map[string]int{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": http.StatusSeeOther,
		"*/*": http.StatusTeapot, "application/json": http.StatusTeapot, "": http.StatusTeapot,
	} {
		r := get(t, web.Front(api), "GET", "/", "Accept", accept)
		if r.StatusCode != want || (want == http.StatusSeeOther) != (r.Header.Get("Location") == "weft/") {
			t.Errorf("Accept: %s: %s to %q", accept, r.Status, r.Header.Get("Location"))
		}
	}
}
