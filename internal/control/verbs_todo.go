package control

import (
	"context"
	"errors"

	"weft/internal/model"
	"weft/internal/store"
)

var errTodo = errors.New("not built yet")

// CreateNetwork makes a network on a segment given or chosen.
func (c *Control) CreateNetwork(ctx context.Context, req NetworkRequest) (*store.Entry[model.Network], error) {
	return nil, errTodo
}

// CreateNetworks makes all networks or none.
func (c *Control) CreateNetworks(ctx context.Context, reqs []NetworkRequest) ([]*store.Entry[model.Network], error) {
	return nil, errTodo
}

// UpdateNetwork changes a network.
func (c *Control) UpdateNetwork(ctx context.Context, id model.NetworkID, req NetworkRequest) (*store.Entry[model.Network], error) {
	return nil, errTodo
}

// DeleteNetwork removes a network with its subnets and DHCP ports, unless other ports are on it.
func (c *Control) DeleteNetwork(ctx context.Context, id model.NetworkID, ifRevision Opt[int]) error {
	return errTodo
}

// CreateSubnet makes a subnet on a network, and the DHCP port when a live host serves DHCP.
func (c *Control) CreateSubnet(ctx context.Context, req SubnetRequest) (*store.Entry[model.Subnet], error) {
	return nil, errTodo
}

// CreateSubnets makes all subnets or none.
func (c *Control) CreateSubnets(ctx context.Context, reqs []SubnetRequest) ([]*store.Entry[model.Subnet], error) {
	return nil, errTodo
}

// UpdateSubnet changes a subnet.
func (c *Control) UpdateSubnet(ctx context.Context, id model.SubnetID, req SubnetRequest) (*store.Entry[model.Subnet], error) {
	return nil, errTodo
}

// DeleteSubnet removes a subnet unless a port that is not a DHCP port holds an address of it.
func (c *Control) DeleteSubnet(ctx context.Context, id model.SubnetID, ifRevision Opt[int]) error {
	return errTodo
}

// CreatePort makes a port: MAC and addresses given or chosen, bound when a host is named.
func (c *Control) CreatePort(ctx context.Context, req PortRequest) (*store.Entry[model.Port], error) {
	return nil, errTodo
}

// CreatePorts makes all ports or none.
func (c *Control) CreatePorts(ctx context.Context, reqs []PortRequest) ([]*store.Entry[model.Port], error) {
	return nil, errTodo
}

// UpdatePort changes a port.
func (c *Control) UpdatePort(ctx context.Context, id model.PortID, req PortRequest) (*store.Entry[model.Port], error) {
	return nil, errTodo
}

// DeletePort removes a port.
func (c *Control) DeletePort(ctx context.Context, id model.PortID, ifRevision Opt[int]) error {
	return errTodo
}

// RegisterHost records what a host's agent says of itself, and makes the DHCP ports of
// networks that have none when it serves DHCP.
func (c *Control) RegisterHost(ctx context.Context, h model.Host) (*model.Host, error) {
	return nil, errTodo
}

// Heartbeat records that a host lives now.
func (c *Control) Heartbeat(ctx context.Context, host model.HostName) error { return errTodo }

// EnsureDHCP makes the DHCP port of a network what its subnets ask for.
func (c *Control) EnsureDHCP(ctx context.Context, id model.NetworkID) error { return errTodo }

// PortFact is what a host reports of one port: whether its interface is there with its
// flows in, and whether DHCP serves it.
type PortFact struct {
	PortID model.PortID `json:"port_id"`
	Wired  bool         `json:"wired"`
	DHCP   bool         `json:"dhcp"`
}

// ReportPorts derives the status of ports from facts of a host and stores what changed.
func (c *Control) ReportPorts(ctx context.Context, host model.HostName, facts []PortFact) error {
	return errTodo
}

// Problem is one broken invariant of the store.
type Problem struct {
	Key     string
	Message string
}

// Fsck reads the raw keys under the default prefix and checks all invariants.
func Fsck(ctx context.Context, client *store.Client) ([]Problem, error) { return nil, errTodo }
