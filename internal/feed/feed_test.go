package feed

import (
	"net/netip"
	"sync"
	"testing"

	"weft/internal/model"
	"weft/internal/store"
)

func TestSnapshotAndChanges(t *testing.T) {
	w := newWorld(t)
	n1, n2, n3 := w.network(1), w.network(2), w.network(3)
	w.create(port(1, n1, "h1"))
	w.create(port(2, n2, "h2"))
	w.create(port(3, n3, "h1"))
	w.create(port(4, n3, "h2"))
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	w.settled(h1)
	w.settled(h2)

	steps := []struct {
		what string
		do   func()
	}{
		{"a port appears on a shared network", func() { w.create(port(5, n3, "h2")) }},
		{"an unbound port appears", func() { w.create(port(6, n1, "")) }},
		{"it is bound to the other host: the network enters", func() {
			w.update(port(6, n1, "").ID, func(p *model.Port) { p.Binding.Host, p.Binding.VIFType = "h2", model.VIFOVS })
		}},
		{"it moves: the network leaves again", func() {
			w.update(port(6, n1, "").ID, func(p *model.Port) { p.Binding.Host = "h1" })
		}},
		{"a binding fails: the network does not enter", func() {
			p := port(7, n1, "h2")
			p.Binding.VIFType = model.VIFBindingFailed
			w.create(p)
		}},
		{"a network changes", func() {
			w.txn(func(tx *store.Txn) {
				w.store.View(func(r store.Reader) {
					e := r.Network(n3)
					n := *e.Value
					n.Name = "renamed"
					tx.UpdateNetwork(e, &n)
				})
			})
		}},
		{"a subnet appears", func() {
			w.txn(func(tx *store.Txn) {
				tx.CreateSubnet(&model.Subnet{ID: "extra", NetworkID: n3, CIDR: netip.MustParsePrefix("10.9.0.0/24")})
			})
		}},
		{"a subnet goes", func() {
			w.txn(func(tx *store.Txn) {
				w.store.View(func(r store.Reader) { tx.DeleteSubnet(r.Subnet("extra"), r.Revision()) })
			})
		}},
		{"a port goes, and with it the network", func() {
			w.txn(func(tx *store.Txn) {
				w.store.View(func(r store.Reader) { tx.DeletePort(r.Port(port(2, n2, "").ID), r.Revision()) })
			})
		}},
		{"a new network with a port", func() { w.create(port(8, w.network(4), "h2")) }},
	}
	for _, s := range steps {
		t.Log(s.what)
		s.do()
		w.settled(h1)
		w.settled(h2)
	}
	if st := h1.State(); st.Session != 1 {
		t.Errorf("session %d, want one snapshot only", st.Session)
	}
}

// Whatever happens, what a host is sent never names a network that is not its own.
func TestHostNeverHearsOfOthers(t *testing.T) {
	w := newWorld(t)
	mine, other := w.network(1), w.network(2)
	w.create(port(1, mine, "h1"))
	h1, _ := w.client("h1", nil)
	w.settled(h1)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { w.create(port(100+i, other, "h2")) })
	}
	wg.Wait()
	w.create(port(2, mine, "h1"))
	w.settled(h1)
	st := h1.State()
	if len(st.Cloud.Networks) != 1 || len(st.Cloud.Ports) != 2 {
		t.Errorf("h1 holds %d networks, %d ports", len(st.Cloud.Networks), len(st.Cloud.Ports))
	}
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if len(w.server.interest) != 1 || w.server.interest[store.Ref{Kind: model.KindNetwork, ID: string(mine)}] == nil {
		t.Errorf("server tells h1 of %d networks", len(w.server.interest))
	}
}

// Many writers move ports between hosts at random; in the end each host holds its part.
func TestRandomMoves(t *testing.T) {
	w := newWorld(t)
	var nets []model.NetworkID
	for n := range 4 {
		nets = append(nets, w.network(n+1))
	}
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	hosts := []model.HostName{"h1", "h2", "h3", ""}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				n := g*30 + i + 1
				p := w.create(port(n, nets[n%4], hosts[n%3]))
				w.update(p.ID, func(p *model.Port) { p.Binding.Host = hosts[(n*7+g)%4] })
				if n%5 == 0 {
					w.txn(func(tx *store.Txn) {
						w.store.View(func(r store.Reader) { tx.DeletePort(r.Port(p.ID), r.Revision()) })
					})
				}
			}
		})
	}
	wg.Wait()
	w.settled(h1)
	w.settled(h2)
}

func TestReconnectKeepsThenReplaces(t *testing.T) {
	w := newWorld(t)
	n1 := w.network(1)
	keep, gone := w.create(port(1, n1, "h1")), w.create(port(2, n1, "h1"))
	h1, _ := w.client("h1", nil)
	w.settled(h1)
	w.stop()
	if !eventually(func() bool { return !h1.State().InSync }) {
		t.Fatal("client believes to be in sync with a stopped server")
	}
	w.txn(func(tx *store.Txn) {
		w.store.View(func(r store.Reader) { tx.DeletePort(r.Port(gone.ID), r.Revision()) })
	})
	if st := h1.State(); !st.Known || len(st.Cloud.Ports) != 2 {
		t.Fatalf("without a server the client holds %d ports", len(st.Cloud.Ports))
	}
	// From here on, whenever someone looks, either both ports are there or exactly the new state.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if st := h1.State(); st.Cloud.Ports[keep.ID] == nil || len(st.Cloud.Networks) != 1 {
				t.Error("a half snapshot was seen")
				return
			}
		}
	})
	w.serve()
	w.settled(h1)
	close(stop)
	wg.Wait()
	if st := h1.State(); st.Session != 2 || len(st.Cloud.Ports) != 1 {
		t.Errorf("session %d, %d ports", st.Session, len(st.Cloud.Ports))
	}
}
