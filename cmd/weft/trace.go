package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/trace"
)

func traceCommand() *cobra.Command {
	var output string
	var live bool
	cmd := &cobra.Command{
		Use:   "trace VM|PORT|MAC|IP|TAP",
		Short: "Say why a virtual machine has, or has not, its IP address",
		Long: `Follows a port from the API's record to the guest's last DHCP messages, on every host that has
to do with it: allocation, binding, OVS interface and tag, tap, flows, filter, tunnels, DHCP
service, conversation, status. It answers with one sentence, the first thing that is broken and
what to do about it, and then shows each step: what should be beside what was found now. "!" marks
what is broken, "?" what nobody could look at, "~" what is worth a look though the port works.
docs/trace.md explains every cause.

The port may be named by its ID, name, MAC, an address, the name of its tap, or by the ID of its
virtual machine (device_id), which means all ports of it.

--follow shows instead what happens to the port from now on, in one timeline of all its hosts and the
API's record: its interface appears, the switch acknowledges its flows, DHCP is asked and answers, it
becomes ACTIVE. It begins with the last that is known, may begin before the machine is plugged, and
ends at Ctrl-C. Of a virtual machine's ID it shows all ports, also those that come while it runs, each
line with the tap of its port. Times have microseconds; where the clock of a host is wrong, they are put right by the
server's, and that is said.

The exit code is 0 if all is well (perhaps with warnings), 1 if something is broken, and 2 if that
cannot be told.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output: %q is neither text nor json", output)}
			}
			err := speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				if live {
					return follow(ctx, portAPI{api}, args[0], output == "json", cmd.OutOrStdout())
				}
				return traceOnce(ctx, portAPI{api}, args[0], output == "json", cmd.OutOrStdout())
			})
			if e := (exitCode{}); err == nil || errors.As(err, &e) {
				return err
			}
			return exitCode{exitTrouble, err}
		},
		ValidArgsFunction: completeArgs("port"),
	}
	cmd.Flags().BoolVarP(&live, "follow", "f", false, "show what happens to the port, or to those of the VM, from now on, until Ctrl-C")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json (with --follow by line)")
	addCloudFlags(cmd, "client")
	return cmd
}

// traceOnce asks and prints; what it returns becomes the exit code.
func traceOnce(ctx context.Context, api portAPI, q string, asJSON bool, out io.Writer) error {
	raw, err := api.trace(ctx, q)
	if err != nil {
		return err
	}
	var r trace.Report
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if asJSON {
		_, err = fmt.Fprintf(out, "%s\n", strings.TrimSpace(string(raw)))
	} else {
		err = r.Print(out)
	}
	switch {
	case err != nil:
		return err
	case r.Verdict == trace.Broken:
		return exitCode{code: exitNo}
	case r.Verdict == trace.Unknown:
		return exitCode{code: exitTrouble}
	}
	return nil
}
