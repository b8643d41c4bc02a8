package test

import (
	"context"
	"net/http"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/addressscopes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/extraroutes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/portforwarding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/policies"
	qosrules "github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/ruletypes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/rbacpolicies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/addressgroups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/subnetpools"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/trunks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

type ctxType = context.Context

// ctx is that of all calls to gophercloud: the test's time limit is theirs.
var ctx = context.Background()

func (g *gopher) subnetPools() {
	scope := must(addressscopes.Create(ctx, g.admin, addressscopes.CreateOpts{Name: "scope", IPVersion: 4, Shared: true}).Extract())
	must(addressscopes.Update(ctx, g.admin, scope.ID, addressscopes.UpdateOpts{Name: ptr("scope4")}).Extract())
	g.same("scopes", len(all(addressscopes.List(g.member, addressscopes.ListOpts{Name: "scope4"}), addressscopes.ExtractAddressScopes)), 1)
	pool := must(subnetpools.Create(ctx, g.admin, subnetpools.CreateOpts{Name: "pool", Prefixes: []string{"10.40.0.0/16"}, DefaultPrefixLen: 24,
		AddressScopeID: scope.ID, Shared: true}).Extract())
	g.same("scope", pool.AddressScopeID, scope.ID)
	g.same("versions", pool.IPversion, 4)
	added := must(subnetpools.AddPrefixes(ctx, g.admin, pool.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.42.0.0/16"}}).Extract())
	g.same("prefixes", len(added), 2)
	must(subnetpools.RemovePrefixes(ctx, g.admin, pool.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.42.0.0/16"}}).Extract())
	must(subnetpools.Update(ctx, g.admin, pool.ID, subnetpools.UpdateOpts{Name: "pool2", MaxPrefixLen: 28}).Extract())
	g.same("pools", len(all(subnetpools.List(g.member, subnetpools.ListOpts{Name: "pool2", Shared: ptr(true)}), subnetpools.ExtractSubnetPools)), 1)
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "n"}).Extract())
	s := must(subnets.Create(ctx, g.member, subnets.CreateOpts{NetworkID: n.ID, SubnetPoolID: pool.ID, IPVersion: 4, Prefixlen: 26}).Extract())
	g.same("pool", s.SubnetPoolID, pool.ID)
	g.refused("a pool in use", subnetpools.Delete(ctx, g.admin, pool.ID).Err, http.StatusBadRequest)
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
	done(subnetpools.Delete(ctx, g.admin, pool.ID).ExtractErr())
	done(addressscopes.Delete(ctx, g.admin, scope.ID).ExtractErr())
}

func (g *gopher) securityGroups() {
	sg := must(groups.Create(ctx, g.member, groups.CreateOpts{Name: "web", Description: "servers"}).Extract())
	g.same("rules", len(sg.Rules), 2)
	r := must(rules.Create(ctx, g.member, rules.CreateOpts{SecGroupID: sg.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP,
		PortRangeMin: 80, PortRangeMax: 80, RemoteIPPrefix: "192.0.2.0/24"}).Extract())
	g.same("prefix", must(rules.Get(ctx, g.member, r.ID).Extract()).RemoteIPPrefix, "192.0.2.0/24")
	bulk := must(rules.CreateBulk(ctx, g.member, []rules.CreateOpts{
		{SecGroupID: sg.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolUDP, RemoteGroupID: sg.ID},
		{SecGroupID: sg.ID, Direction: rules.DirEgress, EtherType: rules.EtherType6, Protocol: rules.ProtocolIPv6ICMP},
	}).Extract())
	g.same("bulk", len(bulk), 2)
	g.same("rules", len(all(rules.List(g.member, rules.ListOpts{SecGroupID: sg.ID}), rules.ExtractRules)), 5)
	g.refused("a rule twice", rules.Create(ctx, g.member, rules.CreateOpts{SecGroupID: sg.ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP,
		PortRangeMin: 80, PortRangeMax: 80, RemoteIPPrefix: "192.0.2.0/24"}).Err, http.StatusConflict)
	u := must(groups.Update(ctx, g.member, sg.ID, groups.UpdateOpts{Name: "www", Stateful: ptr(false)}).Extract())
	g.same("stateful", u.Stateful, false)
	g.same("groups", len(all(groups.List(g.member, groups.ListOpts{Name: "www"}), groups.ExtractGroups)), 1)
	done(rules.Delete(ctx, g.member, r.ID).ExtractErr())
	done(groups.Delete(ctx, g.member, sg.ID).ExtractErr())
}

func (g *gopher) addressGroups() {
	a := must(addressgroups.Create(ctx, g.member, addressgroups.CreateOpts{Name: "a", Addresses: []string{"192.0.2.0/24"}}).Extract())
	more := must(addressgroups.AddAddresses(ctx, g.member, a.ID, addressgroups.UpdateAddressesOpts{Addresses: []string{"198.51.100.1/32"}}).Extract())
	g.same("addresses", len(more.Addresses), 2)
	less := must(addressgroups.RemoveAddresses(ctx, g.member, a.ID, addressgroups.UpdateAddressesOpts{Addresses: []string{"192.0.2.0/24"}}).Extract())
	g.same("addresses", less.Addresses, []string{"198.51.100.1/32"})
	must(addressgroups.Update(ctx, g.member, a.ID, addressgroups.UpdateOpts{Description: ptr("some")}).Extract())
	g.same("description", must(addressgroups.Get(ctx, g.member, a.ID).Extract()).Description, "some")
	g.same("groups", len(all(addressgroups.List(g.member, addressgroups.ListOpts{Name: "a"}), addressgroups.ExtractGroups)), 1)
	done(addressgroups.Delete(ctx, g.member, a.ID).ExtractErr())
}

func (g *gopher) routers() {
	n, s := g.lan("n", "10.50.0.0/24")
	r := must(routers.Create(ctx, g.member, routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: g.public}}).Extract())
	g.same("status", r.Status, "ACTIVE")
	g.same("gateway", r.GatewayInfo.NetworkID, g.public)
	g.same("SNAT", r.GatewayInfo.EnableSNAT, ptr(true))
	i := must(routers.AddInterface(ctx, g.member, r.ID, routers.AddInterfaceOpts{SubnetID: s.ID}).Extract())
	g.same("interface", i.SubnetID, s.ID)
	p := must(ports.Get(ctx, g.member, i.PortID).Extract())
	g.same("owner", p.DeviceOwner, "network:router_interface")
	g.same("address", p.FixedIPs, []ports.IP{{SubnetID: s.ID, IPAddress: "10.50.0.1"}})
	route := func(cidr, hop string) *[]routers.Route {
		return &[]routers.Route{{DestinationCIDR: cidr, NextHop: hop}}
	}
	u := must(routers.Update(ctx, g.member, r.ID, routers.UpdateOpts{Routes: route("10.60.0.0/16", "10.50.0.6")}).Extract())
	g.same("routes", u.Routes, *route("10.60.0.0/16", "10.50.0.6"))
	g.same("routes", len(must(extraroutes.Add(ctx, g.member, r.ID, extraroutes.Opts{Routes: route("10.61.0.0/16", "10.50.0.6")}).Extract()).Routes), 2)
	less := must(extraroutes.Remove(ctx, g.member, r.ID, extraroutes.Opts{Routes: route("10.60.0.0/16", "10.50.0.6")}).Extract())
	g.same("routes", less.Routes, *route("10.61.0.0/16", "10.50.0.6"))
	g.refused("a router in use", routers.Delete(ctx, g.member, r.ID).Err, http.StatusConflict)
	must(routers.Update(ctx, g.member, r.ID, routers.UpdateOpts{Routes: &[]routers.Route{}, GatewayInfo: &routers.GatewayInfo{}}).Extract())
	g.same("gateway", must(routers.Get(ctx, g.member, r.ID).Extract()).GatewayInfo.NetworkID, "")
	must(routers.RemoveInterface(ctx, g.member, r.ID, routers.RemoveInterfaceOpts{SubnetID: s.ID}).Extract())
	g.same("routers", len(all(routers.List(g.member, routers.ListOpts{Name: "r"}), routers.ExtractRouters)), 1)
	done(routers.Delete(ctx, g.member, r.ID).ExtractErr())
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) floatingIPs() {
	n, s := g.lan("n", "10.51.0.0/24")
	p := must(ports.Create(ctx, g.member, ports.CreateOpts{NetworkID: n.ID, FixedIPs: []ports.IP{{IPAddress: "10.51.0.5"}}}).Extract())
	g.refused("no way to the port", floatingips.Create(ctx, g.member, floatingips.CreateOpts{FloatingNetworkID: g.public, PortID: p.ID}).Err, http.StatusNotFound)
	r := must(routers.Create(ctx, g.member, routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: g.public}}).Extract())
	must(routers.AddInterface(ctx, g.member, r.ID, routers.AddInterfaceOpts{SubnetID: s.ID}).Extract())
	f := must(floatingips.Create(ctx, g.member, floatingips.CreateOpts{FloatingNetworkID: g.public, PortID: p.ID}).Extract())
	g.same("fixed IP", f.FixedIP, "10.51.0.5")
	g.same("router", f.RouterID, r.ID)
	g.same("by port", len(all(floatingips.List(g.member, floatingips.ListOpts{PortID: p.ID}), floatingips.ExtractFloatingIPs)), 1)
	g.refused("the gateway of a floating IP", routers.Update(ctx, g.member, r.ID, routers.UpdateOpts{GatewayInfo: &routers.GatewayInfo{}}).Err, http.StatusConflict)
	u := must(floatingips.Update(ctx, g.member, f.ID, floatingips.UpdateOpts{PortID: ptr("")}).Extract())
	g.same("port", u.PortID, "")
	pf := must(portforwarding.Create(ctx, g.member, f.ID, portforwarding.CreateOpts{InternalPortID: p.ID, InternalIPAddress: "10.51.0.5", InternalPort: 22,
		ExternalPort: 2222, Protocol: "tcp"}).Extract())
	must(portforwarding.Update(ctx, g.member, f.ID, pf.ID, portforwarding.UpdateOpts{ExternalPort: 2200}).Extract())
	g.same("external port", must(portforwarding.Get(ctx, g.member, f.ID, pf.ID).Extract()).ExternalPort, 2200)
	g.same("forwardings", len(all(portforwarding.List(g.member, portforwarding.ListOpts{}, f.ID), portforwarding.ExtractPortForwardings)), 1)
	done(portforwarding.Delete(ctx, g.member, f.ID, pf.ID).ExtractErr())
	done(floatingips.Delete(ctx, g.member, f.ID).ExtractErr())
	must(routers.RemoveInterface(ctx, g.member, r.ID, routers.RemoveInterfaceOpts{SubnetID: s.ID}).Extract())
	done(routers.Delete(ctx, g.member, r.ID).ExtractErr())
	done(ports.Delete(ctx, g.member, p.ID).ExtractErr())
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) trunks() {
	n, _ := g.lan("n", "10.52.0.0/24")
	var ids []string
	for range 3 {
		ids = append(ids, must(ports.Create(ctx, g.member, ports.CreateOpts{NetworkID: n.ID}).Extract()).ID)
	}
	sub := func(id string, tag int) trunks.Subport {
		return trunks.Subport{PortID: id, SegmentationType: "vlan", SegmentationID: tag}
	}
	t := must(trunks.Create(ctx, g.member, trunks.CreateOpts{Name: "t", PortID: ids[0], Subports: []trunks.Subport{sub(ids[1], 10)}}).Extract())
	g.same("parent", t.PortID, ids[0])
	must(trunks.AddSubports(ctx, g.member, t.ID, trunks.AddSubportsOpts{Subports: []trunks.Subport{sub(ids[2], 11)}}).Extract())
	g.same("subports", len(must(trunks.GetSubports(ctx, g.member, t.ID).Extract())), 2)
	g.refused("a tag twice", trunks.AddSubports(ctx, g.member, t.ID, trunks.AddSubportsOpts{Subports: []trunks.Subport{sub(ids[2], 10)}}).Err, http.StatusConflict)
	must(trunks.RemoveSubports(ctx, g.member, t.ID, trunks.RemoveSubportsOpts{Subports: []trunks.RemoveSubport{{PortID: ids[2]}}}).Extract())
	must(trunks.Update(ctx, g.member, t.ID, trunks.UpdateOpts{Name: ptr("tt")}).Extract())
	g.same("trunks", len(all(trunks.List(g.member, trunks.ListOpts{Name: "tt"}), trunks.ExtractTrunks)), 1)
	g.refused("a parent's deletion", ports.Delete(ctx, g.member, ids[0]).Err, http.StatusConflict)
	done(trunks.Delete(ctx, g.member, t.ID).ExtractErr())
	for _, id := range ids {
		done(ports.Delete(ctx, g.member, id).ExtractErr())
	}
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) qos() {
	p := must(policies.Create(ctx, g.admin, policies.CreateOpts{Name: "slow", Shared: true}).Extract())
	bw := must(qosrules.CreateBandwidthLimitRule(ctx, g.admin, p.ID, qosrules.CreateBandwidthLimitRuleOpts{MaxKBps: 1000, MaxBurstKBps: 100}).ExtractBandwidthLimitRule())
	g.same("direction", bw.Direction, "egress")
	must(qosrules.UpdateBandwidthLimitRule(ctx, g.admin, p.ID, bw.ID, qosrules.UpdateBandwidthLimitRuleOpts{MaxKBps: ptr(2000)}).ExtractBandwidthLimitRule())
	must(qosrules.CreateDSCPMarkingRule(ctx, g.admin, p.ID, qosrules.CreateDSCPMarkingRuleOpts{DSCPMark: 26}).ExtractDSCPMarkingRule())
	must(qosrules.CreateMinimumBandwidthRule(ctx, g.admin, p.ID, qosrules.CreateMinimumBandwidthRuleOpts{MinKBps: 10}).ExtractMinimumBandwidthRule())
	g.same("rules", len(must(policies.Get(ctx, g.member, p.ID).Extract()).Rules), 3)
	limits := all(qosrules.ListBandwidthLimitRules(g.admin, p.ID, qosrules.BandwidthLimitRulesListOpts{}), qosrules.ExtractBandwidthLimitRules)
	g.same("limit", limits[0].MaxKBps, 2000)
	if types := all(ruletypes.ListRuleTypes(g.admin), ruletypes.ExtractRuleTypes); len(types) < 2 {
		g.t.Errorf("rule types: %+v", types)
	}
	n := must(networks.Create(ctx, g.member, policies.NetworkCreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "n"}, QoSPolicyID: p.ID}).Extract())
	g.refused("a policy in use", policies.Delete(ctx, g.admin, p.ID).Err, http.StatusConflict)
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
	done(qosrules.DeleteBandwidthLimitRule(ctx, g.admin, p.ID, bw.ID).ExtractErr())
	must(policies.Update(ctx, g.admin, p.ID, policies.UpdateOpts{Name: "slower"}).Extract())
	g.same("policies", len(all(policies.List(g.member, policies.ListOpts{Name: "slower"}), policies.ExtractPolicies)), 1)
	done(policies.Delete(ctx, g.admin, p.ID).ExtractErr())
}

func (g *gopher) quotas() {
	before := must(quotas.Get(ctx, g.admin, g.project).Extract())
	q := must(quotas.Update(ctx, g.admin, g.project, quotas.UpdateOpts{Network: ptr(1), Trunk: ptr(5)}).Extract())
	g.same("networks", q.Network, 1)
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "n"}).Extract())
	g.refused("one too many", networks.Create(ctx, g.member, networks.CreateOpts{Name: "n2"}).Err, http.StatusConflict)
	d := must(quotas.GetDetail(ctx, g.admin, g.project).Extract())
	g.same("detail", d.Network, quotas.QuotaDetail{Used: 1, Limit: 1})
	g.refused("a member's quota", quotas.Update(ctx, g.member, g.project, quotas.UpdateOpts{Network: ptr(9)}).Err, http.StatusForbidden)
	done(quotas.Delete(ctx, g.admin, g.project).ExtractErr())
	g.same("quota", must(quotas.Get(ctx, g.admin, g.project).Extract()), before)
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) rbac() {
	n := must(networks.Create(ctx, g.admin, networks.CreateOpts{Name: "n"}).Extract())
	g.refused("not shared yet", networks.Get(ctx, g.member, n.ID).Err, http.StatusNotFound)
	p := must(rbacpolicies.Create(ctx, g.admin, rbacpolicies.CreateOpts{Action: rbacpolicies.ActionAccessShared, ObjectType: "network", TargetTenant: g.project, ObjectID: n.ID}).Extract())
	g.same("shared", must(networks.Get(ctx, g.member, n.ID).Extract()).Shared, true)
	g.same("policies", len(all(rbacpolicies.List(g.admin, rbacpolicies.ListOpts{ObjectID: n.ID}), rbacpolicies.ExtractRBACPolicies)), 1)
	must(rbacpolicies.Update(ctx, g.admin, p.ID, rbacpolicies.UpdateOpts{TargetTenant: "*"}).Extract())
	g.same("target", must(rbacpolicies.Get(ctx, g.admin, p.ID).Extract()).TargetTenant, "*")
	done(rbacpolicies.Delete(ctx, g.admin, p.ID).ExtractErr())
	g.refused("no longer shared", networks.Get(ctx, g.member, n.ID).Err, http.StatusNotFound)
	done(networks.Delete(ctx, g.admin, n.ID).ExtractErr())
}
