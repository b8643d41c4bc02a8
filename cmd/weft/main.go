// Command weft gives virtual machines their NIC, MAC address and IP address: Neutron's
// API, a switch and a DHCP server for one host or many.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

const about = `weft gives virtual machines their NIC, MAC address and IP address.

It speaks OpenStack Neutron's network API, so the openstack command, Terraform and curl
work with it. On each host it wires Open vSwitch and answers DHCP from the API's records.

On one host start everything with "weft up" and then talk to http://127.0.0.1:9696.
"weft demo" shows the whole chain with a real virtual machine, in a place of its own that
it removes afterwards. The README has the steps to a virtual machine of yours.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if code := run(ctx, root()); code != 0 {
		os.Exit(code)
	}
}

// run runs a command and returns its exit code.
func run(ctx context.Context, cmd *cobra.Command) int {
	err := cmd.ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // asked to stop before it had begun
	}
	if err == nil {
		return 0
	}
	code := 1
	if e := (exitCode{}); errors.As(err, &e) {
		if e.error == nil {
			return e.code
		}
		code = e.code
	}
	text := strings.TrimSpace(err.Error())
	fmt.Fprintln(cmd.ErrOrStderr(), "weft:", text)
	if u := (usageError{}); errors.As(err, &u) || strings.HasPrefix(text, "unknown command") { // cobra's own has no type
		return 2
	}
	return code
}

// usageError is a mistake on the command line; the exit code is 2.
type usageError struct{ error }

// Unwrap gives the mistake itself.
func (e usageError) Unwrap() error { return e.error }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "weft",
		Short:         "Virtual NICs, MAC addresses and IP addresses for virtual machines",
		Long:          about,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nTry: %s --help", err, c.CommandPath())}
	})
	cmd.AddGroup(
		&cobra.Group{ID: "run", Title: "Run it:"},
		&cobra.Group{ID: "use", Title: "Use it:"},
		&cobra.Group{ID: "api", Title: "Networks and what is on them, by the API:"},
		&cobra.Group{ID: "other", Title: "Other:"},
	)
	add := func(group string, cs ...*cobra.Command) {
		for _, c := range cs {
			c.GroupID = group
			cmd.AddCommand(c)
		}
	}
	add("run", upCommand(), serverCommand(), agentCommand(), certificateCommand())
	add("use", plugCommand(), unplugCommand(), traceCommand(), captureCommand(), allowsCommand(), doctorCommand(), gcCommand())
	add("api", nounCommands()...)
	add("other", demoCommand(), benchCommand(), fsckCommand(), backupCommand(), restoreCommand(), cleanupCommand(), versionCommand())
	cmd.SetHelpCommandGroupID("other")
	cmd.SetCompletionCommandGroupID("other")
	checkArgs(cmd)
	return cmd
}

// checkArgs makes a wrong number of arguments, to any command, a mistake on the command line.
func checkArgs(cmd *cobra.Command) {
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			err := args(cmd, given)
			if u := (usageError{}); err == nil || errors.As(err, &u) {
				return err
			}
			if len(given) > 0 && !cmd.HasSubCommands() && strings.HasPrefix(err.Error(), "unknown command") { // so cobra says it
				err = fmt.Errorf("%s takes no arguments; %q is one", cmd.CommandPath(), given[0])
			}
			return usageError{fmt.Errorf("%w\nUsage: %s", err, cmd.UseLine())}
		}
	}
	for _, c := range cmd.Commands() {
		checkArgs(c)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of weft and of what it was built with",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// release is the version of the next or present release.
const release = "0.1.0"

// version names the release and, where the build knows it, the commit.
func version() string {
	v := "weft " + release
	if info, ok := debug.ReadBuildInfo(); ok {
		commit, dirty := "", ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+changes"
			}
		}
		if commit != "" {
			v += " (" + commit + dirty + ")"
		}
	}
	return fmt.Sprintf("%s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// newLog makes the logger that the settings ask for.
func newLog(c Config) *slog.Logger {
	var level slog.Level
	// complete has checked the name.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
