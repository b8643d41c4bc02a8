// Package feed carries to each host the part of the cloud that concerns it, and carries
// back what the host reports.
//
// A Server follows the store's mirror; each host holds one stream to it, with mutual
// TLS, and is who its certificate says. The host gets a snapshot and then changes; it
// never sees a network without a port bound to it. Changes are coalesced: a slow host
// gets fewer and larger messages, never stale ones. A Client keeps the last cloud it knew,
// in memory and on disk, so that a host works on while the server is away. Neither side
// decides anything: what a fact means for a port's status is control's business.
//
// See feedpb/feed.proto for the messages.
package feed

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
)

// maxMessage bounds one gRPC message; a snapshot travels in pieces of about chunkBytes.
const (
	maxMessage = 64 << 20
	chunkBytes = 1 << 20
)

// PortFact is what a host found of one port bound to it.
type PortFact struct {
	PortID model.PortID
	// Wired: the interface is there and the switch acknowledged the port's flows.
	Wired bool
	// DHCP: the DHCP responder holds the port.
	DHCP bool
}

// Kinds of object that only the feed has.
const (
	// kindMember is a port as a member of a group that some rule of the host's groups names.
	kindMember model.Kind = "security_group_member"
	// kindMembers are all members of one group: the host hears of them, or they go.
	kindMembers model.Kind = "security_group_members"
)

// memberID is the ID of a kindMember: group and port.
func memberID(group string, port model.PortID) string { return group + "/" + string(port) }

func parseMemberID(id string) view.MemberID {
	group, port, _ := strings.Cut(id, "/")
	return view.MemberID{Group: group, Port: model.PortID(port)}
}

// applyObject writes one object of the wire into c.
func applyObject(c view.Cloud, o *feedpb.Object, known *Nouns) error {
	var err error
	switch model.Kind(o.Kind) {
	case model.KindNetwork:
		if len(o.Value) == 0 {
			dropNetwork(c, model.NetworkID(o.Id))
			return nil
		}
		err = put(c.Networks, model.NetworkID(o.Id), o.Value, known)
	case model.KindSubnet:
		err = put(c.Subnets, model.SubnetID(o.Id), o.Value, known)
	case model.KindPort:
		err = put(c.Ports, model.PortID(o.Id), o.Value, known)
	case model.KindSecurityGroup:
		err = put(c.Groups, o.Id, o.Value, known)
	case kindMember:
		err = put(c.Members, parseMemberID(o.Id), o.Value, known)
	case kindMembers:
		maps.DeleteFunc(c.Members, func(id view.MemberID, _ *view.Member) bool { return id.Group == o.Id })
	case model.KindAddressGroup:
		err = put(c.AddressGroups, o.Id, o.Value, known)
	case model.KindHost:
		err = put(c.Peers, model.HostName(o.Id), o.Value, known)
	default:
		// A newer server may send kinds that this host has no use for.
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", o.Kind, o.Id, err)
	}
	return nil
}

// put writes an object into a map, or takes it out when it has no value.
func put[K comparable, T any](m map[K]*T, id K, value []byte, known *Nouns) error {
	if len(value) == 0 {
		delete(m, id)
		return nil
	}
	if v, ok := known.get(value).(*T); ok {
		m[id] = v
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	known.add(value, v)
	m[id] = v
	return nil
}

// Nouns are shared by clients in one process: an object that several of them are sent is
// read by the first alone. Real hosts are processes of their own; many simulated ones
// would spend most of their time on it. Nothing is ever forgotten.
type Nouns struct {
	mu     sync.RWMutex
	byText map[string]any
}

func (n *Nouns) get(text []byte) any {
	if n == nil {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byText[string(text)]
}

func (n *Nouns) add(text []byte, v any) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byText == nil {
		n.byText = map[string]any{}
	}
	n.byText[string(text)] = v
}

// dropNetwork forgets a network that has left the host's part, with all that is on it.
func dropNetwork(c view.Cloud, id model.NetworkID) {
	delete(c.Networks, id)
	maps.DeleteFunc(c.Subnets, func(_ model.SubnetID, s *model.Subnet) bool { return s.NetworkID == id })
	maps.DeleteFunc(c.Ports, func(_ model.PortID, p *model.Port) bool { return p.NetworkID == id })
}

// keepObject copies the last known form of an object, if any, into cloud.
func keepObject(cloud, last view.Cloud, o *feedpb.Object) {
	switch model.Kind(o.Kind) {
	case model.KindNetwork:
		keep(cloud.Networks, last.Networks, model.NetworkID(o.Id))
	case model.KindSubnet:
		keep(cloud.Subnets, last.Subnets, model.SubnetID(o.Id))
	case model.KindPort:
		keep(cloud.Ports, last.Ports, model.PortID(o.Id))
	case model.KindSecurityGroup:
		keep(cloud.Groups, last.Groups, o.Id)
	case kindMember:
		keep(cloud.Members, last.Members, parseMemberID(o.Id))
	case model.KindAddressGroup:
		keep(cloud.AddressGroups, last.AddressGroups, o.Id)
	case model.KindHost:
		keep(cloud.Peers, last.Peers, model.HostName(o.Id))
	}
}

func keep[K comparable, T any](m, last map[K]*T, id K) {
	if v, ok := last[id]; ok {
		m[id] = v
	}
}
