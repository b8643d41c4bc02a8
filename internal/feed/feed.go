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

// newCloud makes an empty Cloud with usable maps.
func newCloud() view.Cloud {
	return view.Cloud{
		Networks: map[model.NetworkID]*model.Network{},
		Subnets:  map[model.SubnetID]*model.Subnet{},
		Ports:    map[model.PortID]*model.Port{},
	}
}

// cloneCloud copies the maps; the nouns themselves are never changed in place.
func cloneCloud(c view.Cloud) view.Cloud {
	return view.Cloud{Networks: maps.Clone(c.Networks), Subnets: maps.Clone(c.Subnets), Ports: maps.Clone(c.Ports)}
}

// applyObject writes one object of the wire into c.
func applyObject(c view.Cloud, o *feedpb.Object) error {
	var err error
	switch model.Kind(o.Kind) {
	case model.KindNetwork:
		id := model.NetworkID(o.Id)
		if len(o.Value) == 0 {
			dropNetwork(c, id)
			return nil
		}
		err = put(c.Networks, id, o.Value)
	case model.KindSubnet:
		if len(o.Value) == 0 {
			delete(c.Subnets, model.SubnetID(o.Id))
			return nil
		}
		err = put(c.Subnets, model.SubnetID(o.Id), o.Value)
	case model.KindPort:
		if len(o.Value) == 0 {
			delete(c.Ports, model.PortID(o.Id))
			return nil
		}
		err = put(c.Ports, model.PortID(o.Id), o.Value)
	default:
		// A newer server may send kinds that this host has no use for.
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", o.Kind, o.Id, err)
	}
	return nil
}

func put[K comparable, T any](m map[K]*T, id K, value []byte) error {
	v := new(T)
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	m[id] = v
	return nil
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
	}
}

func keep[K comparable, T any](m, last map[K]*T, id K) {
	if v, ok := last[id]; ok {
		m[id] = v
	}
}
