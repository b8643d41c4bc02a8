package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Underlay is the cabling between machines: one Linux bridge for each network, in a machine of their own. The cable of a
// machine to a network is a device there, named NETWORK.MACHINE, so that a fault can be given to a single cable.
type Underlay struct {
	*Machine
}

// NewUnderlay makes bridges of these names; each holds frames of up to mtu bytes.
func NewUnderlay(dir string, mtu int, networks ...string) (*Underlay, error) {
	m, err := NewMachine("underlay", dir)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if _, err = m.Run("sh", "-ec", fmt.Sprintf("ip link add %s mtu %d type bridge mcast_snooping 0; echo 1 >/proc/sys/net/ipv6/conf/%[1]s/disable_ipv6; ip link set %[1]s up", n, mtu)); err != nil {
			m.Close()
			return nil, fmt.Errorf("underlay: %w", err)
		}
	}
	return &Underlay{m}, nil
}

// Connect gives a machine, or with nil the process's own namespace, a NIC on a network, up and without an address.
func (u *Underlay) Connect(m *Machine, nic, network string) error {
	name, ns := "lab", "/proc/self/ns/net"
	if m != nil {
		name, ns = m.Name, m.namespace("net")
	}
	cable := Cable(name, network)
	if err := run("ip", "link", "add", cable, "netns", u.namespace("net"), "type", "veth", "peer", "name", nic, "netns", ns); err != nil {
		return err
	}
	// What a NIC says of itself to its neighbours (IPv6) is noise here.
	quiet := "echo 1 >/proc/sys/net/ipv6/conf/%[1]s/disable_ipv6; ip link set %[1]s up"
	if _, err := u.Run("sh", "-ec", fmt.Sprintf("ip link set %[1]s master %[2]s; "+quiet, cable, network)); err != nil {
		return err
	}
	if m == nil {
		return run("sh", "-ec", fmt.Sprintf(quiet, nic))
	}
	_, err := m.Run("sh", "-ec", fmt.Sprintf(quiet, nic))
	return err
}

// Cable is the underlay's end of a machine's NIC on a network.
func Cable(machine, network string) string { return network + "." + machine }

// A Trouble is a fault of the underlay, as a rule of nftables.
type Trouble string

// Cut lets nothing pass between two cables.
func Cut(a, b string) []Trouble {
	return []Trouble{
		Trouble(fmt.Sprintf("iifname %q oifname %q drop", a, b)),
		Trouble(fmt.Sprintf("iifname %q oifname %q drop", b, a)),
	}
}

// Unplug lets nothing pass through one cable.
func Unplug(cable string) []Trouble {
	return []Trouble{Trouble(fmt.Sprintf("iifname %q drop", cable)), Trouble(fmt.Sprintf("oifname %q drop", cable))}
}

// Lose drops that many of a hundred frames that come from a network's cables.
func Lose(network string, percent int) []Trouble {
	return []Trouble{Trouble(fmt.Sprintf("iifname \"%s.*\" numgen random mod 100 < %d drop", network, percent))}
}

// Suffer gives the underlay these troubles in place of those it has; with none it is well again.
func (u *Underlay) Suffer(all ...Trouble) error {
	var b strings.Builder
	b.WriteString("table bridge trouble\ndelete table bridge trouble\n")
	if len(all) > 0 {
		b.WriteString("table bridge trouble {\nchain forward {\ntype filter hook forward priority 0\n")
		for _, t := range all {
			fmt.Fprintln(&b, t)
		}
		b.WriteString("}\n}\n")
	}
	file := u.Dir + "/trouble.nft"
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return err
	}
	_, err := u.Run("nft", "-f", file)
	return err
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
