package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// fromOwnPages keeps the pages of other sites from using an API that knows nobody (identity none) through the browser of
// somebody on this host. With tokens there is no need: browsers do not add those by themselves.
//
// A page of another site may send what changes something, although it cannot read the answer: such a request is refused by
// what browsers say of its origin. And a site whose name is made to lead here (DNS rebinding) is of our own origin for a browser:
// an API that only this host can reach answers under names that no such site can have.
func fromOwnPages(c Config, h http.Handler) http.Handler {
	if c.Identity != "none" || slices.Contains(c.CORSOrigins, "*") {
		return h
	}
	var other http.CrossOriginProtection
	for _, o := range c.CORSOrigins {
		if err := other.AddTrustedOrigin(o); err != nil {
			continue // no browser sends it either
		}
	}
	refuse := func(w http.ResponseWriter, why string) {
		b, _ := json.Marshal(map[string]any{"NeutronError": map[string]string{"type": "HTTPForbidden", "message": why, "detail": ""}}) // texts cannot fail
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(b)
	}
	own, _ := os.Hostname()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !c.InsecureNoAuth && !ownName(r.Host, own):
			refuse(w, "With identity none this API answers to addresses, localhost, names without a dot and "+own+", not to "+r.Host+".")
		case other.Check(r) != nil:
			refuse(w, "A page of another site may not change anything here. See cors_allowed_origins.")
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// ownName says whether a Host header names this host in a way that no other site can have.
func ownName(host, own string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return !strings.Contains(name, ".") || net.ParseIP(strings.Trim(name, "[]")) != nil ||
		strings.HasSuffix(name, ".localhost") || name == strings.ToLower(own)
}
