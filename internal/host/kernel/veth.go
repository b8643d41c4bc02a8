package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/internal/model"
)

// Veth is a pair of devices: one in the process's namespace for the switch, the other as
// a network interface inside a namespace, as containers have them.
type Veth struct {
	// Name and MAC are those of the switch's end.
	Name string
	MAC  model.MAC
	// Namespace must exist; Inner and InnerMAC are those of the end in it.
	Namespace string
	Inner     string
	InnerMAC  model.MAC
	MTU       int
}

// CreateVeth makes the pair, both ends up and without checksum offloading: between the
// two there is only software. A pair of that name that exists already is given the same
// properties, if its other end is in the namespace.
//
// The inner end is made in its namespace: moving it there would take the kernel 20 ms.
func CreateVeth(v Veth) error {
	if err := v.create(); err != nil {
		return fmt.Errorf("veth %s: %w", v.Name, err)
	}
	return nil
}

func (v Veth) create() error {
	ns, err := vnetns.GetFromPath(filepath.Join(Dir, v.Namespace))
	if err != nil {
		return fmt.Errorf("namespace %s: %w", v.Namespace, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = v.Name, v.MTU
	err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: v.Inner, PeerHardwareAddr: v.InnerMAC[:],
		PeerNamespace: netlink.NsFd(ns)})
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create: %w", err)
	}
	// See CreateTap.
	err = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", v.Name, "disable_ipv6"), []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("disable IPv6: %w", err)
	}
	outer, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer outer.Close()
	inner, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inner.Close()
	if err := v.end(outer, "", v.Name, v.MAC); err != nil {
		return err
	}
	return v.end(inner, v.Namespace, v.Inner, v.InnerMAC)
}

// end gives one end its properties.
func (v Veth) end(h *netlink.Handle, ns, name string, mac model.MAC) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if l.Type() != "veth" {
		return fmt.Errorf("%s exists and is a %s device", name, l.Type())
	}
	if err := h.LinkSetHardwareAddr(l, mac[:]); err != nil {
		return fmt.Errorf("%s: set MAC %s: %w", name, mac, err)
	}
	if v.MTU > 0 {
		if err := h.LinkSetMTU(l, v.MTU); err != nil {
			return fmt.Errorf("%s: set MTU %d: %w", name, v.MTU, err)
		}
	}
	if err := Do(ns, func() error { return txChecksumOff(name) }); err != nil {
		return fmt.Errorf("%s: switch off checksum offload: %w", name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("%s: set up: %w", name, err)
	}
	return nil
}

// DeleteVeth removes a pair by the name of its outer end; it is no error if there is
// none. A device of another kind is refused.
func DeleteVeth(name string) error {
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("veth %s: %w", name, err)
	}
	if l.Type() != "veth" {
		return fmt.Errorf("veth %s: is a %s device", name, l.Type())
	}
	if err := netlink.LinkDel(l); err != nil {
		return fmt.Errorf("veth %s: remove: %w", name, err)
	}
	return nil
}
