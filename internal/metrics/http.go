package metrics

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Requests measures what an API is asked.
type Requests struct {
	took  Duration
	under atomic.Int64
}

// Requests declares how long requests take. Their route is the pattern that served them, never a
// path: that has IDs in it, of any number.
func (r *Registry) Requests() *Requests {
	q := &Requests{took: r.Duration("weft_api_request_duration_seconds",
		"Requests of the network and the identity API until they were answered, by the pattern of their path, method and status.", "route", "method", "status")}
	under := r.Gauge("weft_api_requests_under_way", "Requests that are being answered, also those that last as long as somebody watches.")
	r.OnRead(func(_ context.Context, now *Reading) { now.Set(under, float64(q.under.Load())) })
	return q
}

// Measure is h, measured.
func (q *Requests) Measure(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		q.under.Add(1)
		s := &status{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			q.under.Add(-1)
			q.took.Observe(time.Since(began), route(r), method(r.Method), strconv.Itoa(s.code))
		}()
		h.ServeHTTP(s, r)
	})
}

// route is the pattern that the innermost mux has found; it is what the program has, never the client.
func route(r *http.Request) string {
	if r.Pattern == "" {
		return "other"
	}
	if _, path, ok := strings.Cut(r.Pattern, " "); ok {
		return path // it began with a method
	}
	return r.Pattern
}

// method is bounded: a client may send any word.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// status notes what was answered.
type status struct {
	http.ResponseWriter
	code  int
	wrote bool
}

// WriteHeader notes the first final status.
func (s *status) WriteHeader(code int) {
	if !s.wrote && code >= 200 {
		s.code, s.wrote = code, true
	}
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find what the server gave.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush sends what there is: answers that go on, such as events, are sent piece by piece.
func (s *status) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }
