package store

import (
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/model"
)

// keys builds and takes apart the keys of docs/keyspace.md.
type keys struct{ prefix string }

// The first element of a key after the prefix.
const (
	dirNetwork   = "network"
	dirSubnet    = "subnet"
	dirPort      = "port"
	dirHost      = "host"
	dirHeartbeat = "heartbeat"
	dirAddress   = "address"
	dirMAC       = "mac"
	dirSegment   = "segment"
	dirServer    = "server"
	dirMeta      = "meta"
	dirUnique    = "unique"
	dirRef       = "ref"
)

func (k keys) version() string                   { return k.prefix + dirMeta + "/version" }
func (k keys) object(dir, id string) string      { return k.prefix + dir + "/" + id }
func (k keys) unique(dir, name string) string    { return k.prefix + dirUnique + "/" + dir + "/" + name }
func (k keys) fence() string                     { return k.prefix + dirMeta + "/fence" }
func (k keys) network(id model.NetworkID) string { return k.prefix + dirNetwork + "/" + string(id) }
func (k keys) subnet(id model.SubnetID) string   { return k.prefix + dirSubnet + "/" + string(id) }
func (k keys) port(id model.PortID) string       { return k.prefix + dirPort + "/" + string(id) }
func (k keys) host(name model.HostName) string   { return k.prefix + dirHost + "/" + string(name) }
func (k keys) heartbeat(name model.HostName) string {
	return k.prefix + dirHeartbeat + "/" + string(name)
}
func (k keys) addressesOf(id model.SubnetID) string {
	return k.prefix + dirAddress + "/" + string(id) + "/"
}
func (k keys) macsOf(id model.NetworkID) string           { return k.prefix + dirMAC + "/" + string(id) + "/" }
func (k keys) mac(id model.NetworkID, m model.MAC) string { return k.macsOf(id) + m.String() }
func (k keys) address(id model.SubnetID, a netip.Addr) string {
	return k.addressesOf(id) + a.String()
}

// refsTo is the directory of the keys that say what refers to an object.
func (k keys) refsTo(to Ref) string {
	return k.prefix + dirRef + "/" + string(to.Kind) + "/" + to.ID + "/"
}

// ref is the key that says that from refers to to.
func (k keys) ref(to, from Ref) string {
	return k.refsTo(to) + string(from.Kind) + "/" + from.ID
}

// segment is the unique key of a segment: vxlan/VNI, vlan/PHYSICAL/VLAN or flat/PHYSICAL.
func (k keys) segment(g model.Segment) string {
	s := k.prefix + dirSegment + "/" + string(g.Type)
	if g.Physical != "" {
		s += "/" + g.Physical
	}
	if g.ID != 0 {
		s += "/" + strconv.FormatUint(uint64(g.ID), 10)
	}
	return s
}

// split returns the first element of a key and the rest, or false for a key outside the prefix.
func (k keys) split(key string) (dir, rest string, ok bool) {
	rel, ok := strings.CutPrefix(key, k.prefix)
	if !ok {
		return "", "", false
	}
	dir, rest, ok = strings.Cut(rel, "/")
	return dir, rest, ok
}
