// Package view selects the part of the cloud that concerns one host.
//
// In goes everything that is known (or, on a host, everything that its feed sent);
// out comes a View, sorted and free of dangling references, from which the plan is
// made. Pure: the same cloud in any order gives the same View.
package view

import (
	"net/netip"

	"weft/internal/model"
)

// Cloud is a set of nouns, keyed by ID: all of the cloud on a server, or what the
// feed has sent on a host.
type Cloud struct {
	Networks map[model.NetworkID]*model.Network
	Subnets  map[model.SubnetID]*model.Subnet
	Ports    map[model.PortID]*model.Port
	// Groups are security groups with their rules.
	Groups map[string]*SecurityGroup
	// Members are the ports of security groups, those on other networks included.
	Members map[MemberID]*Member
	// AddressGroups are those that rules name.
	AddressGroups map[string]*model.AddressGroup
	// Peers are hosts: those of ports of these networks.
	Peers map[model.HostName]*Peer
}

// NewCloud makes an empty Cloud with usable maps.
func NewCloud() Cloud {
	return Cloud{
		Networks:      map[model.NetworkID]*model.Network{},
		Subnets:       map[model.SubnetID]*model.Subnet{},
		Ports:         map[model.PortID]*model.Port{},
		Groups:        map[string]*SecurityGroup{},
		Members:       map[MemberID]*Member{},
		AddressGroups: map[string]*model.AddressGroup{},
		Peers:         map[model.HostName]*Peer{},
	}
}

// Peer is a host as another host needs it. It is not changed once it is there.
type Peer struct {
	Host model.HostName `json:"host"`
	// VTEP is where its tunnels end; none if it has none.
	VTEP netip.Addr `json:"vtep,omitzero"`
}

// SecurityGroup is a security group as a host needs it. It is not changed once it is there.
type SecurityGroup struct {
	ID        string `json:"id"`
	Stateless bool   `json:"stateless,omitempty"`
	// Rules are sorted by ID.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule is one rule of a security group. Rules only allow.
type Rule struct {
	ID string `json:"id"`
	model.RuleMatch
}

// MemberID names a member of a security group.
type MemberID struct {
	Group string
	Port  model.PortID
}

// Member is a port as a member of a security group that some rule names as the other
// side: by what it may send from. It is not changed once it is there.
type Member struct {
	Group string       `json:"group"`
	Port  model.PortID `json:"port"`
	// Sources are its fixed IPs and address pairs, sorted, each once.
	Sources []Source `json:"sources,omitempty"`
}

// Source is an address, or several, behind a MAC address.
type Source struct {
	MAC    model.MAC    `json:"mac"`
	Prefix netip.Prefix `json:"prefix"`
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
	// Peers are the other hosts that a port of the network is bound to, sorted by name.
	Peers []*Peer
	// DHCPPort is the network:dhcp port bound to this host, or to every host; nil if DHCP of this network is not served here.
	DHCPPort *model.Port
}

// LocalPort is a port that is attached to this host's integration bridge.
type LocalPort struct {
	*model.Port
	Network    *Network
	Attachment Attachment
	// Groups are the security groups of a port that is filtered, sorted by ID. One that is not
	// known (yet) is missing, and so allows nothing.
	Groups []*SecurityGroup
}

// Tunnel is the port of the tunnel bridge that leads to a VTEP.
type Tunnel struct {
	VTEP   netip.Addr
	OFPort OFPort
}

// View is everything that concerns one host, sorted.
type View struct {
	Host model.HostName
	// Tunnels are those that there are numbers for, sorted by VTEP; Of leaves them to its caller.
	// Without one a peer is not reached.
	Tunnels []Tunnel
	// Networks are those with a port bound to this host (a DHCP port counts, unless it is
	// bound to every host), sorted by ID.
	// One for which no local VLAN was left has LocalVLAN 0.
	Networks []*Network
	// Local are the attached ports bound to this host and known to the cloud, sorted by ID.
	Local []LocalPort
	// Strangers are the attachments that are no such port: the port is unknown, bound
	// elsewhere or attached twice. They stay unwired. Sorted by device.
	Strangers []Attachment
	// Groups are the security groups of all local ports, sorted by ID, each once.
	Groups []*SecurityGroup
	// Members are those of the groups that rules of Groups name as the other side, by
	// group, sorted by port ID.
	Members map[string][]*Member
	// AddressGroups are those that rules of Groups name.
	AddressGroups map[string]*model.AddressGroup
}
