package feed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
)

// part is what a host holds, as topics: a network with all that is on it, a security group
// with its rules, the members of a security group, an address group.
type part struct {
	topics map[store.Ref]struct{}
	// named are, by security group, the topics that its rules name.
	named map[string][]store.Ref
	// hosts are those of each network. They are no topics: that a host has entered or left
	// is a change of a port, and what it is itself reaches those who hear of its networks.
	hosts map[model.NetworkID][]model.HostName
	// ports are those realised on the host: what they ask for makes the part.
	ports map[model.PortID]struct{}
}

func (p part) has(kind model.Kind, id string) bool {
	_, ok := p.topics[store.Ref{Kind: kind, ID: id}]
	return ok
}

// within reports whether the other part has all topics of this one.
func (p part) within(other part) bool {
	for t := range p.topics {
		if !other.has(t.Kind, t.ID) {
			return false
		}
	}
	return true
}

// knows reports whether a host is one of those of the part's networks.
func (p part) knows(h model.HostName) bool {
	for _, hosts := range p.hosts {
		if _, there := slices.BinarySearch(hosts, h); there {
			return true
		}
	}
	return false
}

// need is what a host is to hold, as view.Part has it: a port that failed to bind is on no
// host. What the rules of a group name is looked up only if the host does not hold the
// group or it has changed: the cost is that of a pass over the ports bound to the host, and
// next to nothing when the changes are of other hosts' ports. Then same is true: the topics
// are those that the host holds.
func need(r store.Reader, host model.HostName, held part, dirty map[changeKey]store.Change) (now part, same bool) {
	if held.undisturbed(r, host, dirty) {
		return held.withHosts(r, dirty), true
	}
	return needAnew(r, host, held, dirty), false
}

// undisturbed reports whether the changes leave the topics as they are.
func (p part) undisturbed(r store.Reader, host model.HostName, dirty map[changeKey]store.Change) bool {
	if p.topics == nil {
		return false
	}
	for k := range dirty {
		switch k.Kind {
		case model.KindSecurityGroup:
			return false
		case model.KindPort:
			id := model.PortID(k.ID)
			if _, here := p.ports[id]; here {
				return false
			}
			if e := r.Port(id); e != nil && e.Value.Binding.Host == host {
				return false
			}
		}
	}
	return true
}

// withHosts is the part with the hosts that the networks of changed ports have now.
func (p part) withHosts(r store.Reader, dirty map[changeKey]store.Change) part {
	own := false
	for k := range dirty {
		had, mine := p.hosts[k.network]
		if k.Kind != model.KindPort || !mine {
			continue
		}
		if now := r.HostsOf(k.network); !sameList(had, now) {
			if !own {
				p.hosts, own = maps.Clone(p.hosts), true
			}
			p.hosts[k.network] = now
		}
	}
	return p
}

func needAnew(r store.Reader, host model.HostName, held part, dirty map[changeKey]store.Change) part {
	now := part{ports: make(map[model.PortID]struct{}, len(held.ports)), topics: make(map[store.Ref]struct{}, len(held.topics)), named: make(map[string][]store.Ref, len(held.named)),
		hosts: make(map[model.NetworkID][]model.HostName, len(held.hosts))}
	for e := range r.PortsOnHost(host) {
		p := e.Value
		if p.Binding.VIFType == model.VIFBindingFailed {
			continue
		}
		now.ports[p.ID] = struct{}{}
		now.topics[store.Ref{Kind: model.KindNetwork, ID: string(p.NetworkID)}] = struct{}{}
		now.hosts[p.NetworkID] = r.HostsOf(p.NetworkID)
		if !p.Filtered() {
			continue
		}
		for _, id := range p.SecurityGroups {
			if _, seen := now.named[id]; seen {
				continue
			}
			group := store.Ref{Kind: model.KindSecurityGroup, ID: id}
			names, known := held.named[id]
			if _, changed := dirty[changeKey{Ref: group}]; changed || !known {
				names = namedBy(r, id)
			}
			now.topics[group] = struct{}{}
			now.named[id] = names
		}
	}
	for _, names := range now.named {
		for _, t := range names {
			now.topics[t] = struct{}{}
		}
	}
	return now
}

// namedBy are the topics that the rules of a group name.
func namedBy(r store.Reader, group string) []store.Ref {
	var names []store.Ref
	add := func(kind model.Kind, id string) {
		if t := (store.Ref{Kind: kind, ID: id}); id != "" && !slices.Contains(names, t) {
			names = append(names, t)
		}
	}
	for e := range store.SecurityGroupRules.By(r, "group", group) {
		add(kindMembers, e.Value.RemoteGroup)
		add(model.KindAddressGroup, e.Value.RemoteAddressGroup)
	}
	return names
}

// batch gathers nouns under the mirror's lock and encodes them after.
type batch struct {
	encoders []func() ([]byte, error) // nil for what is gone
	objects  []*feedpb.Object
}

func (b *batch) put(kind model.Kind, id string, encode func() ([]byte, error)) {
	b.encoders = append(b.encoders, encode)
	b.objects = append(b.objects, &feedpb.Object{Kind: string(kind), Id: id})
}

func (b *batch) gone(kind model.Kind, id string) { b.put(kind, id, nil) }

// putEntry adds an entry in the form of that name. It is encoded once for all hosts.
func putEntry[T any](b *batch, kind model.Kind, id string, e *store.Entry[T], form string, of func(*T) any) {
	b.put(kind, id, func() ([]byte, error) {
		return e.Derived(form, func(v *T) ([]byte, error) { return json.Marshal(of(v)) })
	})
}

// putNoun adds an entry as it is stored, or says that it is gone.
func putNoun[T any](b *batch, kind model.Kind, id string, e *store.Entry[T]) {
	if e == nil {
		b.gone(kind, id)
		return
	}
	putEntry(b, kind, id, e, "noun", func(v *T) any { return v })
}

// changes adds what brings a host from the part that it holds to what it is to hold now.
// What it loses goes first: a port that has changed its network enters after.
func (b *batch) changes(r store.Reader, host model.HostName, held, now part, same bool, dirty map[changeKey]store.Change) {
	if !same {
		b.topics(r, held, now)
	}
	b.peers(r, host, held, now)
	stays := func(kind model.Kind, id string) bool { return held.has(kind, id) && now.has(kind, id) }
	for _, ch := range dirty {
		kind, id := ch.Kind, ch.ID
		if h := model.HostName(id); kind == model.KindHost {
			if h != host && held.knows(h) && now.knows(h) {
				b.object(r, kind, id)
			}
			continue
		}
		if ch.Network != "" {
			kind, id = model.KindNetwork, string(ch.Network)
		}
		if stays(kind, id) {
			if e := r.Port(model.PortID(ch.ID)); ch.Kind == model.KindPort && e != nil && !now.has(model.KindNetwork, string(e.Value.NetworkID)) {
				b.gone(ch.Kind, ch.ID) // made anew, on a network of others
			} else {
				b.object(r, ch.Kind, ch.ID)
			}
		}
		for _, group := range ch.Groups {
			if stays(kindMembers, group) {
				b.member(r, group, ch.ID)
			}
		}
	}
}

// topics adds the topics that the host loses, and those that it enters.
func (b *batch) topics(r store.Reader, held, now part) {
	for t := range held.topics {
		if !now.has(t.Kind, t.ID) {
			b.gone(t.Kind, t.ID)
		}
	}
	for t := range now.topics {
		if !held.has(t.Kind, t.ID) {
			b.enter(r, t)
		}
	}
}

// peers adds the other hosts that come to the host's networks, and those that go.
func (b *batch) peers(r store.Reader, host model.HostName, held, now part) {
	moved := map[model.HostName]bool{} // to whether it is on a network now, as far as is seen
	for id := range held.hosts {
		differ(moved, held.hosts[id], now.hosts[id])
	}
	for id := range now.hosts {
		if _, before := held.hosts[id]; !before {
			differ(moved, nil, now.hosts[id])
		}
	}
	delete(moved, host)
	for h, is := range moved {
		switch is = is || now.knows(h); {
		case is == held.knows(h):
		case is && r.Host(h) != nil:
			b.object(r, model.KindHost, string(h))
		case !is:
			b.gone(model.KindHost, string(h))
		}
	}
}

// sameList reports whether two lists are one; if not they may still be equal.
func sameList(a, b []model.HostName) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// differ notes what is in one of two sorted lists only, and what of it is in the second.
func differ(found map[model.HostName]bool, a, b []model.HostName) {
	if sameList(a, b) {
		return // nearly always
	}
	left := func(h model.HostName) {
		if !found[h] {
			found[h] = false
		}
	}
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0], b[0]); {
		case c < 0:
			left(a[0])
			a = a[1:]
		case c > 0:
			found[b[0]] = true
			b = b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	for _, h := range a {
		left(h)
	}
	for _, h := range b {
		found[h] = true
	}
}

// network adds a network with all that is on it.
func (b *batch) network(r store.Reader, id model.NetworkID) {
	if e := r.Network(id); e != nil {
		putNoun(b, model.KindNetwork, string(id), e)
	}
	for _, e := range r.SubnetsOf(id) {
		putNoun(b, model.KindSubnet, string(e.Value.ID), e)
	}
	for e := range r.PortsOf(id) {
		putNoun(b, model.KindPort, string(e.Value.ID), e)
	}
}

// enter adds a topic that the host does not hold yet, whole.
func (b *batch) enter(r store.Reader, t store.Ref) {
	switch t.Kind {
	case model.KindNetwork:
		b.network(r, model.NetworkID(t.ID))
	case kindMembers:
		for e := range r.PortsInGroup(t.ID) {
			b.putMember(e, t.ID)
		}
	default:
		b.object(r, t.Kind, t.ID)
	}
}

// object adds what an object is now.
func (b *batch) object(r store.Reader, kind model.Kind, id string) {
	switch kind {
	case model.KindNetwork:
		putNoun(b, kind, id, r.Network(model.NetworkID(id)))
	case model.KindSubnet:
		putNoun(b, kind, id, r.Subnet(model.SubnetID(id)))
	case model.KindPort:
		putNoun(b, kind, id, r.Port(model.PortID(id)))
	case model.KindHost:
		if e := r.Host(model.HostName(id)); e != nil {
			putEntry(b, kind, id, e, "peer", func(h *model.Host) any { return peerOf(h) })
		} else {
			b.gone(kind, id)
		}
	case model.KindAddressGroup:
		putNoun(b, kind, id, store.AddressGroups.Get(r, id))
	case model.KindSecurityGroup:
		if g := GroupOf(r, id); g != nil {
			b.put(kind, id, func() ([]byte, error) { return json.Marshal(g) })
		} else {
			b.gone(kind, id)
		}
	}
}

// GroupOf is a security group with its rules as a host is told of it; nil if there is none.
func GroupOf(r store.Reader, id string) *view.SecurityGroup {
	e := store.SecurityGroups.Get(r, id)
	if e == nil {
		return nil
	}
	g := &view.SecurityGroup{ID: id, Stateless: e.Value.Stateless}
	for rule := range store.SecurityGroupRules.By(r, "group", id) {
		g.Rules = append(g.Rules, view.Rule{ID: rule.Value.ID, RuleMatch: rule.Value.RuleMatch})
	}
	slices.SortFunc(g.Rules, func(a, b view.Rule) int { return strings.Compare(a.ID, b.ID) })
	return g
}

// putMember adds a port as a member of a group.
func (b *batch) putMember(e *store.Entry[model.Port], group string) {
	putEntry(b, kindMember, memberID(group, e.Value.ID), e, "member "+group, func(p *model.Port) any { return view.MemberOf(p, group) })
}

// member adds what a port is now as a member of a group.
func (b *batch) member(r store.Reader, group, port string) {
	id := memberID(group, model.PortID(port))
	if e := r.Port(model.PortID(port)); e != nil && slices.Contains(e.Value.SecurityGroups, group) {
		b.putMember(e, group)
		return
	}
	b.gone(kindMember, id)
}

func (b *batch) encode() ([]*feedpb.Object, error) {
	for i, encode := range b.encoders {
		if encode == nil {
			continue
		}
		data, err := encode()
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", b.objects[i].Kind, b.objects[i].Id, err)
		}
		b.objects[i].Value = data
	}
	return b.objects, nil
}

// pieces cuts objects into messages of about chunkBytes.
func pieces(objects []*feedpb.Object) func(func([]*feedpb.Object) bool) {
	return func(yield func([]*feedpb.Object) bool) {
		begin, size := 0, 0
		for i, o := range objects {
			if size += len(o.Value) + len(o.Id) + 16; size >= chunkBytes {
				if !yield(objects[begin : i+1]) {
					return
				}
				begin, size = i+1, 0
			}
		}
		if begin < len(objects) {
			yield(objects[begin:])
		}
	}
}
