package control_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// TestL3Together: whatever clients do at once to routers, interfaces, gateways, floating
// IPs, forwardings and ports, each floating IP has its way, and nothing leads nowhere.
func TestL3Together(t *testing.T) {
	c := newCloud(t)
	outside := c.network(control.NetworkRequest{External: ptr(true)})
	c.subnet(outside, "203.0.113.0/24")
	inside := c.network(control.NetworkRequest{})
	subnets := []model.SubnetID{c.subnet(inside, "10.1.0.0/24").ID, c.subnet(inside, "10.2.0.0/24").ID}
	var wg sync.WaitGroup
	for worker := range uint64(4) {
		rnd := rand.New(rand.NewPCG(1, worker))
		wg.Go(func() {
			for range 120 {
				err := l3Step(t.Context(), c, rnd, inside.ID, outside.ID, subnets)
				if err != nil && !errors.As(err, new(model.Fault)) && !errors.As(err, new(model.NotFound)) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	c.sound()
	c.Read(func(r store.Reader) {
		n := 0
		for e := range store.FloatingIPs.All(r) {
			f := e.Value
			holds := func(p model.PortID, a model.FloatingIP) bool {
				return slices.ContainsFunc(r.Port(p).Value.FixedIPs, func(ip model.FixedIP) bool { return ip.Addr == a.FixedAddr })
			}
			if f.FixedPort != "" && (!holds(f.FixedPort, *f) || f.Router == "") {
				t.Errorf("floating IP stands for nothing: %+v", f)
			}
			if f.Router == "" {
				continue
			}
			n++
			m := store.Routers.Get(r, string(f.Router)).Value
			if m.Gateway == nil || m.Gateway.NetworkID != f.NetworkID || len(m.Interfaces) == 0 {
				t.Errorf("floating IP %+v without a way: %+v", f, m)
			}
		}
		t.Logf("%d floating IPs in use, %d forwardings, %d routers", n, store.PortForwardings.Count(r), store.Routers.Count(r))
	})
}

// some returns an object of those there are, or a zero one.
func some[T any](c *cloud, rnd *rand.Rand, k *store.Kind[T]) (v T) {
	c.Read(func(r store.Reader) {
		if n := k.Count(r); n > 0 {
			skip := rnd.IntN(n)
			for e := range k.All(r) {
				if v = *e.Value; skip == 0 {
					return
				}
				skip--
			}
		}
	})
	return v
}

func l3Step(ctx context.Context, c *cloud, rnd *rand.Rand, inside, outside model.NetworkID, subnets []model.SubnetID) (err error) {
	var port model.Port
	c.Read(func(r store.Reader) {
		for e := range r.PortsOf(inside) {
			if port = *e.Value; rnd.IntN(3) == 0 {
				return
			}
		}
	})
	router, floating, forwarding := some(c, rnd, store.Routers), some(c, rnd, store.FloatingIPs), some(c, rnd, store.PortForwardings)
	subnet := subnets[rnd.IntN(len(subnets))]
	gateway := control.Some(&control.GatewayRequest{NetworkID: outside})
	switch rnd.IntN(14) {
	case 0, 1:
		_, err = c.CreatePort(ctx, control.PortRequest{NetworkID: inside, FixedIPs: control.Some([]control.FixedIPRequest{{SubnetID: subnet}})})
	case 2:
		err = c.DeletePort(ctx, port.ID, control.Opt[int]{})
	case 3:
		_, err = c.UpdatePort(ctx, port.ID, control.PortRequest{FixedIPs: control.Some([]control.FixedIPRequest{{SubnetID: subnet}})})
	case 4:
		_, err = c.CreateRouters(ctx, []control.RouterRequest{{Gateway: gateway}})
	case 5:
		_, err = c.UpdateRouter(ctx, router.ID, control.RouterRequest{Gateway: control.Some[*control.GatewayRequest](nil)})
	case 6:
		_, err = c.UpdateRouter(ctx, router.ID, control.RouterRequest{Gateway: gateway})
	case 7:
		_, err = c.AddInterface(ctx, router.ID, control.InterfaceRequest{SubnetID: subnet})
	case 8:
		_, err = c.RemoveInterface(ctx, router.ID, control.InterfaceRequest{SubnetID: subnet})
	case 9:
		err = c.DeleteRouter(ctx, router.ID, control.Opt[int]{})
	case 10:
		_, err = c.CreateFloatingIPs(ctx, []control.FloatingIPRequest{{NetworkID: outside, FixedPort: control.Some(port.ID)}})
	case 11:
		_, err = c.UpdateFloatingIP(ctx, floating.ID, control.FloatingIPRequest{FixedPort: control.Some(port.ID)})
	case 12:
		err = c.DeleteFloatingIP(ctx, floating.ID, control.Opt[int]{})
	case 13:
		if rnd.IntN(3) == 0 {
			return c.DeleteForwarding(ctx, forwarding.FloatingIP, forwarding.ID, control.Opt[int]{})
		}
		made, err := c.CreateFloatingIPs(ctx, []control.FloatingIPRequest{{NetworkID: outside}})
		if err != nil {
			return err
		}
		var ch control.ForwardingChange
		at := uint16(1 + rnd.IntN(9))
		ch.Set("all", func(m *model.PortForwarding) {
			m.PortID, m.Protocol = port.ID, "tcp"
			m.Internal, m.External = model.PortRange{First: at, Last: at + 2}, model.PortRange{First: at, Last: at + 2}
		})
		_, err = c.CreateForwardings(ctx, made[0].Value.ID, []control.ForwardingChange{ch})
		return err
	}
	return err
}
