package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"weft/internal/host/dhcpd"
	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/plan/vswitch"
)

// Probe looks closely at one port: at the switch, the kernel and the DHCP responder,
// now. What cannot be looked at is a gap; the rest is still looked at.
func (h *Host) Probe(ctx context.Context, q Query) Found {
	var f Found
	f.Database, f.Vswitchd = h.p.Switch.Alive(ctx)
	gap := func(what string, err error) { f.Gaps = append(f.Gaps, fmt.Sprintf("%s: %v", what, err)) }
	var service sync.WaitGroup // a deaf one takes its time
	var deaf error
	if h.p.DHCP != nil {
		f.Transactions = h.transactions(q.PortID)
		if q.Namespace != "" {
			service.Go(func() { f.DHCP, deaf = h.probeDHCP(ctx, q) })
		}
	}
	device := q.Device
	f.Interface, f.Twins = h.findInterface(q.PortID)
	if f.Interface != nil {
		device = f.Interface.Name
	} else {
		f.LookAlikes = h.lookAlikes(q)
	}
	f.Repairs = h.repairs(q, device)
	l, err := kernel.LinkInfo("", device)
	switch {
	case err == nil:
		f.Device = &l
		if l.Type == "tun" && l.Carrier {
			if who, ok := h.holders.Of(l.Name); ok {
				f.Holder = &who
			}
		}
	case !errors.Is(err, kernel.ErrNoLink):
		gap("device "+device, err)
	}
	// A daemon that does not answer is not asked again and again. Without its database ovs-vswitchd answers nobody.
	switch {
	case f.Database != nil:
		gap("flows of "+q.Bridge, f.Database)
	case errors.Is(f.Vswitchd, context.DeadlineExceeded):
		gap("flows of "+q.Bridge, f.Vswitchd)
	default:
		h.probeSwitch(ctx, q, &f, gap)
	}
	if service.Wait(); deaf != nil {
		gap("test of the DHCP service", deaf)
	}
	return f
}

// named are the ports of the switch that the query is about.
func named(q Query, f *Found) (ports []string) {
	if f.Interface != nil {
		ports = append(ports, f.Interface.Name)
	}
	if q.DHCPDevice != "" && !slices.Contains(ports, q.DHCPDevice) {
		ports = append(ports, q.DHCPDevice)
	}
	return ports
}

// probeSwitch looks at the flows of a port, and at what the datapath knows of it.
func (h *Host) probeSwitch(ctx context.Context, q Query, f *Found, gap func(string, error)) {
	ofPort := func(object uint32) uint64 { return vswitch.Cookie(0, vswitch.KindPort, object) }
	flows, _, err := h.p.Switch.DumpFlows(ctx, q.Bridge, ofPort(vswitch.CookieObject(string(q.PortID))), ofPort(1<<32-1)|0xff<<40)
	if err != nil {
		gap("flows of "+q.Bridge, err)
	}
	for i := range flows {
		f.Flows = append(f.Flows, FlowCount{Flow: flows[i].Flow, Packets: flows[i].Packets, Age: flows[i].Age})
	}
	if f.Interface != nil && f.Interface.OFPort > 0 {
		if f.Sources, err = h.p.Switch.Sources(ctx, f.Interface.Name, q.MAC, q.Addrs); err != nil {
			gap("what the guest sends", err)
		}
	}
	if f.Settings, err = h.p.Switch.Settings(ctx, named(q, f)...); err != nil {
		gap("settings of Open vSwitch", err)
	}
	if q.Packet != "" {
		if f.Walk, err = h.p.Switch.Trace(ctx, q.Bridge, q.Packet, q.CTNext...); err != nil {
			gap("way of the packet", err)
		}
	}
	f.Foreign = map[string][]ovs.Foreign{}
	for _, bridge := range q.In {
		if f.Foreign[bridge], err = h.p.Switch.Foreign(ctx, bridge, q.Owner, q.Parts); err != nil {
			gap("flows of others in "+bridge, err)
		}
	}
	for _, w := range q.Walks {
		text, err := h.p.Switch.Trace(ctx, w.Bridge, w.Packet)
		if err != nil {
			gap("way of "+w.Packet+" on "+w.Bridge, err)
		}
		f.Walks = append(f.Walks, text)
	}
}

// probeDHCP looks at the DHCP service of the port's network here. The error is that it could not be tested.
func (h *Host) probeDHCP(ctx context.Context, q Query) (*DHCPFound, error) {
	d := &DHCPFound{Listening: h.p.DHCP.Serving(q.NetworkID), Seen: h.p.DHCP.Seen(q.NetworkID, q.MAC)}
	l, err := kernel.LinkInfo(q.Namespace, q.DHCPDevice)
	switch {
	case err == nil:
		d.Exists, d.Device = true, &l
	case errors.Is(err, kernel.ErrNoLink):
		d.Exists = true
	}
	port, _ := h.findInterface(q.DHCPPort)
	if !d.Listening || d.Device == nil || !d.Device.Up || port == nil || port.OFPort <= 0 {
		return d, nil
	}
	err = h.p.DHCP.Hears(ctx, q.NetworkID, func(frame []byte) error {
		return h.p.Switch.Send(ctx, port.Bridge, uint32(port.OFPort), frame)
	})
	switch {
	case errors.Is(err, dhcpd.ErrUnheard):
		d.Unheard = err.Error()
		return d, nil
	case err != nil:
		return d, err
	}
	d.Heard = true
	return d, nil
}

// Drops counts the packets that flows of the integration bridge have dropped for a reason, by cookie.
func (h *Host) Drops(ctx context.Context) (map[uint64]uint64, error) {
	drops, err := h.p.Switch.Drops(ctx, h.p.IntegrationBridge)
	if err != nil {
		return nil, err
	}
	out := make(map[uint64]uint64, len(drops))
	for _, d := range drops {
		out[d.Cookie] = d.Packets
	}
	return out, nil
}

// Conversation returns the last DHCP messages of a port, oldest first, and what is closed at the
// next message of any port; nil where no DHCP is answered.
func (h *Host) Conversation(id model.PortID) ([]Transaction, <-chan struct{}) {
	if h.p.DHCP == nil {
		return nil, nil
	}
	next := h.p.DHCP.Heard() // before the look, or a message between would be missed
	return h.transactions(id), next
}

func (h *Host) transactions(id model.PortID) []Transaction {
	var out []Transaction
	for _, t := range h.p.DHCP.History(id) {
		tr := Transaction{At: t.At, Message: t.Message.String(), Addr: t.Given, Elapsed: t.Took, Server: t.Server}
		x, _ := t.XID.MarshalText()
		tr.XID = string(x)
		if t.Reply != 0 {
			tr.Reply = t.Reply.String()
		}
		if tr.Reply != "OFFER" && tr.Reply != "ACK" {
			tr.Reason, tr.Addr = t.Reason.String(), t.Asked
		}
		out = append(out, tr)
	}
	return out
}
