package host

import (
	"slices"
	"strings"
	"time"

	"weft/internal/host/ovs"
	"weft/internal/host/repairs"
	"weft/internal/model"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// Seek looks for the interface of a port, and for those that look like it if there is none. It
// reads memory only, and so can be asked of every host of a cloud.
func (h *Host) Seek(q Query) Found {
	var f Found
	if f.Interface, f.Twins = h.findInterface(q.PortID); f.Interface == nil {
		f.LookAlikes = h.lookAlikes(q)
		f.Repairs = h.repairs(q, q.Device)
	} else {
		f.Repairs = h.repairs(q, f.Interface.Name)
	}
	return f
}

// findInterface finds the interface of a port on any bridge, working or not, and others that
// carry its ID too.
func (h *Host) findInterface(id model.PortID) (found *Interface, twins []Interface) {
	o := h.p.Switch.Observe()
	used := ""
	for _, a := range o.Attachments {
		if a.PortID == id {
			used = a.Device
		}
	}
	for _, b := range o.Bridges {
		for _, p := range b.Ports {
			if !strings.EqualFold(p.ExternalIDs["iface-id"], string(id)) {
				continue
			}
			i := interfaceOf(b.Name, p)
			switch {
			case found == nil:
				found = &i
			case p.Name == used:
				twins = append(twins, *found)
				found = &i
			default:
				twins = append(twins, i)
			}
		}
	}
	return found, twins
}

func interfaceOf(bridge string, p ovs.Port) Interface {
	return Interface{Name: p.Name, Bridge: bridge, Type: p.Type, OFPort: ofport(p), Error: p.Error,
		Tag: p.Tag, ExternalIDs: p.ExternalIDs, OtherConfig: p.OtherConfig}
}

// ofport is what ovs-vsctl shows: -1 for an interface that could not be made.
func ofport(p ovs.Port) int {
	if p.OFPort == 0 && p.Error != "" {
		return -1
	}
	return int(p.OFPort)
}

// lookAlikes are the interfaces that may have been meant for a port though they do not carry
// its ID: they have the name of its tap, its MAC address, or nearly its ID.
func (h *Host) lookAlikes(q Query) []LookAlike {
	var out []LookAlike
	for _, b := range h.p.Switch.Observe().Bridges {
		for _, p := range b.Ports {
			if p.Ours || p.Name == b.Name {
				continue
			}
			if why := alike(q, p); len(why) > 0 {
				out = append(out, LookAlike{interfaceOf(b.Name, p), why})
			}
		}
	}
	// What speaks for it most comes first.
	slices.SortStableFunc(out, func(a, b LookAlike) int { return len(b.Why) - len(a.Why) })
	return out
}

// alike says in what an interface is like that of a port.
func alike(q Query, p ovs.Port) (why []string) {
	if p.Name == vif.TapName(q.PortID) {
		why = append(why, "its name is that of the port's tap")
	}
	if !q.MAC.IsZero() {
		attached, err := model.ParseMAC(p.ExternalIDs["attached-mac"])
		own, err2 := model.ParseMAC(p.MAC)
		switch {
		case err == nil && attached == q.MAC:
			why = append(why, "its attached-mac is the port's")
		case err2 == nil && own == vif.TapMAC(q.MAC):
			why = append(why, "its MAC is that of the port's tap")
		}
	}
	// Two typing errors at most; IDs of other ports differ in far more.
	if id := strings.ToLower(p.ExternalIDs["iface-id"]); id != "" && near(strings.Trim(id, "{} \""), string(q.PortID), 2) {
		why = append(why, "its iface-id is nearly the port's")
	}
	return why
}

// near reports whether a becomes b by at most n characters changed, added or left out.
func near(a, b string, n int) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	switch {
	case a == "" || b == "":
		return len(a)+len(b) <= n
	case n == 0:
		return false
	}
	return near(a[1:], b[1:], n-1) || near(a[1:], b, n-1) || near(a, b[1:], n-1)
}

// allRepairs are those of all parts, oldest first.
func (h *Host) allRepairs() []repairs.Repair {
	all := append(h.p.Switch.Repairs(), h.remade.List(time.Now())...)
	if h.p.Kernel != nil {
		all = append(all, h.p.Kernel.Repairs()...)
	}
	repairs.Sort(all)
	return all
}

// repairs are those that may say something about a port: of its interface and its flows, of its
// network's DHCP port and namespace, of the bridges and what connects them.
func (h *Host) repairs(q Query, device string) []repairs.Repair {
	return slices.DeleteFunc(h.allRepairs(), func(r repairs.Repair) bool {
		switch r.Kind {
		case "namespace":
			ns, _, _ := strings.Cut(r.Name, "/")
			return ns != vif.DHCPNamespace(q.NetworkID)
		case "port":
			return r.Bridge == q.Bridge && r.Name != device && r.Name != q.DHCPDevice && strings.HasPrefix(r.Name, "tap")
		case "flows":
			_, kind, object := vswitch.SplitCookie(r.Cookie)
			return kind == vswitch.KindPort && object != vswitch.CookieObject(string(q.PortID)) ||
				kind == vswitch.KindNetwork && object != vswitch.CookieObject(string(q.NetworkID))
		}
		return false
	})
}
