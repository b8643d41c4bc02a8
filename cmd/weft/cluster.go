package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/feed"
	"weft/internal/store"
)

// peersFile, in the state directory of a server that has joined others, has the URLs of
// their etcds; it counts until there is an etcd of its own.
func (c *Config) peersFile() string { return filepath.Join(c.StateDir, "peers") }

// peers is what the embedded etcd needs to be one of several, or nil.
func (c *Config) peers() (*store.PeerConfig, error) {
	text, err := os.ReadFile(c.peersFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	join := strings.Fields(string(text))
	if c.PeerListen == "" {
		if len(join) > 0 {
			return nil, errors.New("this server has joined others: it needs peer_listen as when it joined")
		}
		return nil, nil
	}
	p := &store.PeerConfig{Listen: c.PeerListen, Advertise: c.peerAdvertise(), Join: join}
	feed.PeerFiles(c.authorityDir(), p)
	return p, nil
}

// peerAdvertise is the address by which other servers reach the etcd of this one.
func (c *Config) peerAdvertise() string {
	host, port, err := net.SplitHostPort(c.PeerListen)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return cmp.Or(c.PeerAdvertise, net.JoinHostPort(c.Host, port))
	}
	return cmp.Or(c.PeerAdvertise, c.PeerListen)
}

func serverJoinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this machine a further server of a cloud",
		Long: `Makes this machine a server beside those that there are, which serve on meanwhile: gets from one of them the
cloud's certificate authority and, with peer_listen, makes its etcd a member of theirs. "weft server token
--server" there prints the token. Then start "weft server" here with the same settings: it fetches what is
stored and becomes a full member by itself. One that does not come within ten minutes has to join again.

Whoever reads the state directory of a server owns the cloud: join only machines that may be servers.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			t, err := feed.ParseToken(args[0])
			if err != nil {
				return usageError{err}
			}
			lock, err := openStateDir(c.StateDir, "server")
			if err != nil {
				return err
			}
			defer lock.Close()
			return joinServers(cmd.Context(), c, t)
		},
	}
	addFlags(cmd, "server")
	return cmd
}

// joinServers does not use up the token when it can see beforehand that it would be in vain.
func joinServers(ctx context.Context, c Config, t feed.Token) error {
	for _, name := range []string{filepath.Join(c.StateDir, "etcd", "member"), filepath.Join(c.authorityDir(), "ca.key")} {
		if _, err := os.Stat(name); err == nil {
			return fmt.Errorf("this machine is a server already: %s is there. If its cloud is not needed, empty the state directory", name)
		}
	}
	url := ""
	if c.PeerListen != "" {
		url = store.PeerURL(c.peerAdvertise())
	} else if len(c.EtcdEndpoints) == 0 {
		return errors.New("a server beside others needs peer_listen, or etcd_endpoints as they have")
	}
	reply, err := feed.JoinServer(ctx, t, c.Host, url)
	if err != nil {
		return err
	}
	var others []string
	for _, m := range reply.Members {
		if m.PeerUrl != url {
			others = append(others, m.PeerUrl+"\n")
		}
	}
	if len(others) > 0 {
		if err := os.WriteFile(c.peersFile(), []byte(strings.Join(others, "")), 0o600); err != nil {
			return err
		}
	}
	_, err = feed.ImportCA(c.authorityDir(), reply.Ca, reply.CaKey)
	return err
}

func serverListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the servers that are members of the cluster",
		Long: `Lists the members of the cluster that this machine's server is in: who leads, who still catches up (learner) and
who answers now. It needs the right to read the state directory.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			etcd, err := runningEtcd(c)
			if err != nil {
				return err
			}
			defer etcd.close()
			peers, err := c.peers()
			if err != nil {
				return err
			}
			members, err := store.Survey(cmd.Context(), etcd.client, peers)
			if err != nil {
				return err
			}
			t := table{head: []string{"NAME", "PEER", "ROLE", "ALIVE"}}
			for _, m := range members {
				t.rows = append(t.rows, []string{cmp.Or(m.Name, "-"), m.PeerURL, m.Role, m.Health})
			}
			return t.print(cmd.OutOrStdout())
		},
	}
	addFlags(cmd, "server")
	return cmd
}

func serverRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a server out of the cluster",
		Long: `Takes a server out of the cluster, for good: one that is lost, or to be used no more. Run it on another. The
server removed stops; empty its state directory before it joins again. If most servers are lost there is nobody to
agree: see docs/servers.md.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			etcd, err := runningEtcd(c)
			if err != nil {
				return err
			}
			defer etcd.close()
			return store.RemoveMember(cmd.Context(), etcd.client, c.EtcdPrefix, args[0])
		},
	}
	addFlags(cmd, "server")
	return cmd
}

// runningEtcd connects to the etcd inside the server that runs on this machine.
func runningEtcd(c Config) (etcdClient, error) {
	if len(c.EtcdEndpoints) > 0 {
		return etcdClient{}, errors.New("the servers use an etcd of their own elsewhere: ask that (etcdctl member list)")
	}
	endpoint, ok := store.EmbeddedEndpoint(c.StateDir)
	if !ok {
		return etcdClient{}, fmt.Errorf("no weft server runs on %s", c.StateDir)
	}
	c.EtcdEndpoints = []string{endpoint}
	return externalEtcd(c)
}
