package dhcp

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"weft/internal/model"
)

// Reason says why a message was answered as it was, or not at all.
type Reason uint8

// The reasons. Those up to Informed mean a reply, the two after them a refusal, the rest silence.
const (
	// Offered: DISCOVER, answered by OFFER.
	Offered Reason = iota
	// Selected: REQUEST for our offer, answered by ACK.
	Selected
	// Rebooted: REQUEST of a client that remembers its address (INIT-REBOOT), answered by ACK.
	Rebooted
	// Renewed: REQUEST of a client that uses its address (RENEWING or REBINDING), answered by ACK.
	Renewed
	// Informed: INFORM, answered by ACK.
	Informed
	// WrongAddress: REQUEST for an address that the port has not, answered by NAK.
	WrongAddress
	// WrongLink: REQUEST through a relay of a subnet on which the port has no address, answered by NAK.
	WrongLink

	// UnknownClient: no port of this network has that MAC or client identifier, with an address on a subnet with DHCP.
	UnknownClient
	// UnknownLink: DISCOVER or INFORM through a relay of a subnet on which the port has no address.
	UnknownLink
	// OtherServer: REQUEST for the offer of another server.
	OtherServer
	// Declined: the client found its address in use by somebody else.
	Declined
	// Released: the client gave its address back; nothing is remembered, so nothing changes.
	Released
	// NoAddressAsked: REQUEST without an address in any of the three places.
	NoAddressAsked
	// NotARequest: a message of a server, or of no known type.
	NotARequest
	// PlainBOOTP: a BOOTP request without DHCP message type.
	PlainBOOTP
	// NoMAC: the client's hardware address is not an Ethernet address.
	NoMAC
	// Malformed: not a DHCP message at all.
	Malformed

	// ReasonCount is the number of reasons.
	ReasonCount
)

var reasonText = [ReasonCount]string{
	"offered", "selected", "rebooted", "renewed", "informed", "wrong address", "wrong link",
	"unknown client", "unknown link", "other server chosen", "declined", "released",
	"no address asked for", "not a request", "plain BOOTP", "no MAC", "malformed",
}

// String gives the reason in words.
func (r Reason) String() string {
	if r < ReasonCount {
		return reasonText[r]
	}
	return "unknown reason"
}

// MarshalText makes a Reason words in JSON.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Answered reports whether the reason goes with a reply.
func (r Reason) Answered() bool { return r <= WrongLink }

// Way is how a reply travels.
type Way uint8

// The ways of RFC 2131 section 4.1.
const (
	// ToClient: to the new address at the client's MAC, without ARP: the client cannot answer ARP yet.
	ToClient Way = iota
	// ToAll: broadcast.
	ToAll
	// ToAddress: to the address the client has already (ciaddr).
	ToAddress
	// ToRelay: to the relay (giaddr), port 67, routed.
	ToRelay
)

// Dest is where a reply must be sent.
type Dest struct {
	Way  Way
	Addr netip.Addr
	// MAC is the client's; of no use with ToRelay.
	MAC model.MAC
	// Source is the server's address to send from.
	Source netip.Addr
}

// Answer is the result of one message.
type Answer struct {
	Reason Reason
	// Reply is nil for silence.
	Reply *dhcpv4.DHCPv4
	Dest  Dest
	// Limit is the greatest length in octets of a message that the client takes, see Append.
	Limit int
	// Lease is the client's, nil if it is unknown.
	Lease *Lease
	// Asked is the address that the client asked for or uses, if any.
	Asked netip.Addr
}

// Reply answers a message from the table: the reply, nil for silence, and why.
func Reply(req *dhcpv4.DHCPv4, t *Table) (*dhcpv4.DHCPv4, Reason) {
	a := t.Answer(req, new(dhcpv4.DHCPv4))
	return a.Reply, a.Reason
}

// Answer answers a message, building the reply in into, whose option map it reuses. The
// reply shares octets with the request and the table; it must be written out before the
// request's buffer is used again.
//
// Neither time nor state comes into it: the same message always has the same answer.
func (t *Table) Answer(req, into *dhcpv4.DHCPv4) Answer {
	if req.OpCode != dhcpv4.OpcodeBootRequest {
		return Answer{Reason: NotARequest}
	}
	if req.HWType != 1 || len(req.ClientHWAddr) != 6 {
		return Answer{Reason: NoMAC}
	}
	kind := req.Options[53]
	if len(kind) != 1 {
		return Answer{Reason: PlainBOOTP}
	}
	mac := model.MAC(req.ClientHWAddr)
	all := t.find(mac, req.Options[61])
	if len(all) == 0 {
		return Answer{Reason: UnknownClient}
	}
	// The client's MAC, also where a client identifier has led to another port.
	q := query{Table: t, req: req, into: into, mac: mac, link: onLink(all, req)}
	q.relay, q.relayed = addr4(req.GatewayIPAddr)
	a := Answer{Lease: all[0].lease}
	switch dhcpv4.MessageType(kind[0]) {
	case dhcpv4.MessageTypeDiscover:
		a.Asked, _ = addr4(req.Options[50])
		if len(q.link) == 0 {
			a.Reason = UnknownLink
			return a
		}
		q.grant(&a, &q.link[0], dhcpv4.MessageTypeOffer)
		a.Reason = Offered
	case dhcpv4.MessageTypeRequest:
		q.request(&a, &all[0])
	case dhcpv4.MessageTypeInform:
		q.inform(&a)
	case dhcpv4.MessageTypeDecline:
		a.Asked, _ = addr4(req.Options[50])
		a.Reason = Declined
	case dhcpv4.MessageTypeRelease:
		a.Asked, _ = addr4(req.ClientIPAddr)
		a.Reason = Released
	default:
		a.Reason = NotARequest
	}
	return a
}

// query is one message being answered.
type query struct {
	*Table
	req, into *dhcpv4.DHCPv4
	mac       model.MAC
	// link are the client's leases on the link it is on.
	link    []entry
	relay   netip.Addr
	relayed bool
}

// onLink narrows a client's leases to the link from which the message came: the relay's
// link selection (RFC 3527), else the client's subnet selection (RFC 3011), else giaddr.
// Without any of them it is the network itself, all of whose subnets are on one link.
func onLink(all []entry, req *dhcpv4.DHCPv4) []entry {
	a, ok := addr4(subOption(req.Options[82], 5))
	if !ok {
		a, ok = addr4(req.Options[118])
	}
	if !ok {
		a, ok = addr4(req.GatewayIPAddr)
	}
	if !ok {
		return all
	}
	for i := range all {
		if all[i].subnet.Prefix.Contains(a) {
			// A port may have several addresses on the subnet; they follow each other or not.
			n := i + 1
			for n < len(all) && all[n].subnet == all[i].subnet {
				n++
			}
			return all[i:n]
		}
	}
	return nil
}

// subOption finds a sub-option of the relay agent option.
func subOption(b []byte, code uint8) []byte {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		v := b[2 : 2+int(b[1])]
		if b[0] == code {
			return v
		}
		b = b[2+len(v):]
	}
	return nil
}

// addr4 reads an address; there is none if it is 0.0.0.0 or not four octets long.
func addr4(b []byte) (netip.Addr, bool) {
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom4([4]byte(b))
	return a, !a.IsUnspecified()
}

// request answers a REQUEST. Which state the client is in shows in what it says, RFC 2131 4.3.2:
//
//	state        server identifier  requested address  ciaddr
//	SELECTING    ours               the offered one    0
//	INIT-REBOOT  --                 the remembered     0
//	RENEWING     --                 --                 the one in use
//	REBINDING    --                 --                 the one in use
func (q *query) request(a *Answer, first *entry) {
	granted := Renewed
	var ok bool
	if id, named := q.req.Options[54]; named {
		granted = Selected
		if !q.chosen(id) {
			a.Reason = OtherServer
			return
		}
	} else if _, asks := addr4(q.req.Options[50]); asks {
		granted = Rebooted
	}
	if a.Asked, ok = addr4(q.req.Options[50]); !ok {
		if a.Asked, ok = addr4(q.req.ClientIPAddr); !ok {
			a.Reason = NoAddressAsked
			return
		}
	}
	for i := range q.link {
		if q.link[i].lease.Addr == a.Asked {
			q.grant(a, &q.link[i], dhcpv4.MessageTypeAck)
			a.Reason = granted
			return
		}
	}
	// The port record is the truth and we alone speak for it: no client has to wait for a timeout.
	a.Reason = WrongAddress
	if len(q.link) == 0 {
		a.Reason = WrongLink
	} else {
		first = &q.link[0]
	}
	q.refuse(a, first)
}

// chosen reports whether a server identifier is one of ours, or the one that the relay
// put in our place (RFC 5107).
func (q *query) chosen(id []byte) bool {
	a, ok := addr4(id)
	if !ok {
		return false
	}
	if q.isServer(a) {
		return true
	}
	override, ok := addr4(subOption(q.req.Options[82], 11))
	return ok && override == a
}

// inform answers a client that has its address from elsewhere and wants options.
func (q *query) inform(a *Answer) {
	if len(q.link) == 0 {
		a.Reason = UnknownLink
		return
	}
	e := &q.link[0]
	if c, ok := addr4(q.req.ClientIPAddr); ok {
		a.Asked = c
		for i := range q.link {
			if q.link[i].subnet.Prefix.Contains(c) {
				e = &q.link[i]
				break
			}
		}
	}
	a.Lease = e.lease
	m := q.begin(e, dhcpv4.MessageTypeAck)
	q.fill(m, e)
	a.Reply, a.Limit, a.Reason = m, q.limit(e), Informed
	a.Dest = q.dest(e, netip.IPv4Unspecified())
}

// grant gives the client a lease, in an OFFER or an ACK.
func (q *query) grant(a *Answer, e *entry, kind dhcpv4.MessageType) {
	m := q.begin(e, kind)
	m.YourIPAddr = e.lease.Addr.AsSlice()
	m.Options[51] = e.subnet.leaseTime
	m.Options[58], m.Options[59] = e.subnet.t1, e.subnet.t2
	q.fill(m, e)
	a.Lease, a.Reply, a.Limit = e.lease, m, q.limit(e)
	a.Dest = q.dest(e, e.lease.Addr)
}

// refuse tells the client that its address is wrong, so that it starts again at once.
func (q *query) refuse(a *Answer, e *entry) {
	m := q.begin(e, dhcpv4.MessageTypeNak)
	m.ClientIPAddr, m.ServerIPAddr = nil, nil
	m.Options[56] = []byte("address is not that of the port")
	if q.relayed {
		// The relay must broadcast: the client may be on a link where the address means nothing.
		m.SetBroadcast()
		a.Dest = Dest{Way: ToRelay, Addr: q.relay, MAC: q.mac, Source: e.subnet.Server}
	} else {
		a.Dest = Dest{Way: ToAll, Addr: broadcast, MAC: q.mac, Source: e.subnet.Server}
	}
	a.Reply, a.Limit = m, q.limit(e)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// begin starts a reply: what every reply has.
func (q *query) begin(e *entry, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	opts := q.into.Options
	if opts == nil {
		opts = make(dhcpv4.Options, 24)
	}
	clear(opts)
	*q.into = dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: q.req.HWType, TransactionID: q.req.TransactionID,
		Flags: q.req.Flags, ClientIPAddr: q.req.ClientIPAddr, ServerIPAddr: e.subnet.server,
		GatewayIPAddr: q.req.GatewayIPAddr, ClientHWAddr: q.req.ClientHWAddr, Options: opts,
	}
	opts[53] = kindOctet[kind]
	opts[54] = e.subnet.server
	relay, fromRelay := q.req.Options[82]
	if override := subOption(relay, 11); len(override) == 4 {
		opts[54] = override
	}
	// RFC 6842: the client tells replies apart by its identifier when it has no other way.
	if id, ok := q.req.Options[61]; ok {
		opts[61] = id
	}
	if fromRelay {
		opts[82] = relay
	}
	return q.into
}

// kindOctet saves an allocation for each reply.
var kindOctet = map[dhcpv4.MessageType][]byte{
	dhcpv4.MessageTypeOffer: {byte(dhcpv4.MessageTypeOffer)},
	dhcpv4.MessageTypeAck:   {byte(dhcpv4.MessageTypeAck)},
	dhcpv4.MessageTypeNak:   {byte(dhcpv4.MessageTypeNak)},
}

// dest says where the reply goes, RFC 2131 section 4.1.
func (q *query) dest(e *entry, yours netip.Addr) Dest {
	d := Dest{MAC: q.mac, Source: e.subnet.Server}
	ciaddr, hasAddr := addr4(q.req.ClientIPAddr)
	switch {
	case q.relayed:
		d.Way, d.Addr = ToRelay, q.relay
	case hasAddr:
		d.Way, d.Addr = ToAddress, ciaddr
	case q.req.IsBroadcast() || yours.IsUnspecified():
		d.Way, d.Addr = ToAll, broadcast
	default:
		d.Way, d.Addr = ToClient, yours
	}
	return d
}

// limit is the length of message that the client takes: what it says (option 57, which
// counts the IP and UDP headers), else 576; never more than goes through the network in one piece.
func (q *query) limit(e *entry) int {
	const headers, least = 28, 576
	n := least
	if v := q.req.Options[57]; len(v) == 2 {
		n = max(least, int(v[0])<<8|int(v[1]))
	}
	if e.subnet.MTU > least {
		n = min(n, e.subnet.MTU)
	} else {
		n = least
	}
	return n - headers
}
