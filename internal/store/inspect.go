package store

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

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
	// Objects are the objects of all other kinds: pointers to their model structs.
	Objects map[Ref]any
	// Unique are the keys of unique names, <kind>/<name>, with the ID each holds; Refs are
	// the keys of references, <kind>/<id>/<kind that refers>/<its id>.
	Unique map[string]string
	Refs   map[string]bool
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
		Objects:   map[Ref]any{},
		Unique:    map[string]string{},
		Refs:      map[string]bool{},
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
	case dirUnique:
		in.Unique[id] = string(value)
		return nil
	case dirRef:
		in.Refs[id] = true
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
	case time.Time:
		in.Heartbeats = append(in.Heartbeats, model.HostName(id))
	default:
		in.Objects[Ref{model.Kind(dir), id}] = v
		inside, _, _ = kindOf[dir].names(v)
	}
	if inside != id {
		return fmt.Errorf("the object inside is called %q", inside)
	}
	return nil
}

// Exists reports whether there is such an object.
func (in *Inspection) Exists(r Ref) bool {
	switch r.Kind {
	case model.KindNetwork:
		return in.Networks[model.NetworkID(r.ID)] != nil
	case model.KindSubnet:
		return in.Subnets[model.SubnetID(r.ID)] != nil
	case model.KindPort:
		return in.Ports[model.PortID(r.ID)] != nil
	}
	return in.Objects[r] != nil
}

// Names calls unique for each unique name that an object must hold, and refs for each
// reference it makes, both with the rest of the key and the object.
func (in *Inspection) Names(unique func(name string, owner Ref), ref func(name string, from, to Ref)) {
	each := func(self Ref, to []Ref) {
		for _, r := range to {
			ref(strings.TrimPrefix(keys{}.ref(r, self), dirRef+"/"), self, r)
		}
	}
	for id, n := range in.Networks {
		each(Ref{model.KindNetwork, string(id)}, networkRefs(n))
	}
	for id, s := range in.Subnets {
		each(Ref{model.KindSubnet, string(id)}, subnetRefs(s))
	}
	for id, p := range in.Ports {
		each(Ref{model.KindPort, string(id)}, portRefs(p))
	}
	for _, k := range kinds() {
		for self, obj := range in.Objects {
			if string(self.Kind) != k.dir() {
				continue
			}
			_, names, to := k.names(obj)
			for _, name := range names {
				unique(strings.TrimPrefix(keys{}.unique(k.dir(), name), dirUnique+"/"), self)
			}
			each(self, to)
		}
	}
}
