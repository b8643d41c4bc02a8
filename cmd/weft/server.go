package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"weft/internal/admin"
	"weft/internal/control"
	"weft/internal/feed"
	"weft/internal/inspect"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/neutron"
	"weft/internal/store"
	"weft/internal/web"
)

func serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the API and the store; agents connect to it",
		Long: `Runs the Neutron API, the store (an etcd inside the process, or an external one) and the
feed that agents on the hosts connect to. It makes its certificate authority at its first
start; "weft server token" makes a token with which a further host may join.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			log := newLog(c)
			lock, err := openStateDir(c.StateDir, "server")
			if err != nil {
				return err
			}
			defer lock.Close()
			return runServer(cmd.Context(), c, log, metrics.New(version()), nil)
		},
	}
	addFlags(cmd, "server")
	cmd.AddCommand(tokenCommand(), serverJoinCommand(), serverListCommand(), serverRemoveCommand())
	return cmd
}

// runServer runs the server until ctx ends. When it serves it calls ready, if that is not
// nil, with the CA and the feed's address, so that weft up can add its agent.
func runServer(ctx context.Context, c Config, log *slog.Logger, m *metrics.Registry, ready func(context.Context, *feed.CA, net.Addr) error) (err error) {
	began := time.Now()
	policy, err := c.policy(log)
	if err != nil {
		return err
	}
	ca, tlsConfig, err := serverCertificates(c)
	if err != nil {
		return err
	}
	asking, err := feed.AskingTLS(c.authorityDir())
	if err != nil {
		return err
	}
	countCertificate(m, "server", asking)
	etcd, err := openEtcd(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, etcd.close()) }()
	if etcd.failed != nil {
		m.Etcd()
	}
	st, err := store.Open(ctx, etcd.client, store.Options{Prefix: c.EtcdPrefix, Log: log, Metrics: m, LeaderChanged: etcd.leaderChanged})
	if err != nil {
		return err
	}
	// Listen before anything runs: a port that is taken is found out at once.
	apiListener, err := c.listen(c.APIListen)
	if err != nil {
		return fmt.Errorf("API: %w", err)
	}
	defer apiListener.Close()
	feedListener, err := net.Listen("tcp", c.FeedListen)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	defer feedListener.Close()
	serveMetrics, err := listenMetrics(c, m, log)
	if err != nil {
		return err
	}
	who, err := listenIdentity(c, apiListener.Addr())
	if err != nil {
		return err
	}
	defer who.close()
	who.shared = etcd.several

	// The store outlives those who write to it.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	tasks, ctx := errgroup.WithContext(ctx)
	storeDone := make(chan error, 1)
	go func() { storeDone <- st.Run(storeCtx) }()
	select {
	case <-st.Ready():
	case err := <-storeDone:
		return fmt.Errorf("store: %w", err)
	case <-ctx.Done():
		return nil
	}

	verbs := control.New(control.Options{Store: st, Log: log, Metrics: m, Config: controlConfig(c), Policy: policy})
	feeds := func() []string { return c.advertised(feedListener.Addr()) }
	about := admin.Self{Etcd: etcd.client, Prefix: c.EtcdPrefix, Embedded: len(c.EtcdEndpoints) == 0, StateDir: c.StateDir,
		Certificates: c.authorityDir(), Version: version(), PhysicalMTU: c.PhysicalMTU}
	feedServer := feed.NewServer(feed.ServerOptions{Store: st, Control: verbs, CA: ca, Feeds: feeds, TLS: asking, Name: c.Host, Log: log, Metrics: m, Self: about.Answer,
		Admission: feed.ServerAdmission{Spend: verbs.SpendServerToken, Add: etcd.add}})
	requests := m.Requests()
	if err := who.start(ctx, tasks, st, requests, log); err != nil {
		return err
	}
	tasks.Go(func() error { return returnMemory(ctx) })
	tasks.Go(func() error { return serveMetrics(ctx) })
	tasks.Go(func() error { return feedServer.Run(ctx) })
	tasks.Go(func() error { return verbs.RunDHCP(ctx) })
	tasks.Go(func() error { return verbs.RunRefused(ctx) })
	tasks.Go(func() error { return renewServer(ctx, c, ca, log) })
	tasks.Go(func() error { return serveFeed(ctx, feedListener, tlsConfig, feedServer) })
	self := model.Server{Name: c.Host, Feeds: feeds(), Version: version(),
		API: cmpOr(c.NetworkURL, c.scheme()+"://"+apiListener.Addr().String())}
	tasks.Go(func() error { return verbs.ServeAs(ctx, self) })
	hosts := admin.Options{Control: verbs, CA: ca.Hash(), Feeds: feedServer.Feeds, Feed: feedServer, Self: about, Log: log}
	api := apiHandler(who, hosts, inspect.Options{Cloud: verbs, Hosts: feedServer, Refused: verbs.Refused, Stopping: ctx.Done(), Changes: st.Subscribe, Log: log, Metrics: m}, neutron.Options{
		Control: verbs, Log: log, Shared: etcd.several, Policy: policy,
		Authenticator: who.auth, AuthURL: who.authURL(), Origins: c.CORSOrigins,
	})
	tasks.Go(func() error { return serveHTTP(ctx, apiListener, requests.Measure(fromOwnPages(c, api)), log) })
	tasks.Go(func() error {
		select {
		case err := <-storeDone:
			return fmt.Errorf("store: %w", err)
		case err := <-etcd.failed:
			return fmt.Errorf("etcd: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	if ready != nil {
		tasks.Go(func() error { return ready(ctx, ca, feedListener.Addr()) })
	}
	log.Info("serving", "api", apiListener.Addr(), "feed", feedListener.Addr(), "after", time.Since(began).Round(time.Millisecond), "version", version())
	err = tasks.Wait()
	stopStore()
	log.Info("stopped")
	return err
}

// apiHandler is the API; what is not Neutron's is below /weft/.
func apiHandler(who *identityParts, a admin.Options, i inspect.Options, n neutron.Options) http.Handler {
	mux := http.NewServeMux()
	api := neutron.New(n)
	page := web.New(web.Options{Identity: who.c.Identity, Tokens: who.tokens})
	mux.Handle("/", api)
	mux.Handle("GET /{$}", web.Front(api))
	mux.Handle("/weft/", page)
	mux.Handle(web.APIPath, page)
	i.Sight, i.Who = sightOf(api), who.caller
	port := inspect.New(i)
	a.TryTunnels = port.TryTunnels
	mux.Handle("/weft/v1/", who.adminsOnly(admin.New(a)))
	mux.Handle(inspect.Path, who.known(port))
	mux.Handle(inspect.LivePath, who.known(port))
	mux.Handle(inspect.FollowPath, who.known(port))
	mux.Handle(inspect.AllowsPath, who.adminsOnly(port))
	mux.Handle(inspect.CapturePath, who.adminsOnly(port))
	return mux
}

// sightOf shows what the API shows to the same caller.
func sightOf(api http.Handler) func(*http.Request) inspect.Sight {
	return func(r *http.Request) inspect.Sight { return sight{api, r} }
}

type sight struct {
	api http.Handler
	r   *http.Request
}

// Port asks the API for the port. Who is shown there where it is bound may see the insides of hosts.
func (s sight) Port(id model.PortID) (port, hosts bool) {
	q := s.r.Clone(s.r.Context())
	q.Method, q.Body, q.ContentLength = http.MethodGet, http.NoBody, 0
	q.URL = &url.URL{Path: "/v2.0/ports/" + string(id)}
	q.RequestURI = q.URL.Path
	w := answer{header: http.Header{}, code: http.StatusOK}
	s.api.ServeHTTP(&w, q)
	return w.code == http.StatusOK, w.code == http.StatusOK && bytes.Contains(w.body.Bytes(), []byte(`"binding:host_id"`))
}

// Project is the caller's own, or any for an administrator.
func (s sight) Project(id model.ProjectID) bool {
	c := control.CallerOf(s.r.Context())
	return c.Admin || c.Has("admin") || c.ProjectID == id
}

// answer keeps what a handler answers.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func controlConfig(c Config) control.Config {
	k := control.DefaultConfig()
	// complete has checked all that is parsed here.
	k.BaseMAC, _ = model.ParseMAC(c.BaseMAC)
	k.PhysicalMTU, k.OverlayIPVersion = c.PhysicalMTU, c.OverlayIP
	first, last, _ := parseRange(c.VNIRange)
	k.VNIRange = [2]uint32{uint32(first), uint32(last)}
	k.VLANRanges = map[string][2]int{}
	for _, r := range c.VLANRanges {
		physical, first, last, _ := parseVLANRange(r)
		k.VLANRanges[physical] = [2]int{first, last}
	}
	k.FlatNetworks = c.FlatNetworks
	k.DNSDomain = c.DNSDomain
	k.MaxNameservers, k.MaxHostRoutes = c.MaxDNS, c.MaxRoutes
	k.AgentDownTime = c.AgentDownTime
	k.DHCP = model.DHCPSetting{Mode: c.DHCPMode, PerNetwork: c.DHCPPerNetwork}
	k.DHCPFailover = c.DHCPFailover
	k.Quotas, _ = parseQuotas(c.Quotas)
	return k
}

// serverNames are those that the server's certificate is made for.
func (c *Config) serverNames() []string {
	if host, _, err := net.SplitHostPort(c.FeedListen); err == nil && host != "" {
		return append([]string{host}, c.FeedNames...)
	}
	return c.FeedNames
}

// renewServer makes the server a new certificate when its own is due, until ctx ends.
func renewServer(ctx context.Context, c Config, ca *feed.CA, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(ca.Life/30, time.Hour)):
		}
		if err := ca.IssueServer(c.serverNames()...); err != nil {
			log.Error("cannot renew the server's certificate; when it has run out, no host comes in", "err", err)
		}
		if c.PeerListen == "" {
			continue
		}
		if err := ca.IssuePeer(); err != nil {
			log.Error("cannot renew the certificate for other servers; when it has run out, none speaks with this one", "err", err)
		}
	}
}

// serverCertificates makes or reads the authority and the server's certificate.
func serverCertificates(c Config) (*feed.CA, *tls.Config, error) {
	ca, err := feed.EnsureCA(c.authorityDir())
	if err != nil {
		return nil, nil, err
	}
	ca.Life = c.CertificateLife
	if err := ca.IssueServer(c.serverNames()...); err != nil {
		return nil, nil, err
	}
	if c.PeerListen != "" {
		if err := ca.IssuePeer(); err != nil {
			return nil, nil, err
		}
	}
	// An agent beside its server needs nothing copied.
	if _, err := ca.IssueHost(model.HostName(c.Host)); err != nil {
		return nil, nil, err
	}
	t, err := feed.ServerTLS(c.authorityDir())
	return ca, t, err
}

// etcdClient is a client of either kind of etcd.
type etcdClient struct {
	client *store.Client
	// several says whether other servers may write too.
	several func() bool
	// leaderChanged is store.Options.LeaderChanged.
	leaderChanged func() <-chan struct{}
	// add lets another server in; nil for an external etcd.
	add func(ctx context.Context, name, peerURL string) ([]store.Member, error)
	// failed delivers the end of an embedded etcd; nil for an external one.
	failed <-chan error
	close  func() error
}

func openEtcd(ctx context.Context, c Config, log *slog.Logger) (etcdClient, error) {
	if len(c.EtcdEndpoints) == 0 {
		peers, err := c.peers()
		if err != nil {
			return etcdClient{}, err
		}
		e, err := store.Embedded(ctx, store.EmbeddedConfig{Dir: c.StateDir, Name: c.Host, Peers: peers, Log: log})
		if err != nil {
			return etcdClient{}, err
		}
		add := func(ctx context.Context, name, peerURL string) ([]store.Member, error) {
			return store.AddMember(ctx, e.Client, name, peerURL)
		}
		return etcdClient{client: e.Client, several: e.Several, leaderChanged: e.LeaderChanged, add: add, failed: e.Err(), close: e.Close}, nil
	}
	return externalEtcd(c)
}

// externalEtcd connects to the etcd at c.EtcdEndpoints.
func externalEtcd(c Config) (etcdClient, error) {
	cfg := clientv3.Config{
		Endpoints: c.EtcdEndpoints, DialTimeout: 10 * time.Second, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
		// What matters in its log comes back as errors; it would write JSON to our stderr.
		Logger: zap.NewNop(),
		// gRPC by itself waits up to two minutes before it tries an etcd again that was away.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		})},
	}
	if c.EtcdCA != "" || c.EtcdCert != "" {
		var err error
		cfg.TLS, err = transport.TLSInfo{TrustedCAFile: c.EtcdCA, CertFile: c.EtcdCert, KeyFile: c.EtcdKey}.ClientConfig()
		if err != nil {
			return etcdClient{}, fmt.Errorf("etcd certificates: %w", err)
		}
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return etcdClient{}, fmt.Errorf("etcd at %v: %w", c.EtcdEndpoints, err)
	}
	return etcdClient{client: client, several: func() bool { return true }, close: client.Close}, nil
}

func serveFeed(ctx context.Context, l net.Listener, t *tls.Config, f *feed.Server) error {
	g := feed.NewGRPC(t)
	f.Register(g)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("feed: %w", err)
	}
	return nil
}

func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,     // or a slow body holds its connection for ever
		WriteTimeout:      5 * time.Minute, // or a slow reader; streams set their own
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		// Requests that are under way are answered; idle connections are closed at once.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(grace)
	})
	err := srv.Serve(l)
	if !stop() {
		<-done
	}
	if ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

func certificateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certificate HOST",
		Short: "Make the certificate with which the agent of a host may connect",
		Long: `Makes a certificate for the agent of one host, signed by the authority in this server's
state directory, and prints the directory that holds it. Copy that directory to the host and
start the agent there with --cert-dir. The server's own host has its certificate already.

"weft server token" and "weft agent join" do the same without copying a key, and it is they
who let a host in that was removed, or joined by a token before.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			ca, err := feed.EnsureCA(c.authorityDir())
			if err != nil {
				return err
			}
			ca.Life = c.CertificateLife
			dir, err := ca.IssueHost(model.HostName(args[0]))
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), dir)
			}
			return err
		},
	}
	addFlags(cmd, "server")
	return cmd
}

func fsckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check that what is stored is whole: no address or MAC twice, nothing dangling",
		Long: `Reads the whole store and checks its invariants: every object decodes, refers only to
objects that are there, and holds exactly the unique keys of its addresses and MAC. weft may run
meanwhile. The exit code is 0 if all is well and 1 if not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			etcd, err := serverEtcd(cmd.Context(), c)
			if err != nil {
				return err
			}
			problems, err := control.FsckAt(cmd.Context(), etcd.client, c.EtcdPrefix)
			err = errors.Join(err, etcd.close())
			if err != nil {
				return err
			}
			for _, p := range problems {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", p.Key, p.Message)
			}
			if len(problems) > 0 {
				return fmt.Errorf("%d problems", len(problems))
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the store is whole")
			return err
		},
	}
	addFlags(cmd, "server")
	return cmd
}
