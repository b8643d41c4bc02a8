package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Release is the kernel's version.
func Release() string { return read("/proc/sys/kernel/osrelease") }

// MissingModules are those of names that the kernel neither has nor could load. Where its modules
// are not to be seen, as in a container, none is.
func MissingModules(names ...string) (missing []string) {
	dir := "/lib/modules/" + Release()
	list, err := os.ReadFile(dir + "/modules.dep")
	if err != nil {
		return nil
	}
	builtin, _ := os.ReadFile(dir + "/modules.builtin")
	known := string(list) + string(builtin)
	for _, name := range names {
		if _, err := os.Stat("/sys/module/" + name); err != nil && !strings.Contains(known, "/"+name+".ko") {
			missing = append(missing, name)
		}
	}
	return missing
}

// Connections are those that conntrack follows, and the most that it can; 0 is not known.
func Connections() (now, most int) {
	now, _ = strconv.Atoi(read("/proc/sys/net/netfilter/nf_conntrack_count"))
	most, _ = strconv.Atoi(read("/proc/sys/net/netfilter/nf_conntrack_max"))
	return now, most
}

// Neighbours are how many the neighbour table holds in which an address would be, the most that it can, and how often it
// was full since the machine began; 0 is not known. There is one for each IP version, for all namespaces.
func Neighbours(of netip.Addr) (now, most, full int) {
	limit, stat := "/proc/sys/net/ipv4/neigh/default/gc_thresh3", "/proc/net/stat/arp_cache"
	if of.Is6() {
		limit, stat = "/proc/sys/net/ipv6/neigh/default/gc_thresh3", "/proc/net/stat/ndisc_cache"
	}
	most, _ = strconv.Atoi(read(limit))
	lines := strings.Split(read(stat), "\n")
	at := slices.Index(strings.Fields(lines[0]), "table_fulls")
	for _, line := range lines[1:] { // one for each processor, in hexadecimal
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		entries, _ := strconv.ParseUint(f[0], 16, 32)
		now = int(entries) // which is of all processors
		if at > 0 && at < len(f) {
			n, _ := strconv.ParseUint(f[at], 16, 32)
			full += int(n)
		}
	}
	return now, most, full
}

// ReversePath is the rp_filter that counts for a device: the stricter of its own and that of all.
func ReversePath(device string) int {
	all, _ := strconv.Atoi(read("/proc/sys/net/ipv4/conf/all/rp_filter"))
	own, _ := strconv.Atoi(read("/proc/sys/net/ipv4/conf/" + device + "/rp_filter"))
	return max(all, own)
}

func read(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

// RouteDevice is the device by which packets leave for an address.
func RouteDevice(to netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return "", errors.Join(fmt.Errorf("route to %s", to), err)
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("route to %s: %w", to, err)
	}
	return l.Attrs().Name, nil
}

// Process is a process of this machine.
type Process struct {
	PID  int
	Name string
}

// Processes calls f with each process that may be looked at: its name as the kernel has it, and its command line.
func Processes(f func(p Process, args []string)) error {
	es, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range es {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // gone
		}
		f(Process{pid, read(filepath.Join("/proc", e.Name(), "comm"))}, strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"))
	}
	return nil
}

// Left is a namespace of a kind that Neutron and weft make.
type Left struct {
	Name string
	// Ours: weft has made it.
	Ours bool
	// Inode is the number by which the kernel knows it.
	Inode uint64
	// Links are the devices in it, without the loopback; Others are those of them that neither
	// weft nor Neutron has put there.
	Links, Others []string
}

// agentLink matches the names that Neutron's agents and weft give to devices in namespaces.
var agentLink = regexp.MustCompile(`^(tap|ns-|qr-|qg-|ha-|sg-|rfp-|fpr-|fg-)`)

// leftName matches the names of namespaces that Neutron's agents and weft give.
var leftName = regexp.MustCompile(`^(qdhcp|qrouter)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// Namespaces are those of a kind that Neutron and weft make, and that keep does not name.
func Namespaces(keep func(name string) bool) (list []Left, err error) {
	es, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range es {
		if !leftName.MatchString(e.Name()) || keep(e.Name()) || !exists(e.Name()) {
			continue
		}
		l, e := lookInto(e.Name())
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		list = append(list, l)
	}
	return list, err
}

func lookInto(name string) (Left, error) {
	l := Left{Name: name}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(Dir, name), &st); err != nil {
		return l, fmt.Errorf("namespace %s: %w", name, err)
	}
	l.Inode = st.Ino
	h, err := handleAt(name)
	if err != nil {
		return l, fmt.Errorf("namespace %s: %w", name, err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return l, fmt.Errorf("namespace %s: %w", name, err)
	}
	for _, link := range links {
		a := link.Attrs()
		if a.Name == "lo" {
			l.Ours = a.Alias == mark
			continue
		}
		l.Links = append(l.Links, a.Name)
		// Other types are there in every namespace when the kernel has certain modules: gre0, sit0.
		if slices.Contains([]string{"device", "veth", "vlan", "macvlan", "ipvlan", "tuntap", "tun", "wireguard"}, link.Type()) && !agentLink.MatchString(a.Name) {
			l.Others = append(l.Others, a.Name)
		}
	}
	slices.Sort(l.Links)
	return l, nil
}

// Inhabitants are the first process in each network namespace, by its inode.
func Inhabitants() map[uint64]Process {
	in := map[uint64]Process{}
	_ = Processes(func(p Process, _ []string) { // none can be looked at then
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", p.PID), &st) != nil {
			return
		}
		if _, known := in[st.Ino]; !known {
			in[st.Ino] = p
		}
	})
	return in
}

// LeftTap is a device that is named as the tap of a port.
type LeftTap struct {
	Name  string
	Index int
	// Tap: it is a tap device; else of another type, which is not for us to judge.
	Tap bool
	// Held: a process has it open, whether that can be seen or not. Of one that is Down the kernel may not tell.
	Held, Down bool

	flags netlink.TuntapFlag
}

var portTap = regexp.MustCompile(`^tap[0-9a-f]{8}-[0-9a-f]{2}$`)

// Taps are the devices of this machine, outside of namespaces, that are named as the taps of ports.
func Taps() ([]LeftTap, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var out []LeftTap
	for _, l := range links {
		a := l.Attrs()
		if !portTap.MatchString(a.Name) {
			continue
		}
		t, is := l.(*netlink.Tuntap)
		if !is {
			out = append(out, LeftTap{Name: a.Name, Index: a.Index})
			continue
		}
		out = append(out, LeftTap{Name: a.Name, Index: a.Index, Tap: t.Mode == netlink.TUNTAP_MODE_TAP, Down: !isUp(l), flags: t.Flags,
			// The kernel gives a tap that is up its carrier for as long as a queue of it is open, and counts those of one with several.
			Held: a.RawFlags&unix.IFF_LOWER_UP != 0 || t.NonPersist || t.Queues+t.DisabledQueues > 0})
	}
	return out, nil
}

func findTap(name string) (t LeftTap, found bool, err error) {
	all, err := Taps()
	i := slices.IndexFunc(all, func(t LeftTap) bool { return t.Name == name })
	if err != nil || i < 0 {
		return t, false, err
	}
	return all[i], true, nil
}

// DeleteIdleTap removes a tap device that nobody holds; index tells it from another of the same name. It takes the tap as a
// hypervisor would, which the kernel refuses while another holds it, and lets it go for good: nobody can come in between.
func DeleteIdleTap(name string, index int) error {
	t, found, err := findTap(name)
	switch {
	case err != nil || !found:
		return err
	case t.Index != index || !t.Tap:
		return fmt.Errorf("tap %s: it is another device now", name)
	case t.Held:
		return fmt.Errorf("tap %s: a process holds it", name)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TAP | uint16(t.flags))
	switch err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("tap %s: a process holds it", name)
	case err != nil:
		return fmt.Errorf("tap %s: take it: %w", name, err)
	}
	// One that is made anew just now, because it was gone, goes with fd.
	now, found, err := findLink(name)
	switch {
	case err != nil:
		return err
	case !found || now.Index != index:
		return nil
	case now.Queues+now.DisabledQueues > 1:
		return fmt.Errorf("tap %s: a process holds it", name)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0); err != nil {
		return fmt.Errorf("tap %s: let it go: %w", name, err)
	}
	return nil
}

func findLink(name string) (*netlink.Tuntap, bool, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, false, nil
	}
	t, is := l.(*netlink.Tuntap)
	return t, is, err
}

// RemoveIdleNamespace removes a namespace in which no process runs; inode tells it from another of the same name.
func RemoveIdleNamespace(name string, inode uint64) error {
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(Dir, name), &st)
	p, inhabited := Inhabitants()[inode]
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("namespace %s: %w", name, err)
	case !leftName.MatchString(name) || st.Ino != inode:
		return fmt.Errorf("namespace %s: it is another one now", name)
	case inhabited:
		return fmt.Errorf("namespace %s: %s (process %d) runs in it", name, p.Name, p.PID)
	}
	return remove(name)
}
