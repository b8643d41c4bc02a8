package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"weft/internal/agent"
	"weft/internal/feed"
	"weft/internal/host"
	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/plan"
)

func agentCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host: Open vSwitch, namespaces, DHCP",
		Long: `Runs the agent of this host. It connects to the server with the certificate in --cert-dir (see
"weft agent join"), makes this host what the cloud wants of it and reports what it finds.
When it stops, switch and namespaces stay as they are; the traffic flows on.

With --dry-run it prints what it would make, and makes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if err := c.learnServer(); err != nil {
				return err
			}
			log := newLog(c)
			if dryRun {
				return dryRunAgent(cmd, c, log)
			}
			lock, err := openStateDir(c.StateDir, "agent")
			if err != nil {
				return err
			}
			defer lock.Close()
			log.Info("agent starts", "host", c.Host, "server", c.Server, "datapath", c.datapath(), "version", version())
			go func() { _ = returnMemory(cmd.Context()) }()
			return runAgent(cmd.Context(), c, log, metrics.New(version()), c.agentCertDir())
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the plan for this host and change nothing")
	addFlags(cmd, "agent")
	cmd.AddCommand(joinCommand())
	agentNoun().addVerbs(cmd) // what the API knows of agents
	return cmd
}

// runAgent runs the agent until ctx ends.
func runAgent(ctx context.Context, c Config, log *slog.Logger, m *metrics.Registry, certDir string) error {
	sw, err := ovs.Dial(ctx, ovs.Options{OVSDB: c.OVSDB, ListenOpenFlow: c.OpenFlowListen, IntegrationBridge: c.IntegrationBridge,
		Resync: c.ResyncInterval, Host: c.Host, Log: log, Metrics: m})
	if err != nil {
		return fmt.Errorf("%w (does Open vSwitch run, and is --ovsdb right?)", err)
	}
	k := kernel.New(kernel.Options{VTEP: c.vtep(), Log: log})
	d := dhcpd.New(dhcpd.Options{Log: log, Metrics: m})
	machine := host.New(host.Parts{Switch: sw, Kernel: k, DHCP: d,
		IntegrationBridge: c.IntegrationBridge, TunnelBridge: c.TunnelBridge, Log: log})
	a, err := newAgent(c, log, m, certDir, machine)
	if err != nil {
		sw.Close()
		return err
	}
	serveMetrics, err := listenMetrics(c, m, log)
	if err != nil {
		sw.Close()
		return err
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return serveMetrics(ctx) })
	tasks.Go(func() error { return sw.Run(ctx) })
	tasks.Go(func() error { return k.Run(ctx) })
	tasks.Go(func() error { return machine.Run(ctx) })
	tasks.Go(func() error { return a.Run(ctx) })
	tasks.Go(func() error {
		return feed.KeepRenewed(ctx, certDir, func() []string { return feed.KnownServers(c.StateDir, c.Server) }, log)
	})
	err = tasks.Wait()
	d.Close()
	return err
}

func newAgent(c Config, log *slog.Logger, m *metrics.Registry, certDir string, machine agent.Machine) (*agent.Agent, error) {
	tlsConfig, name, err := feed.ClientTLS(certDir)
	if err != nil {
		return nil, fmt.Errorf("%w (weft agent join, with a token that weft server token makes on a server, brings them)", err)
	}
	if string(name) != c.Host {
		return nil, fmt.Errorf("the certificate in %s is that of host %s; this is %s", certDir, name, c.Host)
	}
	countCertificate(m, "agent", tlsConfig)
	settings := agentSettings(c)
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	return agent.New(agent.Options{
		Feed:      feed.ClientOptions{Servers: c.Server, TLS: tlsConfig, Name: name, Heartbeat: c.HeartbeatInterval, MaxBackoff: c.ReconnectMax},
		Machine:   machine,
		Settings:  settings,
		Host:      hostRecord(c),
		StateDir:  c.StateDir,
		Resync:    c.ResyncInterval,
		RetryMax:  c.RetryMax,
		DiskGrace: c.ServerWait,
		Grace:     c.StatusGrace,
		Log:       log,
		Metrics:   m,
	})
}

func agentSettings(c Config) plan.Settings {
	s := plan.Defaults()
	s.IntegrationBridge, s.TunnelBridge = c.IntegrationBridge, c.TunnelBridge
	s.VTEP = c.vtep()
	s.DatapathType = c.datapath()
	s.Controller = "tcp:" + c.OpenFlowListen
	s.Manager = c.Manager
	s.BridgeMappings = c.BridgeMappings
	s.Domain = c.DNSDomain
	s.LeaseTime = uint32(c.LeaseTime.Seconds())
	return s
}

func hostRecord(c Config) model.Host {
	h := model.Host{
		Name:              model.HostName(c.Host),
		IntegrationBridge: c.IntegrationBridge,
		TunnelBridge:      c.TunnelBridge,
		DatapathType:      c.datapath(),
		BridgeMappings:    c.BridgeMappings,
		TunnelTypes:       c.TunnelTypes,
		AgentVersion:      version(),
		LeaseTime:         uint32(c.LeaseTime.Seconds()),
		VTEP:              c.vtep(),
	}
	for _, r := range c.Roles {
		h.Roles = append(h.Roles, model.HostRole(r))
	}
	return h
}

// vtep is where this host's tunnels end; the zero address if it has none.
func (c Config) vtep() netip.Addr {
	a, err := netip.ParseAddr(c.TunnelIP)
	if err != nil {
		return netip.Addr{} // empty: complete has checked it
	}
	return a.Unmap()
}

// dryRunAgent reads the switch and the feed, and writes to neither.
func dryRunAgent(cmd *cobra.Command, c Config, log *slog.Logger) error {
	ctx := cmd.Context()
	sw, err := ovs.Dial(ctx, ovs.Options{OVSDB: c.OVSDB, IntegrationBridge: c.IntegrationBridge, Log: log})
	if err != nil {
		return err
	}
	defer sw.Close()
	machine := host.New(host.Parts{Switch: sw, IntegrationBridge: c.IntegrationBridge, TunnelBridge: c.TunnelBridge, Log: log})
	a, err := newAgent(c, log, nil, c.agentCertDir(), machine)
	if err != nil {
		return err
	}
	p, err := a.Plan(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), p)
	return err
}
