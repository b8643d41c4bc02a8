package test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/common/extensions"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/extradhcpopts"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/mtu"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/networkipavailabilities"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsecurity"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/segments"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// gophercloud, on which Terraform's provider and Kubernetes' controllers stand, finds
// weft by the catalog of its identity and works with each kind of resource.
func TestGophercloud(t *testing.T) {
	g := &gopher{cloud: newCloud(t)}
	g.public = g.publicNetwork()
	g.project = g.addMember()
	g.admin = g.client(gophercloud.AuthOptions{Username: g.cloud.admin.Username, Password: g.cloud.admin.Password, TenantName: g.cloud.admin.Project})
	g.member = g.client(gophercloud.AuthOptions{Username: "demo", Password: "secret", TenantName: "demo"})
	for _, story := range []struct {
		name string
		play func(*gopher)
	}{
		{"extensions", (*gopher).extensions}, {"networks", (*gopher).networks}, {"subnets", (*gopher).subnets}, {"ports", (*gopher).ports},
		{"pages", (*gopher).pages}, {"revisions", (*gopher).revisions}, {"tags", (*gopher).tags}, {"agents", (*gopher).agents},
		{"segments", (*gopher).segments}, {"availability", (*gopher).availability}, {"errors", (*gopher).errors},
		{"subnet pools", (*gopher).subnetPools}, {"security groups", (*gopher).securityGroups}, {"address groups", (*gopher).addressGroups},
		{"routers", (*gopher).routers}, {"floating IPs", (*gopher).floatingIPs}, {"trunks", (*gopher).trunks},
		{"QoS", (*gopher).qos}, {"quotas", (*gopher).quotas}, {"RBAC", (*gopher).rbac},
	} {
		t.Run(story.name, func(t *testing.T) {
			g.t = t
			defer func() {
				if f, ok := recover().(failure); ok {
					t.Fatal(f.error)
				}
			}()
			story.play(g)
		})
	}
}

// gopher holds gophercloud's clients of an administrator and of a member of a project.
type gopher struct {
	*cloud
	t               *testing.T
	admin, member   *gophercloud.ServiceClient
	public, project string
}

// failure ends a story.
type failure struct{ error }

// must is for calls that must succeed. Its panic is caught where stories are played: a
// function cannot take both a test and the results of a call.
func must[T any](v T, err error) T {
	if err != nil {
		panic(failure{err})
	}
	return v
}

func done(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// all reads a list to its end.
func all[T any](p pagination.Pager, extract func(pagination.Page) ([]T, error)) []T {
	var list []T
	done(p.EachPage(ctx, func(_ ctxType, page pagination.Page) (bool, error) {
		items, err := extract(page)
		list = append(list, items...)
		return true, err
	}))
	return list
}

// same compares what was got with what was wanted.
func (g *gopher) same(what string, got, want any) {
	g.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		g.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// refused checks that a call fails with a status.
func (g *gopher) refused(what string, err error, status int) {
	g.t.Helper()
	if !gophercloud.ResponseCodeIs(err, status) {
		g.t.Errorf("%s: %v, want status %d", what, err, status)
	}
}

func (g *gopher) client(o gophercloud.AuthOptions) *gophercloud.ServiceClient {
	g.cloud.t.Helper()
	o.IdentityEndpoint, o.DomainID, o.AllowReauth = g.cloud.admin.AuthURL, "default", true
	p, err := openstack.AuthenticatedClient(ctx, o)
	g.must(err)
	c, err := openstack.NewNetworkV2(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	g.must(err)
	return c
}

func ptr[T any](v T) *T { return &v }

// fullNetwork is a network with what extensions add.
type fullNetwork struct {
	networks.Network
	external.NetworkExternalExt
	mtu.NetworkMTUExt
	provider.NetworkProviderExt
	portsecurity.PortSecurityExt
}

// lan makes a network with a subnet for the member.
func (g *gopher) lan(name, cidr string) (*networks.Network, *subnets.Subnet) {
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: name}).Extract())
	s := must(subnets.Create(ctx, g.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: cidr, IPVersion: 4}).Extract())
	return n, s
}

func (g *gopher) extensions() {
	list := all(extensions.List(g.member), extensions.ExtractExtensions)
	if len(list) < 30 {
		g.t.Errorf("%d extensions", len(list))
	}
	for _, e := range list {
		g.same(e.Alias, must(extensions.Get(ctx, g.member, e.Alias).Extract()), &e)
	}
}

func (g *gopher) networks() {
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "n", Description: "a network"}).Extract())
	g.same("status", n.Status, "ACTIVE")
	g.same("project", n.ProjectID, g.project)
	u := must(networks.Update(ctx, g.member, n.ID, networks.UpdateOpts{Name: ptr("m"), AdminStateUp: ptr(false)}).Extract())
	g.same("name", u.Name, "m")
	g.same("admin_state_up", u.AdminStateUp, false)
	g.same("by name", len(all(networks.List(g.member, networks.ListOpts{Name: "m"}), networks.ExtractNetworks)), 1)

	vlan := networks.CreateOptsBuilder(provider.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "vlan", Shared: ptr(true)},
		Segments: []provider.Segment{{PhysicalNetwork: "physnet1", NetworkType: "vlan", SegmentationID: 77}}})
	g.refused("a member's VLAN", networks.Create(ctx, g.member, vlan).Err, http.StatusForbidden)
	p := must(networks.Create(ctx, g.admin, external.CreateOptsExt{External: ptr(true), CreateOptsBuilder: mtu.CreateOptsExt{MTU: 1400,
		CreateOptsBuilder: provider.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "ext"}, Segments: []provider.Segment{
			{PhysicalNetwork: "physnet1", NetworkType: "vlan", SegmentationID: 78}}}}}).Extract())
	var full fullNetwork
	done(networks.Get(ctx, g.admin, p.ID).ExtractInto(&full))
	g.same("external", full.External, true)
	g.same("MTU", full.MTU, 1400)
	g.same("segment", full.SegmentationID, "78")
	var list []fullNetwork
	done(networks.ExtractNetworksInto(must(networks.List(g.member, external.ListOptsExt{ListOptsBuilder: networks.ListOpts{}, External: ptr(true)}).AllPages(ctx)), &list))
	g.same("external networks", len(list), 2)
	done(networks.Delete(ctx, g.admin, p.ID).ExtractErr())
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) subnets() {
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "n"}).Extract())
	s := must(subnets.Create(ctx, g.member, subnets.CreateOpts{NetworkID: n.ID, Name: "s", CIDR: "10.5.0.0/24", IPVersion: 4, DNSNameservers: []string{"192.0.2.1"},
		AllocationPools: []subnets.AllocationPool{{Start: "10.5.0.10", End: "10.5.0.20"}}, HostRoutes: []subnets.HostRoute{{DestinationCIDR: "10.9.0.0/16", NextHop: "10.5.0.9"}}}).Extract())
	g.same("gateway", s.GatewayIP, "10.5.0.1")
	g.same("pools", s.AllocationPools, []subnets.AllocationPool{{Start: "10.5.0.10", End: "10.5.0.20"}})
	u := must(subnets.Update(ctx, g.member, s.ID, subnets.UpdateOpts{Name: ptr("t"), GatewayIP: ptr(""), EnableDHCP: ptr(false),
		DNSNameservers: &[]string{}, HostRoutes: &[]subnets.HostRoute{}}).Extract())
	g.same("gateway", u.GatewayIP, "")
	g.same("DHCP", u.EnableDHCP, false)
	g.same("routes", u.HostRoutes, []subnets.HostRoute{})
	v6 := must(subnets.Create(ctx, g.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: "2001:db8:5::/64", IPVersion: 6,
		IPv6AddressMode: "slaac", IPv6RAMode: "slaac"}).Extract())
	g.same("mode", v6.IPv6AddressMode, "slaac")
	g.same("v6 subnets", len(all(subnets.List(g.member, subnets.ListOpts{NetworkID: n.ID, IPVersion: 6}), subnets.ExtractSubnets)), 1)
	g.refused("an overlap", subnets.Create(ctx, g.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: "10.5.0.0/25", IPVersion: 4}).Err, http.StatusBadRequest)
	done(subnets.Delete(ctx, g.member, s.ID).ExtractErr())
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
	g.refused("a subnet after its network", subnets.Get(ctx, g.member, v6.ID).Err, http.StatusNotFound)
}

// fullPort is a port with what extensions add.
type fullPort struct {
	ports.Port
	portsbinding.PortsBindingExt
	portsecurity.PortSecurityExt
	extradhcpopts.ExtraDHCPOptsExt
}

func (g *gopher) ports() {
	n, s := g.lan("n", "10.6.0.0/24")
	p := must(ports.Create(ctx, g.member, extradhcpopts.CreateOptsExt{ExtraDHCPOpts: []extradhcpopts.CreateExtraDHCPOpt{{OptName: "66", OptValue: "tftp"}},
		CreateOptsBuilder: ports.CreateOpts{NetworkID: n.ID, Name: "p", FixedIPs: []ports.IP{{SubnetID: s.ID, IPAddress: "10.6.0.66"}},
			AllowedAddressPairs: []ports.AddressPair{{IPAddress: "10.6.0.99"}}}}).Extract())
	g.same("fixed IP", p.FixedIPs, []ports.IP{{SubnetID: s.ID, IPAddress: "10.6.0.66"}})
	g.same("status", p.Status, "DOWN")
	g.same("security groups", len(p.SecurityGroups), 1)
	g.refused("a member's binding", ports.Update(ctx, g.member, p.ID, portsbinding.UpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{},
		HostID: ptr("compute-1")}).Err, http.StatusForbidden)
	must(ports.Update(ctx, g.admin, p.ID, portsbinding.UpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{DeviceOwner: ptr("compute:nova"), DeviceID: ptr("vm")},
		HostID: ptr("compute-1")}).Extract())
	var full fullPort
	done(ports.Get(ctx, g.admin, p.ID).ExtractInto(&full))
	g.same("host", full.HostID, "compute-1")
	g.same("VIF", full.VIFType, "ovs")
	g.same("port security", full.PortSecurityEnabled, true)
	g.same("DHCP option", full.ExtraDHCPOpts, []extradhcpopts.ExtraDHCPOpt{{OptName: "66", OptValue: "tftp", IPVersion: 4}})
	must(ports.Update(ctx, g.member, p.ID, portsecurity.PortUpdateOptsExt{PortSecurityEnabled: ptr(false),
		UpdateOptsBuilder: ports.UpdateOpts{SecurityGroups: &[]string{}, AllowedAddressPairs: &[]ports.AddressPair{}}}).Extract())
	for _, by := range []ports.ListOpts{{DeviceID: "vm"}, {MACAddress: p.MACAddress}, {FixedIPs: []ports.FixedIPOpts{{IPAddress: "10.6.0.66"}}},
		{FixedIPs: []ports.FixedIPOpts{{IPAddressSubstr: "0.66", SubnetID: s.ID}}}, {NetworkID: n.ID, DeviceOwner: "compute:nova"}, {Name: "p", ProjectID: g.project}} {
		if l := all(ports.List(g.member, by), ports.ExtractPorts); len(l) != 1 || l[0].ID != p.ID {
			g.t.Errorf("ports by %+v: %+v", by, l)
		}
	}
	g.refused("an address twice", ports.Create(ctx, g.member, ports.CreateOpts{NetworkID: n.ID, FixedIPs: []ports.IP{{IPAddress: "10.6.0.66"}}}).Err, http.StatusConflict)
	g.refused("a network in use", networks.Delete(ctx, g.member, n.ID).Err, http.StatusConflict)
	done(ports.Delete(ctx, g.member, p.ID).ExtractErr())
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

// pages: a list comes in pages of what was asked for, each once, in order.
func (g *gopher) pages() {
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "n"}).Extract())
	var want []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		must(ports.Create(ctx, g.member, ports.CreateOpts{NetworkID: n.ID, Name: name}).Extract())
		want = append(want, name)
	}
	var got []string
	pages := 0
	done(ports.List(g.member, ports.ListOpts{NetworkID: n.ID, Limit: 2, SortKey: "name", SortDir: "asc"}).EachPage(ctx, func(_ ctxType, page pagination.Page) (bool, error) {
		pages++
		list, err := ports.ExtractPorts(page)
		for _, p := range list {
			got = append(got, p.Name)
		}
		return true, err
	}))
	g.same("ports", got, want)
	g.same("pages", pages, 3)
	for _, p := range all(ports.List(g.member, ports.ListOpts{NetworkID: n.ID}), ports.ExtractPorts) {
		done(ports.Delete(ctx, g.member, p.ID).ExtractErr())
	}
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

// revisions: a change that knows an older revision is refused.
func (g *gopher) revisions() {
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "n"}).Extract())
	old := n.RevisionNumber
	u := must(networks.Update(ctx, g.member, n.ID, networks.UpdateOpts{Name: ptr("m"), RevisionNumber: &old}).Extract())
	if u.RevisionNumber <= old {
		g.t.Errorf("revision %d after %d", u.RevisionNumber, old)
	}
	g.refused("an old revision", networks.Update(ctx, g.member, n.ID, networks.UpdateOpts{Name: ptr("o"), RevisionNumber: &old}).Err, http.StatusPreconditionFailed)
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) tags() {
	n := must(networks.Create(ctx, g.member, networks.CreateOpts{Name: "tagged"}).Extract())
	set := must(attributestags.ReplaceAll(ctx, g.member, "networks", n.ID, attributestags.ReplaceAllOpts{Tags: []string{"a", "b"}}).Extract())
	slices.Sort(set)
	g.same("tags", set, []string{"a", "b"})
	done(attributestags.Add(ctx, g.member, "networks", n.ID, "c").ExtractErr())
	g.same("has c", must(attributestags.Confirm(ctx, g.member, "networks", n.ID, "c").Extract()), true)
	done(attributestags.Delete(ctx, g.member, "networks", n.ID, "a").ExtractErr())
	for _, by := range []networks.ListOpts{{Tags: "b,c"}, {TagsAny: "a,b"}, {NotTags: "a,b", Name: "tagged"}, {NotTagsAny: "a", Name: "tagged"}} {
		g.same("networks by tags", len(all(networks.List(g.member, by), networks.ExtractNetworks)), 1)
	}
	done(attributestags.DeleteAll(ctx, g.member, "networks", n.ID).ExtractErr())
	g.same("tags", must(attributestags.List(ctx, g.member, "networks", n.ID).Extract()), []string{})
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) agents() {
	g.same("a member's agents", len(all(agents.List(g.member, agents.ListOpts{}), agents.ExtractAgents)), 0)
	list := all(agents.List(g.admin, agents.ListOpts{AgentType: "DHCP agent", Host: "compute-1", Alive: ptr(true)}), agents.ExtractAgents)
	if len(list) != 1 {
		g.t.Fatalf("DHCP agents: %+v", list)
	}
	a := list[0]
	g.same("agent", must(agents.Get(ctx, g.admin, a.ID).Extract()).Binary, "neutron-dhcp-agent")
	n, _ := g.lan("n", "10.7.0.0/24")
	hosted := func() bool {
		return slices.ContainsFunc(must(agents.ListDHCPNetworks(ctx, g.admin, a.ID).Extract()), func(h networks.Network) bool { return h.ID == n.ID })
	}
	g.same("hosted", hosted(), true)
	done(agents.RemoveDHCPNetwork(ctx, g.admin, a.ID, n.ID).ExtractErr())
	g.same("hosted", hosted(), false)
	done(agents.ScheduleDHCPNetwork(ctx, g.admin, a.ID, agents.ScheduleDHCPNetworkOpts{NetworkID: n.ID}).ExtractErr())
	g.same("hosted", hosted(), true)
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

func (g *gopher) segments() {
	n := must(networks.Create(ctx, g.admin, provider.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "n"},
		Segments: []provider.Segment{{PhysicalNetwork: "physnet1", NetworkType: "vlan", SegmentationID: 40}}}).Extract())
	list := all(segments.List(g.admin, segments.ListOpts{NetworkID: n.ID}), segments.ExtractSegments)
	if len(list) != 1 || list[0].SegmentationID != 40 {
		g.t.Fatalf("segments: %+v", list)
	}
	must(segments.Update(ctx, g.admin, list[0].ID, segments.UpdateOpts{Name: ptr("first")}).Extract())
	s := must(segments.Create(ctx, g.admin, segments.CreateOpts{NetworkID: n.ID, NetworkType: "vlan", PhysicalNetwork: "physnet2", SegmentationID: 41}).Extract())
	g.same("second", must(segments.Get(ctx, g.admin, s.ID).Extract()).PhysicalNetwork, "physnet2")
	done(segments.Delete(ctx, g.admin, s.ID).ExtractErr())
	done(networks.Delete(ctx, g.admin, n.ID).ExtractErr())
}

func (g *gopher) availability() {
	n, s := g.lan("n", "10.8.0.0/24")
	must(ports.Create(ctx, g.member, ports.CreateOpts{NetworkID: n.ID, Name: "p"}).Extract())
	a := must(networkipavailabilities.Get(ctx, g.admin, n.ID).Extract())
	g.same("total", a.TotalIPs, "253")
	g.same("subnet", a.SubnetIPAvailabilities[0].SubnetID, s.ID)
	list := all(networkipavailabilities.List(g.admin, networkipavailabilities.ListOpts{NetworkName: "n", IPVersion: "4"}), networkipavailabilities.ExtractNetworkIPAvailabilities)
	g.same("networks", len(list), 1)
	for _, p := range all(ports.List(g.member, ports.ListOpts{NetworkID: n.ID, Name: "p"}), ports.ExtractPorts) {
		done(ports.Delete(ctx, g.member, p.ID).ExtractErr())
	}
	done(networks.Delete(ctx, g.member, n.ID).ExtractErr())
}

// errors: what is not there, not allowed or not understood has the status that callers look at.
func (g *gopher) errors() {
	g.refused("nothing", networks.Get(ctx, g.member, "5a1d9a2f-6f0c-4c3f-9a40-f0b0c3a0d5ab").Err, http.StatusNotFound)
	g.refused("no name of a network", networks.Get(ctx, g.member, "nosuch").Err, http.StatusNotFound)
	mine := must(networks.Create(ctx, g.admin, networks.CreateOpts{Name: "mine"}).Extract())
	g.refused("another project's network", networks.Get(ctx, g.member, mine.ID).Err, http.StatusNotFound)
	g.refused("its deletion", networks.Delete(ctx, g.member, mine.ID).Err, http.StatusNotFound)
	g.refused("sharing", networks.Create(ctx, g.member, networks.CreateOpts{Name: "n", Shared: ptr(true)}).Err, http.StatusForbidden)
	done(networks.Delete(ctx, g.admin, mine.ID).ExtractErr())
	stranger := *g.member
	stranger.ProviderClient = &gophercloud.ProviderClient{TokenID: "nonsense"}
	g.refused("a bad token", networks.Get(ctx, &stranger, g.public).Err, http.StatusUnauthorized)
}
