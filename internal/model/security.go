package model

import "net/netip"

// SecurityGroup is a named set of rules for what ports may send and receive. Its rules
// are objects of their own; a change of one is a change of its group.
type SecurityGroup struct {
	ID      string    `json:"id"`
	Project ProjectID `json:"project"`
	Name    string    `json:"name,omitempty"`
	// Default says that ports of the project are in it unless they say otherwise.
	Default bool `json:"default,omitempty"`
	// Stateless groups do not let answers pass by themselves.
	Stateless bool `json:"stateless,omitempty"`
	// Shared says that every project may use it.
	Shared bool `json:"shared,omitempty"`
	Meta
}

// RuleMatch says which packets a rule lets pass.
type RuleMatch struct {
	// Direction is ingress or egress, as the port sees it.
	Direction string `json:"direction"`
	// Ethertype is IPv4 or IPv6.
	Ethertype string `json:"ethertype"`
	// Protocol is a name or a number; empty is any.
	Protocol string `json:"protocol,omitempty"`
	// PortMin and PortMax are the destination ports, or type and code of ICMP; nil is any.
	PortMin *int64 `json:"port_min,omitempty"`
	PortMax *int64 `json:"port_max,omitempty"`
	// At most one of these names the other side. The prefix keeps the bits below its length.
	RemotePrefix       netip.Prefix `json:"remote_prefix,omitzero"`
	RemoteGroup        string       `json:"remote_group,omitempty"`
	RemoteAddressGroup string       `json:"remote_address_group,omitempty"`
}

// SecurityGroupRule is a rule of a group. Rules only allow.
type SecurityGroupRule struct {
	ID      string    `json:"id"`
	Project ProjectID `json:"project"`
	Group   string    `json:"group"`
	RuleMatch
	// OfDefault says that its group is a default group.
	OfDefault bool `json:"of_default,omitempty"`
	// Automatic says that it was made with its group, from a template.
	Automatic bool `json:"automatic,omitempty"`
	Meta
}

// ParentGroup as the remote group of a template stands for the group that is made from it.
const ParentGroup = "PARENT"

// RuleTemplate is a rule that new groups begin with.
type RuleTemplate struct {
	ID string `json:"id"`
	RuleMatch
	Description string `json:"description,omitempty"`
	// InDefault and InOthers say which new groups: the default ones, or the others.
	InDefault bool `json:"in_default,omitempty"`
	InOthers  bool `json:"in_others,omitempty"`
}

// RuleTemplates are all templates of the cloud in one object. As long as nobody has
// changed them it does not exist, and StandardTemplates hold.
type RuleTemplates struct {
	Rules []RuleTemplate `json:"rules,omitempty"`
}

// StandardTemplates allow everything out, and in a default group everything in from its own ports.
func StandardTemplates() []RuleTemplate {
	rule := func(id, direction, ethertype, remote string) RuleTemplate {
		return RuleTemplate{ID: id, InDefault: true, InOthers: direction == "egress",
			RuleMatch: RuleMatch{Direction: direction, Ethertype: ethertype, RemoteGroup: remote}}
	}
	return []RuleTemplate{
		rule("0f5c1b34-6d0e-4b5c-9a38-0c7e6e0e4a01", "egress", "IPv4", ""),
		rule("0f5c1b34-6d0e-4b5c-9a38-0c7e6e0e4a02", "egress", "IPv6", ""),
		rule("0f5c1b34-6d0e-4b5c-9a38-0c7e6e0e4a03", "ingress", "IPv4", ParentGroup),
		rule("0f5c1b34-6d0e-4b5c-9a38-0c7e6e0e4a04", "ingress", "IPv6", ParentGroup),
	}
}

// AddressGroup is a named set of prefixes that rules can refer to.
type AddressGroup struct {
	ID        string         `json:"id"`
	Project   ProjectID      `json:"project"`
	Name      string         `json:"name,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Shared says that every project may use it.
	Shared bool `json:"shared,omitempty"`
	Meta
}
