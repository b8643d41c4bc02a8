package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/host/kernel"
)

func cleanupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what weft has made on this host: bridges, taps, namespaces",
		Long: `Removes the bridges that weft has made with everything plugged into them, the devices of
"weft plug" and the DHCP namespaces. The agent must be stopped first. What is stored stays:
the state directory is yours to keep or to remove.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			lock, err := openStateDir(c.StateDir, "agent")
			if err != nil {
				return err
			}
			defer lock.Close()
			return cleanup(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	addFlags(cmd, "agent")
	return cmd
}

func cleanup(ctx context.Context, c Config, out io.Writer) error {
	var errs []error
	for _, bridge := range []string{c.IntegrationBridge, c.TunnelBridge} {
		errs = append(errs, removeBridge(ctx, c, bridge, out))
	}
	k := kernel.New(kernel.Options{})
	had, _ := k.Observe(ctx)
	for _, f := range k.Apply(ctx, nil, kernel.Extent{InSync: true, Full: true}) {
		errs = append(errs, f)
	}
	for _, n := range had {
		fmt.Fprintf(out, "namespace %s removed\n", n.Name)
	}
	return errors.Join(errs...)
}

// removeBridge removes a bridge that weft has made, and first the devices that weft plug has put on it.
func removeBridge(ctx context.Context, c Config, bridge string, out io.Writer) error {
	owner, err := vsctl(ctx, c, "br-get-external-id", bridge, "owner")
	if err != nil || owner != "weft" {
		// There is none, or it is somebody else's.
		return nil
	}
	ports, err := vsctl(ctx, c, "list-ports", bridge)
	if err != nil {
		return err
	}
	var errs []error
	if _, err := vsctl(ctx, c, "del-br", bridge); err != nil {
		return err
	}
	fmt.Fprintf(out, "bridge %s removed\n", bridge)
	for name := range strings.FieldsSeq(ports) {
		if !strings.HasPrefix(name, "tap") {
			continue
		}
		// Those of the switch itself have gone with the bridge.
		switch err := deleteDevice(name); {
		case err != nil:
			errs = append(errs, err)
		default:
			fmt.Fprintf(out, "device %s removed\n", name)
		}
	}
	return errors.Join(errs...)
}

func vsctl(ctx context.Context, c Config, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ovs-vsctl", append([]string{"--db=" + c.OVSDB, "--timeout=30"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("ovs-vsctl %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
