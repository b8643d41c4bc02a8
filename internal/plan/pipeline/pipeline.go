// Package pipeline lays out the bridges and the tables of br-int and br-tun, and fills
// them for a view.
//
// In goes a View and the names of the bridges; out comes the whole switch, sorted: the
// same view gives the same switch. Nothing that the view does not name is let in or
// delivered to: there is no NORMAL action on br-int. docs/pipeline.md describes each
// table. Pure.
package pipeline

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// Settings are what the operator decides about the switch.
type Settings struct {
	// IntegrationBridge is the name of br-int.
	IntegrationBridge string
	// TunnelBridge is the name of br-tun; empty means that there are no tunnels.
	TunnelBridge string
	// VTEP is the address of this host that tunnels end at.
	VTEP netip.Addr
	// DatapathType of every bridge: "system", "netdev" or "dummy".
	DatapathType string
	// Controller is the OpenFlow target of every bridge.
	Controller string
	// Manager is the OVSDB manager target; empty leaves it alone.
	Manager string
	// BridgeMappings maps a physical network to the bridge that leads to it.
	BridgeMappings map[string]string
	// CookieOwner marks every flow as weft's.
	CookieOwner uint16
}

// Protocols that the bridges speak, as Neutron sets them; weft itself uses 1.4.
func protocols() []string { return []string{"OpenFlow10", "OpenFlow13", "OpenFlow14"} }

// layout is one run of Switch.
type layout struct {
	Settings
	view view.View
	// physical are the bridges of BridgeMappings, sorted; intPort is the number of the
	// patch port that leads there from br-int.
	physical []string
	intPort  map[string]uint32
	// tunnels are the ports of br-tun by the VTEP that they lead to.
	tunnels map[netip.Addr]uint32
}

// Switch returns all that the Open vSwitch of a host must be for its view.
func Switch(v view.View, s Settings) vswitch.Switch { return new(Memory).Switch(v, s) }

func newLayout(v view.View, s Settings) *layout {
	l := &layout{Settings: s, view: v, intPort: map[string]uint32{}}
	l.physical = slices.Compact(slices.Sorted(maps.Values(s.BridgeMappings)))
	for i, b := range l.physical {
		l.intPort[b] = OFIntPatch + uint32(i)
	}
	l.tunnels = make(map[netip.Addr]uint32, len(v.Tunnels))
	for _, t := range v.Tunnels {
		l.tunnels[t.VTEP] = uint32(t.OFPort)
	}
	return l
}

// bridges are all bridges, sorted, with their ports sorted.
func (l *layout) bridges() []vswitch.Bridge {
	all := []vswitch.Bridge{l.integration()}
	if l.TunnelBridge != "" {
		all = append(all, l.tunnel())
	}
	for _, b := range l.physical {
		all = append(all, l.physicalBridge(b))
	}
	for _, b := range all {
		slices.SortFunc(b.Ports, func(a, b vswitch.Port) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortFunc(b.Tags, func(a, b vswitch.PortTag) int { return cmp.Compare(a.Name, b.Name) })
	}
	slices.SortFunc(all, func(a, b vswitch.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// live reports whether frames may pass a local port at all.
func live(p view.LocalPort) bool { return p.AdminStateUp && p.Network.LocalVLAN != 0 }

func (l *layout) bridge(name string) vswitch.Bridge {
	return vswitch.Bridge{Name: name, DatapathType: l.DatapathType, FailMode: "secure", Controller: l.Controller, Protocols: protocols()}
}

func patchPort(name, peer string, ofport uint32) vswitch.Port {
	return vswitch.Port{Name: name, Type: "patch", OFPort: ofport, Options: map[string]string{"peer": peer}}
}

// integration lays out br-int: the patch ports, the DHCP ports, the tags of the VIFs.
func (l *layout) integration() vswitch.Bridge {
	b := l.bridge(l.IntegrationBridge)
	b.TableNames = IntTables()
	if l.TunnelBridge != "" {
		b.Ports = append(b.Ports, patchPort(vif.PatchTun, vif.PatchInt, OFPatchTun))
	}
	for _, x := range l.physical {
		b.Ports = append(b.Ports, patchPort(vif.IntPatch(x), vif.PhyPatch(x), l.intPort[x]))
	}
	ours := map[string]bool{}
	wiring := make(map[*view.Network]map[string]string, len(l.view.Networks)) // one for all ports of a network
	for _, n := range l.view.Networks {
		wiring[n] = otherConfig(n)
		if n.DHCPPort != nil {
			p := dhcpPort(n)
			ours[p.Name] = true
			b.Ports = append(b.Ports, p)
		}
	}
	for _, p := range l.view.Local {
		if !ours[p.Attachment.Device] {
			b.Tags = append(b.Tags, vswitch.PortTag{
				Name: p.Attachment.Device, Tag: tag(p.Network, p.Port), OtherConfig: wiring[p.Network],
			})
		}
	}
	return b
}

// dhcpPort is the internal port through which a network's DHCP server is reached.
func dhcpPort(n *view.Network) vswitch.Port {
	p := n.DHCPPort
	return vswitch.Port{
		Name: vif.TapName(p.ID), Type: "internal", MTU: n.MTU,
		ExternalIDs: map[string]string{"iface-id": string(p.ID), "attached-mac": p.MAC.String(), "iface-status": "active"},
		Tag:         tag(n, p), OtherConfig: otherConfig(n),
	}
}

// tag is the VLAN tag of a port. Flows alone decide what passes; the tag tells people
// and survives a restart, and the dead one keeps a closed port closed to whoever would
// add a NORMAL.
func tag(n *view.Network, p *model.Port) uint16 {
	if !p.AdminStateUp || n.LocalVLAN == 0 {
		return vif.DeadVLAN
	}
	return uint16(n.LocalVLAN)
}

func otherConfig(n *view.Network) map[string]string {
	if n.LocalVLAN == 0 {
		return nil
	}
	return vif.OtherConfig(n.Network, uint16(n.LocalVLAN))
}

// uplink is the port of br-int that leads to the rest of a network; ok is false if the
// network ends at this host.
func (l *layout) uplink(n *view.Network) (ofport uint32, ok bool) {
	switch n.Segment.Type {
	case model.SegmentVXLAN:
		return OFPatchTun, l.TunnelBridge != ""
	case model.SegmentFlat, model.SegmentVLAN:
		ofport, ok = l.intPort[l.BridgeMappings[n.Segment.Physical]]
	}
	return ofport, ok
}

// Cookies.

func (l *layout) base() uint64 { return vswitch.Cookie(l.CookieOwner, vswitch.KindBase, 0) }

func (l *layout) ofNetwork(n *view.Network) uint64 {
	return vswitch.Cookie(l.CookieOwner, vswitch.KindNetwork, vswitch.CookieObject(string(n.ID)))
}
