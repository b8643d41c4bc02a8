package neutron

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/store"
)

// The encoders are held to encoding/json: for random objects, the maps below, written by
// hand from the recorded bodies, must say the same.

func drawMeta(t *rapid.T) model.Meta {
	return model.Meta{
		Description: rapid.String().Draw(t, "description"),
		Tags:        rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "tags"),
		CreatedAt:   time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "created"), 0),
		UpdatedAt:   time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "updated"), 5),
		Revision:    rapid.IntRange(0, 1<<40).Draw(t, "revision"),
	}
}

func drawAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v6") {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))).Unmap()
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
}

func drawMAC(t *rapid.T) model.MAC {
	return model.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
}

func withMeta(m map[string]any, meta model.Meta) map[string]any {
	tags := meta.Tags
	if tags == nil {
		tags = []string{}
	}
	m["description"] = meta.Description
	m["tags"] = tags
	m["created_at"] = meta.CreatedAt.UTC().Format("2006-01-02T15:04:05Z")
	m["updated_at"] = meta.UpdatedAt.UTC().Format("2006-01-02T15:04:05Z")
	m["revision_number"] = meta.Revision
	return m
}

// same compares JSON text with a value as encoding/json writes it.
func same(t *rapid.T, got []byte, want any) {
	t.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, got)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b, a); d != "" {
		t.Fatal(d)
	}
}

func TestEncodePort(t *testing.T) {
	table := ports()
	rapid.Check(t, func(t *rapid.T) {
		p := &model.Port{
			ID: model.PortID(rapid.String().Draw(t, "id")), Project: model.ProjectID(rapid.String().Draw(t, "project")),
			Name: rapid.String().Draw(t, "name"), NetworkID: "n", MAC: drawMAC(t), AdminStateUp: rapid.Bool().Draw(t, "up"),
			Status: model.PortDown, DeviceID: rapid.String().Draw(t, "device"), DeviceOwner: "compute:nova",
			PortSecurity: rapid.Bool().Draw(t, "security"), SecurityGroups: []string{"g"}, Meta: drawMeta(t),
			Binding: model.Binding{Host: model.HostName(rapid.String().Draw(t, "host")), VNICType: "normal",
				VIFType:    rapid.SampledFrom([]model.VIFType{model.VIFUnbound, model.VIFOVS, model.VIFBindingFailed}).Draw(t, "vif"),
				BridgeName: rapid.String().Draw(t, "bridge"), DatapathType: "netdev"},
		}
		ips, pairs, opts, names := []any{}, []any{}, []any{}, []any{}
		for range rapid.IntRange(0, 3).Draw(t, "ips") {
			f := model.FixedIP{SubnetID: "s", Addr: drawAddr(t)}
			p.FixedIPs = append(p.FixedIPs, f)
			ips = append(ips, map[string]any{"subnet_id": "s", "ip_address": f.Addr.String()})
			host := "host-" + strings.ReplaceAll(strings.ReplaceAll(f.Addr.String(), ".", "-"), ":", "-")
			names = append(names, map[string]any{"ip_address": f.Addr.String(), "hostname": host, "fqdn": host})
			a := model.AddressPair{MAC: p.MAC, Prefix: netip.PrefixFrom(f.Addr, f.Addr.BitLen())}
			p.AddressPairs = append(p.AddressPairs, a)
			pairs = append(pairs, map[string]any{"mac_address": a.MAC.String(), "ip_address": f.Addr.String()})
			o := model.DHCPOption{Name: rapid.String().Draw(t, "opt"), Value: rapid.String().Draw(t, "value"), IPVersion: 4}
			p.DHCPOptions = append(p.DHCPOptions, o)
			opts = append(opts, map[string]any{"opt_name": o.Name, "opt_value": o.Value, "ip_version": 4})
		}
		profile := map[string]any{}
		if rapid.Bool().Draw(t, "profile") {
			profile[rapid.String().Draw(t, "key")] = []any{"a", nil, true}
			p.Binding.Profile = profile
		}
		details := map[string]any{}
		created := rapid.Bool().Draw(t, "answer to a create")
		if p.Binding.VIFType == model.VIFOVS {
			details = map[string]any{"connectivity": "l2", "port_filter": true, "ovs_hybrid_plug": false,
				"datapath_type": "netdev", "bridge_name": p.Binding.BridgeName}
			if !created {
				details["bound_drivers"] = map[string]string{"0": "openvswitch"}
			}
		}
		same(t, table.encode(nil, p, &aside{created: created}, store.WholeView, nil), withMeta(map[string]any{
			"id": p.ID, "name": p.Name, "network_id": "n", "tenant_id": p.Project, "project_id": p.Project,
			"mac_address": p.MAC.String(), "admin_state_up": p.AdminStateUp, "status": "DOWN", "device_id": p.DeviceID,
			"device_owner": "compute:nova", "fixed_ips": ips, "allowed_address_pairs": pairs, "extra_dhcp_opts": opts,
			"security_groups": []string{"g"}, "binding:vnic_type": "normal", "binding:profile": profile,
			"binding:host_id": p.Binding.Host, "binding:vif_type": p.Binding.VIFType, "binding:vif_details": details,
			"port_security_enabled": p.PortSecurity, "dns_name": "", "dns_domain": "", "dns_assignment": names,
			"data_plane_status": nil, "qos_policy_id": nil, "ip_allocation": "immediate", "resource_request": nil,
		}, p.Meta))
	})
}

func TestEncodeNetwork(t *testing.T) {
	table := networks()
	rapid.Check(t, func(t *rapid.T) {
		n := &model.Network{
			ID: model.NetworkID(rapid.String().Draw(t, "id")), Project: "p", Name: rapid.String().Draw(t, "name"),
			AdminStateUp: rapid.Bool().Draw(t, "up"), Shared: rapid.Bool().Draw(t, "shared"), External: rapid.Bool().Draw(t, "external"),
			IsDefault: rapid.Bool().Draw(t, "default"), PortSecurity: rapid.Bool().Draw(t, "security"),
			MTU: rapid.IntRange(0, 9000).Draw(t, "mtu"), Meta: drawMeta(t),
			Segment: model.Segment{Type: model.SegmentVLAN, Physical: rapid.String().Draw(t, "physical"), ID: rapid.Uint32().Draw(t, "segment")},
		}
		x := &aside{subnets: []*model.Subnet{{ID: "s1"}, {ID: "s2", EnableDHCP: rapid.Bool().Draw(t, "dhcp")}}}
		zones, physical, segment := []string{}, any(n.Segment.Physical), any(n.Segment.ID)
		if x.subnets[1].EnableDHCP {
			zones = []string{"nova"}
		}
		if n.Segment.Physical == "" {
			physical = nil
		}
		if n.Segment.ID == 0 {
			segment = nil
		}
		x.created = rapid.Bool().Draw(t, "answer to a create")
		want := withMeta(map[string]any{
			"id": n.ID, "name": n.Name, "tenant_id": "p", "project_id": "p", "admin_state_up": n.AdminStateUp, "mtu": n.MTU,
			"status": "ACTIVE", "subnets": []string{"s1", "s2"}, "shared": n.Shared, "port_security_enabled": n.PortSecurity,
			"router:external": n.External, "provider:network_type": "vlan", "provider:physical_network": physical,
			"provider:segmentation_id": segment, "is_default": n.IsDefault, "availability_zone_hints": []string{},
			"availability_zones": zones, "ipv4_address_scope": nil, "ipv6_address_scope": nil,
			"dns_domain": "", "qos_policy_id": nil,
		}, n.Meta)
		if !n.External && !x.created {
			delete(want, "is_default")
		}
		same(t, table.encode(nil, n, x, store.WholeView, nil), want)
	})
}

func TestEncodeSubnet(t *testing.T) {
	table := subnets()
	rapid.Check(t, func(t *rapid.T) {
		a := drawAddr(t)
		s := &model.Subnet{
			ID: "s", Project: "p", Name: rapid.String().Draw(t, "name"), NetworkID: "n",
			CIDR:       netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked(),
			EnableDHCP: rapid.Bool().Draw(t, "dhcp"), Pools: []model.Pool{{First: a, Last: a}},
			PoolID: rapid.SampledFrom([]string{"", "pool"}).Draw(t, "pool"), DNSPublishFixedIP: rapid.Bool().Draw(t, "dns"),
			RAMode:         model.IPv6Mode(rapid.SampledFrom([]string{"", "slaac"}).Draw(t, "ra")),
			AddressMode:    model.IPv6Mode(rapid.SampledFrom([]string{"", "dhcpv6-stateful"}).Draw(t, "mode")),
			DNSNameservers: []netip.Addr{a}, HostRoutes: []model.Route{{Destination: netip.PrefixFrom(a, a.BitLen()), NextHop: a}},
			Meta: drawMeta(t),
		}
		gateway, version := any(nil), 6
		if rapid.Bool().Draw(t, "gateway") {
			s.Gateway = a
			gateway = a.String()
		}
		if a.Is4() {
			version = 4
		}
		same(t, table.encode(nil, s, &aside{}, store.WholeView, nil), withMeta(map[string]any{
			"id": "s", "name": s.Name, "tenant_id": "p", "project_id": "p", "network_id": "n", "ip_version": version,
			"subnetpool_id": orNull(s.PoolID), "enable_dhcp": s.EnableDHCP, "ipv6_ra_mode": orNull(string(s.RAMode)),
			"ipv6_address_mode": orNull(string(s.AddressMode)), "gateway_ip": gateway, "dns_publish_fixed_ip": s.DNSPublishFixedIP,
			"cidr": s.CIDR.String(), "allocation_pools": []any{map[string]any{"start": a, "end": a}},
			"host_routes":     []any{map[string]any{"destination": netip.PrefixFrom(a, a.BitLen()).String(), "nexthop": a}},
			"dns_nameservers": []any{a}, "service_types": []string{},
		}, s.Meta))
	})
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func TestAppendString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString(nil, s); string(got) != string(want) {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
	if got := appendString(nil, "a\xffb"); string(got) != `"a\ufffdb"` {
		t.Errorf("broken UTF-8 became %s", got)
	}
}

func TestEncodeFields(t *testing.T) {
	table := ports()
	q, err := table.query("fields=id&fields=nonsense&fields=binding:vif_type&fields=id")
	if err != nil {
		t.Fatal(err)
	}
	p := &model.Port{ID: "x"}
	if got := string(table.encode(nil, p, &aside{}, store.WholeView, q.fields)); got != `{"id":"x","binding:vif_type":"unbound"}` {
		t.Error(got)
	}
	if q, err = table.query("fields=nonsense"); err != nil {
		t.Fatal(err)
	}
	if got := string(table.encode(nil, p, &aside{}, store.WholeView, q.fields)); got != `{}` {
		t.Error(got)
	}
}
