package control_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// TestTwoServersOneSlash24: 16 writers on two servers of one etcd want more addresses
// than a /24 has. No duplicate, exactly the pool's size succeed, the rest are told so.
func TestTwoServersOneSlash24(t *testing.T) {
	client := storetest.Etcd(t)
	servers := []*cloud{cloudOn(t, client, nil), cloudOn(t, client, nil)}
	n := servers[0].network(control.NetworkRequest{})
	servers[0].subnet(n, "10.10.0.0/24")
	if err := servers[1].Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	const size, wanted = 253, 320
	var mu sync.Mutex
	seen := map[netip.Addr]bool{}
	failed := 0
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for range wanted / 16 {
				e, err := servers[w%2].CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID})
				mu.Lock()
				var f model.Fault
				switch {
				case err == nil:
					a := e.Value.FixedIPs[0].Addr
					if seen[a] {
						t.Errorf("%s given out twice", a)
					}
					seen[a] = true
				case errors.As(err, &f) && f.Kind == model.IPExhausted:
					failed++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != size || failed != wanted-size {
		t.Errorf("%d succeeded and %d failed, want %d and %d", len(seen), failed, size, wanted-size)
	}
	servers[0].sound()
}

// TestRandomWritersStaySound lets writers on two servers create, change and delete at
// random on small subnets, and then holds the store against its invariants and the
// mirrors against the store.
func TestRandomWritersStaySound(t *testing.T) {
	client := storetest.Etcd(t)
	servers := []*cloud{cloudOn(t, client, nil), cloudOn(t, client, nil)}
	servers[0].host(model.Host{Name: "h1", Roles: model.AllRoles()})
	var nets []*model.Network
	for range 3 {
		n := servers[0].network(control.NetworkRequest{})
		servers[0].subnet(n, "10.0.0.0/27")
		nets = append(nets, n)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			for range 120 {
				randomStep(t, servers[w%2], rnd, nets[rnd.IntN(len(nets))])
			}
		})
	}
	wg.Wait()
	for _, s := range servers {
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	servers[0].sound()
	in, err := store.Inspect(t.Context(), client, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		sameAsStored(t, s, in)
	}
}

// randomStep does one thing; faults are part of life, anything else is an error.
func randomStep(t *testing.T, c *cloud, rnd *rand.Rand, n *model.Network) {
	ctx := context.Background()
	var ports []*model.Port
	c.Read(func(r store.Reader) {
		for e := range r.PortsOf(n.ID) {
			ports = append(ports, e.Value)
		}
	})
	var err error
	pick := func() model.PortID { return ports[rnd.IntN(len(ports))].ID }
	k := rnd.IntN(10)
	switch {
	case k < 4 || len(ports) == 0:
		_, err = c.CreatePort(ctx, control.PortRequest{NetworkID: n.ID, HostID: ptr("h1")})
	case k < 5:
		_, err = c.CreatePorts(ctx, []control.PortRequest{{NetworkID: n.ID}, {NetworkID: n.ID}})
	case k < 7:
		err = c.DeletePort(ctx, pick(), control.Opt[int]{})
	case k < 8:
		ips := []control.FixedIPRequest{{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(32))})}}
		_, err = c.UpdatePort(ctx, pick(), control.PortRequest{FixedIPs: ptr(ips)})
	case k < 9:
		err = c.ReportPorts(ctx, "h1", []control.PortFact{{PortID: pick(), Wired: rnd.IntN(2) == 0, DHCP: true}})
	default:
		_, e := c.CreateSubnet(ctx, control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix("10.0.1.0/29")})
		if e != nil {
			c.Read(func(r store.Reader) {
				for _, s := range r.SubnetsOf(n.ID) {
					if s.Value.CIDR.Bits() == 29 {
						n = &model.Network{ID: n.ID, Name: string(s.Value.ID)}
					}
				}
			})
			err = c.DeleteSubnet(ctx, model.SubnetID(n.Name), control.Opt[int]{})
		}
	}
	var f model.Fault
	var missing model.NotFound
	if err != nil && !errors.As(err, &missing) && (!errors.As(err, &f) || f.Kind == model.Unavailable) {
		t.Errorf("step %d: %v", k, err)
	}
}

func sameAsStored(t *testing.T, c *cloud, in *store.Inspection) {
	t.Helper()
	c.Read(func(r store.Reader) {
		if r.PortCount() != len(in.Ports) || r.SubnetCount() != len(in.Subnets) || r.NetworkCount() != len(in.Networks) {
			t.Errorf("mirror has %d ports, %d subnets, %d networks; etcd %d, %d, %d", r.PortCount(), r.SubnetCount(),
				r.NetworkCount(), len(in.Ports), len(in.Subnets), len(in.Networks))
		}
		for f, owner := range in.Addresses {
			if e := r.PortByAddr(f.SubnetID, f.Addr); e == nil || e.Value.ID != owner {
				t.Errorf("mirror does not know that %s holds %s", owner, f.Addr)
			}
		}
		for m, owner := range in.MACs {
			if e := r.PortByMAC(m.Network, m.MAC); e == nil || e.Value.ID != owner {
				t.Errorf("mirror does not know that %s holds %s", owner, m.MAC)
			}
		}
		counts := map[model.SubnetID]int{}
		for f := range in.Addresses {
			counts[f.SubnetID]++
		}
		for id := range in.Subnets {
			if r.AddressCountOf(id) != counts[id] {
				t.Errorf("mirror counts %d addresses on %s, etcd %d", r.AddressCountOf(id), id, counts[id])
			}
		}
	})
}

// TestBulkIsAtomic: one bad request and nothing of the others is there.
func TestBulkIsAtomic(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.76.0.0/24")
	_, err := c.CreatePorts(t.Context(), []control.PortRequest{
		{NetworkID: n.ID, Name: ptr("bk3")},
		{NetworkID: n.ID, FixedIPs: ptr([]control.FixedIPRequest{{Addr: addr("10.200.0.1")}})},
	})
	wantFault(t, err, model.InvalidIPForNetwork,
		"IP address 10.200.0.1 is not a valid IP for any of the subnets on the specified network.")
	made, err := c.CreatePorts(t.Context(), make100(n.ID))
	if err != nil {
		t.Fatal(err)
	}
	c.Read(func(r store.Reader) {
		if r.PortCount() != 100 || len(made) != 100 {
			t.Errorf("%d ports", r.PortCount())
		}
	})
	_, err = c.CreatePorts(t.Context(), append(make100(n.ID), make100(n.ID)...))
	wantFault(t, err, model.IPExhausted, "No more IP addresses available on network "+string(n.ID)+".")
	c.Read(func(r store.Reader) {
		if r.PortCount() != 100 {
			t.Errorf("%d ports after a failed bulk", r.PortCount())
		}
	})
	c.sound()
}

// slow is a watcher that brings everything late.
type slow struct{ clientv3.Watcher }

func (w slow) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	out := make(chan clientv3.WatchResponse)
	in := w.Watcher.Watch(ctx, key, opts...)
	go func() {
		defer close(out)
		for resp := range in {
			select {
			case <-time.After(100 * time.Millisecond):
				out <- resp
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// TestChangeBackOnAnotherServer: a server that has not heard yet of a change must not
// take the change back for nothing to do.
func TestChangeBackOnAnotherServer(t *testing.T) {
	client := storetest.Etcd(t)
	late := clientv3.NewCtxClient(t.Context())
	late.KV, late.Watcher = client.KV, slow{client.Watcher}
	a, b := cloudOn(t, client, nil), cloudOn(t, late, nil)
	n := a.network(control.NetworkRequest{Name: ptr("x")})
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{Name: ptr("y")}); err != nil {
		t.Fatal(err)
	}
	e, err := b.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{Name: ptr("x")})
	if err != nil || e.Value.Name != "x" || e.Value.Revision != 3 {
		t.Errorf("answer %+v, %v", e.Value, err)
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, _ := a.Network(t.Context(), n.ID); e.Value.Name != "x" {
		t.Errorf("the store has %q", e.Value.Name)
	}
}

// TestTooLargeTogether: what no transaction can hold is refused as the request's fault.
func TestTooLargeTogether(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	_, err := c.CreatePorts(t.Context(), make([]control.PortRequest, 8193))
	wantFault(t, err, model.InvalidInput, "Invalid input for operation: One request cannot create more than 8192 resources.")
	c.subnet(n, "10.0.0.0/16")
	reqs := make([]control.PortRequest, 8000) // of three operations each
	for i := range reqs {
		reqs[i].NetworkID = n.ID
	}
	_, err = c.CreatePorts(t.Context(), reqs)
	wantFault(t, err, model.InvalidInput, "Invalid input for operation: The request is too large for one transaction of the store.")
	c.sound()
}

func make100(n model.NetworkID) []control.PortRequest {
	reqs := make([]control.PortRequest, 100)
	for i := range reqs {
		reqs[i].NetworkID = n
	}
	return reqs
}

// TestManyWritersOneServer: concurrent requests on one server never collide, and a pool
// is used up to the last address though reservations come and go.
func TestManyWritersOneServer(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.10.0.0/26")
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 100 {
		wg.Go(func() {
			if _, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID}); err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if made != 61 {
		t.Errorf("%d ports, want 61", made)
	}
	c.sound()
}
