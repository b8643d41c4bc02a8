package model

// KindTrunk is a trunk.
const KindTrunk Kind = "trunk"

// TrunkDown is the status of a trunk whose subports no host has wired.
const TrunkDown = "DOWN"

// SegmentationInherit asks for the VLAN of the subport's own network.
const SegmentationInherit = "inherit"

// SubPort is a port whose traffic a trunk's parent port carries under a VLAN tag.
type SubPort struct {
	PortID PortID `json:"port_id"`
	Type   string `json:"type"`
	ID     int    `json:"id"`
}

// Trunk joins subports to a parent port.
type Trunk struct {
	ID           string    `json:"id"`
	Project      ProjectID `json:"project"`
	Name         string    `json:"name,omitempty"`
	PortID       PortID    `json:"port_id"`
	AdminStateUp bool      `json:"admin_state_up"`
	Status       string    `json:"status"`
	SubPorts     []SubPort `json:"sub_ports,omitempty"`
	Meta
}
