package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

func testEtcd(t *testing.T, dir string) *EmbeddedEtcd {
	t.Helper()
	e, err := Embedded(t.Context(), EmbeddedConfig{Dir: dir, Testing: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// run opens a store and runs it until stop is called.
func run(t *testing.T, client *Client) (s *Store, stop func()) {
	t.Helper()
	s, err := Open(t.Context(), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s, start(t, s)
}

func start(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			<-done
		}
	}
	t.Cleanup(stop)
	<-s.Ready()
	return stop
}

func put(t *testing.T, s *Store, f func(*Txn)) {
	t.Helper()
	txn := s.Txn()
	f(txn)
	if _, err := txn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func network(i int) *model.Network {
	return &model.Network{ID: model.NetworkID(fmt.Sprintf("n%d", i)), Segment: model.Segment{Type: model.SegmentVXLAN, ID: uint32(i)}}
}

func port(i int) *model.Port {
	return &model.Port{ID: model.PortID(fmt.Sprintf("p%d", i)), NetworkID: "n1", Name: "name", DeviceID: "dev",
		MAC: model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, Binding: model.Binding{Host: "h"},
		FixedIPs: []model.FixedIP{{SubnetID: "s1", Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}}}
}

func (s *Store) entryOf(id model.PortID) (e *Entry[model.Port]) {
	s.View(func(r Reader) { e = r.Port(id) })
	return e
}

// seed puts one network, one subnet and some ports.
func seed(t *testing.T, s *Store, ports int) {
	t.Helper()
	put(t, s, func(x *Txn) {
		x.CreateNetwork(network(1))
		x.CreateSubnet(&model.Subnet{ID: "s1", NetworkID: "n1", CIDR: netip.MustParsePrefix("10.0.0.0/16")})
	})
	for i := 1; i <= ports; i++ {
		put(t, s, func(x *Txn) { x.CreatePort(port(i)) })
	}
}

func TestSecondInstanceIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	e := testEtcd(t, dir)
	_, err := Embedded(t.Context(), EmbeddedConfig{Dir: dir, Testing: true})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second instance: %v", err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "etcd")} {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, fi.Mode(), err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	testEtcd(t, dir)
}

// TestSockets: both are files in the state directory, which is root's only. An abstract one
// would be open to everybody.
func TestSockets(t *testing.T) {
	dir := t.TempDir()
	testEtcd(t, dir)
	for _, s := range []string{"client.sock", "peer.sock"} {
		if fi, err := os.Stat(filepath.Join(dir, s)); err != nil || fi.Mode().Type() != os.ModeSocket {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestLongStateDirectory(t *testing.T) {
	testEtcd(t, filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	e := testEtcd(t, dir)
	s, stop := run(t, e.Client)
	seed(t, s, 20)
	stop()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = run(t, testEtcd(t, dir).Client)
	s.View(func(r Reader) {
		if r.PortCount() != 20 || r.AddressCountOf("s1") != 20 || len(r.PortsOfDevice("dev")) != 20 {
			t.Errorf("%d ports after reopening", r.PortCount())
		}
	})
	if err := s.Reserve().Address("s1", netip.MustParseAddr("10.0.0.7")); !errors.Is(err, ErrTaken) {
		t.Errorf("a stored address after reopening: %v", err)
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	if _, err := e.Client.Put(t.Context(), DefaultPrefix+"meta/version", strconv.Itoa(schemaVersion+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), e.Client, Options{}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", schemaVersion+1)) {
		t.Errorf("got %v", err)
	}
}

// TestCatchUpByDifference: a store that was away lists again and tells its subscribers
// only what changed.
func TestCatchUpByDifference(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	away, stop := run(t, e.Client)
	seed(t, away, 5)
	kept := away.entryOf("p1")
	stop()
	other, _ := run(t, e.Client)
	put(t, other, func(x *Txn) { x.DeletePort(other.entryOf("p2"), other.Revision()) })
	changed := *other.entryOf("p3").Value
	changed.Name = "new"
	put(t, other, func(x *Txn) { x.UpdatePort(other.entryOf("p3"), &changed) })
	put(t, other, func(x *Txn) { x.CreatePort(port(9)) })
	if _, err := e.Client.Compact(t.Context(), other.Revision()); err != nil {
		t.Fatal(err)
	}
	sub := away.Subscribe(t.Context())
	start(t, away)
	if err := away.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-sub.C()
	changes, rev := sub.Changes()
	got := map[string]bool{}
	for _, c := range changes {
		got[c.ID] = true
	}
	if len(got) != 3 || !got["p2"] || !got["p3"] || !got["p9"] || rev < other.Revision() {
		t.Errorf("changes %v at %d", changes, rev)
	}
	if away.entryOf("p1") != kept {
		t.Error("an unchanged entry was replaced")
	}
	if away.entryOf("p2") != nil || away.entryOf("p3").Value.Name != "new" {
		t.Error("not caught up")
	}
}

// TestCatchUpWithSwappedAddresses: while a store is away, addresses change hands; each is
// still known as taken afterwards.
func TestCatchUpWithSwappedAddresses(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	away, stop := run(t, e.Client)
	seed(t, away, 3)
	stop()
	other, _ := run(t, e.Client)
	move := func(id model.PortID, last byte) {
		p := *other.entryOf(id).Value
		p.FixedIPs = []model.FixedIP{{SubnetID: "s1", Addr: netip.AddrFrom4([4]byte{10, 0, 0, last})}}
		put(t, other, func(x *Txn) { x.UpdatePort(other.entryOf(id), &p) })
	}
	move("p1", 100)
	move("p2", 1)
	move("p1", 2)
	put(t, other, func(x *Txn) { x.DeletePort(other.entryOf("p3"), other.Revision()) })
	p := port(4)
	p.FixedIPs = port(3).FixedIPs
	put(t, other, func(x *Txn) { x.CreatePort(p) })
	start(t, away)
	if err := away.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for last, want := range map[byte]error{1: ErrTaken, 2: ErrTaken, 3: ErrTaken, 100: nil} {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, last})
		if err := away.Reserve().Address("s1", addr); err != want {
			t.Errorf("%s: %v, want %v", addr, err, want)
		}
	}
}

// TestWatchCompacted: the watch reports that its revisions are gone; follow then lists.
func TestWatchCompacted(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	writer, _ := run(t, e.Client)
	behind, err := Open(t.Context(), e.Client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := behind.list(t.Context()); err != nil {
		t.Fatal(err)
	}
	seed(t, writer, 5)
	if _, err := e.Client.Compact(t.Context(), writer.Revision()); err != nil {
		t.Fatal(err)
	}
	if err := behind.watch(t.Context()); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("watch: %v", err)
	}
	start(t, behind)
	if err := behind.Sync(t.Context()); err != nil || behind.entryOf("p5") == nil {
		t.Errorf("not caught up: %v", err)
	}
}

// TestWatchAlone: without the short cut for own writes, the watch brings everything.
func TestWatchAlone(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, err := Open(t.Context(), e.Client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.skipLocal = true
	start(t, s)
	seed(t, s, 5)
	if s.entryOf("p5") == nil {
		t.Error("a write returned before the mirror had it")
	}
}

// TestUnreadableAndUnknown: a value of a newer server is read, a broken one is left out
// and hurts nobody, keys of no known kind are left alone.
func TestUnreadableAndUnknown(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	seed(t, s, 1)
	for key, value := range map[string]string{
		"port/newer":       `{"id":"newer","network_id":"n1","mac":"02:00:00:00:01:01","numa":{"affinity":["strict"]},"fixed_ips":[{"subnet_id":"s1","addr":"10.0.1.1","weight":3}]}`,
		"port/broken":      `{"id":`,
		"port/badmac":      `{"id":"badmac","mac":"x"}`,
		"router/r1":        `{"id":"r1"}`,
		"heartbeat/nobody": `yesterday`,
		"stray":            ``,
	} {
		if _, err := e.Client.Put(t.Context(), DefaultPrefix+key, value); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := run(t, e.Client) // by list
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, st := range map[string]*Store{"watch": s, "list": other} {
		p := st.entryOf("newer")
		if p == nil || p.Value.FixedIPs[0].Addr.String() != "10.0.1.1" {
			t.Errorf("%s: newer value: %+v", name, p)
		}
		if st.entryOf("broken") != nil || st.entryOf("badmac") != nil || st.entryOf("p1") == nil {
			t.Errorf("%s: broken values", name)
		}
	}
}

// TestSyncOutsidePrefix: the revision to reach belongs to a key the watch does not see.
func TestSyncOutsidePrefix(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	if _, err := e.Client.Put(t.Context(), "/somebody/else", "x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Sync(ctx); err != nil {
		t.Error(err)
	}
	seed(t, s, 2)
}

// TestExternalEtcd goes through a real connection, with etcd's limits for strangers.
func TestExternalEtcd(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	s, stop := run(t, client)
	seed(t, s, 30)
	if s.entryOf("p30") == nil {
		t.Error("not there")
	}
	stop()
}

func TestSubscription(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	sub := s.Subscribe(t.Context())
	seed(t, s, 2)
	put(t, s, func(x *Txn) { x.DeletePort(s.entryOf("p1"), s.Revision()) })
	<-sub.C()
	changes, rev := sub.Changes()
	wantChanges(t, changes,
		Change{Kind: model.KindNetwork, ID: "n1", Network: "n1"},
		Change{Kind: model.KindSubnet, ID: "s1", Network: "n1"},
		Change{Kind: model.KindPort, ID: "p1", Network: "n1"},
		Change{Kind: model.KindPort, ID: "p2", Network: "n1"})
	if rev != s.Revision() {
		t.Errorf("at %d of %d", rev, s.Revision())
	}
	if more, _ := sub.Changes(); len(more) != 0 {
		t.Errorf("told twice: %v", more)
	}
}

// wantChanges takes changes in any order.
func wantChanges(t *testing.T, got []Change, want ...Change) {
	t.Helper()
	text := func(changes []Change) []string {
		var all []string
		for _, c := range changes {
			slices.Sort(c.Groups)
			all = append(all, fmt.Sprint(c))
		}
		slices.Sort(all)
		return all
	}
	if g, w := text(got), text(want); !slices.Equal(g, w) {
		t.Errorf("changes %q\nwant    %q", g, w)
	}
}

// TestSubscriptionOfGroups: a rule is a change of its group, and a port names the groups
// of which it is another member than before.
func TestSubscriptionOfGroups(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	seed(t, s, 1)
	sub := s.Subscribe(t.Context())
	step := func(what string, f func(*Txn), want ...Change) {
		t.Helper()
		put(t, s, f)
		changes, _ := sub.Changes()
		wantChanges(t, changes, want...)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	group := func(id string) Change { return Change{Kind: model.KindSecurityGroup, ID: id} }
	member := func(groups ...string) Change {
		return Change{Kind: model.KindPort, ID: "p1", Network: "n1", Groups: groups}
	}
	change := func(f func(*model.Port)) func(*Txn) {
		return func(x *Txn) {
			old := s.entryOf("p1")
			p := *old.Value
			f(&p)
			x.UpdatePort(old, &p)
		}
	}
	step("groups", func(x *Txn) {
		for _, id := range []string{"a", "b", "c"} {
			SecurityGroups.Create(x, &model.SecurityGroup{ID: id})
		}
		AddressGroups.Create(x, &model.AddressGroup{ID: "ag"})
	}, group("a"), group("b"), group("c"), Change{Kind: model.KindAddressGroup, ID: "ag"})
	rule := &model.SecurityGroupRule{ID: "r1", Group: "a", RuleMatch: model.RuleMatch{RemoteGroup: "b"}}
	step("a rule", func(x *Txn) { SecurityGroupRules.Create(x, rule) }, group("a"))
	step("enters", change(func(p *model.Port) { p.SecurityGroups = []string{"a", "b"} }), member("a", "b"))
	step("is renamed", change(func(p *model.Port) { p.Name = "other" }), member())
	step("leaves and enters", change(func(p *model.Port) { p.SecurityGroups = []string{"b", "c"} }), member("a", "c"))
	step("may send more", change(func(p *model.Port) {
		p.AddressPairs = []model.AddressPair{{Prefix: netip.MustParsePrefix("10.9.0.0/24")}}
	}),
		member("b", "c"))
	put(t, s, change(func(p *model.Port) { p.SecurityGroups = []string{"c"} }))
	step("two changes in one", change(func(p *model.Port) { p.SecurityGroups = []string{"a"} }), member("a", "b", "c"))
	s.View(func(r Reader) {
		for id, want := range map[string]int{"a": 1, "b": 0, "c": 0} {
			if n := len(slices.Collect(r.PortsInGroup(id))); n != want {
				t.Errorf("%d ports in group %s", n, id)
			}
		}
	})
	step("is removed", func(x *Txn) { x.DeletePort(s.entryOf("p1"), s.Revision()) }, member("a"))
	var old *Entry[model.SecurityGroupRule]
	s.View(func(r Reader) { old = SecurityGroupRules.Get(r, "r1") })
	step("a rule goes", func(x *Txn) { SecurityGroupRules.Delete(x, old, s.Revision()) }, group("a"))
}

func TestIndexesForget(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	seed(t, s, 3)
	for i := 1; i <= 3; i++ {
		put(t, s, func(x *Txn) { x.DeletePort(s.entryOf(model.PortID(fmt.Sprintf("p%d", i))), s.Revision()) })
	}
	var n *Entry[model.Network]
	var sn *Entry[model.Subnet]
	s.View(func(r Reader) { n, sn = r.Network("n1"), r.Subnet("s1") })
	put(t, s, func(x *Txn) { x.DeleteSubnet(sn, s.Revision()); x.DeleteNetwork(n, s.Revision()) })
	m := s.mirror
	if len(m.ports)+len(m.byAddr)+len(m.byDevice)+len(m.byHost)+len(m.byMAC)+len(m.perNetwork)+
		len(m.perSubnet)+len(m.portNames)+len(m.segments)+len(s.alloc.subnets) != 0 {
		t.Errorf("something is left: %+v", m)
	}
}

// TestHostsOf: the hosts of a network follow the ports bound to them, and their list is
// another one only when a host comes or goes.
func TestHostsOf(t *testing.T) {
	s, _ := run(t, testEtcd(t, t.TempDir()).Client)
	seed(t, s, 3) // all on host h
	hosts := func() (h []model.HostName) {
		s.View(func(r Reader) { h = r.HostsOf("n1") })
		return h
	}
	first := hosts()
	for _, step := range []struct {
		port model.PortID
		host model.HostName
		vif  model.VIFType
		want []model.HostName
	}{
		{"p1", "h", model.VIFOVS, []model.HostName{"h"}},
		{"p1", "a", model.VIFOVS, []model.HostName{"a", "h"}},
		{"p2", "z", model.VIFOVS, []model.HostName{"a", "h", "z"}},
		{"p3", "a", model.VIFOVS, []model.HostName{"a", "z"}},
		{"p1", "a", model.VIFBindingFailed, []model.HostName{"a", "z"}},
		{"p3", "a", model.VIFBindingFailed, []model.HostName{"z"}},
		{"p3", "a", model.VIFOVS, []model.HostName{"a", "z"}},
		{"p3", "", model.VIFUnbound, []model.HostName{"z"}},
	} {
		before := hosts()
		put(t, s, func(x *Txn) {
			old := s.entryOf(step.port)
			p := *old.Value
			p.Binding.Host, p.Binding.VIFType = step.host, step.vif
			x.UpdatePort(old, &p)
		})
		got := hosts()
		if !slices.Equal(got, step.want) {
			t.Errorf("%+v: hosts %v", step, got)
		}
		if same := &before[0] == &got[0]; same != slices.Equal(before, got) {
			t.Errorf("%+v: the same list: %v", step, same)
		}
	}
	if !slices.Equal(first, []model.HostName{"h"}) {
		t.Errorf("a list that was handed out has become %v", first)
	}
}

func TestCommitAfterStop(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, stop := run(t, e.Client)
	seed(t, s, 1)
	stop()
	x := s.Txn()
	x.CreatePort(port(2))
	var f model.Fault
	if _, err := x.Commit(t.Context()); !errors.As(err, &f) || f.Kind != model.Unavailable {
		t.Errorf("got %v", err)
	}
}

// TestDeleteSeesNewChildren: the conditions on ranges catch what a stale reader missed.
func TestDeleteSeesNewChildren(t *testing.T) {
	e := testEtcd(t, t.TempDir())
	s, _ := run(t, e.Client)
	seed(t, s, 1)
	var n *Entry[model.Network]
	var sn *Entry[model.Subnet]
	var at int64
	s.View(func(r Reader) { n, sn, at = r.Network("n1"), r.Subnet("s1"), r.Revision() })
	put(t, s, func(x *Txn) { x.CreatePort(port(2)) })
	for name, f := range map[string]func(*Txn){
		"network": func(x *Txn) { x.DeleteNetwork(n, at) },
		"subnet":  func(x *Txn) { x.DeleteSubnet(sn, at) },
	} {
		x := s.Txn()
		f(x)
		if _, err := x.Commit(t.Context()); !errors.As(err, new(Conflict)) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
}

func FuzzDecodeValue(f *testing.F) {
	for _, dir := range order {
		f.Add(dir, []byte(`{"id":"x","mac":"02:00:00:00:00:01","cidr":"10.0.0.0/24","pools":[{"first":"10.0.0.2","last":"10.0.0.9"}],"fixed_ips":[{"subnet_id":"s","addr":"10.0.0.2"}]}`))
		f.Add(dir, []byte(`{"mac":5}`))
		f.Add(dir, []byte(`2026-11-23T12:00:00Z`))
		f.Add(dir, []byte(`null`))
	}
	f.Fuzz(func(t *testing.T, dir string, value []byte) {
		obj, err := decodeValue(dir, value)
		if err != nil || obj == nil {
			return
		}
		m := newMirror(newAllocator(), time.Now)
		m.applyNext(batch{rev: 1, writes: []write{{dir: dir, id: "x", obj: obj}}})
		m.applyNext(batch{rev: 2, writes: []write{{dir: dir, id: "x"}}})
		if len(m.ports)+len(m.byAddr)+len(m.perSubnet)+len(m.perNetwork) != 0 {
			t.Errorf("left behind: %+v", m)
		}
	})
}
