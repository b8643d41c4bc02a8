package control_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store/storetest"
)

func TestCreateNetworkDefaults(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{Project: "p", Name: ptr("s-net")})
	if n.MTU != 1450 || n.Revision != 1 || !n.AdminStateUp || !n.PortSecurity || n.Shared || n.External ||
		n.Segment.Type != model.SegmentVXLAN || n.Segment.ID == 0 || n.Project != "p" || n.CreatedAt != n.UpdatedAt {
		t.Errorf("%+v", n)
	}
	c.subnet(n, "10.77.0.0/24")
	c.subnet(n, "10.78.0.0/24")
	e, err := c.Network(t.Context(), n.ID)
	if err != nil || e.Value.Revision != 3 {
		t.Errorf("after two subnets: revision %d, %v; want 3", e.Value.Revision, err)
	}
	if subnets := c.SubnetsOf(t.Context(), n.ID); len(subnets) != 2 || subnets[0].Value.Revision != 0 {
		t.Errorf("subnets: %v", subnets)
	}
}

func TestProviderAttributes(t *testing.T) {
	c := newCloud(t)
	vlan := func(physical string, id int64) control.NetworkRequest {
		r := control.NetworkRequest{NetworkType: ptr("vlan")}
		if physical != "" {
			r.Physical = ptr(physical)
		}
		if id != 0 {
			r.SegmentationID = ptr(id)
		}
		return r
	}
	for _, x := range []struct {
		name string
		req  control.NetworkRequest
		mtu  int
		want string // segment, or the message of the fault
		kind model.FaultKind
	}{
		{"vxlan given", control.NetworkRequest{NetworkType: ptr("vxlan"), SegmentationID: ptr(int64(77))}, 1450, "{vxlan  77}", 0},
		{"vxlan twice", control.NetworkRequest{NetworkType: ptr("vxlan"), SegmentationID: ptr(int64(77))}, 0,
			"Unable to create the network. The tunnel ID 77 is in use.", model.TunnelInUse},
		{"vxlan out of range", control.NetworkRequest{NetworkType: ptr("vxlan"), SegmentationID: ptr(int64(1 << 24))}, 0,
			"Invalid input for operation: segmentation_id out of range (1 through 16777214).", model.InvalidInput},
		{"vxlan with physical", control.NetworkRequest{NetworkType: ptr("vxlan"), Physical: ptr("physnet1")}, 0,
			"Invalid input for operation: provider:physical_network specified for vxlan network.", model.InvalidInput},
		{"no type", control.NetworkRequest{SegmentationID: ptr(int64(5))}, 0,
			"Invalid input for operation: network_type required.", model.InvalidInput},
		{"unknown type", control.NetworkRequest{NetworkType: ptr("token-ring")}, 0,
			"Invalid input for operation: network_type value 'token-ring' not supported.", model.InvalidInput},
		{"vlan given", vlan("physnet1", 2000), 1500, "{vlan physnet1 2000}", 0},
		{"vlan twice", vlan("physnet1", 2000), 0,
			"Unable to create the network. The VLAN 2000 on physical network physnet1 is in use.", model.VLANInUse},
		{"vlan unknown", vlan("nowhere", 5), 0,
			"Invalid input for operation: physical_network 'nowhere' unknown for VLAN provider network.", model.InvalidInput},
		{"vlan without range", vlan("bare", 0), 0,
			"Invalid input for operation: Physical network bare requires segmentation_id to be specified when creating a provider network.", model.InvalidInput},
		{"vlan id alone", vlan("", 5), 0,
			"Invalid input for operation: segmentation_id requires physical_network for VLAN provider network.", model.InvalidInput},
		{"vlan too big", vlan("physnet1", 4095), 0,
			"Invalid input for operation: segmentation_id out of range (1 through 4094).", model.InvalidInput},
		{"flat", control.NetworkRequest{NetworkType: ptr("flat"), Physical: ptr("physnet1")}, 1500, "{flat physnet1 0}", 0},
		{"flat twice", control.NetworkRequest{NetworkType: ptr("flat"), Physical: ptr("physnet1")}, 0,
			"Unable to create the flat network. Physical network physnet1 is in use.", model.FlatInUse},
		{"flat unknown", control.NetworkRequest{NetworkType: ptr("flat"), Physical: ptr("nowhere")}, 0,
			"Invalid input for operation: physical_network 'nowhere' unknown for flat provider network.", model.InvalidInput},
		{"flat nothing", control.NetworkRequest{NetworkType: ptr("flat")}, 0,
			"Invalid input for operation: physical_network required for flat provider network.", model.InvalidInput},
		{"mtu less", control.NetworkRequest{MTU: ptr(1400)}, 1400, "", 0},
		{"mtu too big", control.NetworkRequest{MTU: ptr(1451)}, 0,
			"Invalid input for operation: Requested MTU is too big, maximum is 1450.", model.InvalidInput},
	} {
		e, err := c.CreateNetwork(t.Context(), x.req)
		if x.kind != 0 {
			wantFault(t, err, x.kind, x.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if got := fmt.Sprint(e.Value.Segment); x.want != "" && got != x.want || e.Value.MTU != x.mtu {
			t.Errorf("%s: %s, mtu %d", x.name, got, e.Value.MTU)
		}
	}
	c.sound()
}

// TestNoVLANRanges: who has not configured any is told so.
func TestNoVLANRanges(t *testing.T) {
	c := control.New(control.Options{Store: storetest.New(t), Config: control.DefaultConfig()})
	_, err := c.CreateNetwork(t.Context(), control.NetworkRequest{NetworkType: ptr("vlan")})
	var f model.Fault
	if !errors.As(err, &f) || f.Kind != model.NoNetworkAvailable || !strings.Contains(f.Detail, "vlan_ranges") {
		t.Errorf("got %v", err)
	}
}

func TestVLANRangeIsUsedUp(t *testing.T) {
	c := newCloud(t)
	var last *model.Network
	for range 3 {
		last = c.network(control.NetworkRequest{NetworkType: ptr("vlan")})
	}
	_, err := c.CreateNetwork(t.Context(), control.NetworkRequest{NetworkType: ptr("vlan")})
	wantFault(t, err, model.NoNetworkAvailable, "Unable to create the network. No project network is available for allocation.")
	if err := c.DeleteNetwork(t.Context(), last.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if n := c.network(control.NetworkRequest{NetworkType: ptr("vlan")}); n.Segment != last.Segment {
		t.Errorf("got %v, want the one given back, %v", n.Segment, last.Segment)
	}
}

func TestUpdateNetwork(t *testing.T) {
	c := newCloud(t)
	n := c.network(control.NetworkRequest{Name: ptr("a")})
	e, err := c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{Name: ptr("b"), MTU: ptr(1300)})
	if err != nil || e.Value.Name != "b" || e.Value.MTU != 1300 || e.Value.Revision != 2 || n.Name != "a" {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{Name: ptr("b")}); err != nil || e.Value.Revision != 2 {
		t.Errorf("an update to the same counts: %+v, %v", e, err)
	}
	_, err = c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{Name: ptr("c"), IfRevision: ptr(1)})
	wantFault(t, err, model.RevisionConflict, "Constrained to 1, but current revision is 2")
	_, err = c.UpdateNetwork(t.Context(), n.ID, control.NetworkRequest{SegmentationID: ptr(int64(9999))})
	wantFault(t, err, model.InvalidInput, "Invalid input for operation: Plugin does not support updating provider attributes.")
	_, err = c.UpdateNetwork(t.Context(), "gone", control.NetworkRequest{})
	if !errors.Is(err, model.NotFound{Kind: model.KindNetwork, ID: "gone"}) {
		t.Errorf("missing: %v", err)
	}
}

func TestDeleteNetwork(t *testing.T) {
	c := newCloud(t)
	c.host(model.Host{Name: "h1", Roles: model.AllRoles()})
	n := c.network(control.NetworkRequest{})
	c.subnet(n, "10.0.0.0/24")
	if c.dhcpPort(n.ID) == nil {
		t.Fatal("no DHCP port")
	}
	p := c.port(control.PortRequest{NetworkID: n.ID})
	err := c.DeleteNetwork(t.Context(), n.ID, control.Opt[int]{})
	wantFault(t, err, model.NetworkInUse, "Unable to complete operation on network "+string(n.ID)+
		". There are one or more ports still in use on the network, id for these ports is: "+string(p.ID)+".")
	if err := c.DeletePort(t.Context(), p.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteNetwork(t.Context(), n.ID, control.Opt[int]{}); err != nil {
		t.Fatal(err)
	}
	if c.dhcpPort(n.ID) != nil || len(c.SubnetsOf(t.Context(), n.ID)) != 0 {
		t.Error("parts of the network are left")
	}
	c.sound()
}

func TestOverlayIPVersion(t *testing.T) {
	for version, want := range map[int]int{0: 1450, 4: 1450, 6: 1430} {
		config := control.DefaultConfig()
		config.OverlayIPVersion = version
		c := control.New(control.Options{Store: storetest.New(t), Config: config})
		n, err := c.CreateNetwork(t.Context(), control.NetworkRequest{Project: "p"})
		if err != nil || n.Value.MTU != want {
			t.Errorf("tunnels over IPv%d: MTU %d, %v; want %d", version, n.Value.MTU, err, want)
		}
	}
}
