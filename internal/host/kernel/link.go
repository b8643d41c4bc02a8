package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/internal/host/repairs"
	"weft/internal/model"
	"weft/internal/plan/netns"
)

func isUp(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }

// linkByName finds a link; it is nil, without an error, if there is none.
func linkByName(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	return l, err
}

// placeLink makes one link what it must be inside the namespace that h belongs to; root
// belongs to the namespace of the process. It says whether the link has just come in, and
// in d what it has changed.
func placeLink(root, h *netlink.Handle, ns string, want netns.Link, d *repairs.Differences) (came bool, err error) {
	l, err := linkByName(h, want.Name)
	if err != nil {
		return false, err
	}
	made, err := linkByName(root, want.Name)
	if err != nil {
		return false, err
	}
	switch {
	case made != nil:
		if l, err = replace(root, h, ns, l, made); err != nil {
			return true, err
		}
	case l == nil:
		return false, ErrNoDevice
	}
	return made != nil, setLink(h, l, ns, want, d)
}

// setLink makes a link of a namespace what it must be, and says in d what it has changed.
func setLink(h *netlink.Handle, l netlink.Link, ns string, want netns.Link, d *repairs.Differences) error {
	a := l.Attrs()
	if !want.MAC.IsZero() && !bytes.Equal(a.HardwareAddr, want.MAC[:]) {
		if err := h.LinkSetHardwareAddr(l, want.MAC[:]); err != nil {
			return fmt.Errorf("set MAC: %w", err)
		}
		d.Add("MAC", a.HardwareAddr.String(), want.MAC.String())
	}
	if want.MTU > 0 && a.MTU != want.MTU {
		if err := h.LinkSetMTU(l, want.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", want.MTU, err)
		}
		d.Add("MTU", strconv.Itoa(a.MTU), strconv.Itoa(want.MTU))
	}
	// Frames that leave with a checksum to be filled in by hardware never meet any: between
	// here and the guest there is only software, and some of it does not do that.
	if err := Do(ns, func() error { return txChecksumOff(want.Name) }); err != nil {
		return fmt.Errorf("switch off checksum offload: %w", err)
	}
	if err := setAddrs(h, l, want.Addrs, d); err != nil {
		return err
	}
	if !isUp(l) {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
		d.Add("link", "down", "up")
	}
	return nil
}

// replace moves a device that the switch has made into its namespace, where old, if any,
// is what a former run of the switch has left: with the userspace datapath its devices
// stay behind, without carrier, when ovs-vswitchd ends.
//
// The kernel takes up to 20 ms for a move, as it waits for readers of the old place; but
// the switch can only make its devices where it runs.
func replace(root, h *netlink.Handle, ns string, old, made netlink.Link) (netlink.Link, error) {
	name := made.Attrs().Name
	if old != nil {
		if old.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 && isUp(old) {
			return nil, errors.New("the device exists twice, and both are in use")
		}
		if err := h.LinkDel(old); err != nil {
			return nil, fmt.Errorf("remove the device left by the switch: %w", err)
		}
	}
	fd, err := vnetns.GetFromPath(filepath.Join(Dir, ns))
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	if err := root.LinkSetNsFd(made, int(fd)); err != nil {
		return nil, fmt.Errorf("move into namespace: %w", err)
	}
	moved, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("after the move: %w", err)
	}
	return moved, nil
}

// setAddrs makes the IPv4 addresses of a link those wanted; IPv6 is left to the kernel.
func setAddrs(h *netlink.Handle, l netlink.Link, want []netip.Prefix, d *repairs.Differences) error {
	have, err := h.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	var got []netip.Prefix
	for i := range have {
		p := toPrefix(have[i].IPNet)
		if slices.Contains(want, p) {
			got = append(got, p)
			continue
		}
		if err := h.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s: %w", p, err)
		}
		d.Add("address "+p.String(), "there", "")
	}
	for _, p := range want {
		if slices.Contains(got, p) {
			continue
		}
		// The library fills in the broadcast address.
		if err := h.AddrReplace(l, &netlink.Addr{IPNet: toIPNet(p)}); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
		d.Add("address "+p.String(), "", "there")
	}
	return nil
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

// setRoutes makes the static IPv4 routes those wanted. Routes of the kernel (to the
// networks of addresses) are not touched.
func setRoutes(h *netlink.Handle, want []netns.Route, d *repairs.Differences) error {
	have, raw, err := staticRoutes(h)
	if err != nil {
		return err
	}
	for i, r := range have {
		if slices.Contains(want, r) {
			continue
		}
		if err := h.RouteDel(&raw[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", r, err)
		}
		d.Add("route "+r.String(), "there", "")
	}
	for _, r := range want {
		if slices.Contains(have, r) {
			continue
		}
		l, err := h.LinkByName(r.Device)
		if err != nil {
			return fmt.Errorf("route %s: %w", r, err)
		}
		nr := netlink.Route{LinkIndex: l.Attrs().Index, Dst: toIPNet(r.Destination), Protocol: unix.RTPROT_STATIC, Table: unix.RT_TABLE_MAIN}
		if r.Via.IsValid() {
			nr.Gw = r.Via.AsSlice()
		} else {
			nr.Scope = unix.RT_SCOPE_LINK
		}
		if err := h.RouteReplace(&nr); err != nil {
			return fmt.Errorf("add route %s: %w", r, err)
		}
		d.Add("route "+r.String(), "", "there")
	}
	return nil
}

// staticRoutes lists the routes of the main table that somebody like us has made.
func staticRoutes(h *netlink.Handle) ([]netns.Route, []netlink.Route, error) {
	all, err := h.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, nil, fmt.Errorf("list routes: %w", err)
	}
	if len(all) == 0 {
		return nil, nil, nil
	}
	links, err := h.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	device := make(map[int]string, len(links))
	for _, l := range links {
		device[l.Attrs().Index] = l.Attrs().Name
	}
	out := make([]netns.Route, 0, len(all))
	for _, r := range all {
		v := netns.Route{Destination: toPrefix(r.Dst), Device: device[r.LinkIndex]}
		if via, ok := netip.AddrFromSlice(r.Gw); ok {
			v.Via = via.Unmap()
		}
		out = append(out, v)
	}
	return out, all, nil
}

// setSysctls writes those settings that differ. A kernel without IPv6 has none of its settings.
func setSysctls(ns string, want map[string]string, d *repairs.Differences) error {
	if len(want) == 0 {
		return nil
	}
	return Do(ns, func() error {
		for key, value := range want {
			path := filepath.Join("/proc/sys", key)
			have, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(key, "net/ipv6/") {
				continue
			}
			is := strings.TrimSpace(string(have))
			if err == nil && is != value {
				err = os.WriteFile(path, []byte(value), 0)
			}
			if err != nil {
				return err
			}
			if is != value {
				d.Add("sysctl "+key, "= "+is, "= "+value)
			}
		}
		return nil
	})
}

// observedSysctls are the settings that plans make.
var observedSysctls = []string{"net/ipv6/conf/default/accept_ra"}

// observe reads one namespace back.
func observe(name string) (n netns.Namespace, ours bool, err error) {
	h, err := handleAt(name)
	if err != nil {
		return n, false, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return n, false, err
	}
	n.Name = name
	for _, l := range links {
		a := l.Attrs()
		if a.Name == "lo" {
			ours = a.Alias == mark
			continue
		}
		// A device that is down does not serve: it is as good as not there.
		if !isUp(l) {
			continue
		}
		o := netns.Link{Name: a.Name, MTU: a.MTU}
		copy(o.MAC[:], a.HardwareAddr)
		addrs, err := h.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return n, ours, err
		}
		for _, ad := range addrs {
			o.Addrs = append(o.Addrs, toPrefix(ad.IPNet))
		}
		n.Links = append(n.Links, o)
	}
	if n.Routes, _, err = staticRoutes(h); err != nil {
		return n, ours, err
	}
	err = Do(name, func() error {
		for _, key := range observedSysctls {
			if v, err := os.ReadFile(filepath.Join("/proc/sys", key)); err == nil {
				if n.Sysctls == nil {
					n.Sysctls = map[string]string{}
				}
				n.Sysctls[key] = strings.TrimSpace(string(v))
			}
		}
		return nil
	})
	n.Sort()
	return n, ours, err
}

// PlaceLink moves a device from the process's namespace into a named one and makes it
// what it must be there, waiting for the device until ctx is done. It serves `weft plug
// --netns`; the namespace must exist, and is not marked as ours.
func PlaceLink(ctx context.Context, ns string, want netns.Link) error {
	h, err := handleAt(ns)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", ns, err)
	}
	defer h.Close()
	root, err := handleAt("")
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		_, err := placeLink(root, h, ns, want, &repairs.Differences{})
		if !errors.Is(err, ErrNoDevice) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", want.Name, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Link is what the kernel says of one link.
type Link struct {
	Name string `json:"name"`
	// Namespace is empty for that of the process.
	Namespace string `json:"namespace,omitempty"`
	Index     int    `json:"index"`
	// Type is the kernel's word: tun, veth, openvswitch, ...
	Type    string    `json:"type"`
	MAC     model.MAC `json:"mac"`
	MTU     int       `json:"mtu"`
	Up      bool      `json:"up"`
	Carrier bool      `json:"carrier"`
	// Addrs are the IPv4 addresses.
	Addrs                         []netip.Prefix `json:"addrs,omitempty"`
	RxPackets, TxPackets          uint64
	RxBytes, TxBytes              uint64
	RxDropped, TxDropped, RxError uint64
}

// ErrNoLink means that there is no such link.
var ErrNoLink = errors.New("no such link")

// LinkInfo reads one link of a namespace; ns "" is that of the process.
func LinkInfo(ns, name string) (Link, error) {
	h, err := handleAt(ns)
	if err != nil {
		return Link{}, fmt.Errorf("namespace %s: %w", ns, err)
	}
	defer h.Close()
	l, err := linkByName(h, name)
	if err != nil {
		return Link{}, fmt.Errorf("link %s: %w", name, err)
	}
	if l == nil {
		return Link{}, fmt.Errorf("link %s: %w", name, ErrNoLink)
	}
	a := l.Attrs()
	out := Link{
		Name: a.Name, Namespace: ns, Index: a.Index, Type: l.Type(), MTU: a.MTU,
		Up: isUp(l), Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	if out.Type == "tuntap" {
		out.Type = "tun"
	}
	copy(out.MAC[:], a.HardwareAddr)
	if s := a.Statistics; s != nil {
		out.RxPackets, out.TxPackets, out.RxBytes, out.TxBytes = s.RxPackets, s.TxPackets, s.RxBytes, s.TxBytes
		out.RxDropped, out.TxDropped, out.RxError = s.RxDropped, s.TxDropped, s.RxErrors
	}
	addrs, err := h.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return out, fmt.Errorf("link %s: list addresses: %w", name, err)
	}
	for _, ad := range addrs {
		out.Addrs = append(out.Addrs, toPrefix(ad.IPNet))
	}
	return out, nil
}
