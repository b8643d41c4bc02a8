package ovs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

// The keys of an interface's external_ids, as os-vif and libvirt write them.
const (
	keyIfaceID     = "iface-id"
	keyAttachedMAC = "attached-mac"
	keyIfaceStatus = "iface-status"
)

// Observation is the Open vSwitch as it is now (or, while Connected is false, was last).
type Observation struct {
	// Known: the database has been read once; before that the rest is empty and says nothing.
	Known bool
	// Connected: the database connection is up.
	Connected bool
	// Empty: nobody has initialised the database; ovs-vswitchd does nothing then.
	Empty bool
	// Version is that of Open vSwitch; InterfaceTypes are those it can make.
	Version        string
	InterfaceTypes []string
	Manager        []Manager
	// Bridges are sorted by name.
	Bridges []Bridge
	// Attachments are the VIFs of the integration bridge that work, sorted by port ID, one for each port ID.
	Attachments []view.Attachment
	// Problems are things written in the database that cannot be used, sorted.
	Problems []string
}

// Manager is a row of the Manager table.
type Manager struct {
	Target    string
	Connected bool
}

// Bridge is a bridge as it is.
type Bridge struct {
	Name, DatapathType, DatapathID, FailMode string
	Controllers                              []Controller
	// Connected: the bridge has an OpenFlow connection to this process.
	Connected bool
	// InSync: its flows are those of the last Apply, acknowledged.
	InSync bool
	// Ports are sorted by name.
	Ports []Port
}

// Controller is a controller of a bridge.
type Controller struct {
	Target    string
	Connected bool
}

// Port is a port with its interface as it is.
type Port struct {
	Name, Type string
	// Tag is 0 when the port has none.
	Tag         uint16
	OtherConfig map[string]string
	ExternalIDs map[string]string
	Options     map[string]string
	// OFPort is 0 while the interface does not work; Error may say why.
	OFPort view.OFPort
	Error  string
	// OFPortRequest is the number that it asks for; 0 is none.
	OFPortRequest view.OFPort
	// MAC is mac_in_use, Link is "up" or "down"; both as OVS writes them, empty if unknown.
	MAC, Link string
	MTU       int
	// Ours: made by Apply.
	Ours bool
}

// observed is what there is to see in a snapshot; it is not changed once made.
type observed struct {
	in *snapshot
	Observation
	// seen are the interfaces of the integration bridge, by UUID.
	seen map[string]bool
}

// Observe returns what is there. It reads memory only. What it returns must not be changed.
func (s *Switch) Observe() Observation {
	db := s.db.Load()
	snap := db.current()
	s.mu.Lock()
	seen := s.observed
	s.mu.Unlock()
	if seen == nil || seen.in != snap {
		seen = s.look(snap)
	}
	s.mu.Lock()
	s.observed = seen
	s.mu.Unlock()
	o := seen.Observation
	o.Known, o.Connected = db != nil, db.connected()
	o.Bridges = slices.Clone(o.Bridges)
	for i := range o.Bridges {
		b := &o.Bridges[i]
		c := s.connOf(b.Name)
		b.Connected = c != nil
		b.InSync = c != nil && s.flowsOf(b.Name).inSync(c)
	}
	return o
}

func (s *Switch) look(snap *snapshot) *observed {
	o := &observed{in: snap}
	o.Empty = snap.root == nil
	if snap.root != nil {
		o.Version = or(snap.root.OVSVersion)
		o.InterfaceTypes = slices.Sorted(slices.Values(snap.root.IfaceTypes))
	}
	for _, m := range snap.managers {
		o.Manager = append(o.Manager, Manager{m.Target, m.IsConnected})
	}
	slices.SortFunc(o.Manager, func(a, b Manager) int { return cmp.Compare(a.Target, b.Target) })
	for _, name := range slices.Sorted(maps.Keys(snap.bridges)) {
		o.Bridges = append(o.Bridges, snap.bridge(snap.bridges[name]))
	}
	if b := snap.bridges[s.opt.IntegrationBridge]; b != nil {
		o.attach(b)
	}
	return o
}

// bridge is a bridge as the database has it.
func (s *snapshot) bridge(r *rowBridge) Bridge {
	b := Bridge{Name: r.Name, DatapathType: r.DatapathType, DatapathID: or(r.DatapathID), FailMode: or(r.FailMode)}
	for _, id := range r.Controller {
		if c := s.controllers[id]; c != nil {
			b.Controllers = append(b.Controllers, Controller{c.Target, c.IsConnected})
		}
	}
	for _, id := range r.Ports {
		p := s.portByUUID[id]
		if p == nil {
			continue
		}
		op := Port{Name: p.Name, Tag: uint16(or(p.Tag)), OtherConfig: p.OtherConfig, Ours: owned(p.ExternalIDs)}
		if i := s.iface(p); i != nil {
			op.Type, op.ExternalIDs, op.Options, op.Error = i.Type, i.ExternalIDs, i.Options, or(i.Error)
			op.MAC, op.Link, op.MTU = or(i.MACInUse), or(i.LinkState), or(i.MTU)
			op.OFPortRequest = view.OFPort(or(i.OFPortRequest))
			if attached(i) {
				op.OFPort = view.OFPort(or(i.OFPort))
			}
		}
		b.Ports = append(b.Ports, op)
	}
	slices.SortFunc(b.Ports, func(a, b Port) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(b.Controllers, func(a, b Controller) int { return cmp.Compare(a.Target, b.Target) })
	return b
}

// inSync reports whether the bridge has acknowledged, on that connection, all that is wanted.
func (b *flows) inSync(c *conn) bool {
	// A sync that is under way holds the lock, and is an answer: not yet.
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return b.target != nil && b.conn == c && b.done == b.target
}

// attach finds the working VIFs of the bridge. What cannot be read of one of them
// is a problem of that one alone.
func (o *observed) attach(b *rowBridge) {
	byPort := map[model.PortID][]*rowInterface{}
	o.seen = make(map[string]bool, len(b.Ports))
	for _, id := range b.Ports {
		p := o.in.portByUUID[id]
		if p == nil {
			continue
		}
		for _, iid := range p.Interfaces {
			i := o.in.ifaceByUUID[iid]
			if i == nil {
				continue
			}
			o.seen[i.UUID] = true
			raw, ok := i.ExternalIDs[keyIfaceID]
			if !ok || !attached(i) {
				continue
			}
			port, ok := parsePortID(raw)
			if !ok {
				o.Problems = append(o.Problems, fmt.Sprintf("interface %s: iface-id %q is not a UUID", i.Name, clip(raw)))
				continue
			}
			byPort[port] = append(byPort[port], i)
		}
	}
	for port, is := range byPort {
		slices.SortFunc(is, func(a, b *rowInterface) int { return preferred(port, a, b) })
		for _, other := range is[1:] {
			o.Problems = append(o.Problems, fmt.Sprintf("interface %s: iface-id %s is also that of %s, which is used", other.Name, port, is[0].Name))
		}
		a := view.Attachment{PortID: port, Device: is[0].Name, OFPort: view.OFPort(or(is[0].OFPort))}
		if raw := is[0].ExternalIDs[keyAttachedMAC]; raw != "" {
			mac, err := model.ParseMAC(raw)
			if err != nil {
				o.Problems = append(o.Problems, fmt.Sprintf("interface %s: attached-mac %q: %v", is[0].Name, clip(raw), err))
			}
			a.MAC = mac
		}
		o.Attachments = append(o.Attachments, a)
	}
	slices.SortFunc(o.Attachments, func(a, b view.Attachment) int { return cmp.Compare(a.PortID, b.PortID) })
	slices.Sort(o.Problems)
}

// preferred orders interfaces that claim the same port: one that says it is active,
// one that has the name it should have, the one that came first.
func preferred(port model.PortID, a, b *rowInterface) int {
	rank := func(i *rowInterface) int {
		r := 0
		if i.ExternalIDs[keyIfaceStatus] != "active" {
			r += 2
		}
		if i.Name != vif.TapName(port) {
			r++
		}
		return r
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(or(a.OFPort), or(b.OFPort)), cmp.Compare(a.Name, b.Name))
}

// parsePortID reads a UUID in any case; the store knows them in lower case.
func parsePortID(s string) (model.PortID, bool) {
	if len(s) != 36 {
		return "", false
	}
	s = strings.ToLower(s)
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		digit := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
		if dash != (s[i] == '-') || !dash && !digit {
			return "", false
		}
	}
	return model.PortID(s), true
}

// clip shortens what somebody else wrote, for a message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
