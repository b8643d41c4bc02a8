package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/admin"
	"weft/internal/client"
	"weft/internal/feed"
	"weft/internal/model"
)

// advertised are the addresses at which hosts reach the feed that listens on addr.
func (c *Config) advertised(addr net.Addr) []string {
	if len(c.FeedAdvertise) > 0 {
		return c.FeedAdvertise
	}
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return []string{net.JoinHostPort(c.Host, port)}
	}
	return []string{addr.String()}
}

func tokenCommand() *cobra.Command {
	var expires time.Duration
	var roles []string
	var server bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token with which a new host may join",
		Long: `Makes a token with which one new host may join ("weft agent join TOKEN", there), and prints it. The
running server makes it: as for all that asks the API, you have to be an administrator there.

A token is good once, and until it expires. It tells the new host where the servers are and
how to know them; whoever has it can become a host of this cloud, so treat it as a password.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := admin.TokenRequest{Kind: model.JoinHost, Expires: int64(expires / time.Second)}
			for _, r := range roles {
				q.Roles = append(q.Roles, model.HostRole(r))
			}
			if server {
				q.Kind = model.JoinServer
			}
			return speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				var t admin.Token
				if err := ask(ctx, api, http.MethodPost, admin.TokensPath, q, &t); err != nil {
					return err
				}
				if !slices.ContainsFunc(t.Servers, distant) {
					fmt.Fprintf(cmd.ErrOrStderr(), "weft: only this host can reach the server at %v: others need feed_listen, or feed_advertise, to be an address that they reach\n", t.Servers)
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), t.Token)
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&expires, "expires", time.Hour, "how long the token is good")
	cmd.Flags().StringSliceVar(&roles, "roles", nil, "roles that the host may have, whatever its settings say: compute, network (default both)")
	cmd.Flags().BoolVar(&server, "server", false, "let a server join, not a host")
	addCloudFlags(cmd, "api")
	return cmd
}

func joinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this host one of a cloud",
		Long: `Makes this host one of the cloud that the token is of ("weft server token", on a server, made it): makes
a key, has it certified and keeps certificate, key and the servers' addresses in the agent's
certificate directory. Then "weft agent" works here. The key never leaves this host.

The servers are believed only if they are of the token's cloud. A token that could not be used
stays good; a host that has joined already is left as it is, unless its certificate
has run out.`,
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
			if err := feed.Join(cmd.Context(), t, model.HostName(c.Host), c.agentCertDir()); err != nil {
				return fmt.Errorf("join: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "This host is %s now; its certificate is in %s. Start its agent: weft agent\n", c.Host, c.agentCertDir())
			return err
		},
	}
	addFlags(cmd, "join")
	return cmd
}

// learnServer takes the server that joining has told, unless the settings name one.
func (c *Config) learnServer() error {
	known, err := feed.ServersIn(c.agentCertDir())
	if err == nil && len(known) > 0 && slices.Equal(c.Server, defaults().Server) {
		c.Server = known
	}
	return err
}

// distant reports whether an address may be that of another host.
func distant(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return err != nil && host != "localhost" || err == nil && !ip.IsLoopback()
}

// ask speaks to what is below /weft/. What it refuses, it says in plain words.
func ask(ctx context.Context, api *client.Client, method, path string, in, out any) error {
	err := api.Do(ctx, method, path, in, out)
	var f client.Fault
	if errors.As(err, &f) && f.Message != "" && f.Status != http.StatusUnauthorized {
		return errors.New(f.Message)
	}
	return err
}
