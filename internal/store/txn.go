package store

import (
	"fmt"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// Txn collects conditions and writes of one atomic change. Each method states what must
// still be so when it commits, and writes the object and its unique keys. Old entries
// must come from a Reader. A Txn is used once, by one goroutine.
type Txn struct {
	s        *Store
	compares []clientv3.Cmp
	touched  map[string]condition // keys of compares, to state each once
	writes   []write
	ranges   []string // directories that compares concern
	err      error
}

// Txn starts an empty transaction.
func (s *Store) Txn() *Txn { return &Txn{s: s, touched: map[string]condition{}} }

// CreateNetwork writes a new network and its segment key, both of which must be absent.
func (t *Txn) CreateNetwork(n *model.Network) {
	t.absent(t.s.keys.network(n.ID))
	t.putObject(t.s.keys.network(n.ID), dirNetwork, string(n.ID), n)
	for _, g := range n.AllSegments() {
		t.createUnique(t.s.keys.segment(g), string(n.ID))
	}
	t.moveRefs(Ref{model.KindNetwork, string(n.ID)}, nil, networkRefs(n))
}

// UpdateNetwork replaces a network that must not have changed since old was read.
func (t *Txn) UpdateNetwork(old *Entry[model.Network], n *model.Network) {
	t.unchanged(t.s.keys.network(n.ID), old.ModRev)
	t.putObject(t.s.keys.network(n.ID), dirNetwork, string(n.ID), n)
	had, has := old.Value.AllSegments(), n.AllSegments()
	for _, g := range without(had, has) {
		t.del(t.s.keys.segment(g), "", "")
	}
	for _, g := range without(has, had) {
		t.createUnique(t.s.keys.segment(g), string(n.ID))
	}
	t.moveRefs(Ref{model.KindNetwork, string(n.ID)}, networkRefs(old.Value), networkRefs(n))
}

// DeleteNetwork removes a network unchanged since old, its segment key, and requires
// that no port was made on it or changed its MAC, and that nothing began to refer to it,
// since the mirror's revision at.
func (t *Txn) DeleteNetwork(old *Entry[model.Network], at int64) {
	n := old.Value
	t.unchanged(t.s.keys.network(n.ID), old.ModRev)
	t.noneSince(t.s.keys.macsOf(n.ID), at)
	t.noneSince(t.s.keys.refsTo(Ref{model.KindNetwork, string(n.ID)}), at)
	t.del(t.s.keys.network(n.ID), dirNetwork, string(n.ID))
	for _, g := range n.AllSegments() {
		t.del(t.s.keys.segment(g), "", "")
	}
	t.moveRefs(Ref{model.KindNetwork, string(n.ID)}, networkRefs(n), nil)
}

// UnchangedNetwork requires that the network did not change, nor its set of subnets,
// nor one of them: every write of a subnet also writes its network.
func (t *Txn) UnchangedNetwork(e *Entry[model.Network]) {
	t.unchanged(t.s.keys.network(e.Value.ID), e.ModRev)
}

// NoNewPorts requires that no port was made on a network since the mirror's revision at.
func (t *Txn) NoNewPorts(id model.NetworkID, at int64) { t.noneSince(t.s.keys.macsOf(id), at) }

// NoNewRefs requires that nothing began to refer to an object since the mirror's revision at.
func (t *Txn) NoNewRefs(to Ref, at int64) { t.noneSince(t.s.keys.refsTo(to), at) }

// CreateSubnet writes a new subnet. The caller also updates the network.
func (t *Txn) CreateSubnet(n *model.Subnet) {
	t.absent(t.s.keys.subnet(n.ID))
	t.putObject(t.s.keys.subnet(n.ID), dirSubnet, string(n.ID), n)
	t.moveRefs(Ref{model.KindSubnet, string(n.ID)}, nil, subnetRefs(n))
}

// UpdateSubnet replaces a subnet unchanged since old. The caller also updates the network.
func (t *Txn) UpdateSubnet(old *Entry[model.Subnet], n *model.Subnet) {
	t.unchanged(t.s.keys.subnet(n.ID), old.ModRev)
	t.putObject(t.s.keys.subnet(n.ID), dirSubnet, string(n.ID), n)
	t.moveRefs(Ref{model.KindSubnet, string(n.ID)}, subnetRefs(old.Value), subnetRefs(n))
}

// DeleteSubnet removes a subnet unchanged since old, and requires that no address was
// taken on it since the mirror's revision at. The caller also updates the network.
func (t *Txn) DeleteSubnet(old *Entry[model.Subnet], at int64) {
	t.unchanged(t.s.keys.subnet(old.Value.ID), old.ModRev)
	t.noneSince(t.s.keys.addressesOf(old.Value.ID), at)
	t.noneSince(t.s.keys.refsTo(Ref{model.KindSubnet, string(old.Value.ID)}), at)
	t.del(t.s.keys.subnet(old.Value.ID), dirSubnet, string(old.Value.ID))
	t.moveRefs(Ref{model.KindSubnet, string(old.Value.ID)}, subnetRefs(old.Value), nil)
}

// UnchangedSubnet requires that the subnet did not change.
func (t *Txn) UnchangedSubnet(e *Entry[model.Subnet]) {
	t.unchanged(t.s.keys.subnet(e.Value.ID), e.ModRev)
}

// CreatePort writes a new port with its MAC and address keys, all of which must be
// absent. The caller also requires network and subnets unchanged.
func (t *Txn) CreatePort(p *model.Port) {
	t.absent(t.s.keys.port(p.ID))
	t.putObject(t.s.keys.port(p.ID), dirPort, string(p.ID), p)
	t.createUnique(t.s.keys.mac(p.NetworkID, p.MAC), string(p.ID))
	for _, f := range p.FixedIPs {
		t.createUnique(t.s.keys.address(f.SubnetID, f.Addr), string(p.ID))
	}
	t.moveRefs(Ref{model.KindPort, string(p.ID)}, nil, portRefs(p))
}

// UpdatePort replaces a port unchanged since old, moving its MAC and address keys.
func (t *Txn) UpdatePort(old *Entry[model.Port], p *model.Port) {
	o := old.Value
	t.unchanged(t.s.keys.port(p.ID), old.ModRev)
	t.putObject(t.s.keys.port(p.ID), dirPort, string(p.ID), p)
	if o.MAC != p.MAC {
		t.del(t.s.keys.mac(o.NetworkID, o.MAC), "", "")
		t.createUnique(t.s.keys.mac(p.NetworkID, p.MAC), string(p.ID))
	}
	for _, f := range o.FixedIPs {
		if !holds(p, f.SubnetID, f.Addr) {
			t.del(t.s.keys.address(f.SubnetID, f.Addr), "", "")
		}
	}
	for _, f := range p.FixedIPs {
		if !holds(o, f.SubnetID, f.Addr) {
			t.createUnique(t.s.keys.address(f.SubnetID, f.Addr), string(p.ID))
		}
	}
	t.moveRefs(Ref{model.KindPort, string(p.ID)}, portRefs(o), portRefs(p))
}

// UnchangedPort requires that the port did not change.
func (t *Txn) UnchangedPort(e *Entry[model.Port]) {
	t.unchanged(t.s.keys.port(e.Value.ID), e.ModRev)
}

// DeletePort removes a port unchanged since old, with its MAC and address keys, and
// requires that nothing began to refer to it since the mirror's revision at.
func (t *Txn) DeletePort(old *Entry[model.Port], at int64) {
	p := old.Value
	t.unchanged(t.s.keys.port(p.ID), old.ModRev)
	t.noneSince(t.s.keys.refsTo(Ref{model.KindPort, string(p.ID)}), at)
	t.moveRefs(Ref{model.KindPort, string(p.ID)}, portRefs(p), nil)
	t.del(t.s.keys.port(p.ID), dirPort, string(p.ID))
	t.del(t.s.keys.mac(p.NetworkID, p.MAC), "", "")
	for _, f := range p.FixedIPs {
		t.del(t.s.keys.address(f.SubnetID, f.Addr), "", "")
	}
}

// PutHost writes a host; old is nil when it must be new.
func (t *Txn) PutHost(old *Entry[model.Host], h *model.Host) {
	if key := t.s.keys.host(h.Name); old == nil {
		t.absent(key)
	} else {
		t.unchanged(key, old.ModRev)
	}
	t.putObject(t.s.keys.host(h.Name), dirHost, string(h.Name), h)
}

// PutHeartbeat writes when a host was last heard of, unconditionally.
func (t *Txn) PutHeartbeat(name model.HostName, at time.Time) {
	at = at.UTC().Truncate(time.Second)
	t.put(write{
		key: t.s.keys.heartbeat(name), value: []byte(at.Format(time.RFC3339)),
		dir: dirHeartbeat, id: string(name), obj: at,
	})
}

// DeleteHost removes a host unchanged since old, and its heartbeat.
func (t *Txn) DeleteHost(old *Entry[model.Host]) {
	name := old.Value.Name
	t.unchanged(t.s.keys.host(name), old.ModRev)
	t.del(t.s.keys.host(name), dirHost, string(name))
	t.del(t.s.keys.heartbeat(name), dirHeartbeat, string(name))
}

func holds(p *model.Port, id model.SubnetID, a netip.Addr) bool {
	for _, f := range p.FixedIPs {
		if f.SubnetID == id && f.Addr == a {
			return true
		}
	}
	return false
}

// condition is how much a transaction requires of a key.
type condition int

const (
	there condition = iota + 1 // that it exists
	exact                      // that it is as it was read, or absent
)

func (t *Txn) absent(key string) {
	if t.touched[key] != exact {
		t.touched[key] = exact
		t.compares = append(t.compares, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
	}
}

func (t *Txn) unchanged(key string, rev int64) {
	if t.touched[key] != exact {
		t.touched[key] = exact
		t.compares = append(t.compares, clientv3.Compare(clientv3.ModRevision(key), "=", rev))
	}
}

// exists requires that an object exists, unless the transaction makes it itself or
// states something stronger.
func (t *Txn) exists(key string) {
	if t.touched[key] == 0 {
		t.touched[key] = there
	}
}

// settle states the conditions that something stronger could have replaced until now.
func (t *Txn) settle() {
	for key, c := range t.touched {
		if c == there {
			t.compares = append(t.compares, clientv3.Compare(clientv3.CreateRevision(key), ">", 0))
		}
	}
}

func (t *Txn) noneSince(dir string, rev int64) {
	t.ranges = append(t.ranges, dir)
	t.compares = append(t.compares, clientv3.Compare(clientv3.ModRevision(dir), "<", rev+1).WithPrefix())
}

func (t *Txn) createUnique(key, owner string) {
	t.absent(key)
	t.put(write{key: key, value: []byte(owner)})
}

func (t *Txn) putObject(key, dir, id string, obj any) {
	b, err := encodeValue(obj)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("encode %s %s: %w", dir, id, err)
	}
	t.put(write{key: key, value: b, dir: dir, id: id, obj: obj})
}

// put adds a write. etcd refuses a transaction that writes one key twice, so callers
// never do.
func (t *Txn) put(w write) { t.writes = append(t.writes, w) }

func (t *Txn) del(key, dir, id string) { t.put(write{key: key, dir: dir, id: id}) }

// size is the number of bytes the transaction weighs, roughly.
func (t *Txn) size() int {
	n := 0
	for _, w := range t.writes {
		n += len(w.key) + len(w.value) + 32
	}
	return n + 64*len(t.compares)
}

func (t *Txn) ops() []clientv3.Op {
	ops := make([]clientv3.Op, len(t.writes))
	for i, w := range t.writes {
		if w.value == nil {
			ops[i] = clientv3.OpDelete(w.key)
		} else {
			ops[i] = clientv3.OpPut(w.key, string(w.value))
		}
	}
	return ops
}
