// Package admin serves, on a server, what an administrator does with the hosts of a cloud
// and has no place in the Neutron API: tokens to join by, and the hosts themselves.
//
//	POST   /weft/v1/tokens               {"kind": "host" or "server", "expires": SECONDS, "roles": [...]}
//	GET    /weft/v1/hosts[?name=NAME]    all hosts but those removed, or the one
//	GET    /weft/v1/hosts/NAME           one host with the ports bound to it
//	POST   /weft/v1/hosts/NAME/drain     it takes nothing new
//	POST   /weft/v1/hosts/NAME/undrain
//	DELETE /weft/v1/hosts/NAME[?force=true]
//	GET    /weft/v1/doctor[?host=NAME]   how servers and hosts are: doctor.Report
//	GET    /weft/v1/gc[?host=NAME]       what is left over on hosts: Garbage
//	POST   /weft/v1/gc                   Garbage to remove; answered with what became of it
//
// Answers are JSON; {"error": "..."} says why not. Whoever wires the handler sees to it that
// only administrators get here.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/model"
	"weft/internal/trace"
)

// TokensPath is where tokens are made.
const TokensPath = "/weft/v1/tokens"

// Options are what a handler is made of.
type Options struct {
	Control *control.Control
	// CA is the SHA-256 of the certificate of the cloud's authority.
	CA [32]byte
	// Feeds returns the addresses of the feeds of all servers.
	Feeds func() []string
	// Feed asks servers and hosts; *feed.Server does.
	Feed Feed
	// TryTunnels lets pairs of hosts try the tunnel between them, for a network of that MTU.
	TryTunnels func(ctx context.Context, n *model.Network, pairs [][2]trace.TunnelPeer) map[model.HostName]trace.Said
	// Self is what the doctor has to know of this server.
	Self Self
	// Log may be nil.
	Log *slog.Logger
}

type handler struct{ Options }

// New returns the handler of all paths.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := handler{o}
	mux := http.NewServeMux()
	mux.Handle("POST "+TokensPath, h.answer(h.makeToken))
	mux.Handle("GET "+HostsPath, h.answer(h.listHosts))
	mux.Handle("GET "+HostsPath+"/{name}", h.answer(h.showHost))
	mux.Handle("POST "+HostsPath+"/{name}/drain", h.answer(h.drainHost))
	mux.Handle("POST "+HostsPath+"/{name}/undrain", h.answer(h.undrainHost))
	mux.Handle("DELETE "+HostsPath+"/{name}", h.answer(h.removeHost))
	mux.Handle("GET "+DoctorPath, h.answer(h.doctor))
	mux.Handle("GET "+GCPath, h.answer(h.listGarbage))
	mux.Handle("POST "+GCPath, h.answer(h.removeGarbage))
	return mux
}

// Token is the answer to a request for a token.
type Token struct {
	Token     string         `json:"token"`
	Kind      model.JoinKind `json:"kind"`
	ExpiresAt time.Time      `json:"expires_at"`
	Servers   []string       `json:"servers"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Kind model.JoinKind `json:"kind"`
	// Roles are those that a host may have; none is all.
	Roles []model.HostRole `json:"roles,omitempty"`
	// Expires is in seconds.
	Expires int64 `json:"expires"`
}

func (h handler) makeToken(r *http.Request) (any, error) {
	var q TokenRequest
	if err := read(r, &q); err != nil {
		return nil, err
	}
	t := feed.Token{Kind: q.Kind, CA: h.CA, Servers: h.Feeds()}
	secret, expires, err := h.Control.NewJoinToken(r.Context(), q.Kind, time.Duration(q.Expires)*time.Second, q.Roles...)
	if err != nil {
		return nil, err
	}
	t.Secret = secret
	h.Log.Info("token to join made", "kind", q.Kind, "expires", expires)
	return Token{Token: t.String(), Kind: q.Kind, ExpiresAt: expires, Servers: t.Servers}, nil
}

// maxBody bounds a request.
const maxBody = 1 << 20

func read(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return model.Faultf(model.InvalidInput, "The request cannot be read: %v.", err)
	}
	return nil
}

// answer makes a handler of a verb; no answer is 204.
func (h handler) answer(verb func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := verb(r)
		code := http.StatusOK
		if err != nil {
			code, v = status(err), map[string]string{"error": err.Error()}
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			h.Log.Debug("client left before the answer", "err", err)
		}
	})
}

func status(err error) int {
	var missing model.NotFound
	var fault model.Fault
	switch {
	case errors.As(err, &missing):
		return http.StatusNotFound
	case errors.As(err, &fault) && fault.Kind == model.InvalidInput:
		return http.StatusBadRequest
	case errors.As(err, &fault) && fault.Kind == model.Unavailable, errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	case errors.As(err, &fault):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
