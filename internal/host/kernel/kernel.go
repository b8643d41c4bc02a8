// Package kernel makes namespaces, links, addresses and routes equal a plan, and reads
// them back.
//
// In go the namespaces of a plan; out come faults, one per object, while the other
// objects are seen to. Devices of the switch are moved into their namespace when they
// appear outside of it, also when the switch has made them anew. What a process born a
// second ago may remove is told from the namespace itself: its name and a mark on its
// loopback; and it removes only when it is told that its plan is complete.
package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/internal/host/repairs"
	"weft/internal/plan/netns"
)

// mark is the alias of the loopback of a namespace that is ours. It lives and dies with
// the namespace, and `ip -n NAME link show lo` prints it.
const mark = "weft"

// ErrNoDevice means that a link's device is neither in its namespace nor in ours: the
// switch has not made it yet. Changed reports when it has.
var ErrNoDevice = errors.New("device does not exist yet")

// Fault says what could not be done to which object.
type Fault struct {
	// Object is a namespace, or namespace/device.
	Object string
	Op     string
	Err    error
}

func (f Fault) Error() string { return fmt.Sprintf("%s %s: %v", f.Op, f.Object, f.Err) }

// Unwrap gives the cause.
func (f Fault) Unwrap() error { return f.Err }

// Options are what a Kernel needs.
type Options struct {
	// VTEP is the address of this machine that tunnels end at, if there is one: see Underlay.
	VTEP netip.Addr
	// Log may be nil.
	Log *slog.Logger
}

// Kernel keeps this machine's namespaces equal to a plan.
type Kernel struct {
	vtep    netip.Addr
	log     *slog.Logger
	changed chan struct{}

	mu sync.Mutex
	// done are the namespaces that were made as they are here, without a fault.
	done map[string]netns.Namespace
	// kept are those that were when they were last looked at: what differs from them since, somebody else has changed.
	kept map[string]netns.Namespace
	// home tells for each wanted device its namespace.
	home map[string]string
	// stirred are the namespaces of which a device was seen outside since work on them began.
	stirred map[string]bool
	// watching is true while Run hears of devices that appear: only then may an unchanged
	// namespace be taken for granted.
	watching bool
	underlay underlay

	repairs repairs.Memory
}

// New makes a Kernel. Nothing is touched before Apply.
func New(o Options) *Kernel {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Kernel{
		vtep: o.VTEP, log: log, changed: make(chan struct{}, 1),
		done: map[string]netns.Namespace{}, kept: map[string]netns.Namespace{}, home: map[string]string{}, stirred: map[string]bool{},
	}
}

// Repairs returns what of the last ten minutes was put back in namespaces, oldest first.
func (k *Kernel) Repairs() []repairs.Repair { return k.repairs.List(time.Now()) }

// Changed tells that Apply should be called again: a wanted device has appeared outside
// its namespace.
func (k *Kernel) Changed() <-chan struct{} { return k.changed }

// Run watches the devices of the process's namespace until ctx is done. When the kernel
// had more to tell than there was room for, everything is looked at again.
func (k *Kernel) Run(ctx context.Context) error {
	for {
		err := k.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		k.log.Warn("watching devices is interrupted", "err", err)
		k.signal()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (k *Kernel) watch(ctx context.Context) error {
	updates := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	lost := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) {
			select {
			case lost <- err:
			default:
			}
		},
		ListExisting:      true,
		ReceiveBufferSize: 1 << 20,
	})
	if err != nil {
		return err
	}
	addrs, err := k.watchUnderlay(done)
	if err != nil {
		return err
	}
	k.setWatching(true)
	defer k.setWatching(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			return err
		case u, ok := <-addrs:
			if !ok {
				return errors.New("the kernel has closed the socket")
			}
			if a, _ := netip.AddrFromSlice(u.LinkAddress.IP); a.Unmap() == k.vtep {
				k.lookUnderlay()
			}
		case u, ok := <-updates:
			if !ok {
				return errors.New("the kernel has closed the socket")
			}
			if u.Header.Type == unix.RTM_NEWLINK {
				k.seen(u.Attrs().Name)
			}
			if k.isUnderlay(u.Attrs()) {
				k.lookUnderlay()
			}
		}
	}
}

func (k *Kernel) setWatching(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watching = on
	if on {
		// What happened before is not known. What is there already will be told now.
		clear(k.done)
	}
}

// seen notes that a device is in the process's namespace; a wanted one does not belong there.
func (k *Kernel) seen(device string) {
	k.mu.Lock()
	ns, wanted := k.home[device]
	if wanted {
		delete(k.done, ns)
		k.stirred[ns] = true
	}
	k.mu.Unlock()
	if wanted {
		k.signal()
	}
}

func (k *Kernel) signal() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Extent says how far an Apply goes.
type Extent struct {
	// InSync means that the plan is complete, so that namespaces of ours that are not in it
	// may be removed.
	InSync bool
	// Full means to look at everything again, also at what was found right before.
	Full bool
}

// Apply makes the namespaces wanted, and those devices in them that exist. A device that
// does not is a Fault with ErrNoDevice.
func (k *Kernel) Apply(ctx context.Context, want []netns.Namespace, e Extent) []Fault {
	var todo []netns.Namespace
	k.mu.Lock()
	clear(k.home)
	names := make(map[string]bool, len(want))
	for _, n := range want {
		names[n.Name] = true
		for _, l := range n.Links {
			k.home[l.Name] = n.Name
		}
		if was, ok := k.done[n.Name]; !ok || e.Full || !k.watching || !was.Equal(n) {
			// A device that appears from now on must count.
			delete(k.done, n.Name)
			delete(k.stirred, n.Name)
			todo = append(todo, n)
		}
		if was, ok := k.kept[n.Name]; ok && !was.Equal(n) {
			delete(k.kept, n.Name)
		}
	}
	unwanted := func(name string, _ netns.Namespace) bool { return !names[name] }
	maps.DeleteFunc(k.done, unwanted)
	maps.DeleteFunc(k.kept, unwanted)
	k.mu.Unlock()

	var faults []Fault
	if len(todo) > 0 {
		faults = k.make(ctx, todo)
	}
	if e.InSync {
		faults = append(faults, k.sweep(names)...)
	}
	return faults
}

// make makes namespaces and remembers those that are done.
func (k *Kernel) make(ctx context.Context, todo []netns.Namespace) []Fault {
	root, err := handleAt("")
	if err != nil {
		return []Fault{{Dir, "open netlink", err}}
	}
	defer root.Close()
	var faults []Fault
	for _, n := range todo {
		if err := ctx.Err(); err != nil {
			return append(faults, Fault{n.Name, "apply", err})
		}
		fs, changed := k.namespace(root, n)
		faults = append(faults, fs...)
		k.mu.Lock()
		if _, kept := k.kept[n.Name]; kept {
			k.repairs.Note(time.Now(), changed)
		}
		if len(fs) == 0 {
			k.kept[n.Name] = n
			if !k.stirred[n.Name] {
				k.done[n.Name] = n
			}
		}
		k.mu.Unlock()
	}
	return faults
}

// namespace makes one namespace what it must be, and says what it has changed for that. What has come into it anew
// was changed by nobody.
func (k *Kernel) namespace(root *netlink.Handle, n netns.Namespace) (faults []Fault, changed []repairs.Repair) {
	created := !exists(n.Name)
	if created {
		if err := create(n.Name); err != nil {
			return []Fault{{n.Name, "create namespace", err}}, nil
		}
		k.log.Debug("namespace created", "namespace", n.Name)
	}
	h, err := handleAt(n.Name)
	if err != nil {
		return []Fault{{n.Name, "open namespace", err}}, nil
	}
	defer h.Close()
	var whole repairs.Differences
	note := func(name string, d *repairs.Differences) {
		if d.None() {
			return
		}
		found, set := d.Texts()
		changed = append(changed, repairs.Repair{Kind: "namespace", Name: name, Found: found, Set: set})
	}
	if err := adopt(h, &whole); err != nil {
		faults = append(faults, Fault{n.Name, "mark namespace", err})
	}
	// Before devices come in: they take their settings from the namespace's defaults.
	if err := setSysctls(n.Name, n.Sysctls, &whole); err != nil {
		faults = append(faults, Fault{n.Name, "set sysctls", err})
	}
	touched := false
	for _, l := range n.Links {
		var d repairs.Differences
		came, err := placeLink(root, h, n.Name, l, &d)
		if err != nil {
			faults = append(faults, Fault{n.Name + "/" + l.Name, "place link", err})
		}
		if touched = touched || came || !d.None(); !came {
			note(n.Name+"/"+l.Name, &d)
		}
	}
	// Routes need their devices; without them there is one fault, not two.
	if len(faults) == 0 {
		routes := &whole
		if touched {
			routes = &repairs.Differences{} // they went with the device or its address, or when it went down
		}
		if err := setRoutes(h, n.Routes, routes); err != nil {
			faults = append(faults, Fault{n.Name, "set routes", err})
		}
	}
	if created {
		return faults, []repairs.Repair{{Kind: "namespace", Name: n.Name, Found: repairs.Gone, Set: repairs.Again}}
	}
	note(n.Name, &whole)
	return faults, changed
}

// sweep removes the namespaces of ours that are not wanted.
func (k *Kernel) sweep(wanted map[string]bool) []Fault {
	names, err := named()
	if err != nil {
		return []Fault{{Dir, "list namespaces", err}}
	}
	var faults []Fault
	for _, name := range names {
		if wanted[name] {
			continue
		}
		ours, err := isOurs(name)
		if err == nil && !ours {
			continue
		}
		if err == nil {
			err = remove(name)
		}
		if err != nil {
			faults = append(faults, Fault{name, "remove namespace", err})
			continue
		}
		k.log.Debug("namespace removed", "namespace", name)
	}
	return faults
}

func isOurs(name string) (bool, error) {
	h, err := handleAt(name)
	if err != nil {
		return false, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return false, err
	}
	return lo.Attrs().Alias == mark, nil
}

// handleAt opens a netlink socket inside a namespace.
func handleAt(name string) (*netlink.Handle, error) {
	if name == "" {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	fd, err := vnetns.GetFromPath(Dir + "/" + name)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	return netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
}

// adopt puts our mark on a namespace and its loopback up.
func adopt(h *netlink.Handle, d *repairs.Differences) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if !isUp(lo) {
		if err := h.LinkSetUp(lo); err != nil {
			return err
		}
		d.Add("lo", "down", "up")
	}
	alias := lo.Attrs().Alias
	if alias == mark {
		return nil
	}
	if err := h.LinkSetAlias(lo, mark); err != nil {
		return err
	}
	d.Add("alias of lo", alias, mark)
	return nil
}

func loopbackUp(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if isUp(lo) {
		return nil
	}
	return h.LinkSetUp(lo)
}

// Observe returns the namespaces that are ours, sorted by name, in the words of a plan.
func (k *Kernel) Observe(ctx context.Context) ([]netns.Namespace, []Fault) {
	names, err := named()
	if err != nil {
		return nil, []Fault{{Dir, "list namespaces", err}}
	}
	var out []netns.Namespace
	var faults []Fault
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return out, append(faults, Fault{name, "observe", err})
		}
		n, ours, err := observe(name)
		switch {
		case err != nil:
			faults = append(faults, Fault{name, "observe", err})
		case ours:
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b netns.Namespace) int { return cmp.Compare(a.Name, b.Name) })
	return out, faults
}
