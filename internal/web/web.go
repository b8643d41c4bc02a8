// Package web serves the page: a picture of the cloud, and of a port the chain from its record
// to its guest.
//
// The page is plain files in the binary, below /weft/. It asks for nothing from elsewhere, and
// all that it shows comes from the APIs that everybody uses, with the token of who looks: it
// knows nothing that the API would not show him. What is here besides the files is GET
// /weft/v1/ui/config, which says how to log in, and /weft/v1/ui/auth/tokens, which is that of
// Keystone at an origin that browsers let the page talk to.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

const (
	// Path is where the page is.
	Path = "/weft/"
	// APIPath is where the page's own requests belong.
	APIPath = "/weft/v1/ui/"
)

// maxLogin is the largest body of a request for a token.
const maxLogin = 64 << 10

// policy lets the page have nothing but itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Options are what the page has to know.
type Options struct {
	// Identity is who may use the API: none, builtin or keystone.
	Identity string
	// Tokens answers as Keystone's /auth/tokens; nil where nobody logs in.
	Tokens http.Handler
}

//go:embed static
var static embed.FS

// file is a file as it is sent.
type file struct {
	body []byte
	etag string
}

type page struct {
	o     Options
	files map[string]file
}

// New makes the handler of Path and APIPath.
func New(o Options) http.Handler {
	p := &page{o, map[string]file{}}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		sum := sha256.Sum256(body)
		p.files[strings.TrimPrefix(name, "static/")] = file{body, `"` + hex.EncodeToString(sum[:12]) + `"`}
		return err
	})
	if err != nil {
		panic(err) // the files are in the binary
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, p.serveFile)
	mux.HandleFunc("GET "+APIPath+"config", p.serveConfig)
	mux.HandleFunc("POST "+APIPath+"auth/tokens", p.serveTokens)
	mux.HandleFunc("DELETE "+APIPath+"auth/tokens", p.serveTokens)
	return mux
}

// Front sends browsers that ask for the API's root to the page. Clients of the API do not
// ask for HTML.
func Front(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			api.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Vary", "Accept")
		w.Header().Set("Cache-Control", "no-store")
		// Relative, for the sake of proxies with a prefix.
		w.Header().Set("Location", strings.TrimPrefix(Path, "/"))
		w.WriteHeader(http.StatusSeeOther)
	})
}

func (p *page) serveFile(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, Path)
	if name == "" {
		name = "index.html"
	}
	f, ok := p.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// A new weft has new files: browsers keep them, and ask each time.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.etag)
	h.Set("Content-Type", types[path.Ext(name)])
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// types are those of our files: not every machine's table has them.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func (p *page) serveConfig(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(struct {
		Identity string `json:"identity"`
		Login    bool   `json:"login"`
	}{p.o.Identity, p.o.Tokens != nil})
}

func (p *page) serveTokens(w http.ResponseWriter, r *http.Request) {
	if p.o.Tokens == nil {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	w.Header().Set("Cache-Control", "no-store")
	p.o.Tokens.ServeHTTP(w, r)
}
