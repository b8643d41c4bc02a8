package store

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// Inspection is everything etcd holds under a prefix, read raw at one revision, without
// the mirror's trust that objects and unique keys say the same.
type Inspection struct {
	Revision int64
	Networks map[model.NetworkID]*model.Network
	Subnets  map[model.SubnetID]*model.Subnet
	Ports    map[model.PortID]*model.Port
	Hosts    map[model.HostName]*model.Host
	// Addresses, MACs and Segments are the unique keys with the ID each holds.
	Addresses map[model.FixedIP]model.PortID
	MACs      map[NetworkMAC]model.PortID
	Segments  map[string]model.NetworkID // by SegmentName
	// Heartbeats are the hosts with a heartbeat key.
	Heartbeats []model.HostName
	// Bad are keys that cannot be read, with the reason.
	Bad map[string]string
}

// NetworkMAC is a MAC on a network.
type NetworkMAC struct {
	Network model.NetworkID
	MAC     model.MAC
}

// SegmentName is the unique name of a segment as its key has it, such as vxlan/7918.
func SegmentName(g model.Segment) string {
	return strings.TrimPrefix(keys{}.segment(g), dirSegment+"/")
}

// Inspect reads all keys under prefix (DefaultPrefix when empty) at one revision.
func Inspect(ctx context.Context, client *Client, prefix string) (*Inspection, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	in := &Inspection{
		Networks:  map[model.NetworkID]*model.Network{},
		Subnets:   map[model.SubnetID]*model.Subnet{},
		Ports:     map[model.PortID]*model.Port{},
		Hosts:     map[model.HostName]*model.Host{},
		Addresses: map[model.FixedIP]model.PortID{},
		MACs:      map[NetworkMAC]model.PortID{},
		Segments:  map[string]model.NetworkID{},
		Bad:       map[string]string{},
	}
	k := keys{prefix: prefix}
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		resp, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(in.Revision))
		if err != nil {
			return nil, fmt.Errorf("read the store: %w", err)
		}
		if in.Revision == 0 {
			in.Revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			if err := in.add(k, string(kv.Key), kv.Value); err != nil {
				in.Bad[string(kv.Key)] = err.Error()
			}
		}
		if !resp.More {
			return in, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (in *Inspection) add(k keys, key string, value []byte) error {
	dir, id, ok := k.split(key)
	if !ok {
		return fmt.Errorf("no such kind of key")
	}
	switch dir {
	case dirAddress:
		subnet, text, _ := strings.Cut(id, "/")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		in.Addresses[model.FixedIP{SubnetID: model.SubnetID(subnet), Addr: addr}] = model.PortID(value)
		return nil
	case dirMAC:
		network, text, _ := strings.Cut(id, "/")
		mac, err := model.ParseMAC(text)
		if err != nil {
			return err
		}
		in.MACs[NetworkMAC{Network: model.NetworkID(network), MAC: mac}] = model.PortID(value)
		return nil
	case dirSegment:
		in.Segments[id] = model.NetworkID(value)
		return nil
	case dirMeta:
		return nil
	}
	obj, err := decodeValue(dir, value)
	if err != nil {
		return err
	}
	inside := id
	switch v := obj.(type) {
	case *model.Network:
		in.Networks[v.ID], inside = v, string(v.ID)
	case *model.Subnet:
		in.Subnets[v.ID], inside = v, string(v.ID)
	case *model.Port:
		in.Ports[v.ID], inside = v, string(v.ID)
	case *model.Host:
		in.Hosts[v.Name], inside = v, string(v.Name)
	case nil:
		return fmt.Errorf("no such kind of key")
	default:
		in.Heartbeats = append(in.Heartbeats, model.HostName(id))
	}
	if inside != id {
		return fmt.Errorf("the object inside is called %q", inside)
	}
	return nil
}
