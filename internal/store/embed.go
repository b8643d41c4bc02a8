package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// EmbeddedConfig configures an etcd inside this process.
type EmbeddedConfig struct {
	// Dir is the state directory; made with mode 0700 if absent. It is locked while etcd runs.
	Dir string
	// Testing gives up durability for speed: no fsync and a short tick. Never for real data.
	Testing bool
	// Name is that of the member, unlike that of any other; "weft" when empty.
	Name string
	// Peers lets it be one of several; nil: alone, and nobody reaches it.
	Peers *PeerConfig
	// Log receives etcd's warnings at level debug; nil discards.
	Log *slog.Logger
}

// EmbeddedEtcd is a running etcd inside this process.
type EmbeddedEtcd struct {
	// Client talks to it without a socket.
	Client *Client
	// Endpoint is the unix socket on which it also listens, for etcdctl and other processes
	// of the same user: unix:///path.
	Endpoint string

	etcd    *embed.Etcd
	lock    *os.File
	sockets string
	log     *slog.Logger
	stopped chan error
	// ctx ends with Close; the tasks of a member of a cluster end with it.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// ErrInUse says that another process uses the state directory.
var ErrInUse = errors.New("another instance is running on this state directory")

// maxSocketPath is what a unix socket address holds on Linux, less the file name.
const maxSocketPath = 90

// Embedded starts an etcd and returns when it serves: by itself on unix sockets, or with
// Peers as a member of a cluster, which takes as long as most others are away. A second
// instance on the same directory gets ErrInUse.
func Embedded(ctx context.Context, c EmbeddedConfig) (*EmbeddedEtcd, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	e := &EmbeddedEtcd{log: c.Log, stopped: make(chan error, 1)}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if e.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := e.start(ctx, dir, c); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *EmbeddedEtcd) start(ctx context.Context, dir string, c EmbeddedConfig) (err error) {
	e.sockets = dir
	if len(dir) > maxSocketPath {
		if e.sockets, err = os.MkdirTemp("", "weft-etcd-"); err != nil {
			return fmt.Errorf("directory for sockets: %w", err)
		}
	}
	cfg := embeddedConfig(dir, e.sockets, c)
	if c.Peers != nil {
		// Its directory is there after a start that failed, too; a log only once it is a member. Without one etcd would
		// take itself for a cluster of its own.
		log, _ := filepath.Glob(filepath.Join(cfg.Dir, "member", "wal", "*.wal"))
		if err := c.Peers.apply(ctx, cfg, len(log) == 0); err != nil {
			return fmt.Errorf("start as a member of the cluster: %w", err)
		}
	}
	e.Endpoint = cfg.ListenClientUrls[0].String()
	if e.etcd, err = embed.StartEtcd(cfg); err != nil {
		return fmt.Errorf("start embedded etcd in %s: %w", dir, err)
	}
	e.Client = v3client.New(e.etcd.Server)
	e.tasks.Go(e.watchStop)
	if c.Peers != nil {
		e.tasks.Go(func() { e.until("become a full member of the cluster", e.promote) })
	}
	serves := make(chan struct{})
	e.tasks.Go(func() { e.until("reach most servers of the cluster", e.probe); close(serves) })
	select {
	case <-serves:
	case err := <-e.stopped:
		return fmt.Errorf("start embedded etcd in %s: %w", dir, err)
	case <-ctx.Done():
		return fmt.Errorf("start embedded etcd in %s: %w", dir, ctx.Err())
	}
	if c.Peers != nil {
		return e.enter(ctx, *c.Peers)
	}
	return nil
}

// probe writes nothing, the way all writes go: it succeeds when there is a leader and this
// member is up to date. (A member that has just received all as a snapshot refuses writes
// until something new is written; its promotion is.)
func (e *EmbeddedEtcd) probe() error {
	never := clientv3.Compare(clientv3.Version(clientSocket), "=", -1)
	_, err := e.Client.Txn(e.ctx).If(never).Then(clientv3.OpPut(clientSocket, "")).Commit()
	return err
}

// watchStop notes when etcd ends by itself, and why.
func (e *EmbeddedEtcd) watchStop() {
	var err error
	select {
	case err = <-e.etcd.Err():
	case <-e.etcd.Server.StopNotify():
		err = ErrRemoved // the only reason for which it does; its other troubles end the process
	case <-e.ctx.Done():
		return
	}
	e.stopped <- err
}

// EmbeddedEndpoint is the endpoint at which an etcd that is embedded in another process
// on dir can be reached; ok is false when there is none, or its socket had no room in dir.
func EmbeddedEndpoint(dir string) (endpoint string, ok bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	socket := filepath.Join(dir, clientSocket)
	if _, err := os.Stat(socket); err != nil {
		return "", false
	}
	return (&url.URL{Scheme: "unix", Path: socket}).String(), true
}

// clientSocket is the name of the socket on which etcd serves other processes.
const clientSocket = "client.sock"

func embeddedConfig(dir, sockets string, c EmbeddedConfig) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = cmp.Or(c.Name, "weft")
	cfg.Dir = filepath.Join(dir, "etcd")
	client := url.URL{Scheme: "unix", Path: filepath.Join(sockets, clientSocket)}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(sockets, "peer.sock")}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	// etcd listens for peers at the host of the URL only. With a path it would take an abstract
	// socket, open to every user of the machine, and in a read-only directory it would never end.
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: peer.Path}}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.MaxTxnOps = 16384
	cfg.MaxRequestBytes = 16 << 20
	cfg.QuotaBackendBytes = 4 << 30
	// The mirror follows closely and lists again when it falls behind, so little history is needed.
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "revision", "10000"
	// raft keeps this many entries in memory, for members that were away for a moment.
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 2000, 500
	// A lone member waits one election timeout at start and has nobody to time out on.
	cfg.TickMs, cfg.ElectionMs = 20, 200
	if c.Testing {
		cfg.UnsafeNoFsync = true
		cfg.TickMs, cfg.ElectionMs = 10, 100
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapToSlog{c.Log}))
	return cfg
}

// Err delivers an error when etcd stops by itself: ErrRemoved when the others have removed
// this member.
func (e *EmbeddedEtcd) Err() <-chan error { return e.stopped }

// Close stops etcd and gives the directory free. Closing twice is harmless.
func (e *EmbeddedEtcd) Close() error {
	if e.lock == nil {
		return nil
	}
	e.cancel()
	e.tasks.Wait()
	if e.Client != nil {
		_ = e.Client.Close() // it holds no connection
	}
	if e.etcd != nil {
		select {
		case <-e.etcd.Server.ReadyNotify():
		default:
			e.etcd.Server.Stop() // else Close would wait for ever for it to be ready
		}
		e.etcd.Close()
	}
	if strings.HasPrefix(filepath.Base(e.sockets), "weft-etcd-") {
		_ = os.RemoveAll(e.sockets)
	}
	err := e.lock.Close() // also unlocks
	e.lock = nil
	return err
}

// lockDir locks the file "lock" in dir for as long as the process lives or the file is open.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s (process %s)", ErrInUse, dir, strings.TrimSpace(string(pid)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
