package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/trace"
)

func showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what is there, beside what should be",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(showPortCommand())
	return cmd
}

func showPortCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "port ID|NAME|MAC|IP|TAP",
		Short: "Show the whole chain of one port as found now",
		Long: `Shows one port from the API's record to the guest's last DHCP messages: binding, OVS interface
and tag, tap, flows, DHCP namespace and address, status. Each line has what should be beside
what was found now; "!" marks what is not as it should be, and the last line names the first
such thing. The port may be named by its ID, name, MAC, an address, or the name of its tap.
The exit code is 0 also when something is not as it should be.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				raw, err := portAPI{api}.chain(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", raw)
					return err
				}
				var chain trace.Chain
				if err := json.Unmarshal(raw, &chain); err != nil {
					return fmt.Errorf("read the answer: %w", err)
				}
				return chain.Print(cmd.OutOrStdout())
			})
		},
		ValidArgsFunction: completeArgs("port"),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the chain as JSON")
	addCloudFlags(cmd, "client")
	return cmd
}
