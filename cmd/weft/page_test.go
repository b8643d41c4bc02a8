package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weft/internal/web"
)

// The page's requests for tokens reach an outside Keystone as they are, and nothing else does.
func TestPageTokensOfKeystone(t *testing.T) {
	asked := ""
	keystone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.RequestURI() + " " + string(b)
		w.Header().Set("X-Subject-Token", "T")
		w.WriteHeader(http.StatusCreated)
	}))
	defer keystone.Close()
	tokens, err := remoteTokens(keystone.URL+"/identity/v3/", nil)
	if err != nil {
		t.Fatal(err)
	}
	page := web.New(web.Options{Identity: "keystone", Tokens: tokens})
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("POST", "/weft/v1/ui/auth/tokens?nocatalog=1&x=../../users", strings.NewReader(`{"auth":{}}`)))
	if w.Code != http.StatusCreated || w.Header().Get("X-Subject-Token") != "T" || asked != `POST /identity/v3/auth/tokens {"auth":{}}` {
		t.Errorf("%d %v; Keystone was asked %q", w.Code, w.Header(), asked)
	}
	keystone.Close()
	w = httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("POST", "/weft/v1/ui/auth/tokens", strings.NewReader("{}")))
	if w.Code != http.StatusBadGateway {
		t.Errorf("without Keystone: %d", w.Code)
	}
}
