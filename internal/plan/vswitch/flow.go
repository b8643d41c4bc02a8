package vswitch

import (
	"net/netip"

	"weft/internal/model"
)

// Value is up to 128 bits of a field, right-aligned in Hi:Lo.
type Value struct{ Hi, Lo uint64 }

// FieldMatch is one match field with its mask. A full match has the field's all-ones mask.
type FieldMatch struct {
	Field       Field
	Value, Mask Value
}

// Flow is one OpenFlow entry. Match is sorted by Field.
type Flow struct {
	Table    uint8
	Priority uint16
	Cookie   uint64
	// HardTimeout is in seconds; 0 means none.
	HardTimeout uint16
	Match       []FieldMatch
	Actions     []Action
}

// Action is one of the action types below. An empty action list is "drop".
type Action interface {
	// String prints the action in ovs-ofctl syntax.
	String() string
	isAction()
}

// The actions that weft uses. In OpenFlow 1.4 all but GotoTable are put in one
// apply-actions instruction; GotoTable is an instruction of its own and comes last.
type (
	// Output sends to an OpenFlow port of the bridge: output:N.
	Output struct{ Port uint32 }
	// OutputReg sends to the OpenFlow port whose number a register holds: output:NXM_NX_REG5[].
	// Nothing is sent back where it came from.
	OutputReg struct{ Field Field }
	// InPort sends back where it came from: IN_PORT.
	InPort struct{}
	// Normal hands over to the learning switch: NORMAL.
	Normal struct{}
	// Controller sends the whole packet to the controller: CONTROLLER:65535.
	Controller struct{}
	// GotoTable goes on in a later table: goto_table:N.
	GotoTable struct{ Table uint8 }
	// Resubmit looks up another table and comes back: resubmit(,N).
	Resubmit struct{ Table uint8 }
	// SetField writes a whole field: set_field:V->f. Setting vlan_vid sets the present bit (0x1000) too.
	SetField struct {
		Field Field
		Value Value
	}
	// PushVLAN pushes an 802.1Q tag: push_vlan:0x8100.
	PushVLAN struct{}
	// PopVLAN removes the tag: pop_vlan.
	PopVLAN struct{}
	// Move copies bits: move:NXM_A[x..y]->NXM_B[z..w].
	Move struct {
		Src    Field
		SrcOfs uint16
		Dst    Field
		DstOfs uint16
		NBits  uint16
	}
	// Load writes bits of a field: load:0xV->NXM_F[o..p].
	Load struct {
		Field Field
		Ofs   uint16
		NBits uint16
		Value Value
	}
	// CT is conntrack: ct(commit,table=T,zone=...,exec(set_field:M->ct_mark)).
	CT struct {
		Commit bool
		// Table is the recirculation table; 255 means none.
		Table uint8
		// ZoneField is read (bits 0..15) when not FieldNone, else Zone is used.
		ZoneField Field
		Zone      uint16
		// Exec are the actions inside exec(); only SetField.
		Exec []Action
	}
	// CTClear forgets conntrack state: ct_clear.
	CTClear struct{}
	// Conjunction is conjunction(ID,Clause/Of); Clause counts from 1.
	Conjunction struct {
		ID         uint32
		Clause, Of uint8
	}
	// Learn is the learn() of Neutron's br-tun table 10.
	Learn struct {
		Table       uint8
		Priority    uint16
		HardTimeout uint16
		Cookie      uint64
		Specs       []LearnSpec
	}
)

// LearnSpec is one entry of learn(): a match, a load or an output.
type LearnSpec struct {
	Kind LearnKind
	// Dst is the field matched or loaded (unused for output).
	Dst    Field
	DstOfs uint16
	NBits  uint16
	// Src is the field copied from; FieldNone means the constant Imm.
	Src    Field
	SrcOfs uint16
	Imm    uint64
}

// LearnKind is what a LearnSpec does.
type LearnKind uint8

// The kinds of LearnSpec.
const (
	LearnMatch LearnKind = iota
	LearnLoad
	LearnOutput
)

func (Output) isAction()      {}
func (OutputReg) isAction()   {}
func (InPort) isAction()      {}
func (Normal) isAction()      {}
func (Controller) isAction()  {}
func (GotoTable) isAction()   {}
func (Resubmit) isAction()    {}
func (SetField) isAction()    {}
func (PushVLAN) isAction()    {}
func (PopVLAN) isAction()     {}
func (Move) isAction()        {}
func (Load) isAction()        {}
func (CT) isAction()          {}
func (CTClear) isAction()     {}
func (Conjunction) isAction() {}
func (Learn) isAction()       {}

// Field is a match or action field of OVS.
type Field uint8

// The fields that weft uses, in the order in which a Match lists them. The name of
// a field is its ovs-ofctl name (see Name). Reg0..Reg7 and so on are 32 bits wide.
const (
	FieldNone Field = iota
	InPortField
	CTState
	CTZone
	CTMark
	ConjID
	TunID
	Reg0
	Reg1
	Reg2
	Reg3
	Reg4
	Reg5
	Reg6
	Reg7
	EthDst
	EthSrc
	EthType
	VLANVID
	IPProto
	IPv4Src
	IPv4Dst
	IPv6Src
	IPv6Dst
	ARPOp
	ARPSPA
	ARPTPA
	ARPSHA
	ARPTHA
	TCPSrc
	TCPDst
	UDPSrc
	UDPDst
	SCTPSrc
	SCTPDst
	ICMPType
	ICMPCode
	ICMPv6Type
	ICMPv6Code
	NDTarget
	NDSLL
	NDTLL
	// NDReserved is the second word of a neighbour solicitation or advertisement: R, S and O flags in
	// the highest bits. NDOptionsType is the type of its first option.
	NDReserved
	NDOptionsType
	// The last two exist only in learn() and move: the whole 16-bit TCI.
	VLANTCI
	numFields
)

// MACValue makes a Value of a MAC address.
func MACValue(m model.MAC) Value {
	var v uint64
	for _, o := range m {
		v = v<<8 | uint64(o)
	}
	return Value{Lo: v}
}

// AddrValue makes a Value of an IPv4 or IPv6 address.
func AddrValue(a netip.Addr) Value {
	if a.Is4() {
		b := a.As4()
		return Value{Lo: uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])}
	}
	b := a.As16()
	var v Value
	for i := range 8 {
		v.Hi = v.Hi<<8 | uint64(b[i])
		v.Lo = v.Lo<<8 | uint64(b[i+8])
	}
	return v
}
