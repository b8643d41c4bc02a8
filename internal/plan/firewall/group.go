package firewall

import (
	"cmp"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// Filter is what the groups of one port come to.
type Filter struct {
	// Stateless ports are not tracked.
	Stateless       bool
	Egress, Ingress Rules
}

// Rules are those of one direction.
type Rules struct {
	// All4 and All6: everything of the family is allowed.
	All4, All6 bool
	// Conjunctions are those of which "a port in the group" is the first clause, sorted by ID.
	Conjunctions []Conjunction
}

// Conjunction is a set of rules of one group that the switch knows by one number: a packet
// is admitted if its port is in the group, a service matches, and (Of is 3) the other
// side is a member of the remote group.
type Conjunction struct {
	ID uint32
	Of uint8
}

// Groups are security groups made into flows.
type Groups struct {
	// Parts are the flows that ports share: services, members, and what follows from a match of all clauses.
	Parts   []*vswitch.Part
	rules   *vswitch.Part
	members *[shards]shard
	filters *filters
	in      inputs
}

// filters are what each group comes to for a port in it.
type filters map[string]*Filter

// inputs are what Groups follow from.
type inputs struct {
	owner         uint16
	groups        []*view.SecurityGroup
	members       map[string][]*view.Member
	addressGroups map[string]*model.AddressGroup
}

// sameRules: what ports in the groups may do is the same, but for who the members are.
func (a inputs) sameRules(b inputs) bool {
	return a.owner == b.owner && slices.Equal(a.groups, b.groups) && maps.Equal(a.addressGroups, b.addressGroups)
}

func (a inputs) same(b inputs) bool {
	return a.sameRules(b) &&
		maps.EqualFunc(a.members, b.members, func(x, y []*view.Member) bool { return slices.Equal(x, y) })
}

// Compile makes flows of all security groups of a view. What last, which may be nil, says of the
// same inputs is taken from there.
func Compile(v *view.View, owner uint16, last *Groups) *Groups {
	in := inputs{owner, v.Groups, v.Members, v.AddressGroups}
	if last != nil && last.in.same(in) {
		return last
	}
	g := &Groups{in: in, filters: &filters{}}
	c := newCompiler(in)
	for _, sg := range v.Groups {
		(*g.filters)[sg.ID] = c.group(sg)
	}
	if last == nil || last.in.owner != owner {
		last = &Groups{members: &[shards]shard{}}
	}
	if last.filters != nil && last.in.sameRules(in) {
		g.filters = last.filters
	}
	g.rules, g.members = c.rulesPart(last.rules), c.members(last)
	g.Parts = []*vswitch.Part{g.rules}
	for i := range g.members {
		if p := g.members[i].part; p != nil {
			g.Parts = append(g.Parts, p)
		}
	}
	return g
}

// SameFilters reports whether Filter returns what that of last, which may be nil, returned.
func (g *Groups) SameFilters(last *Groups) bool { return last != nil && g.filters == last.filters }

// Filter puts together what the groups of a port allow. A group that is not among the
// compiled ones allows nothing.
func (g *Groups) Filter(groups []*view.SecurityGroup) Filter {
	var f Filter
	for _, sg := range groups {
		one := (*g.filters)[sg.ID]
		if one == nil {
			continue
		}
		f.Stateless = f.Stateless || one.Stateless
		f.Egress.join(one.Egress)
		f.Ingress.join(one.Ingress)
	}
	f.Egress.finish()
	f.Ingress.finish()
	return f
}

func (r *Rules) join(o Rules) {
	r.All4, r.All6 = r.All4 || o.All4, r.All6 || o.All6
	r.Conjunctions = append(r.Conjunctions, o.Conjunctions...)
}

func (r *Rules) finish() {
	if r.All4 && r.All6 {
		r.Conjunctions = nil // there is nothing left for them to decide
	}
	slices.SortFunc(r.Conjunctions, func(a, b Conjunction) int { return cmp.Compare(a.ID, b.ID) })
}

// Equal reports whether two filters allow the same.
func (f Filter) Equal(o Filter) bool {
	return f.Stateless == o.Stateless && f.Egress.equal(o.Egress) && f.Ingress.equal(o.Ingress)
}

func (r Rules) equal(o Rules) bool {
	return r.All4 == o.All4 && r.All6 == o.All6 && slices.Equal(r.Conjunctions, o.Conjunctions)
}

// remote names the other side of rules; the zero value is everyone or a prefix.
type remote struct{ group, addressGroup string }

// name tells the conjunctions of a view apart.
type name struct {
	group  string
	egress bool
	remote remote
}

// address is one clause "the other side is": comparable.
type address struct {
	family uint16
	prefix netip.Prefix
	// mac is set instead of prefix for a member that may send from any address.
	mac model.MAC
}

// compiler gathers the clauses of all groups: flows with the same match must be one flow.
type compiler struct {
	in  inputs
	ids map[name]uint32
	// services, prefixes and remotes are by direction: [0] ingress, [1] egress. prefixes are the
	// services that are a remote prefix and no more: a member may have the same address.
	services [2]map[service][]vswitch.Conjunction
	prefixes [2]map[address][]vswitch.Conjunction
	remotes  [2]map[remote][]uint32
	accepts  [2][]name
}

func newCompiler(in inputs) *compiler {
	c := &compiler{in: in, ids: map[name]uint32{}}
	for i := range 2 {
		c.services[i], c.prefixes[i], c.remotes[i] = map[service][]vswitch.Conjunction{}, map[address][]vswitch.Conjunction{}, map[remote][]uint32{}
	}
	c.identify()
	return c
}

// identify numbers the conjunctions. A number follows from the name, so that it stays the
// same while other groups come and go; of two names with one number the later takes the next free.
func (c *compiler) identify() {
	for _, sg := range c.in.groups {
		for i := range sg.Rules {
			n := c.nameOf(sg, &sg.Rules[i])
			c.ids[n] = n.number()
		}
	}
	taken := map[uint32]bool{0: true}
	order := slices.SortedFunc(maps.Keys(c.ids), func(a, b name) int { return strings.Compare(a.String(), b.String()) })
	for _, n := range order {
		id := c.ids[n]
		for taken[id] {
			id++
		}
		c.ids[n], taken[id] = id, true
	}
}

// nameOf is the name of the conjunction that a rule belongs to. A remote address group that
// holds all addresses of the family is as good as none.
func (c *compiler) nameOf(sg *view.SecurityGroup, r *view.Rule) name {
	n := name{sg.ID, r.Direction == "egress", remote{r.RemoteGroup, r.RemoteAddressGroup}}
	if g := c.in.addressGroups[r.RemoteAddressGroup]; n.remote.addressGroup != "" && g != nil {
		all := func(p netip.Prefix) bool { return p.Bits() == 0 && familyOfAddr(p.Addr()) == familyOf(r.Ethertype) }
		if slices.ContainsFunc(g.Addresses, all) {
			n.remote = remote{}
		}
	}
	return n
}

func (n name) String() string {
	direction := "/ingress/"
	if n.egress {
		direction = "/egress/"
	}
	return n.group + direction + n.remote.group + "/" + n.remote.addressGroup
}

func (n name) number() uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.String()))
	return h.Sum32() | 1<<31 // large numbers, which nobody takes for something else
}

// group notes the clauses of one group and returns what a port in it has to say.
func (c *compiler) group(sg *view.SecurityGroup) *Filter {
	f := &Filter{Stateless: sg.Stateless}
	used := map[name]bool{}
	for i := range sg.Rules {
		r := &sg.Rules[i]
		n := c.nameOf(sg, r)
		egress, out := 0, &f.Ingress
		if n.egress {
			egress, out = 1, &f.Egress
		}
		conj := Conjunction{c.ids[n], 2}
		if n.remote != (remote{}) {
			conj.Of = 3
		}
		for _, s := range services(r) {
			if conj.Of == 2 && s.any() {
				out.All4 = out.All4 || s.family == vswitch.TypeIPv4
				out.All6 = out.All6 || s.family == vswitch.TypeIPv6
				continue
			}
			clause := vswitch.Conjunction{ID: conj.ID, Clause: 2, Of: conj.Of}
			if a := (address{family: s.family, prefix: s.remote}); s.onlyRemote() {
				c.prefixes[egress][a] = append(c.prefixes[egress][a], clause)
			} else {
				c.services[egress][s] = append(c.services[egress][s], clause)
			}
			if !used[n] {
				used[n] = true
				out.Conjunctions = append(out.Conjunctions, conj)
				c.accepts[egress] = append(c.accepts[egress], n)
				if conj.Of == 3 {
					c.remotes[egress][n.remote] = append(c.remotes[egress][n.remote], conj.ID)
				}
			}
		}
	}
	return f
}

func familyOfAddr(a netip.Addr) uint16 {
	if a.Is4() {
		return vswitch.TypeIPv4
	}
	return vswitch.TypeIPv6
}

// directions are the table of each direction, and where what it accepts goes on.
var directions = [2]struct{ table, accepted uint8 }{{RulesIngress, AcceptedIngress}, {RulesEgress, AcceptOrIngress}}

// rulesPart has one flow a service, and one a conjunction.
func (c *compiler) rulesPart(last *vswitch.Part) *vswitch.Part {
	cookie := vswitch.Cookie(c.in.owner, vswitch.KindGroup, 0)
	var flows []vswitch.Flow
	for egress, d := range directions {
		for s, in := range c.services[egress] {
			flows = append(flows, flow(d.table, 70, cookie, s.match(egress == 1), actions(sortedClauses(in))...))
		}
		for _, n := range c.accepts[egress] {
			whose := vswitch.Cookie(c.in.owner, vswitch.KindGroup, vswitch.CookieObject(n.group))
			flows = append(flows, flow(d.table, 70, whose, match().Is(vswitch.ConjID, vswitch.Num(uint64(c.ids[n]))), goTo(d.accepted)))
		}
	}
	return last.Remade(cookie, flows...)
}

// sortedClauses puts clauses in order, each once.
func sortedClauses(in []vswitch.Conjunction) []vswitch.Conjunction {
	slices.SortFunc(in, func(a, b vswitch.Conjunction) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Clause, b.Clause))
	})
	return slices.Compact(in)
}

func actions(clauses []vswitch.Conjunction) []vswitch.Action {
	out := make([]vswitch.Action, len(clauses))
	for i, c := range clauses {
		out[i] = c
	}
	return out
}

// shards is how many parts the flows of members are spread over: when one joins a group of
// thousands, the rest of one part is looked at again and not all of them.
const shards = 64

// shard is a part of the flows of members, and what it follows from.
type shard struct {
	clauses map[remoteAddress][]vswitch.Conjunction
	part    *vswitch.Part
}

// remoteAddress is an address of the other side, in one direction.
type remoteAddress struct {
	egress bool
	address
}

func (a address) shard() uint32 {
	h := uint32(2166136261) // FNV-1a
	add := func(b byte) { h = (h ^ uint32(b)) * 16777619 }
	if a.prefix.IsValid() {
		for _, b := range a.prefix.Addr().As16() {
			add(b)
		}
		add(byte(a.prefix.Bits()))
	}
	for _, b := range a.mac {
		add(b)
	}
	return h % shards
}

// members makes one flow for each address of a member, whatever the number of ports and
// rules that refer to it, and one for each remote prefix.
func (c *compiler) members(last *Groups) *[shards]shard {
	now, stirred := *last.members, c.stirred(last)
	for i := range now {
		if stirred[i] {
			now[i].clauses = make(map[remoteAddress][]vswitch.Conjunction, len(last.members[i].clauses)+1)
		}
	}
	add := func(egress int, a address, in []vswitch.Conjunction) {
		at := a.shard()
		if !stirred[at] {
			return
		}
		s := &now[at]
		k := remoteAddress{egress == 1, a}
		if was := s.clauses[k]; was != nil {
			in = sortedClauses(slices.Concat(was, in))
		}
		s.clauses[k] = in
	}
	for egress := range directions {
		for a, in := range c.prefixes[egress] {
			add(egress, a, sortedClauses(in))
		}
		for rem, ids := range c.remotes[egress] {
			in := make([]vswitch.Conjunction, len(ids))
			for i, id := range ids {
				in[i] = vswitch.Conjunction{ID: id, Clause: 3, Of: 3}
			}
			in = sortedClauses(in)
			for _, a := range c.addresses(rem) {
				add(egress, a, in)
			}
		}
	}
	for i := range now {
		switch s := &now[i]; {
		case !stirred[i]:
		case len(s.clauses) == 0:
			*s = shard{}
		case !maps.EqualFunc(s.clauses, last.members[i].clauses, slices.Equal):
			s.part = c.membersPart(i, s.clauses)
		}
	}
	return &now
}

// stirred are the shards that may not be what they were: those of members that have come, gone or
// changed while the rules have not, else all.
func (c *compiler) stirred(last *Groups) (is [shards]bool) {
	if !last.in.sameRules(c.in) {
		for i := range is {
			is[i] = true
		}
		return is
	}
	stir := func(m *view.Member) {
		for _, s := range m.Sources {
			is[addressOf(s).shard()] = true
		}
	}
	for _, members := range []map[string][]*view.Member{c.in.members, last.in.members} {
		for group := range members {
			was, now := last.in.members[group], c.in.members[group] // both are sorted by port
			for len(was)+len(now) > 0 {
				switch {
				case len(was) > 0 && len(now) > 0 && was[0] == now[0]:
					was, now = was[1:], now[1:]
				case len(now) == 0 || len(was) > 0 && was[0].Port <= now[0].Port:
					stir(was[0])
					was = was[1:]
				default:
					stir(now[0])
					now = now[1:]
				}
			}
		}
	}
	return is
}

func (c *compiler) membersPart(shard int, clauses map[remoteAddress][]vswitch.Conjunction) *vswitch.Part {
	cookie := vswitch.Cookie(c.in.owner, vswitch.KindGroup, 1)
	var flows []vswitch.Flow
	for a, in := range clauses {
		d := directions[0]
		if a.egress {
			d = directions[1]
		}
		flows = append(flows, flow(d.table, 70, cookie, a.match(a.egress), actions(in)...))
	}
	return vswitch.NewPart(cookie+uint64(shard), flows...)
}

func (a address) match(egress bool) vswitch.Match {
	m := match().Type(a.family)
	switch {
	case a.prefix.IsValid():
		return m.Prefix(remoteField(a.family, egress), a.prefix)
	case egress:
		return m.EthDst(a.mac)
	}
	return m.EthSrc(a.mac)
}

// addressOf is how the switch knows a source.
func addressOf(s view.Source) address {
	if s.Prefix.Bits() == 0 {
		return address{family: familyOfAddr(s.Prefix.Addr()), mac: s.MAC}
	}
	return address{family: familyOfAddr(s.Prefix.Addr()), prefix: s.Prefix.Masked()}
}

// addresses are those of a remote group or address group; they may repeat.
func (c *compiler) addresses(r remote) []address {
	var all []address
	for _, m := range c.in.members[r.group] {
		for _, s := range m.Sources {
			all = append(all, addressOf(s))
		}
	}
	if g := c.in.addressGroups[r.addressGroup]; g != nil {
		for _, p := range g.Addresses {
			if p.Bits() > 0 {
				all = append(all, address{family: familyOfAddr(p.Addr()), prefix: p.Masked()})
			}
		}
	}
	return all
}
