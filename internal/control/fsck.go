package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

// Problem is one broken invariant of the store.
type Problem struct {
	// Key is the object or key concerned, such as "port/4db0..." or "address/<subnet>/10.0.0.5".
	Key string
	// Message says what is wrong.
	Message string
}

func (p Problem) String() string { return p.Key + ": " + p.Message }

// Fsck reads the raw keys under the default prefix at one revision and checks all
// invariants; no problem means that no address, MAC or segment can be held twice and
// that every reference leads somewhere. It changes nothing.
func Fsck(ctx context.Context, client *store.Client) ([]Problem, error) {
	return FsckAt(ctx, client, store.DefaultPrefix)
}

// FsckAt is Fsck for another prefix.
func FsckAt(ctx context.Context, client *store.Client, prefix string) ([]Problem, error) {
	in, err := store.Inspect(ctx, client, prefix)
	if err != nil {
		return nil, err
	}
	f := &fsck{in: in}
	for key, why := range in.Bad {
		f.report(strings.TrimPrefix(key, prefix), "cannot be read: %s", why)
	}
	f.networks()
	f.subnets()
	f.pools()
	f.ports()
	f.uniqueKeys()
	f.names()
	for _, h := range in.Heartbeats {
		if in.Hosts[h] == nil {
			f.report("heartbeat/"+string(h), "there is no such host")
		}
	}
	slices.SortFunc(f.found, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return f.found, nil
}

type fsck struct {
	in    *store.Inspection
	found []Problem
}

func (f *fsck) report(key, format string, args ...any) {
	f.found = append(f.found, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

func (f *fsck) networks() {
	for id, n := range f.in.Networks {
		for _, g := range n.AllSegments() {
			if owner := f.in.Segments[store.SegmentName(g)]; owner != id {
				f.report("network/"+string(id), "its segment %s is held by %q", store.SegmentName(g), owner)
			}
		}
		if n.Segment != n.AllSegments()[0] {
			f.report("network/"+string(id), "hosts do not use its first segment")
		}
	}
}

func (f *fsck) subnets() {
	perNetwork := map[model.NetworkID][]*model.Subnet{}
	for id, s := range f.in.Subnets {
		if n := f.in.Networks[s.NetworkID]; n == nil {
			f.report("subnet/"+string(id), "there is no network %s", s.NetworkID)
		} else if s.SegmentID != "" && !hasSegment(n, s.SegmentID) {
			f.report("subnet/"+string(id), "its network has no segment %s", s.SegmentID)
		}
		for _, o := range perNetwork[s.NetworkID] {
			if o.CIDR.Overlaps(s.CIDR) {
				f.report("subnet/"+string(id), "overlaps with subnet %s", o.ID)
			}
		}
		perNetwork[s.NetworkID] = append(perNetwork[s.NetworkID], s)
	}
}

// pools checks that the subnets of a pool lie in it and not in each other's way, and that
// no two pools of an address scope have a prefix in common.
func (f *fsck) pools() {
	perPool := map[string][]*model.Subnet{}
	for id, s := range f.in.Subnets {
		p, _ := f.in.Objects[store.Ref{Kind: model.KindSubnetPool, ID: s.PoolID}].(*model.SubnetPool)
		if p == nil {
			continue // that it is missing is said of the reference
		}
		if !ipam.Covers(p.Prefixes, s.CIDR) {
			f.report("subnet/"+string(id), "lies outside subnet pool %s", p.ID)
		}
		for _, o := range perPool[p.ID] {
			if o.CIDR.Overlaps(s.CIDR) {
				f.report("subnet/"+string(id), "overlaps with subnet %s of the same subnet pool", o.ID)
			}
		}
		perPool[p.ID] = append(perPool[p.ID], s)
	}
	perScope := map[string][]*model.SubnetPool{}
	for _, o := range f.in.Objects {
		p, is := o.(*model.SubnetPool)
		if !is || p.ScopeID == "" {
			continue
		}
		for _, o := range perScope[p.ScopeID] {
			if overlap(o, p) {
				f.report("subnetpool/"+p.ID, "overlaps with subnet pool %s in the same address scope", o.ID)
			}
		}
		perScope[p.ScopeID] = append(perScope[p.ScopeID], p)
	}
}

func (f *fsck) ports() {
	for id, p := range f.in.Ports {
		key := "port/" + string(id)
		if f.in.Networks[p.NetworkID] == nil {
			f.report(key, "there is no network %s", p.NetworkID)
		}
		if owner := f.in.MACs[store.NetworkMAC{Network: p.NetworkID, MAC: p.MAC}]; owner != id {
			f.report(key, "its MAC %s is held by %q", p.MAC, owner)
		}
		for _, ip := range p.FixedIPs {
			s := f.in.Subnets[ip.SubnetID]
			switch {
			case s == nil:
				f.report(key, "there is no subnet %s", ip.SubnetID)
			case s.NetworkID != p.NetworkID:
				f.report(key, "its subnet %s is on another network", ip.SubnetID)
			case !s.CIDR.Contains(ip.Addr):
				f.report(key, "its address %s lies outside %s", ip.Addr, s.CIDR)
			}
			if owner := f.in.Addresses[ip]; owner != id {
				f.report(key, "its address %s is held by %q", ip.Addr, owner)
			}
		}
	}
}

// uniqueKeys checks the other direction: that each unique key is of an object that holds it.
func (f *fsck) uniqueKeys() {
	for ip, owner := range f.in.Addresses {
		if p := f.in.Ports[owner]; p == nil || !slices.Contains(p.FixedIPs, ip) {
			f.report(fmt.Sprintf("address/%s/%s", ip.SubnetID, ip.Addr), "port %q does not hold it", owner)
		}
	}
	for m, owner := range f.in.MACs {
		if p := f.in.Ports[owner]; p == nil || p.MAC != m.MAC || p.NetworkID != m.Network {
			f.report(fmt.Sprintf("mac/%s/%s", m.Network, m.MAC), "port %q does not hold it", owner)
		}
	}
	for name, owner := range f.in.Segments {
		holds := func(g model.Segment) bool { return store.SegmentName(g) == name }
		if n := f.in.Networks[owner]; n == nil || !slices.ContainsFunc(n.AllSegments(), holds) {
			f.report("segment/"+name, "network %q does not hold it", owner)
		}
	}
}

// names checks that unique names and references are held by exactly the objects that
// have them, and that what is referred to is there.
func (f *fsck) names() {
	unique, refs := map[string]bool{}, map[string]bool{}
	f.in.Names(func(name string, owner store.Ref) {
		unique[name] = true
		if holder := f.in.Unique[name]; holder != owner.ID {
			f.report(fmt.Sprintf("%s/%s", owner.Kind, owner.ID), "its unique name %q is held by %q", name, holder)
		}
	}, func(name string, from, to store.Ref) {
		refs[name] = true
		key := fmt.Sprintf("%s/%s", from.Kind, from.ID)
		if !f.in.Exists(to) {
			f.report(key, "there is no %s %s", to.Kind, to.ID)
		}
		if !f.in.Refs[name] {
			f.report(key, "its reference to %s %s is not recorded", to.Kind, to.ID)
		}
	})
	for name, owner := range f.in.Unique {
		if !unique[name] {
			f.report("unique/"+name, "%q does not have this name", owner)
		}
	}
	for name := range f.in.Refs {
		if !refs[name] {
			f.report("ref/"+name, "there is no such reference")
		}
	}
}
