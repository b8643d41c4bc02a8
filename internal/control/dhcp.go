package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// dhcpPortID returns the ID of a network's DHCP port in a slot. It follows from the two, so
// that two servers that both find it missing make the same port, and one of them loses.
func dhcpPortID(id model.NetworkID, slot int) model.PortID {
	name := "dhcp." + string(id)
	if slot > 0 {
		name = fmt.Sprintf("dhcp.%d.%s", slot, id)
	}
	return model.PortID(uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name)).String())
}

// maxDHCPSlots is how many DHCP ports a network can have.
const maxDHCPSlots = 64

// DHCPDeviceID returns the device_id of the DHCP port of a network on a host, as Neutron forms it.
func DHCPDeviceID(host model.HostName, id model.NetworkID) string {
	return "dhcp" + uuid.NewSHA1(uuid.NameSpaceDNS, []byte(host)).String() + "-" + string(id)
}

// EnsureDHCP makes the DHCP ports of a network what its subnets ask for. Each has the lowest
// free address of each subnet that has DHCP enabled. Where they are, placement decides; a
// dead host keeps what it has. In distributed mode it is one port, of all hosts. Without
// such a subnet, or when DHCP was taken away, the ports go. A subnet without a free
// address is left out, which is an error, and the others are served.
func (c *Control) EnsureDHCP(ctx context.Context, id model.NetworkID) error {
	return c.tendDHCP(ctx, id, false)
}

// tendDHCP is EnsureDHCP; with failover, dead hosts lose their ports.
func (c *Control) tendDHCP(ctx context.Context, id model.NetworkID, failover bool) error {
	var left error
	err := c.attempt(ctx, func(res *store.Reservation) error {
		left = nil
		var d dhcpState
		c.Read(func(r store.Reader) { d = c.dhcpState(r, id, failover) })
		if d.settled {
			return nil
		}
		txn := c.store.Txn()
		for slot, old := range d.ports {
			if _, stays := d.slots[slot]; !stays {
				txn.DeletePort(old, d.revision)
			}
		}
		for _, slot := range slices.Sorted(maps.Keys(d.slots)) {
			full, err := c.putDHCPPort(txn, d, slot, res)
			if err != nil {
				return err
			}
			if full != nil {
				left = full
			}
		}
		if len(d.slots) == 0 {
			txn.UnchangedNetwork(d.at.network)
		} else {
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

// putDHCPPort adds to a transaction what makes the port of a slot as it is to be. full is
// the fault of a subnet without a free address; a port without any is not made.
func (c *Control) putDHCPPort(txn *store.Txn, d dhcpState, slot int, res *store.Reservation) (full, err error) {
	old := d.ports[slot]
	var p model.Port
	if old != nil {
		p = *old.Value
	} else {
		p = c.newDHCPPort(d, slot)
	}
	if full, err = c.placeDHCP(&p, d, res); err != nil {
		return nil, err
	}
	if len(p.FixedIPs) == 0 {
		if old != nil {
			txn.DeletePort(old, d.revision)
		}
		return full, nil
	}
	if !d.seatedAt(&p, d.slots[slot]) {
		p = d.seat(p, d.slots[slot])
	}
	switch {
	case old == nil:
		txn.CreatePort(&p)
	case !reflect.DeepEqual(&p, old.Value):
		c.touch(&p.Meta)
		txn.UpdatePort(old, &p)
	}
	return full, nil
}

// dhcpState is what tendDHCP decides from.
type dhcpState struct {
	at       place
	wanted   []model.SubnetID // subnets with DHCP, oldest first
	ports    map[int]*store.Entry[model.Port]
	revision int64 // of the mirror
	// slots are the ports that there are to be.
	slots map[int]seat
	// settled says that nothing is to be done.
	settled bool
}

// seat is where a DHCP port is to be.
type seat struct {
	// host is nil where the port stays as it is, or for a port of all hosts.
	host        *model.Host
	distributed bool
	// silent: it stays on a host that is dead.
	silent bool
}

func (c *Control) dhcpState(r store.Reader, id model.NetworkID, failover bool) dhcpState {
	d := dhcpState{at: place{network: r.Network(id), subnets: r.SubnetsOf(id)}, revision: r.Revision()}
	if d.at.network == nil {
		d.settled = true
		return d
	}
	d.ports = dhcpPorts(r, id)
	for _, s := range d.at.subnets {
		if s.Value.EnableDHCP && !d.at.network.Value.DHCPAway {
			d.wanted = append(d.wanted, s.Value.ID)
		}
	}
	if len(d.wanted) > 0 {
		d.slots = c.dhcpSeats(r, d, failover)
	}
	d.settled = len(d.slots) == len(d.ports)
	for slot, s := range d.slots {
		old := d.ports[slot]
		d.settled = d.settled && old != nil && d.seatedAt(old.Value, s) && d.addressed(old.Value)
	}
	return d
}

// dhcpPorts returns the DHCP ports of a network by slot; those that somebody else has made
// are not among them.
func dhcpPorts(r store.Reader, id model.NetworkID) map[int]*store.Entry[model.Port] {
	all := r.DHCPPortsOf(id)
	ports := make(map[int]*store.Entry[model.Port], len(all))
	for slot := 0; len(ports) < len(all) && slot < maxDHCPSlots; slot++ {
		want := dhcpPortID(id, slot)
		for _, e := range all {
			if e.Value.ID == want {
				ports[slot] = e
			}
		}
	}
	return ports
}

// dhcpSeats decides where the ports of a network are to be.
func (c *Control) dhcpSeats(r store.Reader, d dhcpState, failover bool) map[int]seat {
	n, setting := d.at.network.Value, c.DHCPSetting(r)
	if setting.Mode == model.DHCPDistributed {
		return map[int]seat{0: {distributed: true}}
	}
	number := min(setting.PerNetwork, maxDHCPSlots)
	if seats := c.restingSeats(r, d); len(seats) == number && len(n.DHCPHosts) == 0 {
		return seats
	}
	p := placement{network: n.ID, number: number, byHand: n.DHCPHosts,
		ports: make(map[int]model.HostName, len(d.ports)), hosts: map[model.HostName]candidate{}, failover: failover && c.cfg.DHCPFailover}
	for slot, e := range d.ports {
		p.ports[slot] = e.Value.Binding.Host
	}
	for _, e := range r.Hosts() {
		if able, dead := c.canServeDHCP(e.Value, n); able || dead {
			p.hosts[e.Value.Name] = candidate{able: able, dead: dead, load: r.DHCPPortCountOn(e.Value.Name)}
		}
	}
	seats := map[int]seat{}
	for slot, name := range p.slots() {
		s := seat{silent: failover && p.hosts[name].dead}
		if e := r.Host(name); e != nil && p.hosts[name].able {
			s.host = e.Value
		}
		seats[slot] = s
	}
	return seats
}

// restingSeats are the seats of the ports there are, if each is on a host of its own that can
// serve; else none. When they are as many as are wanted, placement leaves them as they are:
// so it is nearly always, and the other hosts, of which there may be a thousand, need no look.
func (c *Control) restingSeats(r store.Reader, d dhcpState) map[int]seat {
	seats, used := make(map[int]seat, len(d.ports)), map[model.HostName]bool{}
	for slot, old := range d.ports {
		name := old.Value.Binding.Host
		e := r.Host(name)
		if e == nil || used[name] {
			return nil
		}
		if able, _ := c.canServeDHCP(e.Value, d.at.network.Value); !able {
			return nil
		}
		used[name] = true
		seats[slot] = seat{host: e.Value}
	}
	return seats
}

// canServeDHCP reports whether a host can serve a network, or could if it were alive.
func (c *Control) canServeDHCP(h *model.Host, n *model.Network) (able, dead bool) {
	if !h.Has(model.RoleNetwork) || h.Agents[model.AgentDHCP].Disabled || c.cannotCarry(h, n) != "" {
		return false, false
	}
	alive := c.HostAlive(h, c.now())
	return alive, !alive
}

// seatedAt reports whether a port is where it is to be.
func (d *dhcpState) seatedAt(p *model.Port, s seat) bool {
	switch {
	case s.distributed:
		return p.Distributed()
	case s.host != nil:
		return p.Binding.Host == s.host.Name && p.Binding.VIFType == model.VIFOVS
	case s.silent:
		return p.Status != model.PortActive
	}
	return true
}

// seat returns a port that is where it is to be.
func (d *dhcpState) seat(p model.Port, s seat) model.Port {
	p.Status = model.PortDown
	switch {
	case s.distributed:
		p.DeviceID = model.DeviceIDReservedDHCPPort
		p.Binding = model.Binding{VNICType: defaultVNIC, VIFType: model.VIFDistributed}
		if p.AdminStateUp {
			p.Status = model.PortActive
		}
	case s.host != nil:
		p.DeviceID = DHCPDeviceID(s.host.Name, p.NetworkID)
		p.Binding.Host, p.Binding.VIFType, p.Binding.Reason = s.host.Name, model.VIFOVS, ""
		p.Binding.BridgeName, p.Binding.DatapathType = s.host.IntegrationBridge, s.host.DatapathType
	}
	return p
}

// addressed reports whether a port has an address on each subnet with DHCP, and on no other.
func (d *dhcpState) addressed(p *model.Port) bool {
	has := map[model.SubnetID]bool{}
	for _, f := range p.FixedIPs {
		has[f.SubnetID] = true
	}
	lacks := func(id model.SubnetID) bool { return !has[id] }
	return len(has) == len(d.wanted) && !slices.ContainsFunc(d.wanted, lacks)
}

func (c *Control) newDHCPPort(d dhcpState, slot int) model.Port {
	n, now := d.at.network.Value, c.stamp()
	return model.Port{
		ID:           dhcpPortID(n.ID, slot),
		Project:      n.Project,
		NetworkID:    n.ID,
		AdminStateUp: true,
		Status:       model.PortDown,
		DeviceOwner:  model.OwnerDHCP,
		Binding:      model.Binding{VNICType: defaultVNIC, VIFType: model.VIFUnbound},
		Meta:         model.Meta{CreatedAt: now, UpdatedAt: now, Revision: 1},
	}
}

// placeDHCP gives a DHCP port its MAC if it has none, and the addresses it lacks. full is
// the fault of a subnet without a free address.
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
	return full, c.autoAddresses(p, had, nil, d.at, res)
}

// ensureDHCP is EnsureDHCP for verbs that have already succeeded: what fails is logged,
// once while it stays the same, and made good in a later pass of RunDHCP.
func (c *Control) ensureDHCP(ctx context.Context, id model.NetworkID) {
	c.noteDHCP(id, c.EnsureDHCP(ctx, id))
}

func (c *Control) noteDHCP(id model.NetworkID, err error) {
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
