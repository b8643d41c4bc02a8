package neutron

import (
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// gzipFrom is the size from which a body is worth compressing.
const gzipFrom = 1400

// squeezers are reused: each holds some hundred kilobytes.
var squeezers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is a valid one
	return z
}}

// gzipped is a response to a client that takes gzip.
type gzipped struct{ http.ResponseWriter }

// takesGzip reports whether a client takes gzip: it names it, and not with weight 0.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name := strings.TrimSpace(coding); name != "gzip" && name != "*" {
			continue
		}
		q, has := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		n, err := strconv.ParseFloat(q, 64)
		return !has || err == nil && n > 0
	}
	return false
}

// write sends a JSON body in one piece. A client that has gone is nobody's concern.
func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if z, ok := w.(gzipped); ok && len(body) >= gzipFrom {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		z.WriteHeader(status)
		z.send(body)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (z gzipped) send(body []byte) {
	squeezer, ok := squeezers.Get().(*gzip.Writer)
	if !ok {
		return // nothing else is ever put there
	}
	defer squeezers.Put(squeezer)
	squeezer.Reset(z.ResponseWriter)
	_, _ = squeezer.Write(body)
	_ = squeezer.Close()
}

// jsonBody refuses a body that says of itself that it is not JSON. What clients send when
// they do not care is taken: nothing, and curl's form type.
func jsonBody(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	if given == "" || r.ContentLength == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(given)
	if err == nil && (strings.HasSuffix(kind, "/json") || strings.HasSuffix(kind, "+json") || slices.Contains(careless, kind)) {
		return nil
	}
	return fault{Status: http.StatusUnsupportedMediaType, Type: "HTTPUnsupportedMediaType",
		Message: "The request media type " + given + " is not supported by this server."}
}

var careless = []string{"application/x-www-form-urlencoded", "text/plain", "application/octet-stream"}

// The headers that pages of other origins may send and read, as in Neutron.
const (
	corsAllowHeaders = "X-Auth-Token, X-Identity-Status, X-Roles, X-Service-Catalog, X-User-Id, X-Tenant-Id, X-OpenStack-Request-ID, Content-Type, If-Match"
	corsExpose       = "X-Auth-Token, X-Subject-Token, X-Service-Token, X-OpenStack-Request-ID"
	corsMethods      = "GET, PUT, POST, DELETE, PATCH"
)

// cors lets pages of the origins in the settings use the API, and answers a browser that
// asks beforehand; it reports whether that was all.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || len(s.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !slices.Contains(s.origins, origin) && !slices.Contains(s.origins, "*") {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", corsExpose)
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsAllowHeaders)
	h.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusOK)
	return true
}
