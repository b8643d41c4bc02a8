package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/inspect"
	"weft/internal/trace"
)

// Exit codes of weft allows: as of grep, with one more.
const (
	exitNo       = 1
	exitTrouble  = 2
	exitDisagree = 3
)

// exitCode ends a command that has said all there is to say.
type exitCode struct {
	code int
	// error is what went wrong, if there is something to say of it.
	error
}

// Unwrap gives what went wrong.
func (e exitCode) Unwrap() error { return e.error }

// allowsText are the flags of weft allows that go to the server as they are, by parameter.
var allowsText = []struct{ key, flag, help string }{
	{"from", "from", "would the port receive it from there: an `address`, or what names another port"},
	{"to", "to", "may the port send it there: an `address`, or what names another port"},
	{"proto", "proto", "`protocol`, by name or number (tcp if there is --dport, icmp if there is --icmp-type)"},
	{"dport", "dport", "destination `port` of tcp, udp or sctp"},
	{"sport", "sport", "source `port` (50000, as a client has)"},
	{"icmp_type", "icmp-type", "`type` of icmp (an echo request)"},
	{"icmp_code", "icmp-code", "`code` of icmp (0)"},
	{"mac", "mac", "MAC `address` of the sender (the one that belongs to its address)"},
	{"as", "as", "the port's own `address` in the packet (its first one of the family)"},
}

func allowsCommand() *cobra.Command {
	var established, reply, live bool
	var output string
	cmd := &cobra.Command{
		Use:   "allows PORT (--from ADDRESS | --to ADDRESS)",
		Short: "Say whether a port may send or receive a packet, and by which rule",
		Long: `Says whether port security and security groups let a packet pass at a port, by which rule, or
why not. --from asks whether the port would receive it from there, --to whether it may send it
there. What happens at the other side is not asked: that is a question about the port there.
The port may be named by its ID, name, MAC, an address, or the name of its tap; so may the port
at the other side, for its address.

The answer is worked out from the records. --live also asks the switch of the port's host, which
looks up the packet in its flows (ofproto/trace) without sending it, and names the flow that
decides. If the two disagree, that is said, with what may be behind it.

  weft allows web --from 192.0.2.7 --dport 22
  weft allows web --from db --proto icmp --live
  weft allows web --to 10.0.0.9 --proto udp --sport 67 --dport 68

The exit code is 0 for yes, 1 for no, 2 if the question could not be answered, and 3 if record
and switch disagree.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			switch {
			case output != "text" && output != "json":
				return usageError{fmt.Errorf("--output: %q is neither text nor json", output)}
			case given("from") == given("to"):
				return usageError{errors.New("give one of --from ADDRESS and --to ADDRESS")}
			case established && reply:
				return usageError{errors.New("give one of --established and --reply")}
			}
			query := url.Values{"q": {args[0]}}
			for _, f := range allowsText {
				if given(f.flag) {
					query.Set(f.key, cmd.Flag(f.flag).Value.String())
				}
			}
			for connection, set := range map[string]bool{"established": established, "reply": reply} {
				if set {
					query.Set("connection", connection)
				}
			}
			if live {
				query.Set("live", "true")
			}
			err := speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				return allows(ctx, portAPI{api}, query, output == "json", cmd.OutOrStdout())
			})
			if e := (exitCode{}); err == nil || errors.As(err, &e) {
				return err
			}
			return exitCode{exitTrouble, err}
		},
		ValidArgsFunction: completeArgs("port"),
	}
	for _, f := range allowsText {
		cmd.Flags().String(f.flag, "", f.help)
	}
	cmd.Flags().BoolVar(&established, "established", false, "as a further packet of a connection that was allowed, from the side that opened it")
	cmd.Flags().BoolVar(&reply, "reply", false, "as an answer on a connection that was allowed")
	cmd.Flags().BoolVar(&live, "live", false, "ask the switch of the port's host too")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	addCloudFlags(cmd, "api")
	return cmd
}

// allows asks and prints; what it returns becomes the exit code.
func allows(ctx context.Context, api portAPI, query url.Values, asJSON bool, out io.Writer) error {
	raw, err := api.inspect(ctx, inspect.AllowsPath, query)
	if err != nil {
		return err
	}
	var a trace.Answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if asJSON {
		_, err = fmt.Fprintf(out, "%s\n", strings.TrimSpace(string(raw)))
	} else {
		err = a.Print(out)
	}
	switch {
	case err != nil:
		return err
	case a.Disagree:
		return exitCode{code: exitDisagree}
	case !a.Allowed:
		return exitCode{code: exitNo}
	}
	return nil
}

// inspect asks what is no part of the Neutron API.
func (c portAPI) inspect(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	var raw json.RawMessage
	err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &raw)
	return raw, plain(err)
}

// plain is what the server says is the matter, without its name and number.
func plain(err error) error {
	var f client.Fault
	if errors.As(err, &f) && f.Message != "" && f.Status != http.StatusUnauthorized {
		return errors.New(f.Message)
	}
	return err
}
