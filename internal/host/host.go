// Package host applies a plan to this machine in dependency order, and observes the
// machine in the words of a plan.
//
// Apply makes what a plan says: bridges, ports and flows, then namespaces and links, then
// DHCP tables; it goes on with what is independent of a failure and returns one Fault
// per object that could not be made. Nothing is remembered here that the machine does
// not show: a process born a second ago applies the same plan and changes nothing.
package host

import (
	"net/netip"
	"time"

	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/host/repairs"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
	"weft/internal/plan/vswitch"
)

// Fault is one object that is not as planned, and why.
type Fault struct {
	// Object is the kind and name: "bridge br-int", "namespace qdhcp-...".
	Object string
	// Op is what was tried: "create", "flows", "listen".
	Op  string
	Err error
	// Part is the driver that reported it.
	Part Part
	// Waiting: the machine has to do something first, and will say when it has; this is no
	// failure unless it lasts.
	Waiting bool
	// Network and Port are those that suffer, where that is known.
	Network model.NetworkID
	Port    model.PortID
	// Rules: every port with security groups suffers: it may not do what its rules allow.
	Rules bool
	// Local: nobody suffers but Network and Port (and who Rules says). A fault of the switch that is not local
	// and names neither concerns everything.
	Local bool
}

// Part is one of the drivers below a Host.
type Part string

// The drivers.
const (
	PartSwitch Part = "switch"
	PartKernel Part = "kernel"
	PartDHCP   Part = "dhcp"
	// PartUnderlay is no driver but what is under the tunnels, which is not ours to change: its faults keep
	// no port from being wired.
	PartUnderlay Part = "underlay"
)

func (f Fault) Error() string { return f.Op + " " + f.Object + ": " + f.Err.Error() }

func (f Fault) Unwrap() error { return f.Err }

// Observed is what the agent must know of the machine before it can plan.
type Observed struct {
	// Ready: the switch's database has been read once; the rest is empty before that.
	Ready bool
	// Connected: the switch can be programmed now.
	Connected   bool
	Attachments []view.Attachment
	// OtherConfig are those of the ports of the integration bridge, for reading back local VLANs.
	OtherConfig []map[string]string
	// TunnelPorts are the ports of the tunnel bridge, by name, with their numbers.
	TunnelPorts map[string]vif.Numbered[view.OFPort]
	// Underlay is what is under the tunnels; nil is not known.
	Underlay   *Underlay
	OVSVersion string
	// InterfaceTypes are those that the switch supports.
	InterfaceTypes []string
	// Problems are things written in the switch's database that cannot be used.
	Problems []string
	// Err says why Connected is false, Trouble the first of it in a word.
	Err     error
	Trouble Trouble
}

// Trouble is why a switch cannot be programmed; empty for none.
type Trouble string

// The troubles.
const (
	NoDatabase    Trouble = "no_database"
	EmptyDatabase Trouble = "empty_database"
	// NoVswitchd: ovs-vswitchd does not run, or does not answer. Only Probe can tell.
	NoVswitchd   Trouble = "no_vswitchd"
	NoBridge     Trouble = "no_bridge"
	NotConnected Trouble = "not_connected"
)

// Underlay is the device that has the address that tunnels end at; Device is empty if none has it.
type Underlay struct {
	Device string
	MTU    int
	// Down: nothing passes the device, because it is down or has no carrier.
	Down bool
}

// Options of one Apply.
type Options struct {
	// Verify compares with the machine itself rather than with what was last applied.
	Verify bool
}

// Timing says where the time of an Apply went.
type Timing struct {
	Switch, Kernel, DHCP time.Duration
}

// Query asks Probe for one port.
type Query struct {
	PortID    model.PortID
	NetworkID model.NetworkID
	// MAC is the port's; interfaces that say so look like the port's.
	MAC model.MAC
	// Addrs are the port's addresses: what else sends from them is found.
	Addrs []netip.Addr
	// Bridge is the integration bridge.
	Bridge string
	// Device is the port's tap when nothing is attached under its ID.
	Device string
	// Namespace and DHCPDevice are those of the network's DHCP service here; empty for none.
	Namespace, DHCPDevice string
	// DHCPPort is the port of that service.
	DHCPPort model.PortID
	// Packet, if it is not empty, is what the switch is asked about, as ofproto/trace wants it;
	// CTNext is what conntrack is taken to say of it.
	Packet string
	CTNext []string
	// Owner is who made the flows of the plan, by their cookies; flows that are not of the plan are looked for on these
	// bridges. Parts are the cookies of what matters most: there it is noticed, too, if one was put in another's place.
	Owner uint16
	In    []string
	Parts []uint64
	// Walks are more packets of which the switch is asked.
	Walks []Walk
}

// Walk is a packet that comes to a bridge, as ofproto/trace wants it.
type Walk struct{ Bridge, Packet string }

// Found is what Probe saw; nil is not there, what could not be looked at is in Gaps.
type Found struct {
	// Database says why ovsdb-server does not answer, Vswitchd why ovs-vswitchd does not; nil if it does.
	Database, Vswitchd error

	Interface *Interface
	Device    *kernel.Link
	// Holder is who holds the other end of Device; nil if that cannot be seen.
	Holder *kernel.Holder
	// Twins are other interfaces with the port's ID; LookAlikes are, if none has it, those that seem to be meant.
	Twins      []Interface
	LookAlikes []LookAlike
	// Sources are those of the frames that have come in from the port lately, and of those of others with its MAC or
	// addresses.
	Sources []ovs.Source
	// Repairs are what of the port's and of the bridges' was found changed lately and put back.
	Repairs []repairs.Repair
	// Settings are those of the port, of the DHCP port and of the bridges.
	Settings []ovs.Setting
	// Flows are those of the port, by their cookie, on the integration bridge.
	Flows []FlowCount
	// Walk is what ofproto/trace prints of the packet.
	Walk string
	// Foreign are the flows that are not of the plan, by bridge.
	Foreign map[string][]ovs.Foreign
	// Walks are what it prints of the walks of the query; empty for one that could not be followed.
	Walks []string
	DHCP  *DHCPFound
	// Transactions are the DHCP messages of the port, oldest first.
	Transactions []Transaction
	Gaps         []string
}

// Interface is an OVS interface with its Port row.
type Interface struct {
	Name, Bridge, Type string
	OFPort             int
	Error              string
	Tag                uint16
	ExternalIDs        map[string]string
	OtherConfig        map[string]string
}

// LookAlike is an interface that has not the port's ID, and what makes it look like the port's.
type LookAlike struct {
	Interface
	Why []string
}

// DHCPFound is the DHCP service of a network as it runs.
type DHCPFound struct {
	// Exists: the namespace is there.
	Exists bool
	// Device is nil when it is not in the namespace.
	Device    *kernel.Link
	Listening bool
	// Heard: a test message that came out of the switch at the device has reached the service. Unheard says why not, if
	// that was tried.
	Heard   bool
	Unheard string
	// Seen is what the service has seen on the network besides the messages of its ports.
	Seen dhcpd.Seen
}

// Transaction is one DHCP message and what became of it.
type Transaction struct {
	At time.Time
	// Message is DISCOVER, REQUEST, ...; Reply is OFFER, ACK, NAK or empty.
	Message, Reply string
	Addr           netip.Addr
	Reason         string
	Elapsed        time.Duration
	XID            string
	// Server is the other DHCP server that the client has chosen.
	Server netip.Addr
}

// FlowCount is a flow as the switch holds it.
type FlowCount struct {
	vswitch.Flow
	Packets uint64
	Age     time.Duration
}
