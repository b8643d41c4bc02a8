package model

import "fmt"

// Kind names a kind of object in errors, keys and the feed: "network", "subnet", "port", "agent".
type Kind string

// The kinds of object.
const (
	KindNetwork        Kind = "network"
	KindSubnet         Kind = "subnet"
	KindPort           Kind = "port"
	KindAgent          Kind = "agent"
	KindRouter         Kind = "router"
	KindFloatingIP     Kind = "floatingip"
	KindPortForwarding Kind = "port_forwarding"
	KindHost           Kind = "host"
	KindDHCPSetting    Kind = "dhcp_setting"
	KindQuota          Kind = "quota"
	KindRBAC           Kind = "rbac_policy"

	KindSecurityGroup     Kind = "security_group"
	KindSecurityGroupRule Kind = "security_group_rule"
	KindRuleTemplate      Kind = "default_security_group_rule"
	KindAddressGroup      Kind = "address_group"
	KindSegment           Kind = "segment"
	KindSubnetPool        Kind = "subnetpool"
	KindAddressScope      Kind = "address_scope"
	// KindQoS is a policy, as RBAC policies call it.
	KindQoS     Kind = "qos_policy"
	KindQoSRule Kind = "qos_rule"
)

// NotFound says that there is no such object.
type NotFound struct {
	Kind Kind
	ID   string
}

func (e NotFound) Error() string { return fmt.Sprintf("%s %s could not be found", e.Kind, e.ID) }

// Fault is an error with a name of its own in Neutron, such as IpAddressInUse.
// Kinds of fault are constants of this package; the HTTP status and the wire name
// belong to package neutron. Message is the text that Neutron would give.
type Fault struct {
	Kind    FaultKind
	Message string
	// Detail carries numbers and names that Neutron does not give, for people.
	Detail string
}

func (e Fault) Error() string {
	if e.Detail != "" {
		return e.Message + " (" + e.Detail + ")"
	}
	return e.Message
}

// FaultKind says which rule of the cloud a request broke.
type FaultKind int

// The kinds of fault, by what was broken.
const (
	InvalidInput             FaultKind = iota + 1 // a value that cannot be
	InvalidIPForSubnet                            // address outside the named subnet
	InvalidIPForNetwork                           // address on no subnet of the network
	InvalidAllocationPool                         // pool ends before it starts
	OutOfBoundsPool                               // pool leaves the CIDR
	OverlappingPools                              // pools of one subnet overlap
	GatewayConflictsPool                          // gateway lies in a pool
	GatewayInUse                                  // gateway taken by a port
	NameserversExhausted                          // too many DNS servers
	HostRoutesExhausted                           // too many host routes
	IPAlreadyAllocated                            // address taken, asked for by name
	IPInUse                                       // address taken by another port at the same time
	IPExhausted                                   // no free address
	MACInUse                                      // MAC taken on the network
	MACExhausted                                  // no free MAC found
	NetworkInUse                                  // network still has ports
	SubnetInUse                                   // subnet still has addresses in use
	RouterInUse                                   // router still has interfaces
	InterfaceNotFound                             // router has no such port
	InterfaceNotOnSubnet                          // router is not on the subnet
	InterfaceInUseByFIP                           // floating IPs need the interface
	InterfaceInUseByRoute                         // extra routes need the interface
	GatewayInUseByFloatingIP                      // floating IPs need the gateway
	SubnetMismatch                                // port is not on the subnet named with it
	InvalidRoutes                                 // extra routes that lead nowhere
	RoutesExhausted                               // too many extra routes
	IPChangeNotAllowed                            // the port's addresses belong to its router
	DeviceOwnerUnsupported                        // not done to a port of this owner
	NoGatewayForFloatingIP                        // no router between the networks
	FloatingIPPortAssociated                      // the fixed IP has a floating IP already
	FloatingIPAssociated                          // another project's floating IP is on the port
	FloatingIPForwards                            // floating IP still forwards
	ExternalIPExhausted                           // no IPv4 address on the external network
	PortHasFloatingIP                             // port forwarding to a port with a floating IP
	ServicePortInUse                              // port belongs to a router or the like
	PortInUse                                     // port already has a device
	PortBound                                     // MAC of a bound port cannot change
	VLANInUse                                     // VLAN ID taken on the physical network
	TunnelInUse                                   // VNI taken
	FlatInUse                                     // flat network exists on the physical network
	NoNetworkAvailable                            // no segmentation ID left
	AddressOnAutoSubnet                           // another address than the MAC's on a SLAAC subnet
	NoServiceSubnet                               // no subnet of the network is for this device owner
	MTUTooSmall                                   // network cannot carry IPv6
	BadRequest                                    // attributes that contradict each other
	PoolEmpty                                     // subnet pool without prefixes
	PoolFamiliesMixed                             // IPv4 and IPv6 in one subnet pool
	PoolBounds                                    // prefix lengths of a pool contradict each other
	PoolPrefixUpdate                              // prefixes of a pool in use cannot go
	PoolUpdate                                    // subnet pool cannot change so
	PoolDelete                                    // subnet pool still has subnets
	PoolExhausted                                 // no such prefix left in the subnet pool
	PoolPrefixTooLong                             // longer prefix than the pool gives out
	PoolPrefixTooShort                            // shorter prefix than the pool gives out
	PoolQuota                                     // project has taken its share of the subnet pool
	PoolAffinity                                  // subnets of a network from different pools
	ScopeAffinity                                 // subnets of a network in different address scopes
	ScopeFamily                                   // subnet pool and address scope are of different families
	ScopeOverlap                                  // prefixes of an address scope overlap
	ScopeUpdate                                   // address scope cannot change so
	ScopeInUse                                    // address scope still has subnet pools
	NotAuthorized                                 // not the caller's to do
	RevisionConflict                              // If-Match did not hold
	AddressPairExhausted                          // too many allowed address pairs
	AddressPairNeedsSecurity                      // pairs without port security
	InvalidQuota                                  // a limit below what is used
	OverQuota                                     // the project has as many as it may
	TrunkPortInUse                                // the port is a subport already
	ParentPortInUse                               // the port cannot become a trunk's parent
	TrunkInUse                                    // the trunk's parent is on a host
	TrunkDisabled                                 // the trunk is administratively down
	DuplicateSubPort                              // the VLAN is taken on the trunk
	SubPortNotFound                               // the trunk has no such subport
	SubPortMTU                                    // the subport's network has a larger MTU than the parent's
	PortInUseAsSubPort                            // the port cannot go: it is a subport
	PortInUseAsParent                             // the port cannot go: it is a trunk's parent
	BadPortRequest                                // the port is not of the kind that the request is for
	PortBindingExists                             // the port is bound to this host already
	PortBindingActive                             // this binding is the active one
	PortBindingMissing                            // the port has no binding to this host
	PortBindingImpossible                         // the host cannot realise the port
	DuplicateRBACPolicy                           // such a policy exists
	RBACPolicyInUse                               // others depend on what the policy allows
	InvalidSharedSetting                          // other projects use the network
	ExternalNetworkInUse                          // routers have their gateway on it
	DefaultExternalExists                         // another external network is the default
	DeviceNotOwned                                // the device is a router of another project
	InvalidDHCPAgent                              // no DHCP agent, or a disabled one
	DHCPHosted                                    // the agent serves the network already
	DHCPNotHosted                                 // the agent does not serve the network
	AgentAlive                                    // the agent would come back at once
	SegmentsAndProvider                           // a network is asked for in two ways
	DuplicateSegment                              // one segment asked for twice
	SegmentInUse                                  // the network needs the segment
	SegmentElsewhere                              // the segment is of another network than the subnet
	SegmentNotOfAll                               // only some subnets of the network would have segments
	SegmentChange                                 // a subnet stays on its segment
	SegmentsSeveral                               // on which of several segments a subnet was is not known
	QoSPolicyInUse                                // networks or ports are under the policy
	QoSDefaultExists                              // the project has a default policy
	QoSPolicyFixed                                // the policy it is under is not the caller's to take away
	QoSRuleNotFound                               // no such rule in the policy
	QoSRulesConflict                              // the policy has such a rule
	QoSRuleParameterConflict                      // what the rule says contradicts another one
	AutoAllocationFailure                         // the cloud cannot give a topology without asking
	Unavailable                                   // the store did not answer in time
	GroupInUse                                    // security group has ports
	GroupNoRemoveDefault                          // default security groups are the administrator's to remove
	GroupNoRenameDefault                          // default security groups keep their name
	GroupConflict                                 // stateful and stateless groups on one port
	RuleExists                                    // the group has this rule
	RuleTwiceInRequest                            // one request has this rule twice
	RulesOfSeveralGroups                          // one request has rules of several groups
	RulesOfSeveralProjects                        // one request has rules of several projects
	RuleInvalidPort                               // port 0
	RuleInvalidPortRange                          // ports that are not from..to
	RuleInvalidICMP                               // type or code above 255
	RuleICMPCodeAlone                             // code without type
	RulePortsNeedProtocol                         // ports of any protocol
	RuleProtocolWithoutPorts                      // ports of a protocol that has none
	RuleEthertypeProtocol                         // a protocol of IPv6 in a rule for IPv4
	RuleEthertypePrefix                           // a prefix of the other IP version
	RuleSeveralRemotes                            // more than one of prefix, group and address group
	TemplateExists                                // there is such a default rule
	TemplateTwiceInRequest                        // one request has this default rule twice
	AddressGroupInUse                             // rules refer to it
	AddressesExist                                // the address group has them
	AddressesMissing                              // the address group does not have them
	GroupsNeedPortSecurity                        // security groups on a port without port security
	PortHasGroups                                 // port security off while the port has groups
)

// Faultf makes a Fault of a kind with a formatted message.
func Faultf(k FaultKind, format string, args ...any) Fault {
	return Fault{Kind: k, Message: fmt.Sprintf(format, args...)}
}
