package feed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/store"
)

// token makes a token for the world's server.
func (w *world) token(kind model.JoinKind) Token {
	w.t.Helper()
	secret, _, err := w.rec.joins.NewJoinToken(w.t.Context(), kind, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return Token{Kind: kind, CA: w.ca.Hash(), Secret: secret, Servers: []string{w.addr}}
}

// joined is the directory of a host that has joined by a token.
func (w *world) joined(name model.HostName) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "tls", string(name))
	if err := Join(w.t.Context(), w.token(model.JoinHost), name, dir); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// clientIn starts a client with the certificate in a directory.
func (w *world) clientIn(dir string) *Client {
	w.t.Helper()
	tc, name, err := ClientTLS(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	c, _ := w.client(name, func(o *ClientOptions) { o.TLS = tc })
	return c
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	dir := w.joined("compute-1")
	for _, f := range []string{"host.key", "host.crt", "ca.crt", "servers"} {
		if fi, err := os.Stat(filepath.Join(dir, f)); err != nil || fi.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", f, fi, err)
		}
	}
	if servers, err := ServersIn(dir); err != nil || !slices.Equal(servers, []string{w.addr}) {
		t.Errorf("servers %v, %v", servers, err)
	}
	n := w.network(1)
	w.create(port(1, n, "compute-1"))
	w.settled(w.clientIn(dir))
	// Again: the certificate that is there is not lost, and the token not spent.
	again := w.token(model.JoinHost)
	if err := Join(t.Context(), again, "compute-1", dir); err == nil || !strings.Contains(err.Error(), "joined already, as compute-1") {
		t.Error(err)
	}
	if err := Join(t.Context(), again, "compute-2", filepath.Join(t.TempDir(), "x")); err != nil {
		t.Error(err)
	}
	// A certificate that has run out keeps nobody from joining.
	other, err := EnsureCA(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	other.Life = -time.Hour
	late, err := other.IssueHost("compute-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := Join(t.Context(), w.token(model.JoinHost), "compute-1", late); err != nil {
		t.Error(err)
	}
	w.settled(w.clientIn(late))
}

func TestJoinRefused(t *testing.T) {
	w := newWorld(t)
	good := w.token(model.JoinHost)
	wrongSecret, otherCloud, nowhere := good, good, good
	wrongSecret.Secret[5]++
	otherCloud.CA[5]++
	nowhere.Servers = []string{"127.0.0.1:1"}
	for _, x := range []struct {
		token Token
		name  model.HostName
		want  string
	}{
		{wrongSecret, "h1", "the token is unknown"},
		{otherCloud, "h1", "not of the token's cloud"},
		{nowhere, "h1", "127.0.0.1:1: "},
		{w.token(model.JoinServer), "h1", "for a server to join"},
		{good, "weft-server", "belongs to the servers"},
		{good, "WEFT-peer", "belongs to the servers"},
		{good, "../h1", "no host name"},
	} {
		dir := filepath.Join(t.TempDir(), "h")
		if err := Join(t.Context(), x.token, x.name, dir); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was left", x.want)
		}
	}
	// The server does not trust the client to look at the names and the key.
	for _, x := range []struct {
		name string
		csr  []byte
		code codes.Code
	}{
		{"weft-server", csrOf(t, elliptic.P256()), codes.PermissionDenied},
		{"a b", csrOf(t, elliptic.P256()), codes.PermissionDenied},
		{"h1", csrOf(t, elliptic.P384()), codes.InvalidArgument},
		{"h1", []byte("rubbish"), codes.InvalidArgument},
		{"h1", make([]byte, 5000), codes.InvalidArgument},
	} {
		err := oneServer(t.Context(), w.addr, pinnedTLS(w.ca.Hash()), func(ctx context.Context, f feedpb.FeedClient) error {
			_, err := f.Join(ctx, &feedpb.JoinRequest{Token: good.wire(), Host: x.name, Csr: x.csr})
			return err
		})
		if status.Code(err) != x.code {
			t.Errorf("%s: %v, want %v", x.name, err, x.code)
		}
	}
	// Nothing of all that has spent the token. A server that is away is passed over.
	good.Servers = []string{"127.0.0.1:1", w.addr}
	if err := Join(t.Context(), good, "h1", filepath.Join(t.TempDir(), "h")); err != nil {
		t.Error(err)
	}
	if err := Join(t.Context(), good, "h2", filepath.Join(t.TempDir(), "h")); err == nil || !strings.Contains(err.Error(), "used already, by host h1") {
		t.Error(err)
	}
}

func csrOf(t *testing.T, curve elliptic.Curve) []byte {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certificateRequest("whatever", key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// TestGuard calls everything as everybody.
func TestGuard(t *testing.T) {
	w := newWorld(t)
	asHost, _, err := ClientTLS(w.joined("h1"))
	if err != nil {
		t.Fatal(err)
	}
	asServer, err := AskingTLS(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(context.Context, feedpb.FeedClient) error{
		"Connect": func(ctx context.Context, f feedpb.FeedClient) error {
			s, err := f.Connect(ctx)
			if err == nil {
				_ = s.Send(&feedpb.ToServer{Kind: &feedpb.ToServer_Heartbeat{}}) // no Hello: InvalidArgument if one gets so far
				_, err = s.Recv()
			}
			return err
		},
		"Renew": func(ctx context.Context, f feedpb.FeedClient) error {
			_, err := f.Renew(ctx, &feedpb.RenewRequest{})
			return err
		},
		"Ask": func(ctx context.Context, f feedpb.FeedClient) error {
			_, err := f.Ask(ctx, &feedpb.AskRequest{})
			return err
		},
	}
	barred := []codes.Code{codes.Unauthenticated, codes.PermissionDenied}
	for _, x := range []struct {
		who string
		tls *tls.Config
		may []string
	}{
		{"nobody", pinnedTLS(w.ca.Hash()), nil},
		{"host", asHost, []string{"Connect", "Renew"}},
		{"server", asServer, []string{"Ask"}},
	} {
		for name, call := range calls {
			err := oneServer(t.Context(), w.addr, x.tls, call)
			if got, want := slices.Contains(barred, status.Code(err)), !slices.Contains(x.may, name); got != want {
				t.Errorf("%s calls %s: %v", x.who, name, err)
			}
		}
	}
	// A certificate of another authority does not even get through the handshake.
	other := newWorld(t)
	dir, err := other.ca.IssueHost("h1")
	if err != nil {
		t.Fatal(err)
	}
	pair := &keyPair{dir: dir, certFile: hostCertFile, keyFile: hostKeyFile}
	foreign := pinnedTLS(w.ca.Hash())
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.load() }
	for name, call := range calls {
		if err := oneServer(t.Context(), w.addr, foreign, call); status.Code(err) != codes.Unavailable {
			t.Errorf("a foreign host calls %s: %v", name, err)
		}
	}
	// Nor does a host's certificate make a server: nobody would join there.
	hostPair := &keyPair{dir: dir, certFile: hostCertFile, keyFile: hostKeyFile, authority: true}
	posing := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return hostPair.load() }}
	addr := serveTLS(t, posing)
	err = Join(t.Context(), Token{Kind: model.JoinHost, CA: other.ca.Hash(), Servers: []string{addr}}, "h9", filepath.Join(t.TempDir(), "h"))
	if err == nil || !strings.Contains(err.Error(), "not of the token's cloud") {
		t.Errorf("a host posed as a server: %v", err)
	}
}

func serveTLS(t *testing.T, c *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); conn.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestJoinGuesses(t *testing.T) {
	var g guesses
	now := time.Now()
	for i := range maxGuesses {
		if !g.allow("a", now) {
			t.Fatal(i)
		}
		g.failed("a", now)
	}
	if g.allow("a", now) || !g.allow("b", now) || !g.allow("a", now.Add(2*guessWindow)) {
		t.Error("one address has its guesses, another its own, and both have more later")
	}
	for i := range 2 * maxGuessers {
		g.failed(fmt.Sprint(i), now)
	}
	if len(g.by) > maxGuessers {
		t.Errorf("%d addresses are kept", len(g.by))
	}
}

// TestRemovedHost: its stream ends at once, and it does not come back.
func TestRemovedHost(t *testing.T) {
	w := newWorld(t)
	dir := w.joined("h1")
	c, stays := w.clientIn(dir), w.clientIn(w.joined("h2"))
	w.settled(c)
	w.settled(stays)
	w.txn(func(txn *store.Txn) {
		w.store.View(func(r store.Reader) {
			e := store.HostIdentities.Get(r, "h1")
			gone := *e.Value
			gone.RemovedAt = time.Now()
			store.HostIdentities.Update(txn, e, &gone)
		})
	})
	refusedWith := func(want string) {
		t.Helper()
		if !eventually(func() bool { st := c.Status(); return !st.InSync && strings.Contains(st.Err, want) }) {
			t.Fatalf("the host is still there: %+v", c.Status())
		}
	}
	refusedWith("was removed")
	tc, _, _ := ClientTLS(dir)
	err := oneServer(t.Context(), w.addr, tc, func(ctx context.Context, f feedpb.FeedClient) error {
		_, err := f.Renew(ctx, &feedpb.RenewRequest{Csr: csrOf(t, elliptic.P256())})
		return err
	})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a removed host renews: %v", err)
	}
	// A new token lets a host by its name in, and not the old certificate.
	again := w.clientIn(w.joined("h1"))
	w.settled(again)
	refusedWith("earlier host h1")
	if !again.Status().InSync || !stays.Status().InSync {
		t.Error("the others are cut off")
	}
}

// TestRenewal: a certificate of a short life is renewed some times; its holder's stream stays.
func TestRenewal(t *testing.T) {
	w := newWorld(t)
	w.ca.Life = 6 * time.Second
	dir := w.joined("h1")
	c := w.clientIn(dir)
	w.settled(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- KeepRenewed(ctx, dir, func() []string { return []string{w.addr} }, slog.New(slog.DiscardHandler))
	}()
	seen := map[string]bool{}
	deadline := time.Now().Add(time.Minute)
	for len(seen) < 3 && time.Now().Before(deadline) {
		cert, err := readCert(filepath.Join(dir, hostCertFile))
		if err != nil {
			t.Fatal(err)
		}
		seen[cert.SerialNumber.String()] = true
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil || len(seen) < 3 {
		t.Errorf("%d certificates, %v", len(seen), err)
	}
	w.rec.mu.Lock()
	registered := w.rec.registered[0]
	if !w.rec.until.After(registered.CertificateUntil) || registered.ConnectedAt.IsZero() {
		t.Errorf("noted %v, then %v; connected %v", registered.CertificateUntil, w.rec.until, registered.ConnectedAt)
	}
	w.rec.mu.Unlock()
	if st := c.Status(); !st.InSync || st.Session != 1 {
		t.Errorf("the stream broke: %+v", st)
	}
}
