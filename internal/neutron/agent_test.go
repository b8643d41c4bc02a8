package neutron

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
)

// TestAgentNumbers: what agents say of themselves follows from what is there.
func TestAgentNumbers(t *testing.T) {
	a := startAPI(t)
	_, err := a.control.RegisterHost(t.Context(), model.Host{Name: "net-1", IntegrationBridge: "br-int", DatapathType: "netdev",
		BridgeMappings: map[string]string{"physnet1": "br-ex"}, TunnelTypes: []string{"vxlan"}, VTEP: netip.MustParseAddr("10.0.0.9"),
		Roles: []model.HostRole{model.RoleNetwork}, LeaseTime: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.control.RegisterHost(t.Context(), model.Host{Name: "compute-1", TunnelTypes: []string{"vxlan"}, Roles: []model.HostRole{model.RoleCompute}}); err != nil {
		t.Fatal(err)
	}
	network, _ := a.network("n", "")
	a.must(201, "POST", "/v2.0/subnets", map[string]any{"subnet": map[string]any{"network_id": network, "cidr": "10.1.0.0/24", "ip_version": 4}})
	for range 3 {
		// Neutron binds a guest to a network host too.
		p := a.must(201, "POST", "/v2.0/ports", map[string]any{"port": map[string]any{"network_id": network, "binding:host_id": "net-1"}})
		if p["binding:vif_type"] != "ovs" {
			t.Fatal(p["binding:vif_type"])
		}
		if err := a.control.ReportPorts(t.Context(), "net-1", []control.PortFact{{PortID: model.PortID(fmt.Sprint(p["id"])), Wired: true, DHCP: true}}); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]map[string]any{
		"compute-1 Open vSwitch agent": {"devices": 0, "tunneling_ip": "", "arp_responder_enabled": false},
		"net-1 Open vSwitch agent": {"devices": 3, "tunneling_ip": "10.0.0.9", "arp_responder_enabled": true,
			"tunnel_types": "[vxlan]", "bridge_mappings": "map[physnet1:br-ex]"},
		"net-1 DHCP agent": {"networks": 1, "subnets": 1, "ports": 4, "dhcp_lease_duration": 3600},
		"net-1 L3 agent":   {"routers": 0, "interfaces": 0, "agent_mode": "legacy"},
	}
	list := a.do("GET", "/v2.0/agents", nil).list()
	if len(list) != len(want) {
		t.Errorf("%d agents", len(list))
	}
	for _, agent := range list {
		name := fmt.Sprint(agent["host"], " ", agent["agent_type"])
		said, _ := agent["configurations"].(map[string]any)
		for key, v := range want[name] {
			if fmt.Sprint(said[key]) != fmt.Sprint(v) {
				t.Errorf("%s: %s is %v, want %v", name, key, said[key], v)
			}
		}
		if want[name] == nil {
			t.Errorf("no such agent: %s", name)
		}
	}
}
