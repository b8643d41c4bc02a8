package control_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/access"
	"weft/internal/control"
	"weft/internal/ipam"
	"weft/internal/model"
	"weft/internal/store"
)

type poolChange = control.Change[model.SubnetPool]

func prefixList(text string) (out []netip.Prefix) {
	for _, f := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

// poolOf asks for a pool of prefixes; set gives further attributes by name.
func poolOf(prefixes string, set map[string]func(*model.SubnetPool)) poolChange {
	ch := poolChange{Project: "p1"}
	if prefixes != "" {
		ch.Set("prefixes", func(p *model.SubnetPool) { p.Prefixes = prefixList(prefixes) })
	}
	for name, into := range set {
		ch.Set(name, into)
	}
	return ch
}

func (c *cloud) pool(prefixes string, set map[string]func(*model.SubnetPool)) *model.SubnetPool {
	c.t.Helper()
	made, err := c.CreateSubnetPools(c.t.Context(), []poolChange{poolOf(prefixes, set)})
	if err != nil {
		c.t.Fatal(err)
	}
	return made[0].Value
}

func (c *cloud) scope(version int64) *model.AddressScope {
	c.t.Helper()
	ch := control.Change[model.AddressScope]{Project: "p1"}
	ch.Set("ip_version", func(s *model.AddressScope) { s.IPVersion = version })
	made, err := c.CreateAddressScopes(c.t.Context(), []control.Change[model.AddressScope]{ch})
	if err != nil {
		c.t.Fatal(err)
	}
	return made[0].Value
}

func inScope(id string) func(*model.SubnetPool) { return func(p *model.SubnetPool) { p.ScopeID = id } }
func minLen(n int64) func(*model.SubnetPool)    { return func(p *model.SubnetPool) { p.MinLen = n } }
func maxLen(n int64) func(*model.SubnetPool)    { return func(p *model.SubnetPool) { p.MaxLen = n } }
func defaultLen(n int64) func(*model.SubnetPool) {
	return func(p *model.SubnetPool) { p.DefaultLen = n }
}
func poolQuota(n int64) func(*model.SubnetPool) { return func(p *model.SubnetPool) { p.Quota = &n } }
func theDefault(is bool) func(*model.SubnetPool) {
	return func(p *model.SubnetPool) { p.IsDefault = is }
}

func TestSubnetPoolRules(t *testing.T) {
	c := newCloud(t)
	type set = map[string]func(*model.SubnetPool)
	c.pool("192.0.2.0/24", set{"is_default": theDefault(true)})
	six := c.scope(6)
	const another = "Invalid input for operation: A default subnetpool for this IP family has already been set. Only one default may exist per IP family."
	for _, x := range []struct {
		prefixes string
		set      set
		want     string // "prefixes default min max", or the message
		kind     model.FaultKind
	}{
		{"10.10.0.0/21 192.168.0.0/16 10.10.8.0/21", nil, "[10.10.0.0/20 192.168.0.0/16] 8 8 32", 0},
		{"10.0.0.0/16", set{"default_prefixlen": defaultLen(26), "min_prefixlen": minLen(24), "max_prefixlen": maxLen(28)}, "[10.0.0.0/16] 26 24 28", 0},
		{"2001:db8::/48", set{"is_default": theDefault(true)}, "[2001:db8::/48] 64 64 128", 0},
		{"", nil, "Empty subnet pool prefix list.", model.PoolEmpty},
		{"10.0.0.0/8 2001:db8::/48", nil, "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", model.PoolFamiliesMixed},
		{"10.0.0.0/8", set{"min_prefixlen": minLen(25), "max_prefixlen": maxLen(24)}, "Illegal prefix bounds: min_prefixlen=25, max_prefixlen=24.", model.PoolBounds},
		{"10.0.0.0/8", set{"max_prefixlen": maxLen(33)}, "Illegal prefix bounds: max_prefixlen=33, ip_version_max=32.", model.PoolBounds},
		{"10.0.0.0/8", set{"min_prefixlen": minLen(24), "default_prefixlen": defaultLen(20)}, "Illegal prefix bounds: default_prefixlen=20, min_prefixlen=24.", model.PoolBounds},
		{"10.0.0.0/8", set{"max_prefixlen": maxLen(24), "default_prefixlen": defaultLen(26)}, "Illegal prefix bounds: default_prefixlen=26, max_prefixlen=24.", model.PoolBounds},
		{"10.0.0.0/8", set{"is_default": theDefault(true)}, another, model.InvalidInput},
	} {
		made, err := c.CreateSubnetPools(t.Context(), []poolChange{poolOf(x.prefixes, x.set)})
		if x.kind != 0 {
			wantFault(t, err, x.kind, x.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", x.prefixes, err)
			continue
		}
		p := made[0].Value
		if got := fmt.Sprint(p.Prefixes, p.DefaultLen, p.MinLen, p.MaxLen); got != x.want {
			t.Errorf("%s: %s, want %s", x.prefixes, got, x.want)
		}
	}
	var wrong model.Fault
	_, err := c.CreateSubnetPools(t.Context(), []poolChange{poolOf("10.0.0.0/8", set{"address_scope_id": inScope(six.ID)})})
	if !errors.As(err, &wrong) || wrong.Kind != model.ScopeFamily {
		t.Errorf("%v", err)
	}
	_, err = c.CreateSubnetPools(t.Context(), []poolChange{poolOf("10.0.0.0/8", set{"address_scope_id": inScope("nowhere")})})
	if !errors.Is(err, model.NotFound{Kind: model.KindAddressScope, ID: "nowhere"}) {
		t.Errorf("%v", err)
	}
	both := []poolChange{poolOf("2001:db8:a::/48", set{"address_scope_id": inScope(six.ID)}), poolOf("2001:db8:a:1::/64", set{"address_scope_id": inScope(six.ID)})}
	_, err = c.CreateSubnetPools(t.Context(), both)
	wantFault(t, err, model.ScopeOverlap, "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
	if made, err := c.CreateSubnetPools(t.Context(), both[:1]); err != nil {
		t.Error(err)
	} else if _, err := c.CreateSubnetPools(t.Context(), both[1:]); err == nil {
		t.Errorf("%v overlaps", made)
	}
	wantFault(t, c.DeleteAddressScope(t.Context(), six.ID, control.Opt[int]{}), model.ScopeInUse,
		"Unable to complete operation on address scope "+six.ID+". There are one or more subnet pools in use on the address scope.")
	c.sound()
}

func TestPrefixesOfAPool(t *testing.T) {
	c := newCloud(t)
	p := c.pool("10.0.0.0/24", nil)
	n := c.network(control.NetworkRequest{})
	if _, err := c.CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n.ID, PoolID: p.ID, PrefixLen: ptr(int64(25))}); err != nil {
		t.Fatal(err)
	}
	_, err := c.UpdateSubnetPool(t.Context(), p.ID, poolOf("10.0.0.0/25", nil))
	wantFault(t, err, model.PoolPrefixUpdate, "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
	e, err := c.AddPrefixes(t.Context(), p.ID, prefixList("10.0.1.0/24 172.16.0.0/21"))
	if err != nil || fmt.Sprint(e.Value.Prefixes) != "[10.0.0.0/23 172.16.0.0/21]" {
		t.Errorf("%v, %v", e, err)
	}
	_, err = c.RemovePrefixes(t.Context(), p.ID, prefixList("10.0.0.64/26"))
	wantFault(t, err, model.PoolPrefixUpdate, "Illegal update to prefixes: One or more the prefixes to be removed is in use by a subnet..")
	if e, err = c.RemovePrefixes(t.Context(), p.ID, prefixList("10.0.0.128/25 198.51.100.0/24")); err != nil || fmt.Sprint(e.Value.Prefixes) != "[10.0.0.0/25 10.0.1.0/24 172.16.0.0/21]" {
		t.Errorf("%v, %v", e, err)
	}
	wantFault(t, c.DeleteSubnetPool(t.Context(), p.ID, control.Opt[int]{}), model.PoolDelete,
		"Unable to delete subnet pool: Subnet pool has existing allocations.")
	c.sound()
}

func TestSubnetFromPool(t *testing.T) {
	c := newCloud(t)
	type set = map[string]func(*model.SubnetPool)
	p := c.pool("10.0.0.0/22", set{"default_prefixlen": defaultLen(24), "min_prefixlen": minLen(23), "max_prefixlen": maxLen(26), "is_default": theDefault(true)})
	six := c.pool("2001:db8::/47", set{"default_quota": poolQuota(3)})
	for _, x := range []struct {
		req  control.SubnetRequest
		want string // "cidr gateway", or the message
		kind model.FaultKind
	}{
		{control.SubnetRequest{PoolID: p.ID}, "10.0.0.0/24 10.0.0.1", 0},
		{control.SubnetRequest{DefaultPool: true, IPVersion: 4, PrefixLen: ptr(int64(26))}, "10.0.1.0/26 10.0.1.1", 0},
		{control.SubnetRequest{PoolID: p.ID, CIDR: netip.MustParsePrefix("10.0.1.128/26")}, "10.0.1.128/26 10.0.1.129", 0},
		{control.SubnetRequest{PoolID: p.ID, CIDR: netip.MustParsePrefix("10.0.1.0/25")}, "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.", model.PoolExhausted},
		{control.SubnetRequest{PoolID: p.ID, PrefixLen: ptr(int64(23))}, "10.0.2.0/23 10.0.2.1", 0},
		{control.SubnetRequest{PoolID: p.ID}, "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /24.", model.PoolExhausted},
		{control.SubnetRequest{PoolID: p.ID, PrefixLen: ptr(int64(27))}, "Unable to allocate subnet with prefix length 27, maximum allowed prefix is 26.", model.PoolPrefixTooLong},
		{control.SubnetRequest{PoolID: p.ID, PrefixLen: ptr(int64(22))}, "Unable to allocate subnet with prefix length 22, minimum allowed prefix is 23.", model.PoolPrefixTooShort},
		{control.SubnetRequest{PoolID: p.ID, IPVersion: 6}, "Bad subnets request: Cannot allocate IPv6 subnet from IPv4 subnet pool.", model.BadRequest},
		{control.SubnetRequest{DefaultPool: true, IPVersion: 6}, "Bad subnets request: No default subnetpool found for IPv6.", model.BadRequest},
		{control.SubnetRequest{DefaultPool: true, PoolID: p.ID}, "Bad subnets request: subnetpool_id and use_default_subnetpool cannot both be specified.", model.BadRequest},
		{control.SubnetRequest{PoolID: p.ID, Pools: pools("10.0.0.2-10.0.0.3")}, "Bad subnets request: allocation_pools allowed only for specific subnet requests..", model.BadRequest},
		{control.SubnetRequest{PoolID: six.ID, PrefixLen: ptr(int64(64)), RAMode: model.SLAAC, AddressMode: model.SLAAC}, "2001:db8::/64 2001:db8::1", 0},
		{control.SubnetRequest{PoolID: six.ID, PrefixLen: ptr(int64(64)), Gateway: ptr(addr("2001:db8:1::1"))}, "2001:db8:1::/64 2001:db8:1::1", 0},
		{control.SubnetRequest{PoolID: six.ID}, "2001:db8:0:1::/64 2001:db8:0:1::1", 0},
		{control.SubnetRequest{PoolID: six.ID}, "Per-project subnet pool prefix quota exceeded.", model.PoolQuota},
	} {
		x.req.NetworkID = c.network(control.NetworkRequest{}).ID
		e, err := c.CreateSubnet(t.Context(), x.req)
		if x.kind != 0 {
			wantFault(t, err, x.kind, x.want)
			continue
		}
		if err != nil {
			t.Errorf("want %s: %v", x.want, err)
			continue
		}
		if got := fmt.Sprint(e.Value.CIDR, " ", e.Value.Gateway); got != x.want || e.Value.PoolID == "" {
			t.Errorf("got %s, want %s", got, x.want)
		}
	}
	c.sound()
}

func TestAffinity(t *testing.T) {
	c := newCloud(t)
	type set = map[string]func(*model.SubnetPool)
	scope, other := c.scope(4), c.scope(4)
	a, b := c.pool("10.0.0.0/16", set{"default_prefixlen": defaultLen(24)}), c.pool("10.1.0.0/16", set{"default_prefixlen": defaultLen(24)})
	n := c.network(control.NetworkRequest{})
	make := func(req control.SubnetRequest) error {
		req.NetworkID = n.ID
		_, err := c.CreateSubnet(t.Context(), req)
		return err
	}
	const samePool = "Subnets hosted on the same network must be allocated from the same subnet pool."
	const sameScope = "Subnets of the same address family hosted on the same network must all participate in the same address scope."
	if err := make(control.SubnetRequest{PoolID: a.ID}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, make(control.SubnetRequest{PoolID: b.ID}), model.PoolAffinity, samePool)
	wantFault(t, make(control.SubnetRequest{CIDR: netip.MustParsePrefix("192.0.2.0/24")}), model.PoolAffinity, samePool)
	if err := make(control.SubnetRequest{CIDR: netip.MustParsePrefix("2001:db8::/64")}); err != nil {
		t.Error(err)
	}
	move := func(p *model.SubnetPool, to string) error {
		_, err := c.UpdateSubnetPool(t.Context(), p.ID, poolOf("", set{"address_scope_id": inScope(to)}))
		return err
	}
	if err := errors.Join(move(a, scope.ID), move(b, other.ID)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, make(control.SubnetRequest{PoolID: b.ID}), model.ScopeAffinity, sameScope)
	if err := errors.Join(move(b, scope.ID), make(control.SubnetRequest{PoolID: b.ID})); err != nil {
		t.Fatal(err)
	}
	wantFault(t, move(a, other.ID), model.ScopeAffinity, sameScope)

	// What was on a network before there was a pool comes into one.
	old := c.network(control.NetworkRequest{Project: "p1"})
	s := c.subnet(old, "172.16.0.0/24")
	p := c.pool("172.17.0.0/24", nil)
	moved, err := c.OnboardSubnets(t.Context(), p.ID, old.ID)
	if err != nil || len(moved) != 1 || moved[0].ID != s.ID || moved[0].PoolID != p.ID {
		t.Errorf("%v, %v", moved, err)
	}
	_, err = c.OnboardSubnets(t.Context(), p.ID, old.ID)
	wantFault(t, err, model.PoolUpdate, fmt.Sprintf(
		"Illegal subnetpool update : Onboarding subnet %s: 172.16.0.0/24 conflicts with allocated prefixes in subnet pool %s.", s.ID, p.ID))
	stranger := control.WithCaller(t.Context(), access.Caller{ProjectID: "p2", Roles: access.Expand([]string{"member"})})
	if _, err := c.OnboardSubnets(stranger, p.ID, old.ID); !errors.Is(err, model.NotFound{Kind: model.KindNetwork, ID: string(old.ID)}) {
		t.Errorf("%v", err)
	}
	_, err = c.CreateSubnet(stranger, control.SubnetRequest{NetworkID: c.network(control.NetworkRequest{Project: "p2"}).ID, PoolID: p.ID})
	if !errors.Is(err, model.NotFound{Kind: model.KindSubnetPool, ID: p.ID}) {
		t.Errorf("%v", err)
	}
	c.sound()
}

// TestPoolsOfTwoServers: two servers that take from one pool at the same time never take
// the same, and together all that there is.
func TestPoolsOfTwoServers(t *testing.T) {
	a := newCloud(t)
	b := cloudOn(t, a.client, nil)
	p := a.pool("10.0.0.0/24", map[string]func(*model.SubnetPool){"default_prefixlen": defaultLen(29)})
	networks := make([]model.NetworkID, 40)
	for i := range networks {
		networks[i] = a.network(control.NetworkRequest{}).ID
	}
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []netip.Prefix
	for i, n := range networks {
		wg.Go(func() {
			e, err := []*cloud{a, b}[i%2].CreateSubnet(t.Context(), control.SubnetRequest{NetworkID: n, PoolID: p.ID, EnableDHCP: ptr(false)})
			var f model.Fault
			switch {
			case err == nil:
				mu.Lock()
				got = append(got, e.Value.CIDR)
				mu.Unlock()
			case !errors.As(err, &f) || f.Kind != model.PoolExhausted:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(got) != 32 || fmt.Sprint(ipam.Merge(got)) != "[10.0.0.0/24]" {
		t.Errorf("%d subnets that make up %v", len(got), ipam.Merge(got))
	}
	a.sound()
}

// TestAnyPoolCalls: whatever is asked of pools, no two subnets of a pool overlap and none
// leaves its prefixes; fsck says so.
func TestAnyPoolCalls(t *testing.T) {
	c := newCloud(t)
	rapid.Check(t, func(t *rapid.T) {
		scopes := []string{"", c.scope(4).ID, c.scope(4).ID}
		var pools []string
		var subnets []model.SubnetID
		networks := []model.NetworkID{c.network(control.NetworkRequest{}).ID, c.network(control.NetworkRequest{}).ID}
		prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{10, 0, rapid.Byte().Draw(t, "third"), 0})
			return netip.PrefixFrom(a, rapid.IntRange(16, 24).Draw(t, "bits")).Masked()
		})
		some := rapid.SliceOfN(prefix, 1, 3)
		ok := func(err error) bool {
			var f model.Fault
			if err != nil && !errors.As(err, &f) {
				t.Fatal(err)
			}
			return err == nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"pool": func(t *rapid.T) {
				in, list := rapid.SampledFrom(scopes).Draw(t, "scope"), some.Draw(t, "prefixes")
				ch := poolOf("", map[string]func(*model.SubnetPool){"address_scope_id": inScope(in), "prefixes": func(p *model.SubnetPool) { p.Prefixes = list }})
				if made, err := c.CreateSubnetPools(c.t.Context(), []poolChange{ch}); ok(err) {
					pools = append(pools, made[0].Value.ID)
				}
			},
			"change": func(t *rapid.T) {
				if len(pools) == 0 {
					t.Skip()
				}
				id, list := rapid.SampledFrom(pools).Draw(t, "pool"), some.Draw(t, "prefixes")
				var err error
				switch rapid.IntRange(0, 2).Draw(t, "how") {
				case 0:
					_, err = c.AddPrefixes(c.t.Context(), id, list)
				case 1:
					_, err = c.RemovePrefixes(c.t.Context(), id, list)
				case 2:
					_, err = c.UpdateSubnetPool(c.t.Context(), id, poolOf("", map[string]func(*model.SubnetPool){"address_scope_id": inScope(rapid.SampledFrom(scopes).Draw(t, "scope"))}))
				}
				ok(err)
			},
			"subnet": func(t *rapid.T) {
				if len(pools) == 0 {
					t.Skip()
				}
				req := control.SubnetRequest{NetworkID: rapid.SampledFrom(networks).Draw(t, "network"), PoolID: rapid.SampledFrom(pools).Draw(t, "pool"), EnableDHCP: ptr(false)}
				if rapid.Bool().Draw(t, "any") {
					req.PrefixLen = ptr(int64(rapid.IntRange(17, 28).Draw(t, "length")))
				} else {
					req.CIDR = prefix.Draw(t, "cidr")
				}
				if e, err := c.CreateSubnet(c.t.Context(), req); ok(err) {
					subnets = append(subnets, e.Value.ID)
				}
			},
			"onboard": func(t *rapid.T) {
				if len(pools) > 0 {
					_, err := c.OnboardSubnets(c.t.Context(), rapid.SampledFrom(pools).Draw(t, "pool"), rapid.SampledFrom(networks).Draw(t, "network"))
					ok(err)
				}
			},
			"delete": func(t *rapid.T) {
				if len(subnets) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(subnets)-1).Draw(t, "subnet")
				ok(c.DeleteSubnet(c.t.Context(), subnets[i], control.Opt[int]{}))
				subnets = slices.Delete(subnets, i, i+1)
			},
		})
		problems, err := control.Fsck(c.t.Context(), c.client)
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		c.clear(subnets, networks, pools)
	})
}

// clear removes what a run has made, so that the next is as fast.
func (c *cloud) clear(subnets []model.SubnetID, networks []model.NetworkID, pools []string) {
	c.t.Helper()
	var err error
	for _, id := range networks {
		err = errors.Join(err, c.DeleteNetwork(c.t.Context(), id, control.Opt[int]{}))
	}
	for _, id := range pools {
		err = errors.Join(err, c.DeleteSubnetPool(c.t.Context(), id, control.Opt[int]{}))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.Read(func(r store.Reader) {
		if r.SubnetCount() != 0 {
			c.t.Errorf("%d subnets of %d left", r.SubnetCount(), len(subnets))
		}
	})
}
