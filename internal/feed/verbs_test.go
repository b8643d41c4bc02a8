package feed

import (
	"net/netip"
	"testing"

	"weft/internal/control"
	"weft/internal/model"
	"weft/internal/store"
)

// The verbs of the API reach the hosts: each ends with both hosts holding their part.
func TestVerbsReachTheHosts(t *testing.T) {
	w := newWorld(t)
	c := control.New(control.Options{Store: w.store, Config: control.DefaultConfig()})
	ctx := t.Context()
	for _, h := range []model.HostName{"h1", "h2"} {
		if _, err := c.RegisterHost(ctx, model.Host{Name: h, IntegrationBridge: "br-int", DatapathType: "netdev", TunnelTypes: []string{"vxlan"}}); err != nil {
			t.Fatal(err)
		}
	}
	h1, _ := w.client("h1", nil)
	h2, _ := w.client("h2", nil)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		w.settled(h1)
		w.settled(h2)
	}
	holds := func(groups, members, addresses int) {
		t.Helper()
		got := h1.State().Cloud
		if len(got.Groups) != groups || len(got.Members) != members || len(got.AddressGroups) != addresses {
			t.Errorf("h1 holds %d groups, %d members, %d address groups; want %d, %d, %d",
				len(got.Groups), len(got.Members), len(got.AddressGroups), groups, members, addresses)
		}
	}
	network := func(cidr string) model.NetworkID {
		n, err := c.CreateNetwork(ctx, control.NetworkRequest{Project: "p"})
		ok(err)
		_, err = c.CreateSubnet(ctx, control.SubnetRequest{Project: "p", NetworkID: n.Value.ID, CIDR: netip.MustParsePrefix(cidr)})
		ok(err)
		return n.Value.ID
	}
	n1, n2 := network("10.1.0.0/24"), network("10.2.0.0/24")
	port := func(n model.NetworkID, host string) model.PortID {
		p, err := c.CreatePort(ctx, control.PortRequest{Project: "p", NetworkID: n, HostID: control.Some(host)})
		ok(err)
		return p.Value.ID
	}
	update := func(id model.PortID, req control.PortRequest) {
		_, err := c.UpdatePort(ctx, id, req)
		t.Helper()
		ok(err)
	}

	p1 := port(n1, "h1")
	p2 := port(n2, "h2")
	holds(1, 2, 0) // the default group admits its own, wherever they are
	p3 := port(n2, "")
	holds(1, 3, 0)

	made := control.SecurityGroupChange{Project: "p"}
	made.Set("name", func(g *model.SecurityGroup) { g.Name = "db" })
	dbs, err := c.CreateSecurityGroups(ctx, []control.SecurityGroupChange{made})
	ok(err)
	db := dbs[0].Value.ID
	update(p2, control.PortRequest{SecurityGroups: control.Some([]string{db})})
	holds(1, 2, 0)
	update(p1, control.PortRequest{SecurityGroups: control.Some([]string{db})})
	holds(1, 0, 0)

	ags, err := c.CreateAddressGroups(ctx, []control.AddressGroupChange{{Project: "p"}})
	ok(err)
	office := ags[0].Value.ID
	rule := func(into func(*model.RuleMatch)) string {
		t.Helper()
		ch := control.SecurityGroupRuleChange{Project: "p"}
		ch.Set("direction", func(r *model.SecurityGroupRule) {
			r.Group, r.Direction, r.Ethertype = db, "ingress", "IPv4"
			into(&r.RuleMatch)
		})
		made, err := c.CreateSecurityGroupRules(ctx, []control.SecurityGroupRuleChange{ch})
		ok(err)
		return made[0].Value.ID
	}
	var standard string
	w.store.View(func(r store.Reader) {
		for e := range store.SecurityGroups.By(r, "default", "p") {
			standard = e.Value.ID
		}
	})
	rule(func(m *model.RuleMatch) { m.RemoteGroup = db })
	holds(1, 2, 0)
	named := rule(func(m *model.RuleMatch) { m.RemoteGroup = standard })
	holds(1, 3, 0)
	rule(func(m *model.RuleMatch) { m.RemoteAddressGroup = office })
	holds(1, 3, 1)
	_, err = c.AddAddresses(ctx, office, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	ok(err)
	holds(1, 3, 1)
	update(p3, control.PortRequest{AddressPairs: control.Some([]control.AddressPairRequest{{Prefix: netip.MustParsePrefix("10.2.9.0/24")}})})
	holds(1, 3, 1)
	ok(c.DeleteSecurityGroupRule(ctx, named, control.Opt[int]{}))
	holds(1, 2, 1)

	rule(func(m *model.RuleMatch) { m.RemoteGroup = standard })
	update(p3, control.PortRequest{SecurityGroups: control.Some([]string{db})})
	ok(c.DeleteSecurityGroup(ctx, standard, control.Opt[int]{})) // and the rule that names it
	holds(1, 3, 1)
	update(p1, control.PortRequest{SecurityGroups: control.Some([]string{}), PortSecurity: control.Some(false)})
	holds(0, 0, 0)
	update(p1, control.PortRequest{PortSecurity: control.Some(true), SecurityGroups: control.Some([]string{db})})
	holds(1, 3, 1)
	update(p1, control.PortRequest{HostID: control.Some("")})
	holds(0, 0, 0)
	ok(c.DeletePort(ctx, p3, control.Opt[int]{}))
}
