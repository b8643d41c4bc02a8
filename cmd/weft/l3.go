package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

func addInterface(n noun) *cobra.Command {
	return interfaceCommand(n, "add-interface", "Connect a router to a subnet, or by a port", "add_router_interface")
}

func removeInterface(n noun) *cobra.Command {
	return interfaceCommand(n, "remove-interface", "Disconnect a router from a subnet, or from a port", "remove_router_interface")
}

func interfaceCommand(n noun, use, short, action string) *cobra.Command {
	cmd := verb(use+" ROUTER [SUBNET]", short, cobra.RangeArgs(1, 2), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		port, err := cmd.Flags().GetString("port")
		if err != nil {
			return err
		}
		if (port == "") == (len(args) == 1) {
			return usageError{errors.New("give either a subnet or --port")}
		}
		id, err := findID(ctx, api, n, args[0])
		if err != nil {
			return err
		}
		body := map[string]any{}
		if port != "" {
			body["port_id"], err = findID(ctx, api, nounOf("port"), port)
		} else {
			body["subnet_id"], err = findID(ctx, api, nounOf("subnet"), args[1])
		}
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := api.Do(ctx, http.MethodPut, n.Path+"/"+id+"/"+action, body, &answer); err != nil {
			return err
		}
		return printObject(cmd, answer)
	})
	cmd.Flags().String("port", "", "port to use, instead of a subnet")
	_ = cmd.RegisterFlagCompletionFunc("port", completeNoun("port"))
	cmd.ValidArgsFunction = completeArgs("router", "subnet")
	addFormatFlag(cmd)
	return cmd
}

// gatewayIPs are the addresses of a router's gateway.
var gatewayIPs = attr{flag: "fixed-ip", name: "external_fixed_ips", kind: pairs, keys: fixedIPKeys, help: fixedIPHelp}

func setGateway(n noun) *cobra.Command {
	flags := []attr{gatewayIPs, {flag: "snat", name: "enable_snat", kind: yesNo, help: "whether packets leave with the router's address; =false for not"}}
	cmd := verb("set-gateway ROUTER NETWORK", "Connect a router to an external network", cobra.ExactArgs(2), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		info, err := readAttrs(ctx, api, cmd, flags)
		if err != nil {
			return err
		}
		if info["network_id"], err = findID(ctx, api, nounOf("network"), args[1]); err != nil {
			return err
		}
		return n.update(ctx, api, cmd, args[0], map[string]any{"external_gateway_info": info})
	})
	for _, a := range flags {
		a.addTo(cmd)
	}
	cmd.ValidArgsFunction = completeArgs("router", "network")
	addFormatFlag(cmd)
	return cmd
}

func unsetGateway(n noun) *cobra.Command {
	cmd := verb("unset-gateway ROUTER", "Disconnect a router from its external network", cobra.ExactArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		// Neutron takes an empty object here, and not from everyone null.
		return n.update(ctx, api, cmd, args[0], map[string]any{"external_gateway_info": map[string]any{}})
	})
	cmd.ValidArgsFunction = completeArgs("router")
	addFormatFlag(cmd)
	return cmd
}

func associate(n noun) *cobra.Command {
	cmd := verb("associate FLOATINGIP PORT", "Let a floating IP lead to a port", cobra.ExactArgs(2), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		port, err := findID(ctx, api, nounOf("port"), args[1])
		if err != nil {
			return err
		}
		attrs := map[string]any{"port_id": port}
		if addr, err := cmd.Flags().GetString("fixed-ip"); err == nil && addr != "" {
			attrs["fixed_ip_address"] = addr
		}
		return n.update(ctx, api, cmd, args[0], attrs)
	})
	cmd.Flags().String("fixed-ip", "", "address of the port, if it has several")
	cmd.ValidArgsFunction = completeArgs("floatingip", "port")
	addFormatFlag(cmd)
	return cmd
}

func disassociate(n noun) *cobra.Command {
	cmd := verb("disassociate FLOATINGIP", "Let a floating IP lead to no port", cobra.ExactArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		return n.update(ctx, api, cmd, args[0], map[string]any{"port_id": nil})
	})
	cmd.ValidArgsFunction = completeArgs("floatingip")
	addFormatFlag(cmd)
	return cmd
}

// quotaCommand is weft quota: a project has one, so its verbs are not those of other nouns.
func quotaCommand() *cobra.Command {
	cmd := group("quota", "How much each project may have")
	show := verb("show [PROJECT]", "Show what a project may have and what it has", cobra.MaximumNArgs(1), showQuota)
	set := verb("set PROJECT RESOURCE=LIMIT...", "Change what a project may have; -1 is without limit", cobra.MinimumNArgs(2), setQuota)
	addFormatFlag(show)
	addFormatFlag(set)
	cmd.AddCommand(show, set)
	return cmd
}

func showQuota(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
	p, err := api.Own(ctx)
	if len(args) > 0 {
		p, err = api.Project(ctx, args[0])
	}
	if err != nil {
		return err
	}
	if p.ID == "" {
		return usageError{errors.New("without authentication there is no project of one's own: name one")}
	}
	var answer struct{ Quota json.RawMessage }
	if err := api.Do(ctx, http.MethodGet, "/v2.0/quotas/"+p.ID+"/details", nil, &answer); err != nil {
		return err
	}
	if format(cmd) != "table" {
		return printEncoded(cmd, answer.Quota)
	}
	var details map[string]map[string]any
	if err := json.Unmarshal(answer.Quota, &details); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	t := table{head: []string{"RESOURCE", "LIMIT", "USED", "RESERVED"}}
	for name, d := range details {
		t.rows = append(t.rows, []string{name, cell(d["limit"]), cell(d["used"]), cell(d["reserved"])})
	}
	slices.SortFunc(t.rows, slices.Compare)
	return t.print(cmd.OutOrStdout())
}

func setQuota(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
	limits := map[string]any{}
	for _, kv := range args[1:] {
		k, v, _ := strings.Cut(kv, "=")
		n, err := strconv.Atoi(v)
		if err != nil {
			return usageError{fmt.Errorf("%q is not RESOURCE=LIMIT with a number, such as port=100", kv)}
		}
		limits[strings.ReplaceAll(k, "-", "_")] = n
	}
	p, err := api.Project(ctx, args[0])
	if err != nil {
		return err
	}
	var answer struct{ Quota json.RawMessage }
	if err := api.Do(ctx, http.MethodPut, "/v2.0/quotas/"+p.ID, map[string]any{"quota": limits}, &answer); err != nil {
		return err
	}
	return printObject(cmd, answer.Quota)
}
