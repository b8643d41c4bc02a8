package firewall

import (
	"net/netip"

	"weft/internal/model"
	"weft/internal/plan/view"
)

// Packet is what the filter of a port looks at. Fields that a packet of its kind does
// not have are zero.
type Packet struct {
	// Egress: the port sends it; else it is to be delivered to the port.
	Egress         bool
	EthSrc, EthDst model.MAC
	// Tagged: it has a VLAN tag with a VLAN ID other than 0.
	Tagged    bool
	EtherType uint16
	// Src and Dst are those of IP; of ARP the sender's and the target's protocol address.
	Src, Dst netip.Addr
	// Proto is the IP protocol.
	Proto uint8
	// SrcPort and DstPort are those of TCP, UDP and SCTP.
	SrcPort, DstPort uint16
	// ICMPType and ICMPCode are those of ICMP and ICMPv6.
	ICMPType, ICMPCode uint8
	// ARPOp is 1 for a request; ARPSHA is the sender's hardware address.
	ARPOp  uint16
	ARPSHA model.MAC
	// NDTarget is the target of neighbour solicitations and advertisements; NDLink is the
	// link-layer address option (source of a solicitation, target of an advertisement), zero if absent.
	NDTarget netip.Addr
	NDLink   model.MAC
	// State is what conntrack knows of its connection.
	State State
}

// State is what conntrack says of a packet.
type State uint8

// The states.
const (
	// New: the first packet of a connection, in the direction that would open it.
	New State = iota
	// Established: another packet of a connection that was allowed, in the direction that opened it.
	Established
	// Reply: a packet of such a connection in the other direction.
	Reply
	// Related: an ICMP error about such a connection.
	Related
	// CutReply: as Reply or Related, but a rule that allowed the connection is gone and it has been marked.
	CutReply
	// Invalid: conntrack cannot make sense of it.
	Invalid
)

// Guarded is a port with all that its filter depends on.
type Guarded struct {
	*model.Port
	// Groups are its security groups, sorted by ID.
	Groups []*view.SecurityGroup
	// Members are those of the groups that rules of Groups name as the other side.
	Members map[string][]*view.Member
	// AddressGroups are those that rules of Groups name.
	AddressGroups map[string]*model.AddressGroup
}

// Verdict says whether a packet passes and why.
type Verdict struct {
	// Reason is Admitted if it passes.
	Reason Reason
	// Group and Rule are the IDs of the rule that lets it pass; empty where none is needed:
	// the port is not filtered, the packet is one that every port may send or receive (Base),
	// or belongs to a connection that was allowed.
	Group, Rule string
	// Base says in words why it passes without a rule; empty otherwise.
	Base string
}

// Passes reports whether the packet is let through.
func (v Verdict) Passes() bool { return v.Reason == Admitted }
