package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
	"weft/internal/trace"
)

// plugOptions are those of weft plug.
type plugOptions struct {
	user, netns, ifname string
	wait                time.Duration
}

func plugCommand() *cobra.Command {
	var o plugOptions
	cmd := &cobra.Command{
		Use:   "plug PORT",
		Short: "Make the tap of a port for a virtual machine, or its NIC in a namespace",
		Long: `Plugs a port, named by its ID or its name, on this host: binds it to this host if it is
unbound, makes the device, adds it to the integration bridge and waits until the port is ACTIVE.

Without --netns the device is a tap, named tap and the first 11 characters of the port's ID,
for QEMU or libvirt. It is persistent; --user names the user who may open it. The virtual
machine's NIC must have the port's MAC address.

With --netns the device is a NIC with the port's own MAC address in that network namespace.
Its IP address comes by DHCP; run a DHCP client there.

Plugging a port that is plugged already does no harm. "weft unplug" takes it away again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return speak(cmd, func(ctx context.Context, c Config, api *client.Client) error {
				return plug(ctx, c, portAPI{api}, args[0], o, cmd.OutOrStdout())
			})
		},
		ValidArgsFunction: completeArgs("port"),
	}
	cmd.Flags().StringVar(&o.user, "user", "root", "user (name or number) who may open the tap")
	cmd.Flags().StringVar(&o.netns, "netns", "", "network namespace to put a NIC into, instead of making a tap")
	cmd.Flags().StringVar(&o.ifname, "ifname", "eth0", "with --netns: the name of the NIC there")
	cmd.Flags().DurationVar(&o.wait, "wait", 10*time.Second, "how long to wait for the port to be ACTIVE; 0 does not wait")
	addCloudFlags(cmd, "client")
	return cmd
}

func unplugCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unplug PORT",
		Short: "Take away what weft plug has made, and unbind the port",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return speak(cmd, func(ctx context.Context, c Config, api *client.Client) error {
				return unplug(ctx, c, portAPI{api}, args[0], cmd.OutOrStdout())
			})
		},
		ValidArgsFunction: completeArgs("port"),
	}
	addCloudFlags(cmd, "client")
	return cmd
}

func plug(ctx context.Context, c Config, api portAPI, ref string, o plugOptions, out io.Writer) error {
	owner, err := userID(o.user)
	if err != nil {
		return err
	}
	p, err := api.port(ctx, ref)
	if err != nil {
		return err
	}
	mac, err := model.ParseMAC(p.MAC)
	if err != nil {
		return fmt.Errorf("port %s: %w", p.ID, err)
	}
	if p, err = bindHere(ctx, api, p, c.Host); err != nil {
		return err
	}
	mtu, err := api.mtu(ctx, p.NetworkID)
	if err != nil {
		return err
	}
	tap := vif.TapName(model.PortID(p.ID))
	if o.netns != "" {
		err = kernel.CreateVeth(kernel.Veth{Name: tap, MAC: vif.TapMAC(mac), Namespace: o.netns, Inner: o.ifname, InnerMAC: mac, MTU: mtu})
	} else {
		err = kernel.CreateTap(kernel.Tap{Name: tap, MAC: vif.TapMAC(mac), MTU: mtu, Owner: owner})
	}
	if err != nil {
		return err
	}
	began := time.Now()
	err = withSwitch(ctx, c, func(s *ovs.Switch) error {
		_, err := s.AddPort(ctx, c.IntegrationBridge, vswitch.Port{Name: tap, MTU: mtu, ExternalIDs: externalIDs(p)})
		return err
	})
	if err != nil {
		return err
	}
	where := fmt.Sprintf("tap %s (%s)", tap, vif.TapMAC(mac))
	if o.netns != "" {
		where = fmt.Sprintf("%s in namespace %s, %s on the switch", o.ifname, o.netns, tap)
	}
	if o.wait <= 0 {
		_, err = fmt.Fprintf(out, "port %s plugged: %s, MAC %s, MTU %d\n", p.ID, where, mac, mtu)
		return err
	}
	waitCtx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	if _, err := api.awaitStatus(waitCtx, p.ID, string(model.PortActive)); err != nil {
		return fmt.Errorf("plugged (%s), but after %s %w; ask weft trace %s", where, o.wait, err, p.ID)
	}
	_, err = fmt.Fprintf(out, "port %s plugged: %s, MAC %s, MTU %d, ACTIVE after %s\n", p.ID, where, mac, mtu,
		time.Since(began).Round(100*time.Microsecond))
	return err
}

// bindHere binds a port to this host unless it is. Without an agent of that name, or with
// one that cannot take the port's network, nothing is made and the port stays as it was.
func bindHere(ctx context.Context, api portAPI, p apiPort, host string) (apiPort, error) {
	was := p.HostID
	if was != "" && was != host {
		return p, fmt.Errorf("port %s is bound to host %s; this is %s", p.ID, was, host)
	}
	var err error
	if was == "" {
		if p, err = api.bind(ctx, p.ID, host); err != nil {
			return p, fmt.Errorf("bind port to %s: %w", host, err)
		}
	}
	if p.VIFType != string(model.VIFBindingFailed) {
		return p, nil
	}
	why := bindingFault(ctx, api, p.ID)
	if was == "" {
		if _, err := api.bind(ctx, p.ID, ""); err != nil {
			return p, fmt.Errorf("unbind port %s: %w", p.ID, err)
		}
	}
	return p, fmt.Errorf("port %s cannot be bound to host %s: %s", p.ID, host, why)
}

// bindingFault says in words why a binding failed: the API has no room for it in Neutron's
// terms, the trace has.
func bindingFault(ctx context.Context, api portAPI, id string) string {
	var report trace.Report
	raw, err := api.trace(ctx, id)
	if err == nil {
		err = json.Unmarshal(raw, &report)
	}
	if err != nil {
		return err.Error()
	}
	for _, c := range report.Chains {
		for _, s := range c.Steps {
			for _, it := range s.Items {
				if why, ok := strings.CutPrefix(it.Observed, string(model.VIFBindingFailed)+": "); ok {
					return why
				}
			}
		}
	}
	return "the server does not say why"
}

// externalIDs are those that os-vif and libvirt give to the interface of a virtual machine.
func externalIDs(p apiPort) map[string]string {
	ids := map[string]string{"iface-id": p.ID, "attached-mac": p.MAC, "iface-status": "active"}
	if p.DeviceID != "" {
		ids["vm-uuid"] = p.DeviceID
	}
	return ids
}

// unplug works by the port's ID also when the API has forgotten the port: its devices
// must go all the same.
func unplug(ctx context.Context, c Config, api portAPI, ref string, out io.Writer) error {
	p, err := api.port(ctx, ref)
	known := err == nil
	if !known {
		p.ID = ref
		if len(ref) != 36 {
			return err
		}
	}
	tap := vif.TapName(model.PortID(p.ID))
	if known && p.HostID != "" && p.HostID != c.Host {
		return fmt.Errorf("port %s is bound to host %s; this is %s", p.ID, p.HostID, c.Host)
	}
	err = withSwitch(ctx, c, func(s *ovs.Switch) error { return s.DelPort(ctx, c.IntegrationBridge, tap) })
	if err != nil {
		return err
	}
	if err := deleteDevice(tap); err != nil {
		return err
	}
	if known && p.HostID != "" {
		_, err := api.bind(ctx, p.ID, "")
		var e client.Fault
		if errors.As(err, &e) && e.Status == http.StatusNotFound {
			err = nil // deleted in the meantime
		}
		if err != nil {
			return fmt.Errorf("unbind port %s: %w", p.ID, err)
		}
	}
	_, err = fmt.Fprintf(out, "port %s unplugged\n", p.ID)
	return err
}

// deleteDevice removes a tap or a veth pair; it is no error if there is none.
func deleteDevice(name string) error {
	l, err := kernel.LinkInfo("", name)
	switch {
	case errors.Is(err, kernel.ErrNoLink):
		return nil
	case err != nil:
		return err
	case l.Type == "veth":
		return kernel.DeleteVeth(name)
	}
	return kernel.DeleteTap(name)
}

// withSwitch calls f with the host's Open vSwitch; only its database is used, so that the
// agent beside it is not disturbed.
func withSwitch(ctx context.Context, c Config, f func(*ovs.Switch) error) error {
	s, err := ovs.Dial(ctx, ovs.Options{OVSDB: c.OVSDB, IntegrationBridge: c.IntegrationBridge, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}

// userID finds a user's number by name or number.
func userID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("--user %s: %w", name, err)
	}
	return strconv.Atoi(u.Uid)
}
