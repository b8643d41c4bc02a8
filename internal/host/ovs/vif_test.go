package ovs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/lab"
	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vswitch"
)

// plug adds an interface the way libvirt and os-vif do.
func (w *world) plug(device string, ids ...string) {
	w.Helper()
	args := []string{"add-port", "br-int", device}
	if len(ids) > 0 {
		args = append(args, "--", "set", "interface", device)
	}
	for _, id := range ids {
		args = append(args, "external_ids:"+id)
	}
	w.vsctl(args...)
}

func (w *world) attachments() map[string]view.Attachment {
	m := map[string]view.Attachment{}
	for _, a := range w.s.Observe().Attachments {
		m[a.Device] = a
	}
	return m
}

// TestAttachments: what is malformed on one interface stays with that one.
func TestAttachments(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	id := func(n int) string { return "iface-id=" + portID(n) }
	w.plug("tap1", id(1), `attached-mac="fa:16:3e:00:00:01"`, "iface-status=active", "vm-uuid=x")
	w.plug("tap2", "iface-id=not-a-uuid", `attached-mac="fa:16:3e:00:00:02"`)
	w.plug("tap3", id(3), `attached-mac="garbage"`)
	w.plug("tap4", `iface-id=""`)
	w.plug("tap5")
	w.plug("tap6a", id(6))
	w.plug("tap6b", id(6), "iface-status=active")
	w.plug("tap7", `iface-id="`+strings.ToUpper(portID(0xab))+`"`)
	w.plug("tap8", `iface-id="`+strings.Repeat("\\\\\x01é", 500)+`"`)
	w.vsctl("add-port", "br-tun", "tap9", "--", "set", "interface", "tap9", "external_ids:"+id(9))
	var o Observation
	w.eventually("all ports work", func() bool { o = w.s.Observe(); return len(o.Attachments) == 5 })
	var got []view.Attachment
	for _, a := range o.Attachments {
		if a.OFPort < 1 {
			t.Errorf("%+v", a)
		}
		a.OFPort = 0
		got = append(got, a)
	}
	want := []view.Attachment{
		{PortID: model.PortID(portID(1)), Device: "tap1", MAC: mac(1)},
		{PortID: model.PortID(portID(3)), Device: "tap3"},
		{PortID: model.PortID(portID(6)), Device: "tap6b"},
		{PortID: model.PortID(portID(0xd)), Device: "tapdhcp", MAC: mac(0xd)},
		{PortID: model.PortID(portID(0xab)), Device: "tap7"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(o.Problems) != 5 {
		t.Errorf("problems: %q", o.Problems)
	}
	w.vsctl("del-port", "tap1")
	w.eventually("tap1 is gone", func() bool { _, ok := w.attachments()["tap1"]; return !ok })
}

// TestBrokenInterface: one that OVS cannot make is no attachment, and OVS' words for it are there.
func TestBrokenInterface(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	w.vsctl("--no-wait", "add-port", "br-int", "tapx", "--", "set", "interface", "tapx", "type=nonsense", "external_ids:iface-id="+portID(1))
	var p Port
	w.eventually("an error", func() bool {
		for _, q := range w.s.Observe().Bridges[0].Ports {
			if q.Name == "tapx" {
				p = q
			}
		}
		return p.Error != "" || p.Type == "nonsense" && p.OFPort == 0
	})
	if _, ok := w.attachments()["tapx"]; ok || p.OFPort != 0 {
		t.Errorf("a broken interface is attached: %+v", p)
	}
}

// TestTags: the tag and other_config of other people's ports are written in one
// transaction; what the plan does not know is closed; nothing of theirs is deleted.
func TestTags(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	for n := 1; n <= 3; n++ {
		w.plug(fmt.Sprintf("tap%d", n), "iface-id="+portID(n))
	}
	w.plug("tap4")
	w.vsctl("set", "port", "tap1", "other_config:mine=1")
	w.eventually("attached", func() bool {
		return len(w.attachments()) == 4 && w.s.db.Load().snapshot().ports["tap1"].OtherConfig["mine"] == "1"
	})
	wired := func(n, vlan int) vswitch.PortTag {
		return vswitch.PortTag{Name: fmt.Sprintf("tap%d", n), Tag: uint16(vlan), OtherConfig: map[string]string{
			"net_uuid": portID(100), "network_type": "vxlan", "physical_network": "None", "segmentation_id": "14745", "tag": fmt.Sprint(vlan)}}
	}
	want.Bridges[0].Tags = []vswitch.PortTag{wired(1, 1), wired(2, 1), {Name: "tap-that-left", Tag: 1}}
	before := w.s.Stats()
	w.apply(want)
	if n := w.s.Stats().Transactions - before.Transactions; n != 1 {
		t.Errorf("%d transactions", n)
	}
	rows := func() string {
		var list []string
		for _, p := range w.s.Observe().Bridges[0].Ports {
			if strings.HasPrefix(p.Name, "tap") && p.Name != "tapdhcp" {
				list = append(list, fmt.Sprintf("%s %d %s%s", p.Name, p.Tag, p.OtherConfig["net_uuid"], p.OtherConfig["mine"]))
			}
		}
		return strings.Join(list, "\n")
	}
	if got, want := rows(), "tap1 1 "+portID(100)+"1\ntap2 1 "+portID(100)+"\ntap3 4095 \ntap4 0 "; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// One port is not wanted any more: closed, not deleted, and its VLAN is forgotten.
	want.Bridges[0].Tags = want.Bridges[0].Tags[1:]
	w.apply(want)
	if got, want := rows(), "tap1 4095 1\ntap2 1 "+portID(100)+"\ntap3 4095 \ntap4 0 "; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// A port that came after Observe has not been judged: it is left as it is.
	w.plug("tap5", "iface-id="+portID(5))
	w.apply(want)
	if got := w.vsctl("get", "port", "tap5", "tag"); got != "[]" {
		t.Error("tap5 has tag", got)
	}
	before = w.changes()
	if w.apply(want); w.changes() != before {
		t.Error("not idle")
	}
}

// TestRemovals: our own ports and bridges go when they are not wanted; VIFs never do.
func TestRemovals(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	w.plug("tap1", "iface-id="+portID(1))
	want.Bridges[0].Ports = want.Bridges[0].Ports[:1]
	w.apply(want)
	if got := w.vsctl("list-ports", "br-int"); got != "patch-tun\ntap1" {
		t.Errorf("ports of br-int: %q", got)
	}
	w.apply(vswitch.Switch{})
	if got := w.vsctl("list-br"); got != "br-int" {
		t.Errorf("bridges: %q: br-tun was ours alone, br-int has a guest", got)
	}
	w.vsctl("del-port", "tap1")
	w.eventually("gone", func() bool { return len(w.attachments()) == 0 })
	w.apply(vswitch.Switch{})
	if got := w.vsctl("list-br"); got != "" {
		t.Errorf("bridges: %q", got)
	}
	// And all of it again.
	want = w.example(3)
	w.apply(want)
	w.wantFlows("br-int", want.Flows["br-int"].All())
}

// TestForeignBridge: a bridge that was there before is used, and never deleted.
func TestForeignBridge(t *testing.T) {
	w := newWorld(t)
	w.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy")
	w.vsctl("add-br", "br-other", "--", "set", "bridge", "br-other", "datapath_type=dummy")
	w.apply(w.example())
	w.apply(vswitch.Switch{})
	if got := w.vsctl("list-br"); got != "br-int\nbr-other" {
		t.Errorf("bridges: %q", got)
	}
}

func TestAddPort(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	p := vswitch.Port{Name: "tap1", ExternalIDs: map[string]string{
		"iface-id": portID(1), "iface-status": "active", "attached-mac": mac(1).String(), "vm-uuid": "vm-1"}}
	drain(w.s)
	of, err := w.s.AddPort(t.Context(), "br-int", p)
	if err != nil || of < 1 {
		t.Fatal(of, err)
	}
	select {
	case <-w.s.Changed():
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
	if a := w.attachments()["tap1"]; a.OFPort != of || a.MAC != mac(1) {
		t.Errorf("%+v", a)
	}
	if got := w.vsctl("get", "port", "tap1", "tag"); got != "4095" {
		t.Error("not closed from the beginning: tag", got)
	}
	if again, err := w.s.AddPort(t.Context(), "br-int", p); err != nil || again != of {
		t.Error(again, err)
	}
	for _, bad := range []struct{ bridge, port string }{{"br-none", "tap2"}, {"br-tun", "tap1"}, {"br-int", "tapdhcp"}} {
		if _, err := w.s.AddPort(t.Context(), bad.bridge, vswitch.Port{Name: bad.port}); err == nil {
			t.Errorf("%v: no error", bad)
		} else {
			t.Log(err)
		}
	}
	for _, bad := range []struct{ bridge, port string }{{"br-tun", "tap1"}, {"br-int", "tapdhcp"}, {"br-int", "br-int"}} {
		if err := w.s.DelPort(t.Context(), bad.bridge, bad.port); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	for range 2 {
		if err := w.s.DelPort(t.Context(), "br-int", "tap1"); err != nil {
			t.Error(err)
		}
	}
	w.eventually("gone", func() bool { _, ok := w.attachments()["tap1"]; return !ok })
}

// TestDatabaseOnly: weft plug has neither a controller nor Run.
func TestDatabaseOnly(t *testing.T) {
	w := newWorld(t)
	w.apply(w.example())
	s, err := Dial(t.Context(), Options{OVSDB: w.lab.OVSDB})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.AddPort(t.Context(), "br-int", vswitch.Port{Name: "tap1", ExternalIDs: map[string]string{"iface-id": portID(1)}}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the agent sees it", func() bool { return w.attachments()["tap1"].OFPort > 0 })
	if f := s.Apply(t.Context(), w.example()); len(f) != 2 {
		t.Errorf("flows without a controller: %v", f)
	}
}

func TestManager(t *testing.T) {
	w := newWorld(t)
	w.vsctl("set-manager", "ptcp:0:127.0.0.1")
	want := w.example()
	want.Manager = "punix:" + w.lab.Dir + "/m.sock"
	w.apply(want)
	if got := w.vsctl("get-manager"); !strings.Contains(got, want.Manager) || !strings.Contains(got, "ptcp:0") {
		t.Error(got)
	}
	before := w.changes()
	if w.apply(want); w.changes() != before {
		t.Error("not idle")
	}
}

func drain(s *Switch) {
	for {
		select {
		case <-s.Changed():
		case <-time.After(20 * time.Millisecond):
			return
		}
	}
}

// TestDatabaseRestart: the connection comes back, and what changed meanwhile is seen.
func TestDatabaseRestart(t *testing.T) {
	w := newWorld(t)
	want := w.example(7)
	w.apply(want)
	if err := w.lab.Stop(); err != nil {
		t.Fatal(err)
	}
	w.eventually("the loss is noticed", func() bool { return !w.s.Observe().Connected })
	if o := w.s.Observe(); len(o.Bridges) != 2 {
		t.Errorf("what was known is forgotten: %+v", o)
	}
	if f := w.s.Apply(t.Context(), want); len(f) == 0 {
		t.Error("apply without a database is no fault")
	}
	o, err := lab.StartOVS(t.Context(), lab.OVSOptions{Dir: w.lab.Dir})
	if err != nil {
		t.Fatal(err)
	}
	*w.lab = *o
	w.eventually("all is back by itself", func() bool {
		o := w.s.Observe()
		return o.Connected && len(o.Bridges) == 2 && o.Bridges[0].InSync && o.Bridges[1].InSync
	})
	w.wantFlows("br-int", want.Flows["br-int"].All())
	w.apply(want)
}

// TestChangedIsQuiet: what Apply does itself, and an interface that is still being made, are no news.
func TestChangedIsQuiet(t *testing.T) {
	w := newWorld(t)
	want := w.example()
	w.apply(want)
	w.plug("tap1", "iface-id="+portID(1))
	w.eventually("attached", func() bool { return len(w.attachments()) == 2 })
	drain(w.s)
	want.Bridges[0].Tags = []vswitch.PortTag{{Name: "tap1", Tag: 1, OtherConfig: map[string]string{"net_uuid": portID(100)}}}
	w.apply(want)
	select {
	case <-w.s.Changed():
		t.Error("our own tag is news")
	case <-time.After(100 * time.Millisecond):
	}
	w.vsctl("set", "port", "tap1", "tag=77")
	select {
	case <-w.s.Changed():
	case <-time.After(time.Minute):
		t.Error("somebody else's tag is no news")
	}
	w.apply(want)
	if got := w.vsctl("get", "port", "tap1", "tag"); got != "1" {
		t.Error("tag", got)
	}
}

func TestParsePortID(t *testing.T) {
	good := "a80c937d-c4aa-4930-8c5c-ddd9b6ec6745"
	for _, s := range []string{good, strings.ToUpper(good)} {
		if id, ok := parsePortID(s); !ok || string(id) != good {
			t.Error(s, id, ok)
		}
	}
	bad := []string{"", good[1:], good + "0", strings.Replace(good, "a", "g", 1), strings.Replace(good, "-", "0", 1), strings.Repeat("-", 36), strings.Repeat("é", 18)}
	if i := slices.IndexFunc(bad, func(s string) bool { _, ok := parsePortID(s); return ok }); i >= 0 {
		t.Errorf("%q", bad[i])
	}
}

func FuzzParsePortID(f *testing.F) {
	f.Add("a80c937d-c4aa-4930-8c5c-ddd9b6ec6745")
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := parsePortID(s); ok && len(id) != 36 {
			t.Error(id)
		}
	})
}
