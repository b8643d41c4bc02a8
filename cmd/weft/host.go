package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"weft/internal/admin"
	"weft/internal/client"
)

// hostNoun is not of the Neutron API, which has agents instead; its verbs are its own.
func hostNoun() noun {
	return noun{
		word: "host", short: "Hosts of the cloud",
		Collection: client.Collection{Path: admin.HostsPath, Key: "hosts", One: "host", Name: "name"},
		columns: []column{
			{title: "NAME", path: "name"}, {title: "STATE", path: "state"}, {title: "ROLES", path: "roles"}, {title: "TUNNEL IP", path: "tunnel_ip"},
			{title: "PORTS", path: "port_count"}, {title: "SERVER", path: "server"}, {title: "CONNECTED SINCE", path: "connected_at"},
			{title: "CERTIFICATE UNTIL", path: "certificate_until"}, {title: "LAST HEARD OF", path: "heartbeat_at", long: true},
			{title: "VERSION", path: "version", long: true}, {title: "OVS", path: "ovs_version", long: true},
		},
		more: []func(noun) *cobra.Command{showHostCommand, drainCommand, undrainCommand, removeHostCommand},
	}
}

// onHost makes a command that does one request about a host and prints the host.
func onHost(use, short, method, action string) func(noun) *cobra.Command {
	return func(n noun) *cobra.Command {
		cmd := verb(use, short, cobra.ExactArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
			var answer map[string]json.RawMessage
			if err := ask(ctx, api, method, n.Path+"/"+url.PathEscape(args[0])+action, nil, &answer); err != nil {
				return err
			}
			return printObject(cmd, answer[n.One])
		})
		cmd.ValidArgsFunction = completeArgs(n.word)
		addFormatFlag(cmd)
		return cmd
	}
}

func showHostCommand(n noun) *cobra.Command {
	return onHost("show HOST", "Show one host and what is bound to it", http.MethodGet, "")(n)
}

func drainCommand(n noun) *cobra.Command {
	cmd := onHost("drain HOST", "Let a host have no further ports, and move its DHCP services to others", http.MethodPost, "/drain")(n)
	cmd.Long = `Lets a host have no further ports, and moves its DHCP services to other hosts, as far as there are
any that can take them. The guests on it stay and work on. It prints the host and what is still there.`
	return cmd
}

func undrainCommand(n noun) *cobra.Command {
	return onHost("undrain HOST", "Let a drained host have ports again", http.MethodPost, "/undrain")(n)
}

func removeHostCommand(n noun) *cobra.Command {
	var force bool
	cmd := verb("remove HOST", "Remove a host: its certificate is good no longer", cobra.ExactArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		path := n.Path + "/" + url.PathEscape(args[0])
		if force {
			path += "?force=true"
		}
		if err := ask(ctx, api, http.MethodDelete, path, nil, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "host %s removed\n", args[0])
		return err
	})
	cmd.Long = `Removes a host from the cloud: no server takes its certificate any more, and its connection ends at
once. What it runs now it runs on, as it was last told to. Only a new token lets it join again.

While ports are bound to it that is refused; "weft host drain" tells which. --force removes it
anyway: the ports stay, fail to bind, and bind again if a host joins by that name.`
	cmd.Flags().BoolVar(&force, "force", false, "also while ports are bound to it")
	cmd.ValidArgsFunction = completeArgs(n.word)
	return cmd
}
