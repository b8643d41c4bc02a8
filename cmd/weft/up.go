package main

import (
	"context"
	"net"

	"github.com/spf13/cobra"

	"weft/internal/feed"
	"weft/internal/metrics"
	"weft/internal/model"
)

func upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this one host: store, API and agent",
		Long: `Runs the store, the API and the agent of this host in one process, until it is told to stop
(Ctrl-C or SIGTERM). It needs root and a running Open vSwitch. No configuration is needed; see
docs/configuration.md for what can be changed.

When it stops, switch and namespaces stay as they are and the traffic flows on; what was
created is in the state directory and there again after a start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			log := newLog(c)
			for _, role := range []string{"server", "agent"} {
				lock, err := openStateDir(c.StateDir, role)
				if err != nil {
					return err
				}
				defer lock.Close()
			}
			log.Info("weft starts", "host", c.Host, "state", c.StateDir, "datapath", c.datapath(), "version", version())
			m := metrics.New(version())
			return runServer(cmd.Context(), c, log, m, func(ctx context.Context, ca *feed.CA, addr net.Addr) error {
				certDir, err := ca.IssueHost(model.HostName(c.Host))
				if err != nil {
					return err
				}
				// The agent is a client of the feed like any other, by the address that was listened on.
				c.Server = []string{dialable(addr)}
				c.MetricsListen = "" // the server serves the metrics of both
				return runAgent(ctx, c, log, m, certDir)
			})
		},
	}
	addFlags(cmd, "server", "agent")
	return cmd
}

// dialable is an address at which a listener on addr is reached from this host.
func dialable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
