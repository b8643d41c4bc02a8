package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// nounCommands are the commands for the everyday, one for each noun and weft quota.
func nounCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, n := range nouns() {
		// Rules are below secgroup, and weft agent is also how an agent is run.
		if n.word != "rule" && n.word != "agent" {
			all = append(all, n.command())
		}
	}
	return append(all, quotaCommand())
}

// command is weft NOUN with all its verbs.
func (n noun) command() *cobra.Command {
	cmd := group(n.word, n.short)
	n.addVerbs(cmd)
	return cmd
}

func (n noun) addVerbs(cmd *cobra.Command) {
	cmd.AddCommand(n.listCommand())
	for verb := range strings.FieldsSeq(n.verbs) {
		switch verb {
		case "show":
			cmd.AddCommand(n.showCommand())
		case "create":
			cmd.AddCommand(n.createCommand())
		case "set":
			cmd.AddCommand(n.setCommand())
		case "delete":
			cmd.AddCommand(n.deleteCommand())
		}
	}
	for _, more := range n.more {
		cmd.AddCommand(more(n))
	}
}

// group is a command that only has commands below it.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%s has no command %q\nTry: %[1]s --help", cmd.CommandPath(), args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// act is what a command does; the API is the one that the settings name.
type act func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error

// verb makes one command that speaks to the API.
func verb(use, short string, args cobra.PositionalArgs, do act) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(cmd); err != nil {
				return err
			}
			return speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error { return do(ctx, api, cmd, args) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	addCloudFlags(cmd, "api")
	return cmd
}

// refWord is how usage lines call the object.
func (n noun) refWord() string { return strings.ToUpper(n.word) }

func (n noun) listCommand() *cobra.Command {
	cmd := verb("list", "List "+lowerFirst(n.short), cobra.NoArgs, func(ctx context.Context, api *client.Client, cmd *cobra.Command, _ []string) error {
		attrs, err := readAttrs(ctx, api, cmd, n.filters)
		if err != nil {
			return err
		}
		query := url.Values{}
		for name, v := range attrs {
			if name == "fixed_ips" {
				v = fmt.Sprintf("ip_address=%v", v)
			}
			query.Set(name, fmt.Sprint(v))
		}
		objects, err := api.List(ctx, n.Path, n.Key, query)
		if err != nil {
			return err
		}
		return n.printList(cmd, objects)
	})
	for _, f := range n.filters {
		f.addTo(cmd)
	}
	cmd.Flags().Bool("long", false, "show more columns")
	addFormatFlag(cmd)
	return cmd
}

func (n noun) showCommand() *cobra.Command {
	cmd := verb("show "+n.refWord(), "Show all attributes of one "+n.Kind(), cobra.ExactArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		raw, err := api.Find(ctx, n.Collection, args[0])
		if err != nil {
			return err
		}
		return printObject(cmd, raw)
	})
	cmd.ValidArgsFunction = completeArgs(n.word)
	addFormatFlag(cmd)
	return cmd
}

func (n noun) createCommand() *cobra.Command {
	use, args := "create "+strings.ToUpper(n.arg.flag), cobra.ExactArgs(1)
	if n.optional {
		use, args = "create ["+strings.ToUpper(n.arg.flag)+"]", cobra.MaximumNArgs(1)
	}
	flags := n.flagsFor("create")
	cmd := verb(use, "Create a "+n.Kind(), args, func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		for _, a := range flags {
			if a.must && !cmd.Flags().Changed(a.flag) {
				return usageError{fmt.Errorf("--%s must be given\nTry: %s --help", a.flag, cmd.CommandPath())}
			}
		}
		attrs, err := readAttrs(ctx, api, cmd, flags)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			if err := n.arg.put(ctx, api, args[0], attrs); err != nil {
				return err
			}
		}
		if n.finish != nil {
			if err := n.finish(ctx, api, attrs); err != nil {
				return err
			}
		}
		return n.send(ctx, api, cmd, http.MethodPost, n.Path, attrs)
	})
	if n.arg.of != "" {
		cmd.ValidArgsFunction = completeArgs(n.arg.of)
	}
	for _, a := range flags {
		a.addTo(cmd)
	}
	addFormatFlag(cmd)
	return cmd
}

func (n noun) setCommand() *cobra.Command {
	flags := n.flagsFor("set")
	cmd := verb("set "+n.refWord(), "Change attributes of a "+n.Kind(), cobra.ExactArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		attrs, err := readAttrs(ctx, api, cmd, flags)
		if err != nil {
			return err
		}
		if len(attrs) == 0 {
			return usageError{fmt.Errorf("nothing to change is given\nTry: %s --help", cmd.CommandPath())}
		}
		return n.update(ctx, api, cmd, args[0], attrs)
	})
	cmd.ValidArgsFunction = completeArgs(n.word)
	for _, a := range flags {
		a.addTo(cmd)
	}
	addFormatFlag(cmd)
	return cmd
}

// update changes one object and prints it.
func (n noun) update(ctx context.Context, api *client.Client, cmd *cobra.Command, ref string, attrs map[string]any) error {
	id, err := findID(ctx, api, n, ref)
	if err != nil {
		return err
	}
	return n.send(ctx, api, cmd, http.MethodPut, n.Path+"/"+id, attrs)
}

// send posts or puts one object and prints the answer.
func (n noun) send(ctx context.Context, api *client.Client, cmd *cobra.Command, method, path string, attrs map[string]any) error {
	var answer map[string]json.RawMessage
	if err := api.Do(ctx, method, path, map[string]any{n.One: attrs}, &answer); err != nil {
		return err
	}
	if err := printObject(cmd, answer[n.One]); err != nil {
		return err
	}
	var port struct {
		ID      string
		Host    string `json:"binding:host_id"`
		VIFType string `json:"binding:vif_type"`
	}
	if json.Unmarshal(answer[n.One], &port) == nil && port.VIFType == "binding_failed" {
		fmt.Fprintf(cmd.ErrOrStderr(), "weft: the port cannot be bound to host %q: weft trace %s says why\n", port.Host, port.ID)
	}
	return nil
}

// deleteCommand deletes all it can, and says for each what it could not.
func (n noun) deleteCommand() *cobra.Command {
	cmd := verb("delete "+n.refWord()+"...", "Delete one or more "+lowerFirst(n.short), cobra.MinimumNArgs(1), func(ctx context.Context, api *client.Client, cmd *cobra.Command, args []string) error {
		var errs []error
		for _, ref := range args {
			id, err := findID(ctx, api, n, ref)
			if err == nil {
				err = api.Do(ctx, http.MethodDelete, n.Path+"/"+id, nil, nil)
			}
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s deleted\n", n.Kind(), id)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("delete %s: %w", ref, err))
			}
		}
		return errors.Join(errs...)
	})
	cmd.ValidArgsFunction = completeNoun(n.word)
	return cmd
}

// flagsFor are the attributes that may be given to create or to set.
func (n noun) flagsFor(verb string) []attr {
	var all []attr
	for _, a := range n.attrs {
		if a.only == "" || a.only == verb {
			all = append(all, a)
		}
	}
	return all
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
