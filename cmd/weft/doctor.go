package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/admin"
	"weft/internal/client"
	"weft/internal/doctor"
	"weft/internal/trace"
)

func doctorCommand() *cobra.Command {
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "doctor [HOST...]",
		Short: "Say what is the matter with servers and hosts",
		Long: `Looks at all servers and hosts, or at the hosts named: etcd and its disk, certificates, clocks, Open
vSwitch and its bridges, who else rules them, the network under the tunnels, the kernel, what is
left over. It prints what is not as it should be, with what to do about it: "!" is broken, "?" is
what nobody could look at, "~" is worth a look. --all prints also what is well ("-": what cannot
happen here).

The exit code is 0 if all is well (perhaps with warnings), 1 if something is broken, and 2 if that
cannot be told.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output: %q is neither text nor json", output)}
			}
			err := speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				raw, err := portAPI{api}.inspect(ctx, admin.DoctorPath, url.Values{"host": args})
				if err != nil {
					return err
				}
				var r doctor.Report
				if err := json.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("read the answer: %w", err)
				}
				if output == "json" {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimSpace(string(raw)))
				} else {
					err = r.Print(cmd.OutOrStdout(), all)
				}
				return errors.Join(err, verdictCode(r.Verdict))
			})
			if e := (exitCode{}); err == nil || errors.As(err, &e) {
				return err
			}
			return exitCode{exitTrouble, err}
		},
		ValidArgsFunction: completeArgs("host"),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&all, "all", false, "also what is well, and what cannot happen here")
	addCloudFlags(cmd, "api")
	return cmd
}

// verdictCode makes a verdict the exit code.
func verdictCode(v trace.Verdict) error {
	switch v {
	case trace.Broken:
		return exitCode{code: exitNo}
	case trace.Unknown:
		return exitCode{code: exitTrouble}
	}
	return nil
}
