// Package vswitch is the language of a switch: bridges, ports, tunnels, flows.
//
// Flows print as ovs-ofctl text and parse back from it, dump-flows output included;
// bridges and ports print as ovs-vsctl commands. Normal flows (see Normalize) are
// equal if and only if they are the same flow to Open vSwitch. Pure.
package vswitch

import "slices"

// Bridge is one Open vSwitch bridge that must exist, with its ports.
type Bridge struct {
	Name string
	// DatapathType is "system", "netdev" or "dummy". Empty leaves it alone, as for
	// a physical bridge that an operator made.
	DatapathType string
	// FailMode is "secure".
	FailMode string
	// Controller is the OpenFlow target, "tcp:127.0.0.1:6633".
	Controller string
	// Protocols are the OpenFlow versions that the bridge must speak; empty leaves them alone.
	Protocols []string
	// Ports are those that weft itself creates (patch ports, DHCP internal ports), sorted by name.
	Ports []Port
	// Tags are the settings of ports that others created (VIFs) and weft only writes to, sorted by name.
	Tags []PortTag
	// TableNames maps a flow table to the name that OVS shows for it.
	TableNames map[uint8]string
}

// Port is an OVS port with one interface of the same name.
type Port struct {
	Name string
	// Type is "internal", "patch" or "vxlan".
	Type string
	// OFPort is the OpenFlow port number to ask for (ofport_request); 0 leaves it to
	// OVS. Flows name such a port by this number.
	OFPort uint32
	// Options are the interface's options (peer=..., remote_ip=...).
	Options map[string]string
	// ExternalIDs are the interface's external_ids (iface-id, attached-mac, ...).
	ExternalIDs map[string]string
	MTU         int
	// Tag and OtherConfig are as in PortTag; Tag 0 means none.
	Tag         uint16
	OtherConfig map[string]string
}

// PortTag is what weft writes to a Port row: the tag (local VLAN) and Neutron's other_config keys
// net_uuid, network_type, physical_network, segmentation_id, tag.
type PortTag struct {
	Name        string
	Tag         uint16
	OtherConfig map[string]string
}

// Switch is everything that weft wants of the Open vSwitch of one host.
type Switch struct {
	// Manager is the OVSDB manager target to set, "ptcp:6640:127.0.0.1"; empty leaves it alone.
	Manager string
	// Bridges are sorted by name.
	Bridges []Bridge
	// Flows by bridge name.
	Flows map[string]Flows
}

// Flows are the flows of one bridge, in parts. No two parts have a flow of the same Key.
type Flows []*Part

// Part is the flows that were made for one thing: a port, a network. They stand or fall
// together: if the switch refuses one of them, none of the part is put in. A part is
// never changed once it is made, so the same pointer means the same flows.
type Part struct {
	// Base: every other part relies on this one. If it cannot be put in, none is.
	Base bool
	// Cookie is the cookie of the thing, without a reason.
	Cookie uint64
	// List is sorted (see Sort) and without duplicates.
	List []Flow
}

// NewPart makes a part of flows, which it sorts. Of flows with the same Key one is kept.
func NewPart(cookie uint64, flows ...Flow) *Part {
	Sort(flows)
	return &Part{Cookie: cookie, List: Unique(flows)}
}

// Remade is NewPart, but that it returns last, which may be nil, if that says the same.
func (last *Part) Remade(cookie uint64, flows ...Flow) *Part {
	p := NewPart(cookie, flows...)
	if last != nil && last.Cookie == cookie && slices.EqualFunc(last.List, p.List, Flow.Equal) {
		return last
	}
	return p
}

// All returns the flows of all parts in one sorted list.
func (f Flows) All() []Flow {
	n := 0
	for _, p := range f {
		n += len(p.List)
	}
	all := make([]Flow, 0, n)
	for _, p := range f {
		all = append(all, p.List...)
	}
	Sort(all)
	return all
}
