package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/admin"
	"weft/internal/client"
	"weft/internal/doctor"
)

func gcCommand() *cobra.Command {
	var hosts []string
	var yes bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "List, and with --yes remove, what on hosts belongs to nothing",
		Long: `Lists what is left over on hosts: DHCP and router namespaces, ports of the integration bridge, and
taps, made by weft or by Neutron for networks, routers and ports that are in the store no more.

Without --yes nothing is changed. With it exactly what is listed is removed, each thing only if,
looked at again, it still belongs to nothing, the host's agent is in step with the servers and has
known it for a minute, and no process uses it.

The exit code is 1 if something could not be removed or looked at.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				return collectGarbage(ctx, api, hosts, yes, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "only this `HOST` (may be given several times)")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove what is listed")
	_ = cmd.RegisterFlagCompletionFunc("host", completeArgs("host"))
	addCloudFlags(cmd, "api")
	return cmd
}

// collectGarbage lists, and with yes removes, host by host.
func collectGarbage(ctx context.Context, api *client.Client, hosts []string, yes bool, out io.Writer) error {
	var g admin.Garbage
	if err := ask(ctx, api, http.MethodGet, admin.GCPath+"?"+url.Values{"host": hosts}.Encode(), nil, &g); err != nil {
		return err
	}
	t := table{head: []string{"HOST", "WHAT", "OF", "STATE"}}
	now, idle, silent := time.Now(), 0, 0
	for _, h := range g.Hosts {
		if h.Silence != "" {
			silent++
			fmt.Fprintf(out, "host %s was not looked at: %s\n", h.Name, h.Silence)
		}
		for _, l := range h.Leftovers {
			t.rows = append(t.rows, []string{string(h.Name), l.Title(), l.Object, leftoverState(l, now)})
			if l.Use == "" {
				idle++
			}
		}
	}
	if len(t.rows) > 0 {
		if err := t.print(out); err != nil {
			return err
		}
	}
	switch {
	case len(t.rows) == 0 && silent > 0:
		fmt.Fprintln(out, "nothing is left over on the others")
	case len(t.rows) == 0:
		fmt.Fprintln(out, "nothing is left over")
	case !yes && idle > 0:
		fmt.Fprintf(out, "\nnothing is changed; weft gc --yes removes what is not in use\n")
	}
	failed := 0
	if yes {
		var err error
		if failed, err = removeGarbage(ctx, api, g, out); err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("not removed: %d", failed)
	case silent > 0:
		return fmt.Errorf("hosts not looked at: %d", silent)
	}
	return nil
}

func leftoverState(l doctor.Leftover, now time.Time) string {
	if l.Use != "" {
		return "in use: " + l.Use
	}
	if age := now.Sub(l.Seen); age < doctor.MinAge {
		return fmt.Sprintf("seen for %s; it may go after %s", max(0, age).Round(time.Second), doctor.MinAge)
	}
	return "seen since " + l.Seen.UTC().Format(time.RFC3339)
}

// removeGarbage removes what is not in use, and counts what stayed.
func removeGarbage(ctx context.Context, api *client.Client, g admin.Garbage, out io.Writer) (failed int, err error) {
	for _, h := range g.Hosts {
		one := admin.HostGarbage{Name: h.Name, Leftovers: []doctor.Leftover{}}
		for _, l := range h.Leftovers {
			if l.Use == "" {
				one.Leftovers = append(one.Leftovers, l)
			}
		}
		if len(one.Leftovers) == 0 {
			continue
		}
		var done admin.Garbage
		if e := ask(ctx, api, http.MethodPost, admin.GCPath, admin.Garbage{Hosts: []admin.HostGarbage{one}}, &done); e != nil {
			err = errors.Join(err, fmt.Errorf("host %s: %w", h.Name, e))
			continue
		}
		for _, d := range done.Hosts {
			for _, r := range d.Removals {
				if r.Error != "" {
					failed++
					fmt.Fprintf(out, "host %s: %s stays: %s\n", d.Name, r.Title(), r.Error)
					continue
				}
				fmt.Fprintf(out, "host %s: %s removed\n", d.Name, r.Title())
			}
		}
	}
	return failed, err
}
