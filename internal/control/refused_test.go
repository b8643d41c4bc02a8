package control_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// TestRefused: who looks for the port of a VM that never got one learns why.
func TestRefused(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{Name: control.Some("small")})
	s, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix("10.0.0.0/30"), EnableDHCP: control.Some(false)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, DeviceID: control.Some("vm-1"), Name: control.Some("first")}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, DeviceID: control.Some("vm-2"), Name: control.Some(fmt.Sprint("nic", i))}); err == nil {
			t.Fatal("made a port in a full pool")
		}
	}
	addr := netip.MustParseAddr("10.0.0.99")
	if _, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, DeviceID: control.Some("vm-3"), FixedIPs: control.Some([]control.FixedIPRequest{{SubnetID: s.Value.ID, Addr: addr}})}); err == nil {
		t.Fatal("made a port with an address outside its subnet")
	}
	got := c.Refused("vm-2")
	if len(got) != 2 || got[0].Name != "nic1" || got[0].NetworkID != n.ID || got[0].Message == "" || got[1].Name != "nic0" {
		t.Errorf("refused: %+v", got)
	}
	for q, want := range map[string]int{"vm-1": 0, "first": 0, "nic0": 1, "": 0, "vm-3": 1, addr.String(): 1} {
		if got := c.Refused(q); len(got) != want {
			t.Errorf("%q: %+v, want %d", q, got, want)
		}
	}
}

// TestRefusedElsewhere: what one server has refused another one tells, and one that starts later;
// a client that asks in a loop makes few writes.
func TestRefusedElsewhere(t *testing.T) {
	c := newCloud(t)
	other := cloudOn(t, c.client, nil)
	n := c.network(control.NetworkRequest{})
	full := control.PortRequest{NetworkID: n.ID, DeviceID: control.Some("vm"), MAC: control.Some(model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3})}
	c.port(full)
	full.DeviceID = control.Some("vm-2")
	refuse := func(at *cloud) string {
		t.Helper()
		_, err := at.CreatePort(t.Context(), full)
		var f model.Fault
		if !errors.As(err, &f) {
			t.Fatalf("two ports have one MAC: %v", err)
		}
		return f.Error()
	}
	why, began := refuse(c), time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	for _, at := range []*cloud{c, other} {
		runs.Go(func() {
			if err := at.RunRefused(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	await := func(at *cloud, since time.Time) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got := at.Refused("vm-2")
			if len(got) == 1 && got[0].At.After(since) && got[0].Message == why && got[0].NetworkID == n.ID && got[0].Place == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("refused: %+v", got)
			}
		}
	}
	await(other, time.Time{})
	// Again and again, here and there.
	for range 50 {
		refuse(c)
		refuse(other)
	}
	last := time.Now()
	refuse(other)
	await(c, last)
	cancel()
	runs.Wait()
	await(cloudOn(t, c.client, nil), last)
	resp, err := c.client.Get(t.Context(), store.DefaultPrefix+"refusal/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if len(resp.Kvs) != 1 || resp.Kvs[0].Version > int64(2+2*took/time.Second) {
		t.Errorf("102 refusals of one port within %s made %v", took, resp.Kvs)
	}
}

// TestRefusedPlaces: the store keeps so many and no more; the oldest go.
func TestRefusedPlaces(t *testing.T) {
	now := time.Now()
	c := cloudOn(t, storetest.Etcd(t), func() time.Time { return now })
	keep := func(name string, at time.Time) {
		t.Helper()
		if err := c.KeepRefused(t.Context(), model.Refusal{Name: name, At: at}); err != nil {
			t.Fatal(err)
		}
	}
	const extra = 5
	for i := range control.RefusedSize + extra {
		keep(fmt.Sprint(i), now.Add(time.Duration(i)))
	}
	keep("6", now.Add(time.Hour))
	keep("6", now.Add(-time.Hour)) // another server was faster
	c.Read(func(r store.Reader) {
		if n := store.Refusals.Count(r); n != control.RefusedSize {
			t.Errorf("%d are kept", n)
		}
	})
	for i := range control.RefusedSize + extra {
		if got := c.Refused(fmt.Sprint(i)); (len(got) == 1) != (i >= extra) {
			t.Errorf("%d: %v", i, got)
		}
	}
	now = now.Add(8 * 24 * time.Hour)
	if got := c.Refused("7"); len(got) > 0 {
		t.Errorf("after a week: %v", got)
	}
	if p, err := control.Fsck(t.Context(), c.client); err != nil || len(p) > 0 {
		t.Errorf("fsck: %v, %v", p, err)
	}
}

// TestAsked: what was asked for is remembered, what was chosen is not, and a change that
// changes nothing does not count as asking.
func TestAsked(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{Name: control.Some("demo")})
	s, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.ID, CIDR: netip.MustParsePrefix("10.0.0.0/24"), EnableDHCP: control.Some(false)})
	if err != nil {
		t.Fatal(err)
	}
	mac, addr, other := model.MAC{0xfa, 0x16, 0x3e, 1, 2, 3}, netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("10.0.0.78")
	at := func(a netip.Addr) control.Opt[[]control.FixedIPRequest] {
		return control.Some([]control.FixedIPRequest{{SubnetID: s.Value.ID, Addr: a}})
	}
	chosen, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID})
	if err != nil || chosen.Value.Asked != nil {
		t.Fatalf("%+v, %v", chosen, err)
	}
	same, err := c.UpdatePort(t.Context(), chosen.Value.ID, control.PortRequest{FixedIPs: at(chosen.Value.FixedIPs[0].Addr), MAC: control.Some(chosen.Value.MAC)})
	if err != nil || same.Value.Asked != nil || same.Value.Revision != chosen.Value.Revision {
		t.Errorf("the same again: %+v, %v", same.Value, err)
	}
	asked, err := c.CreatePort(t.Context(), control.PortRequest{NetworkID: n.ID, MAC: control.Some(mac), FixedIPs: at(addr)})
	if err != nil || !slices.Equal(asked.Value.Asked, []string{mac.String(), addr.String()}) {
		t.Fatalf("%+v, %v", asked, err)
	}
	moved, err := c.UpdatePort(t.Context(), asked.Value.ID, control.PortRequest{FixedIPs: at(other)})
	if err != nil || !slices.Equal(moved.Value.Asked, []string{mac.String(), other.String()}) {
		t.Errorf("%+v, %v", moved, err)
	}
}
