package feed

import (
	"net/netip"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/store"
)

// host records a host, or what has changed of it.
func (w *world) host(name model.HostName, vtep string) {
	w.t.Helper()
	h := &model.Host{Name: name}
	if vtep != "" {
		h.VTEP = netip.MustParseAddr(vtep)
	}
	w.txn(func(t *store.Txn) { t.PutHost(w.hostOf(name), h) })
}

func (w *world) hostOf(name model.HostName) (e *store.Entry[model.Host]) {
	w.store.View(func(r store.Reader) { e = r.Host(name) })
	return e
}

func (w *world) dropHost(name model.HostName) {
	w.t.Helper()
	if old := w.hostOf(name); old != nil {
		w.txn(func(t *store.Txn) { t.DeleteHost(old) })
	}
}

// A host hears of the others on its networks, and of no more.
func TestPeers(t *testing.T) {
	w := newWorld(t)
	n1, n2 := w.network(1), w.network(2)
	w.host("h1", "10.0.0.1")
	w.host("h2", "10.0.0.2")
	w.host("h3", "")
	w.create(port(1, n1, "h1"))
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	bind := func(n int, host model.HostName) func() {
		return func() {
			w.update(port(n, n1, "").ID, func(p *model.Port) { p.Binding.Host, p.Binding.VIFType = host, model.VIFOVS })
		}
	}
	for _, s := range []struct {
		what string
		do   func()
		// of h1, by name
		peers map[model.HostName]string
	}{
		{"another on another network", func() { w.create(port(2, n2, "h2")) }, nil},
		{"it comes to the network", func() { w.create(port(3, n1, "h2")) }, map[model.HostName]string{"h2": "10.0.0.2"}},
		{"and once more, with an IPv6 address", func() { w.create(port(4, n1, "h2")); w.host("h2", "fd00::2") }, map[model.HostName]string{"h2": "fd00::2"}},
		{"one without an address", func() { w.create(port(5, n1, "h3")) }, map[model.HostName]string{"h2": "fd00::2", "h3": ""}},
		{"it gets one", func() { w.host("h3", "10.0.0.3") }, map[model.HostName]string{"h2": "fd00::2", "h3": "10.0.0.3"}},
		{"its port fails to bind", func() {
			w.update(port(5, n1, "").ID, func(p *model.Port) { p.Binding.VIFType = model.VIFBindingFailed })
		}, map[model.HostName]string{"h2": "fd00::2"}},
		{"one that nobody knows", bind(5, "h9"), map[model.HostName]string{"h2": "fd00::2"}},
		{"it joins", func() { w.host("h9", "10.0.0.9") }, map[model.HostName]string{"h2": "fd00::2", "h9": "10.0.0.9"}},
		{"it is removed", func() { w.dropHost("h9") }, map[model.HostName]string{"h2": "fd00::2"}},
		{"one of two ports leaves", bind(4, "h1"), map[model.HostName]string{"h2": "fd00::2"}},
		{"the other leaves", func() { w.remove(port(3, n1, "").ID) }, nil},
		{"h1 comes to the network of another", func() { w.create(port(6, n2, "h1")) }, map[model.HostName]string{"h2": "fd00::2"}},
		{"and goes", func() { w.remove(port(6, n2, "").ID) }, nil},
	} {
		s.do()
		w.settled(h1)
		w.settled(h2)
		c := h1.State().Cloud
		if len(c.Peers) != len(s.peers) {
			t.Errorf("%s: %d peers", s.what, len(c.Peers))
		}
		for name, vtep := range s.peers {
			if p := c.Peers[name]; p == nil || p.Host != name || vtep != "" && p.VTEP.String() != vtep || vtep == "" && p.VTEP.IsValid() {
				t.Errorf("%s: %s is %+v", s.what, name, p)
			}
		}
	}
	if st := h1.State(); st.Session != 1 {
		t.Errorf("session %d, want one snapshot only", st.Session)
	}
}

// A host that joins again as it was costs the others nothing; a new address costs those
// that share a network with it one small object, and the others nothing.
func TestCostOfPeers(t *testing.T) {
	w := newWorld(t)
	n1, n2 := w.network(1), w.network(2)
	w.host("h2", "10.0.0.2")
	w.host("h3", "10.0.0.3")
	p1 := w.create(port(1, n1, "h1")).ID
	w.create(port(2, n1, "h2"))
	w.create(port(3, n2, "h3"))
	s := w.rawStream("h1")
	if n, _ := w.drain(s, string(p1), 2); n != 1+1+2+1 {
		t.Errorf("the snapshot has %d objects", n)
	}
	cost := func(what string, do func(), objects, bytes int) {
		t.Helper()
		do()
		w.update(p1, func(p *model.Port) { p.Name += "." })
		n, b := w.drain(s, string(p1), 1)
		if n--; n != objects || b > bytes+800 {
			t.Errorf("%s: %d objects, %d bytes; want %d, %d and the port's", what, n, b, objects, bytes)
		}
	}
	cost("it joins again", func() { w.host("h2", "10.0.0.2") }, 0, 0)
	cost("a heartbeat", func() { w.txn(func(t *store.Txn) { t.PutHeartbeat("h2", time.Now()) }) }, 0, 0)
	cost("its address changes", func() { w.host("h2", "10.0.1.2") }, 1, 80)
	cost("that of a host elsewhere", func() { w.host("h3", "10.0.1.3") }, 0, 0)
	cost("a second port", func() { w.create(port(4, n1, "h2")) }, 1, 800)
	cost("another host's first port", func() { w.create(port(5, n1, "h3")) }, 2, 880)
}

// Another host in the disk copy.
func TestDiskCopyOfPeers(t *testing.T) {
	dir := t.TempDir()
	c := view.NewCloud()
	c.Peers["h2"] = &view.Peer{Host: "h2", VTEP: netip.MustParseAddr("10.0.0.2")}
	c.Peers["h3"] = &view.Peer{Host: "h3"}
	if err := writeDisk(dir, "h1", c, 7); err != nil {
		t.Fatal(err)
	}
	got, _, ok, err := readDisk(dir, "h1")
	if d := diffCloud(c, got); d != "" || !ok || err != nil {
		t.Errorf("%v, %v\n%s", ok, err, d)
	}
}
