// Package view selects the part of the cloud that concerns one host.
//
// In goes everything that is known (or, on a host, everything that its feed sent);
// out comes a View, sorted and free of dangling references, from which the plan is
// made. Pure: the same cloud in any order gives the same View.
package view

import (
	"weft/internal/model"
)

// Cloud is a set of nouns, keyed by ID: all of the cloud on a server, or what the
// feed has sent on a host.
type Cloud struct {
	Networks map[model.NetworkID]*model.Network
	Subnets  map[model.SubnetID]*model.Subnet
	Ports    map[model.PortID]*model.Port
}

// OFPort is an OpenFlow port number on one bridge.
type OFPort uint32

// Attachment is observed: this port is device Device, OpenFlow port OFPort, here.
type Attachment struct {
	PortID model.PortID
	// Device is the name of the OVS interface.
	Device string
	OFPort OFPort
	// MAC is external_ids:attached-mac; zero when absent or unreadable.
	MAC model.MAC
}

// LocalVLAN is the VLAN of a network inside one br-int (1..4094); it never leaves the host.
type LocalVLAN uint16

// Network is one network as this host needs it, with its subnets and ports.
type Network struct {
	*model.Network
	LocalVLAN LocalVLAN
	// Subnets are sorted by ID.
	Subnets []*model.Subnet
	// Ports are all ports of the network, wherever bound, sorted by ID.
	Ports []*model.Port
	// DHCPPort is the network:dhcp port bound to this host; nil if DHCP of this network is not served here.
	DHCPPort *model.Port
}

// LocalPort is a port that is attached to this host's integration bridge.
type LocalPort struct {
	*model.Port
	Network    *Network
	Attachment Attachment
}

// View is everything that concerns one host, sorted.
type View struct {
	Host model.HostName
	// Networks are those with a port bound to this host (a DHCP port counts), sorted by ID.
	// One for which no local VLAN was left has LocalVLAN 0.
	Networks []*Network
	// Local are the attached ports bound to this host and known to the cloud, sorted by ID.
	Local []LocalPort
	// Strangers are the attachments that are no such port: the port is unknown, bound
	// elsewhere or attached twice. They stay unwired. Sorted by device.
	Strangers []Attachment
}
