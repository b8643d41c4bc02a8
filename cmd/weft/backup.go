package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/feed"
	"weft/internal/store"
)

// The files of a backup: the certificate authority, in PEM.
const (
	backupCert = "ca.crt"
	backupKey  = "ca.key"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that is stored into a file, from which weft restore makes a server",
		Long: `Writes all networks, ports, users and the rest, as they are at one moment, and the certificate authority, so that
hosts stay who they are, into a new file that only its owner may read. Run it on a server, which may run
meanwhile. Not in it are the agents' and servers' own settings, tokens to join by, and the list of servers.

Whoever has the file can be any host or server of the cloud: keep it as safe as the server itself.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			b, err := backup(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s holds %s and the certificate authority with its key, at revision %d: keep it secret\n", args[0], contents(b), b.Revision)
			return err
		},
	}
	addFlags(cmd, "server")
	return cmd
}

// serverEtcd is the etcd of a server that may run or not.
func serverEtcd(ctx context.Context, c Config) (etcdClient, error) {
	if _, err := os.Stat(filepath.Join(c.authorityDir(), "peer.crt")); err != nil {
		c.PeerListen = "" // it has never been one of several
	}
	etcd, err := openEtcd(ctx, c, slog.New(slog.DiscardHandler))
	if endpoint, ok := store.EmbeddedEndpoint(c.StateDir); ok && errors.Is(err, store.ErrInUse) {
		// weft runs: ask its etcd, which answers from one revision.
		c.EtcdEndpoints = []string{endpoint}
		return externalEtcd(c)
	}
	return etcd, err
}

func backup(ctx context.Context, c Config, name string) (b *store.Backup, err error) {
	if err := absent(name); err != nil {
		return nil, err
	}
	b = &store.Backup{MadeAt: time.Now().UTC().Truncate(time.Second), Program: version(), Files: map[string][]byte{}}
	for _, f := range []string{backupCert, backupKey} {
		if b.Files[f], err = os.ReadFile(filepath.Join(c.authorityDir(), f)); err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
	}
	etcd, err := serverEtcd(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, etcd.close()) }()
	f, err := os.CreateTemp(filepath.Dir(name), ".weft-backup-*") // made 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	err = store.WriteBackup(ctx, etcd.client, c.EtcdPrefix, b, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return b, os.Rename(f.Name(), name)
}

// absent says why a file may be there, or nil.
func absent(name string) error {
	_, err := os.Lstat(name)
	switch {
	case err == nil:
		return fmt.Errorf("%s is there already", name)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// contents says what a backup holds: the commonest kinds first, the rest as a number.
func contents(b *store.Backup) string {
	left := maps.Clone(b.Keys)
	var parts []string
	for _, kind := range []string{"network", "subnet", "port", "router", "security_group", "host", "project", "user"} {
		if n := left[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, strings.ReplaceAll(kind, "_", " ")))
		}
		delete(left, kind)
	}
	rest := 0
	for n := range maps.Values(left) {
		rest += n
	}
	return strings.Join(append(parts, fmt.Sprintf("%d other keys", rest)), ", ")
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a new server of what weft backup has written",
		Long: `Makes the state directory of a new server from a file that weft backup has written. There must be no server in it
yet. With etcd_endpoints it goes into that etcd, which must have nothing below etcd_prefix. Then start
"weft server" there, and let further servers join it; hosts find it by the addresses they know. A file that is
cut short or altered is refused before anything is written.

Servers of the old cloud must not run any more. What was changed after the backup is lost: ports made since are
unknown, and those deleted since are there again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			b, err := restore(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored %s and the certificate authority, of %s by %s\n", contents(b), b.MadeAt.Format(time.RFC3339), b.Program)
			return err
		},
	}
	addFlags(cmd, "server")
	return cmd
}

func restore(ctx context.Context, c Config, name string) (*store.Backup, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := store.ReadBackup(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	cert, _ := pem.Decode(b.Files[backupCert])
	key, _ := pem.Decode(b.Files[backupKey])
	if cert == nil || key == nil {
		return nil, fmt.Errorf("%s: it has no certificate authority", name)
	}
	if err := feed.CheckCA(cert.Bytes, key.Bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	lock, err := openStateDir(c.StateDir, "server")
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	data := filepath.Join(c.StateDir, "etcd")
	if err := absent(data); err != nil {
		return nil, fmt.Errorf("%s has a store already, it seems: %w", c.StateDir, err)
	}
	if _, err := feed.ImportCA(c.authorityDir(), cert.Bytes, key.Bytes); err != nil {
		return nil, err
	}
	if len(c.EtcdEndpoints) > 0 {
		etcd, err := externalEtcd(c)
		if err != nil {
			return nil, err
		}
		return b, errors.Join(b.Restore(ctx, etcd.client, c.EtcdPrefix), etcd.close())
	}
	return b, restoreEmbedded(ctx, c, b, data)
}

// restoreEmbedded fills an etcd aside and puts it into its place when it is whole.
func restoreEmbedded(ctx context.Context, c Config, b *store.Backup, data string) error {
	aside, err := os.MkdirTemp(c.StateDir, "restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside)
	e, err := store.Embedded(ctx, store.EmbeddedConfig{Dir: aside, Name: c.Host})
	if err != nil {
		return err
	}
	if err := errors.Join(b.Restore(ctx, e.Client, c.EtcdPrefix), e.Close()); err != nil {
		return err
	}
	return os.Rename(filepath.Join(aside, "etcd"), data)
}
