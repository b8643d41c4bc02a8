package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"weft/internal/host/kernel"
	"weft/internal/host/ovs"
	"weft/internal/model"
	"weft/internal/plan/vswitch"
)

// Probe looks closely at one port: at the switch, the kernel and the DHCP responder,
// now. What cannot be looked at is a gap; the rest is still looked at.
func (h *Host) Probe(ctx context.Context, q Query) Found {
	var f Found
	gap := func(what string, err error) { f.Gaps = append(f.Gaps, fmt.Sprintf("%s: %v", what, err)) }
	device := q.Device
	if f.Interface = h.findInterface(q.PortID); f.Interface != nil {
		device = f.Interface.Name
	}
	l, err := kernel.LinkInfo("", device)
	switch {
	case err == nil:
		f.Device = &l
	case !errors.Is(err, kernel.ErrNoLink):
		gap("device "+device, err)
	}
	ofPort := func(object uint32) uint64 { return vswitch.Cookie(0, vswitch.KindPort, object) }
	flows, _, err := h.p.Switch.DumpFlows(ctx, q.Bridge, ofPort(vswitch.CookieObject(string(q.PortID))), ofPort(1<<32-1)|0xff<<40)
	if err != nil {
		gap("flows of "+q.Bridge, err)
	}
	for i := range flows {
		f.Flows = append(f.Flows, FlowCount{Flow: flows[i].Flow, Packets: flows[i].Packets})
	}
	if q.Packet != "" {
		if f.Walk, err = h.p.Switch.Trace(ctx, q.Bridge, q.Packet, q.CTNext...); err != nil {
			gap("way of the packet", err)
		}
	}
	if q.Namespace != "" && h.p.DHCP != nil {
		f.DHCP = &DHCPFound{Listening: h.p.DHCP.Serving(q.NetworkID)}
		l, err := kernel.LinkInfo(q.Namespace, q.DHCPDevice)
		switch {
		case err == nil:
			f.DHCP.Exists, f.DHCP.Device = true, &l
		case errors.Is(err, kernel.ErrNoLink):
			f.DHCP.Exists = true
		}
	}
	if h.p.DHCP != nil {
		f.Transactions = h.transactions(q.PortID)
	}
	return f
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

// findInterface finds the interface of a port on any bridge, working or not.
func (h *Host) findInterface(id model.PortID) *Interface {
	o := h.p.Switch.Observe()
	used := ""
	for _, a := range o.Attachments {
		if a.PortID == id {
			used = a.Device
		}
	}
	var found *Interface
	for _, b := range o.Bridges {
		for _, p := range b.Ports {
			if !strings.EqualFold(p.ExternalIDs["iface-id"], string(id)) || found != nil && p.Name != used {
				continue
			}
			found = &Interface{Name: p.Name, Bridge: b.Name, Type: p.Type, OFPort: ofport(p), Error: p.Error,
				Tag: p.Tag, ExternalIDs: p.ExternalIDs, OtherConfig: p.OtherConfig}
		}
	}
	return found
}

// ofport is what ovs-vsctl shows: -1 for an interface that could not be made.
func ofport(p ovs.Port) int {
	if p.OFPort == 0 && p.Error != "" {
		return -1
	}
	return int(p.OFPort)
}

func (h *Host) transactions(id model.PortID) []Transaction {
	var out []Transaction
	for _, t := range h.p.DHCP.History(id) {
		tr := Transaction{At: t.At, Message: t.Message.String(), Addr: t.Given, Elapsed: t.Took}
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
