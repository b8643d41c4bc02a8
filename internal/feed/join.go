package feed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// caller is who a verified client certificate says that somebody is.
type caller struct {
	// server: it is a server; else it is the host.
	server     bool
	host       model.HostName
	generation int
	// until is the end of its certificate.
	until time.Time
}

// callerOf reads the client's certificate, which TLS has verified.
func callerOf(ctx context.Context) (caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, status.Error(codes.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return caller{}, status.Error(codes.Unauthenticated, "no verified client certificate")
	}
	cert := info.State.VerifiedChains[0][0]
	if cert.Subject.CommonName == ServerName {
		return caller{server: true}, nil
	}
	name := model.HostName(cert.Subject.CommonName)
	if err := control.CheckHostName(name); err != nil {
		return caller{}, status.Errorf(codes.Unauthenticated, "certificate: %v", err)
	}
	return caller{host: name, generation: generationOf(cert), until: cert.NotAfter}, nil
}

// guard says who may call what: anybody may join, for which a token is needed; servers may
// ask; all else is for hosts. Whether a host is still welcome, the store says (welcome).
func guard(ctx context.Context, method string) error {
	switch method {
	case feedpb.Feed_Join_FullMethodName, feedpb.Feed_JoinServer_FullMethodName:
		return nil
	}
	c, err := callerOf(ctx)
	if err != nil {
		return err
	}
	if c.server != (method == feedpb.Feed_Ask_FullMethodName) {
		return status.Error(codes.PermissionDenied, "the certificate is not one of those who may do this")
	}
	return nil
}

func guardCall(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := guard(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, q)
}

func guardStream(s any, g grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := guard(g.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(s, g)
}

// welcome says why a host may not be here any more, or nil.
func (s *Server) welcome(c caller) (err error) {
	s.store.View(func(r store.Reader) { err = control.Welcome(r, c.host, c.generation) })
	return refusal(err)
}

// admit is welcome for who comes: another server may have let him in just now.
func (s *Server) admit(ctx context.Context, c caller) error {
	err := s.welcome(c)
	if err == nil {
		return nil
	}
	if e := s.store.Sync(ctx); e != nil {
		return status.Error(codes.Unavailable, e.Error())
	}
	return s.welcome(c)
}

// refusal is an error as it goes to who asked.
func refusal(err error) error {
	var no control.JoinRefused
	switch {
	case err == nil:
		return nil
	case errors.As(err, &no):
		return status.Error(codes.PermissionDenied, no.Reason)
	}
	return status.Error(codes.Unavailable, err.Error())
}

// expel ends the stream of a host whose certificate is good no longer.
func (s *Server) expel(host model.HostName) {
	s.mu.Lock()
	st := s.hosts[host]
	s.mu.Unlock()
	if st == nil {
		return
	}
	if err := s.welcome(st.caller); err != nil {
		s.log.Warn("host is not welcome any more; its stream is ended", "host", host, "reason", err)
		st.cancel(err)
	}
}

// maxRequest bounds a certificate request, which is of some 300 bytes.
const maxRequest = 4096

// requestKey is the key in a certificate request, whose sender has shown that it is his.
func requestKey(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > maxRequest {
		return nil, status.Error(codes.InvalidArgument, "the certificate request is too long")
	}
	q, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = q.CheckSignature()
	}
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "certificate request: %v", err)
	}
	key, ok := q.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, status.Error(codes.InvalidArgument, "certificate request: want a key of the curve P-256")
	}
	return key, nil
}

var errGuesses = status.Error(codes.ResourceExhausted, "too many failed attempts to join from this address; try again in a minute")

// Join gives a host its first certificate.
func (s *Server) Join(ctx context.Context, q *feedpb.JoinRequest) (*feedpb.JoinReply, error) {
	from := addressOf(ctx)
	if !s.guesses.allow(from, time.Now()) {
		return nil, errGuesses
	}
	key, err := requestKey(q.Csr)
	if err != nil {
		return nil, err
	}
	host := model.HostName(q.Host)
	generation, err := s.control.JoinHost(ctx, secretOf(q.Token), host)
	if err = refusal(err); err != nil {
		if status.Code(err) == codes.PermissionDenied {
			s.guesses.failed(from, time.Now())
			s.log.Warn("host refused", "host", q.Host, "address", from, "reason", status.Convert(err).Message())
		}
		return nil, err
	}
	s.log.Info("host let in", "host", host, "address", from, "generation", generation)
	return s.certify(&caller{host: host, generation: generation}, key)
}

// Renew gives a host another certificate, for the key in its request.
func (s *Server) Renew(ctx context.Context, q *feedpb.RenewRequest) (*feedpb.JoinReply, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.admit(ctx, c); err != nil {
		return nil, err
	}
	key, err := requestKey(q.Csr)
	if err != nil {
		return nil, err
	}
	reply, err := s.certify(&c, key)
	if err != nil {
		return nil, err
	}
	if err := s.control.NoteCertificate(ctx, c.host, c.until); err != nil {
		s.log.Warn("end of a host's new certificate not noted", "host", c.host, "err", err)
	}
	s.log.Info("certificate renewed", "host", c.host, "until", c.until)
	return reply, nil
}

// certify makes a certificate and notes its end.
func (s *Server) certify(c *caller, key *ecdsa.PublicKey) (*feedpb.JoinReply, error) {
	cert, err := s.ca.leaf(hostTemplate(c.host, c.generation), key)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "certificate of host %s: %v", c.host, err)
	}
	c.until = cert.NotAfter
	return &feedpb.JoinReply{Certificate: cert.Raw, Ca: s.ca.cert.Raw, Servers: s.Feeds()}, nil
}

// addressOf is the address that a caller comes from, without the port.
func addressOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return host
}

const (
	// maxGuesses is how many attempts to join may fail in a guessWindow, from one address.
	// Secrets cannot be guessed; this keeps the log and the processor for better things.
	maxGuesses  = 10
	guessWindow = time.Minute
	// maxGuessers bounds the memory for that.
	maxGuessers = 10000
)

// guesses counts attempts to join that failed.
type guesses struct {
	mu    sync.Mutex
	since time.Time
	by    map[string]int
}

func (g *guesses) allow(from string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Sub(g.since) > guessWindow || g.by[from] < maxGuesses
}

func (g *guesses) failed(from string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.since) > guessWindow || len(g.by) >= maxGuessers {
		g.since, g.by = now, map[string]int{}
	}
	g.by[from]++
}
