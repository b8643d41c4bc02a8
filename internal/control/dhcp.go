package control

import (
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// dhcpPortID returns the ID of a network's DHCP port. It follows from the network, so
// that two servers that both find it missing make the same port, and one of them loses.
func dhcpPortID(id model.NetworkID) model.PortID {
	return model.PortID(uuid.NewSHA1(uuid.NameSpaceDNS, []byte("dhcp."+string(id))).String())
}

// DHCPDeviceID returns the device_id of the DHCP port of a network on a host, as Neutron forms it.
func DHCPDeviceID(host model.HostName, id model.NetworkID) string {
	return "dhcp" + uuid.NewSHA1(uuid.NameSpaceDNS, []byte(host)).String() + "-" + string(id)
}

// EnsureDHCP makes the DHCP port of a network what its subnets ask for: one port, with
// the lowest free address of each subnet that has DHCP enabled, bound to a live host that
// serves DHCP. It stays on its host while that lives, unless an administrator has put it
// elsewhere. Without such a subnet, or when DHCP was taken away, the port
// goes; without such a host it stays as it is, or is not made. A subnet without a free
// address is left out, which is an error, and the others are served.
func (c *Control) EnsureDHCP(ctx context.Context, id model.NetworkID) error {
	var left error
	err := c.attempt(ctx, func(res *store.Reservation) error {
		left = nil
		var d dhcpState
		c.Read(func(r store.Reader) { d = c.dhcpState(r, id) })
		if d.at.network == nil || d.settled {
			return nil
		}
		txn := c.store.Txn()
		switch {
		case d.port != nil && len(d.wanted) == 0:
			txn.DeletePort(d.port, d.revision)
			txn.UnchangedNetwork(d.at.network)
		case d.port == nil:
			p := c.newDHCPPort(d)
			var err error
			if left, err = c.placeDHCP(p, d, res); err != nil {
				return err
			}
			txn.CreatePort(p)
			d.at.keep(txn)
		default:
			p := *d.port.Value
			var err error
			if left, err = c.placeDHCP(&p, d, res); err != nil {
				return err
			}
			if reflect.DeepEqual(&p, d.port.Value) {
				return nil
			}
			c.touch(&p.Meta)
			txn.UpdatePort(d.port, &p)
			d.at.keep(txn)
		}
		_, err := txn.Commit(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return left
}

// dhcpState is what EnsureDHCP decides from.
type dhcpState struct {
	at       place
	wanted   []model.SubnetID // subnets with DHCP, oldest first
	port     *store.Entry[model.Port]
	revision int64       // of the mirror
	host     *model.Host // where the port is to be; nil: nowhere new
	// settled says that nothing is to be done.
	settled bool
}

func (c *Control) dhcpState(r store.Reader, id model.NetworkID) dhcpState {
	d := dhcpState{at: place{network: r.Network(id), subnets: r.SubnetsOf(id)}, port: r.Port(dhcpPortID(id)), revision: r.Revision()}
	if d.at.network == nil {
		return d
	}
	for _, s := range d.at.subnets {
		if s.Value.EnableDHCP && !d.at.network.Value.DHCPAway {
			d.wanted = append(d.wanted, s.Value.ID)
		}
	}
	if len(d.wanted) == 0 {
		d.settled = d.port == nil
		return d
	}
	d.host = c.dhcpHost(r, d)
	if d.port == nil {
		d.settled = d.host == nil
		return d
	}
	has := map[model.SubnetID]bool{}
	for _, f := range d.port.Value.FixedIPs {
		has[f.SubnetID] = true
	}
	lacks := func(id model.SubnetID) bool { return !has[id] }
	moves := d.host != nil && (d.host.Name != d.port.Value.Binding.Host || d.port.Value.Binding.VIFType != model.VIFOVS)
	d.settled = len(has) == len(d.wanted) && !slices.ContainsFunc(d.wanted, lacks) && !moves
	return d
}

// dhcpHost returns the host for a network's DHCP port: where it was put, else where it is,
// if that lives, else one of the live ones, the same for the same network and hosts; nil
// when there is none.
func (c *Control) dhcpHost(r store.Reader, d dhcpState) *model.Host {
	able := func(h *model.Host) bool {
		return h.Has(model.RoleNetwork) && !h.Agents[model.AgentDHCP].Disabled && c.cannotServe(h, d.at.network.Value) == ""
	}
	if e := r.Host(d.at.network.Value.DHCPHost); e != nil && able(e.Value) {
		return e.Value
	}
	if d.port != nil {
		if e := r.Host(d.port.Value.Binding.Host); e != nil && able(e.Value) {
			return e.Value
		}
	}
	var live []*model.Host
	for _, e := range r.Hosts() {
		if able(e.Value) {
			live = append(live, e.Value)
		}
	}
	if len(live) == 0 {
		return nil
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(d.at.network.Value.ID)) // never fails
	return live[sum.Sum32()%uint32(len(live))]
}

func (c *Control) newDHCPPort(d dhcpState) *model.Port {
	n, now := d.at.network.Value, c.stamp()
	return &model.Port{
		ID:           dhcpPortID(n.ID),
		Project:      n.Project,
		NetworkID:    n.ID,
		AdminStateUp: true,
		Status:       model.PortDown,
		DeviceOwner:  model.OwnerDHCP,
		Binding:      model.Binding{VNICType: defaultVNIC, VIFType: model.VIFUnbound},
		Meta:         model.Meta{CreatedAt: now, UpdatedAt: now, Revision: 1},
	}
}

// placeDHCP gives a DHCP port its MAC if it has none, the addresses it lacks, and its
// host. full is the fault of a subnet without a free address; it is err when no subnet
// has one.
func (c *Control) placeDHCP(p *model.Port, d dhcpState, res *store.Reservation) (full, err error) {
	if p.MAC.IsZero() {
		if err := c.chooseMAC(p, Opt[model.MAC]{}, res); err != nil {
			return nil, err
		}
	}
	var ips []model.FixedIP
	had := p.FixedIPs
	for _, id := range d.wanted {
		if d.at.auto(id) {
			continue // comes with the MAC
		}
		got, err := c.askedAddresses(p, had, []FixedIPRequest{{SubnetID: id}}, d.at, res, 1)
		var f model.Fault
		if errors.As(err, &f) && f.Kind == model.IPExhausted {
			full = f
			continue
		}
		if err != nil {
			return nil, err
		}
		ips = append(ips, got...)
	}
	p.FixedIPs = ips
	if err := c.autoAddresses(p, had, nil, d.at, res); err != nil {
		return nil, err
	}
	if len(p.FixedIPs) == 0 {
		return nil, full
	}
	if d.host != nil && (p.Binding.Host != d.host.Name || p.Binding.VIFType != model.VIFOVS) {
		p.DeviceID = DHCPDeviceID(d.host.Name, p.NetworkID)
		p.Binding.Host = d.host.Name
		p.Binding.VIFType = model.VIFOVS
		p.Binding.BridgeName, p.Binding.DatapathType = d.host.IntegrationBridge, d.host.DatapathType
		p.Binding.Reason = ""
		p.Status = model.PortDown
	}
	return full, nil
}

// ensureAllDHCP ensures the DHCP port of every network that lacks something, and the
// addresses of ports that a server did not get to give them.
func (c *Control) ensureAllDHCP(ctx context.Context) {
	c.ensureAllAuto(ctx)
	var todo []model.NetworkID
	c.Read(func(r store.Reader) {
		for e := range r.Networks() {
			if !c.dhcpState(r, e.Value.ID).settled {
				todo = append(todo, e.Value.ID)
			}
		}
	})
	slices.Sort(todo)
	c.dhcpFaults.keep(todo)
	for _, id := range todo {
		c.ensureDHCP(ctx, id)
	}
}

// ensureDHCP is EnsureDHCP for verbs that have already succeeded: what fails is logged,
// once while it stays the same, and made good at a heartbeat of a host that serves DHCP.
func (c *Control) ensureDHCP(ctx context.Context, id model.NetworkID) {
	err := c.EnsureDHCP(ctx, id)
	if c.dhcpFaults.changed(id, err) {
		c.log.Warn("network without DHCP, or a subnet of it", "network", id, "err", err)
	}
}

// dhcpFaults remembers which networks lack DHCP and why, so that it is told once.
type dhcpFaults struct {
	mu   sync.Mutex
	told map[model.NetworkID]string
}

// changed notes the outcome for a network and reports whether it is a new fault.
func (f *dhcpFaults) changed(id model.NetworkID, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.told, id)
		return false
	}
	if f.told == nil {
		f.told = map[model.NetworkID]string{}
	}
	if f.told[id] == err.Error() {
		return false
	}
	f.told[id] = err.Error()
	return true
}

// keep drops what is remembered of networks that lack nothing or are gone.
func (f *dhcpFaults) keep(ids []model.NetworkID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.told, func(id model.NetworkID, _ string) bool {
		_, lacking := slices.BinarySearch(ids, id)
		return !lacking
	})
}
