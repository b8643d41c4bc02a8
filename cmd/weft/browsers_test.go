package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFromOwnPages(t *testing.T) {
	served := 0
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ })
	none := Config{Identity: "none", CORSOrigins: []string{"https://dashboard.example"}}
	open := none
	open.InsecureNoAuth = true
	for _, c := range []struct {
		name   string
		config Config
		method string
		host   string
		header []string
		pass   bool
	}{
		{"a client", none, "POST", "127.0.0.1:9696", nil, true},
		{"a client, by name", none, "DELETE", "localhost:9696", nil, true},
		{"IPv6", none, "POST", "[::1]:9696", nil, true},
		{"a name of /etc/hosts", none, "POST", "controller:9696", nil, true},
		{"our page", none, "POST", "localhost:9696", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9696"}, true},
		{"typed into the browser", none, "GET", "localhost:9696", []string{"Sec-Fetch-Site", "none"}, true},
		{"a picture on another page", none, "GET", "localhost:9696", []string{"Sec-Fetch-Site", "cross-site"}, true}, // nobody can read the answer
		{"a form of another page", none, "POST", "localhost:9696", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		{"in an old browser", none, "PUT", "127.0.0.1:9696", []string{"Origin", "https://evil.example"}, false},
		{"from a file or sandbox", none, "POST", "127.0.0.1:9696", []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, false},
		{"a page that is allowed", none, "POST", "127.0.0.1:9696", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://dashboard.example"}, true},
		{"a name made to lead here", none, "GET", "evil.example:9696", []string{"Sec-Fetch-Site", "same-origin"}, false},
		{"such a name, no port", none, "POST", "127.0.0.1.evil.example", nil, false},
		{"for all the world by any name", open, "GET", "weft.example:9696", nil, true},
		{"for all the world, another page", open, "POST", "weft.example:9696", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		{"with tokens", Config{Identity: "builtin"}, "POST", "weft.example", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://x.example"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/v2.0/networks", strings.NewReader("{}"))
			r.Host = c.host
			for i := 0; i < len(c.header); i += 2 {
				r.Header.Set(c.header[i], c.header[i+1])
			}
			before, w := served, httptest.NewRecorder()
			fromOwnPages(c.config, h).ServeHTTP(w, r)
			if passed := served > before; passed != c.pass || !passed && (w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `{"NeutronError":`)) {
				t.Errorf("passed: %v, %d %s", passed, w.Code, w.Body)
			}
		})
	}
}
