// Package doctor judges how the servers and hosts of a cloud are: not one port, as package
// trace does, but the machines and daemons under all of them.
//
// In go Facts: what each server says of itself and its etcd, what each host's agent says of
// its machine, and what the records say of both. Out comes a Report: checks by server and
// host, each with a verdict, a sentence, and what to do. What nobody could look at is a
// finding too. Pure: packages admin and agent gather, this one judges.
package doctor

import (
	"time"

	"weft/internal/model"
	"weft/internal/trace"
)

// Facts are all that is known when the doctor is asked.
type Facts struct {
	// Now is the time by the server that was asked, Version that of its weft.
	Now     time.Time
	Version string
	// PhysicalMTU is what networks are promised to be carried in.
	PhysicalMTU int
	// Store is nil when only some hosts are asked about; then there are no Servers either.
	Store   *Store
	Servers []Server
	Hosts   []Host
	// Tunnels are some between the hosts, as they were tried.
	Tunnels []Tunnel
}

// Store is what the records say as a whole.
type Store struct {
	// Broken are the invariants that do not hold, such as an address held twice; Unchecked says why
	// nobody could look.
	Broken    []string
	Unchecked string
}

// Answer is how somebody's word reached the server that asked.
type Answer struct {
	// Silence says why there is none.
	Silence string
	// Sent and Received are when the question went out and the answer came in, by the clock of
	// the server that asked.
	Sent, Received time.Time
}

// Server is one server of the cloud.
type Server struct {
	Name string
	Answer
	ServerFacts
}

// ServerFacts are what a server says of itself, in JSON.
type ServerFacts struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Etcd    Etcd      `json:"etcd"`
	Disk    *Disk     `json:"disk,omitempty"`
	// Certificates are those that it shows to others.
	Certificates []Certificate `json:"certificates,omitempty"`
	// Gaps say what could not be looked at, and why.
	Gaps []string `json:"gaps,omitempty"`
}

// Etcd is the store as a server reaches it.
type Etcd struct {
	// Embedded: it is a part of the server.
	Embedded  bool       `json:"embedded"`
	Endpoints []Endpoint `json:"endpoints"`
	Members   []Member   `json:"members,omitempty"`
	// Alarms are those raised, such as NOSPACE.
	Alarms []string `json:"alarms,omitempty"`
	// Commit is how long most of some changes took that change nothing, WorstCommit the longest.
	Commit      time.Duration `json:"commit_ns"`
	WorstCommit time.Duration `json:"worst_commit_ns"`
	Error       string        `json:"error,omitempty"`
}

// Endpoint is one etcd.
type Endpoint struct {
	URL     string `json:"url"`
	Version string `json:"version,omitempty"`
	// Leader is the ID of who leads; 0 is nobody.
	Leader  uint64 `json:"leader,omitempty"`
	Learner bool   `json:"learner,omitempty"`
	// Size is the size of its file, InUse what of it is needed, and Quota the size at which it
	// refuses to be written to.
	Size  int64 `json:"size"`
	InUse int64 `json:"in_use"`
	Quota int64 `json:"quota,omitempty"`
	// Behind is how many changes it has still to apply.
	Behind int64  `json:"behind"`
	Error  string `json:"error,omitempty"`
}

// Member is a member of etcd's cluster.
type Member struct {
	Name    string `json:"name"`
	Learner bool   `json:"learner,omitempty"`
	Leader  bool   `json:"leader,omitempty"`
}

// Disk is what the state directory is on.
type Disk struct {
	Path string `json:"path"`
	// Sync is how long most of some small writes took to be on the disk, WorstSync the longest.
	Sync      time.Duration `json:"sync_ns"`
	WorstSync time.Duration `json:"worst_sync_ns"`
	Free      int64         `json:"free"`
	Size      int64         `json:"size"`
}

// Certificate is one by which somebody is known.
type Certificate struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Due is when its holder renews it.
	Due time.Time `json:"due,omitzero"`
}

// Host is one host of the cloud.
type Host struct {
	Name model.HostName
	// Record is nil for a host that has joined and was never heard of; State is control.HostState.
	Record *model.Host
	State  string
	Answer
	HostFacts
}

// HostFacts are what a host's agent says of its machine, in JSON.
type HostFacts struct {
	At   time.Time  `json:"at"`
	Feed trace.Feed `json:"feed"`
	// Wanted are the bridges as planned.
	Wanted []Bridge `json:"wanted,omitempty"`
	// Manager is the one that the agent sets, if any.
	Manager string `json:"manager,omitempty"`
	VTEP    string `json:"vtep,omitempty"`
	// NeedMTU is what the underlay must carry for the networks here, with the tunnels' headers;
	// Overhead is the part of the headers.
	NeedMTU  int `json:"need_mtu,omitempty"`
	Overhead int `json:"overhead,omitempty"`
	// Shared are how many tunnelled networks here are on other hosts too.
	Shared int `json:"shared,omitempty"`
	Machine
	// Faults are what the agent could not do, but for those of the underlay.
	Faults []trace.Fault `json:"faults,omitempty"`
}

// Machine is what there is to see of a host's machine.
type Machine struct {
	Switch Switch `json:"switch"`
	Kernel Kernel `json:"kernel"`
	// Repairs are what the agent found changed by somebody else lately, and put right.
	Repairs []trace.Repair `json:"repairs,omitempty"`
	// Underlay is the device that has the tunnel address; Device is empty if none has it. Nil is not known.
	Underlay *Device `json:"underlay,omitempty"`
	// Leftovers are what may belong to nothing: the agent does not want it. Whether the cloud
	// knows it only a server can tell.
	Leftovers []Leftover `json:"leftovers,omitempty"`
	Gaps      []string   `json:"gaps,omitempty"`
}

// Device is a network interface.
type Device struct {
	Name string `json:"name"`
	MTU  int    `json:"mtu"`
	// Down: the device is down or has no carrier.
	Down bool `json:"down,omitempty"`
	// Elsewhere are other hosts' tunnel addresses that packets leave for by another device, with it.
	Elsewhere []string `json:"elsewhere,omitempty"`
	// ReversePath is the rp_filter that counts for it; IPv6 has none.
	ReversePath int `json:"rp_filter"`
}

// Switch is the Open vSwitch of a host.
type Switch struct {
	Connected bool `json:"connected"`
	// Empty: the database has no Open_vSwitch row: it was never initialised.
	Empty bool `json:"empty,omitempty"`
	// Version is what the database says, Running what ovs-vswitchd says of itself; empty is not known.
	Version string `json:"version,omitempty"`
	Running string `json:"running,omitempty"`
	// Silence says why ovs-vswitchd does not answer on its control socket.
	Silence   string   `json:"silence,omitempty"`
	Datapaths []string `json:"datapaths,omitempty"`
	Bridges   []Bridge `json:"bridges,omitempty"`
	Managers  []Target `json:"managers,omitempty"`
	// OVN is the database of an ovn-controller that is told to rule this switch.
	OVN string `json:"ovn,omitempty"`
	// Lookups are the packets that the datapaths have seen, Lost those that found no room on the way to ovs-vswitchd.
	Lookups uint64 `json:"lookups,omitempty"`
	Lost    uint64 `json:"lost,omitempty"`
	// Failed are interfaces that Open vSwitch could not make, with its error.
	Failed map[string]string `json:"failed,omitempty"`
}

// Bridge is a bridge, as it is or as planned; what is empty in a plan is not planned.
type Bridge struct {
	Name        string   `json:"name"`
	Datapath    string   `json:"datapath,omitempty"`
	FailMode    string   `json:"fail_mode,omitempty"`
	Controllers []Target `json:"controllers,omitempty"`
	// Connected: the agent is its controller now.
	Connected bool `json:"connected,omitempty"`
}

// Target is a connection of Open vSwitch to somebody who tells it what to do.
type Target struct {
	Target    string `json:"target"`
	Connected bool   `json:"connected"`
}

// Kernel is what a host's kernel says.
type Kernel struct {
	Release string `json:"release"`
	// Missing are modules that are neither loaded nor built in.
	Missing []string `json:"missing,omitempty"`
	// Connections are those that conntrack follows now, MaxConnections what it can; 0 is not known.
	Connections    int `json:"connections"`
	MaxConnections int `json:"max_connections"`
	// Neighbours are those in the neighbour table of the tunnels' IP version, MaxNeighbours what it can hold, and
	// FullNeighbours how often it was full since the machine began; 0 is not known.
	Neighbours     int `json:"neighbours"`
	MaxNeighbours  int `json:"max_neighbours"`
	FullNeighbours int `json:"full_neighbours"`
	// Rivals are processes that would do weft's work too.
	Rivals []Process `json:"rivals,omitempty"`
}

// Process is a process of a machine.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// Leftover is a thing on a host that may belong to nothing.
type Leftover struct {
	// Kind is one of the Kind constants.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Bridge is that of a port of the switch.
	Bridge string `json:"bridge,omitempty"`
	// Object is the ID that it is made for: of a network, router or port; of a tap only the beginning is known.
	Object string `json:"object"`
	// Mark tells this thing from another of the same name: a number that the kernel or the switch has given to it.
	Mark string `json:"mark"`
	// Device: the port has a device in the kernel, which goes with it.
	Device bool `json:"device,omitempty"`
	// Use says who uses it; empty is nobody.
	Use string `json:"use,omitempty"`
	// Seen is since when the agent knows it and does not want it.
	Seen time.Time `json:"seen"`
}

// The kinds of leftovers.
const (
	KindNamespace = "namespace" // qdhcp-NETWORK, qrouter-ROUTER
	KindPort      = "port"      // of a switch, with an iface-id
	KindTap       = "tap"       // a tap device that is on no switch
)

// Same reports whether two leftovers are the same thing.
func (l Leftover) Same(o Leftover) bool {
	return l.Kind == o.Kind && l.Name == o.Name && l.Bridge == o.Bridge && l.Object == o.Object && l.Mark == o.Mark
}

// Title is what a leftover is called.
func (l Leftover) Title() string {
	if l.Bridge != "" {
		return l.Kind + " " + l.Name + " on " + l.Bridge
	}
	return l.Kind + " " + l.Name
}

// MinAge is how long the agent must have known a thing as not wanted before it may go.
const MinAge = time.Minute

// Removal is what became of the wish to remove a leftover.
type Removal struct {
	Leftover
	// Error says why it is still there; empty is removed.
	Error string `json:"error,omitempty"`
}
