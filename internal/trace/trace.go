// Package trace explains one port end to end by judging evidence from a host against
// what the records of the cloud say must be.
//
// In go a Record (what the server knows) and what each host that has to do with the port
// said: Evidence, or why it was silent. Out comes a Chain: steps from the API record to the
// last DHCP acknowledgement, each item with what was expected and what was observed, side by
// side, and a verdict; and the Answer: the first broken step in one sentence, with what to do
// about it. Missing parts make items that say so, never a panic. Pure: gathering is done by
// package agent, asking by package inspect.
package trace

import (
	"encoding/json"
	"net/netip"
	"time"

	"weft/internal/model"
	"weft/internal/plan/firewall"
)

// Record is what the server knows of a port. Any pointer may be nil.
type Record struct {
	Port    *model.Port
	Network *model.Network
	// Subnets are those of the network.
	Subnets []*model.Subnet
	// DHCPPorts are the network's network:dhcp ports.
	DHCPPorts []*model.Port
	// Hosts are those that the port and its DHCP ports are bound to, as far as they have ever joined.
	Hosts map[model.HostName]HostRecord
	// GroupNames are those of the port's security groups, by ID.
	GroupNames map[string]string
	// Elsewhere are the hosts on which an interface carries the port's ID, or looks like it, although the
	// port is not bound there: looked for only if none does where it is bound.
	Elsewhere []Evidence
	// Ports are all of the network, to tell whose an address or a MAC is.
	Ports []*model.Port
}

// HostRecord is what the server knows of a host.
type HostRecord struct {
	*model.Host
	Alive bool
}

// Said is what a host answered to a Query: Evidence, or nil and why there is none.
type Said struct {
	Evidence *Evidence
	Silence  string
	// Tunnels is what it said of its tunnels, or nil and why it said nothing of them in TunnelsSilence;
	// both are empty if it was not asked.
	Tunnels        *Tunnels
	TunnelsSilence string
	// Gone: the host is connected to no server.
	Gone bool
	// Skew is by how much the host's clock is ahead of the server's, at least; behind if negative.
	Skew time.Duration
}

// Query is what a server asks an agent, in JSON; the answer is Evidence.
type Query struct {
	PortID model.PortID `json:"port_id"`
	// NetworkID finds the DHCP service of a port that the agent does not know.
	NetworkID model.NetworkID `json:"network_id,omitempty"`
	// Packet, if it is there, is what the switch shall be asked about.
	Packet *firewall.Packet `json:"packet,omitempty"`
	// From is the port of the same host that Packet comes from; empty for another host.
	From model.PortID `json:"from,omitempty"`
	// Walks are packets to follow through the switch.
	Walks []Walk `json:"walks,omitempty"`
	// MAC is the port's, for an agent that does not know the port.
	MAC string `json:"mac,omitempty"`
	// Seek asks for the port's interface alone; the Evidence has that, or what looks like it.
	Seek bool `json:"seek,omitempty"`
	// Tunnels asks to try tunnels, and for nothing else; the answer is Tunnels.
	Tunnels *TunnelQuery `json:"tunnels,omitempty"`
	// Follow asks for what happens to the port instead; the answer is a Followed.
	Follow *FollowQuery `json:"follow,omitempty"`
	// Capture asks for packets instead; the answer is a Captured.
	Capture *CaptureQuery `json:"capture,omitempty"`
	// Doctor asks for doctor.HostFacts instead, Remove to take away these doctor.Leftovers; to that the
	// answer is a list of doctor.Removal.
	Doctor bool            `json:"doctor,omitempty"`
	Remove json.RawMessage `json:"remove,omitempty"`
}

// Evidence is what a host's agent found of one port, as sent to the server in JSON.
// Pointers are nil when the thing is not there; what could not be read is in Gaps.
type Evidence struct {
	PortID model.PortID   `json:"port_id"`
	Host   model.HostName `json:"host"`
	// At is when the agent looked.
	At     time.Time `json:"at"`
	Feed   Feed      `json:"feed"`
	Switch Switch    `json:"switch"`
	// Known: the agent's part of the cloud holds the port, at Revision (Neutron's revision_number).
	Known    bool `json:"known"`
	Revision int  `json:"revision,omitempty"`
	// LocalVLAN is the number that the agent has given to the port's network; 0 for none.
	LocalVLAN uint16     `json:"local_vlan,omitempty"`
	Interface *Interface `json:"interface,omitempty"`
	// Twins are other interfaces that carry the port's ID; LookAlikes are, if none does, those that may have been meant.
	Twins      []Interface `json:"twins,omitempty"`
	LookAlikes []LookAlike `json:"look_alikes,omitempty"`
	Device     *Device     `json:"device,omitempty"`
	Flows      *Flows      `json:"flows,omitempty"`
	// Dropped counts the packets that the port's filter has dropped, by reason.
	Dropped map[string]uint64 `json:"dropped,omitempty"`
	// Walked is what the switch does with the packet of the query.
	Walked *Walked `json:"walked,omitempty"`
	// Shadows are flows that are not the plan's and come before the port's.
	Shadows []Shadow `json:"shadows,omitempty"`
	// Walks are what becomes of the walks of the query, of those that have an end on this host.
	Walks []WalkAnswer `json:"walks,omitempty"`
	DHCP  *DHCP        `json:"dhcp,omitempty"`
	// Transactions are the DHCP messages of this port, oldest first.
	Transactions []Transaction `json:"transactions,omitempty"`
	// Reported are the facts that the agent last told the server; nil before it told any.
	Reported *Facts  `json:"reported,omitempty"`
	Faults   []Fault `json:"faults,omitempty"`
	// Past are the faults of the last hour that are over.
	Past []Fault `json:"past_faults,omitempty"`
	// Sources are those of the frames that the guest has sent lately; Rivals are those of frames that others have sent on
	// the port's network with its MAC or from its addresses.
	Sources []Source `json:"sources,omitempty"`
	Rivals  []Source `json:"rivals,omitempty"`
	// Repairs are what somebody else has changed in the last ten minutes and the agent has put back.
	Repairs []Repair `json:"repairs,omitempty"`
	// Settings are what is set in Open vSwitch at the port, at the DHCP port and at weft's bridges that keeps packets away.
	Settings []Setting `json:"settings,omitempty"`
	// Gaps say what could not be looked at, and why.
	Gaps []string `json:"gaps,omitempty"`
}

// Feed is the state of the agent's stream from the server.
type Feed struct {
	InSync   bool      `json:"in_sync"`
	FromDisk bool      `json:"from_disk,omitempty"`
	Revision int64     `json:"revision"`
	Since    time.Time `json:"since"`
	Error    string    `json:"error,omitempty"`
}

// Switch is the state of the agent's connections to Open vSwitch.
type Switch struct {
	Connected bool   `json:"connected"`
	Bridge    string `json:"bridge"`
	Version   string `json:"version,omitempty"`
	Error     string `json:"error,omitempty"`
	// Trouble is why it is not connected: no_database, empty_database, no_vswitchd, no_bridge or not_connected.
	Trouble string `json:"trouble,omitempty"`
	// Vswitchd says why ovs-vswitchd does not answer.
	Vswitchd string `json:"vswitchd,omitempty"`
}

// Interface is the OVS interface that carries the port's iface-id, with its Port row.
type Interface struct {
	Name        string            `json:"name"`
	Bridge      string            `json:"bridge"`
	Type        string            `json:"type"`
	OFPort      int               `json:"ofport"`
	Error       string            `json:"error,omitempty"`
	Tag         uint16            `json:"tag,omitempty"`
	ExternalIDs map[string]string `json:"external_ids,omitempty"`
	OtherConfig map[string]string `json:"other_config,omitempty"`
}

// LookAlike is an interface that does not carry the port's ID, and why it may have been meant to.
type LookAlike struct {
	Interface
	Why []string `json:"why"`
}

// Source is from where frames were sent that came to the switch lately: it forgets them after ten seconds.
type Source struct {
	MAC model.MAC `json:"mac,omitzero"`
	// Addr is the IP address that they were sent from, or that an ARP message claims; not valid if the switch did not
	// look. With fewer bits than an address it is known as far as that.
	Addr netip.Prefix `json:"addr,omitzero"`
	ARP  bool         `json:"arp,omitempty"`
	// Packets is their number, without the first; Age is since the last.
	Packets uint64        `json:"packets"`
	Age     time.Duration `json:"age_ns"`
	Dropped bool          `json:"dropped,omitempty"`
	// Device is where a rival's came in, Port that of the device; Host is the other host that they came from by a tunnel,
	// and VTEP where that one's tunnels end.
	Device string         `json:"device,omitempty"`
	Port   model.PortID   `json:"port,omitempty"`
	Host   model.HostName `json:"host,omitempty"`
	VTEP   netip.Addr     `json:"vtep,omitzero"`
}

// Holder is the process that holds the other end of a tap.
type Holder struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
	// Domain is the virtual machine's name, if the process tells.
	Domain string `json:"domain,omitempty"`
}

// Repair is something that was found changed and was put back.
type Repair struct {
	// Kind is bridge, port, flows or namespace.
	Kind   string `json:"kind"`
	Bridge string `json:"bridge"`
	// Name is the port's, the flow that did not belong there, the namespace, or namespace/device; Cookie is that of
	// flows of one object.
	Name   string `json:"name,omitempty"`
	Cookie uint64 `json:"cookie,omitempty"`
	Found  string `json:"found"`
	Set    string `json:"set"`
	// At is the last time; Times is how often since the first, Lately in the last minute.
	At     time.Time `json:"at"`
	Times  int       `json:"times"`
	Lately int       `json:"lately"`
}

// Device is the kernel's network interface of a port.
type Device struct {
	Name string `json:"name"`
	// Kind is as `ip -d link` names it: tun, veth, openvswitch.
	Kind      string `json:"kind"`
	MAC       string `json:"mac"`
	MTU       int    `json:"mtu"`
	Up        bool   `json:"up"`
	Carrier   bool   `json:"carrier"`
	RxPackets uint64 `json:"rx_packets"`
	TxPackets uint64 `json:"tx_packets"`
	RxDropped uint64 `json:"rx_dropped,omitempty"`
	TxDropped uint64 `json:"tx_dropped,omitempty"`
	// Holder is nil if it is not known.
	Holder *Holder `json:"holder,omitempty"`
}

// Flows compare the flows that the plan wants for the port with those in the switch.
type Flows struct {
	Wanted  int `json:"wanted"`
	Present int `json:"present"`
	// Missing are wanted flows that the switch does not hold, in ovs-ofctl's words.
	Missing []string `json:"missing,omitempty"`
	// Packets is the sum of the present flows' packet counters.
	Packets uint64 `json:"packets"`
	// Age is how long the oldest of them has been there: about as long as the port has been plugged.
	Age time.Duration `json:"age_ns,omitempty"`
	// Sent counts the packets that the guest has sent from each of its own addresses, as far as flows tell: not of a port
	// without port security.
	Sent map[string]uint64 `json:"sent,omitempty"`
	// FromMAC counts what the guest has sent with a MAC address of the port's since its flows were put in; not of a port
	// without port security.
	FromMAC uint64 `json:"from_mac,omitempty"`
	// OtherMAC counts what it has sent with others, which is dropped.
	OtherMAC uint64 `json:"other_mac,omitempty"`
}

// DHCP is the DHCP service of the port's network on this host.
type DHCP struct {
	// Wanted: this host is to serve the network.
	Wanted    bool   `json:"wanted"`
	Namespace string `json:"namespace"`
	Exists    bool   `json:"exists"`
	Device    string `json:"device,omitempty"`
	// Addresses are those found on Device in the namespace.
	Addresses []string `json:"addresses,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
	// Down: Device is set down.
	Down bool `json:"down,omitempty"`
	// Listening: the responder has its sockets open in the namespace.
	Listening bool `json:"listening"`
	// Heard: a test message that the switch put out at the device has reached the responder; Unheard says why not, and
	// is empty when that was not tried.
	Heard   bool   `json:"heard"`
	Unheard string `json:"unheard,omitempty"`
	// Since is when the responder began to remember what it hears on the network.
	Since time.Time `json:"since,omitzero"`
	// Strangers asked on the network and no port of it has their MAC and an address on a subnet with DHCP; Others are other
	// DHCP servers that clients have chosen; Elsewhere are networks on which the port's MAC asked as a stranger.
	Strangers []Stranger    `json:"strangers,omitempty"`
	Others    []OtherServer `json:"other_servers,omitempty"`
	Elsewhere []Stranger    `json:"elsewhere,omitempty"`
	// Leases are the addresses that the responder would give to the port.
	Leases []string `json:"leases,omitempty"`
}

// Stranger is a client without a lease.
type Stranger struct {
	// NetworkID is empty for the port's own network.
	NetworkID model.NetworkID `json:"network_id,omitempty"`
	MAC       model.MAC       `json:"mac"`
	Count     uint64          `json:"count"`
	Last      time.Time       `json:"last"`
}

// OtherServer is a DHCP server that is not weft's.
type OtherServer struct {
	Server netip.Addr `json:"server"`
	// MAC is that of the client that chose it last.
	MAC   model.MAC `json:"mac"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// Transaction is one DHCP message of the port and what became of it.
type Transaction struct {
	At time.Time `json:"at"`
	// Message is DISCOVER, REQUEST, ...; Reply is OFFER, ACK, NAK or empty for silence.
	Message string `json:"message"`
	Reply   string `json:"reply,omitempty"`
	Addr    string `json:"addr,omitempty"`
	// Reason says why the reply was a NAK or silence.
	Reason string `json:"reason,omitempty"`
	// Elapsed is from message to reply.
	Elapsed time.Duration `json:"elapsed_ns,omitempty"`
	// XID tells transactions apart.
	XID string `json:"xid,omitempty"`
	// Server is the other DHCP server that the client has chosen.
	Server string `json:"server,omitempty"`
}

// Facts are what the agent told the server of the port.
type Facts struct {
	Wired bool      `json:"wired"`
	DHCP  bool      `json:"dhcp"`
	At    time.Time `json:"at"`
}

// Fault is something that the agent could not do, and retries.
type Fault struct {
	Object string    `json:"object"`
	Op     string    `json:"op"`
	Error  string    `json:"error"`
	Since  time.Time `json:"since"`
	Tries  int       `json:"tries"`
	// Until is when it was over; zero for one that is not.
	Until time.Time `json:"until,omitzero"`
	// Closes: because of it nothing passes the port.
	Closes bool `json:"closes,omitempty"`
	// Rules: because of it ports may not do all that their security groups allow.
	Rules bool `json:"rules,omitempty"`
	// Underlay: it is of what is under the tunnels, and not the agent's to change.
	Underlay bool `json:"underlay,omitempty"`
}
