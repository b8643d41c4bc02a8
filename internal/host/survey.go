package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"weft/internal/doctor"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/trace"
)

// SurveyQuery says what the agent wants of the machine, as far as it bears on what is left over.
type SurveyQuery struct {
	// Namespaces are those planned.
	Namespaces map[string]bool
	// Ports are those that the agent knows of, Taps the names of their devices.
	Ports map[model.PortID]bool
	Taps  map[string]bool
	// VTEP is where this host's tunnels end, Peers are the tunnel addresses of other hosts.
	VTEP  netip.Addr
	Peers []netip.Addr
}

// rivals are the daemons of other network services that would do weft's work too, by the name of
// the program or of the script.
var rivals = []string{"neutron-openvswitch-agent", "neutron-dhcp-agent", "neutron-l3-agent", "neutron-ovn-metadata-agent", "ovn-controller"}

// maxPeers bounds the peers whose routes are looked up.
const maxPeers = 256

// Survey looks at the machine as a whole, now. What cannot be looked at is a gap.
func (h *Host) Survey(ctx context.Context, q SurveyQuery) doctor.Machine {
	var m doctor.Machine
	gap := func(what string, err error) { m.Gaps = append(m.Gaps, fmt.Sprintf("%s: %v", what, err)) }
	s := h.p.Switch.Survey(ctx)
	m.Switch = h.surveySwitch(s)
	for _, r := range h.allRepairs() {
		m.Repairs = append(m.Repairs, trace.Repair(r))
	}
	m.Kernel = surveyKernel(h.p.IntegrationBridge, m.Switch.Bridges, q.VTEP)
	if h.p.Kernel == nil {
		return m
	}
	if u, known := h.p.Kernel.Underlay(); known {
		m.Underlay = surveyUnderlay(u, q)
	}
	var err error
	if m.Leftovers, err = h.leftovers(s.VIFs, q); err != nil {
		gap("what is left over", err)
	}
	return m
}

func (h *Host) surveySwitch(s ovs.Survey) doctor.Switch {
	o := h.p.Switch.Observe()
	out := doctor.Switch{Connected: o.Connected, Empty: s.Empty, Version: o.Version, Running: s.Running, Silence: s.Silence,
		Datapaths: s.DatapathTypes, OVN: s.OVN, Lookups: s.Lookups, Lost: s.Lost}
	for _, t := range o.Manager {
		out.Managers = append(out.Managers, doctor.Target(t))
	}
	for _, b := range o.Bridges {
		db := doctor.Bridge{Name: b.Name, Datapath: datapath(b.DatapathType), FailMode: b.FailMode, Connected: b.Connected}
		for _, c := range b.Controllers {
			db.Controllers = append(db.Controllers, doctor.Target(c))
		}
		out.Bridges = append(out.Bridges, db)
		for _, p := range b.Ports {
			if p.Error == "" {
				continue
			}
			if out.Failed == nil {
				out.Failed = map[string]string{}
			}
			out.Failed[p.Name] = p.Error
		}
	}
	return out
}

// datapath: the empty one is the kernel's.
func datapath(t string) string {
	if t == "" {
		return "system"
	}
	return t
}

func surveyKernel(integration string, bridges []doctor.Bridge, vtep netip.Addr) doctor.Kernel {
	modules := []string{"tun", "veth"}
	if slices.ContainsFunc(bridges, func(b doctor.Bridge) bool { return b.Name == integration && b.Datapath == "system" }) {
		modules = append(modules, "openvswitch", "vxlan", "nf_conntrack")
	}
	k := doctor.Kernel{Release: kernel.Release(), Missing: kernel.MissingModules(modules...)}
	k.Connections, k.MaxConnections = kernel.Connections()
	k.Neighbours, k.MaxNeighbours, k.FullNeighbours = kernel.Neighbours(vtep)
	k.Rivals = findRivals()
	return k
}

// findRivals are the rivals that run, as far as they can be seen.
func findRivals() (list []doctor.Process) {
	_ = kernel.Processes(func(p kernel.Process, args []string) { // none is to be seen then
		for i := range min(2, len(args)) { // the program, or what an interpreter runs
			name := args[i][strings.LastIndexByte(args[i], '/')+1:]
			if slices.Contains(rivals, name) {
				list = append(list, doctor.Process{PID: p.PID, Name: name})
				return
			}
		}
	})
	return list
}

func surveyUnderlay(u kernel.Underlay, q SurveyQuery) *doctor.Device {
	d := &doctor.Device{Name: u.Device, MTU: u.MTU, Down: u.Down}
	if u.Device == "" {
		return d
	}
	if q.VTEP.Is4() { // IPv6 has none
		d.ReversePath = kernel.ReversePath(u.Device)
	}
	for _, p := range q.Peers[:min(len(q.Peers), maxPeers)] {
		if by, err := kernel.RouteDevice(p); err == nil && by != u.Device {
			d.Elsewhere = append(d.Elsewhere, fmt.Sprintf("%s (%s)", p, by))
		}
	}
	return d
}

// Leftovers are what is on the machine, of the kinds that weft and Neutron make, and is not wanted.
func (h *Host) Leftovers(q SurveyQuery) ([]doctor.Leftover, error) {
	if h.p.Kernel == nil {
		return nil, nil
	}
	return h.leftovers(h.p.Switch.VIFs(), q)
}

// leftovers says of all that weft has not made itself that it is in use while another network service runs here, which may
// want it and is not to be asked.
func (h *Host) leftovers(vifs []ovs.VIF, q SurveyQuery) ([]doctor.Leftover, error) {
	list, ours, err := h.unwanted(vifs, q)
	if len(list) == 0 || err != nil {
		return nil, err
	}
	if others := findRivals(); len(others) > 0 {
		for i := range list {
			if l := &list[i]; l.Use == "" && !ours[l.Name] {
				l.Use = fmt.Sprintf("%s, process %d, runs here and may want it", others[0].Name, others[0].PID)
			}
		}
	}
	return list, nil
}

// unwanted is what is left over; ours are the namespaces among it that weft has made.
func (h *Host) unwanted(vifs []ovs.VIF, q SurveyQuery) (list []doctor.Leftover, ours map[string]bool, err error) {
	ours = map[string]bool{}
	spaces, err := kernel.Namespaces(func(name string) bool { return q.Namespaces[name] })
	taps, err2 := kernel.Taps()
	if err = errors.Join(err, err2); err != nil {
		return nil, nil, err
	}
	// It looks at every process: only when something may be left over.
	inhabitants := sync.OnceValue(kernel.Inhabitants)
	used := map[string]string{} // devices in namespaces that are in use, and why
	for _, n := range spaces {
		_, object, _ := strings.Cut(n.Name, "-")
		l := doctor.Leftover{Kind: doctor.KindNamespace, Name: n.Name, Object: object, Mark: fmt.Sprintf("inode %d", n.Inode)}
		switch p, inhabited := inhabitants()[n.Inode]; {
		case inhabited:
			l.Use = fmt.Sprintf("%s, process %d, runs in it", p.Name, p.PID)
		case len(n.Others) > 0:
			l.Use = "it has the device " + n.Others[0] + ", which no network service put there"
		}
		ours[n.Name] = n.Ours
		for _, d := range n.Links {
			used[d] = l.Use
		}
		list = append(list, l)
	}
	byName := map[string]kernel.LeftTap{}
	for _, t := range taps {
		byName[t.Name] = t
	}
	for _, v := range vifs {
		t, there := byName[v.Name]
		delete(byName, v.Name)
		if v.Bridge != h.p.IntegrationBridge || q.Ports[v.PortID] {
			continue
		}
		l := doctor.Leftover{Kind: doctor.KindPort, Name: v.Name, Bridge: v.Bridge, Object: string(v.PortID), Mark: "row " + v.UUID, Device: there && t.Tap}
		switch _, err := kernel.LinkInfo("", v.Name); {
		case there && t.Tap:
			l.Use = h.heldBy(t)
		case v.Type == "internal":
			l.Use = used[v.Name]
		case v.Type != "" && v.Type != "system":
			l.Use = "it is of type " + v.Type + ", of which nobody can tell"
		case err == nil:
			l.Use = "its device is no tap, and somebody may have its other end"
		case !errors.Is(err, kernel.ErrNoLink):
			return nil, nil, err
		}
		list = append(list, l)
	}
	// A tap that is on the switch without an iface-id is somebody's too.
	onSwitch := map[string]bool{}
	for _, b := range h.p.Switch.Observe().Bridges {
		for _, p := range b.Ports {
			onSwitch[p.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if t := byName[name]; t.Tap && !onSwitch[name] && !q.Taps[name] {
			list = append(list, doctor.Leftover{Kind: doctor.KindTap, Name: name, Object: strings.TrimPrefix(name, "tap"),
				Mark: fmt.Sprintf("index %d", t.Index), Use: h.heldBy(t)})
		}
	}
	return list, ours, nil
}

func (h *Host) heldBy(t kernel.LeftTap) string {
	if !t.Held && !t.Down {
		return ""
	}
	if p, known := h.holders.Of(t.Name); known {
		return fmt.Sprintf("%s, process %d, holds it", p.Name, p.PID)
	}
	if !t.Held {
		return ""
	}
	return "a process that is not to be seen holds it"
}

// Remove takes away one thing that is left over, if it is still what it was and nobody uses it.
func (h *Host) Remove(ctx context.Context, l doctor.Leftover) error {
	if l.Use != "" {
		return fmt.Errorf("%s is in use: %s", l.Title(), l.Use)
	}
	var number uint64
	switch l.Kind {
	case doctor.KindNamespace:
		if _, err := fmt.Sscanf(l.Mark, "inode %d", &number); err != nil {
			return fmt.Errorf("%s: mark %q: %w", l.Title(), l.Mark, err)
		}
		return kernel.RemoveIdleNamespace(l.Name, number)
	case doctor.KindTap:
		if _, err := fmt.Sscanf(l.Mark, "index %d", &number); err != nil {
			return fmt.Errorf("%s: mark %q: %w", l.Title(), l.Mark, err)
		}
		return kernel.DeleteIdleTap(l.Name, int(number))
	case doctor.KindPort:
		row, ok := strings.CutPrefix(l.Mark, "row ")
		if !ok {
			return fmt.Errorf("%s: mark %q", l.Title(), l.Mark)
		}
		if err := h.p.Switch.RemoveVIF(ctx, ovs.VIF{Bridge: l.Bridge, Name: l.Name, UUID: row}); err != nil || !l.Device {
			return err
		}
		return h.removeDevice(l.Name)
	}
	return fmt.Errorf("%s: of no known kind", l.Title())
}

// removeDevice removes the tap of a port that is off the switch, unless a process has come to hold it.
func (h *Host) removeDevice(name string) error {
	taps, err := kernel.Taps()
	if err != nil {
		return err
	}
	for _, t := range taps {
		if t.Name == name {
			return kernel.DeleteIdleTap(name, t.Index)
		}
	}
	return nil
}
