// Package trace explains one port end to end by judging evidence from a host against
// what the records of the cloud say must be.
//
// In go a Record (what the server knows) and Evidence (what the host's agent found, or
// why it said nothing); out comes a Chain: steps from the API record to the last DHCP
// acknowledgement, each item with what was expected and what was observed, side by
// side. Missing parts make items that say so, never a panic. Pure: gathering is done by
// package agent, asking by package inspect.
package trace

import (
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
	// Host is the host that the port is bound to.
	Host      *model.Host
	HostAlive bool
	// GroupNames are those of the port's security groups, by ID.
	GroupNames map[string]string
}

// Query is what a server asks an agent, in JSON; the answer is Evidence.
type Query struct {
	PortID model.PortID `json:"port_id"`
	// NetworkID finds the DHCP service of a port that the agent does not know.
	NetworkID model.NetworkID `json:"network_id,omitempty"`
	// Packet, if it is there, is what the switch shall be asked about.
	Packet *firewall.Packet `json:"packet,omitempty"`
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
	Device    *Device    `json:"device,omitempty"`
	Flows     *Flows     `json:"flows,omitempty"`
	// Dropped counts the packets that the port's filter has dropped, by reason.
	Dropped map[string]uint64 `json:"dropped,omitempty"`
	// Walked is what the switch does with the packet of the query.
	Walked *Walked `json:"walked,omitempty"`
	DHCP   *DHCP   `json:"dhcp,omitempty"`
	// Transactions are the DHCP messages of this port, oldest first.
	Transactions []Transaction `json:"transactions,omitempty"`
	// Reported are the facts that the agent last told the server; nil before it told any.
	Reported *Facts  `json:"reported,omitempty"`
	Faults   []Fault `json:"faults,omitempty"`
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
}

// Flows compare the flows that the plan wants for the port with those in the switch.
type Flows struct {
	Wanted  int `json:"wanted"`
	Present int `json:"present"`
	// Missing are wanted flows that the switch does not hold, in ovs-ofctl's words.
	Missing []string `json:"missing,omitempty"`
	// Packets is the sum of the present flows' packet counters.
	Packets uint64 `json:"packets"`
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
	// Listening: the responder has its sockets open in the namespace.
	Listening bool `json:"listening"`
	// Leases are the addresses that the responder would give to the port.
	Leases []string `json:"leases,omitempty"`
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
	// Closes: because of it nothing passes the port.
	Closes bool `json:"closes,omitempty"`
	// Rules: because of it ports may not do all that their security groups allow.
	Rules bool `json:"rules,omitempty"`
}

// Chain is the whole of a port, as expected and as observed.
type Chain struct {
	PortID    model.PortID    `json:"port_id"`
	Name      string          `json:"name"`
	NetworkID model.NetworkID `json:"network_id"`
	Host      model.HostName  `json:"host"`
	At        time.Time       `json:"at"`
	// Same: every item is as expected.
	Same  bool   `json:"same"`
	Steps []Step `json:"steps"`
}

// Step is one link of the chain.
type Step struct {
	// Name is one of the Step constants.
	Name  string `json:"name"`
	Same  bool   `json:"same"`
	Items []Item `json:"items"`
}

// The steps, in order.
const (
	StepRecord     = "record"     // the API's record and what was allocated
	StepBinding    = "binding"    // where the port is to be realised
	StepHost       = "host"       // is that host's agent alive and in step
	StepInterface  = "interface"  // the OVS interface that carries the port's ID
	StepDevice     = "device"     // the tap in the kernel
	StepFlows      = "flows"      // what the switch holds for the port
	StepFilter     = "filter"     // port security and security groups, and what they have dropped
	StepDHCPServer = "dhcp"       // namespace, address and listener
	StepLease      = "lease"      // what the guest asked and was told
	StepStatus     = "status"     // the facts and the status derived from them
	StepFaults     = "faults"     // what the agent could not do
	unknown        = "unknown: "  // begins Observed of what nobody could look at
	none           = "none"       // Observed of what is not there
	anything       = ""           // Expected of an item that is only shown
	present        = "present"    // Expected of what must be there, whatever it is
	timeForm       = time.RFC3339 // of times in items
)

// Item is one fact of a step.
type Item struct {
	What     string `json:"what"`
	Expected string `json:"expected"`
	Observed string `json:"observed"`
	// Same: Observed is as Expected, or nothing is expected.
	Same bool `json:"same"`
}

// First returns the first item that is not as expected, with its step; ok is false when all is well.
func (c *Chain) First() (s Step, it Item, ok bool) {
	for _, s := range c.Steps {
		for _, it := range s.Items {
			if !it.Same {
				return s, it, true
			}
		}
	}
	return Step{}, Item{}, false
}

// add appends an item that is compared literally.
func (s *Step) add(what, expected, observed string) {
	s.judge(what, expected, observed, expected == anything || expected == observed)
}

// judge appends an item with a verdict of the caller's.
func (s *Step) judge(what, expected, observed string, same bool) {
	s.Items = append(s.Items, Item{What: what, Expected: expected, Observed: observed, Same: same})
}

// unlooked appends an item that nobody could look at.
func (s *Step) unlooked(what, expected, why string) {
	s.judge(what, expected, unknown+why, false)
}
