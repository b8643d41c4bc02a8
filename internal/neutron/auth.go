package neutron

import (
	"context"
	"errors"
	"net/http"
	"unicode/utf8"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/model"
)

// Authenticator says whose a token is. A token that is nobody's is ErrUnauthorized; any
// other error says that it cannot be known now.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (access.Caller, error)
}

// authenticated lets a handler know who asks, and refuses who does not say.
func (s *Server) authenticated(serve func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		caller, err := s.caller(r)
		switch {
		case errors.Is(err, access.ErrUnauthorized):
			s.refuse(w)
			return nil
		case err != nil:
			return err
		}
		return serve(w, r.WithContext(control.WithCaller(r.Context(), caller)))
	}
}

// caller is who sent a request.
func (s *Server) caller(r *http.Request) (access.Caller, error) {
	if s.auth == nil {
		return anybody(r)
	}
	token := r.Header.Get("X-Auth-Token")
	if token == "" {
		return access.Caller{}, access.ErrUnauthorized
	}
	caller, err := s.auth.Authenticate(r.Context(), token)
	if err != nil && !errors.Is(err, access.ErrUnauthorized) {
		s.log.Warn("token cannot be validated", "err", err)
		return caller, faultNoService
	}
	return caller, err
}

// anybody is the caller where nobody is authenticated: an administrator of the project in
// the header, or of Neutron's placeholder.
func anybody(r *http.Request) (access.Caller, error) {
	p := r.Header.Get("X-Project-Id")
	switch {
	case p == "":
		p = "fake_project_id"
	case len(p) > maxProject || !utf8.ValidString(p):
		return access.Caller{}, badRequest("Invalid X-Project-Id header: expected at most %d characters of UTF-8", maxProject)
	}
	return access.Caller{ProjectID: model.ProjectID(p), Admin: true}, nil
}

// refuse answers 401 in Keystone's form, and says where tokens are had.
func (s *Server) refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Keystone uri=\""+s.authURL+"\"")
	write(w, http.StatusUnauthorized, []byte(`{"error":{"code":401,"title":"Unauthorized","message":"The request you have made requires authentication."}}`))
}
