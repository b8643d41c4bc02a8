package store_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

func newNetwork(id string, vni uint32) *model.Network {
	return &model.Network{ID: model.NetworkID(id), Name: "n", Segment: model.Segment{Type: model.SegmentVXLAN, ID: vni}}
}

func newPort(id, network, subnet, mac, addr string) *model.Port {
	m, _ := model.ParseMAC(mac)
	return &model.Port{ID: model.PortID(id), NetworkID: model.NetworkID(network), MAC: m,
		FixedIPs: []model.FixedIP{{SubnetID: model.SubnetID(subnet), Addr: netip.MustParseAddr(addr)}}}
}

func commit(t *testing.T, txn *store.Txn) {
	t.Helper()
	if _, err := txn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestWriteThenRead(t *testing.T) {
	s := storetest.New(t)
	start := time.Now()
	txn := s.Txn()
	txn.CreateNetwork(newNetwork("n1", 7))
	txn.CreateSubnet(&model.Subnet{ID: "s1", NetworkID: "n1", CIDR: netip.MustParsePrefix("10.0.0.0/24")})
	commit(t, txn)
	txn = s.Txn()
	txn.CreatePort(newPort("p1", "n1", "s1", "fa:16:3e:00:00:01", "10.0.0.5"))
	commit(t, txn)
	t.Log("two writes took", time.Since(start))
	s.View(func(r store.Reader) {
		if r.Network("n1") == nil || r.Port("p1") == nil || len(r.SubnetsOf("n1")) != 1 || r.PortCountOf("n1") != 1 {
			t.Error("not all is there")
		}
		if r.PortByAddr("s1", netip.MustParseAddr("10.0.0.5")) == nil || r.AddressCountOf("s1") != 1 {
			t.Error("address index")
		}
	})
	for name, bad := range map[string]func(*store.Txn){
		"address": func(x *store.Txn) { x.CreatePort(newPort("p2", "n1", "s1", "fa:16:3e:00:00:02", "10.0.0.5")) },
		"mac":     func(x *store.Txn) { x.CreatePort(newPort("p2", "n1", "s1", "fa:16:3e:00:00:01", "10.0.0.6")) },
		"id":      func(x *store.Txn) { x.CreatePort(newPort("p1", "n1", "s1", "fa:16:3e:00:00:02", "10.0.0.6")) },
		"segment": func(x *store.Txn) { x.CreateNetwork(newNetwork("n2", 7)) },
		"stale rev": func(x *store.Txn) {
			x.DeletePort(&store.Entry[model.Port]{Value: newPort("p1", "n1", "s1", "fa:16:3e:00:00:01", "10.0.0.5"), ModRev: 1}, 1)
		},
	} {
		x := s.Txn()
		bad(x)
		var c store.Conflict
		if _, err := x.Commit(t.Context()); !errors.As(err, &c) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
}
