// Package control holds the verbs: what creating, updating, binding or deleting a
// noun means, one transaction each.
//
// Requests come in as Go values with presence (Opt), already type-checked by the API;
// rules of the cloud are judged here and broken ones come back as model.Fault or
// model.NotFound. A verb returns only when the store's mirror has reached its write.
package control

import (
	"net/netip"

	"weft/internal/model"
)

// Opt is a value that may be absent from a request.
type Opt[T any] struct {
	Set   bool
	Value T
}

// Some makes a present Opt.
func Some[T any](v T) Opt[T] { return Opt[T]{Set: true, Value: v} }

// Or returns the value, or def when absent.
func (o Opt[T]) Or(def T) T {
	if o.Set {
		return o.Value
	}
	return def
}

// NetworkRequest asks to create or change a network; absent fields keep their default or present value.
type NetworkRequest struct {
	Project        model.ProjectID // create only
	Name           Opt[string]
	Description    Opt[string]
	AdminStateUp   Opt[bool]
	Shared         Opt[bool]
	External       Opt[bool]
	IsDefault      Opt[bool]
	PortSecurity   Opt[bool]
	MTU            Opt[int]
	AZHints        Opt[[]string]
	DNSDomain      Opt[string]
	QoSPolicy      Opt[string] // "" is none
	NetworkType    Opt[string] // provider:network_type
	Physical       Opt[string] // provider:physical_network
	SegmentationID Opt[int64]  // provider:segmentation_id
	// Segments are all segments of a network that is to have several.
	Segments []SegmentRequest
	// IfRevision is If-Match: revision_number=N on updates.
	IfRevision Opt[int]
}

// SubnetRequest asks to create or change a subnet.
type SubnetRequest struct {
	Project     model.ProjectID
	NetworkID   model.NetworkID
	Name        Opt[string]
	Description Opt[string]
	// IPVersion is 4 or 6; 0 is that of the CIDR. CIDR is the zero Prefix to take one
	// from a pool: of PrefixLen, or of the pool's default length.
	IPVersion   int64
	CIDR        netip.Prefix
	PrefixLen   Opt[int64]
	PoolID      string
	DefaultPool bool // use_default_subnetpool
	RAMode      model.IPv6Mode
	AddressMode model.IPv6Mode
	DNSPublish  Opt[bool]   // dns_publish_fixed_ip
	SegmentID   Opt[string] // "" is none
	// Gateway set to the zero Addr means gateway_ip null.
	Gateway      Opt[netip.Addr]
	Pools        Opt[[]model.Pool]
	EnableDHCP   Opt[bool]
	DNS          Opt[[]netip.Addr]
	HostRoutes   Opt[[]model.Route]
	ServiceTypes Opt[[]string]
	IfRevision   Opt[int]
}

// FixedIPRequest is one entry of fixed_ips: by subnet, by address, or both.
type FixedIPRequest struct {
	SubnetID model.SubnetID // empty: find by address
	Addr     netip.Addr     // zero: choose one
}

// PortRequest asks to create or change a port.
type PortRequest struct {
	Project      model.ProjectID
	NetworkID    model.NetworkID
	Name         Opt[string]
	Description  Opt[string]
	MAC          Opt[model.MAC] // the zero MAC asks for a new one
	FixedIPs     Opt[[]FixedIPRequest]
	AdminStateUp Opt[bool]
	DeviceID     Opt[string]
	DeviceOwner  Opt[string]
	HostID       Opt[string] // binding:host_id; "" unbinds
	VNICType     Opt[string]
	Profile      Opt[map[string]any] // binding:profile; nil means {}
	// DHCPOptions on update are merged by (name, ip_version); an entry with Delete removes.
	DHCPOptions    Opt[[]DHCPOptionRequest]
	PortSecurity   Opt[bool]
	SecurityGroups Opt[[]string]
	AddressPairs   Opt[[]AddressPairRequest]
	Tags           Opt[[]string] // create only
	DataPlane      Opt[string]   // update only; "" is null
	DNSName        Opt[string]
	DNSDomain      Opt[string]
	QoSPolicy      Opt[string] // "" is none
	IfRevision     Opt[int]
}

// DHCPOptionRequest is one entry of extra_dhcp_opts; Delete is opt_value null.
type DHCPOptionRequest struct {
	model.DHCPOption
	Delete bool
}

// AddressPairRequest is one allowed_address_pairs entry; a zero MAC means the port's own.
type AddressPairRequest struct {
	MAC    model.MAC
	Prefix netip.Prefix
}
