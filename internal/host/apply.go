package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/host/repairs"
	"weft/internal/model"
	"weft/internal/plan"
	"weft/internal/plan/dhcp"
	"weft/internal/plan/netns"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// Switch is what a Host needs of Open vSwitch; *ovs.Switch is one.
type Switch interface {
	Apply(ctx context.Context, want vswitch.Switch) []ovs.Fault
	Observe() ovs.Observation
	Changed() <-chan struct{}
	Resync(ctx context.Context) []ovs.Fault
	ForgetPort(ctx context.Context, bridge, name string) error
	DumpFlows(ctx context.Context, bridge string, cookie, mask uint64) ([]vswitch.Counted, int, error)
	FlushZones(ctx context.Context, bridge string, zones []uint16) error
	Drops(ctx context.Context, bridge string) ([]ovs.Drop, error)
	Alive(ctx context.Context) (database, vswitchd error)
	Repairs() []repairs.Repair
	Sources(ctx context.Context, device string, mac model.MAC, addrs []netip.Addr) ([]ovs.Source, error)
	Trace(ctx context.Context, bridge, flow string, ctNext ...string) (string, error)
	Foreign(ctx context.Context, bridge string, owner uint16, parts []uint64) ([]ovs.Foreign, error)
	Settings(ctx context.Context, ports ...string) ([]ovs.Setting, error)
	Send(ctx context.Context, bridge string, port uint32, frame []byte) error
	Survey(ctx context.Context) ovs.Survey
	VIFs() []ovs.VIF
	RemoveVIF(ctx context.Context, v ovs.VIF) error
	TryTunnels(ctx context.Context, t ovs.Trial) (map[uint32][]ovs.Tried, map[uint32]ovs.Counters, error)
}

// Kernel is what a Host needs of the kernel; *kernel.Kernel is one.
type Kernel interface {
	Apply(ctx context.Context, want []netns.Namespace, e kernel.Extent) []kernel.Fault
	// Underlay is the device that has the address that tunnels end at.
	Underlay() (u kernel.Underlay, known bool)
	Changed() <-chan struct{}
	Repairs() []repairs.Repair
}

// DHCP is what a Host needs of the DHCP responder; *dhcpd.Server is one.
type DHCP interface {
	Apply(ctx context.Context, want []dhcp.Server) []dhcpd.Fault
	Serving(id model.NetworkID) bool
	History(id model.PortID) []dhcpd.Transaction
	Seen(id model.NetworkID, mac model.MAC) dhcpd.Seen
	Hears(ctx context.Context, id model.NetworkID, send func(frame []byte) error) error
	Heard() <-chan struct{}
	Changed() <-chan struct{}
}

// Parts are what a Host is made of.
type Parts struct {
	Switch Switch
	// Kernel and DHCP may be nil: then the plan's namespaces and services are passed over, and
	// nobody gets an answer to DHCP here (tests without root).
	Kernel Kernel
	DHCP   DHCP
	// IntegrationBridge is the one whose interfaces are VIFs.
	IntegrationBridge string
	// TunnelBridge is the one of the tunnels to other hosts; empty if there is none.
	TunnelBridge string
	// Log may be nil.
	Log *slog.Logger
}

// Host obeys plans. Make one with New; one goroutine calls Apply, any may call the rest.
type Host struct {
	p       Parts
	log     *slog.Logger
	changed chan struct{}
	// swept are the namespaces that were wanted when others were last swept away; a sweep looks
	// into every namespace of the machine, so it is done only when there is a reason.
	swept map[string]bool
	// lost: the DHCP responder has lost a device, so that what the kernel was last found to
	// hold is not so any more.
	lost atomic.Bool
	// holders finds the virtual machines behind taps.
	holders kernel.Holders
	// remade are the devices that were lost and made anew.
	remade repairs.Memory
}

// New makes a Host. Run must be running for Changed to speak.
func New(p Parts) *Host {
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	return &Host{p: p, log: p.Log, changed: make(chan struct{}, 1)}
}

// Changed is signalled after Observe would give another answer, or a device that Apply
// waits for has appeared.
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Run joins the signals of the parts until ctx ends. The parts' own Run is the caller's
// business.
func (h *Host) Run(ctx context.Context) error {
	var kernelChanged, dhcpChanged <-chan struct{}
	if h.p.Kernel != nil {
		kernelChanged = h.p.Kernel.Changed()
	}
	if h.p.DHCP != nil {
		dhcpChanged = h.p.DHCP.Changed()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.p.Switch.Changed():
		case <-kernelChanged:
		case <-dhcpChanged:
			h.lost.Store(true)
		}
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

// Apply makes the machine equal to p, as far as it can.
//
// Namespaces and DHCP tables need no flows, and flows need no namespaces: these two are
// done side by side, so that neither waits for a part that is away. Only a device that
// the switch has yet to make is waited for, and what is no longer wanted is removed last.
func (h *Host) Apply(ctx context.Context, p plan.Plan, o Options) ([]Fault, Timing) {
	var t Timing
	begin := time.Now()
	type done struct {
		faults []ovs.Fault
		took   time.Duration
	}
	sw := make(chan done, 1)
	go func() {
		faults := h.p.Switch.Apply(ctx, p.Switch)
		if o.Verify && ctx.Err() == nil {
			faults = append(faults, h.p.Switch.Resync(ctx)...)
		}
		sw <- done{faults, time.Since(begin)}
	}()
	guest := h.applyGuests(ctx, p, kernel.Extent{Full: h.lost.Swap(false) || o.Verify}, &t)
	d := <-sw
	t.Switch = d.took
	sweep := o.Verify || !h.sweptFor(p.Namespaces)
	if (len(guest) > 0 || sweep) && ctx.Err() == nil {
		guest = h.applyGuests(ctx, p, kernel.Extent{InSync: sweep}, &t)
		if sweep && !slices.ContainsFunc(guest, func(f Fault) bool { return f.Part == PartKernel && !f.Waiting }) {
			h.noteSwept(p.Namespaces)
		}
	}
	if remade, faults := h.remake(ctx, p, guest); remade {
		begin = time.Now()
		d.faults = h.p.Switch.Apply(ctx, p.Switch)
		t.Switch += time.Since(begin)
		guest = append(h.applyGuests(ctx, p, kernel.Extent{}, &t), faults...)
	}
	return append(h.switchFaults(p, d.faults), guest...), t
}

// FlushZones makes the integration bridge forget the connections of conntrack zones.
func (h *Host) FlushZones(ctx context.Context, zones []uint16) error {
	return h.p.Switch.FlushZones(ctx, h.p.IntegrationBridge, zones)
}

// remake takes ports off the switch whose devices are nowhere though the switch says that
// they work, so that the switch makes them anew.
func (h *Host) remake(ctx context.Context, p plan.Plan, guest []Fault) (remade bool, faults []Fault) {
	var works map[string]bool
	for _, f := range guest {
		if !f.Waiting || f.Part != PartKernel || ctx.Err() != nil {
			continue
		}
		if works == nil {
			works = h.working()
		}
		_, device, _ := strings.Cut(f.Object, "/")
		if !works[device] {
			continue
		}
		if err := h.p.Switch.ForgetPort(ctx, h.p.IntegrationBridge, device); err != nil {
			faults = append(faults, Fault{Object: f.Object, Op: "make anew", Err: err, Part: PartKernel, Network: f.Network, Waiting: true})
			continue
		}
		h.log.Warn("a device of the switch was lost and is made anew", "device", device, "network", f.Network)
		h.remade.Note(time.Now(), []repairs.Repair{{Kind: "namespace", Name: strings.TrimPrefix(f.Object, "namespace "), Found: repairs.Gone, Set: repairs.Again}})
		remade = true
	}
	return remade, faults
}

// working are the ports of the integration bridge that the switch says it has made.
func (h *Host) working() map[string]bool {
	out := map[string]bool{}
	for _, b := range h.p.Switch.Observe().Bridges {
		if b.Name != h.p.IntegrationBridge || !b.InSync {
			continue
		}
		for _, p := range b.Ports {
			out[p.Name] = p.Ours && p.OFPort != 0
		}
	}
	return out
}

// applyGuests does what lies inside namespaces.
func (h *Host) applyGuests(ctx context.Context, p plan.Plan, e kernel.Extent, t *Timing) []Fault {
	if h.p.Kernel == nil || h.p.DHCP == nil {
		return nil
	}
	begin := time.Now()
	var faults []Fault
	waiting := map[model.NetworkID]bool{}
	for _, f := range h.p.Kernel.Apply(ctx, p.Namespaces, e) {
		hf := Fault{Object: "namespace " + f.Object, Op: f.Op, Err: f.Err, Part: PartKernel,
			Network: networkOf(p, f.Object), Waiting: errors.Is(f.Err, kernel.ErrNoDevice)}
		if hf.Waiting {
			waiting[hf.Network] = true
		}
		faults = append(faults, hf)
	}
	made := time.Now()
	t.Kernel += made.Sub(begin)
	for _, f := range h.p.DHCP.Apply(ctx, p.DHCP) {
		faults = append(faults, Fault{Object: "dhcp " + f.Object, Op: f.Op, Err: f.Err, Part: PartDHCP,
			Network: f.NetworkID, Waiting: waiting[f.NetworkID]})
	}
	t.DHCP += time.Since(made)
	return faults
}

func (h *Host) sweptFor(want []netns.Namespace) bool {
	return h.swept != nil && len(h.swept) == len(want) &&
		!slices.ContainsFunc(want, func(n netns.Namespace) bool { return !h.swept[n.Name] })
}

func (h *Host) noteSwept(want []netns.Namespace) {
	h.swept = make(map[string]bool, len(want))
	for _, n := range want {
		h.swept[n.Name] = true
	}
}

// networkOf finds the network of a namespace, or of a namespace/device.
func networkOf(p plan.Plan, object string) model.NetworkID {
	ns, _, _ := strings.Cut(object, "/")
	for i := range p.DHCP {
		if p.DHCP[i].Namespace == ns {
			return p.DHCP[i].NetworkID
		}
	}
	id, _ := strings.CutPrefix(ns, vif.DHCPNamespace(""))
	return model.NetworkID(id)
}

// switchFaults finds out who suffers from each fault of the switch.
func (h *Host) switchFaults(p plan.Plan, faults []ovs.Fault) []Fault {
	if len(faults) == 0 {
		return nil
	}
	ports, networks := map[string]model.PortID{}, map[string]model.NetworkID{}
	byCookie := map[uint32]model.PortID{}
	netCookie := map[uint32]model.NetworkID{}
	for i := range p.DHCP {
		netCookie[vswitch.CookieObject(string(p.DHCP[i].NetworkID))] = p.DHCP[i].NetworkID
		networks[p.DHCP[i].Device] = p.DHCP[i].NetworkID
	}
	for i := range p.Switch.Bridges {
		for _, t := range p.Switch.Bridges[i].Tags {
			id, _, _ := vif.ParseOtherConfig(t.OtherConfig)
			netCookie[vswitch.CookieObject(string(id))] = id
		}
	}
	for _, a := range h.p.Switch.Observe().Attachments {
		ports[a.Device] = a.PortID
		byCookie[vswitch.CookieObject(string(a.PortID))] = a.PortID
	}
	out := make([]Fault, 0, len(faults))
	for _, f := range faults {
		hf := Fault{Object: f.Object, Op: f.Op, Err: f.Err, Part: PartSwitch}
		device, isPort := strings.CutPrefix(f.Object, "port ")
		_, kind, object := vswitch.SplitCookie(f.Cookie)
		switch {
		case isPort:
			hf.Port, hf.Network = ports[device], networks[device]
			hf.Local = true
		case strings.HasPrefix(f.Object, "manager "):
			// A convenience for people; no port needs it.
			hf.Local = true
		case f.Cookie != 0 && kind == vswitch.KindPort:
			hf.Port = byCookie[object]
			hf.Local = hf.Port == "" // one that has been unplugged meanwhile
		case f.Cookie != 0 && kind == vswitch.KindGroup:
			hf.Rules, hf.Local = true, true
		case f.Cookie != 0 && kind == vswitch.KindNetwork:
			hf.Network = netCookie[object]
		}
		out = append(out, hf)
	}
	return out
}

// Observe says what is attached. It reads memory only.
func (h *Host) Observe() Observed {
	o := h.p.Switch.Observe()
	out := Observed{Ready: o.Known, Connected: o.Connected, Attachments: o.Attachments, OVSVersion: o.Version,
		InterfaceTypes: o.InterfaceTypes, Problems: o.Problems}
	if h.p.Kernel != nil {
		if u, known := h.p.Kernel.Underlay(); known {
			out.Underlay = (*Underlay)(&u)
		}
	}
	switch {
	case !o.Connected:
		out.Trouble, out.Err = NoDatabase, errors.New("the switch's database cannot be reached")
	case o.Empty:
		out.Trouble, out.Err = EmptyDatabase, errors.New("the switch's database is not initialised")
	}
	for _, b := range o.Bridges {
		if b.Name != h.p.TunnelBridge {
			continue
		}
		out.TunnelPorts = make(map[string]vif.Numbered[view.OFPort], len(b.Ports))
		for _, p := range b.Ports {
			out.TunnelPorts[p.Name] = vif.Numbered[view.OFPort]{Has: p.OFPort, Asks: p.OFPortRequest}
		}
	}
	i := slices.IndexFunc(o.Bridges, func(b ovs.Bridge) bool { return b.Name == h.p.IntegrationBridge })
	switch {
	case i < 0:
		out.Connected = false
		out.Trouble = cmp.Or(out.Trouble, NoBridge)
		out.Err = errors.Join(out.Err, fmt.Errorf("there is no bridge %s", h.p.IntegrationBridge))
		return out
	case !o.Bridges[i].Connected:
		out.Connected = false
		out.Trouble = cmp.Or(out.Trouble, NotConnected)
		out.Err = errors.Join(out.Err, fmt.Errorf("bridge %s: %w", h.p.IntegrationBridge, ovs.ErrNotConnected))
	}
	for _, p := range o.Bridges[i].Ports {
		out.OtherConfig = append(out.OtherConfig, p.OtherConfig)
	}
	return out
}
