package control

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"weft/internal/access"
	"weft/internal/metrics"
	"weft/internal/model"
	"weft/internal/store"
)

// Config holds the choices of an operator that rule what verbs do.
type Config struct {
	// BaseMAC is how chosen MACs begin: three octets, and the fourth unless it is 00.
	BaseMAC model.MAC
	// PhysicalMTU is the MTU of the physical networks and of the network under the tunnels.
	PhysicalMTU int
	// PhysicalMTUs overrides PhysicalMTU for single physical networks.
	PhysicalMTUs map[string]int
	// OverlayIPVersion is that of the addresses that tunnels end at: 4, which 0 also means, or 6.
	OverlayIPVersion int
	// VLANRanges are the VLAN IDs given out on a physical network without being asked
	// for, first and last. A physical network with {0, 0} is known but gives out none.
	VLANRanges map[string][2]int
	// FlatNetworks are the physical networks that may carry a flat network; "*" is any.
	FlatNetworks []string
	// VNIRange is the first and last VNI given out.
	VNIRange [2]uint32
	// DNSDomain is the domain of host names that DHCP gives out.
	DNSDomain string
	// MaxNameservers and MaxHostRoutes bound the lists of a subnet.
	MaxNameservers, MaxHostRoutes int
	// MaxRoutes bounds the extra routes of a router.
	MaxRoutes int
	// MaxAddressPairs bounds the allowed address pairs of a port.
	MaxAddressPairs int
	// Quotas are the limits of projects that have none of their own, by resource; a
	// resource that is missing, or below 0, has no limit.
	Quotas map[string]int
	// AgentDownTime is how old the last heartbeat of a live host may be.
	AgentDownTime time.Duration
	// DHCP is how DHCP is served.
	DHCP model.DHCPSetting
	// DHCPFailover lets DHCP ports leave dead hosts.
	DHCPFailover bool
}

// DefaultConfig returns Neutron's defaults.
func DefaultConfig() Config {
	return Config{
		BaseMAC:         model.MAC{0xfa, 0x16, 0x3e},
		PhysicalMTU:     1500,
		VNIRange:        [2]uint32{minVNI, maxVNI},
		DNSDomain:       "openstacklocal",
		MaxNameservers:  5,
		MaxHostRoutes:   20,
		MaxRoutes:       30,
		MaxAddressPairs: 10,
		AgentDownTime:   75 * time.Second,
		DHCP:            model.DHCPSetting{Mode: model.DHCPAgents, PerNetwork: 1},
		DHCPFailover:    true,
		Quotas: map[string]int{"network": 100, "subnet": 100, "port": 500, "security_group": 10, "security_group_rule": 100,
			"router": 10, "floatingip": 50, "rbac_policy": 10},
	}
}

// Options are what a Control is made of. Store is required.
type Options struct {
	Store *store.Store
	// Log receives what an operator wants to know; nil discards.
	Log *slog.Logger
	// Metrics counts what verbs did; nil counts for nobody.
	Metrics *metrics.Registry
	// Policy says who may do what, where that depends on more than the request itself;
	// Neutron's defaults when nil.
	Policy *access.Policy
	// Config is used as given; begin with DefaultConfig.
	Config Config
	// Now tells the time; time.Now when nil.
	Now func() time.Time
	// Rand returns a number in [0, n), n > 0; safe for concurrent use; math/rand when nil.
	Rand func(n int) int
}

// Control carries out the verbs. It is safe for concurrent use.
type Control struct {
	store *store.Store
	log   *slog.Logger
	cfg   Config
	now   func() time.Time
	rnd   func(n int) int
	facts facts

	policy *access.Policy

	counts     counts
	dhcpFaults dhcpFaults
	refused    refusals
}

// New returns a Control.
func New(o Options) *Control {
	c := &Control{store: o.Store, log: o.Log, cfg: o.Config, now: o.Now, rnd: o.Rand, policy: o.Policy,
		refused: refusals{some: make(chan struct{}, 1)}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.policy == nil {
		c.policy = access.Default()
	}
	if c.rnd == nil {
		c.rnd = rand.IntN
	}
	c.count(o.Metrics)
	return c
}

// Config returns the configuration in force.
func (c *Control) Config() Config { return c.cfg }

// Read calls f with a Reader of the cloud at one revision. See store.View for its rules.
func (c *Control) Read(f func(store.Reader)) { c.store.View(f) }

// Sync makes later reads see all that any server wrote before the call. One server alone
// on its etcd needs no Sync.
func (c *Control) Sync(ctx context.Context) error { return c.store.Sync(ctx) }

// Network returns the network with this ID, or model.NotFound.
func (c *Control) Network(_ context.Context, id model.NetworkID) (e *store.Entry[model.Network], err error) {
	c.Read(func(r store.Reader) { e = r.Network(id) })
	if e == nil {
		return nil, model.NotFound{Kind: model.KindNetwork, ID: string(id)}
	}
	return e, nil
}

// Subnet returns the subnet with this ID, or model.NotFound.
func (c *Control) Subnet(_ context.Context, id model.SubnetID) (e *store.Entry[model.Subnet], err error) {
	c.Read(func(r store.Reader) { e = r.Subnet(id) })
	if e == nil {
		return nil, model.NotFound{Kind: model.KindSubnet, ID: string(id)}
	}
	return e, nil
}

// Port returns the port with this ID, or model.NotFound.
func (c *Control) Port(_ context.Context, id model.PortID) (e *store.Entry[model.Port], err error) {
	c.Read(func(r store.Reader) { e = r.Port(id) })
	if e == nil {
		return nil, model.NotFound{Kind: model.KindPort, ID: string(id)}
	}
	return e, nil
}

// SubnetsOf returns the subnets of a network, oldest first.
func (c *Control) SubnetsOf(_ context.Context, id model.NetworkID) (subnets []*store.Entry[model.Subnet]) {
	c.Read(func(r store.Reader) { subnets = r.SubnetsOf(id) })
	return subnets
}

// Hosts returns all hosts, sorted by name.
func (c *Control) Hosts(context.Context) (hosts []*store.Entry[model.Host]) {
	c.Read(func(r store.Reader) { hosts = r.Hosts() })
	return hosts
}

// HostAlive reports whether a host was heard of recently enough at now. What counts is when
// this server saw the heartbeat, not the stamp in it, which may be by another server's clock.
func (c *Control) HostAlive(h *model.Host, now time.Time) bool {
	return now.Sub(h.HeardAt) <= c.cfg.AgentDownTime
}

const (
	// maxConflicts bounds how often a verb starts anew because others changed what it
	// read. Each conflict means that someone else succeeded.
	maxConflicts = 500
	// maxWait bounds how long a verb waits for other requests of this process to end.
	maxWait = 20 * time.Second
	// patience is how many times a verb waits for others before it also lets some time
	// pass: two requests that each hold what the other lacks must not keep in step.
	patience = 8
)

// maxTogether is how many objects one request may create: each takes at least two of the
// 16384 operations that a transaction may have.
const maxTogether = 8192

// errUnchanged says that a change asks for what the mirror holds already. That must be
// sure before it is answered: when another server has changed it, there is something to do.
var errUnchanged = errors.New("nothing to change")

// checkTogether refuses a request for more objects than one transaction can hold, before
// any work is done for it.
func checkTogether(n int) error {
	if n > maxTogether {
		return invalid("One request cannot create more than %d resources", maxTogether)
	}
	return nil
}

// attempt runs f with a fresh reservation until it neither conflicts nor waits for
// another request. f reads, judges, reserves, builds a transaction and commits it.
func (c *Control) attempt(ctx context.Context, f func(*store.Reservation) error) error {
	synced := false
	var deadline time.Time
	for conflicts, waits := 0, 0; conflicts < maxConflicts; {
		res := c.store.Reserve()
		err := f(res)
		res.Release()
		if elsewhere := (wrongSubnet{}); errors.As(err, &elsewhere) {
			err = elsewhere.fault(c)
		}
		var conflict store.Conflict
		var wait store.Pending
		unchanged := errors.Is(err, errUnchanged)
		switch {
		case err == nil, unchanged && synced:
			return nil
		case errors.As(err, &conflict):
			c.counts.retries.Add(1, "conflict")
			conflicts++ // and the mirror has caught up with what was in the way
		case errors.As(err, &wait):
			c.counts.retries.Add(1, "wait")
			if waits++; waits == 1 {
				deadline = time.Now().Add(maxWait)
			}
			if err := c.wait(ctx, wait, waits, deadline); err != nil {
				return err
			}
		case !synced && (unchanged || c.stale(err)):
			// This rests on what the mirror holds; another server may know better.
			synced = true
			at := c.store.Revision()
			if e := c.store.Sync(ctx); e != nil {
				return e
			}
			if c.store.Revision() != at {
				continue
			}
			if unchanged {
				return nil
			}
			c.counts.refuse(err)
			return err
		default:
			c.counts.refuse(err)
			return err
		}
	}
	return model.Faultf(model.Unavailable, "Too many concurrent changes; the request was tried %d times.", maxConflicts)
}

// wait returns when another request of this process has ended, or with the fault of a
// request that cannot wait longer.
func (c *Control) wait(ctx context.Context, p store.Pending, waits int, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-p.Changed:
	case <-timer.C:
		return model.Faultf(model.Unavailable, "Other requests held what this one needs for %s.", maxWait)
	case <-ctx.Done():
		return model.Fault{Kind: model.Unavailable, Message: "The request took too long.", Detail: ctx.Err().Error()}
	}
	if waits > patience {
		time.Sleep(time.Duration(c.rnd(min(waits, 50)*100)+1) * time.Microsecond)
	}
	return nil
}

// stale reports whether a refusal could come from a mirror that lags behind: all but
// those that follow from the request alone.
func (c *Control) stale(err error) bool {
	var missing model.NotFound
	if errors.As(err, &missing) {
		return true
	}
	var f model.Fault
	if !errors.As(err, &f) {
		return false
	}
	switch f.Kind {
	case model.Unavailable, model.InvalidInput, model.InvalidAllocationPool, model.OutOfBoundsPool,
		model.OverlappingPools, model.NameserversExhausted, model.HostRoutesExhausted, model.AddressPairExhausted:
		return false
	}
	return true
}

// stamp returns the time to record. The API shows whole seconds; the rest keeps objects
// made in the same second in order.
func (c *Control) stamp() time.Time { return c.now().UTC().Truncate(time.Microsecond) }
