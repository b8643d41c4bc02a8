package feed

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"weft/internal/control"
	"weft/internal/feed/feedpb"
	"weft/internal/model"
)

// joinTimeout bounds what one server may take to answer somebody who joins or renews.
const joinTimeout = 15 * time.Second

// serversFile holds the addresses of the servers, one a line, in a host's directory.
const serversFile = "servers"

// joined is the error of a host that has joined already.
func joined(dir string, old *x509.Certificate) error {
	return fmt.Errorf("this host has joined already, as %s: its certificate in %s is good until %s. To join anew, remove that directory first",
		old.Subject.CommonName, dir, old.NotAfter.UTC().Format(time.RFC3339))
}

// Join makes this host one of the cloud that the token is of: it makes a key, has it
// certified and writes what ClientTLS reads into dir. What it needs is in place before the
// certificate, which comes last: a host without one has not joined. When it fails it leaves nothing.
func Join(ctx context.Context, t Token, name model.HostName, dir string) (err error) {
	if t.Kind != model.JoinHost {
		return fmt.Errorf("the token is for a %s to join, not for a host", t.Kind)
	}
	if err := control.CheckHostName(name); err != nil {
		return err
	}
	if old, err := readCert(filepath.Join(dir, hostCertFile)); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return err
		}
		if time.Now().Before(old.NotAfter) { // else it is good for nothing
			return joined(dir, old)
		}
	}
	if err := makeDir(dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, f := range []string{hostKeyFile, hostCertFile, serversFile, caCertFile} {
				_ = os.Remove(filepath.Join(dir, f)) // it may not be there
			}
			_ = os.Remove(dir) // unless there is something else in it
		}
	}()
	// Before the token is spent: a key that cannot be kept would spend it for nothing.
	key, err := writeNewKey(filepath.Join(dir, hostKeyFile))
	if err != nil {
		return fmt.Errorf("key of this host: %w", err)
	}
	csr, err := certificateRequest(name, key)
	if err != nil {
		return err
	}
	var reply *feedpb.JoinReply
	err = anyServer(ctx, t.Servers, pinnedTLS(t.CA), func(ctx context.Context, f feedpb.FeedClient) (err error) {
		reply, err = f.Join(ctx, &feedpb.JoinRequest{Token: t.wire(), Host: string(name), Csr: csr})
		return err
	})
	if err != nil {
		return err
	}
	if sha256.Sum256(reply.Ca) != t.CA {
		return errOtherCloud
	}
	servers := reply.Servers
	if len(servers) == 0 {
		servers = t.Servers
	}
	err = writeFile(filepath.Join(dir, serversFile), []byte(strings.Join(servers, "\n")+"\n"))
	if err == nil {
		err = writeFile(filepath.Join(dir, caCertFile), encodeCert(reply.Ca))
	}
	if err == nil {
		err = keepCertificate(dir, name, key, reply)
	}
	return err
}

// ServersIn are the servers of which joining has told the host whose directory it is; none
// if it has not joined by a token.
func ServersIn(dir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, serversFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(b)), err
}

func certificateRequest(name model.HostName, key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(name)}}, key)
}

// keepCertificate checks a certificate and writes it.
func keepCertificate(dir string, name model.HostName, key *ecdsa.PrivateKey, reply *feedpb.JoinReply) error {
	cert, err := x509.ParseCertificate(reply.Certificate)
	if err != nil {
		return fmt.Errorf("the server's certificate for this host: %w", err)
	}
	if cert.Subject.CommonName != string(name) || !key.PublicKey.Equal(cert.PublicKey) {
		return errors.New("the server's certificate is not for this host and its key")
	}
	return writeFile(filepath.Join(dir, hostCertFile), encodeCert(cert.Raw))
}

// anyServer calls f with one server after the other, until one has answered.
func anyServer(ctx context.Context, servers []string, t *tls.Config, f func(context.Context, feedpb.FeedClient) error) error {
	var errs []error
	for _, addr := range servers {
		err := oneServer(ctx, addr, t, f)
		if err == nil {
			return nil
		}
		s, _ := status.FromError(err)
		errs = append(errs, fmt.Errorf("server %s: %s", addr, plainly(s.Message())))
		if s.Code() != codes.Unavailable && s.Code() != codes.DeadlineExceeded {
			break // it has answered; the others would say the same
		}
	}
	return errors.Join(errs...)
}

// plainly is a message without what gRPC wraps around the cause.
func plainly(s string) string {
	for _, wrap := range []string{"connection error: desc = \"", "transport: ", "Error while dialing: "} {
		if _, cause, ok := strings.Cut(s, wrap); ok {
			s = cause
		}
	}
	return strings.TrimSuffix(s, "\"")
}

func oneServer(ctx context.Context, addr string, t *tls.Config, f func(context.Context, feedpb.FeedClient) error) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(t)), grpc.WithDisableServiceConfig())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return f(ctx, feedpb.NewFeedClient(conn))
}

// KeepRenewed renews the certificate in a host's directory when it is due, until ctx ends.
// Connections that are there stay; those made later show the new one. Servers returns the
// addresses of the servers that are known.
func KeepRenewed(ctx context.Context, dir string, servers func() []string, log *slog.Logger) error {
	wait, failed := time.Duration(0), false
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		cert, err := readCert(filepath.Join(dir, hostCertFile))
		if err == nil && time.Now().Before(dueAt(cert)) {
			wait = min(time.Until(dueAt(cert)), time.Hour) // a clock may be set meanwhile
			continue
		}
		if err == nil {
			err = renew(ctx, dir, model.HostName(cert.Subject.CommonName), servers())
		}
		switch {
		case err == nil:
			log.Info("this host's certificate is renewed")
			wait, failed = 0, false
			continue
		case ctx.Err() != nil:
			return nil
		case !failed:
			failed = true
			log.Error("cannot renew this host's certificate; when it has run out, the servers know this host no more", "err", err)
		}
		wait = time.Minute
		if cert != nil && time.Now().Before(cert.NotAfter) {
			wait = max(min(wait, time.Until(cert.NotAfter)/10), 100*time.Millisecond)
		}
	}
}

// renew has the host's key certified anew. The key stays: so certificate and key fit each
// other at every moment.
func renew(ctx context.Context, dir string, name model.HostName, servers []string) error {
	t, _, err := ClientTLS(dir)
	if err != nil {
		return err
	}
	key, err := readKey(filepath.Join(dir, hostKeyFile))
	if err != nil {
		return err
	}
	csr, err := certificateRequest(name, key)
	if err != nil {
		return err
	}
	var reply *feedpb.JoinReply
	err = anyServer(ctx, servers, t, func(ctx context.Context, f feedpb.FeedClient) (err error) {
		reply, err = f.Renew(ctx, &feedpb.RenewRequest{Csr: csr})
		return err
	})
	if err != nil {
		return err
	}
	return keepCertificate(dir, name, key, reply)
}
