package control_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
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
