package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/plan/view"
	"weft/internal/plan/vif"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	demo   model.NetworkID = "c9cdbbed-8503-49b9-a636-ed707b68805a"
	subnet model.SubnetID  = "5d8a1c1e-3a53-4b7f-9e0e-2d5f9d6f0c11"
	dhcpID model.PortID    = "d677df3f-b500-456d-a9df-90a7422ff94d"
	vmID   model.PortID    = "a80c937d-c4aa-4930-8c5c-ddd9b6ec6745"
	farID  model.PortID    = "e1b7c0de-0000-4000-8000-000000000001"
)

// demoCloud is the cloud of make demo, and one port more on another host.
func demoCloud() (view.Cloud, []view.Attachment) {
	addr := netip.MustParseAddr
	port := func(id model.PortID, mac byte, a string) *model.Port {
		return &model.Port{
			ID: id, NetworkID: demo, MAC: model.MAC{0xfa, 0x16, 0x3e, 0, 0, mac}, AdminStateUp: true, PortSecurity: true,
			FixedIPs: []model.FixedIP{{SubnetID: subnet, Addr: addr(a)}}, DeviceOwner: "compute:nova",
			Binding: model.Binding{Host: "host1", VIFType: model.VIFOVS},
		}
	}
	dhcp, vm, far := port(dhcpID, 2, "10.10.0.2"), port(vmID, 0x79, "10.10.0.121"), port(farID, 0x7a, "10.10.0.122")
	dhcp.DeviceOwner, dhcp.PortSecurity = model.OwnerDHCP, false
	vm.DHCPOptions = []model.DHCPOption{{Name: "tftp-server", Value: "10.10.0.9", IPVersion: 4}}
	far.Binding.Host = "host2"
	c := view.Cloud{
		Networks: map[model.NetworkID]*model.Network{demo: {
			ID: demo, Name: "demo", AdminStateUp: true, MTU: 1450, Segment: model.Segment{Type: model.SegmentVXLAN, ID: 14745},
		}},
		Subnets: map[model.SubnetID]*model.Subnet{subnet: {
			ID: subnet, NetworkID: demo, CIDR: netip.MustParsePrefix("10.10.0.0/24"), Gateway: addr("10.10.0.1"), EnableDHCP: true,
			DNSNameservers: []netip.Addr{addr("8.8.8.8")},
		}},
		Ports: map[model.PortID]*model.Port{dhcpID: dhcp, vmID: vm, farID: far},
	}
	at := []view.Attachment{
		{PortID: vmID, Device: vif.TapName(vmID), OFPort: 4, MAC: vm.MAC},
		{PortID: dhcpID, Device: vif.TapName(dhcpID), OFPort: 3, MAC: dhcp.MAC},
	}
	return c, at
}

func vlansOf(c view.Cloud) map[model.NetworkID]view.LocalVLAN {
	vlans, _ := vif.LocalVLANs[view.LocalVLAN](nil, view.NetworksOf(c, "host1"))
	return vlans
}

func TestGolden(t *testing.T) {
	c, at := demoCloud()
	s := Defaults()
	s.Manager = "ptcp:6640:127.0.0.1"
	for name, v := range map[string]view.View{
		"demo":     view.Of(c, at, "host1", vlansOf(c)),
		"unwired":  view.Of(c, nil, "host1", vlansOf(c)),
		"stranger": view.Of(c, at, "host3", nil),
	} {
		t.Run(name, func(t *testing.T) {
			got := Make(v, s).String()
			file := filepath.Join("testdata", name+".plan")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(string(want), got); d != "" {
				t.Errorf("the plan differs from %s (-want +got):\n%s", file, d)
			}
		})
	}
}

// TestOrder: a plan depends on what is so, not on the order or the number of times in
// which it was learned; and plans that differ print differently.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, at := crowd(rapid.IntRange(0, 5).Draw(t, "networks"), rapid.IntRange(0, 5).Draw(t, "ports"))
		want := Make(view.Of(c, at, "host1", vlansOf(c)), Defaults())
		again := view.Part(c, "host1")
		shuffled := rapid.Permutation(append(at, at...)).Draw(t, "order")
		got := Make(view.Of(again, shuffled, "host1", vlansOf(again)), Defaults())
		if !reflect.DeepEqual(got, want) || got.String() != want.String() {
			t.Fatalf("order matters:\n%s", gocmp.Diff(want.String(), got.String()))
		}
		if len(at) > 0 {
			less := Make(view.Of(c, at[1:], "host1", vlansOf(c)), Defaults())
			if less.String() == want.String() {
				t.Fatal("a port less prints the same")
			}
		}
	})
}

// crowd is a cloud of networks with DHCP and as many attached machines on each.
func crowd(networks, ports int) (view.Cloud, []view.Attachment) {
	c := view.Cloud{
		Networks: map[model.NetworkID]*model.Network{}, Subnets: map[model.SubnetID]*model.Subnet{}, Ports: map[model.PortID]*model.Port{},
	}
	var at []view.Attachment
	for n := range networks {
		id := model.NetworkID(fmt.Sprintf("%08x-0000-4000-8000-00000000000a", n+1))
		sn := model.SubnetID(fmt.Sprintf("%08x-0000-4000-8000-00000000000b", n+1))
		c.Networks[id] = &model.Network{ID: id, AdminStateUp: true, MTU: 1450, Segment: model.Segment{Type: model.SegmentVXLAN, ID: uint32(n + 1)}}
		c.Subnets[sn] = &model.Subnet{ID: sn, NetworkID: id, CIDR: netip.MustParsePrefix("10.0.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.1"), EnableDHCP: true}
		for p := range ports + 1 {
			pid := model.PortID(fmt.Sprintf("%04x%04x-0000-4000-8000-00000000000c", n+1, p))
			port := &model.Port{
				ID: pid, NetworkID: id, MAC: model.MAC{0xfa, 0x16, 0x3e, byte(n), byte(p >> 8), byte(p)}, AdminStateUp: true, PortSecurity: p > 0,
				FixedIPs: []model.FixedIP{{SubnetID: sn, Addr: netip.AddrFrom4([4]byte{10, 0, byte((p + 2) >> 8), byte(p + 2)})}},
				Binding:  model.Binding{Host: "host1", VIFType: model.VIFOVS},
			}
			if p == 0 {
				port.DeviceOwner = model.OwnerDHCP
			}
			c.Ports[pid] = port
			at = append(at, view.Attachment{PortID: pid, Device: vif.TapName(pid), OFPort: view.OFPort(len(at) + 1)})
		}
	}
	return c, at
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for _, c := range []struct {
		name string
		edit func(*Settings)
		want []string // "" means that it is accepted
	}{
		{"no tunnels", func(s *Settings) { s.TunnelBridge = "" }, nil},
		{"mapping", func(s *Settings) { s.BridgeMappings = map[string]string{"physnet1": "br-ex"} }, nil},
		{"no bridge", func(s *Settings) { s.IntegrationBridge = "" }, []string{`integration bridge: ""`}},
		{"long bridge", func(s *Settings) { s.IntegrationBridge = "br-0123456789abcdef" }, []string{"1 to 15 characters"}},
		{"one bridge twice", func(s *Settings) { s.TunnelBridge = "br-int" }, []string{"is the integration bridge already"}},
		{"two physical networks on one bridge", func(s *Settings) { s.BridgeMappings = map[string]string{"a": "br-ex", "b": "br-ex"} },
			[]string{`bridge of physical network "b": bridge "br-ex" is the bridge of physical network "a" already`}},
		{"no physical network", func(s *Settings) { s.BridgeMappings = map[string]string{"": "br-ex"} }, []string{"has no physical network"}},
		{"datapath", func(s *Settings) { s.DatapathType = "kernel" }, []string{`"kernel" is not system, netdev or dummy`}},
		{"owner", func(s *Settings) { s.CookieOwner = 0 }, []string{"cookie owner"}},
		{"everything at once", func(s *Settings) { *s = Settings{} }, []string{"integration bridge", "datapath", "cookie", "lease time"}},
	} {
		s := Defaults()
		c.edit(&s)
		err := s.Validate()
		if (err == nil) != (len(c.want) == 0) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", c.name, err, w)
			}
		}
	}
}

func BenchmarkMake1000(b *testing.B) {
	c, at := crowd(10, 99)
	vlans := vlansOf(c)
	flows := 0
	for b.Loop() {
		flows = len(Make(view.Of(c, at, "host1", vlans), Defaults()).Switch.Flows["br-int"].All())
	}
	b.ReportMetric(float64(flows), "flows")
}
