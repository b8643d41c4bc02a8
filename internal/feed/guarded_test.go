package feed

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"weft/internal/feed/feedpb"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
)

func (w *world) groups(ids ...string) {
	w.t.Helper()
	w.txn(func(t *store.Txn) {
		for _, id := range ids {
			store.SecurityGroups.Create(t, &model.SecurityGroup{ID: id})
		}
	})
}

func (w *world) addresses(id string, prefixes ...string) {
	w.t.Helper()
	g := &model.AddressGroup{ID: id}
	for _, p := range prefixes {
		g.Addresses = append(g.Addresses, netip.MustParsePrefix(p))
	}
	w.txn(func(t *store.Txn) {
		var old *store.Entry[model.AddressGroup]
		w.store.View(func(r store.Reader) { old = store.AddressGroups.Get(r, id) })
		if old != nil {
			store.AddressGroups.Update(t, old, g)
		} else {
			store.AddressGroups.Create(t, g)
		}
	})
}

// rule adds a rule to a group; remote is a security group, addresses an address group.
func (w *world) rule(id, group, remote, addresses string) {
	w.t.Helper()
	port := int64(22)
	w.txn(func(t *store.Txn) {
		store.SecurityGroupRules.Create(t, &model.SecurityGroupRule{ID: id, Group: group, RuleMatch: model.RuleMatch{
			Direction: "ingress", Ethertype: "IPv4", Protocol: id, PortMin: &port, RemoteGroup: remote, RemoteAddressGroup: addresses}})
	})
}

func (w *world) removeRule(id string) {
	w.t.Helper()
	w.txn(func(t *store.Txn) {
		w.store.View(func(r store.Reader) {
			store.SecurityGroupRules.Delete(t, store.SecurityGroupRules.Get(r, id), r.Revision())
		})
	})
}

// removeGroup removes a group with its rules and the rules that name it, as control does.
func (w *world) removeGroup(id string) {
	w.t.Helper()
	w.txn(func(t *store.Txn) {
		w.store.View(func(r store.Reader) {
			for ref := range r.Referrers(model.KindSecurityGroup, id) {
				store.SecurityGroupRules.Delete(t, store.SecurityGroupRules.Get(r, ref.ID), r.Revision())
			}
			store.SecurityGroups.Delete(t, store.SecurityGroups.Get(r, id), r.Revision())
		})
	})
}

func (w *world) remove(id model.PortID) {
	w.t.Helper()
	w.txn(func(t *store.Txn) {
		w.store.View(func(r store.Reader) { t.DeletePort(r.Port(id), r.Revision()) })
	})
}

func guarded(id int, network model.NetworkID, host model.HostName, groups ...string) *model.Port {
	p := port(id, network, host)
	p.PortSecurity, p.SecurityGroups = true, groups
	return p
}

// Each event that concerns security groups ends with each host holding exactly its part.
func TestGroupsReachTheirHosts(t *testing.T) {
	w := newWorld(t)
	n1, n2, n3 := w.network(1), w.network(2), w.network(3)
	w.groups("web", "db", "far", "spare")
	w.addresses("office", "192.0.2.0/24")
	w.rule("r1", "db", "web", "")
	p1 := w.create(guarded(1, n1, "h1", "db")).ID
	w.create(guarded(2, n2, "h2", "web"))
	w.create(guarded(3, n3, "h2", "far"))
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	w.settled(h1)
	w.settled(h2)
	p5 := guarded(5, n3, "", "web").ID
	change := func(id model.PortID, f func(*model.Port)) func() { return func() { w.update(id, f) } }
	for _, s := range []struct {
		what    string
		do      func()
		groups  int
		members int
		address int
	}{
		{"a rule is added", func() { w.rule("r2", "db", "", "") }, 1, 1, 0},
		{"a rule names a further group", func() { w.rule("r3", "db", "far", "") }, 1, 2, 0},
		{"a rule names the group itself", func() { w.rule("r4", "db", "db", "") }, 1, 3, 0},
		{"a rule names an address group", func() { w.rule("r5", "db", "", "office") }, 1, 3, 1},
		{"the address group changes", func() { w.addresses("office", "192.0.2.0/24", "2001:db8::/64") }, 1, 3, 1},
		{"a member joins, unbound, on another network", func() { w.create(guarded(5, n3, "", "web")) }, 1, 4, 0 + 1},
		{"it may send more", change(p5, func(p *model.Port) {
			p.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
		}), 1, 4, 1},
		{"it gets another address", change(p5, func(p *model.Port) { p.FixedIPs = port(99, n3, "").FixedIPs }), 1, 4, 1},
		{"it goes to a group that nobody names", change(p5, func(p *model.Port) { p.SecurityGroups = []string{"spare"} }), 1, 3, 1},
		{"it comes back", change(p5, func(p *model.Port) { p.SecurityGroups = []string{"web", "spare"} }), 1, 4, 1},
		{"it is deleted", func() { w.remove(p5) }, 1, 3, 1},
		{"a group is put on a port", change(p1, func(p *model.Port) { p.SecurityGroups = []string{"db", "web"} }), 2, 4, 1},
		{"a group is taken off a port", change(p1, func(p *model.Port) { p.SecurityGroups = []string{"db"} }), 1, 3, 1},
		{"port security goes off", change(p1, func(p *model.Port) { p.PortSecurity = false }), 0, 0, 0},
		{"and on", change(p1, func(p *model.Port) { p.PortSecurity = true }), 1, 3, 1},
		{"the port becomes the network's own", change(p1, func(p *model.Port) { p.DeviceOwner = model.OwnerDHCP }), 0, 0, 0},
		{"and a guest's again", change(p1, func(p *model.Port) { p.DeviceOwner = "compute:nova" }), 1, 3, 1},
		{"the last rule that names the address group goes", func() { w.removeRule("r5") }, 1, 3, 0},
		{"the last rule that names a group goes", func() { w.removeRule("r3") }, 1, 2, 0},
		{"and comes again", func() { w.rule("r3", "db", "far", "") }, 1, 3, 0},
		{"a group goes, with the rule that names it", func() { w.remove(guarded(3, n3, "").ID); w.removeGroup("far") }, 1, 2, 0},
		{"the port is unbound", change(p1, func(p *model.Port) { p.Binding.Host = "" }), 0, 0, 0},
		{"and bound again", change(p1, func(p *model.Port) { p.Binding.Host = "h1" }), 1, 2, 0},
		{"its binding fails", change(p1, func(p *model.Port) { p.Binding.VIFType = model.VIFBindingFailed }), 0, 0, 0},
		{"it moves to the other host", change(p1, func(p *model.Port) { p.Binding = model.Binding{Host: "h2", VIFType: model.VIFOVS} }), 0, 0, 0},
		{"it moves back", change(p1, func(p *model.Port) { p.Binding.Host = "h1" }), 1, 2, 0},
	} {
		s.do()
		w.settled(h1)
		w.settled(h2)
		c := h1.State().Cloud
		if len(c.Groups) != s.groups || len(c.Members) != s.members || len(c.AddressGroups) != s.address {
			t.Errorf("%s: %d groups, %d members, %d address groups; want %d, %d, %d", s.what,
				len(c.Groups), len(c.Members), len(c.AddressGroups), s.groups, s.members, s.address)
		}
	}
	if st := h1.State(); st.Session != 1 {
		t.Errorf("session %d, want one snapshot only", st.Session)
	}
}

// A rule that comes after the host's part was read and before its group was watched is
// marked by nobody: the second look must find it.
func TestRuleBetweenReadingAndWatching(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.groups("g", "remote")
	w.create(guarded(1, n1, "h1", "g"))
	p2 := w.create(guarded(2, n1, "", "remote")).ID
	s := NewServer(ServerOptions{Store: w.store, Control: w.rec}) // does not run: marks nothing
	st := newStream(s, caller{host: "h1"}, nil, nil)
	s.mu.Lock()
	found := make(chan []*feedpb.Object)
	go func() {
		objects, _, _ := st.look(nil)
		found <- objects
	}()
	time.Sleep(20 * time.Millisecond) // it has read, and waits for the lock to watch
	w.rule("r", "g", "remote", "")
	s.mu.Unlock()
	if !slices.ContainsFunc(<-found, func(o *feedpb.Object) bool { return o.Id == memberID("remote", p2) }) {
		t.Error("the member of a group that a late rule names is missing")
	}
}

// A slow host gets what has become of a group, not each step.
func TestSlowHostGetsGroupsOnce(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.groups("g", "big")
	w.rule("r", "g", "big", "")
	w.create(guarded(1, n1, "h1", "g"))
	s := w.rawStream("h1")
	w.drain(s, string(port(1, n1, "").ID), 2) // the port, and the end of the snapshot
	for i := range 200 {
		w.create(guarded(10+i, n1, "", "big"))
		w.update(port(10+i, n1, "").ID, func(p *model.Port) { p.MAC[0] ^= 4 })
	}
	last := memberID("big", port(209, n1, "").ID)
	if n, _ := w.drain(s, last, 1); n > 200*4 {
		t.Errorf("%d objects for 200 ports that joined and changed", n)
	}
}

// drain reads until an object has come a number of times, the end of a snapshot counted as
// one, and returns how many objects and bytes there were.
func (w *world) drain(s feedpb.Feed_ConnectClient, id string, times int) (objects, bytes int) {
	w.t.Helper()
	for times > 0 {
		m, err := s.Recv()
		if err != nil {
			w.t.Fatal(err)
		}
		if m.GetEnd() != nil {
			times--
		}
		for _, o := range append(m.GetChanges().GetObjects(), m.GetObjects().GetObjects()...) {
			objects++
			bytes += len(o.Kind) + len(o.Id) + len(o.Value)
			if o.Id == id {
				times--
			}
		}
	}
	return objects, bytes
}

// A change that concerns nothing that a host holds costs it nothing, and a member that
// joins a large group costs one small object.
func TestCostOfChanges(t *testing.T) {
	w := newWorld(t)
	n1, n2 := w.network(1), w.network(2)
	w.groups("mine", "big", "other")
	w.addresses("named")
	w.addresses("unnamed")
	w.rule("r1", "mine", "big", "")
	w.rule("r2", "mine", "", "named")
	p1 := w.create(guarded(1, n1, "h1", "mine")).ID
	members(w, n2, "big", 2000)
	s := w.rawStream("h1")
	if n, _ := w.drain(s, string(p1), 2); n != 1+1+1+1+2000+1 {
		t.Errorf("the snapshot has %d objects", n)
	}
	end := func() { w.update(p1, func(p *model.Port) { p.Name += "." }) }
	cost := func(what string, do func(), objects, bytes int) {
		t.Helper()
		do()
		end()
		n, b := w.drain(s, string(p1), 1)
		if n--; n != objects || b > bytes+800 {
			t.Errorf("%s: %d objects, %d bytes; want %d, %d and the port's", what, n, b, objects, bytes)
		}
	}
	away := guarded(5000, n2, "h2", "other").ID
	cost("a port elsewhere", func() { w.create(guarded(5000, n2, "h2", "other")) }, 0, 0)
	cost("its group's rule", func() { w.rule("r3", "other", "mine", "unnamed") }, 0, 0)
	cost("an address group that no rule here names", func() { w.addresses("unnamed", "10.0.0.0/8") }, 0, 0)
	cost("its addresses", func() { w.update(away, func(p *model.Port) { p.MAC[0] ^= 4 }) }, 0, 0)
	cost("a member's status", func() { w.update(port(101, n2, "").ID, func(p *model.Port) { p.Status = model.PortActive }) }, 0, 0)
	cost("a rule", func() { w.rule("r4", "mine", "big", "") }, 1, 700)
	cost("a member joins", func() { w.create(guarded(5001, n2, "h2", "big")) }, 1, 400)
	cost("a member leaves", func() { w.update(port(5001, n2, "").ID, func(p *model.Port) { p.SecurityGroups = nil }) }, 1, 150)
	cost("an address group", func() { w.addresses("named", "10.0.0.0/8") }, 1, 200)
	cost("all members, the first rule", func() { w.removeRule("r1") }, 1, 700)
	cost("all members, the second rule", func() { w.removeRule("r4") }, 2, 700)
}

// members makes ports of a group, with numbers from 101 on.
func members(w *world, network model.NetworkID, group string, n int) {
	for i := 0; i < n; i += 100 {
		w.txn(func(tx *store.Txn) {
			for j := range 100 {
				tx.CreatePort(guarded(101+i+j, network, "h2", group))
			}
		})
	}
}

// The disk copy has the groups; one of an older form is refused.
func TestDiskCopyOfGroups(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	w.groups("g")
	w.addresses("a", "10.0.0.0/8")
	w.rule("r1", "g", "g", "")
	w.rule("r2", "g", "", "a")
	p := guarded(1, n1, "h1", "g")
	p.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("10.2.0.0/16")}}
	w.create(p)
	dir := filepath.Join(t.TempDir(), "agent")
	c, stop := w.client("h1", func(o *ClientOptions) { o.StateDir = dir })
	w.settled(c)
	want := c.State().Cloud
	stop()
	got, _, ok, err := readDisk(dir, "h1")
	if err != nil || !ok || len(got.Groups) != 1 || len(got.Members) != 1 || len(got.AddressGroups) != 1 {
		t.Fatalf("%v, %v: %v", ok, err, got)
	}
	if d := diffCloud(want, got); d != "" {
		t.Error(d)
	}
}

// What State has handed out does not change.
func TestStateIsAPicture(t *testing.T) {
	w := newWorld(t)
	k := newWalker(w)
	h1, _ := w.client("h1", nil)
	for range 40 {
		w.settled(h1)
		st := h1.State()
		was := view.Part(st.Cloud, "h1") // new maps
		for range 5 {
			k.step()
		}
		w.settled(h1)
		if d := diffCloud(was, st.Cloud); d != "" {
			t.Fatal(d)
		}
	}
}
